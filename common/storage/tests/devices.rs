//! The rules of registration, properties, import, search and export, on a real server.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use jraze_domain::audience::{Condition, Limits};
use jraze_domain::device::{
    BUCKETS, Device, DevicePlatform, ExternalId, PropertyChanges, PropertyKey, PropertyType, PropertyValue,
    PushToken, Registration, SendPlatform, ShortText, TokenChange, TokenState, bucket,
};
use jraze_domain::ids::{AppId, DeviceId};
use jraze_storage::devices::{
    Change, DeviceOrder, DeviceSearch, Devices, Guard, SecretCheck, WriteError, Written, secret_hash,
    token_hash,
};
use jraze_storage::dispatch::GoneToken;
use jraze_storage::test_util::TestDatabase;
use jraze_storage::{StorageError, Store};
use serde_json::{Value, json};

const APP: AppId = AppId(1);
const OTHER_APP: AppId = AppId(2);
const SECOND: Duration = Duration::from_secs(1);

fn now() -> DateTime<Utc> {
    "2026-11-21T09:00:00.123Z".parse().expect("a date")
}

fn later() -> DateTime<Utc> {
    now() + TimeDelta::hours(1)
}

fn name(text: &str) -> ExternalId {
    ExternalId::new(text).expect("a name")
}

fn token(text: &str) -> TokenChange {
    TokenChange::Set(PushToken::new(text).expect("a token"))
}

fn registration(external_id: &str, push_token: TokenChange) -> Registration {
    Registration {
        push_token,
        send_platform: Some(SendPlatform::Fcm),
        device_platform: Some(DevicePlatform::Android),
        ..Registration::of(name(external_id))
    }
}

fn with_token(external_id: &str, text: &str) -> Change {
    Change::register(registration(external_id, token(text)))
}

fn changes(properties: Value) -> PropertyChanges {
    let entries = properties.as_object().expect("an object").iter();
    PropertyChanges::new(entries.map(|(key, value)| {
        (
            PropertyKey::new(key).expect("a key"),
            PropertyValue::from_json(value).expect("a value"),
        )
    }))
    .expect("few enough")
}

