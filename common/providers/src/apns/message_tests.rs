use chrono::{DateTime, Utc};
use jraze_domain::{
    ids::NotificationUuid,
    message::{CollapseId, Content},
};
use serde_json::{Value, json};

use super::*;
use crate::test_contents::contents;

fn push(content: Content) -> Push {
    let notification = NotificationUuid(uuid::Uuid::from_u128(7));
    let expires_at: DateTime<Utc> = "2026-11-21T09:10:00Z".parse().expect("a time");
    Push {
        notification,
        content,
        collapse: CollapseId::of(notification),
        expires_at: Some(expires_at),
    }
}

fn rich() -> Push {
    push(Content {
        title: "Spring sale".into(),
        body: "Everything".into(),
        deep_link: Some("myapp://sale".into()),
        image_url: Some("https://cdn.example/big.png".into()),
        icon_url: Some("https://cdn.example/small.png".into()),
        data: [("sku".to_owned(), "42".to_owned())].into(),
    })
}

fn prepare(push: &Push) -> Result<Prepared, PayloadError> {
    Prepared::new(push, &HeaderValue::from_static("com.example.app"))
}

fn payload_of(push: &Push) -> Value {
    serde_json::from_slice(&prepare(push).expect("it fits").body).expect("JSON")
}

#[test]
fn the_payload_holds_alert_sound_picture_link_and_data() {
    let wanted = json!({
        "aps": {
            "alert": {"title": "Spring sale", "body": "Everything"}, "sound": "default", "mutable-content": 1,
        },
        "image": "https://cdn.example/big.png",
        "icon": "https://cdn.example/small.png",
        "link": "myapp://sale",
        "sku": "42",
        "jraze_notification": "00000000-0000-0000-0000-000000000007",
    });
    assert_eq!(payload_of(&rich()), wanted);
}

#[test]
fn without_a_picture_the_payload_is_left_as_it_is() {
    let plain = push(Content {
        body: "Just this".into(),
        ..Content::default()
    });
    let wanted = json!({
        "aps": {"alert": {"body": "Just this"}, "sound": "default"},
        "jraze_notification": "00000000-0000-0000-0000-000000000007",
    });
    assert_eq!(payload_of(&plain), wanted);
}

#[test]
fn the_headers_say_alert_at_once_collapse_and_expiry() {
    let prepared = prepare(&rich()).expect("it fits");
    let header = |name: &str| {
        prepared
            .head
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    assert_eq!(header("apns-topic"), Some("com.example.app"));
    assert_eq!(header("apns-push-type"), Some("alert"));
    assert_eq!(header("apns-priority"), Some("10"));
    assert_eq!(
        header("apns-collapse-id"),
        Some("jz-00000000000000000000000000000007")
    );
    assert_eq!(header("apns-expiration"), Some("1795252200"));
    let forever = Push {
        expires_at: None,
        ..rich()
    };
    assert!(
        !prepare(&forever)
            .expect("it fits")
            .head
            .headers
            .contains_key("apns-expiration")
    );
}

#[test]
fn a_campaigns_own_entries_win_over_ours() {
    let mut push = rich();
    push.content.data = [("link", "own"), ("image", "mine")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
    let payload = payload_of(&push);
    assert_eq!(
        (&payload["link"], &payload["image"]),
        (&json!("own"), &json!("mine"))
    );
    assert_eq!(payload["aps"]["mutable-content"], 1);
}

#[test]
fn no_payload_is_larger_than_the_domain_says() {
    for content in contents() {
        let bytes = content.payload_bytes();
        if bytes <= jraze_domain::message::MAX_PAYLOAD_BYTES {
            let size = prepare(&push(content)).expect("it fits").size();
            assert!(size <= bytes, "{size} of {bytes}");
        }
    }
}

#[test]
fn what_is_too_large_is_refused_with_its_size() {
    let mut push = rich();
    let spare = MAX_PAYLOAD - prepare(&push).expect("it fits").size();
    push.content.body.push_str(&"x".repeat(spare));
    assert_eq!(prepare(&push).expect("it just fits").size(), MAX_PAYLOAD);
    push.content.body.push('x');
    let wanted = PayloadError::TooLarge {
        platform: SendPlatform::Apns,
        bytes: 4097,
        limit: 4096,
    };
    assert_eq!(prepare(&push).unwrap_err(), wanted);
}

#[test]
fn debug_shows_sizes_only() {
    assert!(!format!("{:?}", prepare(&rich())).contains("Spring"));
}
