//! A quota per minute as an even stream of requests.
//!
//! A bucket that holds a tenth of a second's worth: a worker that rested does not come back with a burst
//! that the provider's own bucket, which others may share, cannot take.

use std::time::Duration;

use tokio::time::Instant;

/// The bucket holds what comes in this many seconds.
const BURST_SECONDS: f64 = 0.1;
/// Part of the full rate that comes back in a second after a halving: 10 % in 10 s.
const RECOVERY_PER_SECOND: f64 = 0.01;
/// However often it is halved, this part of the full rate is left.
const LEAST_PART: f64 = 1.0 / 64.0;

/// A token bucket whose rate is halved and recovers.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    /// Requests a second when nobody complained.
    full: f64,
    /// Requests a second right after the last halving, and when that was.
    halved_to: f64,
    halved_at: Option<Instant>,
    /// Requests that may leave now, and when that was so.
    left: f64,
    at: Instant,
}

impl Rate {
    /// `per_minute` is at least 1.
    pub(super) fn new(per_minute: u32, now: Instant) -> Self {
        let full = f64::from(per_minute.max(1)) / 60.0;
        Self {
            full,
            halved_to: full,
            halved_at: None,
            left: 1.0,
            at: now,
        }
    }

    /// Requests a second at `now`.
    pub(super) fn per_second(&self, now: Instant) -> f64 {
        let Some(halved_at) = self.halved_at else {
            return self.full;
        };
        let recovered = now.saturating_duration_since(halved_at).as_secs_f64() * RECOVERY_PER_SECOND;
        (self.halved_to + self.full * recovered).min(self.full)
    }

    /// Takes the right to one request, or tells how long until there may be one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let rate = self.per_second(now);
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * rate;
        self.left = (self.left + gained).min((rate * BURST_SECONDS).max(1.0));
        self.at = self.at.max(now);
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        // Timers count in milliseconds: a shorter wait would only be asked for again.
        let wait = Duration::from_secs_f64((1.0 - self.left) / rate);
        Err(wait.max(Duration::from_millis(1)))
    }

    /// The quota was used up for a request that left at `left_at`.
    pub(super) fn halve(&mut self, left_at: Instant, now: Instant) {
        if self.halved_at.is_some_and(|halved_at| left_at <= halved_at) {
            return;
        }
        self.halved_to = (self.per_second(now) / 2.0).max(self.full * LEAST_PART);
        self.halved_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

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
            let mut rate = Rate::new(quota, start);
            let left = leave(&mut rate, start, 60 * SECOND);
            let most = quota as usize + (quota as usize / 600).max(1);
            // A wait of a millisecond that the end cut off is worth ten.
            assert!((quota as usize - 10..=most).contains(&left), "{quota}: {left}");
        }
    }

    #[test]
    fn a_rest_earns_no_more_than_a_tenth_of_a_second() {
        let start = Instant::now();
        let mut rate = Rate::new(600_000, start);
        let later = start + 3_600 * SECOND;
        let at_once = std::iter::from_fn(|| rate.take(later).ok()).count();
        assert_eq!(at_once, 1_000);
    }

    #[test]
    fn a_quota_below_ten_a_second_still_sends_one_by_one() {
        let start = Instant::now();
        let mut rate = Rate::new(6, start);
        assert_eq!(rate.take(start), Ok(()));
        assert_eq!(rate.take(start), Err(10 * SECOND));
        assert_eq!(rate.take(start + 10 * SECOND), Ok(()));
    }

    #[test]
    fn a_used_up_quota_halves_once_for_all_that_was_under_way() {
        let start = Instant::now();
        let mut rate = Rate::new(6_000, start);
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
        let mut rate = Rate::new(6_000, start);
        rate.halve(start, start);
        for (seconds, wanted) in [(0, 50.0), (10, 60.0), (30, 80.0), (50, 100.0), (500, 100.0)] {
            let found = rate.per_second(start + seconds * SECOND);
            assert!((found - wanted).abs() < 1e-9, "{seconds} s: {found}");
        }
    }

    #[test]
    fn something_is_left_however_often_it_is_halved() {
        let start = Instant::now();
        let mut rate = Rate::new(6_400, start);
        for n in 1..100 {
            let now = start + Duration::from_millis(n);
            rate.halve(now, now);
        }
        assert!(rate.per_second(start + SECOND / 10) >= 6_400.0 / 60.0 / 64.0);
    }

    #[test]
    fn a_time_before_the_last_one_earns_nothing_and_breaks_nothing() {
        let start = Instant::now() + 10 * SECOND;
        let mut rate = Rate::new(60, start);
        assert_eq!(rate.take(start), Ok(()));
        assert!(rate.take(start - 5 * SECOND).is_err());
        assert!(rate.take(start + SECOND).is_ok());
        assert!(rate.take(start + SECOND).is_err());
    }
}
