//! JSON to condition tree. Everything a client can get wrong is found here, with a pointer to it.
//!
//! A node is a group `{"conditions": [...], "join_type": "AND" | "OR" | "NOT"}` or a comparison
//! `{"key", "operator", "value"}`; members of the other form may be there as null, as clients of the
//! first jraze sent them. `NOT` means none of them. A value may arrive as its operator's JSON type or
//! as text that parses to it; lists may arrive as the text of a JSON list.

use serde_json::{Map, Value};

use crate::number::Number;
use crate::property::{PropertyKey, Scalar};

use super::condition::{Condition, DeviceField, Field, FieldKind, Relation, Test};
use super::dates::{DateOperand, DateRelation};
use super::operators::Operator;
use super::version::version_key;

/// How large a tree may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most nodes on the way from the root to a leaf, both counted.
    pub depth: usize,
    /// Most nodes in the tree.
    pub nodes: usize,
    /// Most children of one group.
    pub children: usize,
    /// Most values in one list.
    pub list_length: usize,
    /// Longest text in a list, in bytes.
    pub list_text_bytes: usize,
    /// Longest text anywhere else, in bytes.
    pub text_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 8,
            nodes: 100,
            children: 32,
            list_length: 1000,
            list_text_bytes: 256,
            text_bytes: 1024,
        }
    }
}

/// What is wrong with a tree, for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConditionErrorCode {
    /// A node is no JSON object.
    NotAnObject,
    /// A node is both a group and a comparison, or neither.
    UnclearNode,
    /// A node has a member that means nothing.
    UnknownMember,
    /// `conditions` of a group is no list, or an empty one.
    EmptyGroup,
    /// `join_type` is not `AND`, `OR` or `NOT`.
    UnknownJoinType,
    /// The key is neither a property key nor a field of the device.
    InvalidKey,
    /// There is no such operator.
    UnknownOperator,
    /// The operator cannot be asked of that field.
    OperatorNotForField,
    /// The value does not parse to the operator's type.
    InvalidValue,
    /// The tree, a group, a list or a text is over its limit.
    TooLarge,
}

impl ConditionErrorCode {
    /// The stable name, in snake case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAnObject => "not_an_object",
            Self::UnclearNode => "unclear_node",
            Self::UnknownMember => "unknown_member",
            Self::EmptyGroup => "empty_group",
            Self::UnknownJoinType => "unknown_join_type",
            Self::InvalidKey => "invalid_key",
            Self::UnknownOperator => "unknown_operator",
            Self::OperatorNotForField => "operator_not_for_field",
            Self::InvalidValue => "invalid_value",
            Self::TooLarge => "too_large",
        }
    }
}

/// Why a tree was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("conditions{pointer}: {message}")]
pub struct ConditionError {
    /// JSON pointer to the place, relative to the root of the tree; empty for the root itself.
    pub pointer: String,
    /// What is wrong, for machines.
    pub code: ConditionErrorCode,
    /// What is wrong, for people.
    pub message: String,
}

impl Condition {
    /// Reads a tree. Absent, null and `{}` trees are the caller's to decide about; here they are
    /// errors like any other node that says nothing.
    ///
    /// # Errors
    /// The first thing that is wrong, in document order.
    pub fn parse(tree: &Value, limits: Limits) -> Result<Self, ConditionError> {
        let mut parser = Parser {
            limits,
            nodes: 0,
            path: Vec::new(),
        };
        parser.node(tree)
    }

    /// How many nodes the tree has, groups and comparisons alike.
    pub fn node_count(&self) -> usize {
        match self {
            Self::Compare { .. } => 1,
            Self::All(children) | Self::Any(children) | Self::Not(children) => {
                1 + children.iter().map(Self::node_count).sum::<usize>()
            }
        }
    }
}

/// Members of a node; the first two make a group.
const MEMBERS: [&str; 5] = ["conditions", "join_type", "key", "operator", "value"];

