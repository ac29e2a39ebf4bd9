//! What notifications are and become.

use std::time::Duration;

use chrono::TimeDelta;
use jraze_domain::campaign::{Ambiguity, Draft, Event, Plan, Status};
use jraze_domain::dispatch::{Brake, Tripped};
use jraze_domain::ids::AppId;
use jraze_storage::notifications::{Launch, NotificationOrder, NotificationRef, Notifications, Transition};
use jraze_storage::test_util::TestDatabase;
use uuid::Uuid;

use super::*;

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
