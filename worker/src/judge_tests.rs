use chrono::TimeDelta;
use jraze_domain::device::{DevicePlatform, SendPlatform};
use jraze_domain::dispatch::{BucketRange, Scope};
use jraze_domain::ids::{AppId, NotificationId};
use jraze_providers::reason;
use jraze_storage::dispatch::{ClaimedDevice, Work};

use crate::brakes::BRAKED;

use super::*;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).expect("in range")
}

fn unit(attempt: u32, failing_for: Option<TimeDelta>) -> Unit {
    Unit {
        id: UnitId::partition(NotificationId(7), 0),
        notification: NotificationId(7),
        app: AppId(1),
        work: Work::Partition(BucketRange::ALL),
        attempt,
        failing_since: failing_for.map(|age| now() - age),
        in_doubt: false,
        via: None,
        next_sequence: 1,
        checkpoint: None,
        owner: "w".into(),
        epoch: 1,
    }
}

fn window(unit: &Unit, by: &[SendPlatform]) -> Window {
    let devices = (1..)
        .zip(by)
        .map(|(id, by)| ClaimedDevice {
            id: DeviceId(id),
            device_platform: DevicePlatform::Android,
            send_platform: *by,
            delivery: Delivery::InFlight,
        })
        .collect();
    Window::claimed(unit, 0, devices)
}

fn circumstances() -> Circumstances {
    Circumstances {
        now: now(),
        going_since: now() - TimeDelta::days(1),
        expires_at: None,
        chance: 0.5,
        on_ambiguous: Ambiguity::Resend,
    }
}

fn deferred() -> Outcome {
    Outcome::new(Delivery::Deferred, "UNAVAILABLE")
}

fn requeued() -> Outcome {
    Outcome::new(Delivery::Requeued, "UNAUTHENTICATED")
}

fn no_answer() -> Outcome {
    Outcome::new(Delivery::Unanswered, reason::NO_ANSWER)
}

/// What becomes of one FCM delivery.
fn one(unit: &Unit, outcome: &Outcome, at: Circumstances) -> Delivery {
    let mut window = window(unit, &[SendPlatform::Fcm]);
    judge(&RetryPolicy::default(), unit, &mut window, &[outcome], at);
    window.devices[0].delivery
}

#[test]
fn each_answer_becomes_what_the_table_says() {
    let hour = Some(TimeDelta::hours(1));
    let soon = Circumstances {
        expires_at: Some(now() + TimeDelta::milliseconds(500)),
        ..circumstances()
    };
    let doubted = |attempt| Unit {
        in_doubt: true,
        ..unit(attempt, None)
    };
    let skipped = Outcome::new(Delivery::Skipped, "");
    let canceled = Outcome::new(Delivery::Canceled, "");
    let refused = Outcome::new(Delivery::Unregistered, "UNREGISTERED");
    let table = [
        (
            "accepted stays",
            one(&unit(1, None), &Outcome::accepted(), circumstances()),
            Delivery::Accepted,
        ),
        (
            "a first failure is tried again",
            one(&unit(1, None), &deferred(), circumstances()),
            Delivery::Deferred,
        ),
        (
            "the sixth attempt was the last",
            one(&unit(6, None), &deferred(), circumstances()),
            Delivery::Refused,
        ),
        (
            "unanswered at last is unknown",
            one(&unit(6, None), &no_answer(), circumstances()),
            Delivery::Unknown,
        ),
        (
            "too late to try again",
            one(&unit(1, None), &deferred(), soon),
            Delivery::Expired,
        ),
        (
            "unanswered and too late is unknown",
            one(&unit(1, None), &no_answer(), soon),
            Delivery::Unknown,
        ),
        (
            "attempts do not end a requeue",
            one(&unit(9, None), &requeued(), circumstances()),
            Delivery::Requeued,
        ),
        (
            "an hour does",
            one(&unit(1, hour), &requeued(), circumstances()),
            Delivery::Refused,
        ),
        (
            "gone before it was sent",
            one(&unit(1, None), &skipped, circumstances()),
            Delivery::Skipped,
        ),
        (
            "gone before it was resent is unknown",
            one(&doubted(1), &skipped, circumstances()),
            Delivery::Unknown,
        ),
        (
            "canceled before it was resent too",
            one(&doubted(1), &canceled, circumstances()),
            Delivery::Unknown,
        ),
        (
            "resent and accepted is accepted",
            one(&doubted(1), &Outcome::accepted(), circumstances()),
            Delivery::Accepted,
        ),
        (
            "resent and given up is unknown",
            one(&doubted(6), &deferred(), circumstances()),
            Delivery::Unknown,
        ),
        (
            "refused the second time says nothing of the first",
            one(&doubted(2), &refused, circumstances()),
            Delivery::Unknown,
        ),
        (
            "in doubt, it is still tried again",
            one(&doubted(2), &deferred(), circumstances()),
            Delivery::Deferred,
        ),
    ];
    for (rule, found, expected) in table {
        assert_eq!(found, expected, "{rule}");
    }
}