struct Parser {
    limits: Limits,
    nodes: usize,
    /// Indexes of the children on the way down.
    path: Vec<usize>,
}

type Parsed<T> = Result<T, ConditionError>;

impl Parser {
    fn node(&mut self, node: &Value) -> Parsed<Condition> {
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            return Err(self.too_large("", format!("a tree has at most {} nodes", self.limits.nodes)));
        }
        if self.path.len() >= self.limits.depth {
            return Err(self.too_large("", format!("a tree is at most {} nodes deep", self.limits.depth)));
        }
        let Some(members) = node.as_object() else {
            let message = "a condition is an object: a group or a comparison";
            return Err(self.error("", ConditionErrorCode::NotAnObject, message));
        };
        if let Some(unknown) = members.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
            let message = format!(
                "there is no member {}; known are {}",
                quoted(unknown),
                MEMBERS.join(", ")
            );
            return Err(self.error("", ConditionErrorCode::UnknownMember, message));
        }
        let has = |name: &str| members.get(name).is_some_and(|value| !value.is_null());
        match (
            has("conditions") || has("join_type"),
            has("key") || has("operator"),
        ) {
            (true, false) => self.group(members),
            (false, true) => self.comparison(members),
            _ => {
                let message = "a condition is either a group (conditions, join_type) \
                               or a comparison (key, operator, value)";
                Err(self.error("", ConditionErrorCode::UnclearNode, message))
            }
        }
    }

    fn group(&mut self, members: &Map<String, Value>) -> Parsed<Condition> {
        let join = match members.get("join_type").and_then(Value::as_str) {
            Some("AND") => Condition::All,
            Some("OR") => Condition::Any,
            Some("NOT") => Condition::Not,
            _ => {
                let message = "join_type is AND, OR or NOT";
                return Err(self.error("/join_type", ConditionErrorCode::UnknownJoinType, message));
            }
        };
        let children = members
            .get("conditions")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        if children.is_empty() {
            let message = "a group holds a list of at least one condition";
            return Err(self.error("/conditions", ConditionErrorCode::EmptyGroup, message));
        }
        if children.len() > self.limits.children {
            let message = format!("a group holds at most {} conditions", self.limits.children);
            return Err(self.too_large("/conditions", message));
        }
        let mut parsed = Vec::with_capacity(children.len());
        for (index, child) in children.iter().enumerate() {
            self.path.push(index);
            parsed.push(self.node(child)?);
            self.path.pop();
        }
        Ok(join(parsed))
    }

    fn comparison(&self, members: &Map<String, Value>) -> Parsed<Condition> {
        let text = |name| members.get(name).and_then(Value::as_str);
        let key = text("key").unwrap_or_default();
        let (field, kind) = self.field(key)?;
        let Some(operator) = text("operator").and_then(Operator::from_name) else {
            let known: Vec<_> = Operator::ALL.iter().map(|operator| operator.name()).collect();
            let problem = match text("operator") {
                Some(given) => format!("there is no operator {}", quoted(given)),
                None => "the operator is missing".to_owned(),
            };
            let message = format!("{problem}; known are {}", known.join(", "));
            return Err(self.error("/operator", ConditionErrorCode::UnknownOperator, message));
        };
        if !operator.applies_to(kind) {
            let message = match kind {
                FieldKind::Property => {
                    format!(
                        "{} compares {} only",
                        operator.name(),
                        DeviceField::AppVersion.name()
                    )
                }
                _ => format!("{} cannot be asked of {key}", operator.name()),
            };
            return Err(self.error("/operator", ConditionErrorCode::OperatorNotForField, message));
        }
        let value = members.get("value").unwrap_or(&Value::Null);
        let test = Values { parser: self, value }.test(operator)?;
        Ok(Condition::Compare { field, test })
    }

    fn field(&self, key: &str) -> Parsed<(Field, FieldKind)> {
        if let Some(field) = DeviceField::from_name(key) {
            return Ok((Field::Device(field), field.kind()));
        }
        match PropertyKey::new(key) {
            Ok(key) => Ok((Field::Property(key), FieldKind::Property)),
            Err(_) if key.starts_with("device.") => {
                let known: Vec<_> = DeviceField::ALL.iter().map(|field| field.name()).collect();
                let message = format!(
                    "there is no field {}; known are {}",
                    quoted(key),
                    known.join(", ")
                );
                Err(self.error("/key", ConditionErrorCode::InvalidKey, message))
            }
            Err(error) => Err(self.error("/key", ConditionErrorCode::InvalidKey, error.to_string())),
        }
    }

    fn too_large(&self, place: &str, message: String) -> ConditionError {
        self.error(place, ConditionErrorCode::TooLarge, message)
    }

    fn error(&self, place: &str, code: ConditionErrorCode, message: impl Into<String>) -> ConditionError {
        let mut pointer: String = self
            .path
            .iter()
            .map(|index| format!("/conditions/{index}"))
            .collect();
        pointer.push_str(place);
        ConditionError {
            pointer,
            code,
            message: message.into(),
        }
    }
}

