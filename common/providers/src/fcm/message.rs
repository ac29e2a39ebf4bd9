//! A message as FCM expects it for each device platform.
//!
//! | content | Android | web | iOS |
//! | --- | --- | --- | --- |
//! | title, body | `notification` | `webpush.notification` | `apns.payload.aps.alert` |
//! | image | `notification.image` | `webpush.notification.image` | `apns.fcm_options.image`, `mutable-content` |
//! | icon | `data.icon` (Android's own icon is a resource, not an address) | `webpush.notification.icon` | `data.icon` |
//! | deep link | `data.link` | `data.link`, and `webpush.fcm_options.link` when it is https | `data.link` |
//! | collapse id | `android.notification.tag` | `tag`, and a `Topic` header | `apns-collapse-id` |
//! | expiry | `android.ttl` | `TTL` header | `apns-expiration` |
//! | data | `data` | `data` | `data` |
//!
//! `data` also carries `jraze_notification`, the notification's UUID. Entries that the campaign
//! itself calls `link` or `icon` win over ours. A device whose platform is not known gets all of it.
//! There is no `android.collapse_key`: FCM keeps only four per device, so one per campaign would lose
//! campaigns for devices that are offline.
//!
//! A message is serialised once; the token of each device goes into a gap at its beginning.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::{BufMut as _, Bytes, BytesMut};
use chrono::{DateTime, Utc};
use fcm::{
    AndroidConfig, AndroidMessagePriority, AndroidNotification, ApnsConfig, ApnsFcmOptions, FirebaseMap,
    IntoFirebaseMap, MessageBody, Notification, Receiver, WebpushConfig, WebpushFcmOptions,
};
use jraze_domain::{
    device::{DevicePlatform, SendPlatform},
    message::{Content, Push},
};
use serde_json::{Map, Value, json};

use crate::{octets, provider::PayloadError};

/// The most bytes of a message: firebase.google.com, "About FCM messages". FCM counts keys and
/// values of what reaches the device; we count the message as sent, without the token, which is never
/// less.
pub const MAX_PAYLOAD: usize = 4096;
/// The longest time to live, in seconds: 4 weeks.
pub(super) const MAX_TTL_SECONDS: i64 = 2_419_200;

const GAP: &str = "jraze-token";
const HEAD: &str = r#"{"message":{"token":"#;

