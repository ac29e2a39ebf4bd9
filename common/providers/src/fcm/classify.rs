//! What an answer of FCM means. The only place that decides it.
//!
//! Sources: firebase.google.com, "FCM error codes" and the v1 REST reference (`ErrorCode`). The most
//! specific word counts first: the `errorCode` of an `FcmError` detail, then the canonical status, then
//! the HTTP status. Message texts are never read.
//!
//! | HTTP | code | delivery | device | hold |
//! | --- | --- | --- | --- | --- |
//! | 2xx | | accepted | | |
//! | 400 | `INVALID_ARGUMENT` about `message.token`, or about nothing in particular after the same message was accepted for another device | token refused | doubtful | |
//! | 400 | `INVALID_ARGUMENT` otherwise | payload refused | | notification |
//! | 401 | `THIRD_PARTY_AUTH_ERROR` (the project's own APNs or web key) | requeued | | platform |
//! | 401 | otherwise | new token and once more, then requeued | | credential |
//! | 403 | `SENDER_ID_MISMATCH` | token refused | doubtful | |
//! | 403 | no `FcmError` (API off, role missing) | requeued | | credential |
//! | 404 | `UNREGISTERED` | unregistered | dead | |
//! | other 4xx | `UNREGISTERED` | token refused | doubtful | |
//! | 404 | no `FcmError` (wrong project or address) | requeued | | credential |
//! | 413 | | payload refused | | notification |
//! | 429 | quota of one device | deferred | | device, Retry-After |
//! | 429 | otherwise | deferred | | credential, Retry-After or 60 s |
//! | 5xx | whatever it says of the token | deferred | | delivery, Retry-After |
//! | 3xx | (never followed) | requeued | | credential |
//! | 4xx | any other code, kept as it came | refused | | |

use std::time::Duration;

use chrono::{DateTime, Utc};
use fcm::{ErrorCode, FcmError};
use http::{HeaderMap, StatusCode};
use jraze_domain::dispatch::{Delivery, DeviceEffect, Outcome, Scope};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    retry_after::retry_after,
    verdict::{Remedy, Verdict},
};

/// Wait after a used-up project quota when FCM names none: its buckets are filled once a minute.
const QUOTA_WAIT: Duration = Duration::from_secs(60);

/// What the answer itself does not tell.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// When the request was sent: a registration after that is none of its business.
    pub sent_at: DateTime<Utc>,
    /// Now, for dates in headers.
    pub now: DateTime<Utc>,
    /// The same message was accepted for another device before.
    pub proven: bool,
}

