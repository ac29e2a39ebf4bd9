//! Which properties an app's devices have: key, types seen, and how many devices have it.
//!
//! For people who build conditions. Keys and types are recorded when they are written; the process
//! remembers what it has recorded, so in steady state nothing is written at all. Coverage is counted on
//! demand over a sample: buckets are a random order, so the first devices in storage order are one.
//!
//! A key stays in the catalogue when its last device loses it; its coverage is then zero.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use jraze_domain::dispatch::BucketRange;
use jraze_domain::ids::AppId;
use jraze_domain::property::{PropertyChanges, PropertyKey, PropertyType};
use mongodb::Collection;
use mongodb::bson::{Document, doc};
use mongodb::options::Hint;

use crate::Store;
use crate::audience_filter::id_range;
use crate::devices::{COLLECTION as DEVICES, fields};
use crate::error::StorageError;
use crate::time::{read, stored};

/// The name of the collection.
pub(crate) const COLLECTION: &str = "property_catalogue";

/// Devices that coverage is counted over.
const SAMPLE: i64 = 5_000;
/// Keys of one app that a process records; apps that make up keys without end are cut off here.
const MAX_KEYS: usize = 10_000;

/// One property of an app.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogueEntry {
    /// Its key.
    pub key: PropertyKey,
    /// Types its values have had.
    pub types: Vec<PropertyType>,
    /// When it was written first.
    pub first_seen_at: DateTime<Utc>,
    /// The share of devices that have it, from 0 to 1, estimated from the sample.
    pub coverage: f64,
}

/// The catalogue of an app.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalogue {
    /// Its properties, by key.
    pub entries: Vec<CatalogueEntry>,
    /// How many devices the coverage was counted over.
    pub sample: u64,
}

/// Bits of the types recorded, by key, by app.
type Recorded = HashMap<AppId, HashMap<PropertyKey, u8>>;

/// The repository. Clones share what they remember.
#[derive(Debug, Clone)]
pub struct PropertyCatalogue {
    collection: Collection<Document>,
    devices: Collection<Document>,
    recorded: Arc<Mutex<Recorded>>,
}

impl PropertyCatalogue {
    /// Over the store's collections.
    pub fn new(store: &Store) -> Self {
        Self {
            collection: store.collection(COLLECTION),
            devices: store.collection(DEVICES),
            recorded: Arc::default(),
        }
    }

