//! Whose token it is, and whether it can be one.

use super::*;

#[tokio::test]
async fn the_newest_registration_takes_a_token_from_the_older_device_of_the_app_and_provider() {
    let fixture = Fixture::new().await;
    let mut old = with_token("old", "5bfacade");
    old.properties = changes(json!({"plan": "gold"}));
    fixture.change(old).await;
    // The same text at another provider, and in another app, is another token.
    let apns = Registration {
        send_platform: Some(SendPlatform::Apns),
        ..registration("apns", token("5bfacade"))
    };
    fixture.change(Change::register(apns)).await;
    fixture
        .devices
        .change(OTHER_APP, with_token("foreign", "5bfacade"), now())
        .await
        .unwrap();

    let new = fixture
        .change_at(with_token("new", "5bfacade"), later())
        .await
        .device;
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
async fn a_token_and_a_provider_that_do_not_suit_each_other_change_nothing_whichever_is_told_first() {
    let fixture = Fixture::new().await;
    fixture.change(with_token("android", "fcm:token")).await;
    let apns = Registration {
        send_platform: Some(SendPlatform::Apns),
        ..registration("iphone", token("5bfacade"))
    };
    fixture.change(Change::register(apns)).await;
    let refused = [
        (
            Registration {
                send_platform: Some(SendPlatform::Apns),
                ..registration("android", TokenChange::Keep)
            },
            Implausible::Provider,
        ),
        (
            Registration {
                push_token: token("fcm:other"),
                ..Registration::of(name("iphone"))
            },
            Implausible::ApnsToken,
        ),
    ];
    for (registration, fault) in refused {
        let before = fixture.get(registration.external_id.as_str()).await;
        let change = Change::register(registration);
        let refusal = fixture.devices.change(APP, change, later()).await.unwrap_err();
        assert!(
            matches!(refusal, WriteError::Implausible(found) if found == fault),
            "{refusal:?}"
        );
        assert_eq!(fixture.get(before.external_id.as_str()).await, before);
    }
    // Both told together, the device moves.
    let moves = Registration {
        send_platform: Some(SendPlatform::Apns),
        ..registration("android", token("0badcafe"))
    };
    assert_eq!(
        fixture.change(Change::register(moves)).await.device.send_platform,
        SendPlatform::Apns
    );
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
