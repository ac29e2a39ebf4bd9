//! Devices: registered, changed, found, erased; their history.

use std::{cmp::Ordering, collections::HashMap, sync::Arc, time::Duration};

use jraze_domain::{
    device::{Device, ExternalId, PropertyChanges, Registration},
    ids::{AppId, DeviceId, NotificationId},
    keys::device_secret,
};
use jraze_runtime::clock::Clock;
use jraze_storage::{
    devices::{Change, DevicePage, DeviceSearch, Devices as Repository, Guard, SecretCheck, SecretHash},
    send_log::{HistoryEntry, LogEvent, SendLog},
};
use sha2::{Digest as _, Sha256};

use super::{
    ServiceError,
    notifications::{Notifications, Seen},
};
use crate::{auth::Standing, random::Random};

/// How long a search may take in the database.
const SEARCH_TIME: Duration = Duration::from_secs(5);

/// The use cases of devices.
#[derive(Clone)]
pub(crate) struct Devices {
    pub(crate) repository: Repository,
    pub(crate) log: SendLog,
    pub(crate) notifications: Notifications,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<Random>,
}

/// What to show of a history.
#[derive(Debug, Clone)]
pub(crate) struct HistoryQuery {
    /// Only these events; all when empty.
    pub(crate) events: Vec<LogEvent>,
    /// First by the first key, and so on; newest first when there is none.
    pub(crate) order: Vec<HistoryOrder>,
    pub(crate) start: u64,
    pub(crate) size: u64,
}

/// One key of a history's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HistoryOrder {
    by_time: bool,
    descending: bool,
}

impl HistoryOrder {
    /// What a history can be ordered by.
    pub(crate) const FIELDS: [&'static str; 2] = ["id", "created_at"];

    /// Reads `id` or `-id`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, descending) = match text.strip_prefix('-') {
            Some(name) => (name, true),
            None => (text, false),
        };
        let by_time = match name {
            "id" => false,
            "created_at" => true,
            _ => return None,
        };
        Some(Self { by_time, descending })
    }

    fn compare(self, one: &HistoryEntry, other: &HistoryEntry) -> Ordering {
        let order = if self.by_time {
            one.created_at.cmp(&other.created_at)
        } else {
            one.id.cmp(&other.id)
        };
        if self.descending { order.reverse() } else { order }
    }
}

impl Devices {
    /// Registers a device. A new one gets a secret, which is shown this once.
    pub(crate) async fn register(
        &self,
        app: AppId,
        registration: Registration,
        standing: &Standing,
    ) -> Result<(Device, Option<String>), ServiceError> {
        let secret = device_secret(&self.random.bytes());
        let change = Change {
            guard: guard(standing),
            secret_of_new: Some(hash(&secret)),
            ..Change::register(registration)
        };
        let written = self.repository.change(app, change, self.clock.now()).await?;
        Ok((written.device, written.created.then_some(secret)))
    }

    /// The device, if the caller may see it.
    pub(crate) async fn get(
        &self,
        app: AppId,
        name: &ExternalId,
        standing: &Standing,
    ) -> Result<Device, ServiceError> {
        self.check(app, name, standing).await?;
        self.repository
            .get(app, name)
            .await?
            .ok_or(ServiceError::UnknownDevice)
    }

    /// Sets and removes properties, all or none.
    pub(crate) async fn change_properties(
        &self,
        app: AppId,
        name: ExternalId,
        properties: PropertyChanges,
        standing: &Standing,
    ) -> Result<Device, ServiceError> {
        let change = Change {
            guard: guard(standing),
            ..Change::properties(name, properties)
        };
        let written = self.repository.change(app, change, self.clock.now()).await;
        match written {
            // A client key must not learn which names exist.
            Err(jraze_storage::devices::WriteError::UnknownDevice) if standing.is_of_a_device() => {
                Err(ServiceError::ForeignDevice)
            }
            written => Ok(written?.device),
        }
    }

    /// Erases a device.
    pub(crate) async fn delete(&self, app: AppId, name: &ExternalId) -> Result<DeviceId, ServiceError> {
        self.repository
            .delete(app, name)
            .await?
            .ok_or(ServiceError::UnknownDevice)
    }

    /// Gives a device a new secret.
    pub(crate) async fn rotate_secret(&self, app: AppId, name: &ExternalId) -> Result<String, ServiceError> {
        let secret = device_secret(&self.random.bytes());
        if self.repository.set_secret(app, name, hash(&secret)).await? {
            Ok(secret)
        } else {
            Err(ServiceError::UnknownDevice)
        }
    }

    /// A page of devices.
    pub(crate) async fn search(&self, app: AppId, search: &DeviceSearch) -> Result<DevicePage, ServiceError> {
        Ok(self
            .repository
            .search(app, search, self.clock.now(), SEARCH_TIME)
            .await?)
    }

    /// A page of a device's history, each entry with its notification as it stands; and how many
    /// entries there are.
    pub(crate) async fn history(
        &self,
        app: AppId,
        name: &ExternalId,
        query: &HistoryQuery,
    ) -> Result<(Vec<(HistoryEntry, Seen)>, u64), ServiceError> {
        let device = self
            .repository
            .get(app, name)
            .await?
            .ok_or(ServiceError::UnknownDevice)?;
        let mut entries = self.log.history(app, device.id).await?;
        entries.retain(|entry| query.events.is_empty() || query.events.contains(&entry.event));
        entries.sort_by(|one, other| {
            let wanted = query.order.iter().map(|key| key.compare(one, other));
            // The log gives them newest first, which a stable sort leaves where nothing else is wanted.
            wanted.fold(Ordering::Equal, Ordering::then)
        });
        let total = entries.len() as u64;
        let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let page: Vec<_> = entries
            .into_iter()
            .skip(at(query.start))
            .take(at(query.size))
            .collect();
        let wanted: Vec<NotificationId> = page.iter().map(|entry| entry.notification).collect();
        let seen = self.notifications.by_ids(app, &wanted).await?;
        let seen: HashMap<NotificationId, Seen> = seen
            .into_iter()
            .map(|seen| (seen.notification.id, seen))
            .collect();
        // An entry whose notification is gone has nothing to show; the log outlives it.
        let events = page
            .into_iter()
            .filter_map(|entry| Some((entry, seen.get(&entry.notification)?.clone())))
            .collect();
        Ok((events, total))
    }

    async fn check(&self, app: AppId, name: &ExternalId, standing: &Standing) -> Result<(), ServiceError> {
        let Standing::Device { secret } = standing else {
            return Ok(());
        };
        match self.repository.check_secret(app, name, secret.as_deref()).await? {
            SecretCheck::Right => Ok(()),
            // One answer for all of them: a client key must not learn which names exist.
            SecretCheck::UnknownDevice | SecretCheck::NoSecret | SecretCheck::Wrong => {
                Err(ServiceError::ForeignDevice)
            }
        }
    }
}

fn guard(standing: &Standing) -> Guard {
    match standing {
        Standing::App => Guard::Anyone,
        Standing::Device { secret } => Guard::Secret(secret.as_deref().map(hash)),
    }
}

fn hash(secret: &str) -> SecretHash {
    Sha256::digest(secret).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_with_its_direction() {
        assert_eq!(
            HistoryOrder::parse("-id"),
            Some(HistoryOrder {
                by_time: false,
                descending: true
            })
        );
        assert_eq!(
            HistoryOrder::parse("created_at").map(|order| order.by_time),
            Some(true)
        );
        assert_eq!(HistoryOrder::parse("event"), None);
    }
}
