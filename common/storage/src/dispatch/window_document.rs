//! The shape of a window in storage.

use std::time::Duration;

use jraze_domain::device::{DevicePlatform, SendPlatform};
use jraze_domain::dispatch::{Brake, Delivery, Reason, Tripped};
use jraze_domain::ids::{AppId, DeviceId, NotificationId, UnitId, WindowId};
use mongodb::bson::{self, Binary};
use serde::{Deserialize, Serialize};

use super::windows::{COLLECTION, ClaimedDevice, GoneToken, Window, WindowState};
use crate::error::StorageError;
use crate::packing;
use crate::time::{read, stored};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ReasonDocument {
    pub(super) reason: String,
    pub(super) count: i64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GoneDocument {
    pub(super) device: i64,
    pub(super) token_hash: Binary,
    pub(super) registered_before: bson::DateTime,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WindowDocument {
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) app_id: i32,
    pub(super) notification_id: i64,
    pub(super) unit_id: String,
    pub(super) sequence: i32,
    pub(super) epoch: i64,
    pub(super) state: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) in_doubt: bool,
    pub(super) devices: Binary,
    /// Per device: the device's platform in the low four bits, the provider's in the high four.
    pub(super) platforms: Binary,
    /// Per device: [`Delivery::byte`].
    pub(super) results: Binary,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) gone: Vec<GoneDocument>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) reasons: Vec<ReasonDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retry_after_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) brake: Option<BrakeDocument>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BrakeDocument {
    pub(super) code: String,
    pub(super) message: String,
}

impl From<&(Reason, u32)> for ReasonDocument {
    fn from((reason, count): &(Reason, u32)) -> Self {
        Self {
            reason: reason.as_str().to_owned(),
            count: i64::from(*count),
        }
    }
}

impl From<&GoneToken> for GoneDocument {
    fn from(gone: &GoneToken) -> Self {
        Self {
            device: i64::try_from(gone.device.0).unwrap_or(i64::MAX),
            token_hash: packing::binary(gone.token_hash.to_vec()),
            registered_before: stored(gone.registered_before),
        }
    }
}

impl GoneDocument {
    fn read(self) -> Option<GoneToken> {
        Some(GoneToken {
            device: DeviceId(u64::try_from(self.device).ok()?),
            token_hash: self.token_hash.bytes.try_into().ok()?,
            registered_before: read(self.registered_before),
        })
    }
}

impl WindowDocument {
    pub(super) fn of(window: &Window, app: AppId, notification: NotificationId, unit: &UnitId) -> Self {
        let ids: Vec<DeviceId> = window.devices.iter().map(|device| device.id).collect();
        let platforms = window
            .devices
            .iter()
            .map(|device| device.device_platform.number() | (device.send_platform.number() << 4))
            .collect();
        let results = window
            .devices
            .iter()
            .map(|device| device.delivery.byte())
            .collect();
        Self {
            id: window.id.to_string(),
            app_id: i32::from(app.0),
            notification_id: notification.0,
            unit_id: unit.to_string(),
            sequence: i32::try_from(window.sequence).unwrap_or(i32::MAX),
            epoch: window.epoch,
            state: window.state.name().to_owned(),
            in_doubt: window.in_doubt,
            devices: packing::binary(packing::pack_ids(&ids)),
            platforms: packing::binary(platforms),
            results: packing::binary(results),
            gone: Vec::new(),
            reasons: Vec::new(),
            retry_after_ms: None,
            brake: None,
        }
    }

    pub(super) fn read(self) -> Result<Window, StorageError> {
        let id = self.id;
        let corrupt = |field: &'static str| StorageError::corrupt(COLLECTION, field, &id);
        let ids = packing::unpack_ids(&self.devices.bytes).ok_or_else(|| corrupt("devices"))?;
        let (platforms, results) = (&self.platforms.bytes, &self.results.bytes);
        if platforms.len() != ids.len() || results.len() != ids.len() {
            return Err(corrupt("results"));
        }
        let device = |((id, platforms), result): ((DeviceId, &u8), &u8)| {
            Some(ClaimedDevice {
                id,
                device_platform: DevicePlatform::from_number(i64::from(platforms & 0x0F))?,
                send_platform: SendPlatform::from_number(i64::from(platforms >> 4))?,
                delivery: Delivery::from_byte(*result)?,
            })
        };
        let devices: Option<Vec<_>> = ids.into_iter().zip(platforms).zip(results).map(device).collect();
        Ok(Window {
            sequence: u32::try_from(self.sequence).map_err(|_| corrupt("sequence"))?,
            epoch: self.epoch,
            state: WindowState::ALL
                .into_iter()
                .find(|state| state.name() == self.state)
                .ok_or_else(|| corrupt("state"))?,
            in_doubt: self.in_doubt,
            devices: devices.ok_or_else(|| corrupt("results"))?,
            gone: self
                .gone
                .into_iter()
                .map(GoneDocument::read)
                .collect::<Option<_>>()
                .ok_or_else(|| corrupt("gone"))?,
            retry_after: self
                .retry_after_ms
                .map(|wait| Duration::from_millis(wait.unsigned_abs())),
            // A brake of a later version is for a result worker of that version.
            brake: self.brake.and_then(|tripped| {
                Some(Tripped {
                    brake: Brake::from_code(&tripped.code)?,
                    message: tripped.message,
                })
            }),
            reasons: self
                .reasons
                .into_iter()
                .map(|row| {
                    (
                        Reason::new(&row.reason),
                        u32::try_from(row.count).unwrap_or(u32::MAX),
                    )
                })
                .collect(),
            id: WindowId::from_stored(id),
        })
    }
}
