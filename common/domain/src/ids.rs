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

    /// The unit that carries on some deliveries of `window`; `what` tells the several that a window may
    /// leave apart. Retries of retries do not grow: what came before is in the id as a hash only.
    pub fn retry(notification: NotificationId, window: &WindowId, what: &str) -> Self {
        let lineage = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{window}:{what}").as_bytes());
        Self(format!("{notification}:r:{}", lineage.simple()))
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
        assert_eq!(unit.as_str(), "7:p:3");
        assert_eq!(window.as_str(), "7:p:3:2");
        let retry = |what| UnitId::retry(NotificationId(7), &window, what);
        assert_eq!(retry("a"), retry("a"));
        assert_ne!(retry("a"), retry("b"));
    }

    #[test]
    fn retries_of_retries_keep_ids_short() {
        let mut window = WindowId::new(&UnitId::partition(NotificationId(i64::MAX), u32::MAX), u32::MAX);
        for _ in 0..1_000 {
            window = WindowId::new(&UnitId::retry(NotificationId(i64::MAX), &window, "requeued"), 0);
        }
        assert!(window.as_str().len() <= 80, "{window}");
    }
}
