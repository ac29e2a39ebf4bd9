//! Sending one window: every device at once, as wide as the provider's connections allow.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jraze_domain::device::SendPlatform;
use jraze_domain::dispatch::{Delivery, DeviceEffect, Outcome, Scope};
use jraze_domain::ids::{AppId, DeviceId};
use jraze_providers::{pressure, reason};
use jraze_runtime::clock::Clock;
use jraze_runtime::lifecycle::Lifecycle;
use jraze_storage::audience_stream::Target;
use jraze_storage::devices::token_hash;
use jraze_storage::dispatch::{GoneToken, Via};
use tokio::time::Instant;

use crate::brakes::BRAKED;
use crate::campaigns::{Campaign, Run};
use crate::gates::{Gated, Gates};
use crate::lease::KeptLease;
use crate::pace::{Bounds, Lane};
use crate::ports::{Provider as _, ProviderIn, Providers as _, World};
use crate::source::Place;

/// What one send came to. Nearly all are accepted, so that takes no more room than a pointer: a window has
/// thousands of them, which are moved from hand to hand.
#[derive(Debug, Clone)]
pub(crate) struct Answer(Option<Box<Told>>);

/// What was told of a send that was not accepted.
#[derive(Debug, Clone)]
struct Told {
    outcome: Outcome,
    /// When the request left.
    left_at: DateTime<Utc>,
    /// Which token was sent to, for answers that concern the token.
    token_hash: Option<[u8; 32]>,
}

static ACCEPTED: Outcome = Outcome::accepted();

impl Answer {
    /// Of a send that was not made.
    fn unsent(outcome: Outcome, now: DateTime<Utc>) -> Self {
        Self(Some(Box::new(Told {
            outcome,
            left_at: now,
            token_hash: None,
        })))
    }

    pub(crate) fn outcome(&self) -> &Outcome {
        self.0.as_ref().map_or(&ACCEPTED, |told| &told.outcome)
    }

    /// The token to take out of audiences, when the provider declared it dead.
    pub(crate) fn gone(&self, device: DeviceId) -> Option<GoneToken> {
        let told = self.0.as_ref()?;
        let DeviceEffect::Dead { since } = told.outcome.device else {
            return None;
        };
        Some(GoneToken {
            device,
            token_hash: told.token_hash?,
            registered_before: since.unwrap_or(told.left_at),
        })
    }
}

/// The bounds of every credential's pace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pacing {
    pub(crate) max_in_flight: usize,
    pub(crate) fcm_quota_per_minute: Option<u32>,
    pub(crate) fcm_ramp: Duration,
}

/// Sends windows through the providers.
#[derive(Debug, Clone)]
pub(crate) struct Sender<W: World> {
    providers: Arc<W::Providers>,
    gates: Arc<Gates>,
    clock: Arc<dyn Clock>,
    /// How many sends of a window are begun and not ended: some for each place in a lane, and no more,
    /// because those that only wait cost memory that is not in the processor's cache.
    at_once: usize,
    /// The soft stop: what has not left by then is for another worker.
    lifecycle: Lifecycle,
    /// By credential, how many requests may be without an answer and how fast they may leave. Windows
    /// queue here and not in the provider's client, so that a send looks at its campaign once more just
    /// before it leaves.
    lanes: Arc<HashMap<(AppId, SendPlatform), Arc<Lane>>>,
}

/// What all sends of a window by one provider need, looked up once for all of them. They stand by the
/// number of the send platform.
struct Way<'a, W: World> {
    provider: Option<&'a ProviderIn<W>>,
    lane: Option<&'a Lane>,
}

impl<W: World> Sender<W> {
    pub(crate) fn new(
        providers: Arc<W::Providers>,
        clock: Arc<dyn Clock>,
        pacing: Pacing,
        lifecycle: Lifecycle,
    ) -> Self {
        let now = Instant::now();
        // Credentials under one quota share a lane.
        let mut shared: HashMap<String, Arc<Lane>> = HashMap::new();
        let lane = |credential: (AppId, SendPlatform)| {
            let bounds = Bounds {
                max_in_flight: pacing.max_in_flight,
                quota: match credential.1 {
                    SendPlatform::Fcm => pacing.fcm_quota_per_minute,
                    _ => None,
                },
                warm_up: pacing.fcm_ramp,
            };
            let fresh = || Arc::new(Lane::new(bounds, now));
            let provider = providers.get(credential.0, credential.1);
            let lane = match provider.and_then(|provider| provider.quota()) {
                Some(name) => shared.entry(name).or_insert_with(fresh).clone(),
                None => fresh(),
            };
            (credential, lane)
        };
        let lanes = Arc::new(providers.configured().map(lane).collect());
        Self {
            providers,
            gates: Arc::default(),
            clock,
            at_once: (pacing.max_in_flight / 2).max(16),
            lifecycle,
            lanes,
        }
    }

