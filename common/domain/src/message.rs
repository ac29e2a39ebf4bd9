//! What a notification says, and what a provider is given to send.
//!
//! [`Content`] is what a person wrote. [`Push`] adds what one campaign decides for every device:
//! the collapse identity, by which a repeated send replaces the first one on the phone, and the time
//! after which it is worthless. How either becomes FCM or APNs JSON is the providers' business.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::NotificationUuid;

/// The longest title, in bytes of UTF-8.
pub const MAX_TITLE_BYTES: usize = 512;
/// The most bytes of a message in all, as the providers count them (FCM and APNs alike).
pub const MAX_PAYLOAD_BYTES: usize = 4_096;
/// What a message weighs besides texts, links and data: the blocks of all platforms with their names,
/// the collapse identity, the notification's UUID and the times, each at its longest.
const ENVELOPE_BYTES: usize = 569;
/// The longest body, in bytes of UTF-8.
pub const MAX_BODY_BYTES: usize = 3_072;
/// The longest deep link, image or icon address, in bytes.
pub const MAX_URL_BYTES: usize = 2_048;
/// The most entries of `data`.
pub const MAX_DATA_ENTRIES: usize = 32;
/// The longest key of `data`, in bytes.
pub const MAX_DATA_KEY_BYTES: usize = 64;
/// The longest value of `data`, in bytes.
pub const MAX_DATA_VALUE_BYTES: usize = 1_024;

/// The text and links of a notification. `Debug` shows sizes only: texts do not belong in logs.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Content {
    /// The headline.
    pub title: String,
    /// The text below it.
    pub body: String,
    /// Where a tap leads: an `https` address or the app's own scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deep_link: Option<String>,
    /// A large picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_url: Option<String>,
    /// A small picture; shown on the web, handed to apps elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon_url: Option<String>,
    /// Key and value pairs for the app.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("title_bytes", &self.title.len())
            .field("body_bytes", &self.body.len())
            .field("data_entries", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// A field of [`Content`] that cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", if field.is_empty() { String::new() } else { format!("{field}: ") })]
pub struct ContentError {
    /// The field's name; for `data`, `data/<key>`; empty for the content as a whole.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Content {
    /// Checks every field against what platforms can carry.
    ///
    /// # Errors
    /// All faults found, not just the first.
    pub fn validate(&self) -> Result<(), Vec<ContentError>> {
        let mut faults = Faults::default();
        faults.text("title", &self.title, MAX_TITLE_BYTES);
        faults.text("body", &self.body, MAX_BODY_BYTES);
        if self.title.trim().is_empty() && self.body.trim().is_empty() {
            faults.add("title", "a notification needs a title or a body");
        }
        if let Some(link) = &self.deep_link {
            faults.link("deep_link", link);
        }
        if let Some(url) = &self.image_url {
            faults.picture("image_url", url);
        }
        if let Some(url) = &self.icon_url {
            faults.picture("icon_url", url);
        }
        if self.data.len() > MAX_DATA_ENTRIES {
            faults.add("data", &format!("has more than {MAX_DATA_ENTRIES} entries"));
        }
        for (key, value) in &self.data {
            faults.data(key, value);
        }
        let bytes = self.payload_bytes();
        if bytes > MAX_PAYLOAD_BYTES {
            let problem = format!(
                "comes to {bytes} bytes as a message, {} more than the {MAX_PAYLOAD_BYTES} that FCM and APNs \
                 take: shorten the texts, the links or the data",
                bytes - MAX_PAYLOAD_BYTES
            );
            faults.add("", &problem);
        }
        if faults.0.is_empty() {
            Ok(())
        } else {
            Err(faults.0)
        }
    }

    /// The bytes of the largest message that is made of this, never too few: FCM's for a device whose
    /// platform is not known. That one holds the icon and an https link twice, for the app and for the
    /// browser; everything else once.
    pub fn payload_bytes(&self) -> usize {
        // The numbers are the names that come with each address, and `"mutable-content":1` with a picture.
        let link = self.deep_link.as_deref().map_or(0, |link| {
            let for_browsers = link.starts_with("https://").then(|| json_bytes(link) + 23);
            json_bytes(link) + 8 + for_browsers.unwrap_or(0)
        });
        let image = self.image_url.as_deref().map_or(0, |url| json_bytes(url) + 29);
        let icon = self.icon_url.as_deref().map_or(0, |url| 2 * json_bytes(url) + 16);
        // A colon and a comma with each.
        let entry = |(key, value): (&String, &String)| json_bytes(key) + json_bytes(value) + 2;
        let data: usize = self.data.iter().map(entry).sum();
        ENVELOPE_BYTES + json_bytes(&self.title) + json_bytes(&self.body) + link + image + icon + data
    }
}

/// The bytes of a text in JSON, with its quotes.
fn json_bytes(text: &str) -> usize {
    let escaped = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0C => 2,
        0..0x20 => 6,
        _ => 1,
    });
    2 + escaped.sum::<usize>()
}

