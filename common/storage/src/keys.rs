//! API keys: made, listed, revoked, and looked up for every request.
//!
//! The database has the id of a key and the SHA-256 of its secret. A fast hash is right for 256 random
//! bits: there is nothing to guess. Secrets are compared in constant time, and an unknown id goes
//! through the same comparison, so that the time of an answer tells nothing.
//!
//! A request costs no query: what was looked up is remembered for [`REMEMBERED`], which is also how
//! long a revoked key may live on in another process. When a key was last used is written at most once
//! an hour.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::TryStreamExt as _;
use jraze_domain::ids::AppId;
use jraze_domain::keys::{KeyEntropy, KeyKind, KeyText, Scope, Scopes};
use moka::future::Cache;
use mongodb::Collection;
use mongodb::bson::{Bson, Document, doc};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::Store;
use crate::error::{StorageError, is_duplicate_key};
use crate::packing::binary;
use crate::time::{read, stored};

/// The name of the collection.
pub(crate) const COLLECTION: &str = "keys";

/// How long a look-up is believed.
pub const REMEMBERED: Duration = Duration::from_secs(3);
/// Look-ups remembered at most, of keys that exist or do not.
const MAX_REMEMBERED: u64 = 10_000;
/// How exactly the last use is known.
const LAST_USED_GRANULARITY: TimeDelta = TimeDelta::hours(1);

/// A key to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Whose devices and notifications it opens; `None` only for internal keys, which are for all.
    pub app: Option<AppId>,
    /// What it is for.
    pub kind: KeyKind,
    /// What it may do, at most what its kind may.
    pub scopes: Scopes,
    /// What people call it.
    pub name: String,
    /// When it stops working by itself.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name in lists and logs; not secret.
    pub id: String,
    /// Whose devices and notifications it opens; `None` for all.
    pub app: Option<AppId>,
    /// What it is for.
    pub kind: KeyKind,
    /// What it may do.
    pub scopes: Scopes,
    /// What people call it.
    pub name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it stops working by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// When a person ended it.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was last used, to the hour.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// A key that was just made. Its text is nowhere else.
#[derive(Debug)]
pub struct CreatedKey {
    /// What is stored.
    pub key: Key,
    /// The key itself; [`KeyText::reveal`] shows it.
    pub text: KeyText,
}

/// What a presented key is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyCheck {
    /// It opens what the key says.
    Valid(Key),
    /// There is no such key, or its secret is another.
    Unknown,
    /// It was valid until it expired.
    Expired,
    /// It was valid until a person revoked it.
    Revoked,
}

#[derive(Clone)]
struct Remembered {
    key: Key,
    secret_hash: [u8; 32],
}

/// The repository. Clones share what they remember.
#[derive(Clone)]
pub struct Keys {
    collection: Collection<Document>,
    remembered: Cache<String, Option<Remembered>>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    /// Over the store's collection.
    pub fn new(store: &Store) -> Self {
        let remembered = Cache::builder()
            .max_capacity(MAX_REMEMBERED)
            .time_to_live(REMEMBERED)
            .build();
        Self {
            collection: store.collection(COLLECTION),
            remembered,
        }
    }