/// The table of this module. Nobody asks for the circumstances of a success.
pub fn classify(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    at: impl FnOnce() -> Circumstances,
) -> Verdict {
    if status.is_success() {
        // Taken, whatever the body says or whether it came at all.
        return Verdict::Final(Outcome::accepted());
    }
    let at = at();
    let error = parse(body);
    let wait = || retry_after(headers, at.now);
    let reason = reason(status, &error);
    let ends_as = |delivery| Outcome::new(delivery, &reason);
    Verdict::Final(
        match (status.as_u16(), error.raw_error_code(), error.error_code()) {
            (404, _, Some(ErrorCode::Unregistered)) => {
                ends_as(Delivery::Unregistered).with_device(DeviceEffect::Dead {
                    since: Some(at.sent_at),
                })
            }
            (_, _, Some(ErrorCode::SenderIdMismatch)) => {
                ends_as(Delivery::TokenRefused).with_device(DeviceEffect::Doubtful)
            }
            (_, _, Some(ErrorCode::ThirdPartyAuthError)) => {
                // Only the project's iOS or web devices are concerned: Android keeps flowing.
                ends_as(Delivery::Requeued).with_hold(Scope::Platform, wait())
            }
            (_, _, Some(ErrorCode::QuotaExceeded)) | (429, _, _) => {
                let (scope, floor) = if is_device_quota(&error) {
                    (Scope::Device, None)
                } else {
                    (Scope::Credential, Some(QUOTA_WAIT))
                };
                ends_as(Delivery::Deferred).with_hold(scope, wait().or(floor))
            }
            (_, _, Some(ErrorCode::InvalidArgument)) => invalid_argument(&reason, &error, at.proven),
            (400, None, _) if error.status == "INVALID_ARGUMENT" => {
                invalid_argument(&reason, &error, at.proven)
            }
            (401, _, _) => {
                let otherwise = ends_as(Delivery::Requeued).with_hold(Scope::Credential, wait());
                return Verdict::Resend {
                    remedy: Remedy::NewAccessToken,
                    otherwise,
                };
            }
            (413, _, _) => ends_as(Delivery::PayloadRefused).with_hold(Scope::Notification, None),
            (403 | 404, None, _) | (300..=399, _, _) => {
                ends_as(Delivery::Requeued).with_hold(Scope::Credential, wait())
            }
            (500.., _, _) | (_, _, Some(ErrorCode::Internal | ErrorCode::Unavailable)) => {
                ends_as(Delivery::Deferred).with_hold(Scope::Delivery, wait())
            }
            // A word that buries belongs to one status: under any other, somebody is confused.
            (_, _, Some(ErrorCode::Unregistered)) => {
                ends_as(Delivery::TokenRefused).with_device(DeviceEffect::Doubtful)
            }
            _ => ends_as(Delivery::Refused),
        },
    )
}

fn invalid_argument(reason: &str, error: &FcmError, proven: bool) -> Outcome {
    let mut fields = violations(error, "BadRequest", "fieldViolations", "field").peekable();
    let about_token = if fields.peek().is_some() {
        fields.all(|field| field == "message.token")
    } else {
        proven
    };
    if about_token {
        Outcome::new(Delivery::TokenRefused, reason).with_device(DeviceEffect::Doubtful)
    } else {
        Outcome::new(Delivery::PayloadRefused, reason).with_hold(Scope::Notification, None)
    }
}

/// Whether the quota that was exceeded is one device's. When in doubt it is the project's, which is the
/// safer thing to slow down.
fn is_device_quota(error: &FcmError) -> bool {
    let mut subjects = violations(error, "QuotaFailure", "violations", "subject").peekable();
    subjects.peek().is_some()
        && subjects.all(|subject| subject == "message.token" || subject.starts_with("device"))
}

/// The texts under `key` in the violations of details of one type.
fn violations<'a>(
    error: &'a FcmError,
    kind: &'a str,
    list: &'a str,
    key: &'a str,
) -> impl Iterator<Item = &'a str> {
    error
        .details
        .iter()
        .filter(move |detail| {
            let name = detail.get("@type").and_then(Value::as_str).unwrap_or_default();
            name.strip_prefix("type.googleapis.com/google.rpc.") == Some(kind)
        })
        .filter_map(move |detail| detail.get(list)?.as_array())
        .flatten()
        .filter_map(move |violation| violation.get(key)?.as_str())
}

/// FCM's own word: the error code, else the canonical status, else the HTTP status.
fn reason(status: StatusCode, error: &FcmError) -> String {
    match error.raw_error_code() {
        Some(code) if !code.is_empty() => code.to_owned(),
        _ if !error.status.is_empty() => error.status.clone(),
        _ => format!("HTTP {}", status.as_u16()),
    }
}

/// The error in a body, as much of it as can be read; nothing for HTML and the like.
fn parse(body: &[u8]) -> FcmError {
    #[derive(Deserialize)]
    struct Body {
        error: Value,
    }
    let error = serde_json::from_slice::<Body>(body)
        .map(|body| body.error)
        .unwrap_or_default();
    FcmError {
        code: 0,
        message: String::new(),
        status: error
            .get("status")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        details: error
            .get("details")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default(),
    }
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
