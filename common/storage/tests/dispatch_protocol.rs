//! The rules of leases, claims and fencing, on a real server.

use std::time::Duration;

use chrono::DateTime;
use jraze_domain::device::{DevicePlatform, SendPlatform, storage_id};
use jraze_domain::dispatch::{Brake, BucketRange, Delivery, Reason, Tripped, partitions};
use jraze_domain::ids::{AppId, DeviceId, NotificationId, UnitId};
use jraze_storage::ObjectId;
use jraze_storage::dispatch::{
    Advance, Answered, ClaimedDevice, Fenced, GoneToken, Retry, Unit, Units, Via, Window, WindowState,
    Windows, Work,
};
use jraze_storage::test_util::TestDatabase;

const APP: AppId = AppId(1);
const CAMPAIGN: NotificationId = NotificationId(7);
const LONG: Duration = Duration::from_secs(60);
/// A lease that has run out by the time anybody looks.
const OVER: Duration = Duration::ZERO;

struct Fixture {
    _database: TestDatabase,
    units: Units,
    windows: Windows,
}

impl Fixture {
    async fn with_one_partition() -> Self {
        let database = TestDatabase::new().await;
        let (units, windows) = (Units::new(&database), Windows::new(&database));
        units
            .plan(APP, CAMPAIGN, &[BucketRange::ALL])
            .await
            .expect("planned");
        Self {
            _database: database,
            units,
            windows,
        }
    }

    async fn acquire(&self, owner: &str, lease: Duration) -> Option<Unit> {
        self.units
            .acquire(&[CAMPAIGN], owner, lease)
            .await
            .expect("the server answers")
    }

    async fn insert(&self, unit: &Unit, sequence: u32, ids: &[u64]) -> Result<Window, Fenced> {
        let devices = ids
            .iter()
            .map(|id| ClaimedDevice {
                id: DeviceId(*id),
                device_platform: DevicePlatform::Android,
                send_platform: SendPlatform::Fcm,
                delivery: Delivery::InFlight,
            })
            .collect();
        self.windows
            .insert(unit, sequence, devices)
            .await
            .expect("the server answers")
    }

    async fn claim(&self, unit: &Unit, sequence: u32, ids: &[u64]) -> Result<Window, Fenced> {
        let window = self.insert(unit, sequence, ids).await?;
        let last = DeviceId(*ids.last().expect("a window has devices"));
        let checkpoint = ObjectId::from_bytes(storage_id(APP, last));
        self.units
            .advance(unit, Advance { sequence, checkpoint })
            .await
            .expect("the server answers")?;
        Ok(window)
    }
}

fn all_accepted(mut window: Window) -> Window {
    for device in &mut window.devices {
        device.delivery = Delivery::Accepted;
    }
    window
}

#[tokio::test]
async fn a_unit_has_one_holder_until_its_lease_runs_out() {
    let fixture = Fixture::with_one_partition().await;
    let first = fixture.acquire("a", LONG).await.expect("it is free");
    assert_eq!(first.work, Work::Partition(BucketRange::ALL));
    assert_eq!(fixture.acquire("b", LONG).await, None);
    fixture
        .units
        .release(&first, Duration::ZERO)
        .await
        .expect("answers")
        .expect("still held");
    let second = fixture.acquire("b", LONG).await.expect("it is free again");
    assert_eq!(second.epoch, first.epoch + 1);
}

#[tokio::test]
async fn ten_workers_at_once_lease_ten_different_units() {
    let fixture = Fixture::with_one_partition().await;
    let ten = partitions(40_000, 4_000);
    fixture
        .units
        .plan(APP, CAMPAIGN, &ten)
        .await
        .expect("planned again: the first stays");
    let asks = (0..10).map(|n| {
        let units = fixture.units.clone();
        tokio::spawn(async move { units.acquire(&[CAMPAIGN], &format!("w{n}"), LONG).await })
    });
    let mut ids = Vec::new();
    for ask in asks.collect::<Vec<_>>() {
        ids.push(
            ask.await
                .expect("no panic")
                .expect("answers")
                .expect("there are ten")
                .id,
        );
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 10);
    assert_eq!(fixture.acquire("late", LONG).await, None);
}

