//! Lists of notifications, by page, in an order from an allow-list.

use futures_util::TryStreamExt as _;
use jraze_domain::campaign::{Notification, Status};
use jraze_domain::ids::{AppId, NotificationId};
use mongodb::bson::{Document, doc};

use crate::error::StorageError;

use super::{NotificationDocument, Notifications};

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
    /// [`StorageError`] when the database does not answer or a document is corrupt.
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
            let mut cursor = self
                .collection
                .find(filter)
                .sort(sort)
                .skip(start)
                .limit(i64::from(size))
                .await?;
            while let Some(document) = cursor.try_next().await? {
                notifications.push(document.read()?);
            }
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
        let stopped = [Status::Canceled, Status::Error].map(|status| i32::from(status.number()));
        let filter = doc! { "status": { "$in": stopped.to_vec() }, "cleared": { "$exists": false } };
        self.read_all(filter).await
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

    async fn read_all(&self, filter: Document) -> Result<Vec<Notification>, StorageError> {
        let mut cursor = self.collection.find(filter).await?;
        let mut notifications = Vec::new();
        while let Some(document) = cursor.try_next().await? {
            notifications.push(NotificationDocument::read(document)?);
        }
        Ok(notifications)
    }
}