#[derive(Default)]
struct Faults(Vec<ContentError>);

impl Faults {
    fn add(&mut self, field: &str, problem: &str) {
        self.0.push(ContentError {
            field: field.to_owned(),
            problem: problem.to_owned(),
        });
    }

    fn text(&mut self, field: &str, text: &str, max_bytes: usize) {
        if text.len() > max_bytes {
            self.add(field, &format!("is longer than {max_bytes} bytes"));
        }
        if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            self.add(field, "holds a control character");
        }
    }

    /// Links are handed to the app, never fetched; still no scheme that runs code where it is opened.
    fn link(&mut self, field: &str, link: &str) {
        self.address(field, link);
        match scheme(link) {
            None => self.add(field, "must start with a scheme, such as https:// or myapp://"),
            Some(scheme) if FORBIDDEN_SCHEMES.contains(&scheme.as_str()) => {
                self.add(field, &format!("may not use the scheme {scheme}:"));
            }
            Some(_) => {}
        }
    }

    /// Phones fetch pictures themselves, and both platforms insist on TLS.
    fn picture(&mut self, field: &str, url: &str) {
        self.address(field, url);
        if scheme(url).as_deref() != Some("https") || !url[6..].starts_with("//") {
            self.add(field, "must be an https:// address");
        } else {
            let authority = url[8..].split(['/', '?', '#']).next().unwrap_or_default();
            if authority.is_empty() {
                self.add(field, "has no host");
            }
            if authority.contains('@') {
                self.add(field, "may not carry a user name");
            }
        }
    }

    fn address(&mut self, field: &str, address: &str) {
        if address.len() > MAX_URL_BYTES {
            self.add(field, &format!("is longer than {MAX_URL_BYTES} bytes"));
        }
        if address.chars().any(|c| c.is_control() || c.is_whitespace()) {
            self.add(field, "holds white space or a control character");
        }
    }

    /// FCM reserves these keys: firebase.google.com, "Message.data" of the v1 REST reference.
    fn data(&mut self, key: &str, value: &str) {
        let field = format!("data/{key}");
        let reserved = matches!(key, "from" | "message_type" | "collapse_key" | "notification")
            || key.starts_with("google")
            || key.starts_with("gcm")
            || key.starts_with("jraze_")
            || key == "aps";
        if key.is_empty() || key.len() > MAX_DATA_KEY_BYTES {
            self.add(&field, &format!("a key has 1 to {MAX_DATA_KEY_BYTES} bytes"));
        } else if reserved {
            self.add(&field, "this key is reserved by FCM, APNs or jraze");
        }
        if value.len() > MAX_DATA_VALUE_BYTES {
            self.add(&field, &format!("is longer than {MAX_DATA_VALUE_BYTES} bytes"));
        }
    }
}

const FORBIDDEN_SCHEMES: [&str; 6] = ["javascript", "data", "file", "intent", "vbscript", "blob"];

/// The scheme of an address in lower case, if it has one by RFC 3986.
fn scheme(address: &str) -> Option<String> {
    let (scheme, _) = address.split_once(':')?;
    let mut letters = scheme.chars();
    let starts_well = letters.next().is_some_and(|c| c.is_ascii_alphabetic());
    let goes_on_well = letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    (starts_well && goes_on_well).then(|| scheme.to_ascii_lowercase())
}

