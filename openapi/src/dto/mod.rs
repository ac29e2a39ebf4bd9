//! The objects of the contract, as they are on the wire.
//!
//! A field's serde attributes decide how it is read and written; its `oai` attributes and doc
//! comment are what the document says about it. Limits in `validator(..)` are documentation: the
//! API server's conversions enforce them (with the domain's own constructors), so that every error
//! carries a pointer.

pub mod condition;
pub mod device;
pub mod enums;
pub mod error;
pub mod health;
pub mod import;
mod json;
pub mod launch;
mod macros;
pub mod notification;
pub mod page;
pub mod property;
pub mod tally;
pub mod time;

pub use condition::Conditions;
pub use device::{
    DeletedDevice, Device, DeviceEvent, DeviceHistory, DeviceSearch, DeviceSecret, DeviceUpsert,
};
pub use enums::{DevicePlatform, NotificationStatus, SendPlatform};
pub use error::{ApiError, FieldProblem};
pub use health::Health;
pub use import::{ImportLine, ImportProblem, ImportReport};
pub use launch::Launch;
pub use notification::{
    CredentialHold, Hold, Notification, NotificationDraft, NotificationStatusChange, OnAmbiguous,
    OutcomeCounts, Progress,
};
pub use page::{Page, Paged};
pub use property::{CatalogueEntry, PropertiesAdd, Property, PropertyValue};
pub use tally::{
    FailureReason, LogNotification, LoggedDevices, Outcomes, SentBatch, SentCounts, SentIncrease,
};
pub use time::Timestamp;
