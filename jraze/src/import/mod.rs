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
pub(crate) mod infer;
pub(crate) mod ndjson;
pub(crate) mod rejected;
pub(crate) mod upload;

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;
use thiserror::Error;

/// Lines in one request to the server.
pub(crate) const LINES_PER_REQUEST: usize = 5_000;
/// Bytes after which a request is full, whatever its number of lines.
pub(crate) const BYTES_PER_REQUEST: usize = 8 * 1024 * 1024;

/// Bytes of a rejected row that are shown; the server takes no longer lines.
const ROW_SHOWN: u64 = 64 * 1024;

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
    /// Where the lines of `body` come from, when they are not the lines of the file themselves.
    pub(crate) origin: Option<Origin>,
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

    /// Where in the file the line number `index` (from 0) of the body comes from, and what is written
    /// there.
    pub(crate) fn input(&self, index: usize) -> (u64, String) {
        let number = self.numbers.get(index).copied().unwrap_or(0);
        match &self.origin {
            Some(origin) => match origin.rows.get(index) {
                Some(row) => raw(&origin.file, number, row),
                None => (number, String::new()),
            },
            None => {
                let line = self.body.split(|byte| *byte == b'\n').nth(index);
                let text = String::from_utf8_lossy(line.unwrap_or_default());
                (number, text.into_owned())
            }
        }
    }
}

/// The rows of a file that lines were made of.
#[derive(Debug)]
pub(crate) struct Origin {
    /// The file.
    pub(crate) file: Arc<File>,
    /// For each line of the body, the bytes of the file that it comes from.
    pub(crate) rows: Vec<Range<u64>>,
}

/// The line of a row and its text as it is written. `number` is the line on which the row before it
/// ended, as the CSV reader has it: the end of that line and empty ones may still belong to the bytes.
///
/// Rows are read a second time only when somebody asks, so that a good file costs nothing.
fn raw(file: &File, number: u64, row: &Range<u64>) -> (u64, String) {
    let length = row.end.saturating_sub(row.start).min(ROW_SHOWN);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    // A file that cannot be read any more is told of elsewhere.
    if file.read_exact_at(&mut bytes, row.start).is_err() {
        return (number, String::new());
    }
    let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    let skipped = blank.filter(|byte| **byte == b'\n').count() as u64;
    let text = String::from_utf8_lossy(bytes.trim_ascii()).into_owned();
    (number + skipped, text)
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
    /// The file is compressed.
    #[error("{} is compressed with gzip; {}", path.display(), way_out(path))]
    Gzip {
        /// The file.
        path: PathBuf,
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

/// The first bytes of every gzip file.
pub(crate) const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What to do with a compressed file. NDJSON may come through a pipe, CSV is read twice.
fn way_out(path: &Path) -> String {
    let name = path.display().to_string();
    if name == "-" {
        "decompress it on the way: gunzip -c FILE | jraze import -".to_owned()
    } else if name.to_ascii_lowercase().ends_with(".csv.gz") || name.to_ascii_lowercase().ends_with(".csv") {
        format!("decompress it first: gunzip {name}")
    } else {
        format!("decompress it on the way: gunzip -c {name} | jraze import -")
    }
}

/// Refuses a file that is compressed, before its bytes are taken for wrong lines.
pub(crate) fn refuse_gzip(path: &Path, beginning: &[u8]) -> Result<(), ReadError> {
    if beginning.starts_with(&GZIP) {
        return Err(ReadError::Gzip {
            path: path.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{GZIP, refuse_gzip};

    #[test]
    fn a_compressed_file_is_refused_with_the_command_that_helps() {
        let refused = |name: &str| refuse_gzip(Path::new(name), &GZIP).unwrap_err().to_string();
        assert!(refused("d.ndjson.gz").ends_with("gunzip -c d.ndjson.gz | jraze import -"));
        assert!(refused("d.csv.gz").ends_with("first: gunzip d.csv.gz"));
        assert!(refuse_gzip(Path::new("d"), b"{}").is_ok());
    }
}
