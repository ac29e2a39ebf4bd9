//! Keeping a unit's lease alive while it is worked on.
//!
//! A heartbeat pushes the end of the lease out by the database's clock; the worker itself trusts only
//! its monotonic clock: when no heartbeat has come through for long enough that the lease may be near
//! its end, no further send is started. So a worker that was cut off from the database stops sending
//! before anybody else may start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jraze_storage::dispatch::Unit;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::ports::Queue;

/// A lease that is being kept. Dropping it ends the heartbeat.
#[derive(Debug)]
pub(crate) struct KeptLease {
    lost: CancellationToken,
    safety: Safety,
    _stop: DropGuard,
}

/// Until when something may be started, read by every send.
#[derive(Debug, Clone)]
struct Safety {
    origin: Instant,
    /// Milliseconds after `origin`; 0 once the lease is lost.
    until: Arc<AtomicU64>,
}

impl Safety {
    fn until(origin: Instant, part: Duration) -> Self {
        Self {
            origin,
            until: Arc::new(AtomicU64::new(millis(part))),
        }
    }

    fn extend(&self, asked: Instant, part: Duration) {
        let until = asked.saturating_duration_since(self.origin) + part;
        self.until.store(millis(until), Ordering::Release);
    }

    fn end(&self) {
        self.until.store(0, Ordering::Release);
    }

    fn lasts(&self, now: Instant) -> bool {
        millis(now.saturating_duration_since(self.origin)) < self.until.load(Ordering::Acquire)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl KeptLease {
    /// Starts the heartbeat of a lease that was granted at `granted` for `lasts`.
    pub(crate) fn keep(queue: impl Queue, unit: Unit, granted: Instant, lasts: Duration) -> Self {
        let lost = CancellationToken::new();
        let stop = CancellationToken::new();
        let safety = Safety::until(granted, usable(lasts));
        tokio::spawn(heartbeat(
            queue,
            unit,
            lasts,
            safety.clone(),
            lost.clone(),
            stop.clone(),
        ));
        Self {
            lost,
            safety,
            _stop: stop.drop_guard(),
        }
    }

    /// Whether something new may be started under it.
    pub(crate) fn is_safe(&self) -> bool {
        self.is_safe_at(Instant::now())
    }

    /// The same, for who knows what time it is.
    pub(crate) fn is_safe_at(&self, now: Instant) -> bool {
        self.safety.lasts(now)
    }

    /// Cancelled once another worker holds the unit.
    pub(crate) fn lost(&self) -> &CancellationToken {
        &self.lost
    }
}

/// The part of a lease in which something new may start; the rest is for what is in flight to end.
fn usable(lasts: Duration) -> Duration {
    lasts.mul_f64(2.0 / 3.0)
}

/// Whether a test keeps heartbeats from leaving.
fn skipped() -> bool {
    fail::fail_point!("heartbeat.skip", |_| true);
    false
}

async fn heartbeat(
    queue: impl Queue,
    unit: Unit,
    lasts: Duration,
    safety: Safety,
    lost: CancellationToken,
    stop: CancellationToken,
) {
    let pace = lasts / 4;
    while stop.run_until_cancelled(tokio::time::sleep(pace)).await.is_some() {
        let asked = Instant::now();
        if skipped() {
            continue;
        }
        match queue.extend(&unit, lasts).await {
            Ok(Ok(())) => safety.extend(asked, usable(lasts)),
            Ok(Err(_)) => {
                tracing::warn!(unit.id = %unit.id, "lease lost to another worker");
                safety.end();
                lost.cancel();
                return;
            }
            Err(error) => tracing::warn!(unit.id = %unit.id, %error, "heartbeat failed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_safe_for_two_thirds_and_from_the_moment_that_it_was_asked_for() {
        let origin = Instant::now();
        let at = |seconds| origin + Duration::from_secs(seconds);
        let safety = Safety::until(origin, usable(Duration::from_secs(60)));
        assert!(safety.lasts(at(39)));
        assert!(!safety.lasts(at(40)));
        safety.extend(at(15), usable(Duration::from_secs(60)));
        assert!(safety.lasts(at(54)));
        assert!(!safety.lasts(at(55)));
        safety.end();
        assert!(!safety.lasts(origin), "a lease that is lost is over at once");
    }
}
