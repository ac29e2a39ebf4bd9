//! What a launch may say beside that it is one.

use poem_openapi::{Object, types::Example};
use serde::{Deserialize, Serialize};

/// What a launch expects. It may be left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Object, Serialize, Deserialize)]
#[oai(example)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    /// How many devices you expect to reach. They are counted as the campaign would find them now
    /// (devices that match and can be sent to); when their number is further away than `tolerance`,
    /// the launch is refused with 409 `audience_moved`, which names both numbers, and nothing happens.
    /// Counted at the launch, also where the sending is scheduled for later.
    #[serde(default)]
    pub expected_reach: Option<u64>,
    /// How far away the number may be, in percent of `expected_reach`, either way; 0 when absent, which
    /// is the very number. Not without `expected_reach`.
    #[oai(validator(minimum(value = "0"), maximum(value = "100")))]
    #[serde(default)]
    pub tolerance: Option<f64>,
}

impl Example for Launch {
    fn example() -> Self {
        Self {
            expected_reach: Some(33_000),
            tolerance: Some(2.5),
        }
    }
}