fn properties_of(device: &Device) -> Value {
    device
        .properties
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_json()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

struct Fixture {
    database: TestDatabase,
    devices: Devices,
}

impl Fixture {
    async fn new() -> Self {
        let database = TestDatabase::new().await;
        let devices = Devices::new(&database);
        Self { database, devices }
    }

    async fn change(&self, change: Change) -> Written {
        self.change_at(change, now()).await
    }

    async fn change_at(&self, change: Change, at: DateTime<Utc>) -> Written {
        self.devices
            .change(APP, change, at)
            .await
            .expect("the change is made")
    }

    async fn get(&self, external_id: &str) -> Device {
        self.devices
            .get(APP, &name(external_id))
            .await
            .expect("an answer")
            .expect("the device is there")
    }
}

#[tokio::test]
async fn a_registration_creates_a_device_that_reads_back_as_it_was_told() {
    let fixture = Fixture::new().await;
    let text = |text: &str| Some(ShortText::new(text).expect("short"));
    let told = Registration {
        locale: text("de-AT"),
        time_zone: text("Europe/Vienna"),
        app_version: text("4.2.0"),
        ..registration("erika", token("t1"))
    };
    let mut change = Change::register(told);
    change.properties =
        changes(json!({"plan": "gold", "age": 31, "ratio": 0.5, "on": true, "tags": ["a", 1, 2.5, false]}));
    let written = fixture.change(change).await;
    assert!(written.created);
    let device = written.device;
    assert_eq!(device.id, DeviceId(1));
    assert_eq!(device.random_bucket, bucket(device.id));
    assert_eq!(device.token_state, TokenState::Active);
    assert_eq!(device.token_registered_at, Some(now()));
    assert_eq!(
        (device.created_at, device.modified_at, device.last_seen_at),
        (now(), now(), now())
    );
    assert_eq!(
        properties_of(&device),
        json!({"plan": "gold", "age": 31, "ratio": 0.5, "on": true, "tags": ["a", 1, 2.5, false]})
    );
    assert_eq!(fixture.get("erika").await, device);
    assert_eq!(
        fixture.devices.get_by_id(APP, device.id).await.unwrap(),
        Some(device)
    );
    assert_eq!(
        fixture.devices.get(OTHER_APP, &name("erika")).await.unwrap(),
        None,
        "apps do not see each other"
    );
}

#[tokio::test]
async fn a_later_registration_changes_what_it_names_and_never_id_bucket_or_birth() {
    let fixture = Fixture::new().await;
    let first = fixture.change(with_token("erika", "t1")).await.device;
    let second = Registration {
        send_platform: None,
        device_platform: Some(DevicePlatform::Ios),
        ..registration("erika", TokenChange::Keep)
    };
    let written = fixture.change_at(Change::register(second), later()).await;
    assert!(!written.created);
    let expected = Device {
        device_platform: DevicePlatform::Ios,
        last_seen_at: later(),
        modified_at: later(),
        ..first.clone()
    };
    assert_eq!(written.device, expected);

    let renewed = fixture.change_at(with_token("erika", "t2"), later()).await.device;
    assert_eq!(
        (renewed.id, renewed.random_bucket, renewed.created_at),
        (first.id, first.random_bucket, now())
    );
    assert_eq!(renewed.token_registered_at, Some(later()));

    let cleared = fixture
        .change(Change::register(registration("erika", TokenChange::Clear)))
        .await
        .device;
    assert_eq!(
        (
            cleared.push_token,
            cleared.token_state,
            cleared.token_registered_at
        ),
        (None, TokenState::Absent, None)
    );
}

#[tokio::test]
async fn the_newest_registration_takes_a_token_from_the_older_device_of_the_app_and_provider() {
    let fixture = Fixture::new().await;
    let mut old = with_token("old", "t");
    old.properties = changes(json!({"plan": "gold"}));
    fixture.change(old).await;
    // The same text at another provider, and in another app, is another token.
    let apns = Registration {
        send_platform: Some(SendPlatform::Apns),
        ..registration("apns", token("t"))
    };
    fixture.change(Change::register(apns)).await;
    fixture
        .devices
        .change(OTHER_APP, with_token("foreign", "t"), now())
        .await
        .unwrap();

    let new = fixture.change_at(with_token("new", "t"), later()).await.device;
    assert_eq!(new.token_state, TokenState::Active);
    let old = fixture.get("old").await;
    assert_eq!(
        (old.push_token.clone(), old.token_state.clone()),
        (None, TokenState::Absent)
    );
    assert_eq!(
        properties_of(&old),
        json!({"plan": "gold"}),
        "it keeps everything else"
    );
    assert!(fixture.get("apns").await.push_token.is_some());
    assert!(
        fixture
            .devices
            .get(OTHER_APP, &name("foreign"))
            .await
            .unwrap()
            .unwrap()
            .push_token
            .is_some()
    );

    // A change of provider is a claim too, without naming the token again.
    let moves = Registration {
        send_platform: Some(SendPlatform::Apns),
        ..registration("new", TokenChange::Keep)
    };
    fixture.change(Change::register(moves)).await;
    assert!(fixture.get("new").await.push_token.is_some());
    assert_eq!(fixture.get("apns").await.push_token, None);
}

#[tokio::test]
async fn two_devices_can_swap_their_tokens_in_the_same_moment() {
    let fixture = Fixture::new().await;
    fixture.change(with_token("a", "t1")).await;
    fixture.change(with_token("b", "t2")).await;
    let swap = [with_token("a", "t2"), with_token("b", "t1")];
    for written in join_all(swap.map(|change| fixture.devices.change(APP, change, later()))).await {
        written.expect("made");
    }
    let text = |device: Device| device.push_token.map(|token| token.as_str().to_owned());
    assert_eq!(text(fixture.get("a").await).as_deref(), Some("t2"));
    assert_eq!(text(fixture.get("b").await).as_deref(), Some("t1"));
}

#[tokio::test]
async fn of_many_registrations_at_once_in_two_processes_one_device_and_one_owner_come_out() {
    let fixture = Fixture::new().await;
    let elsewhere = Devices::new(&fixture.database.another_store().await);
    let tasks = (0..200).map(|index| {
        let devices = if index % 2 == 0 {
            &fixture.devices
        } else {
            &elsewhere
        };
        devices.change(
            APP,
            with_token(&format!("device {}", index % 5), "the token"),
            now(),
        )
    });
    let written: Vec<Written> = join_all(tasks)
        .await
        .into_iter()
        .map(|result| result.expect("made"))
        .collect();
    assert_eq!(written.iter().filter(|written| written.created).count(), 5);
    let mut ids: BTreeMap<String, BTreeSet<DeviceId>> = BTreeMap::new();
    for Written { device, .. } in &written {
        ids.entry(device.external_id.as_str().to_owned())
            .or_default()
            .insert(device.id);
    }
    assert!(
        ids.values().all(|ids| ids.len() == 1),
        "an id is assigned once: {ids:?}"
    );
    let mut owners = 0;
    for index in 0..5 {
        owners += usize::from(fixture.get(&format!("device {index}")).await.push_token.is_some());
    }
    assert_eq!(owners, 1);
}

#[tokio::test]
async fn the_last_of_two_changes_in_one_batch_wins_and_the_first_created() {
    let fixture = Fixture::new().await;
    let changes = vec![
        with_token("a", "t1"),
        with_token("b", "t1"),
        with_token("a", "t3"),
        with_token("c", "t1"),
    ];
    let outcomes = fixture.devices.import(APP, changes, now()).await;
    let created: Vec<bool> = outcomes
        .into_iter()
        .map(|outcome| outcome.expect("made").created)
        .collect();
    assert_eq!(created, [true, true, false, true]);
    let text = |device: Device| device.push_token.map(|token| token.as_str().to_owned());
    assert_eq!(text(fixture.get("a").await).as_deref(), Some("t3"));
    assert_eq!(text(fixture.get("b").await), None);
    assert_eq!(text(fixture.get("c").await).as_deref(), Some("t1"));
}

#[tokio::test]
async fn all_properties_of_one_request_are_applied_as_one() {
    let fixture = Fixture::new().await;
    fixture.change(with_token("erika", "t")).await;
    let change = |properties| Change::properties(name("erika"), changes(properties));
    fixture
        .change(change(json!({"a": 1, "b": "x", "c": [1, 2]})))
        .await;
    let written = fixture
        .change_at(
            change(json!({"a": null, "b": 2.5, "d": [], "missing": null})),
            later(),
        )
        .await;
    assert_eq!(
        properties_of(&written.device),
        json!({"b": 2.5, "c": [1, 2], "d": []})
    );
    assert_eq!(written.device.modified_at, later());
    assert_eq!(
        written.device.last_seen_at,
        now(),
        "writing properties is no registration"
    );
    assert_eq!(fixture.get("erika").await, written.device);

    let unchanged = fixture
        .change_at(change(json!({})), later() + TimeDelta::hours(1))
        .await
        .device;
    assert_eq!(unchanged.modified_at, later());
}

#[tokio::test]
async fn concurrent_property_requests_lose_nothing() {
    let fixture = Fixture::new().await;
    fixture.change(with_token("erika", "t")).await;
    let requests = (0..60).map(|index| {
        let change = Change::properties(name("erika"), changes(json!({ format!("k{index}"): index })));
        fixture.devices.change(APP, change, now())
    });
    for result in join_all(requests).await {
        result.expect("made");
    }
    assert_eq!(fixture.get("erika").await.properties.len(), 60);
}

#[tokio::test]
async fn properties_make_no_device_and_stop_when_it_is_full() {
    let fixture = Fixture::new().await;
    let result = fixture
        .devices
        .change(
            APP,
            Change::properties(name("nobody"), changes(json!({"a": 1}))),
            now(),
        )
        .await;
    assert!(matches!(result, Err(WriteError::UnknownDevice)), "{result:?}");
    assert_eq!(fixture.devices.get(APP, &name("nobody")).await.unwrap(), None);

    fixture.change(with_token("hoarder", "t")).await;
    let large = "x".repeat(1024);
    let change = |from: usize| {
        let keys = (from..from + 66).map(|index| (format!("k{index}"), json!(large)));
        Change::properties(name("hoarder"), changes(Value::Object(keys.collect())))
    };
    fixture.change(change(0)).await;
    let result = fixture.devices.change(APP, change(100), now()).await;
    assert!(matches!(result, Err(WriteError::PropertiesFull)), "{result:?}");
    let removal = changes(json!({"k0": null, "k1": null, "k2": null, "k3": null}));
    fixture.change(Change::properties(name("hoarder"), removal)).await;
    fixture
        .change(Change::properties(name("hoarder"), changes(json!({"fits": 1}))))
        .await;
}

#[tokio::test]
async fn hostile_names_and_values_stay_text() {
    let fixture = Fixture::new().await;
    for (index, hostile) in [
        "$where",
        "a.b",
        "{\"$ne\": null}",
        "\u{0}",
        "a/b:c",
        "ä\u{308}💥",
        "$$NOW",
    ]
    .iter()
    .enumerate()
    {
        let mut change = with_token(hostile, &format!("$token.{index}"));
        change.properties = changes(json!({"k": hostile, "l": [hostile]}));
        fixture.change(change).await;
        let device = fixture.get(hostile).await;
        assert_eq!(device.external_id.as_str(), *hostile);
        assert_eq!(properties_of(&device), json!({"k": hostile, "l": [hostile]}));
        let updated = fixture
            .change(Change::properties(
                name(hostile),
                changes(json!({"k": format!("${hostile}")})),
            ))
            .await;
        assert_eq!(
            properties_of(&updated.device),
            json!({"k": format!("${hostile}"), "l": [hostile]})
        );
    }
    assert_eq!(
        fixture.devices.delete(APP, &name("$where")).await.unwrap(),
        Some(DeviceId(1))
    );
    assert_eq!(fixture.devices.delete(APP, &name("$where")).await.unwrap(), None);
}

#[tokio::test]
async fn a_guarded_change_touches_only_the_device_whose_secret_it_shows() {
    let fixture = Fixture::new().await;
    let guarded = |external_id: &str, secret: Option<&str>| {
        let mut change = with_token(external_id, "t");
        change.guard = Guard::Secret(secret.map(secret_hash));
        change.secret_of_new = Some(secret_hash("fresh"));
        change
    };
    assert!(
        fixture.change(guarded("mine", None)).await.created,
        "anybody may register a new device"
    );
    fixture.change(with_token("imported", "other")).await;
    let before = fixture.get("mine").await;
    assert!(before.has_secret);
    for (target, secret) in [
        ("mine", None),
        ("mine", Some("wrong")),
        ("imported", Some("fresh")),
        ("imported", None),
    ] {
        let result = fixture
            .devices
            .change(APP, guarded(target, secret), later())
            .await;
        assert!(
            matches!(result, Err(WriteError::WrongSecret)),
            "{target} {secret:?}: {result:?}"
        );
    }
    assert_eq!(fixture.get("mine").await, before, "nothing was touched");
    assert!(
        !fixture
            .change_at(guarded("mine", Some("fresh")), later())
            .await
            .created
    );

    let check = async |external_id: &str, secret| {
        fixture
            .devices
            .check_secret(APP, &name(external_id), secret)
            .await
            .expect("an answer")
    };
    assert_eq!(check("mine", Some("fresh")).await, SecretCheck::Right);
    assert_eq!(check("mine", Some("old")).await, SecretCheck::Wrong);
    assert_eq!(check("mine", None).await, SecretCheck::Wrong);
    assert_eq!(check("imported", Some("")).await, SecretCheck::NoSecret);
    assert_eq!(check("nobody", None).await, SecretCheck::UnknownDevice);
    assert!(
        fixture
            .devices
            .set_secret(APP, &name("mine"), secret_hash("rotated"))
            .await
            .unwrap()
    );
    assert_eq!(check("mine", Some("fresh")).await, SecretCheck::Wrong);
    assert_eq!(check("mine", Some("rotated")).await, SecretCheck::Right);
    assert!(
        !fixture
            .devices
            .set_secret(APP, &name("nobody"), secret_hash("x"))
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn a_dead_token_stays_dead_until_it_is_registered_again() {
    let fixture = Fixture::new().await;
    let device = fixture.change(with_token("erika", "t")).await.device;
    let gone = |text: &str, registered_before| GoneToken {
        device: device.id,
        token_hash: token_hash(&PushToken::new(text).expect("a token")),
        registered_before,
    };
    let bury = async |gone: GoneToken| {
        fixture
            .devices
            .bury_tokens(APP, &[gone], "UNREGISTERED", later())
            .await
            .expect("buried");
        fixture.get("erika").await.token_state
    };
    assert_eq!(bury(gone("another", later())).await, TokenState::Active);
    assert_eq!(
        bury(gone("t", now() - TimeDelta::hours(1))).await,
        TokenState::Active,
        "registered since"
    );
    assert_eq!(
        bury(gone("t", later())).await,
        TokenState::Dead {
            reason: "UNREGISTERED".into()
        }
    );
    assert!(
        fixture.get("erika").await.push_token.is_some(),
        "kept for people to see"
    );
    assert_eq!(
        fixture.change(with_token("erika", "t")).await.device.token_state,
        TokenState::Active
    );
}

#[tokio::test]
async fn an_import_answers_each_line_and_one_failure_does_not_stop_the_rest() {
    let fixture = Fixture::new().await;
    fixture.change(with_token("device 3", "older")).await;
    let mut batch: Vec<Change> = (0..1_000)
        .map(|index| {
            let mut change = with_token(&format!("device {index}"), &format!("token {index}"));
            change.properties = changes(json!({"index": index}));
            change
        })
        .collect();
    batch[500].guard = Guard::Secret(None);
    fixture.change(with_token("device 500", "t")).await;
    let outcomes = fixture.devices.import(APP, batch, later()).await;
    assert_eq!(outcomes.len(), 1_000);
    for (index, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(written) => {
                assert_eq!(written.created, index != 3, "{index}");
                assert_eq!(written.device.external_id.as_str(), format!("device {index}"));
            }
            Err(error) => assert!(
                index == 500 && matches!(error, WriteError::WrongSecret),
                "{index}: {error}"
            ),
        }
    }
    let page = search(
        &fixture.devices,
        DeviceSearch {
            size: 1,
            ..DeviceSearch::default()
        },
    )
    .await;
    assert_eq!(page.1, 1_000);
}

async fn search(devices: &Devices, search: DeviceSearch) -> (Vec<String>, u64) {
    let page = devices
        .search(APP, &search, now(), SECOND * 10)
        .await
        .expect("an answer");
    let names = page
        .devices
        .iter()
        .map(|device| device.external_id.as_str().to_owned())
        .collect();
    (names, page.total)
}

fn condition(tree: Value) -> Option<Condition> {
    Some(Condition::parse(&tree, Limits::default()).expect("a tree"))
}

#[tokio::test]
async fn a_search_joins_names_and_condition_and_pages_in_the_order_asked_for() {
    let fixture = Fixture::new().await;
    let batch = (0..20).map(|index| {
        let mut change = with_token(&format!("d{index:02}"), &format!("t{index}"));
        change.properties = changes(json!({"even": index % 2 == 0}));
        change
    });
    fixture.devices.import(APP, batch.collect(), now()).await;
    fixture
        .devices
        .change(OTHER_APP, with_token("d00", "t"), now())
        .await
        .unwrap();
    let even = || condition(json!({"key": "even", "operator": "bool_eq", "value": true}));
    let order = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| DeviceOrder::parse(text).expect("an order"))
            .collect::<Vec<_>>()
    };

    let names = Some(["d01", "d02", "d03", "d04", "nobody"].map(name).to_vec());
    let both = DeviceSearch {
        external_ids: names,
        condition: even(),
        order_bys: order(&["-external_id"]),
        start: 0,
        size: 10,
    };
    assert_eq!(
        search(&fixture.devices, both).await,
        (vec!["d04".into(), "d02".into()], 2)
    );

    let page = |start, size| DeviceSearch {
        condition: even(),
        order_bys: order(&["-id"]),
        start,
        size,
        ..DeviceSearch::default()
    };
    assert_eq!(
        search(&fixture.devices, page(8, 5)).await,
        (vec!["d02".into(), "d00".into()], 10)
    );
    assert_eq!(search(&fixture.devices, page(10, 5)).await, (vec![], 10));
    assert_eq!(search(&fixture.devices, page(0, 0)).await, (vec![], 10));

    let nobody = DeviceSearch {
        external_ids: Some(vec![]),
        size: 10,
        ..DeviceSearch::default()
    };
    assert_eq!(search(&fixture.devices, nobody).await, (vec![], 0));
    let all = DeviceSearch {
        order_bys: order(&["created_at", "id", "-id"]),
        size: 3,
        ..DeviceSearch::default()
    };
    assert_eq!(
        search(&fixture.devices, all).await,
        (vec!["d00".into(), "d01".into(), "d02".into()], 20)
    );

    let count = fixture
        .devices
        .count(APP, &even().expect("a tree"), now(), SECOND * 10)
        .await
        .unwrap();
    assert_eq!(count, 10);
    for refused in ["push_token", "$natural", "device_properties.a", "", "-"] {
        assert_eq!(DeviceOrder::parse(refused), None, "{refused}");
    }
}

