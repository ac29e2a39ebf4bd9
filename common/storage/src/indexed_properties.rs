//! Properties that an operator declared to be asked for often: each has an index, for its app alone.
//!
//! Properties have no index by default, because each costs every write (about 13 us of the server for each
//! device) and 60 MB for each million devices. What it brings is a count of a narrow audience in a quarter of
//! the time, and only of a narrow one: a device that is found by an index costs six times what one costs that
//! is passed by. So a count first asks the index how many there are, which costs next to nothing because
//! it stops at [`NARROW`], and reads everybody where there are more.
//!
//! The server is never left to choose: every query about devices names its index. The planner of MongoDB
//! 6.0 would take an index for parts of an audience, and walk the whole app for each of them.

use futures_util::TryStreamExt as _;
use jraze_domain::audience::{Condition, Field, Relation, Test};
use jraze_domain::ids::AppId;
use jraze_domain::property::PropertyKey;
use mongodb::bson::{Document, doc};
use mongodb::options::IndexOptions;
use mongodb::{Collection, IndexModel};

use crate::Store;
use crate::devices::{COLLECTION, fields};
use crate::error::StorageError;

/// Properties of one app that may have an index.
pub const MOST_INDEXED: usize = 8;

/// The part of an app's devices that is found sooner by an index: one in this many.
pub(crate) const NARROW: u64 = 50;

/// The properties with an index.
#[derive(Debug, Clone)]
pub struct IndexedProperties {
    devices: Collection<Document>,
}

impl IndexedProperties {
    /// Over the store's devices.
    pub fn new(store: &Store) -> Self {
        Self {
            devices: store.collection(COLLECTION),
        }
    }

    /// Builds the index of a property, which takes some seconds for each million devices and keeps
    /// no writer out; returns when it is there. One that is there stays. `false` when the app has
    /// [`MOST_INDEXED`] others.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn add(&self, app: AppId, key: &PropertyKey) -> Result<bool, StorageError> {
        let others = self.list(app).await?.into_iter().filter(|other| other != key);
        if others.count() >= MOST_INDEXED {
            return Ok(false);
        }
        let path = path(key);
        let only = doc! { fields::APP_ID: i32::from(app.0), &path: { "$exists": true } };
        let options = IndexOptions::builder()
            .name(name(app, key))
            .partial_filter_expression(only)
            .build();
        let model = IndexModel::builder()
            .keys(doc! { path: 1 })
            .options(options)
            .build();
        self.devices.create_index(model).await?;
        Ok(true)
    }

    /// Drops the index of a property. `false` when there is none.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn remove(&self, app: AppId, key: &PropertyKey) -> Result<bool, StorageError> {
        if !self.list(app).await?.contains(key) {
            return Ok(false);
        }
        self.devices.drop_index(name(app, key)).await?;
        Ok(true)
    }

    /// The properties of an app that have one, or are about to.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn list(&self, app: AppId) -> Result<Vec<PropertyKey>, StorageError> {
        let prefix = prefix(app);
        let indexes: Vec<IndexModel> = self.devices.list_indexes().await?.try_collect().await?;
        let names = indexes
            .iter()
            .filter_map(|index| index.options.as_ref()?.name.as_deref());
        Ok(names
            .filter_map(|name| PropertyKey::new(name.strip_prefix(&prefix)?).ok())
            .collect())
    }
}

/// How an index can find the devices of a condition, and some more.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Way {
    /// The name of the index.
    pub(crate) index: String,
    /// What is asked of it: answered from the index alone, by more devices than meet the condition.
    pub(crate) at_most: Document,
    /// What the whole filter has to say for the server to believe that the index holds all.
    pub(crate) within: Document,
}

/// Every way that the indexes offer: a test that all devices of the audience meet, of a property with an
/// index.
pub(crate) fn ways(app: AppId, condition: &Condition, indexed: &[PropertyKey]) -> Vec<Way> {
    match condition {
        Condition::All(children) => children
            .iter()
            .flat_map(|child| ways(app, child, indexed))
            .collect(),
        Condition::Compare {
            field: Field::Property(key),
            test,
        } if indexed.contains(key) && is_narrowing(test) => {
            // What a filter says against lists has to be read from the device; without, it finds more.
            let mut leaf = crate::audience_filter::compile(condition, chrono::DateTime::UNIX_EPOCH);
            if let Ok(test) = leaf.get_document_mut(path(key)) {
                test.remove("$not");
            }
            let app_id = i32::from(app.0);
            let mut at_most = doc! { fields::APP_ID: app_id };
            at_most.extend(leaf);
            vec![Way {
                index: name(app, key),
                at_most,
                within: doc! { fields::APP_ID: app_id, path(key): { "$exists": true } },
            }]
        }
        _ => Vec::new(),
    }
}

