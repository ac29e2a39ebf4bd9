//! Randomness as an argument: one seeded source for all waits of a [`ProviderSet`](crate::ProviderSet).

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jraze_runtime::backoff::Backoff;
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// A seeded source of jitter. Replicas need different seeds, a test one fixed one.
pub struct Jitter(Mutex<StdRng>);

impl fmt::Debug for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jitter")
    }
}

impl Jitter {
    /// The source that `seed` gives.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    /// An even number in `[0, 1)`.
    pub(crate) fn unit(&self) -> f64 {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .random_range(0.0..1.0)
    }

    /// A full-jitter wait after failure number `attempt`, counted from 0.
    pub(crate) fn backoff(&self, backoff: Backoff, attempt: u32) -> Duration {
        backoff.delay(
            attempt,
            &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner),
        )
    }
}
