//! The judge: what the providers saw against what the database says.
//!
//! Nothing here is shared with the workers, not even a type: the ledger and the trays come from the
//! sandbox, the windows from MongoDB as bytes, the counts from the API as JSON, and who should have been
//! sent to follows from the made-up population. The invariants, in prose:
//!
//! 1. *Nobody is lost.* Every selected device has a request that its provider accepted, or one counted
//!    final outcome that says why not.
//! 2. *Nobody else is sent to.*
//! 3. *No phone shows a campaign twice.* All requests of a campaign to a device carry one identity.
//! 4. *Repeats are bounded.* Without a fault there is one accepted request for each device. A fault may
//!    repeat at most the windows that its worker had in flight.
//! 5. *Every device has exactly one final outcome*, and "sent" only when a provider accepted a request.
//! 6. *Counts are exact*: the API's are those of the windows and of the ledger.
//! 7. *What cannot be known is called unknown.*
//! 8. *A holder of an old lease writes nothing*: the order of the database's own log shows it.
//! 9. *It ends*: with faults gone, a campaign is SENT within a lease, 15 s and the longest wait of a retry.
//! 10. *A cancel holds*: two seconds after its answer no request leaves.

pub(crate) mod fencing;
pub(crate) mod outcomes;

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::sandbox::Request;
use outcomes::Final;

/// Who should get a campaign, and what is known of each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selected {
    /// The device's number by its token.
    pub(crate) devices: HashMap<String, i64>,
    /// Tokens that their provider declares dead.
    pub(crate) dead: HashSet<String>,
}

/// What was found. Everything but `repeats` and `unknown` has to be 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Findings {
    pub(crate) selected: u64,
    /// Devices whose provider accepted a request.
    pub(crate) reached: u64,
    pub(crate) lost: u64,
    pub(crate) strangers: u64,
    /// Accepted requests beyond the first of a device.
    pub(crate) repeats: u64,
    pub(crate) tray_doubles: u64,
    pub(crate) unknown: u64,
    /// Devices without exactly one final outcome.
    pub(crate) not_one_outcome: u64,
    /// Devices that count as sent and of whom no provider knows.
    pub(crate) false_sent: u64,
    pub(crate) counts_off: u64,
    pub(crate) stale_writes: u64,
    /// Requests that came too late: after the campaign or after its cancel.
    pub(crate) late: u64,
    /// Windows that were taken over by another holder, as the database's log tells.
    #[serde(default)]
    pub(crate) takeovers: u64,
    /// Windows whose results were written, and how many of them have a writer that the log tells.
    #[serde(default)]
    pub(crate) records: u64,
    #[serde(default)]
    pub(crate) attributed: u64,
}

impl Findings {
    /// What is wrong, in words. `repeats_allowed` is what the faults may have repeated.
    pub(crate) fn violations(&self, repeats_allowed: u64) -> Vec<String> {
        let must_be_zero = [
            ("lost", self.lost),
            ("strangers", self.strangers),
            ("duplicate tray entries", self.tray_doubles),
            ("devices without exactly one final outcome", self.not_one_outcome),
            ("counted as sent and never accepted", self.false_sent),
            ("counts off by", self.counts_off),
            ("writes under an old lease", self.stale_writes),
            ("late requests", self.late),
        ];
        let mut violations: Vec<String> = must_be_zero
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(what, count)| format!("{what}: {count}"))
            .collect();
        // One of two workers is named, and takes what part of the work it gets.
        if self.attributed * 10 < self.records {
            violations.push(format!(
                "only {} of {} writers are known",
                self.attributed, self.records
            ));
        }
        if self.repeats > repeats_allowed {
            violations.push(format!(
                "repeated requests: {} of {repeats_allowed}",
                self.repeats
            ));
        }
        violations
    }
}

/// The material of one campaign.
#[derive(Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) title: &'a str,
    pub(crate) selected: &'a Selected,
    pub(crate) requests: &'a [Request],
    /// Final outcomes by device number, from the windows.
    pub(crate) outcomes: &'a HashMap<i64, Vec<Final>>,
    /// The notification as the API shows it.
    pub(crate) shown: &'a Value,
    /// When a cancel was answered, in milliseconds since 1970.
    pub(crate) canceled_ms: Option<i64>,
}

