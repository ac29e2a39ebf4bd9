//! About how large an audience is, from a part of its app.
//!
//! A planner wants to know whether a condition leaves fifty devices of a million, or half of them, and has
//! no time to count. A device's bucket is a mix of its id, so some buckets are like all others; they are
//! taken from ten places, and from another part of each, so that a condition on the bucket itself does not
//! mislead altogether.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jraze_domain::audience::Condition;
use jraze_domain::device::BUCKETS;
use jraze_domain::dispatch::BucketRange;
use jraze_domain::ids::{AppId, DeviceId};

use crate::audience_filter::AudienceRange;
use crate::audience_stream::Audiences;
use crate::error::StorageError;

/// Devices that are looked at, if the app has more: some ten milliseconds.
const LOOKED_AT: u64 = 20_000;
/// Places from which buckets are taken.
const PLACES: u16 = 10;
const _: () = assert!(BUCKETS.is_multiple_of(PLACES), "every bucket belongs to a place");

impl Audiences {
    /// About how many devices meet a condition. `devices` is how many the app has, or more; with up to
    /// 20,000 of them the answer is exact.
    ///
    /// # Errors
    /// [`StorageError::TimedOut`] when it takes longer than `max_time`, other errors when the database
    /// does not answer.
    pub async fn estimate(
        &self,
        app: AppId,
        condition: &Condition,
        now: DateTime<Utc>,
        devices: u64,
        max_time: Duration,
    ) -> Result<u64, StorageError> {
        let place = BUCKETS / PLACES;
        let wanted = LOOKED_AT * u64::from(place) / devices.max(1);
        let width = u16::try_from(wanted).map_or(place, |wanted| wanted.clamp(1, place));
        let counts = (0..PLACES).map(|number| {
            let before = number * place + number * (place - width) / (PLACES - 1);
            let range = AudienceRange {
                app,
                buckets: BucketRange {
                    first: before + 1,
                    last: before + width,
                },
                upper_id: DeviceId(u64::MAX),
                after: None,
            };
            self.count_range(range, condition, now, max_time)
        });
        let found: u64 = stream::iter(counts)
            .buffer_unordered(2)
            .try_fold(0, async |sum, count| Ok(sum + count))
            .await?;
        Ok(found.saturating_mul(u64::from(place)) / u64::from(width))
    }
}
