//! What must hold at the end; the crate's page says it in words.

use std::collections::BTreeMap;

use jraze_domain::campaign::Status;
use jraze_domain::dispatch::{Delivery, Tally};
use jraze_domain::ids::DeviceId;
use jraze_storage::dispatch::WindowState;

use crate::scenario::Scenario;
use crate::state::{SimDevice, State};
use crate::world::is_final;

/// Looks at everything once nothing moves any more.
pub(crate) fn judge(state: &mut State, scenario: &Scenario) {
    let mut broken = Vec::new();
    let finals = finals(state, &mut broken);
    let ended = state.notification.status == Status::Sent;
    for device in state.devices.values() {
        of_device(state, scenario, device, &finals, ended, &mut broken);
    }
    counts(state, &finals, &mut broken);
    for rule in broken {
        state.violated(rule);
    }
}

fn finals(state: &State, broken: &mut Vec<String>) -> BTreeMap<DeviceId, Vec<Delivery>> {
    let mut finals: BTreeMap<DeviceId, Vec<Delivery>> = BTreeMap::new();
    for window in state.memory.claims() {
        if window.state != WindowState::Folded {
            broken.push(format!("{} is left {:?}", window.id, window.state));
        }
        for device in &window.devices {
            if is_final(device.delivery) {
                finals.entry(device.id).or_default().push(device.delivery);
            }
        }
    }
    finals
}

fn of_device(
    state: &State,
    scenario: &Scenario,
    device: &SimDevice,
    finals: &BTreeMap<DeviceId, Vec<Delivery>>,
    ended: bool,
    broken: &mut Vec<String>,
) {
    let id = device.target.id;
    let none = Vec::new();
    let outcomes = finals.get(&id).unwrap_or(&none);
    let ledger = state.ledger.get(&id).cloned().unwrap_or_default();
    let mut rule = |holds: bool, says: &str| {
        if !holds {
            broken.push(format!("{id}: {says}: {outcomes:?}, {ledger:?}"));
        }
    };
    if id.0 > scenario.devices {
        rule(
            outcomes.is_empty() && ledger.left == 0,
            "it is not of the audience",
        );
        return;
    }
    rule(outcomes.len() <= 1, "more than one final outcome");
    if ended && device.deleted_at.is_none() {
        rule(outcomes.len() == 1, "it is lost");
    }
    rule(ledger.tray.len() <= 1, "more than one entry in the tray");
    let faults = ledger.passing + ledger.unanswered + ledger.takeovers;
    rule(ledger.left <= 1 + faults, "repeated without a fault of its own");
    if scenario.is_calm() {
        rule(ledger.left <= 1, "repeated although nothing went wrong");
        rule(
            !ended || device.deleted_at.is_some() || ledger.left == 1,
            "not sent to although nothing went wrong",
        );
    }
    if scenario.skip {
        rule(
            ledger.accepted <= 1,
            "a duplicate under the policy that forbids it",
        );
    }
    let accepted = outcomes.contains(&Delivery::Accepted);
    rule(
        !accepted || ledger.accepted > 0,
        "counted as accepted and not taken",
    );
    let counted = accepted || outcomes.contains(&Delivery::Unknown);
    rule(
        ledger.accepted == 0 || counted,
        "taken and counted as something else",
    );
    rule(
        ledger.left == 0 || outcomes.len() == 1,
        "sent to and counted as nothing",
    );
}

fn counts(state: &State, finals: &BTreeMap<DeviceId, Vec<Delivery>>, broken: &mut Vec<String>) {
    let mut counted = Tally::default();
    for tally in state.tallies.values() {
        counted += *tally;
    }
    let settled: usize = finals.values().map(Vec::len).sum();
    if counted.settled() != settled as u64 {
        broken.push(format!("{counted:?} are counted, {settled} outcomes are there"));
    }
    let mut accepted: Vec<u64> = finals
        .iter()
        .filter(|(_, outcomes)| outcomes.contains(&Delivery::Accepted))
        .map(|(id, _)| id.0)
        .collect();
    accepted.sort_unstable();
    if counted.sent.total() != accepted.len() as u64 {
        broken.push(format!("{counted:?} are counted, {} were taken", accepted.len()));
    }
    let sent = state.logged.iter().filter(|((_, event), _)| event == "sent");
    let mut logged: Vec<u64> = sent.flat_map(|(_, ids)| ids.iter().copied()).collect();
    logged.sort_unstable();
    if logged != accepted {
        broken.push(format!("logged are {logged:?}, accepted {accepted:?}"));
    }
}
