//! `docs/bench/api.md`, and the raw figures beside it.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::load::Load;
use crate::arithmetic::Spread;

/// An import of one round. Rates are devices in a second; times are of processors, for each device.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Import {
    pub(super) new: f64,
    pub(super) again: f64,
    pub(super) raw: f64,
    pub(super) new_apiserver_us: f64,
    pub(super) new_mongod_us: Option<f64>,
    pub(super) again_apiserver_us: f64,
    pub(super) again_mongod_us: Option<f64>,
    pub(super) raw_mongod_us: Option<f64>,
    pub(super) document_bytes: f64,
}

/// One operation of one round.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Operation {
    pub(super) name: String,
    pub(super) callers: usize,
    pub(super) closed: Load,
    pub(super) open: Load,
    pub(super) raw: Option<Load>,
    pub(super) apiserver_us: f64,
    pub(super) mongod_us: Option<f64>,
    /// By an API server that writes every change by itself.
    pub(super) ungathered: Option<Load>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Round {
    pub(super) import: Import,
    pub(super) operations: Vec<Operation>,
}

/// Everything of one run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    pub(super) devices_a_round: u64,
    pub(super) uploads: usize,
    pub(super) connections: usize,
    pub(super) campaigns: u64,
    pub(super) rounds: Vec<Round>,
    pub(super) apiserver_peak: u64,
    pub(super) commit: String,
    /// How it was asked for.
    pub(super) command: String,
}

impl Report {
    /// Writes `api.md` and `api.json`.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(
            folder.join("api.json"),
            serde_json::to_string_pretty(self)? + "\n",
        )?;
        let table = self.table()?;
        print!("{table}");
        std::fs::write(folder.join("api.md"), table)?;
        Ok(())
    }

    fn table(&self) -> Result<String> {
        let mut text = format!(
            "# The API under load\n\n\
             2 cores, 24 GiB; mongod (a replica set of one, majority writes, a cache of 8 GB), every role and \
             the load share them. Every round imports {} new devices in {} requests at once, then imports the same \
             again; {} connections ask for the rest. Middle of {} rounds, least to most in parentheses. Commit {}.\n\n\
             Command: `{}`\n\n\
             ## Import\n\n| figure | measured |\n| --- | --- |\n",
            self.devices_a_round,
            self.uploads,
            self.connections,
            self.rounds.len(),
            self.commit,
            self.command
        );
        let import =
            |figure: fn(&Import) -> f64| Spread::of(self.rounds.iter().map(|round| figure(&round.import)));
        let rows: [(&str, Spread, usize); 11] = [
            ("new devices through the API, devices/s", import(|i| i.new), 0),
            (
                "the same documents by the driver (`insertMany`, same indexes), devices/s",
                import(|i| i.raw),
                0,
            ),
            ("**API over driver**", import(|i| i.new / i.raw), 2),
            (
                "devices that are there, through the API, devices/s",
                import(|i| i.again),
                0,
            ),
            (
                "API server, µs of processor a new device",
                import(|i| i.new_apiserver_us),
                1,
            ),
            (
                "mongod, µs a new device",
                import(|i| i.new_mongod_us.unwrap_or(f64::NAN)),
                1,
            ),
            (
                "mongod, µs a document by the driver",
                import(|i| i.raw_mongod_us.unwrap_or(f64::NAN)),
                1,
            ),
            (
                "API server, µs a known device",
                import(|i| i.again_apiserver_us),
                1,
            ),
            (
                "mongod, µs a known device",
                import(|i| i.again_mongod_us.unwrap_or(f64::NAN)),
                1,
            ),
            ("bytes of a document", import(|i| i.document_bytes), 0),
            (
                "API server, peak of memory, MiB",
                Spread::of([self.apiserver_peak as f64 / 1_048_576.0]),
                0,
            ),
        ];
        for (name, spread, digits) in rows {
            writeln!(text, "| {name} | {} |", spread.shown(digits))?;
        }
        text.push_str(
            "\n## One thing at a time\n\n\
             Closed: every connection asks again as soon as it was answered. By the driver: the same with one call of \
             the plain driver (`findOneAndUpdate`, `findOne`, `count`) for every request, without HTTP, keys and rules. \
             Ungathered: the same requests to an API server that writes each by itself. Latencies are of half that rate, with \
             requests due at fixed times and counted from then (open load).\n\n\
             | operation | connections | requests/s | by the driver | **API over driver** | ungathered | **gathered over ungathered** | API server + mongod, µs each | \
             open, requests/s | p50 ms | p99 ms | p99.9 ms |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        let kinds = self.rounds.first().map_or(0, |round| round.operations.len());
        for kind in 0..kinds {
            let all: Vec<&Operation> = self
                .rounds
                .iter()
                .filter_map(|round| round.operations.get(kind))
                .collect();
            let Some(one) = all.first() else { continue };
            let of = |figure: &dyn Fn(&Operation) -> f64| {
                Spread::of(all.iter().map(|operation| figure(operation)))
            };
            let other = |figure: &dyn Fn(&Operation) -> Option<f64>, digits| match figure(one) {
                Some(_) => Spread::of(all.iter().filter_map(|operation| figure(operation))).shown(digits),
                None => "-".to_owned(),
            };
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {:.0} + {:.0} | {:.0} | {} | {} | {} |",
                one.name,
                one.callers,
                of(&|o| o.closed.rate).shown(0),
                other(&|o| Some(o.raw?.rate), 0),
                other(&|o| Some(o.closed.rate / o.raw?.rate), 2),
                other(&|o| Some(o.ungathered?.rate), 0),
                other(&|o| Some(o.closed.rate / o.ungathered?.rate), 2),
                of(&|o| o.apiserver_us).middle,
                of(&|o| o.mongod_us.unwrap_or(f64::NAN)).middle,
                of(&|o| o.open.rate).middle,
                of(&|o| o.open.p50).shown(1),
                of(&|o| o.open.p99).shown(1),
                of(&|o| o.open.p999).shown(1),
            )?;
        }
        writeln!(
            text,
            "\nHistories after {} campaigns to the first round's devices.",
            self.campaigns
        )?;
        Ok(text)
    }
}
