//! Counters, migrations, apps and keys, on a real server.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use jraze_domain::ids::{AppId, DeviceId};
use jraze_domain::keys::{KeyEntropy, KeyKind, KeyText, Scope};
use jraze_storage::apps::{Apps, FIRST_APP};
use jraze_storage::counters::{Counters, IdAllocator};
use jraze_storage::keys::{KeyCheck, Keys, NewKey};
use jraze_storage::test_util::{TestDatabase, settings};
use jraze_storage::{StorageError, Store, migrations};

const APP: AppId = AppId(1);

fn now() -> DateTime<Utc> {
    "2026-11-21T09:00:00Z".parse().expect("a date")
}

fn entropy(seed: u8) -> KeyEntropy {
    KeyEntropy(std::array::from_fn(|index| {
        seed.wrapping_mul(31).wrapping_add(index as u8)
    }))
}

fn new_key(kind: KeyKind) -> NewKey {
    NewKey {
        app: (kind != KeyKind::Internal).then_some(APP),
        kind,
        scopes: kind.scopes(),
        name: "a key".into(),
        expires_at: None,
    }
}

#[tokio::test]
async fn ids_of_two_processes_never_repeat_and_stay_below_the_upper_bound() {
    let database = TestDatabase::new().await;
    let here = IdAllocator::new(&database);
    let there = IdAllocator::new(&database.another_store().await);
    assert_eq!(here.upper_bound(APP).await.unwrap(), DeviceId(0));
    let tasks = (0..60).map(|index| {
        let ids = if index % 2 == 0 { &here } else { &there };
        ids.next_many(APP, index * 7)
    });
    let mut seen = HashSet::new();
    for ids in join_all(tasks).await {
        for id in ids.unwrap() {
            assert!(seen.insert(id), "{id} was given out twice");
        }
    }
    assert_eq!(seen.len(), (0..60).map(|index| index * 7).sum::<usize>());
    let upper = here.upper_bound(APP).await.unwrap();
    assert!(seen.iter().all(|id| (DeviceId(1)..=upper).contains(id)));
    let other_app = here.next_many(AppId(2), 2).await.unwrap();
    assert_eq!(
        other_app,
        [DeviceId(1), DeviceId(2)],
        "each app counts for itself"
    );
}

#[tokio::test]
async fn a_counter_counts_from_one_without_gaps_however_many_ask() {
    let database = TestDatabase::new().await;
    let counters = Counters::new(&database);
    assert_eq!(counters.current("c").await.unwrap(), 0);
    let mut numbers: Vec<u64> = join_all((0..50).map(|_| counters.next("c")))
        .await
        .into_iter()
        .map(|number| number.expect("a number"))
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>());
    assert_eq!(counters.next_many("c", 10).await.unwrap(), 51);
    assert_eq!(counters.current("c").await.unwrap(), 60);
}

#[tokio::test]
async fn of_processes_that_start_at_once_each_migration_is_run_by_one() {
    let settings = settings();
    let stores = join_all((0..4).map(|_| Store::connect(&settings))).await;
    let stores: Vec<Store> = stores
        .into_iter()
        .map(|store| store.expect("connected"))
        .collect();
    let all = [
        "collections and indexes",
        "kept answers",
        "workers",
        "what is left to do",
    ];
    assert_eq!(migrations::pending(&stores[0]).await.unwrap(), all);
    let applied: Vec<&str> = join_all(stores.iter().map(migrations::run))
        .await
        .into_iter()
        .flat_map(|names| names.expect("migrated"))
        .collect();
    assert_eq!(applied, all);
    assert!(migrations::pending(&stores[0]).await.unwrap().is_empty());
    assert!(stores[0].server_version().await.unwrap().contains('.'));
    assert!(
        migrations::run(&stores[0]).await.unwrap().is_empty(),
        "and never again"
    );
    stores[0].drop_database().await.unwrap();
}

#[tokio::test]
async fn a_connection_string_that_cannot_be_read_is_refused_in_one_line() {
    let mut settings = settings();
    settings.uri = "http://user:hunter2@example.org".into();
    let error = Store::connect(&settings).await.expect_err("no connection string");
    let reason = error.to_string();
    assert!(
        matches!(error, StorageError::Unsuitable { .. }) && reason.lines().count() == 1,
        "{reason}"
    );
    assert!(!reason.contains("hunter2"), "{reason}");
}

#[tokio::test]
async fn the_first_start_makes_one_app_and_hands_its_keys_to_one_process() {
    let database = TestDatabase::new().await;
    let apps = Apps::new(&database);
    let starts = (0..3).map(|process| {
        let mut seed = process * 10;
        let apps = apps.clone();
        async move {
            let next = move || {
                seed += 1;
                entropy(seed)
            };
            apps.ensure_first(next, now()).await
        }
    });
    let mut first: Vec<_> = join_all(starts)
        .await
        .into_iter()
        .filter_map(|start| start.expect("an answer"))
        .collect();
    assert_eq!(first.len(), 1);
    let first = first.remove(0);
    assert_eq!((first.app.id, first.app.slug.as_str()), (FIRST_APP, "default"));
    let kinds: Vec<KeyKind> = first.keys.iter().map(|created| created.key.kind).collect();
    assert_eq!(kinds, KeyKind::ALL);
    let keys = Keys::new(&database);
    for created in first.keys {
        let presented = KeyText::parse(&created.text.reveal()).unwrap();
        assert_eq!(
            keys.check(&presented, now()).await.unwrap(),
            KeyCheck::Valid(created.key)
        );
    }
    assert_eq!(keys.list(Some(FIRST_APP)).await.unwrap().len(), 3);
    assert_eq!(
        keys.list(None).await.unwrap().len(),
        1,
        "the internal key belongs to no app"
    );
}

