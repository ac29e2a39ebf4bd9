//! The control API, the ledger, trays, and starting and stopping.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::support::{ALERT, Apns, Client, Fcm, control, get, soon, start};
use jraze_sandbox::{Sandbox, SandboxError, Settings};
use serde_json::{Value, json};

#[tokio::test]
async fn the_ledger_holds_what_was_sent_and_what_was_answered() {
    let it = start(|_| ()).await;
    let apns = Apns::connect(&it.sandbox).await;
    let headers = [
        ("apns-collapse-id", "c1"),
        ("apns-priority", "5"),
        ("apns-expiration", "0"),
    ];
    apns.push("abcd", &headers, ALERT).await.unwrap();
    Fcm::connect(&it.sandbox)
        .await
        .to("sbx-unregistered-1")
        .await
        .unwrap();
    let ledger = get(&it.sandbox, "/ledger").await;
    let entry = &ledger["entries"][0];
    assert_eq!(entry["provider"], "apns");
    assert_eq!(entry["token"], "abcd");
    assert_eq!(entry["status"], 200);
    assert_eq!(entry["payload"], serde_json::from_str::<Value>(ALERT).unwrap());
    assert_eq!(entry["headers"]["apns-collapse-id"], "c1");
    assert_eq!(entry["headers"]["apns-push-type"], "alert");
    assert!(entry["headers"].get("authorization").is_none());
    let entry = &ledger["entries"][1];
    assert_eq!(
        (&entry["provider"], &entry["status"]),
        (&json!("fcm"), &json!(404))
    );
    assert_eq!(entry["outcome"], "UNREGISTERED");
    assert_eq!(entry["project"], "jraze-sandbox");
    assert_eq!(entry["sequence"], 2);
}

#[tokio::test]
async fn the_ledger_filters_and_pages() {
    let it = start(|_| ()).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    for n in 0..10 {
        fcm.to(&format!("t{n}")).await.unwrap();
        fcm.to("sbx-bad-1").await.unwrap();
    }
    let page = get(&it.sandbox, "/ledger?status=200&limit=4").await;
    assert_eq!(page["total"], 10);
    assert_eq!(page["entries"].as_array().unwrap().len(), 4);
    let next = format!("/ledger?status=200&since={}", page["next"]);
    assert_eq!(
        get(&it.sandbox, &next).await["entries"].as_array().unwrap().len(),
        6
    );
    assert_eq!(get(&it.sandbox, "/ledger?token=t3").await["total"], 1);
    assert_eq!(get(&it.sandbox, "/ledger?provider=apns").await["total"], 0);
    let (_, lines) = control(&it.sandbox, "GET", "/ledger?format=ndjson", "").await;
    assert_eq!(lines.lines().count(), 20);
}

#[tokio::test]
async fn the_summary_counts_statuses_and_duplicates_and_the_tokens_are_exact() {
    let it = start(|_| ()).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    for token in ["a", "b", "b", "sbx-5xx-c"] {
        fcm.to(token).await.unwrap();
    }
    Apns::connect(&it.sandbox).await.to("aa").await.unwrap();
    let summary = get(&it.sandbox, "/ledger/summary").await;
    assert_eq!(
        (&summary["received"], &summary["accepted"]),
        (&json!(5), &json!(4))
    );
    assert_eq!(
        summary["providers"]["fcm"],
        json!({
            "received": 4, "accepted": 3, "statuses": {"200": 3, "503": 1},
            "distinct_tokens": 2, "duplicate_tokens": 1,
        })
    );
    let (_, lines) = control(&it.sandbox, "GET", "/ledger/tokens?provider=fcm", "").await;
    let tokens: BTreeSet<(String, u64)> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| {
            (
                line["token"].as_str().unwrap().to_owned(),
                line["accepted"].as_u64().unwrap(),
            )
        })
        .collect();
    let expected = [("a", 1), ("b", 2), ("sbx-5xx-c", 0)];
    assert_eq!(tokens, expected.map(|(token, n)| (token.to_owned(), n)).into());
    let (status, _) = control(&it.sandbox, "DELETE", "/ledger", "").await;
    assert_eq!(status, 204);
    assert_eq!(get(&it.sandbox, "/ledger/summary").await["received"], 0);
}

