//! Tokens that say what they want, as test cards do in payments.
//!
//! A device with the token `sbx-unregistered-1` is always unregistered, in every sandbox, without a
//! script. APNs tokens are hex, so there the prefix is `5bfacade` and four digits that are mostly the
//! status. A script goes first: its rules may say otherwise for magic tokens, too.
//!
//! Adding one: a row in [`FCM`] or [`APNS`].

use crate::{
    ledger::Provider,
    script::{Answer, Http2Code},
};

/// What a prefix does.
#[derive(Debug, Clone, Copy)]
enum Effect {
    /// The documented error of this name.
    Error(&'static str),
    /// This error with a Retry-After of so many seconds (5 without a number).
    Quota(&'static str),
    /// The usual answer after so many milliseconds (1000 without a number).
    Slow,
    /// 503 for so many sends out of a hundred (20 without a number).
    Flaky,
    Answer(fn() -> Answer),
    /// The usual answer.
    Ok,
}

/// Prefix, effect and description of the magic tokens of FCM. A number between the prefix and the next
/// `-` is the argument.
#[rustfmt::skip]
const FCM: &[(&str, Effect, &str)] = &[
    ("sbx-ok-", Effect::Ok, "200"),
    ("sbx-unregistered-", Effect::Error("UNREGISTERED"), "404 UNREGISTERED"),
    ("sbx-bad-", Effect::Error("INVALID_ARGUMENT"), "400 INVALID_ARGUMENT on message.token"),
    ("sbx-sender-", Effect::Error("SENDER_ID_MISMATCH"), "403 SENDER_ID_MISMATCH"),
    ("sbx-denied-", Effect::Error("PERMISSION_DENIED"), "403 PERMISSION_DENIED, no FcmError"),
    ("sbx-auth-", Effect::Error("UNAUTHENTICATED"), "401 UNAUTHENTICATED, no FcmError"),
    ("sbx-thirdparty-", Effect::Error("THIRD_PARTY_AUTH_ERROR"), "401 THIRD_PARTY_AUTH_ERROR"),
    ("sbx-notfound-", Effect::Error("NOT_FOUND"), "404 without FcmError"),
    ("sbx-toolarge-", Effect::Error("PAYLOAD_TOO_LARGE"), "413"),
    ("sbx-quota-", Effect::Quota("QUOTA_EXCEEDED"), "429 QUOTA_EXCEEDED; sbx-quota-30-… with Retry-After: 30 (5 without a number)"),
    ("sbx-ratelimit-", Effect::Quota("RATE_LIMIT_EXCEEDED"), "429 of the project's quota, no FcmError; Retry-After likewise"),
    ("sbx-500-", Effect::Error("INTERNAL"), "500 INTERNAL"),
    ("sbx-502-", Effect::Error("BAD_GATEWAY"), "502 with a page of HTML"),
    ("sbx-5xx-", Effect::Error("UNAVAILABLE"), "503 UNAVAILABLE"),
    ("sbx-503-", Effect::Error("UNAVAILABLE"), "503 UNAVAILABLE"),
    ("sbx-slow-", Effect::Slow, "200 after a while; sbx-slow-2000-… after 2000 ms (1000 without a number)"),
    ("sbx-flaky-", Effect::Flaky, "503 for some; sbx-flaky-20-… for 20 % of the sends, else 200"),
    ("sbx-halfbody-", Effect::Answer(|| Answer::HalfBody), "200, half a body, then a reset"),
    ("sbx-refused-", Effect::Answer(|| Answer::Reset { code: Http2Code::RefusedStream }), "RST_STREAM REFUSED_STREAM"),
    ("sbx-reset-", Effect::Answer(|| Answer::Reset { code: Http2Code::InternalError }), "RST_STREAM INTERNAL_ERROR"),
    ("sbx-goaway-", Effect::Answer(|| Answer::Goaway { code: Http2Code::NoError, debug: String::new(), processed: false }), "GOAWAY that excludes this send"),
    ("sbx-stall-", Effect::Answer(|| Answer::Stall), "no answer"),
    ("sbx-close-", Effect::Answer(|| Answer::Close), "the connection is cut"),
];

/// The same for APNs. Four decimal digits after the prefix are the argument.
#[rustfmt::skip]
const APNS: &[(&str, Effect, &str)] = &[
    ("5bfacade0200", Effect::Ok, "200"),
    ("5bfacade0400", Effect::Error("BadDeviceToken"), "400 BadDeviceToken"),
    ("5bfacade0401", Effect::Error("DeviceTokenNotForTopic"), "400 DeviceTokenNotForTopic"),
    ("5bfacade0402", Effect::Error("TopicDisallowed"), "400 TopicDisallowed"),
    ("5bfacade0403", Effect::Error("InvalidProviderToken"), "403 InvalidProviderToken"),
    ("5bfacade0404", Effect::Error("ExpiredProviderToken"), "403 ExpiredProviderToken"),
    ("5bfacade0410", Effect::Error("Unregistered"), "410 Unregistered, with the time of the request"),
    ("5bfacade0411", Effect::Error("ExpiredToken"), "410 ExpiredToken"),
    ("5bfacade0413", Effect::Error("PayloadTooLarge"), "413 PayloadTooLarge"),
    ("5bfacade0429", Effect::Error("TooManyRequests"), "429 TooManyRequests"),
    ("5bfacade0430", Effect::Error("TooManyProviderTokenUpdates"), "429 TooManyProviderTokenUpdates"),
    ("5bfacade0500", Effect::Error("InternalServerError"), "500 InternalServerError"),
    ("5bfacade0503", Effect::Error("ServiceUnavailable"), "503 ServiceUnavailable"),
    ("5bfacade0504", Effect::Error("Shutdown"), "503 Shutdown"),
    ("5bfacade5100", Effect::Slow, "200 after a while; 5bfacade51002000… after 2000 ms (1000 without digits)"),
    ("5bfacadef1a0", Effect::Flaky, "500 for some; 5bfacadef1a00020… for 20 % of the sends, else 200"),
    ("5bfacadec001", Effect::Answer(|| Answer::HalfBody), "200, half a body, then a reset"),
    ("5bfacadec002", Effect::Answer(|| Answer::Reset { code: Http2Code::RefusedStream }), "RST_STREAM REFUSED_STREAM"),
    ("5bfacadec003", Effect::Answer(|| Answer::Reset { code: Http2Code::InternalError }), "RST_STREAM INTERNAL_ERROR"),
    ("5bfacadec004", Effect::Answer(|| Answer::Goaway { code: Http2Code::NoError, debug: SHUTDOWN.to_owned(), processed: false }), "GOAWAY with the reason Shutdown that excludes this send"),
    ("5bfacadec005", Effect::Answer(|| Answer::Stall), "no answer"),
    ("5bfacadec006", Effect::Answer(|| Answer::Close), "the connection is cut"),
];

const SHUTDOWN: &str = r#"{"reason":"Shutdown"}"#;

/// The wish of a magic token.
pub(crate) struct Wish {
    pub(crate) answer: Option<Answer>,
    pub(crate) latency_ms: u64,
    /// Share of the sends that get the answer.
    pub(crate) probability: f64,
}

/// What a token wishes for; none when it is not magic.
pub(crate) fn wish(provider: Provider, token: &str) -> Option<Wish> {
    let (table, mark) = match provider {
        Provider::Fcm => (FCM, "sbx-"),
        Provider::Apns => (APNS, "5bfacade"),
    };
    if !token.starts_with(mark) {
        return None;
    }
    let (prefix, effect, _) = table.iter().find(|(prefix, ..)| token.starts_with(prefix))?;
    let rest = &token[prefix.len()..];
    let number = match provider {
        Provider::Fcm => rest.split_once('-').map(|(number, _)| number),
        Provider::Apns => rest.get(..4),
    };
    let number = number.and_then(|number| number.parse::<u32>().ok());
    let error = |code: &str, retry_after: Option<u32>| Answer::Error {
        code: code.to_owned(),
        retry_after: retry_after.map(|seconds| seconds.to_string()),
        timestamp_ms: None,
    };
    let mut wish = Wish {
        answer: None,
        latency_ms: 0,
        probability: 1.0,
    };
    match effect {
        Effect::Ok => {}
        Effect::Error(code) => wish.answer = Some(error(code, None)),
        Effect::Quota(code) => wish.answer = Some(error(code, Some(number.unwrap_or(5)))),
        Effect::Slow => wish.latency_ms = number.unwrap_or(1000).min(600_000).into(),
        Effect::Flaky => {
            let code = match provider {
                Provider::Fcm => "UNAVAILABLE",
                Provider::Apns => "InternalServerError",
            };
            wish.answer = Some(error(code, None));
            wish.probability = f64::from(number.unwrap_or(20).min(100)) / 100.0;
        }
        Effect::Answer(make) => wish.answer = Some(make()),
    }
    Some(wish)
}

/// Prefixes and what they do, for people.
pub(crate) fn list(provider: Provider) -> impl Iterator<Item = (&'static str, &'static str)> {
    let table = match provider {
        Provider::Fcm => FCM,
        Provider::Apns => APNS,
    };
    table.iter().map(|(prefix, _, text)| (*prefix, *text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_in_the_tables_is_known_to_its_provider() {
        for (prefix, effect, _) in FCM {
            if let Effect::Error(code) | Effect::Quota(code) = effect {
                assert!(crate::fcm::answers::knows(code), "{prefix} {code}");
            }
        }
        for (prefix, effect, _) in APNS {
            assert_eq!(prefix.len(), 12);
            if let Effect::Error(code) | Effect::Quota(code) = effect {
                assert!(crate::apns::answers::knows(code), "{prefix} {code}");
            }
        }
    }

    #[test]
    fn a_number_after_the_prefix_is_its_argument() {
        let slow = |provider, token| wish(provider, token).unwrap().latency_ms;
        assert_eq!(slow(Provider::Fcm, "sbx-slow-2000-a"), 2000);
        assert_eq!(slow(Provider::Fcm, "sbx-slow-a"), 1000);
        assert_eq!(slow(Provider::Apns, "5bfacade51000250aa"), 250);
        assert_eq!(slow(Provider::Apns, "5bfacade5100"), 1000);
        assert!(wish(Provider::Fcm, "5bfacade0410").is_none());
        assert!(wish(Provider::Apns, "ab").is_none());
    }
}
