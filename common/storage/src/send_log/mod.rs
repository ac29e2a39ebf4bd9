//! The send log: which notification reached which device, packed.
//!
//! One document holds some hundred devices of one batch. Its `_id` leads with what a device's history
//! is looked up by, and the collection is clustered on it, so writing is appending and a history is a
//! few short range reads:
//!
//! ```text
//! app u16 | level u8 | shard u16 | notification u64, inverted | batch u64            (21 bytes, big-endian)
//! app u16 | 5        | bucket u16 | run u16 | notification, inverted | batch         (23 bytes)
//! ```
//!
//! A *shard* is a run of buckets, and a *level* says how many: 1, 10, 100, 1000 or all of them; level 5 is
//! a part of one bucket, the devices whose ids differ in their last 24 bits only. A batch picks the
//! narrowest level that still packs it into few documents: dense campaigns use narrow shards that other
//! devices' histories never touch, sparse ones do not fall apart into a document per device. A bucket grows
//! with its app, a run does not: it holds 1,678 devices at most, whatever the size of the app.
//! The devices lie sorted (`crate::packing`), so they take three bytes each instead of eight, and looking for
//! one is a few steps. Documents of before have them in the order of the batch, in a field of another name.
//! The notification is inverted so that the newest comes first. The batch is part of the id, which
//! makes a replayed batch meet its own documents and change nothing.
//!
//! | file | is |
//! | --- | --- |
//! | `shards` | levels, shards and the ids that lead with them |
//! | [`history`] | reading |
//! | [`retention`] | taking out what is too old |
//! | `numbers` | the numbers of entries |

#[cfg(feature = "counted")]
pub(crate) mod counted;
mod history;
mod numbers;
mod retention;
mod shards;

use chrono::{DateTime, Utc};
use jraze_domain::ids::{AppId, DeviceId, NotificationId};
use mongodb::Collection;
use mongodb::bson::{self, Binary};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use self::numbers::Numbers;
use self::shards::{Shard, shards};
use crate::Store;
use crate::error::{StorageError, ignore_duplicate_keys};
use crate::packing;
use crate::time::stored;

pub use history::HistoryEntry;
pub use retention::LogPart;

/// The name of the collection.
pub(crate) const COLLECTION: &str = "send_log";

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

#[derive(Debug, Serialize)]
struct LogDocument {
    #[serde(rename = "_id")]
    id: Binary,
    app_id: i32,
    notification_id: i64,
    event: i32,
    created_at: bson::DateTime,
    first_event_id: i64,
    sorted: Binary,
}

/// The repository of the log.
#[derive(Debug, Clone)]
pub struct SendLog {
    collection: Collection<LogDocument>,
    numbers: Numbers,
}

impl SendLog {
    /// Over the store's collection.
    pub fn new(store: &Store) -> Self {
        Self {
            collection: store.collection(COLLECTION),
            numbers: Numbers::new(store),
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
        let mut next_event = self.numbers.next_many(batch.devices.len() as u64, now).await? as i64;
        let documents: Vec<LogDocument> = shards(batch.devices)
            .into_iter()
            .map(|(shard, mut devices)| {
                devices.sort_unstable();
                let first_event_id = next_event;
                next_event += devices.len() as i64;
                LogDocument {
                    id: packing::binary(key(batch, shard)),
                    app_id: i32::from(batch.app.0),
                    notification_id: batch.notification.0,
                    event: batch.event.number(),
                    created_at: stored(now),
                    first_event_id,
                    sorted: packing::binary(packing::pack_sorted(&devices)),
                }
            })
            .collect();
        ignore_duplicate_keys(self.collection.insert_many(documents).ordered(false).await)
    }
}

fn key(batch: &LogBatch<'_>, shard: Shard) -> Vec<u8> {
    let digest = Sha256::new()
        .chain_update([batch.event.number() as u8])
        .chain_update(batch.batch_id)
        .finalize();
    let mut of_batch = [0; 8];
    of_batch.copy_from_slice(&digest[..8]);
    shard.key(batch.app, batch.notification, of_batch)
}
