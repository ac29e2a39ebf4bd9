use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::*;

fn time(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

fn judge(status: u16, retry_after: Option<&str>, body: &str) -> Verdict {
    let mut headers = HeaderMap::new();
    if let Some(value) = retry_after {
        headers.insert(
            header::RETRY_AFTER,
            HeaderValue::from_str(value).expect("a header"),
        );
    }
    let at = Circumstances {
        sent_at: time("2026-11-21T09:00:00Z"),
        now: time("2026-11-21T09:00:01Z"),
        jitter: 0.5,
    };
    classify(
        StatusCode::from_u16(status).expect("a status"),
        &headers,
        body.as_bytes(),
        || at,
    )
}

fn reason(reason: &str) -> String {
    format!(r#"{{"reason":"{reason}"}}"#)
}

fn outcome(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Final(outcome) => outcome,
        Verdict::Resend { .. } => panic!("no remedy is called for"),
    }
}

#[test]
fn every_reason_has_its_outcome() {
    use Delivery::{AccessRefused, Deferred, PayloadRefused, Refused, Requeued, TokenRefused, Unregistered};
    let none = DeviceEffect::None;
    let doubtful = DeviceEffect::Doubtful;
    let dead = DeviceEffect::Dead {
        since: Some(time("2026-11-21T09:00:00Z")),
    };
    let notification = Some((Scope::Notification, None));
    let credential = Some((Scope::Credential, None));
    let quarter = Some((Scope::Delivery, Some(900)));
    let rows = [
        (400, "BadDeviceToken", TokenRefused, doubtful, None),
        (400, "DeviceTokenNotForTopic", TokenRefused, doubtful, None),
        (400, "BadCollapseId", PayloadRefused, none, notification),
        (400, "BadExpirationDate", PayloadRefused, none, notification),
        (400, "BadMessageId", PayloadRefused, none, notification),
        (400, "BadPriority", PayloadRefused, none, notification),
        (400, "BadTopic", PayloadRefused, none, notification),
        (400, "DuplicateHeaders", PayloadRefused, none, notification),
        (400, "InvalidPushType", PayloadRefused, none, notification),
        (400, "MissingDeviceToken", PayloadRefused, none, notification),
        (400, "MissingTopic", PayloadRefused, none, notification),
        (400, "PayloadEmpty", PayloadRefused, none, notification),
        (400, "TopicDisallowed", Requeued, none, credential),
        (403, "InvalidProviderToken", Requeued, none, credential),
        (403, "MissingProviderToken", Requeued, none, credential),
        (403, "UnrelatedKeyIdInToken", Requeued, none, credential),
        (403, "BadEnvironmentKeyIdInToken", Requeued, none, credential),
        (403, "BadCertificate", Requeued, none, credential),
        (403, "BadCertificateEnvironment", Requeued, none, credential),
        (403, "Forbidden", AccessRefused, none, credential),
        (404, "BadPath", Refused, none, None),
        (405, "MethodNotAllowed", Refused, none, None),
        (410, "Unregistered", Unregistered, dead, None),
        (410, "ExpiredToken", Unregistered, dead, None),
        (413, "PayloadTooLarge", PayloadRefused, none, notification),
        (
            429,
            "TooManyRequests",
            Deferred,
            none,
            Some((Scope::Device, Some(90))),
        ),
        (
            429,
            "TooManyProviderTokenUpdates",
            Requeued,
            none,
            Some((Scope::Credential, Some(1_200))),
        ),
        (500, "InternalServerError", Deferred, none, quarter),
        (503, "ServiceUnavailable", Deferred, none, quarter),
        (500, "BrandNewTrouble", Deferred, none, quarter),
        (400, "CannotCreateChannelConfig", Refused, none, None),
        (403, "BrandNewRefusal", Refused, none, None),
        (410, "BrandNewGone", Refused, none, None),
        (
            429,
            "BrandNewLimit",
            Deferred,
            none,
            Some((Scope::Device, Some(90))),
        ),
    ];
    for (status, word, delivery, device, hold) in rows {
        let found = outcome(judge(status, None, &reason(word)));
        let mut wanted = Outcome::new(delivery, word).with_device(device);
        if let Some((scope, seconds)) = hold {
            wanted = wanted.with_hold(scope, seconds.map(Duration::from_secs));
        }
        assert_eq!(found, wanted, "{status} {word}");
    }
}

#[test]
fn an_answer_without_a_reason_is_judged_by_its_status() {
    let rows = [
        (200, Delivery::Accepted, None),
        (302, Delivery::Requeued, Some(Scope::Credential)),
        (400, Delivery::Refused, None),
        (403, Delivery::Requeued, Some(Scope::Credential)),
        (404, Delivery::Requeued, Some(Scope::Credential)),
        (410, Delivery::Refused, None),
        (413, Delivery::PayloadRefused, Some(Scope::Notification)),
        (429, Delivery::Deferred, Some(Scope::Device)),
        (502, Delivery::Deferred, Some(Scope::Delivery)),
        (520, Delivery::Deferred, Some(Scope::Delivery)),
    ];
    for (status, delivery, scope) in rows {
        for body in [
            "",
            "<html>520</html>",
            "{}",
            "[]",
            "{\"reason\":7}",
            "{\"reason\":",
        ] {
            let found = outcome(judge(status, None, body));
            assert_eq!(found.delivery, delivery, "{status} {body}");
            assert_eq!(found.hold.map(|hold| hold.scope), scope, "{status} {body}");
            assert_eq!(found.device, DeviceEffect::None, "{status} {body}");
        }
    }
}

#[test]
fn unregistered_tells_since_when_in_milliseconds() {
    let found = outcome(judge(
        410,
        None,
        r#"{"reason":"Unregistered","timestamp":1508249865488}"#,
    ));
    let since = Some(time("2017-10-17T14:17:45.488Z"));
    assert_eq!(found.device, DeviceEffect::Dead { since });
    // A time that cannot be is no time; the request's own then bounds it.
    let found = outcome(judge(
        410,
        None,
        r#"{"reason":"Unregistered","timestamp":9223372036854775807}"#,
    ));
    assert_eq!(
        found.device,
        DeviceEffect::Dead {
            since: Some(time("2026-11-21T09:00:00Z"))
        }
    );
}

#[test]
fn retry_after_goes_before_our_own_waits() {
    for (status, word) in [
        (429, "TooManyRequests"),
        (500, "InternalServerError"),
        (503, "Shutdown"),
    ] {
        let found = outcome(judge(status, Some("7"), &reason(word)));
        assert_eq!(
            found.hold.and_then(|hold| hold.wait),
            Some(Duration::from_secs(7)),
            "{word}"
        );
    }
}

#[test]
fn a_server_that_shuts_down_costs_a_short_wait_on_the_connection_only() {
    let found = outcome(judge(503, None, &reason("Shutdown")));
    assert_eq!(found.delivery, Delivery::Deferred);
    let hold = found.hold.expect("somebody has to wait");
    assert_eq!(hold.scope, Scope::Connection);
    let wait = hold.wait.expect("a time");
    assert!((Duration::from_secs(1)..=Duration::from_secs(10)).contains(&wait));
}

#[test]
fn an_expired_provider_token_and_an_idle_connection_have_a_remedy() {
    let verdict = judge(403, None, &reason("ExpiredProviderToken"));
    let Verdict::Resend {
        remedy: Remedy::NewProviderToken,
        otherwise,
    } = verdict
    else {
        panic!("{verdict:?}")
    };
    assert_eq!(otherwise.delivery, Delivery::Requeued);
    assert_eq!(otherwise.hold.map(|hold| hold.scope), Some(Scope::Credential));
    let verdict = judge(400, None, &reason("IdleTimeout"));
    let Verdict::Resend {
        remedy: Remedy::NewConnection,
        otherwise,
    } = verdict
    else {
        panic!("{verdict:?}")
    };
    assert_eq!(otherwise.delivery, Delivery::Requeued);
    assert_eq!(otherwise.hold.map(|hold| hold.scope), Some(Scope::Connection));
}

#[test]
fn only_two_reasons_declare_a_device_dead() {
    for word in [
        "BadDeviceToken",
        "DeviceTokenNotForTopic",
        "unregistered",
        "",
        "Forbidden",
        "BadTopic",
        "Gone",
    ] {
        for status in 200..=599 {
            if let Verdict::Final(outcome) = judge(status, None, &reason(word)) {
                assert!(
                    !matches!(outcome.device, DeviceEffect::Dead { .. }),
                    "{status} {word}"
                );
            }
        }
    }
}

#[test]
fn a_reason_buries_a_token_under_410_only_and_is_tried_again_when_the_server_failed() {
    for word in ["Unregistered", "ExpiredToken"] {
        for status in 300..=599 {
            let outcome = outcome(judge(status, None, &reason(word)));
            let dead = matches!(outcome.device, DeviceEffect::Dead { .. });
            assert_eq!(dead, status == 410, "{status} {word}");
            if status >= 500 {
                assert_eq!(outcome.delivery, Delivery::Deferred, "{status} {word}");
                assert_eq!(outcome.device, DeviceEffect::None, "{status} {word}");
            }
        }
    }
}
