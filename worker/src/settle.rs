//! From answers to a settled window: judge, record, log, hand on.
//!
//! The order is the protocol. *Record* makes the results durable; everything after it can be done again
//! from the record alone, by this worker or by the next holder of the unit: *log* the accepted sends
//! (batch id = window id), write the *retries* (computed ids), and only then *settle*, which lets the
//! result worker count the window.
//!
//! Each step is tried until it is done, or the lease is lost, or the process has to end: answers that are
//! known are not thrown away because a database was away for a moment.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use jraze_domain::dispatch::{Delivery, Outcome, RetryPolicy};
use jraze_domain::ids::DeviceId;
use jraze_openapi::client::Verdict;
use jraze_openapi::dto::LogNotification;
use jraze_runtime::backoff::Backoff;
use jraze_runtime::clock::Clock;
use jraze_runtime::lifecycle::Lifecycle;
use jraze_storage::StorageError;
use jraze_storage::dispatch::{Unit, Window};
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;

use crate::campaigns::Campaign;
use crate::error::StepError;
use crate::judge::{self, Circumstances};
use crate::lease::KeptLease;
use crate::ports::{Log as _, Queue as _, World};
use crate::sender::Answer;

/// Brings windows from their answers to SETTLED.
#[derive(Debug, Clone)]
pub(crate) struct Settler<W: World> {
    pub(crate) queue: W::Queue,
    pub(crate) api: W::Log,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) retry: RetryPolicy,
    pub(crate) chance: Chance,
    pub(crate) lifecycle: Lifecycle,
}

/// Randomness for waits, shared by all windows.
#[derive(Debug, Clone)]
pub(crate) struct Chance(Arc<Mutex<StdRng>>);

impl Chance {
    pub(crate) fn new(rng: StdRng) -> Self {
        Self(Arc::new(Mutex::new(rng)))
    }

    /// A number in `[0, 1)`.
    fn draw(&self) -> f64 {
        self.with(|rng| rng.random())
    }

    fn with<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        draw(&mut self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}

const AGAIN: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));

impl<W: World> Settler<W> {
    /// Records what the answers say about a claimed window, and settles it.
    pub(crate) async fn finish(
        &self,
        campaign: &Campaign<W>,
        unit: &Unit,
        mut window: Window,
        answers: &[Answer],
        lease: &KeptLease,
    ) -> Result<(), StepError> {
        let outcomes: Vec<&Outcome> = answers.iter().map(Answer::outcome).collect();
        let now = self.clock.now();
        let at = Circumstances {
            now,
            going_since: now - campaign.going_for(),
            expires_at: campaign.notification.draft.expires_at,
            chance: self.chance.draw(),
            on_ambiguous: campaign.notification.draft.on_ambiguous,
        };
        judge::judge(&self.retry, unit, &mut window, &outcomes, at);
        let gone = window
            .devices
            .iter()
            .zip(answers)
            .filter_map(|(device, answer)| answer.gone(device.id));
        window.gone = gone.collect();
        window.brake = campaign.brakes.tripped().cloned();
        self.until_done(lease, || self.queue.record(&window)).await??;
        fail::fail_point!("window.after_record");
        self.hand_on(campaign, unit, &window, Some(&outcomes), at.now, lease)
            .await
    }

    /// What a new holder does with a window that it finds recorded.
    pub(crate) async fn settle_recorded(
        &self,
        campaign: &Campaign<W>,
        unit: &Unit,
        window: &Window,
        lease: &KeptLease,
    ) -> Result<(), StepError> {
        self.hand_on(campaign, unit, window, None, self.clock.now(), lease)
            .await
    }

