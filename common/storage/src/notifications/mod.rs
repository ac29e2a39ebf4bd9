//! Notifications: drafts, launched campaigns and their totals, one document each.
//!
//! The document of a launched notification is also the outbox of its campaign: QUEUED *is* the message
//! to the planner, and there is no second enqueue that could be lost. Every change of state is one
//! compare-and-set on the state it starts from ([`Notifications::transition`]); `version` guards edits.
//!
//! Who writes: the API server (people's edits, planner) and, only LAUNCHED to SENT, the result worker.
//! Totals are never incremented here: see [`crate::tallies`].

mod document;
mod launching;
mod listing;
mod planning;

use chrono::{DateTime, Utc};
use jraze_domain::campaign::{Draft, Event, Held, Notification, Status};
use jraze_domain::dispatch::Tripped;
use jraze_domain::ids::{AppId, NotificationId, NotificationUuid};
use mongodb::Collection;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{ReturnDocument, UpdateModifications};

use crate::error::{StorageError, is_duplicate_key};
use crate::time::stored;
use crate::{Store, counters::Counters};

pub(crate) use document::{NotificationDocument, TallyDocument};
pub use launching::Launch;
pub use listing::{NotificationOrder, NotificationPage};
pub(crate) use listing::{STOPPED, stopped};
pub use planning::{Claimed, PlannerLease};

/// The name of the collection.
pub(crate) const COLLECTION: &str = "notifications";

/// How a caller names a notification: the contract takes either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotificationRef {
    /// By its public name.
    Uuid(NotificationUuid),
    /// By its number.
    Id(NotificationId),
}

impl NotificationRef {
    /// Reads what stands in a path; `None` when it is neither a UUID nor a positive number.
    pub fn parse(text: &str) -> Option<Self> {
        match text.parse::<i64>() {
            Ok(id) if id > 0 => Some(Self::Id(NotificationId(id))),
            Ok(_) => None,
            Err(_) => uuid::Uuid::try_parse(text)
                .ok()
                .map(|uuid| Self::Uuid(NotificationUuid(uuid))),
        }
    }

    fn filter(self) -> Document {
        match self {
            Self::Uuid(uuid) => doc! { "_id": uuid.to_string() },
            Self::Id(id) => doc! { "id": id.0 },
        }
    }
}

/// What came of asking for a change of state.
#[derive(Debug, Clone, PartialEq)]
pub enum Transition {
    /// It was made; this is the notification after it.
    Made(Box<Notification>),
    /// The notification is in a state from which the event cannot happen.
    Refused {
        /// That state.
        found: Status,
    },
    /// There is no such notification in this app.
    Missing,
}

/// The repository of notifications.
#[derive(Debug, Clone)]
pub struct Notifications {
    collection: Collection<NotificationDocument>,
    counters: Counters,
}

impl Notifications {
    /// Over the store's collection.
    pub fn new(store: &Store) -> Self {
        Self {
            collection: store.collection(COLLECTION),
            counters: Counters::new(store),
        }
    }

