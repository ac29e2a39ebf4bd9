//! Compiled filters: what they may be made of, and what MongoDB makes of them, in a hundred lines.
//!
//! The interpreter knows only what the compile writes and panics at anything else, so a new operator
//! has to be taught here, beside its row in the property test on a real server, which stays the judge of
//! what MongoDB really does. Here millions of trees meet the evaluator where there they are thousands.

use std::cmp::Ordering;

use jraze_domain::{
    audience::{INSTANT_SHAPE, is_date_text},
    number::Number,
    property::PropertyKey,
};
use mongodb::bson::{Bson, Document};

const FIELDS: [&str; 9] = [
    "device_platform",
    "send_platform",
    "locale",
    "time_zone",
    "app_version",
    "app_version_key",
    "last_seen_at",
    "created_at",
    "random_bucket",
];

/// Panics when a filter holds anything but known operators, known fields, properties of the grammar, and
/// values that are not documents. What a client wrote can only be in a value.
pub fn check(filter: &Document) {
    for (key, value) in filter {
        if let "$and" | "$or" | "$nor" = key.as_str() {
            let children = value.as_array().expect("a group is a list");
            assert!(!children.is_empty(), "MongoDB refuses an empty {key}");
            for child in children {
                check(child.as_document().expect("a group is of filters"));
            }
            continue;
        }
        match key.strip_prefix("device_properties.") {
            Some(property) => assert!(PropertyKey::new(property).is_ok(), "{property:?}"),
            None => assert!(FIELDS.contains(&key.as_str()), "{key:?}"),
        }
        check_test(value.as_document().expect("a value never stands alone"));
    }
}

fn check_test(test: &Document) {
    assert!(!test.is_empty());
    for (operator, value) in test {
        match operator.as_str() {
            "$eq" | "$gt" | "$gte" | "$lt" | "$lte" => check_scalar(value),
            "$in" | "$all" => value.as_array().expect("a list").iter().for_each(check_scalar),
            "$not" | "$elemMatch" => check_test(value.as_document().expect("a test")),
            "$exists" => assert!(value.as_bool().is_some()),
            "$type" => assert_eq!(value.as_str(), Some("array")),
            "$regex" => match value {
                Bson::RegularExpression(regex) => {
                    assert_eq!(
                        (regex.pattern.as_str(), regex.options.as_str()),
                        (INSTANT_SHAPE, "")
                    );
                }
                other => panic!("{other:?}"),
            },
            other => panic!("an operator that the compile does not use: {other:?}"),
        }
    }
}

fn check_scalar(value: &Bson) {
    let scalar = matches!(
        value,
        Bson::String(_) | Bson::Int64(_) | Bson::Double(_) | Bson::Boolean(_) | Bson::DateTime(_)
    );
    assert!(scalar, "{value:?}");
}

/// Whether MongoDB would find the document.
pub fn finds(filter: &Document, document: &Document) -> bool {
    let each = |value: &Bson| -> Vec<bool> {
        let children = value.as_array().into_iter().flatten();
        children
            .filter_map(Bson::as_document)
            .map(|child| finds(child, document))
            .collect()
    };
    filter.iter().all(|(key, value)| match key.as_str() {
        "$and" => each(value).into_iter().all(|found| found),
        "$or" => each(value).into_iter().any(|found| found),
        "$nor" => !each(value).into_iter().any(|found| found),
        path => {
            let found = match path.split_once('.') {
                Some((outer, key)) => document.get_document(outer).ok().and_then(|inner| inner.get(key)),
                None => document.get(path),
            };
            value.as_document().is_some_and(|test| passes(found, test))
        }
    })
}

fn passes(found: Option<&Bson>, test: &Document) -> bool {
    test.iter().all(|(operator, operand)| {
        let operands = || operand.as_array().into_iter().flatten();
        let nested = || operand.as_document().expect("a test");
        match operator.as_str() {
            "$eq" => any(found, |value| order(value, operand) == Some(Ordering::Equal)),
            "$gt" => any(found, |value| order(value, operand).is_some_and(Ordering::is_gt)),
            "$gte" => any(found, |value| order(value, operand).is_some_and(Ordering::is_ge)),
            "$lt" => any(found, |value| order(value, operand).is_some_and(Ordering::is_lt)),
            "$lte" => any(found, |value| order(value, operand).is_some_and(Ordering::is_le)),
            "$in" => any(found, |value| {
                operands().any(|one| order(value, one) == Some(Ordering::Equal))
            }),
            "$all" => operands().all(|one| any(found, |value| order(value, one) == Some(Ordering::Equal))),
            "$regex" => any(found, |value| value.as_str().is_some_and(is_date_text)),
            "$exists" => operand.as_bool() == Some(found.is_some()),
            "$type" => matches!(found, Some(Bson::Array(_))),
            "$not" => !passes(found, nested()),
            "$elemMatch" => match found {
                Some(Bson::Array(entries)) => entries.iter().any(|entry| passes(Some(entry), nested())),
                _ => false,
            },
            other => panic!("{other}"),
        }
    })
}

/// MongoDB looks into lists.
fn any(found: Option<&Bson>, test: impl Fn(&Bson) -> bool) -> bool {
    match found {
        None => false,
        Some(Bson::Array(entries)) => entries.iter().any(test),
        Some(value) => test(value),
    }
}

/// The order of two values of one type; values of two types have none.
fn order(left: &Bson, right: &Bson) -> Option<Ordering> {
    match (left, right) {
        (Bson::String(left), Bson::String(right)) => Some(left.as_bytes().cmp(right.as_bytes())),
        (Bson::Boolean(left), Bson::Boolean(right)) => Some(left.cmp(right)),
        (Bson::DateTime(left), Bson::DateTime(right)) => Some(left.cmp(right)),
        _ => Some(number(left)?.compare(number(right)?)),
    }
}

fn number(value: &Bson) -> Option<Number> {
    match value {
        Bson::Int32(int) => Some(Number::Int((*int).into())),
        Bson::Int64(int) => Some(Number::Int(*int)),
        Bson::Double(float) => Number::float(*float),
        _ => None,
    }
}
