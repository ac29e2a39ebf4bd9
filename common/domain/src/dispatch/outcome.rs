//! What became of one send.
//!
//! A provider's answer is turned into an [`Outcome`] in exactly one place per provider
//! (`providers::*::classify`). It says three separate things, because they have separate scopes: what
//! became of this *delivery* ([`Delivery`]), what it tells about the *device* ([`DeviceEffect`]), and who
//! else should *hold back* ([`Hold`]).

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

/// What became of one delivery. The number is the byte kept per device in a window and in the send log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Delivery {
    /// Claimed, and nothing known yet: after a crash, exactly these are ambiguous.
    InFlight = 0,
    /// The provider took it.
    Accepted = 1,
    /// The provider says that the app is gone from the device or that the token has run out.
    Unregistered = 2,
    /// The token is not one that this credential can reach (malformed, foreign, other environment).
    TokenRefused = 3,
    /// The message itself was refused (too large, a field that is wrong).
    PayloadRefused = 4,
    /// Our access was refused for good.
    AccessRefused = 5,
    /// Refused for a reason we do not know; the reason is kept as it came.
    Refused = 6,
    /// A passing failure that costs one attempt; a retry unit carries it on.
    Deferred = 7,
    /// Not this delivery's fault (credential, connection); carried on without costing an attempt.
    Requeued = 8,
    /// Sent or not, we cannot know: the process died with it in flight, and the policy is not to resend.
    Unknown = 9,
    /// The device had gone, or had no token any more, when its turn came.
    Skipped = 10,
    /// Its time had run out before it could be sent.
    Expired = 11,
    /// The notification was canceled before its turn.
    Canceled = 12,
    /// The request left and no answer came: it may have been taken. Costs an attempt, like
    /// [`Delivery::Deferred`]; from here on the device is in doubt.
    Unanswered = 13,
    /// The campaign was held before its turn, by a brake (`super::brake`) or a person, or the worker was
    /// stopped: it goes on where it stands, and has not failed.
    Held = 14,
}

impl Delivery {
    /// The byte kept in storage.
    pub fn byte(self) -> u8 {
        self as u8
    }

    /// The result kept as `byte`; `None` for a byte that no version wrote.
    pub fn from_byte(byte: u8) -> Option<Delivery> {
        Some(match byte {
            0 => Delivery::InFlight,
            1 => Delivery::Accepted,
            2 => Delivery::Unregistered,
            3 => Delivery::TokenRefused,
            4 => Delivery::PayloadRefused,
            5 => Delivery::AccessRefused,
            6 => Delivery::Refused,
            7 => Delivery::Deferred,
            8 => Delivery::Requeued,
            9 => Delivery::Unknown,
            10 => Delivery::Skipped,
            11 => Delivery::Expired,
            12 => Delivery::Canceled,
            13 => Delivery::Unanswered,
            14 => Delivery::Held,
            _ => return None,
        })
    }

    /// Carried on by a retry unit rather than counted.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Delivery::Deferred | Delivery::Unanswered | Delivery::Requeued | Delivery::Held
        )
    }

    /// What a device in doubt comes to: an earlier request about it may have been taken, so whatever ends it
    /// now other than being accepted says nothing about that one.
    #[must_use]
    pub fn in_doubt(self) -> Delivery {
        if self.is_transient() || self == Delivery::Accepted {
            self
        } else {
            Delivery::Unknown
        }
    }
}

/// What an answer tells about the device. Only [`DeviceEffect::Dead`] takes it out of audiences, and
/// only three signals lead there (FCM `UNREGISTERED`, APNs `Unregistered`, APNs `ExpiredToken`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceEffect {
    /// Nothing.
    None,
    /// The token looks wrong, but our own configuration could look the same: noted, never acted on alone.
    Doubtful,
    /// The app is gone. `since` is the provider's time of that, when it gave one: a registration newer
    /// than `since` stays alive.
    Dead {
        /// When the provider saw the token die.
        since: Option<DateTime<Utc>>,
    },
}

/// How far a failure reaches, and so who should hold back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// This device only.
    Device,
    /// This delivery only.
    Delivery,
    /// Every send of this notification: its payload is refused.
    Notification,
    /// Every send with this credential to devices of this device platform: the project's own APNs key
    /// or web key is refused, while the other platforms go on.
    Platform,
    /// Every send with this credential.
    Credential,
    /// Every send on this connection.
    Connection,
}

/// Who should hold back, and for how long when the provider said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// How far it reaches.
    pub scope: Scope,
    /// The provider's own wait (Retry-After), cleaned of absurd values.
    pub wait: Option<Duration>,
}

/// A provider's own word for why, kept as it came but never longer than [`Reason::MAX_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Reason(String);

impl Reason {
    /// The longest reason that is kept.
    pub const MAX_BYTES: usize = 64;

    /// Keeps the head of `text`, without control characters.
    pub fn new(text: &str) -> Self {
        let mut kept = String::new();
        for character in text.chars().filter(|c| !c.is_control()) {
            if kept.len() + character.len_utf8() > Self::MAX_BYTES {
                break;
            }
            kept.push(character);
        }
        Self(kept)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one send came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// For this delivery.
    pub delivery: Delivery,
    /// For the device.
    pub device: DeviceEffect,
    /// For others.
    pub hold: Option<Hold>,
    /// The provider's word for it, empty when it was accepted.
    pub reason: Reason,
}

impl Outcome {
    /// The provider took it.
    pub const fn accepted() -> Self {
        Self {
            delivery: Delivery::Accepted,
            device: DeviceEffect::None,
            hold: None,
            reason: Reason(String::new()),
        }
    }

    /// A delivery that ended as `delivery`, with no effect on anything else.
    pub fn new(delivery: Delivery, reason: &str) -> Self {
        Self {
            delivery,
            device: DeviceEffect::None,
            hold: None,
            reason: Reason::new(reason),
        }
    }

    /// The same, telling something about the device.
    #[must_use]
    pub fn with_device(mut self, device: DeviceEffect) -> Self {
        self.device = device;
        self
    }

    /// The same, with somebody to hold back.
    #[must_use]
    pub fn with_hold(mut self, scope: Scope, wait: Option<Duration>) -> Self {
        self.hold = Some(Hold { scope, wait });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_survives_its_byte() {
        for byte in 0..=u8::MAX {
            if let Some(result) = Delivery::from_byte(byte) {
                assert_eq!(result.byte(), byte);
            } else {
                assert!(byte > 14);
            }
        }
    }

    #[test]
    fn a_reason_is_bounded_and_printable() {
        assert_eq!(Reason::new("Bad\nDevice\u{0}Token").as_str(), "BadDeviceToken");
        let long = Reason::new(&"ü".repeat(100));
        assert_eq!(long.as_str().len(), 64);
    }
}
