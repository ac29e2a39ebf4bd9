//! From a file of devices to the import endpoint.
//!
//! A reader ([`ndjson`] or [`csv_file`]) cuts the file into [`Chunk`]s of some thousand lines on a
//! thread of its own; [`upload`] keeps a few of them in flight and gathers the server's answers.
//! Lines that are wrong, here or there, end up in a file beside the input with the reason, and do
//! not stop the rest. An import is an upsert: sent again it changes nothing, so a chunk whose
//! answer was lost is simply sent again.
//!
//! A new format is one more file here that yields chunks.

pub(crate) mod columns;
pub(crate) mod csv_file;
pub(crate) mod ndjson;
pub(crate) mod upload;

use std::{io, path::PathBuf};

use serde::Serialize;
use thiserror::Error;

/// Lines in one request to the server.
pub(crate) const LINES_PER_REQUEST: usize = 5_000;
/// Bytes after which a request is full, whatever its number of lines.
pub(crate) const BYTES_PER_REQUEST: usize = 8 * 1024 * 1024;

/// Some lines of the file, ready for one request.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    /// The lines as NDJSON, no empty ones.
    pub(crate) body: Vec<u8>,
    /// For each line of `body`, its line in the file, from 1.
    pub(crate) numbers: Vec<u64>,
    /// Lines that are wrong already here.
    pub(crate) rejected: Vec<Rejected>,
    /// Bytes of the file behind this chunk, for the progress.
    pub(crate) bytes_read: u64,
}

impl Chunk {
    fn push(&mut self, number: u64, line: &[u8]) {
        self.body.extend_from_slice(line);
        self.body.push(b'\n');
        self.numbers.push(number);
    }

    fn is_full(&self) -> bool {
        self.numbers.len() >= LINES_PER_REQUEST || self.body.len() >= BYTES_PER_REQUEST
    }

    fn is_empty(&self) -> bool {
        self.numbers.is_empty() && self.rejected.is_empty()
    }

    /// The line number `index` (from 0) of the body.
    pub(crate) fn line(&self, index: usize) -> Option<&[u8]> {
        self.body.split(|byte| *byte == b'\n').nth(index)
    }
}

/// A line that was not imported, as the file of rejected lines holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Rejected {
    /// Its line in the input, from 1.
    pub(crate) line: u64,
    /// A stable machine code.
    pub(crate) code: String,
    /// What is wrong, for a person.
    pub(crate) reason: String,
    /// A JSON pointer into the line, when one place is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pointer: Option<String>,
    /// The line itself.
    pub(crate) input: String,
}

/// Why a file could not be read at all.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    /// The file system says no.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The file is not CSV.
    #[error("{} is not CSV", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// The place and the reason.
        #[source]
        source: csv::Error,
    },
    /// The header or the `--map` flags do not fit.
    #[error("{}: {message}", path.display())]
    Columns {
        /// The file.
        path: PathBuf,
        /// What does not fit, and what would.
        message: String,
    },
}
