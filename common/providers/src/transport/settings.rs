//! What an operator can choose about the connections of one credential.

use std::path::PathBuf;

use jraze_runtime::config::HumanDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What speaks HTTP/2 to the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// jraze's own, which does what push providers need and nothing else.
    #[default]
    Frames,
    /// The h2 crate.
    H2,
}

/// Connections of one credential to its provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TransportSettings {
    /// What speaks HTTP/2: `frames`, jraze's own, or `h2`, the crate that most of Rust uses and that takes
    /// more CPU for a message. Both keep the same promises. Default `frames`.
    pub engine: Engine,
    /// Most connections kept open, 1 to 256. They are opened one after the other as the load asks
    /// for them. Default 6: with FCM's 100 streams each and answers after 50 ms, six carry the
    /// default quota of 600,000 messages a minute.
    #[schemars(range(min = 1, max = 256))]
    pub connections: u16,
    /// Streams in flight on every connection from which on another one is opened, 1 to 10000; the
    /// peer's own limit always holds. Default 100.
    #[schemars(range(min = 1, max = 10_000))]
    pub busy_streams: u32,
    /// How long a request may wait for a free stream, and then again for its answer, `100ms` to
    /// `60s`. Default `10s`, the least that FCM's guide allows before a request counts as lost.
    pub request_timeout: HumanDuration,
    /// How long one connection attempt may take, TLS included, `100ms` to `60s`. Default `10s`.
    pub connect_timeout: HumanDuration,
    /// Least time between two new connections to one host, up to `60s`. Default `1s`: APNs takes
    /// connections that come and go quickly for an attack.
    pub connect_interval: HumanDuration,
    /// How many new connections to one host need not keep that interval after a quiet time, 1 to 256.
    /// Default 6.
    #[schemars(range(min = 1, max = 256))]
    pub connect_burst: u16,
    /// A connection that was quiet this long is asked for a sign of life (PING), from `100ms`.
    /// Default `60s`.
    pub ping_after: HumanDuration,
    /// How long the sign of life may take before the connection is dropped, from `10ms`. Default `10s`.
    pub ping_timeout: HumanDuration,
}

impl Default for TransportSettings {
    fn default() -> Self {
        Self {
            engine: Engine::default(),
            connections: 6,
            busy_streams: 100,
            request_timeout: HumanDuration::from_secs(10),
            connect_timeout: HumanDuration::from_secs(10),
            connect_interval: HumanDuration::from_secs(1),
            connect_burst: 6,
            ping_after: HumanDuration::from_secs(60),
            ping_timeout: HumanDuration::from_secs(10),
        }
    }
}

/// A transport setting out of its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("transport.{key} must be {range}")]
pub struct OutOfRange {
    key: &'static str,
    range: &'static str,
}

impl TransportSettings {
    /// Checks every range.
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        let milliseconds = |duration: HumanDuration| duration.get().as_millis();
        let fits = [
            ("connections", "1 to 256", (1..=256).contains(&self.connections)),
            (
                "busy_streams",
                "1 to 10000",
                (1..=10_000).contains(&self.busy_streams),
            ),
            (
                "request_timeout",
                "100ms to 60s",
                (100..=60_000).contains(&milliseconds(self.request_timeout)),
            ),
            (
                "connect_timeout",
                "100ms to 60s",
                (100..=60_000).contains(&milliseconds(self.connect_timeout)),
            ),
            (
                "connect_interval",
                "at most 60s",
                milliseconds(self.connect_interval) <= 60_000,
            ),
            (
                "connect_burst",
                "1 to 256",
                (1..=256).contains(&self.connect_burst),
            ),
            (
                "ping_after",
                "at least 100ms",
                milliseconds(self.ping_after) >= 100,
            ),
            (
                "ping_timeout",
                "at least 10ms",
                milliseconds(self.ping_timeout) >= 10,
            ),
        ];
        match fits.into_iter().find(|(_, _, fits)| !fits) {
            Some((key, range, _)) => Err(OutOfRange { key, range }),
            None => Ok(()),
        }
    }
}

/// Where a pool connects to, and whom it trusts there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSettings {
    /// `https://host[:port]`, nothing more.
    pub base_url: String,
    /// PEM file of certificate authorities to trust next to the public ones.
    pub ca_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_ranges() {
        assert_eq!(TransportSettings::default().validate(), Ok(()));
    }

    #[test]
    fn a_setting_out_of_range_is_refused_by_name() {
        let none = TransportSettings {
            connections: 0,
            ..TransportSettings::default()
        };
        assert_eq!(
            none.validate().unwrap_err().to_string(),
            "transport.connections must be 1 to 256"
        );
        let hasty = TransportSettings {
            request_timeout: HumanDuration::from_millis(5),
            ..TransportSettings::default()
        };
        assert!(
            hasty
                .validate()
                .unwrap_err()
                .to_string()
                .contains("request_timeout")
        );
    }
}