/// Compares everything.
pub(crate) fn judge(evidence: &Evidence<'_>) -> Findings {
    let Evidence {
        title,
        selected,
        requests,
        outcomes,
        shown,
        canceled_ms,
    } = evidence;
    let mut findings = Findings {
        selected: selected.devices.len() as u64,
        ..Findings::default()
    };
    let mut accepted: HashMap<&str, (u64, HashSet<Option<&str>>)> = HashMap::new();
    for request in *requests {
        let too_late = canceled_ms.is_some_and(|at| request.received_ms > at + 2_000);
        findings.late += u64::from(request.title != **title || too_late);
        findings.strangers += u64::from(!selected.devices.contains_key(&request.token));
        if request.accepted && request.title == **title {
            let (times, identities) = accepted.entry(&request.token).or_default();
            *times += 1;
            identities.insert(request.identity.as_deref());
        }
    }
    findings.reached = accepted.len() as u64;
    for (times, identities) in accepted.values() {
        findings.repeats += times - 1;
        // Without an identity nothing replaces anything.
        findings.tray_doubles += identities.len() as u64 - 1;
        findings.tray_doubles += u64::from(identities.contains(&None) && *times > 1);
    }
    for (token, device) in &selected.devices {
        let finals = outcomes.get(device).map_or(&[][..], Vec::as_slice);
        let reached = accepted.contains_key(token.as_str());
        if finals.len() > 1 || (finals.is_empty() && canceled_ms.is_none()) {
            findings.not_one_outcome += 1;
        }
        let explained = finals.iter().any(|outcome| *outcome != Final::Sent);
        if !reached && !explained && canceled_ms.is_none() {
            findings.lost += 1;
        }
        findings.false_sent += u64::from(finals.contains(&Final::Sent) && !reached);
        if reached
            && !finals
                .iter()
                .any(|outcome| matches!(outcome, Final::Sent | Final::Unknown))
        {
            // Taken by its provider, and not in any count: as bad as lost.
            findings.not_one_outcome += 1;
        }
        if selected.dead.contains(token) && !finals.is_empty() && finals != [Final::Unregistered] {
            let stopped = canceled_ms.is_some() || finals == [Final::Unknown];
            findings.not_one_outcome += u64::from(!stopped);
        }
    }
    let known = outcomes
        .keys()
        .filter(|device| !selected.devices.values().any(|own| own == *device));
    // Looked at only when there are more than there should be: it is a slow look.
    if outcomes.len() > selected.devices.len() {
        findings.strangers += known.count() as u64;
    }
    findings.unknown = count(outcomes, Final::Unknown);
    findings.counts_off = counts_off(shown, outcomes);
    findings
}

fn count(outcomes: &HashMap<i64, Vec<Final>>, wanted: Final) -> u64 {
    let all = outcomes.values().flatten();
    all.filter(|outcome| **outcome == wanted).count() as u64
}

/// By how much the API's counts differ from the outcomes, all differences together.
pub(crate) fn counts_off(shown: &Value, outcomes: &HashMap<i64, Vec<Final>>) -> u64 {
    let counts = &shown["counts"];
    let named = |name: &str| counts[name].as_u64().unwrap_or(u64::MAX);
    let sent: u64 = ["android", "ios", "web"]
        .iter()
        .filter_map(|platform| shown["sent"][platform].as_u64())
        .sum();
    let pairs = [
        (sent, count(outcomes, Final::Sent)),
        (named("sent"), count(outcomes, Final::Sent)),
        (named("unregistered"), count(outcomes, Final::Unregistered)),
        (named("unknown"), count(outcomes, Final::Unknown)),
        (
            named("targeted"),
            outcomes.values().map(|all| all.len() as u64).sum(),
        ),
    ];
    pairs
        .iter()
        .map(|(one, other)| one.abs_diff(*other))
        .fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests;
