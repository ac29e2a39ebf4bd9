//! The table under `docs/bench/`, and the raw figures beside it.

use std::fmt;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::arithmetic::Spread;
use crate::plots;
use crate::processor::PerDevice;

/// One campaign, with the ceiling that was measured just before it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Campaign {
    /// Requests in a second that `h2load` reached; none where latency makes it meaningless.
    pub(crate) ceiling: Option<f64>,
    /// From launch to SENT.
    pub(crate) wall_seconds: f64,
    /// From the first send to the last.
    pub(crate) dispatch_seconds: f64,
    /// From launch to the first send.
    #[serde(default)]
    pub(crate) first_send_seconds: Option<f64>,
    pub(crate) devices: u64,
    /// Processor time for each device.
    #[serde(flatten)]
    pub(crate) cpu: PerDevice,
}

/// One figure of a campaign.
pub(crate) type Figure = fn(&Campaign) -> f64;

impl Campaign {
    pub(crate) fn whole(&self) -> f64 {
        self.devices as f64 / self.wall_seconds
    }

    pub(crate) fn dispatch(&self) -> f64 {
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
            self.cpu.worker_us
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
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) apiserver: u64,
    pub(crate) worker: u64,
    pub(crate) result_worker: u64,
}

/// Everything of one audience in one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) devices: u64,
    pub(crate) latency_ms: u64,
    pub(crate) imported_per_second: f64,
    pub(crate) campaigns: Vec<Campaign>,
    pub(crate) memory: Memory,
    pub(crate) commit: String,
    /// How it was asked for.
    #[serde(default)]
    pub(crate) command: String,
}

impl Report {
    /// Writes `campaign-<devices>[-<latency>ms].md` and `.json`.
    fn write(&self, folder: &Path) -> Result<()> {
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
        let of = |figure: Figure| Spread::of(self.campaigns.iter().map(figure));
        let ratio =
            |rate: Figure| Spread::of(self.campaigns.iter().filter_map(|c| Some(rate(c) / c.ceiling?)));
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
                "from launch to the first send, s".to_owned(),
                optional(&self.campaigns, |c| c.first_send_seconds).shown(2),
            ),
            (
                "from the last send to SENT, s".to_owned(),
                optional(&self.campaigns, |c| {
                    Some(c.wall_seconds - c.dispatch_seconds - c.first_send_seconds?)
                })
                .shown(2),
            ),
            (
                "worker, µs of processor a device".to_owned(),
                of(|c| c.cpu.worker_us).shown(1),
            ),
            (
                "API server, µs a device".to_owned(),
                of(|c| c.cpu.apiserver_us).shown(1),
            ),
            (
                "result worker, µs a device".to_owned(),
                of(|c| c.cpu.result_worker_us).shown(1),
            ),
            (
                "mongod, µs a device".to_owned(),
                optional(&self.campaigns, |c| c.cpu.mongod_us).shown(1),
            ),
            (
                "sandbox (the pretend providers, with TLS), µs a device".to_owned(),
                optional(&self.campaigns, |c| c.cpu.sandbox_us).shown(1),
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
             Command: `{}`\n\n| figure | measured |\n| --- | --- |\n",
            self.devices,
            self.campaigns.len(),
            self.commit,
            self.command
        );
        for (name, value) in rows {
            text.push_str(&format!("| {name} | {value} |\n"));
        }
        text
    }
}

fn optional(campaigns: &[Campaign], figure: fn(&Campaign) -> Option<f64>) -> Spread {
    Spread::of(campaigns.iter().filter_map(figure))
}

/// Writes a report for each audience, and how they compare when there are several.
pub(crate) fn write(reports: &[Report], folder: &Path) -> Result<()> {
    for report in reports {
        report.write(folder)?;
    }
    let mut sizes: Vec<&Report> = reports.iter().collect();
    sizes.sort_by_key(|report| report.devices);
    let [_, .., most] = sizes[..] else {
        return Ok(());
    };
    let latency = match most.latency_ms {
        0 => String::new(),
        millis => format!("-{millis}ms"),
    };
    let json = serde_json::to_string_pretty(&sizes)? + "\n";
    std::fs::write(folder.join(format!("flatness{latency}.json")), json)?;
    let table = flatness(&sizes, most);
    print!("{table}");
    std::fs::write(folder.join(format!("flatness{latency}.md")), table)?;
    plots::draw(folder)
}

