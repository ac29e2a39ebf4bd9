//! Totals that come out exact however often anything is repeated.
//!
//! Every batch of outcomes is one row of a ledger, `_id` made of the notification and the batch. A row
//! is inserted or was there already; nothing is ever incremented. A total is the sum of the rows, and
//! because rows are only ever added and never negative, totals only grow: writing the sum into the
//! notification with `$max` converges to the newest one whatever the order of two writers.

use futures_util::TryStreamExt as _;
use jraze_domain::dispatch::{Reason, Tally};
use jraze_domain::ids::{AppId, NotificationId, NotificationUuid};
use mongodb::Collection;
use mongodb::bson::{Bson, Document, deserialize_from_document, doc, serialize_to_document};
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::error::{StorageError, ignore_duplicate_keys};
use crate::notifications::{COLLECTION as NOTIFICATIONS, TallyDocument};

/// The name of the collection.
pub(crate) const COLLECTION: &str = "tallies";

const FIELDS: [&str; 9] = [
    "android",
    "ios",
    "web",
    "unregistered",
    "failed",
    "unknown",
    "skipped",
    "expired",
    "canceled",
];

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    #[serde(rename = "_id")]
    id: String,
    app_id: i32,
    notification_id: i64,
    counts: TallyDocument,
    /// A list, never an object: what a provider wrote is a value here and cannot act as a key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<ReasonDocument>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ReasonDocument {
    reason: String,
    count: i64,
}

#[derive(Debug, Deserialize)]
struct ReasonSum {
    #[serde(rename = "_id")]
    reason: String,
    count: i64,
}

/// One batch of outcomes under the id that makes a replay harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Unique within the notification; a window's id, or anything a caller chose.
    pub id: String,
    /// What it adds.
    pub tally: Tally,
    /// Why deliveries of it failed, in the provider's own words, and how many each.
    pub reasons: Vec<(Reason, u64)>,
}

impl Batch {
    /// Nothing to add: every device of it was handed on to a later one.
    fn is_empty(&self) -> bool {
        self.tally == Tally::default() && self.reasons.is_empty()
    }
}

impl From<&Batch> for Vec<ReasonDocument> {
    fn from(batch: &Batch) -> Self {
        let document = |(reason, count): &(Reason, u64)| ReasonDocument {
            reason: reason.as_str().to_owned(),
            count: i64::try_from(*count).unwrap_or(i64::MAX),
        };
        batch.reasons.iter().map(document).collect()
    }
}

/// The ledger.
#[derive(Debug, Clone)]
pub struct Tallies {
    rows: Collection<Row>,
    notifications: Collection<Document>,
}

impl Tallies {
    /// Over the store's collections.
    pub fn new(store: &Store) -> Self {
        Self {
            rows: store.collection(COLLECTION),
            notifications: store.collection(NOTIFICATIONS),
        }
    }

    /// Adds batches that are not in the ledger yet, and returns the totals with them. A batch that adds
    /// nothing gets no row.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer; repeating the call is then safe.
    pub async fn apply(
        &self,
        app: AppId,
        id: NotificationId,
        uuid: NotificationUuid,
        batches: &[Batch],
    ) -> Result<Tally, StorageError> {
        let rows: Vec<Row> = batches
            .iter()
            .filter(|batch| !batch.is_empty())
            .map(|batch| Row {
                id: format!("{id}:{}", batch.id),
                app_id: i32::from(app.0),
                notification_id: id.0,
                counts: TallyDocument::from(&batch.tally),
                reasons: batch.into(),
            })
            .collect();
        if !rows.is_empty() {
            ignore_duplicate_keys(self.rows.insert_many(rows).ordered(false).await)?;
        }
        self.settle(id, uuid).await
    }

    /// Sums the ledger and writes the sum into the notification.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn settle(&self, id: NotificationId, uuid: NotificationUuid) -> Result<Tally, StorageError> {
        let total = self.sum(id).await?;
        let counts = serialize_to_document(&total).map_err(StorageError::encode)?;
        let raised: Document = counts
            .into_iter()
            .map(|(field, count)| (format!("tally.{field}"), count))
            .collect();
        self.notifications
            .update_one(doc! { "_id": uuid.to_string() }, doc! { "$max": raised })
            .await?;
        Ok(total.into())
    }

    /// The most frequent reasons why deliveries of a notification failed, at most `limit`, and how many
    /// each; the most frequent first.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn failures(&self, id: NotificationId, limit: u32) -> Result<Vec<(Reason, u64)>, StorageError> {
        let pipeline = vec![
            doc! { "$match": { "notification_id": id.0, "reasons": { "$exists": true } } },
            doc! { "$unwind": "$reasons" },
            doc! { "$group": { "_id": "$reasons.reason", "count": { "$sum": "$reasons.count" } } },
            // By name where counts are equal, so that the same question has the same answer.
            doc! { "$sort": { "count": -1, "_id": 1 } },
            doc! { "$limit": i64::from(limit) },
        ];
        let mut cursor = self.rows.aggregate(pipeline).await?;
        let mut failures = Vec::new();
        while let Some(sum) = cursor.try_next().await? {
            let sum: ReasonSum = deserialize_from_document(sum)
                .map_err(|_| StorageError::corrupt(COLLECTION, "reasons", id.0))?;
            failures.push((
                Reason::new(&sum.reason),
                u64::try_from(sum.count).unwrap_or_default(),
            ));
        }
        Ok(failures)
    }

    async fn sum(&self, id: NotificationId) -> Result<TallyDocument, StorageError> {
        let mut group = doc! { "_id": Bson::Null };
        for field in FIELDS {
            group.insert(field, doc! { "$sum": format!("$counts.{field}") });
        }
        let pipeline = vec![
            doc! { "$match": { "notification_id": id.0 } },
            doc! { "$group": group },
        ];
        let mut cursor = self.rows.aggregate(pipeline).await?;
        match cursor.try_next().await? {
            Some(sums) => {
                deserialize_from_document(sums).map_err(|_| StorageError::corrupt(COLLECTION, "counts", id.0))
            }
            None => Ok(TallyDocument::default()),
        }
    }
}
