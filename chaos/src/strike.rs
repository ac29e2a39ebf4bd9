//! Carrying faults out: lying in wait at points, and making weather.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::injection::{Ambush, Blow, Surroundings, Weather};
use crate::process::Process;
use crate::proxy::{Line, cut};
use crate::stack::{LEASE, Stack};

/// A fault that struck.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Struck {
    /// `kill window.after_claim` and the like.
    pub(crate) what: String,
    pub(crate) process: String,
    /// The blow; nothing for a fault of the surroundings.
    #[serde(default)]
    pub(crate) blow: Option<Blow>,
    #[serde(default)]
    pub(crate) point: Option<String>,
    #[serde(default)]
    pub(crate) weather: Option<Surroundings>,
    /// When it struck and when it was over, in milliseconds after the launch of the campaign.
    pub(crate) struck_ms: u64,
    pub(crate) over_ms: u64,
}

/// Strikes a process at one point after the other until the campaign is over.
pub(crate) async fn lie_in_wait(
    stack: Arc<Stack>,
    process: Arc<Process>,
    ambushes: Vec<Ambush>,
    since: Instant,
    armed: Arc<tokio::sync::Semaphore>,
    mut over: watch::Receiver<bool>,
) -> Vec<Struck> {
    let mut struck = Vec::new();
    let mut first = true;
    for ambush in ambushes {
        let Some(pid) = process.present(&stack.control).await else {
            break;
        };
        let name = process.name();
        let arming = stack.control.arm(name, ambush.point, ambush.passes).await;
        if std::mem::take(&mut first) {
            armed.add_permits(1);
        }
        if let Err(error) = arming {
            eprintln!("{name}: {error:#}");
            continue;
        }
        let hit = tokio::select! {
            hit = stack.control.hit(name) => hit,
            _ = over.wait_for(|over| *over) => None,
        };
        if hit.is_some() {
            let struck_ms = millis(since);
            strike(&stack, &process, ambush.blow, pid).await;
            struck.push(Struck {
                what: format!("{:?} {}", ambush.blow, ambush.point).to_lowercase(),
                process: name.to_owned(),
                blow: Some(ambush.blow),
                point: Some(ambush.point.to_owned()),
                weather: None,
                struck_ms,
                over_ms: millis(since),
            });
        } else {
            let _ = stack.control.set(name, ambush.point, "off").await;
            stack.control.go(name).await;
            if *over.borrow() {
                break;
            }
        }
    }
    if first {
        armed.add_permits(1);
    }
    struck
}

async fn strike(stack: &Stack, process: &Process, blow: Blow, pid: u32) {
    let name = process.name();
    match blow {
        Blow::Kill => {
            let _ = process.signal(Signal::KILL).await;
            process.replaced(pid, Duration::from_secs(20)).await;
        }
        Blow::Stop => {
            let _ = process.signal(Signal::STOP).await;
            tokio::time::sleep(LEASE + Duration::from_secs(1)).await;
            let _ = process.signal(Signal::CONT).await;
            stack.control.go(name).await;
        }
        Blow::Terminate => {
            let _ = process.signal(Signal::TERM).await;
            stack.control.go(name).await;
            if !process.replaced(pid, Duration::from_secs(35)).await {
                eprintln!("{name} did not end within 35 s of SIGTERM");
            }
        }
    }
}

/// Makes a fault of the surroundings.
pub(crate) async fn make_weather(
    stack: Arc<Stack>,
    weather: Weather,
    since: Instant,
    mut over: watch::Receiver<bool>,
) -> Option<Struck> {
    tokio::select! {
        () = tokio::time::sleep(weather.after) => {}
        // It would strike nobody any more.
        _ = over.wait_for(|over| *over) => return None,
    }
    let worker = &stack.workers[weather.worker % stack.workers.len()];
    let name = worker.process.name().to_owned();
    let struck_ms = millis(since);
    let providers = [&worker.to_fcm, &worker.to_apns];
    match weather.kind {
        Surroundings::MongodKill => {
            let killing = stack.mongod.lock().await.kill_and_restart(weather.lasting).await;
            if let Err(error) = killing {
                eprintln!("mongod: {error:#}");
            }
        }
        Surroundings::DatabaseDropped => cut(&[&worker.to_database], Line::Dropped, weather.lasting).await,
        Surroundings::DatabaseSilent => cut(&[&worker.to_database], Line::Silent, weather.lasting).await,
        Surroundings::ProviderDropped => cut(&providers, Line::Dropped, weather.lasting).await,
        Surroundings::ProviderSilent => cut(&providers, Line::Silent, weather.lasting).await,
        Surroundings::HeartbeatsHeld => {
            worker.process.present(&stack.control).await?;
            stack.control.set(&name, "heartbeat.skip", "return").await.ok()?;
            tokio::time::sleep(weather.lasting).await;
            let _ = stack.control.set(&name, "heartbeat.skip", "off").await;
        }
    }
    Some(Struck {
        what: weather.kind.name().to_owned(),
        process: name,
        blow: None,
        point: None,
        weather: Some(weather.kind),
        struck_ms,
        over_ms: millis(since),
    })
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
