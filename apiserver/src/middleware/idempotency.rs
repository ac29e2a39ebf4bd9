//! Requests that may be sent again under an `Idempotency-Key`.
//!
//! Stands between admission and the operation, so that the key has been judged and a plain body is
//! here. What may come of it is told in `jraze_storage::idempotency`; the operation only has to hang
//! what it makes on the request's identity, and to look for it when it is there already: a request
//! whose first attempt died is carried out again under the same one.
//!
//! Kept are answers that would be the same if the work were done again: successes and refusals. Not
//! kept: failures of ours, 408 and 429, and whatever was said before the body had come to its end.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::StreamExt as _;
use jraze_openapi::{
    answer::mark_replayed,
    dto::ApiError,
    security::{IDEMPOTENCY_KEY_HEADER, RequestIdentity},
};
use jraze_storage::idempotency::{Claim, Fingerprint, Held, Idempotency as Rows, KeptAnswer, RequestName};
use poem::{Body, Endpoint, Request, Response, endpoint::BoxEndpoint, http::StatusCode};
use sha2::{Digest as _, Sha256};

use crate::{convert::error, random::Random};

/// How long a request belongs to a server that says nothing more; three times as long as it takes to
/// say something.
const LEASE: Duration = Duration::from_secs(15);
/// How often a server says that it is still at work.
const RENEWAL: Duration = Duration::from_secs(5);
/// When a client may ask again for the answer of a request that is being carried out.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Longest key, in characters.
const MAX_KEY: usize = 255;

/// Carries requests out once.
pub(crate) struct Idempotency {
    pub(crate) rows: Rows,
    pub(crate) random: Arc<Random>,
    /// How long the body of a stream may pause.
    pub(crate) pause: Duration,
}

/// The client's key, when it sent one.
///
/// # Errors
///
/// 400 for one that cannot be kept: it must not be taken for none.
pub(crate) fn key(request: &Request) -> Result<Option<String>, ApiError> {
    let mut sent = request.headers().get_all(IDEMPOTENCY_KEY_HEADER).iter();
    let Some(key) = sent.next() else {
        return Ok(None);
    };
    let bytes = key.as_bytes();
    let visible = bytes.iter().all(u8::is_ascii_graphic);
    if visible && (1..=MAX_KEY).contains(&bytes.len()) && sent.next().is_none() {
        return Ok(Some(String::from_utf8_lossy(bytes).into_owned()));
    }
    let message = format!("is one key of 1 to {MAX_KEY} visible ASCII characters");
    let pointer = format!("/{IDEMPOTENCY_KEY_HEADER}");
    Err(ApiError::invalid("invalid_parameter", pointer, message))
}

impl Idempotency {
    /// Carries a request out, unless that was done before. `streamed` says that its body is still to
    /// come.
    pub(crate) async fn carry_out(
        &self,
        name: RequestName<'_>,
        mut request: Request,
        streamed: bool,
        endpoint: &BoxEndpoint<'static>,
    ) -> poem::Result<Response> {
        let mut hash = Sha256::new();
        let target = request
            .uri()
            .path_and_query()
            .map_or("", |target| target.as_str());
        hash.update(target);
        hash.update([0]);
        let known = if streamed {
            None
        } else {
            let body = request.take_body().into_bytes().await;
            let body = body.map_err(|_| ApiError::bad_request("unreadable_body", "the body broke off"))?;
            hash.update(&body);
            request.set_body(body);
            Some(hash.clone().finalize().into())
        };
        let claim = self.rows.claim(name, known, self.random.uuid(), LEASE).await;
        match claim.map_err(|failure| error::storage(&failure))? {
            Claim::Reused => Err(reused().into()),
            Claim::Running => Err(in_use().into()),
            Claim::Answered { fingerprint, answer } => {
                if known.is_none() && self.of_stream(hash, request.take_body()).await? != fingerprint {
                    return Err(reused().into());
                }
                Ok(replay(answer))
            }
            Claim::Granted(held) => {
                let identity = RequestIdentity(*held.identity.as_bytes());
                request.extensions_mut().insert(identity);
                let watched = Watched::new(hash);
                if streamed {
                    let body = request.take_body();
                    request.set_body(watched.watch(body));
                }
                let response = tokio::select! {
                    outcome = endpoint.call(request) => match outcome {
                        Ok(response) => response,
                        Err(error) => ApiError::from_framework(&error).to_response(),
                    },
                    never = self.stay(&held) => match never {},
                };
                self.keep(&held, known.or_else(|| watched.fingerprint()), response)
                    .await
            }
        }
    }

