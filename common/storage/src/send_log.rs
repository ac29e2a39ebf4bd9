//! The send log: which notification reached which device, packed.
//!
//! One document holds some hundred devices of one batch. Its `_id` leads with what a device's history
//! is looked up by, and the collection is clustered on it, so writing is appending and a history is a
//! few short range reads:
//!
//! ```text
//! app u16 | level u8 | shard u16 | notification u64, inverted | batch u64     (21 bytes, big-endian)
//! ```
//!
//! A *shard* is a run of buckets, and a *level* says how many: 1, 10, 100, 1000 or all of them. A batch
//! picks the narrowest level that still packs it into few documents: dense campaigns use narrow shards
//! that other devices' histories never touch, sparse ones do not fall apart into a document per device.
//! The notification is inverted so that the newest comes first. The batch is part of the id, which
//! makes a replayed batch meet its own documents and change nothing.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use jraze_domain::device::{BUCKETS, bucket};
use jraze_domain::ids::{AppId, DeviceId, NotificationId};
use mongodb::Collection;
use mongodb::bson::{self, Binary, doc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Store;
use crate::counters::Counters;
use crate::error::{StorageError, ignore_duplicate_keys};
use crate::packing;
use crate::time::{read, stored};

/// The name of the collection.
pub(crate) const COLLECTION: &str = "send_log";

/// Buckets per shard, narrowest first. The index in this list is the level in the id.
const LEVELS: [u16; 5] = [1, 10, 100, 1_000, BUCKETS];

/// What a log entry says happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogEvent {
    /// The provider took it.
    Sent,
    /// It ended without being delivered.
    Failed,
}

impl LogEvent {
    /// Every event.
    pub const ALL: [LogEvent; 2] = [LogEvent::Sent, LogEvent::Failed];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
        }
    }

    /// The event of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.name() == name)
    }

    fn number(self) -> i32 {
        match self {
            Self::Sent => 1,
            Self::Failed => 2,
        }
    }

    fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.number() == number)
    }
}

/// One batch to log.
#[derive(Debug, Clone)]
pub struct LogBatch<'a> {
    /// Whose.
    pub app: AppId,
    /// Of which notification.
    pub notification: NotificationId,
    /// What makes a replay harmless.
    pub batch_id: &'a str,
    /// What happened.
    pub event: LogEvent,
    /// To which devices.
    pub devices: &'a [DeviceId],
}

/// One entry of a device's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Sequential: later batches have higher numbers.
    pub id: i64,
    /// What was sent.
    pub notification: NotificationId,
    /// What happened.
    pub event: LogEvent,
    /// When it was logged.
    pub created_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, Deserialize)]
struct LogDocument {
    #[serde(rename = "_id")]
    id: Binary,
    app_id: i32,
    notification_id: i64,
    event: i32,
    created_at: bson::DateTime,
    first_event_id: i64,
    devices: Binary,
}

/// The repository of the log.
#[derive(Debug, Clone)]
pub struct SendLog {
    collection: Collection<LogDocument>,
    counters: Counters,
}

impl SendLog {
    /// Over the store's collection.
    pub fn new(store: &Store) -> Self {
        Self {
            collection: store.collection(COLLECTION),
            counters: Counters::new(store),
        }
    }

    /// Logs a batch. A batch id that was logged before changes nothing.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer; repeating the call is then safe.
    pub async fn add(&self, batch: &LogBatch<'_>, now: DateTime<Utc>) -> Result<(), StorageError> {
        if batch.devices.is_empty() {
            return Ok(());
        }
        let mut next_event = self
            .counters
            .next_many("event", batch.devices.len() as u64)
            .await? as i64;
        let documents: Vec<LogDocument> = shards(batch.devices)
            .into_iter()
            .map(|((level, shard), devices)| {
                let first_event_id = next_event;
                next_event += devices.len() as i64;
                LogDocument {
                    id: packing::binary(key(batch, level, shard)),
                    app_id: i32::from(batch.app.0),
                    notification_id: batch.notification.0,
                    event: batch.event.number(),
                    created_at: stored(now),
                    first_event_id,
                    devices: packing::binary(packing::pack_ids(&devices)),
                }
            })
            .collect();
        ignore_duplicate_keys(self.collection.insert_many(documents).ordered(false).await)
    }

