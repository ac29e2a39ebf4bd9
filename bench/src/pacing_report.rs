//! `docs/bench/pacing.md`, and the raw figures beside it.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::arithmetic::{Spread, jain};
use crate::plots;
use crate::processor::PerDevice;

/// Everything of one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) quota_per_minute: u32,
    pub(crate) burst_ms: u32,
    pub(crate) ramp_seconds: u64,
    pub(crate) latency_ms: u64,
    pub(crate) devices: u64,
    pub(crate) commit: String,
    /// How it was asked for.
    #[serde(default)]
    pub(crate) command: String,
    /// Settings of the worker that are not the defaults.
    pub(crate) worker: String,
    pub(crate) steady: Steady,
    /// Refusals in all the run.
    pub(crate) limited: u64,
    pub(crate) shared: Vec<Shared>,
    /// Small campaigns while nothing else was sent.
    #[serde(default)]
    pub(crate) alone: Vec<Small>,
    /// Small campaigns beside two large ones.
    pub(crate) small: Vec<Small>,
    pub(crate) worker_peak_bytes: u64,
    pub(crate) curve: Vec<Curve>,
}

/// One campaign alone, after the ramp.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Steady {
    /// Seconds since the first send.
    pub(crate) from_second: f64,
    pub(crate) seconds: f64,
    pub(crate) sent: u64,
    pub(crate) per_second: f64,
    pub(crate) of_quota: f64,
    pub(crate) least_in_a_second: u64,
    pub(crate) most_in_a_second: u64,
    pub(crate) limited: u64,
    pub(crate) worker_of_a_core: f64,
    #[serde(flatten)]
    pub(crate) cpu: PerDevice,
}

/// What the two large campaigns sent in five seconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Shared {
    pub(crate) second: u64,
    pub(crate) third: u64,
    /// Everything that was sent, the small ones included, over the quota.
    pub(crate) of_quota: f64,
}

/// A campaign to a few; milliseconds are from the launch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Small {
    pub(crate) title: String,
    pub(crate) launched_us: i64,
    pub(crate) devices: u64,
    pub(crate) first_ms: f64,
    pub(crate) last_ms: f64,
    pub(crate) sent_ms: f64,
}

/// Sends in each second since the first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) per_second: Vec<u64>,
}

impl Report {
    /// Writes `pacing.md` and `pacing.json`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        let json = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(folder.join("pacing.json"), json)?;
        let table = self.table();
        print!("{table}");
        std::fs::write(folder.join("pacing.md"), table)?;
        plots::draw(folder)
    }

    fn table(&self) -> String {
        let steady = &self.steady;
        let met = |is_met: bool| if is_met { "yes" } else { "**no**" };
        let evenness = self
            .shared
            .iter()
            .map(|share| jain(&[share.second as f64, share.third as f64]));
        let part = self.shared.iter().map(|share| {
            let both = (share.second + share.third).max(1) as f64;
            100.0 * share.second as f64 / both
        });
        let small = |figure: fn(&Small) -> f64| {
            let of = |some: &[Small]| Spread::of(some.iter().map(figure)).shown(0);
            format!("{}; alone {}", of(&self.small), of(&self.alone))
        };
        let settings = match self.worker.is_empty() {
            true => "The worker's settings are the defaults.".to_owned(),
            false => format!("Settings of the worker: `{}`.", self.worker),
        };
        let mut text = format!(
            "# FCM's quota, kept\n\n\
             ![sends in each second](pacing.svg)\n\n\
             2 cores, 24 GiB; mongod, the sandbox and one process per role share them. {} Android devices, answers \
             take {} ms. The sandbox refuses what is beyond {} a minute and {} ms of that at once (FCM's own bucket \
             holds a minute's). {settings} Commit {}.\n\nCommand: `{}`\n\n\
             ## One campaign, after a ramp of {} s: {:.0} s from second {:.0} on\n\n\
             | figure | measured | target | met |\n| --- | --- | --- | --- |\n",
            self.devices,
            self.latency_ms,
            self.quota_per_minute,
            self.burst_ms,
            self.commit,
            self.command,
            self.ramp_seconds,
            steady.seconds,
            steady.from_second,
        );
        let rows = [
            (
                "sends a second",
                format!(
                    "{:.0}, {:.2} % of the quota (in single seconds {} to {})",
                    steady.per_second,
                    100.0 * steady.of_quota,
                    steady.least_in_a_second,
                    steady.most_in_a_second
                ),
                "within 1 %",
                Some((steady.of_quota - 1.0).abs() <= 0.01),
            ),
            (
                "refusals (429) in these seconds; in all the run",
                format!("{}; {}", steady.limited, self.limited),
                "0",
                Some(self.limited == 0),
            ),
            (
                "processor of the worker, of one core",
                format!(
                    "{:.1} %, {:.1} µs a send",
                    100.0 * steady.worker_of_a_core,
                    steady.cpu.worker_us
                ),
                "10 %",
                Some(steady.worker_of_a_core <= 0.1),
            ),
            (
                "of the API server, the result worker and mongod, µs a send",
                format!(
                    "{:.1}, {:.1}, {:.1}",
                    steady.cpu.apiserver_us,
                    steady.cpu.result_worker_us,
                    steady.cpu.mongod_us.unwrap_or(f64::NAN)
                ),
                "",
                None,
            ),
            (
                "worker, peak of memory, MiB",
                format!("{}", self.worker_peak_bytes >> 20),
                "",
                None,
            ),
        ];
        for (name, value, target, is_met) in rows {
            let is_met = is_met.map_or("", met);
            text.push_str(&format!("| {name} | {value} | {target} | {is_met} |\n"));
        }
        text.push_str(&format!(
            "\n## Two campaigns and small ones share it\n\n\
             Two campaigns to everybody at once, and every three seconds one to {} devices, which a condition \
             on a property picks out of all {}. Middle, least to most in parentheses.\n\n\
             | figure | measured |\n| --- | --- |\n\
             | share of the one among both, % in each 5 s | {} |\n\
             | how even, after Jain (1 is even), in each 5 s | {} |\n\
             | all sends over the quota, in each 5 s | {} |\n\
             | a small one: from its launch to its first send, ms | {} |\n\
             | to its last, ms | {} |\n\
             | to SENT, ms | {} |\n",
            self.small.first().map_or(0, |small| small.devices),
            self.devices,
            Spread::of(part).shown(1),
            Spread::of(evenness).shown(4),
            Spread::of(self.shared.iter().map(|share| share.of_quota)).shown(3),
            small(|small| small.first_ms),
            small(|small| small.last_ms),
            small(|small| small.sent_ms),
        ));
        text
    }
}
