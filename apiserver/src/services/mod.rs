//! The use cases: domain types in, domain types out. No HTTP and no wire type comes in here.

pub(crate) mod devices;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod notifications;
pub(crate) mod reach;
pub(crate) mod tallies;

use jraze_domain::{
    campaign::{IllegalTransition, Status},
    device::Implausible,
};
use jraze_storage::{StorageError, devices::WriteError};

/// Why a use case was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// The database.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The app has no device of this name.
    #[error("there is no such device")]
    UnknownDevice,
    /// The app has no notification of this name.
    #[error("there is no such notification")]
    UnknownNotification,
    /// A client key spoke for a device whose secret it does not have.
    #[error("the device secret is missing or wrong")]
    ForeignDevice,
    /// The device holds all the properties it may.
    #[error("the device's properties are full: remove some before setting others")]
    PropertiesFull,
    /// A registration that cannot be true of the device that is there.
    #[error(transparent)]
    Implausible(#[from] Implausible),
    /// An edit of what is no draft any more.
    #[error("the notification is {0}, not DRAFT")]
    NotADraft(Status),
    /// A launch whose audience is not the one that was expected.
    #[error(transparent)]
    AudienceMoved(#[from] reach::AudienceMoved),
    /// A launch of a draft that was edited while its audience was counted.
    #[error("the draft was edited in the meantime")]
    EditedMeanwhile,
    /// A transition that the state machine does not have.
    #[error(transparent)]
    IllegalTransition(#[from] IllegalTransition),
}

impl From<WriteError> for ServiceError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::UnknownDevice => Self::UnknownDevice,
            WriteError::WrongSecret => Self::ForeignDevice,
            WriteError::PropertiesFull => Self::PropertiesFull,
            WriteError::Implausible(fault) => Self::Implausible(fault),
            WriteError::Storage(error) => Self::Storage(error),
            other => {
                // The enum may grow; what this version does not know is a defect of ours to report.
                tracing::error!(error = %other, "a device could not be written");
                Self::Storage(StorageError::Conflict { what: "the device" })
            }
        }
    }
}
