//! A device: one installation of an app that can be sent to.
//!
//! Everything that addresses a device in storage follows from its integer id: [`bucket`] mixes the
//! id into 1..=10000, and [`storage_id`] puts app, bucket and id into the 12 bytes of an object id,
//! in the order in which devices lie on disk. So ranges of buckets are ranges of the disk, a sample
//! is a range of buckets, and nothing needs a look-up. Both functions are frozen: changing one would
//! orphan every stored device, which is why golden tests hold them.
//!
//! # Registration
//!
//! An app registers its device by `external_id` ([`Registration`]). The rules:
//!
//! 1. The first registration creates the device: id and bucket are assigned then and never again.
//! 2. A later one changes what it names and keeps what it does not name.
//! 3. A push token belongs to one device of an app and provider. The newest registration takes it
//!    from the older device, which keeps everything else.
//! 4. Registering a token makes it active again, whatever a provider said about it before.
//! 5. What cannot be true is not registered ([`Registration::check`]).

use std::fmt;
use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::{AppId, DeviceId};

mod plausible;

pub use self::plausible::Implausible;
pub use crate::property::{
    Properties, PropertyChanges, PropertyError, PropertyKey, PropertyType, PropertyValue, Scalar,
};

/// How many buckets there are; a bucket is a number from 1 to this.
pub const BUCKETS: u16 = 10_000;
/// Every bucket.
pub const ALL_BUCKETS: RangeInclusive<u16> = 1..=BUCKETS;
/// Longest external id, in bytes.
pub const MAX_EXTERNAL_ID_BYTES: usize = 256;
/// Longest push token, in bytes. APNs tokens are 64 hex digits today, FCM's about 150 characters, a
/// Web Push subscription some hundred; the providers publish no upper limit.
pub const MAX_TOKEN_BYTES: usize = 4096;
/// Longest locale, time zone or app version, in bytes.
pub const MAX_SHORT_TEXT_BYTES: usize = 64;

