//! Launching, which a client may ask for twice because it heard no answer.

use chrono::{DateTime, Utc};
use jraze_domain::campaign::{Event, Notification, Status};
use jraze_domain::ids::AppId;
use mongodb::bson::doc;
use uuid::Uuid;

use crate::error::StorageError;
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
    /// It is a draft still, but of another edition than the one that was to be launched.
    Edited,
    /// There is no such notification in this app.
    Missing,
}

impl Notifications {
    /// DRAFT to QUEUED. `identity` is that of the request (see [`crate::idempotency`]): a second launch
    /// under it finds that it was done. With `version`, only that very edition is launched.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn launch(
        &self,
        app: AppId,
        which: NotificationRef,
        identity: Option<Uuid>,
        version: Option<i64>,
        now: DateTime<Utc>,
    ) -> Result<Launch, StorageError> {
        let mut this = which.filter();
        this.insert("app_id", i32::from(app.0));
        let mut draft = this.clone();
        draft.insert("status", i32::from(Status::Draft.number()));
        if let Some(version) = version {
            draft.insert("version", version);
        }
        let mut set = doc! {
            "status": i32::from(Event::Launch.target().number()),
            "launched_at": stored(now),
            "modified_at": stored(now),
        };
        if let Some(identity) = identity {
            set.insert("launched_by", identity.to_string());
        }
        let launch = doc! { "$set": set, "$inc": { "version": 1 } };
        let found = match self.change(app, which, draft, launch).await? {
            Transition::Made(notification) => return Ok(Launch::Made(notification)),
            Transition::Missing => return Ok(Launch::Missing),
            Transition::Refused { found } => found,
        };
        let mine = match identity {
            Some(identity) => {
                this.insert("launched_by", identity.to_string());
                self.find(this).await?
            }
            None => None,
        };
        Ok(match mine {
            Some(notification) => Launch::Replayed(Box::new(notification)),
            None if found == Status::Draft => Launch::Edited,
            None => Launch::Refused { found },
        })
    }
}
