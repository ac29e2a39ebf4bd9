//! Errors and panics become envelopes. Nothing further in has to care.

use std::any::Any;

use jraze_openapi::dto::ApiError;
use poem::{Endpoint, EndpointExt, Response, endpoint::BoxEndpoint, middleware::CatchPanic};

/// Wraps the router.
pub(crate) fn envelope(inner: impl Endpoint + 'static) -> BoxEndpoint<'static, Response> {
    inner
        .with(CatchPanic::new().with_handler(answer_panic))
        .catch_all_error(|error: poem::Error| async move { ApiError::from_framework(&error).to_response() })
        .map_to_response()
        .boxed()
}

/// The log line of a panic; its message may quote anything, so it stays in the log.
pub(crate) fn log_panic(panic: &(dyn Any + Send)) {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(message, "a request handler panicked");
}

fn answer_panic(panic: Box<dyn Any + Send + 'static>) -> Response {
    log_panic(panic.as_ref());
    ApiError::internal().to_response()
}
