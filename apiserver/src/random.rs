//! Randomness as an argument: seeded once in `main`, shared by whoever needs it.

use std::sync::{Mutex, PoisonError};

use rand::{Rng as _, rngs::StdRng};
use uuid::Uuid;

/// A cryptographic generator behind a lock; what it makes is a few bytes at a time.
#[derive(Debug)]
pub struct Random(Mutex<StdRng>);

impl Random {
    /// Shares a generator. It must have been seeded by the operating system outside of tests: it
    /// makes the secrets of devices.
    #[must_use]
    pub fn new(generator: StdRng) -> Self {
        Self(Mutex::new(generator))
    }

    /// So many random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill_bytes(&mut bytes);
        bytes
    }

    /// A version 4 UUID.
    pub fn uuid(&self) -> Uuid {
        uuid::Builder::from_random_bytes(self.bytes()).into_uuid()
    }
}
