//! Steps that bring a database to the shape this version expects: numbered, one file each, recorded.
//!
//! Every process runs [`run`] when it starts. Several that start at once take turns by a lease (on the
//! database's clock); and because each step is idempotent, even a lease that runs out under a slow step
//! does no harm. A step that has run is recorded and never runs again.
//!
//! # Adding a migration
//!
//! Add `m000N_what.rs` with `pub(super) async fn up(&Store)`, safe to run twice and to be interrupted,
//! and a row at the end of [`MIGRATIONS`]. Never change or remove one that was released: old processes
//! run beside new ones during an upgrade, so a shape is first tolerated, then written, then required.

mod m0001_collections_and_indexes;
mod m0002_kept_answers;
mod m0003_workers;
mod m0004_what_is_left;

use std::pin::Pin;
use std::time::Duration;

use mongodb::bson::{Document, doc};

use crate::Store;
use crate::error::{StorageError, is_duplicate_key};

/// The name of the collection.
const COLLECTION: &str = "migrations";

/// How long one process may hold the turn without finishing a step.
const LEASE: Duration = Duration::from_secs(600);
/// How often the others look.
const POLL: Duration = Duration::from_millis(100);

type Step = for<'a> fn(&'a Store) -> Pin<Box<dyn Future<Output = Result<(), StorageError>> + Send + 'a>>;

struct Migration {
    number: i32,
    name: &'static str,
    up: Step,
}

const MIGRATIONS: &[Migration] = &[
    Migration {
        number: 1,
        name: "collections and indexes",
        up: |store| Box::pin(m0001_collections_and_indexes::up(store)),
    },
    Migration {
        number: 2,
        name: "kept answers",
        up: |store| Box::pin(m0002_kept_answers::up(store)),
    },
    Migration {
        number: 3,
        name: "workers",
        up: |store| Box::pin(m0003_workers::up(store)),
    },
    Migration {
        number: 4,
        name: "what is left to do",
        up: |store| Box::pin(m0004_what_is_left::up(store)),
    },
];

/// Runs what has not run yet, and returns the names of those steps. Waits while another process does.
///
/// # Errors
/// [`StorageError`] when the database does not answer or a step fails; calling again goes on there.
pub async fn run(store: &Store) -> Result<Vec<&'static str>, StorageError> {
    let records = store.collection::<Document>(COLLECTION);
    let mut applied = Vec::new();
    if outstanding(store).await?.is_empty() {
        return Ok(applied);
    }
    let owner = mongodb::bson::oid::ObjectId::new().to_hex();
    while !take_turn(store, &owner).await? {
        tokio::time::sleep(POLL).await;
    }
    for migration in outstanding(store).await? {
        tracing::info!(number = migration.number, name = migration.name, "migrating");
        (migration.up)(store).await?;
        let record = vec![doc! { "$set": { "name": migration.name, "applied_at": "$$NOW" } }];
        records
            .update_one(doc! { "_id": migration.number }, record)
            .upsert(true)
            .await?;
        applied.push(migration.name);
    }
    records
        .delete_one(doc! { "_id": "turn", "owner": &owner })
        .await?;
    Ok(applied)
}

/// The names of the steps that [`run`] would run, in their order.
///
/// # Errors
/// [`StorageError`] when the database does not answer.
pub async fn pending(store: &Store) -> Result<Vec<&'static str>, StorageError> {
    let outstanding = outstanding(store).await?;
    Ok(outstanding.iter().map(|migration| migration.name).collect())
}

async fn outstanding(store: &Store) -> Result<Vec<&'static Migration>, StorageError> {
    let records = store.collection::<Document>(COLLECTION);
    let mut pending = Vec::new();
    for migration in MIGRATIONS {
        if records
            .find_one(doc! { "_id": migration.number })
            .await?
            .is_none()
        {
            pending.push(migration);
        }
    }
    Ok(pending)
}

async fn take_turn(store: &Store, owner: &str) -> Result<bool, StorageError> {
    let records = store.collection::<Document>(COLLECTION);
    let lease_millis = i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
    let expiry = doc! { "$add": ["$$NOW", lease_millis] };

    let expired = doc! { "_id": "turn", "$expr": { "$lt": ["$expires_at", "$$NOW"] } };
    let take = vec![doc! { "$set": { "owner": owner, "expires_at": expiry.clone() } }];
    if records.update_one(expired, take).await?.matched_count == 1 {
        return Ok(true);
    }
    // An upsert may not ask `$expr`, so the first turn is its own step; one that is there stays.
    let make = vec![doc! { "$set": {
        "owner": { "$ifNull": ["$owner", owner] },
        "expires_at": { "$ifNull": ["$expires_at", expiry] },
    } }];
    match records
        .update_one(doc! { "_id": "turn" }, make)
        .upsert(true)
        .await
    {
        Ok(result) => Ok(result.upserted_id.is_some()),
        Err(error) if is_duplicate_key(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