    async fn hand_on(
        &self,
        campaign: &Campaign<W>,
        unit: &Unit,
        window: &Window,
        outcomes: Option<&[&Outcome]>,
        now: DateTime<Utc>,
        lease: &KeptLease,
    ) -> Result<(), StepError> {
        let accepted = window.ids_with(|delivery| delivery == Delivery::Accepted);
        self.log(campaign, window, accepted, "sent", lease).await?;
        let failed = window.ids_with(is_failure);
        self.log(campaign, window, failed, "failed", lease).await?;
        fail::fail_point!("log.after");
        for retry in judge::retries(&self.retry, unit, window, outcomes, now, self.chance.draw()) {
            self.until_done(lease, || self.queue.add_retry(unit, &retry))
                .await?;
            fail::fail_point!("retry.after_insert");
        }
        self.until_done(lease, || self.queue.settle(window)).await??;
        fail::fail_point!("window.after_settle");
        Ok(())
    }

    /// Logs through the internal endpoint: a send that is not in the device's history would be a send that
    /// nobody can explain.
    async fn log(
        &self,
        campaign: &Campaign<W>,
        window: &Window,
        devices: Vec<DeviceId>,
        event: &str,
        lease: &KeptLease,
    ) -> Result<(), StepError> {
        if devices.is_empty() {
            return Ok(());
        }
        let request = LogNotification {
            device_ids: devices.iter().map(|id| id.0).collect(),
            notification_id: campaign.notification.id.0,
            batch_id: Some(window.id.to_string()),
            event: Some(event.to_owned()),
        };
        for failures in 0.. {
            let error = match self.api.log_notification(&request).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            let wait = match error.verdict() {
                Verdict::GiveUp => return Err(StepError::Api(error)),
                Verdict::FixKey => {
                    tracing::error!(%error, "worker.internal_key is refused: sends cannot be logged");
                    None
                }
                Verdict::Retry { after } => {
                    tracing::warn!(window.id = %window.id, %error, "logging sends failed, trying again");
                    after
                }
            };
            self.rest(failures, wait, lease, self.lifecycle.aborting())
                .await?;
        }
        Ok(())
    }

    /// Repeats a call to the database while it is only away, until the lease is lost or the process has to
    /// end. It is for what is known of sends: the soft stop waits for that. Every call that comes here may be
    /// made twice.
    pub(crate) async fn until_done<T, F>(
        &self,
        lease: &KeptLease,
        call: impl Fn() -> F,
    ) -> Result<T, StepError>
    where
        F: Future<Output = Result<T, StorageError>>,
    {
        self.repeat(lease, self.lifecycle.aborting(), call).await
    }

    /// The same until the soft stop: for a claim, which another worker makes as well.
    pub(crate) async fn until_stopped<T, F>(
        &self,
        lease: &KeptLease,
        call: impl Fn() -> F,
    ) -> Result<T, StepError>
    where
        F: Future<Output = Result<T, StorageError>>,
    {
        self.repeat(lease, self.lifecycle.stopping(), call).await
    }

    async fn repeat<T, F>(
        &self,
        lease: &KeptLease,
        end: &CancellationToken,
        call: impl Fn() -> F,
    ) -> Result<T, StepError>
    where
        F: Future<Output = Result<T, StorageError>>,
    {
        let mut failures = 0;
        loop {
            match call().await {
                Ok(done) => return Ok(done),
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, "the database is away, trying again");
                    self.rest(failures, None, lease, end).await?;
                    failures += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits before another try, unless there must be none.
    async fn rest(
        &self,
        failures: u32,
        wait: Option<Duration>,
        lease: &KeptLease,
        end: &CancellationToken,
    ) -> Result<(), StepError> {
        let wait = wait.unwrap_or_else(|| self.chance.with(|rng| AGAIN.delay(failures, rng)));
        tokio::select! {
            // In this order, so that a simulated run can be repeated.
            biased;
            () = lease.lost().cancelled() => Err(StepError::Fenced),
            // The next holder goes on from the record.
            () = end.cancelled() => Err(StepError::Stopping),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }
}

fn is_failure(delivery: Delivery) -> bool {
    matches!(
        delivery,
        Delivery::Unregistered
            | Delivery::TokenRefused
            | Delivery::PayloadRefused
            | Delivery::AccessRefused
            | Delivery::Refused
    )
}
