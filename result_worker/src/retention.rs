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
        if self.days > 0 {
            daily(lifecycle, || self.round(clock)).await;
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

/// Looks again and again until the soft stop, which does not wait for a look to end.
async fn daily<F>(lifecycle: &Lifecycle, look: impl Fn() -> F)
where
    F: Future<Output = Result<u64, StorageError>>,
{
    let stopping = lifecycle.stopping();
    let mut wait = FIRST;
    while stopping.run_until_cancelled(sleep(wait)).await.is_some() {
        let Some(done) = stopping.run_until_cancelled(look()).await else {
            break;
        };
        wait = match done {
            Ok(0) => EVERY,
            Ok(documents) => {
                tracing::info!(documents, "old entries of the send log are gone");
                EVERY
            }
            Err(error) => {
                tracing::warn!(%error, "old entries of the send log are kept, trying again");
                AGAIN
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::pending;

    use chrono::{DateTime, Utc};
    use jraze_domain::campaign::{Ambiguity, Audience, Draft};
    use jraze_domain::device::bucket;
    use jraze_domain::ids::NotificationUuid;
    use jraze_domain::message::Content;
    use jraze_runtime::clock::MockClock;
    use jraze_storage::send_log::{LogBatch, LogEvent};
    use jraze_storage::test_util::TestDatabase;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_looks_after_a_minute_then_daily_and_sooner_after_a_failure_until_the_stop() {
        let (lifecycle, start) = (Lifecycle::new(), Instant::now());
        let looks = RefCell::new(Vec::new());
        let look = || async {
            looks.borrow_mut().push(start.elapsed().as_secs());
            let nth = looks.borrow().len();
            match nth {
                1 => Ok(7),
                2 => Err(StorageError::Conflict { what: "anything" }),
                3 => Ok(0),
                _ => {
                    lifecycle.stop();
                    pending().await
                }
            }
        };
        daily(&lifecycle, look).await;
        let day = EVERY.as_secs();
        assert_eq!(
            *looks.borrow(),
            [60, 60 + day, 660 + day, 660 + 2 * day],
            "and the last one did not hold up the end"
        );
    }

    #[tokio::test]
    async fn where_the_log_is_kept_for_ever_nobody_waits_for_a_look() {
        let (clock, lifecycle) = (MockClock::at(day(0)), Lifecycle::new());
        let database = TestDatabase::new().await;
        let forgetting = Forgetting::new(&database, 0);
        let ended = tokio::time::timeout(FIRST / 10, forgetting.run(&clock, &lifecycle)).await;
        ended.expect("nothing to do");
    }

    fn day(number: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000, 0).expect("in range") + TimeDelta::days(number)
    }

    #[tokio::test]
    async fn a_look_takes_out_what_is_too_old_of_an_app_and_leaves_the_rest() {
        let database = TestDatabase::new().await;
        let app = Apps::new(&database).create("shop", "Shop", day(0)).await;
        let app = app.expect("made").id;
        let devices = IdAllocator::new(&database).next_many(app, 500).await;
        let devices = devices.expect("given out");
        // A look begins with the lowest buckets, and goes on for a minute.
        let lowest = devices.into_iter().min_by_key(|device| bucket(*device));
        let device = lowest.expect("some");
        let (notifications, log) = (Notifications::new(&database), SendLog::new(&database));
        for number in 1..=3 {
            let draft = Draft {
                content: Content::default(),
                audience: Audience::All,
                scheduled_at: None,
                expires_at: None,
                on_ambiguous: Ambiguity::Resend,
            };
            let uuid = NotificationUuid(format!("{number:032x}").parse().expect("a UUID"));
            let added = notifications.add(app, uuid, &draft, day(number)).await;
            let batch = LogBatch {
                app,
                notification: added.expect("added").id,
                batch_id: "1",
                event: LogEvent::Sent,
                devices: &[device],
            };
            log.add(&batch, day(number)).await.expect("logged");
        }
        let left = async || log.history(app, device).await.expect("answers").len();
        assert_eq!(left().await, 3);

        let forgetting = Forgetting::new(&database, 30);
        let clock = MockClock::at(day(33));
        let forgotten = async {
            while left().await != 1 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            done = forgetting.round(&clock) => panic!("all of it, so soon: {done:?}"),
            () = forgotten => {}
            () = sleep(Duration::from_secs(20)) => panic!("{} of 3 are left", left().await),
        }
        assert_eq!(
            log.history(app, device).await.expect("answers")[0].created_at,
            day(3)
        );
    }
}
