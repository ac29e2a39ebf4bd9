//! The walk along a request: names, types, values and sizes, straight from the bytes.
//!
//! Violations that Google's JSON reader would find (unknown names, wrong types) are kept apart from those
//! that FCM itself finds.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    answers::Violation,
    schema::{Kind, Part, REQUEST, Schema, Target},
};

/// Longest time to live: 28 days, in seconds.
const MAX_TTL: f64 = 2_419_200.0;
/// Violations reported at most.
const MAX_VIOLATIONS: usize = 20;

/// Walks a whole body; an error means that it is no JSON.
pub(super) fn walk(body: &[u8]) -> (Walk<'_>, serde_json::Result<()>) {
    let mut walk = Walk::default();
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = Value {
        walk: &mut walk,
        kind: Kind::Message(&REQUEST),
        part: Part::Common,
    }
    .deserialize(&mut reader)
    .and_then(|()| reader.end());
    (walk, read)
}

/// What was found so far.
#[derive(Default)]
pub(super) struct Walk<'a> {
    path: String,
    pub(super) unreadable: Vec<Violation>,
    pub(super) invalid: Option<Violation>,
    pub(super) targets: Vec<(Target, Cow<'a, str>)>,
    pub(super) validate_only: bool,
    pub(super) has_message: bool,
    pub(super) common: usize,
    pub(super) android: usize,
    pub(super) apns: usize,
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
}

/// Whether data may not use this name.
fn is_reserved(key: &str) -> bool {
    matches!(key, "from" | "message_type") || key.starts_with("google") || key.starts_with("gcm")
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
