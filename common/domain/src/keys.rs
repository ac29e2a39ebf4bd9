//! API keys: their text, what they may do, and how a typing error is told from a wrong key.
//!
//! The text is `jz_<kind>_<id>_<secret>_<check>`: a prefix that leak scanners can look for, the kind
//! (`adm`, `srv`, `cli`, `int`), ten characters that name the key in lists and logs, 43 characters
//! that are 256 random bits, and a CRC-32 of all before it. The check costs an attacker nothing; it
//! lets a scanner, or a server before it asks the database, tell a key from noise.
//!
//! Storage keeps the id and a hash of the secret, so the text is shown once, when it is made.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Characters of a key id.
pub const ID_LENGTH: usize = 10;
/// Characters of a secret; 62^43 just exceeds 2^256.
const SECRET_LENGTH: usize = 43;
/// Characters of the check; 62^6 exceeds 2^32.
const CHECK_LENGTH: usize = 6;
const PREFIX: &str = "jz";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// People and dashboards: everything of one app.
    Admin,
    /// The app's own servers: devices and notifications.
    Server,
    /// Shipped inside apps, so not a secret: it may speak for the one device whose secret it brings.
    Client,
    /// Workers and result workers, on the internal operations only, for every app.
    Internal,
}

impl KeyKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Server, Self::Client, Self::Internal];

    /// The three letters in a key's text.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Admin => "adm",
            Self::Server => "srv",
            Self::Client => "cli",
            Self::Internal => "int",
        }
    }

    /// The name in storage and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Server => "server",
            Self::Client => "client",
            Self::Internal => "internal",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The most that a key of this kind may be given, and what it gets unless told otherwise.
    pub fn scopes(self) -> Scopes {
        use Scope as S;
        let scopes: &[Scope] = match self {
            Self::Admin | Self::Server => &[
                S::DevicesRead,
                S::DevicesWrite,
                S::NotificationsRead,
                S::NotificationsWrite,
                S::NotificationsLaunch,
            ],
            Self::Client => &[S::DevicesRead, S::DevicesWrite],
            Self::Internal => &[S::Internal],
        };
        scopes.iter().copied().collect()
    }
}

/// One thing that a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Read devices, their history, and search them.
    #[serde(rename = "devices:read")]
    DevicesRead,
    /// Register, change, import and delete devices.
    #[serde(rename = "devices:write")]
    DevicesWrite,
    /// Read notifications and their counts.
    #[serde(rename = "notifications:read")]
    NotificationsRead,
    /// Write drafts and withdraw them.
    #[serde(rename = "notifications:write")]
    NotificationsWrite,
    /// Launch, pause, resume and cancel.
    #[serde(rename = "notifications:launch")]
    NotificationsLaunch,
    /// The internal operations.
    #[serde(rename = "internal")]
    Internal,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 6] = [
        Self::DevicesRead,
        Self::DevicesWrite,
        Self::NotificationsRead,
        Self::NotificationsWrite,
        Self::NotificationsLaunch,
        Self::Internal,
    ];

    /// The name in storage, documents and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::DevicesRead => "devices:read",
            Self::DevicesWrite => "devices:write",
            Self::NotificationsRead => "notifications:read",
            Self::NotificationsWrite => "notifications:write",
            Self::NotificationsLaunch => "notifications:launch",
            Self::Internal => "internal",
        }
    }

    /// The scope of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// What a key may do.
pub type Scopes = BTreeSet<Scope>;

/// Random bytes for one key. Whoever makes keys brings a cryptographic source.
pub struct KeyEntropy(pub [u8; 40]);

/// A key in parts, as made or as presented. `Debug` does not show the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText {
    /// What the key claims to be; the stored kind decides.
    pub kind: KeyKind,
    /// Names the key; not secret.
    pub id: String,
    secret: String,
}

/// A text that is no key: misspelled, cut off, or something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a jraze key: it must read jz_<kind>_<id>_<secret>_<check>, complete and unchanged")]
pub struct KeyFormatError;

impl KeyText {
    /// Makes a key out of random bytes.
    pub fn generate(kind: KeyKind, KeyEntropy(entropy): &KeyEntropy) -> Self {
        let (id, secret) = entropy.split_at(8);
        Self {
            kind,
            id: base62(id, ID_LENGTH),
            secret: base62(secret, SECRET_LENGTH),
        }
    }

