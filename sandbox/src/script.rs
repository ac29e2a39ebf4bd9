//! The script: which request gets which answer.
//!
//! A script is a list of rules, set as JSON (`PUT /script`, `script_file` or [`Settings::script`]).
//! A rule says which requests it is for (provider, token or token prefix, a probability, how often)
//! and what they get (an [`Answer`], a latency or both). The first rule that applies wins; a request
//! that no rule wants is answered as usual. Rules are asked only for requests that passed the
//! provider's checks: a scripted 503 never hides a malformed payload.
//!
//! Here is the language: what can be said, and what makes no sense. [`director`] is the script at work.
//!
//! Adding a kind of answer: a variant of [`Answer`] here, its rendering in [`crate::render`], and when
//! it does something to the connection, its execution in [`crate::server`].
//!
//! [`Settings::script`]: crate::Settings::script

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{apns, fcm, ledger::Provider};

mod director;

pub(crate) use self::director::{Asked, Decision, Director};

/// A list of rules; the first that applies to a request wins.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// The rules, in order of precedence.
    pub rules: Vec<Rule>,
}

/// Which requests get which answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// A name for people; it appears in `GET /script`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only requests to this provider; both when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// Only requests for exactly this token (APNs: lower-case hex). Not together with `token_prefix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Only requests for tokens that begin so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_prefix: Option<String>,
    /// The rule is for requests for an access token (OAuth) instead of sends; errors are then those of
    /// RFC 6749 (`invalid_grant`). Not together with a token or a provider.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub oauth: bool,
    /// Share of the matching requests that the rule takes, 0 to 1, drawn from the sandbox's seed,
    /// the token and how often the token was sent to; the same in every run. All when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub probability: Option<f64>,
    /// The rule takes this many requests and is then spent; no limit when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// The rule takes this many requests of each token; no limit when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times_per_token: Option<u32>,
    /// Extra time before the answer, in milliseconds, 0 to 600000.
    #[schemars(range(max = 600_000))]
    pub latency_ms: u64,
    /// Random extra on top of `latency_ms`, in milliseconds: 0 up to this, evenly, drawn as
    /// `probability` is, 0 to 600000.
    #[schemars(range(max = 600_000))]
    pub latency_jitter_ms: u64,
    /// What is answered; when left out, the usual answer (after `latency_ms`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
}

/// What a request gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// A documented error of the provider, by the provider's own name for it: the `errorCode` or
    /// status of FCM (`UNREGISTERED`, `UNAVAILABLE`), the reason of APNs (`BadDeviceToken`).
    /// Status, body and headers are those that the provider sends.
    Error {
        /// The provider's name of the error.
        code: String,
        /// Value of a Retry-After header, verbatim: `"7"`, `"Wed, 21 Oct 2026 07:28:00 GMT"`, `"abc"`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<String>,
        /// `timestamp` of an APNs 410, in milliseconds since 1970; the time of the request when left
        /// out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timestamp_ms: Option<i64>,
    },
    /// Any answer, verbatim.
    Http {
        /// HTTP status, 200 to 599.
        #[schemars(range(min = 200, max = 599))]
        status: u16,
        /// Headers to add; `content-type` follows from the body unless given.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<String, String>,
        /// A string is sent as it is, anything else as JSON; no body when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<serde_json::Value>,
    },
    /// The usual answer's head, then half of its body, then RST_STREAM with INTERNAL_ERROR.
    HalfBody,
    /// An answer whose body trickles: its head at once, then `chunk_bytes` every `every_ms`.
    Drip {
        /// Size of a body of `x`, in bytes; the usual answer's own body when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<u64>,
        /// HTTP status of an answer with `bytes`, 200 to 599. Default 200.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 200, max = 599))]
        status: Option<u16>,
        /// Bytes at a time, 1 to 16384. Default 1.
        #[serde(default = "one")]
        #[schemars(range(min = 1, max = 16_384))]
        chunk_bytes: u32,
        /// Milliseconds between two, 0 to 600000; 0 is as fast as the client takes them. Default 100.
        #[serde(default = "hundred")]
        #[schemars(range(max = 600_000))]
        every_ms: u64,
    },
    /// The usual answer, and from now on another number of streams that may be open on this
    /// connection: a SETTINGS frame announces it, and what is opened above it is refused with
    /// REFUSED_STREAM.
    StreamLimit {
        /// Streams, 1 up to the provider's `max_streams`.
        #[schemars(range(min = 1, max = 100_000))]
        streams: u32,
    },
    /// The push is accepted and shown, but its answer never comes: the TCP connection is cut.
    Lost,
    /// RST_STREAM instead of an answer. `REFUSED_STREAM` promises that nothing was processed.
    Reset {
        /// HTTP/2 error code.
        code: Http2Code,
    },
    /// GOAWAY on the connection; what was received before it is still answered.
    Goaway {
        /// HTTP/2 error code. Default `NO_ERROR`.
        #[serde(default)]
        code: Http2Code,
        /// Debug data; APNs sends a JSON reason such as `{"reason":"Shutdown"}` in it.
        #[serde(default)]
        debug: String,
        /// Whether this request counts as processed: it is then answered as usual, else the last
        /// stream id excludes it and it may be resent. Default false.
        #[serde(default)]
        processed: bool,
    },
    /// No answer, ever; the stream stays open.
    Stall,
    /// The TCP connection is cut without a word, after the request was received.
    Close,
}

