//! APNs: `POST /3/device/{token}`.
//!
//! A request is checked in this order: method and path, provider token, headers, payload, device token.
//! What passes is answered by [`Core::conclude`]. Every answer echoes `apns-id` (or gives one), which
//! clients such as aioapns insist on. Adding a rule: a function in [`check`], and a test with the rule's
//! name in `tests/apns.rs`.

pub(crate) mod answers;
mod check;
mod jwt;

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, header::AUTHORIZATION};

use self::{answers::Reasons, jwt::ProviderToken};
use crate::{
    chance::Uuid,
    core::{Connection, Core, Given, Noted},
    ledger::Provider,
    server::{Handler, Received, Reply, StreamLimit, Verdict},
};

const APNS_ID: HeaderName = HeaderName::from_static("apns-id");
const APNS_UNIQUE_ID: HeaderName = HeaderName::from_static("apns-unique-id");

/// APNs as a [`Handler`].
pub(crate) struct Apns {
    core: Arc<Core>,
}

/// What is remembered for one connection.
pub(crate) struct Session {
    connection: Connection,
    provider_token: ProviderToken,
}

impl Apns {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    fn push(&self, session: &mut Session, token: &str, request: &Received) -> Verdict {
        let core = &*self.core;
        let headers = &request.head.headers;
        let token = match token.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(token.to_ascii_lowercase()),
            false => Cow::Borrowed(token),
        };
        let chosen = headers.get(APNS_ID).and_then(|id| Uuid::parse(id.to_str().ok()?));
        let noted = Noted {
            provider: Provider::Apns,
            scope: headers
                .get("apns-topic")
                .and_then(|topic| topic.to_str().ok())
                .unwrap_or_default(),
            token: &token,
            headers,
            names: check::HEADERS,
            payload: &request.body,
            stream: request.stream,
            message_id: chosen.map(|id| id.0),
            usual_outcome: "",
        };
        let now_ms = core.clock.now_us() / 1000;
        let checked = match token.is_empty() {
            true => Err("MissingDeviceToken"),
            false => session
                .provider_token
                .check(core, headers.get(AUTHORIZATION))
                .and_then(|()| check::check(&core.settings.apns, &token, request)),
        };
        let (mut verdict, given) = match checked {
            Ok(()) => core.conclude(&mut session.connection, &noted, &Reasons { now_ms }, |given| {
                accepted(core.settings.seed, given)
            }),
            Err(reason) => core.refuse(
                &mut session.connection,
                &noted,
                reason.into(),
                answers::error(reason, now_ms),
            ),
        };
        if let Reply::Http(answer) = &verdict.reply
            && answer.status() == 403
            && *answer.body() == *answers::error("ExpiredProviderToken", now_ms).body()
        {
            // Scripted or not: who was told so once is told so for ever.
            session.provider_token.wedge(core);
        }
        if let Reply::Http(answer)
        | Reply::HalfBody(answer)
        | Reply::Drip { answer, .. }
        | Reply::StreamLimit { answer, .. }
        | Reply::Goaway {
            answer: Some(answer), ..
        } = &mut verdict.reply
        {
            let id = match headers.get(APNS_ID) {
                Some(echo) => Some(echo.clone()),
                None => value(&Uuid(given.message_id)),
            };
            if let Some(id) = id {
                answer.headers_mut().insert(APNS_ID, id);
            }
        }
        verdict
    }
}

fn accepted(seed: u64, given: Given) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::new());
    if let Some(id) = value(&Uuid::derive(seed, 2, given.sequence)) {
        answer.headers_mut().insert(APNS_UNIQUE_ID, id);
    }
    answer
}

fn value(uuid: &Uuid) -> Option<HeaderValue> {
    HeaderValue::try_from(uuid.to_string()).ok()
}

impl Handler for Apns {
    type Session = Session;

    fn streams(&self) -> StreamLimit {
        let settings = &self.core.settings.apns;
        StreamLimit {
            before_auth: settings.streams_before_auth.min(settings.max_streams),
            after_auth: settings.max_streams,
        }
    }

    fn session(&self, connection: u64) -> Session {
        Session {
            connection: Connection::new(connection),
            provider_token: ProviderToken::default(),
        }
    }

    fn is_authenticated(&self, session: &Session) -> bool {
        session.provider_token.is_known()
    }

    fn handle(&self, session: &mut Session, request: Received) -> Verdict {
        let reason = match request.head.uri.path().strip_prefix("/3/device/") {
            Some(token) if request.head.method == Method::POST => {
                return self.push(session, token, &request);
            }
            Some(_) => "MethodNotAllowed",
            None => "BadPath",
        };
        Verdict {
            reply: Reply::Http(answers::error(reason, 0)),
            delay: std::time::Duration::ZERO,
        }
    }
}
