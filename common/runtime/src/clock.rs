//! The time, as an argument.
//!
//! Code that decides by the time takes a [`Clock`], so a test can stand at any instant and move on
//! without sleeping. [`SystemClock`] is the one place of the workspace that may ask the machine;
//! `clippy.toml` refuses `Utc::now` everywhere else. Lease expiry does not go through here: that
//! is decided by the database's own clock, which all replicas share.

use std::fmt::Debug;
#[cfg(feature = "test-util")]
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

/// Tells the current time.
pub trait Clock: Debug + Send + Sync {
    /// The current instant in UTC.
    fn now(&self) -> DateTime<Utc>;
}

impl<C: Clock + ?Sized> Clock for std::sync::Arc<C> {
    fn now(&self) -> DateTime<Utc> {
        (**self).now()
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that may ask the machine")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

/// A clock that moves only when told to. Clones share the same time.
#[cfg(feature = "test-util")]
#[derive(Debug, Clone)]
pub struct MockClock {
    now: Arc<Mutex<DateTime<Utc>>>,
}

#[cfg(feature = "test-util")]
impl MockClock {
    /// A clock standing at `now`.
    pub fn at(now: DateTime<Utc>) -> Self {
        Self {
            now: Arc::new(Mutex::new(now)),
        }
    }

    /// Moves the time forward (or back, for a negative `by`).
    pub fn advance(&self, by: chrono::TimeDelta) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        *now += by;
    }

    /// Jumps to `now`.
    pub fn set(&self, now: DateTime<Utc>) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

#[cfg(feature = "test-util")]
impl Clock for MockClock {
    fn now(&self) -> DateTime<Utc> {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, TimeZone, Utc};

    use super::{Clock, MockClock, SystemClock};

    #[test]
    fn mock_clock_moves_only_when_told_and_clones_share_it() {
        let start = Utc.with_ymd_and_hms(2026, 11, 21, 9, 0, 0).unwrap();
        let clock = MockClock::at(start);
        let other = clock.clone();
        assert_eq!(clock.now(), start);
        other.advance(TimeDelta::seconds(90));
        assert_eq!(clock.now() - start, TimeDelta::seconds(90));
        clock.set(start);
        assert_eq!(other.now(), start);
    }

    #[test]
    fn system_clock_does_not_run_backwards_between_two_looks() {
        let first = SystemClock.now();
        assert!(SystemClock.now() >= first);
    }
}
