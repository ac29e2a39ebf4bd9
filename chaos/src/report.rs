//! `docs/proof/delivery.md`: the guarantee in words, the invariants, and what was counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::campaign::Outcome;
use crate::injection::{Blow, POINTS, Role, Surroundings};
use crate::strike::Struck;

const HEAD: &str = include_str!("report_head.md");

/// What was kept so far.
pub(crate) fn read(results: &Path) -> Result<Vec<Outcome>> {
    let Ok(text) = std::fs::read_to_string(results) else {
        return Ok(Vec::new());
    };
    text.lines()
        .map(|line| serde_json::from_str(line).context("a line of the results"))
        .collect()
}

/// Writes the page.
pub(crate) fn write(results: &Path, to: &Path) -> Result<()> {
    let outcomes = read(results)?;
    ensure!(!outcomes.is_empty(), "{} holds nothing", results.display());
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(to, page(&outcomes)).with_context(|| format!("writing {}", to.display()))
}

fn page(outcomes: &[Outcome]) -> String {
    let mut page = HEAD.to_owned();
    totals(&mut page, outcomes);
    points(&mut page, outcomes);
    violations(&mut page, outcomes);
    page
}

/// Writing to a text cannot fail.
macro_rules! line {
    ($page:expr, $($text:tt)*) => { let _ = writeln!($page, $($text)*); };
}

fn totals(page: &mut String, outcomes: &[Outcome]) {
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    let struck: Vec<&Struck> = outcomes.iter().flat_map(|outcome| &outcome.struck).collect();
    let commits: BTreeSet<&str> = outcomes.iter().map(|outcome| outcome.commit.as_str()).collect();
    let killed = struck.iter().filter(|one| one.blow == Some(Blow::Kill)).count();
    let commits: Vec<&str> = commits.into_iter().collect();
    let violated = outcomes
        .iter()
        .filter(|outcome| !outcome.violations.is_empty())
        .count();
    let sent = sum(|outcome| outcome.findings.reached + outcome.findings.repeats);
    let repeats = sum(|outcome| outcome.findings.repeats);
    let share = 100.0 * repeats as f64 / sent.max(1) as f64;
    let worst = outcomes.iter().map(per_worker_fault).max().unwrap_or(0);
    line!(
        page,
        "Commits {}. One machine, 2 cores, 24 GiB.\n",
        commits.join(", ")
    );
    line!(page, "| counted | |");
    line!(page, "| --- | ---: |");
    let skipping = outcomes.iter().filter(|outcome| outcome.skip);
    let (skips, skipped_repeats) = skipping.fold((0, 0), |(n, repeats), one| {
        (n + 1, repeats + one.findings.repeats)
    });
    let rows: [(&str, String); 18] = [
        ("campaigns", outcomes.len().to_string()),
        ("faults that struck", struck.len().to_string()),
        ("of them `kill -9` at a named point", killed.to_string()),
        (
            "selected devices, all campaigns together",
            sum(|o| o.findings.selected).to_string(),
        ),
        ("requests that providers accepted", sent.to_string()),
        ("**lost**", sum(|o| o.findings.lost).to_string()),
        (
            "sent to and not selected",
            sum(|o| o.findings.strangers).to_string(),
        ),
        (
            "**duplicate tray entries**",
            sum(|o| o.findings.tray_doubles).to_string(),
        ),
        (
            "repeated requests, invisible on the phone",
            format!("{repeats} ({share:.2} %)"),
        ),
        (
            "of them in the campaigns where nobody may get it twice",
            format!("{skipped_repeats} in {skips} campaigns"),
        ),
        (
            "most repeated requests for one fault of a worker",
            worst.to_string(),
        ),
        (
            "unknown, and counted as unknown",
            sum(|o| o.findings.unknown).to_string(),
        ),
        (
            "counted as sent and never accepted",
            sum(|o| o.findings.false_sent).to_string(),
        ),
        (
            "devices without exactly one outcome",
            sum(|o| o.findings.not_one_outcome).to_string(),
        ),
        (
            "counts off by, once quiet",
            sum(|o| o.findings.counts_off).to_string(),
        ),
        (
            "windows taken over by another holder",
            sum(|o| o.findings.takeovers).to_string(),
        ),
        (
            "writers of results that the database's log names",
            format!(
                "{} of {}",
                sum(|o| o.findings.attributed),
                sum(|o| o.findings.records)
            ),
        ),
        (
            "of them written by the old holder afterwards",
            sum(|o| o.findings.stale_writes).to_string(),
        ),
    ];
    for (what, count) in rows {
        line!(page, "| {what} | {count} |");
    }
    line!(
        page,
        "| campaigns in which any invariant was broken | {violated} |\n"
    );
    recovery(page, outcomes);
}

