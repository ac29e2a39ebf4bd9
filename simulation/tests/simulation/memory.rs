//! The queue in memory: the same compare-and-sets as `jraze_storage::dispatch`, each as one step.
//!
//! Every method is one round trip to the server. What the storage crate does in two (an update and a look
//! at what is there) is two methods here, so that the simulation can put something between them.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use jraze_domain::dispatch::BucketRange;
use jraze_domain::ids::{AppId, NotificationId, UnitId, WindowId};
use jraze_storage::ObjectId;
use jraze_storage::dispatch::{Advance, Fenced, Retry, Unit, Window, WindowState, Work};

/// One unit as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct UnitRow {
    pub(crate) unit: Unit,
    pub(crate) done: bool,
    not_before: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

/// One window as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct WindowRow {
    pub(crate) unit: UnitId,
    pub(crate) window: Window,
}

/// All units and windows.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) units: BTreeMap<UnitId, UnitRow>,
    pub(crate) windows: BTreeMap<WindowId, WindowRow>,
}

impl Memory {
    pub(crate) fn plan(&mut self, app: AppId, notification: NotificationId, partitions: &[BucketRange]) {
        for (index, range) in (0..).zip(partitions) {
            self.add(
                Unit {
                    id: UnitId::partition(notification, index),
                    work: Work::Partition(*range),
                    ..free(app, notification)
                },
                DateTime::UNIX_EPOCH,
            );
        }
    }

    pub(crate) fn add_retry(&mut self, source: &Unit, retry: &Retry, now: DateTime<Utc>) {
        self.add(
            Unit {
                id: retry.id.clone(),
                work: Work::Retry(retry.devices.clone()),
                attempt: retry.attempt,
                failing_since: retry.failing_since,
                in_doubt: retry.in_doubt,
                via: Some(retry.via),
                ..free(source.app, source.notification)
            },
            now + retry.wait,
        );
    }

    fn add(&mut self, unit: Unit, not_before: DateTime<Utc>) {
        self.units.entry(unit.id.clone()).or_insert(UnitRow {
            unit,
            done: false,
            not_before,
            expires_at: DateTime::UNIX_EPOCH,
        });
    }

    pub(crate) fn acquire(
        &mut self,
        notifications: &[NotificationId],
        owner: &str,
        lease_for: Duration,
        now: DateTime<Utc>,
    ) -> Option<Unit> {
        let is_theirs = |unit: &Unit| notifications.contains(&unit.notification);
        self.acquire_of(is_theirs, owner, lease_for, now)
    }

    /// The first that is free and wanted.
    pub(crate) fn acquire_of(
        &mut self,
        is_wanted: impl Fn(&Unit) -> bool,
        owner: &str,
        lease_for: Duration,
        now: DateTime<Utc>,
    ) -> Option<Unit> {
        let row = self.units.values_mut().find(|row| {
            !row.done && is_wanted(&row.unit) && row.not_before <= now && row.expires_at <= now
        })?;
        row.unit.owner = owner.to_owned();
        row.unit.epoch += 1;
        row.expires_at = now + lease_for;
        Some(row.unit.clone())
    }

    /// The row of a unit that is still held under this lease: what every later write is filtered by.
    fn held(&mut self, unit: &Unit) -> Result<&mut UnitRow, Fenced> {
        self.units
            .get_mut(&unit.id)
            .filter(|row| row.unit.owner == unit.owner && row.unit.epoch == unit.epoch)
            .ok_or(Fenced)
    }

    pub(crate) fn extend(
        &mut self,
        unit: &Unit,
        lease_for: Duration,
        now: DateTime<Utc>,
    ) -> Result<(), Fenced> {
        self.held(unit)?.expires_at = now + lease_for;
        Ok(())
    }

    pub(crate) fn advance(&mut self, unit: &Unit, to: Advance) -> Result<(), Fenced> {
        let row = self.held(unit)?;
        let at = (row.unit.next_sequence, row.unit.checkpoint);
        let after = (to.sequence + 1, Some(to.checkpoint));
        if at.0 != to.sequence && at != after {
            return Err(Fenced);
        }
        (row.unit.next_sequence, row.unit.checkpoint) = after;
        Ok(())
    }

    pub(crate) fn finish(&mut self, unit: &Unit) -> Result<(), Fenced> {
        self.held(unit)?.done = true;
        Ok(())
    }

    pub(crate) fn release(&mut self, unit: &Unit, pause: Duration, now: DateTime<Utc>) -> Result<(), Fenced> {
        let row = self.held(unit)?;
        row.unit.owner.clear();
        row.expires_at = now;
        row.not_before = now + pause;
        Ok(())
    }

