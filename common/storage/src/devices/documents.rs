//! What a device looks like in MongoDB, and back.
//!
//! ```text
//! _id                  12 bytes: app, bucket, id            (the order on disk)
//! app_id, id           the same, as numbers
//! external_id
//! push_token           absent without one; token_hash is its SHA-256, token_registered_at its age,
//!                      token_state "active" or "dead" with token_reason
//! send_platform, device_platform, random_bucket             32-bit integers
//! device_properties    { key: value }; integers are always 64 bits, null is never stored
//! locale, time_zone, app_version, app_version_key           absent when not told
//! last_seen_at, created_at, modified_at
//! secret_hash          SHA-256 of the device secret, once one was handed out
//! ```
//!
//! Absent, never null: conditions ask `$exists`.

use jraze_domain::device::{
    Device, DevicePlatform, ExternalId, Properties, PropertyKey, PropertyValue, PushToken, Scalar,
    SendPlatform, ShortText, TokenState,
};
use jraze_domain::ids::{AppId, DeviceId};
use jraze_domain::number::Number;
use mongodb::bson::{RawArray, RawBsonRef, RawDocument};
use sha2::{Digest as _, Sha256};

use crate::error::StorageError;
use crate::time::read as read_time;

use super::COLLECTION;

/// Names of the fields, for everything that builds a filter, an update or a projection.
pub(crate) mod fields {
    pub(crate) const APP_ID: &str = "app_id";
    pub(crate) const ID: &str = "id";
    pub(crate) const EXTERNAL_ID: &str = "external_id";
    pub(crate) const PUSH_TOKEN: &str = "push_token";
    pub(crate) const TOKEN_HASH: &str = "token_hash";
    pub(crate) const TOKEN_STATE: &str = "token_state";
    pub(crate) const TOKEN_REASON: &str = "token_reason";
    pub(crate) const TOKEN_REGISTERED_AT: &str = "token_registered_at";
    pub(crate) const TOKEN_ACTIVE: &str = "active";
    pub(crate) const TOKEN_DEAD: &str = "dead";
    pub(crate) const SEND_PLATFORM: &str = "send_platform";
    pub(crate) const DEVICE_PLATFORM: &str = "device_platform";
    pub(crate) const RANDOM_BUCKET: &str = "random_bucket";
    pub(crate) const PROPERTIES: &str = "device_properties";
    pub(crate) const LOCALE: &str = "locale";
    pub(crate) const TIME_ZONE: &str = "time_zone";
    pub(crate) const APP_VERSION: &str = "app_version";
    pub(crate) const APP_VERSION_KEY: &str = "app_version_key";
    pub(crate) const LAST_SEEN_AT: &str = "last_seen_at";
    pub(crate) const CREATED_AT: &str = "created_at";
    pub(crate) const MODIFIED_AT: &str = "modified_at";
    pub(crate) const SECRET_HASH: &str = "secret_hash";

    /// Everything that a token brings and takes with it.
    pub(crate) const OF_A_TOKEN: [&str; 5] = [
        PUSH_TOKEN,
        TOKEN_HASH,
        TOKEN_STATE,
        TOKEN_REASON,
        TOKEN_REGISTERED_AT,
    ];
}

/// A SHA-256 of a token.
pub(super) type TokenHash = [u8; 32];

/// The hash under which a token is unique, and by which a worker reports it dead.
pub fn token_hash(token: &PushToken) -> TokenHash {
    Sha256::digest(token.as_str()).into()
}

/// Reads a whole device.
pub(super) fn read_device(document: &RawDocument) -> Result<Device, StorageError> {
    let reader = Reader::new(document)?;
    let push_token = reader.optional(fields::PUSH_TOKEN, |text| PushToken::new(text).ok())?;
    let token_state = match (&push_token, reader.text(fields::TOKEN_STATE)?) {
        (None, _) => TokenState::Absent,
        (Some(_), Some(fields::TOKEN_DEAD)) => {
            let reason = reader.text(fields::TOKEN_REASON)?.unwrap_or_default().to_owned();
            TokenState::Dead { reason }
        }
        (Some(_), _) => TokenState::Active,
    };
    let short_text = |field| reader.optional(field, |text| ShortText::new(text).ok());
    Ok(Device {
        app_id: AppId(reader.number(fields::APP_ID)?),
        id: DeviceId(reader.number(fields::ID)?),
        external_id: reader.required(
            fields::EXTERNAL_ID,
            reader.optional(fields::EXTERNAL_ID, |text| ExternalId::new(text).ok())?,
        )?,
        token_state,
        push_token,
        send_platform: reader.required(
            fields::SEND_PLATFORM,
            SendPlatform::from_number(reader.number(fields::SEND_PLATFORM)?),
        )?,
        device_platform: reader.required(
            fields::DEVICE_PLATFORM,
            DevicePlatform::from_number(reader.number(fields::DEVICE_PLATFORM)?),
        )?,
        random_bucket: reader.number(fields::RANDOM_BUCKET)?,
        properties: reader.properties()?,
        locale: short_text(fields::LOCALE)?,
        time_zone: short_text(fields::TIME_ZONE)?,
        app_version: short_text(fields::APP_VERSION)?,
        last_seen_at: reader.required(fields::LAST_SEEN_AT, reader.time(fields::LAST_SEEN_AT)?)?,
        created_at: reader.required(fields::CREATED_AT, reader.time(fields::CREATED_AT)?)?,
        modified_at: reader.required(fields::MODIFIED_AT, reader.time(fields::MODIFIED_AT)?)?,
        token_registered_at: reader.time(fields::TOKEN_REGISTERED_AT)?,
        has_secret: reader.get(fields::SECRET_HASH)?.is_some(),
    })
}

