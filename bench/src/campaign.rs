//! Whole campaigns: devices are imported through the API once, then campaigns to all of them run in turn
//! with the ceiling.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jraze_tests::eventually::eventually;
use jraze_tests::population::Person;
use jraze_tests::stack::{Process, Roles, run as command};
use serde_json::{Value, json};

use crate::report::{Campaign, Memory, Report};
use crate::{Common, ceiling};

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// Devices in the audience; four in ten are on APNs.
    #[arg(long, default_value_t = 1_000_000)]
    devices: u64,
    /// How long every answer of a provider takes, in milliseconds.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// More lines for `[worker]`, such as `windows_in_flight = 8`.
    #[arg(long, default_value = "")]
    worker: String,
}

const SENT: u64 = 2;

pub(crate) async fn run(options: Options) -> Result<()> {
    let Common { rounds, out, commit } = options.common.clone();
    let sandbox = format!("load_only = true\nlatency_ms = {}\n", options.latency_ms);
    let mut worker = options.worker.replace(';', "\n");
    if !worker.contains("fcm_quota_per_minute") {
        // Pacing to FCM's quota would be the only thing measured.
        worker.push_str("\nfcm_quota_per_minute = 0\n");
    }
    let stack = Roles::start_shaped("bench", &worker, &sandbox).await?;
    let control = stack.sandbox();
    let fcm = control.about().await?["addresses"]["fcm_base_url"]
        .as_str()
        .context("the sandbox names its address")?
        .to_owned();
    let imported = import(&stack, options.devices).await?;
    println!("{} devices imported: {imported:.0}/s", options.devices);

    let mut campaigns = Vec::new();
    for round in 1..=rounds {
        let ceiling = if options.latency_ms == 0 {
            Some(
                ceiling::measure(
                    &fcm,
                    options.devices.clamp(200_000, 1_000_000),
                    stack.folder.path(),
                )
                .await?,
            )
        } else {
            None
        };
        let campaign = one(&stack, options.devices, ceiling).await?;
        println!("round {round}: {campaign}");
        campaigns.push(campaign);
    }
    let report = Report {
        devices: options.devices,
        latency_ms: options.latency_ms,
        imported_per_second: imported,
        campaigns,
        memory: Memory {
            apiserver: peak(&stack.apiserver),
            worker: peak(&stack.worker),
            result_worker: peak(&stack.result_worker),
        },
        commit,
    };
    report.write(&out)?;
    stack.stop().await
}

async fn import(stack: &Roles, devices: u64) -> Result<f64> {
    let file = stack.folder.path().join("devices.ndjson");
    let mut lines = std::io::BufWriter::new(std::fs::File::create(&file)?);
    for person in (1..=devices).map(Person) {
        writeln!(lines, "{}", person.import_line())?;
    }
    lines.flush()?;
    drop(lines);
    let key = stack.keys["server"].as_str().context("a server key")?;
    let environment = [("JRAZE_API", stack.api_url.as_str()), ("JRAZE_KEY", key)];
    let began = Instant::now();
    command(
        &["--json", "import", &file.to_string_lossy()],
        stack.folder.path(),
        &environment,
    )
    .await?
    .success()?;
    Ok(devices as f64 / began.elapsed().as_secs_f64())
}

async fn one(stack: &Roles, devices: u64, ceiling: Option<f64>) -> Result<Campaign> {
    let (api, control) = (stack.api("server"), stack.sandbox());
    control.clear_load().await?;
    let draft = json!({ "title": "Spring sale", "body": "Everything must go", "all": true });
    let created = api.post("/notifications", &draft).await?;
    let path = format!("/notifications/{}", created["uuid"].as_str().context("a uuid")?);
    let cpu = [&stack.worker, &stack.apiserver, &stack.result_worker].map(spent);
    let began = Instant::now();
    api.post_empty(&format!("{path}/:launch")).await?;
    let done = eventually(
        "the campaign is SENT",
        Duration::from_secs(900),
        async || api.get(&path).await.unwrap_or_default(),
        |notification| notification["status"] == SENT,
    )
    .await;
    let wall = began.elapsed();
    let [worker, apiserver, result_worker] =
        [&stack.worker, &stack.apiserver, &stack.result_worker].map(spent);
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
    let per_device =
        |before: Duration, after: Duration| (after - before).as_secs_f64() * 1e6 / devices as f64;
    Ok(Campaign {
        ceiling,
        wall_seconds: wall.as_secs_f64(),
        dispatch_seconds: span(&load),
        devices,
        worker_us: per_device(cpu[0], worker),
        apiserver_us: per_device(cpu[1], apiserver),
        result_worker_us: per_device(cpu[2], result_worker),
    })
}

/// From the first send that a provider took to the last, in seconds.
fn span(load: &Value) -> f64 {
    let times = |name: &str| {
        ["fcm", "apns"]
            .iter()
            .filter_map(|provider| load[*provider][name].as_i64())
            .filter(|at| *at > 0)
            .collect::<Vec<_>>()
    };
    let first = times("first_us").into_iter().min().unwrap_or(0);
    let last = times("last_us").into_iter().max().unwrap_or(0);
    (last - first) as f64 / 1e6
}

fn spent(process: &Process) -> Duration {
    process.cpu_time().unwrap_or_default()
}

fn peak(process: &Process) -> u64 {
    process.peak_memory().unwrap_or(0)
}
