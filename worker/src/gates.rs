//! Credentials that a provider refuses, or that this worker lacks, are left alone for a while.
//!
//! A broken credential is nobody's delivery failing: sends that meet a closed gate are carried on later
//! without costing an attempt, and no device hears of it. The gate closes for the provider's own wait,
//! or for a doubling wait of ours. When that is over sends try again; one success opens the gate, and until
//! then the credential counts as held, because nobody knows better.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jraze_domain::device::{DevicePlatform, SendPlatform};
use jraze_domain::dispatch::Reason;
use jraze_domain::ids::AppId;
use tokio::time::Instant;

const FIRST_WAIT: Duration = Duration::from_secs(15);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// A gate that nobody came to for so long after its wait tells nothing any more, and is forgotten.
const KEPT: Duration = Duration::from_secs(300);

/// What a gate is in front of: a credential, or a credential for one device platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Gated {
    pub(crate) app: AppId,
    pub(crate) by: SendPlatform,
    /// `None` for all of them.
    pub(crate) on: Option<DevicePlatform>,
}

impl Gated {
    /// The whole credential.
    pub(crate) fn all(app: AppId, by: SendPlatform) -> Self {
        Self { app, by, on: None }
    }

    /// The gates that a send passes: its credential's, and its platform's with that credential.
    fn passes(self) -> impl Iterator<Item = Self> {
        let own = self.on.map(|_| self);
        [Self::all(self.app, self.by)].into_iter().chain(own)
    }
}

#[derive(Debug, Clone)]
struct Gate {
    closed_until: Instant,
    next_wait: Duration,
    /// Since when the provider took nothing.
    since: Instant,
    /// Its last word.
    reason: Reason,
}

/// A gate that is closed or being tried, for those who ask why a campaign waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) gated: Gated,
    pub(crate) reason: Reason,
    /// How long ago it was closed for the first time.
    pub(crate) since: Duration,
    /// How long it stays closed; nothing while it is being tried.
    pub(crate) left: Duration,
}

/// The gates of one worker.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    gates: Mutex<HashMap<Gated, Gate>>,
    /// Whether any gate is kept.
    any: AtomicBool,
}

