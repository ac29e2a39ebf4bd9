//! The rows of repeated requests, on a real server.

use std::time::Duration;

use jraze_domain::ids::AppId;
use jraze_storage::idempotency::{Claim, Fingerprint, Held, Idempotency, KeptAnswer, RequestName};
use jraze_storage::test_util::TestDatabase;
use uuid::Uuid;

const NAME: RequestName<'_> = RequestName {
    app: AppId(1),
    operation: "create_notification",
    key: "monday",
};
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(150);
const ONE: Fingerprint = [1; 32];
const OTHER: Fingerprint = [2; 32];

fn answer() -> KeptAnswer {
    KeptAnswer {
        status: 200,
        body: b"{\"success\":true}".to_vec(),
    }
}

async fn claim(rows: &Idempotency, fingerprint: Option<Fingerprint>, lease: Duration) -> Claim {
    rows.claim(NAME, fingerprint, Uuid::new_v4(), lease)
        .await
        .expect("answers")
}

#[track_caller]
fn granted(claim: Claim) -> Held {
    match claim {
        Claim::Granted(held) => held,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_of_fifty_that_ask_at_once_gets_the_work() {
    let database = TestDatabase::new().await;
    let rows = Idempotency::new(&database);
    let asked = (0..50).map(|_| {
        let rows = rows.clone();
        tokio::spawn(async move { claim(&rows, Some(ONE), LONG).await })
    });
    let mut granted = 0;
    for task in asked.collect::<Vec<_>>() {
        match task.await.expect("no panic") {
            Claim::Granted(_) => granted += 1,
            Claim::Running => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(granted, 1);
}

#[tokio::test]
async fn the_answer_is_kept_for_the_same_request_and_refused_to_another() {
    let database = TestDatabase::new().await;
    let rows = Idempotency::new(&database);
    let held = granted(claim(&rows, Some(ONE), LONG).await);
    assert_eq!(claim(&rows, Some(OTHER), LONG).await, Claim::Reused);
    assert_eq!(claim(&rows, Some(ONE), LONG).await, Claim::Running);
    assert!(rows.finish(&held, ONE, &answer()).await.expect("answers"));
    let kept = Claim::Answered {
        fingerprint: ONE,
        answer: answer(),
    };
    assert_eq!(claim(&rows, Some(ONE), LONG).await, kept);
    assert_eq!(claim(&rows, None, LONG).await, kept);
    assert_eq!(claim(&rows, Some(OTHER), LONG).await, Claim::Reused);
    for other in [
        RequestName {
            app: AppId(2),
            ..NAME
        },
        RequestName {
            operation: "launch_notification",
            ..NAME
        },
        RequestName {
            key: "tuesday",
            ..NAME
        },
    ] {
        let claim = rows.claim(other, Some(OTHER), Uuid::new_v4(), LONG).await;
        granted(claim.expect("answers"));
    }
}

#[tokio::test]
async fn the_work_of_one_who_died_is_taken_over_with_its_identity_and_the_dead_write_nothing() {
    let database = TestDatabase::new().await;
    let rows = Idempotency::new(&database);
    let dead = granted(claim(&rows, Some(ONE), SHORT).await);
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(claim(&rows, Some(OTHER), LONG).await, Claim::Reused);
    let heir = granted(claim(&rows, Some(ONE), LONG).await);
    assert_eq!(heir.identity, dead.identity);
    assert!(!rows.renew(&dead, LONG).await.expect("answers"));
    assert!(!rows.finish(&dead, ONE, &answer()).await.expect("answers"));
    assert!(rows.renew(&heir, LONG).await.expect("answers"));
    assert!(rows.finish(&heir, ONE, &answer()).await.expect("answers"));
}

#[tokio::test]
async fn a_renewed_lease_holds_and_a_released_one_is_free_at_once() {
    let database = TestDatabase::new().await;
    let rows = Idempotency::new(&database);
    // A body that is still to come has no fingerprint.
    let held = granted(claim(&rows, None, SHORT).await);
    assert!(rows.renew(&held, LONG).await.expect("answers"));
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(claim(&rows, None, LONG).await, Claim::Running);
    rows.release(&held).await.expect("answers");
    let next = granted(claim(&rows, None, LONG).await);
    assert_eq!(next.identity, held.identity);
}