    /// Everything that was logged for a device, newest notification first within each level.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or a document is corrupt.
    pub async fn history(&self, app: AppId, device: DeviceId) -> Result<Vec<HistoryEntry>, StorageError> {
        let ranges: Vec<_> = (0..LEVELS.len())
            .map(|level| {
                let shard = shard_of(bucket(device), level);
                let from = prefix(app, level, shard);
                let mut to = from.clone();
                to.extend_from_slice(&[u8::MAX; 16]);
                doc! { "_id": { "$gte": packing::binary(pad(from)), "$lte": packing::binary(to) } }
            })
            .collect();
        let mut entries = Vec::new();
        for range in ranges {
            let mut cursor = self.collection.find(range).sort(doc! { "_id": 1 }).await?;
            while let Some(document) = cursor.try_next().await? {
                if let Some(position) = packing::position_of(&document.devices.bytes, device) {
                    entries.push(document.entry(position)?);
                }
            }
        }
        Ok(entries)
    }
}

impl LogDocument {
    fn entry(&self, position: usize) -> Result<HistoryEntry, StorageError> {
        Ok(HistoryEntry {
            id: self.first_event_id + position as i64,
            notification: NotificationId(self.notification_id),
            event: LogEvent::from_number(self.event)
                .ok_or_else(|| StorageError::corrupt(COLLECTION, "event", self.notification_id))?,
            created_at: read(self.created_at),
        })
    }
}

fn shard_of(bucket: u16, level: usize) -> u16 {
    (bucket - 1) / LEVELS[level]
}

/// The devices by shard, at the narrowest level that needs few documents for them.
pub(crate) fn shards(devices: &[DeviceId]) -> BTreeMap<(usize, u16), Vec<DeviceId>> {
    let few = (devices.len() / 64).max(8);
    let mut buckets: Vec<u16> = devices.iter().map(|device| bucket(*device)).collect();
    buckets.sort_unstable();
    let level = (0..LEVELS.len() - 1)
        .find(|level| {
            let mut seen: Vec<u16> = buckets.iter().map(|bucket| shard_of(*bucket, *level)).collect();
            seen.dedup();
            seen.len() <= few
        })
        .unwrap_or(LEVELS.len() - 1);
    let mut shards: BTreeMap<_, Vec<DeviceId>> = BTreeMap::new();
    for device in devices {
        shards
            .entry((level, shard_of(bucket(*device), level)))
            .or_default()
            .push(*device);
    }
    shards
}

fn prefix(app: AppId, level: usize, shard: u16) -> Vec<u8> {
    let mut id = Vec::with_capacity(21);
    id.extend_from_slice(&app.0.to_be_bytes());
    id.push(level as u8);
    id.extend_from_slice(&shard.to_be_bytes());
    id
}

/// BSON orders binaries by length first, so the ends of a range have the length of the ids.
fn pad(mut id: Vec<u8>) -> Vec<u8> {
    id.resize(21, 0);
    id
}

fn key(batch: &LogBatch<'_>, level: usize, shard: u16) -> Vec<u8> {
    let mut id = prefix(batch.app, level, shard);
    id.extend_from_slice(&(!(batch.notification.0 as u64)).to_be_bytes());
    let digest = Sha256::new()
        .chain_update([batch.event.number() as u8])
        .chain_update(batch.batch_id)
        .finalize();
    id.extend_from_slice(&digest[..8]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(count: u64) -> Vec<DeviceId> {
        (1..=count).map(DeviceId).collect()
    }

    #[test]
    fn a_dense_window_lies_in_narrow_shards() {
        let mut dense: Vec<DeviceId> = devices(1_000_000)
            .into_iter()
            .filter(|id| (100..105).contains(&bucket(*id)))
            .collect();
        dense.truncate(500);
        let shards = shards(&dense);
        assert!(shards.keys().all(|(level, _)| *level == 0));
        assert!(shards.len() <= 8);
    }

    #[test]
    fn a_sparse_batch_does_not_fall_apart_into_a_document_per_device() {
        for count in [1, 7, 50, 500, 5_000] {
            let documents = shards(&devices(count));
            assert!(
                documents.len() <= (count as usize / 64).max(10),
                "{count} devices: {}",
                documents.len()
            );
            assert_eq!(documents.values().map(Vec::len).sum::<usize>(), count as usize);
        }
    }

    #[test]
    fn a_single_send_lies_in_the_narrowest_shard() {
        assert!(shards(&devices(1)).keys().all(|(level, _)| *level == 0));
    }

    #[test]
    fn ids_are_of_one_length_and_newest_notifications_come_first() {
        let batch = |notification| LogBatch {
            app: AppId(1),
            notification: NotificationId(notification),
            batch_id: "b",
            event: LogEvent::Sent,
            devices: &[],
        };
        let (older, newer) = (key(&batch(1), 0, 5), key(&batch(2), 0, 5));
        assert_eq!((older.len(), newer.len()), (21, 21));
        assert!(newer < older);
    }
}
