//! Everything that outlives a worker: the queue, the devices, the campaign, the provider's ledger, and what
//! the oracle remembers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use jraze_domain::campaign::{Ambiguity, Audience, Draft, Notification, Plan, Status};
use jraze_domain::device::{DevicePlatform, PushToken, SendPlatform, storage_id};
use jraze_domain::dispatch::{Tally, partitions};
use jraze_domain::ids::{AppId, DeviceId, NotificationId, NotificationUuid, UnitId};
use jraze_domain::message::Content;
use jraze_runtime::clock::Clock;
use jraze_storage::ObjectId;
use jraze_storage::audience_stream::Target;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::Instant;
use uuid::Uuid;

use crate::memory::Memory;
use crate::scenario::{Rates, Scenario};
use crate::trace::Trace;

pub(crate) const APP: AppId = AppId(1);
pub(crate) const CAMPAIGN: NotificationId = NotificationId(1);
const START: DateTime<Utc> = DateTime::from_timestamp(1_795_000_000, 0).expect("in range");

/// The time of a simulation, which moves when everybody waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SimClock(pub(crate) Instant);

impl Clock for SimClock {
    fn now(&self) -> DateTime<Utc> {
        START + self.0.elapsed()
    }
}

/// What a device is really like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nature {
    Alive,
    /// The app is gone.
    Dead,
    /// The provider takes its token for malformed.
    Refused,
}

#[derive(Debug, Clone)]
pub(crate) struct SimDevice {
    pub(crate) target: Target,
    pub(crate) nature: Nature,
    /// When its row is deleted.
    pub(crate) deleted_at: Option<DateTime<Utc>>,
}

/// What the provider and the oracle know of one device.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    /// Claims of windows that it is in.
    pub(crate) claims: u32,
    /// Takeovers of such windows while nothing was known about them.
    pub(crate) takeovers: u32,
    /// Requests that left a worker.
    pub(crate) left: u32,
    /// Requests that the provider saw, took, refused in passing, left without an answer.
    pub(crate) seen: u32,
    pub(crate) accepted: u32,
    pub(crate) passing: u32,
    pub(crate) unanswered: u32,
    /// What stands in the tray, by collapse identity.
    pub(crate) tray: BTreeSet<String>,
}

/// The world's whole state.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) memory: Memory,
    pub(crate) devices: BTreeMap<ObjectId, SimDevice>,
    pub(crate) notification: Notification,
    pub(crate) cleared: bool,
    pub(crate) ledger: BTreeMap<DeviceId, Ledger>,
    pub(crate) tallies: BTreeMap<String, Tally>,
    /// By batch and event.
    pub(crate) logged: BTreeMap<(String, String), Vec<u64>>,
    pub(crate) credential_refused_until: DateTime<Utc>,
    pub(crate) rates: Rates,
    pub(crate) rng: StdRng,
    pub(crate) trace: Trace,
    pub(crate) violations: Vec<String>,
    /// Which worker got which epoch of which unit.
    pub(crate) holders: BTreeMap<(UnitId, i64), String>,
    /// The newest epoch of each unit, by lease and by takeover.
    pub(crate) leased: BTreeMap<UnitId, i64>,
    pub(crate) taken: BTreeMap<UnitId, i64>,
    /// Workers that something happened to.
    pub(crate) struck: BTreeSet<String>,
    /// Workers that know of the cancel.
    pub(crate) told: BTreeSet<String>,
    pub(crate) calls: u64,
    clock: SimClock,
}

impl State {
    pub(crate) fn of(scenario: &Scenario, clock: SimClock, keep_lines: bool) -> Self {
        let mut rng = StdRng::seed_from_u64(scenario.seed ^ 0x5EED);
        let mut memory = Memory::default();
        let per_partition = scenario.devices.div_ceil(scenario.partitions);
        let plan = partitions(scenario.devices, per_partition);
        memory.plan(APP, CAMPAIGN, &plan);
        let now = clock.now();
        let devices = (1..=scenario.devices + scenario.late)
            .map(|id| device(id, scenario, &mut rng, now))
            .map(|device| (device.target.object_id, device))
            .collect();
        Self {
            memory,
            devices,
            notification: campaign(scenario, plan.len(), now),
            cleared: false,
            ledger: BTreeMap::new(),
            tallies: BTreeMap::new(),
            logged: BTreeMap::new(),
            credential_refused_until: now,
            rates: scenario.rates,
            rng,
            trace: Trace::new(keep_lines),
            violations: Vec::new(),
            holders: BTreeMap::new(),
            leased: BTreeMap::new(),
            taken: BTreeMap::new(),
            struck: BTreeSet::new(),
            told: BTreeSet::new(),
            calls: 0,
            clock,
        }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub(crate) fn note(&mut self, line: std::fmt::Arguments<'_>) {
        let at = self.clock.0.elapsed().as_millis();
        self.trace.note(format_args!("{at:>7} {line}"));
    }

    pub(crate) fn violated(&mut self, rule: String) {
        self.note(format_args!("VIOLATED {rule}"));
        self.violations.push(rule);
    }

    pub(crate) fn of_device(&mut self, id: DeviceId) -> &mut Ledger {
        self.ledger.entry(id).or_default()
    }

    /// A way of up to `longest`, mostly short.
    pub(crate) fn way(&mut self, longest: Duration) -> Duration {
        let share: f64 = self.rng.random();
        Duration::from_millis((longest.as_millis() as f64 * share * share) as u64 + 1)
    }
}

fn device(id: u64, scenario: &Scenario, rng: &mut StdRng, now: DateTime<Utc>) -> SimDevice {
    let nature = match rng.random_range(0..100) {
        n if n < scenario.dead => Nature::Dead,
        n if n < scenario.dead + scenario.refused => Nature::Refused,
        _ => Nature::Alive,
    };
    let goes = rng.random_range(0..100) < scenario.deleted;
    let id = DeviceId(id);
    SimDevice {
        target: Target {
            id,
            object_id: ObjectId::from_bytes(storage_id(APP, id)),
            token: PushToken::new(id.0.to_string()).expect("digits are a token"),
            send_platform: SendPlatform::Fcm,
            device_platform: DevicePlatform::Android,
        },
        nature,
        deleted_at: goes.then(|| now + Duration::from_millis(rng.random_range(0..60_000))),
    }
}

fn campaign(scenario: &Scenario, partitions: usize, now: DateTime<Utc>) -> Notification {
    Notification {
        id: CAMPAIGN,
        uuid: NotificationUuid(Uuid::from_u128(1)),
        app: APP,
        draft: Draft {
            content: Content::default(),
            audience: Audience::All,
            scheduled_at: None,
            expires_at: None,
            on_ambiguous: if scenario.skip {
                Ambiguity::Skip
            } else {
                Ambiguity::Resend
            },
        },
        status: Status::Launched,
        version: 1,
        created_at: now,
        modified_at: now,
        launched_at: Some(now),
        finished_at: None,
        error: None,
        hold: None,
        confirmed: Vec::new(),
        plan: Some(Plan {
            audience_upper_id: scenario.devices,
            evaluated_at: now,
            partitions: u32::try_from(partitions).expect("a few"),
        }),
        tally: Tally::default(),
    }
}

/// The state, shared by everybody. One thread runs a simulation, so nobody ever waits for it.
#[derive(Debug, Clone)]
pub(crate) struct Shared(Arc<Mutex<State>>);

impl Shared {
    pub(crate) fn new(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
