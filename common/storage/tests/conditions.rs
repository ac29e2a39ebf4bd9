//! The compiled filter against the evaluator, on a real server: random devices, random trees.
//!
//! The evaluator is the definition. Each case asks the server which of the devices meet a tree and
//! expects exactly those for which the evaluator says yes. Values are drawn from small pools that hold
//! the edges (64-bit ends, integers no double can hold, Unicode, near-dates, empty lists), so that
//! devices and operands meet often. A second test makes sure that they do: every operator must be seen
//! to accept some device and to refuse another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use jraze_domain::audience::{Condition, DeviceField, Limits, Operand, Operator};
use jraze_domain::device::{
    Device, DevicePlatform, ExternalId, PropertyChanges, PropertyKey, PropertyValue, Registration,
    SendPlatform, ShortText, TokenChange,
};
use jraze_domain::ids::{AppId, DeviceId};
use jraze_storage::devices::{Change, DeviceSearch, Devices};
use jraze_storage::test_util::TestDatabase;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

const APP: AppId = AppId(1);
const DEVICES: usize = 150;
/// Databases, each with devices of its own.
const ROUNDS: usize = 3;
const TREES_PER_ROUND: usize = 500;

fn now() -> DateTime<Utc> {
    "2026-11-21T09:00:00.250Z".parse().expect("a date")
}

fn keys() -> Vec<&'static str> {
    vec!["a", "b", "tags", "day", "A", "__proto__", "x-1"]
}

fn numbers() -> Vec<Value> {
    vec![
        json!(0),
        json!(1),
        json!(-1),
        json!(31),
        json!(31.0),
        json!(31.5),
        json!(-0.0),
        json!(0.1),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(i64::MAX - 1),
        json!(9_007_199_254_740_993_i64),
        json!(9_007_199_254_740_992.0),
        json!(9_223_372_036_854_775_808.0),
        json!(-9_223_372_036_854_775_808.0),
        json!(1e300),
        json!(-1e300),
        json!(5e-324),
    ]
}

fn texts() -> Vec<&'static str> {
    vec![
        "",
        "a",
        "ab",
        "abc",
        "b",
        "A",
        "ä",
        "a\u{308}",
        "a\u{7f}",
        "💥",
        "💥a",
        "\u{10FFFF}",
        "\u{10FFFF}a",
        "\u{D7FF}z",
        "\u{0}",
        "a\u{0}b",
        "31",
        "true",
        "$a",
        "$where",
        "{\"$gt\":\"\"}",
        ".*",
        "^a",
        "null",
        "2026-11-21",
        "2026-11-20",
        "2026-11-21T00:00:00Z",
        "2026-11-21T09:00:00Z",
        "2026-11-21T09:00:00.25Z",
        "2026-11-21T08:59:59.999Z",
        "2026-11-21T09:00:01Z",
        "2026-11-21\n",
        "2026-11-21T09:00Z",
        " 2026-11-21",
        "2026-11-21T09:00:00+00:00",
        "9999-12-31",
        "0000-01-01",
        "٢٠٢٦-١١-٢١",
    ]
}

fn dates() -> Vec<&'static str> {
    vec![
        "2026-11-21",
        "2026-11-20",
        "2026-11-21T00:00:00Z",
        "2026-11-21T09:00:00Z",
        "2026-11-21T09:00:00.9Z",
        "2026-11-21T08:59:59Z",
        "now",
        "now-1d",
        "now+1s",
        "now-1s",
        "now-9h",
        "now-100w",
        "9999-12-31",
        "0000-01-01",
        "9999-12-31T23:59:59Z",
    ]
}

fn versions() -> Vec<&'static str> {
    vec![
        "1",
        "1.0.0",
        "1.2",
        "1.10",
        "v2",
        "2.0.0-beta.1",
        "2.0.0-beta.11",
        "2.0.0-rc",
        "2.0.0+77",
    ]
}

