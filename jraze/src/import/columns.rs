//! What the columns of a CSV file are: fields of the device or properties, and of which type.
//!
//! A column named like a field of the device is that field; any other becomes a property of the
//! column's name. `--map` says otherwise: `--map plan_name=plan`, `--map zip=zip:string`,
//! `--map uid=external_id`, `--map notes=` (left out).
//!
//! The type of a property is inferred over the *whole* column: one cell `n/a` among ages makes the
//! column text, so that no condition meets two types under one key.

use std::str::FromStr;

use serde_json::{Number, Value};

/// The fields of the device that a column can be.
const FIELDS: [Field; 7] = [
    Field::ExternalId,
    Field::PushToken,
    Field::SendPlatform,
    Field::DevicePlatform,
    Field::Locale,
    Field::TimeZone,
    Field::AppVersion,
];

/// A field of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    ExternalId,
    PushToken,
    SendPlatform,
    DevicePlatform,
    Locale,
    TimeZone,
    AppVersion,
}

impl Field {
    /// Its name on the wire.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ExternalId => "external_id",
            Self::PushToken => "push_token",
            Self::SendPlatform => "send_platform",
            Self::DevicePlatform => "device_platform",
            Self::Locale => "locale",
            Self::TimeZone => "time_zone",
            Self::AppVersion => "app_version",
        }
    }

    fn named(name: &str) -> Option<Self> {
        FIELDS.into_iter().find(|field| field.name() == name)
    }
}

/// What a column is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Column {
    Field(Field),
    Property { key: String, kind: Option<Kind> },
    LeftOut,
}

/// The type of a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int,
    Float,
    Text,
    /// Texts separated by `;`.
    List,
}

impl Kind {
    /// The narrowest type that a cell fits.
    pub(crate) fn of(cell: &str) -> Self {
        match cell {
            "true" | "false" | "TRUE" | "FALSE" | "True" | "False" => Self::Bool,
            // `007` and `+41` are texts: a number would lose what is written.
            _ if is_plain_number(cell) && cell.parse::<i64>().is_ok() => Self::Int,
            _ if is_plain_number(cell) && cell.parse::<f64>().is_ok_and(f64::is_finite) => Self::Float,
            _ => Self::Text,
        }
    }

    /// What a cell of the type looks like, for a person.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Self::Bool => "true or false, 1 or 0, yes or no",
            Self::Int => "a whole number of at most 64 bits",
            Self::Float => "a number",
            Self::Text | Self::List => "text",
        }
    }

    /// The JSON value of a cell, or `None` when it does not fit the type.
    pub(crate) fn value(self, cell: &str) -> Option<Value> {
        match self {
            Self::Text => Some(Value::from(cell)),
            Self::Bool => match cell.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" => Some(Value::Bool(true)),
                "false" | "0" | "no" => Some(Value::Bool(false)),
                _ => None,
            },
            Self::Int => cell.parse::<i64>().ok().map(Value::from),
            Self::Float => cell.parse().ok().and_then(Number::from_f64).map(Value::Number),
            Self::List => {
                let parts = cell.split(';').map(str::trim).filter(|part| !part.is_empty());
                Some(parts.map(Value::from).collect())
            }
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float",
            Self::Text => "string",
            Self::List => "list",
        }
    }
}

/// Digits as a number is written without decoration: no `+`, no leading zero, no `1e5`, no `.5`.
fn is_plain_number(cell: &str) -> bool {
    let digits = cell.strip_prefix('-').unwrap_or(cell);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all_digits(whole) && all_digits(fraction) && (whole == "0" || !whole.starts_with('0'))
}

/// One `--map` flag: `COLUMN=PROPERTY[:TYPE]`, `COLUMN=FIELD` or `COLUMN=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) column: String,
    pub(crate) target: Column,
}

impl FromStr for Mapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (column, target) = text.rsplit_once('=').ok_or("expected COLUMN=PROPERTY[:TYPE]")?;
        let (key, kind) = match target.split_once(':') {
            None => (target, None),
            Some((key, kind)) => {
                let kinds = [Kind::Text, Kind::Int, Kind::Float, Kind::Bool, Kind::List];
                let found = kinds.into_iter().find(|known| known.name() == kind);
                let found = found.ok_or_else(|| {
                    format!("unknown type {kind:?}, expected string, int, float, bool or list")
                })?;
                (key, Some(found))
            }
        };
        let target = match (key, Field::named(key)) {
            ("", _) => Column::LeftOut,
            (_, Some(field)) => Column::Field(field),
            (key, None) => Column::Property {
                key: checked_key(key)?,
                kind,
            },
        };
        Ok(Self {
            column: column.to_owned(),
            target,
        })
    }
}

