//! APNs: one test per row of the table of `jraze_providers::apns::classify`, then its provider tokens,
//! then what arrives.

use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use futures_util::future::join_all;
use jraze_domain::{
    device::DevicePlatform,
    dispatch::{Delivery, DeviceEffect, Outcome, Scope},
    message::{Content, Push},
};
use jraze_providers::{PayloadError, reason};
use serde_json::{Value, json};

use super::rig::{self, APNS_TOKEN, Rig};

async fn outcome_of(answer: Value) -> (Outcome, Rig) {
    let rig = Rig::start().await;
    rig.answer(answer).await;
    (rig.send_apns(APNS_TOKEN).await, rig)
}

fn error(reason: &str) -> Value {
    json!({"error": {"code": reason}})
}

fn http(status: u16, body: Value) -> Value {
    json!({"http": {"status": status, "body": body}})
}

fn refuses_the_token(reason: &str) -> Outcome {
    Outcome::new(Delivery::TokenRefused, reason).with_device(DeviceEffect::Doubtful)
}

fn refuses_the_message(reason: &str) -> Outcome {
    Outcome::new(Delivery::PayloadRefused, reason).with_hold(Scope::Notification, None)
}

fn stops_the_credential(reason: &str) -> Outcome {
    Outcome::new(Delivery::Requeued, reason).with_hold(Scope::Credential, None)
}

macro_rules! rows {
    ($($rule:ident: $answer:expr => $outcome:expr;)*) => {
        mod row {
            use super::*;
            $(
                #[tokio::test]
                async fn $rule() {
                    let (outcome, _rig) = outcome_of($answer).await;
                    assert_eq!(outcome, $outcome);
                }
            )*
        }
    };
}

rows! {
    ok_200_is_accepted: json!(null) => Outcome::accepted();
    ok_200_with_half_a_body_is_accepted: json!("half_body") => Outcome::accepted();
    bad_device_token_refuses_the_token_and_kills_nobody: error("BadDeviceToken")
        => refuses_the_token("BadDeviceToken");
    device_token_not_for_topic_refuses_the_token: error("DeviceTokenNotForTopic")
        => refuses_the_token("DeviceTokenNotForTopic");
    bad_collapse_id_refuses_the_message: error("BadCollapseId") => refuses_the_message("BadCollapseId");
    bad_expiration_date_refuses_the_message: error("BadExpirationDate")
        => refuses_the_message("BadExpirationDate");
    bad_message_id_refuses_the_message: error("BadMessageId") => refuses_the_message("BadMessageId");
    bad_priority_refuses_the_message: error("BadPriority") => refuses_the_message("BadPriority");
    bad_topic_refuses_the_message: error("BadTopic") => refuses_the_message("BadTopic");
    duplicate_headers_refuses_the_message: error("DuplicateHeaders") => refuses_the_message("DuplicateHeaders");
    invalid_push_type_refuses_the_message: error("InvalidPushType") => refuses_the_message("InvalidPushType");
    missing_device_token_refuses_the_message: error("MissingDeviceToken")
        => refuses_the_message("MissingDeviceToken");
    missing_topic_refuses_the_message: error("MissingTopic") => refuses_the_message("MissingTopic");
    payload_empty_refuses_the_message: error("PayloadEmpty") => refuses_the_message("PayloadEmpty");
    topic_disallowed_stops_the_credential: error("TopicDisallowed") => stops_the_credential("TopicDisallowed");
    idle_timeout_for_good_is_requeued: error("IdleTimeout")
        => Outcome::new(Delivery::Requeued, "IdleTimeout").with_hold(Scope::Connection, None);
    invalid_provider_token_stops_the_credential: error("InvalidProviderToken")
        => stops_the_credential("InvalidProviderToken");
    missing_provider_token_stops_the_credential: error("MissingProviderToken")
        => stops_the_credential("MissingProviderToken");
    unrelated_key_id_stops_the_credential: error("UnrelatedKeyIdInToken")
        => stops_the_credential("UnrelatedKeyIdInToken");
    bad_environment_key_id_stops_the_credential: error("BadEnvironmentKeyIdInToken")
        => stops_the_credential("BadEnvironmentKeyIdInToken");
    bad_certificate_stops_the_credential: error("BadCertificate") => stops_the_credential("BadCertificate");
    bad_certificate_environment_stops_the_credential: error("BadCertificateEnvironment")
        => stops_the_credential("BadCertificateEnvironment");
    forbidden_is_final_and_stops_the_credential: error("Forbidden")
        => Outcome::new(Delivery::AccessRefused, "Forbidden").with_hold(Scope::Credential, None);
    bad_path_is_our_fault: error("BadPath") => Outcome::new(Delivery::Refused, "BadPath");
    method_not_allowed_is_our_fault: error("MethodNotAllowed")
        => Outcome::new(Delivery::Refused, "MethodNotAllowed");
    payload_too_large_refuses_the_message: error("PayloadTooLarge") => refuses_the_message("PayloadTooLarge");
    too_many_provider_token_updates_stops_the_credential_for_20_minutes: error("TooManyProviderTokenUpdates")
        => Outcome::new(Delivery::Requeued, "TooManyProviderTokenUpdates")
            .with_hold(Scope::Credential, Some(Duration::from_secs(1_200)));
    unknown_reason_of_class_4_is_kept_verbatim_and_final: http(400, json!({"reason": "BadChannelId"}))
        => Outcome::new(Delivery::Refused, "BadChannelId");
    page_instead_of_a_reason_with_403_stops_the_credential: http(403, json!("<html>proxy</html>"))
        => stops_the_credential("HTTP 403");
    redirect_is_not_followed: json!({"http": {"status": 307, "headers": {"location": "https://localhost:1/"}}})
        => stops_the_credential("HTTP 307");
}