    /// The quotas that are sent under, by name, each with its lane.
    pub(crate) fn quotas(&self) -> Vec<(String, Arc<Lane>)> {
        let named = |((app, by), lane): (&(AppId, SendPlatform), &Arc<Lane>)| {
            let quota = self.providers.get(*app, *by)?.quota()?;
            Some((quota, lane.clone()))
        };
        let quotas: BTreeMap<_, _> = self.lanes.iter().filter_map(named).collect();
        quotas.into_iter().collect()
    }

    /// How long nothing at all can be sent for an app, because every credential of it is held.
    pub(crate) fn held_for(&self, app: AppId) -> Option<Duration> {
        let now = Instant::now();
        let credentials = self.lanes.keys().filter(|(owner, _)| *owner == app);
        let waits: Option<Vec<Duration>> = credentials
            .map(|(app, by)| self.gates.closed_for(Gated::all(*app, *by), now))
            .collect();
        waits?.into_iter().min()
    }

    /// The gates, for those who tell of them.
    pub(crate) fn gates(&self) -> Arc<Gates> {
        Arc::clone(&self.gates)
    }

    /// How long nothing can be sent this way.
    pub(crate) fn held_for_via(&self, app: AppId, via: Via) -> Option<Duration> {
        let gated = Gated {
            app,
            by: via.by,
            on: via.on,
        };
        self.gates.closed_for(gated, Instant::now())
    }

    /// The answers of a window that is not sent again though nobody knows whether it was sent.
    pub(crate) fn unknown(&self, devices: usize) -> Vec<Answer> {
        let outcome = Outcome::new(Delivery::Unknown, "jraze:interrupted");
        vec![Answer::unsent(outcome, self.clock.now()); devices]
    }

    /// Sends to every place; answers are in the order of `places`.
    pub(crate) async fn send_all(
        &self,
        campaign: &Campaign<W>,
        places: &[Place],
        lease: &KeptLease,
    ) -> Vec<Answer> {
        // As many lines as may be begun at once, each taking the next place when it is done with one: a
        // future for each device would have to be allocated, moved and dropped for each.
        let (taken, known) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let ways = self.ways(campaign.notification.app);
        let line = async || {
            let mut answered = Vec::with_capacity(2 * places.len() / self.at_once);
            while let index = taken.fetch_add(1, Ordering::Relaxed)
                && let Some(place) = places.get(index)
            {
                answered.push((index, self.send(campaign, &ways, place, lease).await));
                came_in(known.fetch_add(1, Ordering::Relaxed) + 1, places.len());
            }
            answered
        };
        let lines = self.at_once.min(places.len());
        let mut lines: FuturesUnordered<_> = (0..lines).map(|_| line()).collect();
        let mut answers: Vec<Option<Answer>> = Vec::new();
        answers.resize_with(places.len(), || None);
        while let Some(answered) = lines.next().await {
            for (index, answer) in answered {
                answers[index] = Some(answer);
            }
        }
        fail::fail_point!("send.after_all");
        let each = answers.into_iter();
        each.map(|answer| answer.expect("each place was taken by one line"))
            .collect()
    }

