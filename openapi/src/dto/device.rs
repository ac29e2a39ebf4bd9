//! Devices: an installation of an app that pushes can reach.

use std::{collections::BTreeMap, fmt};

use chrono::DateTime;
use poem_openapi::{Object, types::Example};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    condition::{self, Conditions},
    enums::{DevicePlatform, SendPlatform},
    notification::Notification,
    property::PropertyValue,
    time::Timestamp,
};

/// A registration: creates the device, or brings it up to date. What it does not name stays as it
/// was (and is unknown on a new device).
#[derive(Clone, PartialEq, Object, Serialize, Deserialize)]
#[oai(example)]
#[serde(deny_unknown_fields)]
pub struct DeviceUpsert {
    /// The name your systems give the device; any text of 1 to 256 bytes.
    #[oai(validator(min_length = 1, max_length = 256))]
    pub external_id: String,
    /// The token of the provider; null removes it. A token belongs to one device of an app: the
    /// newest registration takes it from the older one. Visible ASCII; one of APNs is an even number
    /// of hexadecimal digits, 8 to 400.
    #[oai(validator(min_length = 1, max_length = 4096))]
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub push_token: Option<Option<String>>,
    /// Which provider issued the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_platform: Option<SendPlatform>,
    /// What kind of device it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_platform: Option<DevicePlatform>,
    /// A BCP 47 language tag, like `de-CH` (well-formed; its subtags are not looked up).
    #[oai(validator(max_length = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// An IANA time zone, like `Europe/Zurich` (an area of the database; the place is not looked up).
    #[oai(validator(max_length = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The version of the app, like `4.10.2`: one to four numbers, and a pre-release after `-`.
    #[oai(validator(max_length = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_version: Option<String>,
}

/// Tells a null (`Some(None)`) from a field that is not there (`None`, by the default).
pub(super) fn named<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

impl fmt::Debug for DeviceUpsert {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DeviceUpsert")
            .field("send_platform", &self.send_platform)
            .field("device_platform", &self.device_platform)
            .finish_non_exhaustive()
    }
}

impl Example for DeviceUpsert {
    fn example() -> Self {
        Self {
            external_id: "user-42".to_owned(),
            push_token: Some(Some("dQw4w9WgXcQ:APA91bExample".to_owned())),
            send_platform: Some(SendPlatform::Fcm),
            device_platform: Some(DevicePlatform::Android),
            locale: Some("de-CH".to_owned()),
            time_zone: Some("Europe/Zurich".to_owned()),
            app_version: Some("4.10.2".to_owned()),
        }
    }
}

/// A device as it stands.
#[derive(Clone, PartialEq, Object, Serialize, Deserialize)]
#[oai(example)]
pub struct Device {
    /// The object id in the database, 24 hexadecimal digits.
    #[serde(rename = "_id")]
    #[oai(rename = "_id")]
    pub object_id: String,
    /// A sequential number, assigned once.
    pub id: u64,
    /// The name your systems give the device.
    pub external_id: String,
    /// The token of the provider; null when there is none or the provider said it is dead.
    pub push_token: Option<String>,
    /// Which provider delivers to it.
    pub send_platform: SendPlatform,
    /// What kind of device it is.
    pub device_platform: DevicePlatform,
    /// 1 to 10000, drawn once at creation and never again.
    #[oai(validator(minimum(value = "1"), maximum(value = "10000")))]
    pub random_bucket: u32,
    /// One object of one entry for each property, sorted by key.
    pub device_properties: Vec<BTreeMap<String, PropertyValue>>,
    /// Its language tag.
    pub locale: Option<String>,
    /// Its IANA time zone.
    pub time_zone: Option<String>,
    /// The version of the app on it.
    pub app_version: Option<String>,
    /// When it last registered.
    pub last_seen_at: Option<Timestamp>,
    /// When it first registered.
    pub created_at: Timestamp,
    /// When anything of it last changed.
    pub modified_at: Timestamp,
    /// The secret that a client key shows in `X-Device-Secret`. Only in the answer to the `PUT` that
    /// created the device, and never again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[oai(skip_serializing_if_is_none)]
    pub device_secret: Option<String>,
}

