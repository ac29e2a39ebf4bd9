//! The script: which request gets which answer.
//!
//! A script is a list of rules, set as JSON (`PUT /script`, `script_file` or [`Settings::script`]).
//! A rule says which requests it is for (provider, token or token prefix, a probability, how often)
//! and what they get (an [`Answer`], a latency or both). The first rule that applies wins; a request
//! that no rule wants is answered as usual. Rules are asked only for requests that passed the
//! provider's checks: a scripted 503 never hides a malformed payload.
//!
//! Adding a kind of answer: a variant of [`Answer`] here, its rendering in [`crate::render`], and when
//! it does something to the connection, its execution in [`crate::server`].
//!
//! [`Settings::script`]: crate::Settings::script

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    chance,
    ledger::Provider,
    {apns, fcm},
};

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

/// A rule that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule {index}: {problem}")]
pub struct ScriptError {
    /// Position of the rule, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub problem: String,
}

/// What the script decided for one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decision {
    /// The answer, or none for the usual one.
    pub(crate) answer: Option<Arc<Answer>>,
    /// Extra time in milliseconds, and how much more by chance.
    pub(crate) latency_ms: u64,
    pub(crate) latency_jitter_ms: u64,
}

/// A rule at work.
#[derive(Debug)]
struct Active {
    rule: Rule,
    answer: Option<Arc<Answer>>,
    provider: Option<Provider>,
    taken: AtomicU64,
    taken_by_token: Mutex<HashMap<String, u32>>,
}

impl Active {
    fn check(rule: Rule, index: usize) -> Result<Self, ScriptError> {
        let refuse = |problem: String| Err(ScriptError { index, problem });
        if rule.token.is_some() && rule.token_prefix.is_some() {
            return refuse("token and token_prefix exclude each other".to_owned());
        }
        if rule.probability.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
            return refuse("probability must be from 0 to 1".to_owned());
        }
        if rule.latency_ms.max(rule.latency_jitter_ms) > 600_000 {
            return refuse("latency_ms must be at most 600000, as latency_jitter_ms".to_owned());
        }
        if rule.oauth && (rule.token.is_some() || rule.token_prefix.is_some() || rule.provider.is_some()) {
            return refuse("oauth goes with neither a token nor a provider".to_owned());
        }
        let mut provider = rule.provider;
        match &rule.answer {
            Some(Answer::Error { code, .. }) if rule.oauth => {
                fcm::oauth::check_code(code).map_err(|problem| ScriptError { index, problem })?;
            }
            Some(Answer::Error {
                code, retry_after, ..
            }) => {
                let known = match (fcm::answers::knows(code), apns::answers::knows(code)) {
                    (true, _) => Provider::Fcm,
                    (_, true) => Provider::Apns,
                    _ => {
                        return refuse(format!(
                            "neither FCM nor APNs has an error {code:?}; FCM: {}; APNs: {}",
                            fcm::answers::names(),
                            apns::answers::names()
                        ));
                    }
                };
                if provider.is_some_and(|wanted| wanted != known) {
                    return refuse(format!("{code} is an error of the other provider"));
                }
                provider = Some(known);
                if let Some(value) = retry_after
                    && http::HeaderValue::from_str(value).is_err()
                {
                    return refuse("retry_after is not a header value".to_owned());
                }
            }
            Some(Answer::Http { status, headers, .. }) => {
                if !(200..=599).contains(status) {
                    return refuse("status must be from 200 to 599".to_owned());
                }
                for (name, value) in headers {
                    if http::HeaderName::from_bytes(name.as_bytes()).is_err()
                        || http::HeaderValue::from_str(value).is_err()
                    {
                        return refuse(format!("header {name:?} cannot be sent"));
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
                    return refuse("status must be from 200 to 599, and goes with bytes".to_owned());
                }
                if !(1..=16_384).contains(chunk_bytes) || *every_ms > 600_000 {
                    return refuse("chunk_bytes must be from 1 to 16384, every_ms at most 600000".to_owned());
                }
            }
            Some(Answer::StreamLimit { streams }) if !(1..=100_000).contains(streams) => {
                return refuse("streams must be from 1 to 100000".to_owned());
            }
            _ => {}
        }
        Ok(Self {
            answer: rule.answer.clone().map(Arc::new),
            rule,
            provider,
            taken: AtomicU64::new(0),
            taken_by_token: Mutex::default(),
        })
    }