fn scalar() -> BoxedStrategy<Value> {
    prop_oneof![
        select(numbers()),
        select(texts()).prop_map(Value::from),
        any::<bool>().prop_map(Value::from)
    ]
    .boxed()
}

/// Values that a device may have: each type, and lists of all of them.
fn property() -> BoxedStrategy<Value> {
    prop_oneof![
        4 => select(numbers()),
        4 => select(texts()).prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        3 => prop::collection::vec(scalar(), 0..4).prop_map(Value::from),
    ]
    .boxed()
}

/// What is drawn for one device.
#[derive(Debug, Clone)]
struct Drawn {
    properties: Vec<(&'static str, Value)>,
    platforms: (u8, u8),
    locale: Option<&'static str>,
    time_zone: Option<&'static str>,
    app_version: Option<&'static str>,
    seen: i64,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let keys = subsequence(keys(), 0..=keys().len());
    let properties = keys.prop_flat_map(|keys| {
        keys.into_iter()
            .map(|key| property().prop_map(move |value| (key, value)))
            .collect::<Vec<_>>()
    });
    let versions: Vec<_> = versions().into_iter().chain(["latest", "1.x", "1.2"]).collect();
    (
        properties,
        (0u8..4, 0u8..4),
        prop::option::of(select(vec!["a", "de", "de-AT", "ä"])),
        prop::option::of(select(vec!["a", "Europe/Vienna", "31"])),
        prop::option::of(select(versions)),
        // Around the boundaries of the operands: now, a second ago, midnight, yesterday.
        select(vec![
            0,
            250,
            -250,
            -251,
            749,
            750,
            -1_000,
            -32_400_250,
            -32_400_251,
            -86_400_000,
            -200_000_000,
        ]),
    )
        .prop_map(
            |(properties, platforms, locale, time_zone, app_version, seen)| Drawn {
                properties,
                platforms,
                locale,
                time_zone,
                app_version,
                seen,
            },
        )
}

impl Drawn {
    fn registered_at(&self) -> DateTime<Utc> {
        now() + chrono::TimeDelta::milliseconds(self.seen)
    }

