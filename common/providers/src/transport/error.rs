//! What a failed request means for the request.
//!
//! The one question a sender has is whether the provider may have seen it. [`TransportError::NotSent`]
//! is a promise that it has not: sending again cannot make a duplicate. [`TransportError::Ambiguous`]
//! says that nobody can know.

use std::{io, sync::Arc, time::Duration};

use thiserror::Error;

use super::stream_error::StreamError;

/// Why a request has no answer.
#[derive(Debug, Error)]
pub enum TransportError {
    /// The request was certainly not processed.
    #[error("not sent")]
    NotSent {
        /// What stood in the way.
        #[source]
        cause: NotSent,
        /// How long the pool itself will wait before it tries the host again.
        retry_in: Option<Duration>,
    },
    /// The request was written and nobody can know what became of it.
    #[error("sent, with no answer")]
    Ambiguous(#[source] Ambiguous),
}

/// Why a request never reached the peer, or was refused before being looked at.
#[derive(Debug, Error)]
pub enum NotSent {
    /// There is no connection.
    #[error("no connection")]
    Connect(#[source] Arc<ConnectError>),
    /// No stream came free in time: the peer's limit is used up.
    #[error("no free stream within {0:?}")]
    NoFreeStream(Duration),
    /// By the time a stream came free nobody wanted it sent any more.
    #[error("withdrawn before it left")]
    Unwanted,
    /// The connection took no new stream.
    #[error("the connection takes no new stream")]
    NotStarted(#[source] StreamError),
    /// The peer refused the stream (REFUSED_STREAM), which by RFC 9113, 8.7 means unprocessed.
    #[error("the stream was refused")]
    Refused(#[source] StreamError),
    /// The peer is going away and our stream is above the last one that it looks at (RFC 9113, 6.8).
    #[error("the connection is going away")]
    GoneAway(#[source] StreamError),
}

/// Why a written request has no answer.
#[derive(Debug, Error)]
pub enum Ambiguous {
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The peer reset the stream.
    #[error("the stream was reset")]
    Reset(#[source] StreamError),
    /// The connection broke.
    #[error("the connection was lost")]
    Lost(#[source] StreamError),
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The host's name has no address.
    #[error("{host} cannot be resolved")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver says.
        #[source]
        source: io::Error,
    },
    /// No address of the host answers.
    #[error("{host} cannot be reached")]
    Connect {
        /// The name.
        host: String,
        /// What the last address answered.
        #[source]
        source: io::Error,
    },
    /// The TLS handshake failed: a certificate that is not trusted, or no common version.
    #[error("{host} cannot be trusted")]
    Tls {
        /// The name.
        host: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The peer does not speak HTTP/2.
    #[error("{host} does not speak HTTP/2")]
    NoHttp2 {
        /// The name.
        host: String,
    },
    /// The HTTP/2 preface failed.
    #[error("{host} refused the HTTP/2 handshake")]
    Handshake {
        /// The name.
        host: String,
        /// What went wrong.
        #[source]
        source: StreamError,
    },
    /// It took too long.
    #[error("{host} did not take a connection within {after:?}")]
    Timeout {
        /// The name.
        host: String,
        /// The limit.
        after: Duration,
    },
}

impl ConnectError {
    /// True when trying again cannot help until somebody changes something: the peer is not who it
    /// should be.
    pub fn is_trust(&self) -> bool {
        matches!(self, Self::Tls { .. } | Self::NoHttp2 { .. })
    }
}

/// What the failure of one attempt means, before anything is resent. The connection is to be left alone
/// when `retire` is set.
#[derive(Debug)]
pub(super) enum AttemptError {
    /// Unprocessed; may be resent at once.
    Unprocessed { cause: NotSent, retire: bool },
    /// Nobody knows.
    Ambiguous { cause: Ambiguous, retire: bool },
}

impl AttemptError {
    /// The connection took no new stream, and will take none.
    pub(super) fn not_started(error: StreamError) -> Self {
        Self::Unprocessed {
            cause: NotSent::NotStarted(error),
            retire: true,
        }
    }

    /// The peer refused this stream, which says nothing about the next.
    pub(super) fn refused(error: StreamError) -> Self {
        Self::Unprocessed {
            cause: NotSent::Refused(error),
            retire: false,
        }
    }

    /// Nobody knows what became of this stream, which says nothing about others.
    pub(super) fn ambiguous(cause: Ambiguous) -> Self {
        Self::Ambiguous { cause, retire: false }
    }

    /// True when the connection is to be left alone.
    pub(super) fn retires(&self) -> bool {
        match self {
            Self::Unprocessed { retire, .. } | Self::Ambiguous { retire, .. } => *retire,
        }
    }
}

impl From<AttemptError> for TransportError {
    fn from(error: AttemptError) -> Self {
        match error {
            AttemptError::Unprocessed { cause, .. } => TransportError::NotSent {
                cause,
                retry_in: None,
            },
            AttemptError::Ambiguous { cause, .. } => TransportError::Ambiguous(cause),
        }
    }
}
