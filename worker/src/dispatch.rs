//! The step for one unit: take over, stream, send window by window, finish.
//!
//! ```text
//! leftovers of an earlier holder --> resend what is ambiguous, settle what is recorded
//! audience from the checkpoint   --> claim --> send --> record, log, retries, settle     (K at a time)
//! nothing left                   --> unit DONE
//! ```
//!
//! Stopping, pausing and losing the lease all look alike: no new window is claimed, those in flight end,
//! and the unit is given back where it stands.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jraze_domain::campaign::Ambiguity;
use jraze_domain::ids::NotificationId;
use jraze_runtime::job_driver::Jobs;
use jraze_runtime::lifecycle::Lifecycle;
use jraze_storage::dispatch::{Advance, Unit, Window, WindowState, Work};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::campaigns::{Campaign, Campaigns, Run};
use crate::error::StepError;
use crate::lease::KeptLease;
use crate::ports::{Queue as _, World};
use crate::sender::Sender;
use crate::settle::Settler;
use crate::source::{Place, Source, places};

/// How wide and how long a unit is worked on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) concurrent_units: usize,
    pub(crate) window_devices: usize,
    pub(crate) windows_in_flight: usize,
    pub(crate) lease: Duration,
}

/// A unit with the moment its lease was asked for.
#[derive(Debug)]
pub(crate) struct Leased {
    unit: Unit,
    granted: Instant,
    _at_work: Slot,
}

/// How many units of each campaign are at work here.
#[derive(Debug, Clone, Default)]
pub(crate) struct AtWork(Arc<Mutex<BTreeMap<NotificationId, usize>>>);

/// One of them, until it is dropped.
pub(crate) struct Slot {
    campaign: NotificationId,
    all: AtWork,
}

impl AtWork {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NotificationId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn total(&self) -> usize {
        self.lock().values().sum()
    }

    fn has_none(&self, campaign: NotificationId) -> bool {
        !self.lock().contains_key(&campaign)
    }

    fn add(&self, campaign: NotificationId) -> Slot {
        *self.lock().entry(campaign).or_default() += 1;
        Slot {
            campaign,
            all: self.clone(),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        if let Some(count) = all.get_mut(&self.campaign) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.campaign);
            }
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}

/// Everything that dispatching a unit needs.
#[derive(Debug)]
pub(crate) struct Dispatcher<W: World> {
    pub(crate) owner: String,
    pub(crate) campaigns: Arc<Campaigns<W>>,
    pub(crate) queue: W::Queue,
    pub(crate) audiences: W::Audience,
    pub(crate) sender: Sender<W>,
    pub(crate) settler: Settler<W>,
    pub(crate) shape: Shape,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) turn: AtomicUsize,
    pub(crate) at_work: AtWork,
}

impl<W: World> Jobs for Dispatcher<W> {
    type Job = Leased;
    type Error = StepError;

