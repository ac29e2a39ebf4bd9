//! Taking out of the log what is too old.
//!
//! The log has no index by time, because every write would pay for it. But in each shard the oldest
//! notifications come last, so what is too old is the end of some twenty thousand ranges, each of which is
//! cleared by itself: short deletes, with as much rest between them as whoever asks wants.

use chrono::{DateTime, Utc};
use jraze_domain::ids::{AppId, DeviceId, NotificationId};
use mongodb::bson::doc;

use super::SendLog;
use super::shards::Shard;
use crate::error::StorageError;
use crate::time::stored;

/// One of the parts in which an app's log is cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPart(Shard);

impl LogPart {
    /// All parts of the log of an app whose newest device is `newest`.
    pub fn all(newest: DeviceId) -> impl Iterator<Item = LogPart> {
        Shard::all(newest).map(LogPart)
    }
}

impl SendLog {
    /// Takes out of one part what was logged before `before` about `newest` or an earlier notification, and
    /// returns how many documents that were. `newest` is only what bounds the work: the last notification
    /// that is older than `before`.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer; repeating the call is then safe.
    pub async fn forget(
        &self,
        app: AppId,
        part: LogPart,
        newest: NotificationId,
        before: DateTime<Utc>,
    ) -> Result<u64, StorageError> {
        let old = doc! { "_id": part.0.range(app, newest), "created_at": { "$lt": stored(before) } };
        Ok(self.collection.delete_many(old).await?.deleted_count)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use mongodb::bson::Document;

    use super::super::{COLLECTION, LogBatch, LogEvent};
    use super::*;
    use crate::test_util::TestDatabase;

    const DEVICE: DeviceId = DeviceId(5);

    fn at(day: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000, 0).expect("in range") + TimeDelta::days(day)
    }

    #[tokio::test]
    async fn what_is_too_old_goes_and_nothing_else_at_any_level() {
        let database = TestDatabase::new().await;
        let log = SendLog::new(&database);
        let add = async |app, notification, day: i64, devices: &[DeviceId]| {
            let batch = LogBatch {
                app: AppId(app),
                notification: NotificationId(notification),
                batch_id: &day.to_string(),
                event: LogEvent::Sent,
                devices,
            };
            log.add(&batch, at(day)).await.expect("logged");
        };
        // One alone is in the narrowest shard, ten thousand are in the widest ones.
        let many: Vec<DeviceId> = (1..=10_000).map(DeviceId).collect();
        for devices in [&[DEVICE][..], &many] {
            add(1, 1, 1, devices).await;
            // Made early, and tried again for long.
            add(1, 1, 30, devices).await;
            add(1, 2, 9, devices).await;
            add(1, 3, 30, devices).await;
            add(2, 1, 1, devices).await;
        }
        let days = async |app| {
            let history = log.history(AppId(app), DEVICE).await.expect("answers");
            let days = history.iter().map(|entry| (entry.created_at - at(0)).num_days());
            days.collect::<Vec<_>>()
        };
        assert_eq!(days(1).await, [30, 30, 30, 30, 9, 9, 1, 1], "newest first");

        let (newest, before) = (NotificationId(2), at(10));
        let documents = database.collection::<Document>(COLLECTION);
        let count = async || documents.count_documents(doc! {}).await.expect("answers");
        let all = count().await;
        let mut gone = 0;
        for part in Shard::all_of(DEVICE).map(LogPart) {
            gone += log.forget(AppId(1), part, newest, before).await.expect("answers");
        }
        assert_eq!((days(1).await, days(2).await), (vec![30; 4], vec![1, 1]));
        // Those of other shards are still there, and what an earlier notification logged is out of reach.
        assert_eq!((gone, all - count().await), (4, 4));
        for part in Shard::all_of(DEVICE).map(LogPart) {
            let early = log.forget(AppId(1), part, NotificationId(2), at(40)).await;
            early.expect("answers");
        }
        assert_eq!(days(1).await, [30, 30], "those of the newest notification");
    }
}