#[tokio::test]
async fn a_worker_that_wakes_up_late_changes_nothing() {
    let fixture = Fixture::with_one_partition().await;
    let late = fixture.acquire("late", OVER).await.expect("free");
    let window = fixture
        .claim(&late, 0, &[1, 2])
        .await
        .expect("not yet taken over");
    let heir = fixture.acquire("heir", LONG).await.expect("the lease is over");
    let taken = fixture.windows.take_over(&heir).await.expect("answers");
    assert_eq!(taken.len(), 1);

    assert_eq!(
        fixture
            .windows
            .record(&all_accepted(window))
            .await
            .expect("answers"),
        Err(Fenced)
    );
    assert_eq!(
        fixture.units.extend(&late, LONG).await.expect("answers"),
        Err(Fenced)
    );
    assert_eq!(fixture.units.finish(&late).await.expect("answers"), Err(Fenced));
    assert_eq!(
        fixture.units.release(&late, LONG).await.expect("answers"),
        Err(Fenced)
    );
    assert!(
        fixture.claim(&late, 1, &[3]).await.is_err(),
        "a late claim is no claim"
    );
    // And the heir goes on as if the late one had never stirred.
    let mine = fixture.claim(&heir, 1, &[3]).await.expect("the heir claims");
    assert_eq!(
        fixture
            .windows
            .record(&all_accepted(mine))
            .await
            .expect("answers"),
        Ok(())
    );
}

#[tokio::test]
async fn what_was_claimed_and_not_recorded_is_exactly_what_a_new_holder_finds() {
    let fixture = Fixture::with_one_partition().await;
    let dead = fixture.acquire("dead", OVER).await.expect("free");
    let recorded = fixture.claim(&dead, 0, &[1, 2]).await.expect("held");
    fixture
        .windows
        .record(&all_accepted(recorded))
        .await
        .expect("answers")
        .expect("held");
    fixture.claim(&dead, 1, &[3, 4]).await.expect("held");
    // Inserted, but the unit was never moved on: nothing of it was sent.
    fixture.insert(&dead, 2, &[5, 6]).await.expect("held");

    let heir = fixture.acquire("heir", LONG).await.expect("the lease is over");
    assert_eq!(heir.next_sequence, 2);
    assert_eq!(
        heir.checkpoint,
        Some(ObjectId::from_bytes(storage_id(APP, DeviceId(4))))
    );
    let left = fixture.windows.take_over(&heir).await.expect("answers");
    let states: Vec<_> = left
        .iter()
        .map(|window| (window.sequence, window.state))
        .collect();
    assert_eq!(states, [(0, WindowState::Recorded), (1, WindowState::Claimed)]);
    // The window that was never claimed is replaced by what the heir claims there.
    let own = fixture.claim(&heir, 2, &[7]).await.expect("replaced");
    fixture
        .windows
        .record(&all_accepted(own))
        .await
        .expect("answers")
        .expect("it is the heir's");
}

#[tokio::test]
async fn a_window_that_was_never_claimed_keeps_no_campaign_open() {
    let fixture = Fixture::with_one_partition().await;
    let unit = fixture.acquire("a", LONG).await.expect("free");
    fixture.insert(&unit, 0, &[1]).await.expect("held");
    fixture.units.finish(&unit).await.expect("answers").expect("held");
    assert!(!fixture.windows.any_settled(CAMPAIGN).await.expect("answers"));
    assert!(!fixture.units.any_open(CAMPAIGN).await.expect("answers"));
    let done = fixture.units.partitions_done(&[CAMPAIGN]).await.expect("answers");
    assert_eq!(done, [(CAMPAIGN, 1)]);
}

