//! The workers that are there, on a real server.

use std::time::Duration;

use chrono::DateTime;
use futures_util::future::join_all;
use jraze_domain::device::SendPlatform;
use jraze_domain::dispatch::Reason;
use jraze_domain::ids::AppId;
use jraze_storage::dispatch::Via;
use jraze_storage::fleet::{CredentialHold, Fleet};
use jraze_storage::test_util::TestDatabase;

const LONG: Duration = Duration::from_secs(60);

fn quotas(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn a_worker_counts_those_under_the_same_quota_and_no_others() {
    let database = TestDatabase::new().await;
    let fleet = Fleet::new(&database);
    let shop = quotas(&["fcm:shop"]);
    let both = quotas(&["fcm:news", "fcm:shop"]);
    assert_eq!(fleet.present("a", &shop, LONG).await.unwrap(), [1]);
    assert_eq!(
        fleet.present("a", &shop, LONG).await.unwrap(),
        [1],
        "itself, once"
    );
    assert_eq!(fleet.present("b", &both, LONG).await.unwrap(), [1, 2]);
    assert_eq!(fleet.present("a", &shop, LONG).await.unwrap(), [2]);
    assert_eq!(
        fleet.present("c", &[], LONG).await.unwrap(),
        [0_usize; 0],
        "it has none"
    );
    assert_eq!(fleet.present("a", &shop, LONG).await.unwrap(), [2]);
}

#[tokio::test]
async fn who_leaves_or_falls_silent_is_not_counted_any_more() {
    let database = TestDatabase::new().await;
    let fleet = Fleet::new(&database);
    let shop = quotas(&["fcm:shop"]);
    fleet.present("a", &shop, LONG).await.unwrap();
    fleet
        .present("dies", &shop, Duration::from_millis(300))
        .await
        .unwrap();
    assert_eq!(fleet.present("leaves", &shop, LONG).await.unwrap(), [3]);
    fleet.leave("leaves").await.unwrap();
    assert_eq!(fleet.present("a", &shop, LONG).await.unwrap(), [2]);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(fleet.present("a", &shop, LONG).await.unwrap(), [1]);
    fleet.leave("leaves").await.expect("leaving twice is harmless");
}

#[tokio::test]
async fn of_many_that_come_at_once_the_last_one_counts_them_all() {
    let database = TestDatabase::new().await;
    let fleet = Fleet::new(&database);
    let counted = join_all((0..20).map(|n| {
        let fleet = fleet.clone();
        async move {
            let shop = quotas(&["fcm:shop"]);
            fleet.present(&format!("worker-{n}"), &shop, LONG).await
        }
    }))
    .await;
    let most = counted.into_iter().map(|count| count.expect("counted")[0]).max();
    assert_eq!(most, Some(20));
}

#[tokio::test]
async fn a_credential_is_held_while_a_worker_says_so_though_its_wait_is_over() {
    let database = TestDatabase::new().await;
    let fleet = Fleet::new(&database);
    let hold = |app, reason, since, until| CredentialHold {
        app: AppId(app),
        via: Via {
            by: SendPlatform::Apns,
            on: None,
        },
        reason: Reason::new(reason),
        since: DateTime::from_timestamp(since, 0).unwrap(),
        until: DateTime::from_timestamp(until, 0).unwrap(),
    };
    for (worker, lasts) in [("a", LONG), ("b", LONG), ("dies", Duration::from_millis(1))] {
        fleet.present(worker, &[], lasts).await.unwrap();
    }
    fleet
        .hold("a", &[hold(1, "old", 50, 100), hold(2, "other", 1, 2)])
        .await
        .unwrap();
    fleet.hold("b", &[hold(1, "new", 60, 120)]).await.unwrap();
    fleet
        .hold("dies", &[hold(3, "dead", 1, i64::from(i32::MAX))])
        .await
        .unwrap();
    assert_eq!(fleet.holds(AppId(1)).await.unwrap(), [hold(1, "new", 50, 120)]);
    assert_eq!(fleet.holds(AppId(2)).await.unwrap(), [hold(2, "other", 1, 2)]);
    assert_eq!(fleet.holds(AppId(3)).await.unwrap(), []);
    fleet.hold("b", &[]).await.unwrap();
    assert_eq!(fleet.holds(AppId(1)).await.unwrap(), [hold(1, "old", 50, 100)]);
}

#[tokio::test]
async fn a_name_that_looks_like_an_operator_is_a_name() {
    let database = TestDatabase::new().await;
    let fleet = Fleet::new(&database);
    let odd = quotas(&["$$NOW", "$expire_at"]);
    assert_eq!(fleet.present("$a", &odd, LONG).await.unwrap(), [1, 1]);
    assert_eq!(fleet.present("b", &odd, LONG).await.unwrap(), [2, 2]);
}
