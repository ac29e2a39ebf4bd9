//! Import, search, export and the catalogue.

use super::*;

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

#[tokio::test]
async fn fifty_lines_about_one_device_are_as_if_one_came_after_the_other() {
    let fixture = Fixture::new().await;
    let line = |index: i64| {
        let mut change = with_token("again", "t");
        change.properties = changes(json!({"last": index, (format!("k{}", index.rem_euclid(3))): index}));
        change
    };
    fixture.devices.import(APP, vec![line(-1)], now()).await;
    let mut batch: Vec<Change> = (0..50).map(line).collect();
    batch.push(with_token("new", "u"));
    batch.push(with_token("new", "u"));
    let outcomes = fixture.devices.import(APP, batch, later()).await;
    let created: Vec<bool> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().expect("made").created)
        .collect();
    assert_eq!(created.len(), 52);
    assert_eq!(created.iter().filter(|created| **created).count(), 1);
    assert!(created[50], "the first line about it made it");
    assert_eq!(
        properties_of(&fixture.get("again").await),
        json!({"last": 49, "k0": 48, "k1": 49, "k2": 47})
    );
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
async fn only_changes_that_were_made_reach_the_catalogue() {
    let fixture = Fixture::new().await;
    fixture.change(with_token("theirs", "t")).await;
    let refused = |key: &str| Change {
        guard: Guard::Secret(None),
        ..Change::properties(name("theirs"), changes(json!({ key: 1 })))
    };
    let made = |key: &str| Change::properties(name("theirs"), changes(json!({ key: 1 })));
    let refused_alone = fixture.devices.change(APP, refused("refused_alone"), now()).await;
    assert!(matches!(refused_alone, Err(WriteError::WrongSecret)));
    fixture.change(made("made_alone")).await;
    let batch = vec![refused("refused_import"), made("made_import")];
    let outcomes = fixture.devices.import(APP, batch, now()).await;
    assert!(outcomes[0].is_err() && outcomes[1].is_ok(), "{outcomes:?}");

    // A single change is recorded in a moment, not before its answer.
    let mut keys = Vec::new();
    for _ in 0..100 {
        let catalogue = fixture.devices.catalogue().list(APP).await.expect("an answer");
        keys = catalogue
            .entries
            .into_iter()
            .map(|entry| entry.key.to_string())
            .collect();
        if keys.len() >= 2 {
            break;
        }
        tokio::time::sleep(SECOND / 20).await;
    }
    assert_eq!(keys, ["made_alone", "made_import"]);
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
