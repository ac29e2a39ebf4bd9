//! Times between chrono and BSON, to the millisecond that BSON keeps.

use chrono::{DateTime, Utc};
use mongodb::bson;

pub(crate) fn stored(at: DateTime<Utc>) -> bson::DateTime {
    bson::DateTime::from_millis(at.timestamp_millis())
}

pub(crate) fn read(at: bson::DateTime) -> DateTime<Utc> {
    // Every BSON date that jraze wrote came from chrono, so it fits; an alien one is clamped.
    DateTime::from_timestamp_millis(at.timestamp_millis()).unwrap_or_default()
}
