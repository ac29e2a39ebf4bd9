//! Audiences: the compiled filter selects what the evaluator says, and the stream gives each device of
//! its range once.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jraze_domain::audience::{Condition, Limits};
use jraze_domain::device::{
    DevicePlatform, ExternalId, PropertyChanges, PropertyKey, PropertyValue, PushToken, Registration,
    SendPlatform, TokenChange, storage_id,
};
use jraze_domain::dispatch::{BucketRange, partitions};
use jraze_domain::ids::{AppId, DeviceId};
use jraze_storage::StorageError;
use jraze_storage::audience_filter::AudienceRange;
use jraze_storage::audience_stream::{Audiences, Target};
use jraze_storage::devices::{Change, Devices, token_hash};
use jraze_storage::dispatch::GoneToken;
use jraze_storage::test_util::TestDatabase;
use serde_json::json;

const APP: AppId = AppId(1);

fn now() -> DateTime<Utc> {
    "2026-11-21T09:00:00Z".parse().expect("a date")
}

fn change(index: i64, push_token: TokenChange, send_platform: SendPlatform) -> Change {
    let registration = Registration {
        push_token,
        send_platform: Some(send_platform),
        device_platform: Some(DevicePlatform::Ios),
        ..Registration::of(ExternalId::new(format!("d{index}")).expect("a name"))
    };
    let index = (
        PropertyKey::new("index").expect("a key"),
        Some(PropertyValue::Int(index)),
    );
    Change {
        properties: PropertyChanges::new([index]).expect("one"),
        ..Change::register(registration)
    }
}

fn token(index: i64) -> PushToken {
    PushToken::new(format!("token {index}")).expect("a token")
}

/// Devices with ids 1 to `count`, each with a token.
async fn with_devices(count: i64) -> (TestDatabase, Devices, Audiences) {
    let database = TestDatabase::new().await;
    let devices = Devices::new(&database);
    let all = (1..=count).map(|index| change(index, TokenChange::Set(token(index)), SendPlatform::Apns));
    for outcome in devices.import(APP, all.collect(), now()).await {
        outcome.expect("made");
    }
    let audiences = Audiences::new(&database);
    (database, devices, audiences)
}

fn everybody_in(buckets: BucketRange, upper_id: u64) -> AudienceRange {
    AudienceRange {
        app: APP,
        buckets,
        upper_id: DeviceId(upper_id),
        after: None,
    }
}

async fn collect(audiences: &Audiences, range: AudienceRange, condition: &Condition) -> Vec<Target> {
    let mut stream = audiences.stream(range, condition, now()).await.expect("opened");
    stream.next_many(usize::MAX).await.expect("read")
}

#[tokio::test]
async fn the_parts_of_a_plan_together_give_every_device_once_in_storage_order() {
    let (_database, _devices, audiences) = with_devices(3_000).await;
    let mut all = Vec::new();
    for part in partitions(3_000, 250) {
        all.extend(collect(&audiences, everybody_in(part, u64::MAX), &Condition::everybody()).await);
    }
    assert!(all.is_sorted_by(|left, right| left.object_id < right.object_id));
    let mut ids: Vec<u64> = all.iter().map(|target| target.id.0).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=3_000).collect::<Vec<_>>());
    for target in &all {
        assert_eq!(target.object_id.bytes(), storage_id(APP, target.id));
        assert_eq!(
            (target.send_platform, target.device_platform),
            (SendPlatform::Apns, DevicePlatform::Ios)
        );
        assert!(target.token.as_str().starts_with("token "));
    }
}

#[tokio::test]
async fn a_stream_goes_on_behind_its_checkpoint_and_ends_at_the_upper_id() {
    let (_database, _devices, audiences) = with_devices(500).await;
    let condition = Condition::parse(
        &json!({"key": "index", "operator": "int_gt", "value": 100}),
        Limits::default(),
    )
    .expect("a tree");
    let all = collect(&audiences, everybody_in(BucketRange::ALL, 400), &condition).await;
    assert_eq!(all.len(), 300);
    assert!(all.iter().all(|target| (101..=400).contains(&target.id.0)));
    let range = AudienceRange {
        after: Some(all[99].object_id),
        ..everybody_in(BucketRange::ALL, 400)
    };
    assert_eq!(collect(&audiences, range, &condition).await, all[100..]);
}

