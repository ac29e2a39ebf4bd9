//! `jraze import FILE`: devices from NDJSON or CSV, with live progress.
//!
//! On a terminal a bar over the bytes of the file; elsewhere a plain line every five seconds; with
//! `--json` events `{"event": "columns" | "progress" | "done" | "failed", ...}`. What the columns of a
//! CSV file are taken for is said before anything is sent; the summary comes when something was.
//! Rejected lines go to `FILE.rejected.ndjson` with line number and reason, and make the exit code 3.

use std::{
    fs::File,
    io::{self, BufReader},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use futures_util::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::json;
use tokio::{sync::mpsc, task, time::Instant};

use super::Done;
use crate::{
    client::{Client, ClientArgs},
    import::{
        Chunk, ReadError,
        columns::Mapping,
        csv_file,
        infer::Inferred,
        ndjson,
        rejected::RejectedFile,
        upload::{Totals, Uploaded, upload},
    },
    output::{Output, grouped},
};

/// How often a plain line is written off a terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
/// How often a script hears of the progress.
const EVENT_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The file; `-` reads NDJSON from standard input
    file: PathBuf,
    /// Its format; by default the file's extension decides (.csv, anything else is NDJSON)
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// What a CSV column is: COLUMN=PROPERTY[:string|int|float|bool|list], COLUMN=FIELD, or COLUMN=
    /// to leave it out. Columns are properties of their own name by default, their types inferred
    #[arg(long = "map", value_name = "COLUMN=...")]
    maps: Vec<Mapping>,
    /// Requests in flight at a time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    parallel: u8,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Ndjson,
    Csv,
}

pub(crate) async fn run(args: ImportArgs, output: Output) -> anyhow::Result<Done> {
    let client = args.client.client()?;
    let is_csv_name = args
        .file
        .extension()
        .is_some_and(|name| name.eq_ignore_ascii_case("csv"));
    let format = args
        .format
        .unwrap_or(if is_csv_name { Format::Csv } else { Format::Ndjson });
    let from_stdin = args.file.as_os_str() == "-";
    anyhow::ensure!(
        !(from_stdin && format == Format::Csv),
        "CSV is read twice, so it must be a file, not standard input"
    );
    anyhow::ensure!(format == Format::Csv || args.maps.is_empty(), "--map is for CSV");
    let size = (!from_stdin).then(|| std::fs::metadata(&args.file)).transpose();
    let size = size.with_context(|| format!("cannot read {}", args.file.display()))?;

    let table = match format {
        Format::Csv => Some(inspect(&args, output).await?),
        Format::Ndjson => None,
    };
    let mut rejected = RejectedFile::beside(&args.file);
    let mut progress = Progress::new(output, size.map(|file| file.len()));
    let outcome = send(&args, table, &client, &mut progress, &mut rejected).await;
    // Also after a failure: what was rejected until then is worth reading.
    let file = rejected.close()?;
    let some_rejected = progress.finish(outcome.is_ok(), file.as_deref());
    outcome?;
    Ok(if some_rejected { Done::Partly } else { Done::Fully })
}

/// Looks at the columns of a CSV file, and says what they are taken for before anything is sent.
async fn inspect(args: &ImportArgs, output: Output) -> anyhow::Result<csv_file::Table> {
    let (path, maps) = (args.file.clone(), args.maps.clone());
    let table = task::spawn_blocking(move || csv_file::inspect(&path, &maps)).await;
    let table = table.context("the reader of the file broke off")??;
    for property in &table.properties {
        output.line(property.text());
    }
    let columns: Vec<_> = table.properties.iter().map(Inferred::json).collect();
    output.event(&json!({"event": "columns", "columns": columns}));
    Ok(table)
}

/// Reads on a thread of its own, keeps `parallel` requests in flight.
async fn send(
    args: &ImportArgs,
    table: Option<csv_file::Table>,
    client: &Client,
    progress: &mut Progress,
    rejected: &mut RejectedFile,
) -> anyhow::Result<()> {
    let (sender, receiver) = mpsc::channel(usize::from(args.parallel));
    let path = args.file.clone();
    let reader = task::spawn_blocking(move || read(&path, table.as_ref(), sender));

    let chunks = stream::unfold(receiver, async |mut receiver: mpsc::Receiver<Chunk>| {
        Some((receiver.recv().await?, receiver))
    });
    let uploads = chunks
        .enumerate()
        // The waits between attempts need to differ, not to surprise: a seed for each part does.
        .map(|(index, chunk)| upload(client, chunk, StdRng::seed_from_u64(index as u64)))
        // In the order of the file, so that the rejected lines are.
        .buffered(usize::from(args.parallel));
    let mut uploads = std::pin::pin!(uploads);
    while let Some(uploaded) = uploads.next().await {
        let uploaded: Uploaded = uploaded.context("the import stopped")?;
        rejected.write(&uploaded.rejected)?;
        progress.add(&uploaded);
    }
    reader.await.context("the reader of the file broke off")??;
    Ok(())
}

