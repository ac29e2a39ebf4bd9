//! FCM's quota, kept: one campaign alone, then two with small ones in between.
//!
//! The sandbox enforces the quota, more strictly than FCM: its bucket refills evenly and holds a quarter of
//! a second's worth, where FCM's holds a minute's. It also says how many sends of which campaign came in
//! every tenth of a second, by its own clock, so nothing here depends on when the bench looked.
//!
//! | time | what happens |
//! | --- | --- |
//! | first | small campaigns alone, to compare with |
//! | launch | one campaign to everybody: the worker warms up from a tenth of the rate (`worker.fcm_ramp`) |
//! | warm | the steady minute: rate, refusals and the worker's processor time are of these seconds only |
//! | then | two campaigns to everybody at once, and a small one every three seconds |

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jraze_tests::campaign::{CANCELED, SENT, create, launch, launch_draft, until};
use jraze_tests::client::Api;
use jraze_tests::population::Person;
use jraze_tests::stack::Roles;
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

use crate::Common;
use crate::campaign::{import, now_us};
use crate::pacing_report::{Curve, Report, Shared, Small, Steady};
use crate::processor::Spent;

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Sends a minute that the sandbox allows and the worker paces at; FCM allows a project 600000.
    #[arg(long, default_value_t = 600_000)]
    quota: u32,
    /// What the sandbox bears at once, in milliseconds of the quota.
    #[arg(long, default_value_t = 250)]
    burst_ms: u32,
    /// The worker's `fcm_ramp`, in seconds.
    #[arg(long, default_value_t = 60)]
    ramp: u64,
    /// Seconds of the steady part.
    #[arg(long, default_value_t = 60)]
    steady: u64,
    /// Seconds in which two campaigns and the small ones share.
    #[arg(long, default_value_t = 30)]
    shared: u64,
    /// How long every answer takes, in milliseconds.
    #[arg(long, default_value_t = 50)]
    latency_ms: u64,
    /// More lines for `[worker]`, such as `windows_in_flight = 8`.
    #[arg(long, default_value = "")]
    worker: String,
}

/// After the ramp, before anything counts.
const SETTLED: Duration = Duration::from_secs(3);
/// Devices of a small campaign.
const FEW: u64 = 50;
/// Small campaigns before any large one.
const ALONE: u64 = 3;
/// The time between two small ones.
const EVERY: Duration = Duration::from_secs(3);

/// `GET /load/timeline` of the sandbox.
#[derive(Debug, Deserialize)]
struct Timeline {
    from_us: i64,
    bin_ms: u64,
    titles: BTreeMap<String, Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    first_us: i64,
    last_us: i64,
    accepted: Vec<u64>,
    limited: Vec<u64>,
}

