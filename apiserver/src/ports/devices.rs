//! Devices.

use std::sync::Arc;

use jraze_domain::device::ExternalId;
use jraze_openapi::{
    api::{DevicesPort, ListQuery, Once, devices::Bytes},
    body,
    dto::{
        ApiError, CatalogueEntry, DeletedDevice, Device, DeviceEvent, DeviceHistory, DeviceSearch,
        DeviceSecret, DeviceUpsert, ImportLine, ImportProblem, ImportReport, Paged, PropertiesAdd,
    },
    security::Caller,
};
use jraze_runtime::lifecycle::Lifecycle;
use jraze_storage::{
    devices::{Change, DeviceOrder, DeviceSearch as Search, OrderField},
    send_log::LogEvent,
};

use crate::{
    auth::Authenticator,
    convert::{self, condition, device, error, notification},
    services::{
        devices::{Devices, HistoryOrder, HistoryQuery},
        export,
        import::{Import, LineProblem, Report, Stopped},
    },
};

/// Longest pointer that a report of an import holds; a thousand problems are kept.
const MAX_POINTER_BYTES: usize = 512;
/// Names that one search may list.
const MAX_NAMES: usize = 10_000;

/// The port.
pub(crate) struct Port {
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) devices: Devices,
    pub(crate) import: Import,
    pub(crate) lifecycle: Lifecycle,
}

impl DevicesPort for Port {
    async fn put(&self, caller: Caller, sent: DeviceUpsert) -> Result<Device, ApiError> {
        let (app, standing) = self.authenticator.standing(caller).await?;
        let registration = device::registration(sent)?;
        let written = self.devices.register(app, registration, &standing).await;
        let (written, secret) = written.map_err(error::service)?;
        Ok(device::show(written, secret))
    }

    async fn get(&self, caller: Caller, name: String) -> Result<Device, ApiError> {
        let (app, standing) = self.authenticator.standing(caller).await?;
        let name = device::name_in_path(name)?;
        let found = self
            .devices
            .get(app, &name, &standing)
            .await
            .map_err(error::service)?;
        Ok(device::show(found, None))
    }

    async fn delete(&self, caller: Caller, name: String) -> Result<DeletedDevice, ApiError> {
        let app = self.authenticator.app(caller).await?;
        let name = device::name_in_path(name)?;
        let id = self.devices.delete(app, &name).await.map_err(error::service)?;
        Ok(DeletedDevice {
            id: id.0,
            external_id: name.as_str().to_owned(),
        })
    }

    async fn add_properties(
        &self,
        caller: Caller,
        name: String,
        properties: PropertiesAdd,
    ) -> Result<Device, ApiError> {
        let (app, standing) = self.authenticator.standing(caller).await?;
        let name = device::name_in_path(name)?;
        let changes = device::property_changes(properties)?;
        let changed = self
            .devices
            .change_properties(app, name, changes, &standing)
            .await;
        Ok(device::show(changed.map_err(error::service)?, None))
    }

    async fn rotate_secret(&self, caller: Caller, name: String) -> Result<DeviceSecret, ApiError> {
        let app = self.authenticator.app(caller).await?;
        let name = device::name_in_path(name)?;
        let device_secret = self
            .devices
            .rotate_secret(app, &name)
            .await
            .map_err(error::service)?;
        Ok(DeviceSecret { device_secret })
    }

    async fn history(
        &self,
        caller: Caller,
        name: String,
        events: Vec<String>,
        list: ListQuery,
    ) -> Result<DeviceHistory, ApiError> {
        let app = self.authenticator.app(caller).await?;
        let name = device::name_in_path(name)?;
        let (start, size) = convert::page_bounds(Some(list.start), Some(list.size))?;
        let query = HistoryQuery {
            events: events.iter().map(|name| event(name)).collect::<Result<_, _>>()?,
            order: convert::order(&list.order_bys, &HistoryOrder::FIELDS, HistoryOrder::parse)?,
            start,
            size,
        };
        let history = self.devices.history(app, &name, &query).await;
        let (entries, total) = history.map_err(error::service)?;
        let show = |(entry, seen): (jraze_storage::send_log::HistoryEntry, _)| DeviceEvent {
            id: entry.id,
            notification: notification::show(seen),
            event: entry.event.name().to_owned(),
            created_at: entry.created_at.into(),
        };
        Ok(DeviceHistory {
            total,
            events: entries.into_iter().map(show).collect(),
        })
    }

