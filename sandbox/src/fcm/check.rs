//! What FCM checks in the body of a send.
//!
//! The request is walked once, straight from its bytes, along the tables of [`super::schema`]: names,
//! types, limits, and the sizes of its parts. Nothing is built, so a good message costs about as much
//! as scanning its JSON. Problems that Google's JSON reader would find (unknown names, wrong types) are
//! kept apart from those that FCM itself finds, because their answers differ.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    answers::Violation,
    schema::{Kind, Part, REQUEST, Schema, Target},
};

/// Largest message, in bytes of names and texts.
const MAX_MESSAGE: usize = 4096;
/// Largest message to a topic.
const MAX_TOPIC_MESSAGE: usize = 2048;
/// Longest time to live: 28 days, in seconds.
const MAX_TTL: f64 = 2_419_200.0;
/// Violations reported at most.
const MAX_VIOLATIONS: usize = 20;

/// Why a body is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is not JSON.
    Unparsable(String),
    /// Names or types are wrong.
    Unreadable(Vec<Violation>),
    /// FCM refuses what it says.
    Invalid(Violation),
}

/// What a good message is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// Token, topic, condition or installation id.
    pub(crate) address: Cow<'a, str>,
    pub(crate) target: Target,
    /// Whether it is only to be checked, not sent.
    pub(crate) validate_only: bool,
}

/// Target and violations of a body, whether good or not: the ledger wants the target in any case.
pub(crate) struct Checked<'a> {
    pub(crate) address: Option<Cow<'a, str>>,
    pub(crate) result: Result<Message<'a>, Refusal>,
}

/// Checks the body of a send.
pub(crate) fn check(body: &[u8]) -> Checked<'_> {
    let mut walk = Walk::default();
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = Value {
        walk: &mut walk,
        kind: Kind::Message(&REQUEST),
        part: Part::Common,
    }
    .deserialize(&mut reader)
    .and_then(|()| reader.end());
    let address = walk.targets.first().map(|(_, address)| address.clone());
    let result = match read {
        Err(error) => Err(Refusal::Unparsable(error.to_string())),
        Ok(()) if !walk.unreadable.is_empty() => Err(Refusal::Unreadable(walk.unreadable)),
        Ok(()) => walk.judge(),
    };
    Checked { address, result }
}

#[derive(Default)]
struct Walk<'a> {
    path: String,
    unreadable: Vec<Violation>,
    invalid: Option<Violation>,
    targets: Vec<(Target, Cow<'a, str>)>,
    validate_only: bool,
    has_message: bool,
    common: usize,
    android: usize,
    apns: usize,
}

impl<'a> Walk<'a> {
    fn unreadable(&mut self, description: String) {
        if self.unreadable.len() < MAX_VIOLATIONS {
            self.unreadable.push(Violation {
                field: self.path.clone(),
                description,
            });
        }
    }

    fn wrong_type(&mut self, kind: Kind, value: &dyn fmt::Display) {
        let name = match kind {
            Kind::Bool => "TYPE_BOOL",
            Kind::Int => "TYPE_INT32",
            Kind::Number => "TYPE_FLOAT",
            Kind::Enum(_) => "TYPE_ENUM",
            Kind::Ttl | Kind::Duration => "type.googleapis.com/google.protobuf.Duration",
            Kind::Message(_) | Kind::Data | Kind::Headers | Kind::Struct | Kind::ApnsPayload => {
                "TYPE_MESSAGE"
            }
            _ => "TYPE_STRING",
        };
        self.unreadable(format!("Invalid value at '{}' ({name}), {value}", self.path));
    }

    fn invalid(&mut self, description: impl Into<String>) {
        if self.invalid.is_none() {
            self.invalid = Some(Violation {
                field: self.path.clone(),
                description: description.into(),
            });
        }
    }

    fn count(&mut self, part: Part, bytes: usize) {
        match part {
            Part::Android => self.android += bytes,
            Part::Common | Part::Inherit => self.common += bytes,
            Part::Apns | Part::Webpush => {}
        }
    }

