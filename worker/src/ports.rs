//! What a worker needs of the world, as traits.
//!
//! The rules of dispatching are in this crate; where units are kept, who a device is and what carries a
//! push is not. [`World`] bundles the six things that a worker touches, so that a type that depends on
//! them has one parameter:
//!
//! | port | is, in a running worker ([`Live`]) |
//! | --- | --- |
//! | [`Queue`] | units and windows in the database |
//! | [`Audience`] | the devices in the database |
//! | [`Book`] | the notifications in the database |
//! | [`Log`] | the API server's internal endpoint |
//! | [`Providers`] | FCM and APNs |
//! | [`Fleet`] | the workers that are there, in the database |
//!
//! There is one other world: the simulation's, where all six are in memory and fail as they are told to.
//! That is why monotonic time is [`tokio::time::Instant`] everywhere in this crate, and why nothing depends
//! on the order of a hash map. The traits say what is asked for; what the answers promise is said where the
//! real thing is (`jraze_storage::dispatch`).

mod live;

use std::fmt::Debug;
use std::time::Duration;

use chrono::{DateTime, Utc};
use jraze_domain::audience::Condition;
use jraze_domain::campaign::Notification;
use jraze_domain::device::{DevicePlatform, PushToken, SendPlatform};
use jraze_domain::dispatch::Outcome;
use jraze_domain::ids::{AppId, DeviceId, NotificationId};
use jraze_domain::message::Push;
use jraze_openapi::client::ClientError;
use jraze_openapi::dto::LogNotification;
use jraze_providers::PayloadError;
use jraze_storage::StorageError;
use jraze_storage::audience_filter::AudienceRange;
use jraze_storage::audience_stream::Target;
use jraze_storage::dispatch::{Advance, ClaimedDevice, Fenced, Retry, Unit, Window};
use jraze_storage::fleet::CredentialHold;

pub use live::{Live, LiveQueue};

/// Everything a worker touches.
pub trait World: Clone + Debug + Send + Sync + 'static {
    /// Units and windows.
    type Queue: Queue;
    /// Devices.
    type Audience: Audience;
    /// Notifications.
    type Book: Book;
    /// The log of sends.
    type Log: Log;
    /// Push providers.
    type Providers: Providers;
    /// The workers that are there.
    type Fleet: Fleet;
}

/// An answer from storage.
pub type Stored<T> = Result<T, StorageError>;

/// An answer to a write that names the epoch.
pub type Held<T> = Stored<Result<T, Fenced>>;

/// Units, their leases, and windows.
pub trait Queue: Clone + Debug + Send + Sync + 'static {
    /// Leases one unit that is ready, due and not held.
    fn acquire(
        &self,
        notifications: &[NotificationId],
        owner: &str,
        lease_for: Duration,
    ) -> impl Future<Output = Stored<Option<Unit>>> + Send;

    /// Pushes the end of the lease out.
    fn extend(&self, unit: &Unit, lease_for: Duration) -> impl Future<Output = Held<()>> + Send;

    /// Inserts the next window; no claim yet.
    fn insert(
        &self,
        unit: &Unit,
        sequence: u32,
        devices: Vec<ClaimedDevice>,
    ) -> impl Future<Output = Held<Window>> + Send;

    /// Makes the window that was just inserted a claim.
    fn advance(&self, unit: &Unit, to: Advance) -> impl Future<Output = Held<()>> + Send;

    /// Writes what became of a window's devices.
    fn record(&self, window: &Window) -> impl Future<Output = Held<()>> + Send;

    /// Writes the retry of some devices of `source`, once.
    fn add_retry(&self, source: &Unit, retry: &Retry) -> impl Future<Output = Stored<()>> + Send;

    /// The window is logged and its retries are written.
    fn settle(&self, window: &Window) -> impl Future<Output = Held<()>> + Send;

    /// What an earlier holder left unsettled, under this unit's epoch from now on.
    fn take_over(&self, unit: &Unit) -> impl Future<Output = Stored<Vec<Window>>> + Send;

    /// Nothing is left of the unit.
    fn finish(&self, unit: &Unit) -> impl Future<Output = Held<()>> + Send;

    /// Gives the unit back, not to be taken up before `pause` from now.
    fn release(&self, unit: &Unit, pause: Duration) -> impl Future<Output = Held<()>> + Send;
}