#[test]
fn waits_grow_with_attempts_and_requeues_with_their_age() {
    let wait = |unit: &Unit, outcome: &Outcome| {
        let mut window = window(unit, &[SendPlatform::Fcm]);
        judge(
            &RetryPolicy::default(),
            unit,
            &mut window,
            &[outcome],
            circumstances(),
        );
        let retries = retries(
            &RetryPolicy::default(),
            unit,
            &window,
            Some(&[outcome]),
            now(),
            0.5,
        );
        retries[0].wait.as_secs()
    };
    let deferred_waits: Vec<_> = (1..=4)
        .map(|attempt| wait(&unit(attempt, None), &deferred()))
        .collect();
    assert_eq!(deferred_waits, [5, 10, 20, 40]);
    let minutes = |m| Some(TimeDelta::minutes(m));
    let requeue_waits: Vec<_> = [None, minutes(4), minutes(30)]
        .into_iter()
        .map(|age| wait(&unit(1, age), &requeued()))
        .collect();
    assert_eq!(requeue_waits, [7, 90, 450]);
}

#[test]
fn a_requeue_costs_no_attempt_and_keeps_its_first_failure() {
    let unit = unit(2, Some(TimeDelta::minutes(1)));
    let mut window = window(&unit, &[SendPlatform::Fcm, SendPlatform::Fcm]);
    let outcomes = [&requeued(), &deferred()];
    judge(
        &RetryPolicy::default(),
        &unit,
        &mut window,
        &outcomes,
        circumstances(),
    );
    let retries = retries(
        &RetryPolicy::default(),
        &unit,
        &window,
        Some(&outcomes),
        now(),
        0.5,
    );
    let mut attempts: Vec<_> = retries
        .iter()
        .map(|retry| (retry.devices[0].0, retry.attempt))
        .collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [(1, 2), (2, 3)]);
    assert!(
        retries
            .iter()
            .all(|retry| retry.failing_since == Some(now() - TimeDelta::minutes(1)))
    );
}

#[test]
fn one_providers_wait_is_not_the_others_and_outlives_the_worker() {
    let unit = unit(1, None);
    let mut window = window(&unit, &[SendPlatform::Fcm, SendPlatform::Apns]);
    let asked = |seconds| deferred().with_hold(Scope::Delivery, Some(Duration::from_secs(seconds)));
    let outcomes = [&asked(7), &asked(900)];
    judge(
        &RetryPolicy::default(),
        &unit,
        &mut window,
        &outcomes,
        circumstances(),
    );
    let policy = RetryPolicy::default();
    let mut fresh: Vec<_> = retries(&policy, &unit, &window, Some(&outcomes), now(), 0.5)
        .into_iter()
        .map(|retry| (retry.devices[0].0, retry.wait.as_secs(), retry.id))
        .collect();
    fresh.sort();
    assert_eq!(
        fresh
            .iter()
            .map(|(device, wait, _)| (*device, *wait))
            .collect::<Vec<_>>(),
        [(1, 7), (2, 900)]
    );
    // A new holder knows the longest wait from the window alone, begins it anew, and writes the same units.
    let later = now() + TimeDelta::seconds(100);
    let found = retries(&policy, &unit, &window, None, later, 0.5);
    assert!(found.iter().all(|retry| retry.wait == Duration::from_secs(900)));
    let ids = |retries: &[Retry]| retries.iter().map(|retry| retry.id.clone()).collect::<Vec<_>>();
    let mut known: Vec<_> = fresh.into_iter().map(|(_, _, id)| id).collect();
    known.sort();
    assert_eq!(ids(&found), known);
}

#[test]
fn the_commonest_reasons_are_kept_in_the_providers_words() {
    let unit = unit(1, None);
    let by = vec![SendPlatform::Fcm; 60];
    let mut window = window(&unit, &by);
    let outcomes: Vec<Outcome> = (0..60)
        .map(|n| match n {
            0..30 => Outcome::new(Delivery::TokenRefused, "SENDER_ID_MISMATCH"),
            30..40 => Outcome::accepted(),
            _ => Outcome::new(Delivery::Refused, &format!("ODD_{n}")),
        })
        .collect();
    let outcomes: Vec<&Outcome> = outcomes.iter().collect();
    judge(
        &RetryPolicy::default(),
        &unit,
        &mut window,
        &outcomes,
        circumstances(),
    );
    assert_eq!(window.reasons.len(), MAX_REASONS);
    assert_eq!(
        (window.reasons[0].0.as_str(), window.reasons[0].1),
        ("SENDER_ID_MISMATCH", 30)
    );
}

