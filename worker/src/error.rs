//! Why a step ended early.

use std::time::Duration;

use jraze_openapi::client::ClientError;
use jraze_storage::StorageError;
use jraze_storage::dispatch::Fenced;

/// What stops the dispatch of a unit. None of it loses anything: the unit's lease runs out or is given
/// back, and the next holder goes on from its checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Another worker holds the unit now.
    #[error("the unit was taken over by another worker")]
    Fenced,
    /// The process is told to stop, and something it needs is away.
    #[error("stopped before it was done")]
    Stopping,
    /// The database did not do it.
    #[error("storage: {0}")]
    Storage(#[from] StorageError),
    /// The API server refused it.
    #[error("the API server refused: {0}")]
    Api(#[source] ClientError),
}

impl StepError {
    /// How long to leave the unit alone. What a repeat cannot mend is looked at again, by whoever mends
    /// it, at a slower pace.
    pub(crate) fn pause(&self) -> Duration {
        match self {
            Self::Fenced | Self::Stopping => Duration::ZERO,
            Self::Storage(error) if error.is_retryable() => Duration::from_secs(1),
            Self::Storage(_) | Self::Api(_) => Duration::from_secs(30),
        }
    }
}

impl From<Fenced> for StepError {
    fn from(_: Fenced) -> Self {
        Self::Fenced
    }
}
