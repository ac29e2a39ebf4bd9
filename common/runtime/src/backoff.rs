//! How long to wait before the next attempt.
//!
//! Full jitter: the wait is drawn evenly between zero and a ceiling that doubles with each attempt
//! up to a cap, so callers that failed together do not come back together
//! (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>). The randomness
//! comes in as an argument, so a seeded test sees the same waits each time.

use std::time::Duration;

use rand::{Rng, RngExt};

/// An exponential wait with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
}

impl Backoff {
    /// A wait below `base` after the first failure, doubling until it is below `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// The longest wait after the failure number `attempt`, counted from 0.
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let factor = 2_u32.saturating_pow(attempt.min(31));
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// A random wait between zero and [`Backoff::ceiling`].
    pub fn delay<R: Rng + ?Sized>(&self, attempt: u32, rng: &mut R) -> Duration {
        fraction_of(self.ceiling(attempt), rng.random_range(0.0..=1.0))
    }
}

/// A wait of `around`, give or take a quarter: for periodic work that many replicas do.
pub fn jittered<R: Rng + ?Sized>(around: Duration, rng: &mut R) -> Duration {
    fraction_of(around, rng.random_range(0.75..=1.25))
}

fn fraction_of(whole: Duration, fraction: f64) -> Duration {
    whole.mul_f64(fraction)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::{SeedableRng, rngs::StdRng};

    use super::{Backoff, jittered};

    const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

    #[test]
    fn ceiling_doubles_up_to_the_cap_and_never_overflows() {
        assert_eq!(BACKOFF.ceiling(0), Duration::from_millis(100));
        assert_eq!(BACKOFF.ceiling(3), Duration::from_millis(800));
        assert_eq!(BACKOFF.ceiling(6), Duration::from_secs(5));
        assert_eq!(BACKOFF.ceiling(u32::MAX), Duration::from_secs(5));
    }

    #[test]
    fn delay_spreads_over_the_whole_range_below_the_ceiling() {
        let mut rng = StdRng::seed_from_u64(1);
        let waits: Vec<_> = (0..1000).map(|_| BACKOFF.delay(3, &mut rng)).collect();
        assert!(waits.iter().all(|wait| *wait <= BACKOFF.ceiling(3)));
        assert!(waits.iter().any(|wait| *wait < Duration::from_millis(80)));
        assert!(waits.iter().any(|wait| *wait > Duration::from_millis(720)));
    }

    #[test]
    fn the_same_seed_gives_the_same_waits() {
        let waits = |seed| BACKOFF.delay(5, &mut StdRng::seed_from_u64(seed));
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
    }

    #[test]
    fn jittered_stays_within_a_quarter() {
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..1000 {
            let wait = jittered(Duration::from_secs(4), &mut rng);
            assert!((Duration::from_secs(3)..=Duration::from_secs(5)).contains(&wait));
        }
    }
}