#[tokio::test]
async fn a_settled_window_is_counted_until_it_is_folded() {
    let fixture = Fixture::with_one_partition().await;
    let unit = fixture.acquire("a", LONG).await.expect("free");
    let window = all_accepted(fixture.claim(&unit, 0, &[1, 2, 3]).await.expect("held"));
    fixture
        .windows
        .record(&window)
        .await
        .expect("answers")
        .expect("held");
    assert!(
        fixture
            .windows
            .settled(CAMPAIGN, 10)
            .await
            .expect("answers")
            .is_empty()
    );
    fixture
        .windows
        .settle(&window)
        .await
        .expect("answers")
        .expect("held");
    assert_eq!(fixture.windows.uncounted().await.expect("answers"), [CAMPAIGN]);
    let settled = fixture.windows.settled(CAMPAIGN, 10).await.expect("answers");
    assert_eq!(settled[0].tally.sent.android, 3);
    fixture.windows.folded(&settled).await.expect("answers");
    assert!(!fixture.windows.any_settled(CAMPAIGN).await.expect("answers"));
}

const VIA: Via = Via {
    by: SendPlatform::Fcm,
    on: Some(DevicePlatform::Ios),
};

#[tokio::test]
async fn a_retry_waits_for_its_time_and_is_written_once() {
    let fixture = Fixture::with_one_partition().await;
    let unit = fixture.acquire("a", LONG).await.expect("free");
    let window = fixture.claim(&unit, 0, &[1, 2]).await.expect("held");
    let far = Duration::from_secs(1_000_000);
    let past = DateTime::from_timestamp(1_000_000_000, 0).expect("in range");
    let retry = |attempt: u32, wait| Retry {
        id: UnitId::retry(CAMPAIGN, &window.id, &attempt.to_string()),
        devices: vec![DeviceId(2)],
        attempt,
        failing_since: Some(past),
        in_doubt: true,
        via: VIA,
        wait,
    };
    fixture
        .units
        .add_retry(&unit, &retry(2, far))
        .await
        .expect("answers");
    assert_eq!(fixture.acquire("b", LONG).await, None, "it is not due");
    fixture
        .units
        .add_retry(&unit, &retry(3, Duration::ZERO))
        .await
        .expect("answers");
    let due = fixture.acquire("b", LONG).await.expect("due");
    assert_eq!(due.work, Work::Retry(vec![DeviceId(2)]));
    assert_eq!((due.attempt, due.failing_since), (3, Some(past)));
    assert_eq!((due.in_doubt, due.via), (true, Some(VIA)));
    let again = fixture.claim(&due, 0, &[2]).await.expect("held");
    assert!(again.in_doubt, "so are the windows of a retry in doubt");
    fixture
        .units
        .add_retry(&unit, &retry(3, Duration::ZERO))
        .await
        .expect("adopted");
    assert_eq!(
        fixture.acquire("c", LONG).await,
        None,
        "the second write made no second unit"
    );
}

#[tokio::test]
async fn a_step_whose_answer_was_lost_can_be_taken_again() {
    let fixture = Fixture::with_one_partition().await;
    let unit = fixture.acquire("a", LONG).await.expect("free");
    let window = all_accepted(fixture.claim(&unit, 0, &[1]).await.expect("held"));
    for _ in 0..2 {
        assert_eq!(fixture.windows.record(&window).await.expect("answers"), Ok(()));
    }
    for _ in 0..2 {
        assert_eq!(fixture.windows.settle(&window).await.expect("answers"), Ok(()));
    }
    // Counted meanwhile: still no reason to think that the lease was lost.
    let settled = fixture.windows.settled(CAMPAIGN, 10).await.expect("answers");
    fixture.windows.folded(&settled).await.expect("answers");
    assert_eq!(fixture.windows.settle(&window).await.expect("answers"), Ok(()));
}

