//! Notifications, their totals and the send log, on a real server.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jraze_domain::campaign::{Ambiguity, Audience, Draft, Event, Notification, Plan, Status};
use jraze_domain::dispatch::{Brake, Reason, Sent, Tally, Tripped};
use jraze_domain::ids::{AppId, DeviceId, NotificationId, NotificationUuid};
use jraze_domain::message::Content;
use jraze_storage::notifications::{Launch, NotificationOrder, NotificationRef, Notifications, Transition};
use jraze_storage::send_log::{LogBatch, LogEvent, SendLog};
use jraze_storage::tallies::{Batch, Tallies};
use jraze_storage::test_util::TestDatabase;
use uuid::Uuid;

const APP: AppId = AppId(1);

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).expect("in range")
}

fn draft() -> Draft {
    let data = BTreeMap::from([("sku".to_owned(), "42".to_owned())]);
    Draft {
        content: Content {
            title: "Sale".into(),
            body: "Now".into(),
            data,
            ..Content::default()
        },
        audience: Audience::All,
        scheduled_at: None,
        expires_at: None,
        on_ambiguous: Ambiguity::Resend,
    }
}

async fn add(notifications: &Notifications, number: u128, draft: &Draft) -> Notification {
    let uuid = NotificationUuid(uuid::Uuid::from_u128(number));
    notifications.add(APP, uuid, draft, now()).await.expect("added")
}

async fn launch(notifications: &Notifications, notification: &Notification) -> Transition {
    let which = NotificationRef::Id(notification.id);
    notifications
        .transition(APP, which, Event::Launch, None, now())
        .await
        .expect("answers")
}

#[tokio::test]
async fn a_draft_reads_back_as_it_was_written() {
    let database = TestDatabase::new().await;
    let notifications = Notifications::new(&database);
    let written = add(&notifications, 1, &draft()).await;
    for which in [
        NotificationRef::Id(written.id),
        NotificationRef::Uuid(written.uuid),
    ] {
        let read = notifications.lookup(APP, which).await.expect("answers");
        assert_eq!(read.as_ref(), Some(&written));
        assert_eq!(
            notifications.lookup(AppId(2), which).await.expect("answers"),
            None,
            "another app's"
        );
    }
}

#[tokio::test]
async fn of_ten_launches_at_once_one_is_made() {
    let database = TestDatabase::new().await;
    let notifications = Notifications::new(&database);
    let notification = add(&notifications, 1, &draft()).await;
    let launches: Vec<_> = (0..10)
        .map(|_| {
            let (notifications, notification) = (notifications.clone(), notification.clone());
            tokio::spawn(async move { launch(&notifications, &notification).await })
        })
        .collect();
    let mut made = 0;
    for launch in launches {
        match launch.await.expect("no panic") {
            Transition::Made(after) => {
                assert_eq!(after.status, Status::Queued);
                made += 1;
            }
            Transition::Refused { found } => assert_eq!(found, Status::Queued),
            Transition::Missing => panic!("it is there"),
        }
    }
    assert_eq!(made, 1);
}

#[tokio::test]
async fn only_a_draft_can_be_edited() {
    let database = TestDatabase::new().await;
    let notifications = Notifications::new(&database);
    let notification = add(&notifications, 1, &draft()).await;
    let which = NotificationRef::Id(notification.id);
    let mut edited = draft();
    edited.content.title = "Bigger sale".into();
    let change = notifications
        .edit(APP, which, &edited, now())
        .await
        .expect("answers");
    assert!(matches!(change, Transition::Made(after) if after.draft == edited && after.version == 2));
    launch(&notifications, &notification).await;
    let refused = notifications
        .edit(APP, which, &draft(), now())
        .await
        .expect("answers");
    assert_eq!(
        refused,
        Transition::Refused {
            found: Status::Queued
        }
    );
}

#[tokio::test]
async fn the_planner_gets_what_is_due_and_loses_it_with_its_lease() {
    let database = TestDatabase::new().await;
    let notifications = Notifications::new(&database);
    // Far in the future by the database's clock, which is the only one that counts.
    let later = Draft {
        scheduled_at: Some(now() + TimeDelta::days(20_000)),
        ..draft()
    };
    let scheduled = add(&notifications, 1, &later).await;
    launch(&notifications, &scheduled).await;
    assert!(
        notifications
            .claim_due(Duration::from_secs(60))
            .await
            .expect("answers")
            .is_none()
    );

    let due = add(&notifications, 2, &draft()).await;
    launch(&notifications, &due).await;
    let slow = notifications
        .claim_due(Duration::ZERO)
        .await
        .expect("answers")
        .expect("it is due");
    assert_eq!(slow.notification.id, due.id);
    let quick = notifications
        .claim_due(Duration::from_secs(60))
        .await
        .expect("answers")
        .expect("lease over");
    let plan = Plan {
        audience_upper_id: 9,
        evaluated_at: now(),
        partitions: 1,
    };
    assert!(
        !notifications.start(&slow, plan, now()).await.expect("answers"),
        "the late planner is fenced"
    );
    assert!(notifications.start(&quick, plan, now()).await.expect("answers"));
    let launched = notifications.launched().await.expect("answers");
    assert_eq!(
        launched.iter().map(|n| (n.id, n.plan)).collect::<Vec<_>>(),
        [(due.id, Some(plan))]
    );
}