    /// Keeps a new draft.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn add(
        &self,
        app: AppId,
        uuid: NotificationUuid,
        draft: &Draft,
        now: DateTime<Utc>,
    ) -> Result<Notification, StorageError> {
        let id = NotificationId(self.counters.next("notification").await? as i64);
        let document = NotificationDocument::draft(id, uuid, app, draft, now);
        match self.collection.insert_one(&document).await {
            Ok(_) => document.read(),
            Err(error) if is_duplicate_key(&error) => Err(StorageError::Conflict {
                what: "notification uuid",
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// One notification of an app.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or the document is corrupt.
    pub async fn lookup(
        &self,
        app: AppId,
        which: NotificationRef,
    ) -> Result<Option<Notification>, StorageError> {
        let mut filter = which.filter();
        filter.insert("app_id", i32::from(app.0));
        self.find(filter).await
    }

    /// One notification of any app: for the roles behind `X-Server-Key`, which serve all apps.
    ///
    /// # Errors
    /// As [`Self::lookup`].
    pub async fn lookup_anywhere(
        &self,
        which: NotificationRef,
    ) -> Result<Option<Notification>, StorageError> {
        self.find(which.filter()).await
    }

    /// Rewrites a draft; refused once it is no draft any more.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn edit(
        &self,
        app: AppId,
        which: NotificationRef,
        draft: &Draft,
        now: DateTime<Utc>,
    ) -> Result<Transition, StorageError> {
        let mut filter = which.filter();
        filter.insert("app_id", i32::from(app.0));
        filter.insert("status", i32::from(Status::Draft.number()));
        let mut set = document::draft_fields(draft);
        set.insert("modified_at", stored(now));
        let update = doc! { "$set": set, "$inc": { "version": 1 } };
        self.change(app, which, filter, update).await
    }

    /// Makes `event` happen, if the state machine lets it.
    ///
    /// `error` is the stated reason of [`Event::Fail`] and ignored otherwise.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn transition(
        &self,
        app: AppId,
        which: NotificationRef,
        event: Event,
        error: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Transition, StorageError> {
        let filter = may_happen(app, which, event);
        let to = event.target();
        if event == Event::Resume {
            return self.change(app, which, filter, resume(now)).await;
        }
        let mut set = doc! { "status": i32::from(to.number()), "modified_at": stored(now) };
        if event == Event::Launch {
            set.insert("launched_at", stored(now));
        }
        if event == Event::Fail {
            set.insert("error", error.unwrap_or_default());
        }
        if to.is_terminal() {
            set.insert("finished_at", stored(now));
        }
        self.change(app, which, filter, doc! { "$set": set, "$inc": { "version": 1 } })
            .await
    }

    /// Stops a running campaign because of what its provider answers: ERROR when nobody could let it go
    /// on, else PAUSED until a person has looked. Refused when a person resumed it from this very brake.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn brake(
        &self,
        app: AppId,
        which: NotificationRef,
        tripped: &Tripped,
        now: DateTime<Utc>,
    ) -> Result<Transition, StorageError> {
        if !tripped.brake.can_be_resumed() {
            let reason = format!("{}: {}", tripped.brake, tripped.message);
            return self.transition(app, which, Event::Fail, Some(&reason), now).await;
        }
        let mut filter = may_happen(app, which, Event::Hold);
        filter.insert("confirmed", doc! { "$ne": tripped.brake.code() });
        let held = Held {
            tripped: tripped.clone(),
            since: now,
        };
        let set = doc! {
            "status": i32::from(Event::Hold.target().number()),
            "hold": document::hold_document(&held),
            "modified_at": stored(now),
        };
        self.change(app, which, filter, doc! { "$set": set, "$inc": { "version": 1 } })
            .await
    }

    async fn change(
        &self,
        app: AppId,
        which: NotificationRef,
        filter: Document,
        update: impl Into<UpdateModifications>,
    ) -> Result<Transition, StorageError> {
        let changed = self
            .collection
            .find_one_and_update(filter, update)
            .return_document(ReturnDocument::After)
            .await?;
        if let Some(document) = changed {
            return Ok(Transition::Made(Box::new(document.read()?)));
        }
        Ok(match self.lookup(app, which).await? {
            Some(found) => Transition::Refused { found: found.status },
            None => Transition::Missing,
        })
    }

    async fn find(&self, filter: Document) -> Result<Option<Notification>, StorageError> {
        self.collection
            .find_one(filter)
            .await?
            .map(NotificationDocument::read)
            .transpose()
    }
}

/// The filter that makes a transition a compare-and-set.
fn may_happen(app: AppId, which: NotificationRef, event: Event) -> Document {
    let sources: Vec<i32> = Status::sources(event)
        .map(|status| i32::from(status.number()))
        .collect();
    let mut filter = which.filter();
    filter.insert("app_id", i32::from(app.0));
    filter.insert("status", doc! { "$in": sources });
    filter
}

/// A person lets it go on, and so confirms the brake that held it, if one did.
fn resume(now: DateTime<Utc>) -> Vec<Document> {
    let known = doc! { "$ifNull": ["$confirmed", []] };
    let held_by = doc! { "$cond": [{ "$gt": ["$hold.code", Bson::Null] }, ["$hold.code"], []] };
    vec![
        doc! { "$set": {
            "status": i32::from(Event::Resume.target().number()),
            "modified_at": stored(now),
            "version": { "$add": ["$version", 1_i64] },
            "confirmed": { "$setUnion": [known, held_by] },
        } },
        doc! { "$unset": "hold" },
    ]
}