    /// Says every few seconds that the work goes on. A lease that is lost is no reason to stop: the
    /// heir finds what was made, and only one of the two answers is kept.
    async fn stay(&self, held: &Held) -> Infallible {
        loop {
            tokio::time::sleep(RENEWAL).await;
            match self.rows.renew(held, LEASE).await {
                Ok(true) => {}
                Ok(false) => tracing::warn!("another request under the same key has taken over"),
                Err(failure) => tracing::warn!(error = error::chain(&failure), "cannot hold on to a request"),
            }
        }
    }

    /// Keeps what is worth keeping. The client hears the answer whatever becomes of that.
    async fn keep(
        &self,
        held: &Held,
        fingerprint: Option<Fingerprint>,
        mut response: Response,
    ) -> poem::Result<Response> {
        let status = response.status();
        let lasting = !status.is_server_error()
            && status != StatusCode::REQUEST_TIMEOUT
            && status != StatusCode::TOO_MANY_REQUESTS;
        let kept = match fingerprint {
            Some(fingerprint) if lasting => {
                let body = response.take_body().into_bytes().await;
                let body = body.map_err(|_| ApiError::internal())?;
                let answer = KeptAnswer {
                    status: status.as_u16(),
                    body: body.to_vec(),
                };
                response.set_body(body);
                self.rows.finish(held, fingerprint, &answer).await.map(drop)
            }
            _ => self.rows.release(held).await,
        };
        if let Err(failure) = kept {
            // The lease runs out, and a repetition finds what was made.
            tracing::warn!(error = error::chain(&failure), "an answer could not be kept");
        }
        Ok(response)
    }

    /// Reads a stream for nothing but its hash.
    async fn of_stream(&self, mut hash: Sha256, body: Body) -> Result<Fingerprint, ApiError> {
        let mut pieces = body.into_bytes_stream();
        loop {
            match tokio::time::timeout(self.pause, pieces.next()).await {
                Ok(Some(Ok(piece))) => hash.update(&piece),
                Ok(Some(Err(_))) => {
                    return Err(ApiError::bad_request("unreadable_body", "the body broke off"));
                }
                Ok(None) => return Ok(hash.finalize().into()),
                Err(_) => return Err(ApiError::request_timeout()),
            }
        }
    }
}

/// A body that is hashed while the operation reads it.
struct Watched(Arc<Mutex<(Sha256, bool)>>);

impl Watched {
    fn new(hash: Sha256) -> Self {
        Self(Arc::new(Mutex::new((hash, false))))
    }

    fn watch(&self, body: Body) -> Body {
        let shared = Arc::clone(&self.0);
        let end = Arc::clone(&self.0);
        let pieces = body.into_bytes_stream().inspect(move |piece| {
            if let Ok(piece) = piece {
                let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                state.0.update(piece);
            }
        });
        let end = futures_util::stream::poll_fn(move |_| {
            end.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
            std::task::Poll::Ready(None)
        });
        Body::from_bytes_stream(pieces.chain(end))
    }

    /// Of the whole body; `None` when it was not read to its end.
    fn fingerprint(&self) -> Option<Fingerprint> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.1.then(|| state.0.clone().finalize().into())
    }
}

fn replay(answer: KeptAnswer) -> Response {
    let mut response = Response::builder()
        .status(StatusCode::from_u16(answer.status).unwrap_or_default())
        .content_type("application/json; charset=utf-8")
        .body(answer.body);
    mark_replayed(&mut response);
    response
}

fn reused() -> ApiError {
    let reason = "this Idempotency-Key belongs to a request with another path or body; take a new one";
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", reason)
}

fn in_use() -> ApiError {
    let reason = "the request of this Idempotency-Key is still being carried out";
    ApiError::conflict("idempotency_key_in_use", reason).retry(ASK_AGAIN)
}
