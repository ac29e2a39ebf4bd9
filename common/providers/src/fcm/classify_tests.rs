use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::*;

fn time(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

fn at(proven: bool) -> Circumstances {
    Circumstances {
        sent_at: time("2026-11-21T09:00:00Z"),
        now: time("2026-11-21T09:00:01Z"),
        proven,
    }
}

fn judge(status: u16, retry_after: Option<&str>, body: &[u8], proven: bool) -> Verdict {
    let mut headers = HeaderMap::new();
    if let Some(value) = retry_after {
        headers.insert(
            header::RETRY_AFTER,
            HeaderValue::from_str(value).expect("a header"),
        );
    }
    classify(
        StatusCode::from_u16(status).expect("a status"),
        &headers,
        body,
        || at(proven),
    )
}

/// An error as FCM writes it; `code` is the `FcmError`'s, when there is one.
fn error(status: &str, code: Option<&str>, more: Option<Value>) -> Vec<u8> {
    let mut details: Vec<Value> = more.into_iter().collect();
    if let Some(code) = code {
        details
            .push(json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}));
    }
    json!({"error": {"code": 0, "message": "private", "status": status, "details": details}})
        .to_string()
        .into()
}

fn violation(field: &str) -> Option<Value> {
    Some(json!({
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [{"field": field, "description": "Invalid"}],
    }))
}

fn quota(subject: &str) -> Option<Value> {
    Some(json!({
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"subject": subject, "description": "exceeded"}],
    }))
}

fn outcome(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Final(outcome) => outcome,
        Verdict::Resend { .. } => panic!("no remedy is called for"),
    }
}

struct Row {
    rule: &'static str,
    status: u16,
    body: Vec<u8>,
    retry_after: Option<&'static str>,
    proven: bool,
    delivery: Delivery,
    device: DeviceEffect,
    hold: Option<(Scope, Option<u64>)>,
    reason: &'static str,
}

impl Row {
    fn new(rule: &'static str, status: u16, body: Vec<u8>, delivery: Delivery, reason: &'static str) -> Self {
        Self {
            rule,
            status,
            body,
            retry_after: None,
            proven: false,
            delivery,
            device: DeviceEffect::None,
            hold: None,
            reason,
        }
    }

    fn device(self, device: DeviceEffect) -> Self {
        Self { device, ..self }
    }

    fn hold(self, scope: Scope, seconds: Option<u64>) -> Self {
        Self {
            hold: Some((scope, seconds)),
            ..self
        }
    }

    fn after(self, retry_after: &'static str) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..self
        }
    }

    fn proven(self) -> Self {
        Self { proven: true, ..self }
    }
}

