//! Credentials in the configuration, and everything that can be wrong with one.

use std::{fs, io, path::Path, path::PathBuf};

use jraze_domain::{device::SendPlatform, ids::AppId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    apns::ApnsSettings,
    fcm::FcmSettings,
    transport::{EndpointError, OutOfRange},
};

/// One entry of `[[credentials]]`. It holds names of key files, never keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "provider", rename_all = "snake_case")]
pub enum CredentialSettings {
    /// Firebase Cloud Messaging.
    Fcm(FcmSettings),
    /// Apple Push Notification service.
    Apns(ApnsSettings),
}

impl CredentialSettings {
    /// Whose credential it is.
    pub fn app(&self) -> AppId {
        match self {
            Self::Fcm(settings) => settings.app,
            Self::Apns(settings) => settings.app,
        }
    }

    /// Which devices it reaches.
    pub fn send_platform(&self) -> SendPlatform {
        match self {
            Self::Fcm(_) => SendPlatform::Fcm,
            Self::Apns(_) => SendPlatform::Apns,
        }
    }
}

/// A credential that cannot be used.
#[derive(Debug, Error)]
#[error("credential {number} ({} of app {app}) cannot be used", platform.name())]
pub struct CredentialError {
    /// Its place in the configuration, from 1.
    pub number: usize,
    /// Which provider it is for.
    pub platform: SendPlatform,
    /// Whose it is.
    pub app: AppId,
    /// What is wrong.
    #[source]
    pub problem: CredentialProblem,
}

/// What is wrong with a credential.
#[derive(Debug, Error)]
pub enum CredentialProblem {
    /// A key file cannot be read.
    #[error("{key}: {} cannot be read", path.display())]
    Unreadable {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A key file does not hold what it should.
    #[error("{key}: {} {problem}", path.display())]
    File {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A signing key that cannot sign.
    #[error("{key}: {} holds no usable private key", path.display())]
    Key {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the signer says.
        #[source]
        source: jsonwebtoken::errors::Error,
    },
    /// A setting that makes no sense.
    #[error("{key} {problem}")]
    Setting {
        /// The setting.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// An address or its CA file.
    #[error("{key} cannot be used")]
    Endpoint {
        /// The setting.
        key: &'static str,
        /// What is wrong with it.
        #[source]
        source: EndpointError,
    },
    /// A transport setting out of its range.
    #[error(transparent)]
    Transport(#[from] OutOfRange),
    /// The app has another credential for the same provider.
    #[error("it is the second one: an app has one credential per provider")]
    Duplicate,
}

/// Reads a file that holds a key, and says so when everybody else may read it as well.
pub(crate) fn read_key(key: &'static str, path: &Path) -> Result<Vec<u8>, CredentialProblem> {
    let unreadable = |source| CredentialProblem::Unreadable {
        key,
        path: path.to_owned(),
        source,
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode();
        if mode & 0o004 != 0 {
            tracing::warn!(setting = key, path = %path.display(), "anybody on this machine can read this key file");
        }
    }
    fs::read(path).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jraze_runtime::config;

    #[derive(Debug, Default, Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    struct Worker {
        credentials: Vec<CredentialSettings>,
    }

    fn load(toml: &str) -> Result<Worker, config::ConfigError> {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        std::fs::write(file.path(), toml).expect("written");
        config::load(Some(file.path()), std::iter::empty(), toml::Table::new())
    }

    #[test]
    fn the_forms_of_the_reference_are_read_with_their_defaults() {
        let worker = load(
            "[[credentials]]\napp = 1\nprovider = \"fcm\"\nservice_account_file = \"a.json\"\n\
             [[credentials]]\napp = 2\nprovider = \"apns\"\nkey_file = \"k.p8\"\nkey_id = \"ABCDEFGHIJ\"\n\
             team_id = \"TEAMTEAM00\"\ntopic = \"com.example.app\"\nbase_url = \"https://localhost:1\"\n\
             ca_file = \"ca.pem\"\ntransport = { connections = 2, request_timeout = \"500ms\" }\n",
        )
        .expect("good");
        let [CredentialSettings::Fcm(fcm), CredentialSettings::Apns(apns)] = &worker.credentials[..] else {
            panic!("two credentials in order");
        };
        assert_eq!(*fcm, FcmSettings::new(AppId(1), "a.json"));
        assert_eq!(apns.transport.connections, 2);
        assert_eq!(apns.transport.ping_after.get().as_secs(), 60);
        assert_eq!(worker.credentials[1].app(), AppId(2));
    }

    #[test]
    fn a_mistyped_key_is_refused() {
        let mistyped = "[[credentials]]\napp = 1\nprovider = \"fcm\"\nservice_account_file = \"a\"\nprojekt_id = \"x\"\n";
        assert!(load(mistyped).unwrap_err().to_string().contains("projekt_id"));
    }
}