/// Reads fields of one document, and says which one failed.
pub(super) struct Reader<'a> {
    document: &'a RawDocument,
    id: String,
}

impl<'a> Reader<'a> {
    pub(super) fn new(document: &'a RawDocument) -> Result<Self, StorageError> {
        let id = document
            .get_object_id("_id")
            .map_err(|_| StorageError::corrupt(COLLECTION, "_id", "?"))?;
        Ok(Self {
            document,
            id: id.to_hex(),
        })
    }

    pub(super) fn corrupt(&self, field: &'static str) -> StorageError {
        StorageError::corrupt(COLLECTION, field, &self.id)
    }

    pub(super) fn required<T>(&self, field: &'static str, value: Option<T>) -> Result<T, StorageError> {
        value.ok_or_else(|| self.corrupt(field))
    }

    pub(super) fn get(&self, field: &'static str) -> Result<Option<RawBsonRef<'a>>, StorageError> {
        self.document.get(field).map_err(|_| self.corrupt(field))
    }

    fn text(&self, field: &'static str) -> Result<Option<&'a str>, StorageError> {
        match self.get(field)? {
            None => Ok(None),
            Some(value) => self.required(field, value.as_str().map(Some)),
        }
    }

    pub(super) fn optional<T>(
        &self,
        field: &'static str,
        convert: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, StorageError> {
        match self.text(field)? {
            None => Ok(None),
            Some(text) => self.required(field, convert(text).map(Some)),
        }
    }

    /// An integer of either width, if it fits.
    pub(super) fn number<T: TryFrom<i64>>(&self, field: &'static str) -> Result<T, StorageError> {
        let number = self.get(field)?.and_then(|value| match value {
            RawBsonRef::Int32(int) => Some(i64::from(int)),
            RawBsonRef::Int64(int) => Some(int),
            _ => None,
        });
        self.required(field, number.and_then(|number| T::try_from(number).ok()))
    }

    fn time(&self, field: &'static str) -> Result<Option<chrono::DateTime<chrono::Utc>>, StorageError> {
        match self.get(field)? {
            None => Ok(None),
            Some(value) => self.required(field, value.as_datetime().map(|at| Some(read_time(at)))),
        }
    }

    /// A hash of 32 bytes, when there is one.
    pub(super) fn hash(&self, field: &'static str) -> Result<Option<[u8; 32]>, StorageError> {
        match self.get(field)? {
            None => Ok(None),
            Some(RawBsonRef::Binary(binary)) => self.required(field, binary.bytes.try_into().ok().map(Some)),
            Some(_) => Err(self.corrupt(field)),
        }
    }

    fn properties(&self) -> Result<Properties, StorageError> {
        let field = fields::PROPERTIES;
        let stored = self.get(field)?.and_then(|value| value.as_document());
        let stored = self.required(field, stored)?;
        let mut properties = Properties::new();
        for entry in stored {
            let (key, value) = entry.map_err(|_| self.corrupt(field))?;
            let key = PropertyKey::new(key.as_str()).map_err(|_| self.corrupt(field))?;
            properties.insert(key, self.required(field, read_value(value))?);
        }
        Ok(properties)
    }
}

fn read_value(value: RawBsonRef<'_>) -> Option<PropertyValue> {
    if let RawBsonRef::Array(entries) = value {
        return read_list(entries).map(PropertyValue::List);
    }
    Some(match read_scalar(value)? {
        Scalar::Text(text) => PropertyValue::Text(text),
        Scalar::Number(Number::Int(int)) => PropertyValue::Int(int),
        Scalar::Number(Number::Float(float)) => PropertyValue::Float(float),
        Scalar::Bool(bool) => PropertyValue::Bool(bool),
    })
}

fn read_list(entries: &RawArray) -> Option<Vec<Scalar>> {
    entries
        .into_iter()
        .map(|entry| read_scalar(entry.ok()?))
        .collect()
}

fn read_scalar(value: RawBsonRef<'_>) -> Option<Scalar> {
    Some(match value {
        RawBsonRef::String(text) => Scalar::Text(text.to_owned()),
        RawBsonRef::Int32(int) => Scalar::Number(Number::Int(int.into())),
        RawBsonRef::Int64(int) => Scalar::Number(Number::Int(int)),
        RawBsonRef::Double(float) => Scalar::Number(Number::float(float)?),
        RawBsonRef::Boolean(bool) => Scalar::Bool(bool),
        _ => return None,
    })
}