/// `command` is how it was asked for.
pub(crate) async fn run(options: Options, command: &str) -> Result<()> {
    let per_second = f64::from(options.quota) / 60.0;
    let worker = format!(
        "fcm_quota_per_minute = {}\nfcm_ramp = \"{}s\"\n{}\n",
        options.quota,
        options.ramp,
        options.worker.replace(';', "\n")
    );
    let sandbox = format!(
        "load_only = true\nload_timeline = true\nlatency_ms = {}\nfcm.quota_per_minute = {}\nfcm.quota_burst = {}\n",
        options.latency_ms,
        options.quota,
        (per_second * f64::from(options.burst_ms) / 1_000.0).max(1.0) as u32
    );
    let stack = Roles::start_shaped("benchpacing", &worker, &sandbox).await?;
    // A tenth rises evenly to all of it; and some for what is before and behind the steady part.
    let ramp = options.ramp as f64 * 0.55;
    let settled = SETTLED.as_secs_f64() + 4.0;
    let devices = (per_second * (ramp + settled + options.steady as f64)) as u64 / FEW * FEW;
    let groups = (devices / FEW).max(1);
    let people = (1..)
        .map(Person)
        .filter(|person| !person.is_ios())
        .take(devices as usize);
    let lines = people.enumerate().map(|(n, person)| {
        let mut line = person.registration();
        line["properties"] = json!({ "segment": n as u64 % groups });
        line
    });
    let imported = import(&stack, lines, devices).await?;
    println!("{devices} devices imported: {imported:.0}/s");
    let api = stack.api("server");

    let mut alone = Vec::new();
    for n in 0..ALONE {
        alone.push(send_few(&api, format!("Alone {n}"), n % groups).await?);
    }
    let timeline = Timeline::of(&stack).await?;
    for few in &mut alone {
        few.note(&timeline)?;
    }
    stack.sandbox().clear_load().await?;

    launch(&api, json!({ "title": "First" })).await?;
    let first_us = first_send(&stack).await?;
    sleep_until(first_us, Duration::from_secs(options.ramp) + SETTLED).await;
    let (from_us, before) = (now_us(), Spent::by(&stack));
    sleep(Duration::from_secs(options.steady)).await;
    let (to_us, after) = (now_us(), Spent::by(&stack));
    println!("steady part over");

    let large = [
        launch(&api, json!({ "title": "Second" })).await?,
        launch(&api, json!({ "title": "Third" })).await?,
    ];
    sleep(Duration::from_secs(6)).await;
    let shared_from_us = now_us();
    let mut small = Vec::new();
    for n in 0..options.shared / EVERY.as_secs() {
        let next = shared_from_us + (EVERY.as_micros() as i64) * n as i64;
        sleep_until(next, Duration::ZERO).await;
        small.push(send_few(&api, format!("Small {n}"), n % groups).await?);
    }
    sleep_until(shared_from_us, Duration::from_secs(options.shared)).await;
    let shared_to_us = now_us();
    for path in &large {
        api.put(&format!("{path}/status"), &json!({ "status": CANCELED }))
            .await?;
    }
    let timeline = Timeline::of(&stack).await?;
    for few in &mut small {
        few.note(&timeline)?;
    }
    let bins = timeline.within(from_us, to_us);
    let seconds = (bins.1 - bins.0) as f64 * timeline.bin_ms as f64 / 1_000.0;
    let per_second_bins = (1_000 / timeline.bin_ms) as usize;
    let steady = timeline.total(bins);
    let in_seconds: Vec<u64> = steady
        .chunks_exact(per_second_bins)
        .map(|bins| bins.iter().sum())
        .collect();
    let cpu = after.worker().saturating_sub(before.worker()).as_secs_f64();
    let sent: u64 = steady.iter().sum();
    let report = Report {
        quota_per_minute: options.quota,
        burst_ms: options.burst_ms,
        ramp_seconds: options.ramp,
        latency_ms: options.latency_ms,
        devices,
        commit: options.common.commit.clone(),
        command: command.to_owned(),
        worker: options.worker.clone(),
        steady: Steady {
            from_second: (from_us - timeline.from_us) as f64 / 1e6,
            seconds,
            sent,
            per_second: sent as f64 / seconds,
            of_quota: sent as f64 / seconds / per_second,
            least_in_a_second: in_seconds.iter().min().copied().unwrap_or(0),
            most_in_a_second: in_seconds.iter().max().copied().unwrap_or(0),
            limited: timeline.limited(bins),
            worker_of_a_core: cpu / ((to_us - from_us) as f64 / 1e6),
            cpu: before.until(after, sent),
        },
        limited: timeline.limited((0, usize::MAX)),
        shared: timeline.shared(shared_from_us, shared_to_us, per_second),
        alone,
        small,
        worker_peak_bytes: stack.worker.peak_memory().unwrap_or(0),
        curve: timeline.curves(per_second_bins),
    };
    report.write(&options.common.out)?;
    // What is claimed goes out; then nothing of a cancelled campaign is left.
    sleep(Duration::from_secs(2)).await;
    stack.stop().await
}

impl Small {
    /// What the sandbox saw of it.
    fn note(&mut self, timeline: &Timeline) -> Result<()> {
        let row = timeline
            .titles
            .get(&self.title)
            .context("a small campaign that was not sent")?;
        self.first_ms = (row.first_us - self.launched_us) as f64 / 1_000.0;
        self.last_ms = (row.last_us - self.launched_us) as f64 / 1_000.0;
        let sent: u64 = row.accepted.iter().sum();
        ensure!(sent == FEW, "{sent} of {FEW} were sent to: {row:?}");
        Ok(())
    }
}

impl Timeline {
    async fn of(stack: &Roles) -> Result<Self> {
        Ok(serde_json::from_value(stack.sandbox().load_timeline().await?)?)
    }

    /// The bins that lie wholly between two moments.
    fn within(&self, from_us: i64, to_us: i64) -> (usize, usize) {
        let bin_us = self.bin_ms as f64 * 1_000.0;
        let bin = |at: i64| (at - self.from_us).max(0) as f64 / bin_us;
        (bin(from_us).ceil() as usize, bin(to_us).floor() as usize)
    }

    /// What all campaigns sent, bin by bin.
    fn total(&self, (from, to): (usize, usize)) -> Vec<u64> {
        let in_bin = |bin: usize| {
            let each = self.titles.values().filter_map(|row| row.accepted.get(bin));
            each.sum()
        };
        (from..to).map(in_bin).collect()
    }

    fn sent(&self, title: &str, (from, to): (usize, usize)) -> u64 {
        let bins = self.titles.get(title).map_or(&[][..], |row| &row.accepted);
        bins.iter().take(to).skip(from).sum()
    }

    fn limited(&self, (from, to): (usize, usize)) -> u64 {
        let bins = self
            .titles
            .values()
            .flat_map(|row| row.limited.iter().take(to).skip(from));
        bins.sum()
    }