#[tokio::test]
async fn devices_that_cannot_be_sent_to_are_in_no_audience() {
    let (_database, devices, audiences) = with_devices(3).await;
    let now = now();
    let extra = [
        change(4, TokenChange::Keep, SendPlatform::Fcm),
        change(5, TokenChange::Set(token(5)), SendPlatform::Unknown),
        change(6, TokenChange::Set(token(6)), SendPlatform::WebPush),
    ];
    for outcome in devices.import(APP, extra.to_vec(), now).await {
        outcome.expect("made");
    }
    devices
        .change(
            AppId(2),
            change(1, TokenChange::Set(token(1)), SendPlatform::Fcm),
            now,
        )
        .await
        .expect("made");
    let dead = GoneToken {
        device: DeviceId(2),
        token_hash: token_hash(&token(2)),
        registered_before: now,
    };
    devices
        .bury_tokens(APP, &[dead], "UNREGISTERED", now + TimeDelta::hours(1))
        .await
        .expect("buried");

    let numbers = |targets: &[Target]| {
        let mut numbers: Vec<u64> = targets.iter().map(|target| target.id.0).collect();
        numbers.sort_unstable();
        numbers
    };
    let streamed = collect(
        &audiences,
        everybody_in(BucketRange::ALL, u64::MAX),
        &Condition::everybody(),
    )
    .await;
    assert_eq!(numbers(&streamed), [1, 3, 6]);
    let ids: Vec<DeviceId> = (1..=9).map(DeviceId).collect();
    assert_eq!(
        numbers(&audiences.targets_by_ids(APP, &ids).await.unwrap()),
        [1, 3, 6]
    );
    assert_eq!(audiences.targets_by_ids(APP, &[]).await.unwrap(), []);
    assert_eq!(audiences.targets_by_ids(AppId(3), &ids).await.unwrap(), []);
}

#[tokio::test]
async fn a_count_is_as_many_devices_as_the_stream_gives() {
    let (_database, devices, audiences) = with_devices(2_000).await;
    let foreign = change(1, TokenChange::Set(token(1)), SendPlatform::Fcm);
    devices.change(AppId(2), foreign, now()).await.expect("made");
    for value in [0, 1_234, 1_999, 2_000] {
        let tree = json!({"key": "index", "operator": "int_gt", "value": value});
        let condition = Condition::parse(&tree, Limits::default()).expect("a tree");
        let counted = audiences.count(APP, &condition, now(), Duration::from_secs(10));
        let streamed = collect(&audiences, everybody_in(BucketRange::ALL, u64::MAX), &condition).await;
        assert_eq!(counted.await.expect("answers"), streamed.len() as u64);
        assert_eq!(streamed.len(), 2_000 - value as usize);
    }
    let everybody = Condition::everybody();
    let late = audiences.count(APP, &everybody, now(), Duration::ZERO).await;
    assert!(
        matches!(late, Ok(2_000) | Err(StorageError::TimedOut { .. })),
        "{late:?}"
    );
}

#[tokio::test]
async fn an_estimate_is_exact_for_few_devices_and_near_for_more_than_are_looked_at() {
    let (_database, _devices, audiences) = with_devices(3_000).await;
    let tree = json!({"key": "index", "operator": "int_lte", "value": 1_000});
    let condition = Condition::parse(&tree, Limits::default()).expect("a tree");
    let estimate = async |devices| {
        let estimate = audiences.estimate(APP, &condition, now(), devices, Duration::from_secs(10));
        estimate.await.expect("answers")
    };
    assert_eq!(estimate(3_000).await, 1_000);
    // As if the app had seven times as many as are looked at: a seventh of the buckets.
    let seventh = estimate(140_000).await;
    assert!((700..=1_300).contains(&seventh), "{seventh}");
}

#[tokio::test]
async fn an_estimate_is_not_misled_by_a_condition_on_the_bucket_that_it_takes_devices_by() {
    let (_database, _devices, audiences) = with_devices(3_000).await;
    let bucket =
        |operator: &str, value| json!({"key": "device.random_bucket", "operator": operator, "value": value});
    let both = |one, other| json!({"join_type": "AND", "conditions": [one, other]});
    let index = json!({"key": "index", "operator": "int_lte", "value": 1_500});
    for (tree, least, most) in [
        // The first hundred buckets, which the first place begins with; and some that are in no place.
        (bucket("int_lte", json!(100)), 1.0, 1.0),
        (
            both(bucket("int_gt", json!(200)), bucket("int_lte", json!(900))),
            1.0,
            1.0,
        ),
        (bucket("int_in", json!([1, 2, 3, 9_000, 10_000])), 1.0, 1.0),
        (bucket("int_gt", json!(10_000)), 1.0, 1.0),
        (both(bucket("int_gt", json!(5_000)), index), 0.7, 1.3),
    ] {
        let condition = Condition::parse(&tree, Limits::default()).expect("a tree");
        let truth = audiences.count(APP, &condition, now(), Duration::from_secs(10));
        let truth = truth.await.expect("answers") as f64;
        // As if the app had seven times as many as are looked at.
        let estimate = audiences.estimate(APP, &condition, now(), 140_000, Duration::from_secs(10));
        let estimate = estimate.await.expect("answers") as f64;
        assert!(
            (truth * least..=truth * most).contains(&estimate),
            "{estimate} of {truth}: {tree}"
        );
    }
}
