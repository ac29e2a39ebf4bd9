//! What an answer of APNs means. The only place that decides it.
//!
//! Source: developer.apple.com, "Handling notification responses from APNs". The `reason` counts
//! first, then the HTTP status.
//!
//! | HTTP | reason | delivery | device | hold |
//! | --- | --- | --- | --- | --- |
//! | 2xx | | accepted | | |
//! | 400 | `BadDeviceToken`, `DeviceTokenNotForTopic` (may be the other environment's token) | token refused | doubtful | |
//! | 400 | `BadCollapseId` and other faults of ours | payload refused | | notification |
//! | 400 | `TopicDisallowed` | requeued | | credential |
//! | 400 | `IdleTimeout` | once more on another connection, then requeued | | connection |
//! | 403 | `ExpiredProviderToken` | new token and connection and once more, then requeued | | credential |
//! | 403 | `InvalidProviderToken` and other faults of the key | requeued | | credential |
//! | 403 | `Forbidden` | access refused | | credential |
//! | 404, 405 | `BadPath`, `MethodNotAllowed` | refused | | |
//! | 410 | `Unregistered`, `ExpiredToken` | unregistered | dead | |
//! | other 4xx | `Unregistered`, `ExpiredToken` | token refused | doubtful | |
//! | 413 | `PayloadTooLarge` | payload refused | | notification |
//! | 429 | `TooManyRequests` | deferred | | device, Retry-After or from 60 s |
//! | 429 | `TooManyProviderTokenUpdates` | requeued | | credential, 20 min |
//! | 503 | `Shutdown` | deferred | | connection, 1 to 10 s |
//! | 5xx | any other | deferred | | delivery, Retry-After or 15 min ± 20 % |
//! | 401, 403, 404, 3xx | none at all: not Apple's answer | requeued | | credential |
//! | 4xx | any other, kept as it came | refused | | |

use std::time::Duration;

use a2::response::ErrorReason;
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode};
use jraze_domain::dispatch::{Delivery, DeviceEffect, Outcome, Scope};
use serde::{Deserialize, de::IntoDeserializer, de::value};

use crate::{
    retry_after::retry_after,
    verdict::{Remedy, Verdict},
};

/// Apple allows a new provider token every 20 minutes.
pub const TOKEN_UPDATE_INTERVAL: Duration = Duration::from_secs(20 * 60);

/// What the answer itself does not tell.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// When the request was sent: a registration after that is none of its business.
    pub sent_at: DateTime<Utc>,
    /// Now, for dates in headers.
    pub now: DateTime<Utc>,
    /// Chance in `[0, 1)`, so that many who were refused together do not come back together.
    pub jitter: f64,
}