    /// Makes a key.
    ///
    /// # Errors
    /// [`StorageError::Conflict`] when scopes or app do not fit the kind, or the random bytes were used
    /// before; other errors when the database does not answer.
    pub async fn create(
        &self,
        new: NewKey,
        entropy: &KeyEntropy,
        now: DateTime<Utc>,
    ) -> Result<CreatedKey, StorageError> {
        if !new.scopes.is_subset(&new.kind.scopes()) {
            return Err(StorageError::Conflict {
                what: "a scope that the kind of key cannot have",
            });
        }
        if new.app.is_none() && new.kind != KeyKind::Internal {
            return Err(StorageError::Conflict {
                what: "a key without an app, which only internal keys may be,",
            });
        }
        let text = KeyText::generate(new.kind, entropy);
        let key = Key {
            id: text.id.clone(),
            app: new.app,
            kind: new.kind,
            scopes: new.scopes,
            name: new.name,
            created_at: now,
            expires_at: new.expires_at,
            revoked_at: None,
            last_used_at: None,
        };
        match self.collection.insert_one(to_document(&key, hash(&text))).await {
            Ok(_) => Ok(CreatedKey { key, text }),
            Err(error) if is_duplicate_key(&error) => Err(StorageError::Conflict {
                what: "the id of a key",
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Judges a presented key.
    ///
    /// # Errors
    /// [`StorageError`] when the database is needed and does not answer.
    pub async fn check(&self, presented: &KeyText, now: DateTime<Utc>) -> Result<KeyCheck, StorageError> {
        let found = self.look_up(&presented.id).await?;
        let stored_hash = found.as_ref().map_or([0; 32], |found| found.secret_hash);
        let same: bool = hash(presented).ct_eq(&stored_hash).into();
        let Some(Remembered { key, .. }) = found.filter(|found| same && found.key.kind == presented.kind)
        else {
            return Ok(KeyCheck::Unknown);
        };
        if key.revoked_at.is_some_and(|revoked| revoked <= now) {
            return Ok(KeyCheck::Revoked);
        }
        if key.expires_at.is_some_and(|expires| expires <= now) {
            return Ok(KeyCheck::Expired);
        }
        if key
            .last_used_at
            .is_none_or(|used| now - used >= LAST_USED_GRANULARITY)
        {
            self.note_use(&key.id, now).await;
        }
        Ok(KeyCheck::Valid(key))
    }

    /// The keys of an app, or of no app, oldest first; revoked and expired ones too.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn list(&self, app: Option<AppId>) -> Result<Vec<Key>, StorageError> {
        let filter = doc! { "app_id": { "$eq": app_as_bson(app) } };
        let mut cursor = self
            .collection
            .find(filter)
            .sort(doc! { "created_at": 1, "_id": 1 })
            .await?;
        let mut keys = Vec::new();
        while let Some(document) = cursor.try_next().await? {
            keys.push(from_document(&document)?.key);
        }
        Ok(keys)
    }

    /// Ends a key. False when there is none of that id, or it was revoked before. Other processes may
    /// take it for [`REMEMBERED`] longer.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn revoke(&self, id: &str, now: DateTime<Utc>) -> Result<bool, StorageError> {
        let filter = doc! { "_id": { "$eq": id }, "revoked_at": { "$exists": false } };
        let update = doc! { "$set": { "revoked_at": stored(now) } };
        let result = self.collection.update_one(filter, update).await?;
        self.remembered.invalidate(id).await;
        Ok(result.modified_count == 1)
    }

    /// At once from memory, or by one query however many requests ask at the same time.
    async fn look_up(&self, id: &str) -> Result<Option<Remembered>, StorageError> {
        let query = async {
            let found = self.collection.find_one(doc! { "_id": { "$eq": id } }).await?;
            found.map(|document| from_document(&document)).transpose()
        };
        self.remembered
            .try_get_with_by_ref(id, query)
            .await
            .map_err(|error: std::sync::Arc<StorageError>| (*error).clone())
    }

    /// A failure here is no reason to refuse a request.
    async fn note_use(&self, id: &str, now: DateTime<Utc>) {
        let before = stored(now - LAST_USED_GRANULARITY);
        let filter = doc! {
            "_id": { "$eq": id },
            "$or": [{ "last_used_at": { "$exists": false } }, { "last_used_at": { "$lte": before } }],
        };
        let update = doc! { "$set": { "last_used_at": stored(now) } };
        match self.collection.update_one(filter, update).await {
            Ok(_) => self.remembered.invalidate(id).await,
            Err(error) => tracing::warn!(key = id, %error, "the last use of a key could not be noted"),
        }
    }
}

fn hash(text: &KeyText) -> [u8; 32] {
    Sha256::digest(text.secret()).into()
}

fn app_as_bson(app: Option<AppId>) -> Bson {
    app.map_or(Bson::Null, |app| Bson::Int32(app.0.into()))
}

fn to_document(key: &Key, secret_hash: [u8; 32]) -> Document {
    let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.name()).collect();
    let mut document = doc! {
        "_id": &key.id,
        "app_id": app_as_bson(key.app),
        "kind": key.kind.name(),
        "scopes": scopes,
        "name": &key.name,
        "secret_hash": binary(secret_hash.to_vec()),
        "created_at": stored(key.created_at),
    };
    if let Some(expires_at) = key.expires_at {
        document.insert("expires_at", stored(expires_at));
    }
    document
}

fn from_document(document: &Document) -> Result<Remembered, StorageError> {
    let id = document.get_str("_id").unwrap_or("?");
    let corrupt = |field: &'static str| StorageError::corrupt(COLLECTION, field, id);
    let time = |field| document.get_datetime(field).ok().copied().map(read);
    let app = match document.get("app_id") {
        Some(Bson::Int32(app)) => Some(AppId(u16::try_from(*app).map_err(|_| corrupt("app_id"))?)),
        Some(Bson::Null) => None,
        _ => return Err(corrupt("app_id")),
    };
    let kind = document.get_str("kind").ok().and_then(KeyKind::from_name);
    let scopes = document.get_array("scopes").map_err(|_| corrupt("scopes"))?;
    let secret_hash = document.get_binary_generic("secret_hash").ok();
    Ok(Remembered {
        key: Key {
            id: id.to_owned(),
            app,
            kind: kind.ok_or_else(|| corrupt("kind"))?,
            // A scope of a later version means nothing to this one.
            scopes: scopes
                .iter()
                .filter_map(|scope| Scope::from_name(scope.as_str()?))
                .collect(),
            name: document.get_str("name").map_err(|_| corrupt("name"))?.to_owned(),
            created_at: time("created_at").ok_or_else(|| corrupt("created_at"))?,
            expires_at: time("expires_at"),
            revoked_at: time("revoked_at"),
            last_used_at: time("last_used_at"),
        },
        secret_hash: secret_hash
            .and_then(|bytes| bytes.as_slice().try_into().ok())
            .ok_or_else(|| corrupt("secret_hash"))?,
    })
}