/// The bucket of a device: the finalizer of splitmix64 over the id, scaled to 1..=10000.
///
/// Uniform over any run of sequential ids, the same on every machine, and frozen.
pub fn bucket(id: DeviceId) -> u16 {
    let mut mix = id.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mix = (mix ^ (mix >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mix = (mix ^ (mix >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mix ^= mix >> 31;
    // The high half of the product scales without the bias and the division of a remainder.
    let scaled = (u128::from(mix) * u128::from(BUCKETS)) >> 64;
    scaled as u16 + 1
}

/// The `_id` of a device: app, bucket and id, each big endian, so that bytes sort as numbers do.
pub fn storage_id(app: AppId, id: DeviceId) -> [u8; 12] {
    storage_position(app, bucket(id), id.0)
}

/// The place in storage order of any app, bucket and id, for the ends of ranges.
pub fn storage_position(app: AppId, bucket: u16, id: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..2].copy_from_slice(&app.0.to_be_bytes());
    bytes[2..4].copy_from_slice(&bucket.to_be_bytes());
    bytes[4..].copy_from_slice(&id.to_be_bytes());
    bytes
}

/// The device id that a `_id` ends with.
pub fn id_of_storage_id(bytes: [u8; 12]) -> DeviceId {
    let [_, _, _, _, id @ ..] = bytes;
    DeviceId(u64::from_be_bytes(id))
}

macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(try_from = "u8", into = "u8")]
        pub enum $name { $($(#[$variant_doc])* $variant = $number,)* }

        impl $name {
            /// Every value, by number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The number on the wire and in storage.
            pub fn number(self) -> u8 {
                self as u8
            }

            /// The value of that number, if there is one.
            pub fn from_number(number: i64) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }

            /// The name in upper case, as documents and logs write it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl TryFrom<u8> for $name {
            type Error = UnknownNumber;
            fn try_from(number: u8) -> Result<Self, UnknownNumber> {
                Self::from_number(number.into()).ok_or(UnknownNumber(number))
            }
        }

        impl From<$name> for u8 {
            fn from(value: $name) -> u8 {
                value.number()
            }
        }
    };
}

wire_enum! {
    /// What the device runs.
    DevicePlatform {
        /// Not told.
        #[default]
        Unknown = 0 "UNKNOWN",
        /// Android.
        Android = 1 "ANDROID",
        /// iOS and iPadOS.
        Ios = 2 "IOS",
        /// A browser.
        Web = 3 "WEB",
    }
}

wire_enum! {
    /// Which provider carries a push to the device.
    SendPlatform {
        /// Not told: the device is kept, but in no audience.
        #[default]
        Unknown = 0 "UNKNOWN",
        /// Firebase Cloud Messaging, HTTP v1.
        Fcm = 1 "FCM",
        /// Apple Push Notification service.
        Apns = 2 "APNS",
        /// The Web Push protocol, without Firebase.
        WebPush = 3 "WEB_PUSH",
    }
}

/// A number that no value of the enum has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not one of the known numbers")]
pub struct UnknownNumber(pub u8);

macro_rules! bounded_text {
    ($(#[$doc:meta])* $name:ident, $max:ident, $error:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Takes a text of 1 byte up to the limit.
            ///
            /// # Errors
            /// [`DeviceError`] when it is empty or longer.
            pub fn new(text: impl Into<Box<str>>) -> Result<Self, DeviceError> {
                let text = text.into();
                if (1..=$max).contains(&text.len()) {
                    Ok(Self(text))
                } else {
                    Err(DeviceError { what: $error, max: $max, length: text.len() })
                }
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

bounded_text! {
    /// The caller's name for a device: 1 to 256 bytes of any text. It may well identify a person, so
    /// `Debug` does not show it.
    ExternalId, MAX_EXTERNAL_ID_BYTES, "external_id"
}
bounded_text! {
    /// What a provider knows the device by. Whoever has it (and the credential) can push to the
    /// device, so `Debug` does not show it.
    PushToken, MAX_TOKEN_BYTES, "push_token"
}
bounded_text! {
    /// A locale, time zone or app version: 1 to 64 bytes, kept as told. Whether it is one at all says
    /// [`Registration::check`].
    ShortText, MAX_SHORT_TEXT_BYTES, "locale, time_zone or app_version"
}

impl fmt::Debug for ExternalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExternalId({} bytes)", self.0.len())
    }
}

impl fmt::Debug for PushToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PushToken({} bytes)", self.0.len())
    }
}

impl fmt::Debug for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A text of a device that is empty or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be 1 to {max} bytes long, not {length}")]
pub struct DeviceError {
    /// Which field.
    pub what: &'static str,
    /// Its longest length, in bytes.
    pub max: usize,
    /// The length it had, in bytes.
    pub length: usize,
}

/// What is known of a device's push token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenState {
    /// There is none.
    Absent,
    /// There is one, and no provider has refused it since it was registered.
    Active,
    /// There is one, and its provider said that it will never work again.
    Dead {
        /// The provider's reason, such as `UNREGISTERED`.
        reason: String,
    },
}

/// A device as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Whose device it is.
    pub app_id: AppId,
    /// Its number within the app.
    pub id: DeviceId,
    /// The caller's name for it, unique within the app.
    pub external_id: ExternalId,
    /// Where to send to.
    pub push_token: Option<PushToken>,
    /// Whether sending there makes sense.
    pub token_state: TokenState,
    /// Through whom to send.
    pub send_platform: SendPlatform,
    /// What it runs.
    pub device_platform: DevicePlatform,
    /// [`bucket`] of its id.
    pub random_bucket: u16,
    /// What the app wrote on it.
    pub properties: Properties,
    /// Such as `de-AT`, as the app told it.
    pub locale: Option<ShortText>,
    /// Such as `Europe/Vienna`, as the app told it.
    pub time_zone: Option<ShortText>,
    /// Such as `4.2.0`, as the app told it.
    pub app_version: Option<ShortText>,
    /// Last registration.
    pub last_seen_at: DateTime<Utc>,
    /// First registration.
    pub created_at: DateTime<Utc>,
    /// Last change of anything.
    pub modified_at: DateTime<Utc>,
    /// When the present token was registered first; `None` without a token.
    pub token_registered_at: Option<DateTime<Utc>>,
    /// Whether a secret guards it against other client keys.
    pub has_secret: bool,
}