#[test]
fn every_row_of_the_table_has_its_outcome() {
    use Delivery::{Accepted, Deferred, PayloadRefused, Refused, Requeued, TokenRefused, Unregistered};
    let dead = DeviceEffect::Dead {
        since: Some(time("2026-11-21T09:00:00Z")),
    };
    let doubtful = DeviceEffect::Doubtful;
    let invalid = "INVALID_ARGUMENT";
    let rows = [
        Row::new(
            "200 is accepted",
            200,
            br#"{"name":"projects/p/messages/1"}"#.to_vec(),
            Accepted,
            "",
        ),
        Row::new(
            "200 with half a body is accepted",
            200,
            b"{\"na".to_vec(),
            Accepted,
            "",
        ),
        Row::new(
            "400 about the token",
            400,
            error(invalid, Some(invalid), violation("message.token")),
            TokenRefused,
            invalid,
        )
        .device(doubtful),
        Row::new(
            "400 about nothing in particular, unproven",
            400,
            error(invalid, Some(invalid), None),
            PayloadRefused,
            invalid,
        )
        .hold(Scope::Notification, None),
        Row::new(
            "400 about nothing in particular, proven",
            400,
            error(invalid, Some(invalid), None),
            TokenRefused,
            invalid,
        )
        .proven()
        .device(doubtful),
        Row::new(
            "400 without FcmError, unproven",
            400,
            error(invalid, None, None),
            PayloadRefused,
            invalid,
        )
        .hold(Scope::Notification, None),
        Row::new(
            "400 about another field",
            400,
            error(invalid, Some(invalid), violation("message.android.ttl")),
            PayloadRefused,
            invalid,
        )
        .hold(Scope::Notification, None),
        Row::new(
            "400 about another field, proven",
            400,
            error(invalid, Some(invalid), violation("message.data")),
            PayloadRefused,
            invalid,
        )
        .proven()
        .hold(Scope::Notification, None),
        Row::new(
            "401 third party",
            401,
            error("UNAUTHENTICATED", Some("THIRD_PARTY_AUTH_ERROR"), None),
            Requeued,
            "THIRD_PARTY_AUTH_ERROR",
        )
        .hold(Scope::Platform, None),
        Row::new(
            "403 sender id",
            403,
            error("PERMISSION_DENIED", Some("SENDER_ID_MISMATCH"), None),
            TokenRefused,
            "SENDER_ID_MISMATCH",
        )
        .device(doubtful),
        Row::new(
            "403 permission",
            403,
            error("PERMISSION_DENIED", None, None),
            Requeued,
            "PERMISSION_DENIED",
        )
        .hold(Scope::Credential, None),
        Row::new(
            "403 page of a proxy",
            403,
            b"<html>".to_vec(),
            Requeued,
            "HTTP 403",
        )
        .hold(Scope::Credential, None),
        Row::new(
            "404 unregistered",
            404,
            error("NOT_FOUND", Some("UNREGISTERED"), None),
            Unregistered,
            "UNREGISTERED",
        )
        .device(dead),
        Row::new(
            "404 without FcmError",
            404,
            error("NOT_FOUND", None, None),
            Requeued,
            "NOT_FOUND",
        )
        .hold(Scope::Credential, None),
        Row::new("404 page", 404, b"<html>".to_vec(), Requeued, "HTTP 404").hold(Scope::Credential, None),
        Row::new("413", 413, Vec::new(), PayloadRefused, "HTTP 413").hold(Scope::Notification, None),
        Row::new(
            "429 of the project waits a minute",
            429,
            error("RESOURCE_EXHAUSTED", Some("QUOTA_EXCEEDED"), None),
            Deferred,
            "QUOTA_EXCEEDED",
        )
        .hold(Scope::Credential, Some(60)),
        Row::new(
            "429 of the front end waits a minute",
            429,
            error("RESOURCE_EXHAUSTED", None, None),
            Deferred,
            "RESOURCE_EXHAUSTED",
        )
        .hold(Scope::Credential, Some(60)),
        Row::new(
            "429 waits as told",
            429,
            error("RESOURCE_EXHAUSTED", Some("QUOTA_EXCEEDED"), quota("project:1")),
            Deferred,
            "QUOTA_EXCEEDED",
        )
        .after("7")
        .hold(Scope::Credential, Some(7)),
        Row::new(
            "429 with a senseless wait",
            429,
            error("RESOURCE_EXHAUSTED", Some("QUOTA_EXCEEDED"), None),
            Deferred,
            "QUOTA_EXCEEDED",
        )
        .after("-5")
        .hold(Scope::Credential, Some(60)),
        Row::new(
            "429 of one device",
            429,
            error(
                "RESOURCE_EXHAUSTED",
                Some("QUOTA_EXCEEDED"),
                quota("message.token"),
            ),
            Deferred,
            "QUOTA_EXCEEDED",
        )
        .hold(Scope::Device, None),
        Row::new(
            "500",
            500,
            error("INTERNAL", Some("INTERNAL"), None),
            Deferred,
            "INTERNAL",
        )
        .hold(Scope::Delivery, None),
        Row::new(
            "503 waits as told",
            503,
            error("UNAVAILABLE", Some("UNAVAILABLE"), None),
            Deferred,
            "UNAVAILABLE",
        )
        .after("Sat, 21 Nov 2026 09:00:31 GMT")
        .hold(Scope::Delivery, Some(30)),
        Row::new(
            "503 with a wait of ten years",
            503,
            Vec::new(),
            Deferred,
            "HTTP 503",
        )
        .after("315360000")
        .hold(Scope::Delivery, Some(3_600)),
        Row::new("502 with HTML", 502, b"<html>".to_vec(), Deferred, "HTTP 502").hold(Scope::Delivery, None),
        Row::new("520 of an edge", 520, Vec::new(), Deferred, "HTTP 520").hold(Scope::Delivery, None),
        Row::new(
            "unspecified with 500",
            500,
            error("UNKNOWN", Some("UNSPECIFIED_ERROR"), None),
            Deferred,
            "UNSPECIFIED_ERROR",
        )
        .hold(Scope::Delivery, None),
        Row::new(
            "unspecified with 400",
            400,
            error("UNKNOWN", Some("UNSPECIFIED_ERROR"), None),
            Refused,
            "UNSPECIFIED_ERROR",
        ),
        Row::new(
            "unknown code with 400",
            400,
            error("X", Some("UNREGISTERED_FID"), None),
            Refused,
            "UNREGISTERED_FID",
        ),
        Row::new(
            "unknown code with 403",
            403,
            error("X", Some("BRAND_NEW"), None),
            Refused,
            "BRAND_NEW",
        ),
        Row::new(
            "unknown code with 404",
            404,
            error("X", Some("BRAND_NEW"), None),
            Refused,
            "BRAND_NEW",
        ),
        Row::new(
            "unknown code with 503",
            503,
            error("X", Some("BRAND_NEW"), None),
            Deferred,
            "BRAND_NEW",
        )
        .hold(Scope::Delivery, None),
        Row::new("409", 409, Vec::new(), Refused, "HTTP 409"),
        Row::new(
            "a redirect is not followed",
            302,
            Vec::new(),
            Requeued,
            "HTTP 302",
        )
        .hold(Scope::Credential, None),
    ];
    for row in rows {
        let found = outcome(judge(row.status, row.retry_after, &row.body, row.proven));
        let mut wanted = Outcome::new(row.delivery, row.reason).with_device(row.device);
        if let Some((scope, seconds)) = row.hold {
            wanted = wanted.with_hold(scope, seconds.map(Duration::from_secs));
        }
        assert_eq!(found, wanted, "{}", row.rule);
    }
}

