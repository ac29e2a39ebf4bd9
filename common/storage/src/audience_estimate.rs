//! About how large an audience is, from a part of its app.
//!
//! A planner wants to know whether a condition leaves fifty devices of a million, or half of them, and has
//! no time to count. A device's bucket is a mix of its id, so some buckets are like all others, unless the
//! condition is about the bucket itself, as that of a staged launch is. So buckets are taken from those
//! that it leaves possible at all: from ten places among them, and from another part of each.

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
const PLACES: usize = 10;
/// Devices that are sooner read through than asked around.
const PASSED_OVER: u64 = 100;

impl Audiences {
    /// About how many devices meet a condition. `devices` is how many the app has, or more; with up to
    /// 20,000 of them in the buckets that the condition leaves possible the answer is exact.
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
        let possible: Vec<u16> = (1..=BUCKETS)
            .filter(|bucket| condition.in_bucket(*bucket, now) != Some(false))
            .collect();
        let buckets_of = |some: u64| some * u64::from(BUCKETS) / devices.max(1);
        let wanted = usize::try_from(buckets_of(LOOKED_AT)).unwrap_or(usize::MAX);
        let taken = taken(&possible, wanted);
        let gap = u16::try_from(buckets_of(PASSED_OVER)).unwrap_or(BUCKETS);
        let ranges: Vec<BucketRange> = taken.iter().flat_map(|place| ranges(place, gap)).collect();
        let counts = ranges.into_iter().map(|buckets| {
            let range = AudienceRange {
                app,
                buckets,
                upper_id: DeviceId(u64::MAX),
                after: None,
            };
            self.count_range(range, condition, now, max_time)
        });
        let found: u64 = stream::iter(counts)
            .buffer_unordered(2)
            .try_fold(0, async |sum, count| Ok(sum + count))
            .await?;
        let looked_at: usize = taken.iter().map(|place| place.len()).sum();
        Ok(found.saturating_mul(possible.len() as u64) / looked_at.max(1) as u64)
    }
}

/// About `wanted` of the possible buckets, one of each place at least.
fn taken(possible: &[u16], wanted: usize) -> Vec<&[u16]> {
    let place = possible.len() / PLACES;
    if possible.len() <= wanted || place == 0 {
        return vec![possible];
    }
    let width = (wanted / PLACES).clamp(1, place);
    let first = |number| number * place + number * (place - width) / (PLACES - 1);
    (0..PLACES)
        .map(|number| &possible[first(number)..first(number) + width])
        .collect()
}

/// Ranges that cover these of the possible buckets. What lies between is not possible, so a range may as
/// well go over a `gap` of so many.
fn ranges(buckets: &[u16], gap: u16) -> impl Iterator<Item = BucketRange> {
    let runs = buckets.chunk_by(move |one, next| next - one <= gap.saturating_add(1));
    runs.filter_map(|run| {
        Some(BucketRange {
            first: *run.first()?,
            last: *run.last()?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_taken_from_ten_places_of_those_that_are_possible() {
        let all: Vec<u16> = (1..=BUCKETS).collect();
        let some = taken(&all, 200);
        let ends: Vec<_> = some.iter().map(|place| (place[0], place.len())).collect();
        assert_eq!((ends[0], ends[4], ends[9]), ((1, 20), (4_436, 20), (9_981, 20)));
        assert_eq!(taken(&all, usize::MAX), [&all[..]]);
        // A few are all looked at, however many devices the app has.
        assert_eq!(taken(&all[..7], 0), [&all[..7]]);
        assert_eq!(taken(&all[..100], 0).len(), PLACES);
        assert_eq!(taken(&[], 200).concat(), [0_u16; 0]);
    }

    #[test]
    fn possible_buckets_that_lie_apart_are_not_read_through() {
        let ranges = |gap| ranges(&[1, 2, 3, 5, 9_000], gap).collect::<Vec<_>>();
        let range = |first, last| BucketRange { first, last };
        assert_eq!(ranges(0), [range(1, 3), range(5, 5), range(9_000, 9_000)]);
        assert_eq!(ranges(1), [range(1, 5), range(9_000, 9_000)]);
    }
}