/// The table of this module. Nobody asks for the circumstances of a success.
pub fn classify(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    at: impl FnOnce() -> Circumstances,
) -> Verdict {
    if status.is_success() {
        return Verdict::Final(Outcome::accepted());
    }
    let at = at();
    let body = Body::parse(body);
    let word = if body.reason.is_empty() {
        format!("HTTP {}", status.as_u16())
    } else {
        body.reason.clone()
    };
    let ends_as = |delivery| Outcome::new(delivery, &word);
    let wait = |seconds: f64| retry_after(headers, at.now).or(Some(Duration::from_secs_f64(seconds)));
    let to_credential =
        |delivery| ends_as(delivery).with_hold(Scope::Credential, retry_after(headers, at.now));
    let Some(reason) = body.known() else {
        return Verdict::Final(by_class(status, &body, &word, wait, at.jitter));
    };
    use ErrorReason::*;
    Verdict::Final(match reason {
        BadDeviceToken | DeviceTokenNotForTopic => {
            ends_as(Delivery::TokenRefused).with_device(DeviceEffect::Doubtful)
        }
        BadCollapseId | BadExpirationDate | BadMessageId | BadPriority | BadTopic | DuplicateHeaders
        | InvalidPushType | MissingDeviceToken | MissingTopic | PayloadEmpty | PayloadTooLarge => {
            ends_as(Delivery::PayloadRefused).with_hold(Scope::Notification, None)
        }
        IdleTimeout => {
            let otherwise = ends_as(Delivery::Requeued).with_hold(Scope::Connection, None);
            return Verdict::Resend {
                remedy: Remedy::NewConnection,
                otherwise,
            };
        }
        ExpiredProviderToken => {
            let otherwise = to_credential(Delivery::Requeued);
            return Verdict::Resend {
                remedy: Remedy::NewProviderToken,
                otherwise,
            };
        }
        TopicDisallowed
        | InvalidProviderToken
        | MissingProviderToken
        | UnrelatedKeyIdInToken
        | BadEnvironmentKeyIdInToken
        | BadCertificate
        | BadCertificateEnvironment => to_credential(Delivery::Requeued),
        Forbidden => to_credential(Delivery::AccessRefused),
        BadPath | MethodNotAllowed => ends_as(Delivery::Refused),
        // A word that buries belongs to one status: under any other, somebody is confused.
        Unregistered | ExpiredToken if status.is_server_error() => {
            by_class(status, &body, &word, wait, at.jitter)
        }
        Unregistered | ExpiredToken if status != StatusCode::GONE => {
            ends_as(Delivery::TokenRefused).with_device(DeviceEffect::Doubtful)
        }
        Unregistered => {
            let since = body
                .timestamp
                .and_then(DateTime::from_timestamp_millis)
                .unwrap_or(at.sent_at);
            ends_as(Delivery::Unregistered).with_device(DeviceEffect::Dead { since: Some(since) })
        }
        ExpiredToken => ends_as(Delivery::Unregistered).with_device(DeviceEffect::Dead {
            since: Some(at.sent_at),
        }),
        TooManyRequests => {
            ends_as(Delivery::Deferred).with_hold(Scope::Device, wait(60.0 * (1.0 + at.jitter)))
        }
        TooManyProviderTokenUpdates => {
            ends_as(Delivery::Requeued).with_hold(Scope::Credential, Some(TOKEN_UPDATE_INTERVAL))
        }
        Shutdown => ends_as(Delivery::Deferred).with_hold(Scope::Connection, wait(1.0 + 9.0 * at.jitter)),
        InternalServerError | ServiceUnavailable => {
            ends_as(Delivery::Deferred).with_hold(Scope::Delivery, wait(minutes_around_15(at.jitter)))
        }
    })
}

/// A reason that we do not know, or none. `wait` is Retry-After, or else so many seconds.
fn by_class(
    status: StatusCode,
    body: &Body,
    word: &str,
    wait: impl Fn(f64) -> Option<Duration>,
    jitter: f64,
) -> Outcome {
    match status.as_u16() {
        413 => Outcome::new(Delivery::PayloadRefused, word).with_hold(Scope::Notification, None),
        429 => Outcome::new(Delivery::Deferred, word).with_hold(Scope::Device, wait(60.0 * (1.0 + jitter))),
        500.. => {
            Outcome::new(Delivery::Deferred, word).with_hold(Scope::Delivery, wait(minutes_around_15(jitter)))
        }
        // Apple always gives a reason: without one, something else stands at this address.
        401 | 403 | 404 | 300..=399 if body.reason.is_empty() => {
            Outcome::new(Delivery::Requeued, word).with_hold(Scope::Credential, None)
        }
        _ => Outcome::new(Delivery::Refused, word),
    }
}

/// Apple asks to come back after 15 minutes; in seconds, give or take a fifth.
fn minutes_around_15(jitter: f64) -> f64 {
    900.0 * (0.8 + 0.4 * jitter)
}

/// The body of a refusal, as much of it as can be read.
#[derive(Default)]
struct Body {
    reason: String,
    timestamp: Option<i64>,
}

impl Body {
    fn parse(body: &[u8]) -> Self {
        let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        Self {
            reason: body
                .get("reason")
                .and_then(|reason| reason.as_str())
                .unwrap_or_default()
                .to_owned(),
            timestamp: body.get("timestamp").and_then(|timestamp| timestamp.as_i64()),
        }
    }

    fn known(&self) -> Option<ErrorReason> {
        let text: value::StrDeserializer<'_, value::Error> = self.reason.as_str().into_deserializer();
        ErrorReason::deserialize(text).ok()
    }
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
