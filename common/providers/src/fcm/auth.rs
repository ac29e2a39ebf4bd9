//! Access tokens of a service account.
//!
//! A signed assertion (RFC 7523) is exchanged for a token that lives about an hour. The token is kept
//! and renewed at 80 to 90 % of its life while the old one goes on being used; only one caller at a
//! time asks for one, whatever the number of sends that wait. A token that FCM refused is renewed
//! once, and then not again for [`REFUSED_INTERVAL`]: what is refused twice is not the token's age.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, HeaderValue, Uri, header};
use jraze_domain::dispatch::{Delivery, Outcome, Scope};
use jraze_runtime::{backoff::Backoff, clock::Clock};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};

use super::settings::FcmSettings;
use crate::{
    credential::{CredentialProblem, read_key},
    jitter::Jitter,
    provider::Environment,
    retry_after::retry_after,
    transport::{Endpoint, EndpointSettings, Fixed, Pool, Request, TransportError, TransportSettings},
    verdict::{chain, reason},
};

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const GRANT: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";
/// Life of an assertion; Google allows an hour.
const ASSERTION_LIFE: i64 = 3_600;
/// After a token that FCM refused was replaced, how long a refusal leads to no further renewal.
const REFUSED_INTERVAL: TimeDelta = TimeDelta::seconds(30);
/// Waits between attempts to get a token.
const RETRY: Backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(60));

/// A token, ready for the header.
pub(super) struct AccessToken {
    pub(super) authorization: HeaderValue,
    /// Tells this token from its successors.
    pub(super) number: u64,
    refresh_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

/// Why there is no token.
#[derive(Debug, Clone, Error)]
pub(super) enum AccessError {
    #[error("the token endpoint cannot be reached")]
    Unreachable(#[source] Arc<TransportError>),
    #[error("the token endpoint refused with {status}: {code}")]
    Refused {
        status: u16,
        code: String,
        wait: Option<Duration>,
    },
    #[error("the token endpoint's answer holds no token")]
    Unreadable,
    #[error("the assertion cannot be signed")]
    Sign(#[source] Arc<jsonwebtoken::errors::Error>),
    #[error("no answer of the token endpoint in time")]
    Timeout,
    #[error("a new token was refused just now")]
    RefusedAgain,
}

impl AccessError {
    /// No attempt is lost: the credential is at fault, not the delivery.
    pub(super) fn outcome(&self) -> Outcome {
        let (reason, wait) = match self {
            Self::Refused { code, wait, .. } => (code.as_str(), *wait),
            _ => (reason::NO_ACCESS_TOKEN, None),
        };
        Outcome::new(Delivery::Requeued, reason).with_hold(Scope::Credential, wait)
    }
}

/// The access tokens of one service account. Clones share them.
#[derive(Clone)]
pub(super) struct AccessTokens {
    inner: Arc<Inner>,
}

impl fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessTokens")
            .field("endpoint", self.inner.pool.endpoint())
            .finish_non_exhaustive()
    }
}

struct Inner {
    account: Account,
    token_url: Uri,
    head: Arc<Fixed>,
    pool: Pool,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    jitter: Arc<Jitter>,
    current: ArcSwapOption<AccessToken>,
    /// Attempts that ended, so that a caller that waited for one knows that it need not try itself.
    ended: AtomicU64,
    /// Held by the one who asks.
    asking: Arc<Mutex<Asking>>,
}

#[derive(Default)]
struct Asking {
    number: u64,
    failures: u32,
    not_before: Option<DateTime<Utc>>,
    error: Option<AccessError>,
    replaced_refused_at: Option<DateTime<Utc>>,
}

/// The parts of a service account's key that are used.
struct Account {
    email: String,
    key_id: Option<String>,
    key: EncodingKey,
}

#[derive(Deserialize)]
struct AccountFile {
    client_email: Option<String>,
    private_key: Option<String>,
    private_key_id: Option<String>,
    project_id: Option<String>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'static str,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

impl AccessTokens {
    /// Reads the key, and tells the project that it belongs to.
    pub(super) fn new(
        settings: &FcmSettings,
        environment: &Environment,
    ) -> Result<(Self, Option<String>), CredentialProblem> {
        let (account, project) = read_account(settings)?;
        let token_url = token_url(&settings.token_url)?;
        let authority = token_url.authority().map(ToString::to_string).unwrap_or_default();
        let endpoint = EndpointSettings {
            base_url: format!("https://{authority}"),
            ca_file: settings.ca_file.clone(),
        };
        let endpoint = Endpoint::new(&endpoint).map_err(|source| CredentialProblem::Endpoint {
            key: "token_url",
            source,
        })?;
        // One request an hour needs no second connection.
        let transport = TransportSettings {
            connections: 1,
            ..settings.transport.clone()
        };
        let timeout = transport.request_timeout.get();
        let pool = Pool::new(
            endpoint,
            transport,
            environment.gate(&authority),
            Arc::clone(&environment.jitter),
        );
        let mut headers = HeaderMap::with_capacity(1);
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, form);
        let head = Arc::new(Fixed::new(token_url.path_and_query().cloned(), headers));
        let inner = Inner {
            account,
            token_url,
            head,
            pool,
            timeout,
            clock: Arc::clone(&environment.clock),
            jitter: Arc::clone(&environment.jitter),
            current: ArcSwapOption::empty(),
            ended: AtomicU64::new(0),
            asking: Arc::default(),
        };
        let tokens = Self {
            inner: Arc::new(inner),
        };
        tokens
            .inner
            .assertion()
            .map_err(|source| CredentialProblem::Key {
                key: "service_account_file",
                path: settings.service_account_file.clone(),
                source,
            })?;
        Ok((tokens, project))
    }

