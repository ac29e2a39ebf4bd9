//! Chance that repeats: numbers that follow from a seed and from what they are drawn for.
//!
//! A stream of random numbers would depend on the order in which requests arrive, so two runs with
//! one seed would differ. Here the draw is a hash of (seed, purpose), so the answer to the third send
//! to a token is the same in every run. None of it is meant to resist an attacker.

/// Mixes 64 bits (the finaliser of SplitMix64).
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Hashes bytes under a seed.
pub(crate) fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = mix(seed ^ bytes.len() as u64);
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(chunk.try_into().expect("chunks_exact(8) yields 8 bytes"));
        state = (state ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    let mut last = [0_u8; 8];
    last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    mix(state ^ u64::from_le_bytes(last))
}

/// Whether an event of `probability` (0 to 1) happens for this `draw`.
pub(crate) fn happens(draw: u64, probability: f64) -> bool {
    ((draw >> 11) as f64) < probability * (1_u64 << 53) as f64
}

/// 128 bits as a version 4 UUID.
pub(crate) struct Uuid(pub(crate) u128);

impl Uuid {
    /// The UUID of number `sequence` under `seed`, for one `purpose`.
    pub(crate) fn derive(seed: u64, purpose: u64, sequence: u64) -> Self {
        let high = mix(seed ^ mix(purpose ^ mix(sequence)));
        let low = mix(high ^ sequence);
        let mut bits = (u128::from(high) << 64) | u128::from(low);
        bits = (bits & !(0xf << 76)) | (0x4 << 76);
        bits = (bits & !(0x3 << 62)) | (0x2 << 62);
        Self(bits)
    }

    /// Reads the canonical form with hyphens, in either case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 36 {
            return None;
        }
        let mut bits = 0_u128;
        for (index, byte) in bytes.iter().enumerate() {
            if matches!(index, 8 | 13 | 18 | 23) {
                if *byte != b'-' {
                    return None;
                }
            } else {
                bits = (bits << 4) | u128::from((*byte as char).to_digit(16)?);
            }
        }
        Some(Self(bits))
    }
}

impl std::fmt::Display for Uuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let b = self.0;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            (b >> 96) as u32,
            (b >> 80) as u16,
            (b >> 64) as u16,
            (b >> 48) as u16,
            b & 0xffff_ffff_ffff
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probability_is_met_over_many_draws() {
        let hits = (0..100_000).filter(|n| happens(mix(*n), 0.2)).count();
        assert!((19_000..21_000).contains(&hits), "{hits}");
        assert!(happens(u64::MAX, 1.0));
        assert!(!happens(0, 0.0));
    }

    #[test]
    fn a_uuid_reads_back_what_it_wrote() {
        let uuid = Uuid::derive(1, 2, 3);
        let text = uuid.to_string();
        assert_eq!(Uuid::parse(&text).unwrap().0, uuid.0);
        assert_eq!(&text[14..15], "4");
        assert!(Uuid::parse("not-a-uuid").is_none());
    }
}
