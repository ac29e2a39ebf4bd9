//! Sending chunks: a few in flight, the same chunk again when its answer was lost.

use std::time::Duration;

use jraze_openapi::dto::ImportReport;
use jraze_runtime::backoff::Backoff;
use rand::rngs::StdRng;

use super::{Chunk, Rejected};
use crate::client::{Client, ClientError};

/// Tries for one chunk, the first one included.
const ATTEMPTS: u32 = 6;
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(15));
/// A chunk takes some seconds on a busy server; beyond this the connection is considered lost.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Where an import stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Totals {
    /// Lines read so far, empty ones left out.
    pub(crate) received: u64,
    /// Devices that were new.
    pub(crate) created: u64,
    /// Devices that were known.
    pub(crate) updated: u64,
    /// Lines that were wrong.
    pub(crate) rejected: u64,
}

/// What became of one chunk.
#[derive(Debug)]
pub(crate) struct Uploaded {
    pub(crate) totals: Totals,
    pub(crate) rejected: Vec<Rejected>,
    pub(crate) bytes_read: u64,
}

impl Totals {
    /// Counts a chunk in.
    pub(crate) fn add(&mut self, other: Self) {
        self.received += other.received;
        self.created += other.created;
        self.updated += other.updated;
        self.rejected += other.rejected;
    }
}

/// Sends one chunk.
///
/// # Errors
/// When the server refuses the whole request, or cannot be reached for a minute or so.
pub(crate) async fn upload(
    client: &Client,
    mut chunk: Chunk,
    mut rng: StdRng,
) -> Result<Uploaded, ClientError> {
    let mut rejected = std::mem::take(&mut chunk.rejected);
    let mut report = ImportReport::default();
    if !chunk.numbers.is_empty() {
        // `Bytes` is cheap to clone for a further attempt.
        let body = bytes::Bytes::from(std::mem::take(&mut chunk.body));
        let mut attempt = 0;
        report = loop {
            let request = client
                .post(&["devices", "-", ":import"])
                .ndjson(body.clone())
                .timeout(TIMEOUT);
            match request.send().await {
                Ok(report) => break report,
                Err(error) if error.is_transient() && attempt + 1 < ATTEMPTS => {
                    let wait = BACKOFF.delay(attempt, &mut rng);
                    tracing::warn!(%error, ?wait, "sending a part of the import again");
                    tokio::time::sleep(wait).await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        };
        chunk.body = body.into();
    }
    rejected.extend(report.errors.iter().map(|problem| {
        let index = problem.line.saturating_sub(1) as usize;
        let (line, input) = chunk.input(index);
        Rejected {
            line,
            code: problem.code.clone(),
            reason: problem.reason.clone(),
            pointer: problem.pointer.clone(),
            input,
        }
    }));
    // Those refused here come before those refused by the server; a person reads them by line.
    rejected.sort_by_key(|rejected| rejected.line);
    let here = chunk.numbers.len() as u64;
    let refused_here = rejected.len() as u64 - report.errors.len() as u64;
    let totals = Totals {
        received: here + refused_here,
        created: report.created,
        updated: report.updated,
        rejected: report.failed + refused_here,
    };
    Ok(Uploaded {
        totals,
        rejected,
        bytes_read: chunk.bytes_read,
    })
}