/// The table of several audiences, each against the largest, round by round.
fn flatness(sizes: &[&Report], most: &Report) -> String {
    // Drawn of the figures without latency, which have a ceiling.
    let plots = match most.latency_ms {
        0 => "![rate over H by audience size](flatness.svg)\n\n![processor time by role](cpu.svg)\n\n",
        _ => "",
    };
    let mut text = format!(
        "# Rate over audience size, {} ms latency\n\n{plots}2 cores, 24 GiB; mongod, the sandboxes and every role share \
         them. One run: in each of {} rounds a campaign to every audience in turn. Middle of the rounds, least to \
         most in parentheses. Commit {}.\n\nCommand: `{}`\n\n\
         | devices | whole campaign, devices/s | dispatch, devices/s | whole over H | dispatch over H | worker, µs a \
         device | whole rate at {} over this | dispatch |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n",
        most.latency_ms,
        most.campaigns.len(),
        most.commit,
        most.command,
        most.devices,
    );
    for report in sizes {
        let of = |figure: Figure| Spread::of(report.campaigns.iter().map(figure));
        let over = |rate: Figure| match report.campaigns.iter().all(|c| c.ceiling.is_some()) {
            true => optional_ratio(&report.campaigns, rate).shown(2),
            false => String::new(),
        };
        let against = |rate| match report.devices == most.devices {
            true => String::new(),
            false => against(&most.campaigns, &report.campaigns, rate).shown(2),
        };
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |\n",
            report.devices,
            of(Campaign::whole).shown(0),
            of(Campaign::dispatch).shown(0),
            over(Campaign::whole),
            over(Campaign::dispatch),
            of(|c| c.cpu.worker_us).shown(1),
            against(Campaign::whole),
            against(Campaign::dispatch),
        ));
    }
    text
}

fn optional_ratio(campaigns: &[Campaign], rate: Figure) -> Spread {
    Spread::of(campaigns.iter().filter_map(|c| Some(rate(c) / c.ceiling?)))
}

/// The rates of one audience over those of another, round by round.
fn against(ones: &[Campaign], others: &[Campaign], rate: Figure) -> Spread {
    Spread::of(
        ones.iter()
            .zip(others)
            .map(|(one, other)| rate(one) / rate(other)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn campaign(devices: u64, wall_seconds: f64) -> Campaign {
        Campaign {
            ceiling: Some(1_000.0),
            wall_seconds,
            dispatch_seconds: wall_seconds / 2.0,
            first_send_seconds: Some(wall_seconds / 4.0),
            devices,
            cpu: PerDevice {
                worker_us: 1.0,
                apiserver_us: 1.0,
                result_worker_us: 1.0,
                sandbox_us: None,
                mongod_us: None,
            },
        }
    }

    #[test]
    fn sizes_are_compared_within_their_round() {
        let large = [campaign(1_000, 1.0), campaign(1_000, 4.0)];
        let small = [campaign(100, 0.2), campaign(100, 0.4)];
        // 1000 over 500, and 250 over 250.
        assert_eq!(
            against(&large, &small, Campaign::whole).shown(1),
            "1.5 (1.0 to 2.0)"
        );
    }

    #[test]
    fn what_was_written_before_processor_time_of_the_others_was_kept_is_read() {
        let text = r#"{"ceiling":null,"wall_seconds":1.0,"dispatch_seconds":0.5,"devices":10,"worker_us":1.0,
                       "apiserver_us":2.0,"result_worker_us":3.0}"#;
        let campaign: Campaign = serde_json::from_str(text).expect("read");
        assert_eq!(campaign.cpu.worker_us, 1.0);
        assert!(campaign.cpu.mongod_us.is_none());
    }
}