fn read(path: &Path, table: Option<&csv_file::Table>, chunks: mpsc::Sender<Chunk>) -> Result<(), ReadError> {
    // A closed channel means that the uploads gave up and have said why.
    let emit = |chunk| chunks.blocking_send(chunk).is_ok();
    match table {
        Some(table) => csv_file::read(path, table, emit),
        None if path.as_os_str() == "-" => ndjson::read(path, io::stdin().lock(), emit),
        None => {
            let file = File::open(path);
            let file = file.map_err(|source| ReadError::Io {
                path: path.to_owned(),
                source,
            })?;
            ndjson::read(path, BufReader::with_capacity(1 << 20, file), emit)
        }
    }
}

/// What the person or the script sees while the import runs.
struct Progress {
    output: Output,
    bar: Option<ProgressBar>,
    totals: Totals,
    bytes: u64,
    size: Option<u64>,
    started: Instant,
    told: Instant,
}

impl Progress {
    fn new(output: Output, size: Option<u64>) -> Self {
        let bar = output.draws_bars().then(|| {
            let bar = ProgressBar::new(size.unwrap_or(0));
            let template = match size {
                Some(_) => "{bar:30} {percent:>3} %  {msg}  {eta} left",
                None => "{spinner}  {msg}",
            };
            // The templates are constants; the default style is no loss.
            bar.set_style(ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar()));
            bar
        });
        let now = Instant::now();
        Self {
            output,
            bar,
            totals: Totals::default(),
            bytes: 0,
            size,
            started: now,
            told: now,
        }
    }

    fn add(&mut self, uploaded: &Uploaded) {
        self.totals.add(uploaded.totals);
        self.bytes += uploaded.bytes_read;
        if let Some(bar) = &self.bar {
            bar.set_message(self.summary());
            bar.set_position(self.bytes);
            return;
        }
        let every = if self.output.is_json() {
            EVENT_EVERY
        } else {
            PLAIN_EVERY
        };
        if self.told.elapsed() >= every {
            self.told = Instant::now();
            let share = self.size.map(|size| 100 * self.bytes / size.max(1));
            let share = share
                .map(|share| format!(" · {} %", share.min(100)))
                .unwrap_or_default();
            self.output.line(format!("{}{share}", self.summary()));
            self.output.event(&self.event("progress", None));
        }
    }

    fn rate(&self) -> u64 {
        (self.totals.received as f64 / self.started.elapsed().as_secs_f64().max(0.001)) as u64
    }

    fn summary(&self) -> String {
        let Totals {
            received, rejected, ..
        } = self.totals;
        let rejected = match rejected {
            0 => String::new(),
            some => format!(" · {} rejected", grouped(some)),
        };
        format!(
            "{} devices · {}/s{rejected}",
            grouped(received),
            grouped(self.rate())
        )
    }

    fn event(&self, name: &str, rejected_file: Option<&Path>) -> serde_json::Value {
        let Totals {
            received,
            created,
            updated,
            rejected,
        } = self.totals;
        json!({
            "event": name, "received": received, "created": created, "updated": updated,
            "rejected": rejected, "rejected_file": rejected_file, "bytes": self.bytes,
            "bytes_total": self.size, "devices_per_second": self.rate(),
            "seconds": self.started.elapsed().as_secs_f64(),
        })
    }

    /// Says how it ended, also when it broke off after something was sent; whether lines were
    /// rejected.
    fn finish(self, complete: bool, rejected_file: Option<&Path>) -> bool {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let Totals {
            received,
            created,
            updated,
            rejected,
        } = self.totals;
        if !complete && received == 0 {
            return false;
        }
        self.output.line(format!(
            "{}{} devices in {:.1} s ({}/s): {} created, {} updated, {} rejected",
            if complete { "" } else { "not complete: " },
            grouped(received),
            self.started.elapsed().as_secs_f64(),
            grouped(self.rate()),
            grouped(created),
            grouped(updated),
            grouped(rejected),
        ));
        if let Some(file) = rejected_file {
            self.output
                .line(format!("rejected lines with their reasons: {}", file.display()));
        }
        let name = if complete { "done" } else { "failed" };
        self.output.event(&self.event(name, rejected_file));
        rejected > 0
    }
}
