//! Properties: what an app knows about a device, and the catalogue of all of them.

use poem_openapi::{
    Object,
    registry::{MetaSchema, MetaSchemaRef},
    types::Example,
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::{json::read_bounded, macros::described, time::Timestamp};

/// A list property of some hundred scalars fits; anything deeper is refused by the domain.
const MAX_ELEMENTS: usize = 2_000;

/// The value of a property; its JSON type is the property's type.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct PropertyValue(pub Value);

impl<'de> Deserialize<'de> for PropertyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_bounded(deserializer, MAX_ELEMENTS).map(Self)
    }
}

described!(PropertyValue, component: "PropertyValue", |_registry| MetaSchema {
    description: Some(
        "A text, an integer (64 bits), a float, a boolean or a list of those. In `:add`, null \
         removes the key.",
    ),
    nullable: true,
    any_of: scalars().into_iter().chain([inline(MetaSchema {
        items: Some(Box::new(inline(MetaSchema { any_of: scalars(), ..MetaSchema::ANY }))),
        ..MetaSchema::new("array")
    })]).collect(),
    example: Some(json!("gold")),
    ..MetaSchema::ANY
});

fn scalars() -> Vec<MetaSchemaRef> {
    vec![
        inline(MetaSchema::new("string")),
        inline(MetaSchema::new_with_format("integer", "int64")),
        inline(MetaSchema::new_with_format("number", "double")),
        inline(MetaSchema::new("boolean")),
    ]
}

fn inline(schema: MetaSchema) -> MetaSchemaRef {
    MetaSchemaRef::Inline(Box::new(schema))
}

/// One property and its new value.
#[derive(Debug, Clone, PartialEq, Object, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Property {
    /// The name: a letter or underscore, then letters, digits, `_` or `-`; at most 64.
    #[oai(validator(pattern = "^[A-Za-z_][A-Za-z0-9_-]{0,63}$"))]
    pub key: String,
    /// The value. Null removes the property.
    pub value: PropertyValue,
}

/// Properties to set or remove, all of them or none.
#[derive(Debug, Clone, PartialEq, Object, Serialize, Deserialize)]
#[oai(example)]
#[serde(deny_unknown_fields)]
pub struct PropertiesAdd {
    /// What to set; of a key that comes twice the last one counts.
    #[oai(validator(min_items = 1, max_items = 100))]
    pub properties: Vec<Property>,
}

impl Example for PropertiesAdd {
    fn example() -> Self {
        let property = |key: &str, value| Property {
            key: key.to_owned(),
            value: PropertyValue(value),
        };
        Self {
            properties: vec![
                property("plan", json!("gold")),
                property("age", json!(31)),
                property("interests", json!(["cycling", "jazz"])),
                property("nickname", Value::Null),
            ],
        }
    }
}

/// One key of the catalogue: what the devices of this app hold under it.
#[derive(Debug, Clone, PartialEq, Object, Serialize, Deserialize)]
#[oai(example)]
pub struct CatalogueEntry {
    /// The property's name.
    pub key: String,
    /// The types seen: `string`, `int`, `float`, `bool`, `list`.
    pub types: Vec<String>,
    /// The share of the app's devices that hold it, 0 to 1, estimated from a sample.
    pub coverage: Option<f64>,
    /// When a value of it was first seen.
    pub first_seen_at: Option<Timestamp>,
}

impl Example for CatalogueEntry {
    fn example() -> Self {
        Self {
            key: "plan".to_owned(),
            types: vec!["string".to_owned()],
            coverage: Some(0.81),
            first_seen_at: None,
        }
    }
}
