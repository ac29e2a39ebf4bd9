//! `jraze export`: every device as NDJSON, in the shape that `jraze import` reads.

use std::{io::Write as _, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::Done;
use crate::{
    client::ClientArgs,
    output::{Output, grouped},
};

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Where to write; standard output when absent or `-`
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) async fn run(args: ExportArgs, output: Output) -> anyhow::Result<Done> {
    let client = args.client.client()?;
    let mut answer = client.get(&["devices", "-", ":export"]).raw().await?;
    let Some(path) = args.out.filter(|path| path.as_os_str() != "-") else {
        // The devices are the answer: no summary may stand between them.
        let mut out = std::io::stdout().lock();
        while let Some(part) = answer.chunk().await.context("the export broke off")? {
            if out.write_all(&part).is_err() {
                break; // the reader has seen enough
            }
        }
        return Ok(Done::Fully);
    };

    // Written aside and renamed at the end: a file with that name is a whole export.
    let mut partial = path.clone().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let context = || format!("cannot write {}", partial.display());
    let mut file = std::io::BufWriter::new(std::fs::File::create(&partial).with_context(context)?);
    let bar = output.draws_bars().then(|| {
        let bar = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{spinner} {human_pos} devices  {per_sec}");
        bar.set_style(style.unwrap_or(ProgressStyle::default_spinner()));
        bar
    });
    let mut devices = 0;
    while let Some(part) = answer.chunk().await.context("the export broke off")? {
        file.write_all(&part).with_context(context)?;
        devices += part.iter().filter(|byte| **byte == b'\n').count() as u64;
        if let Some(bar) = &bar {
            bar.set_position(devices);
        }
    }
    file.flush().with_context(context)?;
    std::fs::rename(&partial, &path).with_context(|| format!("cannot write {}", path.display()))?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    output.line(format!(
        "{} devices written to {}",
        grouped(devices),
        path.display()
    ));
    output.event(&json!({"event": "done", "devices": devices, "file": path}));
    Ok(Done::Fully)
}