fn one() -> u32 {
    1
}

fn hundred() -> u64 {
    100
}

/// HTTP/2 error codes by their names in RFC 9113, section 7.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the names are those of RFC 9113")]
pub enum Http2Code {
    #[default]
    NoError,
    ProtocolError,
    InternalError,
    FlowControlError,
    SettingsTimeout,
    StreamClosed,
    FrameSizeError,
    RefusedStream,
    Cancel,
    CompressionError,
    ConnectError,
    EnhanceYourCalm,
    InadequateSecurity,
    #[serde(rename = "HTTP_1_1_REQUIRED")]
    Http11Required,
}

impl Http2Code {
    /// The code on the wire.
    pub(crate) fn reason(self) -> h2::Reason {
        h2::Reason::from(self as u32)
    }
}

impl Rule {
    /// Whether the rule makes sense, and the provider that it is for: an error's own when it names none.
    fn check(&self) -> Result<Option<Provider>, String> {
        if self.token.is_some() && self.token_prefix.is_some() {
            return Err("token and token_prefix exclude each other".to_owned());
        }
        if self.probability.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
            return Err("probability must be from 0 to 1".to_owned());
        }
        if self.latency_ms.max(self.latency_jitter_ms) > 600_000 {
            return Err("latency_ms must be at most 600000, as latency_jitter_ms".to_owned());
        }
        if self.oauth && (self.token.is_some() || self.token_prefix.is_some() || self.provider.is_some()) {
            return Err("oauth goes with neither a token nor a provider".to_owned());
        }
        let mut provider = self.provider;
        match &self.answer {
            Some(Answer::Error { code, .. }) if self.oauth => {
                fcm::oauth::check_code(code)?;
            }
            Some(Answer::Error {
                code, retry_after, ..
            }) => {
                let known = match (fcm::answers::knows(code), apns::answers::knows(code)) {
                    (true, _) => Provider::Fcm,
                    (_, true) => Provider::Apns,
                    _ => {
                        return Err(format!(
                            "neither FCM nor APNs has an error {code:?}; FCM: {}; APNs: {}",
                            fcm::answers::names(),
                            apns::answers::names()
                        ));
                    }
                };
                if provider.is_some_and(|wanted| wanted != known) {
                    return Err(format!("{code} is an error of the other provider"));
                }
                provider = Some(known);
                if let Some(value) = retry_after
                    && http::HeaderValue::from_str(value).is_err()
                {
                    return Err("retry_after is not a header value".to_owned());
                }
            }
            Some(Answer::Http { status, headers, .. }) => {
                if !(200..=599).contains(status) {
                    return Err("status must be from 200 to 599".to_owned());
                }
                for (name, value) in headers {
                    if http::HeaderName::from_bytes(name.as_bytes()).is_err()
                        || http::HeaderValue::from_str(value).is_err()
                    {
                        return Err(format!("header {name:?} cannot be sent"));
                    }
                }
            }
            Some(Answer::Drip {
                bytes,
                status,
                chunk_bytes,
                every_ms,
            }) => {
                if status.is_some_and(|status| bytes.is_none() || !(200..=599).contains(&status)) {
                    return Err("status must be from 200 to 599, and goes with bytes".to_owned());
                }
                if !(1..=16_384).contains(chunk_bytes) || *every_ms > 600_000 {
                    return Err("chunk_bytes must be from 1 to 16384, every_ms at most 600000".to_owned());
                }
            }
            Some(Answer::StreamLimit { streams }) if !(1..=100_000).contains(streams) => {
                return Err("streams must be from 1 to 100000".to_owned());
            }
            _ => {}
        }
        Ok(provider)
    }
}

/// A rule that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule {index}: {problem}")]
pub struct ScriptError {
    /// Position of the rule, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub problem: String,
}
