//! Streams and connections, and everything that can break one: the transport table, with both
//! providers in turn, because what a failure means is the same for both.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use jraze_domain::{
    device::SendPlatform,
    dispatch::{Delivery, Outcome, Scope},
};
use jraze_providers::{CredentialSettings, Provider, reason, transport::TransportSettings};
use serde_json::{Value, json};

use super::rig::{self, APNS_TOKEN, APP, FCM_TOKEN, Rig, millis};

pub(super) fn all_accepted(outcomes: &[Outcome]) {
    let others: Vec<_> = outcomes
        .iter()
        .filter(|outcome| outcome.delivery != Delivery::Accepted)
        .collect();
    assert!(
        others.is_empty(),
        "{} of {}: {:?}",
        others.len(),
        outcomes.len(),
        others.first()
    );
}

pub(super) async fn send_many(
    rig: &Rig,
    provider: &Provider,
    tokens: impl Iterator<Item = String>,
) -> Vec<Outcome> {
    let prepared = rig::prepare(provider);
    let sends = tokens.map(|token| {
        let prepared = &prepared;
        async move { provider.send(prepared, &rig::push_token(&token)).await }
    });
    let outcomes = join_all(sends).await;
    assert!(
        rig.fcm().stats().in_flight == 0 && rig.apns().stats().in_flight == 0,
        "streams are given back"
    );
    outcomes
}

pub(super) fn apns_tokens(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|index| format!("{index:064x}"))
}

pub(super) fn fcm_tokens(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|index| format!("{FCM_TOKEN}-{index}"))
}

/// How often each token was answered with 200.
pub(super) fn accepted_per_token(ledger: &[Value]) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for entry in ledger.iter().filter(|entry| entry["status"] == 200) {
        *counts
            .entry(entry["token"].as_str().expect("a token"))
            .or_default() += 1;
    }
    counts
}

/// APNs at another address than the sandbox's, trusting `ca_file`.
pub(super) fn apns_at(
    rig: &Rig,
    base_url: &str,
    ca_file: Option<&std::path::Path>,
    transport: TransportSettings,
) -> Arc<Provider> {
    let mut credentials = rig::credentials(&rig.sandbox, &transport);
    credentials.remove(0);
    if let CredentialSettings::Apns(settings) = &mut credentials[0] {
        settings.base_url = base_url.to_owned();
        settings.ca_file = ca_file.map(Into::into);
    }
    let providers = rig::providers(credentials, &rig.clock);
    Arc::clone(providers.get(APP, SendPlatform::Apns).expect("configured"))
}

#[tokio::test]
async fn a_connection_that_takes_one_stream_until_it_knows_us_is_never_asked_for_two() {
    let rig = Rig::with(
        |sandbox| sandbox.apns.streams_before_auth = 1,
        |transport| transport.connections = 1,
    )
    .await;
    all_accepted(&send_many(&rig, rig.apns(), apns_tokens(500)).await);
    let stats = rig.apns().stats();
    assert_eq!((stats.resent, stats.opened), (0, 1), "no stream was refused");
    assert_eq!(rig.ledger().await.len(), 500);
}

#[tokio::test]
async fn the_peers_stream_limit_is_never_exceeded() {
    let rig = Rig::with(
        |sandbox| {
            sandbox.fcm.max_streams = 5;
            sandbox.latency_ms = 5;
        },
        |transport| transport.connections = 2,
    )
    .await;
    all_accepted(&send_many(&rig, rig.fcm(), fcm_tokens(200)).await);
    let stats = rig.fcm().stats();
    assert_eq!((stats.resent, stats.opened), (0, 2));
}

#[tokio::test]
async fn one_send_after_the_other_needs_one_connection() {
    let rig = Rig::start().await;
    for _ in 0..20 {
        assert_eq!(rig.send_fcm(FCM_TOKEN).await, Outcome::accepted());
    }
    assert_eq!(rig.fcm().stats().opened, 1);
}

