//! Keeping a unit's lease alive while it is worked on.
//!
//! A heartbeat pushes the end of the lease out by the database's clock; the worker itself trusts only
//! its monotonic clock: when no heartbeat has come through for long enough that the lease may be near
//! its end, nothing new is started. So a worker that was cut off from the database stops sending before
//! anybody else may start.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jraze_storage::dispatch::{Unit, Units};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A lease that is being kept. Dropping it ends the heartbeat.
#[derive(Debug)]
pub(crate) struct KeptLease {
    lost: CancellationToken,
    safe_until: Arc<Mutex<Instant>>,
    _stop: DropGuard,
}

impl KeptLease {
    /// Starts the heartbeat of a lease that was granted at `granted` for `lasts`.
    pub(crate) fn keep(units: Units, unit: Unit, granted: Instant, lasts: Duration) -> Self {
        let lost = CancellationToken::new();
        let stop = CancellationToken::new();
        let safe_until = Arc::new(Mutex::new(granted + margin(lasts)));
        let beat = heartbeat(units, unit, lasts, safe_until.clone(), lost.clone(), stop.clone());
        tokio::spawn(beat);
        Self {
            lost,
            safe_until,
            _stop: stop.drop_guard(),
        }
    }

    /// Whether something new may be started under it.
    pub(crate) fn is_safe(&self) -> bool {
        let until = *self
            .safe_until
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        !self.lost.is_cancelled() && Instant::now() < until
    }

    /// Cancelled once another worker holds the unit.
    pub(crate) fn lost(&self) -> &CancellationToken {
        &self.lost
    }
}

/// The part of a lease in which something new may start; the rest is for what is in flight to end.
fn margin(lasts: Duration) -> Duration {
    lasts.mul_f64(2.0 / 3.0)
}

async fn heartbeat(
    units: Units,
    unit: Unit,
    lasts: Duration,
    safe_until: Arc<Mutex<Instant>>,
    lost: CancellationToken,
    stop: CancellationToken,
) {
    let pace = lasts / 4;
    while stop.run_until_cancelled(tokio::time::sleep(pace)).await.is_some() {
        let asked = Instant::now();
        match units.extend(&unit, lasts).await {
            Ok(Ok(())) => {
                *safe_until.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = asked + margin(lasts);
            }
            Ok(Err(_)) => {
                tracing::warn!(unit.id = %unit.id, "lease lost to another worker");
                lost.cancel();
                return;
            }
            Err(error) => tracing::warn!(unit.id = %unit.id, %error, "heartbeat failed"),
        }
    }
}
