//! THE COMPILE: a condition tree becomes a MongoDB filter that selects exactly the same devices.
//!
//! The evaluator in `jraze_domain::audience` is the definition; the property test of this crate holds
//! the filter to it on a real server. Where MongoDB means something else by itself:
//!
//! | MongoDB | so the filter |
//! | --- | --- |
//! | a comparison with an array looks into the array | says `$not: {$type: "array"}` beside every scalar test |
//! | `$ne` and `$not` look into arrays too | negates with `$nor` around the whole positive test |
//! | an empty `$and`, `$or` or `$nor` is refused | never writes one |
//! | a value that is a document is an operator | wraps every value: `$eq`, `$in`, ... |
//! | a dot in a key is a path, a `$` an operator | takes keys of a grammar that has neither |
//! | `$gt` and its kin compare within one type only | relies on it: text never compares with numbers |
//! | a long and a double compare exactly | relies on it |
//!
//! There is no `$where`, no `$expr`, and the only regular expression is the constant shape of a date;
//! a prefix of a text is a range.

use chrono::{DateTime, Utc};
use jraze_domain::audience::{Condition, DeviceField, Field, INSTANT_SHAPE, Relation, Test};
use jraze_domain::device::{Scalar, SendPlatform, storage_position};
use jraze_domain::dispatch::BucketRange;
use jraze_domain::ids::{AppId, DeviceId};
use jraze_domain::number::Number;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, Regex, doc};

use crate::devices::fields;
use crate::time::stored;

/// The part of an app's devices that one cursor goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudienceRange {
    /// Whose devices.
    pub app: AppId,
    /// Which buckets.
    pub buckets: BucketRange,
    /// The highest id that belongs to the audience.
    pub upper_id: DeviceId,
    /// The storage id of the last device that is done; the range goes on behind it.
    pub after: Option<ObjectId>,
}

/// The devices of the range that meet the condition and can be sent to: with a token that is not dead
/// and a send platform that is known. To be read with `hint({_id: 1})`.
pub fn audience(range: &AudienceRange, condition: &Condition, now: DateTime<Utc>) -> Document {
    let mut filter = reachable();
    filter.insert("_id", id_range(range.app, range.buckets, range.after));
    // Above what can be stored there is nothing to leave out, and each test is a walk over the document.
    if let Ok(upper_id) = i64::try_from(range.upper_id.0) {
        filter.insert(fields::ID, doc! { "$lte": upper_id });
    }
    let condition = compile(condition, now);
    if !condition.is_empty() {
        filter.insert("$and", vec![condition]);
    }
    filter
}

/// Devices that can be sent to at all.
pub(crate) fn reachable() -> Document {
    let known: Vec<i32> = SendPlatform::ALL
        .iter()
        .filter(|platform| **platform != SendPlatform::Unknown)
        .map(|platform| i32::from(platform.number()))
        .collect();
    doc! {
        fields::TOKEN_STATE: { "$eq": fields::TOKEN_ACTIVE },
        fields::SEND_PLATFORM: { "$in": known },
    }
}

/// Both ends of a range of buckets in storage order.
pub(crate) fn id_range(app: AppId, buckets: BucketRange, after: Option<ObjectId>) -> Document {
    let last = ObjectId::from_bytes(storage_position(app, buckets.last, u64::MAX));
    match after {
        Some(after) => doc! { "$gt": after, "$lte": last },
        None => {
            let first = ObjectId::from_bytes(storage_position(app, buckets.first, 0));
            doc! { "$gte": first, "$lte": last }
        }
    }
}

/// The filter of a tree. An empty document means everybody.
pub fn compile(condition: &Condition, now: DateTime<Utc>) -> Document {
    let each = |children: &[Condition]| -> Vec<Document> {
        children.iter().map(|child| compile(child, now)).collect()
    };
    match condition {
        Condition::All(children) | Condition::Not(children) if children.is_empty() => doc! {},
        Condition::Any(children) if children.is_empty() => doc! { "$nor": [{}] },
        Condition::All(children) => doc! { "$and": each(children) },
        Condition::Any(children) => doc! { "$or": each(children) },
        Condition::Not(children) => doc! { "$nor": each(children) },
        Condition::Compare { field, test } => compare(field, test, now),
    }
}