#[test]
fn when_nobody_can_know_and_nobody_shall_get_it_twice_it_is_unknown_at_once() {
    let skip = Circumstances {
        on_ambiguous: Ambiguity::Skip,
        ..circumstances()
    };
    assert_eq!(
        one(&unit(1, None), &no_answer(), circumstances()),
        Delivery::Unanswered
    );
    assert_eq!(one(&unit(1, None), &no_answer(), skip), Delivery::Unknown);
    assert_eq!(
        one(&unit(1, None), &deferred(), skip),
        Delivery::Deferred,
        "it was answered"
    );
    assert_eq!(
        one(&unit(1, None), &requeued(), skip),
        Delivery::Requeued,
        "it never went"
    );
}

#[test]
fn what_a_brake_stopped_waits_for_the_campaign_however_long_that_takes() {
    let braked = Outcome::new(Delivery::Held, BRAKED);
    let late = unit(1, Some(TimeDelta::hours(5)));
    assert_eq!(one(&late, &requeued(), circumstances()), Delivery::Refused);
    assert_eq!(one(&late, &braked, circumstances()), Delivery::Held);

    let fresh = unit(1, None);
    let mut window = window(&fresh, &[SendPlatform::Apns, SendPlatform::Apns]);
    let outcomes = [&braked, &requeued()];
    judge(
        &RetryPolicy::default(),
        &fresh,
        &mut window,
        &outcomes,
        circumstances(),
    );
    let retries = retries(
        &RetryPolicy::default(),
        &fresh,
        &window,
        Some(&outcomes),
        now(),
        0.5,
    );
    let mut told: Vec<_> = retries
        .iter()
        .map(|retry| {
            (
                retry.devices.len(),
                retry.attempt,
                retry.failing_since.is_some(),
                retry.wait.is_zero(),
            )
        })
        .collect();
    // Their order is that of their ids.
    told.sort_unstable();
    assert_eq!(
        told,
        [(1, 1, false, true), (1, 1, true, false)],
        "the braked one has not failed, and goes as soon as the campaign does"
    );
}

#[test]
fn doubt_goes_on_from_retry_to_retry_and_only_to_those_it_is_about() {
    let policy = RetryPolicy::default();
    let first = unit(1, None);
    let mut window = window(&first, &[SendPlatform::Fcm; 3]);
    let outcomes = [&no_answer(), &deferred(), &requeued()];
    judge(&policy, &first, &mut window, &outcomes, circumstances());
    let told = |retries: Vec<Retry>| {
        let mut told: Vec<_> = retries
            .iter()
            .map(|retry| (retry.devices[0].0, retry.attempt, retry.in_doubt))
            .collect();
        told.sort_unstable();
        told
    };
    let fresh = retries(&policy, &first, &window, Some(&outcomes), now(), 0.5);
    assert_eq!(told(fresh), [(1, 2, true), (2, 2, false), (3, 1, false)]);

    window.in_doubt = true;
    let taken_over = retries(&policy, &first, &window, Some(&outcomes), now(), 0.5);
    assert_eq!(told(taken_over), [(1, 2, true), (2, 2, true), (3, 1, true)]);
}

#[test]
fn whoever_finds_a_record_writes_the_same_retries() {
    let policy = RetryPolicy::default();
    let first = unit(1, None);
    let mut window = window(&first, &[SendPlatform::Fcm; 4]);
    let braked = Outcome::new(Delivery::Held, BRAKED);
    let outcomes = [&braked, &requeued(), &deferred(), &no_answer()];
    judge(&policy, &first, &mut window, &outcomes, circumstances());
    let told = |outcomes| {
        retries(&policy, &first, &window, outcomes, now(), 0.5)
            .into_iter()
            .map(|retry| (retry.id, retry.devices, retry.attempt, retry.in_doubt, retry.via))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(Some(&outcomes)), told(None));
}

#[test]
fn a_device_that_apns_says_has_had_too_many_is_tried_three_times_more_and_no_other() {
    let busy = Outcome::new(Delivery::Deferred, "TooManyRequests").with_hold(Scope::Device, None);
    let after = |attempt, by| {
        let unit = unit(attempt, None);
        let mut window = window(&unit, &[by]);
        judge(
            &RetryPolicy::default(),
            &unit,
            &mut window,
            &[&busy],
            circumstances(),
        );
        window.devices[0].delivery
    };
    assert_eq!(after(3, SendPlatform::Apns), Delivery::Deferred);
    assert_eq!(after(4, SendPlatform::Apns), Delivery::Refused);
    assert_eq!(after(4, SendPlatform::Fcm), Delivery::Deferred);
}

#[test]
fn the_hour_of_failing_begins_anew_when_a_held_campaign_goes_on() {
    let failing_for_hours = unit(1, Some(TimeDelta::hours(5)));
    assert_eq!(
        one(&failing_for_hours, &requeued(), circumstances()),
        Delivery::Refused
    );
    let resumed = Circumstances {
        going_since: now() - TimeDelta::minutes(1),
        ..circumstances()
    };
    assert_eq!(one(&failing_for_hours, &requeued(), resumed), Delivery::Requeued);
}
