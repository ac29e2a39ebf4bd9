//! Registration, properties and secrets of one device, and what a provider says of its token.

use super::*;

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
        change.secret_of_new = Some(secret_hash("another"));
        change
    };
    let mut first = guarded("mine", None);
    first.secret_of_new = Some(secret_hash("fresh"));
    assert!(
        fixture.change(first).await.created,
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
async fn a_verdict_on_a_token_does_not_reach_its_registration_of_afterwards() {
    let fixture = Fixture::new().await;
    let device = fixture.change(with_token("erika", "t")).await.device;
    let again = fixture.change_at(with_token("erika", "t"), later()).await.device;
    assert_eq!(again.token_registered_at, Some(later()));
    let gone = GoneToken {
        device: device.id,
        token_hash: token_hash(&PushToken::new("t").expect("a token")),
        registered_before: now() + TimeDelta::minutes(30),
    };
    fixture
        .devices
        .bury_tokens(APP, &[gone], "UNREGISTERED", later())
        .await
        .expect("buried");
    assert_eq!(fixture.get("erika").await.token_state, TokenState::Active);
}

/// What a round does that is repeated because the database went away behind its insert.
#[tokio::test]
async fn a_change_that_finds_the_device_it_has_made_itself_still_says_that_it_made_it() {
    let fixture = Fixture::new().await;
    for (external_id, guard) in [
        ("by a client", Guard::Secret(None)),
        ("by a server", Guard::Anyone),
    ] {
        let change = Change {
            guard,
            secret_of_new: Some(secret_hash(external_id)),
            ..with_token(external_id, external_id)
        };
        let first = fixture.change(change.clone()).await;
        let meanwhile = changes(json!({"meanwhile": 1}));
        let changed = fixture
            .change(Change::properties(name(external_id), meanwhile))
            .await
            .device;
        let repeated = fixture.change_at(change.clone(), later()).await;
        assert!(first.created && repeated.created, "{external_id}");
        assert_eq!(repeated.device, changed, "{external_id}: nothing is done twice");

        fixture
            .devices
            .set_secret(APP, &name(external_id), secret_hash("rotated"))
            .await
            .expect("rotated");
        match fixture.devices.change(APP, change, later()).await {
            Ok(written) => assert!(!written.created && guard == Guard::Anyone, "its secret is gone"),
            Err(error) => assert!(
                matches!(error, WriteError::WrongSecret) && guard == Guard::Secret(None),
                "{error}"
            ),
        }
    }
}
