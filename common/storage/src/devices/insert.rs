//! The document of a device that is not there yet, written straight as BSON.
//!
//! An import makes some hundred thousand of these in a row: no tree of values is built in between, and
//! the bytes that go to the database are those that the answer is read from.

use jraze_domain::device::{DevicePlatform, Registration, SendPlatform, bucket, storage_id};
use jraze_domain::ids::{AppId, DeviceId};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{DateTime, RawDocumentBuf};

use crate::error::StorageError;

use super::documents::fields;
use super::set::{Fields, binary, set_token, set_told};
use super::write::{Wanted, send_platform_of};

/// What a registration and the properties beside it make of a new device.
pub(super) fn new_device(
    app: AppId,
    id: DeviceId,
    now: DateTime,
    wanted: &Wanted<'_>,
    told: &Registration,
) -> Result<RawDocumentBuf, StorageError> {
    let change = wanted.change;
    let mut device = Fields::new();
    let send_platform = send_platform_of(told, SendPlatform::Unknown);
    let device_platform = told.device_platform.unwrap_or(DevicePlatform::Unknown);
    device.put("_id", ObjectId::from_bytes(storage_id(app, id)))?;
    device.put(fields::APP_ID, i32::from(app.0))?;
    device.put(fields::ID, i64::try_from(id.0).unwrap_or(i64::MAX))?;
    device.put(fields::EXTERNAL_ID, change.external_id.as_str())?;
    device.put(fields::SEND_PLATFORM, i32::from(send_platform.number()))?;
    device.put(fields::DEVICE_PLATFORM, i32::from(device_platform.number()))?;
    device.put(fields::RANDOM_BUCKET, i32::from(bucket(id)))?;
    let mut properties = Fields::new();
    for (key, value) in change.properties.iter() {
        if let Some(value) = value {
            properties.put_value(key.as_str(), value)?;
        }
    }
    device.put(fields::PROPERTIES, properties.done())?;
    device.put(fields::LAST_SEEN_AT, now)?;
    device.put(fields::CREATED_AT, now)?;
    device.put(fields::MODIFIED_AT, now)?;
    set_told(told, &mut device)?;
    if let Some((token, hash)) = wanted.claim() {
        set_token(token, hash, now, &mut device)?;
    }
    if let Some(secret) = &change.secret_of_new {
        device.put(fields::SECRET_HASH, binary(secret))?;
    }
    Ok(device.done())
}
