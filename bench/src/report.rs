//! The table under `docs/bench/`, and the raw figures beside it.

use std::fmt;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

/// One campaign, with the ceiling that was measured just before it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Campaign {
    /// Requests in a second that `h2load` reached; none where latency makes it meaningless.
    pub(crate) ceiling: Option<f64>,
    /// From launch to SENT.
    pub(crate) wall_seconds: f64,
    /// From the first send to the last.
    pub(crate) dispatch_seconds: f64,
    pub(crate) devices: u64,
    /// Processor time for each device, in microseconds.
    pub(crate) worker_us: f64,
    pub(crate) apiserver_us: f64,
    pub(crate) result_worker_us: f64,
}

impl Campaign {
    fn whole(&self) -> f64 {
        self.devices as f64 / self.wall_seconds
    }

    fn dispatch(&self) -> f64 {
        self.devices as f64 / self.dispatch_seconds
    }
}

impl fmt::Display for Campaign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0}/s whole, {:.0}/s dispatch, worker {:.1} us a device",
            self.whole(),
            self.dispatch(),
            self.worker_us
        )?;
        match self.ceiling {
            Some(ceiling) => write!(
                f,
                "; H {ceiling:.0}/s: {:.2} and {:.2} of it",
                self.whole() / ceiling,
                self.dispatch() / ceiling
            ),
            None => Ok(()),
        }
    }
}

/// Peaks of memory, in bytes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Memory {
    pub(crate) apiserver: u64,
    pub(crate) worker: u64,
    pub(crate) result_worker: u64,
}

/// Everything of one run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    pub(crate) devices: u64,
    pub(crate) latency_ms: u64,
    pub(crate) imported_per_second: f64,
    pub(crate) campaigns: Vec<Campaign>,
    pub(crate) memory: Memory,
    pub(crate) commit: String,
}

impl Report {
    /// Writes `campaign-<devices>[-<latency>ms].md` and `.json`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        let latency = match self.latency_ms {
            0 => String::new(),
            millis => format!("-{millis}ms"),
        };
        let name = format!("campaign-{}{latency}", self.devices);
        std::fs::write(
            folder.join(format!("{name}.json")),
            serde_json::to_string_pretty(self)? + "\n",
        )?;
        let table = self.table();
        print!("{table}");
        std::fs::write(folder.join(format!("{name}.md")), table)?;
        Ok(())
    }

    fn table(&self) -> String {
        let of = |figure: fn(&Campaign) -> f64| Spread::of(self.campaigns.iter().map(figure));
        let ratio = |rate: fn(&Campaign) -> f64| {
            Spread::of(self.campaigns.iter().filter_map(|c| Some(rate(c) / c.ceiling?)))
        };
        let mut rows = vec![
            (
                "whole campaign, launch to SENT, devices/s".to_owned(),
                of(Campaign::whole).shown(0),
            ),
            (
                "dispatch, first send to last, devices/s".to_owned(),
                of(Campaign::dispatch).shown(0),
            ),
        ];
        if self.latency_ms == 0 {
            rows.push((
                "ceiling H (h2load), requests/s".to_owned(),
                Spread::of(self.campaigns.iter().filter_map(|c| c.ceiling)).shown(0),
            ));
            rows.push((
                "**whole campaign over H**".to_owned(),
                ratio(Campaign::whole).shown(2),
            ));
            rows.push((
                "**dispatch over H**".to_owned(),
                ratio(Campaign::dispatch).shown(2),
            ));
        }
        rows.extend([
            (
                "worker, µs of processor a device".to_owned(),
                of(|c| c.worker_us).shown(1),
            ),
            (
                "API server, µs a device".to_owned(),
                of(|c| c.apiserver_us).shown(1),
            ),
            (
                "result worker, µs a device".to_owned(),
                of(|c| c.result_worker_us).shown(1),
            ),
            (
                "import through the API, devices/s (once)".to_owned(),
                format!("{:.0}", self.imported_per_second),
            ),
        ]);
        for (role, bytes) in [
            ("worker", self.memory.worker),
            ("API server", self.memory.apiserver),
            ("result worker", self.memory.result_worker),
        ] {
            rows.push((format!("{role}, peak of memory, MiB"), format!("{}", bytes >> 20)));
        }
        let latency = match self.latency_ms {
            0 => "no latency".to_owned(),
            millis => format!("{millis} ms latency"),
        };
        let mut text = format!(
            "# A campaign to {} devices, {latency}\n\n\
             2 cores, 24 GiB; mongod, the sandbox and every role share them. Six in ten devices are on FCM (100 \
             streams a connection), four on APNs (1, then 1000). Middle of {} rounds, least to most in \
             parentheses. Commit {}.\n\n\
             Command: `make bench DEVICES={} LATENCY_MS={}`\n\n| figure | measured |\n| --- | --- |\n",
            self.devices,
            self.campaigns.len(),
            self.commit,
            self.devices,
            self.latency_ms
        );
        for (name, value) in rows {
            text.push_str(&format!("| {name} | {value} |\n"));
        }
        text
    }
}

/// The middle of some figures, the least and the most.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    least: f64,
    middle: f64,
    most: f64,
}

impl Spread {
    fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.collect();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        Self {
            least: at(0),
            middle: at(sorted.len() / 2),
            most: at(sorted.len().saturating_sub(1)),
        }
    }

    fn shown(self, digits: usize) -> String {
        format!(
            "{:.digits$} ({:.digits$} to {:.digits$})",
            self.middle, self.least, self.most
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_with_its_ends() {
        let spread = Spread::of([3.0, 1.0, 2.0].into_iter());
        assert_eq!(spread.shown(0), "2 (1 to 3)");
    }
}
