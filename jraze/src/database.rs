//! The way to the database, with errors in words.
//!
//! The driver's own text about a server that does not answer is a page about topologies. A person
//! needs the address that was tried and the key that changes it; the rest is logged at the level
//! debug. The address never comes with what stands before its `@`: that is a password.

use jraze_storage::{MongoSettings, StorageError, Store, migrations};

const UNUSABLE: &str = "cannot use the database";

/// The database, migrated.
pub(crate) async fn open(settings: &MongoSettings) -> anyhow::Result<Store> {
    let store = connect(settings).await?;
    migrate(&store, settings).await?;
    Ok(store)
}

/// The same for a role that repeats its writes itself.
pub(crate) async fn open_to_repeat(settings: &MongoSettings) -> anyhow::Result<Store> {
    // A migration is not one of its writes.
    open(settings).await?.close().await;
    let store = Store::connect_to_repeat(settings).await;
    store.map_err(|error| in_words(error, settings, UNUSABLE))
}

/// The database as it is.
pub(crate) async fn connect(settings: &MongoSettings) -> anyhow::Result<Store> {
    let store = Store::connect(settings).await;
    store.map_err(|error| in_words(error, settings, UNUSABLE))
}

/// Brings the database up to this version; the names of what was applied.
pub(crate) async fn migrate(store: &Store, settings: &MongoSettings) -> anyhow::Result<Vec<&'static str>> {
    const STOPPED: &str = "the migration stopped; running it again goes on";
    let applied = migrations::run(store).await;
    applied.map_err(|error| in_words(error, settings, STOPPED))
}

fn in_words(error: StorageError, settings: &MongoSettings, otherwise: &'static str) -> anyhow::Error {
    let hosts = hosts(settings.uri.expose());
    match error {
        StorageError::Unavailable { retryable, source } => {
            tracing::debug!(error = %source, hosts, "the driver about the database");
            anyhow::anyhow!(unavailable(retryable, hosts))
        }
        error => anyhow::Error::new(error).context(otherwise),
    }
}

fn unavailable(retryable: bool, hosts: &str) -> String {
    if retryable {
        format!(
            "no MongoDB at {hosts}: set mongodb.uri or JRAZE_MONGODB__URI \
             (or it has no primary, or another replicaSet; JRAZE_LOG=debug shows what the driver says)"
        )
    } else {
        format!(
            "MongoDB at {hosts} lets nobody in with these credentials: check user, password and TLS in \
             mongodb.uri or JRAZE_MONGODB__URI (JRAZE_LOG=debug shows what the driver says)"
        )
    }
}

/// The hosts of a connection string, without user, password, database and options.
fn hosts(uri: &str) -> &str {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    // The last @ of all: a password that is not escaped as it should be may hold anything.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::{hosts, unavailable};

    #[test]
    fn the_address_is_shown_and_never_what_stands_before_it() {
        assert_eq!(
            hosts("mongodb://127.0.0.1:27017/?replicaSet=rs0"),
            "127.0.0.1:27017"
        );
        assert_eq!(hosts("mongodb://me:hunter2@a:1,b:2/jraze?x=y"), "a:1,b:2");
        assert_eq!(hosts("mongodb://me:hu/nt@er2@a:1"), "a:1");
        assert_eq!(
            hosts("mongodb+srv://me:hunter2@cluster.example.com"),
            "cluster.example.com"
        );
        assert!(unavailable(true, "a:1").starts_with("no MongoDB at a:1: set mongodb.uri"));
    }
}
