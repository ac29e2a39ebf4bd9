//! Launching, which a client may ask for twice because it heard no answer.

use chrono::{DateTime, Utc};
use jraze_domain::campaign::{Event, Notification, Status};
use jraze_domain::ids::AppId;
use mongodb::bson::doc;
use sha2::{Digest as _, Sha256};

use crate::error::StorageError;
use crate::packing::binary;
use crate::time::stored;

use super::{NotificationRef, Notifications, Transition};

/// What came of asking for a launch.
#[derive(Debug, Clone, PartialEq)]
pub enum Launch {
    /// It was made.
    Made(Box<Notification>),
    /// The same request made it before; this is the notification as it stands now.
    Replayed(Box<Notification>),
    /// It is no draft any more, and another request launched it.
    Refused {
        /// The state it is in.
        found: Status,
    },
    /// There is no such notification in this app.
    Missing,
}

impl Notifications {
    /// DRAFT to QUEUED. `idempotency_key` is the client's name for its request: only its hash is kept,
    /// and a second launch under it is answered as a replay.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn launch(
        &self,
        app: AppId,
        which: NotificationRef,
        idempotency_key: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Launch, StorageError> {
        let Some(key) = idempotency_key else {
            return Ok(
                match self.transition(app, which, Event::Launch, None, now).await? {
                    Transition::Made(notification) => Launch::Made(notification),
                    Transition::Refused { found } => Launch::Refused { found },
                    Transition::Missing => Launch::Missing,
                },
            );
        };
        let key = binary(Sha256::digest(key).to_vec());
        let mut draft = which.filter();
        draft.insert("app_id", i32::from(app.0));
        let mut launched_by_key = draft.clone();
        launched_by_key.insert("launch_key", &key);
        draft.insert("status", i32::from(Status::Draft.number()));
        let launch = doc! {
            "$set": {
                "status": i32::from(Event::Launch.target().number()),
                "launched_at": stored(now),
                "modified_at": stored(now),
                "launch_key": key,
            },
            "$inc": { "version": 1 },
        };
        match self.change(app, which, draft, launch).await? {
            Transition::Made(notification) => Ok(Launch::Made(notification)),
            Transition::Missing => Ok(Launch::Missing),
            Transition::Refused { found } => Ok(match self.find(launched_by_key).await? {
                Some(notification) => Launch::Replayed(Box::new(notification)),
                None => Launch::Refused { found },
            }),
        }
    }
}
