//! What can be wrong with a configuration, said so that it can be mended at once.

use std::{fmt, io, path::PathBuf};

use thiserror::Error;

use super::env_name;

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere.
    Default,
    /// In the TOML file.
    File(PathBuf),
    /// In the environment.
    Env,
    /// On the command line.
    Flag,
}

impl Origin {
    /// The key as the person who gave it knows it.
    fn key(&self, key: &str) -> String {
        match self {
            Self::Env => env_name(key),
            Self::Default | Self::File(_) | Self::Flag => format!("`{key}`"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("configuration"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Env => f.write_str("environment"),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// Why a configuration was refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot read the configuration", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{}: not TOML: {source}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column and what was expected.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A key that does not exist.
    #[error("{origin}: unknown key {}{}", origin.key(key), hint(origin, suggestion.as_deref(), known))]
    UnknownKey {
        /// Where it was given.
        origin: Origin,
        /// The whole key, dotted.
        key: String,
        /// The existing key that looks most like it.
        suggestion: Option<String>,
        /// The keys that exist beside it.
        known: Vec<String>,
    },
    /// A value that does not fit its key.
    #[error("{origin}: {}: {message}{}", origin.key(key), expectation(expected.as_deref()))]
    Invalid {
        /// Where it was given.
        origin: Origin,
        /// The whole key, dotted.
        key: String,
        /// What is wrong with it.
        message: String,
        /// What fits.
        expected: Option<String>,
    },
    /// A secret's file cannot be read.
    #[error("{origin}: {}: cannot read {}", origin.key(key), path.display())]
    SecretFile {
        /// Where the file's name was given.
        origin: Origin,
        /// The whole key, dotted, with `_file`.
        key: String,
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A secret and the file that holds it were given at the same place.
    #[error("{origin}: {} and {} are both given, keep one", origin.key(key), origin.key(&format!("{key}_file")))]
    SecretTwice {
        /// Where they were given.
        origin: Origin,
        /// The whole key, dotted, without `_file`.
        key: String,
    },
}

fn hint(origin: &Origin, suggestion: Option<&str>, known: &[String]) -> String {
    match suggestion {
        Some(suggestion) => format!(", did you mean {}?", origin.key(suggestion)),
        None if known.is_empty() => String::new(),
        None => {
            let known: Vec<_> = known.iter().map(|key| origin.key(key)).collect();
            format!(", expected one of {}", known.join(", "))
        }
    }
}

fn expectation(expected: Option<&str>) -> String {
    expected
        .map(|expected| format!(" (expected {expected})"))
        .unwrap_or_default()
}
