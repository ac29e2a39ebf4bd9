//! A database of its own for each test, on a real server, gone when the test ends.

use std::ops::Deref;

use futures_util::TryStreamExt as _;
use jraze_runtime::config::Secret;
use mongodb::bson::doc;

use crate::{MongoSettings, Store, migrations};

/// Where the server is, unless `JRAZE_TEST_MONGODB_URI` says otherwise.
const DEFAULT_URI: &str = "mongodb://127.0.0.1:27999/?replicaSet=rs0";

/// A migrated database with a random name. Dereferences to its [`Store`].
#[derive(Debug)]
pub struct TestDatabase {
    store: Store,
    settings: MongoSettings,
}

impl TestDatabase {
    /// Makes one.
    ///
    /// # Panics
    /// When there is no server.
    pub async fn new() -> Self {
        let settings = settings();
        let store = Store::connect(&settings)
            .await
            .expect("a MongoDB replica set for tests");
        migrations::run(&store)
            .await
            .expect("migrations run on an empty database");
        Self { store, settings }
    }

    /// How to reach the same database, for processes under test.
    pub fn settings(&self) -> &MongoSettings {
        &self.settings
    }

    /// Another connection to the same database, as another process would have.
    ///
    /// # Panics
    /// When there is no server.
    pub async fn another_store(&self) -> Store {
        Store::connect(&self.settings)
            .await
            .expect("the server is still there")
    }

    /// What lies in a collection, as JSON: for rules on documents that no repository reads back.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn documents(&self, collection: &str) -> Vec<serde_json::Value> {
        let all = self.store.collection(collection).find(doc! {}).await;
        let all = all.expect("the server is still there").try_collect().await;
        all.expect("documents can be read as JSON")
    }
}

/// Settings of a database that is not there yet.
pub fn settings() -> MongoSettings {
    // Installing twice is not an error worth having in a test.
    let uri = std::env::var("JRAZE_TEST_MONGODB_URI").unwrap_or_else(|_| DEFAULT_URI.into());
    MongoSettings {
        uri: Secret::new(uri),
        database: format!("jraze_test_{}", uuid::Uuid::new_v4().simple()),
        max_pool_size: 16,
        min_pool_size: 0,
        ..MongoSettings::default()
    }
}

impl Deref for TestDatabase {
    type Target = Store;
    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // Drop is not asynchronous and the test's runtime may be single threaded, so the farewell has a
        // thread, a runtime and a connection of its own.
        let settings = self.settings.clone();
        let farewell = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Ok(runtime) = runtime {
                runtime.block_on(async {
                    if let Ok(store) = Store::connect(&settings).await {
                        store.drop_database().await.ok();
                    }
                });
            }
        });
        farewell.join().ok();
    }
}