/// The devices of an audience.
pub trait Audience: Clone + Debug + Send + Sync + 'static {
    /// A position in an audience.
    type Stream: Targets;

    /// The devices in the range that meet the condition, in storage order.
    fn stream(
        &self,
        range: AudienceRange,
        condition: &Condition,
        now: DateTime<Utc>,
    ) -> impl Future<Output = Stored<Self::Stream>> + Send;

    /// Those of the given devices that can be sent to.
    fn targets_by_ids(
        &self,
        app: AppId,
        ids: &[DeviceId],
    ) -> impl Future<Output = Stored<Vec<Target>>> + Send;
}

/// A stream of devices.
pub trait Targets: Send + 'static {
    /// Up to `most` devices; fewer only at the end.
    fn next_many(&mut self, most: usize) -> impl Future<Output = Stored<Vec<Target>>> + Send;
}

/// The notifications. A worker only reads them.
pub trait Book: Debug + Send + Sync + 'static {
    /// Those that are LAUNCHED.
    fn launched(&self) -> impl Future<Output = Stored<Vec<Notification>>> + Send;

    /// Those that were stopped halfway and whose work is not cleared away.
    fn stopped(&self) -> impl Future<Output = Stored<Vec<Notification>>> + Send;

    /// One, in whatever state it is.
    fn lookup(&self, id: NotificationId) -> impl Future<Output = Stored<Option<Notification>>> + Send;
}

/// The log of sends.
pub trait Log: Clone + Debug + Send + Sync + 'static {
    /// Logs that a notification went to devices; a batch that was logged before is not logged again.
    fn log_notification(
        &self,
        log: &LogNotification,
    ) -> impl Future<Output = Result<u64, ClientError>> + Send;
}

/// The push providers that this worker has credentials for.
pub trait Providers: Clone + Debug + Send + Sync + 'static {
    /// One credential's client.
    type Provider: Provider;

    /// Who reaches devices of `platform` for `app`.
    fn get(&self, app: AppId, platform: SendPlatform) -> Option<&Self::Provider>;

    /// Every app and send platform with a credential.
    fn configured(&self) -> impl Iterator<Item = (AppId, SendPlatform)>;
}

/// The workers that are there.
pub trait Fleet: Debug + Send + Sync + 'static {
    /// Says that `owner` sends under these quotas, for `lasts` from now, and counts the workers under each
    /// of them, this one included.
    fn present(
        &self,
        owner: &str,
        quotas: &[String],
        lasts: Duration,
    ) -> impl Future<Output = Stored<Vec<usize>>> + Send;

    /// `owner` leaves these credentials alone, and no others.
    fn hold(&self, owner: &str, holds: &[CredentialHold]) -> impl Future<Output = Stored<()>> + Send;

    /// `owner` sends nothing any more.
    fn leave(&self, owner: &str) -> impl Future<Output = Stored<()>> + Send;
}

/// One credential's client.
pub trait Provider: Debug + Send + Sync + 'static {
    /// A message ready for any number of tokens.
    type Prepared: Debug + Send + Sync + 'static;

    /// Maps a message to what devices of `platform` expect.
    ///
    /// # Errors
    /// When the provider would refuse it for every device.
    fn prepare(&self, push: &Push, platform: DevicePlatform) -> Result<Self::Prepared, PayloadError>;

    /// Sends it to one token if it is still `wanted` just before the request leaves.
    fn send_while(
        &self,
        message: &Self::Prepared,
        token: &PushToken,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> impl Future<Output = Outcome> + Send;

    /// The name of the quota that its requests are counted under, shared by all credentials of that name.
    fn quota(&self) -> Option<String>;
}

/// The client of a world's providers.
pub type ProviderIn<W> = <<W as World>::Providers as Providers>::Provider;

/// The message of a world's providers.
pub type PreparedIn<W> = <ProviderIn<W> as Provider>::Prepared;