    /// Reads a presented key.
    ///
    /// # Errors
    /// [`KeyFormatError`] when the form or the check does not fit.
    pub fn parse(text: &str) -> Result<Self, KeyFormatError> {
        let (body, check) = text.rsplit_once('_').ok_or(KeyFormatError)?;
        if check != check_of(body) {
            return Err(KeyFormatError);
        }
        let [prefix, tag, id, secret] =
            <[&str; 4]>::try_from(body.split('_').collect::<Vec<_>>()).map_err(|_| KeyFormatError)?;
        let kind = KeyKind::ALL
            .into_iter()
            .find(|kind| kind.tag() == tag)
            .ok_or(KeyFormatError)?;
        let fits =
            |part: &str, length| part.len() == length && part.bytes().all(|b| b.is_ascii_alphanumeric());
        if prefix == PREFIX && fits(id, ID_LENGTH) && fits(secret, SECRET_LENGTH) {
            Ok(Self {
                kind,
                id: id.to_owned(),
                secret: secret.to_owned(),
            })
        } else {
            Err(KeyFormatError)
        }
    }

    /// The secret part, to hash.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The whole key. Shown once, to the person it is made for.
    pub fn reveal(&self) -> String {
        let body = format!("{PREFIX}_{}_{}_{}", self.kind.tag(), self.id, self.secret);
        let check = check_of(&body);
        format!("{body}_{check}")
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}_{}_{}_***", self.kind.tag(), self.id)
    }
}

/// Makes the text of a device secret (256 bits in 43 characters) out of random bytes.
pub fn device_secret(entropy: &[u8; 32]) -> String {
    base62(entropy, SECRET_LENGTH)
}

fn check_of(body: &str) -> String {
    base62(&crc32(body.as_bytes()).to_be_bytes(), CHECK_LENGTH)
}

/// The last `length` base 62 digits of a big endian number.
fn base62(number: &[u8], length: usize) -> String {
    let mut number = number.to_vec();
    let mut digits = vec![b'0'; length];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0u32;
        for byte in &mut number {
            let value = remainder << 8 | u32::from(*byte);
            *byte = (value / 62) as u8;
            remainder = value % 62;
        }
        *digit = BASE62[remainder as usize];
    }
    digits.into_iter().map(char::from).collect()
}

/// CRC-32 as in zip and PNG (IEEE 802.3, reflected).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: KeyKind) -> KeyText {
        KeyText::generate(
            kind,
            &KeyEntropy(std::array::from_fn(|index| (index as u8).wrapping_mul(7) ^ 0xA5)),
        )
    }

    #[test]
    fn the_check_is_the_crc_of_zip() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_key_reads_back_as_it_was_made() {
        for kind in KeyKind::ALL {
            let key = key(kind);
            let text = key.reveal();
            assert_eq!(text.len(), 2 + 3 + ID_LENGTH + SECRET_LENGTH + CHECK_LENGTH + 4);
            assert!(text.starts_with(&format!("jz_{}_", kind.tag())));
            assert_eq!(KeyText::parse(&text), Ok(key));
        }
    }

    #[test]
    fn a_change_of_any_character_is_noticed() {
        let text = key(KeyKind::Server).reveal();
        for index in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[index] = if changed[index] == b'x' { b'y' } else { b'x' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(KeyText::parse(&changed), Err(KeyFormatError), "{index}");
        }
        for other in [
            "",
            "jz",
            "jz_srv___",
            "password",
            &text[1..],
            &text[..text.len() - 1],
        ] {
            assert_eq!(KeyText::parse(other), Err(KeyFormatError), "{other}");
        }
    }

    #[test]
    fn a_secret_carries_all_its_bits_and_does_not_show() {
        assert_eq!(device_secret(&[0; 32]), "0".repeat(43));
        let mut one = [0; 32];
        one[31] = 61;
        assert_eq!(device_secret(&one), format!("{}z", "0".repeat(42)));
        assert_ne!(
            device_secret(&[255; 32]).as_bytes()[0],
            b'0',
            "the highest bits reach the first digit"
        );
        let key = key(KeyKind::Admin);
        assert!(!format!("{key:?}").contains(key.secret()));
    }

    #[test]
    fn a_client_key_may_neither_read_nor_write_notifications() {
        let scopes = KeyKind::Client.scopes();
        assert!(!scopes.contains(&Scope::NotificationsRead) && !scopes.contains(&Scope::NotificationsLaunch));
        assert!(!KeyKind::Admin.scopes().contains(&Scope::Internal));
    }

    #[test]
    fn kinds_and_scopes_are_found_by_name() {
        for kind in KeyKind::ALL {
            assert_eq!(KeyKind::from_name(kind.name()), Some(kind));
        }
        for scope in Scope::ALL {
            assert_eq!(Scope::from_name(scope.name()), Some(scope));
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.name());
        }
    }
}
