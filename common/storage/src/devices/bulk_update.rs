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
    collisions(&reply, first)
}

/// The positions that met a unique key, or the first other failure in the reply.
fn collisions(reply: &Document, first: usize) -> Result<Vec<usize>, StorageError> {
    let errors = reply.get_array("writeErrors").into_iter().flatten();
    let mut collided = Vec::new();
    for error in errors.filter_map(|error| error.as_document()) {
        match (error.get_i32("code"), error.get_i32("index")) {
            (Ok(11000), Ok(index)) => collided.push(first + usize::try_from(index).unwrap_or_default()),
            _ => return Err(failure(error)),
        }
    }
    // A write that no majority has seen yet is not written; the round is repeated or fails.
    match reply.get_document("writeConcernError") {
        Ok(error) => Err(failure(error)),
        Err(_) => Ok(collided),
    }
}

/// A server that steps down says so here, and the round is worth repeating. The message is left out: it
/// may quote the document.
fn failure(error: &Document) -> StorageError {
    let shown = doc! { "code": error.get("code").cloned(), "codeName": error.get("codeName").cloned() };
    let code = error.get_i32("code").unwrap_or_default();
    StorageError::of_code(code, mongodb::error::Error::custom(shown.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_write_error(code: i32) -> Document {
        doc! { "ok": 1, "writeErrors": [
            { "index": 0, "code": 11000 }, { "index": 2, "code": code, "errmsg": "a secret" },
        ] }
    }

    fn with_concern_error(code: i32) -> Document {
        doc! { "ok": 1, "writeConcernError": { "code": code, "errmsg": "a secret" } }
    }

    #[test]
    fn writes_that_a_server_gave_up_because_it_steps_down_may_be_repeated() {
        for code in [91, 189, 10107, 11600, 11602] {
            for reply in [with_write_error(code), with_concern_error(code)] {
                let error = collisions(&reply, 0).expect_err("not written");
                assert!(error.is_retryable(), "{reply}: {error:?}");
            }
        }
    }

    #[test]
    fn writes_that_a_server_refused_may_not_and_the_reason_is_its_code() {
        for reply in [with_write_error(121), with_concern_error(100)] {
            let error = collisions(&reply, 0).expect_err("not written");
            assert!(
                matches!(error, StorageError::Refused { .. }),
                "{reply}: {error:?}"
            );
            assert!(!format!("{error:?}").contains("a secret"), "{error:?}");
        }
    }

    #[test]
    fn unique_keys_that_were_met_are_positions_among_all_statements() {
        let reply =
            doc! { "ok": 1, "writeErrors": [{ "index": 0, "code": 11000 }, { "index": 3, "code": 11000 }] };
        assert_eq!(collisions(&reply, 100).expect("answered"), [100, 103]);
        assert!(collisions(&doc! { "ok": 1 }, 100).expect("answered").is_empty());
    }
}
