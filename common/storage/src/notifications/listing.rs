//! Lists of notifications, by page, in an order from an allow-list.

use chrono::{DateTime, Utc};
use jraze_domain::campaign::{Notification, Status};
use jraze_domain::ids::{AppId, NotificationId};
use mongodb::bson::{self, Document, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use mongodb::options::Hint;
use mongodb::{Collection, Cursor};

use crate::error::StorageError;
use crate::time::stored;

use super::{COLLECTION, NotificationDocument, Notifications};

/// A field that notifications can be ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotificationOrder {
    field: &'static str,
    descending: bool,
}

impl NotificationOrder {
    /// The fields of `order_bys`.
    pub const FIELDS: [&'static str; 7] = [
        "id",
        "created_at",
        "modified_at",
        "scheduled_at",
        "launched_at",
        "status",
        "title",
    ];

    /// Reads one entry of `order_bys`: a field name, with `-` in front for descending.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, descending) = match text.strip_prefix('-') {
            Some(name) => (name, true),
            None => (text, false),
        };
        let field = Self::FIELDS.into_iter().find(|field| *field == name)?;
        Some(Self { field, descending })
    }

    fn path(self) -> &'static str {
        if self.field == "title" {
            "content.title"
        } else {
            self.field
        }
    }
}

/// One page of a list.
#[derive(Debug, Clone)]
pub struct NotificationPage {
    /// The notifications of the page.
    pub notifications: Vec<Notification>,
    /// How many there are on all pages.
    pub total: u64,
}

impl Notifications {
    /// A page of an app's notifications; newest first unless `order` says otherwise.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer. A document that cannot be read is reported in
    /// the log and left out; `total` counts it.
    pub async fn list(
        &self,
        app: AppId,
        status: Option<Status>,
        order: &[NotificationOrder],
        start: u64,
        size: u32,
    ) -> Result<NotificationPage, StorageError> {
        let mut filter = doc! { "app_id": i32::from(app.0) };
        if let Some(status) = status {
            filter.insert("status", i32::from(status.number()));
        }
        let mut sort = Document::new();
        for by in order {
            sort.insert(by.path(), if by.descending { -1 } else { 1 });
        }
        if !sort.contains_key("id") {
            // The last word is always the id, so that pages neither repeat nor skip.
            sort.insert("id", -1);
        }
        let total = self.collection.count_documents(filter.clone()).await?;
        let mut notifications = Vec::new();
        if size > 0 {
            let rows = self.rows();
            let page = rows.find(filter).sort(sort).skip(start).limit(i64::from(size));
            notifications = readable(page.await?).await?;
        }
        Ok(NotificationPage { notifications, total })
    }

    /// The notifications with these numbers, in no order; for a device's history.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn by_ids(
        &self,
        app: AppId,
        ids: &[NotificationId],
    ) -> Result<Vec<Notification>, StorageError> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        self.read_all(doc! { "app_id": i32::from(app.0), "id": { "$in": ids } })
            .await
    }

    /// The campaigns that are being sent now, of all apps; what workers pick their work from.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn launched(&self) -> Result<Vec<Notification>, StorageError> {
        self.read_all(doc! { "status": i32::from(Status::Launched.number()) })
            .await
    }

    /// Campaigns that were stopped while they were sent, and whose work is not cleared away yet.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub async fn stopped(&self) -> Result<Vec<Notification>, StorageError> {
        let rows = self.rows();
        let found = rows.find(uncleared()).hint(Hint::Name(STOPPED.into()));
        readable(found.await?).await
    }

    /// The work of a stopped campaign is cleared away.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn mark_cleared(&self, id: NotificationId) -> Result<(), StorageError> {
        let cleared = doc! { "$set": { "cleared": true } };
        self.collection.update_one(doc! { "id": id.0 }, cleared).await?;
        Ok(())
    }

    /// The last notification of an app that was made before `before`; numbers are in the order of making.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn newest_before(
        &self,
        app: AppId,
        before: DateTime<Utc>,
    ) -> Result<Option<NotificationId>, StorageError> {
        let filter = doc! { "app_id": i32::from(app.0), "created_at": { "$lt": stored(before) } };
        let rows = self.rows();
        let found = rows.find_one(filter).sort(doc! { "id": -1 });
        let found = found.projection(doc! { "_id": 0, "id": 1 }).await?;
        found
            .map(|row| row.get_i64("id").map(NotificationId))
            .transpose()
            .map_err(|_| StorageError::corrupt(COLLECTION, "id", "?"))
    }

    async fn read_all(&self, filter: Document) -> Result<Vec<Notification>, StorageError> {
        readable(self.rows().find(filter).await?).await
    }

    fn rows(&self) -> Collection<RawDocumentBuf> {
        self.collection.clone_with_type()
    }
}

