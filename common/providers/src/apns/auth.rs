//! Provider tokens: a JWT signed with the team's key.
//!
//! Apple takes a token for an hour and allows a new one every 20 minutes; who changes it more often is
//! turned away with `TooManyProviderTokenUpdates`. So one token serves all connections, is kept for
//! [`KEPT`], and is never minted anew within 20 minutes, whatever Apple answers.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderValue;
use jraze_runtime::clock::Clock;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use super::{classify::TOKEN_UPDATE_INTERVAL, settings::ApnsSettings};
use crate::{
    credential::{CredentialProblem, read_key},
    provider::Environment,
};

/// How long a token is used.
const KEPT: TimeDelta = TimeDelta::minutes(50);

/// A token, ready for the header.
pub(super) struct ProviderToken {
    pub(super) authorization: HeaderValue,
    minted_at: DateTime<Utc>,
}

/// The tokens of one signing key.
pub(super) struct ProviderTokens {
    key: EncodingKey,
    key_id: String,
    team_id: String,
    clock: Arc<dyn Clock>,
    current: ArcSwap<ProviderToken>,
    /// Held while minting; no new token before this time.
    not_before: Mutex<DateTime<Utc>>,
}

impl fmt::Debug for ProviderTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderTokens")
            .field("key_id", &self.key_id)
            .field("team_id", &self.team_id)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: i64,
}

impl ProviderTokens {
    /// Reads the key and signs the first token with it.
    pub(super) fn new(settings: &ApnsSettings, environment: &Environment) -> Result<Self, CredentialProblem> {
        for (key, id) in [("key_id", &settings.key_id), ("team_id", &settings.team_id)] {
            if id.len() != 10 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                let problem = format!("{id:?} is not 10 letters and digits");
                return Err(CredentialProblem::Setting { key, problem });
            }
        }
        let key = "key_file";
        let path = &settings.key_file;
        let unusable = |source| CredentialProblem::Key {
            key,
            path: path.clone(),
            source,
        };
        let signing = EncodingKey::from_ec_pem(&read_key(key, path)?).map_err(unusable)?;
        let clock = Arc::clone(&environment.clock);
        let now = clock.now();
        let first = mint(&signing, &settings.key_id, &settings.team_id, now).map_err(unusable)?;
        Ok(Self {
            key: signing,
            key_id: settings.key_id.clone(),
            team_id: settings.team_id.clone(),
            clock,
            current: ArcSwap::from_pointee(first),
            not_before: Mutex::new(now + interval()),
        })
    }

    /// The token to use now.
    pub(super) fn current(&self) -> Arc<ProviderToken> {
        let token = self.current.load_full();
        let now = self.clock.now();
        if now - token.minted_at < KEPT {
            return token;
        }
        // A failure to mint leaves the old one, of which Apple will then complain.
        self.renewed(&token, now).unwrap_or(token)
    }

    /// A token other than `refused`, or how long until there may be one.
    pub(super) fn after_refusal(&self, refused: &Arc<ProviderToken>) -> Result<Arc<ProviderToken>, Duration> {
        let now = self.clock.now();
        let current = self.current.load_full();
        if !Arc::ptr_eq(&current, refused) {
            return Ok(current);
        }
        self.renewed(refused, now)
            .ok_or_else(|| (*self.not_before() - now).to_std().unwrap_or_default())
    }

    /// Apple says that tokens change too often: none is minted for another 20 minutes.
    pub(super) fn stop_minting(&self) {
        *self.not_before() = self.clock.now() + interval();
    }

    fn not_before(&self) -> MutexGuard<'_, DateTime<Utc>> {
        self.not_before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A successor of `old`, if one may be minted or somebody else just did.
    fn renewed(&self, old: &Arc<ProviderToken>, now: DateTime<Utc>) -> Option<Arc<ProviderToken>> {
        let mut not_before = self.not_before();
        let current = self.current.load_full();
        if !Arc::ptr_eq(&current, old) {
            return Some(current);
        }
        if now < *not_before {
            return None;
        }
        match mint(&self.key, &self.key_id, &self.team_id, now) {
            Ok(token) => {
                let token = Arc::new(token);
                self.current.store(Arc::clone(&token));
                *not_before = now + interval();
                tracing::debug!(key_id = self.key_id, "provider token minted");
                Some(token)
            }
            Err(error) => {
                tracing::error!(key_id = self.key_id, %error, "the provider token cannot be signed");
                None
            }
        }
    }
}

fn interval() -> TimeDelta {
    TimeDelta::from_std(TOKEN_UPDATE_INTERVAL).expect("20 minutes fit")
}

fn mint(
    key: &EncodingKey,
    key_id: &str,
    team_id: &str,
    now: DateTime<Utc>,
) -> Result<ProviderToken, jsonwebtoken::errors::Error> {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(key_id.to_owned());
    let claims = Claims {
        iss: team_id,
        iat: now.timestamp(),
    };
    let token = jsonwebtoken::encode(&header, &claims, key)?;
    let mut authorization =
        HeaderValue::try_from(format!("bearer {token}")).expect("a JWT is base64url and dots");
    authorization.set_sensitive(true);
    Ok(ProviderToken {
        authorization,
        minted_at: now,
    })
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