impl Device {
    /// The 12 bytes that the API prints as `_id`.
    pub fn storage_id(&self) -> [u8; 12] {
        storage_id(self.app_id, self.id)
    }
}

/// What a registration does with the push token.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TokenChange {
    /// Leaves it as it is; a new device has none.
    #[default]
    Keep,
    /// Removes it.
    Clear,
    /// Sets it, and takes it from any other device of the app and provider.
    Set(PushToken),
}

/// What a device tells when it registers. `None` keeps what is stored, and is unknown or absent on
/// a new device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Which device.
    pub external_id: ExternalId,
    /// Its push token.
    pub push_token: TokenChange,
    /// Through whom to send.
    pub send_platform: Option<SendPlatform>,
    /// What it runs.
    pub device_platform: Option<DevicePlatform>,
    /// Its locale.
    pub locale: Option<ShortText>,
    /// Its time zone.
    pub time_zone: Option<ShortText>,
    /// Its app's version.
    pub app_version: Option<ShortText>,
}

impl Registration {
    /// A registration that names nothing but the device.
    pub fn of(external_id: ExternalId) -> Self {
        Self {
            external_id,
            push_token: TokenChange::Keep,
            send_platform: None,
            device_platform: None,
            locale: None,
            time_zone: None,
            app_version: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_frozen() {
        let golden: Vec<u16> = [0, 1, 2, 3, 1_000, 1_000_000, u64::MAX]
            .into_iter()
            .map(|id| bucket(DeviceId(id)))
            .collect();
        assert_eq!(golden, [8834, 5666, 5912, 1135, 2349, 4065, 8940]);
    }

    #[test]
    fn sequential_ids_fill_buckets_evenly() {
        let mut seen = vec![0u32; usize::from(BUCKETS) + 1];
        for id in 1..=1_000_000 {
            seen[usize::from(bucket(DeviceId(id)))] += 1;
        }
        assert_eq!(seen[0], 0);
        let (least, most) = (seen[1..].iter().min(), seen[1..].iter().max());
        // 100 expected, standard deviation 10: six of them either way.
        assert!(least > Some(&40) && most < Some(&160), "{least:?}..{most:?}");
    }

    #[test]
    fn a_storage_id_sorts_by_app_bucket_and_id_and_gives_the_id_back() {
        let id = DeviceId(0x0102_0304);
        let bytes = storage_id(AppId(7), id);
        assert_eq!(bytes[..2], [0, 7]);
        assert_eq!(bytes[2..4], bucket(id).to_be_bytes());
        assert_eq!(id_of_storage_id(bytes), id);
        assert!(storage_position(AppId(1), 9, u64::MAX) < storage_position(AppId(1), 10, 0));
        assert!(storage_position(AppId(1), BUCKETS, 5) < storage_position(AppId(2), 1, 0));
    }

    #[test]
    fn tokens_and_external_ids_do_not_show_in_debug() {
        let token = PushToken::new("secret-token").unwrap();
        let external_id = ExternalId::new("erika@example.org").unwrap();
        let shown = format!("{token:?} {external_id:?}");
        assert!(!shown.contains("secret") && !shown.contains("erika"), "{shown}");
    }

    #[test]
    fn texts_are_bounded_in_bytes() {
        assert!(ExternalId::new("").is_err());
        assert!(ExternalId::new("ä".repeat(128)).is_ok());
        assert!(ExternalId::new("ä".repeat(128) + "x").is_err());
        assert!(ExternalId::new("a/b:c d\u{0}").is_ok());
        assert!(PushToken::new("x".repeat(MAX_TOKEN_BYTES)).is_ok());
        assert!(PushToken::new("x".repeat(MAX_TOKEN_BYTES + 1)).is_err());
    }

    #[test]
    fn enums_are_the_numbers_of_the_contract() {
        assert_eq!(serde_json::to_string(&DevicePlatform::ALL).unwrap(), "[0,1,2,3]");
        assert_eq!(serde_json::to_string(&SendPlatform::ALL).unwrap(), "[0,1,2,3]");
        assert_eq!(SendPlatform::from_number(2), Some(SendPlatform::Apns));
        assert_eq!(DevicePlatform::from_number(4), None);
        assert!(serde_json::from_str::<SendPlatform>("9").is_err());
    }
}
