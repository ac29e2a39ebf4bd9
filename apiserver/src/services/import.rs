//! Import: any number of lines, a thousand at a time, four thousand in flight.
//!
//! Lines are read as they arrive and grouped into batches; while four batches are being written, no
//! further line is read, so a fast client is slowed down instead of filling the memory. A line that
//! is wrong is noted and passed over. Two batches that speak of the same device (or token) are
//! written one after the other, so that the later line wins.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use jraze_domain::{device::TokenChange, ids::AppId};
use jraze_runtime::{clock::Clock, lifecycle::Lifecycle};
use jraze_storage::{
    StorageError,
    devices::{Change, Devices, ImportResult, MAX_IMPORT_BATCH, WriteError},
};
use tokio::task::JoinHandle;

use super::ServiceError;

/// Batches written at the same time.
const IN_FLIGHT: usize = 4;
/// Bytes of lines after which a batch is written although it could take more devices.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Problems that are kept; all are counted.
const KEPT_PROBLEMS: usize = 1_000;

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LineProblem {
    pub(crate) code: String,
    pub(crate) reason: String,
    pub(crate) pointer: Option<String>,
}

impl LineProblem {
    fn new(code: &str, reason: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            reason: reason.into(),
            pointer: None,
        }
    }
}

/// What became of the lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) received: u64,
    pub(crate) created: u64,
    pub(crate) updated: u64,
    pub(crate) failed: u64,
    /// By the number of the line, from 1; the first of them.
    pub(crate) problems: BTreeMap<u64, LineProblem>,
}

impl Report {
    fn note(&mut self, line: u64, problem: LineProblem) {
        self.failed += 1;
        self.problems.insert(line, problem);
        if self.problems.len() > KEPT_PROBLEMS {
            self.problems.pop_last();
        }
    }
}

/// Why an import stopped before its end. What was written stays; sending it again is safe.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The body broke off.
    Broken,
    /// The body paused for too long.
    Idle,
    /// The process is stopping.
    Stopping,
    /// The database is away.
    Service(ServiceError),
}

/// The use case.
#[derive(Clone)]
pub(crate) struct Import {
    pub(crate) devices: Devices,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) lifecycle: Lifecycle,
    /// Longest line, in bytes.
    pub(crate) line_limit: usize,
    /// How long the body may pause.
    pub(crate) pause: Duration,
}

struct Flight {
    lines: Vec<u64>,
    /// Hashes of what the batch speaks of.
    claims: HashSet<u64>,
    task: JoinHandle<Option<Vec<ImportResult>>>,
}

/// A batch that is being filled.
#[derive(Default)]
struct Filling {
    /// Of the lines, as they came.
    bytes: usize,
    lines: Vec<u64>,
    changes: Vec<Change>,
    claims: HashSet<u64>,
}

impl Import {
    /// Imports what the stream brings; `parse` turns one line into a change.
    pub(crate) async fn run(
        &self,
        app: AppId,
        body: impl Stream<Item = std::io::Result<Bytes>> + Send,
        parse: impl Fn(&[u8]) -> Result<Change, LineProblem> + Send,
    ) -> Result<Report, Stopped> {
        let mut body = std::pin::pin!(body);
        let mut lines = Lines::new(self.line_limit);
        let mut run = Run {
            import: self,
            app,
            report: Report::default(),
            flights: VecDeque::new(),
        };
        let mut filling = Filling::default();
        loop {
            while let Some((number, line)) = lines.next() {
                let Some(line) = line else {
                    let reason = format!("the line is longer than {} bytes", self.line_limit);
                    run.report.received += 1;
                    run.report.note(number, LineProblem::new("line_too_long", reason));
                    continue;
                };
                if line.trim_ascii().is_empty() {
                    continue;
                }
                run.report.received += 1;
                match parse(&line) {
                    Ok(change) => {
                        filling.bytes += line.len();
                        filling.push(number, change);
                    }
                    Err(problem) => run.report.note(number, problem),
                }
                if filling.changes.len() == MAX_IMPORT_BATCH || filling.bytes >= BATCH_BYTES {
                    run.write(std::mem::take(&mut filling)).await?;
                }
            }
            if lines.ended {
                break;
            }
            if self.lifecycle.stopping().is_cancelled() {
                return Err(Stopped::Stopping);
            }
            match tokio::time::timeout(self.pause, body.next()).await {
                Ok(Some(Ok(piece))) => lines.push(&piece),
                Ok(Some(Err(_))) => return Err(Stopped::Broken),
                Ok(None) => lines.end(),
                Err(_) => return Err(Stopped::Idle),
            }
        }
        if !filling.changes.is_empty() {
            run.write(filling).await?;
        }
        while !run.flights.is_empty() {
            run.land().await?;
        }
        Ok(run.report)
    }
}

struct Run<'a> {
    import: &'a Import,
    app: AppId,
    report: Report,
    flights: VecDeque<Flight>,
}

