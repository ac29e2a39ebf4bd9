//! FCM: one test per row of the table of `jraze_providers::fcm::classify`, then its access tokens, then
//! what arrives.

use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::join_all;
use jraze_domain::{
    device::DevicePlatform,
    dispatch::{Delivery, DeviceEffect, Outcome, Scope},
    message::Content,
};
use jraze_providers::PayloadError;
use serde_json::{Value, json};

use super::rig::{self, FCM_TOKEN, Rig, eventually};

/// The outcome of a send that got `answer`, after `earlier` sends of the same message were accepted.
async fn outcome_of(answer: Value, earlier: usize) -> (Outcome, Rig) {
    let rig = Rig::start().await;
    let prepared = rig::prepare(rig.fcm());
    for index in 0..earlier {
        let token = rig::push_token(&format!("{FCM_TOKEN}-{index}"));
        assert_eq!(rig.fcm().send(&prepared, &token).await, Outcome::accepted());
    }
    rig.answer(answer).await;
    let outcome = rig.fcm().send(&prepared, &rig::push_token(FCM_TOKEN)).await;
    (outcome, rig)
}

fn error(code: &str) -> Value {
    json!({"error": {"code": code}})
}

fn error_after(code: &str, retry_after: &str) -> Value {
    json!({"error": {"code": code, "retry_after": retry_after}})
}

fn http(status: u16, body: Value) -> Value {
    json!({"http": {"status": status, "body": body}})
}

/// An error that only names a field.
fn invalid(field: &str) -> Value {
    http(
        400,
        json!({"error": {"code": 400, "status": "INVALID_ARGUMENT", "details": [
            {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": field}]},
            {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "INVALID_ARGUMENT"},
        ]}}),
    )
}

fn with_code(status: u16, code: &str) -> Value {
    let detail = json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code});
    http(
        status,
        json!({"error": {"code": status, "status": "X", "details": [detail]}}),
    )
}

fn ends(delivery: Delivery, reason: &str) -> Outcome {
    Outcome::new(delivery, reason)
}

fn seconds(number: u64) -> Option<Duration> {
    Some(Duration::from_secs(number))
}

