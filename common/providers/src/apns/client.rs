//! The path of one message to APNs.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use http::HeaderValue;
use jraze_domain::{
    device::{PushToken, SendPlatform},
    dispatch::{Delivery, DeviceEffect, Outcome},
    message::Push,
};
use jraze_runtime::clock::Clock;
use tokio::time::Instant;

use super::{
    auth::ProviderTokens,
    classify::{Circumstances, classify},
    message::Prepared,
    settings::ApnsSettings,
};
use crate::{
    credential::CredentialProblem,
    jitter::Jitter,
    octets,
    provider::{Environment, PayloadError},
    transport::{Answer, Endpoint, EndpointSettings, OwnPath, Pool, PoolStats, Request},
    verdict::{Remedy, Verdict, chain, of_transport, reason},
};

/// Sends with one signing key of an Apple team.
#[derive(Debug)]
pub struct Client {
    tokens: ProviderTokens,
    pool: Pool,
    topic: HeaderValue,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    jitter: Arc<Jitter>,
}

impl Client {
    /// Reads the key and checks the settings; connects to nothing.
    ///
    /// # Errors
    /// See [`CredentialProblem`].
    pub fn new(settings: ApnsSettings, environment: &Environment) -> Result<Self, CredentialProblem> {
        settings.transport.validate()?;
        let tokens = ProviderTokens::new(&settings, environment)?;
        let in_topics = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
        if settings.topic.is_empty() || !settings.topic.chars().all(in_topics) {
            let problem = format!("{:?} is not a bundle id", settings.topic);
            return Err(CredentialProblem::Setting {
                key: "topic",
                problem,
            });
        }
        let topic = HeaderValue::try_from(settings.topic).expect("letters, digits, dots and dashes");
        let endpoint = EndpointSettings {
            base_url: settings.base_url,
            ca_file: settings.ca_file,
        };
        let endpoint = Endpoint::new(&endpoint).map_err(|source| CredentialProblem::Endpoint {
            key: "base_url",
            source,
        })?;
        let authority = endpoint.authority().clone();
        let timeout = settings.transport.request_timeout.get();
        let jitter = Arc::clone(&environment.jitter);
        let gate = environment.gate(authority.as_str());
        let pool = Pool::new(endpoint, settings.transport, gate, Arc::clone(&jitter));
        Ok(Self {
            tokens,
            pool,
            topic,
            timeout,
            clock: Arc::clone(&environment.clock),
            jitter,
        })
    }

    /// Maps a message and checks its size.
    ///
    /// # Errors
    /// When APNs would refuse it for every device.
    pub fn prepare(&self, push: &Push) -> Result<Prepared, PayloadError> {
        Prepared::new(push, &self.topic)
    }

    /// Sends it to one token, if it is still `wanted` when its turn comes.
    pub async fn send(
        &self,
        prepared: &Prepared,
        token: &PushToken,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Outcome {
        let deadline = Instant::now() + 2 * self.timeout;
        let Some(path) = path(token) else {
            return Outcome::new(Delivery::TokenRefused, reason::MALFORMED_TOKEN)
                .with_device(DeviceEffect::Doubtful);
        };
        let mut access = self.tokens.current();
        let mut resent = false;
        loop {
            let sent_at = self.clock.now();
            let request = Request::new(&prepared.head)
                .to_path(&path)
                .authorized(&access.authorization);
            let answer = match self.pool.send(deadline, &request, &prepared.body, wanted).await {
                Ok(answer) => answer,
                Err(error) => {
                    tracing::debug!(error = chain(&error), "no answer");
                    return of_transport(&error);
                }
            };
            let (remedy, mut otherwise) = match self.judge(&answer, sent_at) {
                Verdict::Final(outcome) => return outcome,
                Verdict::Resend { remedy, otherwise } => (remedy, otherwise),
            };
            // Apple goes on refusing on a connection that it once told so.
            self.pool.retire(&answer);
            if remedy == Remedy::NewProviderToken {
                match self.tokens.after_refusal(&access) {
                    Ok(renewed) => access = renewed,
                    Err(wait) => {
                        if let Some(hold) = &mut otherwise.hold {
                            hold.wait = hold.wait.or(Some(wait));
                        }
                        return otherwise;
                    }
                }
            }
            if resent {
                return otherwise;
            }
            resent = true;
        }
    }

    /// What its connections have done so far.
    pub fn stats(&self) -> PoolStats {
        self.pool.stats()
    }

    /// The table's verdict, with what follows from some answers for all others.
    fn judge(&self, answer: &Answer, sent_at: DateTime<Utc>) -> Verdict {
        let at = || Circumstances {
            sent_at,
            now: self.clock.now(),
            jitter: self.jitter.unit(),
        };
        let verdict = classify(answer.status, &answer.headers, &answer.body, at);
        if let Verdict::Final(outcome) = &verdict {
            match outcome.reason.as_str() {
                "TooManyProviderTokenUpdates" => self.tokens.stop_minting(),
                "Shutdown" | "UnrelatedKeyIdInToken" => self.pool.retire(answer),
                _ => {}
            }
        }
        verdict
    }
}

const DEVICE: &[u8] = b"/3/device/";

/// The path of a device; `None` when the token cannot be one.
pub(crate) fn path(token: &PushToken) -> Option<OwnPath> {
    token.suits(SendPlatform::Apns).ok()?;
    let token = token.as_str();
    let path = octets::written(DEVICE.len() + token.len(), |path| {
        path.extend_from_slice(DEVICE);
        path.extend_from_slice(token.as_bytes());
        path[DEVICE.len()..].make_ascii_lowercase();
    });
    OwnPath::new(path)
}