fn compare(field: &Field, test: &Test, now: DateTime<Utc>) -> Document {
    let path = Path::of(field);
    match test {
        Test::Exists => path.is(doc! { "$exists": true }),
        Test::NotExists => path.is(doc! { "$exists": false }),

        Test::Number(Relation::Ne, number) => not(path.scalar(doc! { "$eq": bson(*number) })),
        Test::Number(relation, number) => path.scalar(doc! { operator(*relation): bson(*number) }),
        Test::NumberIn(numbers) => {
            path.scalar(doc! { "$in": numbers.iter().copied().map(bson).collect::<Vec<_>>() })
        }

        Test::TextEq(text) => path.scalar(doc! { "$eq": text }),
        Test::TextNe(text) => not(path.scalar(doc! { "$eq": text })),
        Test::TextIn(texts) => path.scalar(doc! { "$in": texts }),
        Test::TextPrefix(prefix) => {
            let mut range = doc! { "$gte": prefix };
            if let Some(end) = end_of_prefix(prefix) {
                range.insert("$lt", end);
            }
            path.scalar(range)
        }

        Test::ListAny(scalars) => path.is(doc! { "$elemMatch": { "$in": scalars_as_bson(scalars) } }),
        // `$all` would take a single scalar for a list of it.
        Test::ListAll(scalars) => path.is(doc! { "$type": "array", "$all": scalars_as_bson(scalars) }),
        Test::BoolEq(bool) => path.scalar(doc! { "$eq": bool }),

        Test::Date(relation, operand) => {
            let boundary = operand.boundary(*relation, now);
            let operator = if boundary.at_or_after { "$gte" } else { "$lt" };
            match field {
                Field::Device(_) => path.is(doc! { operator: stored(boundary.at) }),
                Field::Property(_) => path.scalar(doc! { operator: boundary.text(), "$regex": date_shape() }),
            }
        }

        Test::Version(Relation::Ne, version) => {
            not(doc! { fields::APP_VERSION_KEY: { "$eq": version.as_str() } })
        }
        Test::Version(relation, version) => {
            doc! { fields::APP_VERSION_KEY: { operator(*relation): version.as_str() } }
        }
    }
}

/// Where a field lies in a device's document.
struct Path {
    path: String,
    may_be_list: bool,
}

impl Path {
    fn of(field: &Field) -> Self {
        match field {
            Field::Property(key) => Self {
                path: format!("{}.{key}", fields::PROPERTIES),
                may_be_list: true,
            },
            Field::Device(field) => {
                let path = match field {
                    DeviceField::Platform => fields::DEVICE_PLATFORM,
                    DeviceField::SendPlatform => fields::SEND_PLATFORM,
                    DeviceField::Locale => fields::LOCALE,
                    DeviceField::TimeZone => fields::TIME_ZONE,
                    DeviceField::AppVersion => fields::APP_VERSION,
                    DeviceField::LastSeenAt => fields::LAST_SEEN_AT,
                    DeviceField::CreatedAt => fields::CREATED_AT,
                    DeviceField::RandomBucket => fields::RANDOM_BUCKET,
                };
                Self {
                    path: path.to_owned(),
                    may_be_list: false,
                }
            }
        }
    }

    fn is(self, test: Document) -> Document {
        doc! { self.path: test }
    }

    /// The test, of anything but a list.
    fn scalar(self, mut test: Document) -> Document {
        if self.may_be_list {
            test.insert("$not", doc! { "$type": "array" });
        }
        self.is(test)
    }
}

fn not(filter: Document) -> Document {
    doc! { "$nor": [filter] }
}

fn operator(relation: Relation) -> &'static str {
    match relation {
        Relation::Eq => "$eq",
        Relation::Ne => "$ne",
        Relation::Gt => "$gt",
        Relation::Gte => "$gte",
        Relation::Lt => "$lt",
        Relation::Lte => "$lte",
    }
}

fn bson(number: Number) -> Bson {
    match number {
        Number::Int(int) => Bson::Int64(int),
        Number::Float(float) => Bson::Double(float),
    }
}

fn scalars_as_bson(scalars: &[Scalar]) -> Vec<Bson> {
    scalars.iter().map(scalar_as_bson).collect()
}

pub(crate) fn scalar_as_bson(scalar: &Scalar) -> Bson {
    match scalar {
        Scalar::Text(text) => Bson::String(text.clone()),
        Scalar::Number(number) => bson(*number),
        Scalar::Bool(bool) => Bson::Boolean(*bool),
    }
}

fn date_shape() -> Regex {
    Regex {
        pattern: cstring(INSTANT_SHAPE),
        options: cstring(""),
    }
}

/// The first text behind every text that starts with `prefix`, in the order of code points, which is
/// the order of UTF-8 bytes. `None` when every greater text starts with it.
fn end_of_prefix(prefix: &str) -> Option<String> {
    let mut end: Vec<char> = prefix.chars().collect();
    while let Some(last) = end.pop() {
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            last => char::from_u32(u32::from(last) + 1),
        };
        if let Some(next) = next {
            end.push(next);
            return Some(end.into_iter().collect());
        }
    }
    None
}