    pub(crate) fn any_open(&self, notification: NotificationId) -> bool {
        self.units
            .values()
            .any(|row| row.unit.notification == notification && !row.done)
    }

    pub(crate) fn wind_up(&mut self, notification: NotificationId) {
        let open = self.units.values_mut();
        for row in open.filter(|row| row.unit.notification == notification && !row.done) {
            if row.unit.next_sequence == 0 && matches!(row.unit.work, Work::Partition(_)) {
                row.done = true;
                row.unit.epoch += 1;
            }
            row.not_before = DateTime::UNIX_EPOCH;
        }
    }

    /// Replaces what is there under an older epoch, or inserts.
    pub(crate) fn insert(&mut self, unit: &Unit, window: Window) -> Result<Window, Fenced> {
        let row = WindowRow {
            unit: unit.id.clone(),
            window: window.clone(),
        };
        match self.windows.get_mut(&window.id) {
            Some(there) if there.window.epoch < unit.epoch => *there = row,
            Some(there) if there.window.epoch == unit.epoch && there.window.state == WindowState::Claimed => {
            }
            Some(_) => return Err(Fenced),
            None => {
                self.windows.insert(window.id.clone(), row);
            }
        }
        Ok(window)
    }

    /// First half of a takeover. Returns the windows as they were before.
    pub(crate) fn mark_taken_over(&mut self, unit: &Unit) -> Vec<Window> {
        let mut before = Vec::new();
        for row in self.unsettled_of(unit) {
            if row.window.epoch < unit.epoch {
                before.push(row.window.clone());
                row.window.epoch = unit.epoch;
            }
        }
        before
    }

    /// Second half of a takeover.
    pub(crate) fn taken_over(&mut self, unit: &Unit) -> Vec<Window> {
        let mut windows: Vec<Window> = self
            .unsettled_of(unit)
            .filter(|row| row.window.epoch == unit.epoch)
            .map(|row| row.window.clone())
            .collect();
        windows.sort_by_key(|window| window.sequence);
        windows
    }

    fn unsettled_of(&mut self, unit: &Unit) -> impl Iterator<Item = &mut WindowRow> {
        self.windows.values_mut().filter(|row| {
            row.unit == unit.id
                && row.window.sequence < unit.next_sequence
                && matches!(row.window.state, WindowState::Claimed | WindowState::Recorded)
        })
    }

    /// Whether it matched.
    pub(crate) fn record(&mut self, window: &Window) -> bool {
        let matched = self.own(window, WindowState::Claimed);
        if let Some(row) = matched {
            row.window = Window {
                state: WindowState::Recorded,
                ..window.clone()
            };
            return true;
        }
        false
    }

    /// Whether it matched.
    pub(crate) fn settle(&mut self, window: &Window) -> bool {
        let matched = self.own(window, WindowState::Recorded);
        if let Some(row) = matched {
            row.window.state = WindowState::Settled;
            return true;
        }
        false
    }

    fn own(&mut self, window: &Window, from: WindowState) -> Option<&mut WindowRow> {
        self.windows
            .get_mut(&window.id)
            .filter(|row| row.window.epoch == window.epoch && row.window.state == from)
    }

    /// After a step of a window matched nothing: whether this holder took it before.
    pub(crate) fn is_beyond(&self, window: &Window, from: WindowState) -> bool {
        self.windows
            .get(&window.id)
            .is_some_and(|row| row.window.epoch == window.epoch && row.window.state > from)
    }

    pub(crate) fn settled(&self, limit: usize) -> Vec<Window> {
        let settled = self
            .windows
            .values()
            .filter(|row| row.window.state == WindowState::Settled);
        settled.take(limit).map(|row| row.window.clone()).collect()
    }

    pub(crate) fn folded(&mut self, windows: &[Window]) {
        for settled in windows {
            if let Some(row) = self.windows.get_mut(&settled.id)
                && row.window.state == WindowState::Settled
            {
                row.window.state = WindowState::Folded;
            }
        }
    }

    /// The windows that their units say are claims.
    pub(crate) fn claims(&self) -> impl Iterator<Item = &Window> {
        let claimed = |row: &&WindowRow| {
            self.units
                .get(&row.unit)
                .is_some_and(|unit| row.window.sequence < unit.unit.next_sequence)
        };
        self.windows.values().filter(claimed).map(|row| &row.window)
    }
}

fn free(app: AppId, notification: NotificationId) -> Unit {
    Unit {
        id: UnitId::partition(notification, 0),
        notification,
        app,
        work: Work::Retry(Vec::new()),
        attempt: 1,
        failing_since: None,
        in_doubt: false,
        via: None,
        next_sequence: 0,
        checkpoint: None::<ObjectId>,
        owner: String::new(),
        epoch: 0,
    }
}
