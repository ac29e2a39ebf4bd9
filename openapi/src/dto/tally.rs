//! What the workers report through the internal endpoints.
//!
//! Every report may carry a batch id. A batch that was already applied changes nothing, so a caller
//! that heard no answer simply calls again; without a batch id each call counts.

use poem_openapi::{Object, registry::MetaSchema, types::Example};
use serde::{Deserialize, Serialize};

use super::macros::described;

/// Devices that a notification was sent to.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize, Deserialize)]
#[oai(example)]
#[serde(deny_unknown_fields)]
pub struct LogNotification {
    /// The sequential numbers of the devices (`id`, not `external_id`).
    #[oai(validator(max_items = 10_000))]
    pub device_ids: Vec<u64>,
    /// The sequential number of the notification (`id`, not `uuid`).
    pub notification_id: i64,
    /// The name of this batch; sent again, it changes nothing.
    #[oai(validator(min_length = 1, max_length = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<String>,
    /// What happened; `sent` when absent.
    #[oai(validator(max_length = 32))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
}

impl Example for LogNotification {
    fn example() -> Self {
        Self {
            device_ids: vec![7, 9, 23],
            notification_id: 12,
            batch_id: Some("12:p:0:0".to_owned()),
            event: None,
        }
    }
}

/// The number of devices of the request, all of which are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LoggedDevices(pub u64);

described!(
    LoggedDevices,
    inline: MetaSchema {
        description: Some("The number of devices of the request, all of which are logged."),
        minimum: Some(0.0),
        example: Some(serde_json::json!(3)),
        ..MetaSchema::new_with_format("integer", "int64")
    }
);

/// A provider's own word for why it did not take something, and for how many devices it said so.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureReason {
    /// The word as it came, like `UNREGISTERED` or `BadDeviceToken`; 1 to 64 bytes.
    #[oai(validator(min_length = 1, max_length = 64))]
    pub reason: String,
    /// Devices. One that was tried again may be counted for each try.
    pub count: u64,
}

/// Devices by what became of them, besides those that were sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Object, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outcomes {
    /// The provider refused it for good.
    #[oai(default)]
    pub failed: u64,
    /// The provider said that the token is dead.
    #[oai(default)]
    pub unregistered: u64,
    /// A crash left open whether the provider took it.
    #[oai(default)]
    pub unknown: u64,
    /// Could not be sent to.
    #[oai(default)]
    pub skipped: u64,
    /// Too late.
    #[oai(default)]
    pub expired: u64,
    /// Had not gone out when a person stopped it.
    #[oai(default)]
    pub canceled: u64,
    /// Why providers did not take what they did not take, in their own words.
    #[oai(default, validator(max_items = 32))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<FailureReason>,
}

/// One batch of a combined report.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentBatch {
    /// The name of this batch; sent again, it changes nothing.
    #[oai(validator(min_length = 1, max_length = 256))]
    pub batch_id: String,
    /// Increase of iOS.
    #[oai(default)]
    #[serde(default)]
    pub ios: u64,
    /// Increase of Android.
    #[oai(default)]
    #[serde(default)]
    pub android: u64,
    /// Increase of the web.
    #[oai(default)]
    #[serde(default)]
    pub web: u64,
    /// What became of the batch's other devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcomes: Option<Outcomes>,
}

/// By how much to raise a notification's counts: one increase of its own, many batches, or both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Object, Serialize, Deserialize)]
#[oai(example)]
#[serde(deny_unknown_fields)]
pub struct SentIncrease {
    /// Increase of iOS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ios: Option<u64>,
    /// Increase of Android.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub android: Option<u64>,
    /// Increase of the web.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web: Option<u64>,
    /// The name of the increase above; sent again, it changes nothing.
    #[oai(validator(min_length = 1, max_length = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<String>,
    /// Batches with a name each.
    #[oai(validator(max_items = 1_000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batches: Option<Vec<SentBatch>>,
}

impl Example for SentIncrease {
    fn example() -> Self {
        Self {
            ios: None,
            android: None,
            web: None,
            batch_id: None,
            batches: Some(vec![SentBatch {
                batch_id: "12:p:0:0".to_owned(),
                ios: 180,
                android: 316,
                web: 0,
                outcomes: Some(Outcomes {
                    unregistered: 4,
                    reasons: vec![FailureReason {
                        reason: "UNREGISTERED".to_owned(),
                        count: 4,
                    }],
                    ..Outcomes::default()
                }),
            }]),
        }
    }
}

/// A notification's sent counts by device platform. A device of unknown platform counts for the
/// platform that its provider stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Object, Serialize, Deserialize)]
#[oai(example)]
pub struct SentCounts {
    /// Sent to Android.
    pub android: u64,
    /// Sent to iOS.
    pub ios: u64,
    /// Sent to browsers.
    pub web: u64,
}

impl Example for SentCounts {
    fn example() -> Self {
        Self {
            android: 20_312,
            ios: 11_871,
            web: 0,
        }
    }
}
