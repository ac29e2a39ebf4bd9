//! One device by its name, its secret, and its end.

use jraze_domain::device::{Device, ExternalId, storage_id};
use jraze_domain::ids::{AppId, DeviceId};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::error::StorageError;
use crate::packing::binary;

use super::Devices;
use super::documents::{Reader, fields, read_device};
use super::write::SecretHash;

/// What a presented device secret is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretCheck {
    /// There is no such device.
    UnknownDevice,
    /// The device has no secret: only a server may change it, or hand one out.
    NoSecret,
    /// It is another secret, or none was presented.
    Wrong,
    /// It is the device's secret.
    Right,
}

impl Devices {
    /// The device of that name.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or the device cannot be read.
    pub async fn get(&self, app: AppId, external_id: &ExternalId) -> Result<Option<Device>, StorageError> {
        let found = self.collection.find_one(by_name(app, external_id)).await?;
        found.map(|document| read_device(&document)).transpose()
    }

    /// The device of that number.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn get_by_id(&self, app: AppId, id: DeviceId) -> Result<Option<Device>, StorageError> {
        let key = ObjectId::from_bytes(storage_id(app, id));
        let found = self.collection.find_one(doc! { "_id": key }).await?;
        found.map(|document| read_device(&document)).transpose()
    }

    /// Deletes a device with everything it holds, and returns its number; `None` when there is none.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn delete(
        &self,
        app: AppId,
        external_id: &ExternalId,
    ) -> Result<Option<DeviceId>, StorageError> {
        let Some(document) = self
            .collection
            .find_one_and_delete(by_name(app, external_id))
            .await?
        else {
            return Ok(None);
        };
        Reader::new(&document)?
            .number(fields::ID)
            .map(|id| Some(DeviceId(id)))
    }

    /// Compares a presented secret with the device's, in constant time.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn check_secret(
        &self,
        app: AppId,
        external_id: &ExternalId,
        presented: Option<&str>,
    ) -> Result<SecretCheck, StorageError> {
        let projection = doc! { fields::SECRET_HASH: 1 };
        let found = self
            .collection
            .find_one(by_name(app, external_id))
            .projection(projection)
            .await?;
        let Some(document) = found else {
            return Ok(SecretCheck::UnknownDevice);
        };
        let Some(stored) = Reader::new(&document)?.hash(fields::SECRET_HASH)? else {
            return Ok(SecretCheck::NoSecret);
        };
        let right = presented.is_some_and(|secret| secret_hash(secret).ct_eq(&stored).into());
        Ok(if right {
            SecretCheck::Right
        } else {
            SecretCheck::Wrong
        })
    }

    /// Gives the device a new secret; the old one stops working at once. False when there is no such
    /// device.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn set_secret(
        &self,
        app: AppId,
        external_id: &ExternalId,
        secret: SecretHash,
    ) -> Result<bool, StorageError> {
        let update = doc! { "$set": { fields::SECRET_HASH: binary(secret.to_vec()) } };
        let result = self
            .collection
            .update_one(by_name(app, external_id), update)
            .await?;
        Ok(result.matched_count == 1)
    }
}

/// The hash of a device secret. A fast hash is right for 256 random bits.
pub fn secret_hash(secret: &str) -> SecretHash {
    Sha256::digest(secret).into()
}

fn by_name(app: AppId, external_id: &ExternalId) -> Document {
    doc! {
        fields::APP_ID: i32::from(app.0),
        fields::EXTERNAL_ID: { "$eq": external_id.as_str() },
    }
}
