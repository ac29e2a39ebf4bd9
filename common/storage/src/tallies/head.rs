//! The head of a ledger: what its rows came to, up to some of the newest.
//!
//! A head is one document, replaced as a whole by a compare-and-set on its edition. It lists the rows that
//! the last fold added (`covers`) until they are marked as folded.
//!
//! ```text
//! fold:  1 mark what the head covers          sum:  1 read the head
//!        2 read unmarked rows                        2 sum the unmarked rows that it does not cover
//!        3 head, edition n -> n + 1                  3 read the edition again; another one: from 1 on
//!        4 mark what it covers now
//!        5 say that it covers nothing
//! ```
//!
//! Why a sum is exact: while the edition is the same, so is the set of rows that are in the head. Those of
//! it that came by earlier folds are marked, by step 1 before step 3; those of the last one are marked or
//! covered. And only what is in the head is ever marked. So step 2 sees each row that is not in the head,
//! and no other.
//!
//! Why nothing is lost whenever a folder dies: before step 3 nothing has changed. After it the rows are in
//! the head for good, and marking them is only tidying, which the next fold begins with. A step that
//! arrives late meets another edition (3, 5), or marks what is in the head already (1, 4). Rows are never
//! removed, so a replayed batch meets its row, marked or not; and where nobody can wait for a quiet
//! moment, the sum of all rows is the same number.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use jraze_domain::ids::{AppId, NotificationId};
use mongodb::bson::{Bson, Document, deserialize_from_document, doc};
use mongodb::options::{Hint, ReadConcern};
use serde::{Deserialize, Serialize};

use super::{ReasonDocument, Row, Tallies, add_reasons};
use crate::error::{StorageError, is_duplicate_key};
use crate::notifications::TallyDocument;

/// The name of the collection.
pub(super) const COLLECTION: &str = "tally_heads";

/// Rows of one fold at most: what a head covers stays some ten kilobytes.
const FOLD_MOST: i64 = 2_000;

/// Reasons that a head keeps, the most frequent ones: a provider has some ten of them.
const MAX_REASONS: usize = 1_000;

/// Folds that may come between the reads of one sum before it asks all rows instead.
const TRIES: u32 = 4;

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

/// As stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    #[serde(rename = "_id")]
    notification_id: i64,
    app_id: i32,
    /// 0 where there is none yet.
    edition: i64,
    counts: TallyDocument,
    #[serde(default)]
    reasons: Vec<ReasonDocument>,
    /// Rows that are in it and may not be marked.
    pub(super) covers: Vec<String>,
}

/// A head that is to take the place of the one before it.
#[derive(Debug)]
pub(super) struct Fold {
    pub(super) next: Head,
}

#[derive(Debug, Deserialize)]
struct Sum {
    #[serde(flatten)]
    counts: TallyDocument,
    rows: i64,
}

#[derive(Debug, Deserialize)]
struct ReasonSum {
    #[serde(rename = "_id")]
    reason: String,
    count: i64,
}

impl Tallies {
    /// The totals, and how many rows are behind the head.
    pub(super) async fn sum(&self, id: NotificationId) -> Result<(TallyDocument, u64), StorageError> {
        for _ in 0..TRIES {
            let head = self.head(id).await?;
            let behind = self.sum_of(behind(id, &head)).await?;
            if self.edition(id).await? == head.edition {
                let rows = u64::try_from(behind.rows).unwrap_or_default();
                return Ok((head.counts + behind.counts, rows));
            }
        }
        let all = self.sum_of(doc! { "notification_id": id.0 }).await?;
        Ok((all.counts, 0))
    }

    /// How many deliveries failed for each reason.
    pub(super) async fn reasons(&self, id: NotificationId) -> Result<HashMap<String, i64>, StorageError> {
        for _ in 0..TRIES {
            let head = self.head(id).await?;
            let mut sums = self.reasons_of(id, behind(id, &head)).await?;
            if self.edition(id).await? == head.edition {
                add_reasons(&mut sums, head.reasons);
                return Ok(sums);
            }
        }
        self.reasons_of(id, doc! { "notification_id": id.0 }).await
    }

    pub(super) async fn head(&self, id: NotificationId) -> Result<Head, StorageError> {
        let head = self.heads.find_one(doc! { "_id": id.0 }).await?;
        Ok(head.unwrap_or_default())
    }

    async fn edition(&self, id: NotificationId) -> Result<i64, StorageError> {
        let heads = self.heads.clone_with_type::<Document>();
        let edition = heads
            .find_one(doc! { "_id": id.0 })
            .projection(doc! { "edition": 1 })
            .await?;
        match edition {
            None => Ok(0),
            Some(head) => head
                .get_i64("edition")
                .map_err(|_| StorageError::corrupt(COLLECTION, "edition", id.0)),
        }
    }