    fn change(&self, index: usize) -> Change {
        let text = |text: Option<&str>| text.map(|text| ShortText::new(text).expect("short"));
        let registration = Registration {
            push_token: TokenChange::Keep,
            send_platform: SendPlatform::from_number(self.platforms.0.into()),
            device_platform: DevicePlatform::from_number(self.platforms.1.into()),
            locale: text(self.locale),
            time_zone: text(self.time_zone),
            app_version: text(self.app_version),
            ..Registration::of(ExternalId::new(format!("d{index}")).expect("a name"))
        };
        let properties = self.properties.iter().map(|(key, value)| {
            (
                PropertyKey::new(key).expect("a key"),
                PropertyValue::from_json(value).expect("a value"),
            )
        });
        Change {
            properties: PropertyChanges::new(properties).expect("few"),
            ..Change::register(registration)
        }
    }
}

/// A comparison with an operand of the operator's type, as JSON or as text.
fn comparison() -> impl Strategy<Value = Value> {
    let fields = keys()
        .into_iter()
        .chain(["missing"])
        .chain(DeviceField::ALL.map(DeviceField::name));
    let fields: Vec<&'static str> = fields.collect();
    let pairs: Vec<_> = fields
        .iter()
        .flat_map(|field| Operator::ALL.iter().map(move |operator| (*field, *operator)))
        .filter(|(field, operator)| {
            let kind = DeviceField::from_name(field)
                .map_or(jraze_domain::audience::FieldKind::Property, DeviceField::kind);
            operator.applies_to(kind)
        })
        .collect();
    select(pairs).prop_flat_map(|(key, operator)| {
        operand(operator.operand(), key)
            .prop_map(move |value| json!({"key": key, "operator": operator.name(), "value": value}))
    })
}

fn operand(operand: Operand, key: &'static str) -> BoxedStrategy<Value> {
    let integers = || {
        let small = match key {
            "device.random_bucket" => vec![json!(100), json!(5_000), json!(5666)],
            key if key.starts_with("device.") => vec![json!(0), json!(1), json!(2), json!(3)],
            _ => numbers().into_iter().filter(Value::is_i64).collect(),
        };
        select(small)
    };
    let floats = || prop_oneof![integers(), select(numbers())];
    let as_text = |value: Value| {
        if value.is_i64() {
            json!(value.to_string())
        } else {
            value
        }
    };
    let words = || {
        let own = ["de", "de-AT", "Europe/Vienna", "1.2", "latest"];
        select(texts().into_iter().chain(own).collect::<Vec<_>>()).prop_map(Value::from)
    };
    match operand {
        Operand::Integer => prop_oneof![integers(), integers().prop_map(as_text)].boxed(),
        Operand::Float => floats().boxed(),
        Operand::Text => words().boxed(),
        Operand::Bool => any::<bool>().prop_map(Value::from).boxed(),
        Operand::Nothing => Just(Value::Null).boxed(),
        Operand::Date => select(dates()).prop_map(Value::from).boxed(),
        Operand::Version => select(versions()).prop_map(Value::from).boxed(),
        Operand::IntegerList => prop::collection::vec(integers(), 1..5)
            .prop_map(Value::from)
            .boxed(),
        Operand::FloatList => prop::collection::vec(floats(), 1..5)
            .prop_map(Value::from)
            .boxed(),
        Operand::TextList => prop::collection::vec(words(), 1..5).prop_map(Value::from).boxed(),
        Operand::ScalarList => prop::collection::vec(scalar(), 1..4)
            .prop_map(Value::from)
            .boxed(),
    }
}

fn tree() -> impl Strategy<Value = Value> {
    comparison().prop_recursive(4, 24, 4, |child| {
        (
            select(vec!["AND", "OR", "NOT"]),
            prop::collection::vec(child, 1..4),
        )
            .prop_map(|(join, children)| json!({"join_type": join, "conditions": children}))
    })
}

struct World {
    _database: TestDatabase,
    repository: Devices,
    devices: Vec<Device>,
}

impl World {
    async fn draw(runner: &mut TestRunner) -> Self {
        let drawn: Vec<Drawn> = prop::collection::vec(drawn(), DEVICES)
            .new_tree(runner)
            .expect("drawn")
            .current();
        let database = TestDatabase::new().await;
        let repository = Devices::new(&database);
        for (index, drawn) in drawn.iter().enumerate() {
            let outcome = repository
                .import(APP, vec![drawn.change(index)], drawn.registered_at())
                .await;
            assert!(outcome.into_iter().all(|outcome| outcome.is_ok()));
        }
        // The evaluator looks at the devices as they read back; that they read back as they were
        // written is a test of its own.
        let mut export = repository.export(APP, None).await.expect("opened");
        let mut devices = Vec::new();
        while let Some(device) = export.next().await.expect("read") {
            devices.push(device);
        }
        assert_eq!(devices.len(), DEVICES);
        Self {
            _database: database,
            repository,
            devices,
        }
    }

    fn expected(&self, condition: &Condition) -> BTreeSet<DeviceId> {
        let meets = |device: &&Device| condition.matches(&device.view(), now());
        self.devices
            .iter()
            .filter(meets)
            .map(|device| device.id)
            .collect()
    }

    async fn selected(&self, condition: &Condition) -> BTreeSet<DeviceId> {
        let search = DeviceSearch {
            condition: Some(condition.clone()),
            size: 1_000,
            ..DeviceSearch::default()
        };
        let page = self
            .repository
            .search(APP, &search, now(), Duration::from_secs(30))
            .await;
        page.expect("the server accepts every filter")
            .devices
            .into_iter()
            .map(|device| device.id)
            .collect()
    }

