//! From answers to a settled window: decide, record, log, hand on.
//!
//! The order is the protocol. *Record* makes the results durable; everything after it can be done again
//! from the record alone, by this worker or by the next holder of the unit: *log* the accepted sends
//! (batch id = window id), write the *retries* (computed ids), and only then *settle*, which lets the
//! result worker count the window.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use jraze_domain::dispatch::Delivery;
use jraze_domain::dispatch::retry::{RetryDecision, RetryPolicy};
use jraze_domain::ids::{DeviceId, UnitId};
use jraze_openapi::client::{InternalClient, Verdict};
use jraze_openapi::dto::LogNotification;
use jraze_runtime::backoff::Backoff;
use jraze_runtime::clock::Clock;
use jraze_storage::dispatch::{Retry, Unit, Units, Window, Windows};
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;

use crate::campaigns::Campaign;
use crate::error::StepError;
use crate::sender::Answer;

/// Brings windows from their answers to SETTLED.
#[derive(Debug, Clone)]
pub(crate) struct Settler {
    pub(crate) units: Units,
    pub(crate) windows: Windows,
    pub(crate) api: InternalClient,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) retry: RetryPolicy,
    pub(crate) chance: Chance,
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

const LOG_BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));

impl Settler {
    /// Records what the answers say about a claimed window, and settles it.
    pub(crate) async fn finish(
        &self,
        campaign: &Campaign,
        unit: &Unit,
        window: &mut Window,
        answers: &[Answer],
        lost: &CancellationToken,
    ) -> Result<(), StepError> {
        let now = self.clock.now();
        let jitter = self.chance.draw();
        for (device, answer) in window.devices.iter_mut().zip(answers) {
            device.delivery = self.final_or_retried(campaign, unit, answer, now, jitter);
        }
        window.gone = window
            .devices
            .iter()
            .zip(answers)
            .filter_map(|(device, answer)| answer.gone(device.id))
            .collect();
        self.windows.record(window).await??;
        let wait = longest_wait(window, answers);
        self.settle(campaign, unit, window, wait, lost).await
    }

    /// Everything after the record; also what a new holder does with a window it finds recorded.
    pub(crate) async fn settle(
        &self,
        campaign: &Campaign,
        unit: &Unit,
        window: &Window,
        wait: Option<Duration>,
        lost: &CancellationToken,
    ) -> Result<(), StepError> {
        let accepted = window.ids_with(|delivery| delivery == Delivery::Accepted);
        self.log(campaign, window, accepted, "sent", lost).await?;
        let failed = window.ids_with(is_failure);
        self.log(campaign, window, failed, "failed", lost).await?;
        for retry in self.retries(unit, window, wait) {
            self.units.add_retry(unit, &retry).await?;
        }
        self.windows.settle(window).await??;
        Ok(())
    }

    /// A passing failure stays one only while its attempts, its age and the campaign's time allow.
    fn final_or_retried(
        &self,
        campaign: &Campaign,
        unit: &Unit,
        answer: &Answer,
        now: DateTime<Utc>,
        jitter: f64,
    ) -> Delivery {
        let delivery = answer.outcome.delivery;
        let attempt = match delivery {
            Delivery::Deferred => unit.attempt,
            Delivery::Requeued => 1,
            _ => return delivery,
        };
        let since = unit.failing_since.unwrap_or(now);
        let wait = answer.outcome.hold.and_then(|hold| hold.wait);
        let expires_at = campaign.notification.draft.expires_at;
        match self.retry.decide(attempt, now, since, expires_at, wait, jitter) {
            RetryDecision::At(_) => delivery,
            RetryDecision::GiveUp => Delivery::Refused,
            RetryDecision::Expired => Delivery::Expired,
        }
    }

    /// One later unit for what failed in passing, and one for what was never its fault.
    fn retries(&self, unit: &Unit, window: &Window, wait: Option<Duration>) -> Vec<Retry> {
        let now = self.clock.now();
        let failing_since = unit.failing_since.unwrap_or(now);
        let mut retries = Vec::new();
        let deferred = window.ids_with(|delivery| delivery == Delivery::Deferred);
        if !deferred.is_empty() {
            let id = UnitId::retry(&window.id, unit.attempt + 1);
            retries.push((id, deferred, unit.attempt + 1));
        }
        let requeued = window.ids_with(|delivery| delivery == Delivery::Requeued);
        if !requeued.is_empty() {
            retries.push((UnitId::requeue(&window.id), requeued, unit.attempt));
        }
        let unit_interval = self.chance.draw();
        retries
            .into_iter()
            .map(|(id, devices, attempt)| {
                let not_before = now + self.retry.wait(unit.attempt, wait, unit_interval);
                Retry {
                    id,
                    devices,
                    attempt,
                    failing_since,
                    not_before,
                }
            })
            .collect()
    }

    /// Logs through the internal endpoint until it is done or the lease is lost: a send that is not in
    /// the device's history would be a send that nobody can explain.
    async fn log(
        &self,
        campaign: &Campaign,
        window: &Window,
        devices: Vec<DeviceId>,
        event: &str,
        lost: &CancellationToken,
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
            match self.api.log_notification(&request).await {
                Ok(_) => return Ok(()),
                Err(error) if error.verdict() == Verdict::GiveUp => return Err(StepError::Api(error)),
                Err(error) => {
                    let wait = self.chance.with(|rng| LOG_BACKOFF.delay(failures, rng));
                    tracing::warn!(window.id = %window.id, %error, ?wait, "logging sends failed, trying again");
                    if lost.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                        return Err(StepError::Fenced);
                    }
                }
            }
        }
        Ok(())
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

/// The longest wait that a provider asked for among what is tried again.
fn longest_wait(window: &Window, answers: &[Answer]) -> Option<Duration> {
    window
        .devices
        .iter()
        .zip(answers)
        .filter(|(device, _)| device.delivery.is_transient())
        .filter_map(|(_, answer)| answer.outcome.hold?.wait)
        .max()
}
