//! What is counted and logged of them.

use jraze_domain::dispatch::{Reason, Sent, Tally};
use jraze_domain::ids::{AppId, DeviceId, NotificationId};
use jraze_storage::notifications::{NotificationRef, Notifications};
use jraze_storage::send_log::{LogBatch, LogEvent, SendLog};
use jraze_storage::tallies::{Batch, Tallies};
use jraze_storage::test_util::TestDatabase;

use super::*;

#[tokio::test]
async fn totals_are_exact_after_any_replay() {
    let database = TestDatabase::new().await;
    let (notifications, tallies) = (Notifications::new(&database), Tallies::new(&database));
    let notification = add(&notifications, 1, &draft()).await;
    let batch = |n: u64| Batch {
        id: format!("7:p:0:{n}"),
        tally: Tally {
            sent: Sent {
                android: n,
                ios: 1,
                web: 0,
            },
            failed: 2,
            ..Tally::default()
        },
        reasons: vec![],
    };
    let apply = async |batches: Vec<Batch>| {
        tallies
            .apply(APP, notification.id, notification.uuid, &batches)
            .await
            .expect("answers")
    };
    apply(vec![batch(1), batch(2)]).await;
    // The answer was lost: everything again, with something new among it.
    let total = apply(vec![batch(2), batch(3), batch(1)]).await;
    assert_eq!(
        total.sent,
        Sent {
            android: 6,
            ios: 3,
            web: 0
        }
    );
    assert_eq!(total.failed, 6);
    let read = notifications
        .lookup(APP, NotificationRef::Id(notification.id))
        .await
        .expect("answers");
    assert_eq!(read.map(|n| n.tally), Some(total));
}

#[tokio::test]
async fn totals_of_many_reporters_at_once_are_exact() {
    let database = TestDatabase::new().await;
    let (notifications, tallies) = (Notifications::new(&database), Tallies::new(&database));
    let notification = add(&notifications, 1, &draft()).await;
    let reports: Vec<_> = (0..40)
        .map(|n| {
            let (tallies, id, uuid) = (tallies.clone(), notification.id, notification.uuid);
            // Every batch is reported by two reporters.
            let batch = Batch {
                id: format!("b{}", n / 2),
                tally: Tally {
                    sent: Sent {
                        android: 10,
                        ..Sent::default()
                    },
                    ..Tally::default()
                },
                reasons: vec![],
            };
            tokio::spawn(async move { tallies.apply(APP, id, uuid, &[batch]).await.expect("answers") })
        })
        .collect();
    for report in reports {
        report.await.expect("no panic");
    }
    let read = notifications
        .lookup(APP, NotificationRef::Id(notification.id))
        .await
        .expect("answers");
    assert_eq!(read.map(|n| n.tally.sent.android), Some(200));
}

#[tokio::test]
async fn reasons_of_a_replayed_batch_count_once_and_a_batch_of_nothing_leaves_no_row() {
    let database = TestDatabase::new().await;
    let (notifications, tallies) = (Notifications::new(&database), Tallies::new(&database));
    let notification = add(&notifications, 1, &draft()).await;
    let other = add(&notifications, 2, &draft()).await;
    // Reasons are values: what would be an operator or a path as a key is only a word here.
    let batch = |id: &str, reasons: &[(&str, u64)]| Batch {
        id: id.to_owned(),
        tally: Tally {
            failed: reasons.iter().map(|(_, count)| count).sum(),
            ..Tally::default()
        },
        reasons: reasons
            .iter()
            .map(|(text, count)| (Reason::new(text), *count))
            .collect(),
    };
    let one = batch("w1", &[("$where", 3), ("a.b", 1)]);
    let two = batch("w2", &[("a.b", 4), ("c", 3)]);
    let nothing = batch("w3", &[]);
    for batches in [vec![one.clone(), nothing], vec![two, one]] {
        tallies
            .apply(APP, notification.id, notification.uuid, &batches)
            .await
            .expect("answers");
    }
    let elsewhere = batch("w1", &[("c", 100)]);
    tallies
        .apply(APP, other.id, other.uuid, &[elsewhere])
        .await
        .expect("answers");

    let failures = async |limit| {
        let failures = tallies.failures(notification.id, limit).await.expect("answers");
        failures
            .into_iter()
            .map(|(reason, count)| (reason.to_string(), count))
            .collect::<Vec<_>>()
    };
    let own = |text: &str, count| (text.to_owned(), count);
    assert_eq!(failures(16).await, [own("a.b", 5), own("$where", 3), own("c", 3)]);
    assert_eq!(failures(1).await, [own("a.b", 5)]);

    // A batch that came empty left its name free.
    let late = batch("w3", &[("late", 9)]);
    let total = tallies
        .apply(APP, notification.id, notification.uuid, &[late])
        .await
        .expect("answers");
    assert_eq!(total.failed, 20);
}

#[tokio::test]
async fn a_history_holds_what_was_logged_and_a_replayed_batch_changes_nothing() {
    let database = TestDatabase::new().await;
    let log = SendLog::new(&database);
    let devices: Vec<DeviceId> = (1..=700).map(DeviceId).collect();
    let batch = |notification, batch_id, devices| LogBatch {
        app: APP,
        notification: NotificationId(notification),
        batch_id,
        event: LogEvent::Sent,
        devices,
    };
    log.add(&batch(1, "a", &devices), now()).await.expect("answers");
    log.add(&batch(1, "a", &devices), now())
        .await
        .expect("a replay is fine");
    log.add(&batch(2, "a", &devices[..1]), now())
        .await
        .expect("answers");
    log.add(
        &LogBatch {
            event: LogEvent::Failed,
            ..batch(2, "b", &devices[1..2])
        },
        now(),
    )
    .await
    .expect("answers");

    let seen = async |id| {
        let mut entries = log.history(APP, DeviceId(id)).await.expect("answers");
        entries.sort_by_key(|entry| entry.notification);
        entries
            .iter()
            .map(|entry| (entry.notification.0, entry.event))
            .collect::<Vec<_>>()
    };
    assert_eq!(seen(1).await, [(1, LogEvent::Sent), (2, LogEvent::Sent)]);
    assert_eq!(seen(2).await, [(1, LogEvent::Sent), (2, LogEvent::Failed)]);
    assert_eq!(seen(700).await, [(1, LogEvent::Sent)]);
    assert_eq!(seen(701).await, []);
    assert_eq!(
        log.history(AppId(2), DeviceId(1)).await.expect("answers"),
        [],
        "another app's device"
    );

    let mut ids: Vec<i64> = Vec::new();
    for id in 1..=700 {
        ids.extend(
            log.history(APP, DeviceId(id))
                .await
                .expect("answers")
                .iter()
                .map(|entry| entry.id),
        );
    }
    ids.sort_unstable();
    let entries = ids.len();
    ids.dedup();
    assert_eq!(
        (entries, ids.len()),
        (702, 702),
        "every entry has a number of its own"
    );
}
