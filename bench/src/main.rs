//! How fast jraze is, as ratios taken in one run.
//!
//! Real binaries of every role, a real mongod, and the sandbox in its `load_only` mode behind TLS and
//! HTTP/2, all on one machine. Machines differ and are noisy, so no rate stands alone: every campaign is
//! run next to `h2load` against the same sandbox, and its rate is told as a part of that *ceiling*. Beside
//! it stands what does not depend on the machine's mood as much: processor time per device and the peak of
//! memory of each role.
//!
//! | file | is |
//! | --- | --- |
//! | [`campaign`], [`report`] | devices in, campaigns out, what it took, also for several sizes in turn |
//! | [`api`] | the API under load, beside the plain driver |
//! | [`ceiling`] | what the fastest known client reaches |
//! | [`pacing`], [`pacing_report`] | a provider's quota, kept and shared |
//! | `micro`, `micro_cases` | instructions of each step of a send (feature `micro`) |
//! | `storage`, `storage_report`, `storage_world` | the database alone (feature `storage`) |
//! | [`plots`] | the pictures under `docs/bench/` |
//! | [`processor`], [`arithmetic`] | what all of them measure and reckon with |
//! | [`asked`] | the command that a page names |
//!
//! `docs/bench/README.md` says what is measured and how to repeat it. To add a scenario: an arm in
//! [`Command`], and a file that writes a table and raw figures to the folder of [`Common`].

mod api;
mod arithmetic;
mod asked;
mod campaign;
mod ceiling;
#[cfg(feature = "micro")]
mod micro;
#[cfg(feature = "micro")]
mod micro_cases;
mod pacing;
mod pacing_report;
mod plots;
mod processor;
mod report;
#[cfg(feature = "storage")]
mod storage;
#[cfg(feature = "storage")]
mod storage_report;
#[cfg(feature = "storage")]
mod storage_world;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

/// Measures jraze. `JRAZE_TEST_MONGODB_URI` names the database server, as for the tests.
#[derive(Debug, Parser)]
enum Command {
    /// Whole campaigns, from launch to SENT, beside the ceiling.
    Campaign(campaign::Options),
    /// The API under load, beside the plain driver.
    Api(api::Options),
    /// FCM's quota, kept by one campaign and shared by several.
    Pacing(pacing::Options),
    /// What the database is asked: sums, histories, counts, audiences in parts.
    #[cfg(feature = "storage")]
    Storage(storage::Options),
    /// Draws the plots of all figures that are there, again.
    Plots(plots::Options),
    /// Instructions of each step of a send, held against `bench/micro.toml`.
    #[cfg(feature = "micro")]
    Micro(micro::Options),
}

/// The allocator of `jraze`, which is a part of what is counted.
#[cfg(feature = "micro")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What every scenario is told.
#[derive(Debug, Clone, clap::Args)]
struct Common {
    /// How often everything is run; the middle and the spread are reported.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where the table and the raw figures go.
    #[arg(long, default_value = "docs/bench")]
    out: PathBuf,
    /// The commit, for the table.
    #[arg(long, env = "BENCH_COMMIT", default_value = "unknown")]
    commit: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let asked = asked::command(std::env::args().skip(1));
    match Command::parse() {
        Command::Campaign(options) => campaign::run(options, &asked).await,
        Command::Api(options) => api::run(options, &asked).await,
        Command::Pacing(options) => pacing::run(options, &asked).await,
        #[cfg(feature = "storage")]
        Command::Storage(options) => storage::run(options, &asked).await,
        Command::Plots(options) => plots::run(&options),
        #[cfg(feature = "micro")]
        Command::Micro(options) => micro::run(options).await,
    }
}
