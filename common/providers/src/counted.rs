//! For the counts of `jraze-bench micro` only (feature `counted`): the steps of a send, one by one.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderValue, header, uri::PathAndQuery};
use jraze_domain::{
    device::{DevicePlatform, PushToken},
    message::Push,
};

pub use crate::transport::counted::Connection;
use crate::{
    apns, fcm,
    transport::{Fixed, OwnPath, Request},
};

/// A campaign's message for both providers, and the heads of its requests.
#[derive(Debug)]
pub struct Message {
    fcm: fcm::Prepared,
    apns: apns::Prepared,
    head: Arc<Fixed>,
    access: HeaderValue,
    provider: HeaderValue,
}

impl Message {
    /// Maps it, and writes its JSON, for Android and for APNs.
    pub fn new(push: &Push, now: DateTime<Utc>) -> Self {
        let topic = HeaderValue::from_static("com.example.app");
        let path = PathAndQuery::from_static("/v1/projects/a-project/messages:send");
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let head = Fixed::new(Some(path), headers)
            .with_lasting_authorization()
            .without_success_body();
        let bearer = |letter: &str, length| {
            HeaderValue::try_from(format!("Bearer {}", letter.repeat(length))).expect("letters and a space")
        };
        Self {
            fcm: fcm::Prepared::new(push, DevicePlatform::Android, now).expect("small enough"),
            apns: apns::Prepared::new(push, &topic).expect("small enough"),
            head: Arc::new(head),
            access: bearer("a", 1_000),
            provider: bearer("p", 180),
        }
    }

    /// What belongs to one device of FCM: the body.
    pub fn fcm_body(&self, token: &PushToken) -> Bytes {
        self.fcm.for_token(token.as_str())
    }

    /// The request of FCM, which all devices have in common.
    pub fn fcm_request(&self) -> Request {
        Request::new(&self.head).authorized(&self.access)
    }

    /// What belongs to one device of APNs: the path.
    pub fn apns_path(&self, token: &PushToken) -> Option<OwnPath> {
        apns::path(token)
    }

    /// The request of APNs to this path, and its body, which all devices have in common.
    pub fn apns_request(&self, path: &OwnPath) -> (Request, Bytes) {
        let request = Request::new(&self.apns.head)
            .to_path(path)
            .authorized(&self.provider);
        (request, self.apns.body.clone())
    }
}
