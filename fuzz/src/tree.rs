//! Condition trees written back as the JSON that they could have come from, and their limits.

use jraze_domain::{
    audience::{Condition, DateOperand, DateRelation, Field, Limits, Relation, Test, VersionKey},
    number::Number,
    property::Scalar,
};
use serde_json::{Value, json};

/// Panics when a tree exceeds `limits`.
pub fn check_limits(condition: &Condition, limits: Limits) {
    assert!(condition.node_count() <= limits.nodes);
    check_node(condition, limits, 1);
}

fn check_node(condition: &Condition, limits: Limits, depth: usize) {
    assert!(depth <= limits.depth);
    match condition {
        Condition::All(children) | Condition::Any(children) | Condition::Not(children) => {
            assert!((1..=limits.children).contains(&children.len()));
            children
                .iter()
                .for_each(|child| check_node(child, limits, depth + 1));
        }
        Condition::Compare { test, .. } => match test {
            Test::TextEq(text) | Test::TextNe(text) | Test::TextPrefix(text) => {
                assert!(text.len() <= limits.text_bytes);
            }
            Test::TextIn(texts) => check_list(texts.iter().map(String::len), limits),
            Test::NumberIn(numbers) => check_list(numbers.iter().map(|_| 0), limits),
            // `str_exists` of a long text.
            Test::ListAny(one) if one.len() == 1 => {}
            Test::ListAny(scalars) | Test::ListAll(scalars) => {
                let length = |scalar: &Scalar| match scalar {
                    Scalar::Text(text) => text.len(),
                    _ => 0,
                };
                check_list(scalars.iter().map(length), limits);
            }
            _ => {}
        },
    }
}

fn check_list(mut lengths: impl ExactSizeIterator<Item = usize>, limits: Limits) {
    assert!((1..=limits.list_length).contains(&lengths.len()));
    assert!(lengths.all(|length| length <= limits.list_text_bytes));
}

/// The tree as JSON.
pub fn write(condition: &Condition) -> Value {
    let group = |join: &str, children: &[Condition]| json!({"join_type": join, "conditions": children.iter().map(write).collect::<Value>()});
    match condition {
        Condition::All(children) => group("AND", children),
        Condition::Any(children) => group("OR", children),
        Condition::Not(children) => group("NOT", children),
        Condition::Compare { field, test } => {
            let key = match field {
                Field::Property(key) => key.as_str(),
                Field::Device(field) => field.name(),
            };
            let (operator, value) = write_test(test);
            json!({"key": key, "operator": operator, "value": value})
        }
    }
}

fn write_test(test: &Test) -> (String, Value) {
    let scalars = |scalars: &[Scalar]| scalars.iter().map(Scalar::to_json).collect::<Value>();
    match test {
        Test::Number(relation, number) => {
            let kind = if matches!(number, Number::Int(_)) {
                "int"
            } else {
                "float"
            };
            (
                format!("{kind}_{}", relation_name(*relation)),
                write_number(number),
            )
        }
        Test::NumberIn(numbers) => ("float_in".into(), numbers.iter().map(write_number).collect()),
        Test::TextEq(text) => ("str_eq".into(), json!(text)),
        Test::TextNe(text) => ("str_ne".into(), json!(text)),
        Test::TextIn(texts) => ("str_in".into(), json!(texts)),
        Test::TextPrefix(text) => ("str_prefix".into(), json!(text)),
        Test::ListAny(entries) => match entries.as_slice() {
            [Scalar::Text(text)] => ("str_exists".into(), json!(text)),
            entries => ("list_any".into(), scalars(entries)),
        },
        Test::ListAll(entries) => ("list_all".into(), scalars(entries)),
        Test::BoolEq(value) => ("bool_eq".into(), json!(value)),
        Test::Exists => ("exists".into(), Value::Null),
        Test::NotExists => ("not_exists".into(), Value::Null),
        Test::Date(relation, operand) => {
            let name = match relation {
                DateRelation::Gt => "date_gt",
                DateRelation::Gte => "date_gte",
                DateRelation::Lt => "date_lt",
                DateRelation::Lte => "date_lte",
            };
            let text = match operand {
                DateOperand::Day(day) => day.format("%Y-%m-%d").to_string(),
                DateOperand::Instant(instant) => instant.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
                DateOperand::Relative(offset) => format!("now{:+}s", offset.num_seconds()),
            };
            (name.into(), json!(text))
        }
        Test::Version(relation, key) => (
            format!("version_{}", relation_name(*relation)),
            json!(write_version(key)),
        ),
    }
}

fn relation_name(relation: Relation) -> &'static str {
    match relation {
        Relation::Eq => "eq",
        Relation::Ne => "ne",
        Relation::Gt => "gt",
        Relation::Gte => "gte",
        Relation::Lt => "lt",
        Relation::Lte => "lte",
    }
}

fn write_number(number: &Number) -> Value {
    match number {
        Number::Int(int) => json!(int),
        Number::Float(float) => json!(float),
    }
}

/// Undoes `version_key`: four numbers of ten digits, then `~`, or `-` and identifiers after a `!` each.
fn write_version(key: &VersionKey) -> String {
    let (numbers, pre_release) = key.as_str().split_at(40);
    let numbers: Vec<&str> = (0..4).map(|index| &numbers[index * 10..][..10]).collect();
    let numbers = numbers.join(".");
    let Some(identifiers) = pre_release.strip_prefix("-!") else {
        return numbers;
    };
    let identifiers: Vec<&str> = identifiers
        .split('!')
        .map(|identifier| &identifier[1..])
        .collect();
    format!("{numbers}-{}", identifiers.join("."))
}