impl fmt::Debug for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Device")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Example for Device {
    fn example() -> Self {
        let property = |key: &str, value| BTreeMap::from([(key.to_owned(), PropertyValue(value))]);
        let registered = Timestamp(DateTime::from_timestamp(1_795_251_600, 0).unwrap_or_default());
        Self {
            object_id: "000109c40000000000000007".to_owned(),
            id: 7,
            external_id: "user-42".to_owned(),
            push_token: Some("dQw4w9WgXcQ:APA91bExample".to_owned()),
            send_platform: SendPlatform::Fcm,
            device_platform: DevicePlatform::Android,
            random_bucket: 2500,
            device_properties: vec![
                property("age", json!(31)),
                property("interests", json!(["cycling", "jazz"])),
                property("plan", json!("gold")),
            ],
            locale: Some("de-CH".to_owned()),
            time_zone: Some("Europe/Zurich".to_owned()),
            app_version: Some("4.10.2".to_owned()),
            last_seen_at: Some(registered),
            created_at: registered,
            modified_at: registered,
            device_secret: None,
        }
    }
}

/// A fresh device secret.
#[derive(Clone, PartialEq, Eq, Object, Serialize, Deserialize)]
#[oai(example)]
pub struct DeviceSecret {
    /// Shown once; the older secret no longer works.
    pub device_secret: String,
}

impl fmt::Debug for DeviceSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DeviceSecret(***)")
    }
}

impl Example for DeviceSecret {
    fn example() -> Self {
        Self {
            device_secret: "ds_5QxJ0mBv1ExampleExampleExample".to_owned(),
        }
    }
}

/// A device that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize, Deserialize)]
#[oai(example)]
pub struct DeletedDevice {
    /// The sequential number that it had; it is never given to another device.
    pub id: u64,
    /// The name that your systems gave it.
    pub external_id: String,
}

impl Example for DeletedDevice {
    fn example() -> Self {
        Self {
            id: 7,
            external_id: "user-42".to_owned(),
        }
    }
}

/// Which devices to find: the named ones, those that match, or the named ones that match. Without names
/// and conditions that is nobody, as for a notification, unless `all` is true.
#[derive(Debug, Clone, Default, PartialEq, Object, Serialize, Deserialize)]
#[oai(example)]
#[serde(deny_unknown_fields)]
pub struct DeviceSearch {
    /// Only devices of these names; an empty list is as good as none.
    #[oai(validator(max_items = 10_000))]
    #[serde(default)]
    pub external_ids: Option<Vec<String>>,
    /// Only devices that match; null and `{}` are as good as absent.
    #[serde(default)]
    pub conditions: Option<Conditions>,
    /// Every device of the app. Not together with `external_ids` or `conditions`.
    #[oai(default)]
    #[serde(default)]
    pub all: bool,
    /// How many to leave out; 0 when absent.
    #[serde(default)]
    pub start: Option<u64>,
    /// How many to return; 20 when absent.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
    #[serde(default)]
    pub size: Option<u64>,
    /// The order: `id`, `external_id`, `random_bucket`, `created_at`, `last_seen_at`, `modified_at`, with
    /// `-` in front for descending.
    #[oai(validator(max_items = 4))]
    #[serde(default)]
    pub order_bys: Option<Vec<String>>,
}

impl Example for DeviceSearch {
    fn example() -> Self {
        Self {
            external_ids: None,
            conditions: Some(Conditions(condition::example())),
            all: false,
            start: Some(0),
            size: Some(10),
            order_bys: Some(vec!["-created_at".to_owned()]),
        }
    }
}

/// Something that happened between a notification and a device.
#[derive(Debug, Clone, PartialEq, Object, Serialize, Deserialize)]
pub struct DeviceEvent {
    /// The event's number within the device's history; greater is newer.
    pub id: i64,
    /// The notification, as it stands today.
    pub notification: Notification,
    /// What happened: `sent`, or `failed`.
    pub event: String,
    /// When.
    pub created_at: Timestamp,
}

/// A device's history.
#[derive(Debug, Clone, PartialEq, Object, Serialize, Deserialize)]
#[oai(example)]
pub struct DeviceHistory {
    /// How many events there are in all.
    pub total: u64,
    /// The events of this page.
    pub events: Vec<DeviceEvent>,
}

impl Example for DeviceHistory {
    fn example() -> Self {
        let notification = Notification::example();
        Self {
            total: 1,
            events: vec![DeviceEvent {
                id: notification.id,
                created_at: notification.modified_at,
                notification,
                event: "sent".to_owned(),
            }],
        }
    }
}
