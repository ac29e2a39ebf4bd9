//! Why a sandbox could not start.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::script::ScriptError;

/// Why a sandbox could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// A port is taken or may not be used.
    #[error("cannot listen on {address} for {purpose}")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// `FCM`, `APNs` or `control`.
        purpose: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the state directory cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the state directory or the script file holds something else than it should.
    #[error("{}: {problem}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A setting is out of its range.
    #[error("setting {name}: {problem}")]
    Setting {
        /// The setting, with dots.
        name: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A rule of the script makes no sense.
    #[error("the script cannot be used")]
    Script(#[from] ScriptError),
    /// No key could be made.
    #[error("no key could be generated")]
    KeyGeneration,
    /// No certificate could be made.
    #[error("no certificate could be made")]
    Certificate(#[from] rcgen::Error),
    /// TLS cannot be set up with the certificate.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

impl SandboxError {
    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            source,
        }
    }
}