/// Tests whose devices lie together in an index.
fn is_narrowing(test: &Test) -> bool {
    match test {
        Test::Number(relation, _) => *relation != Relation::Ne,
        Test::NumberIn(_) | Test::TextEq(_) | Test::TextIn(_) | Test::TextPrefix(_) | Test::BoolEq(_) => true,
        _ => false,
    }
}

fn path(key: &PropertyKey) -> String {
    format!("{}.{}", fields::PROPERTIES, key.as_str())
}

fn prefix(app: AppId) -> String {
    format!("property_{app}_")
}

fn name(app: AppId, key: &PropertyKey) -> String {
    prefix(app) + key.as_str()
}

#[cfg(test)]
mod tests {
    use jraze_domain::audience::Limits;
    use serde_json::{Value, json};

    use super::*;
    use crate::test_util::TestDatabase;

    const APP: AppId = AppId(1);

    fn key(text: &str) -> PropertyKey {
        PropertyKey::new(text).expect("a key")
    }

    fn found(tree: Value) -> Vec<Document> {
        let condition = Condition::parse(&tree, Limits::default()).expect("a tree");
        let ways = ways(APP, &condition, &[key("plan"), key("age")]);
        ways.into_iter().map(|way| way.at_most).collect()
    }

    #[test]
    fn only_a_test_that_every_device_of_the_audience_meets_is_a_way() {
        let plan = json!({"key": "plan", "operator": "str_eq", "value": "gold"});
        let age = json!({"key": "age", "operator": "int_gt", "value": 30});
        let city = json!({"key": "city", "operator": "str_eq", "value": "Oslo"});
        let group = |join: &str, nodes: [&Value; 2]| json!({"join_type": join, "conditions": nodes});
        let of_plan = doc! { "app_id": 1, "device_properties.plan": { "$eq": "gold" } };
        let of_age = doc! { "app_id": 1, "device_properties.age": { "$gt": 30_i64 } };
        assert_eq!(found(plan.clone()), std::slice::from_ref(&of_plan));
        assert_eq!(
            found(group("AND", [&plan, &city])),
            std::slice::from_ref(&of_plan)
        );
        assert_eq!(found(group("AND", [&plan, &age])), [of_plan, of_age]);
        for none in [
            city.clone(),
            group("OR", [&plan, &city]),
            group("NOT", [&plan, &age]),
            json!({"key": "plan", "operator": "str_ne", "value": "gold"}),
            json!({"key": "plan", "operator": "not_exists"}),
        ] {
            assert_eq!(found(none.clone()), Vec::<Document>::new(), "{none}");
        }
    }

    #[tokio::test]
    async fn an_app_has_eight_indexed_properties_at_most_and_another_app_its_own() {
        let database = TestDatabase::new().await;
        let indexed = IndexedProperties::new(&database);
        for number in 0..MOST_INDEXED {
            let key = key(&format!("k{number}"));
            assert!(indexed.add(APP, &key).await.expect("answers"));
        }
        assert!(!indexed.add(APP, &key("k8")).await.expect("answers"));
        assert!(
            indexed.add(APP, &key("k0")).await.expect("answers"),
            "it is there"
        );
        assert!(indexed.add(AppId(11), &key("k8")).await.expect("answers"));
        assert_eq!(indexed.list(AppId(11)).await.expect("answers"), [key("k8")]);
        assert_eq!(indexed.list(APP).await.expect("answers").len(), MOST_INDEXED);
        assert!(indexed.remove(APP, &key("k3")).await.expect("answers"));
        assert!(!indexed.remove(APP, &key("k3")).await.expect("answers"));
        assert!(indexed.add(APP, &key("k8")).await.expect("answers"));
    }
}
