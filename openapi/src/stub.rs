//! Ports that do nothing: the document is printed from them, and a test can mount them.

use crate::{
    api::{DevicesPort, HealthPort, InternalPort, ListQuery, NotificationsPort, Once, devices::Bytes},
    dto::{
        ApiError, CatalogueEntry, DeletedDevice, Device, DeviceHistory, DeviceSearch, DeviceSecret,
        DeviceUpsert, Health, ImportReport, Launch, LogNotification, LoggedDevices, Notification,
        NotificationDraft, NotificationStatus, NotificationStatusChange, Paged, PropertiesAdd, SentCounts,
        SentIncrease,
    },
    security::{Caller, InternalCaller},
};

/// Answers 503 to everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stub;

fn no<T>() -> Result<T, ApiError> {
    Err(ApiError::unavailable("there is nothing behind this stub"))
}

impl DevicesPort for Stub {
    async fn put(&self, _: Caller, _: DeviceUpsert) -> Result<Device, ApiError> {
        no()
    }
    async fn get(&self, _: Caller, _: String) -> Result<Device, ApiError> {
        no()
    }
    async fn delete(&self, _: Caller, _: String) -> Result<DeletedDevice, ApiError> {
        no()
    }
    async fn add_properties(&self, _: Caller, _: String, _: PropertiesAdd) -> Result<Device, ApiError> {
        no()
    }
    async fn rotate_secret(&self, _: Caller, _: String) -> Result<DeviceSecret, ApiError> {
        no()
    }
    async fn history(
        &self,
        _: Caller,
        _: String,
        _: Vec<String>,
        _: ListQuery,
    ) -> Result<DeviceHistory, ApiError> {
        no()
    }
    async fn search(&self, _: Caller, _: DeviceSearch) -> Result<Paged<Device>, ApiError> {
        no()
    }
    async fn import(&self, _: Caller, _: Bytes) -> Result<Once<ImportReport>, ApiError> {
        no()
    }
    async fn export(&self, _: Caller) -> Result<Bytes, ApiError> {
        no()
    }
    async fn catalogue(&self, _: Caller) -> Result<Vec<CatalogueEntry>, ApiError> {
        no()
    }
}

impl NotificationsPort for Stub {
    async fn create(&self, _: Caller, _: NotificationDraft) -> Result<Once<Notification>, ApiError> {
        no()
    }
    async fn get(&self, _: Caller, _: String) -> Result<Notification, ApiError> {
        no()
    }
    async fn list(
        &self,
        _: Caller,
        _: Option<NotificationStatus>,
        _: ListQuery,
    ) -> Result<Paged<Notification>, ApiError> {
        no()
    }
    async fn edit(&self, _: Caller, _: String, _: NotificationDraft) -> Result<Notification, ApiError> {
        no()
    }
    async fn withdraw(&self, _: Caller, _: String) -> Result<Notification, ApiError> {
        no()
    }
    async fn launch(&self, _: Caller, _: String, _: Launch) -> Result<Once<Notification>, ApiError> {
        no()
    }
    async fn change_status(
        &self,
        _: Caller,
        _: String,
        _: NotificationStatusChange,
    ) -> Result<Notification, ApiError> {
        no()
    }
}

impl InternalPort for Stub {
    async fn log_notification(
        &self,
        _: InternalCaller,
        _: LogNotification,
    ) -> Result<LoggedDevices, ApiError> {
        no()
    }
    async fn increase_sent(
        &self,
        _: InternalCaller,
        _: String,
        _: SentIncrease,
    ) -> Result<SentCounts, ApiError> {
        no()
    }
}

impl HealthPort for Stub {
    async fn live(&self) -> Result<Health, ApiError> {
        no()
    }
    async fn ready(&self) -> Result<Health, ApiError> {
        no()
    }
}