    fn ways(&self, app: AppId) -> Vec<Way<'_, W>> {
        let way = |by: &SendPlatform| Way {
            provider: self.providers.get(app, *by),
            lane: self.lanes.get(&(app, *by)).map(Arc::as_ref),
        };
        SendPlatform::ALL.iter().map(way).collect()
    }

    async fn send(
        &self,
        campaign: &Campaign<W>,
        ways: &[Way<'_, W>],
        place: &Place,
        lease: &KeptLease,
    ) -> Answer {
        let target = match place {
            Place::Device(target) => target,
            Place::Vanished(_) => {
                return Answer::unsent(Outcome::new(Delivery::Skipped, ""), self.clock.now());
            }
        };
        let way = &ways[usize::from(target.send_platform.number())];
        // Before a place in the lane, which other campaigns may want.
        let _careful = campaign.brakes.turn(target.send_platform).await;
        let mut turn = match way.lane {
            Some(lane) => Some(lane.enter(campaign.notification.id).await),
            None => None,
        };
        let leaves = match &mut turn {
            Some(turn) => {
                let wanted = || {
                    self.before_sending(campaign, target, lease, Instant::now())
                        .is_none()
                };
                turn.wait_for_rate(wanted).await
            }
            None => Instant::now(),
        };
        let outcome = match self.before_sending(campaign, target, lease, leaves) {
            Some(outcome) => outcome,
            None => {
                let outcome = self.send_now(campaign, way.provider, target, lease).await;
                if let Some(turn) = &turn {
                    turn.report(pressure(&outcome));
                }
                outcome
            }
        };
        campaign.brakes.note(target.send_platform, &outcome);
        if outcome == ACCEPTED {
            return Answer(None);
        }
        let dead = matches!(outcome.device, DeviceEffect::Dead { .. });
        Answer(Some(Box::new(Told {
            outcome,
            // The wall clock is only asked where it matters.
            left_at: self.clock.now() - leaves.elapsed(),
            token_hash: dead.then(|| token_hash(&target.token)),
        })))
    }

    /// The outcome of a send that is not made.
    fn before_sending(
        &self,
        campaign: &Campaign<W>,
        target: &Target,
        lease: &KeptLease,
        now: Instant,
    ) -> Option<Outcome> {
        match campaign.run() {
            Run::Over => return Some(Outcome::new(Delivery::Canceled, "")),
            // However slowly a quota lets the claimed ones out, nobody gets it after the pause.
            Run::Held => return Some(Outcome::new(Delivery::Held, "jraze:paused")),
            Run::Going => {}
        }
        if self.lifecycle.is_stopping() {
            return Some(Outcome::new(Delivery::Held, "jraze:stopping"));
        }
        if campaign
            .notification
            .draft
            .expires_at
            .is_some_and(|expires_at| expires_at <= self.clock.now())
        {
            return Some(Outcome::new(Delivery::Expired, ""));
        }
        if campaign.brakes.tripped().is_some() {
            return Some(Outcome::new(Delivery::Held, BRAKED));
        }
        if !lease.is_safe_at(now) {
            return Some(Outcome::new(Delivery::Held, "jraze:lease_ends"));
        }
        if self.gates.are_open() {
            return None;
        }
        let wait = self.gates.closed_for(gated(campaign, target), now)?;
        Some(Outcome::new(Delivery::Requeued, "credential held").with_hold(Scope::Delivery, Some(wait)))
    }

    async fn send_now(
        &self,
        campaign: &Campaign<W>,
        provider: Option<&ProviderIn<W>>,
        target: &Target,
        lease: &KeptLease,
    ) -> Outcome {
        let message = campaign.message(target.send_platform, target.device_platform);
        let (Some(provider), Some(message)) = (provider, message) else {
            let outcome = without_credential(target.send_platform);
            self.learn(gated(campaign, target), &outcome);
            return outcome;
        };
        let message = match message {
            Ok(message) => message,
            Err(refused) => return refused.clone(),
        };
        let wanted = || campaign.run() == Run::Going && lease.is_safe_at(Instant::now());
        let outcome = provider.send_while(message, &target.token, &wanted).await;
        if outcome.reason.as_str() == reason::UNWANTED
            && let Some(why) = self.before_sending(campaign, target, lease, Instant::now())
        {
            return why;
        }
        if outcome.delivery.is_transient() && campaign.run() == Run::Over {
            // There will be no later try.
            return match outcome.delivery {
                Delivery::Unanswered => Outcome::new(Delivery::Unknown, outcome.reason.as_str()),
                _ => Outcome::new(Delivery::Canceled, ""),
            };
        }
        self.learn(gated(campaign, target), &outcome);
        outcome
    }

    /// Closes and opens gates by what a provider said, or what we lack.
    fn learn(&self, at: Gated, outcome: &Outcome) {
        if outcome.hold.is_none() && self.gates.are_open() {
            return;
        }
        let now = Instant::now();
        match outcome.hold {
            // A host that cannot be reached is left alone like a credential that is refused.
            Some(hold)
                if hold.scope == Scope::Credential
                    || (hold.scope == Scope::Connection && hold.wait.is_some()) =>
            {
                let all = Gated::all(at.app, at.by);
                self.gates.close(all, hold.wait, &outcome.reason, now);
            }
            Some(hold) if hold.scope == Scope::Platform => {
                self.gates.close(at, hold.wait, &outcome.reason, now);
            }
            _ if outcome.delivery == Delivery::Accepted => self.gates.open(at, now),
            _ => {}
        }
    }
}

fn gated<W: World>(campaign: &Campaign<W>, target: &Target) -> Gated {
    Gated {
        app: campaign.notification.app,
        by: target.send_platform,
        on: Some(target.device_platform),
    }
}

/// Where a test may stop this process with some of a window's answers known, and others not.
fn came_in(known: usize, wanted: usize) {
    if known == 1 {
        fail::fail_point!("send.after_first");
    }
    if known == wanted / 2 {
        fail::fail_point!("send.after_half");
    }
}

/// Another worker may have the credential, so the delivery waits for it, and whoever looks at the campaign sees
/// for what; Web Push has no provider yet, so waiting would be in vain.
fn without_credential(by: SendPlatform) -> Outcome {
    match by {
        SendPlatform::WebPush => Outcome::new(Delivery::AccessRefused, "jraze:no_provider"),
        _ => Outcome::new(Delivery::Requeued, "jraze:no_credential")
            .with_hold(Scope::Credential, Some(NO_CREDENTIAL_WAIT)),
    }
}

/// How long a delivery waits for a worker that has a credential for it.
const NO_CREDENTIAL_WAIT: Duration = Duration::from_secs(30);
