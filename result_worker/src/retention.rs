//! Forgetting: the log of sends is kept for so many days.
//!
//! Once a day the log of each app is gone through in its parts, one short delete after the other, with
//! four times as much rest between them as they took. Several result workers may do it at once; what one
//! took out the others do not find. An app whose oldest notification is young costs one look.

use std::time::Duration;

use chrono::TimeDelta;
use jraze_runtime::clock::Clock;
use jraze_runtime::lifecycle::Lifecycle;
use jraze_storage::apps::Apps;
use jraze_storage::counters::IdAllocator;
use jraze_storage::notifications::Notifications;
use jraze_storage::send_log::{LogPart, SendLog};
use jraze_storage::{StorageError, Store};
use tokio::time::{Instant, sleep};

/// From the start to the first look; a process that does not live so long has other work.
const FIRST: Duration = Duration::from_secs(60);
/// From the end of a look to the next.
const EVERY: Duration = Duration::from_secs(86_400);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(600);
/// Rest for each part, as a multiple of what it took.
const REST: u32 = 4;

/// What forgetting needs.
#[derive(Debug)]
pub(crate) struct Forgetting {
    apps: Apps,
    notifications: Notifications,
    devices: IdAllocator,
    log: SendLog,
    days: u32,
}

impl Forgetting {
    /// Of what was logged more than `days` ago; nothing is, where that is 0.
    pub(crate) fn new(store: &Store, days: u32) -> Self {
        Self {
            apps: Apps::new(store),
            notifications: Notifications::new(store),
            devices: IdAllocator::new(store),
            log: SendLog::new(store),
            days,
        }
    }

    /// Until the soft stop.
    pub(crate) async fn run(&self, clock: &dyn Clock, lifecycle: &Lifecycle) {
        if self.days == 0 {
            return;
        }
        let stopping = lifecycle.stopping();
        let mut wait = FIRST;
        while stopping.run_until_cancelled(sleep(wait)).await.is_some() {
            let Some(done) = stopping.run_until_cancelled(self.round(clock)).await else {
                break;
            };
            wait = match done {
                Ok(0) => EVERY,
                Ok(documents) => {
                    tracing::info!(
                        documents,
                        days = self.days,
                        "old entries of the send log are gone"
                    );
                    EVERY
                }
                Err(error) => {
                    tracing::warn!(%error, "old entries of the send log are kept, trying again");
                    AGAIN
                }
            };
        }
    }

    /// One look at every app; how many documents went.
    async fn round(&self, clock: &dyn Clock) -> Result<u64, StorageError> {
        let before = clock.now() - TimeDelta::days(self.days.into());
        let mut gone = 0;
        for app in self.apps.list().await? {
            let Some(newest) = self.notifications.newest_before(app.id, before).await? else {
                continue;
            };
            for part in LogPart::all(self.devices.upper_bound(app.id).await?) {
                let began = Instant::now();
                gone += self.log.forget(app.id, part, newest, before).await?;
                sleep(began.elapsed() * REST).await;
            }
        }
        Ok(gone)
    }
}
