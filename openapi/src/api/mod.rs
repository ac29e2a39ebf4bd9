//! The operations, and the ports behind them.
//!
//! An API struct says where an operation is, who may call it and what it answers, and hands the
//! call to its port in one line; the server implements the ports, the document is printed from
//! stubs. To add an operation: a method in the port's trait, one here, one in `stub.rs`, then
//! `make generate`.

use poem_openapi::Tags;

pub mod devices;
pub mod health;
pub mod internal;
pub mod notifications;

pub use devices::{DevicesApi, DevicesPort};
pub use health::{HealthApi, HealthPort};
pub use internal::{InternalApi, InternalPort};
pub use notifications::{NotificationsApi, NotificationsPort};

/// What came of a request that may be repeated.
#[derive(Debug, Clone, PartialEq)]
pub struct Once<T> {
    /// The result.
    pub result: T,
    /// The same request was carried out before; nothing was done this time.
    pub replayed: bool,
}

/// The chapters of the document.
#[derive(Tags)]
pub(crate) enum Tag {
    /// Who can be reached, and what is known about them.
    Devices,
    /// What is said, to whom, and how far it has come.
    Notifications,
    /// For the workers; not for apps.
    Internal,
    /// For the machine that starts and stops the server.
    Health,
}

/// Paging as a caller asked for it, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListQuery {
    /// Field names, `-` in front for descending, in the order of their weight.
    pub order_bys: Vec<String>,
    /// How many at most; 1 to 1000.
    pub size: u64,
    /// How many to leave out.
    pub start: u64,
}

impl ListQuery {
    /// How many a page has unless the caller says so.
    pub const DEFAULT_SIZE: u64 = 20;
    /// How many a page has at most.
    pub const MAX_SIZE: u64 = 1000;

    /// The query as it came: field names separated by commas.
    #[must_use]
    pub fn new(order_bys: Option<String>, size: Option<u64>, start: Option<u64>) -> Self {
        Self {
            order_bys: comma_separated(order_bys),
            size: size.unwrap_or(Self::DEFAULT_SIZE),
            start: start.unwrap_or(0),
        }
    }
}

fn comma_separated(text: Option<String>) -> Vec<String> {
    let text = text.unwrap_or_default();
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

fn external_id_example() -> String {
    "user-42".to_owned()
}

fn notification_example() -> String {
    "0b0f0c7e-5a2e-4c8e-9d3c-2f6c1a3b7d10".to_owned()
}