#[tokio::test]
async fn an_export_holds_every_device_of_the_app_once_in_storage_order_and_can_go_on() {
    let fixture = Fixture::new().await;
    let batch = (0..2_500).map(|index| with_token(&format!("d{index}"), &format!("t{index}")));
    fixture.devices.import(APP, batch.collect(), now()).await;
    fixture
        .devices
        .change(OTHER_APP, with_token("foreign", "t"), now())
        .await
        .unwrap();
    let mut export = fixture.devices.export(APP, None).await.unwrap();
    let mut devices = Vec::new();
    while let Some(device) = export.next().await.unwrap() {
        devices.push(device);
    }
    assert_eq!(devices.len(), 2_500);
    assert!(devices.is_sorted_by(|left, right| left.storage_id() < right.storage_id()));
    assert!(
        devices
            .iter()
            .all(|device| (1..=BUCKETS).contains(&device.random_bucket))
    );
    let ids: HashSet<DeviceId> = devices.iter().map(|device| device.id).collect();
    assert_eq!(ids, (1..=2_500).map(DeviceId).collect());

    let mut rest = fixture
        .devices
        .export(APP, Some(devices[999].storage_id()))
        .await
        .unwrap();
    assert_eq!(rest.next().await.unwrap().as_ref(), devices.get(1_000));
}