    async fn search(&self, caller: Caller, sent: DeviceSearch) -> Result<Paged<Device>, ApiError> {
        let app = self.authenticator.app(caller).await?;
        let (start, size) = convert::page_bounds(sent.start, sent.size)?;
        let fields = OrderField::ALL.map(OrderField::name);
        let order_bys = sent.order_bys.unwrap_or_default();
        let condition = condition::read(sent.conditions)?.map(|(condition, _)| condition);
        let mut external_ids = sent
            .external_ids
            .filter(|names| !names.is_empty())
            .map(names)
            .transpose()?;
        if external_ids.is_none() && condition.is_none() && !sent.all {
            // Absent never means everybody: an empty list finds nothing.
            external_ids = Some(Vec::new());
        } else if sent.all && (external_ids.is_some() || condition.is_some()) {
            let message = "everybody, or those named or described: not both";
            return Err(ApiError::invalid("invalid_parameter", "/all", message));
        }
        let search = Search {
            external_ids,
            condition,
            order_bys: convert::order(&order_bys, &fields, DeviceOrder::parse)?,
            start,
            size: u32::try_from(size).unwrap_or(Search::MAX_SIZE),
        };
        let page = self.devices.search(app, &search).await.map_err(error::service)?;
        let show = |found| device::show(found, None);
        Ok(convert::paged(page.devices, page.total, start, size, show))
    }

    async fn import(&self, caller: Caller, lines: Bytes) -> Result<Once<ImportReport>, ApiError> {
        let app = self.authenticator.app(caller).await?;
        let report = self
            .import
            .run(app, lines, change_of_line)
            .await
            .map_err(stopped)?;
        // Nothing of it hangs on the request's identity: an import makes no device twice anyway.
        Ok(Once {
            result: show_report(report),
            replayed: false,
        })
    }

    async fn export(&self, caller: Caller) -> Result<Bytes, ApiError> {
        let app = self.authenticator.app(caller).await?;
        let write = |found, piece: &mut Vec<u8>| {
            // Writing texts and numbers to memory cannot fail.
            serde_json::to_writer(piece, &device::export_line(found)).ok();
        };
        let pieces = export::open(&self.devices.repository, app, &self.lifecycle, write).await;
        pieces.map_err(error::service)
    }

    async fn catalogue(&self, caller: Caller) -> Result<Vec<CatalogueEntry>, ApiError> {
        let app = self.authenticator.app(caller).await?;
        let catalogue = self.devices.repository.catalogue().list(app).await;
        let catalogue = catalogue.map_err(|failure| error::storage(&failure))?;
        let show = |entry: jraze_storage::property_catalogue::CatalogueEntry| CatalogueEntry {
            key: entry.key.as_str().to_owned(),
            types: entry.types.iter().map(|kind| kind.as_str().to_owned()).collect(),
            coverage: Some(entry.coverage),
            first_seen_at: Some(entry.first_seen_at.into()),
        };
        Ok(catalogue.entries.into_iter().map(show).collect())
    }
}

fn event(name: &str) -> Result<LogEvent, ApiError> {
    LogEvent::parse(name).ok_or_else(|| {
        let known = LogEvent::ALL.map(LogEvent::name).join(", ");
        ApiError::invalid("invalid_parameter", "/events", format!("the events are {known}"))
    })
}

/// The names of a search. One that no device can have finds nothing, so it is passed over.
fn names(texts: Vec<String>) -> Result<Vec<ExternalId>, ApiError> {
    if texts.len() > MAX_NAMES {
        let message = format!("a search lists at most {MAX_NAMES} names");
        return Err(ApiError::invalid("invalid_parameter", "/external_ids", message));
    }
    Ok(texts
        .into_iter()
        .filter_map(|text| ExternalId::new(text).ok())
        .collect())
}

pub(crate) fn change_of_line(line: &[u8]) -> Result<Change, LineProblem> {
    // Nearly every line is right. Only of a wrong one is asked where; and what serde would read as an
    // object though it is a list, is wrong.
    let parsed = match serde_json::from_slice::<ImportLine>(line) {
        Ok(parsed) if line.trim_ascii_start().starts_with(b"{") => Ok(parsed),
        _ => body::parse::<ImportLine>(line),
    };
    let read = parsed.and_then(device::import_line);
    let (registration, properties) = read.map_err(|refusal| LineProblem {
        code: refusal.code.into_owned(),
        reason: refusal.reason,
        // Whatever a line may hold has a short pointer; a long one is made of a key that is none.
        pointer: refusal
            .fields
            .into_iter()
            .next()
            .map(|field| field.pointer)
            .filter(|pointer| pointer.len() <= MAX_POINTER_BYTES),
    })?;
    Ok(Change {
        properties,
        ..Change::register(registration)
    })
}

fn show_report(report: Report) -> ImportReport {
    let problem = |(line, problem): (u64, LineProblem)| ImportProblem {
        line,
        code: problem.code,
        reason: problem.reason,
        pointer: problem.pointer,
    };
    ImportReport {
        received: report.received,
        created: report.created,
        updated: report.updated,
        failed: report.failed,
        errors: report.problems.into_iter().map(problem).collect(),
    }
}

fn stopped(stopped: Stopped) -> ApiError {
    match stopped {
        Stopped::Broken => ApiError::bad_request("unreadable_body", "the body broke off"),
        Stopped::Idle => ApiError::request_timeout(),
        Stopped::Stopping => ApiError::unavailable("the server is stopping"),
        Stopped::Service(failure) => error::service(failure),
    }
}