macro_rules! rows {
    ($($(#[$doc:meta])* $rule:ident: $answer:expr $(, after $earlier:literal accepted)? => $outcome:expr;)*) => {
        mod row {
            use super::*;
            $(
                $(#[$doc])*
                #[tokio::test]
                async fn $rule() {
                    let earlier = 0 $(+ $earlier)?;
                    let (outcome, _rig) = outcome_of($answer, earlier).await;
                    assert_eq!(outcome, $outcome);
                }
            )*
        }
    };
}

rows! {
    ok_200_is_accepted: json!(null) => Outcome::accepted();
    ok_200_with_half_a_body_is_accepted: json!("half_body") => Outcome::accepted();
    ok_200_that_is_not_json_is_accepted: http(200, json!("<html>")) => Outcome::accepted();
    invalid_argument_about_the_token_refuses_the_token: error("INVALID_ARGUMENT")
        => ends(Delivery::TokenRefused, "INVALID_ARGUMENT").with_device(DeviceEffect::Doubtful);
    invalid_argument_about_nothing_refuses_the_token_of_a_proven_message:
        with_code(400, "INVALID_ARGUMENT"), after 1 accepted
        => ends(Delivery::TokenRefused, "INVALID_ARGUMENT").with_device(DeviceEffect::Doubtful);
    invalid_argument_about_nothing_refuses_an_unproven_message: with_code(400, "INVALID_ARGUMENT")
        => ends(Delivery::PayloadRefused, "INVALID_ARGUMENT").with_hold(Scope::Notification, None);
    invalid_argument_about_another_field_refuses_the_message: invalid("message.android.ttl"), after 1 accepted
        => ends(Delivery::PayloadRefused, "INVALID_ARGUMENT").with_hold(Scope::Notification, None);
    unauthenticated_for_good_stops_the_credential_and_costs_no_attempt: error("UNAUTHENTICATED")
        => ends(Delivery::Requeued, "UNAUTHENTICATED").with_hold(Scope::Credential, None);
    third_party_auth_error_stops_its_device_platform_only: error("THIRD_PARTY_AUTH_ERROR")
        => ends(Delivery::Requeued, "THIRD_PARTY_AUTH_ERROR").with_hold(Scope::Platform, None);
    sender_id_mismatch_refuses_the_token: error("SENDER_ID_MISMATCH")
        => ends(Delivery::TokenRefused, "SENDER_ID_MISMATCH").with_device(DeviceEffect::Doubtful);
    permission_denied_stops_the_credential: error("PERMISSION_DENIED")
        => ends(Delivery::Requeued, "PERMISSION_DENIED").with_hold(Scope::Credential, None);
    not_found_without_fcm_error_stops_the_credential: error("NOT_FOUND")
        => ends(Delivery::Requeued, "NOT_FOUND").with_hold(Scope::Credential, None);
    not_found_page_stops_the_credential: http(404, json!("<html>404</html>"))
        => ends(Delivery::Requeued, "HTTP 404").with_hold(Scope::Credential, None);
    payload_too_large_stops_the_notification: error("PAYLOAD_TOO_LARGE")
        => ends(Delivery::PayloadRefused, "INVALID_ARGUMENT").with_hold(Scope::Notification, None);
    device_quota_holds_the_device: error("QUOTA_EXCEEDED")
        => ends(Delivery::Deferred, "QUOTA_EXCEEDED").with_hold(Scope::Device, None);
    device_quota_waits_as_told: error_after("QUOTA_EXCEEDED", "7")
        => ends(Delivery::Deferred, "QUOTA_EXCEEDED").with_hold(Scope::Device, seconds(7));
    project_quota_holds_the_credential_a_minute: error("RATE_LIMIT_EXCEEDED")
        => ends(Delivery::Deferred, "RESOURCE_EXHAUSTED").with_hold(Scope::Credential, seconds(60));
    project_quota_waits_as_told: error_after("RATE_LIMIT_EXCEEDED", "30")
        => ends(Delivery::Deferred, "RESOURCE_EXHAUSTED").with_hold(Scope::Credential, seconds(30));
    project_quota_with_a_negative_wait_waits_a_minute: error_after("RATE_LIMIT_EXCEEDED", "-5")
        => ends(Delivery::Deferred, "RESOURCE_EXHAUSTED").with_hold(Scope::Credential, seconds(60));
    project_quota_with_a_garbled_wait_waits_a_minute: error_after("RATE_LIMIT_EXCEEDED", "abc")
        => ends(Delivery::Deferred, "RESOURCE_EXHAUSTED").with_hold(Scope::Credential, seconds(60));
    project_quota_with_a_wait_of_ten_years_waits_an_hour: error_after("RATE_LIMIT_EXCEEDED", "315360000")
        => ends(Delivery::Deferred, "RESOURCE_EXHAUSTED").with_hold(Scope::Credential, seconds(3_600));
    internal_is_tried_again: error("INTERNAL")
        => ends(Delivery::Deferred, "INTERNAL").with_hold(Scope::Delivery, None);
    unavailable_is_tried_again: error("UNAVAILABLE")
        => ends(Delivery::Deferred, "UNAVAILABLE").with_hold(Scope::Delivery, None);
    unavailable_waits_as_told: error_after("UNAVAILABLE", "7")
        => ends(Delivery::Deferred, "UNAVAILABLE").with_hold(Scope::Delivery, seconds(7));
    bad_gateway_with_html_is_tried_again: error("BAD_GATEWAY")
        => ends(Delivery::Deferred, "HTTP 502").with_hold(Scope::Delivery, None);
    edge_520_without_a_body_is_tried_again: json!({"http": {"status": 520}})
        => ends(Delivery::Deferred, "HTTP 520").with_hold(Scope::Delivery, None);
    unspecified_error_goes_by_its_class: error("UNSPECIFIED_ERROR")
        => ends(Delivery::Deferred, "UNSPECIFIED_ERROR").with_hold(Scope::Delivery, None);
    unknown_code_of_class_4_is_kept_verbatim_and_final: with_code(400, "BRAND_NEW")
        => ends(Delivery::Refused, "BRAND_NEW");
    unknown_code_of_class_5_is_kept_verbatim_and_tried_again: with_code(503, "BRAND_NEW")
        => ends(Delivery::Deferred, "BRAND_NEW").with_hold(Scope::Delivery, None);
    redirect_is_not_followed: json!({"http": {"status": 302, "headers": {"location": "https://localhost:1/"}}})
        => ends(Delivery::Requeued, "HTTP 302").with_hold(Scope::Credential, None);
}

#[tokio::test]
async fn row_unregistered_is_dead_since_the_request() {
    let (outcome, rig) = outcome_of(error("UNREGISTERED"), 0).await;
    let dead = DeviceEffect::Dead {
        since: Some(rig::now(&rig)),
    };
    assert_eq!(
        outcome,
        ends(Delivery::Unregistered, "UNREGISTERED").with_device(dead)
    );
}

#[tokio::test]
async fn row_unavailable_waits_until_the_date_it_names() {
    let rig = Rig::start().await;
    let at = rig::now(&rig) + TimeDelta::seconds(91);
    let date = at.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    rig.answer(error_after("UNAVAILABLE", &date)).await;
    let hold = rig.send_fcm(FCM_TOKEN).await.hold.expect("somebody has to wait");
    let wait = hold.wait.expect("a time");
    assert!((90..=91).contains(&wait.as_secs()), "{wait:?}");
}

#[tokio::test]
async fn no_answer_of_any_kind_kills_a_device_but_unregistered() {
    let rig = Rig::start().await;
    let codes = [
        "INVALID_ARGUMENT",
        "UNAUTHENTICATED",
        "THIRD_PARTY_AUTH_ERROR",
        "SENDER_ID_MISMATCH",
        "PERMISSION_DENIED",
        "NOT_FOUND",
        "PAYLOAD_TOO_LARGE",
        "QUOTA_EXCEEDED",
        "RATE_LIMIT_EXCEEDED",
        "INTERNAL",
        "UNSPECIFIED_ERROR",
        "BAD_GATEWAY",
        "UNAVAILABLE",
    ];
    for code in codes {
        rig.answer(error(code)).await;
        let outcome = rig.send_fcm(FCM_TOKEN).await;
        assert!(!matches!(outcome.device, DeviceEffect::Dead { .. }), "{code}");
    }
}

#[tokio::test]
async fn a_thousand_sends_at_a_cold_start_fetch_one_access_token() {
    let rig = Rig::start().await;
    let sends = (0..1_000).map(|index| {
        let rig = &rig;
        async move { rig.send_fcm(&format!("{FCM_TOKEN}-{index}")).await }
    });
    assert!(
        join_all(sends)
            .await
            .iter()
            .all(|outcome| *outcome == Outcome::accepted())
    );
    assert_eq!(rig.access_tokens_issued().await, 1);
    assert_eq!(rig.ledger().await.len(), 1_000);
}

#[tokio::test]
async fn a_thousand_refusals_of_one_access_token_lead_to_one_renewal_and_one_resend_each() {
    let rig = Rig::start().await;
    rig.send_fcm(FCM_TOKEN).await;
    rig.revoke_access_tokens().await;
    let sends = (0..1_000).map(|index| {
        let rig = &rig;
        async move { rig.send_fcm(&format!("{FCM_TOKEN}-{index}")).await }
    });
    assert!(
        join_all(sends)
            .await
            .iter()
            .all(|outcome| *outcome == Outcome::accepted())
    );
    assert_eq!(rig.access_tokens_issued().await, 2);
}

#[tokio::test]
async fn an_access_token_refused_for_good_is_renewed_no_more_than_every_half_minute() {
    let rig = Rig::start().await;
    rig.answer(error("UNAUTHENTICATED")).await;
    for _ in 0..5 {
        assert_eq!(rig.send_fcm(FCM_TOKEN).await.delivery, Delivery::Requeued);
    }
    assert_eq!(rig.access_tokens_issued().await, 2);
    rig.clock.advance(TimeDelta::seconds(31));
    rig.send_fcm(FCM_TOKEN).await;
    assert_eq!(rig.access_tokens_issued().await, 3);
}

#[tokio::test]
async fn an_access_token_is_renewed_before_it_expires_while_the_old_one_is_used() {
    let rig = Rig::start().await;
    rig.send_fcm(FCM_TOKEN).await;
    rig.clock.advance(TimeDelta::seconds(3_599 * 79 / 100));
    assert_eq!(rig.send_fcm(FCM_TOKEN).await, Outcome::accepted());
    assert_eq!(rig.access_tokens_issued().await, 1, "not before 80 % of its life");
    rig.clock.advance(TimeDelta::seconds(3_599 * 12 / 100));
    assert_eq!(rig.send_fcm(FCM_TOKEN).await, Outcome::accepted());
    eventually("a second token", async || rig.access_tokens_issued().await == 2).await;
}

#[tokio::test]
async fn a_token_endpoint_that_refuses_stops_the_credential_and_is_not_asked_at_once_again() {
    let rig = Rig::start().await;
    // An hour and a half apart, the endpoint takes the assertion for expired.
    rig.move_sandbox_clock(90).await;
    for _ in 0..3 {
        let outcome = rig.send_fcm(FCM_TOKEN).await;
        let wanted = ends(Delivery::Requeued, "invalid_grant").with_hold(Scope::Credential, None);
        assert_eq!(outcome, wanted);
    }
    assert_eq!(rig.ledger().await.len(), 0, "nothing was sent");
    rig.move_sandbox_clock(0).await;
    rig.clock.advance(TimeDelta::minutes(2));
    assert_eq!(rig.send_fcm(FCM_TOKEN).await, Outcome::accepted());
}

#[tokio::test]
async fn every_platform_receives_what_it_expects() {
    let rig = Rig::start().await;
    let content = Content {
        title: "Spring sale \u{1f337}".into(),
        body: "All \"must\" go\n<b>now</b>".into(),
        deep_link: Some("https://shop.example/sale?a=1&b=2".into()),
        image_url: Some("https://cdn.example/big.png".into()),
        icon_url: Some("https://cdn.example/small.png".into()),
        data: [("sku".to_owned(), "42".to_owned())].into(),
    };
    let push = rig::push(content);
    let platforms = [
        DevicePlatform::Unknown,
        DevicePlatform::Android,
        DevicePlatform::Ios,
        DevicePlatform::Web,
    ];
    for platform in platforms {
        let prepared = rig.fcm().prepare(&push, platform).expect("it fits");
        let token = rig::push_token(&format!("{FCM_TOKEN}-{}", platform.name()));
        assert_eq!(
            rig.fcm().send(&prepared, &token).await,
            Outcome::accepted(),
            "{platform:?}"
        );
    }
    let ledger = rig.ledger().await;
    let message = |index: usize| &ledger[index]["payload"]["message"];
    let title = "Spring sale \u{1f337}";
    let tag = "jz-00000000000000000000000000000007";
    for entry in &ledger {
        let data = &entry["payload"]["message"]["data"];
        assert_eq!(data["sku"], "42");
        assert_eq!(data["link"], "https://shop.example/sale?a=1&b=2");
        assert_eq!(data["jraze_notification"], push.notification.to_string());
        assert_eq!(entry["project"], rig.sandbox.project_id());
    }
    for index in [0, 1] {
        assert_eq!(message(index)["notification"]["title"], title);
        assert_eq!(
            message(index)["notification"]["body"],
            "All \"must\" go\n<b>now</b>"
        );
        assert_eq!(
            message(index)["notification"]["image"],
            "https://cdn.example/big.png"
        );
        assert_eq!(message(index)["android"]["notification"]["tag"], tag);
        assert_eq!(message(index)["android"]["priority"], "HIGH");
    }
    let apns = &message(2)["apns"];
    assert_eq!(apns["payload"]["aps"]["alert"]["title"], title);
    assert_eq!(apns["payload"]["aps"]["mutable-content"], 1);
    assert_eq!(apns["headers"]["apns-collapse-id"], tag);
    assert_eq!(apns["fcm_options"]["image"], "https://cdn.example/big.png");
    let web = &message(3)["webpush"];
    assert_eq!(web["notification"]["title"], title);
    assert_eq!(web["notification"]["icon"], "https://cdn.example/small.png");
    assert_eq!(web["notification"]["tag"], tag);
    assert_eq!(web["fcm_options"]["link"], "https://shop.example/sale?a=1&b=2");
}

#[tokio::test]
async fn the_largest_message_that_is_prepared_is_accepted_and_a_larger_one_is_not_prepared() {
    let rig = Rig::start().await;
    for platform in [DevicePlatform::Android, DevicePlatform::Ios, DevicePlatform::Web] {
        let mut content = rig::plain();
        let size = rig
            .fcm()
            .prepare(&rig::push(content.clone()), platform)
            .expect("small")
            .size();
        content.body.push_str(&"x".repeat(4_096 - size));
        let prepared = rig
            .fcm()
            .prepare(&rig::push(content.clone()), platform)
            .expect("just fits");
        assert_eq!(prepared.size(), 4_096);
        let outcome = rig.fcm().send(&prepared, &rig::push_token(FCM_TOKEN)).await;
        assert_eq!(outcome, Outcome::accepted(), "{platform:?}");
        content.body.push('x');
        let refused = rig
            .fcm()
            .prepare(&rig::push(content), platform)
            .expect_err("too large");
        assert!(
            matches!(
                refused,
                PayloadError::TooLarge {
                    bytes: 4_097,
                    limit: 4_096,
                    ..
                }
            ),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn one_message_reaches_each_token_as_it_is_written() {
    let rig = Rig::start().await;
    let prepared = rig::prepare(rig.fcm());
    let tokens = ["plain", "with:colon-and_more", "quote\"in", "back\\slash", "ünï€"];
    for token in tokens {
        rig.fcm().send(&prepared, &rig::push_token(token)).await;
    }
    let ledger = rig.ledger().await;
    let received: Vec<_> = ledger
        .iter()
        .map(|entry| entry["token"].as_str().expect("a token"))
        .collect();
    assert_eq!(received, tokens);
}

#[tokio::test]
async fn a_token_endpoint_that_is_busy_or_silent_costs_no_attempt_and_is_asked_once() {
    let rig = Rig::with(|_| {}, |transport| transport.request_timeout = rig::millis(500)).await;
    for answer in [error("temporarily_unavailable"), json!("stall"), json!("close")] {
        rig.script(json!([{"oauth": true, "answer": answer}])).await;
        let sends = (0..200).map(|_| rig.send_fcm(FCM_TOKEN));
        for outcome in join_all(sends).await {
            assert_eq!(outcome.delivery, Delivery::Requeued, "{outcome:?}");
            assert_eq!(outcome.hold.map(|hold| hold.scope), Some(Scope::Credential));
        }
        rig.clock.advance(TimeDelta::minutes(5));
    }
    assert_eq!(rig.ledger().await.len(), 0, "nothing was sent");
    rig.script(json!([])).await;
    assert_eq!(rig.send_fcm(FCM_TOKEN).await, Outcome::accepted());
}

#[tokio::test]
async fn an_access_token_in_use_outlives_a_token_endpoint_that_refuses_the_next() {
    let rig = Rig::start().await;
    rig.send_fcm(FCM_TOKEN).await;
    rig.script(json!([{"oauth": true, "answer": error("invalid_grant")}]))
        .await;
    rig.clock.advance(TimeDelta::seconds(3_599 * 95 / 100));
    for _ in 0..3 {
        assert_eq!(rig.send_fcm(FCM_TOKEN).await, Outcome::accepted());
    }
}

#[tokio::test]
async fn a_wait_that_makes_no_sense_is_no_wait() {
    let rig = Rig::start().await;
    let past = (rig::now(&rig) - TimeDelta::days(3))
        .format("%a, %d %b %Y %H:%M:%S GMT")
        .to_string();
    for text in ["0", "-1", "soon", "", &past] {
        rig.answer(error_after("UNAVAILABLE", text)).await;
        let wanted = ends(Delivery::Deferred, "UNAVAILABLE").with_hold(Scope::Delivery, None);
        assert_eq!(rig.send_fcm(FCM_TOKEN).await, wanted, "{text:?}");
    }
    for text in ["315360000", "99999999999999999999"] {
        rig.answer(error_after("UNAVAILABLE", text)).await;
        let wanted = ends(Delivery::Deferred, "UNAVAILABLE").with_hold(Scope::Delivery, seconds(3_600));
        assert_eq!(rig.send_fcm(FCM_TOKEN).await, wanted, "{text:?}");
    }
}
