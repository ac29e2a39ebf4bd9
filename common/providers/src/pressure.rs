//! What an answer says about the load that its credential can bear.
//!
//! Whoever paces a credential asks this of every outcome. An answer that refuses one token is a good
//! answer: the provider keeps up. Only three things say that it does not: a quota of the whole
//! credential (FCM's 429), an overloaded server (503 and what edges send in its place), and silence.

use jraze_domain::dispatch::{Delivery, Outcome, Scope};

use crate::verdict::reason;

/// What an outcome says about the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pressure {
    /// The provider looked at the request and answered: it keeps up.
    Well,
    /// It cannot keep up: fewer requests at a time.
    Overloaded,
    /// The credential's quota is used up: fewer requests a second.
    OverQuota,
    /// The outcome says nothing about the load.
    Unrelated,
}

/// Server errors that say that one request failed, not that the server is too busy.
const ONE_REQUEST: [&str; 4] = ["INTERNAL", "InternalServerError", "UNSPECIFIED_ERROR", "HTTP 500"];

/// The table of this module.
pub fn pressure(outcome: &Outcome) -> Pressure {
    let word = outcome.reason.as_str();
    match (outcome.delivery, outcome.hold.map(|hold| hold.scope)) {
        (Delivery::Unanswered, _) if word == reason::NO_ANSWER => Pressure::Overloaded,
        (Delivery::Deferred, Some(Scope::Credential)) => Pressure::OverQuota,
        (Delivery::Deferred, Some(Scope::Delivery)) if !ONE_REQUEST.contains(&word) => Pressure::Overloaded,
        (Delivery::Deferred | Delivery::Unanswered | Delivery::Requeued, _) => Pressure::Unrelated,
        // Our own words are spoken without asking the provider.
        _ if word.starts_with("jraze:") => Pressure::Unrelated,
        (
            Delivery::Accepted
            | Delivery::Unregistered
            | Delivery::TokenRefused
            | Delivery::PayloadRefused
            | Delivery::AccessRefused
            | Delivery::Refused,
            _,
        ) => Pressure::Well,
        _ => Pressure::Unrelated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deferred(reason: &str, scope: Scope) -> Outcome {
        Outcome::new(Delivery::Deferred, reason).with_hold(scope, None)
    }

    #[test]
    fn what_the_provider_looked_at_went_well_even_when_it_was_refused() {
        for outcome in [
            Outcome::accepted(),
            Outcome::new(Delivery::Unregistered, "UNREGISTERED"),
            Outcome::new(Delivery::TokenRefused, "BadDeviceToken"),
            Outcome::new(Delivery::PayloadRefused, "PayloadTooLarge"),
        ] {
            assert_eq!(pressure(&outcome), Pressure::Well, "{outcome:?}");
        }
    }

    #[test]
    fn a_503_its_edges_and_silence_ask_for_fewer_at_a_time() {
        for word in ["UNAVAILABLE", "ServiceUnavailable", "HTTP 503", "HTTP 520"] {
            assert_eq!(
                pressure(&deferred(word, Scope::Delivery)),
                Pressure::Overloaded,
                "{word}"
            );
        }
        let silence = Outcome::new(Delivery::Unanswered, reason::NO_ANSWER);
        assert_eq!(pressure(&silence), Pressure::Overloaded);
    }

    #[test]
    fn only_a_quota_of_the_whole_credential_asks_for_a_lower_rate() {
        assert_eq!(
            pressure(&deferred("RESOURCE_EXHAUSTED", Scope::Credential)),
            Pressure::OverQuota
        );
        assert_eq!(
            pressure(&deferred("TooManyRequests", Scope::Device)),
            Pressure::Unrelated
        );
    }

    #[test]
    fn what_was_never_asked_or_failed_by_itself_says_nothing() {
        for outcome in [
            deferred("INTERNAL", Scope::Delivery),
            deferred("InternalServerError", Scope::Delivery),
            deferred("Shutdown", Scope::Connection),
            Outcome::new(Delivery::Unanswered, reason::CONNECTION_LOST),
            Outcome::new(Delivery::Requeued, reason::NO_FREE_STREAM),
            Outcome::new(Delivery::TokenRefused, reason::MALFORMED_TOKEN),
            Outcome::new(Delivery::Requeued, "UNAUTHENTICATED").with_hold(Scope::Credential, None),
            Outcome::new(Delivery::Canceled, ""),
        ] {
            assert_eq!(pressure(&outcome), Pressure::Unrelated, "{outcome:?}");
        }
    }
}
