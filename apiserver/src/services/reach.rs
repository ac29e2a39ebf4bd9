//! How far an audience may be from what the person who launches it expects.

/// What a person expects to reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ExpectedReach {
    devices: u64,
    percent: f64,
}

/// The audience is too far from what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{expected} devices were expected, and there are {found} now")]
pub(crate) struct AudienceMoved {
    pub(crate) expected: u64,
    pub(crate) found: u64,
}

impl ExpectedReach {
    /// `None` when the tolerance is not within 0 and 100 percent.
    pub(crate) fn new(devices: u64, percent: f64) -> Option<Self> {
        (0.0..=100.0)
            .contains(&percent)
            .then_some(Self { devices, percent })
    }

    /// Holds an audience to the expectation.
    ///
    /// # Errors
    ///
    /// When it differs by more than the tolerance, in percent of what was expected, either way.
    pub(crate) fn check(self, found: u64) -> Result<(), AudienceMoved> {
        let expected = self.devices;
        // Exact up to 2^53 devices, which is more than there are.
        if found.abs_diff(expected) as f64 * 100.0 <= expected as f64 * self.percent {
            return Ok(());
        }
        Err(AudienceMoved { expected, found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_tolerance_the_number_is_the_very_one() {
        let expected = ExpectedReach::new(1_000, 0.0).unwrap();
        assert!(expected.check(1_000).is_ok());
        for found in [999, 1_001] {
            assert_eq!(
                expected.check(found),
                Err(AudienceMoved {
                    expected: 1_000,
                    found
                })
            );
        }
        assert!(ExpectedReach::new(0, 0.0).unwrap().check(0).is_ok());
    }

    #[test]
    fn a_tolerance_counts_both_ways_and_its_edge_is_within() {
        let expected = ExpectedReach::new(1_000, 2.5).unwrap();
        for (found, within) in [
            (975, true),
            (1_025, true),
            (974, false),
            (1_026, false),
            (0, false),
        ] {
            assert_eq!(expected.check(found).is_ok(), within, "{found}");
        }
        let nobody = ExpectedReach::new(0, 100.0).unwrap();
        assert!(nobody.check(1).is_err(), "a share of nothing is nothing");
    }

    #[test]
    fn a_tolerance_is_0_to_100_percent() {
        for percent in [-0.1, 100.1, f64::NAN, f64::INFINITY] {
            assert_eq!(ExpectedReach::new(1, percent), None);
        }
    }
}
