//! The answers of APNs: a status and a reason.
//!
//! Source: Apple, "Handling notification responses from APNs". Adding a reason: a row in [`REASONS`]; it
//! is then known to scripts by its name.

use bytes::Bytes;
use http::Response;

use crate::render;

#[rustfmt::skip]
const REASONS: &[(&str, u16)] = &[
    ("BadCollapseId", 400), ("BadDeviceToken", 400), ("BadExpirationDate", 400), ("BadMessageId", 400),
    ("BadPriority", 400), ("BadTopic", 400), ("DeviceTokenNotForTopic", 400), ("DuplicateHeaders", 400),
    ("IdleTimeout", 400), ("InvalidPushType", 400), ("MissingDeviceToken", 400), ("MissingTopic", 400),
    ("PayloadEmpty", 400), ("TopicDisallowed", 400),
    ("BadCertificate", 403), ("BadCertificateEnvironment", 403), ("BadEnvironmentKeyIdInToken", 403),
    ("ExpiredProviderToken", 403), ("Forbidden", 403), ("InvalidProviderToken", 403),
    ("MissingProviderToken", 403), ("UnrelatedKeyIdInToken", 403),
    ("BadPath", 404), ("MethodNotAllowed", 405),
    ("ExpiredToken", 410), ("Unregistered", 410),
    ("PayloadTooLarge", 413),
    ("TooManyProviderTokenUpdates", 429), ("TooManyRequests", 429),
    ("InternalServerError", 500), ("ServiceUnavailable", 503), ("Shutdown", 503),
];

/// Whether scripts may name this reason.
pub(crate) fn knows(reason: &str) -> bool {
    REASONS.iter().any(|(known, _)| *known == reason)
}

/// All reasons, for people.
pub(crate) fn names() -> String {
    let names: Vec<_> = REASONS.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

/// Status of a reason.
pub(crate) fn status(reason: &str) -> u16 {
    REASONS
        .iter()
        .find(|(known, _)| *known == reason)
        .map_or(500, |(_, status)| *status)
}

/// The answer to a reason; `timestamp_ms` (since 1970) is for those that have one.
pub(crate) fn error(reason: &str, timestamp_ms: i64) -> Response<Bytes> {
    let body = match reason {
        "Unregistered" => format!("{{\"reason\":\"{reason}\",\"timestamp\":{timestamp_ms}}}"),
        _ => format!("{{\"reason\":\"{reason}\"}}"),
    };
    render::response(status(reason), "application/json", body)
}

/// APNs' reasons by name, at the time of a request.
pub(crate) struct Reasons {
    pub(crate) now_ms: i64,
}

impl render::Catalogue for Reasons {
    fn error(&self, code: &str, timestamp_ms: Option<i64>) -> Response<Bytes> {
        error(code, timestamp_ms.unwrap_or(self.now_ms))
    }

    fn status(&self, code: &str) -> u16 {
        status(code)
    }
}
