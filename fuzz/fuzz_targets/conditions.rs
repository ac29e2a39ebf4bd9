//! Conditions: a tree that is taken keeps the limits, survives being written, compiles into a filter that
//! holds nothing of the client's outside of values, and selects what the evaluator selects.
//!
//! Input: the tree as JSON on the first line; the device as JSON on the second, its properties and its
//! own fields (`device.locale`, ...) side by side.
#![no_main]

use chrono::{DateTime, Utc};
use jraze_domain::{
    audience::{Condition, DeviceView, Limits, version_key},
    device::{DevicePlatform, SendPlatform},
    number::Number,
    property::{Properties, PropertyKey, PropertyValue, Scalar},
};
use jraze_fuzz::{filter, tree};
use jraze_storage::audience_filter::compile;
use libfuzzer_sys::fuzz_target;
use mongodb::bson::{self, Bson, Document, doc};
use serde_json::{Map, Value};

fuzz_target!(|data: &[u8]| {
    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let Ok(sent) = serde_json::from_slice::<Value>(lines.next().unwrap_or_default()) else {
        return;
    };
    let now = DateTime::from_timestamp(1_795_251_600, 123_000_000).expect("a time");
    let condition = match Condition::parse(&sent, Limits::default()) {
        Ok(condition) => condition,
        Err(refusal) => {
            // A refusal points into the tree, or to a member that is missing there, and stays short.
            let parent = refusal.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
            assert!(sent.pointer(parent).is_some(), "{refusal}");
            assert!(refusal.message.len() < 2_048, "{refusal}");
            return;
        }
    };
    tree::check_limits(&condition, Limits::default());

    let written = tree::write(&condition).to_string();
    let again = serde_json::from_str(&written).expect("JSON was written");
    assert_eq!(
        Condition::parse(&again, Limits::default()).as_ref(),
        Ok(&condition),
        "{written}"
    );

    let compiled = compile(&condition, now);
    filter::check(&compiled);
    bson::serialize_to_vec(&compiled).expect("a filter can be sent");

    let device = serde_json::from_slice(lines.next().unwrap_or_default()).unwrap_or_default();
    let (view, properties) = Device::read(device);
    let view = view.view(&properties);
    for now in [
        now,
        DateTime::UNIX_EPOCH,
        DateTime::<Utc>::MIN_UTC,
        DateTime::<Utc>::MAX_UTC,
    ] {
        let defined = condition.matches(&view, now);
        let found = filter::finds(&compile(&condition, now), &stored(&view));
        assert_eq!(found, defined, "{written} at {now}");
    }
});

/// The device's own fields, as far as the input tells them.
struct Device(Map<String, Value>);

impl Device {
    fn read(fields: Map<String, Value>) -> (Self, Properties) {
        let property = |(key, value): (&String, &Value)| {
            Some((
                PropertyKey::new(key).ok()?,
                PropertyValue::from_json(value).ok()??,
            ))
        };
        let properties = fields.iter().filter_map(property).collect();
        (Self(fields), properties)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    fn number(&self, name: &str) -> i64 {
        self.0.get(name).and_then(Value::as_i64).unwrap_or(1)
    }

    /// To the millisecond, as storage keeps it.
    fn time(&self, name: &str) -> DateTime<Utc> {
        let time = self
            .text(name)
            .and_then(|text| text.parse::<DateTime<Utc>>().ok());
        time.and_then(|time| DateTime::from_timestamp_millis(time.timestamp_millis()))
            .unwrap_or_default()
    }

    fn view<'a>(&'a self, properties: &'a Properties) -> DeviceView<'a> {
        DeviceView {
            properties,
            device_platform: DevicePlatform::from_number(self.number("device.platform"))
                .unwrap_or(DevicePlatform::Unknown),
            send_platform: SendPlatform::from_number(self.number("device.send_platform"))
                .unwrap_or(SendPlatform::Unknown),
            locale: self.text("device.locale"),
            time_zone: self.text("device.time_zone"),
            app_version: self.text("device.app_version"),
            last_seen_at: self.time("device.last_seen_at"),
            created_at: self.time("device.created_at"),
            random_bucket: self.number("device.random_bucket").clamp(1, 10_000) as u16,
        }
    }
}

/// The device as storage keeps it.
fn stored(device: &DeviceView<'_>) -> Document {
    let scalar = |scalar: &Scalar| match scalar {
        Scalar::Text(text) => Bson::String(text.clone()),
        Scalar::Number(Number::Int(int)) => Bson::Int64(*int),
        Scalar::Number(Number::Float(float)) => Bson::Double(*float),
        Scalar::Bool(bool) => Bson::Boolean(*bool),
    };
    let property = |(key, value): (&PropertyKey, &PropertyValue)| {
        let value = match value {
            PropertyValue::Text(text) => Bson::String(text.clone()),
            PropertyValue::Int(int) => Bson::Int64(*int),
            PropertyValue::Float(float) => Bson::Double(*float),
            PropertyValue::Bool(bool) => Bson::Boolean(*bool),
            PropertyValue::List(entries) => entries.iter().map(scalar).collect(),
        };
        (key.to_string(), value)
    };
    let time = |time: DateTime<Utc>| bson::DateTime::from_millis(time.timestamp_millis());
    let mut document = doc! {
        "device_properties": device.properties.iter().map(property).collect::<Document>(),
        "device_platform": i32::from(device.device_platform.number()),
        "send_platform": i32::from(device.send_platform.number()),
        "last_seen_at": time(device.last_seen_at),
        "created_at": time(device.created_at),
        "random_bucket": i32::from(device.random_bucket),
    };
    let version = device.app_version.and_then(version_key);
    let texts = [
        ("locale", device.locale),
        ("time_zone", device.time_zone),
        ("app_version", device.app_version),
        ("app_version_key", version.as_ref().map(|key| key.as_str())),
    ];
    for (field, text) in texts {
        if let Some(text) = text {
            document.insert(field, text);
        }
    }
    document
}
