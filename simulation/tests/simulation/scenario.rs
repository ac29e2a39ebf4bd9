//! What a seed means: the campaign, the world's speed, what goes wrong and when.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Something that happens to a worker, after so many of its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// All its tasks are dropped where they wait; another takes its place after this long.
    Crash(Duration),
    /// It is cut off for so long, and then goes on.
    Freeze(Duration),
    /// It is told to stop; another takes its place after this long.
    Stop(Duration),
}

/// Something that a person does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Pause,
    Resume,
    Cancel,
}

/// How often calls fail, in `[0, 1]` each.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rates {
    /// A call to the database or to the internal endpoint.
    pub(crate) storage: f64,
    /// The provider refuses in passing.
    pub(crate) transient: f64,
    /// The provider does not answer.
    pub(crate) ambiguous: f64,
    /// The request cannot be sent.
    pub(crate) unsent: f64,
    /// The credential is refused for a while.
    pub(crate) credential: f64,
    /// Counts are raised, and the windows are not marked.
    pub(crate) uncounted: f64,
}

/// One history, before it happens.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) devices: u64,
    /// Devices that register after the plan was made.
    pub(crate) late: u64,
    pub(crate) partitions: u64,
    pub(crate) workers: usize,
    pub(crate) window_devices: usize,
    pub(crate) windows_in_flight: usize,
    pub(crate) concurrent_units: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) lease: Duration,
    pub(crate) refresh: Duration,
    pub(crate) idle: Duration,
    /// The longest way to the database, and back.
    pub(crate) storage_way: Duration,
    /// The longest way to the provider, and back.
    pub(crate) provider_way: Duration,
    pub(crate) rates: Rates,
    /// By worker: what happens after how many of its calls.
    pub(crate) mishaps: Vec<Vec<(u32, Mishap)>>,
    pub(crate) acts: Vec<(Duration, Act)>,
    /// Devices whose app is gone, and whose token is refused, out of a hundred.
    pub(crate) dead: u64,
    pub(crate) refused: u64,
    /// Devices that are deleted while it runs, out of a hundred.
    pub(crate) deleted: u64,
    /// Nothing fails any more after this.
    pub(crate) heals: Duration,
    /// Ambiguous devices are not sent to again.
    pub(crate) skip: bool,
}

impl Scenario {
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let rng = &mut rng;
        let calm = rng.random_bool(0.1);
        let workers = rng.random_range(1..=3);
        let faults = if calm { Rates::default() } else { rates(rng) };
        let mishaps = (0..workers)
            .map(|_| if calm { Vec::new() } else { mishaps(rng) })
            .collect();
        Self {
            seed,
            devices: rng.random_range(4..=60),
            late: rng.random_range(0..=3),
            partitions: rng.random_range(1..=4),
            workers,
            window_devices: rng.random_range(1..=12),
            windows_in_flight: rng.random_range(1..=3),
            concurrent_units: rng.random_range(1..=3),
            max_in_flight: rng.random_range(1..=20),
            lease: millis(rng, 10_000, 20_000),
            refresh: millis(rng, 200, 2_000),
            idle: millis(rng, 100, 2_000),
            storage_way: one_of(rng, &[2, 20, 200, 1_500]),
            provider_way: one_of(rng, &[20, 200, 2_000]),
            rates: faults,
            mishaps,
            acts: acts(rng),
            dead: rng.random_range(0..=10),
            refused: rng.random_range(0..=5),
            deleted: rng.random_range(0..=5),
            heals: millis(rng, 20_000, 90_000),
            skip: rng.random_bool(0.3),
        }
    }

    /// Whether nothing at all goes wrong in it.
    pub(crate) fn is_calm(&self) -> bool {
        self.mishaps.iter().all(Vec::is_empty) && {
            let Rates {
                storage,
                transient,
                ambiguous,
                unsent,
                credential,
                uncounted: _,
            } = self.rates;
            storage + transient + ambiguous + unsent + credential == 0.0
        }
    }
}

fn rates(rng: &mut StdRng) -> Rates {
    let mut one = |high: f64| match rng.random_range(0..3) {
        0 => 0.0,
        1 => high / 10.0,
        _ => high,
    };
    Rates {
        storage: one(0.2),
        transient: one(0.5),
        ambiguous: one(0.4),
        unsent: one(0.3),
        credential: one(0.03),
        uncounted: one(0.5),
    }
}

fn mishaps(rng: &mut StdRng) -> Vec<(u32, Mishap)> {
    let mut at = 0;
    (0..rng.random_range(0..=3))
        .map(|_| {
            at += rng.random_range(1..=80);
            let mishap = match rng.random_range(0..5) {
                0..=2 => Mishap::Crash(millis(rng, 0, 20_000)),
                3 => Mishap::Freeze(millis(rng, 1_000, 45_000)),
                _ => Mishap::Stop(millis(rng, 0, 10_000)),
            };
            (at, mishap)
        })
        .collect()
}

fn acts(rng: &mut StdRng) -> Vec<(Duration, Act)> {
    let mut acts = Vec::new();
    if rng.random_bool(0.25) {
        let pause = millis(rng, 100, 15_000);
        acts.push((pause, Act::Pause));
        acts.push((pause + millis(rng, 1_000, 30_000), Act::Resume));
    }
    if rng.random_bool(0.25) {
        acts.push((millis(rng, 100, 40_000), Act::Cancel));
    }
    acts.sort_by_key(|(at, _)| *at);
    acts
}

fn millis(rng: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.random_range(from..=to))
}

fn one_of(rng: &mut StdRng, choices: &[u64]) -> Duration {
    Duration::from_millis(choices[rng.random_range(0..choices.len())])
}
