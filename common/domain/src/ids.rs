//! Identities as newtypes: a device id can never be passed where a notification id is meant.
//!
//! | type | what | given by |
//! | --- | --- | --- |
//! | [`AppId`] | tenant; 1 is the app of the first start | a counter |
//! | [`DeviceId`] | device within an app, sequential, never reused | blocks of a counter |
//! | [`NotificationId`] | notification, sequential over all apps | a counter |
//! | [`NotificationUuid`] | the same notification for the outside | random |
//! | [`UnitId`] | one lease of work: a partition or a retry | computed, see below |
//! | [`WindowId`] | one window of a unit | computed: unit and sequence |
//!
//! Unit and window ids are *computed* from what they stand for, so that doing the same step twice
//! meets the document of the first time instead of making a second one.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id! {
    /// A tenant. Every device, notification, key and credential belongs to exactly one.
    AppId(u16)
}
number_id! {
    /// The sequential number of a device within its app, from 1.
    DeviceId(u64)
}
number_id! {
    /// The sequential number of a notification, from 1, unique over all apps.
    NotificationId(i64)
}
number_id! {
    /// The public name of a notification (a version 4 UUID).
    NotificationUuid(Uuid)
}

/// One unit of dispatch work: a partition of the audience, or the retry of one window.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnitId(String);

impl UnitId {
    /// The partition at `index` of a notification's plan.
    pub fn partition(notification: NotificationId, index: u32) -> Self {
        Self(format!("{notification}:p:{index}"))
    }

    /// The retry that picks up the transient failures of `window`; `attempt` counts from 1.
    pub fn retry(window: &WindowId, attempt: u32) -> Self {
        Self(format!("{window}:r{attempt}"))
    }

    /// The unit that carries on what `window` could not send through no fault of the deliveries; the
    /// attempt stays the same.
    pub fn requeue(window: &WindowId) -> Self {
        Self(format!("{window}:q"))
    }

    /// An id read back from storage.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The text kept in storage.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One window of a unit. It is also the batch id under which its sends are logged and counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WindowId(String);

impl WindowId {
    /// The window at `sequence` (from 0) of a unit.
    pub fn new(unit: &UnitId, sequence: u32) -> Self {
        Self(format!("{unit}:{sequence}"))
    }

    /// An id read back from storage.
    pub fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The text kept in storage.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WindowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_work_are_computed_from_what_they_stand_for() {
        let unit = UnitId::partition(NotificationId(7), 3);
        let window = WindowId::new(&unit, 2);
        let retry = UnitId::retry(&window, 1);
        assert_eq!(unit.as_str(), "7:p:3");
        assert_eq!(window.as_str(), "7:p:3:2");
        assert_eq!(retry.as_str(), "7:p:3:2:r1");
        assert_eq!(WindowId::new(&retry, 0).as_str(), "7:p:3:2:r1:0");
    }
}
