//! One run: workers, what happens to them, the person, the counting; then healing, and the end.

use std::sync::Arc;
use std::time::Duration;

use jraze_domain::campaign::{Event, Status};
use jraze_runtime::config::HumanDuration;
use jraze_runtime::lifecycle::Lifecycle;
use jraze_worker::{DependenciesIn, Settings};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use crate::machine::{Machine, Slot};
use crate::oracle;
use crate::provider::{SimProvider, SimProviders};
use crate::scenario::{Act, Mishap, Rates, Scenario};
use crate::state::{Shared, SimClock, State};
use crate::world::{SimAudience, SimBook, SimFleet, SimLog, SimQueue, Simulated};

/// The longest waits that healing leaves: a retry's, a gate's, and the way of everything else.
const BOUND: Duration = Duration::from_secs(600 + 300 + 100);

/// How a run came out.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) hash: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) trace: Vec<String>,
    pub(crate) sends: u32,
    pub(crate) repeats: u32,
}

/// Runs the history of a seed.
pub(crate) fn run(seed: u64, keep_trace: bool) -> Report {
    let scenario = Scenario::of(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing");
    runtime.block_on(simulate(scenario, keep_trace))
}

async fn simulate(scenario: Scenario, keep_trace: bool) -> Report {
    let clock = SimClock(Instant::now());
    let shared = Shared::new(State::of(&scenario, clock, keep_trace));
    let scenario = Arc::new(scenario);
    shared.with(|state| state.note(format_args!("{scenario:?}")));
    let healing = clock.0 + scenario.heals;

    let mut everybody = Vec::new();
    for place in 0..scenario.workers {
        everybody.push(tokio::spawn(keep_working(
            scenario.clone(),
            shared.clone(),
            clock,
            place,
        )));
    }
    for _ in 0..2 {
        everybody.push(tokio::spawn(keep_counting(shared.clone())));
    }
    everybody.push(tokio::spawn(act(scenario.clone(), shared.clone())));

    let end = healing + scenario.lease + BOUND;
    let mut healed = false;
    loop {
        sleep(Duration::from_millis(250)).await;
        if !healed && Instant::now() >= healing {
            healed = true;
            shared.with(|state| {
                state.rates = Rates::default();
                state.note(format_args!("all is well again"));
            });
        }
        let over = shared.with(|state| match state.notification.status {
            Status::Sent => true,
            Status::Canceled => state.cleared,
            _ => false,
        });
        if over {
            break;
        }
        if Instant::now() >= end {
            shared.with(|state| state.violated("it does not come to its end".to_owned()));
            break;
        }
    }
    // What is still under way arrives.
    sleep(Duration::from_secs(60)).await;
    for one in everybody {
        one.abort();
    }
    shared.with(|state| {
        oracle::judge(state, &scenario);
        let sends = state.ledger.values().map(|ledger| ledger.left).sum();
        let repeats = state
            .ledger
            .values()
            .map(|ledger| ledger.accepted.saturating_sub(1))
            .sum();
        Report {
            hash: state.trace.hash(),
            violations: state.violations.clone(),
            trace: state.trace.lines().to_vec(),
            sends,
            repeats,
        }
    })
}

/// The workers of one place, one after another.
async fn keep_working(scenario: Arc<Scenario>, shared: Shared, clock: SimClock, place: usize) {
    let slot = Slot::new(scenario.mishaps[place].clone());
    let healing = clock.0 + scenario.heals;
    for turn in 0.. {
        let (mishaps, mut happens) = mpsc::unbounded_channel();
        let machine = Machine::new(
            format!("w{place}.{turn}"),
            shared.clone(),
            (scenario.storage_way, scenario.provider_way),
            slot.clone(),
            mishaps,
        );
        let lifecycle = Lifecycle::new();
        let seed = shared.with(|state| state.rng.random());
        let with = DependenciesIn::<Simulated> {
            queue: SimQueue(machine.clone()),
            audiences: SimAudience(machine.clone()),
            notifications: SimBook(machine.clone()),
            log: SimLog(machine.clone()),
            providers: Arc::new(SimProviders(SimProvider(machine.clone()))),
            fleet: SimFleet,
            clock: Arc::new(clock),
            owner: machine.name.to_string(),
            rng: StdRng::seed_from_u64(seed),
        };
        let mut worker = Worker(tokio::spawn(jraze_worker::run_in(
            settings(&scenario),
            with,
            lifecycle.clone(),
        )));
        let away = loop {
            match timeout_at(healing, happens.recv()).await {
                Ok(Some(Mishap::Crash(away))) => {
                    // Not at the call itself, but somewhere after it.
                    let later = shared.with(|state| state.way(Duration::from_millis(300)));
                    sleep(later).await;
                    worker.0.abort();
                    break away;
                }
                Ok(Some(Mishap::Stop(away))) => {
                    lifecycle.stop();
                    break away;
                }
                Ok(Some(Mishap::Freeze(_))) => {}
                // Healed: this one stays.
                Ok(None) | Err(_) => std::future::pending().await,
            }
        };
        if let Ok(Err(invalid)) = (&mut worker.0).await {
            shared.with(|state| state.violated(format!("settings: {invalid}")));
        }
        shared.with(|state| state.note(format_args!("w{place}.{turn} is gone")));
        let back = (Instant::now() + away).min(healing.max(Instant::now()));
        tokio::time::sleep_until(back).await;
    }
}

/// A worker's task, which ends with whoever holds it.
#[derive(Debug)]
struct Worker(tokio::task::JoinHandle<Result<(), jraze_worker::OutOfRange>>);

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn settings(scenario: &Scenario) -> Settings {
    Settings {
        concurrent_units: scenario.concurrent_units,
        window_devices: scenario.window_devices,
        windows_in_flight: scenario.windows_in_flight,
        max_in_flight: scenario.max_in_flight,
        lease: human(scenario.lease),
        campaign_refresh: human(scenario.refresh),
        idle_wait: human(scenario.idle),
        ..Settings::default()
    }
}

fn human(duration: Duration) -> HumanDuration {
    HumanDuration::from_millis(duration.as_millis() as u64)
}

/// What the person does; a pause that nobody ended ends when all is well.
async fn act(scenario: Arc<Scenario>, shared: Shared) {
    let start = Instant::now();
    for (at, act) in &scenario.acts {
        tokio::time::sleep_until(start + *at).await;
        let event = match act {
            Act::Pause => Event::Pause,
            Act::Resume => Event::Resume,
            Act::Cancel => Event::Cancel,
        };
        shared.with(|state| {
            if let Some(next) = state.notification.status.after(event) {
                state.notification.status = next;
                state.note(format_args!("{next:?}"));
            }
        });
    }
}

/// The result worker's rounds, as it does them: counts first, then marks, then perhaps the end.
async fn keep_counting(shared: Shared) {
    loop {
        let pause = shared.with(|state| state.way(Duration::from_secs(2)));
        sleep(pause).await;
        let (windows, forget) = shared.with(|state| {
            let forget = state.rng.random_bool(state.rates.uncounted);
            (state.memory.settled(10), forget)
        });
        sleep(Duration::from_millis(3)).await;
        shared.with(|state| {
            for window in &windows {
                let tally = window.tally();
                let first = *state.tallies.entry(window.id.to_string()).or_insert(tally);
                if first != tally {
                    state.violated(format!("{} was counted as {first:?} and as {tally:?}", window.id));
                }
            }
        });
        sleep(Duration::from_millis(3)).await;
        if forget {
            continue;
        }
        shared.with(|state| state.memory.folded(&windows));
        let stopped = shared.with(|state| {
            let stopped = state.notification.status == Status::Canceled;
            if stopped {
                state.memory.wind_up(crate::state::CAMPAIGN);
            }
            stopped
        });
        let open = shared.with(|state| state.memory.any_open(crate::state::CAMPAIGN));
        sleep(Duration::from_millis(3)).await;
        let uncounted = shared.with(|state| !state.memory.settled(1).is_empty());
        sleep(Duration::from_millis(3)).await;
        if open || uncounted {
            continue;
        }
        shared.with(|state| {
            if stopped {
                state.cleared = true;
            } else if state.notification.status == Status::Launched {
                state.notification.status = Status::Sent;
                state.note(format_args!("SENT"));
            }
        });
    }
}
