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

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jraze_domain::ids::NotificationId;
use jraze_runtime::job_driver::Jobs;
use jraze_runtime::lifecycle::Lifecycle;
use jraze_storage::ObjectId;
use jraze_storage::audience_stream::Audiences;
use jraze_storage::dispatch::{Advance, Unit, Units, Window, WindowState, Windows};

use crate::campaigns::{Campaign, Campaigns, Run};
use crate::error::StepError;
use crate::lease::KeptLease;
use crate::sender::Sender;
use crate::settle::Settler;
use crate::source::{Place, Source, places};

/// How wide and how long a unit is worked on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) window_devices: usize,
    pub(crate) windows_in_flight: usize,
    pub(crate) lease: Duration,
}

/// A unit with the moment its lease was asked for.
#[derive(Debug)]
pub(crate) struct Leased {
    unit: Unit,
    granted: Instant,
}

/// Everything that dispatching a unit needs.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    pub(crate) owner: String,
    pub(crate) campaigns: Arc<Campaigns>,
    pub(crate) units: Units,
    pub(crate) windows: Windows,
    pub(crate) audiences: Audiences,
    pub(crate) sender: Sender,
    pub(crate) settler: Settler,
    pub(crate) shape: Shape,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) turn: std::sync::atomic::AtomicUsize,
}

impl Jobs for Dispatcher {
    type Job = Leased;
    type Error = StepError;

    async fn acquire(&self, at_most: usize) -> Result<Vec<Leased>, StepError> {
        let turn = self.turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let going = self.campaigns.going(turn);
        let mut leased = Vec::new();
        // One unit of each campaign in turn, so that a large one does not keep a small one waiting.
        for campaign in going.iter().cycle().take(at_most.max(going.len())) {
            if leased.len() == at_most {
                break;
            }
            leased.extend(self.lease_one(*campaign).await?);
        }
        Ok(leased)
    }

    async fn step(&self, job: Leased) -> Result<(), StepError> {
        let Leased { unit, granted } = job;
        let lease = KeptLease::keep(self.units.clone(), unit.clone(), granted, self.shape.lease);
        let Some(campaign) = self.campaigns.get(unit.notification) else {
            return self.give_back(&unit, Duration::ZERO).await;
        };
        let worked = self.work(&campaign, &unit, &lease).await;
        match worked {
            Ok(Ended::Done) => Ok(self.units.finish(&unit).await??),
            Ok(Ended::Early(pause)) => self.give_back(&unit, pause).await,
            Err(StepError::Fenced) => Err(StepError::Fenced),
            Err(error) => {
                // Best effort: a lease that cannot be given back runs out by itself.
                let _ = self.units.release(&unit, Duration::from_secs(1)).await;
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

impl Dispatcher {
    async fn lease_one(&self, campaign: NotificationId) -> Result<Option<Leased>, StepError> {
        let granted = Instant::now();
        let unit = self
            .units
            .acquire(&[campaign], &self.owner, self.shape.lease)
            .await?;
        Ok(unit.map(|unit| Leased { unit, granted }))
    }

    async fn give_back(&self, unit: &Unit, pause: Duration) -> Result<(), StepError> {
        Ok(self.units.release(unit, pause).await??)
    }

    async fn work(&self, campaign: &Campaign, unit: &Unit, lease: &KeptLease) -> Result<Ended, StepError> {
        self.settle_leftovers(campaign, unit, lease).await?;
        let mut source = Source::open(&self.audiences, campaign, unit).await?;
        let mut next_sequence = unit.next_sequence;
        let mut in_flight = FuturesUnordered::new();
        let mut ended = None;
        loop {
            while ended.is_none() && in_flight.len() < self.shape.windows_in_flight {
                if let Some(pause) = self.must_rest(campaign, lease) {
                    ended = Some(Ended::Early(pause));
                    break;
                }
                let places = source.next_window(self.shape.window_devices).await?;
                let Some(last) = places.last() else {
                    ended = Some(Ended::Done);
                    break;
                };
                let checkpoint = last.storage_id(unit.app);
                let window = self.claim(unit, next_sequence, &places, checkpoint).await?;
                next_sequence += 1;
                in_flight.push(self.send(campaign, unit, window, places, lease));
            }
            match in_flight.next().await {
                Some(sent) => sent?,
                None => return Ok(ended.unwrap_or(Ended::Early(Duration::ZERO))),
            }
        }
    }

    /// For how long nothing new of this unit may be claimed; `None` when it may go on.
    fn must_rest(&self, campaign: &Campaign, lease: &KeptLease) -> Option<Duration> {
        let may_go_on =
            campaign.run() == Run::Going && lease.is_safe() && !self.lifecycle.stopping().is_cancelled();
        if may_go_on {
            self.sender.held_for(campaign.notification.app)
        } else {
            Some(Duration::ZERO)
        }
    }

    /// Insert, then make it a claim: only after this may anything of the window be sent.
    async fn claim(
        &self,
        unit: &Unit,
        sequence: u32,
        places: &[Place],
        checkpoint: ObjectId,
    ) -> Result<Window, StepError> {
        let devices = places.iter().map(Place::claimed).collect();
        let window = self.windows.insert(unit, sequence, devices).await??;
        self.units
            .advance(unit, Advance { sequence, checkpoint })
            .await??;
        Ok(window)
    }

    async fn send(
        &self,
        campaign: &Campaign,
        unit: &Unit,
        mut window: Window,
        places: Vec<Place>,
        lease: &KeptLease,
    ) -> Result<(), StepError> {
        let answers = self.sender.send_all(campaign, &places).await;
        self.settler
            .finish(campaign, unit, &mut window, &answers, lease.lost())
            .await
    }

    /// What an earlier holder left: recorded windows only need settling; claimed ones are ambiguous and
    /// are sent again under the same collapse identity, so that a phone shows one entry.
    async fn settle_leftovers(
        &self,
        campaign: &Campaign,
        unit: &Unit,
        lease: &KeptLease,
    ) -> Result<(), StepError> {
        for mut window in self.windows.take_over(unit).await? {
            if window.state == WindowState::Recorded {
                self.settler
                    .settle(campaign, unit, &window, None, lease.lost())
                    .await?;
                continue;
            }
            tracing::info!(window.id = %window.id, devices = window.devices.len(), "resending an ambiguous window");
            let ids: Vec<_> = window.devices.iter().map(|device| device.id).collect();
            let places = places(&self.audiences, unit.app, &ids).await?;
            let answers = self.sender.send_all(campaign, &places).await;
            self.settler
                .finish(campaign, unit, &mut window, &answers, lease.lost())
                .await?;
        }
        Ok(())
    }
}
