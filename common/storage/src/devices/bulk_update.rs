//! The `update` command with many statements, which servers before 8.0 offer only in this form.

use mongodb::bson::raw::RawArrayBuf;
use mongodb::bson::{Document, RawDocumentBuf, doc, rawdoc};

use crate::Store;
use crate::error::StorageError;

use super::COLLECTION;

/// Bytes of statements in one command; the server takes 16 MiB in all.
const MAX_COMMAND_BYTES: usize = 8 * 1024 * 1024;

/// Runs statements `{q, u}` in order, none of them stopping the others, and returns the positions of
/// those that met a unique key.
pub(super) async fn bulk_update(store: &Store, statements: &[Document]) -> Result<Vec<usize>, StorageError> {
    let mut collided = Vec::new();
    let (mut batch, mut bytes, mut first) = (RawArrayBuf::new(), 0, 0);
    for (position, statement) in statements.iter().enumerate() {
        let statement = RawDocumentBuf::try_from(statement).map_err(StorageError::encode)?;
        if bytes + statement.as_bytes().len() > MAX_COMMAND_BYTES && bytes > 0 {
            collided.extend(send(store, std::mem::take(&mut batch), first).await?);
            (bytes, first) = (0, position);
        }
        bytes += statement.as_bytes().len();
        batch.push(statement);
    }
    if bytes > 0 {
        collided.extend(send(store, batch, first).await?);
    }
    Ok(collided)
}

async fn send(store: &Store, statements: RawArrayBuf, first: usize) -> Result<Vec<usize>, StorageError> {
    let command = rawdoc! {
        "update": COLLECTION,
        "updates": statements,
        "ordered": false,
        "writeConcern": { "w": "majority" },
    };
    let reply = store.database().run_raw_command(command).await?;
    let errors = reply.get_array("writeErrors").into_iter().flatten();
    let mut collided = Vec::new();
    for error in errors.filter_map(|error| error.as_document()) {
        match (error.get_i32("code"), error.get_i32("index")) {
            (Ok(11000), Ok(index)) => collided.push(first + usize::try_from(index).unwrap_or_default()),
            _ => return Err(refused(error)),
        }
    }
    // A write that no majority has seen yet is not written; the round is repeated or fails.
    match reply.get_document("writeConcernError") {
        Ok(error) => Err(refused(error)),
        Err(_) => Ok(collided),
    }
}

fn refused(error: &Document) -> StorageError {
    let shown = doc! { "code": error.get("code").cloned(), "codeName": error.get("codeName").cloned() };
    StorageError::Refused {
        source: mongodb::error::Error::custom(shown.to_string()),
    }
}
