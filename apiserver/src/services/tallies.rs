//! What the workers report: which devices were sent to, and what became of them.
//!
//! A report names its batch, and a batch that was seen before changes nothing. A report without a
//! name counts each time, as the contract says; it gets a name of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jraze_domain::{
    dispatch::{Reason, Sent, Tally},
    ids::{AppId, DeviceId, NotificationId, NotificationUuid},
};
use jraze_runtime::clock::Clock;
use jraze_storage::{
    notifications::{NotificationRef, Notifications},
    send_log::{LogBatch, LogEvent, SendLog},
    tallies::{Batch, Tallies as Ledger},
};

use super::ServiceError;
use crate::random::Random;

/// What a report says of one batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reported {
    /// Its name, if the caller gave it one.
    pub(crate) id: Option<String>,
    pub(crate) tally: Tally,
    pub(crate) reasons: Vec<(Reason, u64)>,
}

/// The use cases behind `X-Server-Key`. They serve all apps: the notification says which.
#[derive(Clone)]
pub(crate) struct Tallies {
    pub(crate) notifications: Notifications,
    pub(crate) log: SendLog,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<Random>,
    pub(crate) known: Known,
}

/// Whose a notification is, and its two names.
#[derive(Debug, Clone, Copy)]
struct Identity {
    app: AppId,
    id: NotificationId,
    uuid: NotificationUuid,
}

/// The identities of the notifications that were reported on last. They never change, and workers report on
/// the same few ones thousands of times.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known(Arc<Mutex<HashMap<NotificationRef, Identity>>>);

impl Known {
    /// How many are kept; then it begins anew.
    const MOST: usize = 1_000;

    fn get(&self, which: NotificationRef) -> Option<Identity> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&which).copied()
    }

    fn keep(&self, which: NotificationRef, identity: Identity) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= Self::MOST {
            known.clear();
        }
        known.insert(which, identity);
    }
}

impl Tallies {
    /// Logs that a notification went to devices.
    pub(crate) async fn log(
        &self,
        notification: NotificationId,
        batch_id: Option<String>,
        event: LogEvent,
        devices: &[DeviceId],
    ) -> Result<(), ServiceError> {
        let found = self.find(NotificationRef::Id(notification)).await?;
        let batch_id = batch_id.unwrap_or_else(|| self.fresh_name());
        let batch = LogBatch {
            app: found.app,
            notification,
            batch_id: &batch_id,
            event,
            devices,
        };
        self.log.add(&batch, self.clock.now()).await?;
        fail::fail_point!("internal.after_log");
        Ok(())
    }

    /// Applies batches, those without a name under a fresh one, and returns the sent counts with
    /// them.
    pub(crate) async fn increase(
        &self,
        notification: NotificationUuid,
        batches: Vec<Reported>,
    ) -> Result<Sent, ServiceError> {
        let found = self.find(NotificationRef::Uuid(notification)).await?;
        let batches: Vec<Batch> = batches
            .into_iter()
            .map(|reported| Batch {
                id: reported.id.unwrap_or_else(|| self.fresh_name()),
                tally: reported.tally,
                reasons: reported.reasons,
            })
            .collect();
        let totals = self
            .ledger
            .apply(found.app, found.id, found.uuid, &batches)
            .await?;
        fail::fail_point!("internal.before_reply");
        Ok(totals.sent)
    }

    async fn find(&self, which: NotificationRef) -> Result<Identity, ServiceError> {
        if let Some(known) = self.known.get(which) {
            return Ok(known);
        }
        let found = self.notifications.lookup_anywhere(which).await?;
        let found = found.ok_or(ServiceError::UnknownNotification)?;
        let identity = Identity {
            app: found.app,
            id: found.id,
            uuid: found.uuid,
        };
        self.known.keep(which, identity);
        Ok(identity)
    }

    /// No caller's name begins like this (see `ports::internal`), so none can meet it.
    fn fresh_name(&self) -> String {
        format!("~{}", self.random.uuid().simple())
    }
}
