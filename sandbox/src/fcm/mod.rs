//! FCM: `POST /v1/projects/{project}/messages:send`, and the token endpoint next to it.
//!
//! A send is checked in the order of the real thing: path, access token, project, size, JSON, message,
//! quota. What passes is answered by [`Core::conclude`]. Adding a rule: a check in [`check`] (the
//! message) or here (everything around it), and a test with the rule's name in `tests/fcm.rs`.

pub(crate) mod answers;
mod check;
pub(crate) mod oauth;
mod schema;
mod walk;

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Response,
    header::{AUTHORIZATION, RETRY_AFTER},
};

use self::{
    answers::Errors,
    check::{Refusal, check},
    oauth::Refusals,
};
use crate::{
    chance,
    core::{Connection, Core, Given, Noted, Quota},
    ledger::Provider,
    render,
    server::{Handler, Received, Reply, StreamLimit, Verdict},
};

/// Word in the ledger for a message that was only checked.
pub(crate) const VALIDATE_ONLY: &str = "validate_only";
const HEADERS: &[&str] = &["user-agent", "x-goog-api-client"];

/// FCM as a [`Handler`].
pub(crate) struct Fcm {
    core: Arc<Core>,
    quota: Option<Quota>,
}

/// What is remembered for one connection.
pub(crate) struct Session {
    connection: Connection,
    /// The last good `authorization`, until when it is good, and the generation of that knowledge.
    bearer: Option<(HeaderValue, i64, u64)>,
}

impl Fcm {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        let quota = Quota::of(&core.settings.fcm);
        Self { core, quota }
    }

    /// Checks the access token; the name of the error when it is missing or not good.
    fn authenticate(&self, session: &mut Session, header: Option<&HeaderValue>) -> Result<(), &'static str> {
        let header = header.ok_or("CREDENTIALS_MISSING")?;
        let now_s = self.core.clock.now_s();
        let generation = self.core.access_tokens.generation();
        if let Some((known, until, seen)) = &session.bearer
            && known == header
            && *seen == generation
        {
            return if now_s < *until {
                Ok(())
            } else {
                Err("UNAUTHENTICATED")
            };
        }
        let token = header
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or("CREDENTIALS_MISSING")?;
        let until = self
            .core
            .access_tokens
            .expiry(token)
            .filter(|until| now_s < *until)
            .ok_or("UNAUTHENTICATED")?;
        session.bearer = Some((header.clone(), until, generation));
        Ok(())
    }

    fn send(&self, session: &mut Session, project: &str, request: &Received) -> Verdict {
        let headers = &request.head.headers;
        let authenticated = self.authenticate(session, headers.get(AUTHORIZATION));
        let checked = check(&request.body);
        let noted = Noted {
            provider: Provider::Fcm,
            scope: project,
            token: checked.address.as_deref().unwrap_or_default(),
            headers,
            names: HEADERS,
            payload: &request.body,
            stream: request.stream,
            message_id: None,
            usual_outcome: match &checked.result {
                Ok(message) if message.validate_only => VALIDATE_ONLY,
                _ => "",
            },
        };
        let mut refuse = |name: Cow<'static, str>, answer: Response<Bytes>| {
            self.core.refuse(&mut session.connection, &noted, name, answer).0
        };
        let mut error = |name: &'static str| refuse(name.into(), answers::error(name));
        if let Err(name) = authenticated {
            return error(name);
        }
        if project != self.core.settings.fcm.project_id {
            return error("PERMISSION_DENIED");
        }
        if request.oversized {
            return error("PAYLOAD_TOO_LARGE");
        }
        let message = match checked.result {
            Ok(message) => message,
            Err(refusal) => {
                let answer = match &refusal {
                    Refusal::Unparsable(problem) => answers::unparsable(problem),
                    Refusal::Unreadable(violations) => answers::unreadable(violations),
                    Refusal::Invalid(violation) => answers::invalid(violation),
                };
                return refuse("INVALID_ARGUMENT".into(), answer);
            }
        };
        if let Some(quota) = &self.quota
            && let Err(seconds) = quota.take(self.core.clock.now_us())
        {
            let mut answer = answers::error("RATE_LIMIT_EXCEEDED");
            answer.headers_mut().insert(RETRY_AFTER, seconds.into());
            return refuse("RATE_LIMIT_EXCEEDED".into(), answer);
        }
        let usual = |given: Given| match message.validate_only {
            true => answers::accepted(project, "fake_message_id"),
            false => answers::accepted(project, &message_id(given.received_us, given.message_id)),
        };
        self.core
            .conclude(&mut session.connection, &noted, &Errors, usual)
            .0
    }

    fn token(&self, request: &Received) -> Verdict {
        let settings = &self.core.settings;
        let usual = || {
            oauth::token(
                &self.core.access_tokens,
                &self.core.account,
                &self.core.audiences,
                (
                    settings.seed,
                    self.core.clock.now_s(),
                    settings.fcm.access_token_ttl_s,
                ),
                &request.body,
            )
        };
        let attempt = self.core.access_tokens.count_request();
        let decision = self.core.decide_access(attempt);
        let jitter = chance::mix(settings.seed ^ chance::mix(attempt)) % (decision.latency_jitter_ms + 1);
        Verdict {
            reply: match &decision.answer {
                Some(answer) => render::reply(answer, &Refusals, usual),
                None => Reply::Http(usual()),
            },
            delay: Duration::from_millis(decision.latency_ms + jitter),
        }
    }
}

/// The last part of a message's name, in the form that FCM gives it.
pub(crate) fn message_id(received_us: i64, number: u128) -> String {
    format!("0:{received_us}%{:016x}", number as u64)
}

impl Handler for Fcm {
    type Session = Session;

    fn streams(&self) -> StreamLimit {
        let most = self.core.settings.fcm.max_streams;
        StreamLimit {
            before_auth: most,
            after_auth: most,
        }
    }

    fn session(&self, connection: u64) -> Session {
        Session {
            connection: Connection::new(connection),
            bearer: None,
        }
    }

    fn is_authenticated(&self, session: &Session) -> bool {
        session.bearer.is_some()
    }

    fn handle(&self, session: &mut Session, request: Received) -> Verdict {
        let path = request.head.uri.path();
        if request.head.method == Method::POST {
            let project = path
                .strip_prefix("/v1/projects/")
                .and_then(|rest| rest.strip_suffix("/messages:send"))
                .filter(|project| !project.is_empty() && !project.contains('/'));
            if let Some(project) = project {
                return self.send(session, project, &request);
            }
            if path == "/token" {
                return self.token(&request);
            }
        }
        at_once(answers::no_such_page())
    }
}

fn at_once(answer: Response<Bytes>) -> Verdict {
    Verdict {
        reply: Reply::Http(answer),
        delay: Duration::ZERO,
    }
}
