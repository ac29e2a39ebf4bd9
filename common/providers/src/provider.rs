//! One face for both providers.

use std::{collections::HashMap, fmt, sync::Arc, sync::Mutex, sync::PoisonError};

use jraze_domain::{
    device::{DevicePlatform, PushToken, SendPlatform},
    dispatch::{Delivery, Outcome},
    message::Push,
};
use jraze_runtime::clock::Clock;
use thiserror::Error;

use crate::{
    apns, fcm,
    jitter::Jitter,
    transport::{HostGate, PoolStats},
    verdict::reason,
};

/// What clients need from outside: time, randomness, and the gates that all clients of a host share.
#[derive(Clone)]
pub struct Environment {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) jitter: Arc<Jitter>,
    gates: Arc<Mutex<HashMap<String, Arc<HostGate>>>>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

impl Environment {
    /// The time of `clock` and the jitter that `seed` gives. Replicas need different seeds.
    pub fn new(clock: Arc<dyn Clock>, seed: u64) -> Self {
        Self {
            clock,
            jitter: Arc::new(Jitter::new(seed)),
            gates: Arc::default(),
        }
    }

    /// The gate of a host (`host[:port]`).
    pub(crate) fn gate(&self, authority: &str) -> Arc<HostGate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(gates.entry(authority.to_owned()).or_default())
    }
}

/// A message that no provider would take.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PayloadError {
    /// Larger than the provider allows.
    #[error("the message takes {bytes} bytes for {}, and {limit} are allowed", platform.name())]
    TooLarge {
        /// For which provider.
        platform: SendPlatform,
        /// Its size.
        bytes: usize,
        /// The most allowed.
        limit: usize,
    },
    /// Something in it cannot be said to this provider.
    #[error("the message cannot be sent to {}: {problem}", platform.name())]
    Unsendable {
        /// For which provider.
        platform: SendPlatform,
        /// What it is.
        problem: String,
    },
}

/// A message ready for any number of tokens of one device platform. Clones are cheap and share what
/// was learned about it.
#[derive(Debug, Clone)]
pub enum Prepared {
    /// For Firebase.
    Fcm(fcm::Prepared),
    /// For Apple.
    Apns(apns::Prepared),
}

impl Prepared {
    /// The size that counts against the provider's limit, in bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::Fcm(prepared) => prepared.size(),
            Self::Apns(prepared) => prepared.size(),
        }
    }
}

/// A client of one credential.
#[derive(Debug)]
pub enum Provider {
    /// Firebase Cloud Messaging.
    Fcm(fcm::Client),
    /// Apple Push Notification service.
    Apns(apns::Client),
}

impl Provider {
    /// Maps a message to what devices of `platform` expect, checks its size and serialises it.
    ///
    /// A time to live is counted from now, so prepare again for a message that is sent much later.
    ///
    /// # Errors
    /// When the provider would refuse it for every device.
    pub fn prepare(&self, push: &Push, platform: DevicePlatform) -> Result<Prepared, PayloadError> {
        match self {
            Self::Fcm(client) => client.prepare(push, platform).map(Prepared::Fcm),
            Self::Apns(client) => client.prepare(push).map(Prepared::Apns),
        }
    }

    /// Sends it to one token. Takes at most twice the request timeout.
    pub async fn send(&self, prepared: &Prepared, token: &PushToken) -> Outcome {
        self.send_while(prepared, token, &|| true).await
    }

    /// As [`Self::send`], but asks once more whether it is still wanted when a stream is at hand: waiting
    /// for one may take seconds, and a campaign may be stopped meanwhile. What is not wanted any more comes
    /// back as [`Delivery::Requeued`].
    pub async fn send_while(
        &self,
        prepared: &Prepared,
        token: &PushToken,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Outcome {
        match (self, prepared) {
            (Self::Fcm(client), Prepared::Fcm(prepared)) => client.send(prepared, token, wanted).await,
            (Self::Apns(client), Prepared::Apns(prepared)) => client.send(prepared, token, wanted).await,
            _ => Outcome::new(Delivery::Refused, reason::WRONG_PROVIDER),
        }
    }

    /// The name of the quota that its requests are counted under, when the provider says how large it is:
    /// FCM's is the project's, whoever sends. Credentials of one name use it up together.
    pub fn quota(&self) -> Option<String> {
        match self {
            Self::Fcm(client) => Some(format!("fcm:{}", client.project())),
            Self::Apns(_) => None,
        }
    }

    /// Which devices it reaches.
    pub fn send_platform(&self) -> SendPlatform {
        match self {
            Self::Fcm(_) => SendPlatform::Fcm,
            Self::Apns(_) => SendPlatform::Apns,
        }
    }

    /// What its connections have done so far.
    pub fn stats(&self) -> PoolStats {
        match self {
            Self::Fcm(client) => client.stats(),
            Self::Apns(client) => client.stats(),
        }
    }
}
