//! For `fuzz/` only (feature `fuzzing`): what is prepared behind a client, without one.

use chrono::{DateTime, Utc};
use http::HeaderValue;
use jraze_domain::{device::DevicePlatform, message::Push};

use crate::{PayloadError, apns, fcm};

pub use crate::transport::fuzzing::{Outcome as FramesOutcome, fields, talk};

/// The size of a message for each device platform through FCM, and last through APNs.
pub fn payload_sizes(push: &Push, now: DateTime<Utc>) -> Vec<Result<usize, PayloadError>> {
    let topic = HeaderValue::from_static("com.example.app");
    let fcm = DevicePlatform::ALL.iter().map(|platform| {
        let prepared = fcm::Prepared::new(push, *platform, now);
        prepared.map(|prepared| prepared.size())
    });
    let apns = apns::Prepared::new(push, &topic).map(|prepared| prepared.size());
    fcm.chain([apns]).collect()
}
