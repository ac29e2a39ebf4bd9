//! The way to the database: settings, the client, and the handle that every repository takes.
//!
//! All writes are acknowledged by a majority: a campaign's outbox is a document, and a document that
//! a failover can take back is no outbox. That, and the time of the leases, needs a replica set (of
//! one node if need be), so a server that is none is refused at the door with the remedy.

use std::time::Duration;

use jraze_runtime::config::{HumanDuration, Secret};
use mongodb::bson::{Document, doc};
use mongodb::options::{ClientOptions, ReadPreference, WriteConcern};
use mongodb::{Client, Collection, Database};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::error::StorageError;

/// Which database, and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MongoSettings {
    /// Connection string of a replica set, with its credentials if it has any:
    /// `mongodb://user:password@host:27017/?replicaSet=rs0`.
    pub uri: Secret,
    /// Name of the database. Everything jraze stores is in it.
    pub database: String,
    /// Most connections of this process to each server of the set.
    pub max_pool_size: u32,
    /// Connections kept open when nothing happens, so that a burst does not queue for handshakes.
    pub min_pool_size: u32,
    /// How long to look for a usable server before an operation fails.
    pub server_selection_timeout: HumanDuration,
}

impl Default for MongoSettings {
    fn default() -> Self {
        Self {
            uri: Secret::new("mongodb://127.0.0.1:27017/?replicaSet=rs0"),
            database: "jraze".into(),
            max_pool_size: 64,
            min_pool_size: 4,
            server_selection_timeout: HumanDuration(Duration::from_secs(10)),
        }
    }
}

/// The database of this process. Cheap to clone; every repository is made from it.
#[derive(Debug, Clone)]
pub struct Store {
    client: Client,
    database: Database,
}

impl Store {
    /// Connects, and makes sure that the server is one that jraze can use.
    ///
    /// Migrations are not run: see [`crate::migrations::run`].
    ///
    /// # Errors
    /// [`StorageError::Unsuitable`] for a connection string that cannot be read or a server that is
    /// no replica set, [`StorageError::Unavailable`] when there is no answer.
    pub async fn connect(settings: &MongoSettings) -> Result<Self, StorageError> {
        Self::open(settings, None).await
    }

    /// The same for a process that repeats its writes itself when an answer was lost, because taking each
    /// of them twice is taking it once. MongoDB then need not remember every write for the driver's sake
    /// (in `config.transactions`), which costs it about as much as the write.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_to_repeat(settings: &MongoSettings) -> Result<Self, StorageError> {
        Self::open(settings, Some(false)).await
    }

    async fn open(settings: &MongoSettings, retry_writes: Option<bool>) -> Result<Self, StorageError> {
        let mut options = ClientOptions::parse(settings.uri.expose())
            .await
            .map_err(|error| {
                // The driver's message names the part that is wrong; the string itself holds a password.
                StorageError::Unsuitable {
                    reason: format!("mongodb.uri cannot be used: {error}"),
                }
            })?;
        options.app_name.get_or_insert_with(|| "jraze".into());
        options.max_pool_size = Some(settings.max_pool_size);
        options.min_pool_size = Some(settings.min_pool_size.min(settings.max_pool_size));
        // The default of 2 makes a cold burst queue behind handshakes.
        options.max_connecting = Some(8);
        options.server_selection_timeout = Some(settings.server_selection_timeout.into());
        options.write_concern = Some(WriteConcern::majority());
        // An operator who says so in the connection string is heeded.
        options.retry_writes = options.retry_writes.or(retry_writes);
        // Whatever the connection string says: steps look for what was just written.
        options.selection_criteria = Some(ReadPreference::Primary.into());
        let client = Client::with_options(options).map_err(|error| StorageError::Unsuitable {
            reason: format!("mongodb.uri cannot be used: {error}"),
        })?;
        let store = Self {
            database: client.database(&settings.database),
            client,
        };
        store.require_replica_set().await?;
        Ok(store)
    }

    /// Asks the server for a sign of life; for readiness checks.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] when there is none.
    pub async fn ping(&self) -> Result<(), StorageError> {
        self.database.run_command(doc! { "ping": 1 }).await?;
        Ok(())
    }

    /// The server's version, such as `8.0.4`.
    ///
    /// # Errors
    /// [`StorageError`] when the server does not answer.
    pub async fn server_version(&self) -> Result<String, StorageError> {
        let build = self.database.run_command(doc! { "buildInfo": 1 }).await?;
        Ok(build.get_str("version").unwrap_or("unknown").to_owned())
    }

    /// Drops the whole database. For tests and `jraze dev --fresh`.
    ///
    /// # Errors
    /// [`StorageError`] when the server does not.
    pub async fn drop_database(&self) -> Result<(), StorageError> {
        Ok(self.database.drop().await?)
    }

    /// Closes all connections. The last thing before a process ends: the driver's background tasks would
    /// otherwise meet a runtime that is gone.
    pub async fn close(self) {
        self.client.shutdown().immediate(true).await;
    }

    /// A collection by name. Only repositories ask, each for its own.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that names collections to the driver"
    )]
    pub(crate) fn collection<T: Send + Sync>(&self, name: &str) -> Collection<T> {
        self.database.collection(name)
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    async fn require_replica_set(&self) -> Result<(), StorageError> {
        judge(&self.database.run_command(doc! { "hello": 1 }).await?)
    }
}

/// Refuses a server whose answer to `hello` says that it stands alone.
fn judge(hello: &Document) -> Result<(), StorageError> {
    let in_a_set = hello.get_str("setName").is_ok();
    let router_of_a_cluster = hello.get_str("msg").is_ok_and(|message| message == "isdbgrid");
    if in_a_set || router_of_a_cluster {
        return Ok(());
    }
    Err(StorageError::Unsuitable {
        reason: "this MongoDB server is not part of a replica set, which jraze needs; start mongod with \
                 --replSet rs0 and run rs.initiate() once (one node is enough)"
            .into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_stands_alone_is_refused_with_the_remedy_in_one_line() {
        let alone = doc! { "isWritablePrimary": true, "ok": 1 };
        let reason = judge(&alone).expect_err("refused").to_string();
        assert!(
            reason.contains("--replSet") && reason.lines().count() == 1,
            "{reason}"
        );
    }

    #[test]
    fn a_member_of_a_set_and_a_router_of_a_cluster_are_accepted() {
        for hello in [doc! { "setName": "rs0" }, doc! { "msg": "isdbgrid" }] {
            assert!(judge(&hello).is_ok(), "{hello}");
        }
    }

    #[test]
    fn settings_do_not_show_the_password() {
        let settings = MongoSettings {
            uri: "mongodb://me:hunter2@host/".into(),
            ..MongoSettings::default()
        };
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
