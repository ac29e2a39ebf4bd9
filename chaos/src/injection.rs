//! The faults, and where they strike.
//!
//! A fault at a *point* strikes a process exactly there; a fault of the *surroundings* strikes at a moment.
//! Adding a point: a row in [`POINTS`] and `fail::fail_point!` in the crate that takes the step.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::chance::Chance;
use crate::sabotage::Sabotage;

/// Which processes come to a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Api,
    Worker,
    ResultWorker,
}

/// Every named point, who comes there, and how often one process does so in a campaign of 10,000 devices
/// (an estimate: a point with more passes than that would never be reached).
#[rustfmt::skip]
pub(crate) const POINTS: &[(&str, Role, u64)] = &[
    ("api.after_insert", Role::Api, 1),
    ("api.before_reply", Role::Api, 1),
    ("plan.after_cas", Role::Api, 1),
    ("plan.mid_partitions", Role::Api, 1),
    ("internal.after_log", Role::Api, 30),
    ("internal.before_reply", Role::Api, 4),
    ("lease.after", Role::Worker, 1),
    ("window.after_insert", Role::Worker, 10),
    ("window.after_claim", Role::Worker, 10),
    ("send.after_first", Role::Worker, 10),
    ("send.after_half", Role::Worker, 10),
    ("send.after_all", Role::Worker, 10),
    ("window.after_record", Role::Worker, 10),
    ("log.after", Role::Worker, 10),
    ("retry.after_insert", Role::Worker, 4),
    ("window.after_settle", Role::Worker, 10),
    ("unit.before_finish", Role::Worker, 1),
    ("heartbeat.skip", Role::Worker, 1),
    ("result.before_call", Role::ResultWorker, 3),
    ("result.after_call", Role::ResultWorker, 3),
    ("device.after_bury", Role::ResultWorker, 1),
    ("close.before_cas", Role::ResultWorker, 1),
    ("close.after_cas", Role::ResultWorker, 1),
];

/// What is done to a process that stands at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Blow {
    /// SIGKILL: it ends there.
    Kill,
    /// SIGSTOP, and SIGCONT after its lease has run out.
    Stop,
    /// SIGTERM: it ends in order.
    Terminate,
}

/// A blow that will strike a process at a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ambush {
    pub(crate) blow: Blow,
    pub(crate) point: &'static str,
    /// How often the process passes the point before.
    pub(crate) passes: u64,
}

/// A fault around the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Surroundings {
    /// SIGKILL to mongod, and a restart.
    MongodKill,
    /// A worker's connections to the database are reset, and new ones refused.
    DatabaseDropped,
    /// Nothing passes between a worker and the database.
    DatabaseSilent,
    /// A worker's connections to FCM and APNs are reset, and new ones refused.
    ProviderDropped,
    /// Nothing passes between a worker and FCM and APNs.
    ProviderSilent,
    /// No heartbeat of a worker leaves for longer than a lease.
    HeartbeatsHeld,
}

impl Surroundings {
    pub(crate) const ALL: [Self; 6] = [
        Self::MongodKill,
        Self::DatabaseDropped,
        Self::DatabaseSilent,
        Self::ProviderDropped,
        Self::ProviderSilent,
        Self::HeartbeatsHeld,
    ];

    /// As the proof calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MongodKill => "mongod killed and restarted",
            Self::DatabaseDropped => "worker and database: connections reset",
            Self::DatabaseSilent => "worker and database: nothing passes",
            Self::ProviderDropped => "worker and providers: connections reset",
            Self::ProviderSilent => "worker and providers: nothing passes",
            Self::HeartbeatsHeld => "heartbeats of a worker held back",
        }
    }

    /// Whether the rule of retries, whose waits begin at ten seconds, has a say in the recovery.
    pub(crate) fn makes_retries(self) -> bool {
        matches!(self, Self::ProviderDropped | Self::ProviderSilent)
    }
}

/// A fault of the surroundings, at a moment after the launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weather {
    pub(crate) kind: Surroundings,
    /// Which worker, where that matters.
    pub(crate) worker: usize,
    pub(crate) after: Duration,
    pub(crate) lasting: Duration,
}

