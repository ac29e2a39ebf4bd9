//! When jraze stops a campaign by itself, because what the provider answers says that something larger
//! than one device is wrong.
//!
//! Refusals of tokens are read as facts about devices only as long as they are rare. When a fifth of the
//! first answers, or a third of very many, refuse the token, a wrong environment, a wrong project or a
//! provider in trouble is likelier than so many phones at once; and what would be lost by believing it
//! (every token of an app) is far more than what is lost by asking a person. So:
//!
//! | brake | when, per campaign and provider | what happens |
//! | --- | --- | --- |
//! | [`Brake::PayloadRefused`] | 20 messages in a row refused as such, and none ever accepted | ERROR |
//! | [`Brake::EnvironmentMismatch`] | more than 20 % of the first 200 answers refuse tokens in a way that our own settings could cause | PAUSED |
//! | [`Brake::MassInvalidation`] | at least 1,000 tokens called dead, and they are more than 30 % of the answers | PAUSED |
//!
//! A person who resumes a held campaign has looked: the brake that held it does not stop it again.
//!
//! To add a brake: a variant, its row above, its rule in [`Evidence::verdict`].

use std::fmt;

use super::{Delivery, DeviceEffect, Outcome};
use crate::device::SendPlatform;

/// Refused messages in a row, with none accepted, that stop a campaign.
pub const PAYLOADS_IN_A_ROW: u32 = 20;
/// Answers that are looked at before a provider is sent to at full width.
pub const FIRST_ANSWERS: u64 = 200;
/// Requests that may be without an answer until then. With [`FIRST_ANSWERS`] it bounds what a
/// campaign that should not have started can do: some hundred requests.
pub const CAREFUL_IN_FLIGHT: usize = 50;
/// Percent of the first answers that may be doubtful.
const DOUBTFUL_PERCENT: u64 = 20;
/// Tokens called dead below which a campaign is never held.
const MASS: u64 = 1_000;
/// Percent of the answers that may call the token dead.
const DEAD_PERCENT: u64 = 30;

/// Why jraze stops a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Brake {
    /// The provider refuses the message itself, for everybody.
    PayloadRefused,
    /// The tokens seem to belong to another environment, topic or project than the credential.
    EnvironmentMismatch,
    /// So many tokens are called dead that the provider, or we, may be wrong.
    MassInvalidation,
}

impl Brake {
    /// Every brake.
    pub const ALL: [Brake; 3] = [
        Brake::PayloadRefused,
        Brake::EnvironmentMismatch,
        Brake::MassInvalidation,
    ];

    /// Its name on the wire and in storage.
    pub fn code(self) -> &'static str {
        match self {
            Brake::PayloadRefused => "payload_refused",
            Brake::EnvironmentMismatch => "environment_mismatch",
            Brake::MassInvalidation => "mass_invalidation",
        }
    }

    /// The brake of that name.
    pub fn from_code(code: &str) -> Option<Brake> {
        Brake::ALL.into_iter().find(|brake| brake.code() == code)
    }

    /// Whether a person can let the campaign go on. A refused message cannot be edited any more.
    pub fn can_be_resumed(self) -> bool {
        self != Brake::PayloadRefused
    }
}

impl fmt::Display for Brake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A brake that was tripped, as a window hands it to those who stop the campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tripped {
    /// Which.
    pub brake: Brake,
    /// What was seen, for people; see [`Evidence::explain`].
    pub message: String,
}

/// What a provider has answered to a campaign so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evidence {
    /// Answers about a message or a token; what failed in passing says nothing about either.
    pub answers: u64,
    /// Accepted messages.
    pub accepted: u64,
    /// Tokens called dead.
    pub dead: u64,
    /// Doubtful refusals among the first [`FIRST_ANSWERS`].
    doubtful: u64,
    /// Refused messages since another answer.
    payloads_in_a_row: u32,
}

impl Evidence {
    /// Takes one more outcome into account.
    pub fn note(&mut self, outcome: &Outcome) {
        if !says_something(outcome.delivery) {
            return;
        }
        self.answers += 1;
        match outcome.device {
            DeviceEffect::Dead { .. } => self.dead += 1,
            DeviceEffect::Doubtful if self.answers <= FIRST_ANSWERS => self.doubtful += 1,
            DeviceEffect::Doubtful | DeviceEffect::None => {}
        }
        if outcome.delivery == Delivery::PayloadRefused {
            self.payloads_in_a_row = self.payloads_in_a_row.saturating_add(1);
        } else {
            self.payloads_in_a_row = 0;
        }
        if outcome.delivery == Delivery::Accepted {
            self.accepted += 1;
        }
    }

    /// Enough is known to send at full width.
    pub fn is_known(&self) -> bool {
        self.answers >= FIRST_ANSWERS
    }

    /// The brake that this evidence asks for, those left out that a person has confirmed.
    pub fn verdict(&self, confirmed: &[Brake]) -> Option<Brake> {
        let asked_for = |brake| match brake {
            Brake::PayloadRefused => self.accepted == 0 && self.payloads_in_a_row >= PAYLOADS_IN_A_ROW,
            // Of 200, and not of those so far: the first three answers prove nothing.
            Brake::EnvironmentMismatch => self.doubtful * 100 > FIRST_ANSWERS * DOUBTFUL_PERCENT,
            Brake::MassInvalidation => is_mass_invalidation(self.dead, self.answers),
        };
        Brake::ALL
            .into_iter()
            .find(|brake| asked_for(*brake) && !confirmed.contains(brake))
    }

