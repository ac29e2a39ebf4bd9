//! The campaigns that are being sent now, as this worker last saw them.
//!
//! One small query at a fixed pace serves every unit: whether a campaign still runs, and its message,
//! rendered once per platform. A campaign that is no longer LAUNCHED is *halted*: units that hold its
//! [`Campaign`] see that before their next send.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use jraze_domain::campaign::{Notification, Status};
use jraze_domain::device::{DevicePlatform, SendPlatform};
use jraze_domain::dispatch::{Delivery, Outcome};
use jraze_domain::ids::NotificationId;
use jraze_domain::message::{CollapseId, Push};
use jraze_runtime::lifecycle::Lifecycle;
use jraze_storage::StorageError;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::brakes::Brakes;
use crate::ports::{Book as _, PreparedIn, Provider as _, Providers as _, World};

/// Whether a campaign may be sent from, as last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Run {
    /// LAUNCHED.
    Going = 0,
    /// PAUSED: what is on the wire ends, nothing more leaves.
    Held = 1,
    /// In a terminal state: nothing more leaves.
    Over = 2,
}

/// One campaign, ready to be sent.
#[derive(Debug)]
pub(crate) struct Campaign<W: World> {
    pub(crate) notification: Notification,
    /// By who sends and what receives; an error is the outcome of every such device.
    messages: BTreeMap<(SendPlatform, DevicePlatform), Result<PreparedIn<W>, Outcome>>,
    /// Shared with the same campaign rendered again.
    run: Arc<AtomicU8>,
    /// Shared likewise.
    pub(crate) brakes: Arc<Brakes>,
    rendered: Instant,
    /// Since when this worker knows it to run, without a break.
    going_since: Instant,
}

impl<W: World> Campaign<W> {
    fn new(notification: Notification, providers: &W::Providers) -> Self {
        let push = Push {
            notification: notification.uuid,
            content: notification.draft.content.clone(),
            collapse: CollapseId::of(notification.uuid),
            expires_at: notification.draft.expires_at,
        };
        let mut messages = BTreeMap::new();
        for by in SendPlatform::ALL.iter().copied() {
            let Some(provider) = providers.get(notification.app, by) else {
                continue;
            };
            for on in DevicePlatform::ALL.iter().copied() {
                let prepared = provider
                    .prepare(&push, on)
                    .map_err(|error| Outcome::new(Delivery::PayloadRefused, &error.to_string()));
                messages.insert((by, on), prepared);
            }
        }
        Self {
            brakes: Arc::new(Brakes::new(&notification.confirmed)),
            notification,
            messages,
            run: Arc::new(AtomicU8::new(Run::Going as u8)),
            rendered: Instant::now(),
            going_since: Instant::now(),
        }
    }

    /// A launched notification does not change any more; but a time to live counts from the moment of
    /// rendering, so a message that expires is rendered again from time to time.
    fn is_current(&self) -> bool {
        self.notification.draft.expires_at.is_none() || self.rendered.elapsed() < RENDERED_FOR
    }

    fn rendered_again(&self, providers: &W::Providers) -> Self {
        Self {
            run: self.run.clone(),
            brakes: self.brakes.clone(),
            going_since: self.going_since,
            ..Self::new(self.notification.clone(), providers)
        }
    }

    /// Whether it has to be looked at anew: `found`, LAUNCHED, was held and resumed since, and a person has
    /// confirmed what held it; or a brake tripped and nobody heard of it.
    fn is_outlived(&self, found: &Notification) -> bool {
        self.notification.version != found.version || self.brakes.is_forgotten(Instant::now())
    }

    /// The same campaign with fresh evidence.
    fn resumed(&self, found: Notification, providers: &W::Providers) -> Self {
        Self {
            run: self.run.clone(),
            ..Self::new(found, providers)
        }
    }

    /// How long it has been running, as far as this worker knows.
    pub(crate) fn going_for(&self) -> Duration {
        self.going_since.elapsed()
    }

    /// Whether units of it may be leased: to send, or to settle what is left of one that was stopped.
    fn may_be_worked_on(&self) -> bool {
        match self.run() {
            Run::Going => self.brakes.tripped().is_none(),
            Run::Held => false,
            Run::Over => true,
        }
    }

    /// The message for a device, or the outcome that stands in for sending it. `None` when this worker
    /// has no credential for it.
    pub(crate) fn message(
        &self,
        by: SendPlatform,
        on: DevicePlatform,
    ) -> Option<&Result<PreparedIn<W>, Outcome>> {
        self.messages.get(&(by, on))
    }

