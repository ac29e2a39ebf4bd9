//! Sequential numbers, handed out in blocks.
//!
//! A counter is one document; every number costs a write to it, and one document takes only some
//! thousand writes a second. So device ids are fetched a block at a time: [`IdAllocator`] keeps a
//! block per app in the process and goes back to the database once it is used up. What a process
//! still holds when it ends is lost: ids are unique and grow, but have gaps, and two processes hand
//! out from different blocks at the same time.
//!
//! The counter is therefore an upper bound: no device has a higher id than
//! [`IdAllocator::upper_bound`], which is what freezes the audience of a campaign.

use std::collections::HashMap;
use std::sync::Arc;

use jraze_domain::ids::{AppId, DeviceId};
use mongodb::Collection;
use mongodb::bson::{Document, doc};
use mongodb::options::ReturnDocument;
use tokio::sync::Mutex;

use crate::Store;
use crate::error::StorageError;

/// The name of the collection.
pub(crate) const COLLECTION: &str = "counters";

/// Device ids fetched at once: few enough to lose, enough that a bulk import asks once per batch.
const BLOCK: u64 = 1_000;

/// The counters, by name.
#[derive(Debug, Clone)]
pub struct Counters {
    collection: Collection<Document>,
}

impl Counters {
    /// Over the store's collection.
    pub fn new(store: &Store) -> Self {
        Self {
            collection: store.collection(COLLECTION),
        }
    }

    /// The next number of a counter, from 1.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer. A number may then be lost, never repeated.
    pub async fn next(&self, name: &str) -> Result<u64, StorageError> {
        self.next_many(name, 1).await
    }

    /// The first of `count` numbers in a row that are the caller's now.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn next_many(&self, name: &str, count: u64) -> Result<u64, StorageError> {
        let add = i64::try_from(count).unwrap_or(i64::MAX);
        // Two upserts of a counter that is not there yet may collide; the second try finds it.
        let mut attempts = 0;
        loop {
            let result = self
                .collection
                .find_one_and_update(doc! { "_id": name }, doc! { "$inc": { "value": add } })
                .upsert(true)
                .return_document(ReturnDocument::After)
                .await;
            match result {
                Ok(document) => {
                    let last = read(name, document)?;
                    return Ok(last - count + 1);
                }
                Err(error) if crate::error::is_duplicate_key(&error) && attempts < 3 => attempts += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The highest number handed out so far; 0 when there is none.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn current(&self, name: &str) -> Result<u64, StorageError> {
        match self.collection.find_one(doc! { "_id": name }).await? {
            None => Ok(0),
            document => read(name, document),
        }
    }
}

fn read(name: &str, document: Option<Document>) -> Result<u64, StorageError> {
    document
        .and_then(|document| document.get_i64("value").ok())
        .and_then(|value| u64::try_from(value).ok())
        .ok_or_else(|| StorageError::corrupt(COLLECTION, "value", name))
}

/// Device ids for this process. Clones share their blocks.
#[derive(Debug, Clone)]
pub struct IdAllocator {
    counters: Counters,
    blocks: Arc<Mutex<HashMap<AppId, Block>>>,
}

#[derive(Debug, Default)]
struct Block {
    next: u64,
    /// One past the last.
    end: u64,
}

impl IdAllocator {
    /// Over the store's counters.
    pub fn new(store: &Store) -> Self {
        Self {
            counters: Counters::new(store),
            blocks: Arc::default(),
        }
    }

    /// `count` ids that no device of the app has or will have.
    ///
    /// # Errors
    /// [`StorageError`] when a new block is needed and the database does not answer.
    pub async fn next_many(&self, app: AppId, count: usize) -> Result<Vec<DeviceId>, StorageError> {
        let mut ids = Vec::with_capacity(count);
        // Held across the fetch on purpose: whoever else needs ids then waits for the same block.
        let mut blocks = self.blocks.lock().await;
        let block = blocks.entry(app).or_default();
        while ids.len() < count {
            if block.next == block.end {
                let size = BLOCK.max((count - ids.len()) as u64);
                let first = self.counters.next_many(&counter_of(app), size).await?;
                *block = Block {
                    next: first,
                    end: first + size,
                };
            }
            let wanted = (count - ids.len()) as u64;
            let until = block.end.min(block.next + wanted);
            ids.extend((block.next..until).map(DeviceId));
            block.next = until;
        }
        Ok(ids)
    }

    /// No device of the app has a higher id. Devices registered from now on may have a lower one, from
    /// a block that is in use already.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn upper_bound(&self, app: AppId) -> Result<DeviceId, StorageError> {
        self.counters.current(&counter_of(app)).await.map(DeviceId)
    }
}

fn counter_of(app: AppId) -> String {
    format!("device:{app}")
}