/// The index of [`uncleared`].
pub(crate) const STOPPED: &str = "stopped";

/// Stopped, and never said to be cleared. What lacks `cleared` lies together in the index, so that those
/// which were cleared, however many, are not even passed over; and a campaign that a process of an earlier
/// version stopped is found like any other, which it would not be by a mark that only this version sets.
fn uncleared() -> Document {
    let mut filter = stopped();
    filter.insert("cleared", doc! { "$exists": false });
    filter
}

/// Stopped while it was sent, or before.
pub(crate) fn stopped() -> Document {
    let stopped = [Status::Canceled, Status::Error].map(|status| i32::from(status.number()));
    doc! { "status": { "$in": stopped.to_vec() } }
}

/// What can be read. One document that cannot, perhaps of a later version, must not stop the dispatch
/// of all the others or hide them: it is reported and left out.
async fn readable(mut cursor: Cursor<RawDocumentBuf>) -> Result<Vec<Notification>, StorageError> {
    let mut notifications = Vec::new();
    while cursor.advance().await? {
        match read(cursor.current()) {
            Ok(notification) => notifications.push(notification),
            Err(error) => tracing::error!(%error, "a notification cannot be read and is left out"),
        }
    }
    Ok(notifications)
}

/// The error names the document and never what is in it, as a decoder's would.
fn read(document: &RawDocument) -> Result<Notification, StorageError> {
    let read: NotificationDocument =
        bson::deserialize_from_slice(document.as_bytes()).map_err(|_| match document.get("id") {
            Ok(Some(RawBsonRef::Int64(id))) => StorageError::corrupt(COLLECTION, "(any)", id),
            _ => StorageError::corrupt(COLLECTION, "id", document.get_str("_id").unwrap_or("?")),
        })?;
    read.read()
}

#[cfg(test)]
mod tests {
    use jraze_domain::campaign::{Ambiguity, Audience, Draft, Event};
    use jraze_domain::ids::NotificationUuid;
    use jraze_domain::message::Content;
    use jraze_runtime::clock::{Clock as _, SystemClock};

    use super::*;
    use crate::notifications::{NotificationRef, Transition};
    use crate::test_util::TestDatabase;

    const APP: AppId = AppId(1);

    fn draft() -> Draft {
        Draft {
            content: Content {
                title: "Sale".into(),
                body: "Now".into(),
                ..Content::default()
            },
            audience: Audience::All,
            scheduled_at: None,
            expires_at: None,
            on_ambiguous: Ambiguity::Resend,
        }
    }

