//! For the counts of `jraze-bench micro` only (feature `counted`).

use jraze_domain::ids::DeviceId;

use super::shards::shards;
use crate::packing;

/// The packed ids of each document that a batch becomes.
pub fn pack(devices: &[DeviceId]) -> Vec<Vec<u8>> {
    let mut shards = shards(devices);
    shards
        .values_mut()
        .map(|devices| {
            devices.sort_unstable();
            packing::pack_sorted(devices)
        })
        .collect()
}
