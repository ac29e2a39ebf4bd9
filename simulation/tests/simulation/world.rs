//! The simulated [`World`]: the ports of the worker over a [`Machine`]'s wire, with the oracle listening.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jraze_domain::audience::Condition;
use jraze_domain::campaign::{Notification, Status};
use jraze_domain::device::bucket;
use jraze_domain::dispatch::Delivery;
use jraze_domain::ids::{AppId, DeviceId, NotificationId, UnitId};
use jraze_openapi::client::ClientError;
use jraze_openapi::dto::LogNotification;
use jraze_storage::ObjectId;
use jraze_storage::audience_filter::AudienceRange;
use jraze_storage::audience_stream::Target;
use jraze_storage::dispatch::{Advance, ClaimedDevice, Fenced, Retry, Unit, Window, WindowState};
use jraze_storage::fleet::CredentialHold;
use jraze_worker::ports::{Audience, Book, Fleet, Held, Log, Queue, Stored, Targets, World};

use crate::machine::Machine;

use crate::provider::SimProviders;
use crate::state::{SimDevice, State};

/// The world that a seed makes.
#[derive(Debug, Clone)]
pub(crate) struct Simulated;

impl World for Simulated {
    type Queue = SimQueue;
    type Audience = SimAudience;
    type Book = SimBook;
    type Log = SimLog;
    type Providers = SimProviders;
    type Fleet = SimFleet;
}

#[derive(Debug, Clone)]
pub(crate) struct SimQueue(pub(crate) Machine);

impl Queue for SimQueue {
    async fn acquire(
        &self,
        notifications: &[NotificationId],
        owner: &str,
        lease_for: Duration,
    ) -> Stored<Option<Unit>> {
        let (notifications, owner) = (notifications.to_vec(), owner.to_owned());
        let acquire = move |state: &mut State, now, name: &str| {
            let unit = state.memory.acquire(&notifications, &owner, lease_for, now)?;
            state.note(format_args!("{name} has {} epoch {}", unit.id, unit.epoch));
            state
                .holders
                .insert((unit.id.clone(), unit.epoch), name.to_owned());
            state.leased.insert(unit.id.clone(), unit.epoch);
            Some(unit)
        };
        self.0.call("acquire", acquire).await
    }

    async fn extend(&self, unit: &Unit, lease_for: Duration) -> Held<()> {
        let unit = unit.clone();
        let extend = move |state: &mut State, now, _: &str| {
            let done = state.memory.extend(&unit, lease_for, now);
            fenced(state, &unit, "extend", done)
        };
        self.0.call("extend", extend).await
    }

    async fn insert(&self, unit: &Unit, sequence: u32, devices: Vec<ClaimedDevice>) -> Held<Window> {
        let (unit, window) = (unit.clone(), Window::claimed(unit, sequence, devices));
        let insert = move |state: &mut State, _, _: &str| state.memory.insert(&unit, window);
        self.0.call("insert", insert).await
    }

    async fn advance(&self, unit: &Unit, to: Advance) -> Held<()> {
        let unit = unit.clone();
        let advance = move |state: &mut State, _, _: &str| {
            let done = state.memory.advance(&unit, to);
            let done = fenced(state, &unit, "advance", done);
            if done.is_ok() {
                let row = state.memory.windows.values();
                let claimed = row.filter(|row| row.unit == unit.id && row.window.sequence == to.sequence);
                let devices: Vec<_> = claimed.flat_map(|row| row.window.devices.clone()).collect();
                for device in devices {
                    state.of_device(device.id).claims += 1;
                }
            }
            done
        };
        self.0.call("advance", advance).await
    }

    async fn record(&self, window: &Window) -> Held<()> {
        step(&self.0, window, WindowState::Claimed).await
    }

    async fn add_retry(&self, source: &Unit, retry: &Retry) -> Stored<()> {
        let (source, retry) = (source.clone(), retry.clone());
        let add = move |state: &mut State, now, _: &str| {
            let (id, devices) = (&retry.id, retry.devices.len());
            state.note(format_args!("retry {id} of {devices}, attempt {}", retry.attempt));
            state.memory.add_retry(&source, &retry, now);
        };
        self.0.call("add_retry", add).await
    }

    async fn settle(&self, window: &Window) -> Held<()> {
        step(&self.0, window, WindowState::Recorded).await
    }

