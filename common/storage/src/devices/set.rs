//! Fields of a device, written straight as BSON: of a new one, or those that an update sets.

use jraze_domain::audience::version_key;
use jraze_domain::device::{PropertyValue, PushToken, Registration, Scalar};
use jraze_domain::number::Number;
use mongodb::bson::raw::{BindRawBsonRef, CStr, RawArrayBuf, RawBinaryRef};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{DateTime, RawDocumentBuf};

use crate::error::StorageError;

use super::documents::{TokenHash, fields};

/// A document that grows. Nothing is put twice.
pub(super) struct Fields(RawDocumentBuf);

impl Fields {
    pub(super) fn new() -> Self {
        Self(RawDocumentBuf::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn done(self) -> RawDocumentBuf {
        self.0
    }

    pub(super) fn put(&mut self, name: &str, value: impl BindRawBsonRef) -> Result<(), StorageError> {
        let name = <&CStr>::try_from(name).map_err(StorageError::encode)?;
        self.0.append(name, value);
        Ok(())
    }

    /// A property's value.
    pub(super) fn put_value(&mut self, name: &str, value: &PropertyValue) -> Result<(), StorageError> {
        match value {
            PropertyValue::Text(text) => self.put(name, text.as_str()),
            PropertyValue::Int(int) => self.put(name, *int),
            PropertyValue::Float(float) => self.put(name, *float),
            PropertyValue::Bool(bool) => self.put(name, *bool),
            PropertyValue::List(entries) => {
                let mut list = RawArrayBuf::new();
                for entry in entries {
                    match entry {
                        Scalar::Text(text) => list.push(text.as_str()),
                        Scalar::Number(Number::Int(int)) => list.push(*int),
                        Scalar::Number(Number::Float(float)) => list.push(*float),
                        Scalar::Bool(bool) => list.push(*bool),
                    }
                }
                self.put(name, list)
            }
        }
    }
}

/// A hash as it is stored.
pub(super) fn binary(hash: &[u8; 32]) -> RawBinaryRef<'_> {
    RawBinaryRef {
        subtype: BinarySubtype::Generic,
        bytes: hash,
    }
}

/// The optional texts that a registration told. A version that is none has no key to compare by: see
/// [`forgets_version_key`].
pub(super) fn set_told(told: &Registration, set: &mut Fields) -> Result<(), StorageError> {
    if let Some(locale) = &told.locale {
        set.put(fields::LOCALE, locale.as_str())?;
    }
    if let Some(time_zone) = &told.time_zone {
        set.put(fields::TIME_ZONE, time_zone.as_str())?;
    }
    if let Some(version) = &told.app_version {
        set.put(fields::APP_VERSION, version.as_str())?;
        if let Some(key) = version_key(version.as_str()) {
            set.put(fields::APP_VERSION_KEY, key.as_str())?;
        }
    }
    Ok(())
}

/// Whether a version is told that takes the key of the one before with it.
pub(super) fn forgets_version_key(told: &Registration) -> bool {
    let version = told.app_version.as_ref();
    version.is_some_and(|version| version_key(version.as_str()).is_none())
}

/// A token that is registered now.
pub(super) fn set_token(
    token: &PushToken,
    hash: &TokenHash,
    now: DateTime,
    set: &mut Fields,
) -> Result<(), StorageError> {
    set.put(fields::PUSH_TOKEN, token.as_str())?;
    set.put(fields::TOKEN_HASH, binary(hash))?;
    set.put(fields::TOKEN_STATE, fields::TOKEN_ACTIVE)?;
    set.put(fields::TOKEN_REGISTERED_AT, now)
}
