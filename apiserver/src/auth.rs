//! Whose request is it, and what may it do?
//!
//! A key that is no key (wrong form, wrong check) is refused without asking the database. What the
//! database says is remembered by storage for a few seconds. All refusals sound the same: 401 says
//! that no key was good, 403 that a good one may not; neither says why. The why is in the log, with
//! the key's id and never its secret.

use std::{fmt, sync::Arc};

use jraze_domain::{
    ids::AppId,
    keys::{KeyKind, KeyText, Scope, Scopes},
};
use jraze_openapi::{
    dto::ApiError,
    security::{Caller, InternalCaller},
};
use jraze_runtime::clock::Clock;
use jraze_storage::keys::{Key, KeyCheck, Keys};

use crate::convert::error;

/// A caller whose key was found good.
#[derive(Debug, Clone)]
pub(crate) struct Principal {
    /// Names the key in the log.
    pub(crate) key_id: String,
    /// The key's app; `None` for internal keys, which serve all.
    pub(crate) app: Option<AppId>,
    kind: KeyKind,
    scopes: Scopes,
}

/// For how much of its app a caller speaks.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// For every device of the app.
    App,
    /// For the one device whose secret it shows.
    Device {
        /// What it showed.
        secret: Option<String>,
    },
}

impl Standing {
    /// Whether the caller speaks for a single device.
    pub(crate) fn is_of_a_device(&self) -> bool {
        matches!(self, Self::Device { .. })
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::App => "App",
            Self::Device { .. } => "Device(***)",
        })
    }
}

impl Principal {
    fn of(key: Key) -> Self {
        Self {
            key_id: key.id,
            app: key.app,
            kind: key.kind,
            scopes: key.scopes,
        }
    }

    /// Refuses a key without the scope.
    ///
    /// # Errors
    ///
    /// 403.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), ApiError> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        tracing::info!(
            key = self.key_id,
            scope = scope.name(),
            "refused: the key lacks the scope"
        );
        Err(ApiError::forbidden())
    }

    /// Refuses a key that ships inside apps, whatever its scopes say.
    ///
    /// # Errors
    ///
    /// 403.
    pub(crate) fn refuse_client_keys(&self) -> Result<(), ApiError> {
        if self.kind != KeyKind::Client {
            return Ok(());
        }
        tracing::info!(key = self.key_id, "refused: not for client keys");
        Err(ApiError::forbidden())
    }
}

/// Judges presented keys.
#[derive(Debug)]
pub(crate) struct Authenticator {
    keys: Keys,
    clock: Arc<dyn Clock>,
}

impl Authenticator {
    pub(crate) fn new(keys: Keys, clock: Arc<dyn Clock>) -> Self {
        Self { keys, clock }
    }

    /// The caller of an API operation.
    ///
    /// # Errors
    ///
    /// 401 without a good key; 403 for an internal key, which belongs to no app.
    pub(crate) async fn caller(&self, caller: &Caller) -> Result<Principal, ApiError> {
        let principal = self.judge(caller.key.as_deref()).await?;
        if principal.kind == KeyKind::Internal || principal.app.is_none() {
            tracing::info!(key = principal.key_id, "refused: an internal key on the API");
            return Err(ApiError::forbidden());
        }
        Ok(principal)
    }

    /// The app of the caller, and for how much of it the caller speaks.
    ///
    /// # Errors
    ///
    /// As [`Self::caller`].
    pub(crate) async fn standing(&self, caller: Caller) -> Result<(AppId, Standing), ApiError> {
        let principal = self.caller(&caller).await?;
        let app = principal.app.ok_or_else(ApiError::forbidden)?;
        let standing = match principal.kind {
            KeyKind::Client => Standing::Device {
                secret: caller.device_secret,
            },
            KeyKind::Admin | KeyKind::Server | KeyKind::Internal => Standing::App,
        };
        Ok((app, standing))
    }

    /// The app of a caller who speaks for all of it.
    ///
    /// # Errors
    ///
    /// As [`Self::caller`], and 403 for a client key.
    pub(crate) async fn app(&self, caller: Caller) -> Result<AppId, ApiError> {
        match self.standing(caller).await? {
            (app, Standing::App) => Ok(app),
            (_, Standing::Device { .. }) => Err(ApiError::forbidden()),
        }
    }

    /// The caller of an internal operation.
    ///
    /// # Errors
    ///
    /// 401 without a good key; 403 for a key that is not internal.
    pub(crate) async fn internal(&self, caller: &InternalCaller) -> Result<Principal, ApiError> {
        let principal = self.judge(caller.key.as_deref()).await?;
        if principal.kind != KeyKind::Internal {
            tracing::info!(key = principal.key_id, "refused: not an internal key");
            return Err(ApiError::forbidden());
        }
        principal.require(Scope::Internal)?;
        Ok(principal)
    }

    async fn judge(&self, presented: Option<&str>) -> Result<Principal, ApiError> {
        let text = presented.ok_or_else(ApiError::unauthorized)?;
        let key = KeyText::parse(text).map_err(|_| ApiError::unauthorized())?;
        let check = self.keys.check(&key, self.clock.now()).await;
        let why = match check.map_err(|error| error::storage(&error))? {
            KeyCheck::Valid(key) => return Ok(Principal::of(key)),
            KeyCheck::Unknown => "unknown",
            KeyCheck::Expired => "expired",
            KeyCheck::Revoked => "revoked",
        };
        tracing::info!(key = key.id, why, "refused: the key is not good");
        Err(ApiError::unauthorized())
    }
}
