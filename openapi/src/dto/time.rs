//! Instants: RFC 3339 with an offset on the way in, UTC with milliseconds on the way out.

use chrono::{DateTime, Datelike as _, SecondsFormat, Utc};
use poem_openapi::registry::MetaSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::macros::described;

/// An instant, written as `2026-11-21T09:00:00.000Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub DateTime<Utc>);

impl From<DateTime<Utc>> for Timestamp {
    fn from(instant: DateTime<Utc>) -> Self {
        Self(instant)
    }
}

impl From<Timestamp> for DateTime<Utc> {
    fn from(timestamp: Timestamp) -> Self {
        timestamp.0
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        DateTime::parse_from_rfc3339(&text)
            .map(|instant| Self(instant.with_timezone(&Utc)))
            .ok()
            // The offset can carry the first and the last day out of the years that RFC 3339 can write.
            .filter(|Self(instant)| (0..=9999).contains(&instant.year()))
            .ok_or_else(|| {
                D::Error::custom("expected an RFC 3339 instant with an offset, like 2026-11-21T09:00:00Z")
            })
    }
}

described!(
    Timestamp,
    inline: MetaSchema {
        example: Some(serde_json::json!("2026-11-21T09:00:00.000Z")),
        ..MetaSchema::new_with_format("string", "date-time")
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_written_in_utc_with_milliseconds() {
        let read: Timestamp = serde_json::from_str("\"2026-11-21T10:30:00+01:30\"").unwrap();
        assert_eq!(
            serde_json::to_string(&read).unwrap(),
            "\"2026-11-21T09:00:00.000Z\""
        );
    }

    #[test]
    fn a_local_time_without_an_offset_is_refused() {
        for wrong in ["\"2026-11-21T10:30:00\"", "\"tomorrow\"", "1763715600", "\"\""] {
            assert!(serde_json::from_str::<Timestamp>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_read_can_be_written_and_read_again() {
        for beyond in ["\"0000-01-01T00:00:00+23:59\"", "\"9999-12-31T23:59:59-00:01\""] {
            assert!(serde_json::from_str::<Timestamp>(beyond).is_err(), "{beyond}");
        }
        let last: Timestamp = serde_json::from_str("\"9999-12-31T23:59:59.999Z\"").unwrap();
        let written = serde_json::to_string(&last).unwrap();
        assert_eq!(serde_json::from_str::<Timestamp>(&written).unwrap(), last);
    }
}
