//! Device properties: what an app may write on a device, and audiences may ask about.
//!
//! A property is a key of a closed grammar and a value whose JSON type is its type. The grammar is
//! what makes conditions safe to compile: a key can hold neither the `.` of a path nor the `$` of
//! an operator, and cannot start with a digit, which MongoDB would read as an index of an array.
//!
//! Values never hold null: writing null removes the key.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::number::Number;

/// Longest key, in characters (which are all ASCII).
pub const MAX_KEY_LENGTH: usize = 64;
/// Longest text of a value, or of one entry of a list, in bytes.
pub const MAX_TEXT_BYTES: usize = 1024;
/// Most scalars in one list.
pub const MAX_LIST_LENGTH: usize = 200;
/// Most properties that one request may set or remove.
pub const MAX_CHANGES: usize = 100;
/// Size of a device's properties above which nothing more may be set, in bytes as stored.
pub const MAX_PROPERTIES_BYTES: usize = 64 * 1024;

/// A property's name: `[A-Za-z_][A-Za-z0-9_-]{0,63}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PropertyKey(Box<str>);

impl PropertyKey {
    /// Takes a text that follows the grammar.
    ///
    /// # Errors
    /// [`PropertyError::Key`] for every other text.
    pub fn new(text: &str) -> Result<Self, PropertyError> {
        let mut bytes = text.bytes();
        let head = bytes
            .next()
            .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        let tail = bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        if head && tail && text.len() <= MAX_KEY_LENGTH {
            Ok(Self(text.into()))
        } else {
            Err(PropertyError::Key)
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PropertyKey {
    type Error = PropertyError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<PropertyKey> for String {
    fn from(key: PropertyKey) -> Self {
        key.0.into()
    }
}

impl Borrow<str> for PropertyKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PropertyKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One entry of a list, and the operand of the list operators.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Scalar {
    /// A text.
    Text(String),
    /// An integer or a double; equal when equal as numbers.
    Number(Number),
    /// A truth value; never equal to a number.
    Bool(bool),
}

/// The value of a property. Its JSON type is its type.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum PropertyValue {
    /// Up to [`MAX_TEXT_BYTES`] bytes of text.
    Text(String),
    /// A JSON number without fraction and exponent, within 64 bits.
    Int(i64),
    /// Any other JSON number; always finite.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// Up to [`MAX_LIST_LENGTH`] scalars, mixed as one likes; may be empty.
    List(Vec<Scalar>),
}

/// All properties of a device, sorted by key.
pub type Properties = BTreeMap<PropertyKey, PropertyValue>;

/// Which type a value has; the names are those of the property catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PropertyType {
    /// Text.
    String,
    /// Integer.
    Int,
    /// Double.
    Float,
    /// Truth value.
    Bool,
    /// List of scalars.
    List,
}

impl PropertyType {
    /// Every type, in the order of the enum.
    pub const ALL: [Self; 5] = [Self::String, Self::Int, Self::Float, Self::Bool, Self::List];

    /// The name that the catalogue stores and shows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::List => "list",
        }
    }

    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl PropertyValue {
    /// Reads a JSON value; `None` stands for null, which removes the property.
    ///
    /// # Errors
    /// Objects, lists in lists, null in a list, integers beyond 64 bits signed (they would be
    /// rounded silently), and everything over the limits.
    pub fn from_json(value: &Value) -> Result<Option<Self>, PropertyError> {
        Ok(Some(match value {
            Value::Null => return Ok(None),
            Value::Object(_) => return Err(PropertyError::Object),
            Value::Array(entries) => {
                if entries.len() > MAX_LIST_LENGTH {
                    return Err(PropertyError::ListTooLong);
                }
                let entries = entries.iter().map(Scalar::from_json);
                Self::List(entries.collect::<Result<_, _>>()?)
            }
            scalar => match Scalar::from_json(scalar)? {
                Scalar::Text(text) => Self::Text(text),
                Scalar::Number(Number::Int(int)) => Self::Int(int),
                Scalar::Number(Number::Float(float)) => Self::Float(float),
                Scalar::Bool(bool) => Self::Bool(bool),
            },
        }))
    }

    /// The value as JSON, as the API shows it.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => Value::from(text.as_str()),
            Self::Int(int) => Value::from(*int),
            Self::Float(float) => Value::from(*float),
            Self::Bool(bool) => Value::from(*bool),
            Self::List(entries) => entries.iter().map(Scalar::to_json).collect(),
        }
    }

    /// The type of this value.
    pub fn property_type(&self) -> PropertyType {
        match self {
            Self::Text(_) => PropertyType::String,
            Self::Int(_) => PropertyType::Int,
            Self::Float(_) => PropertyType::Float,
            Self::Bool(_) => PropertyType::Bool,
            Self::List(_) => PropertyType::List,
        }
    }
}

