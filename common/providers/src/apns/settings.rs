//! An Apple credential in the configuration.

use std::path::PathBuf;

use jraze_domain::ids::AppId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::transport::TransportSettings;

/// An Apple signing key that an app sends with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApnsSettings {
    /// Number of the app that sends with it.
    #[schemars(with = "u16", range(min = 1))]
    pub app: AppId,
    /// The `.p8` signing key, as downloaded from the Apple developer account.
    pub key_file: PathBuf,
    /// The key's id, 10 characters.
    pub key_id: String,
    /// The team's id, 10 characters.
    pub team_id: String,
    /// The bundle id of the app to push to.
    pub topic: String,
    /// Where to send to; `https://api.sandbox.push.apple.com` for development builds. Default
    /// `https://api.push.apple.com`.
    #[serde(default = "base_url")]
    pub base_url: String,
    /// PEM file of certificate authorities to trust next to the public ones. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Connections to it.
    #[serde(default)]
    pub transport: TransportSettings,
}

impl ApnsSettings {
    /// Apple's production address with the key in `key_file`.
    pub fn new(
        app: AppId,
        key_file: impl Into<PathBuf>,
        key_id: impl Into<String>,
        team_id: impl Into<String>,
        topic: impl Into<String>,
    ) -> Self {
        Self {
            app,
            key_file: key_file.into(),
            key_id: key_id.into(),
            team_id: team_id.into(),
            topic: topic.into(),
            base_url: base_url(),
            ca_file: None,
            transport: TransportSettings::default(),
        }
    }
}

fn base_url() -> String {
    "https://api.push.apple.com".into()
}