    async fn take_over(&self, unit: &Unit) -> Stored<Vec<Window>> {
        let marked = unit.clone();
        let mark = move |state: &mut State, _, _: &str| mark(state, &marked);
        self.0.call("take_over", mark).await?;
        let unit = unit.clone();
        let look = move |state: &mut State, _, _: &str| state.memory.taken_over(&unit);
        self.0.call("taken_over", look).await
    }

    async fn finish(&self, unit: &Unit) -> Held<()> {
        let unit = unit.clone();
        let finish = move |state: &mut State, _, _: &str| {
            let done = state.memory.finish(&unit);
            fenced(state, &unit, "finish", done)
        };
        self.0.call("finish", finish).await
    }

    async fn release(&self, unit: &Unit, pause: Duration) -> Held<()> {
        let unit = unit.clone();
        let release = move |state: &mut State, now, _: &str| {
            let done = state.memory.release(&unit, pause, now);
            fenced(state, &unit, "release", done)
        };
        self.0.call("release", release).await
    }
}

/// Rule 2, for units: what matches is under the newest lease.
fn fenced(state: &mut State, unit: &Unit, what: &str, done: Result<(), Fenced>) -> Result<(), Fenced> {
    let newest = state.leased.get(&unit.id).copied().unwrap_or_default();
    match done {
        Ok(()) if unit.epoch != newest => {
            let (id, epoch) = (&unit.id, unit.epoch);
            state.violated(format!(
                "{what} of {id} matched under epoch {epoch}, leased is {newest}"
            ));
        }
        Err(Fenced) => state.note(format_args!("{what} of {} is fenced", unit.id)),
        Ok(()) => {}
    }
    done
}

fn mark(state: &mut State, unit: &Unit) {
    let newest = state.taken.entry(unit.id.clone()).or_default();
    *newest = unit.epoch.max(*newest);
    for window in state.memory.mark_taken_over(unit) {
        state.note(format_args!("taken over: {} {:?}", window.id, window.state));
        let before = state.holders.get(&(unit.id.clone(), window.epoch));
        let broke = before.is_some_and(|name| state.struck.contains(name));
        if !broke {
            let id = &window.id;
            state.violated(format!(
                "{id} was taken over from a worker that nothing happened to"
            ));
        }
        if window.state == WindowState::Claimed {
            for device in &window.devices {
                state.of_device(device.id).takeovers += 1;
            }
        }
    }
}

/// One step of a window, in the two calls that the storage crate makes of it.
async fn step(machine: &Machine, window: &Window, from: WindowState) -> Held<()> {
    let (first, second) = (window.clone(), window.clone());
    let matched = machine
        .call("step", move |state: &mut State, _, _: &str| {
            let matched = match from {
                WindowState::Claimed => state.memory.record(&first),
                _ => state.memory.settle(&first),
            };
            state.note(format_args!("{} from {from:?}: {matched}", first.id));
            let unit = first
                .id
                .as_str()
                .rsplit_once(':')
                .map(|(unit, _)| unit.to_owned());
            let unit = UnitId::from_stored(unit.unwrap_or_default());
            let taken = state.taken.get(&unit).copied().unwrap_or_default();
            if matched && first.epoch < taken {
                let (id, epoch) = (&first.id, first.epoch);
                state.violated(format!(
                    "{id} was written under epoch {epoch}, taken over is {taken}"
                ));
            }
            matched
        })
        .await?;
    if matched {
        return Ok(Ok(()));
    }
    let look = move |state: &mut State, _, _: &str| state.memory.is_beyond(&second, from);
    Ok(machine
        .call("step again", look)
        .await?
        .then_some(())
        .ok_or(Fenced))
}

#[derive(Debug, Clone)]
pub(crate) struct SimAudience(pub(crate) Machine);

/// A position in the audience.
#[derive(Debug)]
pub(crate) struct SimStream {
    machine: Machine,
    range: AudienceRange,
    last: Option<ObjectId>,
}

impl Audience for SimAudience {
    type Stream = SimStream;

    async fn stream(&self, range: AudienceRange, _: &Condition, _: DateTime<Utc>) -> Stored<SimStream> {
        self.0.call("stream", |_, _, _| ()).await?;
        Ok(SimStream {
            machine: self.0.clone(),
            last: range.after,
            range,
        })
    }

