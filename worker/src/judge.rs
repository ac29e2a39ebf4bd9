//! What a window's answers mean: which deliveries are final, which are tried again, and when.
//!
//! Pure: the time and the chance are arguments. Five rules beyond the retry policy:
//!
//! - *Never guess.* A request that was written and never answered may have been taken. From then on its
//!   device is in doubt, through every retry: it comes out as accepted or as unknown, and as nothing else.
//!   So does a device of a window that is sent a second time.
//! - *What was not the delivery's fault costs no attempt.* It waits longer the longer it has been failing,
//!   so that a credential that stays broken for an hour costs some ten units and not a thousand.
//! - *What a brake stopped did not fail.* It is there when the campaign is resumed, however late that is.
//! - *One provider's wait is not another's.* Each way to devices gets retries of its own.
//! - *The record says it all.* Retries follow from the recorded window alone, so that whoever finds it
//!   writes the same ones; only how long they wait may differ.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use jraze_domain::campaign::Ambiguity;
use jraze_domain::device::SendPlatform;
use jraze_domain::dispatch::retry::{RetryDecision, RetryPolicy};
use jraze_domain::dispatch::{Delivery, Outcome, Reason, Scope};
use jraze_domain::ids::{DeviceId, UnitId};
use jraze_storage::dispatch::{ClaimedDevice, Retry, Unit, Via, Window};

/// The reasons kept of one window; the rarest are left out.
const MAX_REASONS: usize = 16;

/// How often a push is tried again to a device that APNs says has had too many (TooManyRequests): more of
/// the same is what it complains of.
const APNS_TRIES_OF_ONE_DEVICE: u32 = 3;

/// What the rules look at besides the answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances {
    pub(crate) now: DateTime<Utc>,
    /// Since when the campaign runs without a break: while it was held nothing failed.
    pub(crate) going_since: DateTime<Utc>,
    /// When the notification becomes worthless.
    pub(crate) expires_at: Option<DateTime<Utc>>,
    /// In `[0, 1)`, for jitter.
    pub(crate) chance: f64,
    /// What to do when nobody can know.
    pub(crate) on_ambiguous: Ambiguity,
}

/// Writes into the window what became of every device, and why.
pub(crate) fn judge(
    policy: &RetryPolicy,
    unit: &Unit,
    window: &mut Window,
    outcomes: &[&Outcome],
    at: Circumstances,
) {
    let mut reasons: HashMap<&Reason, u32> = HashMap::new();
    let mut longest = None;
    let apns_rate = RetryPolicy {
        max_attempts: policy.max_attempts.min(1 + APNS_TRIES_OF_ONE_DEVICE),
        ..*policy
    };
    for (device, outcome) in window.devices.iter_mut().zip(outcomes) {
        let of_one_device = outcome.hold.is_some_and(|hold| hold.scope == Scope::Device);
        let policy = match device.send_platform {
            SendPlatform::Apns if of_one_device => &apns_rate,
            _ => policy,
        };
        let found = delivery(policy, unit, outcome, at);
        device.delivery = if window.in_doubt { found.in_doubt() } else { found };
        if device.delivery.is_transient() {
            longest = longest.max(wait_of(outcome));
        } else if device.delivery != Delivery::Accepted && !outcome.reason.as_str().is_empty() {
            *reasons.entry(&outcome.reason).or_default() += 1;
        }
    }
    let mut reasons: Vec<_> = reasons
        .into_iter()
        .map(|(reason, count)| (reason.clone(), count))
        .collect();
    reasons.sort_by(|(one, n), (other, m)| m.cmp(n).then_with(|| one.as_str().cmp(other.as_str())));
    reasons.truncate(MAX_REASONS);
    window.reasons = reasons;
    window.retry_after = longest;
}

/// A passing failure stays one only while its attempts, its age and the notification's time allow.
fn delivery(policy: &RetryPolicy, unit: &Unit, outcome: &Outcome, at: Circumstances) -> Delivery {
    let attempt = match outcome.delivery {
        Delivery::Unanswered if at.on_ambiguous == Ambiguity::Skip => return Delivery::Unknown,
        Delivery::Deferred | Delivery::Unanswered => unit.attempt,
        // Only its age ends what costs no attempt.
        Delivery::Requeued => 1,
        // Nothing ends what waits for a person.
        known => return known,
    };
    let since = unit.failing_since.unwrap_or(at.now).max(at.going_since);
    let last = match policy.decide(attempt, at.now, since, at.expires_at, wait_of(outcome), at.chance) {
        RetryDecision::At(_) => return outcome.delivery,
        RetryDecision::GiveUp => Delivery::Refused,
        RetryDecision::Expired => Delivery::Expired,
    };
    match outcome.delivery {
        Delivery::Unanswered => last.in_doubt(),
        _ => last,
    }
}

fn wait_of(outcome: &Outcome) -> Option<Duration> {
    outcome.hold?.wait
}

/// The units that carry on what a window leaves open, one for each way to devices and each kind of failure.
/// Their ids follow from the window, so writing them twice writes them once. `outcomes` are there for a
/// fresh window; for one that is found recorded, its own `retry_after` stands for every wait.
pub(crate) fn retries(
    policy: &RetryPolicy,
    unit: &Unit,
    window: &Window,
    outcomes: Option<&[&Outcome]>,
    now: DateTime<Utc>,
    chance: f64,
) -> Vec<Retry> {
    let failing_since = unit.failing_since.unwrap_or(now);
    let mut groups: HashMap<(Delivery, Via), (Vec<DeviceId>, Option<Duration>)> = HashMap::new();
    for (index, device) in window.devices.iter().enumerate() {
        if !device.delivery.is_transient() {
            continue;
        }
        let asked = match outcomes.map(|outcomes| outcomes.get(index)) {
            Some(outcome) => outcome.and_then(|outcome| wait_of(outcome)),
            None => window.retry_after,
        };
        let (devices, wait) = groups.entry((device.delivery, via(device))).or_default();
        devices.push(device.id);
        *wait = (*wait).max(asked);
    }
    let mut retries: Vec<Retry> = groups
        .into_iter()
        .map(|((left, via), (devices, asked))| {
            let costs = matches!(left, Delivery::Deferred | Delivery::Unanswered);
            let patience = || patience(policy, now, failing_since).mul_f64(0.5 + chance / 2.0);
            let wait = match left {
                // The campaign itself waits.
                Delivery::Held => Duration::ZERO,
                _ if costs => policy.wait(unit.attempt, asked, chance),
                _ => asked.unwrap_or_else(patience),
            };
            Retry {
                id: UnitId::retry(unit.notification, &window.id, &format!("{left:?} {via:?}")),
                devices,
                attempt: unit.attempt + u32::from(costs),
                failing_since: match left {
                    Delivery::Held => unit.failing_since,
                    _ => Some(failing_since),
                },
                in_doubt: window.in_doubt || left == Delivery::Unanswered,
                via,
                wait,
            }
        })
        .collect();
    retries.sort_by(|one, other| one.id.cmp(&other.id));
    retries
}

/// What a device's retry is reached through. What was not the delivery's fault may be that of a credential
/// for one device platform, and then that platform rests alone.
fn via(device: &ClaimedDevice) -> Via {
    Via {
        by: device.send_platform,
        on: (device.delivery == Delivery::Requeued).then_some(device.device_platform),
    }
}

fn patience(policy: &RetryPolicy, now: DateTime<Utc>, failing_since: DateTime<Utc>) -> Duration {
    let failing = (now - failing_since).to_std().unwrap_or_default();
    (failing / 2).clamp(policy.base, policy.cap)
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