    /// Whether the rule takes this request; counts it when so.
    fn takes(&self, index: usize, request: &Asked<'_>) -> bool {
        if self.rule.oauth != request.oauth
            || self.provider.is_some_and(|provider| provider != request.provider)
            || self
                .rule
                .token
                .as_deref()
                .is_some_and(|token| token != request.token)
            || self
                .rule
                .token_prefix
                .as_deref()
                .is_some_and(|prefix| !request.token.starts_with(prefix))
        {
            return false;
        }
        if let Some(probability) = self.rule.probability {
            let draw = chance::hash(request.seed, request.token.as_bytes());
            let draw = chance::mix(draw ^ chance::mix(request.attempt ^ ((index as u64) << 48)));
            if !chance::happens(draw, probability) {
                return false;
            }
        }
        if let Some(limit) = self.rule.times_per_token {
            let mut counts = self.taken_by_token.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(request.token.to_owned()).or_default();
            if *count >= limit {
                return false;
            }
            *count += 1;
        }
        match self.rule.times {
            Some(limit) => self
                .taken
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                    (taken < limit).then_some(taken + 1)
                })
                .is_ok(),
            None => {
                self.taken.fetch_add(1, Ordering::Relaxed);
                true
            }
        }
    }
}

/// A request as the script sees it.
pub(crate) struct Asked<'a> {
    pub(crate) provider: Provider,
    pub(crate) token: &'a str,
    /// It asks for an access token, and has no push token.
    pub(crate) oauth: bool,
    /// How often the token was sent to before.
    pub(crate) attempt: u64,
    pub(crate) seed: u64,
}

/// Rules at work, with the exact tokens in a table so that 100,000 of them cost one look-up.
#[derive(Debug, Default)]
struct Compiled {
    rules: Vec<Active>,
    by_token: HashMap<String, Vec<usize>>,
    others: Vec<usize>,
}

impl Compiled {
    fn new(script: Script) -> Result<Self, ScriptError> {
        let mut compiled = Self::default();
        for (index, rule) in script.rules.into_iter().enumerate() {
            match &rule.token {
                Some(token) => compiled.by_token.entry(token.clone()).or_default().push(index),
                None => compiled.others.push(index),
            }
            compiled.rules.push(Active::check(rule, index)?);
        }
        Ok(compiled)
    }

    fn decide(&self, request: &Asked<'_>) -> Option<Decision> {
        let exact = self.by_token.get(request.token).map_or(&[][..], Vec::as_slice);
        let (mut exact, mut others) = (exact.iter().peekable(), self.others.iter().peekable());
        loop {
            // Both lists are in the order of the script; the smaller index is asked first.
            let index = match (exact.peek(), others.peek()) {
                (Some(a), Some(b)) if a < b => exact.next(),
                (_, Some(_)) => others.next(),
                (Some(_), None) => exact.next(),
                (None, None) => None,
            }?;
            let active = &self.rules[*index];
            if active.takes(*index, request) {
                return Some(Decision {
                    answer: active.answer.clone(),
                    latency_ms: active.rule.latency_ms,
                    latency_jitter_ms: active.rule.latency_jitter_ms,
                });
            }
        }
    }
}

/// The script in force.
#[derive(Debug, Default)]
pub(crate) struct Director {
    armed: AtomicBool,
    compiled: RwLock<Arc<Compiled>>,
}

impl Director {
    /// Puts `script` in the place of the one before, with fresh counts.
    pub(crate) fn replace(&self, script: Script) -> Result<(), ScriptError> {
        let compiled = Compiled::new(script)?;
        let armed = !compiled.rules.is_empty();
        *self.compiled.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(compiled);
        self.armed.store(armed, Ordering::Release);
        Ok(())
    }

