//! How devices are written: many changes at once, in four commands.
//!
//! Every way to write a device ends here: a registration over the API, properties, an import. One
//! round works on changes of different devices of one app:
//!
//! 1. *find* the devices by external id, and the present owners of tokens that would change hands;
//! 2. *release* those tokens, so that the newest registration gets them;
//! 3. *update* the devices that are there, *insert* those that are not;
//! 4. *read back* what was updated, for the answers.
//!
//! An import of new devices turns this around: it inserts first, and only what meets a unique key goes
//! through the four steps ([`Approach::expects_new`]).
//!
//! What may be in each other's way is put off to the next round: a second change of one device, a
//! second claim to one token, and whatever another process got in between (the unique indexes tell).
//! So the result is always as if the changes had come one after the other, and the last one wins.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use jraze_domain::device::{
    Device, ExternalId, Implausible, PropertyChanges, PushToken, Registration, SendPlatform, TokenChange,
};
use jraze_domain::ids::AppId;
use mongodb::Collection;
use mongodb::bson::RawDocumentBuf;

use crate::Store;
use crate::counters::IdAllocator;
use crate::error::StorageError;

use super::COLLECTION;
use super::documents::{TokenHash, read_device, token_hash};
use super::round::{Approach, Round};

/// A SHA-256 hash of a device secret.
pub type SecretHash = [u8; 32];

/// One change of one device.
#[derive(Debug, Clone)]
pub struct Change {
    /// Which device.
    pub external_id: ExternalId,
    /// What it tells when it registers. Without it, a device that is not there is not made.
    pub registration: Option<Registration>,
    /// Properties to set and to remove.
    pub properties: PropertyChanges,
    /// Who may make the change.
    pub guard: Guard,
    /// Stored when the change creates the device, and ignored otherwise. Fresh for every change: by it
    /// a repeated round knows the device that it has made itself.
    pub secret_of_new: Option<SecretHash>,
}

impl Change {
    /// A registration by somebody who may change every device.
    pub fn register(registration: Registration) -> Self {
        Self {
            external_id: registration.external_id.clone(),
            registration: Some(registration),
            properties: PropertyChanges::default(),
            guard: Guard::Anyone,
            secret_of_new: None,
        }
    }

    /// A change of properties by somebody who may change every device.
    pub fn properties(external_id: ExternalId, properties: PropertyChanges) -> Self {
        Self {
            external_id,
            registration: None,
            properties,
            guard: Guard::Anyone,
            secret_of_new: None,
        }
    }
}

/// What a change must show before it touches a device that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Nothing: the caller may change every device of the app.
    Anyone,
    /// The secret of the device (its hash). A device without a secret is not touched, and `None`
    /// touches no device at all; either may create one.
    Secret(Option<SecretHash>),
}

/// A device after a change.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// As it is stored now.
    pub device: Device,
    /// Whether the change made it.
    pub created: bool,
}

/// Why a change was not made.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// There is no such device, and the change was no registration.
    #[error("there is no such device")]
    UnknownDevice,
    /// The guard was not satisfied. Nothing was touched.
    #[error("the device secret is missing or wrong")]
    WrongSecret,
    /// The device holds more properties than may be added to.
    #[error("the device's properties are full: remove some before setting others")]
    PropertiesFull,
    /// The token cannot be one of the device's provider, of which one was told and the other is stored.
    #[error(transparent)]
    Implausible(#[from] Implausible),
    /// The database.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// The outcome of one change.
pub type WriteResult = Result<Written, WriteError>;

/// Rounds that one change may be put off by other processes before it is given up.
const MAX_COLLISIONS: usize = 10;
/// Times a round is repeated while the database is away.
const MAX_REPEATS: usize = 3;

/// Writes devices of any app.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    pub(super) store: Store,
    pub(super) collection: Collection<RawDocumentBuf>,
    pub(super) ids: IdAllocator,
}

struct Pending<T> {
    ticket: T,
    change: Change,
    /// The hash of the token that it registers.
    token: Option<TokenHash>,
    collisions: usize,
}

/// A change as a round sees it.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) change: &'a Change,
    pub(super) token: Option<TokenHash>,
}

impl Wanted<'_> {
    /// The token that it registers, and its hash.
    pub(super) fn claim(&self) -> Option<(&PushToken, &TokenHash)> {
        Some((registered_token(self.change)?, self.token.as_ref()?))
    }

    /// Whether it takes a token to another provider without telling which: only a look at the device says
    /// what it claims, so lines that speak of that token cannot be kept apart beforehand.
    pub(super) fn claims_untold(&self) -> bool {
        let told = self.change.registration.as_ref();
        told.is_some_and(|told| matches!(told.push_token, TokenChange::Keep) && told.send_platform.is_some())
    }
}