    #[tokio::test]
    async fn a_notification_that_cannot_be_read_keeps_no_other_from_being_seen() {
        let database = TestDatabase::new().await;
        let notifications = Notifications::new(&database);
        let mut ids = Vec::new();
        for number in 0..5 {
            let uuid = NotificationUuid(uuid::Uuid::from_u128(number));
            let added = notifications.add(APP, uuid, &draft(), SystemClock.now()).await;
            ids.push(added.expect("added").id);
        }
        let launched = doc! { "$set": { "status": i32::from(Status::Launched.number()) } };
        let rows = notifications.rows();
        rows.update_many(doc! {}, launched).await.expect("launched");
        // One of another type, one of another meaning, and one without its number.
        for (index, damage) in [
            (0, doc! { "$set": { "content": 7 } }),
            (2, doc! { "$set": { "audience.kind": "of tomorrow" } }),
            (3, doc! { "$unset": { "id": "" } }),
        ] {
            let which = doc! { "id": ids[index].0 };
            let damaged = rows.update_one(which, damage).await.expect("damaged");
            assert_eq!(damaged.modified_count, 1);
        }
        let numbers = |seen: Vec<Notification>| seen.iter().map(|seen| seen.id).collect::<Vec<_>>();

        let mut seen = numbers(notifications.launched().await.expect("answers"));
        seen.sort_unstable();
        assert_eq!(seen, [ids[1], ids[4]]);
        let mut seen = numbers(notifications.by_ids(APP, &ids).await.expect("answers"));
        seen.sort_unstable();
        assert_eq!(seen, [ids[1], ids[4]]);
        let page = notifications.list(APP, None, &[], 0, 10).await.expect("answers");
        assert_eq!(
            (numbers(page.notifications), page.total),
            (vec![ids[4], ids[1]], 5)
        );
    }

    #[tokio::test]
    async fn a_thousand_campaigns_that_were_cleared_cost_a_look_for_stopped_ones_nothing() {
        let database = TestDatabase::new().await;
        let stored = |number: i32, status: Status, cleared: bool| {
            let mut row = doc! { "_id": number.to_string(), "id": i64::from(number), "app_id": 1 };
            row.insert("status", i32::from(status.number()));
            if cleared {
                row.insert("cleared", true);
            }
            row
        };
        let rows = (0..1_000).map(|number| {
            let status = [Status::Canceled, Status::Error][number as usize % 2];
            stored(number, status, true)
        });
        let others = [
            (2_000, Status::Canceled),
            (2_001, Status::Error),
            (2_002, Status::Sent),
        ];
        let others = others.map(|(number, status)| stored(number, status, false));
        let collection = database.collection::<Document>(COLLECTION);
        let all: Vec<Document> = rows.chain(others).collect();
        collection.insert_many(all).await.expect("inserted");

        let find = doc! { "find": COLLECTION, "filter": uncleared(), "hint": STOPPED };
        let explain = doc! { "explain": find, "verbosity": "executionStats" };
        let plan = database.database().run_command(explain).await.expect("explained");
        let stats = plan.get_document("executionStats").expect("run");
        let number = |name| stats.get_i32(name).expect("a number");
        assert_eq!((number("nReturned"), number("totalDocsExamined")), (2, 2));
        assert!(number("totalKeysExamined") <= 4, "{stats}");
    }

    #[tokio::test]
    async fn a_stopped_campaign_is_found_until_it_is_cleared() {
        let database = TestDatabase::new().await;
        let notifications = Notifications::new(&database);
        let mut ids = Vec::new();
        for (number, events) in [
            (0, vec![Event::Launch, Event::Start, Event::Cancel]),
            (1, vec![Event::Launch, Event::Start, Event::Fail]),
            (2, vec![Event::Launch, Event::Start]),
        ] {
            let uuid = NotificationUuid(uuid::Uuid::from_u128(number));
            let added = notifications.add(APP, uuid, &draft(), SystemClock.now()).await;
            let which = NotificationRef::Id(added.expect("added").id);
            for event in events {
                let made = notifications.transition(APP, which, event, None, SystemClock.now());
                assert!(
                    matches!(made.await.expect("answers"), Transition::Made(_)),
                    "{event:?}"
                );
            }
            if let NotificationRef::Id(id) = which {
                ids.push(id);
            }
        }
        let found = async || {
            let found = notifications.stopped().await.expect("answers");
            found
                .iter()
                .map(|notification| notification.id)
                .collect::<Vec<_>>()
        };
        let mut both = found().await;
        both.sort_unstable();
        assert_eq!(both, ids[..2]);
        notifications.mark_cleared(ids[0]).await.expect("answers");
        assert_eq!(found().await, ids[1..2]);
    }
}