    /// What FCM says to a message that could be read.
    fn judge(mut self) -> Result<Message<'a>, Refusal> {
        let refuse = |field: &str, description: &str| {
            Err(Refusal::Invalid(Violation {
                field: field.to_owned(),
                description: description.to_owned(),
            }))
        };
        if !self.has_message {
            return refuse("message", "Message is not set.");
        }
        if self.targets.len() > 1 {
            return refuse(
                "message",
                "Exactly one of token, topic or condition must be set as the recipient of the message.",
            );
        }
        let Some((target, address)) = self.targets.pop().filter(|(_, text)| !text.is_empty()) else {
            return refuse("message", "Recipient of the message is not set.");
        };
        if let Some(violation) = self.invalid {
            return Err(Refusal::Invalid(violation));
        }
        if target == Target::Topic && !is_topic(&address) {
            return refuse("message.topic", "Invalid topic name.");
        }
        let limit = match target {
            Target::Topic | Target::Condition => MAX_TOPIC_MESSAGE,
            Target::Token | Target::Fid => MAX_MESSAGE,
        };
        if self.common + self.android > limit {
            return refuse("message", "Android message is too big");
        }
        if self.apns > MAX_MESSAGE {
            return refuse("message.apns.payload", "APNs payload is too big");
        }
        Ok(Message {
            address,
            target,
            validate_only: self.validate_only,
        })
    }
}

/// `[a-zA-Z0-9-_.~%]+`, also after `/topics/`.
fn is_topic(name: &str) -> bool {
    let name = name.strip_prefix("/topics/").unwrap_or(name);
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte))
}

/// Whether data may not use this name.
fn is_reserved(key: &str) -> bool {
    matches!(key, "from" | "message_type" | "collapse_key")
        || key.starts_with("google.")
        || key.starts_with("gcm.")
}

/// Whether `given` is the field `snake`, in either spelling that proto JSON takes.
fn is_field(snake: &str, given: &str) -> bool {
    if snake == given {
        return true;
    }
    let mut letters = given.bytes();
    let mut upper = false;
    for byte in snake.bytes() {
        if byte == b'_' {
            upper = true;
            continue;
        }
        let wanted = if std::mem::take(&mut upper) {
            byte.to_ascii_uppercase()
        } else {
            byte
        };
        if letters.next() != Some(wanted) {
            return false;
        }
    }
    letters.next().is_none()
}

/// Seconds of a duration such as `3.5s`.
fn seconds(text: &str) -> Option<f64> {
    let number = text.strip_suffix('s')?;
    let plain = number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-');
    number.parse().ok().filter(|_| plain)
}

/// One value of a kind, somewhere in the request.
struct Value<'w, 'a> {
    walk: &'w mut Walk<'a>,
    kind: Kind,
    part: Part,
}

impl<'de> DeserializeSeed<'de> for Value<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if let Kind::Struct | Kind::ApnsPayload = self.kind {
            let raw: &RawValue = serde::Deserialize::deserialize(deserializer)?;
            match raw.get().as_bytes().first() {
                Some(b'{') => {
                    if let Kind::ApnsPayload = self.kind {
                        self.walk.apns += raw.get().len();
                    }
                }
                Some(b'n') => {}
                _ => self.walk.wrong_type(self.kind, &raw.get()),
            }
            return Ok(());
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Value<'_, 'de> {
    fn text(self, text: Cow<'de, str>) {
        let Self { walk, kind, part } = self;
        match kind {
            Kind::Text => {}
            Kind::Counted => walk.count(part, text.len()),
            Kind::Target(target) => walk.targets.push((target, text)),
            Kind::Int if text.parse::<i32>().is_ok() => {}
            Kind::Number if text.parse::<f64>().is_ok() => {}
            Kind::Enum(names) if names.contains(&&*text) => {}
            Kind::Ttl | Kind::Duration => match (seconds(&text), kind) {
                (None, _) => {
                    let shown = format!("\"{text}\"");
                    walk.unreadable(format!(
                        "Invalid value at '{}' (type.googleapis.com/google.protobuf.Duration), \
                         Field '{}', Illegal duration format; duration must end with 's': {shown}",
                        walk.path, walk.path
                    ));
                }
                (Some(seconds), Kind::Ttl) if !(0.0..=MAX_TTL).contains(&seconds) => {
                    walk.invalid("Invalid TTL: it must be from 0 to 2419200 seconds (28 days).");
                }
                _ => {}
            },
            _ => walk.wrong_type(kind, &format_args!("\"{text}\"")),
        }
    }

    fn number(self, number: f64) {
        match self.kind {
            Kind::Number => {}
            Kind::Int | Kind::Enum(_)
                if number.fract() == 0.0 && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number) => {
            }
            kind => self.walk.wrong_type(kind, &number),
        }
    }

