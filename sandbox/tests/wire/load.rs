//! `load_only`: what is left of a provider when only speed is asked for.

use std::time::Duration;

use crate::support::{Apns, Fcm, control, get, soon, start};

#[tokio::test]
async fn a_load_only_provider_takes_every_send_counts_it_and_keeps_nothing() {
    let it = start(|settings| settings.load_only = true).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    for _ in 0..3 {
        assert_eq!(fcm.to("sbx-unregistered-1").await.unwrap().status, 200);
    }
    let apns = Apns::connect(&it.sandbox).await;
    assert_eq!(apns.to("no-token-at-all").await.unwrap().status, 200);
    let load = get(&it.sandbox, "/load").await;
    assert_eq!(load["fcm"]["accepted"], 3);
    assert_eq!(load["apns"]["accepted"], 1);
    assert!(load["fcm"]["last_us"].as_i64() >= load["fcm"]["first_us"].as_i64());
    assert_eq!(get(&it.sandbox, "/ledger/summary").await["received"], 0);
    assert_eq!(control(&it.sandbox, "DELETE", "/load", "").await.0, 204);
    assert_eq!(get(&it.sandbox, "/load").await["fcm"]["accepted"], 0);
}

#[tokio::test]
async fn load_only_keeps_the_limit_of_streams_and_the_quota() {
    let it = start(|settings| {
        settings.load_only = true;
        settings.fcm.quota_per_minute = Some(2);
    })
    .await;
    let apns = Apns::connect(&it.sandbox).await;
    soon(async {
        while apns.client.send.current_max_send_streams() != 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert_eq!(apns.to("abcd").await.unwrap().status, 200);
    soon(async {
        while apns.client.send.current_max_send_streams() != 1000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let fcm = Fcm::connect(&it.sandbox).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(fcm.to("t").await.unwrap().status);
    }
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(get(&it.sandbox, "/load").await["fcm"]["limited"], 1);
}

#[tokio::test]
async fn a_timeline_tells_campaigns_apart_when_asked_for() {
    let it = start(|settings| {
        settings.load_only = true;
        settings.load_timeline = true;
        settings.fcm.quota_per_minute = Some(1);
    })
    .await;
    let fcm = Fcm::connect(&it.sandbox).await;
    assert_eq!(fcm.to("t").await.unwrap().status, 200);
    assert_eq!(fcm.to("t").await.unwrap().status, 429);
    let sum = |bins: &serde_json::Value| -> u64 {
        let bins = bins.as_array().expect("bins");
        bins.iter().filter_map(serde_json::Value::as_u64).sum()
    };
    let timeline = get(&it.sandbox, "/load/timeline").await;
    let titles = timeline["titles"].as_object().expect("titles");
    assert_eq!(titles.len(), 1, "{timeline}");
    let row = titles.values().next().expect("one");
    assert_eq!(
        (sum(&row["accepted"]), sum(&row["limited"])),
        (1, 1),
        "{timeline}"
    );
    assert_eq!(timeline["bin_ms"], 100);
}