    async fn hold(&self, tree: &Value) -> Result<(), String> {
        let condition =
            Condition::parse(tree, Limits::default()).map_err(|error| format!("{tree}: {error}"))?;
        let (expected, selected) = (self.expected(&condition), self.selected(&condition).await);
        if expected == selected {
            return Ok(());
        }
        let odd = self
            .devices
            .iter()
            .filter(|device| expected.contains(&device.id) != selected.contains(&device.id));
        Err(format!(
            "{tree}\nevaluator {expected:?}\nserver {selected:?}\nthey differ over {:#?}",
            odd.take(2).collect::<Vec<_>>()
        ))
    }
}

/// How many cases, times this: `JRAZE_TEST_EFFORT=20` for a long look.
fn effort() -> usize {
    std::env::var("JRAZE_TEST_EFFORT")
        .ok()
        .and_then(|effort| effort.parse().ok())
        .unwrap_or(1)
}

#[test]
fn the_server_selects_exactly_the_devices_for_which_the_evaluator_says_yes() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for _ in 0..ROUNDS * effort() {
        let mut runner = TestRunner::new(Config {
            cases: u32::try_from(TREES_PER_ROUND).expect("few"),
            failure_persistence: None,
            ..Config::default()
        });
        let world = runtime.block_on(World::draw(&mut runner));
        let result = runner.run(&tree(), |tree| {
            runtime.block_on(world.hold(&tree)).map_err(TestCaseError::fail)
        });
        if let Err(failure) = result {
            panic!("{failure}");
        }
    }
}

/// Without this, an operator that never met a fitting device would count as tested.
#[test]
fn every_operator_is_seen_to_accept_and_to_refuse_and_agrees_alone() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut runner = TestRunner::deterministic();
    let world = runtime.block_on(World::draw(&mut runner));
    let mut seen: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
    for _ in 0..2_000 {
        let tree = comparison().new_tree(&mut runner).expect("drawn").current();
        let condition = Condition::parse(&tree, Limits::default()).expect("a tree");
        runtime.block_on(world.hold(&tree)).expect("the server agrees");
        let accepted = world.expected(&condition).len();
        let name = tree["operator"]
            .as_str()
            .and_then(Operator::from_name)
            .expect("an operator")
            .name();
        let seen = seen.entry(name).or_default();
        seen.0 |= accepted > 0;
        seen.1 |= accepted < DEVICES;
    }
    assert_eq!(seen.len(), Operator::ALL.len());
    for (operator, seen) in seen {
        assert_eq!(seen, (true, true), "{operator}: accepts, refuses");
    }
}

#[tokio::test]
async fn groups_of_nothing_compile_to_filters_that_the_server_takes() {
    let world = World::draw(&mut TestRunner::deterministic()).await;
    let (nobody, everybody) = (Condition::Any(vec![]), Condition::everybody());
    for condition in [
        everybody.clone(),
        nobody.clone(),
        Condition::Not(vec![]),
        Condition::Not(vec![everybody.clone()]),
        Condition::All(vec![everybody.clone(), nobody.clone()]),
        Condition::Any(vec![nobody, everybody]),
    ] {
        assert_eq!(
            world.selected(&condition).await,
            world.expected(&condition),
            "{condition:?}"
        );
    }
}

#[tokio::test]
async fn the_largest_trees_are_taken_by_the_server() {
    let world = World::draw(&mut TestRunner::deterministic()).await;
    let leaf = |value: String| json!({"key": "a", "operator": "str_in", "value": vec![value; 1_000]});
    let wide = json!({"join_type": "OR", "conditions": (0..32).map(|index| leaf(format!("{index:0>256}"))).collect::<Vec<_>>()});
    let deep = (0..7).fold(
        json!({"key": "a", "operator": "int_ne", "value": 1}),
        |tree, _| json!({"join_type": "NOT", "conditions": [tree]}),
    );
    for tree in [wide, deep] {
        world.hold(&tree).await.expect("the server agrees");
    }
}
