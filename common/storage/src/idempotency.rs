//! Requests that a client may send again because it heard no answer.
//!
//! A row is made before the work begins and holds who does it, until when (a lease by the database's
//! clock), and an identity for what the work will make. The answer is put into it at the end, and is
//! what every later request under the same key gets. Whoever dies in between leaves a row without an
//! answer: once its lease is over the next request takes it, with the same identity, so that it finds
//! what its predecessor made instead of making it again.
//!
//! | row | a request with the same body | with another body |
//! | --- | --- | --- |
//! | none, or older than [`TTL`] | does the work | does the work |
//! | leased | is told to wait | is refused |
//! | lease over, no answer | does the work, under the first one's identity | is refused |
//! | answered | gets the answer | is refused |
//!
//! Of a body that arrives as a stream nothing is known before its end, so its first comparison is
//! with an answer.

use std::time::Duration;

use jraze_domain::ids::AppId;
use mongodb::Collection;
use mongodb::bson::{self, Binary, Bson, doc};
use mongodb::options::ReturnDocument;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::Store;
use crate::error::{StorageError, is_duplicate_key};
use crate::packing::binary;

/// The name of the collection.
pub(crate) const COLLECTION: &str = "idempotency";

/// How long an answer is kept, counted from the first request.
pub const TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Two requests that make the same row at once; the second finds it when it looks again.
const ATTEMPTS: u32 = 3;

/// SHA-256 over everything that makes two requests the same.
pub type Fingerprint = [u8; 32];

/// What a client calls its request.
#[derive(Debug, Clone, Copy)]
pub struct RequestName<'a> {
    /// Whose request.
    pub app: AppId,
    /// What is asked for: the same key may be used once for each operation.
    pub operation: &'a str,
    /// The client's own word.
    pub key: &'a str,
}

impl RequestName<'_> {
    /// Computed, so that two requests meet in one row. Of the key only a hash is kept.
    fn row_id(self) -> String {
        let hash: String = Sha256::digest(self.key)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("{}:{}:{hash}", self.app.0, self.operation)
    }
}

/// An answer as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The body, byte for byte.
    pub body: Vec<u8>,
}

/// The right to do the work of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    row: String,
    owner: Uuid,
    /// What the work makes carries this, whoever finishes it.
    pub identity: Uuid,
}

/// What became of asking to do the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Do it.
    Granted(Held),
    /// It was done.
    Answered {
        /// Of the request that did it.
        fingerprint: Fingerprint,
        /// What it was told.
        answer: KeptAnswer,
    },
    /// Somebody is at it.
    Running,
    /// The key belongs to a request that asked for something else.
    Reused,
}

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    #[serde(rename = "_id")]
    id: String,
    app_id: i32,
    identity: String,
    owner: String,
    lease_until: bson::DateTime,
    expire_at: bson::DateTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<Binary>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<AnswerDocument>,
}

#[derive(Debug, Serialize, Deserialize)]
struct AnswerDocument {
    status: i32,
    body: Binary,
}

/// The repository of requests and their answers.
#[derive(Debug, Clone)]
pub struct Idempotency {
    collection: Collection<Row>,
}

impl Idempotency {
    /// Over the store's collection.
    pub fn new(store: &Store) -> Self {
        Self {
            collection: store.collection(COLLECTION),
        }
    }

    /// Asks to do the work of a request. `fingerprint` is `None` for a body that is still to come;
    /// `fresh` is a new random name, for the owner and, where there is no row yet, for what is made.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer; then nobody has the work.
    pub async fn claim(
        &self,
        name: RequestName<'_>,
        fingerprint: Option<Fingerprint>,
        fresh: Uuid,
        lease: Duration,
    ) -> Result<Claim, StorageError> {
        let row = self.claimed_row(name, fingerprint, fresh, lease).await?;
        let corrupt = |field| StorageError::corrupt(COLLECTION, field, &row.id);
        let kept = row
            .fingerprint
            .as_ref()
            .map(|kept| Fingerprint::try_from(kept.bytes.as_slice()).map_err(|_| corrupt("fingerprint")))
            .transpose()?;
        if let (Some(kept), Some(asked)) = (kept, fingerprint)
            && kept != asked
        {
            return Ok(Claim::Reused);
        }
        if let Some(answer) = &row.answer {
            return Ok(Claim::Answered {
                fingerprint: kept.ok_or_else(|| corrupt("fingerprint"))?,
                answer: KeptAnswer {
                    status: u16::try_from(answer.status).map_err(|_| corrupt("answer"))?,
                    body: answer.body.bytes.clone(),
                },
            });
        }
        if row.owner != fresh.to_string() {
            return Ok(Claim::Running);
        }
        Ok(Claim::Granted(Held {
            identity: Uuid::try_parse(&row.identity).map_err(|_| corrupt("identity"))?,
            row: row.id,
            owner: fresh,
        }))
    }

