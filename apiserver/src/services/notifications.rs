//! Notifications: written, edited, moved through their states. The only caller of
//! `storage::notifications::transition` for people.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jraze_domain::{
    audience::Condition,
    campaign::{Audience, Draft, Event, IllegalTransition, Notification, Status},
    dispatch::Reason,
    ids::{AppId, NotificationId, NotificationUuid},
};
use jraze_runtime::clock::Clock;
use jraze_storage::{
    StorageError,
    audience_stream::Audiences,
    dispatch::Units,
    fleet::{CredentialHold, Fleet},
    notifications::{Launch, NotificationOrder, NotificationRef, Notifications as Repository, Transition},
    tallies::Tallies,
};
use tokio::sync::Notify;
use uuid::Uuid;

use super::{ServiceError, reach::ExpectedReach};
use crate::random::Random;

/// A notification with how far its plan has come.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) notification: Notification,
    pub(crate) partitions_done: u32,
    /// The credentials that are left alone while it runs.
    pub(crate) holds: Vec<CredentialHold>,
    /// The most frequent reasons of its failures; `None` where nobody asked.
    pub(crate) failures: Option<Vec<(Reason, u64)>>,
}

/// How long counting an audience may take in the database.
const COUNTING_TIME: Duration = Duration::from_secs(10);

/// Reasons that are shown of one notification.
const MAX_FAILURES: u32 = 16;

/// The use cases of notifications.
#[derive(Clone)]
pub(crate) struct Notifications {
    pub(crate) repository: Repository,
    pub(crate) units: Units,
    pub(crate) audiences: Audiences,
    pub(crate) ledger: Tallies,
    pub(crate) fleet: Fleet,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<Random>,
    /// Wakes the planner of this process; those of others look by themselves.
    pub(crate) launched: Arc<Notify>,
}

