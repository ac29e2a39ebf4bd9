//! Devices: registered, changed, found, brought in and out in bulk.
//!
//! | file | holds |
//! | --- | --- |
//! | `documents.rs` | the shape in MongoDB |
//! | `write.rs`, `round.rs`, `insert.rs`, `set.rs`, `bulk_write.rs` | how changes are made, a thousand at a time |
//! | `register.rs` | one change at a time for the API, gathered |
//! | `bulk.rs` | imports |
//! | `export.rs` | everything, in storage order |
//! | `lookup.rs` | one device by its name; secrets; deletion |
//! | `search.rs` | many devices by names and condition |
//! | `tokens.rs` | tokens that a provider declared dead |

mod bulk;
mod bulk_write;
pub(crate) mod count;
mod documents;
mod export;
mod insert;
mod lookup;
mod merge;
mod register;
mod round;
mod search;
mod set;
mod tokens;
mod write;

use mongodb::Collection;
use mongodb::bson::RawDocumentBuf;

use crate::Store;
use crate::counters::IdAllocator;
use crate::gather::Gather;
use crate::property_catalogue::PropertyCatalogue;

pub use bulk::{ImportResult, Imported, MAX_IMPORT_BATCH};
pub use documents::token_hash;
pub use export::DeviceExport;
pub use lookup::{SecretCheck, secret_hash};
pub use search::{DeviceOrder, DevicePage, DeviceSearch, Direction, OrderField};
pub use write::{Change, Guard, SecretHash, WriteError, WriteResult, Written};

pub(crate) use documents::fields;

use bulk::Newcomers;
use register::Wish;
use write::Writer;

/// The name of the collection.
pub(crate) const COLLECTION: &str = "devices";

/// The repository. Clones share ids, queue and catalogue; make one per process.
#[derive(Debug, Clone)]
pub struct Devices {
    collection: Collection<RawDocumentBuf>,
    ids: IdAllocator,
    catalogue: PropertyCatalogue,
    writer: Writer,
    /// None where every change is written by itself.
    gather: Option<Gather<Wish, WriteResult>>,
    newcomers: Newcomers,
}

impl Devices {
    /// Over the store's collection. Starts the task that gathers changes, on the current runtime.
    pub fn new(store: &Store) -> Self {
        Self::with(store, true)
    }

    /// As [`Self::new`]; when not `gathering`, every change is written by itself.
    pub fn with(store: &Store, gathering: bool) -> Self {
        let ids = IdAllocator::new(store);
        let catalogue = PropertyCatalogue::new(store);
        let writer = Writer::new(store, ids.clone());
        let gather = gathering.then(|| register::start(writer.clone(), catalogue.clone()));
        Self {
            collection: store.collection(COLLECTION),
            ids,
            catalogue,
            writer,
            gather,
            newcomers: Newcomers::default(),
        }
    }

    /// Where device ids come from, and the upper bound of those given out.
    pub fn ids(&self) -> &IdAllocator {
        &self.ids
    }

    /// Which properties the app's devices have.
    pub fn catalogue(&self) -> &PropertyCatalogue {
        &self.catalogue
    }
}
