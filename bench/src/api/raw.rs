//! The same work without jraze: the driver, with the documents, the indexes and the write concern that jraze
//! uses, read from the database that jraze has filled.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use jraze_tests::stack::MONGODB_URI;
use mongodb::bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use mongodb::options::{ClientOptions, ClusteredIndex, ReturnDocument, WriteConcern};
use mongodb::{Client, Collection, Database};

use super::load::Caller;

/// Documents in one command, as an import of jraze writes them.
const BATCH: usize = 1_000;
/// Commands at the same time.
const IN_FLIGHT: usize = 4;

/// The database of a stack, and one beside it.
pub(super) struct Raw {
    jraze: Database,
    beside: Database,
}

impl Raw {
    pub(super) async fn open(name: &str) -> Result<Self> {
        let uri = std::env::var(MONGODB_URI)?;
        let mut options = ClientOptions::parse(uri).await?;
        options.max_pool_size = Some(128);
        // Neither do the writes of devices by jraze ask to be remembered.
        options.retry_writes = Some(false);
        options.write_concern = Some(WriteConcern::majority());
        let client = Client::with_options(options)?;
        let raw = Self {
            jraze: client.database(name),
            beside: client.database(&format!("{name}_raw")),
        };
        raw.beside.drop().await?;
        raw.prepare().await?;
        Ok(raw)
    }