/// Repeats for each fault that can cause them; a campaign without such a fault counts as it is.
fn per_worker_fault(outcome: &Outcome) -> u64 {
    let faults = outcome.struck.iter().filter(|one| sends(one)).count() as u64;
    outcome.findings.repeats.div_ceil(faults.max(1))
}

/// Whether a fault hits who sends.
fn sends(struck: &Struck) -> bool {
    struck.weather.is_some() || struck.process.starts_with("worker")
}

fn recovery(page: &mut String, outcomes: &[Outcome]) {
    line!(page, "## Recovery\n");
    line!(
        page,
        "From the last fault of a campaign (a kill itself, the end of everything else) to SENT, with leases of \
         3 s.\nOnly campaigns whose last fault hit who plans or sends: after the others nothing is left to do.\n"
    );
    line!(page, "| campaigns | number | median | 95 % | longest |");
    line!(page, "| --- | ---: | ---: | ---: | ---: |");
    for (name, retries) in [
        ("without retries", false),
        ("with retries, whose waits begin at 10 s", true),
    ] {
        let times = outcomes
            .iter()
            .filter(|outcome| outcome.retries == retries && !outcome.canceled && ends_with_sending(outcome));
        let mut times: Vec<u64> = times.map(|outcome| outcome.recovery_ms).collect();
        times.sort_unstable();
        row(page, name, &times);
    }
    let mut counts: Vec<u64> = outcomes
        .iter()
        .filter(|outcome| !outcome.canceled)
        .map(|outcome| outcome.counts_ms)
        .collect();
    counts.sort_unstable();
    row(page, "from SENT until every count was exact", &counts);
    line!(page, "");
}

fn ends_with_sending(outcome: &Outcome) -> bool {
    let last = outcome.struck.iter().max_by_key(|one| one.over_ms);
    last.is_some_and(|one| {
        sends(one)
            || one
                .point
                .as_deref()
                .is_some_and(|point| point.starts_with("plan."))
    })
}

fn row(page: &mut String, name: &str, times: &[u64]) {
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len().saturating_sub(1)));
    let shown = |time: Option<&u64>| {
        time.map_or("–".to_owned(), |time| {
            format!("{:.1} s", *time as f64 / 1_000.0)
        })
    };
    let (median, most, longest) = (shown(at(50)), shown(at(95)), shown(times.last()));
    line!(
        page,
        "| {name} | {} | {median} | {most} | {longest} |",
        times.len()
    );
}

fn points(page: &mut String, outcomes: &[Outcome]) {
    let mut at: BTreeMap<(&str, Blow), u64> = BTreeMap::new();
    let mut weather: BTreeMap<Surroundings, u64> = BTreeMap::new();
    for struck in outcomes.iter().flat_map(|outcome| &outcome.struck) {
        if let (Some(point), Some(blow)) = (&struck.point, struck.blow) {
            *at.entry((point.as_str(), blow)).or_default() += 1;
        }
        if let Some(kind) = struck.weather {
            *weather.entry(kind).or_default() += 1;
        }
    }
    line!(page, "## Where the faults struck\n");
    line!(
        page,
        "| process | point | kill -9 | stopped and continued | terminated |"
    );
    line!(page, "| --- | --- | ---: | ---: | ---: |");
    for (point, role, _) in POINTS {
        let of = |blow| at.get(&(*point, blow)).copied().unwrap_or(0);
        let (killed, stopped, terminated) = (of(Blow::Kill), of(Blow::Stop), of(Blow::Terminate));
        let process = match role {
            Role::Api => "API server",
            Role::Worker => "worker",
            Role::ResultWorker => "result worker",
        };
        line!(
            page,
            "| {process} | `{point}` | {killed} | {stopped} | {terminated} |"
        );
    }
    line!(page, "\n| around the processes | |");
    line!(page, "| --- | ---: |");
    for kind in Surroundings::ALL {
        let count = weather.get(&kind).copied().unwrap_or(0);
        line!(page, "| {} | {count} |", kind.name());
    }
    line!(page, "");
}

fn violations(page: &mut String, outcomes: &[Outcome]) {
    line!(page, "## Broken invariants\n");
    let mut any = false;
    for outcome in outcomes.iter().filter(|outcome| !outcome.violations.is_empty()) {
        any = true;
        let faults: Vec<&str> = outcome.struck.iter().map(|struck| struck.what.as_str()).collect();
        line!(
            page,
            "- `{}` at {}: {} (after {})",
            outcome.title,
            outcome.commit,
            outcome.violations.join("; "),
            faults.join(", ")
        );
    }
    if !any {
        line!(page, "None.");
    }
}
