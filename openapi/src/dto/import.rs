//! Bulk import and export: one device a line, NDJSON both ways.

use std::{collections::BTreeMap, fmt};

use poem_openapi::{Object, types::Example};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    device::{DeviceUpsert, named},
    enums::{DevicePlatform, SendPlatform},
    property::PropertyValue,
};

/// One line: a registration (`DeviceUpsert`, with its rules), with the device's properties in the same
/// breath. What the export writes, the import reads.
#[derive(Clone, PartialEq, Object, Serialize, Deserialize)]
#[oai(example)]
#[serde(deny_unknown_fields)]
pub struct ImportLine {
    /// The name your systems give the device.
    #[oai(validator(min_length = 1, max_length = 256))]
    pub external_id: String,
    /// The token of the provider; null removes it.
    #[oai(validator(min_length = 1, max_length = 4096))]
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    pub push_token: Option<Option<String>>,
    /// Which provider issued the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_platform: Option<SendPlatform>,
    /// What kind of device it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_platform: Option<DevicePlatform>,
    /// A BCP 47 language tag.
    #[oai(validator(max_length = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// An IANA time zone.
    #[oai(validator(max_length = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// The version of the app.
    #[oai(validator(max_length = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_version: Option<String>,
    /// Properties to set; null removes the key, others stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<BTreeMap<String, PropertyValue>>,
}

impl ImportLine {
    /// The registration and the properties of the line.
    #[must_use]
    pub fn split(self) -> (DeviceUpsert, BTreeMap<String, PropertyValue>) {
        let device = DeviceUpsert {
            external_id: self.external_id,
            push_token: self.push_token,
            send_platform: self.send_platform,
            device_platform: self.device_platform,
            locale: self.locale,
            time_zone: self.time_zone,
            app_version: self.app_version,
        };
        (device, self.properties.unwrap_or_default())
    }
}

impl fmt::Debug for ImportLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ImportLine(***)")
    }
}

impl Example for ImportLine {
    fn example() -> Self {
        let device = DeviceUpsert::example();
        Self {
            external_id: device.external_id,
            push_token: device.push_token,
            send_platform: device.send_platform,
            device_platform: device.device_platform,
            locale: device.locale,
            time_zone: device.time_zone,
            app_version: device.app_version,
            properties: Some(BTreeMap::from([
                ("age".to_owned(), PropertyValue(json!(31))),
                ("plan".to_owned(), PropertyValue(json!("gold"))),
            ])),
        }
    }
}

/// A line that was not imported.
#[derive(Debug, Clone, PartialEq, Eq, Object, Serialize, Deserialize)]
pub struct ImportProblem {
    /// The number of the line, from 1; empty lines count.
    pub line: u64,
    /// A stable code, as in the errors of single requests.
    pub code: String,
    /// What is wrong with it.
    pub reason: String,
    /// A JSON pointer into the line, when one place is to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[oai(skip_serializing_if_is_none)]
    pub pointer: Option<String>,
}

/// What became of an import.
#[derive(Debug, Clone, Default, PartialEq, Eq, Object, Serialize, Deserialize)]
#[oai(example)]
pub struct ImportReport {
    /// Lines received, without the empty ones.
    pub received: u64,
    /// Devices created.
    pub created: u64,
    /// Devices that were there and are up to date now.
    pub updated: u64,
    /// Lines that were not imported.
    pub failed: u64,
    /// The first 1000 of them.
    pub errors: Vec<ImportProblem>,
}

impl Example for ImportReport {
    fn example() -> Self {
        Self {
            received: 100_000,
            created: 99_998,
            updated: 1,
            failed: 1,
            errors: vec![ImportProblem {
                line: 812,
                code: "invalid_property".to_owned(),
                reason: "a property's list holds scalars only".to_owned(),
                pointer: Some("/properties/interests".to_owned()),
            }],
        }
    }
}