#[tokio::test]
async fn lists_are_ordered_paged_and_per_app() {
    let database = TestDatabase::new().await;
    let notifications = Notifications::new(&database);
    for number in 1..=5 {
        let mut one = draft();
        one.content.title = format!("{}", 9 - number);
        add(&notifications, number, &one).await;
    }
    let by_title = [NotificationOrder::parse("title").expect("allowed")];
    let page = notifications
        .list(APP, None, &by_title, 1, 2)
        .await
        .expect("answers");
    let titles: Vec<_> = page
        .notifications
        .iter()
        .map(|n| n.draft.content.title.as_str())
        .collect();
    assert_eq!((page.total, titles), (5, vec!["5", "6"]));
    assert_eq!(
        notifications
            .list(AppId(2), None, &[], 0, 10)
            .await
            .expect("answers")
            .total,
        0
    );
    assert_eq!(NotificationOrder::parse("lease.owner"), None);
}

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

#[tokio::test]
async fn a_launch_repeated_under_its_identity_is_a_replay_and_under_another_a_conflict() {
    let database = TestDatabase::new().await;
    let notifications = Notifications::new(&database);
    let notification = add(&notifications, 1, &draft()).await;
    let which = NotificationRef::Id(notification.id);
    let (once, twice) = (Uuid::new_v4(), Uuid::new_v4());
    let launch = async |identity| {
        notifications
            .launch(APP, which, identity, None, now())
            .await
            .expect("answers")
    };
    let edition = notification.version + 1;
    let edited = notifications.launch(APP, which, None, Some(edition), now()).await;
    assert_eq!(edited.expect("answers"), Launch::Edited);
    assert!(matches!(launch(Some(once)).await, Launch::Made(after) if after.status == Status::Queued));
    assert!(matches!(launch(Some(once)).await, Launch::Replayed(same) if same.id == notification.id));
    assert_eq!(
        launch(Some(twice)).await,
        Launch::Refused {
            found: Status::Queued
        }
    );
    assert_eq!(
        launch(None).await,
        Launch::Refused {
            found: Status::Queued
        }
    );
}

#[tokio::test]
async fn a_frozen_plan_outlives_its_planner() {
    let database = TestDatabase::new().await;
    let notifications = Notifications::new(&database);
    let notification = add(&notifications, 1, &draft()).await;
    launch(&notifications, &notification).await;
    let plan = Plan {
        audience_upper_id: 9,
        evaluated_at: now(),
        partitions: 3,
    };
    let dead = notifications
        .claim_due(Duration::ZERO)
        .await
        .expect("answers")
        .expect("due");
    assert!(notifications.freeze(&dead, plan).await.expect("answers"));
    let heir = notifications
        .claim_due(Duration::from_secs(60))
        .await
        .expect("answers")
        .expect("lease over");
    assert_eq!(
        heir.notification.plan,
        Some(plan),
        "the heir writes the same partitions"
    );
    let other = Plan {
        partitions: 7,
        ..plan
    };
    assert!(
        !notifications.freeze(&dead, other).await.expect("answers"),
        "the dead one is fenced"
    );
}

#[tokio::test]
async fn a_brake_holds_a_running_campaign_until_a_person_resumes_it_and_then_no_more() {
    let database = TestDatabase::new().await;
    let notifications = Notifications::new(&database);
    let skipping = Draft {
        on_ambiguous: Ambiguity::Skip,
        ..draft()
    };
    let notification = add(&notifications, 1, &skipping).await;
    let which = NotificationRef::Id(notification.id);
    let brake = async |brake| {
        let tripped = Tripped {
            brake,
            message: "$so many".into(),
        };
        let made = notifications.brake(APP, which, &tripped, now()).await;
        made.expect("answers")
    };
    let refused = |found| Transition::Refused { found };
    let mass = Brake::MassInvalidation;
    assert_eq!(brake(mass).await, refused(Status::Draft));
    for event in [Event::Launch, Event::Start] {
        let made = notifications.transition(APP, which, event, None, now()).await;
        assert!(matches!(made.expect("answers"), Transition::Made(_)));
    }

    let Transition::Made(held) = brake(mass).await else {
        panic!("it is running");
    };
    assert_eq!((held.status, held.confirmed), (Status::Paused, vec![]));
    assert_eq!(held.draft.on_ambiguous, Ambiguity::Skip);
    let hold = held.hold.expect("it says why");
    assert_eq!((hold.tripped.brake, hold.since), (mass, now()));
    assert_eq!(hold.tripped.message, "$so many");
    assert_eq!(brake(mass).await, refused(Status::Paused), "once");

    let resumed = notifications
        .transition(APP, which, Event::Resume, None, now())
        .await;
    let Transition::Made(resumed) = resumed.expect("answers") else {
        panic!("it is held");
    };
    assert_eq!((resumed.status, resumed.hold), (Status::Launched, None));
    assert_eq!(resumed.confirmed, [mass]);
    assert_eq!(resumed.version, held.version + 1);
    assert_eq!(
        brake(mass).await,
        refused(Status::Launched),
        "a person has looked at that"
    );
    assert!(matches!(
        brake(Brake::EnvironmentMismatch).await,
        Transition::Made(_)
    ));

    // A person's own pause is no hold, and resuming it confirms nothing.
    for event in [Event::Resume, Event::Pause, Event::Resume] {
        let made = notifications.transition(APP, which, event, None, now()).await;
        let Transition::Made(now) = made.expect("answers") else {
            panic!("{event:?} is allowed");
        };
        assert_eq!(now.hold, None);
        assert_eq!(now.confirmed.len(), 2);
    }

    let Transition::Made(stopped) = brake(Brake::PayloadRefused).await else {
        panic!("it is running");
    };
    assert_eq!(stopped.status, Status::Error);
    assert_eq!(stopped.error.as_deref(), Some("payload_refused: $so many"));
}
