//! Levels and shards.

use std::collections::{BTreeMap, HashSet};

use jraze_domain::device::{BUCKETS, bucket};
use jraze_domain::ids::{AppId, DeviceId, NotificationId};
use mongodb::bson::{Document, doc};

use crate::packing;

/// The last bits of an id that devices of one run may differ in.
const RUN_BITS: u32 = 24;

/// How wide the shards of a level are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    /// The devices of one bucket whose ids lie in one run.
    Run,
    /// So many buckets.
    Buckets(u16),
}

/// Narrowest first, each with the number in the ids. A number keeps its meaning for ever.
const LEVELS: [(u8, Width); 6] = [
    (5, Width::Run),
    (0, Width::Buckets(1)),
    (1, Width::Buckets(10)),
    (2, Width::Buckets(100)),
    (3, Width::Buckets(1_000)),
    (4, Width::Buckets(BUCKETS)),
];

/// Where some devices' entries lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Shard {
    level: u8,
    /// Of the level's shards, or the bucket.
    number: u16,
    run: Option<u16>,
}

impl Shard {
    fn of(device: DeviceId, (level, width): (u8, Width)) -> Self {
        let bucket = bucket(device);
        match width {
            Width::Run => Self {
                level,
                number: bucket,
                run: Some(run_of(device)),
            },
            Width::Buckets(buckets) => Self {
                level,
                number: (bucket - 1) / buckets,
                run: None,
            },
        }
    }

    /// The shards that a device's entries may be in.
    pub(super) fn all_of(device: DeviceId) -> [Self; LEVELS.len()] {
        LEVELS.map(|level| Self::of(device, level))
    }

    /// Every shard of an app whose newest device is `newest`.
    pub(super) fn all(newest: DeviceId) -> impl Iterator<Item = Self> {
        LEVELS.into_iter().flat_map(move |(level, width)| {
            let (numbers, runs) = match width {
                Width::Run => (1..=BUCKETS, Some(run_of(newest))),
                Width::Buckets(buckets) => (0..=(BUCKETS - 1) / buckets, None),
            };
            numbers.flat_map(move |number| {
                let runs: Vec<Option<u16>> = match runs {
                    Some(last) => (0..=last).map(Some).collect(),
                    None => vec![None],
                };
                runs.into_iter().map(move |run| Self { level, number, run })
            })
        })
    }

    fn prefix(self, app: AppId) -> Vec<u8> {
        let mut id = Vec::with_capacity(23);
        id.extend_from_slice(&app.0.to_be_bytes());
        id.push(self.level);
        id.extend_from_slice(&self.number.to_be_bytes());
        if let Some(run) = self.run {
            id.extend_from_slice(&run.to_be_bytes());
        }
        id
    }

    /// The id of a batch's document in this shard.
    pub(super) fn key(self, app: AppId, notification: NotificationId, batch: [u8; 8]) -> Vec<u8> {
        let mut id = self.prefix(app);
        id.extend_from_slice(&inverted(notification));
        id.extend_from_slice(&batch);
        id
    }

    /// The ids of the entries of `newest` and of every notification before it. BSON orders binaries by
    /// length first, so both ends have the length of the ids.
    pub(super) fn range(self, app: AppId, newest: NotificationId) -> Document {
        let from = self.key(app, newest, [0; 8]);
        let mut to = self.prefix(app);
        to.extend_from_slice(&[u8::MAX; 16]);
        doc! { "$gte": packing::binary(from), "$lte": packing::binary(to) }
    }
}

/// Newer notifications come first.
fn inverted(notification: NotificationId) -> [u8; 8] {
    (!(notification.0 as u64)).to_be_bytes()
}

fn run_of(device: DeviceId) -> u16 {
    u16::try_from(device.0 >> RUN_BITS).unwrap_or(u16::MAX)
}

/// The devices by shard, at the narrowest level that needs few documents for them.
pub(super) fn shards(devices: &[DeviceId]) -> BTreeMap<Shard, Vec<DeviceId>> {
    let few = (devices.len() / 64).max(8);
    let needs_few = |level| {
        let (mut seen, mut last) = (HashSet::with_capacity(few + 1), None);
        devices.iter().all(|device| {
            let shard = Shard::of(*device, level);
            // Mostly that of the one before: a window is in storage order.
            if last.replace(shard) != Some(shard) {
                seen.insert(shard);
            }
            seen.len() <= few
        })
    };
    let widest = LEVELS[LEVELS.len() - 1];
    let level = LEVELS
        .into_iter()
        .find(|level| needs_few(*level))
        .unwrap_or(widest);
    let mut shards: BTreeMap<_, Vec<DeviceId>> = BTreeMap::new();
    for device in devices {
        shards.entry(Shard::of(*device, level)).or_default().push(*device);
    }
    shards
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
        assert!(shards.keys().all(|shard| shard.run == Some(0)));
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
        assert!(shards(&devices(1)).keys().all(|shard| shard.run == Some(0)));
    }

    #[test]
    fn a_shard_of_the_narrowest_level_does_not_grow_with_the_app() {
        // Two thousand devices of one bucket of an app of twenty million, as a campaign meets them.
        let of_bucket: Vec<DeviceId> = (1..=20_000_000)
            .map(DeviceId)
            .filter(|id| bucket(*id) == 77)
            .collect();
        for window in of_bucket.chunks(1_000) {
            let shards = shards(window);
            assert!(shards.len() <= 2 && shards.keys().all(|shard| shard.run.is_some()));
        }
        let first_run = of_bucket.iter().filter(|id| id.0 >> RUN_BITS == 0).count();
        assert!((1_400..2_000).contains(&first_run), "{first_run}");
    }

    #[test]
    fn ids_of_a_shard_are_of_one_length_and_newest_notifications_come_first() {
        for shard in Shard::all_of(DeviceId(9)) {
            let key = |number| shard.key(AppId(1), NotificationId(number), [7; 8]);
            let length = if shard.run.is_some() { 23 } else { 21 };
            assert_eq!((key(1).len(), key(2).len()), (length, length));
            assert!(key(2) < key(1));
        }
    }

    #[test]
    fn every_shard_that_a_device_may_be_in_is_among_all() {
        let newest = DeviceId(40_000_000);
        let all: HashSet<Shard> = Shard::all(newest).collect();
        assert_eq!(all.len(), 3 * 10_000 + 10_000 + 1_000 + 100 + 10 + 1);
        for id in [1, 16_777_215, 16_777_216, 39_999_999] {
            for shard in Shard::all_of(DeviceId(id)) {
                assert!(all.contains(&shard), "{shard:?}");
            }
        }
    }
}
