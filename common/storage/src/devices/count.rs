//! Counting devices in ranges of buckets side by side, because the server gives one core to each query.
//!
//! No device is counted twice or missed for that: it keeps its bucket for ever.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jraze_domain::dispatch::plan::partitions;
use jraze_domain::ids::AppId;
use mongodb::Collection;
use mongodb::bson::{Document, doc};
use mongodb::options::Hint;
use tokio::time::Instant;

use crate::audience_filter::id_range;
use crate::error::StorageError;

/// Parts of a count at most, and how many of them the server is asked for at once: it has that many cores, or
/// does one after the other. More parts than that, so that one that takes longer holds up none.
const APART: u64 = 20;
const AT_ONCE: usize = 8;
/// Devices that are worth a part: some milliseconds.
const DEVICES_OF_A_PART: u64 = 10_000;

/// How many of an app's devices, which are about `devices`, a filter selects, read in storage order. What the
/// filter says about `_id` is left aside.
pub(crate) async fn count_apart<T: Send + Sync>(
    collection: &Collection<T>,
    app: AppId,
    devices: u64,
    filter: &Document,
    end: Instant,
) -> Result<u64, StorageError> {
    let parts = partitions(devices.min(APART * DEVICES_OF_A_PART), DEVICES_OF_A_PART);
    let counts = parts.into_iter().map(|buckets| async move {
        let mut part = filter.clone();
        part.insert("_id", id_range(app, buckets, None));
        let count = collection.count_documents(part);
        let count = count.hint(Hint::Keys(doc! { "_id": 1 }));
        Ok(count.max_time(left(end)).await?)
    });
    let counts = stream::iter(counts).buffer_unordered(AT_ONCE);
    counts.try_fold(0, async |sum, count| Ok(sum + count)).await
}

/// The time until `end` for the server, to which nothing is no limit.
pub(crate) fn left(end: Instant) -> Duration {
    end.saturating_duration_since(Instant::now())
        .max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use jraze_domain::audience::{Condition, Limits};
    use jraze_domain::device::{ExternalId, Registration, bucket};
    use jraze_domain::ids::DeviceId;
    use serde_json::json;

    use super::*;
    use crate::devices::{COLLECTION, Change, DeviceSearch, Devices};
    use crate::test_util::TestDatabase;

    #[tokio::test]
    async fn the_total_of_a_search_is_counted_in_parts_unless_names_say_where_to_look() {
        let database = TestDatabase::new().await;
        let (app, now, max_time) = (AppId(1), DateTime::UNIX_EPOCH, Duration::from_secs(10));
        let devices = Devices::new(&database);
        let name = |n: i32| ExternalId::new(format!("d{n}")).expect("a name");
        let all = (0..900).map(|n| Change::register(Registration::of(name(n))));
        for outcome in devices.import(app, all.collect(), now).await {
            outcome.expect("made");
        }
        // Of an app of this many devices, if it had not lost most of them.
        let lost = 200_000 - 900;
        devices.ids.next_many(app, lost).await.expect("numbers");
        let profile = async |level: i32| {
            let set = database.database().run_command(doc! { "profile": level });
            set.await.expect("set");
        };
        let tree = json!({"key": "device.random_bucket", "operator": "int_lte", "value": 3_000});
        let low = (1..=900).filter(|id| bucket(DeviceId(*id)) <= 3_000).count() as u64;
        let condition = Condition::parse(&tree, Limits::default()).expect("a tree");
        profile(2).await;
        for (condition, total) in [(Some(condition), low), (None, 900)] {
            let search = DeviceSearch {
                condition,
                size: 3,
                ..DeviceSearch::default()
            };
            let page = devices.search(app, &search, now, max_time).await;
            let page = page.expect("answers");
            assert_eq!((page.total, page.devices.len()), (total, 3));
        }
        let named = DeviceSearch {
            external_ids: Some(vec![name(1), name(5_000)]),
            size: 3,
            ..DeviceSearch::default()
        };
        let page = devices.search(app, &named, now, max_time).await.expect("answers");
        assert_eq!((page.total, page.devices.len()), (1, 1));
        profile(0).await;

        // By a name it is one count; and the totals say that parts neither overlap nor leave out any.
        let profile = database.collection::<Document>("system.profile");
        let counts = profile.count_documents(doc! { "command.aggregate": COLLECTION });
        assert_eq!(counts.await.expect("counted"), 2 * APART + 1);
    }
}
