//! What an operator can choose about a sandbox.
//!
//! Every field has a default, so `Settings::default()` is a useful sandbox on fixed local ports and
//! [`Settings::ephemeral`] is the same on free ports, which is what tests want. The doc comments are
//! the text of the configuration reference: units, range and default belong in them.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::script::Script;

/// Settings of the sandbox, the stand-in for FCM and APNs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address that all three ports listen on. Default `127.0.0.1`.
    #[schemars(with = "String")]
    pub listen: IpAddr,
    /// TLS port of FCM and of its OAuth token endpoint; 0 takes a free port. Default 9443.
    pub fcm_port: u16,
    /// TLS port of APNs; 0 takes a free port. Default 9197.
    pub apns_port: u16,
    /// Plain HTTP port of the control API (ledger, script, trays); 0 takes a free port. Default 9080.
    pub control_port: u16,
    /// More DNS names for the server certificate, next to `localhost`, `127.0.0.1`, `::1` and
    /// `listen`. Default none.
    pub names: Vec<String>,
    /// Directory for the CA, the credential files and their keys; made when missing, and reused so
    /// that a restart keeps them valid. Default `jraze-sandbox`.
    pub state_dir: PathBuf,
    /// Seed of everything that looks random: message ids and the outcome of probabilities. The same
    /// seed and the same requests give the same answers. Default 1.
    pub seed: u64,
    /// Time that every answer takes, in milliseconds, 0 to 600000. Default 0.
    #[schemars(range(max = 600_000))]
    pub latency_ms: u64,
    /// Random extra on top of `latency_ms`, in milliseconds: 0 up to this, evenly. Default 0.
    #[schemars(range(max = 600_000))]
    pub latency_jitter_ms: u64,
    /// Whether tokens that begin with a documented prefix (`sbx-unregistered-`, `5bfacade0410`)
    /// get the answer they name. Default true.
    pub magic_tokens: bool,
    /// Accept every send unseen, for measurements: no check, no ledger, no script, no trays; stream
    /// limits, latency and quota stay. Counts are at `GET /load`. Default false.
    pub load_only: bool,
    /// With `load_only`: keep how many sends came in every tenth of a second, by the message's title, for
    /// `GET /load/timeline`. Default false.
    pub load_timeline: bool,
    /// FCM and its OAuth endpoint.
    pub fcm: FcmSettings,
    /// APNs.
    pub apns: ApnsSettings,
    /// The ledger of everything received.
    pub ledger: LedgerSettings,
    /// File with the script to begin with, in the shape that `PUT /script` takes: TOML when its name ends
    /// in `.toml`, else JSON. Default none.
    pub script_file: Option<PathBuf>,
    /// Script to begin with, before the rules of `script_file`. Default no rule.
    pub script: Script,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            fcm_port: 9443,
            apns_port: 9197,
            control_port: 9080,
            names: Vec::new(),
            state_dir: PathBuf::from("jraze-sandbox"),
            seed: 1,
            latency_ms: 0,
            latency_jitter_ms: 0,
            magic_tokens: true,
            load_only: false,
            load_timeline: false,
            fcm: FcmSettings::default(),
            apns: ApnsSettings::default(),
            ledger: LedgerSettings::default(),
            script_file: None,
            script: Script::default(),
        }
    }
}

impl Settings {
    /// The defaults on free ports, with everything kept under `state_dir`.
    pub fn ephemeral(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            fcm_port: 0,
            apns_port: 0,
            control_port: 0,
            state_dir: state_dir.into(),
            ..Self::default()
        }
    }
}

/// FCM and its OAuth endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FcmSettings {
    /// Project that the service account belongs to; sends to another one get 403. Default
    /// `jraze-sandbox`.
    pub project_id: String,
    /// Streams that a client may have open on one connection, 1 to 100000. Default 100, as FCM has.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_streams: u32,
    /// Life of an access token in seconds, 1 to 86400. Default 3599, as Google has.
    #[schemars(range(min = 1, max = 86_400))]
    pub access_token_ttl_s: u32,
    /// Sends allowed per minute and project before 429 is answered, refilled evenly. FCM has
    /// 600000. Default none: no limit.
    pub quota_per_minute: Option<u32>,
    /// Sends that a project may make at once after a rest, from 1. Default none: a whole minute's.
    pub quota_burst: Option<u32>,
}

impl Default for FcmSettings {
    fn default() -> Self {
        Self {
            project_id: "jraze-sandbox".to_owned(),
            max_streams: 100,
            access_token_ttl_s: 3599,
            quota_per_minute: None,
            quota_burst: None,
        }
    }
}

/// APNs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApnsSettings {
    /// Bundle ids that may be pushed to, also with a suffix such as `.voip`; anything else gets
    /// TopicDisallowed. Default `dev.jraze.sandbox`.
    pub topics: Vec<String>,
    /// Team of the signing key, the `iss` of provider tokens: 10 characters. Default `JRAZESANDB`.
    pub team_id: String,
    /// Streams that a client may have open on one connection once a request was authenticated, 1 to
    /// 100000. Default 1000.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_streams: u32,
    /// Streams allowed before that, 1 to `max_streams`; the sandbox announces them in its first
    /// SETTINGS, refuses what is above with REFUSED_STREAM and raises them with a second SETTINGS.
    /// Default 1, as APNs does.
    #[schemars(range(min = 1, max = 100_000))]
    pub streams_before_auth: u32,
    /// Shortest time between two different provider tokens on one connection, in seconds; sooner
    /// gets 429 TooManyProviderTokenUpdates. APNs has 1200. Default none: not enforced.
    pub min_token_update_s: Option<u32>,
    /// Whether a connection that was told ExpiredProviderToken keeps answering that, whatever token
    /// follows. Default true.
    pub wedge_on_expired_token: bool,
}

impl Default for ApnsSettings {
    fn default() -> Self {
        Self {
            topics: vec!["dev.jraze.sandbox".to_owned()],
            team_id: "JRAZESANDB".to_owned(),
            max_streams: 1000,
            streams_before_auth: 1,
            min_token_update_s: None,
            wedge_on_expired_token: true,
        }
    }
}

/// The ledger of everything received.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LedgerSettings {
    /// Requests kept in memory; the oldest go first. Counts and the list of tokens are not cut.
    /// Default 1000000 (about 0.5 KiB each with payloads).
    pub capacity: usize,
    /// Whether payloads are kept; trays need them. Default true.
    pub payloads: bool,
}

impl Default for LedgerSettings {
    fn default() -> Self {
        Self {
            capacity: 1_000_000,
            payloads: true,
        }
    }
}