    /// A token that is valid now. When it is due for renewal, one caller sees to that on the side.
    pub(super) async fn current(&self, deadline: Instant) -> Result<Arc<AccessToken>, AccessError> {
        let now = self.inner.clock.now();
        match self.inner.current.load_full() {
            Some(token) if now < token.refresh_at => Ok(token),
            Some(token) if now < token.expires_at => {
                self.renew_on_the_side(now);
                Ok(token)
            }
            // Apart, so that a send that need not wait is small.
            _ => Box::pin(self.renew(None, deadline)).await,
        }
    }

    /// A successor of the token `number`, which FCM refused; `None` when there can be none now.
    pub(super) async fn after_refusal(&self, number: u64, deadline: Instant) -> Option<Arc<AccessToken>> {
        Box::pin(self.renew(Some(number), deadline)).await.ok()
    }

    fn renew_on_the_side(&self, now: DateTime<Utc>) {
        let Ok(mut asking) = Arc::clone(&self.inner.asking).try_lock_owned() else {
            return;
        };
        if asking.not_before.is_some_and(|at| now < at) {
            return;
        }
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            let deadline = Instant::now() + 2 * inner.timeout;
            // A failure is logged and tried again later; the old token goes on being used.
            let _ = inner.ask(&mut asking, deadline).await;
        });
    }

    async fn renew(&self, refused: Option<u64>, deadline: Instant) -> Result<Arc<AccessToken>, AccessError> {
        let inner = &self.inner;
        let ended_before = inner.ended.load(Ordering::Acquire);
        let Ok(mut asking) = timeout_at(deadline, inner.asking.lock()).await else {
            return Err(AccessError::Timeout);
        };
        let now = inner.clock.now();
        if let Some(token) = inner.current.load_full()
            && now < token.expires_at
            && refused != Some(token.number)
        {
            return Ok(token);
        }
        let somebody_failed = inner.ended.load(Ordering::Acquire) > ended_before;
        let too_soon = asking.not_before.is_some_and(|at| now < at);
        if let Some(error) = asking.error.as_ref().filter(|_| somebody_failed || too_soon) {
            return Err(error.clone());
        }
        if refused.is_some() {
            if asking
                .replaced_refused_at
                .is_some_and(|at| now - at < REFUSED_INTERVAL)
            {
                return Err(AccessError::RefusedAgain);
            }
            asking.replaced_refused_at = Some(now);
        }
        inner.ask(&mut asking, deadline).await
    }
}

impl Inner {
    /// Asks for a token and keeps what comes of it.
    async fn ask(&self, asking: &mut Asking, deadline: Instant) -> Result<Arc<AccessToken>, AccessError> {
        let asked = self.fetch(asking.number + 1, deadline).await;
        let now = self.clock.now();
        match asked {
            Ok(token) => {
                let token = Arc::new(token);
                *asking = Asking {
                    number: token.number,
                    replaced_refused_at: asking.replaced_refused_at,
                    ..Asking::default()
                };
                self.current.store(Some(Arc::clone(&token)));
                self.ended.fetch_add(1, Ordering::AcqRel);
                tracing::debug!(account = %self.account.email, expires_at = %token.expires_at, "access token renewed");
                Ok(token)
            }
            Err(error) => {
                let wait = match &error {
                    AccessError::Refused { wait: Some(wait), .. } => *wait,
                    _ => self.jitter.backoff(RETRY, asking.failures),
                };
                tracing::warn!(
                    account = %self.account.email,
                    error = chain(&error),
                    retry_in_ms = wait.as_millis(),
                    "no access token"
                );
                asking.failures = asking.failures.saturating_add(1);
                asking.not_before = TimeDelta::from_std(wait).ok().map(|wait| now + wait);
                asking.error = Some(error.clone());
                self.ended.fetch_add(1, Ordering::AcqRel);
                Err(error)
            }
        }
    }

