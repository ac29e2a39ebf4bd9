//! Randomness from the operating system: the one place of the binary that asks for it.

use jraze_domain::keys::KeyEntropy;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

/// A generator seeded by the operating system, to be passed on.
#[expect(clippy::disallowed_methods, reason = "the binary's one source of randomness")]
pub(crate) fn generator() -> StdRng {
    StdRng::from_rng(&mut rand::rng())
}

/// Fresh random bytes for one key.
pub(crate) fn key_entropy(generator: &mut StdRng) -> KeyEntropy {
    let mut bytes = [0; 40];
    generator.fill_bytes(&mut bytes);
    KeyEntropy(bytes)
}