    pub(super) async fn close(self) -> Result<()> {
        self.beside.drop().await?;
        Ok(self.jraze.drop().await?)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "measures what storage is measured against"
    )]
    fn collection<T: Send + Sync>(database: &Database, name: &str) -> Collection<T> {
        database.collection(name)
    }

    fn devices<T: Send + Sync>(&self) -> Collection<T> {
        Self::collection(&self.jraze, "devices")
    }

    pub(super) fn copy<T: Send + Sync>(&self) -> Collection<T> {
        Self::collection(&self.beside, "devices")
    }

    /// A collection like that of the devices: clustered, with the same indexes.
    async fn prepare(&self) -> Result<()> {
        let clustered = ClusteredIndex::default();
        self.beside
            .create_collection("devices")
            .clustered_index(clustered)
            .await?;
        let mut indexes = self.devices::<Document>().list_indexes().await?;
        while indexes.advance().await? {
            let index = indexes.deserialize_current()?;
            let is_clustered = index.keys == doc! { "_id": 1 };
            if !is_clustered {
                self.copy::<Document>().create_index(index).await?;
            }
        }
        Ok(())
    }

    /// The documents of the devices that were registered after the one of that number, and the last number.
    pub(super) async fn documents(&self, after: i64) -> Result<(Vec<RawDocumentBuf>, i64)> {
        let newer = doc! { "id": { "$gt": after } };
        // In the order in which they were registered.
        let mut cursor = self
            .devices::<RawDocumentBuf>()
            .find(newer)
            .batch_size(10_000)
            .await?;
        let mut found = Vec::new();
        while cursor.advance().await? {
            let id = cursor.current().get_i64("id")?;
            found.push((id, cursor.current().to_owned()));
        }
        found.sort_unstable_by_key(|(id, _)| *id);
        let last = found.last().map_or(after, |(id, _)| *id);
        Ok((found.into_iter().map(|(_, document)| document).collect(), last))
    }

    /// Inserts them a thousand at a time, with nothing else done about them; gives how many in a second.
    pub(super) async fn insert(&self, documents: Vec<RawDocumentBuf>) -> Result<f64> {
        let count = documents.len();
        ensure!(count > 0, "nothing to insert");
        let mut lists: Vec<Vec<Vec<RawDocumentBuf>>> = vec![Vec::new(); IN_FLIGHT];
        let mut documents = documents.into_iter();
        for turn in (0..IN_FLIGHT).cycle() {
            let mut batch: Vec<_> = documents.by_ref().take(BATCH).collect();
            // As jraze sends them: in the order in which they will lie.
            batch.sort_by_cached_key(|device| device.get_object_id("_id").ok());
            if batch.is_empty() {
                break;
            }
            lists[turn].push(batch);
        }
        let began = Instant::now();
        let tasks: Vec<_> = lists
            .into_iter()
            .map(|batches| {
                let collection = self.copy::<RawDocumentBuf>();
                tokio::spawn(async move {
                    for batch in batches {
                        collection.insert_many(batch).ordered(false).await?;
                    }
                    Ok::<_, mongodb::error::Error>(())
                })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        Ok(count as f64 / began.elapsed().as_secs_f64())
    }

    /// What one registration of a device that is there costs when it is one call, which answers with the
    /// device.
    pub(super) async fn registrations(&self, names: &[String], callers: usize) -> Result<Vec<OneCall>> {
        self.calls(names, callers, |device| {
            let mut set = Document::new();
            for field in [
                "push_token",
                "token_hash",
                "token_state",
                "send_platform",
                "device_platform",
            ] {
                if let Some(value) = device.get(field) {
                    set.insert(field, value.clone());
                }
            }
            for field in ["last_seen_at", "modified_at", "token_registered_at"] {
                set.insert(field, Bson::DateTime(DateTime::now()));
            }
            doc! { "$set": set, "$unset": { "token_reason": "" } }
        })
        .await
    }

    /// The same for four properties.
    pub(super) async fn properties(&self, names: &[String], callers: usize) -> Result<Vec<OneCall>> {
        self.calls(names, callers, |device| {
            let id = device.get_i64("id").unwrap_or_default();
            doc! { "$set": {
                "device_properties.visits": id % 1_000,
                "device_properties.score": (id % 100) as f64 / 100.0,
                "device_properties.plan": "gold",
                "device_properties.tags": ["news", "deals"],
                "modified_at": DateTime::now(),
            } }
        })
        .await
    }

    async fn calls(
        &self,
        names: &[String],
        callers: usize,
        update: impl Fn(&Document) -> Document,
    ) -> Result<Vec<OneCall>> {
        let mut updates = Vec::with_capacity(names.len());
        for name in names {
            let filter = doc! { "app_id": 1, "external_id": name };
            let device = self.devices::<Document>().find_one(filter.clone()).await?;
            let device = device.with_context(|| format!("no device {name}"))?;
            updates.push((filter, update(&device)));
        }
        let updates = Arc::new(updates);
        Ok((0..callers)
            .map(|_| OneCall {
                devices: self.devices(),
                updates: Arc::clone(&updates),
            })
            .collect())
    }

    /// Finding one device by its name.
    pub(super) fn gets(&self, names: &[String], callers: usize) -> Vec<OneFind> {
        let names = Arc::new(names.to_vec());
        (0..callers)
            .map(|_| OneFind {
                devices: self.devices(),
                names: Arc::clone(&names),
            })
            .collect()
    }

    /// Counting those whom a tree of conditions means; the filter is written by hand.
    pub(super) fn counts(&self, callers: usize) -> Vec<OneCount> {
        (0..callers)
            .map(|_| OneCount {
                devices: self.devices(),
            })
            .collect()
    }
}

/// `findOneAndUpdate` for every request.
pub(super) struct OneCall {
    devices: Collection<RawDocumentBuf>,
    updates: Arc<Vec<(Document, Document)>>,
}

impl Caller for OneCall {
    async fn call(&mut self, nth: u64) -> Result<()> {
        let (filter, update) = self.updates[nth as usize % self.updates.len()].clone();
        let device = self
            .devices
            .find_one_and_update(filter, update)
            .upsert(true)
            .return_document(ReturnDocument::After)
            .await?;
        ensure!(device.is_some(), "no device");
        Ok(())
    }
}

/// `findOne` for every request.
pub(super) struct OneFind {
    devices: Collection<RawDocumentBuf>,
    names: Arc<Vec<String>>,
}

impl Caller for OneFind {
    async fn call(&mut self, nth: u64) -> Result<()> {
        let name = &self.names[nth as usize % self.names.len()];
        let found = self
            .devices
            .find_one(doc! { "app_id": 1, "external_id": name })
            .await?;
        ensure!(found.is_some(), "no device {name}");
        Ok(())
    }
}

/// One count over every device.
pub(super) struct OneCount {
    devices: Collection<RawDocumentBuf>,
}

impl Caller for OneCount {
    async fn call(&mut self, _: u64) -> Result<()> {
        let filter = doc! { "device_properties.plan": "gold", "device_properties.visits": { "$lt": 2 } };
        self.devices.count_documents(filter).await?;
        Ok(())
    }
}