impl Scalar {
    /// Reads a JSON text, number or truth value.
    ///
    /// # Errors
    /// As [`PropertyValue::from_json`].
    pub fn from_json(value: &Value) -> Result<Self, PropertyError> {
        match value {
            Value::String(text) if text.len() > MAX_TEXT_BYTES => Err(PropertyError::TextTooLong),
            Value::String(text) => Ok(Self::Text(text.clone())),
            Value::Bool(bool) => Ok(Self::Bool(*bool)),
            Value::Number(number) => {
                if let Some(int) = number.as_i64() {
                    Ok(Self::Number(Number::Int(int)))
                } else if number.is_u64() {
                    Err(PropertyError::IntegerTooLarge)
                } else {
                    let float = number.as_f64().and_then(Number::float);
                    float.map(Self::Number).ok_or(PropertyError::NotFinite)
                }
            }
            Value::Null | Value::Array(_) | Value::Object(_) => Err(PropertyError::NotScalar),
        }
    }

    /// The scalar as JSON.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => Value::from(text.as_str()),
            Self::Number(Number::Int(int)) => Value::from(*int),
            Self::Number(Number::Float(float)) => Value::from(*float),
            Self::Bool(bool) => Value::from(*bool),
        }
    }
}

/// What one request changes: each key gets a value, or (`None`) is removed. Applied as one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PropertyChanges(BTreeMap<PropertyKey, Option<PropertyValue>>);

impl PropertyChanges {
    /// Collects the changes of a request; a key that comes twice keeps its last value.
    ///
    /// # Errors
    /// [`PropertyError::TooMany`] when more than [`MAX_CHANGES`] keys are named.
    pub fn new(
        changes: impl IntoIterator<Item = (PropertyKey, Option<PropertyValue>)>,
    ) -> Result<Self, PropertyError> {
        let changes: BTreeMap<_, _> = changes.into_iter().collect();
        if changes.len() > MAX_CHANGES {
            return Err(PropertyError::TooMany);
        }
        Ok(Self(changes))
    }

    /// The changes, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&PropertyKey, Option<&PropertyValue>)> {
        self.0.iter().map(|(key, value)| (key, value.as_ref()))
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Applies the changes to a device's properties, as storage does.
    pub fn apply(&self, properties: &mut Properties) {
        for (key, value) in &self.0 {
            match value {
                Some(value) => properties.insert(key.clone(), value.clone()),
                None => properties.remove(key),
            };
        }
    }
}

