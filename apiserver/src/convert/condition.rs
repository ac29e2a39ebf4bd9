//! Condition trees: absent, null and `{}` select nobody; everything else the domain judges.

use jraze_domain::audience::{Condition, Limits};
use jraze_openapi::dto::{ApiError, Conditions};
use serde_json::Value;

use super::error;

/// The tree, with the client's own JSON; `None` when it says nothing.
///
/// # Errors
///
/// 400 with a pointer below `/conditions`.
pub(crate) fn read(tree: Option<Conditions>) -> Result<Option<(Condition, Value)>, ApiError> {
    let Some(Conditions(source)) = tree else {
        return Ok(None);
    };
    if source.is_null() || source.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok(None);
    }
    let condition = Condition::parse(&source, Limits::default()).map_err(error::condition)?;
    Ok(Some((condition, source)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tree_that_says_nothing_is_none() {
        for tree in [None, Some(json!(null)), Some(json!({}))] {
            assert!(read(tree.map(Conditions)).unwrap().is_none());
        }
    }

    #[test]
    fn a_mistake_is_pointed_at_below_conditions() {
        let tree = json!({"join_type": "AND", "conditions": [
            {"key": "a", "operator": "int_eq", "value": 1},
            {"key": "$where", "operator": "int_eq", "value": 1}
        ]});
        let error = read(Some(Conditions(tree))).unwrap_err();
        assert_eq!(error.code, "invalid_condition");
        assert!(
            error.fields[0].pointer.starts_with("/conditions/conditions/1"),
            "{error:?}"
        );
    }
}