    async fn fetch(&self, number: u64, deadline: Instant) -> Result<AccessToken, AccessError> {
        let assertion = self
            .assertion()
            .map_err(|error| AccessError::Sign(Arc::new(error)))?;
        let body = Bytes::from(format!("{GRANT}{assertion}"));
        let answer = self
            .pool
            .send(deadline, &Request::new(&self.head), &body, || true)
            .await
            .map_err(|error| AccessError::Unreachable(Arc::new(error)))?;
        let now = self.clock.now();
        if !answer.status.is_success() {
            let wait = retry_after(&answer.headers, now);
            return Err(AccessError::Refused {
                status: answer.status.as_u16(),
                code: refusal(&answer.body),
                wait,
            });
        }
        self.read(&answer.body, number, now)
            .ok_or(AccessError::Unreadable)
    }

    fn read(&self, body: &[u8], number: u64, now: DateTime<Utc>) -> Option<AccessToken> {
        #[derive(Deserialize)]
        struct Granted {
            access_token: String,
            expires_in: Option<i64>,
        }
        let granted: Granted = serde_json::from_slice(body).ok()?;
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", granted.access_token)).ok()?;
        authorization.set_sensitive(true);
        let life = granted.expires_in.unwrap_or(3_600).clamp(1, 86_400) as f64;
        let after = |share: f64| now + TimeDelta::milliseconds((life * share * 1_000.0) as i64);
        let refresh_at = after(0.8 + 0.1 * self.jitter.unit());
        Some(AccessToken {
            authorization,
            number,
            refresh_at,
            expires_at: after(1.0),
        })
    }

    fn assertion(&self) -> Result<String, jsonwebtoken::errors::Error> {
        let iat = self.clock.now().timestamp();
        let audience = self.token_url.to_string();
        let claims = Claims {
            iss: &self.account.email,
            scope: SCOPE,
            aud: &audience,
            iat,
            exp: iat + ASSERTION_LIFE,
        };
        let mut header = Header::new(Algorithm::RS256);
        header.kid.clone_from(&self.account.key_id);
        jsonwebtoken::encode(&header, &claims, &self.account.key)
    }
}

/// The `error` of an OAuth refusal (RFC 6749, 5.2), such as `invalid_grant`.
fn refusal(body: &[u8]) -> String {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    match body.get("error").and_then(|error| error.as_str()) {
        Some(code) if !code.is_empty() => code.to_owned(),
        _ => reason::NO_ACCESS_TOKEN.to_owned(),
    }
}

fn token_url(text: &str) -> Result<Uri, CredentialProblem> {
    let refused = || CredentialProblem::Setting {
        key: "token_url",
        problem: format!("{text:?} is not an https address"),
    };
    let url: Uri = text.parse().map_err(|_| refused())?;
    if url.scheme_str() == Some("https") && url.authority().is_some() {
        Ok(url)
    } else {
        Err(refused())
    }
}

fn read_account(settings: &FcmSettings) -> Result<(Account, Option<String>), CredentialProblem> {
    let key = "service_account_file";
    let path = &settings.service_account_file;
    let bad = |problem: &str| CredentialProblem::File {
        key,
        path: path.clone(),
        problem: problem.into(),
    };
    let bytes = read_key(key, path)?;
    // What the parser says could quote the key, so it is not passed on.
    let file: AccountFile =
        serde_json::from_slice(&bytes).map_err(|_| bad("is not a service account's JSON key"))?;
    let email = file.client_email.ok_or_else(|| bad("has no client_email"))?;
    let pem = file.private_key.ok_or_else(|| bad("has no private_key"))?;
    let signing = EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(|source| CredentialProblem::Key {
        key,
        path: path.clone(),
        source,
    })?;
    Ok((
        Account {
            email,
            key_id: file.private_key_id,
            key: signing,
        },
        file.project_id,
    ))
}