/// Why a property was refused. The texts are for the person who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    /// The key is outside the grammar.
    #[error(
        "a property key is 1 to {MAX_KEY_LENGTH} of the characters A-Z a-z 0-9 _ - and starts with a letter or _"
    )]
    Key,
    /// The text is longer than allowed.
    #[error("a text is at most {MAX_TEXT_BYTES} bytes long")]
    TextTooLong,
    /// The list is longer than allowed.
    #[error("a list holds at most {MAX_LIST_LENGTH} values")]
    ListTooLong,
    /// The integer does not fit 64 bits signed.
    #[error("an integer must fit into 64 bits with sign; send larger ones as text")]
    IntegerTooLarge,
    /// The number is infinite or not a number.
    #[error("a number must be finite")]
    NotFinite,
    /// A list holds a list, an object or null.
    #[error("a list may hold text, numbers, true and false only")]
    NotScalar,
    /// The value is an object.
    #[error("a value is text, a number, true, false, null or a list, never an object")]
    Object,
    /// The request names too many keys.
    #[error("one request changes at most {MAX_CHANGES} properties")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_key_follows_the_grammar() {
        let longest = "a".repeat(MAX_KEY_LENGTH);
        for good in ["a", "_", "plan", "Plan_2-x", "__proto__", &longest] {
            assert_eq!(PropertyKey::new(good).unwrap().as_str(), good);
        }
        let too_long = "a".repeat(MAX_KEY_LENGTH + 1);
        for bad in [
            "",
            "$where",
            "a.b",
            "1a",
            "-a",
            "a b",
            "a\0",
            "ä",
            "a$",
            "device.platform",
            &too_long,
        ] {
            assert_eq!(PropertyKey::new(bad), Err(PropertyError::Key), "{bad:?}");
        }
    }

    #[test]
    fn the_json_type_of_a_value_is_its_type() {
        let value = |json| PropertyValue::from_json(&json).unwrap().unwrap();
        assert_eq!(value(json!("31")), PropertyValue::Text("31".into()));
        assert_eq!(value(json!(31)), PropertyValue::Int(31));
        assert_eq!(value(json!(31.0)), PropertyValue::Float(31.0));
        assert_eq!(value(json!(true)), PropertyValue::Bool(true));
        assert_eq!(value(json!([1, "a", true])).property_type(), PropertyType::List);
        assert_eq!(PropertyValue::from_json(&json!(null)), Ok(None));
    }

    #[test]
    fn a_value_comes_back_as_the_json_it_was() {
        for json in [
            json!("x"),
            json!(-7),
            json!(1.5),
            json!(false),
            json!([1, "a", 2.5, true]),
        ] {
            let value = PropertyValue::from_json(&json).unwrap().unwrap();
            assert_eq!(value.to_json(), json);
            assert_eq!(serde_json::to_value(&value).unwrap(), json);
        }
    }

    #[test]
    fn a_number_is_the_nearest_double_to_what_is_written() {
        // Without serde_json's `float_roundtrip` the last digit of the first is lost.
        for text in ["5.0000000000000004e+32", "0.30000000000000004", "5e-324"] {
            let json = serde_json::from_str(text).unwrap();
            let nearest: f64 = text.parse().unwrap();
            assert_eq!(
                PropertyValue::from_json(&json),
                Ok(Some(PropertyValue::Float(nearest)))
            );
            assert_eq!(serde_json::from_str::<Value>(&json.to_string()).unwrap(), json);
        }
    }

    #[test]
    fn values_outside_the_limits_are_refused() {
        let cases = [
            (json!({"$gt": ""}), PropertyError::Object),
            (json!([[1]]), PropertyError::NotScalar),
            (json!([null]), PropertyError::NotScalar),
            (json!(u64::MAX), PropertyError::IntegerTooLarge),
            (json!("x".repeat(MAX_TEXT_BYTES + 1)), PropertyError::TextTooLong),
            (json!(vec![1; MAX_LIST_LENGTH + 1]), PropertyError::ListTooLong),
        ];
        for (json, error) in cases {
            assert_eq!(PropertyValue::from_json(&json), Err(error));
        }
    }

    #[test]
    fn the_last_change_of_a_key_counts_and_null_removes() {
        let key = |text| PropertyKey::new(text).unwrap();
        let changes = PropertyChanges::new([
            (key("a"), Some(PropertyValue::Int(1))),
            (key("a"), Some(PropertyValue::Int(2))),
            (key("b"), None),
        ])
        .unwrap();
        let mut properties = Properties::from([(key("b"), PropertyValue::Bool(true))]);
        changes.apply(&mut properties);
        assert_eq!(properties, Properties::from([(key("a"), PropertyValue::Int(2))]));
    }

    #[test]
    fn a_request_may_not_change_more_than_a_hundred_properties() {
        let changes = (0..=MAX_CHANGES).map(|n| (PropertyKey::new(&format!("k{n}")).unwrap(), None));
        assert_eq!(PropertyChanges::new(changes), Err(PropertyError::TooMany));
    }
}