/// Rows whose wait holds a chance: the scope and the bounds of the wait.
macro_rules! waits {
    ($($rule:ident: $answer:expr => $delivery:ident $reason:literal, $scope:ident $seconds:expr;)*) => {
        mod row_that_waits {
            use super::*;
            $(
                #[tokio::test]
                async fn $rule() {
                    let (outcome, _rig) = outcome_of($answer).await;
                    assert_eq!((outcome.delivery, outcome.device), (Delivery::$delivery, DeviceEffect::None));
                    assert_eq!(outcome.reason.as_str(), $reason);
                    let hold = outcome.hold.expect("somebody has to wait");
                    assert_eq!(hold.scope, Scope::$scope);
                    let wait = hold.wait.expect("a time").as_secs();
                    assert!($seconds.contains(&wait), "{wait}");
                }
            )*
        }
    };
}

waits! {
    too_many_requests_holds_the_device_from_a_minute: error("TooManyRequests")
        => Deferred "TooManyRequests", Device 60..=120;
    too_many_requests_waits_as_told: json!({"error": {"code": "TooManyRequests", "retry_after": "7"}})
        => Deferred "TooManyRequests", Device 7..=7;
    internal_server_error_is_tried_after_a_quarter_of_an_hour: error("InternalServerError")
        => Deferred "InternalServerError", Delivery 720..=1_080;
    service_unavailable_is_tried_after_a_quarter_of_an_hour: error("ServiceUnavailable")
        => Deferred "ServiceUnavailable", Delivery 720..=1_080;
    shutdown_is_tried_on_another_connection_after_some_seconds: error("Shutdown")
        => Deferred "Shutdown", Connection 1..=10;
    edge_520_is_tried_after_a_quarter_of_an_hour: http(520, json!("<html>520</html>"))
        => Deferred "HTTP 520", Delivery 720..=1_080;
    unknown_reason_of_class_5_is_kept_verbatim_and_tried_again: http(503, json!({"reason": "BrandNew"}))
        => Deferred "BrandNew", Delivery 720..=1_080;
    unknown_reason_of_429_holds_the_device: http(429, json!({"reason": "BrandNew"}))
        => Deferred "BrandNew", Device 60..=120;
}

#[tokio::test]
async fn row_unregistered_is_dead_since_the_time_that_apple_names() {
    let answer = json!({"error": {"code": "Unregistered", "timestamp_ms": 1_508_249_865_488_i64}});
    let (outcome, _rig) = outcome_of(answer).await;
    let dead = DeviceEffect::Dead {
        since: DateTime::from_timestamp_millis(1_508_249_865_488),
    };
    assert_eq!(
        outcome,
        Outcome::new(Delivery::Unregistered, "Unregistered").with_device(dead)
    );
}

#[tokio::test]
async fn row_expired_token_is_dead_since_the_request() {
    let (outcome, rig) = outcome_of(error("ExpiredToken")).await;
    let dead = DeviceEffect::Dead {
        since: Some(rig::now(&rig)),
    };
    assert_eq!(
        outcome,
        Outcome::new(Delivery::Unregistered, "ExpiredToken").with_device(dead)
    );
}

