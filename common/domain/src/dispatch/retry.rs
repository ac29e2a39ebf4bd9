//! When a passing failure is tried again, and when it is given up.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// Bounds of retrying. The defaults follow the providers' advice (FCM "scale" guide: exponential with
/// jitter from 10 s, give up after an hour; APNs: minutes rather than seconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first one counted.
    pub max_attempts: u32,
    /// The upper bound of the first wait; it doubles with each attempt.
    pub base: Duration,
    /// The longest wait of our own choosing.
    pub cap: Duration,
    /// The age of a campaign's sending after which nothing is tried again.
    pub max_age: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 6,
            base: Duration::from_secs(10),
            cap: Duration::from_secs(600),
            max_age: Duration::from_secs(3_600),
        }
    }
}

/// What to do with a delivery that failed in passing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// Try again, not before this time.
    At(DateTime<Utc>),
    /// The attempts are used up.
    GiveUp,
    /// The next try would come after the notification's time.
    Expired,
}

impl RetryPolicy {
    /// Decides for a delivery whose `attempt`-th try (from 1) has just failed at `now`.
    ///
    /// `retry_after` is the provider's own wait and always honoured; without it the wait is drawn evenly
    /// from zero to the exponential bound ("full jitter"), by `unit` in `[0, 1)`.
    pub fn decide(
        &self,
        attempt: u32,
        now: DateTime<Utc>,
        started_at: DateTime<Utc>,
        expires_at: Option<DateTime<Utc>>,
        retry_after: Option<Duration>,
        unit: f64,
    ) -> RetryDecision {
        if attempt >= self.max_attempts {
            return RetryDecision::GiveUp;
        }
        let at = now + self.wait(attempt, retry_after, unit);
        let last = started_at + self.max_age;
        match expires_at {
            Some(expires_at) if at >= expires_at => RetryDecision::Expired,
            _ if at >= last => RetryDecision::GiveUp,
            _ => RetryDecision::At(at),
        }
    }

    /// The wait after the `attempt`-th try: `retry_after` when the provider named one, else drawn by `unit`.
    pub fn wait(&self, attempt: u32, retry_after: Option<Duration>, unit: f64) -> Duration {
        retry_after.unwrap_or_else(|| self.jittered(attempt, unit))
    }

    fn jittered(&self, attempt: u32, unit: f64) -> Duration {
        let doubled = self
            .base
            .saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
        doubled
            .min(self.cap)
            .mul_f64(unit.clamp(0.0, 1.0))
            .max(Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("in range")
    }

    #[test]
    fn our_own_wait_is_jittered_and_grows_up_to_the_cap() {
        let policy = RetryPolicy::default();
        for (attempt, bound) in [(1, 10), (2, 20), (3, 40), (5, 160)] {
            for unit in [0.0, 0.5, 0.999] {
                let RetryDecision::At(when) = policy.decide(attempt, at(0), at(0), None, None, unit) else {
                    panic!("attempt {attempt} should be retried");
                };
                assert!(when >= at(1) && when <= at(bound), "attempt {attempt}: {when}");
            }
        }
    }

    #[test]
    fn the_providers_wait_is_honoured_to_the_second() {
        let seven = Some(Duration::from_secs(7));
        let decision = RetryPolicy::default().decide(1, at(100), at(0), None, seven, 0.0);
        assert_eq!(decision, RetryDecision::At(at(107)));
    }

    #[test]
    fn attempts_age_and_expiry_end_it() {
        let policy = RetryPolicy::default();
        assert_eq!(
            policy.decide(6, at(0), at(0), None, None, 0.5),
            RetryDecision::GiveUp
        );
        assert_eq!(
            policy.decide(1, at(3_600), at(0), None, None, 0.5),
            RetryDecision::GiveUp
        );
        let soon = Some(at(0) + TimeDelta::seconds(3));
        let ten = Some(Duration::from_secs(10));
        assert_eq!(
            policy.decide(1, at(0), at(0), soon, ten, 0.5),
            RetryDecision::Expired
        );
    }
}