    /// How the two large ones shared, every five seconds.
    fn shared(&self, from_us: i64, to_us: i64, per_second: f64) -> Vec<Shared> {
        let (from, to) = self.within(from_us, to_us);
        let five = (5_000 / self.bin_ms) as usize;
        let starts = (from..to).step_by(five).filter(|start| start + five <= to);
        let window = |start: usize| {
            let bins = (start, start + five);
            Shared {
                second: self.sent("Second", bins),
                third: self.sent("Third", bins),
                of_quota: self.total(bins).iter().sum::<u64>() as f64 / (5.0 * per_second),
            }
        };
        starts.map(window).collect()
    }

    /// Sends in each second, for the plot; the small ones are one curve.
    fn curves(&self, per_second_bins: usize) -> Vec<Curve> {
        let whole = self
            .titles
            .values()
            .map(|row| row.accepted.len())
            .max()
            .unwrap_or(0);
        let seconds = whole / per_second_bins;
        let summed = |chosen: &dyn Fn(&str) -> bool| {
            let mut bins = vec![0; seconds];
            for (_, row) in self.titles.iter().filter(|(title, _)| chosen(title)) {
                for (at, sent) in row.accepted.iter().take(seconds * per_second_bins).enumerate() {
                    bins[at / per_second_bins] += sent;
                }
            }
            bins
        };
        let large = ["First", "Second", "Third"];
        let mut curves: Vec<Curve> = large
            .iter()
            .map(|name| Curve {
                name: format!("{} campaign", name.to_lowercase()),
                per_second: summed(&|title| title == *name),
            })
            .collect();
        curves.push(Curve {
            name: "small ones".to_owned(),
            per_second: summed(&|title| !large.contains(&title)),
        });
        curves
    }
}

/// A campaign to a few, until it is SENT.
async fn send_few(api: &Api, title: String, segment: u64) -> Result<Small> {
    let condition = json!({ "key": "segment", "operator": "int_eq", "value": segment });
    let conditions = json!({ "join_type": "AND", "conditions": [condition] });
    let path = create(api, json!({ "title": title, "conditions": conditions })).await?;
    let launched_us = now_us();
    launch_draft(api, &path).await?;
    until(api, &path, SENT, 60).await;
    Ok(Small {
        title,
        launched_us,
        devices: FEW,
        first_ms: 0.0,
        last_ms: 0.0,
        sent_ms: (now_us() - launched_us) as f64 / 1_000.0,
    })
}

/// When the first send came.
async fn first_send(stack: &Roles) -> Result<i64> {
    for _ in 0..1_200 {
        let first = stack.sandbox().load().await?["fcm"]["first_us"]
            .as_i64()
            .unwrap_or(0);
        if first > 0 {
            return Ok(first);
        }
        sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("nothing was sent within a minute")
}

async fn sleep_until(from_us: i64, after: Duration) {
    let left = from_us + after.as_micros() as i64 - now_us();
    sleep(Duration::from_micros(left.max(0) as u64)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline() -> Timeline {
        let row = |accepted: Vec<u64>| Row {
            first_us: 0,
            last_us: 0,
            limited: vec![0, 1],
            accepted,
        };
        let titles = [
            ("Second".to_owned(), row([vec![0; 10], vec![3; 60]].concat())),
            ("Third".to_owned(), row(vec![1; 70])),
            ("Small 0".to_owned(), row([vec![0; 20], vec![50]].concat())),
        ];
        Timeline {
            from_us: 1_000_000,
            bin_ms: 100,
            titles: titles.into_iter().collect(),
        }
    }

    #[test]
    fn only_bins_that_lie_wholly_in_a_span_count() {
        let timeline = timeline();
        assert_eq!(timeline.within(1_050_000, 1_450_000), (1, 4));
        assert_eq!(timeline.within(0, 1_100_000), (0, 1));
        assert_eq!(timeline.total((9, 11)), [1, 4]);
        assert_eq!(timeline.limited((0, usize::MAX)), 3);
        assert_eq!(timeline.limited((0, 1)), 0);
    }

    #[test]
    fn shares_are_told_every_five_seconds() {
        let shared = timeline().shared(2_000_000, 8_000_000, 40.0);
        assert_eq!(shared.len(), 1);
        assert_eq!((shared[0].second, shared[0].third), (150, 50));
        // With the fifty of the small one.
        assert_eq!(shared[0].of_quota, 1.25);
    }

    #[test]
    fn curves_are_by_the_second() {
        let curves = timeline().curves(10);
        assert_eq!(curves[1].per_second, [0, 30, 30, 30, 30, 30, 30]);
        assert_eq!(curves[3].per_second, [0, 0, 50, 0, 0, 0, 0]);
    }
}
