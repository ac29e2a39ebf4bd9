//! Reaching a host, keeping a connection, and giving one up.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jraze_domain::dispatch::{Delivery, Hold, Outcome, Scope};
use jraze_providers::{reason, transport::TransportSettings};
use serde_json::json;

use super::{
    peer::{Fault, Peer},
    rig::{self, APNS_TOKEN, FCM_TOKEN, Rig, eventually, millis},
};

use super::transport::{all_accepted, apns_at, fcm_tokens, send_many};

#[tokio::test]
async fn a_host_that_takes_no_connection_costs_no_attempt_and_is_not_hammered() {
    let rig = Rig::start().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let provider = apns_at(&rig, &format!("https://127.0.0.1:{port}"), None, rig::quick());
    for _ in 0..50 {
        let outcome = rig::send(&provider, APNS_TOKEN).await;
        assert_eq!(
            (outcome.delivery, outcome.reason.as_str()),
            (Delivery::Requeued, reason::NOT_CONNECTED)
        );
        assert!(matches!(
            outcome.hold,
            Some(Hold {
                scope: Scope::Connection,
                ..
            })
        ));
    }
    // Full jitter may draw a short first wait, never fifty of them.
    assert!(
        (1..10).contains(&provider.stats().failed),
        "{:?}",
        provider.stats()
    );
}

#[tokio::test]
async fn a_name_without_an_address_costs_no_attempt() {
    let rig = Rig::start().await;
    let provider = apns_at(&rig, "https://no-such-host.invalid", None, rig::quick());
    let outcome = rig::send(&provider, APNS_TOKEN).await;
    assert_eq!(
        (outcome.delivery, outcome.reason.as_str()),
        (Delivery::Requeued, reason::NOT_CONNECTED)
    );
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_stops_the_credential() {
    let rig = Rig::start().await;
    let provider = apns_at(&rig, rig.sandbox.apns_base_url(), None, rig::quick());
    let outcome = rig::send(&provider, APNS_TOKEN).await;
    assert_eq!(
        (outcome.delivery, outcome.reason.as_str()),
        (Delivery::Requeued, reason::NOT_TRUSTED)
    );
    assert!(matches!(
        outcome.hold,
        Some(Hold {
            scope: Scope::Credential,
            ..
        })
    ));
    assert_eq!(rig.ledger().await.len(), 0);
}

#[tokio::test]
async fn a_peer_without_http2_stops_the_credential() {
    let rig = Rig::start().await;
    let peer = Peer::start(Fault::NoHttp2).await;
    let provider = apns_at(&rig, &peer.base_url, Some(peer.ca_file()), rig::quick());
    let outcome = rig::send(&provider, APNS_TOKEN).await;
    assert_eq!(outcome.reason.as_str(), reason::NOT_TRUSTED);
}

#[tokio::test]
async fn a_peer_that_never_starts_tls_is_given_up_in_time() {
    let rig = Rig::start().await;
    let peer = Peer::start(Fault::NoTls).await;
    let transport = TransportSettings {
        connect_timeout: millis(300),
        ..rig::quick()
    };
    let provider = apns_at(&rig, &peer.base_url, Some(peer.ca_file()), transport);
    let started = Instant::now();
    let outcome = rig::send(&provider, APNS_TOKEN).await;
    assert_eq!(
        (outcome.delivery, outcome.reason.as_str()),
        (Delivery::Requeued, reason::NOT_CONNECTED)
    );
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_peer_without_a_sign_of_life_is_dropped() {
    let rig = Rig::start().await;
    let peer = Peer::start(Fault::Silent).await;
    let transport = TransportSettings {
        ping_after: millis(200),
        ping_timeout: millis(100),
        ..rig::quick()
    };
    let provider = apns_at(&rig, &peer.base_url, Some(peer.ca_file()), transport);
    let started = Instant::now();
    let outcome = rig::send(&provider, APNS_TOKEN).await;
    assert_eq!(outcome.delivery, Delivery::Unanswered, "{outcome:?}");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "long before the request's own time is up"
    );
    eventually("the connection is closed", async || peer.open_connections() == 0).await;
}

#[tokio::test]
async fn a_connection_silent_for_a_whole_request_takes_no_other() {
    let rig = Rig::start().await;
    let peer = Peer::start(Fault::Silent).await;
    let transport = TransportSettings {
        request_timeout: millis(200),
        ..rig::quick()
    };
    let provider = apns_at(&rig, &peer.base_url, Some(peer.ca_file()), transport);
    assert_eq!(
        rig::send(&provider, APNS_TOKEN).await.reason.as_str(),
        reason::NO_ANSWER
    );
    assert_eq!(provider.stats().connections, 0);
    rig::send(&provider, APNS_TOKEN).await;
    assert_eq!(provider.stats().opened, 2);
}

#[tokio::test]
async fn a_quiet_connection_that_answers_pings_is_kept() {
    let rig = Rig::with(
        |_| {},
        |transport| {
            transport.ping_after = millis(100);
            transport.ping_timeout = millis(400);
        },
    )
    .await;
    rig.send_fcm(FCM_TOKEN).await;
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    rig.send_fcm(FCM_TOKEN).await;
    assert_eq!(rig.fcm().stats().opened, 1);
}

#[tokio::test]
async fn dropping_the_providers_closes_their_connections() {
    let rig = Rig::start().await;
    let peer = Peer::start(Fault::Silent).await;
    let transport = TransportSettings {
        request_timeout: millis(200),
        ..rig::quick()
    };
    let provider = apns_at(&rig, &peer.base_url, Some(peer.ca_file()), transport);
    rig::send(&provider, APNS_TOKEN).await;
    drop(provider);
    eventually("the connection is closed", async || peer.open_connections() == 0).await;
}

#[tokio::test]
async fn an_endless_answer_is_cut_and_harms_nobody() {
    let rig = Rig::start().await;
    let megabyte = "x".repeat(1 << 20);
    for (status, wanted) in [
        (503, Delivery::Deferred),
        (200, Delivery::Accepted),
        (400, Delivery::Refused),
    ] {
        rig.answer(json!({"http": {"status": status, "body": megabyte}}))
            .await;
        let outcomes = send_many(&rig, rig.fcm(), fcm_tokens(50)).await;
        assert!(
            outcomes.iter().all(|outcome| outcome.delivery == wanted),
            "{status}: {outcomes:?}"
        );
    }
    rig.script(json!([])).await;
    all_accepted(&send_many(&rig, rig.fcm(), fcm_tokens(200)).await);
}

#[tokio::test]
async fn a_provider_that_comes_back_is_used_again() {
    let rig = Rig::start().await;
    assert_eq!(rig.send_apns(APNS_TOKEN).await, Outcome::accepted());
    let mut settings = rig.sandbox.settings().clone();
    let port = rig
        .sandbox
        .apns_base_url()
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port");
    settings.apns_port = port;
    let provider = Arc::clone(rig.apns());
    rig.sandbox.shutdown().await;
    let gone = rig::send(&provider, APNS_TOKEN).await;
    assert_ne!(gone.delivery, Delivery::Accepted);
    let _again = jraze_sandbox::Sandbox::start(settings)
        .await
        .expect("on the same port");
    eventually("it is used again", async || {
        rig::send(&provider, APNS_TOKEN).await.delivery == Delivery::Accepted
    })
    .await;
}
