//! JSON of any shape, read with a budget.
//!
//! Two fields of the contract are free-form: the value of a property and the condition tree, whose
//! rules (and error texts) belong to the domain. A free-form value costs up to a hundred times its
//! text in memory, so it is counted while it is read and refused as soon as it is too large; a
//! repeated key is refused too, because "the last one wins" means something else to every reader.

use std::{cell::Cell, collections::HashSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads any JSON value of at most `nodes` scalars, lists, objects and keys.
///
/// # Errors
///
/// The deserializer's own, "too many elements", or "the key … appears twice".
pub(crate) fn read_bounded<'de, D: Deserializer<'de>>(
    deserializer: D,
    nodes: usize,
) -> Result<Value, D::Error> {
    let left = Cell::new(nodes);
    Bounded {
        left: &left,
        limit: nodes,
    }
    .deserialize(deserializer)
}

#[derive(Clone, Copy)]
struct Bounded<'a> {
    left: &'a Cell<usize>,
    limit: usize,
}

impl Bounded<'_> {
    fn spend<E: Error>(self) -> Result<(), E> {
        match self.left.get().checked_sub(1) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => Err(E::custom(format_args!(
                "holds more than {} JSON elements",
                self.limit
            ))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.spend()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        let mut seen = HashSet::new();
        while let Some(key) = access.next_key::<String>()? {
            self.spend()?;
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format_args!("the key {key:?} appears twice")));
            }
            let value = access.next_value_seed(self)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, nodes: usize) -> Result<Value, serde_json::Error> {
        read_bounded(&mut serde_json::Deserializer::from_str(text), nodes)
    }

    #[test]
    fn a_value_within_its_budget_is_read_unchanged() {
        let text = r#"{"a":[1,-2,2.5,"x",null,true],"b":{}}"#;
        let read = read(text, 100).unwrap();
        assert_eq!(read, serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn a_value_over_its_budget_is_refused() {
        assert!(read("[1,2,3]", 4).is_ok());
        let error = read("[1,2,3,4]", 4).unwrap_err().to_string();
        assert!(error.contains("more than 4"), "{error}");
    }

    #[test]
    fn a_repeated_key_is_refused() {
        let error = read(r#"{"key":"a","key":"b"}"#, 100).unwrap_err().to_string();
        assert!(error.contains("\"key\" appears twice"), "{error}");
    }
}