#[tokio::test]
async fn the_catalogue_knows_keys_types_and_coverage() {
    let fixture = Fixture::new().await;
    let batch = (0..100).map(|index| {
        let mut change = with_token(&format!("d{index}"), &format!("t{index}"));
        change.properties = if index < 25 {
            changes(json!({"age": index, "plan": "gold", "gone": null}))
        } else {
            changes(json!({"age": f64::from(index) + 0.5}))
        };
        change
    });
    fixture.devices.import(APP, batch.collect(), now()).await;
    fixture
        .devices
        .change(
            OTHER_APP,
            Change {
                properties: changes(json!({"foreign": 1})),
                ..with_token("x", "t")
            },
            now(),
        )
        .await
        .unwrap();
    let catalogue = fixture.devices.catalogue().list(APP).await.unwrap();
    assert_eq!(catalogue.sample, 100);
    let entries: Vec<_> = catalogue
        .entries
        .iter()
        .map(|entry| (entry.key.as_str(), entry.types.clone(), entry.coverage))
        .collect();
    assert_eq!(
        entries,
        [
            ("age", vec![PropertyType::Int, PropertyType::Float], 1.0),
            ("plan", vec![PropertyType::String], 0.25),
        ]
    );
    assert_eq!(
        fixture.devices.catalogue().list(AppId(9)).await.unwrap().entries,
        []
    );
}

#[tokio::test]
async fn a_search_that_takes_too_long_says_so() {
    let fixture = Fixture::new().await;
    let batch = (0..5_000).map(|index| with_token(&format!("d{index}"), &format!("t{index}")));
    fixture.devices.import(APP, batch.collect(), now()).await;
    let tree = json!({"join_type": "OR", "conditions": vec![json!({"key": "k", "operator": "str_prefix", "value": "x"}); 32]});
    let search = DeviceSearch {
        condition: condition(tree),
        size: 10,
        ..DeviceSearch::default()
    };
    let result = fixture
        .devices
        .search(APP, &search, now(), Duration::from_millis(1))
        .await;
    assert!(matches!(result, Err(StorageError::TimedOut { .. })), "{result:?}");
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_is_an_error_that_may_be_repeated() {
    let mut settings = jraze_storage::test_util::settings();
    settings.uri = "mongodb://127.0.0.1:1/?replicaSet=rs0".into();
    settings.server_selection_timeout = jraze_runtime::config::HumanDuration(Duration::from_millis(50));
    let error = Store::connect(&settings).await.expect_err("nobody listens there");
    assert!(error.is_retryable(), "{error:?}");
}