    pub(crate) fn run(&self) -> Run {
        match self.run.load(Ordering::Acquire) {
            0 => Run::Going,
            1 => Run::Held,
            _ => Run::Over,
        }
    }

    fn set(&self, run: Run) {
        self.run.store(run as u8, Ordering::Release);
    }
}

/// How far a time to live may be off.
const RENDERED_FOR: Duration = Duration::from_secs(30);

/// What this worker knows of all campaigns.
#[derive(Debug)]
pub(crate) struct Campaigns<W: World> {
    notifications: W::Book,
    providers: Arc<W::Providers>,
    known: RwLock<BTreeMap<NotificationId, Arc<Campaign<W>>>>,
}

impl<W: World> Campaigns<W> {
    pub(crate) fn new(notifications: W::Book, providers: Arc<W::Providers>) -> Self {
        Self {
            notifications,
            providers,
            known: RwLock::default(),
        }
    }

    /// The campaigns to lease work of: those that run, and those that were stopped and have windows to
    /// settle, starting at a place that moves with `turn` so that none starves.
    pub(crate) fn going(&self, turn: usize) -> Vec<NotificationId> {
        let known = self.known.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut ids: Vec<_> = known
            .iter()
            .filter(|(_, campaign)| campaign.may_be_worked_on())
            .map(|(id, _)| *id)
            .collect();
        if !ids.is_empty() {
            let places = turn % ids.len();
            ids.rotate_left(places);
        }
        ids
    }

    pub(crate) fn get(&self, id: NotificationId) -> Option<Arc<Campaign<W>>> {
        self.known
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .get(&id)
            .cloned()
    }

    /// Looks again, at a fixed pace, until the soft stop, and rings `news` when there is more to work on
    /// than before.
    pub(crate) async fn keep_fresh(&self, every: Duration, news: &Notify, lifecycle: &Lifecycle) {
        let mut known = BTreeSet::new();
        loop {
            match self.refresh().await {
                Ok(()) => {
                    let going = self.going(0).into_iter().collect();
                    if !known.is_superset(&going) {
                        news.notify_one();
                    }
                    known = going;
                }
                Err(error) => tracing::warn!(%error, "looking up the running campaigns failed"),
            }
            let slept = lifecycle
                .stopping()
                .run_until_cancelled(tokio::time::sleep(every))
                .await;
            if slept.is_none() {
                return;
            }
        }
    }

    pub(crate) async fn refresh(&self) -> Result<(), StorageError> {
        let launched = self.notifications.launched().await?;
        let mut fresh = BTreeMap::new();
        for notification in launched {
            let id = notification.id;
            let campaign = match self.get(id) {
                Some(known) if known.is_outlived(&notification) => {
                    Arc::new(known.resumed(notification, &self.providers))
                }
                Some(known) if known.is_current() => known,
                Some(known) => Arc::new(known.rendered_again(&self.providers)),
                None => Arc::new(Campaign::<W>::new(notification, &self.providers)),
            };
            campaign.set(Run::Going);
            fresh.insert(id, campaign);
        }
        let mut others: Vec<_> = {
            let known = self.known.read().unwrap_or_else(|poisoned| poisoned.into_inner());
            known
                .iter()
                .filter(|(id, _)| !fresh.contains_key(id))
                .map(|(id, c)| (*id, c.clone()))
                .collect()
        };
        // What was stopped halfway still has windows to settle.
        let stopped = self.notifications.stopped().await?;
        let unsettled: BTreeSet<NotificationId> = stopped.iter().map(|stopped| stopped.id).collect();
        for notification in stopped {
            let id = notification.id;
            if !others.iter().any(|(other, _)| *other == id) {
                // It may have been LAUNCHED a moment ago, and be sent from: those who hold it have to hear
                // of the stop.
                let campaign = match fresh.get(&id) {
                    Some(going) => Arc::clone(going),
                    None => Arc::new(Campaign::<W>::new(notification, &self.providers)),
                };
                others.push((id, campaign));
            }
        }
        for (id, campaign) in others {
            let Some(found) = self.notifications.lookup(id).await? else {
                continue;
            };
            match found.status {
                Status::Launched => campaign.set(Run::Going),
                Status::Paused => campaign.set(Run::Held),
                _ => campaign.set(Run::Over),
            }
            if campaign.run() != Run::Over || unsettled.contains(&id) {
                fresh.insert(id, campaign);
            }
        }
        *self
            .known
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = fresh;
        Ok(())
    }
}
