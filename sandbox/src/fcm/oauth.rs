//! `POST /token`: an access token for an assertion that the service account signed (RFC 7523).
//!
//! Answers are those of Google's token endpoint: 400 with `error` and `error_description`.

use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http::Response;
use serde::Deserialize;
use serde_json::json;

use crate::{
    chance,
    credentials::ServiceAccount,
    jwt::Jwt,
    render::{self, JSON},
};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SCOPES: [&str; 2] = [
    "https://www.googleapis.com/auth/firebase.messaging",
    "https://www.googleapis.com/auth/cloud-platform",
];
/// Google's own endpoint: clients that pin the audience sign for it even when they are sent here.
const GOOGLE: &str = "https://oauth2.googleapis.com/token";
/// Longest life of an assertion, in seconds.
const MAX_LIFE: i64 = 3600;
/// Clock difference that is forgiven, in seconds.
const SKEW: i64 = 300;

/// The claims of an assertion.
#[derive(Debug, Deserialize)]
struct Claims {
    #[serde(default)]
    iss: String,
    #[serde(default)]
    aud: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    iat: i64,
    #[serde(default)]
    exp: i64,
}

/// The access tokens handed out, and until when they are good.
#[derive(Debug, Default)]
pub(crate) struct AccessTokens {
    expires: RwLock<HashMap<String, i64>>,
    issued: AtomicU64,
    requests: AtomicU64,
    /// Grows when tokens are revoked, so that connections forget what they remember.
    generation: AtomicU64,
}

impl AccessTokens {
    fn issue(&self, seed: u64, now_s: i64, ttl_s: i64) -> String {
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let id = chance::Uuid::derive(seed, now_s as u64, number).0;
        let token = format!("ya29.sandbox-{id:032x}");
        let mut expires = self.expires.write().unwrap_or_else(PoisonError::into_inner);
        expires.retain(|_, until| *until > now_s);
        expires.insert(token.clone(), now_s + ttl_s);
        token
    }

    /// Until when (seconds since 1970) a token is good; none when it was never given out.
    pub(crate) fn expiry(&self, token: &str) -> Option<i64> {
        let expires = self.expires.read().unwrap_or_else(PoisonError::into_inner);
        expires.get(token).copied()
    }

    /// Makes every token handed out so far invalid; returns how many were handed out.
    pub(crate) fn revoke_all(&self) -> u64 {
        self.expires
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.generation.fetch_add(1, Ordering::Release);
        self.issued()
    }

    /// Counts a request for a token; how many there were before it.
    pub(crate) fn count_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// How many requests there were, ever, whatever became of them.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// How many tokens were handed out, ever.
    pub(crate) fn issued(&self) -> u64 {
        self.issued.load(Ordering::Relaxed)
    }

    /// Changes whenever a remembered token has to be looked up again.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

/// Answers one request for a token.
pub(crate) fn token(
    tokens: &AccessTokens,
    account: &ServiceAccount,
    audiences: &[String],
    (seed, now_s, ttl_s): (u64, i64, u32),
    body: &[u8],
) -> Response<Bytes> {
    let mut grant = None;
    let mut assertion = None;
    for (name, value) in url::form_urlencoded::parse(body) {
        match &*name {
            "grant_type" => grant = Some(value),
            "assertion" => assertion = Some(value),
            _ => {}
        }
    }
    let Some(grant) = grant else {
        return refuse("invalid_request", "Required parameter is missing: grant_type");
    };
    if grant != GRANT {
        let problem = format!("Invalid grant_type: {grant}");
        return refuse("unsupported_grant_type", &problem);
    }
    let Some(assertion) = assertion else {
        return refuse("invalid_request", "Required parameter is missing: assertion");
    };
    match check(account, audiences, now_s, &assertion) {
        Ok(()) => {
            let token = tokens.issue(seed, now_s, i64::from(ttl_s));
            let body = json!({"access_token": token, "expires_in": ttl_s, "token_type": "Bearer"});
            render::response(200, JSON, body.to_string())
        }
        Err((error, problem)) => refuse(error, problem),
    }
}

fn check(
    account: &ServiceAccount,
    audiences: &[String],
    now_s: i64,
    assertion: &str,
) -> Result<(), (&'static str, &'static str)> {
    let Some(jwt) = Jwt::<Claims>::parse(assertion) else {
        return Err(("invalid_grant", "Bad Request"));
    };
    if jwt.header.alg != "RS256" {
        return Err(("invalid_grant", "Invalid JWT: the algorithm is not RS256."));
    }
    if jwt.claims.iss != account.client_email {
        return Err(("invalid_grant", "Invalid grant: account not found"));
    }
    if jwt
        .header
        .kid
        .as_ref()
        .is_some_and(|kid| *kid != account.private_key_id)
        || !jwt.signed_by(&account.verifier)
    {
        return Err(("invalid_grant", "Invalid JWT Signature."));
    }
    if jwt.claims.aud != GOOGLE && !audiences.contains(&jwt.claims.aud) {
        return Err((
            "invalid_grant",
            "Invalid JWT: Failed audience check. The audience is not the token endpoint.",
        ));
    }
    let Claims { iat, exp, .. } = jwt.claims;
    if exp <= iat || exp - iat > MAX_LIFE || iat > now_s + SKEW || exp < now_s - SKEW {
        return Err((
            "invalid_grant",
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. \
             Check your iat and exp values in the JWT claim.",
        ));
    }
    if jwt.claims.scope.is_empty() {
        return Err(("invalid_scope", "Empty or missing scope not allowed."));
    }
    if !jwt.claims.scope.split(' ').any(|scope| SCOPES.contains(&scope)) {
        return Err((
            "invalid_scope",
            "Invalid OAuth scope or ID token audience provided.",
        ));
    }
    Ok(())
}

/// Errors that scripts may name, with their statuses (RFC 6749, 5.2, and those of a busy endpoint).
const ERRORS: [(&str, u16); 8] = [
    ("invalid_request", 400),
    ("invalid_grant", 400),
    ("invalid_scope", 400),
    ("unauthorized_client", 400),
    ("unsupported_grant_type", 400),
    ("invalid_client", 401),
    ("internal_failure", 500),
    ("temporarily_unavailable", 503),
];

/// Whether scripts may name this error; the problem when not.
pub(crate) fn check_code(error: &str) -> Result<(), String> {
    if ERRORS.iter().any(|(known, _)| *known == error) {
        return Ok(());
    }
    let names: Vec<_> = ERRORS.iter().map(|(name, _)| *name).collect();
    let names = names.join(", ");
    Err(format!(
        "the token endpoint has no error {error:?}; it has {names}"
    ))
}

/// The token endpoint's errors by name.
pub(crate) struct Refusals;

impl render::Catalogue for Refusals {
    fn error(&self, code: &str, _: Option<i64>) -> Response<Bytes> {
        let body = json!({"error": code, "error_description": "As the script says."});
        render::response(render::Catalogue::status(self, code), JSON, body.to_string())
    }

    fn status(&self, code: &str) -> u16 {
        let known = ERRORS.iter().find(|(known, _)| *known == code);
        known.map_or(400, |(_, status)| *status)
    }
}

fn refuse(error: &str, description: &str) -> Response<Bytes> {
    let body = json!({"error": error, "error_description": description});
    render::response(400, JSON, body.to_string())
}
