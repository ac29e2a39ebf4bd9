//! The ports of a running worker: the database, the API server and the providers, passed through.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jraze_domain::audience::Condition;
use jraze_domain::campaign::Notification;
use jraze_domain::device::{DevicePlatform, PushToken, SendPlatform};
use jraze_domain::dispatch::Outcome;
use jraze_domain::ids::{AppId, DeviceId, NotificationId};
use jraze_domain::message::Push;
use jraze_openapi::client::{ClientError, InternalClient};
use jraze_openapi::dto::LogNotification;
use jraze_providers::{PayloadError, ProviderSet};
use jraze_storage::Store;
use jraze_storage::audience_filter::AudienceRange;
use jraze_storage::audience_stream::{AudienceStream, Audiences, Target};
use jraze_storage::dispatch::{Advance, ClaimedDevice, Retry, Unit, Units, Window, Windows};
use jraze_storage::fleet::{CredentialHold, Fleet as Workers};
use jraze_storage::notifications::{NotificationRef, Notifications};

use super::{Audience, Book, Fleet, Held, Log, Provider, Providers, Queue, Stored, Targets, World};

/// The world as it is.
#[derive(Debug, Clone, Copy)]
pub struct Live;

impl World for Live {
    type Queue = LiveQueue;
    type Audience = Audiences;
    type Book = Notifications;
    type Log = InternalClient;
    type Providers = ProviderSet;
    type Fleet = Workers;
}

/// The queue in the database.
#[derive(Debug, Clone)]
pub struct LiveQueue {
    units: Units,
    windows: Windows,
}

impl LiveQueue {
    /// Over the store's collections.
    pub fn new(store: &Store) -> Self {
        Self {
            units: Units::new(store),
            windows: Windows::new(store),
        }
    }
}

impl Queue for LiveQueue {
    async fn acquire(
        &self,
        notifications: &[NotificationId],
        owner: &str,
        lease_for: Duration,
    ) -> Stored<Option<Unit>> {
        self.units.acquire(notifications, owner, lease_for).await
    }

    async fn extend(&self, unit: &Unit, lease_for: Duration) -> Held<()> {
        self.units.extend(unit, lease_for).await
    }

    async fn insert(&self, unit: &Unit, sequence: u32, devices: Vec<ClaimedDevice>) -> Held<Window> {
        self.windows.insert(unit, sequence, devices).await
    }

    async fn advance(&self, unit: &Unit, to: Advance) -> Held<()> {
        self.units.advance(unit, to).await
    }

    async fn record(&self, window: &Window) -> Held<()> {
        self.windows.record(window).await
    }

    async fn add_retry(&self, source: &Unit, retry: &Retry) -> Stored<()> {
        self.units.add_retry(source, retry).await
    }

    async fn settle(&self, window: &Window) -> Held<()> {
        self.windows.settle(window).await
    }

    async fn take_over(&self, unit: &Unit) -> Stored<Vec<Window>> {
        self.windows.take_over(unit).await
    }

    async fn finish(&self, unit: &Unit) -> Held<()> {
        self.units.finish(unit).await
    }

    async fn release(&self, unit: &Unit, pause: Duration) -> Held<()> {
        self.units.release(unit, pause).await
    }
}

impl Audience for Audiences {
    type Stream = AudienceStream;

    async fn stream(
        &self,
        range: AudienceRange,
        condition: &Condition,
        now: DateTime<Utc>,
    ) -> Stored<AudienceStream> {
        Audiences::stream(self, range, condition, now).await
    }

    async fn targets_by_ids(&self, app: AppId, ids: &[DeviceId]) -> Stored<Vec<Target>> {
        Audiences::targets_by_ids(self, app, ids).await
    }
}

impl Targets for AudienceStream {
    async fn next_many(&mut self, most: usize) -> Stored<Vec<Target>> {
        AudienceStream::next_many(self, most).await
    }
}

impl Book for Notifications {
    async fn launched(&self) -> Stored<Vec<Notification>> {
        Notifications::launched(self).await
    }

    async fn stopped(&self) -> Stored<Vec<Notification>> {
        Notifications::stopped(self).await
    }

    async fn lookup(&self, id: NotificationId) -> Stored<Option<Notification>> {
        self.lookup_anywhere(NotificationRef::Id(id)).await
    }
}

impl Log for InternalClient {
    async fn log_notification(&self, log: &LogNotification) -> Result<u64, ClientError> {
        InternalClient::log_notification(self, log).await
    }
}

impl Fleet for Workers {
    async fn present(&self, owner: &str, quotas: &[String], lasts: Duration) -> Stored<Vec<usize>> {
        Workers::present(self, owner, quotas, lasts).await
    }

    async fn hold(&self, owner: &str, holds: &[CredentialHold]) -> Stored<()> {
        Workers::hold(self, owner, holds).await
    }

    async fn leave(&self, owner: &str) -> Stored<()> {
        Workers::leave(self, owner).await
    }
}

impl Providers for ProviderSet {
    type Provider = jraze_providers::Provider;

    fn get(&self, app: AppId, platform: SendPlatform) -> Option<&jraze_providers::Provider> {
        ProviderSet::get(self, app, platform).map(AsRef::as_ref)
    }

    fn configured(&self) -> impl Iterator<Item = (AppId, SendPlatform)> {
        ProviderSet::configured(self)
    }
}

impl Provider for jraze_providers::Provider {
    type Prepared = jraze_providers::Prepared;

    fn prepare(&self, push: &Push, platform: DevicePlatform) -> Result<Self::Prepared, PayloadError> {
        jraze_providers::Provider::prepare(self, push, platform)
    }

    async fn send_while(
        &self,
        message: &Self::Prepared,
        token: &PushToken,
        wanted: &(dyn Fn() -> bool + Sync),
    ) -> Outcome {
        jraze_providers::Provider::send_while(self, message, token, wanted).await
    }

    fn quota(&self) -> Option<String> {
        jraze_providers::Provider::quota(self)
    }
}
