//! Counting one campaign's settled windows, and closing it when nothing is open.
//!
//! A window may also say that its campaign is to be stopped; that happens before the window is counted, so
//! that it is not forgotten.
//!
//! Any number of result workers may do this at once: a window's counts go into the totals under the
//! window's id, so the second report of it changes nothing, and closing is one compare-and-set.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jraze_domain::campaign::{Event, Notification};
use jraze_domain::dispatch::Tally;
use jraze_domain::ids::NotificationId;
use jraze_openapi::client::{ClientError, InternalClient};
use jraze_openapi::dto::{FailureReason, Outcomes, SentBatch, SentIncrease};
use jraze_runtime::clock::Clock;
use jraze_storage::StorageError;
use jraze_storage::devices::Devices;
use jraze_storage::dispatch::{Settled, Units, Windows};
use jraze_storage::notifications::{NotificationRef, Notifications, Transition};
use jraze_storage::tallies::Tallies;
use tokio::time::Instant;

use crate::tokens::Undertaker;

/// Why a round ended early. The next round does it again.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The database did not do it.
    #[error("storage: {0}")]
    Storage(#[from] StorageError),
    /// The API server did not take the counts.
    #[error("the API server did not take the counts: {0}")]
    Api(#[from] ClientError),
}

/// What one look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    /// There was something to do, and there may be more.
    Worked,
    /// Nothing now, but a campaign is running.
    Expecting,
    /// Nothing, and no campaign is running.
    Idle,
}

/// What collecting needs.
#[derive(Debug)]
pub(crate) struct Collector {
    pub(crate) notifications: Notifications,
    pub(crate) units: Units,
    pub(crate) windows: Windows,
    pub(crate) tallies: Tallies,
    pub(crate) devices: Devices,
    pub(crate) api: InternalClient,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) windows_per_call: i64,
    pub(crate) retention: Duration,
    pub(crate) paces: Paces,
}

/// When each campaign is counted next.
///
/// A report sums the campaign's ledger, which takes longer the larger the campaign is; so while a campaign is
/// being sent, it is left alone for [`Paces::REST`] times as long as its last report took.
#[derive(Debug, Default)]
pub(crate) struct Paces(Mutex<HashMap<NotificationId, Instant>>);

impl Paces {
    const REST: u32 = 10;
    const LONGEST_REST: Duration = Duration::from_secs(5);

    fn is_due(&self, id: NotificationId, now: Instant) -> bool {
        self.next().get(&id).is_none_or(|next| *next <= now)
    }

    fn took(&self, id: NotificationId, time: Duration, now: Instant) {
        let mut next = self.next();
        // Those that rested are forgotten, so that it does not grow.
        next.retain(|_, next| *next > now);
        next.insert(id, now + (time * Self::REST).min(Self::LONGEST_REST));
    }

    fn next(&self) -> MutexGuard<'_, HashMap<NotificationId, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector {
    /// One look at everything.
    ///
    /// Campaigns are done apart, so that one that cannot be counted does not hold up the others.
    pub(crate) async fn round(&self) -> Result<Round, CollectError> {
        let mut worked = false;
        for id in self.windows.uncounted().await? {
            let began = Instant::now();
            // When nothing is open no window will come any more, so the rest is counted without a pause: SENT
            // waits for it.
            if !self.paces.is_due(id, began) && self.units.any_open(id).await? {
                continue;
            }
            match self.count(id).await {
                Ok(counted) => {
                    worked |= counted;
                    let now = Instant::now();
                    self.paces.took(id, now - began, now);
                }
                Err(error) => tracing::warn!(notification.id = %id, %error, "counting failed, trying again"),
            }
        }
        let launched = self.notifications.launched().await?;
        for notification in &launched {
            worked |= self.close_if_done(notification).await?;
        }
        for notification in self.notifications.stopped().await? {
            self.clear_if_settled(&notification).await?;
        }
        Ok(match (worked, launched.is_empty()) {
            (true, _) => Round::Worked,
            (false, false) => Round::Expecting,
            (false, true) => Round::Idle,
        })
    }

    async fn count(&self, id: NotificationId) -> Result<bool, CollectError> {
        let Some(notification) = self
            .notifications
            .lookup_anywhere(NotificationRef::Id(id))
            .await?
        else {
            return Ok(false);
        };
        let windows = self.windows.settled(id, self.windows_per_call).await?;
        if windows.is_empty() {
            return Ok(false);
        }
        self.stop_if_braked(&notification, &windows).await?;
        let batches = windows.iter().map(batch).collect();
        let increase = SentIncrease {
            batches: Some(batches),
            ..SentIncrease::default()
        };
        fail::fail_point!("result.before_call");
        self.api.increase_sent(notification.uuid.0, &increase).await?;
        fail::fail_point!("result.after_call");
        self.windows.folded(&windows).await?;
        Ok(true)
    }

