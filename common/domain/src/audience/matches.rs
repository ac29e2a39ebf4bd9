//! THE EVALUATOR: what each comparison means for one device. Everything else follows it.

use chrono::{DateTime, Utc};

use crate::device::{Device, DevicePlatform, SendPlatform, ShortText};
use crate::number::Number;
use crate::property::{Properties, PropertyValue, Scalar};

use super::condition::{Condition, DeviceField, Field, Relation, Test};
use super::dates::is_date_text;
use super::version::version_key;

/// The parts of a device that conditions can see.
#[derive(Debug, Clone, Copy)]
pub struct DeviceView<'a> {
    /// What the app wrote.
    pub properties: &'a Properties,
    /// What it runs.
    pub device_platform: DevicePlatform,
    /// Who carries its pushes.
    pub send_platform: SendPlatform,
    /// Its locale, when told.
    pub locale: Option<&'a str>,
    /// Its time zone, when told.
    pub time_zone: Option<&'a str>,
    /// Its app's version, when told.
    pub app_version: Option<&'a str>,
    /// Last registration.
    pub last_seen_at: DateTime<Utc>,
    /// First registration.
    pub created_at: DateTime<Utc>,
    /// 1 to 10000.
    pub random_bucket: u16,
}

impl Device {
    /// The parts of the device that conditions can see.
    pub fn view(&self) -> DeviceView<'_> {
        DeviceView {
            properties: &self.properties,
            device_platform: self.device_platform,
            send_platform: self.send_platform,
            locale: self.locale.as_ref().map(ShortText::as_str),
            time_zone: self.time_zone.as_ref().map(ShortText::as_str),
            app_version: self.app_version.as_ref().map(ShortText::as_str),
            last_seen_at: self.last_seen_at,
            created_at: self.created_at,
            random_bucket: self.random_bucket,
        }
    }
}

impl Condition {
    /// Whether the device meets the condition. `now` is what relative dates count from.
    pub fn matches(&self, device: &DeviceView<'_>, now: DateTime<Utc>) -> bool {
        let holds = |child: &Condition| child.matches(device, now);
        match self {
            Self::All(children) => children.iter().all(holds),
            Self::Any(children) => children.iter().any(holds),
            Self::Not(children) => !children.iter().any(holds),
            Self::Compare { field, test } => test.accepts(Found::of(field, device), now),
        }
    }
}

impl Condition {
    /// What it says of every device in a bucket, of which nothing else is known: `None` when that depends.
    pub fn in_bucket(&self, bucket: u16, now: DateTime<Utc>) -> Option<bool> {
        // One child may decide; else each of them has to be known.
        let unless_one_is = |deciding: bool, children: &[Condition]| {
            let mut known = Some(!deciding);
            for child in children {
                match child.in_bucket(bucket, now) {
                    Some(found) if found == deciding => return Some(deciding),
                    Some(_) => {}
                    None => known = None,
                }
            }
            known
        };
        match self {
            Self::All(children) => unless_one_is(false, children),
            Self::Any(children) => unless_one_is(true, children),
            Self::Not(children) => unless_one_is(true, children).map(|any| !any),
            Self::Compare {
                field: Field::Device(DeviceField::RandomBucket),
                test,
            } => Some(test.accepts(Found::Number(Number::Int(bucket.into())), now)),
            Self::Compare { .. } => None,
        }
    }
}