#[tokio::test]
async fn row_idle_timeout_is_sent_again_at_once_on_another_connection() {
    let rig = Rig::start().await;
    rig.script(json!([{"times": 1, "answer": error("IdleTimeout")}]))
        .await;
    assert_eq!(rig.send_apns(APNS_TOKEN).await, Outcome::accepted());
    let ledger = rig.ledger().await;
    assert_eq!(ledger.len(), 2);
    assert_ne!(ledger[0]["connection"], ledger[1]["connection"]);
}

#[tokio::test]
async fn row_shutdown_replaces_the_connection() {
    let rig = Rig::start().await;
    rig.script(json!([{"times": 1, "answer": error("Shutdown")}]))
        .await;
    rig.send_apns(APNS_TOKEN).await;
    assert_eq!(rig.send_apns(APNS_TOKEN).await, Outcome::accepted());
    let ledger = rig.ledger().await;
    assert_ne!(ledger[0]["connection"], ledger[1]["connection"]);
}

#[tokio::test]
async fn row_expired_provider_token_is_replaced_on_a_new_connection_when_apple_allows_a_new_one() {
    let rig = Rig::start().await;
    assert_eq!(rig.send_apns(APNS_TOKEN).await, Outcome::accepted());
    // Apple's clock is 45 minutes ahead: our token of 21 minutes looks older than an hour.
    rig.clock.advance(TimeDelta::minutes(21));
    rig.move_sandbox_clock(45).await;
    assert_eq!(rig.send_apns(APNS_TOKEN).await, Outcome::accepted());
    let ledger = rig.ledger().await;
    let last = ledger.last().expect("an entry");
    assert_ne!(
        ledger[0]["connection"], last["connection"],
        "the old one stays wedged"
    );
    assert_eq!(rig.apns().stats().opened, 2);
}

#[tokio::test]
async fn row_expired_provider_token_stops_the_credential_when_apple_allows_no_new_one() {
    let rig = Rig::start().await;
    rig.move_sandbox_clock(90).await;
    rig.clock.advance(TimeDelta::minutes(5));
    let wait = Some(Duration::from_secs(15 * 60));
    let wanted = Outcome::new(Delivery::Requeued, "ExpiredProviderToken").with_hold(Scope::Credential, wait);
    assert_eq!(rig.send_apns(APNS_TOKEN).await, wanted);
}

#[tokio::test]
async fn one_provider_token_serves_all_connections_and_is_kept_for_fifty_minutes() {
    // The sandbox refuses a second token within 20 minutes, as Apple does.
    let rig = Rig::with(
        |sandbox| {
            sandbox.apns.min_token_update_s = Some(1_200);
            sandbox.apns.max_streams = 10;
            sandbox.latency_ms = 5;
        },
        |transport| transport.connections = 4,
    )
    .await;
    for _ in 0..7 {
        let sends = (0..100).map(|_| rig.send_apns(APNS_TOKEN));
        assert!(
            join_all(sends)
                .await
                .iter()
                .all(|outcome| *outcome == Outcome::accepted())
        );
        rig.clock.advance(TimeDelta::minutes(10));
    }
    assert!(rig.apns().stats().connections > 1);
}

#[tokio::test]
async fn a_phone_receives_alert_picture_link_and_data() {
    let rig = Rig::start().await;
    let content = Content {
        title: "Spring sale \u{1f337}".into(),
        body: "All \"must\" go".into(),
        deep_link: Some("myapp://sale?a=1".into()),
        image_url: Some("https://cdn.example/big.png".into()),
        icon_url: None,
        data: [("sku".to_owned(), "42".to_owned())].into(),
    };
    let at = rig::now(&rig) + TimeDelta::hours(1);
    let push = Push {
        expires_at: Some(at),
        ..rig::push(content)
    };
    let prepared = rig.apns().prepare(&push, DevicePlatform::Ios).expect("it fits");
    let token = rig::push_token(APNS_TOKEN);
    assert_eq!(rig.apns().send(&prepared, &token).await, Outcome::accepted());
    let entry = &rig.ledger().await[0];
    assert_eq!(
        entry["payload"],
        json!({
            "aps": {
                "alert": {"title": "Spring sale \u{1f337}", "body": "All \"must\" go"},
                "sound": "default", "mutable-content": 1,
            },
            "image": "https://cdn.example/big.png", "link": "myapp://sale?a=1", "sku": "42",
            "jraze_notification": push.notification.to_string(),
        })
    );
    assert_eq!(
        entry["headers"]["apns-collapse-id"],
        "jz-00000000000000000000000000000007"
    );
    assert_eq!(entry["headers"]["apns-push-type"], "alert");
    assert_eq!(entry["headers"]["apns-priority"], "10");
    assert_eq!(entry["headers"]["apns-expiration"], at.timestamp().to_string());
    assert_eq!(entry["topic"], rig.sandbox.apns_topic());
}