    fn fields<A: MapAccess<'de>>(self, schema: &'static Schema, mut map: A) -> Result<(), A::Error> {
        let walk = self.walk;
        let length = walk.path.len();
        let part = match schema.part {
            Part::Inherit => self.part,
            part => part,
        };
        while let Some(Key(name)) = map.next_key()? {
            let Some((snake, kind)) = schema.fields.iter().find(|(snake, _)| is_field(snake, &name)) else {
                let at = match walk.path.as_str() {
                    "" => String::new(),
                    path => format!(" at '{path}'"),
                };
                walk.unreadable(format!(
                    "Invalid JSON payload received. Unknown name \"{name}\"{at}: Cannot find field."
                ));
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if length > 0 {
                walk.path.push('.');
            }
            walk.path.push_str(snake);
            walk.has_message |= *snake == "message";
            map.next_value_seed(Value {
                walk: &mut *walk,
                kind: *kind,
                part,
            })?;
            walk.path.truncate(length);
        }
        Ok(())
    }

    fn entries<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { walk, kind, part } = self;
        let length = walk.path.len();
        let mut index = 0;
        while let Some(Key(name)) = map.next_key()? {
            if let Kind::Data = kind {
                walk.count(part, name.len());
                if is_reserved(&name) {
                    walk.invalid(format!("Invalid data payload key: {name}"));
                }
            }
            use fmt::Write;
            // Proto JSON names the entries of a map by position.
            let _ = write!(walk.path, "[{index}].value");
            map.next_value_seed(Value {
                walk: &mut *walk,
                kind: match kind {
                    Kind::Data => Kind::Counted,
                    _ => Kind::Text,
                },
                part,
            })?;
            walk.path.truncate(length);
            index += 1;
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Value<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.kind {
            Kind::Bool => self.walk.validate_only |= value && self.walk.path == "validate_only",
            kind => self.walk.wrong_type(kind, &value),
        }
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.number(value as f64);
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.number(value as f64);
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.number(value);
        Ok(())
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<(), E> {
        self.text(Cow::Borrowed(value));
        Ok(())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.text(Cow::Owned(value.to_owned()));
        Ok(())
    }

    /// null is a field that is not set, except in a map.
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        if self.walk.path.ends_with(".value") {
            self.walk.wrong_type(self.kind, &"null");
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let kind = match self.kind {
            Kind::Texts => Kind::Counted,
            Kind::Durations => Kind::Duration,
            kind => {
                self.walk.wrong_type(kind, &"a list");
                while list.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(());
            }
        };
        while list
            .next_element_seed(Value {
                walk: &mut *self.walk,
                kind,
                part: self.part,
            })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        match self.kind {
            Kind::Message(schema) => self.fields(schema, map),
            Kind::Data | Kind::Headers => self.entries(map),
            kind => {
                self.walk.wrong_type(kind, &"an object");
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(())
            }
        }
    }
}

/// A name in an object, borrowed when it has no escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> Refusal {
        check(body.as_bytes()).result.unwrap_err()
    }

    fn unreadable(body: &str) -> Violation {
        match refused(body) {
            Refusal::Unreadable(mut violations) => violations.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn invalid(body: &str) -> Violation {
        match refused(body) {
            Refusal::Invalid(violation) => violation,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_full_message_passes_in_both_spellings() {
        let body = r##"{"validateOnly":true,"message":{"token":"t","notification":{"title":"a","body":"b","image":"c"},
            "data":{"k":"v"},"android":{"collapseKey":"c","collapse_key":"c","priority":"HIGH","ttl":"3.5s",
            "notification":{"tag":"t","channel_id":"c","vibrate_timings":["0.5s"],"notification_count":3,
            "light_settings":{"color":{"red":0.5},"light_on_duration":"1s"}}},
            "apns":{"headers":{"apns-priority":"10"},"payload":{"aps":{"alert":{"title":"x"}}},"fcm_options":{"image":"i"}},
            "webpush":{"headers":{"TTL":"1"},"notification":{"title":"x","actions":[]},"fcm_options":{"link":"l"}}}}"##;
        let message = check(body.as_bytes()).result.unwrap();
        assert_eq!(message.address, "t");
        assert!(message.validate_only);
        assert_eq!(message.target, Target::Token);
    }

    #[test]
    fn an_unknown_field_is_named_with_its_place() {
        let violation = unreadable(r#"{"message":{"token":"t","android":{"ttll":"1s"}}}"#);
        assert_eq!(violation.field, "message.android");
        assert!(
            violation
                .description
                .contains("Unknown name \"ttll\" at 'message.android'")
        );
    }

    #[test]
    fn data_values_are_text() {
        for value in ["1", "true", "null", "{}", "[]"] {
            let body = format!(r#"{{"message":{{"token":"t","data":{{"a":"b","k":{value}}}}}}}"#);
            assert_eq!(unreadable(&body).field, "message.data[1].value", "{value}");
        }
    }

    #[test]
    fn a_message_has_exactly_one_target() {
        assert_eq!(invalid(r#"{"message":{}}"#).field, "message");
        assert_eq!(invalid(r#"{"message":{"token":""}}"#).field, "message");
        let both = invalid(r#"{"message":{"token":"t","topic":"u"}}"#);
        assert!(both.description.contains("Exactly one"));
        assert_eq!(invalid("{}").description, "Message is not set.");
    }

    #[test]
    fn a_ttl_is_a_duration_from_0_to_28_days() {
        let with = |ttl: &str| format!(r#"{{"message":{{"token":"t","android":{{"ttl":"{ttl}"}}}}}}"#);
        assert!(check(with("2419200s").as_bytes()).result.is_ok());
        assert!(check(with("0s").as_bytes()).result.is_ok());
        assert_eq!(invalid(&with("2419201s")).field, "message.android.ttl");
        assert_eq!(invalid(&with("-1s")).field, "message.android.ttl");
        assert_eq!(unreadable(&with("60")).field, "message.android.ttl");
    }

    #[test]
    fn reserved_data_keys_are_refused() {
        for key in ["from", "message_type", "google.x", "gcm.notification"] {
            let body = format!(r#"{{"message":{{"token":"t","data":{{"{key}":"v"}}}}}}"#);
            assert!(invalid(&body).description.contains(key));
        }
    }

    #[test]
    fn names_and_texts_count_to_4096_bytes_and_to_2048_for_a_topic() {
        let body = |target: &str, size: usize| {
            let text = "x".repeat(size - 3);
            format!(
                r#"{{"message":{{"{target}":"t","notification":{{"title":"ab"}},"data":{{"k":"{text}"}}}}}}"#
            )
        };
        assert!(check(body("token", 4096).as_bytes()).result.is_ok());
        assert!(invalid(&body("token", 4097)).description.contains("too big"));
        assert!(check(body("topic", 2048).as_bytes()).result.is_ok());
        assert!(invalid(&body("topic", 2049)).description.contains("too big"));
    }

    #[test]
    fn what_is_no_json_is_unparsable() {
        assert!(matches!(refused(r#"{"message":"#), Refusal::Unparsable(_)));
        assert!(matches!(refused(r#"{} x"#), Refusal::Unparsable(_)));
        assert!(matches!(refused("[]"), Refusal::Unreadable(_)));
    }
}