#[tokio::test]
async fn busy_connections_get_company_up_to_the_size_of_the_pool() {
    let rig = Rig::with(
        |sandbox| sandbox.latency_ms = 50,
        |transport| {
            transport.connections = 3;
            transport.busy_streams = 10;
        },
    )
    .await;
    all_accepted(&send_many(&rig, rig.apns(), apns_tokens(400)).await);
    all_accepted(&send_many(&rig, rig.apns(), apns_tokens(400)).await);
    assert_eq!(rig.apns().stats().opened, 3);
}

#[tokio::test]
async fn new_connections_to_a_host_keep_their_distance() {
    let rig = Rig::with(
        |sandbox| sandbox.latency_ms = 20,
        |transport| {
            transport.connections = 3;
            transport.busy_streams = 1;
            transport.connect_interval = millis(400);
            transport.connect_burst = 1;
        },
    )
    .await;
    let third = third_connection(&rig).await;
    assert!(third >= Duration::from_millis(800), "{third:?}");
}

#[tokio::test]
async fn a_pool_that_fills_up_for_the_first_time_need_not_keep_that_distance() {
    let rig = Rig::with(
        |sandbox| sandbox.latency_ms = 20,
        |transport| {
            transport.connections = 4;
            transport.busy_streams = 1;
            transport.connect_interval = millis(60_000);
            transport.connect_burst = 3;
        },
    )
    .await;
    let third = third_connection(&rig).await;
    assert!(third < Duration::from_secs(5), "{third:?}");
    for _ in 0..10 {
        all_accepted(&send_many(&rig, rig.apns(), apns_tokens(10)).await);
    }
    assert_eq!(rig.apns().stats().opened, 3, "the fourth waits for its minute");
}

/// How long it takes until three connections are open.
async fn third_connection(rig: &Rig) -> Duration {
    let started = Instant::now();
    while rig.apns().stats().opened < 3 {
        all_accepted(&send_many(rig, rig.apns(), apns_tokens(10)).await);
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "the third never came"
        );
    }
    started.elapsed()
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_at_once() {
    let rig = Rig::start().await;
    rig.script(json!([{"times": 1, "answer": {"reset": {"code": "REFUSED_STREAM"}}}]))
        .await;
    assert_eq!(rig.send_fcm(FCM_TOKEN).await, Outcome::accepted());
    assert_eq!(rig.ledger().await.len(), 2);
    assert_eq!(rig.fcm().stats().resent, 1);
}

#[tokio::test]
async fn a_stream_refused_again_and_again_is_given_up_after_two_resends_and_costs_no_attempt() {
    let rig = Rig::start().await;
    rig.answer(json!({"reset": {"code": "REFUSED_STREAM"}})).await;
    let wanted = Outcome::new(Delivery::Requeued, reason::STREAM_REFUSED).with_hold(Scope::Connection, None);
    assert_eq!(rig.send_apns(APNS_TOKEN).await, wanted);
    assert_eq!(rig.ledger().await.len(), 3);
}

#[tokio::test]
async fn what_a_goaway_excludes_is_sent_again_on_a_new_connection() {
    let rig = Rig::start().await;
    rig.script(json!([{"times": 1, "answer": {"goaway": {"debug": "{\"reason\":\"Shutdown\"}"}}}]))
        .await;
    assert_eq!(rig.send_apns(APNS_TOKEN).await, Outcome::accepted());
    let ledger = rig.ledger().await;
    assert_eq!(ledger.len(), 2);
    assert_ne!(ledger[0]["connection"], ledger[1]["connection"]);
    assert_eq!(rig.apns().stats().resent, 1);
}

#[tokio::test]
async fn what_a_goaway_includes_is_awaited_and_the_connection_left_alone() {
    let rig = Rig::start().await;
    rig.script(json!([{"times": 1, "latency_ms": 50, "answer": {"goaway": {"processed": true}}}]))
        .await;
    assert_eq!(rig.send_fcm(FCM_TOKEN).await, Outcome::accepted());
    assert_eq!(rig.fcm().stats().resent, 0);
    assert_eq!(rig.send_fcm(FCM_TOKEN).await, Outcome::accepted());
    let ledger = rig.ledger().await;
    assert_eq!(ledger.len(), 2);
    assert_ne!(ledger[0]["connection"], ledger[1]["connection"]);
}

