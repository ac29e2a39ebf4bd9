//! The planner: from QUEUED to LAUNCHED.
//!
//! Any number of replicas run it. A claim is a lease by the database's clock, with an epoch that
//! stands in the filter of every later write. Once claimed, a notification's audience is frozen (no
//! device with a higher id than the counter's, and one "now" for relative dates), its partitions
//! are written, and one compare-and-set makes it LAUNCHED. A planner that dies in between leaves a
//! lease that runs out; the next one writes the same documents. A campaign that a person withdrew
//! meanwhile has no use for its partitions, and nobody else would look for them: they are let go.
//!
//! It looks every few hundred milliseconds, and at once when this process launched something.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use jraze_domain::{
    campaign::{Audience, Notification, Plan, Status},
    dispatch::{
        BucketRange,
        plan::{partitions, partitions_for},
    },
};
use jraze_runtime::{backoff::Backoff, clock::Clock, lifecycle::Lifecycle};
use jraze_storage::{
    StorageError,
    audience_stream::Audiences,
    counters::IdAllocator,
    dispatch::Units,
    notifications::{Claimed, NotificationRef, Notifications},
};
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::sync::Notify;

use crate::{convert::error::chain, random::Random};

/// What the planner works with.
pub(crate) struct Planner {
    pub(crate) notifications: Notifications,
    pub(crate) units: Units,
    pub(crate) ids: IdAllocator,
    pub(crate) audiences: Audiences,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<Random>,
    /// Somebody launched something here.
    pub(crate) launched: Arc<Notify>,
    pub(crate) interval: Duration,
    pub(crate) lease: Duration,
}

/// Waits after a failure, so that a database that is away is not hammered.
const AFTER_FAILURE: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));

/// The longest that each part of an estimate may take.
const ESTIMATED_WITHIN: Duration = Duration::from_millis(500);

impl Planner {
    /// Plans what is due until the soft stop.
    pub(crate) async fn run(self, lifecycle: Lifecycle) {
        let mut generator = StdRng::from_seed(self.random.bytes());
        let mut failures = 0;
        while !lifecycle.stopping().is_cancelled() {
            // Awaited alone, not in the select below, which drops what it does not choose.
            let wait = match self.plan_one().await {
                Ok(true) => {
                    failures = 0;
                    continue;
                }
                Ok(false) => {
                    failures = 0;
                    self.interval
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(error = chain(&error), failures, "the planner cannot go on");
                    AFTER_FAILURE.delay(failures, &mut generator)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.launched.notified(), if failures == 0 => {}
                () = lifecycle.stopping().cancelled() => {}
            }
        }
    }

    /// Plans one notification that is due; false when there is none.
    async fn plan_one(&self) -> Result<bool, StorageError> {
        let Some(claimed) = self.notifications.claim_due(self.lease).await? else {
            return Ok(false);
        };
        self.plan_claimed(&claimed).await?;
        Ok(true)
    }

    async fn plan_claimed(&self, claimed: &Claimed) -> Result<(), StorageError> {
        let notification = &claimed.notification;
        if self.start(claimed).await? {
            tracing::info!(notification = notification.id.0, "campaign launched");
            return Ok(());
        }
        // Withdrawn by a person, or taken over by another planner.
        tracing::info!(notification = notification.id.0, "planned in vain");
        self.let_go_if_withdrawn(notification).await
    }

    /// What is withdrawn was never LAUNCHED, so no worker has anything of it.
    async fn let_go_if_withdrawn(&self, notification: &Notification) -> Result<(), StorageError> {
        let which = NotificationRef::Id(notification.id);
        let found = self.notifications.lookup(notification.app, which).await?;
        if found.is_some_and(|found| found.status == Status::Deleted) {
            self.units.expire(notification.id, self.clock.now()).await?;
        }
        Ok(())
    }

    async fn start(&self, claimed: &Claimed) -> Result<bool, StorageError> {
        let notification = &claimed.notification;
        let now = self.clock.now();
        if notification
            .draft
            .expires_at
            .is_some_and(|expires| expires <= now)
        {
            let reason = "it expired before it was sent";
            return self.notifications.fail_claimed(claimed, reason, now).await;
        }
        // A plan that an earlier holder froze is kept: its partitions may be there already, and
        // ranges of two different plans would overlap.
        let plan = match notification.plan {
            Some(plan) => plan,
            None => {
                let fresh = self.fresh_plan(notification, now).await?;
                if !self.notifications.freeze(claimed, fresh).await? {
                    return Ok(false);
                }
                fail::fail_point!("plan.after_cas");
                fresh
            }
        };
        let ranges = ranges(&plan);
        if !ranges.is_empty() {
            self.units
                .plan(notification.app, notification.id, &ranges)
                .await?;
        }
        fail::fail_point!("plan.mid_partitions");
        self.notifications.start(claimed, plan, now).await
    }

    async fn fresh_plan(
        &self,
        notification: &Notification,
        now: DateTime<Utc>,
    ) -> Result<Plan, StorageError> {
        let upper = self.ids.upper_bound(notification.app).await?.0;
        let partitions = match &notification.draft.audience {
            // No partitions: the result worker finds nothing open and closes it.
            Audience::Nobody => 0,
            Audience::All => partitions_for(upper, upper).len(),
            Audience::Matching { condition, .. } => {
                let estimate =
                    self.audiences
                        .estimate(notification.app, condition, now, upper, ESTIMATED_WITHIN);
                let matching = match estimate.await {
                    Ok(matching) => matching,
                    Err(error) if error.is_retryable() => return Err(error),
                    // As many partitions as for everybody do the work as well, only in more steps.
                    Err(error) => {
                        tracing::info!(error = chain(&error), "planned without an estimate");
                        upper
                    }
                };
                partitions_for(matching, upper).len()
            }
        };
        Ok(Plan {
            audience_upper_id: upper,
            evaluated_at: now,
            partitions: u32::try_from(partitions).unwrap_or(u32::MAX),
        })
    }
}

/// The partitions of a plan follow from the plan alone.
fn ranges(plan: &Plan) -> Vec<BucketRange> {
    match plan.partitions {
        0 => Vec::new(),
        count => partitions(u64::from(count), 1),
    }
}

#[cfg(test)]
mod tests {
    use jraze_domain::campaign::{Ambiguity, Draft, Event};
    use jraze_domain::ids::{AppId, NotificationUuid};
    use jraze_domain::message::Content;
    use jraze_runtime::clock::SystemClock;
    use jraze_storage::notifications::Transition;
    use jraze_storage::test_util::TestDatabase;