    async fn sum_of(&self, rows: Document) -> Result<Sum, StorageError> {
        let mut group = doc! { "_id": Bson::Null, "rows": { "$sum": 1_i64 } };
        for field in FIELDS {
            group.insert(field, doc! { "$sum": format!("$counts.{field}") });
        }
        let pipeline = vec![doc! { "$match": rows }, doc! { "$group": group }];
        let mut cursor = self.rows.aggregate(pipeline).hint(by_head()).await?;
        match cursor.try_next().await? {
            Some(sums) => deserialize_from_document(sums)
                .map_err(|_| StorageError::corrupt(super::COLLECTION, "counts", "?")),
            None => Ok(Sum {
                counts: TallyDocument::default(),
                rows: 0,
            }),
        }
    }

    async fn reasons_of(
        &self,
        id: NotificationId,
        mut rows: Document,
    ) -> Result<HashMap<String, i64>, StorageError> {
        rows.insert("reasons", doc! { "$exists": true });
        let pipeline = vec![
            doc! { "$match": rows },
            doc! { "$unwind": "$reasons" },
            doc! { "$group": { "_id": "$reasons.reason", "count": { "$sum": "$reasons.count" } } },
        ];
        let mut cursor = self.rows.aggregate(pipeline).hint(by_head()).await?;
        let mut sums = HashMap::new();
        while let Some(sum) = cursor.try_next().await? {
            let ReasonSum { reason, count } = deserialize_from_document(sum)
                .map_err(|_| StorageError::corrupt(super::COLLECTION, "reasons", id.0))?;
            sums.insert(reason, count);
        }
        Ok(sums)
    }

    /// Steps 1 and 2 of a fold; `None` when there is too little to fold.
    pub(super) async fn prepare(&self, app: AppId, id: NotificationId) -> Result<Option<Fold>, StorageError> {
        // Only what no lost primary can take back goes into a head: a row that is gone afterwards is reported
        // again, and would be counted twice.
        let lasting = ReadConcern::majority;
        let head = self
            .heads
            .find_one(doc! { "_id": id.0 })
            .read_concern(lasting())
            .await?;
        let head = head.unwrap_or_default();
        self.mark(&head.covers).await?;
        let unmarked = self.rows.find(unmarked(id)).hint(by_head()).limit(FOLD_MOST);
        let unmarked = unmarked.read_concern(lasting());
        let rows: Vec<Row> = unmarked.await?.try_collect().await?;
        if (rows.len() as u64) < self.fold_at {
            return Ok(None);
        }
        let mut counts = head.counts;
        let mut covers = Vec::with_capacity(rows.len());
        let mut reasons = HashMap::new();
        add_reasons(&mut reasons, head.reasons);
        for row in rows {
            counts = counts + row.counts;
            add_reasons(&mut reasons, row.reasons);
            covers.push(row.id);
        }
        let next = Head {
            notification_id: id.0,
            app_id: i32::from(app.0),
            edition: head.edition + 1,
            counts,
            reasons: most_frequent(reasons),
            covers,
        };
        Ok(Some(Fold { next }))
    }

    /// Step 3 of a fold; `false` when another one was faster.
    pub(super) async fn commit(&self, fold: &Fold) -> Result<bool, StorageError> {
        let next = &fold.next;
        if next.edition == 1 {
            return match self.heads.insert_one(next).await {
                Ok(_) => Ok(true),
                Err(error) if is_duplicate_key(&error) => Ok(false),
                Err(error) => Err(error.into()),
            };
        }
        let before = doc! { "_id": next.notification_id, "edition": next.edition - 1 };
        let replaced = self.heads.replace_one(before, next).await?;
        Ok(replaced.matched_count == 1)
    }

    /// Steps 1 and 4 of a fold. Only for rows that are in the head.
    pub(super) async fn mark(&self, covered: &[String]) -> Result<(), StorageError> {
        if covered.is_empty() {
            return Ok(());
        }
        let rows = doc! { "_id": { "$in": covered }, "folded": { "$exists": false } };
        let mark = doc! { "$set": { "folded": true } };
        self.rows.update_many(rows, mark).await?;
        Ok(())
    }

    /// Step 5 of a fold, once what it covers is marked.
    pub(super) async fn release(&self, head: &Head) -> Result<(), StorageError> {
        let this = doc! { "_id": head.notification_id, "edition": head.edition };
        let covers_nothing = doc! { "$set": { "covers": [] } };
        self.heads.update_one(this, covers_nothing).await?;
        Ok(())
    }
}

fn unmarked(id: NotificationId) -> Document {
    doc! { "notification_id": id.0, "folded": { "$exists": false } }
}

fn behind(id: NotificationId, head: &Head) -> Document {
    let mut rows = unmarked(id);
    if !head.covers.is_empty() {
        rows.insert("_id", doc! { "$nin": &head.covers });
    }
    rows
}

/// The index that holds unmarked rows together.
fn by_head() -> Hint {
    Hint::Name("open".into())
}

fn most_frequent(reasons: HashMap<String, i64>) -> Vec<ReasonDocument> {
    let reasons = reasons.into_iter();
    let mut reasons: Vec<_> = reasons
        .map(|(reason, count)| ReasonDocument { reason, count })
        .collect();
    reasons.sort_by(|one, other| {
        let by_count = other.count.cmp(&one.count);
        by_count.then_with(|| one.reason.cmp(&other.reason))
    });
    reasons.truncate(MAX_REASONS);
    reasons
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
