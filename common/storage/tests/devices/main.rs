//! The rules of devices on a real server: one at a time, and many.

mod imports;
mod many;
mod one;
mod tokens;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use jraze_domain::audience::{Condition, Limits};
use jraze_domain::device::{
    BUCKETS, Device, DevicePlatform, ExternalId, Implausible, PropertyChanges, PropertyKey, PropertyType,
    PropertyValue, PushToken, Registration, SendPlatform, ShortText, TokenChange, TokenState, bucket,
};
use jraze_domain::ids::{AppId, DeviceId};
use jraze_storage::devices::{
    Change, DeviceOrder, DeviceSearch, Devices, Guard, SecretCheck, WriteError, Written, secret_hash,
    token_hash,
};
use jraze_storage::dispatch::GoneToken;
use jraze_storage::test_util::TestDatabase;
use jraze_storage::{StorageError, Store};
use serde_json::{Value, json};

const APP: AppId = AppId(1);
const OTHER_APP: AppId = AppId(2);
const SECOND: Duration = Duration::from_secs(1);

fn now() -> DateTime<Utc> {
    "2026-11-21T09:00:00.123Z".parse().expect("a date")
}

fn later() -> DateTime<Utc> {
    now() + TimeDelta::hours(1)
}

fn name(text: &str) -> ExternalId {
    ExternalId::new(text).expect("a name")
}

fn token(text: &str) -> TokenChange {
    TokenChange::Set(PushToken::new(text).expect("a token"))
}

fn registration(external_id: &str, push_token: TokenChange) -> Registration {
    Registration {
        push_token,
        send_platform: Some(SendPlatform::Fcm),
        device_platform: Some(DevicePlatform::Android),
        ..Registration::of(name(external_id))
    }
}

fn with_token(external_id: &str, text: &str) -> Change {
    Change::register(registration(external_id, token(text)))
}

fn changes(properties: Value) -> PropertyChanges {
    let entries = properties.as_object().expect("an object").iter();
    PropertyChanges::new(entries.map(|(key, value)| {
        (
            PropertyKey::new(key).expect("a key"),
            PropertyValue::from_json(value).expect("a value"),
        )
    }))
    .expect("few enough")
}

fn properties_of(device: &Device) -> Value {
    device
        .properties
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_json()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

struct Fixture {
    database: TestDatabase,
    devices: Devices,
}

impl Fixture {
    async fn new() -> Self {
        let database = TestDatabase::new().await;
        let devices = Devices::new(&database);
        Self { database, devices }
    }

    async fn change(&self, change: Change) -> Written {
        self.change_at(change, now()).await
    }

    async fn change_at(&self, change: Change, at: DateTime<Utc>) -> Written {
        self.devices
            .change(APP, change, at)
            .await
            .expect("the change is made")
    }

    async fn get(&self, external_id: &str) -> Device {
        self.devices
            .get(APP, &name(external_id))
            .await
            .expect("an answer")
            .expect("the device is there")
    }
}