    use super::*;

    const APP: AppId = AppId(1);

    #[tokio::test]
    async fn the_partitions_of_a_campaign_that_is_withdrawn_while_they_are_written_expire() {
        let database = TestDatabase::new().await;
        let planner = Planner {
            notifications: Notifications::new(&database),
            units: Units::new(&database),
            ids: IdAllocator::new(&database),
            audiences: Audiences::new(&database),
            clock: Arc::new(SystemClock),
            random: Arc::new(Random::new(StdRng::from_seed([7; 32]))),
            launched: Arc::default(),
            interval: Duration::from_secs(1),
            lease: Duration::from_secs(60),
        };
        let (notifications, now) = (&planner.notifications, SystemClock.now());
        let written_and_expiring = async |of: &Notification| {
            let mut units = database.documents("dispatch_units").await;
            units.retain(|unit| unit["notification_id"] == of.id.0);
            let expiring = units.iter().filter(|unit| unit.get("expire_at").is_some());
            (units.len(), expiring.count())
        };
        for (number, withdrawn, wanted) in [(1, false, (3, 0)), (2, true, (3, 3))] {
            let draft = Draft {
                content: Content {
                    title: "Sale".into(),
                    ..Content::default()
                },
                audience: Audience::All,
                scheduled_at: None,
                expires_at: None,
                on_ambiguous: Ambiguity::Resend,
            };
            let uuid = NotificationUuid(uuid::Uuid::from_u128(number));
            let added = notifications.add(APP, uuid, &draft, now).await.expect("added");
            let which = NotificationRef::Id(added.id);
            let make = async |event| {
                let made = notifications.transition(APP, which, event, None, now).await;
                assert!(matches!(made, Ok(Transition::Made(_))), "{event:?}");
            };
            make(Event::Launch).await;
            let claimed = notifications.claim_due(planner.lease).await.expect("answers");
            let mut claimed = claimed.expect("it is due");
            // Its plan is frozen, and the rest is to be done.
            let plan = Plan {
                audience_upper_id: 12_000,
                evaluated_at: now,
                partitions: 3,
            };
            assert!(notifications.freeze(&claimed, plan).await.expect("answers"));
            claimed.notification.plan = Some(plan);
            if withdrawn {
                make(Event::Withdraw).await;
            }
            planner.plan_claimed(&claimed).await.expect("answers");
            assert_eq!(written_and_expiring(&added).await, wanted);
        }
    }

    #[test]
    fn the_partitions_of_a_plan_follow_from_the_plan_alone() {
        for devices in [0, 1, 3_999, 4_001, 100_000, 1_000_000, 90_000_000] {
            let fresh = partitions_for(devices, devices);
            let plan = Plan {
                audience_upper_id: devices,
                evaluated_at: DateTime::UNIX_EPOCH,
                partitions: fresh.len() as u32,
            };
            assert_eq!(ranges(&plan), fresh, "{devices}");
        }
    }
}
