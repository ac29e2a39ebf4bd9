//! Instructions, not seconds: what a device costs on its way, whatever mood the machine is in.
//!
//! Every step of a send runs some thousand times under `valgrind --tool=callgrind`, which counts only what
//! happens within [`counted`]. The counts stand in `bench/micro.toml`; one that grew by more than
//! [`TOLERATED`] fails, and `--bless` writes the new ones. Callgrind is asked directly: the crate that wraps
//! it for Rust wants a second program of exactly its own version installed, and all that is needed of it is
//! one number for each run.
//!
//! Counts hold for a processor family, a compiler and a build profile, so the file says of which they are:
//! another compiler is told, another architecture skips. Without valgrind there is nothing to count, which
//! is told too and is no failure.
//!
//! To add a step: a row in [`CASES`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::micro_cases::CASES;

/// What a count may grow by, in percent.
const TOLERATED: f64 = 5.0;
/// Where callgrind begins and ends to count. A generic function has a symbol for each of its uses, and all of
/// them begin so.
const TOGGLE: &str = "--toggle-collect=jraze_bench::micro::counted*";

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// The counts to hold against.
    #[arg(long, default_value = "bench/micro.toml")]
    baseline: PathBuf,
    /// Write the counts of this build there.
    #[arg(long)]
    bless: bool,
    /// Run this case without counting; what runs under valgrind.
    #[arg(long, hide = true)]
    case: Option<String>,
}

/// One step.
pub(crate) struct Case {
    /// What is counted.
    pub(crate) name: &'static str,
    /// Of what one count is: a device, a campaign.
    pub(crate) of: &'static str,
    /// Runs it some thousand times, each within [`counted`]; how many of it that was.
    pub(crate) run: fn() -> u64,
}

/// The only thing that is counted.
#[inline(never)]
pub(crate) fn counted<T>(step: impl FnOnce() -> T) -> T {
    std::hint::black_box(step())
}

/// `bench/micro.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Baseline {
    architecture: String,
    compiler: String,
    valgrind: String,
    /// Instructions, by the name of the case.
    instructions: BTreeMap<String, f64>,
}

pub(crate) async fn run(options: Options) -> Result<()> {
    if let Some(name) = &options.case {
        let case = CASES.iter().find(|case| case.name == name);
        println!("{}", (case.context("no such case")?.run)());
        return Ok(());
    }
    let Some(valgrind) = version("valgrind").await else {
        println!(
            "micro: skipped: valgrind is missing, so no instruction was counted (apt-get install valgrind)"
        );
        return Ok(());
    };
    let mut now = Baseline {
        architecture: std::env::consts::ARCH.to_owned(),
        compiler: version("rustc").await.unwrap_or_else(|| "unknown".to_owned()),
        valgrind,
        instructions: BTreeMap::new(),
    };
    for case in CASES {
        let count = count(case)
            .await
            .with_context(|| format!("counting {:?}", case.name))?;
        now.instructions.insert(case.name.to_owned(), count);
    }
    if options.bless {
        std::fs::write(&options.baseline, written(&now)?)?;
    }
    let before = read(&options.baseline)?;
    if before.architecture != now.architecture {
        println!(
            "micro: skipped: {} counts for {}",
            options.baseline.display(),
            before.architecture
        );
        return Ok(());
    }
    if before.compiler != now.compiler {
        println!(
            "micro: counted with {}, held against counts of {}",
            now.compiler, before.compiler
        );
    }
    let verdicts = compare(&before.instructions, &now.instructions);
    print!("{}", table(&before, &now));
    let grown: Vec<&str> = verdicts
        .iter()
        .filter(|row| row.1 > TOLERATED)
        .map(|row| row.0)
        .collect();
    ensure!(
        grown.is_empty(),
        "more than {TOLERATED} % more instructions than in {}: {}; when that is meant, `make bench-micro ARGS=--bless`",
        options.baseline.display(),
        grown.join(", ")
    );
    let missing: Vec<&String> = now
        .instructions
        .keys()
        .filter(|name| !before.instructions.contains_key(*name))
        .collect();
    ensure!(
        missing.is_empty(),
        "not in {}: {missing:?}",
        options.baseline.display()
    );
    Ok(())
}

