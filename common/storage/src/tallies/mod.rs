//! Totals that come out exact however often anything is repeated.
//!
//! Every batch of outcomes is one row of a ledger, `_id` made of the notification and the batch. A row
//! is inserted or was there already; nothing is ever incremented. A total is the sum of the rows, and
//! because rows are only ever added and never negative, totals only grow: writing the sum into the
//! notification with `$max` converges to the newest one whatever the order of two writers.
//!
//! A campaign to a hundred million devices has a hundred thousand rows, and a sum of all of them at every
//! call would cost more than sending. So whoever finds [`FOLD_AT`] rows that are in no sum yet adds them to
//! the notification's [`head`], which says what all rows before came to; a sum is then the head and the few
//! rows behind it. The rows stay: they are what makes a replay harmless.

mod head;

use std::collections::HashMap;

use jraze_domain::dispatch::{Reason, Tally};
use jraze_domain::ids::{AppId, NotificationId, NotificationUuid};
use mongodb::Collection;
use mongodb::bson::{Document, doc, serialize_to_document};
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::error::{StorageError, ignore_duplicate_keys};
use crate::notifications::{COLLECTION as NOTIFICATIONS, TallyDocument};

/// The name of the collection.
pub(crate) const COLLECTION: &str = "tallies";

/// Rows behind the head from which on they are folded into it: a sum of so many takes a millisecond.
const FOLD_AT: u64 = 256;

/// Folds of one call. A ledger of before there were heads is caught up with over some calls.
const FOLDS_PER_CALL: u32 = 4;

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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ReasonDocument {
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

    fn row(&self, app: AppId, id: NotificationId) -> Row {
        Row {
            id: format!("{id}:{}", self.id),
            app_id: i32::from(app.0),
            notification_id: id.0,
            counts: TallyDocument::from(&self.tally),
            reasons: self.into(),
        }
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
    heads: Collection<head::Head>,
    notifications: Collection<Document>,
    fold_at: u64,
}

impl Tallies {
    /// Over the store's collections.
    pub fn new(store: &Store) -> Self {
        Self {
            rows: store.collection(COLLECTION),
            heads: store.collection(head::COLLECTION),
            notifications: store.collection(NOTIFICATIONS),
            fold_at: FOLD_AT,
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
            .map(|batch| batch.row(app, id))
            .collect();
        if !rows.is_empty() {
            ignore_duplicate_keys(self.rows.insert_many(rows).ordered(false).await)?;
        }
        let (total, behind) = self.sum(id).await?;
        if behind >= self.fold_at
            && let Err(error) = self.fold(app, id).await
        {
            // Totals are right without; the next call finds the same rows and more.
            tracing::warn!(notification.id = %id, %error, "rows of the ledger could not be folded");
        }
        self.write(uuid, total).await
    }

    /// Sums the ledger and writes the sum into the notification.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn settle(&self, id: NotificationId, uuid: NotificationUuid) -> Result<Tally, StorageError> {
        let (total, _) = self.sum(id).await?;
        self.write(uuid, total).await
    }

    async fn write(&self, uuid: NotificationUuid, total: TallyDocument) -> Result<Tally, StorageError> {
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
        let found = self.reasons(id).await?;
        let mut failures: Vec<(Reason, u64)> = found
            .into_iter()
            .map(|(reason, count)| (Reason::new(&reason), u64::try_from(count).unwrap_or_default()))
            .collect();
        // By name where counts are equal, so that the same question has the same answer.
        failures.sort_by(|(one, ones), (other, others)| {
            others.cmp(ones).then_with(|| one.as_str().cmp(other.as_str()))
        });
        failures.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(failures)
    }

    async fn fold(&self, app: AppId, id: NotificationId) -> Result<(), StorageError> {
        for _ in 0..FOLDS_PER_CALL {
            let Some(fold) = self.prepare(app, id).await? else {
                break;
            };
            if !self.commit(&fold).await? {
                break;
            }
            self.mark(&fold.next.covers).await?;
            self.release(&fold.next).await?;
        }
        Ok(())
    }
}

fn add_reasons(sums: &mut HashMap<String, i64>, reasons: Vec<ReasonDocument>) {
    for ReasonDocument { reason, count } in reasons {
        let sum = sums.entry(reason).or_default();
        *sum = sum.saturating_add(count);
    }
}