    /// What is told about a brake, for people: what was seen, and what to do.
    pub fn explain(&self, brake: Brake, by: SendPlatform, last: &Outcome) -> String {
        let (by, reason) = (by.name(), last.reason.as_str());
        let Self {
            answers,
            dead,
            doubtful,
            payloads_in_a_row,
            ..
        } = self;
        match brake {
            Brake::PayloadRefused => format!(
                "{by} refused the message itself {payloads_in_a_row} times in a row and took none: {reason}"
            ),
            Brake::EnvironmentMismatch => format!(
                "{by} refused {doubtful} of the first {} tokens ({reason}): the credential may be of another \
                 environment, topic or project than the app; no token was dropped",
                (*answers).min(FIRST_ANSWERS)
            ),
            Brake::MassInvalidation => format!(
                "{by} called {dead} of {answers} tokens dead ({reason}): none was dropped; to resume confirms \
                 that this is right, and they are dropped when the campaign ends"
            ),
        }
    }
}

/// Whether a result is an answer about the message or the token, and so evidence.
pub fn says_something(delivery: Delivery) -> bool {
    matches!(
        delivery,
        Delivery::Accepted
            | Delivery::Unregistered
            | Delivery::TokenRefused
            | Delivery::PayloadRefused
            | Delivery::Refused
    )
}

/// Whether so many dead tokens among so many answers are more than one believes without a person.
pub fn is_mass_invalidation(dead: u64, answers: u64) -> bool {
    dead >= MASS && u128::from(dead) * 100 > u128::from(answers) * u128::from(DEAD_PERCENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted() -> Outcome {
        Outcome::accepted()
    }

    fn payload() -> Outcome {
        Outcome::new(Delivery::PayloadRefused, "PayloadTooLarge")
    }

    fn doubtful() -> Outcome {
        Outcome::new(Delivery::TokenRefused, "BadDeviceToken").with_device(DeviceEffect::Doubtful)
    }

    fn dead() -> Outcome {
        Outcome::new(Delivery::Unregistered, "Unregistered").with_device(DeviceEffect::Dead { since: None })
    }

    fn after(outcomes: &[(u64, Outcome)]) -> Evidence {
        let mut evidence = Evidence::default();
        for (times, outcome) in outcomes {
            for _ in 0..*times {
                evidence.note(outcome);
            }
        }
        evidence
    }

    fn verdict(outcomes: &[(u64, Outcome)]) -> Option<Brake> {
        after(outcomes).verdict(&[])
    }

    #[test]
    fn twenty_refused_messages_in_a_row_stop_a_campaign_that_nobody_took() {
        assert_eq!(verdict(&[(19, payload())]), None);
        assert_eq!(verdict(&[(20, payload())]), Some(Brake::PayloadRefused));
        assert_eq!(verdict(&[(1, accepted()), (500, payload())]), None, "one took it");
        assert_eq!(
            verdict(&[(19, payload()), (1, dead()), (19, payload())]),
            None,
            "not in a row"
        );
    }

    #[test]
    fn more_than_a_fifth_of_the_first_answers_refusing_the_token_holds_it_and_later_ones_do_not() {
        assert_eq!(verdict(&[(40, doubtful()), (160, accepted())]), None);
        assert_eq!(verdict(&[(41, doubtful())]), Some(Brake::EnvironmentMismatch));
        assert_eq!(
            verdict(&[(159, accepted()), (41, doubtful())]),
            Some(Brake::EnvironmentMismatch)
        );
        assert_eq!(verdict(&[(200, accepted()), (5_000, doubtful())]), None);
    }

    #[test]
    fn a_thousand_dead_tokens_that_are_a_third_of_all_hold_it() {
        assert_eq!(verdict(&[(999, dead())]), None, "a small app may be that old");
        assert_eq!(verdict(&[(1_000, dead())]), Some(Brake::MassInvalidation));
        assert_eq!(
            verdict(&[(7_000, accepted()), (3_000, dead())]),
            None,
            "30 % may be"
        );
        assert_eq!(
            verdict(&[(7_000, accepted()), (3_001, dead())]),
            Some(Brake::MassInvalidation)
        );
    }

    #[test]
    fn what_a_person_confirmed_does_not_hold_it_again_and_everything_else_does() {
        let evidence = after(&[(41, doubtful()), (2_000, dead())]);
        assert_eq!(evidence.verdict(&[]), Some(Brake::EnvironmentMismatch));
        let looked = [Brake::EnvironmentMismatch];
        assert_eq!(evidence.verdict(&looked), Some(Brake::MassInvalidation));
        let both = [Brake::EnvironmentMismatch, Brake::MassInvalidation];
        assert_eq!(evidence.verdict(&both), None);
    }

    #[test]
    fn what_failed_in_passing_is_no_evidence() {
        for delivery in (0..=u8::MAX).filter_map(Delivery::from_byte) {
            let mut evidence = Evidence::default();
            evidence.note(&Outcome::new(delivery, ""));
            let passing = [
                Delivery::InFlight,
                Delivery::AccessRefused,
                Delivery::Deferred,
                Delivery::Requeued,
                Delivery::Unknown,
                Delivery::Skipped,
                Delivery::Expired,
                Delivery::Canceled,
                Delivery::Unanswered,
                Delivery::Held,
            ];
            let evident = !passing.contains(&delivery);
            assert_eq!(evidence.answers, u64::from(evident), "{delivery:?}");
        }
        assert!(!after(&[(199, accepted())]).is_known());
        assert!(after(&[(200, accepted())]).is_known());
    }

    #[test]
    fn a_brake_says_who_what_and_why() {
        let text =
            after(&[(41, doubtful())]).explain(Brake::EnvironmentMismatch, SendPlatform::Apns, &doubtful());
        for part in ["APNS", "41", "BadDeviceToken"] {
            assert!(text.contains(part), "{text}");
        }
        for brake in Brake::ALL {
            assert_eq!(Brake::from_code(brake.code()), Some(brake));
        }
    }
}
