//! Cutting an audience into partitions.
//!
//! Devices lie in storage by bucket and then by id, and the bucket is a fixed mix of the id, so equal
//! ranges of buckets hold equal shares of the devices: the plan needs a count, not a scan.

use serde::{Deserialize, Serialize};

use crate::device::BUCKETS;

/// Devices that one partition should hold: five windows. A crash repeats a window and not a partition, so
/// what bounds it from above is that several workers come to an end at about the same time; and from below,
/// that leases, cursors and the last window, which is rarely full, matter little (with two windows to a
/// partition, every second one had a third window of some fifty devices).
pub const DEVICES_PER_PARTITION: u64 = 10_000;

/// Devices that one partition may have to read to find those that it sends to: a tenth of a second.
pub const DEVICES_READ_PER_PARTITION: u64 = 100_000;

/// However few are sent to, so many workers can take part, if the app has devices for them: each has its part
/// of a provider's quota, and what one does not use is lost.
const SHARED_BY: u64 = 8;

/// Devices of an app that are worth a worker of their own: two windows.
const DEVICES_WORTH_SHARING: u64 = 4_000;

/// A range of buckets, both ends included; buckets count from 1 to [`BUCKETS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketRange {
    /// The first bucket.
    pub first: u16,
    /// The last bucket.
    pub last: u16,
}

impl BucketRange {
    /// Every bucket.
    pub const ALL: BucketRange = BucketRange {
        first: 1,
        last: BUCKETS,
    };
}

/// The partitions of a campaign to about `matching` of an app's `devices`. How many there are is a matter of
/// pace only, so a wrong estimate does no harm.
pub fn partitions_for(matching: u64, devices: u64) -> Vec<BucketRange> {
    let to_send = matching.min(devices).div_ceil(DEVICES_PER_PARTITION);
    let to_read = devices.div_ceil(DEVICES_READ_PER_PARTITION);
    let to_share = devices.div_ceil(DEVICES_WORTH_SHARING).min(SHARED_BY);
    partitions(to_send.max(to_read).max(to_share), 1)
}

/// Ranges that together cover every bucket once, as many as `devices` make worth while: at least one,
/// at most one per bucket.
pub fn partitions(devices: u64, devices_per_partition: u64) -> Vec<BucketRange> {
    let wanted = devices.div_ceil(devices_per_partition.max(1));
    let count = wanted.clamp(1, u64::from(BUCKETS));
    let edge = |index: u64| (u64::from(BUCKETS) * index / count) as u16;
    (0..count)
        .map(|index| BucketRange {
            first: edge(index) + 1,
            last: edge(index + 1),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_cover_every_bucket_exactly_once() {
        for devices in [0, 1, 9_999, 10_000, 10_001, 100_000, 7_654_321, 100_000_000] {
            let plan = partitions(devices, DEVICES_PER_PARTITION);
            assert_eq!(plan.first().map(|range| range.first), Some(1));
            assert_eq!(plan.last().map(|range| range.last), Some(BUCKETS));
            for pair in plan.windows(2) {
                assert_eq!(pair[0].last + 1, pair[1].first, "{devices} devices");
            }
            assert!(plan.iter().all(|range| range.first <= range.last));
        }
    }

    #[test]
    fn a_few_of_many_devices_are_few_partitions_none_of_which_reads_for_long() {
        assert_eq!(partitions_for(50, 1_000_000).len(), 10);
        assert_eq!(partitions_for(1_000_000, 1_000_000).len(), 100);
        assert_eq!(partitions_for(500_000, 1_000_000).len(), 50);
        assert_eq!(
            partitions_for(9_000_000, 1_000_000).len(),
            100,
            "an estimate may be too high"
        );
        assert_eq!(
            partitions_for(50, 200_000).len(),
            8,
            "each worker has something to do"
        );
        assert_eq!(partitions_for(50, 16_000).len(), 4);
        assert_eq!(partitions_for(0, 0).len(), 1);
        assert_eq!(partitions_for(0, 100_000_000).len(), 1_000);
    }

    #[test]
    fn the_number_of_partitions_follows_the_devices() {
        assert_eq!(partitions(0, 4_000).len(), 1);
        assert_eq!(partitions(1_000_000, 4_000).len(), 250);
        assert_eq!(partitions(u64::MAX, 4_000).len(), usize::from(BUCKETS));
    }
}