/// Reads the value of one comparison.
struct Values<'a> {
    parser: &'a Parser,
    value: &'a Value,
}

impl Values<'_> {
    fn test(&self, operator: Operator) -> Parsed<Test> {
        use Operator as O;
        use Relation as R;
        Ok(match operator {
            O::IntEq => Test::Number(R::Eq, self.int(self.value)?),
            O::IntNe => Test::Number(R::Ne, self.int(self.value)?),
            O::IntGt => Test::Number(R::Gt, self.int(self.value)?),
            O::IntGte => Test::Number(R::Gte, self.int(self.value)?),
            O::IntLt => Test::Number(R::Lt, self.int(self.value)?),
            O::IntLte => Test::Number(R::Lte, self.int(self.value)?),
            O::IntIn => Test::NumberIn(self.list(|value| self.int(value))?),
            O::FloatEq => Test::Number(R::Eq, self.float(self.value)?),
            O::FloatNe => Test::Number(R::Ne, self.float(self.value)?),
            O::FloatGt => Test::Number(R::Gt, self.float(self.value)?),
            O::FloatGte => Test::Number(R::Gte, self.float(self.value)?),
            O::FloatLt => Test::Number(R::Lt, self.float(self.value)?),
            O::FloatLte => Test::Number(R::Lte, self.float(self.value)?),
            O::FloatIn => Test::NumberIn(self.list(|value| self.float(value))?),
            O::StrEq => Test::TextEq(self.text()?.to_owned()),
            O::StrNe => Test::TextNe(self.text()?.to_owned()),
            O::StrIn => Test::TextIn(self.list(|value| self.list_text(value).map(str::to_owned))?),
            O::StrPrefix => Test::TextPrefix(self.text()?.to_owned()),
            O::StrExists => Test::ListAny(vec![Scalar::Text(self.text()?.to_owned())]),
            O::ListAny => Test::ListAny(self.list(|value| self.scalar(value))?),
            O::ListAll => Test::ListAll(self.list(|value| self.scalar(value))?),
            O::BoolEq => Test::BoolEq(self.bool()?),
            O::Exists => Test::Exists,
            O::NotExists => Test::NotExists,
            O::DateGt => Test::Date(DateRelation::Gt, self.date()?),
            O::DateGte => Test::Date(DateRelation::Gte, self.date()?),
            O::DateLt => Test::Date(DateRelation::Lt, self.date()?),
            O::DateLte => Test::Date(DateRelation::Lte, self.date()?),
            O::VersionEq => self.version(R::Eq)?,
            O::VersionNe => self.version(R::Ne)?,
            O::VersionGt => self.version(R::Gt)?,
            O::VersionGte => self.version(R::Gte)?,
            O::VersionLt => self.version(R::Lt)?,
            O::VersionLte => self.version(R::Lte)?,
        })
    }

    fn int(&self, value: &Value) -> Parsed<Number> {
        let int = match value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        int.map(Number::Int)
            .ok_or_else(|| self.invalid("an integer of 64 bits with sign, or its text"))
    }

    /// Integers stay integers, because a double would round the large ones.
    fn float(&self, value: &Value) -> Parsed<Number> {
        let parsed = match value {
            Value::Number(number) => match number.as_i64() {
                Some(int) => Some(Number::Int(int)),
                None => number.as_f64().and_then(Number::float),
            },
            Value::String(text) => match text.parse() {
                Ok(int) => Some(Number::Int(int)),
                Err(_) => text.parse().ok().and_then(Number::float),
            },
            _ => None,
        };
        parsed.ok_or_else(|| self.invalid("a finite number, or its text"))
    }

    fn text(&self) -> Parsed<&str> {
        let limit = self.parser.limits.text_bytes;
        match self.value {
            Value::String(text) if text.len() > limit => Err(self
                .parser
                .too_large("/value", format!("a text is at most {limit} bytes long"))),
            Value::String(text) => Ok(text),
            _ => Err(self.invalid("a text")),
        }
    }

    fn list_text<'v>(&self, value: &'v Value) -> Parsed<&'v str> {
        let limit = self.parser.limits.list_text_bytes;
        match value {
            Value::String(text) if text.len() > limit => Err(self.parser.too_large(
                "/value",
                format!("a text in a list is at most {limit} bytes long"),
            )),
            Value::String(text) => Ok(text),
            _ => Err(self.invalid("a list of texts")),
        }
    }

    fn scalar(&self, value: &Value) -> Parsed<Scalar> {
        if value.is_string() {
            return Ok(Scalar::Text(self.list_text(value)?.to_owned()));
        }
        Scalar::from_json(value).map_err(|_| self.invalid("a list of texts, numbers, true and false"))
    }

    fn bool(&self) -> Parsed<bool> {
        match self.value {
            Value::Bool(bool) => Ok(*bool),
            Value::String(text) if text == "true" => Ok(true),
            Value::String(text) if text == "false" => Ok(false),
            _ => Err(self.invalid("true or false")),
        }
    }

    fn date(&self) -> Parsed<DateOperand> {
        self.value.as_str().and_then(DateOperand::parse).ok_or_else(|| {
            self.invalid(
                "a date: 2026-11-21, 2026-11-21T09:00:00Z, or relative to the time of sending: now, now-7d, \
                 now+12h (units s m h d w, at most a hundred years)",
            )
        })
    }

    fn version(&self, relation: Relation) -> Parsed<Test> {
        match version_key(self.text()?) {
            Some(key) => Ok(Test::Version(relation, key)),
            None => {
                Err(self.invalid("a version: up to four numbers with dots, such as 4.2.0 or 4.2.0-beta.1"))
            }
        }
    }

    fn list<T>(&self, entry: impl Fn(&Value) -> Parsed<T>) -> Parsed<Vec<T>> {
        let from_text: Value;
        let entries = match self.value {
            Value::Array(entries) => entries,
            Value::String(text) => {
                from_text = serde_json::from_str(text).unwrap_or_default();
                from_text.as_array().ok_or_else(|| self.invalid("a list"))?
            }
            _ => return Err(self.invalid("a list")),
        };
        let limit = self.parser.limits.list_length;
        if entries.len() > limit {
            return Err(self
                .parser
                .too_large("/value", format!("a list holds at most {limit} values")));
        }
        if entries.is_empty() {
            return Err(self.invalid("a list of at least one value"));
        }
        entries.iter().map(entry).collect()
    }

    fn invalid(&self, expected: &str) -> ConditionError {
        let message = format!("the value must be {expected}");
        self.parser
            .error("/value", ConditionErrorCode::InvalidValue, message)
    }
}

/// What a client wrote, shortened for a message about it.
fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(64).collect();
    format!("{shown:?}")
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
