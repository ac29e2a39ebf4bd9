//! Tokens that a provider declared dead: kept, for people to see, and out of every audience.

use chrono::{DateTime, Utc};
use jraze_domain::device::storage_id;
use jraze_domain::ids::AppId;
use mongodb::bson::doc;
use mongodb::bson::oid::ObjectId;

use crate::dispatch::GoneToken;
use crate::error::StorageError;
use crate::packing::binary;
use crate::time::stored;

use super::Devices;
use super::bulk_write::{bulk_update, statement};
use super::documents::fields;

impl Devices {
    /// Takes tokens out of all audiences until they are registered again. A device that has another
    /// token by now, or registered this one later than the verdict speaks of, is not touched.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer; repeating is safe.
    pub async fn bury_tokens(
        &self,
        app: AppId,
        gone: &[GoneToken],
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<(), StorageError> {
        let bury = doc! { "$set": {
            fields::TOKEN_STATE: fields::TOKEN_DEAD,
            fields::TOKEN_REASON: reason,
            fields::MODIFIED_AT: stored(now),
        } };
        let statements: Vec<_> = gone
            .iter()
            .map(|gone| {
                let device = doc! {
                    "_id": ObjectId::from_bytes(storage_id(app, gone.device)),
                    fields::TOKEN_HASH: { "$eq": binary(gone.token_hash.to_vec()) },
                    fields::TOKEN_REGISTERED_AT: { "$lte": stored(gone.registered_before) },
                };
                statement(&device, &bury)
            })
            .collect::<Result<_, _>>()?;
        bulk_update(&self.writer.store, statements.iter()).await.map(drop)
    }
}
