//! Apps, and the first start.
//!
//! Every document carries the number of its app; the app of a request comes from its key. A database
//! without an app gets number 1, named "default", and one key of each kind: [`Apps::ensure_first`]
//! hands their texts to the one process that made them, and nobody can read them again.

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use jraze_domain::ids::AppId;
use jraze_domain::keys::{KeyEntropy, KeyKind};
use mongodb::Collection;
use mongodb::bson::{Document, doc};

use crate::Store;
use crate::counters::Counters;
use crate::error::{StorageError, is_duplicate_key};
use crate::keys::{CreatedKey, Keys, NewKey};
use crate::time::{read, stored};

/// The name of the collection.
pub(crate) const COLLECTION: &str = "apps";

/// The app of the first start.
pub const FIRST_APP: AppId = AppId(1);

/// The slug of the first app, which no other may take before it.
const FIRST_SLUG: &str = "default";

const COUNTER: &str = "app";

/// One app: a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its number, in every document.
    pub id: AppId,
    /// Its name for commands and addresses.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// What the first start made. The keys' texts are in it, once.
#[derive(Debug)]
pub struct FirstApp {
    /// The app.
    pub app: App,
    /// One key of each kind.
    pub keys: Vec<CreatedKey>,
}

/// The repository.
#[derive(Debug, Clone)]
pub struct Apps {
    collection: Collection<Document>,
    counters: Counters,
    keys: Keys,
}

impl Apps {
    /// Over the store's collections.
    pub fn new(store: &Store) -> Self {
        Self {
            collection: store.collection(COLLECTION),
            counters: Counters::new(store),
            keys: Keys::new(store),
        }
    }

    /// Makes the first app and its keys, when there is no app 1. Of several processes that start at
    /// once, one gets the keys and the others get `None`.
    ///
    /// `entropy` brings fresh cryptographic random bytes for each key.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer. If that happens after the app was made, its
    /// keys have to be made with `jraze keys create`.
    pub async fn ensure_first(
        &self,
        mut entropy: impl FnMut() -> KeyEntropy + Send,
        now: DateTime<Utc>,
    ) -> Result<Option<FirstApp>, StorageError> {
        if self.get(FIRST_APP).await?.is_some() {
            return Ok(None);
        }
        let app = App {
            id: FIRST_APP,
            slug: FIRST_SLUG.into(),
            name: "Default".into(),
            created_at: now,
        };
        match self.collection.insert_one(to_document(&app)).await {
            Ok(_) => {}
            Err(error) if is_duplicate_key(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let mut keys = Vec::new();
        for kind in KeyKind::ALL {
            let key = NewKey {
                app: (kind != KeyKind::Internal).then_some(FIRST_APP),
                kind,
                scopes: kind.scopes(),
                name: format!("first {} key", kind.name()),
                expires_at: None,
            };
            keys.push(self.keys.create(key, &entropy(), now).await?);
        }
        Ok(Some(FirstApp { app, keys }))
    }

    /// Makes an app. The slug is the caller's to check; two apps may not share one. Number 1 and the slug
    /// "default" are [`Self::ensure_first`]'s alone, whether it has been called yet or not.
    ///
    /// # Errors
    /// [`StorageError::Conflict`] when the slug is taken, other errors when the database does not answer.
    pub async fn create(&self, slug: &str, name: &str, now: DateTime<Utc>) -> Result<App, StorageError> {
        if slug == FIRST_SLUG || self.find_by_slug(slug).await?.is_some() {
            return Err(StorageError::Conflict {
                what: "the slug of an app",
            });
        }
        loop {
            let number = self.counters.next(COUNTER).await?;
            // The first start does not count.
            if number == u64::from(FIRST_APP.0) {
                continue;
            }
            let id = u16::try_from(number).map_err(|_| StorageError::Conflict {
                what: "the number of apps (65535)",
            })?;
            let app = App {
                id: AppId(id),
                slug: slug.to_owned(),
                name: name.to_owned(),
                created_at: now,
            };
            self.collection.insert_one(to_document(&app)).await?;
            return Ok(app);
        }
    }

    /// The app of that number.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn get(&self, id: AppId) -> Result<Option<App>, StorageError> {
        let found = self.collection.find_one(doc! { "_id": i32::from(id.0) }).await?;
        found.map(|document| from_document(&document)).transpose()
    }

    /// The app of that slug.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn find_by_slug(&self, slug: &str) -> Result<Option<App>, StorageError> {
        let found = self.collection.find_one(doc! { "slug": { "$eq": slug } }).await?;
        found.map(|document| from_document(&document)).transpose()
    }

    /// Every app, by number.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn list(&self) -> Result<Vec<App>, StorageError> {
        let mut cursor = self.collection.find(doc! {}).sort(doc! { "_id": 1 }).await?;
        let mut apps = Vec::new();
        while let Some(document) = cursor.try_next().await? {
            apps.push(from_document(&document)?);
        }
        Ok(apps)
    }
}

fn to_document(app: &App) -> Document {
    doc! {
        "_id": i32::from(app.id.0), "slug": &app.slug, "name": &app.name, "created_at": stored(app.created_at),
    }
}

fn from_document(document: &Document) -> Result<App, StorageError> {
    let corrupt = |field: &'static str| {
        let id = document.get("_id").map(ToString::to_string).unwrap_or_default();
        StorageError::corrupt(COLLECTION, field, id)
    };
    let id = document.get_i32("_id").ok().and_then(|id| u16::try_from(id).ok());
    let text = |field| {
        document
            .get_str(field)
            .map(str::to_owned)
            .map_err(|_| corrupt(field))
    };
    Ok(App {
        id: AppId(id.ok_or_else(|| corrupt("_id"))?),
        slug: text("slug")?,
        name: text("name")?,
        created_at: read(
            *document
                .get_datetime("created_at")
                .map_err(|_| corrupt("created_at"))?,
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util::TestDatabase;
    use jraze_runtime::clock::{Clock as _, SystemClock};

    #[tokio::test]
    async fn number_one_and_its_slug_wait_for_the_first_start_however_late_it_comes() {
        let database = TestDatabase::new().await;
        let apps = Apps::new(&database);
        let now = SystemClock.now();
        let shop = apps.create("shop", "Shop", now).await.expect("made");
        assert_eq!(shop.id, AppId(2));
        let taken = apps.create("default", "Mine", now).await;
        assert!(matches!(taken, Err(StorageError::Conflict { .. })), "{taken:?}");

        let mut seed = 0;
        let entropy = || {
            seed += 1;
            KeyEntropy(std::array::from_fn(|_| seed))
        };
        let first = apps.ensure_first(entropy, now).await.expect("an answer");
        assert_eq!(first.expect("made").app.id, FIRST_APP);
        assert_eq!(apps.create("blog", "Blog", now).await.expect("made").id, AppId(3));
    }
}
