//! The provider token: a JWT signed with ES256 that names the key, the team and when it was made.
//!
//! A connection sends the same token with every request, so it is verified when it changes. What APNs
//! remembers about a connection is kept here, too: a connection that was told that its token expired
//! stays told (it has to be closed), and tokens that change too often are refused.

use http::HeaderValue;
use serde::Deserialize;

use crate::{core::Core, jwt::Jwt};

/// Longest life of a provider token, in seconds.
const MAX_AGE: i64 = 3600;
/// How far in the future a token may be made, in seconds.
const SKEW: i64 = 300;

#[derive(Debug, Deserialize)]
struct Claims {
    #[serde(default)]
    iss: String,
    #[serde(default)]
    iat: i64,
}

/// What is known of the provider token of one connection.
#[derive(Debug, Default)]
pub(crate) struct ProviderToken {
    /// The last good header, when its token was made, and when it came first.
    known: Option<(HeaderValue, i64, i64)>,
    wedged: bool,
}

impl ProviderToken {
    /// Whether a good token was seen.
    pub(crate) fn is_known(&self) -> bool {
        self.known.is_some()
    }

    /// Checks the `authorization` of a request; the reason when it is refused.
    pub(crate) fn check(&mut self, core: &Core, header: Option<&HeaderValue>) -> Result<(), &'static str> {
        if self.wedged {
            return Err("ExpiredProviderToken");
        }
        self.check_token(core, header)
    }

    /// The connection was told that its token expired: it stays told.
    pub(crate) fn wedge(&mut self, core: &Core) {
        self.wedged = core.settings.apns.wedge_on_expired_token;
    }

    fn check_token(&mut self, core: &Core, header: Option<&HeaderValue>) -> Result<(), &'static str> {
        let header = header.ok_or("MissingProviderToken")?;
        let now_s = core.clock.now_s();
        if let Some((known, made, _)) = &self.known
            && known == header
        {
            return fresh(*made, now_s);
        }
        let text = header
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or("MissingProviderToken")?;
        let jwt: Jwt<'_, Claims> = Jwt::parse(text).ok_or("InvalidProviderToken")?;
        if jwt.header.kid.as_deref() != Some(&*core.key.key_id) {
            // Once a connection has used a good key, another one does not fit to it.
            return Err(match self.known {
                Some(_) => "UnrelatedKeyIdInToken",
                None => "InvalidProviderToken",
            });
        }
        if jwt.header.alg != "ES256"
            || jwt.claims.iss != core.settings.apns.team_id
            || !jwt.signed_by(&core.key.verifier)
        {
            return Err("InvalidProviderToken");
        }
        fresh(jwt.claims.iat, now_s)?;
        if let (Some((_, made, since)), Some(shortest)) = (&self.known, core.settings.apns.min_token_update_s)
            && *made != jwt.claims.iat
            && now_s - since < i64::from(shortest)
        {
            return Err("TooManyProviderTokenUpdates");
        }
        self.known = Some((header.clone(), jwt.claims.iat, now_s));
        Ok(())
    }
}

fn fresh(made: i64, now_s: i64) -> Result<(), &'static str> {
    if made > now_s + SKEW {
        Err("InvalidProviderToken")
    } else if now_s - made > MAX_AGE {
        Err("ExpiredProviderToken")
    } else {
        Ok(())
    }
}
