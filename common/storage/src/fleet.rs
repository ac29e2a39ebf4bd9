//! The workers that are there, so that those who send under the same quota divide it.
//!
//! A worker says every few seconds that it is there and under which quotas it sends, and is told how many
//! do for each of them. It counts until the time that it asked for is over, by the database's clock; nobody
//! elects or assigns anything. What the count is worth, and how long a newcomer holds back, is the
//! worker's rule.
//!
//! The same row says which credentials the worker leaves alone, for those who look at a campaign that waits.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use jraze_domain::dispatch::Reason;
use jraze_domain::ids::AppId;
use mongodb::Collection;
use mongodb::bson::{self, Document, doc};
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::dispatch::{Via, ViaDocument};
use crate::error::{StorageError, is_duplicate_key};
use crate::time::{read, stored};

/// The name of the collection.
pub(crate) const COLLECTION: &str = "workers";

/// A credential that a worker leaves alone for a while, because the provider refuses it or the worker lacks
/// it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialHold {
    /// Whose.
    pub app: AppId,
    /// Which, and for which devices.
    pub via: Via,
    /// The provider's own word, or the worker's.
    pub reason: Reason,
    /// Since when nothing went through it.
    pub since: DateTime<Utc>,
    /// When it is tried again.
    pub until: DateTime<Utc>,
}

#[derive(Debug, Serialize, Deserialize)]
struct HoldDocument {
    app_id: i32,
    via: ViaDocument,
    reason: String,
    since: bson::DateTime,
    until: bson::DateTime,
}

impl From<&CredentialHold> for HoldDocument {
    fn from(hold: &CredentialHold) -> Self {
        Self {
            app_id: hold.app.0.into(),
            via: hold.via.into(),
            reason: hold.reason.as_str().to_owned(),
            since: stored(hold.since),
            until: stored(hold.until),
        }
    }
}

impl HoldDocument {
    /// `None` for one of a later version.
    fn read(self) -> Option<CredentialHold> {
        Some(CredentialHold {
            app: AppId(u16::try_from(self.app_id).ok()?),
            via: self.via.read()?,
            reason: Reason::new(&self.reason),
            since: read(self.since),
            until: read(self.until),
        })
    }
}

#[derive(Debug, Deserialize)]
struct HoldsDocument {
    #[serde(default)]
    holds: Vec<HoldDocument>,
}

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

    /// `owner`, which is there, leaves these credentials alone, and no others.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn hold(&self, owner: &str, holds: &[CredentialHold]) -> Result<(), StorageError> {
        let holds: Vec<HoldDocument> = holds.iter().map(HoldDocument::from).collect();
        let holds = bson::serialize_to_bson(&holds).map_err(StorageError::encode)?;
        self.collection
            .update_one(doc! { "_id": owner }, doc! { "$set": { "holds": holds } })
            .await?;
        Ok(())
    }

    /// The credentials of an app that some worker leaves alone, or tries again without a success so far: a
    /// worker that says so has to go on saying it, so the end of its wait is not the end of the hold. What
    /// several of them say of one is said once: since the earliest, until the latest.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn holds(&self, app: AppId) -> Result<Vec<CredentialHold>, StorageError> {
        let filter = doc! {
            "holds.app_id": i32::from(app.0),
            "$expr": { "$gt": ["$expire_at", "$$NOW"] },
        };
        let rows: Vec<HoldsDocument> = self
            .collection
            .clone_with_type()
            .find(filter)
            .projection(doc! { "holds": 1 })
            .await?
            .try_collect()
            .await?;
        let mut found: BTreeMap<Via, CredentialHold> = BTreeMap::new();
        let all = rows.into_iter().flat_map(|row| row.holds);
        for hold in all.filter_map(HoldDocument::read) {
            if hold.app != app {
                continue;
            }
            let known = found.entry(hold.via).or_insert_with(|| hold.clone());
            known.since = known.since.min(hold.since);
            if hold.until > known.until {
                known.until = hold.until;
                known.reason = hold.reason;
            }
        }
        Ok(found.into_values().collect())
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