#[tokio::test]
async fn the_largest_payload_that_is_prepared_is_accepted_and_a_larger_one_is_not_prepared() {
    let rig = Rig::start().await;
    let mut content = rig::plain();
    let size = rig
        .apns()
        .prepare(&rig::push(content.clone()), DevicePlatform::Ios)
        .expect("small")
        .size();
    content.body.push_str(&"x".repeat(4_096 - size));
    let prepared = rig
        .apns()
        .prepare(&rig::push(content.clone()), DevicePlatform::Ios)
        .expect("just fits");
    assert_eq!(
        rig.apns().send(&prepared, &rig::push_token(APNS_TOKEN)).await,
        Outcome::accepted()
    );
    content.body.push('x');
    let refused = rig
        .apns()
        .prepare(&rig::push(content), DevicePlatform::Ios)
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

#[tokio::test]
async fn a_token_that_is_no_hex_is_refused_without_a_request() {
    let rig = Rig::start().await;
    let long = "ab".repeat(201);
    for token in ["abc", "xyzw", "../../3/device/00", "00 11", "0", "ab?c=dd", &long] {
        assert_eq!(
            rig.send_apns(token).await,
            refuses_the_token(reason::MALFORMED_TOKEN),
            "{token}"
        );
    }
    assert_eq!(rig.ledger().await.len(), 0);
}

#[tokio::test]
async fn tokens_of_any_even_length_and_either_case_are_sent_in_lower_case() {
    let rig = Rig::start().await;
    let long = "ab".repeat(200);
    for token in ["ABCDEF0123456789", long.as_str()] {
        assert_eq!(rig.send_apns(token).await, Outcome::accepted(), "{token}");
    }
    let ledger = rig.ledger().await;
    assert_eq!(ledger[0]["token"], "abcdef0123456789");
}

#[tokio::test]
async fn a_storm_of_expired_provider_tokens_mints_at_most_one_token_in_twenty_minutes() {
    // The sandbox refuses a second token within 20 minutes, as Apple does.
    let rig = Rig::with(|sandbox| sandbox.apns.min_token_update_s = Some(1_200), |_| {}).await;
    rig.send_apns(APNS_TOKEN).await;
    rig.answer(error("ExpiredProviderToken")).await;
    for _ in 0..4 {
        let sends = (0..50).map(|_| rig.send_apns(APNS_TOKEN));
        for outcome in join_all(sends).await {
            assert_eq!(outcome.delivery, Delivery::Requeued);
            assert_eq!(
                outcome.reason.as_str(),
                "ExpiredProviderToken",
                "never too many updates"
            );
        }
        rig.clock.advance(TimeDelta::minutes(7));
    }
    rig.script(json!([])).await;
    assert_eq!(rig.send_apns(APNS_TOKEN).await, Outcome::accepted());
}

#[tokio::test]
async fn a_connection_that_stays_told_of_an_expired_token_is_replaced_even_without_a_new_token() {
    let rig = Rig::start().await;
    rig.script(json!([{"times": 1, "answer": error("ExpiredProviderToken")}]))
        .await;
    assert_eq!(rig.send_apns(APNS_TOKEN).await.delivery, Delivery::Requeued);
    assert_eq!(rig.send_apns(APNS_TOKEN).await, Outcome::accepted());
    let ledger = rig.ledger().await;
    assert_ne!(ledger[0]["connection"], ledger[1]["connection"]);
}

#[tokio::test]
async fn an_overloaded_apple_asks_for_fewer_at_a_time_and_a_broken_answer_does_not() {
    let (overloaded, _rig) = outcome_of(error("ServiceUnavailable")).await;
    assert_eq!(
        jraze_providers::pressure(&overloaded),
        jraze_providers::Pressure::Overloaded
    );
    let (broken, _rig) = outcome_of(error("InternalServerError")).await;
    assert_eq!(
        jraze_providers::pressure(&broken),
        jraze_providers::Pressure::Unrelated
    );
}