#[tokio::test]
async fn ending_a_stopped_campaign_fences_a_holder_that_is_about_to_claim() {
    let fixture = Fixture::with_one_partition().await;
    let unit = fixture.acquire("a", LONG).await.expect("free");
    fixture.units.wind_up(CAMPAIGN).await.expect("answers");
    assert!(!fixture.units.any_open(CAMPAIGN).await.expect("answers"));
    assert!(
        fixture.claim(&unit, 0, &[1]).await.is_err(),
        "nothing of it may be sent any more"
    );
}

#[tokio::test]
async fn ending_a_stopped_campaign_makes_its_retries_due_because_each_device_has_to_come_out() {
    let fixture = Fixture::with_one_partition().await;
    let unit = fixture.acquire("a", LONG).await.expect("free");
    let window = fixture.claim(&unit, 0, &[1]).await.expect("held");
    let retry = Retry {
        id: UnitId::retry(CAMPAIGN, &window.id, "later"),
        devices: vec![DeviceId(1)],
        attempt: 2,
        failing_since: None,
        in_doubt: true,
        via: VIA,
        wait: Duration::from_secs(1_000_000),
    };
    fixture.units.add_retry(&unit, &retry).await.expect("answers");
    fixture.units.finish(&unit).await.expect("answers").expect("held");
    assert_eq!(fixture.acquire("b", LONG).await, None, "it is not due");
    fixture.units.wind_up(CAMPAIGN).await.expect("answers");
    let due = fixture.acquire("b", LONG).await.expect("due");
    assert_eq!((due.id, due.in_doubt), (retry.id, true));
}

#[tokio::test]
async fn what_was_recorded_of_a_window_is_there_for_those_who_settle_it() {
    let fixture = Fixture::with_one_partition().await;
    let unit = fixture.acquire("a", LONG).await.expect("it is free");
    let mut window = fixture.claim(&unit, 0, &[1, 2, 3]).await.expect("still held");
    let dead = GoneToken {
        device: DeviceId(2),
        token_hash: [7; 32],
        registered_before: DateTime::from_timestamp(1_790_000_000, 0).expect("in range"),
    };
    for (device, delivery) in
        window
            .devices
            .iter_mut()
            .zip([Delivery::Accepted, Delivery::Unregistered, Delivery::Requeued])
    {
        device.delivery = delivery;
    }
    window.gone = vec![dead.clone()];
    window.reasons = vec![(Reason::new("Unregistered"), 1)];
    window.retry_after = Some(Duration::from_secs(60));
    window.brake = Some(Tripped {
        brake: Brake::MassInvalidation,
        message: "so many".into(),
    });
    let recorded = fixture.windows.record(&window).await.expect("answers");
    recorded.expect("still held");

    fixture
        .units
        .release(&unit, Duration::ZERO)
        .await
        .expect("answers")
        .expect("still held");
    let heir = fixture.acquire("b", LONG).await.expect("it is free again");
    let left = fixture.windows.take_over(&heir).await.expect("answers");
    let found = left.first().expect("one is not settled");
    let told = |window: &Window| {
        (
            window.devices.clone(),
            window.gone.clone(),
            window.reasons.clone(),
            window.retry_after,
            window.brake.clone(),
        )
    };
    assert_eq!(told(found), told(&window));

    fixture
        .windows
        .settle(found)
        .await
        .expect("answers")
        .expect("held");
    let settled = fixture.windows.settled(CAMPAIGN, 10).await.expect("answers");
    assert_eq!(settled[0].brake, window.brake);
    assert_eq!(settled[0].reasons, window.reasons);
    let by = window.devices[0].send_platform;
    let answered = fixture.windows.answered(CAMPAIGN).await.expect("answers");
    let (answers, dead_ones) = (2, 1);
    assert_eq!(
        answered,
        [Answered {
            by,
            answers,
            dead: dead_ones
        }]
    );
    let gone = fixture.windows.dead(CAMPAIGN, None, 10).await.expect("answers");
    assert_eq!(gone[0].tokens, [(by, dead)]);
    let after = Some(&gone[0].window);
    assert_eq!(
        fixture.windows.dead(CAMPAIGN, after, 10).await.expect("answers"),
        []
    );
}
