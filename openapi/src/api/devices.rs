//! Devices.

use futures_util::stream::BoxStream;
use poem_openapi::{
    OpenApi,
    param::{Path, Query},
};

use super::{ListQuery, Once, Tag, comma_separated, external_id_example};
use crate::{
    answer::{
        Acts, Answer, Changes, Lines, Lists, OnceAnswer, Reads, Refused, Reply, Writes, WritesOnce, answer,
        once,
    },
    body::{Body, NdjsonBody},
    dto::{
        ApiError, CatalogueEntry, DeletedDevice, Device, DeviceHistory, DeviceSearch, DeviceSecret,
        DeviceUpsert, ImportReport, Paged, PropertiesAdd,
    },
    security::Caller,
};

/// A body or a download as it flows: pieces of any size.
pub type Bytes = BoxStream<'static, std::io::Result<bytes::Bytes>>;

/// What the server does for the device operations. The app comes from the caller's key.
pub trait DevicesPort: Send + Sync + 'static {
    /// Creates the device or brings it up to date.
    fn put(
        &self,
        caller: Caller,
        device: DeviceUpsert,
    ) -> impl Future<Output = Result<Device, ApiError>> + Send;

    /// The device of this name.
    fn get(
        &self,
        caller: Caller,
        external_id: String,
    ) -> impl Future<Output = Result<Device, ApiError>> + Send;

    /// Deletes the device with its token, secret and properties. The send log keeps its bare number.
    fn delete(
        &self,
        caller: Caller,
        external_id: String,
    ) -> impl Future<Output = Result<DeletedDevice, ApiError>> + Send;

    /// Sets or removes properties, all of them or none.
    fn add_properties(
        &self,
        caller: Caller,
        external_id: String,
        properties: PropertiesAdd,
    ) -> impl Future<Output = Result<Device, ApiError>> + Send;

    /// Replaces the device's secret.
    fn rotate_secret(
        &self,
        caller: Caller,
        external_id: String,
    ) -> impl Future<Output = Result<DeviceSecret, ApiError>> + Send;

    /// The device's history; only these kinds of events, unless the list is empty.
    fn history(
        &self,
        caller: Caller,
        external_id: String,
        events: Vec<String>,
        list: ListQuery,
    ) -> impl Future<Output = Result<DeviceHistory, ApiError>> + Send;

    /// The devices that match.
    fn search(
        &self,
        caller: Caller,
        search: DeviceSearch,
    ) -> impl Future<Output = Result<Paged<Device>, ApiError>> + Send;

    /// Registers one device a line.
    fn import(
        &self,
        caller: Caller,
        lines: Bytes,
    ) -> impl Future<Output = Result<Once<ImportReport>, ApiError>> + Send;

    /// Every device of the app, one a line.
    fn export(&self, caller: Caller) -> impl Future<Output = Result<Bytes, ApiError>> + Send;

    /// Every property seen.
    fn catalogue(&self, caller: Caller)
    -> impl Future<Output = Result<Vec<CatalogueEntry>, ApiError>> + Send;
}

/// The device operations over their port.
pub struct DevicesApi<P>(pub P);

