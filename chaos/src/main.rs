//! `jraze-chaos`: real processes, killed and cut off during campaigns, and a judge who shares nothing with them.
//!
//! | file | is |
//! | --- | --- |
//! | [`stack`], [`process`], [`mongod`], [`proxy`] | what runs, and how it is kept running and cut off |
//! | [`injection`], [`chance`] | which faults there are, and drawing them |
//! | [`control`], [`strike`] | hearing that a process stands at a point, and striking it there |
//! | [`campaign`] | one campaign under faults |
//! | [`sandbox`], [`oracle`] | what the providers saw, and the verdict |
//! | [`sabotage`] | whether the judge sees what is wrong |
//! | [`report`] | `docs/proof/delivery.md` |
//!
//! `make chaos-short` visits every point once; `make chaos` draws faults from a seed and goes on where an
//! earlier run ended.

mod campaign;
mod chance;
mod control;
mod injection;
mod mongod;
mod oracle;
mod process;
mod proxy;
mod report;
mod sabotage;
mod sandbox;
mod stack;
mod strike;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};

use crate::campaign::Outcome;
use crate::chance::Chance;
use crate::injection::{Blow, POINTS, Role, Script};
use crate::sabotage::Sabotage;
use crate::stack::Stack;

/// Kills and cuts real jraze processes during campaigns, and checks what the providers saw.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every failpoint once with kill -9
    Short {
        #[command(flatten)]
        run: Run,
        /// Only this one
        #[arg(long)]
        only: Option<String>,
    },
    /// Campaigns with several faults each, drawn from a seed, until there are enough
    Long {
        #[command(flatten)]
        run: Run,
        /// Faults that have to strike, those of earlier runs included
        #[arg(long, default_value_t = 1_000)]
        injections: usize,
        /// Minutes after which no further campaign begins
        #[arg(long, default_value_t = 120)]
        minutes: u64,
        /// Of the faults that are drawn
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Only `kill -9` at named points, and more of them
        #[arg(long)]
        kills: bool,
    },
    /// Spoils campaigns on purpose: whether the judge sees it
    Prove(Run),
    /// Writes the proof from what was kept
    Report {
        /// What was kept
        #[arg(long, default_value = "target/chaos/results.jsonl")]
        results: PathBuf,
        /// Where to write
        #[arg(long, default_value = "docs/proof/delivery.md")]
        to: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Run {
    /// jraze, built with the feature failpoints
    #[arg(long, default_value = "target/chaos/jraze")]
    jraze: PathBuf,
    /// A MongoDB server
    #[arg(long, env = "JRAZE_MONGOD", default_value = "mongod")]
    mongod: PathBuf,
    /// Where what was found is kept, a line for each campaign
    #[arg(long, default_value = "target/chaos/results.jsonl")]
    results: PathBuf,
    /// What is tested
    #[arg(long, default_value = "unknown")]
    commit: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Short { run, only } => short(&run, only.as_deref()).await,
        Command::Long {
            run,
            injections,
            minutes,
            seed,
            kills,
        } => {
            let patience = Duration::from_secs(minutes * 60);
            let draw = if kills { Script::draw_kills } else { Script::draw };
            long(&run, injections, patience, seed, draw).await
        }
        Command::Prove(run) => prove(&run).await,
        Command::Report { results, to } => report::write(&results, &to).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("jraze-chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// A stack with its population.
async fn started(run: &Run) -> Result<Arc<Stack>> {
    let stack = Arc::new(Stack::start(&run.jraze, &run.mongod).await?);
    campaign::populate(&stack).await?;
    Ok(stack)
}

async fn short(run: &Run, only: Option<&str>) -> Result<bool> {
    let stack = started(run).await?;
    let mut good = true;
    let mut missed = Vec::new();
    let wanted = |point: &str| only.is_none_or(|only| only == point);
    for (number, (point, role, _)) in POINTS.iter().enumerate().filter(|(_, (point, ..))| wanted(point)) {
        let script = Script::single(point, *role, Blow::Kill);
        let outcome = campaign::run(&stack, &format!("short-{number}"), &run.commit, script).await?;
        if outcome.struck.is_empty() {
            missed.push(*point);
        }
        good &= keep(run, &stack, &outcome)?;
    }
    if !missed.is_empty() {
        println!("never reached: {}", missed.join(", "));
    }
    Ok(good && missed.is_empty())
}

/// Whether the judge says guilty when something is.
async fn prove(run: &Run) -> Result<bool> {
    let stack = started(run).await?;
    let mut good = true;
    for sabotage in Sabotage::ALL {
        let script = Script {
            sabotage: Some(sabotage),
            ..Script::single("plan.mid_partitions", Role::Api, Blow::Stop)
        };
        let outcome = campaign::run(&stack, &format!("prove-{sabotage:?}"), &run.commit, script).await?;
        let seen = outcome
            .violations
            .iter()
            .any(|violation| violation.starts_with(sabotage.verdict()));
        println!(
            "{sabotage:?}: {}; the judge says: {}",
            if seen { "seen" } else { "NOT SEEN" },
            outcome.violations.join("; ")
        );
        good &= seen;
    }
    Ok(good)
}

async fn long(
    run: &Run,
    injections: usize,
    patience: Duration,
    seed: u64,
    draw: fn(&mut Chance) -> Script,
) -> Result<bool> {
    let since = Instant::now();
    let earlier = report::read(&run.results)?;
    let mut struck: usize = earlier.iter().map(|outcome| outcome.struck.len()).sum();
    let mut good = true;
    let stack = started(run).await?;
    // A run that goes on draws other faults than the one before.
    let mut chance = Chance::new(seed.wrapping_mul(1_000_003).wrapping_add(earlier.len() as u64));
    for number in earlier.len().. {
        if struck >= injections || since.elapsed() >= patience {
            break;
        }
        let script = draw(&mut chance);
        let title = format!("chaos-{seed}-{number}");
        let outcome = match campaign::run(&stack, &title, &run.commit, script.clone()).await {
            Ok(outcome) => outcome,
            Err(error) => {
                eprintln!("{title} under {script:?}");
                save_logs(run, &stack, &title)?;
                return Err(error);
            }
        };
        struck += outcome.struck.len();
        good &= keep(run, &stack, &outcome)?;
    }
    println!("{struck} faults have struck so far");
    Ok(good)
}

/// Shows and keeps what was found; whether nothing is wrong.
fn keep(run: &Run, stack: &Stack, outcome: &Outcome) -> Result<bool> {
    let what: Vec<&str> = outcome.struck.iter().map(|struck| struck.what.as_str()).collect();
    let findings = &outcome.findings;
    println!(
        "{}: {} selected, {} repeated, {} unknown, {} taken over; ended after {:.1} s, {:.1} s after the last of {} faults [{}]{}",
        outcome.title,
        findings.selected,
        findings.repeats,
        findings.unknown,
        findings.takeovers,
        outcome.took_ms as f64 / 1_000.0,
        outcome.recovery_ms as f64 / 1_000.0,
        what.len(),
        what.join(", "),
        match (outcome.canceled, outcome.skip) {
            (true, _) => " (canceled)",
            (false, true) => " (nobody twice)",
            (false, false) => "",
        },
    );
    let good = outcome.violations.is_empty();
    if !good {
        println!("  VIOLATED: {}", outcome.violations.join("; "));
        save_logs(run, stack, &outcome.title)?;
    }
    if let Some(folder) = run.results.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&run.results)
        .with_context(|| format!("keeping results in {}", run.results.display()))?;
    writeln!(file, "{}", serde_json::to_string(outcome)?)?;
    Ok(good)
}

/// What the processes said, beside the results.
fn save_logs(run: &Run, stack: &Stack, title: &str) -> Result<()> {
    let folder = run.results.parent().unwrap_or(Path::new(".")).join(title);
    std::fs::create_dir_all(&folder)?;
    for process in stack.processes() {
        std::fs::write(folder.join(format!("{}.log", process.name())), process.output())?;
    }
    println!("  what the processes said is in {}", folder.display());
    Ok(())
}