fn cstring(text: &'static str) -> mongodb::bson::raw::CString {
    text.try_into().expect("a constant without NUL")
}

#[cfg(test)]
mod tests {
    use jraze_domain::audience::Limits;
    use serde_json::json;

    use super::*;

    fn compiled(tree: serde_json::Value) -> Document {
        let now = "2026-11-21T09:00:00Z".parse().unwrap();
        compile(&Condition::parse(&tree, Limits::default()).unwrap(), now)
    }

    fn leaf(key: &str, operator: &str, value: serde_json::Value) -> Document {
        compiled(json!({"key": key, "operator": operator, "value": value}))
    }

    #[test]
    fn golden_filters() {
        let not_a_list = doc! { "$type": "array" };
        assert_eq!(
            leaf("age", "int_gt", json!(30)),
            doc! { "device_properties.age": { "$gt": 30_i64, "$not": not_a_list.clone() } }
        );
        assert_eq!(
            leaf("plan", "str_ne", json!("gold")),
            doc! { "$nor": [{ "device_properties.plan": { "$eq": "gold", "$not": not_a_list.clone() } }] }
        );
        assert_eq!(
            leaf("tags", "str_exists", json!("vip")),
            doc! { "device_properties.tags": { "$elemMatch": { "$in": ["vip"] } } }
        );
        assert_eq!(
            leaf("plan", "str_prefix", json!("go")),
            doc! { "device_properties.plan": { "$gte": "go", "$lt": "gp", "$not": not_a_list } }
        );
        assert_eq!(
            leaf("device.random_bucket", "int_lte", json!(100)),
            doc! { "random_bucket": { "$lte": 100_i64 } }
        );
        assert_eq!(
            compiled(json!({"join_type": "NOT", "conditions": [{"key": "a", "operator": "exists"}]})),
            doc! { "$nor": [{ "device_properties.a": { "$exists": true } }] }
        );
    }

    #[test]
    fn empty_groups_never_become_empty_lists() {
        let now = DateTime::<Utc>::default();
        assert_eq!(compile(&Condition::everybody(), now), doc! {});
        assert_eq!(compile(&Condition::Not(vec![]), now), doc! {});
        assert_eq!(compile(&Condition::Any(vec![]), now), doc! { "$nor": [{}] });
        assert_eq!(
            compile(&Condition::All(vec![Condition::everybody()]), now),
            doc! { "$and": [{}] }
        );
    }

    #[test]
    fn hostile_texts_stay_texts() {
        for text in [
            "$where",
            "{\"$gt\": \"\"}",
            "a.b",
            ".*",
            "\u{0}",
            "'; return true; //",
            "$$NOW",
        ] {
            let filter = leaf("k", "str_eq", json!(text));
            let test = filter.get_document("device_properties.k").unwrap();
            assert_eq!(test.get_str("$eq").unwrap(), text);
            let filter = leaf("k", "list_all", json!([text]));
            let test = filter.get_document("device_properties.k").unwrap();
            assert_eq!(test.get_array("$all").unwrap(), &vec![Bson::from(text)]);
        }
    }

    #[test]
    fn the_end_of_a_prefix_is_the_next_text_in_the_order_of_code_points() {
        let cases = [
            ("", None),
            ("a", Some("b")),
            ("az", Some("a{")),
            ("a\u{7f}", Some("a\u{80}")),
            ("\u{D7FF}", Some("\u{E000}")),
            ("a\u{10FFFF}", Some("b")),
            ("\u{10FFFF}\u{10FFFF}", None),
        ];
        for (prefix, end) in cases {
            assert_eq!(end_of_prefix(prefix).as_deref(), end, "{prefix:?}");
        }
    }

    #[test]
    fn an_audience_is_a_range_of_the_storage_order_of_its_app_only() {
        let range = AudienceRange {
            app: AppId(7),
            buckets: BucketRange { first: 11, last: 20 },
            upper_id: DeviceId(99),
            after: None,
        };
        let filter = audience(&range, &Condition::everybody(), DateTime::<Utc>::default());
        let ids = filter.get_document("_id").unwrap();
        assert_eq!(
            ids.get_object_id("$gte").unwrap().bytes(),
            [0, 7, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(
            ids.get_object_id("$lte").unwrap().bytes(),
            [0, 7, 0, 20, 255, 255, 255, 255, 255, 255, 255, 255]
        );
        assert!(!filter.contains_key("$and"));
        assert_eq!(filter.get_document("id").unwrap(), &doc! { "$lte": 99_i64 });
    }
}
