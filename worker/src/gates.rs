//! Credentials that a provider refuses are left alone for a while.
//!
//! A broken credential is nobody's delivery failing: sends that meet a closed gate are carried on later
//! without costing an attempt, and no device hears of it. The gate closes for the provider's own wait,
//! or for a doubling wait of ours, and one success opens it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jraze_domain::device::SendPlatform;
use jraze_domain::ids::AppId;
use tokio::time::Instant;

const FIRST_WAIT: Duration = Duration::from_secs(15);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

type Credential = (AppId, SendPlatform);

#[derive(Debug, Clone, Copy)]
struct Gate {
    closed_until: Instant,
    next_wait: Duration,
}

/// The gates of one worker.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    gates: Mutex<HashMap<Credential, Gate>>,
    /// Whether any gate is kept: all that a send looks at as long as every credential works.
    any: AtomicBool,
}

impl Gates {
    /// How long the gate of a credential stays closed, if it is.
    pub(crate) fn closed_for(&self, credential: Credential, now: Instant) -> Option<Duration> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let gates = self.gates.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        gates
            .get(&credential)?
            .closed_until
            .checked_duration_since(now)
            .filter(|left| !left.is_zero())
    }

    /// Closes a gate. The many sends in flight that all report the same failure close it once.
    pub(crate) fn close(&self, credential: Credential, wait: Option<Duration>, now: Instant) {
        let mut gates = self.gates.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        self.any.store(true, Ordering::Release);
        let gate = gates.entry(credential).or_insert(Gate {
            closed_until: now,
            next_wait: FIRST_WAIT,
        });
        if gate.closed_until > now {
            return;
        }
        gate.closed_until = now + wait.unwrap_or(gate.next_wait);
        gate.next_wait = (gate.next_wait * 2).min(LONGEST_WAIT);
        tracing::warn!(app.id = credential.0.0, provider = ?credential.1, "credential refused, sending with it is held");
    }

    /// The provider took something: whatever was wrong is not any more. What it took while the gate was
    /// closed was under way before, and does not open it: a wait that a provider asked for is kept.
    pub(crate) fn open(&self, credential: Credential, now: Instant) {
        if self.any.load(Ordering::Acquire) {
            let mut gates = self.gates.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if gates
                .get(&credential)
                .is_some_and(|gate| gate.closed_until <= now)
            {
                gates.remove(&credential);
            }
            self.any.store(!gates.is_empty(), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIAL: Credential = (AppId(1), SendPlatform::Fcm);

    #[test]
    fn a_thousand_reports_of_one_failure_close_the_gate_once() {
        let (gates, now) = (Gates::default(), Instant::now());
        for _ in 0..1_000 {
            gates.close(CREDENTIAL, None, now);
        }
        assert_eq!(gates.closed_for(CREDENTIAL, now), Some(FIRST_WAIT));
        let later = now + FIRST_WAIT;
        assert_eq!(gates.closed_for(CREDENTIAL, later), None);
        gates.close(CREDENTIAL, None, later);
        assert_eq!(gates.closed_for(CREDENTIAL, later), Some(FIRST_WAIT * 2));
    }

    #[test]
    fn the_providers_wait_goes_first_and_success_opens() {
        let (gates, now) = (Gates::default(), Instant::now());
        gates.close(CREDENTIAL, Some(Duration::from_secs(7)), now);
        assert_eq!(gates.closed_for(CREDENTIAL, now), Some(Duration::from_secs(7)));
        gates.open(CREDENTIAL, now);
        assert_eq!(
            gates.closed_for(CREDENTIAL, now),
            Some(Duration::from_secs(7)),
            "it was under way before"
        );
        let later = now + Duration::from_secs(7);
        gates.open(CREDENTIAL, later);
        gates.close(CREDENTIAL, None, later);
        assert_eq!(
            gates.closed_for(CREDENTIAL, later),
            Some(FIRST_WAIT),
            "success starts the waits anew"
        );
    }
}
