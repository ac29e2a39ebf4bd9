//! The workers that are there, so that those who send under the same quota divide it.
//!
//! A worker says every few seconds that it is there and under which quotas it sends, and is told how many
//! do for each of them. It counts until the time that it asked for is over, by the database's clock; nobody
//! elects or assigns anything. What the count is worth, and how long a newcomer holds back, is the
//! worker's rule.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use mongodb::Collection;
use mongodb::bson::{Document, doc};

use crate::Store;
use crate::error::{StorageError, is_duplicate_key};

/// The name of the collection.
pub(crate) const COLLECTION: &str = "workers";

/// The repository of workers.
#[derive(Debug, Clone)]
pub struct Fleet {
    collection: Collection<Document>,
}

impl Fleet {
    /// Over the store's collection.
    pub fn new(store: &Store) -> Self {
        Self {
            collection: store.collection(COLLECTION),
        }
    }

    /// Says that `owner` sends under these quotas, for `lasts` from now, and counts the workers under each
    /// of them: this one included, and in the order of `quotas`.
    ///
    /// Of two that say so for the first time at once, at least one counts the other.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer; whether the others count this one is then open.
    pub async fn present(
        &self,
        owner: &str,
        quotas: &[String],
        lasts: Duration,
    ) -> Result<Vec<usize>, StorageError> {
        let lasts = i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX);
        let row = vec![doc! { "$set": {
            "quotas": { "$literal": quotas },
            "expire_at": { "$add": ["$$NOW", lasts] },
        } }];
        let mut attempt = 1;
        loop {
            let said = self
                .collection
                .update_one(doc! { "_id": owner }, row.clone())
                .upsert(true)
                .await;
            match said {
                // A call of this worker that was given up for lost may arrive at the same time.
                Err(error) if attempt == 1 && is_duplicate_key(&error) => attempt += 1,
                Err(error) => return Err(error.into()),
                Ok(_) => break,
            }
        }
        let count = [
            // Rows outlive their time by the minute in which MongoDB gets to them.
            doc! { "$match": {
                "$expr": { "$gt": ["$expire_at", "$$NOW"] },
                "quotas": { "$in": quotas },
            } },
            doc! { "$unwind": "$quotas" },
            doc! { "$group": { "_id": "$quotas", "workers": { "$sum": 1_i64 } } },
        ];
        let counted: Vec<Document> = self.collection.aggregate(count).await?.try_collect().await?;
        let counted: HashMap<&str, i64> = counted
            .iter()
            .filter_map(|row| Some((row.get_str("_id").ok()?, row.get_i64("workers").ok()?)))
            .collect();
        let workers = |quota: &String| {
            let found = counted.get(quota.as_str()).copied().unwrap_or_default();
            // This one is there, even when its row ran out between the two calls.
            usize::try_from(found).unwrap_or_default().max(1)
        };
        Ok(quotas.iter().map(workers).collect())
    }

    /// `owner` sends nothing any more.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer; its time then runs out by itself.
    pub async fn leave(&self, owner: &str) -> Result<(), StorageError> {
        self.collection.delete_one(doc! { "_id": owner }).await?;
        Ok(())
    }
}