#[tokio::test]
async fn waiting_returns_when_the_count_is_reached_or_the_time_is_over() {
    let it = start(|_| ()).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    let begin = Instant::now();
    let (summary, page, ()) = tokio::join!(
        get(&it.sandbox, "/ledger/summary?wait=5s&accepted=3"),
        get(&it.sandbox, "/ledger?wait=5s&count=2&token=t1"),
        async {
            for n in 0..4 {
                tokio::time::sleep(Duration::from_millis(30)).await;
                fcm.to(&format!("t{}", n % 2)).await.unwrap();
            }
        }
    );
    assert!(begin.elapsed() < Duration::from_secs(3));
    assert!(summary["accepted"].as_u64().unwrap() >= 3);
    assert_eq!(page["total"], 2);
    let begin = Instant::now();
    let page = get(&it.sandbox, "/ledger?wait=100ms&token=nobody").await;
    assert!(begin.elapsed() >= Duration::from_millis(100));
    assert_eq!(page["total"], 0);
}

#[tokio::test]
async fn a_tray_shows_the_last_of_each_identity() {
    let it = start(|_| ()).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    for (tag, title) in [("x", "one"), ("y", "two"), ("x", "three")] {
        let body = json!({"message": {"token": "p", "notification": {"title": title, "body": "b"},
            "android": {"notification": {"tag": tag}}}});
        fcm.send(&body).await.unwrap();
    }
    fcm.send(&json!({"message": {"token": "p", "data": {"k": "v"}}}))
        .await
        .unwrap();
    let tray = get(&it.sandbox, "/trays/p").await;
    let titles: Vec<_> = tray["notifications"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| &n["title"])
        .collect();
    assert_eq!(titles, ["two", "three"]);
    assert_eq!(tray["notifications"][1]["replaced"], 1);
    assert_eq!(tray["silent"], 1);

    let apns = Apns::connect(&it.sandbox).await;
    for title in ["one", "two"] {
        let payload = json!({"aps": {"alert": {"title": title}}}).to_string();
        apns.push("aa", &[("apns-collapse-id", "n1")], payload)
            .await
            .unwrap();
    }
    apns.to("5bfacade0410").await.unwrap();
    let tray = get(&it.sandbox, "/trays/aa").await;
    assert_eq!(tray["notifications"].as_array().unwrap().len(), 1);
    assert_eq!(tray["notifications"][0]["title"], "two");
    assert_eq!(
        get(&it.sandbox, "/trays/5bfacade0410").await["notifications"],
        json!([])
    );
}

#[tokio::test]
async fn the_control_api_explains_itself_and_its_errors() {
    let it = start(|_| ()).await;
    let about = get(&it.sandbox, "/").await;
    assert_eq!(about["addresses"]["fcm_base_url"], it.sandbox.fcm_base_url());
    assert!(about["endpoints"].get("GET /ledger").is_some());
    assert_eq!(get(&it.sandbox, "/health").await["status"], "ok");
    assert!(
        get(&it.sandbox, "/magic").await["fcm"]
            .get("sbx-unregistered-")
            .is_some()
    );
    let (_, pem) = control(&it.sandbox, "GET", "/ca.pem", "").await;
    assert_eq!(pem, it.sandbox.ca_pem());
    for (method, path, status, word) in [
        ("GET", "/nowhere", 404, "/nowhere"),
        ("POST", "/ledger", 405, "GET, DELETE"),
        ("GET", "/ledger?limit=x", 400, "limit"),
        ("GET", "/ledger?limmit=1", 400, "limmit"),
        ("GET", "/ledger?provider=wns", 400, "fcm, apns"),
        ("PUT", "/script", 400, "body"),
    ] {
        let (got, body) = control(&it.sandbox, method, path, "").await;
        assert_eq!(got, status, "{method} {path}");
        let body: Value = serde_json::from_str(&body).unwrap();
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains(word), "{message}");
    }
}

