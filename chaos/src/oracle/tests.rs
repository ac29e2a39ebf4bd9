//! The judge has to be able to say guilty.

use serde_json::json;

use super::*;

const TITLE: &str = "sale";

struct Case {
    selected: Selected,
    requests: Vec<Request>,
    outcomes: HashMap<i64, Vec<Final>>,
    shown: Value,
}

fn request(token: &str) -> Request {
    Request {
        token: token.to_owned(),
        accepted: true,
        title: TITLE.to_owned(),
        identity: Some("one".to_owned()),
        received_ms: 1_000,
    }
}

/// Two devices, sent to once each.
fn innocent() -> Case {
    let devices = HashMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]);
    Case {
        selected: Selected {
            devices,
            dead: HashSet::new(),
        },
        requests: vec![request("a"), request("b")],
        outcomes: HashMap::from([(1, vec![Final::Sent]), (2, vec![Final::Sent])]),
        shown: json!({
            "sent": { "android": 1, "ios": 1, "web": 0 },
            "counts": { "targeted": 2, "sent": 2, "unregistered": 0, "unknown": 0 },
        }),
    }
}

fn found(case: &Case) -> Findings {
    judge(&Evidence {
        title: TITLE,
        selected: &case.selected,
        requests: &case.requests,
        outcomes: &case.outcomes,
        shown: &case.shown,
        canceled_ms: None,
    })
}

#[test]
fn a_campaign_that_went_well_is_acquitted() {
    assert_eq!(found(&innocent()).violations(0), Vec::<String>::new());
}

#[test]
fn a_device_that_nobody_sent_to_is_lost() {
    let mut case = innocent();
    case.requests.pop();
    case.outcomes.remove(&2);
    assert_eq!(found(&case).lost, 1);
}

#[test]
fn a_device_that_counts_as_sent_without_a_request_is_a_lie() {
    let mut case = innocent();
    case.requests.pop();
    assert_eq!(found(&case).false_sent, 1);
    assert_eq!(found(&case).lost, 1);
}

#[test]
fn a_repeat_is_counted_and_allowed_only_where_a_fault_explains_it() {
    let mut case = innocent();
    case.requests.push(request("a"));
    assert_eq!(found(&case).repeats, 1);
    assert!(!found(&case).violations(0).is_empty());
    assert!(found(&case).violations(1).is_empty());
}

#[test]
fn a_repeat_under_another_identity_shows_twice() {
    let mut case = innocent();
    case.requests.push(Request {
        identity: Some("two".to_owned()),
        ..request("a")
    });
    assert_eq!(found(&case).tray_doubles, 1);
}

#[test]
fn a_count_that_is_one_too_high_is_seen() {
    let mut case = innocent();
    case.shown["sent"]["ios"] = json!(2);
    assert_eq!(found(&case).counts_off, 1);
}

#[test]
fn two_final_outcomes_of_one_device_are_one_too_many() {
    let mut case = innocent();
    case.outcomes.insert(1, vec![Final::Sent, Final::Sent]);
    assert_eq!(found(&case).not_one_outcome, 1);
}

#[test]
fn a_request_to_somebody_else_and_one_of_an_earlier_campaign_are_seen() {
    let mut case = innocent();
    case.requests.push(request("c"));
    assert_eq!(found(&case).strangers, 1);
    let mut case = innocent();
    case.requests.push(Request {
        title: "earlier".to_owned(),
        ..request("a")
    });
    assert_eq!(found(&case).late, 1);
}
