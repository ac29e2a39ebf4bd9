//! A quota per minute as an even stream of requests.
//!
//! A bucket that holds a tenth of a second's worth: a worker that rested does not come back with a burst
//! that the provider's own bucket, which others may share, cannot take.
//!
//! Three things lower its rate, each on its own:
//!
//! | | from | to |
//! | --- | --- | --- |
//! | the *part* of the quota that is this worker's | others that send under it | what `crate::fleet` says |
//! | the *level* after a used-up quota | half of what it was | back by 10 % of the full rate in 10 s |
//! | the *ramp* while it warms up | a tenth | full, in the time of the settings |
//!
//! The ramp follows the use and not the clock. It rises while requests wait for their turn and falls at the
//! same pace while they do not, so a trickle that never ends does not hide the start of a campaign, and a
//! lane that rested begins anew. Up to [`UNRAMPED`] requests a second in all it is not heeded: FCM asks for it where
//! "large volumes" are sent, and at a few requests a second nobody is helped by fewer.

use std::time::Duration;

use tokio::time::Instant;

/// The bucket holds what comes in this many seconds.
const BURST_SECONDS: f64 = 0.1;
/// Requests leave in bunches of what comes in so long: three hundred of FCM's quota. Each by itself would be a
/// timer, a wake-up and a packet of its own, for an evenness that the way to the provider does not keep.
const TICK: Duration = Duration::from_millis(30);
/// Part of the full rate that comes back in a second after a halving: 10 % in 10 s.
const RECOVERY_PER_SECOND: f64 = 0.01;
/// However often it is halved, this part of the full rate is left.
const LEAST_PART: f64 = 1.0 / 64.0;
/// Where the ramp begins, as a part of the full rate.
const RAMP_FROM: f64 = 0.1;
/// Requests a second, of all workers together, that need no ramp.
const UNRAMPED: f64 = 100.0;

/// A token bucket whose rate is divided, halved and warmed up.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    /// Requests a second that the quota allows everybody together.
    quota: f64,
    /// What of it is this worker's, above 0 and up to 1.
    part: f64,
    /// The level right after the last halving, and when that was.
    halved_to: f64,
    halved_at: Option<Instant>,
    /// Between [`RAMP_FROM`] and 1.
    ramp: f64,
    /// What the ramp rises in a second of use. `None`: it stays at 1.
    rise: Option<f64>,
    /// Requests that may leave now, and when that was so.
    left: f64,
    at: Instant,
}

impl Rate {
    /// `per_minute` is at least 1; `warm_up` is the time from the first tenth to the full rate, 0 for none.
    pub(super) fn new(per_minute: u32, warm_up: Duration, now: Instant) -> Self {
        let rise = (!warm_up.is_zero()).then(|| (1.0 - RAMP_FROM) / warm_up.as_secs_f64());
        Self {
            quota: f64::from(per_minute.max(1)) / 60.0,
            part: 1.0,
            halved_to: 1.0,
            halved_at: None,
            ramp: if rise.is_some() { RAMP_FROM } else { 1.0 },
            rise,
            left: 1.0,
            at: now,
        }
    }

    /// Requests a second at `now`.
    pub(super) fn per_second(&self, now: Instant) -> f64 {
        let full = self.quota * self.part;
        (full * self.level(now)).min((full * self.ramp).max(UNRAMPED * self.part))
    }

    /// The part of the full rate that a used-up quota leaves.
    fn level(&self, now: Instant) -> f64 {
        let Some(halved_at) = self.halved_at else {
            return 1.0;
        };
        let recovered = now.saturating_duration_since(halved_at).as_secs_f64() * RECOVERY_PER_SECOND;
        (self.halved_to + recovered).min(1.0)
    }

    /// From now on this part of the quota is this worker's; above 0, up to 1.
    pub(super) fn set_part(&mut self, part: f64, now: Instant) {
        self.gain(now);
        self.part = part;
    }

    /// What came in since the last look.
    fn gain(&mut self, now: Instant) {
        let rate = self.per_second(now);
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        let came = self.left + passed * rate;
        if let Some(rise) = self.rise {
            // While the bucket ran over, nobody waited.
            let unused = ((came - room(rate)) / rate).clamp(0.0, passed);
            self.ramp = (self.ramp + (passed - 2.0 * unused) * rise).clamp(RAMP_FROM, 1.0);
        }
        self.left = came.min(room(self.per_second(now)));
        self.at = self.at.max(now);
    }