#[tokio::test]
async fn a_restart_keeps_the_authority_and_the_keys() {
    let it = start(|_| ()).await;
    let read = |sandbox: &Sandbox| {
        let account = std::fs::read(sandbox.service_account_file()).unwrap();
        let account: Value = serde_json::from_slice(&account).unwrap();
        let key = std::fs::read_to_string(sandbox.apns_key_file()).unwrap();
        (
            sandbox.ca_pem().to_owned(),
            account["private_key"].clone(),
            key,
            sandbox.apns_key_id().to_owned(),
        )
    };
    let first = read(&it.sandbox);
    it.sandbox.shutdown().await;
    let again = Sandbox::start(Settings::ephemeral(it.dir.path())).await.unwrap();
    assert_eq!(read(&again), first);
    assert_eq!(Fcm::connect(&again).await.to("t").await.unwrap().status, 200);
    assert_eq!(Apns::connect(&again).await.to("aa").await.unwrap().status, 200);
    use std::os::unix::fs::PermissionsExt;
    for file in ["service-account.json", "ca-key.pem"] {
        let mode = std::fs::metadata(it.dir.path().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn a_shutdown_answers_what_is_at_work_and_frees_the_ports() {
    let it = start(|settings| {
        settings.latency_ms = 200;
        // An address of its own, so that no other test takes the port afterwards.
        settings.listen = [127, 0, 0, 2].into();
    })
    .await;
    let fcm = Fcm::connect(&it.sandbox).await;
    let url = it.sandbox.fcm_base_url().to_owned();
    let idle = Client::connect(&it.sandbox, it.sandbox.apns_base_url()).await;
    let (answer, ()) = tokio::join!(fcm.to("t"), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        soon(it.sandbox.shutdown()).await;
    });
    assert_eq!(answer.unwrap().status, 200);
    let _ = soon(idle.driver).await.unwrap();
    let address = url.strip_prefix("https://").unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let it = start(|_| ()).await;
    let port = it
        .sandbox
        .apns_base_url()
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        apns_port: port,
        ..Settings::ephemeral(dir.path())
    };
    match Sandbox::start(settings).await.unwrap_err() {
        SandboxError::Listen { address, purpose, .. } => {
            assert_eq!((address.port(), purpose), (port, "APNs"));
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn settings_out_of_range_and_unknown_ones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Settings::ephemeral(dir.path());
    settings.apns.streams_before_auth = 0;
    let error = Sandbox::start(settings).await.unwrap_err();
    assert!(error.to_string().contains("apns.streams_before_auth"));
    assert!(serde_json::from_value::<Settings>(json!({"latency": 1})).is_err());
    let settings: Settings = serde_json::from_value(json!({"apns": {"max_streams": 7}})).unwrap();
    assert_eq!(settings.apns.max_streams, 7);
}

#[tokio::test]
async fn totals_tell_what_people_see_from_what_was_accepted() {
    let it = start(|_| ()).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    let send = async |token: &str, tag: Option<&str>| {
        let mut message = json!({"message": {"token": token, "notification": {"title": "Sale"},
            "data": {"jraze_notification": "n1"}}});
        if let Some(tag) = tag {
            message["message"]["android"] = json!({"notification": {"tag": tag}});
        }
        fcm.send(&message).await.unwrap();
    };
    // Replaced, shown twice, shown once; one refused.
    for (token, tag) in [
        ("a", Some("t")),
        ("a", Some("t")),
        ("b", None),
        ("b", None),
        ("c", Some("t")),
    ] {
        send(token, tag).await;
    }
    send("sbx-5xx-d", None).await;
    let apns = Apns::connect(&it.sandbox).await;
    apns.push("aa", &[("apns-collapse-id", "n1")], ALERT)
        .await
        .unwrap();
    let totals = get(&it.sandbox, "/totals").await;
    assert_eq!(
        totals,
        json!({
            "received": 7, "accepted": 6, "devices": 4, "duplicate_requests": 2, "tray_entries": 5,
            "duplicate_tray_entries": 1, "replacements": 1, "silent": 0,
            "devices_with_duplicate_requests": 2, "devices_with_duplicate_entries": 1, "complete": true,
        })
    );
    assert_eq!(get(&it.sandbox, "/totals?provider=apns").await["devices"], 1);
    let (_, lines) = control(&it.sandbox, "GET", "/trays?duplicates=true", "").await;
    let mut phones: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    phones.sort_by_key(|phone| phone["token"].to_string());
    assert_eq!(phones.len(), 2);
    assert_eq!(
        (&phones[0]["replacements"], &phones[0]["entries"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        (&phones[1]["duplicate_entries"], &phones[1]["entries"]),
        (&json!(1), &json!(2))
    );
    let (_, lines) = control(&it.sandbox, "GET", "/trays", "").await;
    assert_eq!(lines.lines().count(), 4);
}

#[tokio::test]
async fn totals_say_when_the_ledger_was_too_small_for_them() {
    let it = start(|settings| settings.ledger.capacity = 32).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    for _ in 0..3 {
        fcm.to("t").await.unwrap();
    }
    assert_eq!(get(&it.sandbox, "/totals").await["complete"], false);
}