    /// The row after this request asked for it.
    async fn claimed_row(
        &self,
        name: RequestName<'_>,
        fingerprint: Option<Fingerprint>,
        fresh: Uuid,
        lease: Duration,
    ) -> Result<Row, StorageError> {
        let fresh = fresh.to_string();
        let fingerprint = fingerprint.map_or(Bson::Null, |hash| Bson::Binary(binary(hash.to_vec())));
        // Rows outlive their time by the minute in which MongoDB gets to them.
        let over = doc! { "$lte": [{ "$ifNull": ["$expire_at", "$$NOW"] }, "$$NOW"] };
        let abandoned = doc! { "$and": [
            { "$eq": [{ "$type": "$answer" }, "missing"] },
            { "$lte": ["$lease_until", "$$NOW"] },
            { "$in": [{ "$ifNull": ["$fingerprint", Bson::Null] }, [Bson::Null, fingerprint.clone()]] },
        ] };
        let claim = vec![
            doc! { "$set": { "begin": over } },
            doc! { "$set": { "take": { "$or": ["$begin", abandoned] } } },
            doc! { "$set": {
                "app_id": i32::from(name.app.0),
                "identity": { "$cond": ["$begin", &fresh, "$identity"] },
                "owner": { "$cond": ["$take", &fresh, "$owner"] },
                "lease_until": { "$cond": ["$take", { "$add": ["$$NOW", millis(lease)] }, "$lease_until"] },
                "expire_at": { "$cond": ["$begin", { "$add": ["$$NOW", millis(TTL)] }, "$expire_at"] },
                "fingerprint": { "$cond": ["$begin", fingerprint, "$fingerprint"] },
                "answer": { "$cond": ["$begin", "$$REMOVE", "$answer"] },
            } },
            doc! { "$unset": ["begin", "take"] },
        ];
        let mut attempt = 1;
        loop {
            let asked = self
                .collection
                .find_one_and_update(doc! { "_id": name.row_id() }, claim.clone())
                .upsert(true)
                .return_document(ReturnDocument::After)
                .await;
            match asked {
                Ok(Some(row)) => return Ok(row),
                Err(error) if attempt == ATTEMPTS || !is_duplicate_key(&error) => return Err(error.into()),
                Ok(None) if attempt == ATTEMPTS => {
                    return Err(StorageError::Conflict { what: "the request" });
                }
                Ok(None) | Err(_) => attempt += 1,
            }
        }
    }

    /// Keeps the work for another while. `false` when another request has taken it by now.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn renew(&self, held: &Held, lease: Duration) -> Result<bool, StorageError> {
        let update = vec![doc! { "$set": { "lease_until": { "$add": ["$$NOW", millis(lease)] } } }];
        let renewed = self.collection.update_one(owned(held), update).await?;
        Ok(renewed.matched_count == 1)
    }

    /// Keeps the answer. `false` when another request has taken the work by now; what it answers counts.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer; the work can then be taken once the lease is
    /// over.
    pub async fn finish(
        &self,
        held: &Held,
        fingerprint: Fingerprint,
        answer: &KeptAnswer,
    ) -> Result<bool, StorageError> {
        let update = doc! { "$set": {
            "fingerprint": binary(fingerprint.to_vec()),
            "answer": { "status": i32::from(answer.status), "body": binary(answer.body.clone()) },
        } };
        let kept = self.collection.update_one(owned(held), update).await?;
        Ok(kept.matched_count == 1)
    }

    /// Gives the work back undone. The identity stays: it is not known how far the work came.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer; the lease then runs out by itself.
    pub async fn release(&self, held: &Held) -> Result<(), StorageError> {
        let update = vec![doc! { "$set": { "lease_until": "$$NOW" } }];
        self.collection.update_one(owned(held), update).await?;
        Ok(())
    }
}

/// The filter that fences: still this request's, and not answered.
fn owned(held: &Held) -> bson::Document {
    doc! { "_id": &held.row, "owner": held.owner.to_string(), "answer": { "$exists": false } }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
