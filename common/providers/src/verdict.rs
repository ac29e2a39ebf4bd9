//! What a classifier decides, and the outcomes that both providers share.

use std::{error::Error, time::Duration};

use jraze_domain::dispatch::{Delivery, Outcome, Scope};

use crate::transport::{Ambiguous, NotSent, TransportError};

/// The meaning of an answer: an outcome, or something to be put right first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This is what became of it.
    Final(Outcome),
    /// Put this right and send once more; `otherwise` is the outcome when that is not possible or did
    /// not help.
    Resend {
        /// What to put right.
        remedy: Remedy,
        /// The outcome else.
        otherwise: Outcome,
    },
}

/// What is put right before one more attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Get a new access token (FCM).
    NewAccessToken,
    /// Use another connection; this one is closed (APNs).
    NewConnection,
    /// Mint a new provider token, if allowed, and use another connection (APNs).
    NewProviderToken,
}

/// Reasons of our own, where no provider said anything. They begin with `jraze:`, which no provider's
/// code does.
pub mod reason {
    /// The request was written and no answer came in time.
    pub const NO_ANSWER: &str = "jraze:no_answer";
    /// The request was written and its stream or connection broke.
    pub const CONNECTION_LOST: &str = "jraze:connection_lost";
    /// No connection to the provider.
    pub const NOT_CONNECTED: &str = "jraze:not_connected";
    /// The provider's host is not who it should be, or does not speak HTTP/2.
    pub const NOT_TRUSTED: &str = "jraze:not_trusted";
    /// Withdrawn while it waited for its turn.
    pub const UNWANTED: &str = "jraze:unwanted";
    /// No free stream in time.
    pub const NO_FREE_STREAM: &str = "jraze:no_free_stream";
    /// The provider refused stream after stream without looking at them.
    pub const STREAM_REFUSED: &str = "jraze:stream_refused";
    /// No access token could be had; the provider of tokens cannot be reached.
    pub const NO_ACCESS_TOKEN: &str = "jraze:no_access_token";
    /// The push token cannot be one of this provider.
    pub const MALFORMED_TOKEN: &str = "jraze:malformed_token";
    /// The message was prepared for another provider. A fault in the caller.
    pub const WRONG_PROVIDER: &str = "jraze:wrong_provider";
}

/// The transport's rows of the table: a request without an answer.
pub(crate) fn of_transport(error: &TransportError) -> Outcome {
    match error {
        TransportError::Ambiguous(Ambiguous::Timeout(_)) => {
            Outcome::new(Delivery::Unanswered, reason::NO_ANSWER)
        }
        TransportError::Ambiguous(Ambiguous::Reset(_) | Ambiguous::Lost(_)) => {
            Outcome::new(Delivery::Unanswered, reason::CONNECTION_LOST)
        }
        TransportError::NotSent { cause, retry_in } => of_not_sent(cause, *retry_in),
    }
}

fn of_not_sent(cause: &NotSent, retry_in: Option<Duration>) -> Outcome {
    let (reason, scope) = match cause {
        NotSent::Unwanted => return Outcome::new(Delivery::Requeued, reason::UNWANTED),
        NotSent::Connect(error) if error.is_trust() => (reason::NOT_TRUSTED, Scope::Credential),
        NotSent::Connect(_) | NotSent::NotStarted(_) => (reason::NOT_CONNECTED, Scope::Connection),
        NotSent::NoFreeStream(_) => (reason::NO_FREE_STREAM, Scope::Connection),
        NotSent::Refused(_) | NotSent::GoneAway(_) => (reason::STREAM_REFUSED, Scope::Connection),
    };
    Outcome::new(Delivery::Requeued, reason).with_hold(scope, retry_in)
}

/// An error and all its sources in one line, for logs.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use super::*;
    use crate::transport::ConnectError;

    #[test]
    fn only_a_written_request_may_be_unanswered() {
        let timeout = TransportError::Ambiguous(Ambiguous::Timeout(Duration::from_secs(10)));
        assert_eq!(of_transport(&timeout).delivery, Delivery::Unanswered);
        let full = TransportError::NotSent {
            cause: NotSent::NoFreeStream(Duration::ZERO),
            retry_in: None,
        };
        assert_eq!(of_transport(&full).delivery, Delivery::Requeued);
    }

    #[test]
    fn a_certificate_that_is_not_trusted_stops_the_credential_and_costs_no_attempt() {
        let tls = ConnectError::Tls {
            host: "h".into(),
            source: io::Error::other("bad certificate"),
        };
        let error = TransportError::NotSent {
            cause: NotSent::Connect(Arc::new(tls)),
            retry_in: None,
        };
        let outcome = of_transport(&error);
        assert_eq!(outcome.delivery, Delivery::Requeued);
        assert_eq!(outcome.hold.map(|hold| hold.scope), Some(Scope::Credential));
    }

    #[test]
    fn a_host_that_cannot_be_reached_costs_no_attempt_and_tells_the_wait() {
        let refused = ConnectError::Connect {
            host: "h".into(),
            source: io::ErrorKind::ConnectionRefused.into(),
        };
        let wait = Some(Duration::from_secs(3));
        let error = TransportError::NotSent {
            cause: NotSent::Connect(Arc::new(refused)),
            retry_in: wait,
        };
        let outcome = of_transport(&error);
        assert_eq!(outcome.delivery, Delivery::Requeued);
        assert_eq!(
            outcome.hold,
            Some(jraze_domain::dispatch::Hold {
                scope: Scope::Connection,
                wait
            })
        );
    }
}