/// One campaign's message, the same for every device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// Whose message it is; handed to apps as `jraze_notification`.
    pub notification: NotificationUuid,
    /// What it says.
    pub content: Content,
    /// What makes a repeated send replace the first on the phone.
    pub collapse: CollapseId,
    /// When it becomes worthless; providers drop it then.
    pub expires_at: Option<DateTime<Utc>>,
}

/// The identity under which phones replace an older copy of the same campaign.
///
/// It is `apns-collapse-id` (at most 64 bytes) for APNs and the notification's `tag` for Android and
/// the web. It follows from the notification alone, so every retry carries the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollapseId(String);

impl CollapseId {
    /// The identity of a notification.
    pub fn of(notification: NotificationUuid) -> Self {
        Self(format!("jz-{}", notification.0.simple()))
    }

    /// The text, 35 bytes of ASCII.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> Content {
        Content {
            title: "Spring sale".into(),
            body: "Everything must go".into(),
            ..Content::default()
        }
    }

    fn fault(content: &Content) -> String {
        let faults = content.validate().expect_err("should be refused");
        faults
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    }

    #[test]
    fn plain_content_passes() {
        let mut full = content();
        full.deep_link = Some("myapp://sale?from=push".into());
        full.image_url = Some("https://cdn.example.com/a.png".into());
        full.data.insert("sku".into(), "42".into());
        assert_eq!(full.validate(), Ok(()));
    }

    #[test]
    fn links_that_run_code_are_refused() {
        for link in [
            "javascript:alert(1)",
            "JAVASCRIPT:x",
            "data:text/html,x",
            "file:///etc/passwd",
            "nolink",
            ":x",
        ] {
            let refused = Content {
                deep_link: Some(link.into()),
                ..content()
            };
            assert!(fault(&refused).starts_with("deep_link"), "{link}");
        }
    }

    #[test]
    fn pictures_need_https_and_no_user_name() {
        for url in [
            "http://a/b.png",
            "https:/a",
            "https://",
            "https://me@host/x",
            "https://a/ b",
            "ftp://x",
            "httpsx",
        ] {
            let refused = Content {
                image_url: Some(url.into()),
                ..content()
            };
            assert!(fault(&refused).starts_with("image_url"), "{url}");
        }
    }

    #[test]
    fn reserved_data_keys_are_refused() {
        for key in ["from", "gcm.x", "google.y", "aps", "jraze_x", "message_type", ""] {
            let mut refused = content();
            refused.data.insert(key.into(), "v".into());
            assert!(fault(&refused).starts_with("data/"), "{key}");
        }
    }

    #[test]
    fn what_fits_field_by_field_but_not_in_all_is_refused_as_a_whole_with_the_numbers() {
        let mut heavy = content();
        heavy.body = "x".repeat(MAX_BODY_BYTES);
        assert_eq!(heavy.validate(), Ok(()), "the longest body fits alone");
        heavy.data.insert("more".into(), "x".repeat(MAX_DATA_VALUE_BYTES));
        let faults = heavy.validate().expect_err("it is too heavy");
        let [ContentError { field, problem }] = faults.as_slice() else {
            panic!("{faults:?}")
        };
        assert_eq!(field, "");
        let bytes = heavy.payload_bytes().to_string();
        assert!(problem.contains(&bytes) && problem.contains("4096"), "{problem}");
        assert!(faults[0].to_string().starts_with("comes to"), "{}", faults[0]);
    }

    #[test]
    fn a_text_weighs_what_it_weighs_in_json() {
        let all: String = (0..=0x2FF_u32).filter_map(char::from_u32).collect();
        for text in ["", "plain", "\"quoted\" \\ line\n", "für 🎉", all.as_str()] {
            let written = serde_json::to_string(text).expect("text");
            assert_eq!(json_bytes(text), written.len(), "{written}");
        }
    }

    #[test]
    fn empty_content_is_refused() {
        assert!(fault(&Content::default()).contains("title or a body"));
    }

    #[test]
    fn every_send_of_a_notification_has_one_collapse_identity_of_at_most_64_bytes() {
        let uuid = NotificationUuid(uuid::Uuid::from_u128(7));
        assert_eq!(CollapseId::of(uuid), CollapseId::of(uuid));
        assert!(CollapseId::of(uuid).as_str().len() <= 64);
    }
}