impl Run<'_> {
    /// Starts writing a batch, once there is room for it and nothing it must come after.
    async fn write(&mut self, batch: Filling) -> Result<(), Stopped> {
        let collides = |flight: &Flight| batch.claims.iter().any(|claim| flight.claims.contains(claim));
        while self.flights.len() >= IN_FLIGHT || self.flights.iter().any(collides) {
            self.land().await?;
        }
        let devices = self.import.devices.clone();
        let (app, now) = (self.app, self.import.clock.now());
        let work = async move { devices.import(app, batch.changes, now).await };
        let task = self.import.lifecycle.spawn(work);
        self.flights.push_back(Flight {
            lines: batch.lines,
            claims: batch.claims,
            task,
        });
        Ok(())
    }

    /// Waits for the oldest batch and counts its outcomes.
    async fn land(&mut self) -> Result<(), Stopped> {
        let Some(flight) = self.flights.pop_front() else {
            return Ok(());
        };
        let outcomes = match flight.task.await {
            Ok(Some(outcomes)) => outcomes,
            Ok(None) => return Err(Stopped::Stopping),
            Err(panic) => {
                tracing::error!(%panic, "an import batch panicked");
                return Err(Stopped::Stopping);
            }
        };
        for (line, outcome) in flight.lines.into_iter().zip(outcomes) {
            match outcome {
                Ok(imported) if imported.created => self.report.created += 1,
                Ok(_) => self.report.updated += 1,
                Err(WriteError::Storage(
                    error @ (StorageError::Unavailable { .. } | StorageError::TimedOut { .. }),
                )) => return Err(Stopped::Service(ServiceError::Storage(error))),
                Err(error) => self.report.note(line, problem_of(&error)),
            }
        }
        Ok(())
    }
}

fn problem_of(error: &WriteError) -> LineProblem {
    match error {
        WriteError::PropertiesFull => LineProblem {
            pointer: Some("/properties".to_owned()),
            ..LineProblem::new("invalid_property", error.to_string())
        },
        WriteError::Implausible(fault) => LineProblem {
            pointer: Some(format!("/{}", fault.field())),
            ..LineProblem::new("invalid_device", error.to_string())
        },
        WriteError::Storage(cause) => {
            tracing::error!(error = %cause, "a device of an import could not be written");
            LineProblem::new("internal_error", "something went wrong on our side")
        }
        other => LineProblem::new("refused", other.to_string()),
    }
}

impl Filling {
    fn push(&mut self, line: u64, change: Change) {
        self.claims.insert(hash(("device", change.external_id.as_str())));
        if let Some(TokenChange::Set(token)) = change
            .registration
            .as_ref()
            .map(|registration| &registration.push_token)
        {
            self.claims.insert(hash(("token", token.as_str())));
        }
        self.lines.push(line);
        self.changes.push(change);
    }
}

fn hash(claim: (&str, &str)) -> u64 {
    let mut hasher = DefaultHasher::new();
    claim.hash(&mut hasher);
    hasher.finish()
}

/// Cuts a stream of pieces into numbered lines, none longer than the limit.
pub(crate) struct Lines {
    limit: usize,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line's end.
    searched: usize,
    number: u64,
    /// Passing over the rest of a line that is too long.
    skipping: bool,
    ended: bool,
}

impl Lines {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            buffer: BytesMut::new(),
            searched: 0,
            number: 0,
            skipping: false,
            ended: false,
        }
    }

    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// The next whole line with its number; `None` instead of a line that is too long.
    pub(crate) fn next(&mut self) -> Option<(u64, Option<Bytes>)> {
        loop {
            let rest = &self.buffer[self.searched..];
            let Some(offset) = rest.iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                if self.searched > self.limit {
                    self.buffer.clear();
                    self.searched = 0;
                    if !std::mem::replace(&mut self.skipping, true) {
                        self.number += 1;
                        return Some((self.number, None));
                    }
                    return None;
                }
                if self.ended && !self.buffer.is_empty() {
                    let line = self.buffer.split().freeze();
                    self.searched = 0;
                    if std::mem::take(&mut self.skipping) {
                        return None;
                    }
                    self.number += 1;
                    return Some((self.number, Some(line)));
                }
                return None;
            };
            let line = self.buffer.split_to(self.searched + offset).freeze();
            self.buffer.advance(1);
            self.searched = 0;
            if std::mem::take(&mut self.skipping) {
                continue; // the tail of a line that was reported already
            }
            self.number += 1;
            return Some((self.number, (line.len() <= self.limit).then_some(line)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&str], limit: usize) -> Vec<(u64, Option<String>)> {
        let mut lines = Lines::new(limit);
        let mut found = Vec::new();
        let mut take = |lines: &mut Lines| {
            while let Some((number, line)) = lines.next() {
                found.push((number, line.map(|line| String::from_utf8(line.to_vec()).unwrap())));
            }
        };
        for piece in pieces {
            lines.push(piece.as_bytes());
            take(&mut lines);
        }
        lines.end();
        take(&mut lines);
        found
    }

    fn line(number: u64, text: &str) -> (u64, Option<String>) {
        (number, Some(text.to_owned()))
    }

    #[test]
    fn lines_do_not_depend_on_how_the_body_was_cut_into_pieces() {
        let whole = cut(&["one\ntwo\n\nfour"], 10);
        assert_eq!(
            whole,
            [line(1, "one"), line(2, "two"), line(3, ""), line(4, "four")]
        );
        let pieces: Vec<String> = "one\ntwo\n\nfour".chars().map(String::from).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        assert_eq!(cut(&pieces, 10), whole);
    }

    #[test]
    fn a_line_that_is_too_long_is_reported_once_and_the_next_is_read() {
        for pieces in [
            &["123456789\nok\n"][..],
            &["1234", "5678", "9abc", "def\nok\n"],
            &["12345", "6789\n", "ok"],
        ] {
            assert_eq!(cut(pieces, 5), [(1, None), line(2, "ok")], "{pieces:?}");
        }
        assert_eq!(cut(&["ok\n1234567"], 5), [line(1, "ok"), (2, None)]);
    }

    #[test]
    fn only_the_first_thousand_problems_are_kept_but_all_are_counted() {
        let mut report = Report::default();
        for number in (1..=1_500).rev() {
            report.note(number, LineProblem::new("refused", ""));
        }
        assert_eq!(report.failed, 1_500);
        assert_eq!(report.problems.len(), 1_000);
        assert_eq!(report.problems.keys().next_back(), Some(&1_000));
    }
}
