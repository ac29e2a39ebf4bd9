use chrono::TimeDelta;
use jraze_domain::{ids::NotificationUuid, message::CollapseId};

use super::*;
use crate::test_contents::contents;

fn now() -> DateTime<Utc> {
    "2026-11-21T09:00:00Z".parse().expect("a time")
}

fn push(content: Content) -> Push {
    let notification = NotificationUuid(uuid::Uuid::from_u128(7));
    let expires_at = Some(now() + TimeDelta::minutes(10));
    Push {
        notification,
        content,
        collapse: CollapseId::of(notification),
        expires_at,
    }
}

fn rich() -> Push {
    push(Content {
        title: "Spring sale".into(),
        body: "All \"must\" go".into(),
        deep_link: Some("https://shop.example/sale".into()),
        image_url: Some("https://cdn.example/big.png".into()),
        icon_url: Some("https://cdn.example/small.png".into()),
        data: [("sku".to_owned(), "42".to_owned())].into(),
    })
}

#[test]
fn no_message_is_larger_than_the_domain_says_and_what_it_says_is_near() {
    // The longest times that a request can name.
    let expires: DateTime<Utc> = "9999-12-31T23:59:59Z".parse().expect("a time");
    let (mut fitting, mut heavy) = (0, 0);
    for content in contents() {
        let bytes = content.payload_bytes();
        if bytes > jraze_domain::message::MAX_PAYLOAD_BYTES {
            heavy += 1;
            continue;
        }
        fitting += 1;
        let mut largest = 0;
        let shape = format!("{content:?}");
        let mut push = push(content);
        push.expires_at = Some(expires);
        for platform in [
            DevicePlatform::Unknown,
            DevicePlatform::Android,
            DevicePlatform::Ios,
            DevicePlatform::Web,
        ] {
            let size = Prepared::new(&push, platform, now()).expect(&shape).size();
            assert!(size <= bytes, "{platform:?}: {size} of {bytes}, {shape}");
            largest = largest.max(size);
        }
        // An empty title or body is left out of the message.
        assert!(bytes - largest <= 24, "{largest} of {bytes}, {shape}");
    }
    assert!(fitting > 500 && heavy > 100, "{fitting} and {heavy}");
}

fn sent(push: &Push, platform: DevicePlatform, token: &str) -> Value {
    let prepared = Prepared::new(push, platform, now()).expect("it fits");
    serde_json::from_slice(&prepared.for_token(token)).expect("JSON")
}

const COLLAPSE: &str = "jz-00000000000000000000000000000007";

#[test]
fn android_gets_a_notification_with_a_tag_and_data() {
    let message = sent(&rich(), DevicePlatform::Android, "token-1");
    let wanted = json!({"message": {
        "token": "token-1",
        "notification": {
            "title": "Spring sale", "body": "All \"must\" go", "image": "https://cdn.example/big.png",
        },
        "android": {"priority": "HIGH", "ttl": "600s", "notification": {"tag": COLLAPSE}},
        "data": {
            "sku": "42", "link": "https://shop.example/sale", "icon": "https://cdn.example/small.png",
            "jraze_notification": "00000000-0000-0000-0000-000000000007",
        },
    }});
    assert_eq!(message, wanted);
}

#[test]
fn the_web_gets_webpush_with_icon_tag_topic_and_link() {
    let message = sent(&rich(), DevicePlatform::Web, "t");
    let wanted = json!({
        "headers": {"Urgency": "high", "TTL": "600", "Topic": "00000000000000000000000000000007"},
        "notification": {
            "title": "Spring sale", "body": "All \"must\" go", "tag": COLLAPSE,
            "image": "https://cdn.example/big.png", "icon": "https://cdn.example/small.png",
        },
        "fcm_options": {"link": "https://shop.example/sale"},
    });
    assert_eq!(message["message"]["webpush"], wanted);
    assert!(message["message"].get("android").is_none() && message["message"].get("notification").is_none());
}

#[test]
fn a_web_link_that_is_not_https_is_left_to_the_page() {
    let mut push = rich();
    push.content.deep_link = Some("myapp://sale".into());
    let message = sent(&push, DevicePlatform::Web, "t");
    assert!(message["message"]["webpush"].get("fcm_options").is_none());
    assert_eq!(message["message"]["data"]["link"], "myapp://sale");
}

