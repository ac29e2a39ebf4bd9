//! The condition tree as a client writes it.
//!
//! The document shows its full shape. What arrives is kept as JSON: the domain's parser is the only
//! judge of a tree, so that its errors carry a stable code and a pointer to the node. Only the size
//! is bounded here.

use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::{json::read_bounded, macros::described};

/// More than the largest tree that the domain accepts in practice, and a few MiB at most.
const MAX_ELEMENTS: usize = 20_000;

/// A condition tree, not yet judged. `null` and `{}` select nobody.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Conditions(pub Value);

impl<'de> Deserialize<'de> for Conditions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_bounded(deserializer, MAX_ELEMENTS).map(Self)
    }
}

/// Every operator of the reference, in its order.
const OPERATORS: &[&str] = &[
    "int_eq",
    "int_ne",
    "int_gt",
    "int_gte",
    "int_lt",
    "int_lte",
    "int_in",
    "float_eq",
    "float_ne",
    "float_gt",
    "float_gte",
    "float_lt",
    "float_lte",
    "float_in",
    "str_eq",
    "str_ne",
    "str_in",
    "str_prefix",
    "str_exists",
    "list_any",
    "list_all",
    "bool_eq",
    "exists",
    "not_exists",
    "date_gt",
    "date_gte",
    "date_lt",
    "date_lte",
    "version_eq",
    "version_ne",
    "version_gt",
    "version_gte",
    "version_lt",
    "version_lte",
];

described!(Conditions, component: "Conditions", |registry| {
    register_node(registry);
    register_group(registry);
    register_comparison(registry);
    let nobody = MetaSchema {
        description: Some("Nobody, like `null`."),
        max_properties: Some(0),
        ..MetaSchema::new("object")
    };
    MetaSchema {
        description: Some("A condition tree. `{}` selects nobody, like `null`."),
        one_of: vec![
            reference("ConditionGroup"),
            reference("ConditionComparison"),
            inline(nobody),
        ],
        example: Some(example()),
        ..MetaSchema::ANY
    }
});

fn register_node(registry: &mut Registry) {
    registry.create_schema::<Node, _>("ConditionNode".to_owned(), |_| MetaSchema {
        description: Some(
            "A node of the condition tree: a group of nodes or a comparison. Depth at most 8, at \
             most 100 nodes, at most 32 in a group.",
        ),
        one_of: vec![reference("ConditionGroup"), reference("ConditionComparison")],
        example: Some(example()),
        ..MetaSchema::ANY
    });
}

/// The tree that every example of the document uses.
pub(crate) fn example() -> Value {
    json!({
        "join_type": "AND",
        "conditions": [
            {"key": "plan", "operator": "str_eq", "value": "gold"},
            {"join_type": "OR", "conditions": [
                {"key": "age", "operator": "int_gte", "value": 30},
                {"key": "interests", "operator": "str_exists", "value": "cycling"}
            ]}
        ]
    })
}

// Markers: a schema's registration is tied to a Rust type.
struct Node;
struct Group;
struct Comparison;

fn register_group(registry: &mut Registry) {
    registry.create_schema::<Group, _>("ConditionGroup".to_owned(), |_| MetaSchema {
        description: Some("True when all (AND), any (OR) or none (NOT) of its nodes are."),
        required: vec!["conditions", "join_type"],
        properties: vec![
            (
                "conditions",
                inline(MetaSchema {
                    items: Some(Box::new(reference("ConditionNode"))),
                    min_items: Some(1),
                    max_items: Some(32),
                    ..MetaSchema::new("array")
                }),
            ),
            (
                "join_type",
                inline(MetaSchema {
                    enum_items: vec![json!("AND"), json!("OR"), json!("NOT")],
                    ..MetaSchema::new("string")
                }),
            ),
        ],
        ..MetaSchema::new("object")
    });
}

fn register_comparison(registry: &mut Registry) {
    registry.create_schema::<Comparison, _>("ConditionComparison".to_owned(), |_| MetaSchema {
        description: Some(
            "Compares one property (or one of the device's own fields, `device.…`) with a value. \
             The value comes as the operator's JSON type or as text that parses to it.",
        ),
        required: vec!["key", "operator"],
        properties: vec![
            (
                "key",
                inline(MetaSchema {
                    pattern: Some(
                        "^([A-Za-z_][A-Za-z0-9_-]{0,63}|device\\.(platform|send_platform|locale|\
                     time_zone|app_version|last_seen_at|created_at|random_bucket))$"
                            .to_owned(),
                    ),
                    example: Some(json!("age")),
                    ..MetaSchema::new("string")
                }),
            ),
            (
                "operator",
                inline(MetaSchema {
                    enum_items: OPERATORS.iter().map(|name| json!(name)).collect(),
                    ..MetaSchema::new("string")
                }),
            ),
            (
                "value",
                inline(MetaSchema {
                    description: Some("Absent for `exists` and `not_exists`."),
                    ..MetaSchema::ANY
                }),
            ),
        ],
        ..MetaSchema::new("object")
    });
}

fn reference(name: &str) -> MetaSchemaRef {
    MetaSchemaRef::Reference(name.to_owned())
}

fn inline(schema: MetaSchema) -> MetaSchemaRef {
    MetaSchemaRef::Inline(Box::new(schema))
}
