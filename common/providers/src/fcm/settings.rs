//! A Firebase credential in the configuration.

use std::path::PathBuf;

use jraze_domain::ids::AppId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::transport::TransportSettings;

/// A Firebase project that an app sends through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FcmSettings {
    /// Number of the app that sends with it.
    #[schemars(with = "u16", range(min = 1))]
    pub app: AppId,
    /// The service account's JSON key, as downloaded from the Google Cloud console. Only its
    /// `client_email`, `private_key`, `private_key_id` and `project_id` are used; where it says to
    /// fetch tokens is not believed.
    pub service_account_file: PathBuf,
    /// Firebase project to send to. Default: the one in the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Where to send to. Default `https://fcm.googleapis.com`.
    #[serde(default = "base_url")]
    pub base_url: String,
    /// Where access tokens come from. Default `https://oauth2.googleapis.com/token`.
    #[serde(default = "token_url")]
    pub token_url: String,
    /// PEM file of certificate authorities to trust next to the public ones. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Connections to it.
    #[serde(default)]
    pub transport: TransportSettings,
}

impl FcmSettings {
    /// Google's own addresses with the key in `service_account_file`.
    pub fn new(app: AppId, service_account_file: impl Into<PathBuf>) -> Self {
        Self {
            app,
            service_account_file: service_account_file.into(),
            project_id: None,
            base_url: base_url(),
            token_url: token_url(),
            ca_file: None,
            transport: TransportSettings::default(),
        }
    }
}

fn base_url() -> String {
    "https://fcm.googleapis.com".into()
}

fn token_url() -> String {
    "https://oauth2.googleapis.com/token".into()
}
