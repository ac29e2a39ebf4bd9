//! How a result worker is set up.

use jraze_runtime::config::{HumanDuration, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

/// A result worker's settings.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Address of the API server whose `/internal` endpoints counts are raised through.
    pub api_url: String,
    /// Internal key for those endpoints (`X-Server-Key`).
    pub internal_key: Secret,
    /// The time between two looks for finished windows, 20ms to 10s; a fifth of it while a campaign is
    /// running.
    pub poll: HumanDuration,
    /// Windows whose counts are raised with one call, 1 to 500.
    pub windows_per_call: u32,
    /// How long the work of a settled campaign is kept for inspection, 1m to 30d.
    pub retention: HumanDuration,
    /// Days that the send log is kept, 30 to 3650: how far back a device's history goes. 0 keeps it for
    /// ever. The default is a year, so that a campaign can be held against that of a year ago, and a month.
    pub log_days: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            api_url: "http://127.0.0.1:8080".to_owned(),
            internal_key: Secret::default(),
            poll: HumanDuration::from_millis(250),
            windows_per_call: 200,
            retention: HumanDuration::from_secs(24 * 3_600),
            log_days: 400,
        }
    }
}
