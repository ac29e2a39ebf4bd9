//! A message as APNs expects it.
//!
//! | content | goes to |
//! | --- | --- |
//! | title, body | `aps.alert`, with the default sound |
//! | image | `image`, with `mutable-content` so that the app's notification service extension fetches it |
//! | icon | `icon` |
//! | deep link | `link` |
//! | data | one entry each beside `aps` |
//! | notification | `jraze_notification` |
//! | collapse id | `apns-collapse-id` |
//! | expiry | `apns-expiration`; without one, APNs keeps the message for its own time |
//!
//! Entries of data that the campaign itself calls `link`, `image` or `icon` win over ours. There is no
//! `apns-id`: it would only name the request in Apple's own logs.

use std::{collections::BTreeMap, fmt, sync::Arc};

use a2::request::{
    notification::{
        DefaultNotificationBuilder, NotificationBuilder, NotificationOptions, Priority, PushType,
    },
    payload::{Payload, PayloadLike},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jraze_domain::{device::SendPlatform, message::Push};

use crate::{provider::PayloadError, transport::Fixed};

/// The most bytes of a payload: developer.apple.com, "Generating a remote notification".
pub const MAX_PAYLOAD: usize = 4096;

/// A payload with its headers; the token comes into the path.
#[derive(Clone)]
pub struct Prepared {
    pub(crate) body: Bytes,
    pub(crate) head: Arc<Fixed>,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("size", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Prepared {
    pub(crate) fn new(push: &Push, topic: &HeaderValue) -> Result<Self, PayloadError> {
        let unsendable = |problem: String| PayloadError::Unsendable {
            platform: SendPlatform::Apns,
            problem,
        };
        let body = payload(push)
            .to_json_string()
            .map_err(|error| unsendable(error.to_string()))?;
        if body.len() > MAX_PAYLOAD {
            let platform = SendPlatform::Apns;
            return Err(PayloadError::TooLarge {
                platform,
                bytes: body.len(),
                limit: MAX_PAYLOAD,
            });
        }
        let headers = headers(push, topic).map_err(|error| unsendable(error.to_string()))?;
        Ok(Self {
            body: Bytes::from(body),
            head: Arc::new(Fixed::new(None, headers).without_success_body()),
        })
    }

    /// The size that counts against [`MAX_PAYLOAD`], in bytes.
    pub fn size(&self) -> usize {
        self.body.len()
    }
}

fn payload(push: &Push) -> Payload<'_> {
    let content = &push.content;
    let mut builder = DefaultNotificationBuilder::new().sound("default");
    if !content.title.is_empty() {
        builder = builder.title(&content.title);
    }
    if !content.body.is_empty() {
        builder = builder.body(&content.body);
    }
    // The token is not part of the payload.
    let mut payload = builder.build("", NotificationOptions::default());
    payload.aps.mutable_content = content.image_url.as_ref().map(|_| 1);
    let own = [
        ("link", &content.deep_link),
        ("image", &content.image_url),
        ("icon", &content.icon_url),
    ];
    let own = own
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.as_deref()?)));
    let data = content
        .data
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()));
    // Later ones win.
    payload.data = own
        .chain(data)
        .map(|(key, value)| (key.into(), value.into()))
        .collect::<BTreeMap<_, _>>();
    payload
        .data
        .insert("jraze_notification".into(), push.notification.to_string().into());
    payload
}

fn headers(push: &Push, topic: &HeaderValue) -> Result<HeaderMap, header::InvalidHeaderValue> {
    // Room for the authorization that every request adds.
    let mut headers = HeaderMap::with_capacity(8);
    let mut set = |name, value| headers.insert(HeaderName::from_static(name), value);
    set("apns-topic", topic.clone());
    set(
        "apns-push-type",
        HeaderValue::try_from(PushType::Alert.to_string())?,
    );
    set(
        "apns-priority",
        HeaderValue::try_from(Priority::High.to_string())?,
    );
    set("apns-collapse-id", HeaderValue::try_from(push.collapse.as_str())?);
    if let Some(at) = push.expires_at {
        set("apns-expiration", HeaderValue::from(at.timestamp().max(0)));
    }
    Ok(headers)
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