#[tokio::test]
async fn a_goaway_in_the_middle_of_a_burst_loses_nothing_and_doubles_nothing() {
    let rig = Rig::with(
        |sandbox| sandbox.latency_ms = 20,
        |transport| transport.connections = 2,
    )
    .await;
    let tokens: Vec<_> = fcm_tokens(400).collect();
    rig.script(json!([
        {"token": tokens[30], "times": 1, "answer": {"goaway": {}}},
        {"token": tokens[200], "times": 1, "answer": {"goaway": {"processed": true}}},
    ]))
    .await;
    all_accepted(&send_many(&rig, rig.fcm(), tokens.iter().cloned()).await);
    let ledger = rig.ledger().await;
    let counts = accepted_per_token(&ledger);
    assert_eq!(counts.len(), 400);
    assert!(counts.values().all(|count| *count == 1));
}

#[tokio::test]
async fn a_reset_that_promises_nothing_is_ambiguous_and_not_sent_again() {
    let rig = Rig::start().await;
    for code in ["INTERNAL_ERROR", "CANCEL", "ENHANCE_YOUR_CALM"] {
        rig.answer(json!({"reset": {"code": code}})).await;
        let outcome = rig.send_fcm(FCM_TOKEN).await;
        assert_eq!(
            outcome,
            Outcome::new(Delivery::Unanswered, reason::CONNECTION_LOST),
            "{code}"
        );
    }
    assert_eq!(rig.ledger().await.len(), 3);
}

#[tokio::test]
async fn a_connection_cut_after_the_request_is_ambiguous_and_replaced() {
    let rig = Rig::start().await;
    rig.script(json!([{"times": 1, "answer": "close"}])).await;
    let outcome = rig.send_apns(APNS_TOKEN).await;
    assert_eq!(outcome.delivery, Delivery::Unanswered, "{outcome:?}");
    assert_eq!(rig.ledger().await.len(), 1, "not sent again");
    assert_eq!(rig.send_apns(APNS_TOKEN).await, Outcome::accepted());
    assert_eq!(rig.apns().stats().opened, 2);
}