    async fn acquire(&self, at_most: usize) -> Result<Vec<Leased>, StepError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let going = self.campaigns.going(turn);
        let mut leased = Vec::new();
        // One unit of each campaign in turn, so that a large one does not keep a small one waiting. And when
        // large ones are at work in every place, whose units may take minutes where the provider is slow, a
        // campaign that has none gets one beyond.
        let free = self.shape.concurrent_units.saturating_sub(self.at_work.total());
        let mut round = going;
        while !round.is_empty() {
            // Who had nothing is not asked again: each question looks at every unit that is out.
            let mut with_more = Vec::new();
            for campaign in round {
                if leased.len() == at_most {
                    return Ok(leased);
                }
                if leased.len() >= free && !self.at_work.has_none(campaign) {
                    continue;
                }
                match self.lease_one(campaign).await {
                    Ok(Some(unit)) => {
                        leased.push(unit);
                        with_more.push(campaign);
                    }
                    Ok(None) => {}
                    Err(error) if leased.is_empty() => return Err(error),
                    // What was leased is worked on; the error will come again if it lasts.
                    Err(_) => return Ok(leased),
                }
            }
            round = with_more;
        }
        Ok(leased)
    }

    async fn step(&self, job: Leased) -> Result<(), StepError> {
        let Leased {
            unit,
            granted,
            _at_work,
        } = job;
        fail::fail_point!("lease.after");
        let lease = KeptLease::keep(self.queue.clone(), unit.clone(), granted, self.shape.lease);
        let Some(campaign) = self.campaigns.get(unit.notification) else {
            return self.give_back(&unit, Duration::ZERO).await;
        };
        let (unit, lease) = (Arc::new(unit), Arc::new(lease));
        match self.work(campaign, unit.clone(), lease.clone()).await {
            Ok(Ended::Done) => {
                fail::fail_point!("unit.before_finish");
                Ok(self
                    .settler
                    .until_done(&lease, || self.queue.finish(&unit))
                    .await??)
            }
            Ok(Ended::Early(pause)) => self.give_back(&unit, pause).await,
            Err(StepError::Fenced) => Err(StepError::Fenced),
            Err(error) => {
                // Best effort: a lease that cannot be given back runs out by itself.
                let _ = self.queue.release(&unit, error.pause()).await;
                Err(error)
            }
        }
    }
}

/// How working on a unit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Nothing is left of it.
    Done,
    /// Stopped, paused, near the end of its lease, or without a credential that works; to be taken up
    /// again after this long.
    Early(Duration),
}

impl<W: World> Dispatcher<W> {
    async fn lease_one(&self, campaign: NotificationId) -> Result<Option<Leased>, StepError> {
        let granted = Instant::now();
        let unit = self
            .queue
            .acquire(&[campaign], &self.owner, self.shape.lease)
            .await?;
        let at_work = |unit| Leased {
            unit,
            granted,
            _at_work: self.at_work.add(campaign),
        };
        Ok(unit.map(at_work))
    }

    async fn give_back(&self, unit: &Unit, pause: Duration) -> Result<(), StepError> {
        Ok(self.queue.release(unit, pause).await??)
    }

    async fn work(
        &self,
        campaign: Arc<Campaign<W>>,
        unit: Arc<Unit>,
        lease: Arc<KeptLease>,
    ) -> Result<Ended, StepError> {
        self.settle_leftovers(&campaign, &unit, &lease).await?;
        if campaign.run() == Run::Over && matches!(unit.work, Work::Partition(_)) {
            // Stopped for good: what had gone is settled, the rest never goes. The devices of a retry were
            // claimed once, so they go through their windows once more, and come out as canceled or unknown.
            return Ok(Ended::Done);
        }
        // Each window in flight is a task of its own, so that with several of them sends go on while the next
        // one is claimed. With one, as by default, that is what the other units are for.
        let mut in_flight = JoinSet::new();
        let ended = self
            .claim_and_send(&campaign, &unit, &lease, &mut in_flight)
            .await;
        // However it ended: what is in flight ends first, so that known answers are kept.
        let mut ended = ended;
        while let Some(sent) = in_flight.join_next().await {
            if let (Err(error), Ok(_)) = (joined(sent), &ended) {
                ended = Err(error);
            }
        }
        ended
    }

