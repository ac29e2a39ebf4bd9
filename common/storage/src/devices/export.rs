//! Everything an app has, in storage order, without holding more than a batch in memory.

use jraze_domain::device::Device;
use jraze_domain::dispatch::BucketRange;
use jraze_domain::ids::AppId;
use mongodb::Cursor;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{RawDocumentBuf, doc};
use mongodb::options::Hint;

use crate::audience_filter::id_range;
use crate::error::StorageError;

use super::Devices;
use super::documents::read_device;

/// Devices fetched at once; they come with everything they have, so fewer than for an audience.
const BATCH_SIZE: u32 = 1_000;

/// A position in an export.
pub struct DeviceExport {
    cursor: Cursor<RawDocumentBuf>,
}

impl Devices {
    /// Opens a stream of all devices of an app, behind the device with that storage id if one is given.
    /// Devices that register meanwhile may or may not be in it.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn export(&self, app: AppId, after: Option<[u8; 12]>) -> Result<DeviceExport, StorageError> {
        let after = after.map(ObjectId::from_bytes);
        let cursor = self
            .collection
            .find(doc! { "_id": id_range(app, BucketRange::ALL, after) })
            .sort(doc! { "_id": 1 })
            .hint(Hint::Keys(doc! { "_id": 1 }))
            .batch_size(BATCH_SIZE)
            .await?;
        Ok(DeviceExport { cursor })
    }
}

impl DeviceExport {
    /// The next device, or `None` at the end.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer or a device cannot be read.
    pub async fn next(&mut self) -> Result<Option<Device>, StorageError> {
        if self.cursor.advance().await? {
            read_device(self.cursor.current()).map(Some)
        } else {
            Ok(None)
        }
    }
}