    /// Takes the right to one request, or tells how long until there may be one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.gain(now);
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        let wait = Duration::from_secs_f64((1.0 - self.left) / self.per_second(now));
        Err(wait.max(TICK))
    }

    /// The quota was used up for a request that left at `left_at`.
    pub(super) fn halve(&mut self, left_at: Instant, now: Instant) {
        if self.halved_at.is_some_and(|halved_at| left_at <= halved_at) {
            return;
        }
        self.gain(now);
        self.halved_to = (self.level(now) / 2.0).max(LEAST_PART);
        self.halved_at = Some(now);
    }
}

/// Requests that the bucket holds.
fn room(rate: f64) -> f64 {
    (rate * BURST_SECONDS).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    /// No warming up.
    const NONE: Duration = Duration::ZERO;
    const MINUTE: Duration = Duration::from_secs(60);

    /// How many requests leave from `from` on within `span`, one after the other.
    fn leave(rate: &mut Rate, from: Instant, span: Duration) -> usize {
        let (mut now, mut left) = (from, 0);
        while now < from + span {
            match rate.take(now) {
                Ok(()) => left += 1,
                Err(wait) => now += wait,
            }
        }
        left
    }

    #[test]
    fn a_minute_carries_the_quota_and_hardly_more() {
        for quota in [60, 3_000, 600_000] {
            let start = Instant::now();
            let mut rate = Rate::new(quota, NONE, start);
            let left = leave(&mut rate, start, 60 * SECOND);
            let most = quota as usize + (quota as usize / 600).max(1);
            // The end cuts off a wait, and the bunch that would have come with it.
            let cut_off = (f64::from(quota) / 60.0 * TICK.as_secs_f64()).ceil() as usize;
            assert!(
                (quota as usize - cut_off..=most).contains(&left),
                "{quota}: {left}"
            );
        }
    }

    #[test]
    fn a_rest_earns_no_more_than_a_tenth_of_a_second() {
        let start = Instant::now();
        let mut rate = Rate::new(600_000, NONE, start);
        let later = start + 3_600 * SECOND;
        let at_once = std::iter::from_fn(|| rate.take(later).ok()).count();
        assert_eq!(at_once, 1_000);
    }

    #[test]
    fn a_quota_below_ten_a_second_still_sends_one_by_one() {
        let start = Instant::now();
        let mut rate = Rate::new(6, NONE, start);
        assert_eq!(rate.take(start), Ok(()));
        assert_eq!(rate.take(start), Err(10 * SECOND));
        assert_eq!(rate.take(start + 10 * SECOND), Ok(()));
    }

    #[test]
    fn a_used_up_quota_halves_once_for_all_that_was_under_way() {
        let start = Instant::now();
        let mut rate = Rate::new(6_000, NONE, start);
        for _ in 0..1_000 {
            rate.halve(start, start + SECOND);
        }
        assert!((rate.per_second(start + SECOND) - 50.0).abs() < 1e-9);
        rate.halve(start + SECOND + SECOND / 2, start + 2 * SECOND);
        assert!((rate.per_second(start + 2 * SECOND) - 25.5).abs() < 1e-9);
    }

    #[test]
    fn a_tenth_of_the_full_rate_comes_back_every_ten_seconds_up_to_the_full_rate() {
        let start = Instant::now();
        let mut rate = Rate::new(6_000, NONE, start);
        rate.halve(start, start);
        for (seconds, wanted) in [(0, 50.0), (10, 60.0), (30, 80.0), (50, 100.0), (500, 100.0)] {
            let found = rate.per_second(start + seconds * SECOND);
            assert!((found - wanted).abs() < 1e-9, "{seconds} s: {found}");
        }
    }

    #[test]
    fn something_is_left_however_often_it_is_halved() {
        let start = Instant::now();
        let mut rate = Rate::new(6_400, NONE, start);
        for n in 1..100 {
            let now = start + Duration::from_millis(n);
            rate.halve(now, now);
        }
        assert!(rate.per_second(start + SECOND / 10) >= 6_400.0 / 60.0 / 64.0);
    }

    #[test]
    fn a_time_before_the_last_one_earns_nothing_and_breaks_nothing() {
        let start = Instant::now() + 10 * SECOND;
        let mut rate = Rate::new(60, NONE, start);
        assert_eq!(rate.take(start), Ok(()));
        assert!(rate.take(start - 5 * SECOND).is_err());
        assert!(rate.take(start + SECOND).is_ok());
        assert!(rate.take(start + SECOND).is_err());
    }

    #[test]
    fn a_part_of_the_quota_is_that_part_of_the_rate_from_then_on() {
        let start = Instant::now();
        let mut rate = Rate::new(6_000, NONE, start);
        assert!((leave(&mut rate, start, 10 * SECOND) as f64 - 1_000.0).abs() <= 20.0);
        rate.set_part(0.25, start + 10 * SECOND);
        let quarter = leave(&mut rate, start + 10 * SECOND, 10 * SECOND);
        assert!((quarter as f64 - 250.0).abs() <= 15.0, "{quarter}");
        // What was earned before keeps its worth, and a larger part is not paid for the past.
        rate.set_part(1.0, start + 20 * SECOND);
        let at_once = std::iter::from_fn(|| rate.take(start + 20 * SECOND).ok()).count();
        assert!(at_once <= 3, "{at_once}");
    }

    #[test]
    fn a_halved_level_stays_halved_when_the_part_changes() {
        let start = Instant::now();
        let mut rate = Rate::new(6_000, NONE, start);
        rate.halve(start, start);
        rate.set_part(0.5, start);
        assert!((rate.per_second(start) - 25.0).abs() < 1e-9);
        assert!((rate.per_second(start + 20 * SECOND) - 35.0).abs() < 1e-9);
    }

    #[test]
    fn a_fresh_lane_in_full_use_goes_from_a_tenth_to_the_full_rate_in_the_time_it_is_given() {
        let start = Instant::now();
        let mut rate = Rate::new(600_000, MINUTE, start);
        let mut seconds = Vec::new();
        for second in 0..90 {
            seconds.push(leave(&mut rate, start + second * SECOND, SECOND) as f64);
        }
        assert!((1_000.0..1_200.0).contains(&seconds[0]), "{}", seconds[0]);
        assert!(
            seconds.windows(2).all(|two| two[1] > two[0] - 30.0),
            "{seconds:?}"
        );
        for (second, wanted) in [(0, 1_075.0), (20, 4_075.0), (40, 7_075.0), (65, 10_000.0)] {
            let found: f64 = seconds[second];
            assert!((found - wanted).abs() < wanted * 0.03, "second {second}: {found}");
        }
        let minute: f64 = seconds[..60].iter().sum();
        assert!(
            (minute - 330_000.0).abs() < 8_000.0,
            "{minute} in the first minute"
        );
    }

    #[test]
    fn a_lane_that_rested_warms_up_again_and_one_that_hardly_rested_does_not() {
        let start = Instant::now();
        let warm = || {
            let mut rate = Rate::new(600_000, MINUTE, start);
            leave(&mut rate, start, 70 * SECOND);
            rate
        };
        let then = start + 70 * SECOND;
        let (mut shortly, mut long) = (warm(), warm());
        let after = leave(&mut shortly, then + 2 * SECOND, SECOND);
        assert!(after > 9_500, "{after}");
        let after = leave(&mut long, then + MINUTE, SECOND);
        assert!(after < 1_300, "{after}");
    }

    #[test]
    fn a_trickle_does_not_keep_a_lane_warm() {
        let start = Instant::now();
        let mut rate = Rate::new(600_000, MINUTE, start);
        // A request every ten milliseconds for ten minutes.
        for n in 0..60_000 {
            rate.take(start + Duration::from_millis(10 * n)).expect("no wait");
        }
        let found = rate.per_second(start + 600 * SECOND);
        assert!((found - 1_000.0).abs() < 1.0, "{found}");
    }

    #[test]
    fn a_use_of_most_of_the_rate_warms_it_up_to_the_end() {
        let start = Instant::now();
        let mut rate = Rate::new(600_000, MINUTE, start);
        // 4,000 a second, for what the rate allows of them.
        let mut now = start;
        for _ in 0..60_000 {
            now += Duration::from_millis(5);
            for _ in 0..20 {
                if rate.take(now).is_err() {
                    break;
                }
            }
        }
        let found = rate.per_second(now);
        assert!((7_900.0..8_100.0).contains(&found), "twice what is used: {found}");
    }

    #[test]
    fn a_small_quota_needs_no_warming_up() {
        let start = Instant::now();
        let mut rate = Rate::new(6_000, MINUTE, start);
        let left = leave(&mut rate, start, 10 * SECOND);
        assert!((985..=1_011).contains(&left), "{left}");
    }
}