    async fn claim_and_send(
        &self,
        campaign: &Arc<Campaign<W>>,
        unit: &Arc<Unit>,
        lease: &Arc<KeptLease>,
        in_flight: &mut JoinSet<Result<(), StepError>>,
    ) -> Result<Ended, StepError> {
        let mut source = Source::open(&self.audiences, campaign, unit).await?;
        for sequence in unit.next_sequence.. {
            if in_flight.len() >= self.shape.windows_in_flight
                && let Some(sent) = in_flight.join_next().await
            {
                joined(sent)?;
            }
            if let Some(pause) = self.must_rest(campaign, unit, lease) {
                return Ok(Ended::Early(pause));
            }
            let places = source.next_window(self.shape.window_devices).await?;
            let Some(last) = places.last() else { break };
            let checkpoint = last.storage_id(unit.app);
            let to = Advance { sequence, checkpoint };
            let window = self.claim(unit, lease, &places, to).await?;
            let (sender, settler) = (self.sender.clone(), self.settler.clone());
            let (campaign, unit, lease) = (campaign.clone(), unit.clone(), lease.clone());
            in_flight.spawn(async move {
                let answers = sender.send_all(&campaign, &places, &lease).await;
                settler.finish(&campaign, &unit, window, &answers, &lease).await
            });
        }
        Ok(Ended::Done)
    }

    /// For how long nothing new of this unit may be claimed; `None` when it may go on.
    fn must_rest(&self, campaign: &Campaign<W>, unit: &Unit, lease: &KeptLease) -> Option<Duration> {
        if !lease.is_safe() || self.lifecycle.stopping().is_cancelled() {
            return Some(Duration::ZERO);
        }
        match campaign.run() {
            // Nothing is sent, only written down.
            Run::Over if matches!(unit.work, Work::Retry(_)) => None,
            Run::Going if campaign.brakes.tripped().is_none() => match unit.via {
                Some(via) => self.sender.held_for_via(unit.app, via),
                None => self.sender.held_for(unit.app),
            },
            Run::Going | Run::Held | Run::Over => Some(Duration::ZERO),
        }
    }

    /// Insert, then make it a claim: only after this may anything of the window be sent.
    async fn claim(
        &self,
        unit: &Unit,
        lease: &KeptLease,
        places: &[Place],
        to: Advance,
    ) -> Result<Window, StepError> {
        let devices = || places.iter().map(Place::claimed).collect();
        let insert = || self.queue.insert(unit, to.sequence, devices());
        let window = self.settler.until_stopped(lease, insert).await??;
        fail::fail_point!("window.after_insert");
        let advance = || self.queue.advance(unit, to);
        self.settler.until_stopped(lease, advance).await??;
        fail::fail_point!("window.after_claim");
        Ok(window)
    }

    /// What an earlier holder left: recorded windows only need settling; claimed ones are ambiguous and
    /// are sent again under the same collapse identity, so that a phone shows one entry. Of a campaign that
    /// is over, or that wants nobody to get it twice, nothing is sent again, and its ambiguous devices are
    /// reported as unknown.
    async fn settle_leftovers(
        &self,
        campaign: &Campaign<W>,
        unit: &Unit,
        lease: &KeptLease,
    ) -> Result<(), StepError> {
        for mut window in self.queue.take_over(unit).await? {
            if window.state == WindowState::Recorded {
                self.settler
                    .settle_recorded(campaign, unit, &window, lease)
                    .await?;
                continue;
            }
            window.in_doubt = true;
            let devices = window.devices.len();
            tracing::info!(window.id = %window.id, devices, "taking over an ambiguous window");
            if campaign.notification.draft.on_ambiguous == Ambiguity::Skip {
                let answers = self.sender.unknown(devices);
                self.settler
                    .finish(campaign, unit, window, &answers, lease)
                    .await?;
                continue;
            }
            let ids: Vec<_> = window.devices.iter().map(|device| device.id).collect();
            let places = places(&self.audiences, unit.app, &ids).await?;
            let answers = self.sender.send_all(campaign, &places, lease).await;
            self.settler
                .finish(campaign, unit, window, &answers, lease)
                .await?;
        }
        Ok(())
    }
}

/// The end of a window's task. A panic is passed on: the driver reports it, and the lease runs out.
fn joined(sent: Result<Result<(), StepError>, tokio::task::JoinError>) -> Result<(), StepError> {
    match sent {
        Ok(sent) => sent,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(StepError::Stopping),
        },
    }
}