impl Notifications {
    /// Keeps a new draft, under the identity of the request that makes it, if that has one. Also says
    /// whether the request made it before.
    pub(crate) async fn create(
        &self,
        app: AppId,
        draft: &Draft,
        identity: Option<Uuid>,
    ) -> Result<(Seen, bool), ServiceError> {
        let uuid = NotificationUuid(identity.unwrap_or_else(|| self.random.uuid()));
        match self.repository.add(app, uuid, draft, self.clock.now()).await {
            Ok(notification) => {
                fail::fail_point!("api.after_insert");
                let seen = Seen {
                    notification,
                    partitions_done: 0,
                    holds: Vec::new(),
                    failures: Some(Vec::new()),
                };
                Ok((seen, false))
            }
            Err(StorageError::Conflict { .. }) if identity.is_some() => {
                Ok((self.get(app, NotificationRef::Uuid(uuid)).await?, true))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The notification.
    pub(crate) async fn get(&self, app: AppId, which: NotificationRef) -> Result<Seen, ServiceError> {
        self.see(self.lookup(app, which).await?).await
    }

    /// A page of the app's notifications, and how many there are.
    pub(crate) async fn list(
        &self,
        app: AppId,
        status: Option<Status>,
        order: &[NotificationOrder],
        start: u64,
        size: u64,
    ) -> Result<(Vec<Seen>, u64), ServiceError> {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let page = self.repository.list(app, status, order, start, size).await?;
        Ok((self.see_all(page.notifications).await?, page.total))
    }

    /// The notifications of these numbers, in no order.
    pub(crate) async fn by_ids(&self, app: AppId, ids: &[NotificationId]) -> Result<Vec<Seen>, ServiceError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.see_all(self.repository.by_ids(app, ids).await?).await
    }

    /// Replaces a draft.
    pub(crate) async fn edit(
        &self,
        app: AppId,
        which: NotificationRef,
        draft: &Draft,
    ) -> Result<Seen, ServiceError> {
        match self.repository.edit(app, which, draft, self.clock.now()).await? {
            Transition::Made(notification) => self.see(*notification).await,
            Transition::Refused { found } => Err(ServiceError::NotADraft(found)),
            Transition::Missing => Err(ServiceError::UnknownNotification),
        }
    }

    /// Which event a person's wish for `wanted` is, as things stand now.
    pub(crate) async fn event_towards(
        &self,
        app: AppId,
        which: NotificationRef,
        wanted: Status,
    ) -> Result<Event, ServiceError> {
        Ok(self.lookup(app, which).await?.status.person_event(wanted)?)
    }

    /// Launches a draft, unless its audience is not as expected; asked again under the same identity,
    /// answers what became of it. Also says whether it is such a replay.
    pub(crate) async fn launch(
        &self,
        app: AppId,
        which: NotificationRef,
        identity: Option<Uuid>,
        expected: Option<ExpectedReach>,
    ) -> Result<(Seen, bool), ServiceError> {
        let counted = match expected {
            Some(expected) => self.hold_to(expected, app, which).await?,
            None => None,
        };
        let launch = self
            .repository
            .launch(app, which, identity, counted, self.clock.now());
        match launch.await? {
            Launch::Made(notification) => {
                fail::fail_point!("api.before_reply");
                self.launched.notify_one();
                Ok((self.see(*notification).await?, false))
            }
            Launch::Replayed(notification) => Ok((self.see(*notification).await?, true)),
            Launch::Refused { found } => Err(IllegalTransition {
                from: found,
                to: Event::Launch.target(),
            }
            .into()),
            Launch::Edited => Err(ServiceError::EditedMeanwhile),
            Launch::Missing => Err(ServiceError::UnknownNotification),
        }
    }

    /// Counts the audience of a draft as a campaign would find it now, and returns the version that was
    /// counted. What is no draft any more is not counted; launching it tells why.
    async fn hold_to(
        &self,
        expected: ExpectedReach,
        app: AppId,
        which: NotificationRef,
    ) -> Result<Option<i64>, ServiceError> {
        let notification = self.lookup(app, which).await?;
        if notification.status != Status::Draft {
            return Ok(None);
        }
        let everyone = Condition::everybody();
        let condition = match &notification.draft.audience {
            Audience::Nobody => None,
            Audience::All => Some(&everyone),
            Audience::Matching { condition, .. } => Some(condition),
        };
        let found = match condition {
            Some(condition) => {
                let count = self
                    .audiences
                    .count(app, condition, self.clock.now(), COUNTING_TIME);
                count.await?
            }
            None => 0,
        };
        expected.check(found)?;
        Ok(Some(notification.version))
    }

    /// Makes a person's event happen.
    pub(crate) async fn transition(
        &self,
        app: AppId,
        which: NotificationRef,
        event: Event,
    ) -> Result<Seen, ServiceError> {
        match self
            .repository
            .transition(app, which, event, None, self.clock.now())
            .await?
        {
            Transition::Made(notification) => {
                if event == Event::Launch {
                    self.launched.notify_one();
                }
                if event == Event::Withdraw {
                    self.let_go_of_work(&notification).await;
                }
                self.see(*notification).await
            }
            Transition::Refused { found } => Err(IllegalTransition {
                from: found,
                to: event.target(),
            }
            .into()),
            Transition::Missing => Err(ServiceError::UnknownNotification),
        }
    }

    /// Partitions that a planner wrote before the campaign was withdrawn; one that is writing them still
    /// will find out by itself. It is withdrawn whether this can be done or not.
    async fn let_go_of_work(&self, withdrawn: &Notification) {
        if withdrawn.plan.is_some()
            && let Err(error) = self.units.expire(withdrawn.id, self.clock.now()).await
        {
            let id = withdrawn.id.0;
            tracing::warn!(notification = id, %error, "the partitions of a withdrawn campaign stay");
        }
    }

    async fn lookup(&self, app: AppId, which: NotificationRef) -> Result<Notification, ServiceError> {
        self.repository
            .lookup(app, which)
            .await?
            .ok_or(ServiceError::UnknownNotification)
    }

    async fn see(&self, notification: Notification) -> Result<Seen, ServiceError> {
        let (id, app, tally) = (notification.id, notification.app, notification.tally);
        let is_running = notification.status == Status::Launched;
        let mut seen = self.see_all(vec![notification]).await?;
        let mut seen = seen.pop().ok_or(ServiceError::UnknownNotification)?;
        // Reasons come with counts of failures: a watcher of a campaign that has none costs no sum.
        seen.failures = Some(if tally.settled() == tally.sent.total() {
            Vec::new()
        } else {
            self.ledger.failures(id, MAX_FAILURES).await?
        });
        if is_running {
            seen.holds = self.fleet.holds(app).await?;
        }
        Ok(seen)
    }

    async fn see_all(&self, notifications: Vec<Notification>) -> Result<Vec<Seen>, ServiceError> {
        let planned: Vec<NotificationId> = notifications
            .iter()
            .filter(|notification| notification.plan.is_some())
            .map(|notification| notification.id)
            .collect();
        let done: HashMap<NotificationId, u32> = if planned.is_empty() {
            HashMap::new()
        } else {
            self.units.partitions_done(&planned).await?.into_iter().collect()
        };
        let see = |notification: Notification| {
            let total = notification.plan.map_or(0, |plan| plan.partitions);
            // Units are cleaned up some time after the end; what was sent is done.
            let partitions_done = match notification.status {
                Status::Sent => total,
                _ => done.get(&notification.id).copied().unwrap_or(0),
            };
            Seen {
                notification,
                partitions_done,
                holds: Vec::new(),
                failures: None,
            }
        };
        Ok(notifications.into_iter().map(see).collect())
    }
}
