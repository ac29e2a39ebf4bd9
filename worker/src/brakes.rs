//! What a campaign's providers have answered so far, and whether that stops it.
//!
//! The rules are the domain's (`jraze_domain::dispatch::brake`). Here the evidence is kept, one for each
//! campaign and provider and as this worker alone sees it, and a campaign starts carefully: until enough is
//! known, only some requests may be without an answer, so that one that should not have started is stopped
//! after some hundred requests and not after as many as fit on the wire.
//!
//! When a brake trips, nothing more of the campaign leaves this worker. It is the result worker that stops
//! the campaign, when it finds the brake in a window.

use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use jraze_domain::device::SendPlatform;
use jraze_domain::dispatch::brake::CAREFUL_IN_FLIGHT;
use jraze_domain::dispatch::{Brake, Evidence, Outcome, Tripped};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Why a send was not made after a brake tripped.
pub(crate) const BRAKED: &str = "jraze:braked";

/// How long a tripped brake may go without its campaign being stopped. Only when every window that told of
/// it was lost to another worker does nobody stop the campaign; then the evidence is gathered anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(300);

/// The brakes of one campaign.
#[derive(Debug)]
pub(crate) struct Brakes {
    /// Those that a person has looked at.
    confirmed: Vec<Brake>,
    watches: BTreeMap<SendPlatform, Watch>,
    tripped: OnceLock<(Tripped, Instant)>,
}

#[derive(Debug)]
struct Watch {
    evidence: Mutex<Evidence>,
    /// Closed once enough is known.
    careful: Semaphore,
}

impl Brakes {
    pub(crate) fn new(confirmed: &[Brake]) -> Self {
        let watch = |by: &SendPlatform| {
            let watch = Watch {
                evidence: Mutex::default(),
                careful: Semaphore::new(CAREFUL_IN_FLIGHT),
            };
            (*by, watch)
        };
        Self {
            confirmed: confirmed.to_vec(),
            watches: SendPlatform::ALL.iter().map(watch).collect(),
            tripped: OnceLock::new(),
        }
    }

    /// Waits for a turn as long as little is known; to be held until the answer is noted.
    pub(crate) async fn turn(&self, by: SendPlatform) -> Option<SemaphorePermit<'_>> {
        let careful = &self.watches.get(&by)?.careful;
        if careful.is_closed() {
            // Enough is known, and no turn is needed.
            return None;
        }
        Box::pin(careful.acquire()).await.ok()
    }

    /// Takes an outcome into account.
    pub(crate) fn note(&self, by: SendPlatform, outcome: &Outcome) {
        let Some(watch) = self.watches.get(&by) else {
            return;
        };
        let evidence = {
            let mut evidence = watch
                .evidence
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            evidence.note(outcome);
            *evidence
        };
        if evidence.is_known() {
            watch.careful.close();
        }
        if let Some(brake) = evidence.verdict(&self.confirmed)
            && self.tripped.get().is_none()
        {
            let message = evidence.explain(brake, by, outcome);
            tracing::warn!(%brake, message, "a brake stops the campaign");
            let _ = self.tripped.set((Tripped { brake, message }, Instant::now()));
            // Who waits for a turn shall see it.
            self.watches.values().for_each(|watch| watch.careful.close());
        }
    }

    /// The brake that tripped, if one did.
    pub(crate) fn tripped(&self) -> Option<&Tripped> {
        self.tripped.get().map(|(tripped, _)| tripped)
    }

    /// A brake tripped, and nobody stopped the campaign.
    pub(crate) fn is_forgotten(&self, now: Instant) -> bool {
        self.tripped
            .get()
            .is_some_and(|(_, at)| now.duration_since(*at) > FORGOTTEN_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use jraze_domain::dispatch::{Delivery, DeviceEffect};

    use super::*;

    fn doubtful() -> Outcome {
        Outcome::new(Delivery::TokenRefused, "BadDeviceToken").with_device(DeviceEffect::Doubtful)
    }

    #[test]
    fn fifty_go_out_until_two_hundred_answers_are_known_and_then_as_many_as_want() {
        let brakes = Brakes::new(&[]);
        let turn = || brakes.turn(SendPlatform::Apns).now_or_never();
        let under_way: Vec<_> = (0..CAREFUL_IN_FLIGHT).map(|_| turn()).collect();
        assert!(under_way.iter().all(Option::is_some));
        assert!(turn().is_none(), "the next one waits");
        assert!(
            brakes.turn(SendPlatform::Fcm).now_or_never().is_some(),
            "another provider does not"
        );
        for _ in 0..200 {
            brakes.note(SendPlatform::Apns, &Outcome::accepted());
        }
        assert!(turn().is_some());
        assert_eq!(brakes.tripped(), None);
    }

    #[test]
    fn one_provider_stops_the_whole_campaign_and_those_who_wait_hear_of_it() {
        let brakes = Brakes::new(&[]);
        let _under_way: Vec<_> = (0..CAREFUL_IN_FLIGHT)
            .map(|_| brakes.turn(SendPlatform::Fcm).now_or_never())
            .collect();
        for _ in 0..41 {
            brakes.note(SendPlatform::Apns, &doubtful());
        }
        let tripped = brakes.tripped().expect("41 of the first 200");
        assert_eq!(tripped.brake, Brake::EnvironmentMismatch);
        assert!(brakes.turn(SendPlatform::Fcm).now_or_never().is_some());
    }

    #[test]
    fn what_a_person_has_looked_at_does_not_stop_it() {
        let brakes = Brakes::new(&[Brake::EnvironmentMismatch]);
        for _ in 0..200 {
            brakes.note(SendPlatform::Apns, &doubtful());
        }
        assert_eq!(brakes.tripped(), None);
    }
}