    /// The script in force and how many requests each rule took.
    pub(crate) fn report(&self) -> (Script, Vec<u64>) {
        let compiled = self.current();
        let rules = compiled.rules.iter().map(|active| active.rule.clone());
        let taken = compiled
            .rules
            .iter()
            .map(|active| active.taken.load(Ordering::Relaxed));
        (
            Script {
                rules: rules.collect(),
            },
            taken.collect(),
        )
    }

    /// What the script wants for a request; none when no rule takes it. `asked` is called only when
    /// there are rules, because it may cost a look-up.
    pub(crate) fn decide<'a>(&self, asked: impl FnOnce() -> Asked<'a>) -> Option<Decision> {
        if !self.armed.load(Ordering::Acquire) {
            return None;
        }
        self.current().decide(&asked())
    }

    fn current(&self) -> Arc<Compiled> {
        Arc::clone(&self.compiled.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn director(json: &str) -> Director {
        let director = Director::default();
        director.replace(serde_json::from_str(json).unwrap()).unwrap();
        director
    }

    fn ask(director: &Director, provider: Provider, token: &str, attempt: u64) -> Option<Answer> {
        director
            .decide(|| Asked {
                provider,
                token,
                oauth: false,
                attempt,
                seed: 1,
            })
            .and_then(|decision| decision.answer)
            .map(|answer| (*answer).clone())
    }

    #[test]
    fn the_first_rule_that_applies_wins_exact_or_not() {
        let director = director(
            r#"{"rules":[{"token_prefix":"a","answer":"stall"},{"token":"ab","answer":"close"},
                {"token":"b","answer":"close"},{"answer":"half_body"}]}"#,
        );
        assert_eq!(ask(&director, Provider::Fcm, "ab", 0), Some(Answer::Stall));
        assert_eq!(ask(&director, Provider::Fcm, "b", 0), Some(Answer::Close));
        assert_eq!(ask(&director, Provider::Fcm, "c", 0), Some(Answer::HalfBody));
    }

    #[test]
    fn a_rule_with_times_is_spent_after_them() {
        let director =
            director(r#"{"rules":[{"times":2,"answer":"close"},{"times_per_token":1,"answer":"stall"}]}"#);
        let answers: Vec<_> = (0..4).map(|n| ask(&director, Provider::Fcm, "t", n)).collect();
        assert_eq!(
            answers,
            [
                Some(Answer::Close),
                Some(Answer::Close),
                Some(Answer::Stall),
                None
            ]
        );
        assert_eq!(ask(&director, Provider::Fcm, "u", 0), Some(Answer::Stall));
    }

    #[test]
    fn an_error_code_binds_the_rule_to_its_provider() {
        let director = director(r#"{"rules":[{"answer":{"error":{"code":"BadDeviceToken"}}}]}"#);
        assert!(ask(&director, Provider::Fcm, "t", 0).is_none());
        assert!(ask(&director, Provider::Apns, "t", 0).is_some());
    }

    #[test]
    fn a_rule_that_makes_no_sense_is_refused_with_its_position() {
        for (json, word) in [
            (r#"{"rules":[{},{"token":"a","token_prefix":"b"}]}"#, "exclude"),
            (r#"{"rules":[{},{"probability":1.5}]}"#, "probability"),
            (
                r#"{"rules":[{},{"answer":{"error":{"code":"Nonsense"}}}]}"#,
                "Nonsense",
            ),
            (r#"{"rules":[{},{"answer":{"http":{"status":99}}}]}"#, "status"),
        ] {
            let error = Director::default()
                .replace(serde_json::from_str(json).unwrap())
                .unwrap_err();
            assert_eq!(error.index, 1);
            assert!(error.problem.contains(word), "{error}");
        }
    }

    #[test]
    fn a_probability_draws_the_same_in_every_run() {
        let json = r#"{"rules":[{"probability":0.3,"answer":"stall"}]}"#;
        let run = || -> Vec<bool> {
            let director = director(json);
            (0..1000)
                .map(|n| ask(&director, Provider::Fcm, &format!("t{n}"), 0).is_some())
                .collect()
        };
        let first = run();
        assert_eq!(first, run());
        let hits = first.iter().filter(|hit| **hit).count();
        assert!((240..360).contains(&hits), "{hits}");
    }
}
