//! What all parts of one sandbox share, and the way from a good request to its answer.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, Response};

use crate::{
    chance::{self, Uuid},
    clock::Clock,
    credentials::{ServiceAccount, SigningKey},
    fcm::oauth::AccessTokens,
    ledger::{Entry, Headers, Ledger, Provider},
    magic,
    render::{self, Catalogue},
    script::{Asked, Decision, Director},
    server::{Reply, Verdict},
    settings::{FcmSettings, Settings},
};

/// The state of one sandbox.
pub(crate) struct Core {
    /// What was taken unseen, with `load_only`.
    pub(crate) load: crate::load::Meter,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) ledger: Ledger,
    pub(crate) director: Director,
    pub(crate) access_tokens: AccessTokens,
    pub(crate) account: ServiceAccount,
    pub(crate) key: SigningKey,
    /// Audiences of an assertion: the addresses of the token endpoint.
    pub(crate) audiences: Vec<String>,
}

/// What a connection remembers so that equal requests share memory.
#[derive(Debug)]
pub(crate) struct Connection {
    id: u64,
    headers: Arc<Headers>,
    payload: Bytes,
    scope: Arc<str>,
}

impl Connection {
    pub(crate) fn new(id: u64) -> Self {
        Self {
            id,
            headers: Arc::default(),
            payload: Bytes::new(),
            scope: "".into(),
        }
    }

    /// Headers of interest, shared with the request before when they are equal.
    fn headers(&mut self, headers: &HeaderMap, names: &[&'static str]) -> Arc<Headers> {
        let found = || {
            names.iter().filter_map(|name| {
                let value = headers.get(*name)?;
                Some((*name, value.to_str().unwrap_or("(not text)")))
            })
        };
        let same = found().eq(self.headers.iter().map(|(name, value)| (*name, value.as_str())));
        if !same {
            self.headers = Arc::new(found().map(|(n, v)| (n, v.to_owned())).collect());
        }
        Arc::clone(&self.headers)
    }

    fn scope(&mut self, scope: &str) -> Arc<str> {
        if *self.scope != *scope {
            self.scope = scope.into();
        }
        Arc::clone(&self.scope)
    }

    /// A copy of the payload: the bytes that arrived are a slice of a larger buffer.
    fn payload(&mut self, payload: &Bytes) -> Bytes {
        if self.payload != *payload {
            self.payload = Bytes::copy_from_slice(payload);
        }
        self.payload.clone()
    }
}

/// A request to be written down.
pub(crate) struct Noted<'a> {
    pub(crate) provider: Provider,
    pub(crate) scope: &'a str,
    pub(crate) token: &'a str,
    pub(crate) headers: &'a HeaderMap,
    /// Which headers are of interest.
    pub(crate) names: &'a [&'static str],
    pub(crate) payload: &'a Bytes,
    pub(crate) stream: u32,
    /// The message's id when the client chose it.
    pub(crate) message_id: Option<u128>,
    /// Word in the ledger when it is answered as usual; mostly empty.
    pub(crate) usual_outcome: &'static str,
}

/// What an entry was given when it was written down.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given {
    pub(crate) sequence: u64,
    pub(crate) message_id: u128,
    pub(crate) received_us: i64,
}

impl Core {
    /// Writes a request and its answer down.
    pub(crate) fn record(
        &self,
        connection: &mut Connection,
        noted: &Noted<'_>,
        status: Option<u16>,
        outcome: Cow<'static, str>,
    ) -> Given {
        let received_us = self.clock.now_us();
        let headers = connection.headers(noted.headers, noted.names);
        let scope = connection.scope(noted.scope);
        let payload = connection.payload(noted.payload);
        let mut message_id = 0;
        let sequence = self
            .ledger
            .record(noted.provider, noted.token, status, |sequence, token| {
                message_id = noted
                    .message_id
                    .unwrap_or_else(|| Uuid::derive(self.settings.seed, received_us as u64, sequence).0);
                Entry {
                    sequence,
                    received_us,
                    provider: noted.provider,
                    scope,
                    token,
                    headers,
                    payload,
                    status,
                    outcome,
                    message_id,
                    connection: connection.id,
                    stream: noted.stream,
                }
            });
        Given {
            sequence,
            message_id,
            received_us,
        }
    }

    /// Refuses a request that broke a rule: written down and answered after the usual latency.
    pub(crate) fn refuse(
        &self,
        connection: &mut Connection,
        noted: &Noted<'_>,
        outcome: Cow<'static, str>,
        answer: Response<Bytes>,
    ) -> (Verdict, Given) {
        let status = answer.status().as_u16();
        let given = self.record(connection, noted, Some(status), outcome);
        let delay = render::delay(&self.settings, &Decision::default(), || {
            self.draw(noted.provider, noted.token)
        });
        let reply = Reply::Http(answer);
        (Verdict { reply, delay }, given)
    }

