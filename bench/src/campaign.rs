//! Whole campaigns: devices are imported through the API once, then campaigns to all of them run in turn
//! with the ceiling.
//!
//! Several audiences are measured in one run, in turn, each in a database with roles of its own: what a
//! round compares was measured within the same minute.

use std::io::Write as _;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use jraze_tests::campaign::{SENT, create, launch_draft, until};
use jraze_tests::population::Person;
use jraze_tests::stack::{MONGODB_URI, Process, Roles, run as run_jraze};
use mongodb::bson::doc;
use serde_json::{Value, json};

use crate::processor::Spent;
use crate::report::{self, Campaign, Memory, Report};
use crate::{Common, ceiling};

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Devices in the audience; four in ten are on APNs. More than one, with commas: an audience of each
    /// size, in turn, and how the rates compare.
    #[arg(long, default_values_t = [1_000_000], value_delimiter = ',')]
    devices: Vec<u64>,
    /// How long every answer of a provider takes, in milliseconds.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// More lines for `[worker]`, such as `windows_in_flight = 8`.
    #[arg(long, default_value = "")]
    worker: String,
}

/// An audience and who sends to it.
struct Audience {
    devices: u64,
    stack: Roles,
    fcm_base_url: String,
    imported_per_second: f64,
    campaigns: Vec<Campaign>,
}

/// `command` is how it was asked for.
pub(crate) async fn run(options: Options, command: &str) -> Result<()> {
    let Common { rounds, out, commit } = options.common.clone();
    let sandbox = format!("load_only = true\nlatency_ms = {}\n", options.latency_ms);
    let mut worker = options.worker.replace(';', "\n");
    if !worker.contains("fcm_quota_per_minute") {
        // Pacing to FCM's quota would be the only thing measured.
        worker.push_str("\nfcm_quota_per_minute = 0\n");
    }
    let mut audiences = Vec::new();
    for devices in options.devices {
        let stack = Roles::start_shaped(&format!("bench{devices}"), &worker, &sandbox).await?;
        let fcm_base_url = stack.sandbox().about().await?["addresses"]["fcm_base_url"]
            .as_str()
            .context("the sandbox names its address")?
            .to_owned();
        let imported_per_second =
            import(&stack, (1..=devices).map(|n| Person(n).import_line()), devices).await?;
        println!("{devices} devices imported: {imported_per_second:.0}/s");
        audiences.push(Audience {
            devices,
            stack,
            fcm_base_url,
            imported_per_second,
            campaigns: Vec::new(),
        });
    }
    for round in 1..=rounds {
        for audience in &mut audiences {
            let campaign = audience.campaign(options.latency_ms).await?;
            println!("round {round}, {} devices: {campaign}", audience.devices);
            audience.campaigns.push(campaign);
        }
    }
    let mut reports = Vec::new();
    for audience in audiences {
        let stack = audience.stack;
        reports.push(Report {
            devices: audience.devices,
            latency_ms: options.latency_ms,
            imported_per_second: audience.imported_per_second,
            campaigns: audience.campaigns,
            memory: Memory {
                apiserver: peak(&stack.apiserver),
                worker: peak(&stack.worker),
                result_worker: peak(&stack.result_worker),
            },
            commit: commit.clone(),
            command: command.to_owned(),
        });
        stack.stop().await?;
    }
    report::write(&reports, &out)
}

impl Audience {
    async fn campaign(&self, latency_ms: u64) -> Result<Campaign> {
        // With a latency, the client that knows no other limit than its streams says nothing.
        let ceiling = if latency_ms == 0 {
            let requests = self.devices.clamp(200_000, 1_000_000);
            Some(ceiling::measure(&self.fcm_base_url, requests, self.stack.folder.path()).await?)
        } else {
            None
        };
        one(&self.stack, self.devices, ceiling).await
    }
}

/// Imports what the lines say, through the API; devices in a second.
pub(crate) async fn import(stack: &Roles, lines: impl Iterator<Item = Value>, devices: u64) -> Result<f64> {
    let file = stack.folder.path().join("devices.ndjson");
    let mut written = std::io::BufWriter::new(std::fs::File::create(&file)?);
    for line in lines {
        writeln!(written, "{line}")?;
    }
    written.flush()?;
    drop(written);
    let key = stack.keys["server"].as_str().context("a server key")?;
    let environment = [("JRAZE_API", stack.api_url.as_str()), ("JRAZE_KEY", key)];
    let began = Instant::now();
    run_jraze(
        &["--json", "import", &file.to_string_lossy()],
        stack.folder.path(),
        &environment,
    )
    .await?
    .success()?;
    let rate = devices as f64 / began.elapsed().as_secs_f64();
    write_out().await?;
    Ok(rate)
}

/// Has the database write to disk what an import left in its memory. By itself it does so within a minute, in
/// the middle of whatever is measured then.
async fn write_out() -> Result<()> {
    let uri = std::env::var(MONGODB_URI).context("the bench needs a database")?;
    let client = mongodb::Client::with_uri_str(uri).await?;
    client.database("admin").run_command(doc! { "fsync": 1 }).await?;
    Ok(())
}

/// What the campaigns that are measured say.
pub(crate) fn sale() -> Value {
    json!({ "title": "Spring sale", "body": "Everything must go" })
}

async fn one(stack: &Roles, devices: u64, ceiling: Option<f64>) -> Result<Campaign> {
    let (api, control) = (stack.api("server"), stack.sandbox());
    control.clear_load().await?;
    let path = create(&api, sale()).await?;
    let cpu = Spent::by(stack);
    let (began, began_us) = (Instant::now(), now_us());
    launch_draft(&api, &path).await?;
    let done = until(&api, &path, SENT, 900).await;
    let wall = began.elapsed();
    let cpu = cpu.until(Spent::by(stack), devices);
    let load = control.load().await?;
    let sent = &done["sent"];
    let counted: u64 = ["android", "ios", "web"]
        .iter()
        .filter_map(|name| sent[*name].as_u64())
        .sum();
    let accepted =
        load["fcm"]["accepted"].as_u64().unwrap_or(0) + load["apns"]["accepted"].as_u64().unwrap_or(0);
    ensure!(counted == devices, "counted {counted} of {devices}: {done}");
    ensure!(
        accepted == devices,
        "the sandbox accepted {accepted} of {devices}: {load}"
    );
    let (first_us, last_us) = span(&load);
    Ok(Campaign {
        ceiling,
        wall_seconds: wall.as_secs_f64(),
        dispatch_seconds: (last_us - first_us) as f64 / 1e6,
        first_send_seconds: Some((first_us - began_us) as f64 / 1e6),
        devices,
        cpu,
    })
}

/// When a provider took the first send, and when the last, by the sandbox's clock, which is the machine's.
fn span(load: &Value) -> (i64, i64) {
    let times = |name: &str| {
        ["fcm", "apns"]
            .iter()
            .filter_map(|provider| load[*provider][name].as_i64())
            .filter(|at| *at > 0)
            .collect::<Vec<_>>()
    };
    let first = times("first_us").into_iter().min().unwrap_or(0);
    let last = times("last_us").into_iter().max().unwrap_or(0);
    (first, last)
}

/// Microseconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "what is measured happens on the machine's own clock, which the sandbox tells too"
)]
pub(crate) fn now_us() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_micros() as i64)
}

fn peak(process: &Process) -> u64 {
    process.peak_memory().unwrap_or(0)
}
