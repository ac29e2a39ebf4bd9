//! Every collection that needs more than its name, and every index, each with its reason.
//!
//! An index costs every write, so one is here only when a named operation needs it. Properties of
//! devices have none: a scan of a million devices answers any tree in half a second, a wildcard index
//! makes every write eight times slower (`docs/src/architecture.md`).
//!
//! # Adding an index
//!
//! Add a row, and a migration that calls [`apply`], because migrations that have run do not run again.
//! Building an index on a large collection takes minutes and does not block writers.

use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::{ClusteredIndex, IndexOptions};

use crate::Store;
use crate::error::StorageError;

/// Collections stored in the order of their `_id`, with the reason.
const CLUSTERED: &[(&str, &str)] = &[
    (
        crate::devices::COLLECTION,
        "ranges of buckets are ranges of the disk; chunking an audience is free",
    ),
    (
        crate::send_log::COLLECTION,
        "writing the log is appending, a history is a few short range reads",
    ),
];

/// One index.
struct Index {
    collection: &'static str,
    name: &'static str,
    keys: fn() -> Document,
    unique: bool,
    /// Only documents that match are in the index.
    only: Option<fn() -> Document>,
    /// Documents go this many seconds after the time in the indexed field.
    expire_after_seconds: Option<u64>,
    /// Which operation cannot do without.
    #[expect(dead_code, reason = "read by people")]
    reason: &'static str,
}

const INDEX: Index = Index {
    collection: "",
    name: "",
    keys: || doc! {},
    unique: false,
    only: None,
    expire_after_seconds: None,
    reason: "",
};

const INDEXES: &[Index] = &[
    Index {
        collection: crate::devices::COLLECTION,
        name: "external_id",
        keys: || doc! { "app_id": 1, "external_id": 1 },
        unique: true,
        reason: "every call names devices so; and two registrations at once make one device",
        ..INDEX
    },
    Index {
        collection: crate::devices::COLLECTION,
        name: "token",
        keys: || doc! { "app_id": 1, "send_platform": 1, "token_hash": 1 },
        unique: true,
        only: Some(|| doc! { "token_hash": { "$exists": true } }),
        reason: "a push token belongs to one device; a hash, because tokens are long and vary in length",
        ..INDEX
    },
    Index {
        collection: crate::apps::COLLECTION,
        name: "slug",
        keys: || doc! { "slug": 1 },
        unique: true,
        reason: "commands name apps so",
        ..INDEX
    },
    Index {
        collection: crate::keys::COLLECTION,
        name: "app",
        keys: || doc! { "app_id": 1 },
        reason: "listing the keys of an app",
        ..INDEX
    },
    Index {
        collection: crate::notifications::COLLECTION,
        name: "id",
        keys: || doc! { "id": 1 },
        unique: true,
        reason: "notifications are also named by their number",
        ..INDEX
    },
    Index {
        collection: crate::notifications::COLLECTION,
        name: "app",
        keys: || doc! { "app_id": 1, "id": -1 },
        reason: "an app's notifications, newest first",
        ..INDEX
    },
    Index {
        collection: crate::notifications::COLLECTION,
        name: "status",
        keys: || doc! { "status": 1, "scheduled_at": 1, "id": 1 },
        reason: "the planner asks for what is due, workers for what is launched, several times a second",
        ..INDEX
    },
    Index {
        collection: crate::notifications::COLLECTION,
        name: crate::notifications::STOPPED,
        keys: || doc! { "status": 1, "cleared": 1 },
        only: Some(crate::notifications::stopped),
        reason: "every worker asks four times a second for what was stopped and is not cleared away",
        ..INDEX
    },
    Index {
        collection: crate::dispatch::UNITS,
        name: "ready",
        keys: || doc! { "notification_id": 1, "state": 1, "not_before": 1 },
        reason: "workers lease the units of a campaign, the result worker asks whether any is open",
        ..INDEX
    },
    Index {
        collection: crate::dispatch::UNITS,
        name: "expiry",
        keys: || doc! { "expire_at": 1 },
        expire_after_seconds: Some(0),
        reason: "the work of settled campaigns goes by itself",
        ..INDEX
    },
    Index {
        collection: crate::dispatch::WINDOWS,
        name: "unit",
        keys: || doc! { "unit_id": 1, "sequence": 1 },
        reason: "a new holder of a unit looks for the windows that the last one left",
        ..INDEX
    },
    Index {
        collection: crate::dispatch::WINDOWS,
        name: "settled",
        keys: || doc! { "state": 1, "notification_id": 1 },
        only: Some(|| doc! { "state": "settled" }),
        reason: "the result worker's inbox; only windows that wait to be counted are in it",
        ..INDEX
    },
    Index {
        collection: crate::dispatch::WINDOWS,
        name: "campaign",
        keys: || doc! { "notification_id": 1 },
        reason: "letting the windows of a settled campaign expire",
        ..INDEX
    },
    Index {
        collection: crate::dispatch::WINDOWS,
        name: "expiry",
        keys: || doc! { "expire_at": 1 },
        expire_after_seconds: Some(0),
        reason: "the work of settled campaigns goes by itself",
        ..INDEX
    },
    Index {
        collection: crate::tallies::COLLECTION,
        name: "open",
        keys: || doc! { "notification_id": 1, "folded": 1 },
        reason: "totals are sums over those rows of a notification that no sum was made of yet",
        ..INDEX
    },
    Index {
        collection: crate::idempotency::COLLECTION,
        name: "expiry",
        keys: || doc! { "expire_at": 1 },
        expire_after_seconds: Some(0),
        reason: "an answer is kept for a day",
        ..INDEX
    },
    Index {
        collection: crate::fleet::COLLECTION,
        name: "expiry",
        keys: || doc! { "expire_at": 1 },
        expire_after_seconds: Some(0),
        reason: "a worker that died leaves no row behind",
        ..INDEX
    },
];

/// Creates what is missing; what is there stays as it is.
///
/// # Errors
/// [`StorageError`] when the database does not answer, or has an index of the same name and another
/// shape.
pub(crate) async fn apply(store: &Store) -> Result<(), StorageError> {
    for (name, _reason) in CLUSTERED {
        let created = store
            .database()
            .create_collection(*name)
            .clustered_index(ClusteredIndex::default());
        match created.await {
            Err(error) if !is_there_already(&error) => return Err(error.into()),
            _ => {}
        }
    }
    for index in INDEXES {
        let options = IndexOptions::builder()
            .name(index.name.to_owned())
            .unique(index.unique.then_some(true))
            .partial_filter_expression(index.only.map(|only| only()))
            .expire_after(index.expire_after_seconds.map(std::time::Duration::from_secs))
            .build();
        let model = IndexModel::builder()
            .keys((index.keys)())
            .options(options)
            .build();
        store
            .collection::<Document>(index.collection)
            .create_index(model)
            .await?;
    }
    Ok(())
}

/// `NamespaceExists`.
fn is_there_already(error: &mongodb::error::Error) -> bool {
    matches!(*error.kind, ErrorKind::Command(ref error) if error.code == 48)
}