    /// Stops the campaign, if what its provider answers asks for it: see `jraze_domain::dispatch::brake`.
    async fn stop_if_braked(
        &self,
        notification: &Notification,
        windows: &[Settled],
    ) -> Result<(), StorageError> {
        let Some(tripped) = windows.iter().find_map(|window| window.brake.as_ref()) else {
            return Ok(());
        };
        let which = NotificationRef::Id(notification.id);
        let now = self.clock.now();
        let stopped = self
            .notifications
            .brake(notification.app, which, tripped, now)
            .await?;
        // Else it is stopped already, or a person resumed it from this very brake.
        if let Transition::Made(stopped) = stopped {
            let (status, brake, message) = (stopped.status, tripped.brake, &tripped.message);
            tracing::warn!(notification.id = %notification.id, %status, %brake, message, "campaign stopped");
        }
        Ok(())
    }

    /// LAUNCHED to SENT, once every unit is done and every settled window is counted. Units are asked
    /// first: when none is open, no window can come any more.
    async fn close_if_done(&self, notification: &Notification) -> Result<bool, CollectError> {
        // A LAUNCHED notification has all its partitions: they are written before it becomes so.
        if self.units.any_open(notification.id).await? || self.windows.any_settled(notification.id).await? {
            return Ok(false);
        }
        // Before it is SENT, because nobody looks at its tokens after that; and again after a crash, because
        // burying a token twice is burying it once.
        self.tokens().bury(notification).await?;
        let totals = self.tallies.settle(notification.id, notification.uuid).await?;
        let which = NotificationRef::Id(notification.id);
        let event = Event::Finish;
        let now = self.clock.now();
        // Nobody needs the work any more, whoever makes the next step; and after it nobody would come back.
        self.let_expire(notification.id).await?;
        fail::fail_point!("close.before_cas");
        let made = self
            .notifications
            .transition(notification.app, which, event, None, now)
            .await?;
        fail::fail_point!("close.after_cas");
        match made {
            Transition::Made(_) => {
                let (sent, settled) = (totals.sent.total(), totals.settled());
                tracing::info!(notification.id = %notification.id, sent, settled, "campaign is SENT");
                Ok(true)
            }
            // Another result worker was faster, or a person stopped it in this moment.
            Transition::Refused { .. } | Transition::Missing => Ok(false),
        }
    }

    /// Clears away the work of a campaign that was stopped halfway, once what had gone is counted.
    async fn clear_if_settled(&self, notification: &Notification) -> Result<(), CollectError> {
        self.units.wind_up(notification.id).await?;
        if self.units.any_open(notification.id).await? || self.windows.any_settled(notification.id).await? {
            return Ok(());
        }
        self.tokens().bury(notification).await?;
        self.let_expire(notification.id).await?;
        Ok(self.notifications.mark_cleared(notification.id).await?)
    }

    fn tokens(&self) -> Undertaker<'_> {
        Undertaker {
            windows: &self.windows,
            devices: &self.devices,
            now: self.clock.now(),
        }
    }

    async fn let_expire(&self, notification: NotificationId) -> Result<(), StorageError> {
        let expire_at = self.clock.now() + self.retention;
        self.windows.expire(notification, expire_at).await?;
        self.units.expire(notification, expire_at).await
    }
}

fn batch(window: &Settled) -> SentBatch {
    let Tally {
        sent,
        unregistered,
        failed,
        unknown,
        skipped,
        expired,
        canceled,
    } = window.tally;
    SentBatch {
        batch_id: window.id.to_string(),
        ios: sent.ios,
        android: sent.android,
        web: sent.web,
        outcomes: Some(Outcomes {
            failed,
            unregistered,
            unknown,
            skipped,
            expired,
            canceled,
            reasons: reasons(window),
        }),
    }
}

/// The API takes 32 reasons of a batch, and none without a text.
fn reasons(window: &Settled) -> Vec<FailureReason> {
    let reasons = window
        .reasons
        .iter()
        .filter(|(reason, _)| !reason.as_str().is_empty());
    let shown = reasons.map(|(reason, count)| FailureReason {
        reason: reason.as_str().to_owned(),
        count: u64::from(*count),
    });
    shown.take(32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_campaign_rests_ten_times_as_long_as_its_report_took_and_five_seconds_at_most() {
        let (paces, now) = (Paces::default(), Instant::now());
        let (small, large) = (NotificationId(1), NotificationId(2));
        assert!(paces.is_due(small, now));
        paces.took(small, Duration::from_millis(9), now);
        paces.took(large, Duration::from_secs(1), now);
        let after = |millis| now + Duration::from_millis(millis);
        assert!(!paces.is_due(small, after(89)));
        assert!(paces.is_due(small, after(90)));
        assert!(!paces.is_due(large, after(4_999)));
        assert!(paces.is_due(large, after(5_000)));
    }
}
