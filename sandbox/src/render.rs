//! From a scripted [`Answer`] to what happens on the wire and what the ledger says about it.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};

use crate::{
    chance,
    script::{Answer, Decision, Http2Code},
    server::{DripPace, Reply},
    settings::Settings,
};

/// The documented errors of a provider.
pub(crate) trait Catalogue {
    /// Status and answer of the error that the provider calls `code`.
    fn error(&self, code: &str, timestamp_ms: Option<i64>) -> Response<Bytes>;
    /// Status of that error.
    fn status(&self, code: &str) -> u16;
}

/// What the ledger notes for a scripted answer: the status, if one is sent, and a word.
pub(crate) fn noted(answer: &Answer, catalogue: &impl Catalogue) -> (Option<u16>, Cow<'static, str>) {
    match answer {
        Answer::Error { code, .. } => (Some(catalogue.status(code)), Cow::Owned(code.clone())),
        Answer::Http { status, .. } => (Some(*status), Cow::Borrowed("scripted")),
        Answer::HalfBody => (Some(200), Cow::Borrowed("half_body")),
        Answer::Drip { status, .. } => (Some(status.unwrap_or(200)), Cow::Borrowed("drip")),
        Answer::StreamLimit { .. } => (Some(200), Cow::Borrowed("stream_limit")),
        Answer::Lost => (Some(200), Cow::Borrowed("lost")),
        Answer::Reset { code } => (None, Cow::Owned(format!("reset {}", name(*code)))),
        Answer::Goaway { processed: true, .. } => (Some(200), Cow::Borrowed("goaway")),
        Answer::Goaway { .. } => (None, Cow::Borrowed("goaway")),
        Answer::Stall => (None, Cow::Borrowed("stall")),
        Answer::Close => (None, Cow::Borrowed("close")),
    }
}

fn name(code: Http2Code) -> String {
    serde_json::to_value(code)
        .ok()
        .and_then(|name| name.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// The reply that a scripted answer asks for; `usual` is the answer without a script.
pub(crate) fn reply(
    answer: &Answer,
    catalogue: &impl Catalogue,
    usual: impl FnOnce() -> Response<Bytes>,
) -> Reply {
    match answer {
        Answer::Error {
            code,
            retry_after,
            timestamp_ms,
        } => {
            let mut response = catalogue.error(code, *timestamp_ms);
            if let Some(value) = retry_after
                .as_deref()
                .and_then(|value| HeaderValue::from_str(value).ok())
            {
                response.headers_mut().insert(RETRY_AFTER, value);
            }
            Reply::Http(response)
        }
        Answer::Http {
            status,
            headers,
            body,
        } => {
            let (content_type, body) = match body {
                None => (None, Bytes::new()),
                Some(serde_json::Value::String(text)) => {
                    (Some("text/plain; charset=UTF-8"), Bytes::from(text.clone()))
                }
                Some(value) => (Some(JSON), Bytes::from(value.to_string())),
            };
            let mut response = Response::new(body);
            *response.status_mut() = StatusCode::from_u16(*status).unwrap_or(StatusCode::OK);
            if let Some(content_type) = content_type {
                response
                    .headers_mut()
                    .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            }
            for (name, value) in headers {
                // The script was checked, so both can be sent.
                if let (Ok(name), Ok(value)) = (
                    HeaderName::from_bytes(name.as_bytes()),
                    HeaderValue::from_str(value),
                ) {
                    response.headers_mut().insert(name, value);
                }
            }
            Reply::Http(response)
        }
        Answer::HalfBody => Reply::HalfBody(usual()),
        Answer::Drip {
            bytes,
            status,
            chunk_bytes,
            every_ms,
        } => {
            let chunk = *chunk_bytes as usize;
            let answer = match bytes {
                None => usual(),
                Some(_) => response(status.unwrap_or(200), "text/plain", vec![b'x'; chunk]),
            };
            Reply::Drip {
                pace: DripPace {
                    filler: *bytes,
                    chunk,
                    every: Duration::from_millis(*every_ms),
                },
                answer,
            }
        }
        Answer::StreamLimit { streams } => Reply::StreamLimit {
            streams: *streams,
            answer: usual(),
        },
        Answer::Reset { code } => Reply::Reset(code.reason()),
        Answer::Goaway {
            code,
            debug,
            processed,
        } => Reply::Goaway {
            code: code.reason(),
            debug: debug.clone(),
            answer: processed.then(usual),
        },
        Answer::Stall => Reply::Stall,
        Answer::Close | Answer::Lost => Reply::Close,
    }
}

/// Content type of JSON, as Google writes it.
pub(crate) const JSON: &str = "application/json; charset=UTF-8";

/// An answer with a body.
pub(crate) fn response(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// How long an answer takes: the latency of the settings and that of the script, each with its jitter.
/// `draw` is asked only when there is any.
pub(crate) fn delay(settings: &Settings, decision: &Decision, draw: impl FnOnce() -> u64) -> Duration {
    let fixed = settings.latency_ms + decision.latency_ms;
    let jitters = [settings.latency_jitter_ms, decision.latency_jitter_ms];
    let jitter = match jitters {
        [0, 0] => 0,
        [one, other] => {
            let draw = chance::mix(draw());
            draw % (one + 1) + chance::mix(draw) % (other + 1)
        }
    };
    Duration::from_millis(fixed + jitter)
}