#[OpenApi(tag = "Tag::Devices")]
impl<P: DevicesPort> DevicesApi<P> {
    /// Register a device
    ///
    /// Creates the device, or brings it up to date, by its `external_id`. The `id` and the
    /// `random_bucket` are assigned once. A push token belongs to one device of the app: the newest
    /// registration takes it from the older one. What a registration does not name stays as it was. A client key may register a new device, or the one
    /// whose secret it shows.
    #[oai(
        path = "/devices",
        method = "put",
        operation_id = "put_device",
        request_header(
            name = "X-Device-Secret",
            ty = "Option<String>",
            description = "The device's secret; a client key needs it."
        )
    )]
    async fn put(&self, caller: Caller, device: Body<DeviceUpsert>) -> Reply<Device, Writes> {
        answer(self.0.put(caller, device.0).await)
    }

    /// Register a device (with a slash)
    ///
    /// The same as `PUT /devices`.
    #[oai(
        path = "/devices/~",
        method = "put",
        operation_id = "put_device_slash",
        request_header(
            name = "X-Device-Secret",
            ty = "Option<String>",
            description = "The device's secret; a client key needs it."
        )
    )]
    async fn put_slash(&self, caller: Caller, device: Body<DeviceUpsert>) -> Reply<Device, Writes> {
        answer(self.0.put(caller, device.0).await)
    }

    /// Read a device
    ///
    /// An `external_id` may hold any character that is percent-encoded, `/` and `:` included.
    #[oai(
        path = "/devices/:external_id",
        method = "get",
        operation_id = "get_device",
        request_header(
            name = "X-Device-Secret",
            ty = "Option<String>",
            description = "The device's secret; a client key needs it."
        )
    )]
    async fn get(
        &self,
        caller: Caller,
        /// The name your systems give the device.
        #[oai(example = "external_id_example")]
        external_id: Path<String>,
    ) -> Reply<Device, Reads> {
        answer(self.0.get(caller, external_id.0).await)
    }

    /// Erase a device
    ///
    /// Deletes the device with its names, token, secret and properties. What stays is its sequential
    /// number, which is never given to another device: in the send log, where nothing leads to it any
    /// more, and in the work of running campaigns until that is cleaned up. Counts of past notifications
    /// stay.
    #[oai(
        path = "/devices/:external_id",
        method = "delete",
        operation_id = "delete_device"
    )]
    async fn delete(
        &self,
        caller: Caller,
        /// The name your systems give the device.
        #[oai(example = "external_id_example")]
        external_id: Path<String>,
    ) -> Reply<DeletedDevice, Reads> {
        answer(self.0.delete(caller, external_id.0).await)
    }

    /// Set or remove properties
    ///
    /// The JSON type of a value is the property's type; null removes the key. All of one request is
    /// applied, or nothing.
    #[oai(
        path = "/devices/:external_id/properties/%3Aadd",
        method = "post",
        operation_id = "add_device_properties",
        request_header(
            name = "X-Device-Secret",
            ty = "Option<String>",
            description = "The device's secret; a client key needs it."
        )
    )]
    async fn add_properties(
        &self,
        caller: Caller,
        /// The name your systems give the device.
        #[oai(example = "external_id_example")]
        external_id: Path<String>,
        properties: Body<PropertiesAdd>,
    ) -> Reply<Device, Changes> {
        answer(self.0.add_properties(caller, external_id.0, properties.0).await)
    }

    /// Replace a device's secret
    ///
    /// For a phone that lost it. The older secret stops working at once.
    #[oai(
        path = "/devices/:external_id/secret/%3Arotate",
        method = "post",
        operation_id = "rotate_device_secret"
    )]
    async fn rotate_secret(
        &self,
        caller: Caller,
        /// The name your systems give the device.
        #[oai(example = "external_id_example")]
        external_id: Path<String>,
    ) -> Reply<DeviceSecret, Acts> {
        answer(self.0.rotate_secret(caller, external_id.0).await)
    }

    /// Read a device's history
    ///
    /// What was sent to it, newest first unless asked otherwise.
    #[oai(
        path = "/devices/:external_id/notifications",
        method = "get",
        operation_id = "list_device_notifications"
    )]
    async fn history(
        &self,
        caller: Caller,
        /// The name your systems give the device.
        #[oai(example = "external_id_example")]
        external_id: Path<String>,
        /// Only these kinds of events, separated by commas: `sent`, `failed`.
        events: Query<Option<String>>,
        /// The order, separated by commas: `id`, `created_at`, with `-` in front for descending.
        order_bys: Query<Option<String>>,
        /// How many at most; 20 when absent.
        #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
        size: Query<Option<u64>>,
        /// How many to leave out; 0 when absent.
        start: Query<Option<u64>>,
    ) -> Reply<DeviceHistory, Reads> {
        let list = ListQuery::new(order_bys.0, size.0, start.0);
        let events = comma_separated(events.0);
        answer(self.0.history(caller, external_id.0, events, list).await)
    }

    /// Find devices
    ///
    /// By name, by condition, or both. `page.total` is the number of all that match, devices without a
    /// usable token included, which a campaign leaves out.
    #[oai(
        path = "/devices/-/%3Asearch",
        method = "post",
        operation_id = "search_devices"
    )]
    async fn search(
        &self,
        caller: Caller,
        search: Body<DeviceSearch>,
    ) -> Result<Answer<Vec<Device>>, Refused<Writes>> {
        answer(self.0.search(caller, search.0).await)
    }

    /// Import devices
    ///
    /// One JSON object a line (at most 64 KiB each), any number of lines. A line that is wrong is
    /// reported and does not stop the rest. Sent again, an import
    /// makes no device twice; it counts as a registration of each (`last_seen_at`). With an
    /// `Idempotency-Key`, one that was finished is not even read again line by line: the whole body is
    /// compared with the first one's, and the first one's answer given.
    #[oai(
        path = "/devices/-/%3Aimport",
        method = "post",
        operation_id = "import_devices",
        request_header(
            name = "Idempotency-Key",
            ty = "Option<String>",
            description = "1 to 255 visible ASCII characters that name this request, so that it can be sent again; see the beginning of this document."
        )
    )]
    async fn import(
        &self,
        caller: Caller,
        lines: NdjsonBody,
    ) -> Result<OnceAnswer<ImportReport>, Refused<WritesOnce>> {
        once(self.0.import(caller, lines.0).await)
    }

    /// Export devices
    ///
    /// Every device of the app in the form that the import reads.
    #[oai(
        path = "/devices/-/%3Aexport",
        method = "get",
        operation_id = "export_devices"
    )]
    async fn export(&self, caller: Caller) -> Result<Lines, Refused<Lists>> {
        Ok(Lines(self.0.export(caller).await?))
    }

    /// Read the property catalogue
    ///
    /// Every property that devices of the app hold, with the types seen.
    #[oai(
        path = "/devices/-/properties",
        method = "get",
        operation_id = "list_properties"
    )]
    async fn catalogue(&self, caller: Caller) -> Reply<Vec<CatalogueEntry>, Lists> {
        answer(self.0.catalogue(caller).await)
    }
}
