//! Answering as fast as HTTP/2 allows, for measurements.
//!
//! With `load_only`, a send is counted and accepted, and that is all: no token is looked at, nothing goes
//! into the ledger, no script is asked. What shapes a client's throughput stays as it is: TLS, the limit of
//! streams (APNs begins with one), the latency, and FCM's quota with its 429. Everything that is not a send,
//! such as asking for an access token, is answered by the provider itself.
//!
//! The meter says how many were accepted and limited, and when the first and the last came, so that a rate
//! can be told without a clock on the client's side. With `load_timeline` it also says when what came
//! ([`crate::timeline`]).

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, Method, Response, header::RETRY_AFTER};
use serde_json::{Value, json};

use crate::{
    core::{Core, Quota},
    fcm::answers,
    ledger::Provider,
    render,
    script::Decision,
    server::{Handler, Received, Reply, StreamLimit, Verdict},
    timeline::Timeline,
};

const APNS_ID: HeaderName = HeaderName::from_static("apns-id");
const ACCEPTED: &[u8] = br#"{"name":"projects/load/messages/1"}"#;

/// What one provider took.
#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    limited: AtomicU64,
    first_us: AtomicI64,
    last_us: AtomicI64,
}

impl Counts {
    fn accept(&self, now_us: i64) {
        if self.accepted.fetch_add(1, Ordering::Relaxed) == 0 {
            self.first_us.store(now_us, Ordering::Relaxed);
        }
        self.last_us.store(now_us, Ordering::Relaxed);
    }

    fn read(&self) -> Value {
        json!({
            "accepted": self.accepted.load(Ordering::Relaxed),
            "limited": self.limited.load(Ordering::Relaxed),
            "first_us": self.first_us.load(Ordering::Relaxed),
            "last_us": self.last_us.load(Ordering::Relaxed),
        })
    }

    fn clear(&self) {
        self.accepted.store(0, Ordering::Relaxed);
        self.limited.store(0, Ordering::Relaxed);
        self.first_us.store(0, Ordering::Relaxed);
        self.last_us.store(0, Ordering::Relaxed);
    }
}

/// What both providers took since the start, or since it was cleared.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    fcm: Counts,
    apns: Counts,
    pub(crate) timeline: Timeline,
}

impl Meter {
    fn of(&self, provider: Provider) -> &Counts {
        match provider {
            Provider::Fcm => &self.fcm,
            Provider::Apns => &self.apns,
        }
    }

    pub(crate) fn read(&self) -> Value {
        json!({ "fcm": self.fcm.read(), "apns": self.apns.read() })
    }

    pub(crate) fn clear(&self) {
        self.fcm.clear();
        self.apns.clear();
        self.timeline.clear();
    }
}

/// A provider that takes every send unseen.
pub(crate) struct Load<H> {
    provider: Provider,
    inner: H,
    core: Arc<Core>,
    quota: Option<Quota>,
}

/// What is remembered for one connection.
pub(crate) struct Session<S> {
    inner: S,
    has_sent: bool,
}

impl<H> Load<H> {
    pub(crate) fn new(provider: Provider, inner: H, core: Arc<Core>) -> Self {
        let quota = match provider {
            Provider::Fcm => Quota::of(&core.settings.fcm),
            Provider::Apns => None,
        };
        Self {
            provider,
            inner,
            core,
            quota,
        }
    }

    fn is_send(&self, request: &Received) -> bool {
        let folder = match self.provider {
            Provider::Fcm => "/v1/projects/",
            Provider::Apns => "/3/device/",
        };
        request.head.method == Method::POST && request.head.uri.path().starts_with(folder)
    }

    fn take(&self, request: &Received) -> Response<Bytes> {
        let counts = self.core.load.of(self.provider);
        let now_us = self.core.clock.now_us();
        let limited = self.quota.as_ref().and_then(|quota| quota.take(now_us).err());
        if self.core.settings.load_timeline {
            let timeline = &self.core.load.timeline;
            timeline.count(&request.body, now_us, limited.is_none());
        }
        if let Some(seconds) = limited {
            counts.limited.fetch_add(1, Ordering::Relaxed);
            let mut answer = answers::error("RATE_LIMIT_EXCEEDED");
            answer.headers_mut().insert(RETRY_AFTER, seconds.into());
            return answer;
        }
        counts.accept(now_us);
        match self.provider {
            Provider::Fcm => Response::new(Bytes::from_static(ACCEPTED)),
            Provider::Apns => {
                let mut answer = Response::new(Bytes::new());
                // Some clients insist on their own id coming back.
                if let Some(id) = request.head.headers.get(APNS_ID) {
                    answer.headers_mut().insert(APNS_ID, id.clone());
                }
                answer
            }
        }
    }

    /// The latency of the settings; its jitter follows from the stream's number.
    fn delay(&self, stream: u32) -> Duration {
        render::delay(&self.core.settings, &Decision::default(), || u64::from(stream))
    }
}

impl<H: Handler> Handler for Load<H> {
    type Session = Session<H::Session>;

    fn streams(&self) -> StreamLimit {
        self.inner.streams()
    }

    fn session(&self, connection: u64) -> Self::Session {
        Session {
            inner: self.inner.session(connection),
            has_sent: false,
        }
    }

    fn is_authenticated(&self, session: &Self::Session) -> bool {
        session.has_sent
    }

    fn handle(&self, session: &mut Self::Session, request: Received) -> Verdict {
        if !self.is_send(&request) {
            return self.inner.handle(&mut session.inner, request);
        }
        session.has_sent = true;
        Verdict {
            reply: Reply::Http(self.take(&request)),
            delay: self.delay(request.stream),
        }
    }
}
