//! The request's id, its log line, and the headers that every answer carries.

use std::{sync::Arc, time::Instant};

use poem::{
    Endpoint, Request, Response,
    endpoint::BoxEndpoint,
    http::{HeaderName, HeaderValue, header},
};
use tracing::Instrument as _;

use crate::random::Random;

/// The header of the request id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id that is taken over from a client, in bytes.
const MAX_ID: usize = 128;

/// Wraps everything.
pub(crate) struct Trace {
    inner: BoxEndpoint<'static, Response>,
    random: Arc<Random>,
}

impl Trace {
    pub(crate) fn new(inner: BoxEndpoint<'static, Response>, random: Arc<Random>) -> Self {
        Self { inner, random }
    }

    /// The client's own, where it is short and printable; else a fresh one.
    fn id(&self, request: &Request) -> HeaderValue {
        let theirs = request
            .headers()
            .get(REQUEST_ID)
            .filter(|id| (1..=MAX_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic));
        theirs.cloned().unwrap_or_else(|| {
            let id = self.random.uuid().simple().to_string();
            HeaderValue::from_str(&id).expect("hexadecimal digits are a header value")
        })
    }
}

impl Endpoint for Trace {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let id = self.id(&request);
        let method = request.method().clone();
        let started = Instant::now();
        // The path may hold an external id, which may name a person; the operation's name (see
        // admission) is logged instead.
        let span = tracing::info_span!(
            "request",
            request_id = id.to_str().unwrap_or_default(),
            operation = tracing::field::Empty,
            app = tracing::field::Empty,
            key = tracing::field::Empty,
        );
        let outcome = self.inner.call(request).instrument(span.clone()).await;
        let mut response = match outcome {
            Ok(response) => response,
            Err(error) => jraze_openapi::dto::ApiError::from_framework(&error).to_response(),
        };
        let status = response.status().as_u16();
        let milliseconds = started.elapsed().as_millis();
        span.in_scope(|| {
            if status >= 500 {
                tracing::warn!(%method, status, milliseconds, "answered");
            } else {
                tracing::debug!(%method, status, milliseconds, "answered");
            }
        });
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, id);
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers
            .entry(header::CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
        Ok(response)
    }
}
