//! Commands of many writes, none of which stops the others: `update`, which servers before 8.0 offer for
//! many statements only in this form, and `insert`.

use mongodb::bson::raw::{CStr, RawArrayBuf, cstr};
use mongodb::bson::{Document, RawDocument, RawDocumentBuf, doc, rawdoc};

use crate::Store;
use crate::error::StorageError;

use super::COLLECTION;

/// Bytes of statements in one command; the server takes 16 MiB in all.
const MAX_COMMAND_BYTES: usize = 8 * 1024 * 1024;

/// What became of the statements.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The positions of those that met a unique key.
    pub(super) collided: Vec<usize>,
    /// How many of the others found (or made) their document.
    pub(super) matched: usize,
}

/// Runs statements `{q, u}` in order.
pub(super) async fn bulk_update<'a>(
    store: &Store,
    statements: impl Iterator<Item = &'a RawDocumentBuf>,
) -> Result<Outcome, StorageError> {
    Command::new(store, cstr!("update"), cstr!("updates"))
        .run(statements)
        .await
}

/// A statement `{q, u}` of an update.
pub(super) fn statement(query: &Document, update: &Document) -> Result<RawDocumentBuf, StorageError> {
    let statement = doc! { "q": query, "u": update };
    RawDocumentBuf::try_from(&statement).map_err(StorageError::encode)
}

/// Inserts documents.
pub(super) async fn bulk_insert<'a>(
    store: &Store,
    documents: impl Iterator<Item = &'a RawDocumentBuf>,
) -> Result<Outcome, StorageError> {
    Command::new(store, cstr!("insert"), cstr!("documents"))
        .run(documents)
        .await
}

/// A command that is sent as often as its statements fill one.
struct Command<'a> {
    store: &'a Store,
    name: &'static CStr,
    list: &'static CStr,
    statements: RawArrayBuf,
    bytes: usize,
    count: usize,
    /// Statements of the commands before this one.
    sent: usize,
    outcome: Outcome,
}

impl<'a> Command<'a> {
    fn new(store: &'a Store, name: &'static CStr, list: &'static CStr) -> Self {
        Self {
            store,
            name,
            list,
            statements: RawArrayBuf::new(),
            bytes: 0,
            count: 0,
            sent: 0,
            outcome: Outcome::default(),
        }
    }

    async fn run(
        mut self,
        statements: impl Iterator<Item = &RawDocumentBuf>,
    ) -> Result<Outcome, StorageError> {
        for statement in statements {
            self.push(statement).await?;
        }
        self.send().await?;
        Ok(self.outcome)
    }

    async fn push(&mut self, statement: &RawDocument) -> Result<(), StorageError> {
        if self.bytes + statement.as_bytes().len() > MAX_COMMAND_BYTES {
            self.send().await?;
        }
        self.bytes += statement.as_bytes().len();
        self.count += 1;
        self.statements.push(statement);
        Ok(())
    }

    async fn send(&mut self) -> Result<(), StorageError> {
        if self.count == 0 {
            return Ok(());
        }
        let mut command = RawDocumentBuf::new();
        command.append(self.name, COLLECTION);
        command.append(self.list, std::mem::take(&mut self.statements));
        command.append(cstr!("ordered"), false);
        command.append(cstr!("writeConcern"), rawdoc! { "w": "majority" });
        let reply = self.store.database().run_raw_command(command).await?;
        let outcome = read(&reply, self.sent)?;
        self.outcome.collided.extend(outcome.collided);
        self.outcome.matched += outcome.matched;
        self.sent += std::mem::take(&mut self.count);
        self.bytes = 0;
        Ok(())
    }
}

/// The positions that met a unique key, or the first other failure in the reply.
fn read(reply: &Document, first: usize) -> Result<Outcome, StorageError> {
    let errors = reply.get_array("writeErrors").into_iter().flatten();
    let mut collided = Vec::new();
    for error in errors.filter_map(|error| error.as_document()) {
        match (error.get_i32("code"), error.get_i32("index")) {
            (Ok(11000), Ok(index)) => collided.push(first + usize::try_from(index).unwrap_or_default()),
            _ => return Err(failure(error)),
        }
    }
    // A write that no majority has seen yet is not written; the round is repeated or fails.
    if let Ok(error) = reply.get_document("writeConcernError") {
        return Err(failure(error));
    }
    let matched = usize::try_from(reply.get_i32("n").unwrap_or_default()).unwrap_or_default();
    Ok(Outcome { collided, matched })
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
                let error = read(&reply, 0).expect_err("not written");
                assert!(error.is_retryable(), "{reply}: {error:?}");
            }
        }
    }

    #[test]
    fn writes_that_a_server_refused_may_not_and_the_reason_is_its_code() {
        for reply in [with_write_error(121), with_concern_error(100)] {
            let error = read(&reply, 0).expect_err("not written");
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
        assert_eq!(read(&reply, 100).expect("answered").collided, [100, 103]);
        let all = read(&doc! { "ok": 1, "n": 7 }, 100).expect("answered");
        assert_eq!((all.collided.len(), all.matched), (0, 7));
    }
}