#[test]
fn an_access_token_that_is_refused_is_renewed_once_and_costs_no_attempt() {
    for body in [
        error("UNAUTHENTICATED", None, None),
        b"<html>".to_vec(),
        Vec::new(),
    ] {
        let Verdict::Resend {
            remedy: Remedy::NewAccessToken,
            otherwise,
        } = judge(401, None, &body, false)
        else {
            panic!("a new token is called for");
        };
        assert_eq!(otherwise.delivery, Delivery::Requeued);
        assert_eq!(otherwise.hold.map(|hold| hold.scope), Some(Scope::Credential));
    }
}

#[test]
fn only_one_code_declares_a_device_dead() {
    let codes = [
        None,
        Some("INVALID_ARGUMENT"),
        Some("SENDER_ID_MISMATCH"),
        Some("THIRD_PARTY_AUTH_ERROR"),
        Some("QUOTA_EXCEEDED"),
        Some("INTERNAL"),
        Some("UNAVAILABLE"),
        Some("UNSPECIFIED_ERROR"),
        Some("unregistered"),
        Some("NOT_FOUND"),
        Some("UNREGISTERED_FID"),
    ];
    for status in 200..=599 {
        for code in codes {
            let verdict = judge(status, None, &error("NOT_FOUND", code, None), true);
            if let Verdict::Final(outcome) = verdict {
                assert!(
                    !matches!(outcome.device, DeviceEffect::Dead { .. }),
                    "{status} {code:?}"
                );
            }
        }
    }
}

#[test]
fn unregistered_buries_a_token_under_404_only_and_is_tried_again_when_the_server_failed() {
    let body = error("NOT_FOUND", Some("UNREGISTERED"), None);
    for status in 300..=599 {
        let (outcome, is_final) = match judge(status, None, &body, true) {
            Verdict::Final(outcome) => (outcome, true),
            Verdict::Resend { otherwise, .. } => (otherwise, false),
        };
        let dead = matches!(outcome.device, DeviceEffect::Dead { .. });
        assert_eq!(dead, status == 404 && is_final, "{status}");
        if status >= 500 {
            assert_eq!(outcome.delivery, Delivery::Deferred, "{status}");
            assert_eq!(outcome.device, DeviceEffect::None, "{status}");
        }
    }
    let elsewhere = outcome(judge(400, None, &body, true));
    assert_eq!(
        (elsewhere.delivery, elsewhere.device),
        (Delivery::TokenRefused, DeviceEffect::Doubtful)
    );
}

#[test]
fn a_body_of_any_shape_is_survived() {
    let bodies: [&[u8]; 9] = [
        b"",
        b"null",
        b"[]",
        b"[{\"error\":{}}]",
        b"{\"error\":\"x\"}",
        b"{\"error\":{\"details\":{}}}",
        b"{\"error\":{\"details\":[1,null,{\"@type\":7}],\"status\":5}}",
        b"\xff\xfe",
        b"{\"error\":{\"status\":\"\\u0000\"}}",
    ];
    for body in bodies {
        for status in [200, 302, 400, 401, 403, 404, 413, 429, 500, 503] {
            let _ = judge(status, None, body, false);
        }
    }
}

#[test]
fn a_reason_is_bounded_however_long_the_code() {
    let long = "X".repeat(5_000);
    let found = outcome(judge(400, None, &error("", Some(&long), None), false));
    assert_eq!(found.reason.as_str().len(), 64);
}