impl Gates {
    /// Whether every credential works: then a send need not even look at the clock.
    pub(crate) fn are_open(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    /// How long sends to there have to wait, if they have to.
    pub(crate) fn closed_for(&self, to: Gated, now: Instant) -> Option<Duration> {
        if self.are_open() {
            return None;
        }
        let gates = self.gates.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let waits = to
            .passes()
            .filter_map(|gate| gates.get(&gate)?.closed_until.checked_duration_since(now));
        waits.filter(|left| !left.is_zero()).max()
    }

    /// Closes a gate. The many sends in flight that all report the same failure close it once.
    pub(crate) fn close(&self, gated: Gated, wait: Option<Duration>, reason: &Reason, now: Instant) {
        let mut gates = self.gates.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        self.any.store(true, Ordering::Release);
        let gate = gates.entry(gated).or_insert(Gate {
            closed_until: now,
            next_wait: FIRST_WAIT,
            since: now,
            reason: Reason::default(),
        });
        if gate.closed_until > now {
            return;
        }
        gate.closed_until = now + wait.unwrap_or(gate.next_wait);
        gate.next_wait = (gate.next_wait * 2).min(LONGEST_WAIT);
        gate.reason = reason.clone();
        let Gated { app, by, on } = gated;
        tracing::warn!(app.id = app.0, provider = ?by, device_platform = ?on, %reason, "sending with a credential is held");
    }

    /// The gates through which nothing went since they were closed.
    pub(crate) fn held(&self, now: Instant) -> Vec<Held> {
        if self.are_open() {
            return Vec::new();
        }
        let mut gates = self.gates.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        gates.retain(|_, gate| now < gate.closed_until + KEPT);
        self.any.store(!gates.is_empty(), Ordering::Release);
        let mut held: Vec<_> = gates
            .iter()
            .map(|(gated, gate)| Held {
                gated: *gated,
                reason: gate.reason.clone(),
                since: now.saturating_duration_since(gate.since),
                left: gate.closed_until.saturating_duration_since(now),
            })
            .collect();
        held.sort_by_key(|held| held.gated);
        held
    }

    /// The provider took something for there: whatever was wrong is not any more. What it took while a gate
    /// was closed was under way before, and does not open it: a wait that a provider asked for is kept.
    pub(crate) fn open(&self, to: Gated, now: Instant) {
        if !self.are_open() {
            let mut gates = self.gates.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            for gate in to.passes() {
                if gates.get(&gate).is_some_and(|gate| gate.closed_until <= now) {
                    gates.remove(&gate);
                }
            }
            self.any.store(!gates.is_empty(), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIAL: Gated = Gated {
        app: AppId(1),
        by: SendPlatform::Fcm,
        on: None,
    };

    fn refused() -> Reason {
        Reason::new("UNAUTHENTICATED")
    }

    #[test]
    fn a_thousand_reports_of_one_failure_close_the_gate_once() {
        let (gates, now) = (Gates::default(), Instant::now());
        for _ in 0..1_000 {
            gates.close(CREDENTIAL, None, &refused(), now);
        }
        assert_eq!(gates.closed_for(CREDENTIAL, now), Some(FIRST_WAIT));
        let later = now + FIRST_WAIT;
        assert_eq!(gates.closed_for(CREDENTIAL, later), None);
        gates.close(CREDENTIAL, None, &refused(), later);
        assert_eq!(gates.closed_for(CREDENTIAL, later), Some(FIRST_WAIT * 2));
    }

    #[test]
    fn the_providers_wait_goes_first_and_success_opens() {
        let (gates, now) = (Gates::default(), Instant::now());
        gates.close(CREDENTIAL, Some(Duration::from_secs(7)), &refused(), now);
        assert_eq!(gates.closed_for(CREDENTIAL, now), Some(Duration::from_secs(7)));
        gates.open(CREDENTIAL, now);
        assert_eq!(
            gates.closed_for(CREDENTIAL, now),
            Some(Duration::from_secs(7)),
            "it was under way before"
        );
        let later = now + Duration::from_secs(7);
        gates.open(CREDENTIAL, later);
        gates.close(CREDENTIAL, None, &refused(), later);
        assert_eq!(
            gates.closed_for(CREDENTIAL, later),
            Some(FIRST_WAIT),
            "success starts the waits anew"
        );
    }
    #[test]
    fn one_device_platform_is_held_alone_and_a_credential_for_all_of_them() {
        let (gates, now) = (Gates::default(), Instant::now());
        let on = |on| Gated {
            on: Some(on),
            ..CREDENTIAL
        };
        let (ios, android) = (on(DevicePlatform::Ios), on(DevicePlatform::Android));
        gates.close(ios, None, &refused(), now);
        assert_eq!(gates.closed_for(ios, now), Some(FIRST_WAIT));
        assert_eq!(gates.closed_for(android, now), None);
        assert_eq!(gates.closed_for(CREDENTIAL, now), None);
        // What another platform takes says nothing about this one.
        let later = now + FIRST_WAIT;
        gates.open(android, later);
        gates.close(ios, None, &refused(), later);
        assert_eq!(gates.closed_for(ios, later), Some(FIRST_WAIT * 2));
        gates.close(CREDENTIAL, None, &refused(), later);
        assert_eq!(gates.closed_for(android, later), Some(FIRST_WAIT));
    }
    #[test]
    fn what_is_held_says_why_and_since_the_first_refusal_and_is_held_until_something_goes_through() {
        let (gates, now) = (Gates::default(), Instant::now());
        assert_eq!(gates.held(now), []);
        let held = |since, left| Held {
            gated: CREDENTIAL,
            reason: refused(),
            since,
            left,
        };
        gates.close(CREDENTIAL, None, &refused(), now);
        assert_eq!(gates.held(now), [held(Duration::ZERO, FIRST_WAIT)]);
        let tried = now + FIRST_WAIT + Duration::from_secs(1);
        let since = tried - now;
        assert_eq!(gates.closed_for(CREDENTIAL, tried), None);
        assert_eq!(gates.held(tried), [held(since, Duration::ZERO)]);
        gates.close(CREDENTIAL, None, &refused(), tried);
        assert_eq!(gates.held(tried), [held(since, FIRST_WAIT * 2)]);
        let later = tried + FIRST_WAIT * 2;
        assert_eq!(gates.held(later).len(), 1);
        gates.open(CREDENTIAL, later);
        assert_eq!(gates.held(later), []);
    }
    #[test]
    fn a_gate_that_nobody_comes_to_any_more_is_forgotten() {
        let (gates, now) = (Gates::default(), Instant::now());
        gates.close(CREDENTIAL, None, &refused(), now);
        let opens = now + FIRST_WAIT;
        assert_eq!(gates.held(opens + KEPT - Duration::from_secs(1)).len(), 1);
        assert_eq!(gates.held(opens + KEPT), []);
        assert!(gates.are_open());
    }
}
