//! Why a request to the API did not do what was asked.

use jraze_openapi::dto::FieldProblem;
use reqwest::StatusCode;
use thiserror::Error;
use url::Url;

/// A request that failed.
#[derive(Debug, Error)]
pub(crate) enum ClientError {
    /// No answer came.
    #[error("no answer from {url}: is the server running, and is the address right?")]
    Transport {
        /// What was asked.
        url: Url,
        /// The reason.
        #[source]
        source: reqwest::Error,
    },
    /// An answer came that is not from a jraze server.
    #[error("{url} answered {status} with something that is not jraze's: {excerpt}")]
    Foreign {
        /// What was asked.
        url: Url,
        /// The status.
        status: StatusCode,
        /// The first characters of the body.
        excerpt: String,
    },
    /// The server refused and says why.
    #[error("{reason} ({status}, {code}){}{}", show_fields(fields), show_request(request_id.as_deref()))]
    Refused {
        /// The status.
        status: StatusCode,
        /// The stable machine code.
        code: String,
        /// The server's reason.
        reason: String,
        /// Where in the request the fault is.
        fields: Vec<FieldProblem>,
        /// What to quote to the operator.
        request_id: Option<String>,
    },
    /// The server's answer does not have the shape of the contract.
    #[error("{url} answered in a shape this version does not know")]
    Shape {
        /// What was asked.
        url: Url,
        /// The reason.
        #[source]
        source: serde_json::Error,
    },
}

impl ClientError {
    /// True when the same request may succeed a little later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Transport { .. } => true,
            Self::Foreign { status, .. } | Self::Refused { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::Shape { .. } => false,
        }
    }
}

fn show_fields(fields: &[FieldProblem]) -> String {
    fields
        .iter()
        .map(|field| format!("\n  at {}: {}", field.pointer, field.message))
        .collect()
}

fn show_request(id: Option<&str>) -> String {
    id.map(|id| format!("\n  request {id}")).unwrap_or_default()
}