#[tokio::test]
async fn no_answer_in_time_is_ambiguous_and_not_sent_again() {
    let rig = Rig::with(|_| {}, |transport| transport.request_timeout = millis(300)).await;
    rig.script(json!([{"times": 1, "answer": "stall"}])).await;
    let started = Instant::now();
    let outcome = rig.send_fcm(FCM_TOKEN).await;
    assert_eq!(outcome, Outcome::new(Delivery::Unanswered, reason::NO_ANSWER));
    assert!(
        (300..900).contains(&started.elapsed().as_millis()),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(rig.ledger().await.len(), 1);
    assert_eq!(rig.send_fcm(FCM_TOKEN).await, Outcome::accepted());
    assert_eq!(rig.fcm().stats().timeouts, 1);
}

#[tokio::test]
async fn a_stalled_send_holds_up_nobody_else() {
    let rig = Rig::with(|_| {}, |transport| transport.request_timeout = millis(1_500)).await;
    rig.script(json!([{"token": "stuck", "answer": "stall"}])).await;
    let tokens = std::iter::once("stuck".to_owned()).chain(fcm_tokens(300));
    let outcomes = send_many(&rig, rig.fcm(), tokens).await;
    assert_eq!(outcomes[0].delivery, Delivery::Unanswered);
    all_accepted(&outcomes[1..]);
    let stats = rig.fcm().stats();
    assert_eq!(
        stats.connections as u64, stats.opened,
        "the connection was alive, so it stays"
    );
}

#[tokio::test]
async fn no_free_stream_in_time_costs_no_attempt() {
    let rig = Rig::with(
        |sandbox| sandbox.apns.max_streams = 1,
        |transport| {
            transport.connections = 1;
            transport.request_timeout = millis(300);
        },
    )
    .await;
    rig.answer(json!("stall")).await;
    let outcomes = send_many(&rig, rig.apns(), apns_tokens(3)).await;
    let waiting = Outcome::new(Delivery::Requeued, reason::NO_FREE_STREAM).with_hold(Scope::Connection, None);
    // What was written is ambiguous; what never got a stream certainly did not go out.
    let is_written = |outcome: &&Outcome| outcome.delivery == Delivery::Unanswered;
    let sent = outcomes.iter().filter(is_written).count();
    assert_eq!(rig.ledger().await.len(), sent);
    assert!(
        outcomes
            .iter()
            .all(|outcome| is_written(&outcome) || *outcome == waiting),
        "{outcomes:?}"
    );
    assert!(outcomes.contains(&waiting));
}

#[tokio::test]
async fn a_stream_limit_that_falls_in_the_middle_of_a_connection_is_kept() {
    let rig = Rig::with(
        |sandbox| sandbox.latency_ms = 5,
        |transport| transport.connections = 1,
    )
    .await;
    rig.script(json!([{"times": 1, "answer": {"stream_limit": {"streams": 3}}}]))
        .await;
    assert_eq!(rig.send_fcm(FCM_TOKEN).await, Outcome::accepted());
    all_accepted(&send_many(&rig, rig.fcm(), fcm_tokens(200)).await);
    let stats = rig.fcm().stats();
    assert_eq!((stats.resent, stats.opened), (0, 1), "no stream was refused");
    rig.script(json!([{"times": 1, "answer": {"stream_limit": {"streams": 50}}}]))
        .await;
    assert_eq!(rig.send_fcm(FCM_TOKEN).await, Outcome::accepted());
    all_accepted(&send_many(&rig, rig.fcm(), fcm_tokens(200)).await);
}

#[tokio::test]
async fn a_stream_limit_that_falls_under_load_loses_nothing_and_doubles_nothing() {
    let rig = Rig::with(
        |sandbox| sandbox.latency_ms = 5,
        |transport| transport.connections = 1,
    )
    .await;
    let tokens: Vec<_> = fcm_tokens(400).collect();
    rig.script(json!([{"token": tokens[50], "times": 1, "answer": {"stream_limit": {"streams": 5}}}]))
        .await;
    let outcomes = send_many(&rig, rig.fcm(), tokens.iter().cloned()).await;
    // What was opened before the news came may be refused; that is no attempt and no ambiguity.
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.delivery == Delivery::Accepted
                || outcome.reason.as_str() == reason::STREAM_REFUSED),
        "{outcomes:?}"
    );
    assert!(
        accepted_per_token(&rig.ledger().await)
            .values()
            .all(|count| *count == 1)
    );
}

#[tokio::test]
async fn an_accepted_push_whose_answer_is_lost_is_ambiguous() {
    let rig = Rig::start().await;
    rig.answer(json!("lost")).await;
    let outcome = rig.send_fcm(FCM_TOKEN).await;
    assert_eq!(outcome.delivery, Delivery::Unanswered, "{outcome:?}");
    assert_eq!(rig.ledger().await.len(), 1, "not sent again");
}

#[tokio::test]
async fn a_body_that_trickles_is_cut_when_time_is_up_and_its_status_counts() {
    let rig = Rig::with(|_| {}, |transport| transport.request_timeout = millis(300)).await;
    for (status, wanted) in [(200, Delivery::Accepted), (503, Delivery::Deferred)] {
        rig.answer(json!({"drip": {"bytes": 1_000, "status": status, "every_ms": 50}}))
            .await;
        let started = Instant::now();
        let outcome = rig.send_fcm(FCM_TOKEN).await;
        assert_eq!(outcome.delivery, wanted, "{outcome:?}");
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "{:?}",
            started.elapsed()
        );
    }
}

#[tokio::test]
async fn a_gibibyte_instead_of_an_answer_is_cut_after_its_first_bytes() {
    let rig = Rig::start().await;
    rig.answer(json!({"drip": {"bytes": 1 << 30, "status": 503, "chunk_bytes": 16_384, "every_ms": 0}}))
        .await;
    let before = resident_bytes();
    let outcomes = send_many(&rig, rig.fcm(), fcm_tokens(100)).await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.delivery == Delivery::Deferred)
    );
    let grown = resident_bytes().saturating_sub(before);
    // Other tests run in the same process; 100 GiB were offered.
    assert!(grown < 512 << 20, "{grown} bytes");
    rig.script(json!([])).await;
    all_accepted(&send_many(&rig, rig.fcm(), fcm_tokens(200)).await);
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