/// What will happen in one campaign.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Script {
    /// One after the other, for each process by its name.
    pub(crate) ambushes: Vec<(String, Vec<Ambush>)>,
    pub(crate) weather: Vec<Weather>,
    /// Some requests are refused for a moment, so that there are retries.
    pub(crate) stumbles: bool,
    /// To the third of the devices that a tree of conditions selects, instead of all.
    pub(crate) by_conditions: bool,
    /// Nobody may get it twice: what is in doubt is called unknown (`on_ambiguous: skip`).
    pub(crate) skip: bool,
    /// The judge is to find something.
    pub(crate) sabotage: Option<Sabotage>,
    /// Cancelled this long after the launch.
    pub(crate) cancel_after: Option<Duration>,
}

/// The names of the processes of a role.
fn names(role: Role) -> &'static [&'static str] {
    match role {
        Role::Api => &["apiserver"],
        Role::Worker => &["worker-1", "worker-2"],
        Role::ResultWorker => &["result-worker-1", "result-worker-2"],
    }
}

fn role_of(name: &str) -> Role {
    match name {
        "apiserver" => Role::Api,
        _ if name.starts_with("worker") => Role::Worker,
        _ => Role::ResultWorker,
    }
}

impl Script {
    /// Draws a campaign with several faults.
    pub(crate) fn draw(chance: &mut Chance) -> Self {
        let mut script = Self {
            stumbles: chance.one_in(3),
            by_conditions: chance.one_in(4),
            skip: chance.one_in(4),
            ..Self::default()
        };
        for (name, most) in [
            ("worker-1", 4),
            ("worker-2", 4),
            ("result-worker-1", 2),
            ("result-worker-2", 2),
            ("apiserver", 3),
        ] {
            let count = chance.below(most + 1);
            let mut ambushes: Vec<Ambush> = (0..count).map(|_| ambush(chance, role_of(name))).collect();
            // In the order in which a campaign comes to them.
            ambushes.sort_by_key(|ambush| POINTS.iter().position(|(point, ..)| *point == ambush.point));
            if name.starts_with("worker") {
                // A worker comes to all of its points again and again.
                chance.shuffle(&mut ambushes);
            }
            script.stumbles |= ambushes.iter().any(|ambush| ambush.point == "retry.after_insert");
            script.ambushes.push((name.to_owned(), ambushes));
        }
        for _ in 0..chance.below(3) {
            script.weather.push(weather(chance));
        }
        if chance.one_in(12) {
            script.cancel_after = Some(Duration::from_millis(200 + chance.below(1_500)));
        }
        script
    }

    /// Kills at named points, a few more for each process than [`Self::draw`] has blows, and fair weather.
    pub(crate) fn draw_kills(chance: &mut Chance) -> Self {
        let mut script = Self::draw(chance);
        script.weather.clear();
        script.cancel_after = None;
        for (name, ambushes) in &mut script.ambushes {
            for _ in 0..1 + chance.below(2) {
                ambushes.push(ambush(chance, role_of(name)));
            }
            for ambush in ambushes {
                ambush.blow = Blow::Kill;
            }
        }
        script
    }

    /// One blow at one point, and nothing else.
    pub(crate) fn single(point: &'static str, role: Role, blow: Blow) -> Self {
        let ambush = Ambush {
            blow,
            point,
            passes: 0,
        };
        // Whoever of the role comes there first; the others find nothing to do.
        let ambushes = names(role)
            .iter()
            .map(|name| ((*name).to_owned(), vec![ambush.clone()]));
        Self {
            ambushes: ambushes.collect(),
            stumbles: point == "retry.after_insert",
            ..Self::default()
        }
    }
}

fn ambush(chance: &mut Chance, role: Role) -> Ambush {
    let points: Vec<_> = POINTS.iter().filter(|(_, comes, _)| *comes == role).collect();
    let (point, _, times) = points[chance.below(points.len() as u64) as usize];
    let blow = match chance.below(10) {
        0..5 => Blow::Kill,
        5..8 => Blow::Stop,
        _ => Blow::Terminate,
    };
    Ambush {
        blow,
        point,
        passes: chance.below(*times),
    }
}

fn weather(chance: &mut Chance) -> Weather {
    let kind = Surroundings::ALL[chance.below(Surroundings::ALL.len() as u64) as usize];
    let lasting = match kind {
        // How long mongod is away before it starts.
        Surroundings::MongodKill => chance.below(2_000),
        Surroundings::HeartbeatsHeld => 4_000,
        _ => 500 + chance.below(5_000),
    };
    Weather {
        kind,
        worker: chance.below(2) as usize,
        after: Duration::from_millis(chance.below(2_500)),
        lasting: Duration::from_millis(lasting),
    }
}