/// What the columns of `header` are.
///
/// # Errors
/// A text for the person, when no column is the external id, when a name is no property key, when
/// two columns are the same thing, when a mapping names no column.
pub(crate) fn resolve(header: &[&str], mappings: &[Mapping]) -> Result<Vec<Column>, String> {
    if let Some(lost) = mappings
        .iter()
        .find(|mapping| !header.contains(&mapping.column.as_str()))
    {
        return Err(format!(
            "--map names the column {:?}, the header has {}",
            lost.column,
            header.join(", ")
        ));
    }
    let column = |name: &&str| {
        if let Some(mapping) = mappings.iter().find(|mapping| mapping.column == **name) {
            return Ok(mapping.target.clone());
        }
        Ok(match Field::named(name) {
            Some(field) => Column::Field(field),
            None => Column::Property {
                key: checked_key(name)
                    .map_err(|error| format!("{error}; name it with --map {name:?}=KEY"))?,
                kind: None,
            },
        })
    };
    let columns = header.iter().map(column).collect::<Result<Vec<_>, String>>()?;
    for (index, column) in columns.iter().enumerate() {
        let same = |other: &Column| match (column, other) {
            (Column::Field(one), Column::Field(other)) => one == other,
            (Column::Property { key: one, .. }, Column::Property { key: other, .. }) => one == other,
            _ => false,
        };
        if let Some(other) = columns[..index].iter().position(same) {
            return Err(format!(
                "the columns {:?} and {:?} are the same thing",
                header[other], header[index]
            ));
        }
    }
    if !columns.contains(&Column::Field(Field::ExternalId)) {
        return Err(
            "no column is the external id; name one external_id, or use --map COLUMN=external_id".into(),
        );
    }
    Ok(columns)
}

fn checked_key(key: &str) -> Result<String, String> {
    let mut bytes = key.bytes();
    let good = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        && key.len() <= 64;
    if good {
        Ok(key.to_owned())
    } else {
        Err(format!(
            "{key:?} cannot be a property key (a letter or _, then letters, digits, _ and -, 64 at most)"
        ))
    }
}

/// What [`platform`] takes, for a person.
pub(crate) fn platforms(field: Field) -> &'static str {
    match field {
        Field::SendPlatform => "1 or fcm, 2 or apns, 3 or web_push, 0 or unknown",
        _ => "1 or android, 2 or ios, 3 or web, 0 or unknown",
    }
}

/// The number of a platform given by number or by name.
pub(crate) fn platform(field: Field, cell: &str) -> Option<u64> {
    let number = match (field, cell.to_ascii_lowercase().as_str()) {
        (_, "0" | "unknown") => 0,
        (_, "1") | (Field::DevicePlatform, "android") | (Field::SendPlatform, "fcm") => 1,
        (_, "2") | (Field::DevicePlatform, "ios") | (Field::SendPlatform, "apns") => 2,
        (_, "3") | (Field::DevicePlatform, "web") | (Field::SendPlatform, "web_push" | "webpush") => 3,
        _ => return None,
    };
    Some(number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Column, Field, Kind, Mapping, platform, resolve};

    #[test]
    fn numbers_that_would_lose_what_is_written_stay_text() {
        for cell in [
            "007",
            "+41",
            "1e5",
            ".5",
            "5.",
            "NaN",
            "inf",
            "1,5",
            "2026-11-21",
            "-",
        ] {
            assert_eq!(Kind::of(cell), Kind::Text, "{cell}");
        }
        assert_eq!(Kind::of("0"), Kind::Int);
        assert_eq!(Kind::of("-0.5"), Kind::Float);
        assert_eq!(Kind::of("9223372036854775808"), Kind::Float, "beyond 64 bits");
    }

    #[test]
    fn cells_become_values_of_the_type_or_nothing() {
        assert_eq!(Kind::Int.value("5"), Some(json!(5)));
        assert_eq!(Kind::Float.value("5"), Some(json!(5.0)));
        assert_eq!(Kind::Bool.value("Yes"), Some(json!(true)));
        assert_eq!(Kind::List.value("a; b;;c"), Some(json!(["a", "b", "c"])));
        assert_eq!(Kind::Int.value("five"), None);
        assert_eq!(Kind::Bool.value("maybe"), None);
    }

    fn mapping(text: &str) -> Result<Mapping, String> {
        text.parse()
    }

    #[test]
    fn a_mapping_renames_types_makes_a_field_or_leaves_out() {
        let target = |text: &str| mapping(text).unwrap().target;
        let property = |key: &str, kind| Column::Property {
            key: key.into(),
            kind,
        };
        assert_eq!(target("plan name=plan"), property("plan", None));
        assert_eq!(target("zip=zip:string"), property("zip", Some(Kind::Text)));
        assert_eq!(target("uid=external_id"), Column::Field(Field::ExternalId));
        assert_eq!(target("notes="), Column::LeftOut);
        assert!(mapping("zip=zip:text").unwrap_err().contains("expected string"));
        assert!(mapping("zip=9zip").unwrap_err().contains("property key"));
        assert!(mapping("zip").is_err());
    }

    #[test]
    fn headers_that_cannot_work_are_refused_with_what_to_do() {
        let refused = |header: &[&str], maps: &[&str]| {
            let maps: Vec<_> = maps.iter().map(|text| mapping(text).unwrap()).collect();
            resolve(header, &maps).unwrap_err()
        };
        assert!(refused(&["id", "age"], &[]).contains("--map COLUMN=external_id"));
        assert!(refused(&["external_id", "plan name"], &[]).contains("--map \"plan name\"=KEY"));
        assert!(refused(&["external_id", "a", "b"], &["b=a"]).contains("same thing"));
        assert!(refused(&["external_id"], &["x=y"]).contains("the header has external_id"));
    }

    #[test]
    fn platforms_are_numbers_or_names() {
        assert_eq!(platform(Field::DevicePlatform, "iOS"), Some(2));
        assert_eq!(platform(Field::SendPlatform, "FCM"), Some(1));
        assert_eq!(platform(Field::SendPlatform, "3"), Some(3));
        assert_eq!(platform(Field::SendPlatform, "ios"), None);
    }
}
