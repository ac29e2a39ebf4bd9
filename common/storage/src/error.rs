//! What can go wrong between us and the database, sorted by what a caller can do about it.
//!
//! | error | a caller may |
//! | --- | --- |
//! | [`StorageError::Conflict`] | read again and decide again |
//! | [`StorageError::Unavailable`] | repeat when `retryable`, with backoff |
//! | [`StorageError::TimedOut`] | ask for less |
//! | [`StorageError::Corrupt`] | report it; repeating cannot help |
//! | [`StorageError::Refused`], [`StorageError::Encode`] | report it; it is a defect or a missing permission |
//! | [`StorageError::Unsuitable`] | tell the operator: the message is the whole reason, in one line |

use std::fmt::Display;

use mongodb::error::{Error, ErrorKind, WriteFailure};

/// A failure of storage.
///
/// `Clone`, because one failed batch is the failure of everybody who waited for it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// What was there was not what the caller expected, or something unique was there already.
    #[error("{what} is in conflict with what is stored")]
    Conflict {
        /// The thing in conflict.
        what: &'static str,
    },
    /// No answer from the database, or none that counts.
    #[error("the database is unavailable")]
    Unavailable {
        /// Whether the same call may succeed in a moment.
        retryable: bool,
        /// What the driver says.
        #[source]
        source: Error,
    },
    /// The operation took longer than it was allowed to.
    #[error("the database did not finish in the time allowed")]
    TimedOut {
        /// What the driver says.
        #[source]
        source: Error,
    },
    /// A stored document is not what its writer would have written.
    #[error("{collection} {id}: the field {field} cannot be read")]
    Corrupt {
        /// In which collection.
        collection: &'static str,
        /// Which field.
        field: &'static str,
        /// Of which document.
        id: String,
    },
    /// The server understood and said no.
    #[error("the database refused the operation")]
    Refused {
        /// What the driver says.
        #[source]
        source: Error,
    },
    /// A value could not be written as BSON.
    #[error("a value cannot be written as BSON")]
    Encode {
        /// What the encoder says.
        #[source]
        source: mongodb::bson::error::Error,
    },
    /// The task that does the work has ended, because the process is stopping.
    #[error("storage is shutting down")]
    Stopped,
    /// The server or the settings cannot carry jraze at all.
    #[error("{reason}")]
    Unsuitable {
        /// The reason and the remedy, in one line.
        reason: String,
    },
}

impl StorageError {
    /// A document that cannot be read.
    pub fn corrupt(collection: &'static str, field: &'static str, id: impl Display) -> Self {
        Self::Corrupt {
            collection,
            field,
            id: id.to_string(),
        }
    }

    /// A value that cannot be written.
    pub fn encode(source: mongodb::bson::error::Error) -> Self {
        Self::Encode { source }
    }

    /// No answer came, for whatever stands in for the database: the same call may succeed in a moment.
    pub fn connection_lost(source: std::io::Error) -> Self {
        Error::from(source).into()
    }

    /// An error of which only the server's code is known, as in the reply to a command of many writes.
    pub(crate) fn of_code(code: i32, source: Error) -> Self {
        if NOT_NOW.contains(&code) {
            Self::Unavailable {
                retryable: true,
                source,
            }
        } else {
            Self::Refused { source }
        }
    }

    /// Whether the same call may succeed in a moment.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { retryable: true, .. })
    }
}

impl From<Error> for StorageError {
    fn from(source: Error) -> Self {
        if is_duplicate_key(&source) {
            return Self::Conflict { what: "a unique key" };
        }
        let label = |name| source.contains_label(name);
        let retryable = label("RetryableWriteError") || label("TransientTransactionError");
        match *source.kind {
            ErrorKind::Command(ref error) if error.code == MAX_TIME_EXPIRED => Self::TimedOut { source },
            ErrorKind::Command(ref error) if retryable || NOT_NOW.contains(&error.code) => {
                Self::Unavailable {
                    retryable: true,
                    source,
                }
            }
            // Written, but not yet where a failover cannot take it back.
            ErrorKind::Write(WriteFailure::WriteConcernError(ref error)) if NOT_NOW.contains(&error.code) => {
                Self::Unavailable {
                    retryable: true,
                    source,
                }
            }
            ErrorKind::Io(_)
            | ErrorKind::ConnectionPoolCleared { .. }
            | ErrorKind::ServerSelection { .. }
            | ErrorKind::DnsResolve { .. } => Self::Unavailable {
                retryable: true,
                source,
            },
            ErrorKind::Authentication { .. } | ErrorKind::InvalidTlsConfig { .. } => Self::Unavailable {
                retryable: false,
                source,
            },
            _ if retryable => Self::Unavailable {
                retryable: true,
                source,
            },
            _ => Self::Refused { source },
        }
    }
}

/// `MaxTimeMSExpired`.
const MAX_TIME_EXPIRED: i32 = 50;

/// Codes of a server that is starting, stopping, stepping down or unreachable, as the drivers'
/// retryable reads and writes specifications list them.
const NOT_NOW: [i32; 14] = [
    6, 7, 89, 91, 134, 189, 262, 9001, 10107, 11600, 11602, 13388, 13435, 13436,
];

const DUPLICATE_KEY: i32 = 11000;

/// Whether an insert met a document that is there already, and nothing else went wrong.
pub(crate) fn is_duplicate_key(error: &Error) -> bool {
    match *error.kind {
        ErrorKind::Write(WriteFailure::WriteError(ref error)) => error.code == DUPLICATE_KEY,
        ErrorKind::Command(ref error) => error.code == DUPLICATE_KEY,
        ErrorKind::InsertMany(ref error) => {
            error.write_concern_error.is_none()
                && error.write_errors.as_ref().is_some_and(|errors| {
                    !errors.is_empty() && errors.iter().all(|error| error.code == DUPLICATE_KEY)
                })
        }
        _ => false,
    }
}

/// Success for an insert whose documents may be there already, because their ids are computed.
pub(crate) fn ignore_duplicate_keys<T>(result: Result<T, Error>) -> Result<(), StorageError> {
    match result {
        Ok(_) => Ok(()),
        Err(error) if is_duplicate_key(&error) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
