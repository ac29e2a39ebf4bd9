//! Failures: one type, one shape on the wire, one place that also translates the framework's own.
//!
//! A failure has an HTTP status, a stable code for machines, a reason for people and, where one
//! place of the request is to blame, a JSON pointer to it. [`ApiError`] is what ports return; what
//! the framework refuses by itself (unknown path, wrong method, unreadable parameter) comes through
//! [`ApiError::from_framework`], so that a client only ever meets the envelope.

use std::{borrow::Cow, time::Duration};

use poem::{
    IntoResponse, Response,
    error::{MethodNotAllowedError, NotFoundError, ReadBodyError, SizedLimitError},
    http::{HeaderValue, StatusCode, header},
};
use poem_openapi::{
    Object,
    error::{ContentTypeError, ParseParamError, ParsePathError},
};
use serde::{Deserialize, Serialize};

/// One place of the request and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize, Deserialize)]
pub struct FieldProblem {
    /// A JSON pointer into the body, or `/name` of a parameter.
    pub pointer: String,
    /// What is wrong there.
    pub message: String,
}

/// The part of a failed answer that is for machines.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize, Deserialize)]
pub struct ErrorBody {
    /// A stable code, like `unknown_device` or `invalid_condition`.
    pub code: String,
    /// The offending places, where there are some.
    #[serde(default)]
    pub fields: Vec<FieldProblem>,
}

/// A failed answer.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize, Deserialize)]
#[oai(example)]
pub struct Failure {
    /// Always false.
    pub success: bool,
    /// Always null.
    pub result: Option<bool>,
    /// What went wrong, for people.
    pub reason: String,
    /// What went wrong, for machines.
    pub error: ErrorBody,
}

impl poem_openapi::types::Example for Failure {
    fn example() -> Self {
        Self {
            success: false,
            result: None,
            reason: "the condition has an unknown operator".to_owned(),
            error: ErrorBody {
                code: "invalid_condition".to_owned(),
                fields: vec![FieldProblem {
                    pointer: "/conditions/conditions/1/operator".to_owned(),
                    message: "unknown operator \"int_equals\"".to_owned(),
                }],
            },
        }
    }
}

/// A request that failed. Displays as the reason; never holds a secret, a token or a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// The stable code.
    pub code: Cow<'static, str>,
    /// The reason, for people.
    pub reason: String,
    /// The offending places.
    pub fields: Vec<FieldProblem>,
    /// When it makes sense to try again; whole seconds on the wire, rounded up.
    pub retry_after: Option<Duration>,
    /// The methods that the path has, for 405.
    pub allow: Option<String>,
}