/// What a device has in the field asked for.
#[derive(Clone, Copy)]
enum Found<'a> {
    Nothing,
    Text(&'a str),
    Number(Number),
    Bool(bool),
    List(&'a [Scalar]),
    Instant(DateTime<Utc>),
}

impl<'a> Found<'a> {
    fn of(field: &Field, device: &DeviceView<'a>) -> Self {
        let number = |number: u16| Self::Number(Number::Int(number.into()));
        let text = |text: Option<&'a str>| text.map_or(Self::Nothing, Self::Text);
        match field {
            Field::Property(key) => match device.properties.get(key) {
                None => Self::Nothing,
                Some(PropertyValue::Text(text)) => Self::Text(text),
                Some(PropertyValue::Int(int)) => Self::Number(Number::Int(*int)),
                Some(PropertyValue::Float(float)) => Self::Number(Number::Float(*float)),
                Some(PropertyValue::Bool(bool)) => Self::Bool(*bool),
                Some(PropertyValue::List(entries)) => Self::List(entries),
            },
            Field::Device(DeviceField::Platform) => number(device.device_platform.number().into()),
            Field::Device(DeviceField::SendPlatform) => number(device.send_platform.number().into()),
            Field::Device(DeviceField::RandomBucket) => number(device.random_bucket),
            Field::Device(DeviceField::Locale) => text(device.locale),
            Field::Device(DeviceField::TimeZone) => text(device.time_zone),
            Field::Device(DeviceField::AppVersion) => text(device.app_version),
            Field::Device(DeviceField::LastSeenAt) => Self::Instant(device.last_seen_at),
            Field::Device(DeviceField::CreatedAt) => Self::Instant(device.created_at),
        }
    }
}

impl Test {
    fn accepts(&self, found: Found<'_>, now: DateTime<Utc>) -> bool {
        match (self, found) {
            (Self::Exists, found) => !matches!(found, Found::Nothing),
            (Self::NotExists, found) => matches!(found, Found::Nothing),
            // The negations hold for everything that their positive does not.
            (Self::Number(Relation::Ne, operand), found) => {
                !Self::Number(Relation::Eq, *operand).accepts(found, now)
            }
            (Self::TextNe(operand), found) => !matches!(found, Found::Text(text) if text == operand),
            (Self::Version(Relation::Ne, operand), found) => {
                !Self::Version(Relation::Eq, operand.clone()).accepts(found, now)
            }
            (Self::Number(relation, operand), Found::Number(number)) => {
                relation.accepts(number.compare(*operand))
            }
            (Self::NumberIn(operands), Found::Number(number)) => operands.contains(&number),
            (Self::TextEq(operand), Found::Text(text)) => text == operand,
            (Self::TextIn(operands), Found::Text(text)) => operands.iter().any(|operand| operand == text),
            (Self::TextPrefix(operand), Found::Text(text)) => text.starts_with(operand.as_str()),
            (Self::ListAny(operands), Found::List(entries)) => {
                operands.iter().any(|operand| entries.contains(operand))
            }
            (Self::ListAll(operands), Found::List(entries)) => {
                operands.iter().all(|operand| entries.contains(operand))
            }
            (Self::BoolEq(operand), Found::Bool(bool)) => bool == *operand,
            (Self::Date(relation, operand), Found::Text(text)) => {
                is_date_text(text) && operand.boundary(*relation, now).accepts_text(text)
            }
            (Self::Date(relation, operand), Found::Instant(instant)) => {
                operand.boundary(*relation, now).accepts(instant)
            }
            (Self::Version(relation, operand), Found::Text(text)) => {
                version_key(text).is_some_and(|version| relation.accepts(version.cmp(operand)))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::audience::Limits;
    use crate::property::PropertyKey;

    fn now() -> DateTime<Utc> {
        "2026-11-21T09:00:00Z".parse().unwrap()
    }

    fn properties(json: Value) -> Properties {
        let entries = json.as_object().unwrap().iter();
        entries
            .map(|(key, value)| {
                let value = PropertyValue::from_json(value).unwrap().unwrap();
                (PropertyKey::new(key).unwrap(), value)
            })
            .collect()
    }

    fn matches(tree: Value) -> bool {
        let properties = properties(json!({
            "age": 31, "big": i64::MAX, "ratio": 0.5, "plan": "gold", "count": "31", "on": true, "off": false,
            "tags": ["vip", "new", 7, 2.5, true], "none": [], "day": "2026-11-20", "instant": "2026-11-21T08:59:59.5Z",
            "not_a_day": "2026-11-20 ", "umlaut": "ä",
        }));
        let device = DeviceView {
            properties: &properties,
            device_platform: DevicePlatform::Ios,
            send_platform: SendPlatform::Apns,
            locale: Some("de-AT"),
            time_zone: None,
            app_version: Some("4.2.0"),
            last_seen_at: now() - chrono::TimeDelta::days(3),
            created_at: now(),
            random_bucket: 77,
        };
        let condition = Condition::parse(&tree, Limits::default()).unwrap();
        condition.matches(&device, now())
    }

    fn compare(key: &str, operator: &str, value: Value) -> bool {
        matches(json!({"key": key, "operator": operator, "value": value}))
    }

    #[test]
    fn each_operator_means_what_the_reference_says() {
        let table = [
            ("age", "int_eq", json!(31), true),
            ("age", "int_eq", json!("32"), false),
            ("age", "int_ne", json!(31), false),
            ("age", "int_ne", json!(32), true),
            ("age", "int_gt", json!(30), true),
            ("age", "int_gt", json!(31), false),
            ("age", "int_gte", json!(31), true),
            ("age", "int_lt", json!(31), false),
            ("age", "int_lte", json!(31), true),
            ("age", "int_in", json!([1, 31]), true),
            ("age", "float_eq", json!(31.0), true),
            ("age", "float_lt", json!(31.5), true),
            ("big", "float_eq", json!(9_223_372_036_854_775_807i64), true),
            ("big", "float_lt", json!(9.223_372_036_854_776e18), true),
            ("ratio", "float_gte", json!(0.5), true),
            ("ratio", "int_gt", json!(0), true),
            ("ratio", "float_in", json!([0.25, 0.5]), true),
            ("plan", "str_eq", json!("gold"), true),
            ("plan", "str_eq", json!("Gold"), false),
            ("plan", "str_ne", json!("gold"), false),
            ("plan", "str_in", json!(["silver", "gold"]), true),
            ("plan", "str_prefix", json!("go"), true),
            ("plan", "str_prefix", json!("o"), false),
            ("umlaut", "str_eq", json!("a\u{308}"), false),
            ("tags", "str_exists", json!("vip"), true),
            ("tags", "str_exists", json!("7"), false),
            ("tags", "list_any", json!([9, 7.0]), true),
            ("tags", "list_any", json!([1]), false),
            ("tags", "list_all", json!(["vip", 2.5, true]), true),
            ("tags", "list_all", json!(["vip", "old"]), false),
            ("none", "list_any", json!(["vip"]), false),
            ("on", "bool_eq", json!(true), true),
            ("off", "bool_eq", json!("false"), true),
            ("off", "exists", json!(null), true),
            ("none", "not_exists", json!(null), false),
            ("day", "date_lt", json!("now"), true),
            ("day", "date_gte", json!("2026-11-20"), true),
            ("day", "date_gt", json!("2026-11-20"), false),
            ("day", "date_lte", json!("2026-11-20"), true),
            ("instant", "date_gte", json!("now-1s"), true),
            ("instant", "date_gt", json!("now-1s"), false),
            ("device.platform", "int_eq", json!(2), true),
            ("device.send_platform", "int_in", json!([1, 3]), false),
            ("device.locale", "str_prefix", json!("de"), true),
            ("device.time_zone", "not_exists", json!(null), true),
            ("device.app_version", "version_gt", json!("4.1.99"), true),
            ("device.app_version", "version_eq", json!("4.2"), true),
            ("device.app_version", "str_eq", json!("4.2"), false),
            ("device.last_seen_at", "date_lt", json!("now-2d"), true),
            ("device.created_at", "date_lte", json!("now"), true),
            ("device.random_bucket", "int_lte", json!(100), true),
        ];
        for (key, operator, value, expected) in table {
            assert_eq!(
                compare(key, operator, value.clone()),
                expected,
                "{key} {operator} {value}"
            );
        }
    }

    #[test]
    fn what_a_tree_says_of_a_bucket_is_known_when_nothing_else_could_change_it() {
        let low = || json!({"key": "device.random_bucket", "operator": "int_lte", "value": 100});
        let age = || json!({"key": "age", "operator": "int_eq", "value": 31});
        let group = |join: &str, all: Vec<Value>| json!({"join_type": join, "conditions": all});
        // Of a bucket within, and of one beyond.
        for (tree, within, beyond) in [
            (low(), Some(true), Some(false)),
            (age(), None, None),
            (group("AND", vec![age(), low()]), None, Some(false)),
            (group("OR", vec![age(), low()]), Some(true), None),
            (group("NOT", vec![age(), low()]), Some(false), None),
            (group("NOT", vec![low()]), Some(false), Some(true)),
        ] {
            let condition = Condition::parse(&tree, Limits::default()).unwrap();
            let found = [77, 101].map(|bucket| condition.in_bucket(bucket, now()));
            assert_eq!(found, [within, beyond], "{tree}");
        }
        assert_eq!(Condition::everybody().in_bucket(1, now()), Some(true));
    }

    #[test]
    fn a_missing_property_or_one_of_another_type_makes_a_comparison_false() {
        for key in ["missing", "plan", "tags", "on", "count"] {
            for (operator, value) in [
                ("int_eq", json!(31)),
                ("int_lt", json!(99)),
                ("float_gt", json!(-9)),
            ] {
                assert!(!compare(key, operator, value), "{key} {operator}");
            }
        }
        for key in ["missing", "age", "tags", "on"] {
            assert!(!compare(key, "str_eq", json!("31")), "{key}");
            assert!(!compare(key, "str_prefix", json!("")), "{key}");
            assert!(!compare(key, "date_lt", json!("9999-12-31")), "{key}");
        }
        for key in ["missing", "plan", "age"] {
            assert!(!compare(key, "str_exists", json!("gold")), "{key}");
            assert!(!compare(key, "list_any", json!(["gold", 31])), "{key}");
        }
        assert!(!compare("not_a_day", "date_lt", json!("9999-12-31")));
    }

    #[test]
    fn not_equal_is_the_negation_of_equal_even_when_missing() {
        for key in ["missing", "plan", "tags"] {
            assert!(compare(key, "int_ne", json!(31)), "{key}");
        }
        assert!(compare("missing", "str_ne", json!("x")));
        assert!(compare("missing", "not_exists", json!(null)));
        assert!(!compare("missing", "exists", json!(null)));
        assert!(compare("device.app_version", "version_ne", json!("4.2.1")));
    }

    #[test]
    fn groups_join_all_any_and_none() {
        let yes = json!({"key": "age", "operator": "int_eq", "value": 31});
        let no = json!({"key": "age", "operator": "int_eq", "value": 32});
        let group = |join: &str, left: &Value, right: &Value| {
            matches(json!({"join_type": join, "conditions": [left, right]}))
        };
        assert!(group("AND", &yes, &yes) && !group("AND", &yes, &no));
        assert!(group("OR", &yes, &no) && !group("OR", &no, &no));
        assert!(group("NOT", &no, &no) && !group("NOT", &yes, &no));
    }

    #[test]
    fn all_of_nothing_is_true_and_any_of_nothing_is_false() {
        let properties = Properties::new();
        let device = DeviceView {
            properties: &properties,
            device_platform: DevicePlatform::Unknown,
            send_platform: SendPlatform::Unknown,
            locale: None,
            time_zone: None,
            app_version: None,
            last_seen_at: now(),
            created_at: now(),
            random_bucket: 1,
        };
        assert!(Condition::everybody().matches(&device, now()));
        assert!(!Condition::Any(vec![]).matches(&device, now()));
        assert!(Condition::Not(vec![]).matches(&device, now()));
    }
}