/// By what every count grew, in percent.
fn compare<'a>(before: &BTreeMap<String, f64>, now: &'a BTreeMap<String, f64>) -> Vec<(&'a str, f64)> {
    let row = |(name, count): (&'a String, &f64)| {
        let before = before.get(name)?;
        Some((name.as_str(), 100.0 * (count / before - 1.0)))
    };
    now.iter().filter_map(row).collect()
}

fn table(before: &Baseline, now: &Baseline) -> String {
    let mut text =
        "| step | of | instructions | before | change |\n| --- | --- | --- | --- | --- |\n".to_owned();
    let changes: BTreeMap<&str, f64> = compare(&before.instructions, &now.instructions)
        .into_iter()
        .collect();
    for case in CASES {
        let count = now.instructions.get(case.name).copied().unwrap_or(f64::NAN);
        let before = before
            .instructions
            .get(case.name)
            .map_or_else(String::new, |count| format!("{count:.0}"));
        let change = changes
            .get(case.name)
            .map_or_else(String::new, |change| format!("{change:+.1} %"));
        text.push_str(&format!(
            "| {} | {} | {count:.0} | {before} | {change} |\n",
            case.name, case.of
        ));
    }
    text
}

fn read(file: &Path) -> Result<Baseline> {
    let text = std::fs::read_to_string(file).with_context(|| {
        format!(
            "no counts in {}: `make bench-micro ARGS=--bless` writes them",
            file.display()
        )
    })?;
    Ok(toml::from_str(&text)?)
}

fn written(baseline: &Baseline) -> Result<String> {
    let head = "# Instructions of each step, as callgrind counts them in the release profile.\n\
                # Written by `make bench-micro ARGS=--bless`; bench/src/micro_cases.rs says what each step is.\n\n";
    Ok(format!("{head}{}", toml::to_string(baseline)?))
}

/// Instructions of one step.
async fn count(case: &Case) -> Result<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", TOGGLE])
        .arg(std::env::current_exe()?)
        .args(["micro", "--case", case.name])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let (said, problems) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(output.status.success(), "{problems}");
    let times: u64 = said
        .trim()
        .parse()
        .with_context(|| format!("no number: {said}"))?;
    let Some(collected) = collected(&problems).filter(|collected| *collected > 0) else {
        bail!("callgrind counted nothing: {problems}");
    };
    Ok((collected as f64 / times.max(1) as f64 * 10.0).round() / 10.0)
}

/// `==4711== Collected : 1234567`
fn collected(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// The first line of what a program says about itself, when it is there.
async fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().await.ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: &[(&str, f64)]) -> BTreeMap<String, f64> {
        counts
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect()
    }

    #[test]
    fn growth_is_in_percent_of_what_was() {
        let before = counts(&[("a", 100.0), ("b", 100.0), ("gone", 1.0)]);
        let now = counts(&[("a", 106.0), ("b", 90.0), ("new", 7.0)]);
        let grown = compare(&before, &now);
        assert_eq!(grown.len(), 2);
        assert!((grown[0].1 - 6.0).abs() < 1e-9 && (grown[1].1 + 10.0).abs() < 1e-9);
    }

    #[test]
    fn the_count_is_read_from_what_callgrind_says() {
        let text =
            "==12== Events    : Ir\n==12== Collected : 123456\n==12== \n==12== I   refs:      123,456\n";
        assert_eq!(collected(text), Some(123_456));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let baseline = Baseline {
            architecture: "x86_64".to_owned(),
            compiler: "rustc".to_owned(),
            valgrind: "valgrind".to_owned(),
            instructions: counts(&[("fcm, body", 511.5)]),
        };
        let text = written(&baseline).expect("written");
        assert_eq!(toml::from_str::<Baseline>(&text).expect("read"), baseline);
    }

    #[test]
    fn every_case_runs_and_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len());
        for case in CASES {
            assert!((case.run)() > 0, "{}", case.name);
        }
    }
}
