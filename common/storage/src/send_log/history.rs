//! What was logged for a device.

use chrono::{DateTime, Utc};
use jraze_domain::ids::{AppId, DeviceId, NotificationId};
use mongodb::bson::{self, Document, RawBsonRef, RawDocument, RawDocumentBuf, doc};

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
        let mut cursor = self
            .collection
            .aggregate(pipeline(app, device))
            .batch_size(BATCH_SIZE)
            .with_type::<RawDocumentBuf>()
            .await?;
        let mut entries = Vec::new();
        while cursor.advance().await? {
            entries.extend(entry(cursor.current(), device)?);
        }
        entries.sort_unstable_by_key(|entry| std::cmp::Reverse((entry.created_at, entry.id)));
        Ok(entries)
    }
}

/// The documents of all shards that the device may be in. One command, because most shards are empty and a
/// command for each costs more than the documents of the others.
fn pipeline(app: AppId, device: DeviceId) -> Vec<Document> {
    let newest = NotificationId(i64::MAX);
    let [first, others @ ..] = Shard::all_of(device).map(|shard| {
        vec![
            doc! { "$match": { "_id": shard.range(app, newest) } },
            doc! { "$sort": { "_id": 1 } },
            doc! { "$limit": MOST_DOCUMENTS },
        ]
    });
    let others = others
        .into_iter()
        .map(|shard| doc! { "$unionWith": { "coll": COLLECTION, "pipeline": shard } });
    first.into_iter().chain(others).collect()
}

/// What a document says of a device, if anything.
fn entry(document: &RawDocument, device: DeviceId) -> Result<Option<HistoryEntry>, StorageError> {
    let (mut notification, mut event, mut created_at, mut first, mut position) =
        (None, None, None, None, None);
    let mut devices = false;
    // One pass; look-ups by name would each start at the front.
    for field in document {
        let (name, value) = field.map_err(|_| corrupt("(any)", notification))?;
        match (name.as_str(), value) {
            ("notification_id", RawBsonRef::Int64(id)) => notification = Some(id),
            ("event", RawBsonRef::Int32(number)) => event = LogEvent::from_number(number),
            ("created_at", RawBsonRef::DateTime(at)) => created_at = Some(at),
            ("first_event_id", RawBsonRef::Int64(id)) => first = Some(id),
            ("sorted", RawBsonRef::Binary(packed)) => {
                devices = true;
                position = packing::position_in_sorted(packed.bytes, device)
                    .map_err(|_| corrupt("sorted", notification))?;
            }
            // As it was written before.
            ("devices", RawBsonRef::Binary(packed)) => {
                devices = true;
                position = packing::position_of(packed.bytes, device);
            }
            _ => {}
        }
    }
    if !devices {
        return Err(corrupt("sorted", notification));
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

#[cfg(test)]
mod tests {
    use mongodb::Collection;

    use super::super::{LogBatch, LogDocument};
    use super::*;
    use crate::test_util::TestDatabase;

    const APP: AppId = AppId(1);

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000 + 60 * minute, 0).expect("in range")
    }

    fn batch<'a>(notification: i64, devices: &'a [DeviceId]) -> LogBatch<'a> {
        LogBatch {
            app: APP,
            notification: NotificationId(notification),
            batch_id: "7:p:0:1",
            event: LogEvent::Sent,
            devices,
        }
    }

    /// What a version before sorted devices wrote.
    #[derive(serde::Serialize)]
    struct Before {
        #[serde(rename = "_id")]
        id: bson::Binary,
        app_id: i32,
        notification_id: i64,
        event: i32,
        created_at: bson::DateTime,
        first_event_id: i64,
        devices: bson::Binary,
    }

    #[tokio::test]
    async fn documents_of_before_are_read_and_a_replay_over_them_changes_nothing() {
        let database = TestDatabase::new().await;
        let log = SendLog::new(&database);
        let devices = [9, 3, 70_000, 5].map(DeviceId);
        let of_batch = batch(1, &devices);
        let before: Collection<Before> = database.collection(COLLECTION);
        for (shard, devices) in super::super::shards::shards(&devices) {
            let document = Before {
                id: packing::binary(super::super::key(&of_batch, shard)),
                app_id: 1,
                notification_id: 1,
                event: 1,
                created_at: crate::time::stored(at(1)),
                first_event_id: 40,
                devices: packing::binary(packing::pack_ids(&devices)),
            };
            before.insert_one(document).await.expect("inserted");
        }
        log.add(&of_batch, at(2)).await.expect("a replay is fine");
        log.add(&batch(2, &devices), at(3)).await.expect("logged");
        for device in devices {
            let history = log.history(APP, device).await.expect("answers");
            let seen: Vec<_> = history.iter().map(|e| (e.notification.0, e.created_at)).collect();
            assert_eq!(seen, [(2, at(3)), (1, at(1))], "{device}");
        }
        assert_eq!(log.history(APP, DeviceId(4)).await.expect("answers"), []);
    }

    #[tokio::test]
    async fn each_device_of_a_batch_has_a_number_of_its_own_in_whatever_order_they_come() {
        let database = TestDatabase::new().await;
        let log = SendLog::new(&database);
        let devices: Vec<DeviceId> = (0..700_u64)
            .rev()
            .map(|n| DeviceId(1 + n * n * 31 % 90_001))
            .collect();
        log.add(&batch(1, &devices), at(1)).await.expect("logged");
        let mut numbers = std::collections::BTreeSet::new();
        for device in &devices {
            let history = log.history(APP, *device).await.expect("answers");
            assert_eq!(history.len(), 1, "{device}");
            numbers.insert(history[0].id);
        }
        assert_eq!(numbers, (1..=700).collect());
    }

    #[tokio::test]
    async fn a_document_whose_devices_cannot_be_read_is_no_empty_history() {
        let database = TestDatabase::new().await;
        let log = SendLog::new(&database);
        let devices = [DeviceId(5)];
        log.add(&batch(1, &devices), at(1)).await.expect("logged");
        let documents: Collection<LogDocument> = database.collection(COLLECTION);
        for damage in [
            doc! { "$set": { "sorted": packing::binary(vec![3, 0, 0]) } },
            doc! { "$rename": { "sorted": "of_tomorrow" } },
        ] {
            documents.update_one(doc! {}, damage).await.expect("damaged");
            let history = log.history(APP, DeviceId(5)).await;
            assert!(
                matches!(history, Err(StorageError::Corrupt { .. })),
                "{history:?}"
            );
        }
    }
}