    /// Answers a request that passed every check: by the script, the magic of its token, or as usual.
    pub(crate) fn conclude(
        &self,
        connection: &mut Connection,
        noted: &Noted<'_>,
        catalogue: &impl Catalogue,
        usual: impl FnOnce(Given) -> Response<Bytes>,
    ) -> (Verdict, Given) {
        let decision = self.decide(noted.provider, noted.token);
        let (status, outcome) = match &decision.answer {
            Some(answer) => render::noted(answer, catalogue),
            None => (Some(200), Cow::Borrowed(noted.usual_outcome)),
        };
        let given = self.record(connection, noted, status, outcome);
        let reply = match &decision.answer {
            Some(answer) => render::reply(answer, catalogue, || usual(given)),
            None => Reply::Http(usual(given)),
        };
        let delay = render::delay(&self.settings, &decision, || {
            self.draw(noted.provider, noted.token)
        });
        (Verdict { reply, delay }, given)
    }

    /// What the script wants for a request for an access token.
    pub(crate) fn decide_access(&self, attempt: u64) -> Decision {
        let decision = self.director.decide(|| Asked {
            provider: Provider::Fcm,
            token: "",
            oauth: true,
            attempt,
            seed: self.settings.seed,
        });
        decision.unwrap_or_default()
    }

    /// Chance for one send: of the seed, the token and how often it was sent to, not of who came first.
    fn draw(&self, provider: Provider, token: &str) -> u64 {
        let attempt = self.ledger.tally(provider, token).received;
        chance::hash(self.settings.seed, token.as_bytes()) ^ chance::mix(attempt)
    }

    fn decide(&self, provider: Provider, token: &str) -> Decision {
        let seed = self.settings.seed;
        let attempt = || self.ledger.tally(provider, token).received;
        let scripted = self.director.decide(|| Asked {
            provider,
            token,
            oauth: false,
            attempt: attempt(),
            seed,
        });
        if let Some(decision) = scripted {
            return decision;
        }
        if !self.settings.magic_tokens {
            return Decision::default();
        }
        let Some(wish) = magic::wish(provider, token) else {
            return Decision::default();
        };
        let happens = wish.probability >= 1.0
            || chance::happens(
                chance::mix(chance::hash(seed, token.as_bytes()) ^ chance::mix(attempt())),
                wish.probability,
            );
        Decision {
            answer: wish.answer.filter(|_| happens).map(Arc::new),
            latency_ms: wish.latency_ms,
            latency_jitter_ms: 0,
        }
    }
}

/// A quota per minute that refills evenly, like the one of an FCM project.
#[derive(Debug)]
pub(crate) struct Quota {
    per_minute: u32,
    /// Most sends that may be left.
    burst: u32,
    /// Sends left, and when (in microseconds since 1970) that was so.
    state: Mutex<(f64, i64)>,
}

impl Quota {
    pub(crate) fn new(per_minute: u32, burst: u32) -> Self {
        Self {
            per_minute,
            burst,
            state: Mutex::new((f64::from(burst), 0)),
        }
    }

    /// The quota that the settings ask for, if any.
    pub(crate) fn of(settings: &FcmSettings) -> Option<Self> {
        let per_minute = settings.quota_per_minute?;
        Some(Self::new(per_minute, settings.quota_burst.unwrap_or(per_minute)))
    }

    /// Takes one send; when none is left, the seconds after which there will be.
    pub(crate) fn take(&self, now_us: i64) -> Result<(), u64> {
        let full = f64::from(self.burst);
        let per_us = f64::from(self.per_minute) / 60_000_000.0;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, at) = *state;
        let gained = (now_us - at).max(0) as f64 * per_us;
        let left = (left + gained).min(full);
        if left >= 1.0 {
            *state = (left - 1.0, now_us);
            Ok(())
        } else {
            *state = (left, now_us);
            Err(((1.0 - left) / per_us / 1_000_000.0).ceil().max(1.0) as u64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_refills_evenly() {
        let quota = Quota::new(60, 60);
        let start = 1_000_000_000;
        assert_eq!((0..60).filter(|_| quota.take(start).is_ok()).count(), 60);
        assert_eq!(quota.take(start), Err(1));
        assert!(quota.take(start + 1_000_001).is_ok());
        assert!(quota.take(start + 1_000_002).is_err());
    }
}