impl ApiError {
    /// A failure of any status. The named constructors are preferred where they fit.
    #[must_use]
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            reason: reason.into(),
            fields: Vec::new(),
            retry_after: None,
            allow: None,
        }
    }

    /// 400: the request cannot be carried out as it is written.
    #[must_use]
    pub fn bad_request(code: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, reason)
    }

    /// 400 with one offending place; the reason is the message.
    #[must_use]
    pub fn invalid(
        code: impl Into<Cow<'static, str>>,
        pointer: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let message = message.into();
        Self::bad_request(code, message.clone()).at(pointer, message)
    }

    /// 401: no key, or none that works. It never says which.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "a valid key is needed")
    }

    /// 403: the key works, but not for this. It never says what would.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "the key does not allow this")
    }

    /// 404: there is no such thing in the key's app.
    #[must_use]
    pub fn not_found(code: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, reason)
    }

    /// 404 of a path that the API does not have.
    #[must_use]
    pub fn unknown_path() -> Self {
        Self::not_found(UNKNOWN_PATH, "there is nothing at this path")
    }

    /// 405 with the methods that the path has.
    #[must_use]
    pub fn method_not_allowed(allow: Option<String>) -> Self {
        let reason = "the path does not have this method";
        Self {
            allow,
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", reason)
        }
    }

    /// 408: the request's body did not arrive in time.
    #[must_use]
    pub fn request_timeout() -> Self {
        let reason = "the request did not arrive in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", reason)
    }

    /// 409: the thing is not in a state that allows this.
    #[must_use]
    pub fn conflict(code: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, reason)
    }

    /// 413: more than `limit` bytes.
    #[must_use]
    pub fn payload_too_large(limit: u64) -> Self {
        let reason = format!("the body is larger than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", reason)
    }

    /// 415: a body in a form that this operation does not read.
    #[must_use]
    pub fn unsupported_media_type(expected: &str) -> Self {
        let reason = format!("the body must come as {expected}");
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            reason,
        )
    }

    /// 429: too often; `retry_after` says when again.
    #[must_use]
    pub fn too_many_requests(retry_after: Duration) -> Self {
        let reason = "too many requests";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", reason).retry(retry_after)
    }

    /// 500: our fault. The cause belongs into the log, not into the answer.
    #[must_use]
    pub fn internal() -> Self {
        let reason = "something went wrong on our side";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", reason)
    }

    /// 503: the database (or the server itself) is not available now.
    #[must_use]
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", reason).retry(Duration::from_secs(1))
    }

    /// The same failure, pointing at one more place.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>, message: impl Into<String>) -> Self {
        self.fields.push(FieldProblem {
            pointer: pointer.into(),
            message: message.into(),
        });
        self
    }

    /// The same failure, with the time to wait before trying again.
    #[must_use]
    pub fn retry(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Translates what poem and poem-openapi refuse by themselves.
    #[must_use]
    pub fn from_framework(error: &poem::Error) -> Self {
        if let Some(ours) = error.downcast_ref::<Self>() {
            return ours.clone();
        }
        if error.is::<NotFoundError>() {
            return Self::unknown_path();
        }
        if error.is::<MethodNotAllowedError>() {
            return Self::method_not_allowed(None);
        }
        if error.is::<poem::error::ParsePathError>() || error.is::<ParsePathError>() {
            return Self::bad_request("invalid_path", "the path does not decode to UTF-8");
        }
        if let Some(error) = error.downcast_ref::<ParseParamError>() {
            return Self::invalid(
                "invalid_parameter",
                format!("/{}", error.name),
                plain(&error.reason),
            );
        }
        if error.is::<ContentTypeError>() {
            return Self::unsupported_media_type("application/json");
        }
        if error.is::<ReadBodyError>() {
            return Self::bad_request("unreadable_body", "the body could not be read");
        }
        if error.is::<SizedLimitError>() {
            return Self::new(error.status(), "payload_too_large", "the body is too large");
        }
        match error.status() {
            status if status.is_client_error() => {
                // poem's own texts quote the request at most, so they are safe to repeat.
                Self::new(status, "invalid_request", error.to_string())
            }
            StatusCode::SERVICE_UNAVAILABLE => Self::unavailable("not available now"),
            _ => Self::internal(),
        }
    }

    /// The envelope and its headers.
    #[must_use]
    pub fn to_response(&self) -> Response {
        let failure = Failure {
            success: false,
            result: None,
            reason: self.reason.clone(),
            error: ErrorBody {
                code: self.code.clone().into_owned(),
                fields: self.fields.clone(),
            },
        };
        let mut response = Response::builder()
            .status(self.status)
            .content_type("application/json; charset=utf-8")
            // texts and numbers only: it always serialises
            .body(serde_json::to_vec(&failure).unwrap_or_default());
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(allow) = self.allow.as_deref().and_then(|text| text.parse().ok()) {
            headers.insert(header::ALLOW, allow);
        }
        response
    }
}

/// What poem says of a parameter, without the names of Rust types.
fn plain(reason: &str) -> &str {
    if reason.contains("verification failed") {
        "this value is out of the parameter's range"
    } else if reason.contains("failed to parse") {
        "this value is not of the parameter's type"
    } else {
        reason
    }
}

/// The code of a path that the API does not have; no other failure carries it.
pub const UNKNOWN_PATH: &str = "unknown_path";

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.to_response()
    }
}

impl poem::error::ResponseError for ApiError {
    fn status(&self) -> StatusCode {
        self.status
    }

    fn as_response(&self) -> Response {
        self.to_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_is_an_envelope_with_code_and_pointer() {
        let error = ApiError::invalid("invalid_condition", "/conditions/key", "not a key");
        let body = error.to_response().into_body().into_string().await.unwrap();
        assert_eq!(
            body,
            r#"{"success":false,"result":null,"reason":"not a key","error":{"code":"invalid_condition","fields":[{"pointer":"/conditions/key","message":"not a key"}]}}"#
        );
    }

    #[test]
    fn headers_say_how_to_go_on() {
        let waits = ApiError::too_many_requests(Duration::from_millis(1_200)).to_response();
        assert_eq!(waits.header("retry-after"), Some("2"));
        let wrong = ApiError::method_not_allowed(Some("GET, PUT".to_owned())).to_response();
        assert_eq!(wrong.header("allow"), Some("GET, PUT"));
        assert_eq!(
            ApiError::unauthorized().to_response().header("www-authenticate"),
            Some("Bearer")
        );
    }

    #[test]
    fn an_error_of_ours_survives_the_way_through_the_framework() {
        let ours = ApiError::conflict("wrong_state", "a DRAFT cannot be paused");
        let through = poem::Error::from(ours.clone());
        assert_eq!(ApiError::from_framework(&through), ours);
    }
}
