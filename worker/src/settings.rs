//! How a worker is set up.

use std::fmt;
use std::time::Duration;

use jraze_providers::CredentialSettings;
use jraze_runtime::config::{HumanDuration, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

/// A worker's settings.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Address of the API server whose `/internal` endpoints sends are logged through.
    pub api_url: String,
    /// Internal key for those endpoints (`X-Server-Key`).
    pub internal_key: Secret,
    /// Units of work that are dispatched at the same time, 1 to 64. A campaign that has none among them gets
    /// one beyond, up to as many again, so that a small one does not wait for large ones.
    pub concurrent_units: usize,
    /// Devices that are claimed, sent and recorded together, 1 to 2000. After a crash, at most this many
    /// devices for each window in flight are sent to a second time.
    pub window_devices: usize,
    /// Windows of one unit in flight at the same time, 1 to 16.
    pub windows_in_flight: usize,
    /// Requests to one credential that may be without an answer at the same time, 1 to 10000. A provider
    /// that is overloaded gets fewer until it keeps up again.
    pub max_in_flight: usize,
    /// Requests a minute that all workers together send to one FCM project, spread evenly; 0 is no limit.
    /// FCM allows a project 600000. Workers divide it by how many they are, so all of them need the same
    /// number here. When FCM says that it is used up, a worker sends half as many and comes back by a tenth
    /// of the full rate every ten seconds.
    pub fcm_quota_per_minute: u32,
    /// How long sending to an FCM project takes to get from a tenth of its rate to all of it, 0s to 10m; 0s
    /// is at once. FCM asks for 60 seconds or more where much is sent. Up to 100 requests a second are sent
    /// without it, and a project that is not sent to falls back as slowly as it rose.
    pub fcm_ramp: HumanDuration,
    /// How long a lease lasts without a heartbeat, 2s to 10m; another worker takes over after it.
    pub lease: HumanDuration,
    /// The time between two looks at which campaigns run, 50ms to 5s. A cancelled or paused campaign
    /// is noticed after at most this long.
    pub campaign_refresh: HumanDuration,
    /// The wait after finding no work, 10ms to 10s.
    pub idle_wait: HumanDuration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            api_url: "http://127.0.0.1:8080".to_owned(),
            internal_key: Secret::default(),
            concurrent_units: 4,
            window_devices: 2_000,
            windows_in_flight: 1,
            max_in_flight: 800,
            fcm_quota_per_minute: 600_000,
            fcm_ramp: HumanDuration::from_secs(60),
            lease: HumanDuration::from_secs(60),
            campaign_refresh: HumanDuration::from_millis(250),
            idle_wait: HumanDuration::from_millis(200),
        }
    }
}

/// A setting that is out of its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("worker.{key} must be between {range}, not {found}")]
pub struct OutOfRange {
    key: &'static str,
    range: String,
    found: String,
}

impl Settings {
    /// Checks the ranges that the fields name.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        within("concurrent_units", self.concurrent_units, 1, 64)?;
        within("window_devices", self.window_devices, 1, 2_000)?;
        within("windows_in_flight", self.windows_in_flight, 1, 16)?;
        within("max_in_flight", self.max_in_flight, 1, 10_000)?;
        let seconds = Duration::from_secs;
        let millis = Duration::from_millis;
        within("fcm_ramp", self.fcm_ramp.get(), Duration::ZERO, seconds(600))?;
        within("lease", self.lease.get(), seconds(2), seconds(600))?;
        within(
            "campaign_refresh",
            self.campaign_refresh.get(),
            millis(50),
            seconds(5),
        )?;
        within("idle_wait", self.idle_wait.get(), millis(10), seconds(10))
    }
}

fn within<T: PartialOrd + fmt::Debug>(key: &'static str, found: T, min: T, max: T) -> Result<(), OutOfRange> {
    if found >= min && found <= max {
        return Ok(());
    }
    Err(OutOfRange {
        key,
        range: format!("{min:?} and {max:?}"),
        found: format!("{found:?}"),
    })
}

/// The push credentials of the apps, a list beside the worker's own settings.
pub type Credentials = Vec<CredentialSettings>;
