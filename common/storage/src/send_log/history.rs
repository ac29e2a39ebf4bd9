//! What was logged for a device.

use chrono::{DateTime, Utc};
use futures_util::future::try_join_all;
use jraze_domain::ids::{AppId, DeviceId, NotificationId};
use mongodb::Collection;
use mongodb::bson::{self, RawBsonRef, RawDocument, RawDocumentBuf, doc};

use super::shards::Shard;
use super::{COLLECTION, LogEvent, SendLog};
use crate::error::StorageError;
use crate::packing;
use crate::time::read;

/// Documents of one shard that a history looks at, those of the newest notifications: a shard has one of
/// each campaign, or a few. Seven years of four campaigns a day.
const MOST_DOCUMENTS: i64 = 10_000;

/// Documents fetched at once; the default of a hundred would ask again for nearly every history.
const BATCH_SIZE: u32 = 2_000;

/// One entry of a device's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Its number. Entries that one process logged later have higher numbers; of entries that several
    /// processes logged within a second, any may have the higher one.
    pub id: i64,
    /// What was sent.
    pub notification: NotificationId,
    /// What happened.
    pub event: LogEvent,
    /// When it was logged.
    pub created_at: DateTime<Utc>,
}

impl SendLog {
    /// What was logged for a device, newest first. It holds the entries of the device alone in memory, and
    /// reads ten thousand documents of each level at most, newest notifications first.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or a document is corrupt.
    pub async fn history(&self, app: AppId, device: DeviceId) -> Result<Vec<HistoryEntry>, StorageError> {
        // Side by side, because most are empty and all there is to them is the way there and back.
        let shards = Shard::all_of(device);
        let found = try_join_all(shards.map(|shard| self.of_shard(app, shard, device))).await?;
        let mut entries = found.concat();
        entries.sort_unstable_by_key(|entry| std::cmp::Reverse((entry.created_at, entry.id)));
        Ok(entries)
    }

    async fn of_shard(
        &self,
        app: AppId,
        shard: Shard,
        device: DeviceId,
    ) -> Result<Vec<HistoryEntry>, StorageError> {
        let documents: Collection<RawDocumentBuf> = self.collection.clone_with_type();
        let newest = NotificationId(i64::MAX);
        let mut cursor = documents
            .find(doc! { "_id": shard.range(app, newest) })
            .sort(doc! { "_id": 1 })
            .limit(MOST_DOCUMENTS)
            .batch_size(BATCH_SIZE)
            .await?;
        let mut entries = Vec::new();
        while cursor.advance().await? {
            entries.extend(entry(cursor.current(), device)?);
        }
        Ok(entries)
    }
}

/// What a document says of a device, if anything.
fn entry(document: &RawDocument, device: DeviceId) -> Result<Option<HistoryEntry>, StorageError> {
    let (mut notification, mut event, mut created_at, mut first, mut position) =
        (None, None, None, None, None);
    let mut names_devices = false;
    // One pass; look-ups by name would each start at the front.
    for field in document {
        let (name, value) = field.map_err(|_| corrupt("(any)", notification))?;
        match (name.as_str(), value) {
            ("notification_id", RawBsonRef::Int64(id)) => notification = Some(id),
            ("event", RawBsonRef::Int32(number)) => event = LogEvent::from_number(number),
            ("created_at", RawBsonRef::DateTime(at)) => created_at = Some(at),
            ("first_event_id", RawBsonRef::Int64(id)) => first = Some(id),
            ("devices", RawBsonRef::Binary(packed)) => {
                names_devices = true;
                position = packing::position_of(packed.bytes, device);
            }
            _ => {}
        }
    }
    if !names_devices {
        return Err(corrupt("devices", notification));
    }
    let Some(position) = position else {
        return Ok(None);
    };
    let first: i64 = first.ok_or_else(|| corrupt("first_event_id", notification))?;
    let created_at: bson::DateTime = created_at.ok_or_else(|| corrupt("created_at", notification))?;
    Ok(Some(HistoryEntry {
        id: first + position as i64,
        event: event.ok_or_else(|| corrupt("event", notification))?,
        created_at: read(created_at),
        notification: NotificationId(notification.ok_or_else(|| corrupt("notification_id", None))?),
    }))
}

fn corrupt(field: &'static str, notification: Option<i64>) -> StorageError {
    let notification = notification.map_or_else(|| "?".to_owned(), |id| id.to_string());
    StorageError::corrupt(COLLECTION, field, notification)
}
