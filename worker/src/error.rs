//! Why a step ended early.

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
    /// The database did not do it.
    #[error("storage: {0}")]
    Storage(#[from] StorageError),
    /// The API server refused it.
    #[error("the API server refused: {0}")]
    Api(#[source] ClientError),
}

impl From<Fenced> for StepError {
    fn from(_: Fenced) -> Self {
        Self::Fenced
    }
}
