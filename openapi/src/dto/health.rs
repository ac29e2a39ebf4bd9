//! Health: two answers for the machine that starts and stops the server.

use poem_openapi::{Object, types::Example};
use serde::{Deserialize, Serialize};

/// How the server is.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize, Deserialize)]
#[oai(example)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// The version of jraze.
    pub version: String,
}

impl Example for Health {
    fn example() -> Self {
        Self {
            status: "ok".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}