#[tokio::test]
async fn apps_have_numbers_of_their_own_and_slugs_that_are_taken_once() {
    let database = TestDatabase::new().await;
    let apps = Apps::new(&database);
    let mut seeds = 1..;
    let first = apps
        .ensure_first(|| entropy(seeds.next().unwrap_or_default()), now())
        .await
        .unwrap();
    assert!(first.is_some());
    let shop = apps.create("shop", "The shop", now()).await.unwrap();
    assert_eq!(shop.id, AppId(2));
    assert_eq!(apps.find_by_slug("shop").await.unwrap(), Some(shop.clone()));
    assert_eq!(apps.get(shop.id).await.unwrap(), Some(shop));
    let error = apps.create("shop", "Another", now()).await.expect_err("taken");
    assert!(matches!(error, StorageError::Conflict { .. }), "{error}");
    let slugs: Vec<String> = apps
        .list()
        .await
        .unwrap()
        .into_iter()
        .map(|app| app.slug)
        .collect();
    assert_eq!(slugs, ["default", "shop"]);
}

#[tokio::test]
async fn a_key_opens_what_it_says_until_it_expires_or_is_revoked() {
    let database = TestDatabase::new().await;
    let keys = Keys::new(&database);
    let mut new = new_key(KeyKind::Server);
    new.scopes = [Scope::DevicesRead].into();
    new.expires_at = Some(now() + TimeDelta::days(1));
    let created = keys.create(new, &entropy(1), now()).await.unwrap();
    assert_eq!(created.key.scopes, [Scope::DevicesRead].into());

    assert_eq!(
        keys.check(&created.text, now()).await.unwrap(),
        KeyCheck::Valid(created.key.clone())
    );
    assert_eq!(
        keys.check(&created.text, now() + TimeDelta::days(1))
            .await
            .unwrap(),
        KeyCheck::Expired
    );

    assert!(keys.revoke(&created.key.id, now()).await.unwrap());
    assert!(!keys.revoke(&created.key.id, now()).await.unwrap(), "once");
    assert!(!keys.revoke("nothing", now()).await.unwrap());
    assert_eq!(
        keys.check(&created.text, now()).await.unwrap(),
        KeyCheck::Revoked,
        "at once in this process"
    );
    let listed = keys.list(Some(APP)).await.unwrap();
    assert_eq!(listed[0].revoked_at, Some(now()));
}

#[tokio::test]
async fn a_key_with_the_right_id_and_another_secret_or_kind_is_unknown() {
    let database = TestDatabase::new().await;
    let keys = Keys::new(&database);
    let created = keys
        .create(new_key(KeyKind::Client), &entropy(1), now())
        .await
        .unwrap();

    let mut bytes = entropy(1);
    bytes.0[39] ^= 1;
    let other_secret = KeyText::generate(KeyKind::Client, &bytes);
    assert_eq!(other_secret.id, created.key.id);
    let other_kind = KeyText::generate(KeyKind::Admin, &entropy(1));
    let other_id = KeyText::generate(KeyKind::Client, &entropy(2));
    for presented in [other_secret, other_kind, other_id] {
        assert_eq!(
            keys.check(&presented, now()).await.unwrap(),
            KeyCheck::Unknown,
            "{presented:?}"
        );
    }
}

#[tokio::test]
async fn a_key_never_gets_more_than_its_kind_may_have() {
    let database = TestDatabase::new().await;
    let keys = Keys::new(&database);
    let mut too_wide = new_key(KeyKind::Client);
    too_wide.scopes.insert(Scope::NotificationsLaunch);
    let without_app = NewKey {
        app: None,
        ..new_key(KeyKind::Admin)
    };
    for refused in [too_wide, without_app] {
        let result = keys.create(refused, &entropy(1), now()).await;
        assert!(matches!(result, Err(StorageError::Conflict { .. })), "{result:?}");
    }
    keys.create(new_key(KeyKind::Admin), &entropy(1), now())
        .await
        .unwrap();
    let again = keys.create(new_key(KeyKind::Admin), &entropy(1), now()).await;
    assert!(
        matches!(again, Err(StorageError::Conflict { .. })),
        "an id is used once"
    );
}

#[tokio::test]
async fn the_last_use_is_known_to_the_hour() {
    let database = TestDatabase::new().await;
    let keys = Keys::new(&database);
    let created = keys
        .create(new_key(KeyKind::Admin), &entropy(1), now())
        .await
        .unwrap();
    let used_at = async |at| {
        keys.check(&created.text, at).await.expect("an answer");
        keys.list(Some(APP)).await.expect("an answer")[0].last_used_at
    };
    assert_eq!(used_at(now()).await, Some(now()));
    assert_eq!(used_at(now() + TimeDelta::minutes(59)).await, Some(now()));
    let next = now() + TimeDelta::minutes(60);
    assert_eq!(used_at(next).await, Some(next));
}