fn registered_token(change: &Change) -> Option<&PushToken> {
    match &change.registration.as_ref()?.push_token {
        TokenChange::Set(token) => Some(token),
        TokenChange::Keep | TokenChange::Clear => None,
    }
}

/// What a change left behind.
pub(super) enum Made {
    /// It made this device.
    Created(RawDocumentBuf),
    /// It changed a device that was there; which is shown as it is now when that was asked for.
    Changed(Option<RawDocumentBuf>),
}

impl Made {
    /// The device, where devices were asked for.
    pub(super) fn shown(self) -> WriteResult {
        let (document, created) = match self {
            Self::Created(document) => (document, true),
            Self::Changed(Some(document)) => (document, false),
            // Nobody asks for what was not asked for.
            Self::Changed(None) => return Err(StorageError::Stopped.into()),
        };
        let device = read_device(&document)?;
        Ok(Written { device, created })
    }
}

/// What became of a change in one round.
pub(super) enum Step {
    Done(Result<Made, WriteError>),
    /// Another process was in between; look again.
    Collided,
}

impl Writer {
    pub(super) fn new(store: &Store, ids: IdAllocator) -> Self {
        Self {
            store: store.clone(),
            collection: store.collection(COLLECTION),
            ids,
        }
    }

    /// Makes all changes, and hands out each, with its result, as soon as that is known.
    pub(super) async fn write<T>(
        &self,
        app: AppId,
        changes: impl IntoIterator<Item = (T, Change)>,
        now: DateTime<Utc>,
        approach: Approach,
        mut done: impl FnMut(T, Change, Result<Made, WriteError>),
    ) {
        let mut pending: Vec<_> = changes
            .into_iter()
            .map(|(ticket, change)| Pending {
                ticket,
                token: registered_token(&change).map(token_hash),
                change,
                collisions: 0,
            })
            .collect();
        while !pending.is_empty() {
            let (this_round, mut later) = part(pending);
            let wanted: Vec<_> = this_round.iter().map(Pending::wanted).collect();
            let steps = match self.round(app, &wanted, now, approach).await {
                Ok(steps) => steps,
                Err(error) => wanted
                    .iter()
                    .map(|_| Step::Done(Err(error.clone().into())))
                    .collect(),
            };
            for (mut pending, step) in this_round.into_iter().zip(steps) {
                match step {
                    Step::Done(result) => done(pending.ticket, pending.change, result),
                    Step::Collided if pending.collisions >= MAX_COLLISIONS => {
                        let error = StorageError::Conflict {
                            what: "a device that others change all the time",
                        };
                        done(pending.ticket, pending.change, Err(error.into()));
                    }
                    Step::Collided => {
                        pending.collisions += 1;
                        later.push(pending);
                    }
                }
            }
            pending = later;
        }
    }

    /// One round. Every part of it can be repeated, so it is, while the database is away for a moment.
    async fn round(
        &self,
        app: AppId,
        wanted: &[Wanted<'_>],
        now: DateTime<Utc>,
        mut approach: Approach,
    ) -> Result<Vec<Step>, StorageError> {
        let mut repeats = 0;
        loop {
            match Round::new(self, app, now, approach).run(wanted).await {
                Err(error) if error.is_retryable() && repeats < MAX_REPEATS => {
                    repeats += 1;
                    // What was inserted before the connection broke is there now.
                    approach.expects_new = false;
                    tracing::debug!(%error, repeats, "repeating a round of device writes");
                }
                result => return result,
            }
        }
    }
}

impl<T> Pending<T> {
    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            change: &self.change,
            token: self.token,
        }
    }
}

/// Parts what one round can do from what must wait for a later one.
fn part<T>(pending: Vec<Pending<T>>) -> (Vec<Pending<T>>, Vec<Pending<T>>) {
    let mut devices = HashSet::with_capacity(pending.len());
    let mut tokens: HashSet<&TokenHash> = HashSet::with_capacity(pending.len());
    // A token that waits keeps later claims to it waiting too, so that the order stays.
    let mut waiting_tokens: HashSet<&TokenHash> = HashSet::new();
    let now: Vec<bool> = pending
        .iter()
        .map(|pending| {
            let token = pending.token.as_ref();
            let fresh_device = devices.insert(&pending.change.external_id);
            let fresh_token =
                token.is_none_or(|token| !waiting_tokens.contains(token) && tokens.insert(token));
            if !(fresh_device && fresh_token)
                && let Some(token) = token
            {
                waiting_tokens.insert(token);
            }
            fresh_device && fresh_token
        })
        .collect();
    let mut now = now.into_iter();
    pending.into_iter().partition(|_| now.next().unwrap_or(false))
}

/// Which send platform a registration leads to.
pub(super) fn send_platform_of(registration: &Registration, stored: SendPlatform) -> SendPlatform {
    registration.send_platform.unwrap_or(stored)
}