    /// Everything recorded for an app, with coverage.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn list(&self, app: AppId) -> Result<Catalogue, StorageError> {
        let (counts, sample) = self.count_sample(app).await?;
        let filter = doc! { "app_id": i32::from(app.0) };
        let mut cursor = self.collection.find(filter).sort(doc! { "key": 1 }).await?;
        let mut entries = Vec::new();
        while let Some(document) = cursor.try_next().await? {
            let id = document.get_str("_id").unwrap_or("?");
            let corrupt = |field| StorageError::corrupt(COLLECTION, field, id);
            let key = document
                .get_str("key")
                .ok()
                .and_then(|key| PropertyKey::new(key).ok());
            let key = key.ok_or_else(|| corrupt("key"))?;
            let names = document.get_array("types").map_err(|_| corrupt("types"))?;
            let mut types: Vec<_> = names
                .iter()
                .filter_map(|name| PropertyType::from_name(name.as_str()?))
                .collect();
            types.sort_unstable();
            let having = counts.get(key.as_str()).copied().unwrap_or_default();
            entries.push(CatalogueEntry {
                types,
                first_seen_at: read(
                    *document
                        .get_datetime("first_seen_at")
                        .map_err(|_| corrupt("first_seen_at"))?,
                ),
                coverage: if sample == 0 {
                    0.0
                } else {
                    having as f64 / sample as f64
                },
                key,
            });
        }
        Ok(Catalogue { entries, sample })
    }

    /// Records keys and types that these changes bring and that are not recorded yet. A failure is
    /// logged and forgotten: the next change tries again, and no registration fails for a catalogue.
    pub(crate) async fn observe_all(
        &self,
        app: AppId,
        changes: impl IntoIterator<Item = &PropertyChanges>,
        now: DateTime<Utc>,
    ) {
        let fresh = self.fresh(app, changes);
        if fresh.is_empty() {
            return;
        }
        for (key, types) in &fresh {
            if let Err(error) = self.record(app, key, *types, now).await {
                tracing::warn!(%error, "the property catalogue could not be written");
                return;
            }
        }
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let recorded = recorded.entry(app).or_default();
        for (key, types) in fresh {
            *recorded.entry(key).or_default() |= types;
        }
    }

    fn fresh<'a>(
        &self,
        app: AppId,
        changes: impl IntoIterator<Item = &'a PropertyChanges>,
    ) -> HashMap<PropertyKey, u8> {
        let mut fresh: HashMap<PropertyKey, u8> = HashMap::new();
        let recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let recorded = recorded.get(&app);
        let full = recorded.is_some_and(|recorded| recorded.len() >= MAX_KEYS);
        for (key, value) in changes.into_iter().flat_map(PropertyChanges::iter) {
            let Some(value) = value else { continue };
            let bit = bit(value.property_type());
            let known = recorded.and_then(|recorded| recorded.get(key)).copied();
            if known.unwrap_or_default() & bit == 0 && !(full && known.is_none()) {
                *fresh.entry(key.clone()).or_default() |= bit;
            }
        }
        fresh
    }

    async fn record(
        &self,
        app: AppId,
        key: &PropertyKey,
        types: u8,
        now: DateTime<Utc>,
    ) -> Result<(), StorageError> {
        let names: Vec<&str> = PropertyType::ALL
            .into_iter()
            .filter(|kind| types & bit(*kind) != 0)
            .map(PropertyType::as_str)
            .collect();
        let update = doc! {
            "$setOnInsert": {
                "app_id": i32::from(app.0), "key": key.as_str(), "first_seen_at": stored(now),
            },
            "$addToSet": { "types": { "$each": names } },
        };
        let filter = doc! { "_id": format!("{app}:{key}") };
        let result = self
            .collection
            .update_one(filter.clone(), update.clone())
            .upsert(true)
            .await;
        match result {
            // Two processes saw the key first; the second time it is there.
            Err(error) if crate::error::is_duplicate_key(&error) => {
                self.collection.update_one(filter, update).await?;
            }
            result => drop(result?),
        }
        Ok(())
    }

    /// How many devices of the sample have each key, and how large the sample is.
    async fn count_sample(&self, app: AppId) -> Result<(HashMap<String, u64>, u64), StorageError> {
        let sample = vec![
            doc! { "$match": { "_id": id_range(app, BucketRange::ALL, None) } },
            doc! { "$limit": SAMPLE },
            doc! { "$project": { "keys": { "$objectToArray": format!("${}", fields::PROPERTIES) } } },
            doc! { "$facet": {
                "size": [{ "$count": "devices" }],
                "keys": [
                    { "$unwind": "$keys" },
                    { "$group": { "_id": "$keys.k", "devices": { "$sum": 1 } } },
                ],
            } },
        ];
        let mut cursor = self
            .devices
            .aggregate(sample)
            .hint(Hint::Keys(doc! { "_id": 1 }))
            .await?;
        let facets = cursor.try_next().await?.unwrap_or_default();
        let rows = |name: &str| {
            facets
                .get_array(name)
                .into_iter()
                .flatten()
                .filter_map(|row| row.as_document())
        };
        let devices =
            |row: &Document| u64::try_from(row.get_i32("devices").unwrap_or_default()).unwrap_or_default();
        let size = rows("size").map(devices).sum();
        let counts = rows("keys")
            .filter_map(|row| Some((row.get_str("_id").ok()?.to_owned(), devices(row))))
            .collect();
        Ok((counts, size))
    }
}

fn bit(kind: PropertyType) -> u8 {
    1 << (kind as u8)
}