#[test]
fn ios_gets_apns_headers_and_an_alert_with_a_picture() {
    let message = sent(&rich(), DevicePlatform::Ios, "t");
    let wanted = json!({
        "headers": {
            "apns-push-type": "alert", "apns-priority": "10", "apns-collapse-id": COLLAPSE,
            "apns-expiration": "1795252200",
        },
        "payload": {"aps": {
            "alert": {"title": "Spring sale", "body": "All \"must\" go"}, "sound": "default", "mutable-content": 1,
        }},
        "fcm_options": {"image": "https://cdn.example/big.png"},
    });
    assert_eq!(message["message"]["apns"], wanted);
}

#[test]
fn an_unknown_platform_gets_all_of_it_and_the_text_once() {
    let prepared = Prepared::new(&rich(), DevicePlatform::Unknown, now()).expect("it fits");
    let body = prepared.for_token("t");
    let message: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(message["message"]["notification"]["title"], "Spring sale");
    assert_eq!(message["message"]["android"]["notification"]["tag"], COLLAPSE);
    assert_eq!(
        message["message"]["apns"]["headers"]["apns-collapse-id"],
        COLLAPSE
    );
    assert_eq!(message["message"]["webpush"]["notification"]["tag"], COLLAPSE);
    assert_eq!(String::from_utf8_lossy(&body).matches("Spring sale").count(), 1);
}

#[test]
fn a_campaigns_own_link_and_icon_win() {
    let mut push = rich();
    push.content.data = [("link", "own"), ("icon", "mine")]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
    let message = sent(&push, DevicePlatform::Android, "t");
    assert_eq!(message["message"]["data"]["link"], "own");
    assert_eq!(message["message"]["data"]["icon"], "mine");
}

#[test]
fn a_token_of_any_text_stays_a_token() {
    for token in [
        "a:b-c_d",
        "quote\"},\"android\":{",
        "back\\slash",
        "new\nline",
        "ü€",
        "jraze-token",
    ] {
        let message = sent(&rich(), DevicePlatform::Android, token);
        assert_eq!(message["message"]["token"], token);
        assert_eq!(message["message"]["data"]["sku"], "42");
    }
}

#[test]
fn a_text_like_the_gap_stays_a_text() {
    let push = push(Content {
        title: "jraze-token".into(),
        ..Content::default()
    });
    let message = sent(&push, DevicePlatform::Android, "real");
    assert_eq!(message["message"]["token"], "real");
    assert_eq!(
        message["message"]["notification"],
        json!({"title": "jraze-token"})
    );
}

#[test]
fn what_is_too_large_is_refused_with_its_size() {
    let mut fits = rich();
    fits.content.body = String::new();
    let spare = MAX_PAYLOAD
        - Prepared::new(&fits, DevicePlatform::Android, now())
            .expect("it fits")
            .size();
    // `"body":"",` takes ten more bytes.
    fits.content.body = "x".repeat(spare - 10);
    let largest = Prepared::new(&fits, DevicePlatform::Android, now()).expect("it just fits");
    assert_eq!(largest.size(), MAX_PAYLOAD);
    fits.content.body.push('x');
    let refused = Prepared::new(&fits, DevicePlatform::Android, now()).unwrap_err();
    let wanted = PayloadError::TooLarge {
        platform: SendPlatform::Fcm,
        bytes: 4097,
        limit: 4096,
    };
    assert_eq!(refused, wanted);
    assert!(refused.to_string().contains("4097"));
}

#[test]
fn the_size_does_not_depend_on_the_token() {
    let prepared = Prepared::new(&rich(), DevicePlatform::Android, now()).expect("it fits");
    let whole = prepared.for_token("12345");
    let outside = r#"{"message":}"#.len() + r#""token":"12345","#.len();
    assert_eq!(whole.len() - outside, prepared.size());
}

#[test]
fn time_to_live_is_between_nothing_and_four_weeks() {
    let mut push = rich();
    push.expires_at = Some(now() - TimeDelta::hours(1));
    assert_eq!(
        sent(&push, DevicePlatform::Android, "t")["message"]["android"]["ttl"],
        "0s"
    );
    push.expires_at = Some(now() + TimeDelta::days(400));
    assert_eq!(
        sent(&push, DevicePlatform::Android, "t")["message"]["android"]["ttl"],
        "2419200s"
    );
    push.expires_at = None;
    assert!(
        sent(&push, DevicePlatform::Android, "t")["message"]["android"]
            .get("ttl")
            .is_none()
    );
}

#[test]
fn debug_shows_sizes_only() {
    let prepared = Prepared::new(&rich(), DevicePlatform::Android, now()).expect("it fits");
    assert!(!format!("{prepared:?}").contains("Spring"));
}