/// A message with a gap for the token.
#[derive(Clone)]
pub struct Prepared {
    /// What follows the token, the body's last bytes included.
    tail: Bytes,
    size: usize,
    proven: Arc<AtomicBool>,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Prepared {
    pub(crate) fn new(
        push: &Push,
        platform: DevicePlatform,
        now: DateTime<Utc>,
    ) -> Result<Self, PayloadError> {
        let unsendable = |error: fcm::Error| PayloadError::Unsendable {
            platform: SendPlatform::Fcm,
            problem: error.to_string(),
        };
        let body = body(push, platform, now).map_err(unsendable)?;
        let message = serde_json::to_string(&body).map_err(|error| unsendable(error.into()))?;
        let rest = message
            .strip_prefix(r#"{"token":""#)
            .and_then(|rest| rest.strip_prefix(GAP))
            .and_then(|rest| rest.strip_prefix('"'))
            .expect("the receiver is the first field of a message body");
        // Without the token, a brace stands where the comma is.
        let size = rest.len();
        if size > MAX_PAYLOAD {
            return Err(PayloadError::TooLarge {
                platform: SendPlatform::Fcm,
                bytes: size,
                limit: MAX_PAYLOAD,
            });
        }
        Ok(Self {
            tail: Bytes::from(format!("{rest}}}")),
            size,
            proven: Arc::default(),
        })
    }

    /// The request's body for one token.
    pub(crate) fn for_token(&self, token: &str) -> Bytes {
        octets::written(HEAD.len() + token.len() + 2 + self.tail.len(), |body| {
            body.extend_from_slice(HEAD.as_bytes());
            put_text(body, token);
            body.extend_from_slice(&self.tail);
        })
    }

    /// The size that counts against [`MAX_PAYLOAD`], in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether FCM accepted this very message for some device.
    pub(super) fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    pub(super) fn prove(&self) {
        if !self.is_proven() {
            self.proven.store(true, Ordering::Relaxed);
        }
    }
}

/// A text as JSON. FCM's tokens have nothing that JSON writes otherwise, and to see that is less than to write
/// letter by letter.
fn put_text(to: &mut BytesMut, text: &str) {
    let is_plain = |octet: u8| octet.is_ascii_graphic() & (octet != b'"') & (octet != b'\\');
    if octets::all(text.as_bytes(), is_plain) {
        to.extend_from_slice(b"\"");
        to.extend_from_slice(text.as_bytes());
        to.extend_from_slice(b"\"");
    } else {
        serde_json::to_writer(to.writer(), text).expect("text is written into memory without fail");
    }
}

fn body(push: &Push, platform: DevicePlatform, now: DateTime<Utc>) -> fcm::Result<MessageBody> {
    let unknown = platform == DevicePlatform::Unknown;
    let mut body = MessageBody::new(Receiver::token(GAP)).data(data(push))?;
    // What is not told apart gets its text once, from the block that all platforms read.
    if unknown || platform == DevicePlatform::Android {
        body = body
            .notification(notification(&push.content))
            .android(android(push, now));
    }
    if unknown || platform == DevicePlatform::Ios {
        body = body.apns(apns(push, !unknown)?);
    }
    if unknown || platform == DevicePlatform::Web {
        body = body.webpush(webpush(push, now, !unknown)?);
    }
    Ok(body)
}

/// A map of texts for the `fcm` crate.
struct Texts(FirebaseMap);

impl Texts {
    fn new() -> Self {
        Self(FirebaseMap::new())
    }

    fn set(&mut self, key: &str, value: &str) {
        self.0.insert(key, &value);
    }
}

impl IntoFirebaseMap for Texts {
    fn as_map(&self) -> FirebaseMap {
        self.0.clone()
    }
}

fn data(push: &Push) -> Texts {
    let mut data = Texts::new();
    let content = &push.content;
    for (key, value) in [("link", &content.deep_link), ("icon", &content.icon_url)] {
        if let Some(value) = value {
            data.set(key, value);
        }
    }
    for (key, value) in &content.data {
        data.set(key, value);
    }
    data.set("jraze_notification", &push.notification.to_string());
    data
}

fn notification(content: &Content) -> Notification {
    let mut notification = Notification::new();
    if !content.title.is_empty() {
        notification = notification.title(&content.title);
    }
    if !content.body.is_empty() {
        notification = notification.body(&content.body);
    }
    match &content.image_url {
        Some(url) => notification.image(url),
        None => notification,
    }
}

fn android(push: &Push, now: DateTime<Utc>) -> AndroidConfig {
    let config = AndroidConfig::new()
        // A message that a person is to see; normal priority waits for the phone to wake up.
        .priority(AndroidMessagePriority::High)
        .notification(AndroidNotification::new().tag(push.collapse.as_str()));
    match seconds_to_live(push, now) {
        Some(seconds) => config.ttl(seconds),
        None => config,
    }
}

fn apns(push: &Push, with_alert: bool) -> fcm::Result<ApnsConfig> {
    let mut headers = Texts::new();
    headers.set("apns-push-type", "alert");
    headers.set("apns-priority", "10");
    headers.set("apns-collapse-id", push.collapse.as_str());
    if let Some(at) = push.expires_at {
        headers.set("apns-expiration", &at.timestamp().max(0).to_string());
    }
    let mut aps = Map::new();
    if with_alert {
        aps.insert("alert".into(), texts(&push.content));
    }
    aps.insert("sound".into(), "default".into());
    let mut config = ApnsConfig::new().headers(headers)?;
    if let Some(url) = &push.content.image_url {
        // The app's notification service extension fetches the picture.
        aps.insert("mutable-content".into(), 1.into());
        if with_alert {
            config = config.fcm_options(ApnsFcmOptions::new().image(url));
        }
    }
    Ok(config.payload(json!({ "aps": aps })))
}

fn webpush(push: &Push, now: DateTime<Utc>, with_texts: bool) -> fcm::Result<WebpushConfig> {
    let content = &push.content;
    let mut headers = Texts::new();
    headers.set("Urgency", "high");
    // At most 32 letters of base64url (RFC 8030, 5.4): the UUID, without what makes it longer.
    headers.set("Topic", &push.notification.0.simple().to_string());
    if let Some(seconds) = seconds_to_live(push, now) {
        headers.set("TTL", &seconds.to_string());
    }
    let mut notification = if with_texts { texts(content) } else { json!({}) };
    notification["tag"] = push.collapse.as_str().into();
    let image = content.image_url.as_ref().filter(|_| with_texts);
    for (key, value) in [("image", image), ("icon", content.icon_url.as_ref())] {
        if let Some(url) = value {
            notification[key] = url.as_str().into();
        }
    }
    let config = WebpushConfig::new()
        .headers(headers)?
        .notification(notification)?;
    // FCM opens https only; other schemes are left to the page, which finds them in the data.
    let link = content
        .deep_link
        .as_deref()
        .filter(|link| link.starts_with("https://"));
    Ok(match link {
        Some(link) => config.fcm_options(WebpushFcmOptions::new().link(link)),
        None => config,
    })
}

fn texts(content: &Content) -> Value {
    let mut texts = Map::new();
    for (key, text) in [("title", &content.title), ("body", &content.body)] {
        if !text.is_empty() {
            texts.insert(key.into(), text.as_str().into());
        }
    }
    Value::Object(texts)
}

/// How long the message is worth keeping, in whole seconds.
fn seconds_to_live(push: &Push, now: DateTime<Utc>) -> Option<usize> {
    let left = (push.expires_at? - now).num_seconds().clamp(0, MAX_TTL_SECONDS);
    usize::try_from(left).ok()
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
