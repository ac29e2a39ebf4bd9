//! The rules that hold for every answer of every provider.

use http::StatusCode;
use jraze_domain::dispatch::{Delivery, DeviceEffect, Outcome, Scope};
use jraze_providers::Verdict;
use std::time::Duration;

/// Checks the outcome in `verdict`; `signal` says whether the answer holds one of the three words that
/// may declare a device dead.
pub fn check(verdict: &Verdict, status: StatusCode, signal: bool) {
    let outcome: &Outcome = match verdict {
        Verdict::Final(outcome) => outcome,
        Verdict::Resend { otherwise, .. } => otherwise,
    };
    assert!(outcome.reason.as_str().len() <= 64);
    assert!(!outcome.reason.as_str().chars().any(char::is_control));
    assert_ne!(outcome.delivery, Delivery::Unanswered, "an answer came");

    // Accepted is what 2xx says, and nothing else says it.
    assert_eq!(
        status.is_success(),
        *verdict == Verdict::Final(Outcome::accepted())
    );
    assert_eq!(status.is_success(), outcome.delivery == Delivery::Accepted);
    // No answer leaves a delivery in flight or ends it for a reason of our own.
    assert!(!matches!(
        outcome.delivery,
        Delivery::InFlight | Delivery::Unknown | Delivery::Skipped | Delivery::Expired | Delivery::Canceled
    ));

    // A device dies of three words only, and of those always together with its delivery.
    let dead = matches!(outcome.device, DeviceEffect::Dead { .. });
    assert!(!dead || signal, "a device was declared dead without a signal");
    assert_eq!(dead, outcome.delivery == Delivery::Unregistered);
    assert!(!dead || matches!(verdict, Verdict::Final(_)));
    assert_eq!(
        outcome.device == DeviceEffect::Doubtful,
        outcome.delivery == Delivery::TokenRefused
    );

    let hold = outcome.hold;
    if let Some(wait) = hold.and_then(|hold| hold.wait) {
        assert!(
            (Duration::from_secs(1)..=Duration::from_secs(3_600)).contains(&wait),
            "{wait:?}"
        );
    }
    // What costs no attempt must hold somebody back, or it would spin.
    assert!(outcome.delivery != Delivery::Requeued || hold.is_some());
    // One device's trouble never stops a campaign, and a refused message always does.
    assert_eq!(
        hold.map(|hold| hold.scope) == Some(Scope::Notification),
        outcome.delivery == Delivery::PayloadRefused
    );
}