    async fn targets_by_ids(&self, _: AppId, ids: &[DeviceId]) -> Stored<Vec<Target>> {
        let ids = ids.to_vec();
        let look = move |state: &mut State, now, _: &str| {
            let asked = |device: &&SimDevice| ids.contains(&device.target.id);
            reachable(state, now)
                .filter(asked)
                .map(|device| device.target.clone())
                .collect()
        };
        self.0.call("targets", look).await
    }
}

impl Targets for SimStream {
    async fn next_many(&mut self, most: usize) -> Stored<Vec<Target>> {
        let (last, upper, buckets) = (self.last, self.range.upper_id, self.range.buckets);
        let look = move |state: &mut State, now, _: &str| {
            let wanted = |device: &&SimDevice| {
                let target = &device.target;
                let of_bucket = bucket(target.id);
                last.is_none_or(|last| target.object_id > last)
                    && target.id <= upper
                    && (buckets.first..=buckets.last).contains(&of_bucket)
            };
            let wanted = reachable(state, now).filter(wanted).take(most);
            wanted.map(|device| device.target.clone()).collect::<Vec<_>>()
        };
        let targets = self.machine.call("next", look).await?;
        self.last = targets.last().map(|target| target.object_id).or(self.last);
        Ok(targets)
    }
}

fn reachable(state: &State, now: DateTime<Utc>) -> impl Iterator<Item = &SimDevice> {
    let there = move |device: &&SimDevice| device.deleted_at.is_none_or(|at| at > now);
    state.devices.values().filter(there)
}

#[derive(Debug)]
pub(crate) struct SimBook(pub(crate) Machine);

impl SimBook {
    async fn of_status(&self, which: fn(&State) -> bool) -> Stored<Vec<Notification>> {
        let look = move |state: &mut State, _, _: &str| {
            let found = which(state).then(|| state.notification.clone());
            found.into_iter().collect()
        };
        self.0.call("book", look).await
    }
}

impl Book for SimBook {
    async fn launched(&self) -> Stored<Vec<Notification>> {
        self.of_status(|state| state.notification.status == Status::Launched)
            .await
    }

    async fn stopped(&self) -> Stored<Vec<Notification>> {
        self.of_status(|state| state.notification.status == Status::Canceled && !state.cleared)
            .await
    }

    async fn lookup(&self, _: NotificationId) -> Stored<Option<Notification>> {
        let look = |state: &mut State, _, _: &str| state.notification.clone();
        let found = self.0.call("lookup", look).await?;
        if found.status == Status::Canceled {
            // The worker hears of it with this answer.
            self.0
                .shared
                .with(|state| state.told.insert(self.0.name.to_string()));
        }
        Ok(Some(found))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct SimLog(pub(crate) Machine);

impl Log for SimLog {
    async fn log_notification(&self, log: &LogNotification) -> Result<u64, ClientError> {
        let batch = log.batch_id.clone().unwrap_or_default();
        let event = log.event.clone().unwrap_or_default();
        let ids = log.device_ids.clone();
        let add = move |state: &mut State, _, _: &str| {
            let count = ids.len() as u64;
            let first = state.logged.entry((batch, event)).or_insert_with(|| ids.clone());
            if *first != ids {
                let rule = format!("a batch was logged as {first:?} and again as {ids:?}");
                state.violated(rule);
            }
            count
        };
        self.0
            .call("log", add)
            .await
            .map_err(|error| ClientError::Refused {
                status: 503,
                code: "unavailable".to_owned(),
                reason: error.to_string(),
                retry_after: None,
            })
    }
}

/// Every worker is told that it is alone: a part of a quota decides when something is sent, not what comes of
/// it. Not over the wire, because one call more would make another history of every seed that is kept.
#[derive(Debug)]
pub(crate) struct SimFleet;

impl Fleet for SimFleet {
    async fn present(&self, _: &str, quotas: &[String], _: Duration) -> Stored<Vec<usize>> {
        Ok(vec![1; quotas.len()])
    }

    async fn hold(&self, _: &str, _: &[CredentialHold]) -> Stored<()> {
        Ok(())
    }

    async fn leave(&self, _: &str) -> Stored<()> {
        Ok(())
    }
}

/// Whether it is a final outcome.
pub(crate) fn is_final(delivery: Delivery) -> bool {
    !delivery.is_transient() && delivery != Delivery::InFlight
}
