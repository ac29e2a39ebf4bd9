//! What APNs checks in a request, apart from the provider token: token, headers, payload.
//!
//! Source: Apple, "Sending notification requests to APNs". Each rule is one function that returns the
//! reason when it is broken.

use http::{HeaderMap, HeaderName};
use serde::de::IgnoredAny;

use crate::{chance::Uuid, server::Received, settings::ApnsSettings};

/// Largest payload, in bytes.
const MAX_PAYLOAD: usize = 4096;
/// Largest payload of a VoIP push.
const MAX_VOIP_PAYLOAD: usize = 5120;
/// Longest collapse id, in bytes.
const MAX_COLLAPSE_ID: usize = 64;
/// Longest device token, in hex digits.
const MAX_TOKEN: usize = 400;

const PUSH_TYPES: &[&str] = &[
    "alert",
    "background",
    "location",
    "voip",
    "complication",
    "fileprovider",
    "mdm",
    "liveactivity",
    "pushtotalk",
    "widgets",
    "controls",
];

/// The headers that may appear once, which are also those of interest to the ledger.
pub(crate) const HEADERS: &[&str] = &[
    "apns-id",
    "apns-topic",
    "apns-push-type",
    "apns-priority",
    "apns-expiration",
    "apns-collapse-id",
    "user-agent",
];

type Rule = Result<(), &'static str>;

/// Checks everything; the reason of the first rule that is broken.
pub(crate) fn check(settings: &ApnsSettings, token: &str, request: &Received) -> Rule {
    let headers = &request.head.headers;
    duplicates(headers)?;
    message_id(headers)?;
    topic(settings, headers)?;
    push_type(headers)?;
    priority(headers)?;
    expiration(headers)?;
    collapse_id(headers)?;
    payload(headers, request)?;
    device_token(token)
}

fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Option<&'a str> {
    let value = headers.get(HeaderName::from_static(name))?;
    // A value that is no text cannot be right, whatever is expected.
    Some(value.to_str().unwrap_or("\u{fffd}"))
}

fn duplicates(headers: &HeaderMap) -> Rule {
    if headers.len() == headers.keys_len() {
        return Ok(());
    }
    let twice = |name: &str| headers.get_all(name).iter().nth(1).is_some();
    match HEADERS.iter().any(|name| twice(name)) || twice("authorization") {
        true => Err("DuplicateHeaders"),
        false => Ok(()),
    }
}

fn message_id(headers: &HeaderMap) -> Rule {
    match text(headers, "apns-id") {
        Some(id) if Uuid::parse(id).is_none() => Err("BadMessageId"),
        _ => Ok(()),
    }
}

fn topic(settings: &ApnsSettings, headers: &HeaderMap) -> Rule {
    let topic = text(headers, "apns-topic")
        .filter(|topic| !topic.is_empty())
        .ok_or("MissingTopic")?;
    let grammar = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if !topic.bytes().all(grammar) {
        return Err("BadTopic");
    }
    let allowed = settings.topics.iter().any(|bundle| {
        topic
            .strip_prefix(bundle.as_str())
            .is_some_and(|suffix| suffix.is_empty() || suffix.starts_with('.'))
    });
    match allowed {
        true => Ok(()),
        false => Err("TopicDisallowed"),
    }
}

fn push_type(headers: &HeaderMap) -> Rule {
    match text(headers, "apns-push-type") {
        Some(kind) if !PUSH_TYPES.contains(&kind) => Err("InvalidPushType"),
        _ => Ok(()),
    }
}

/// 1, 5 or 10; 10 is an error for background pushes.
fn priority(headers: &HeaderMap) -> Rule {
    match (text(headers, "apns-priority"), text(headers, "apns-push-type")) {
        (None | Some("1" | "5"), _) => Ok(()),
        (Some("10"), kind) if kind != Some("background") => Ok(()),
        _ => Err("BadPriority"),
    }
}

fn expiration(headers: &HeaderMap) -> Rule {
    match text(headers, "apns-expiration") {
        Some(at) if at.parse::<u64>().is_err() => Err("BadExpirationDate"),
        _ => Ok(()),
    }
}

fn collapse_id(headers: &HeaderMap) -> Rule {
    match headers.get("apns-collapse-id") {
        Some(id) if id.len() > MAX_COLLAPSE_ID => Err("BadCollapseId"),
        _ => Ok(()),
    }
}

fn payload(headers: &HeaderMap, request: &Received) -> Rule {
    let limit = match text(headers, "apns-push-type") {
        Some("voip") => MAX_VOIP_PAYLOAD,
        _ => MAX_PAYLOAD,
    };
    if request.oversized || request.body.len() > limit {
        return Err("PayloadTooLarge");
    }
    let is_object = request
        .body
        .iter()
        .find(|byte| !byte.is_ascii_whitespace())
        .is_some_and(|byte| *byte == b'{');
    // APNs has no reason for a payload that is no JSON; it calls it empty.
    match is_object && serde_json::from_slice::<IgnoredAny>(&request.body).is_ok() {
        true => Ok(()),
        false => Err("PayloadEmpty"),
    }
}

/// Hex of even, otherwise variable, length.
fn device_token(token: &str) -> Rule {
    let good = token.len().is_multiple_of(2)
        && token.len() <= MAX_TOKEN
        && token.bytes().all(|byte| byte.is_ascii_hexdigit());
    match good {
        true => Ok(()),
        false => Err("BadDeviceToken"),
    }
}
