//! For the counts of `jraze-bench micro` only (feature `counted`): what storage does for each device.

use jraze_domain::device::{DevicePlatform, PushToken, SendPlatform, storage_id};
use jraze_domain::ids::{AppId, DeviceId};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{RawDocumentBuf, doc};

use crate::audience_stream::{self, Target};
use crate::devices::fields;
use crate::packing;
pub use crate::send_log::counted::pack;

/// The ids as a window has them, in one piece.
pub fn pack_in_order(devices: &[DeviceId]) -> Vec<u8> {
    packing::pack_ids(devices)
}

/// The ids as the log has them, in one piece.
pub fn pack_sorted(mut devices: Vec<DeviceId>) -> Vec<u8> {
    devices.sort_unstable();
    packing::pack_sorted(&devices)
}

/// Ids as [`pack_in_order`] packs them, unpacked.
pub fn unpack(packed: &[u8]) -> Option<Vec<DeviceId>> {
    packing::unpack_ids(packed)
}

/// Whether a device stands among ids as [`pack_sorted`] packs them; its history asks every document.
pub fn is_among(packed: &[u8], device: DeviceId) -> bool {
    matches!(packing::position_in_sorted(packed, device), Ok(Some(_)))
}

/// A device as an audience's cursor gives it.
#[derive(Debug)]
pub struct Stored(RawDocumentBuf);

impl Stored {
    /// With this number and token.
    ///
    /// # Panics
    /// Never: its keys are constants.
    pub fn new(id: DeviceId, token: &PushToken, by: SendPlatform, on: DevicePlatform) -> Self {
        let stored = doc! {
            "_id": ObjectId::from_bytes(storage_id(AppId(1), id)),
            fields::PUSH_TOKEN: token.as_str(),
            fields::SEND_PLATFORM: i32::from(by.number()),
            fields::DEVICE_PLATFORM: i32::from(on.number()),
        };
        Self(RawDocumentBuf::try_from(&stored).expect("keys without a null byte"))
    }

    /// Reads it.
    pub fn read(&self) -> Option<Target> {
        audience_stream::target(&self.0).ok()
    }
}
