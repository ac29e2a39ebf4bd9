//! Requests that are sent again because no answer was heard: done once, answered twice.

use std::time::Duration;

use jraze_domain::{
    campaign::{Audience, Draft},
    ids::{AppId, NotificationUuid},
    message::Content,
};
use jraze_runtime::clock::{Clock as _, SystemClock};
use jraze_storage::{
    idempotency::{Claim, Held, Idempotency, RequestName},
    notifications::Notifications,
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::Server;

const DRAFT: &str = r#"{"title": "Weekend ride", "body": "At nine.", "all": true}"#;

fn create(server: &Server, key: &str, body: &str) -> RequestBuilder {
    server
        .request(Method::POST, "/notifications")
        .header("X-Api-Key", &server.server)
        .header("Content-Type", "application/json")
        .header("Idempotency-Key", key)
        .body(body.to_owned())
}

fn launch(server: &Server, uuid: &Value, key: Option<&str>, body: Option<Value>) -> RequestBuilder {
    let path = format!("/notifications/{}/:launch", uuid.as_str().unwrap());
    let mut request = server
        .request(Method::POST, &path)
        .header("X-Api-Key", &server.server);
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    match body {
        Some(body) => request.json(&body),
        None => request,
    }
}

/// The answer's body and whether it says that it is a replay.
async fn answered(request: RequestBuilder, status: u16) -> (Value, bool) {
    let response = request.send().await.unwrap();
    let replayed = response
        .headers()
        .get("idempotent-replayed")
        .is_some_and(|value| value == "true");
    let found = response.status();
    let body: Value = response.json().await.unwrap();
    assert_eq!(found, status, "{body}");
    (body, replayed)
}

async fn total(server: &Server) -> Value {
    server.get("/notifications").await.body["page"]["total"].clone()
}

/// What a server leaves behind that dies after it took a request.
async fn died(
    server: &Server,
    operation: &str,
    key: &str,
    target: &str,
    body: &str,
    lease: Duration,
) -> Held {
    let name = RequestName {
        app: AppId(1),
        operation,
        key,
    };
    let hash = Sha256::new()
        .chain_update(target)
        .chain_update([0])
        .chain_update(body);
    let fresh = uuid::Uuid::new_v4();
    let claim = Idempotency::new(&server.database)
        .claim(name, Some(hash.finalize().into()), fresh, lease)
        .await;
    match claim.unwrap() {
        Claim::Granted(held) => held,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn fifty_equal_creates_at_once_make_one_notification() {
    let server = std::sync::Arc::new(Server::start().await);
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let server = std::sync::Arc::clone(&server);
            tokio::spawn(async move {
                let response = create(&server, "monday", DRAFT).send().await.unwrap();
                let status = response.status().as_u16();
                let retry_after = response.headers().get("retry-after").cloned();
                let body: Value = response.json().await.unwrap();
                (status, retry_after, body)
            })
        })
        .collect();
    let mut uuids = std::collections::BTreeSet::new();
    for task in tasks {
        let (status, retry_after, body) = task.await.unwrap();
        match status {
            200 => {
                uuids.insert(body["result"]["uuid"].as_str().unwrap().to_owned());
            }
            409 => {
                assert_eq!(body["error"]["code"], "idempotency_key_in_use");
                assert!(retry_after.is_some());
            }
            other => panic!("{other}: {body}"),
        }
    }
    assert_eq!(uuids.len(), 1);
    assert_eq!(total(&server).await, 1);
}

#[tokio::test]
async fn an_answer_is_given_again_word_for_word_and_a_refusal_too() {
    let server = Server::start().await;
    let (first, replayed) = answered(create(&server, "k", DRAFT), 200).await;
    assert!(!replayed);
    let path = format!("/notifications/{}", first["result"]["uuid"].as_str().unwrap());
    let edit = json!({"title": "Edited since", "body": "b"});
    server.put(&path, edit).await.ok();
    assert_eq!(
        answered(create(&server, "k", DRAFT), 200).await,
        (first, true),
        "the answer of then, not the state of now"
    );
    let (refusal, replayed) = answered(create(&server, "bad", r#"{"title": "", "body": ""}"#), 400).await;
    assert!(!replayed);
    let again = answered(create(&server, "bad", r#"{"title": "", "body": ""}"#), 400).await;
    assert_eq!(again, (refusal, true));
    assert_eq!(total(&server).await, 1);
    server.stop().await;
}

#[tokio::test]
async fn a_key_belongs_to_one_body_one_path_and_one_operation() {
    let server = Server::start().await;
    let (made, _) = answered(create(&server, "k", DRAFT), 200).await;
    let other = create(&server, "k", r#"{"title": "b", "body": "c"}"#);
    assert_eq!(server.send(other).await.refused(422), "idempotency_key_reused");
    // The same key names another request of another operation.
    let uuid = &made["result"]["uuid"];
    let launched = server.send(launch(&server, uuid, Some("k"), None)).await.ok();
    assert_eq!(launched["status"], 5);
    let (second, _) = answered(create(&server, "k2", DRAFT), 200).await;
    let elsewhere = launch(&server, &second["result"]["uuid"], Some("k"), None);
    assert_eq!(
        server.send(elsewhere).await.refused(422),
        "idempotency_key_reused"
    );
    assert_eq!(total(&server).await, 2);
    server.stop().await;
}

#[tokio::test]
async fn a_key_that_cannot_be_kept_is_refused_and_not_taken_for_none() {
    let server = Server::start().await;
    let longest = "k".repeat(255);
    answered(create(&server, &longest, DRAFT), 200).await;
    for bad in [b"".as_slice(), b"\xFF", b"two words", b"tab\there", &[b'x'; 256]] {
        let (client, request) = create(&server, "unused", DRAFT).build_split();
        let mut request = request.unwrap();
        let value = reqwest::header::HeaderValue::from_bytes(bad).unwrap();
        request.headers_mut().insert("idempotency-key", value);
        let response = client.execute(request).await.unwrap();
        assert_eq!(response.status(), 400, "{bad:?}");
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["error"]["fields"][0]["pointer"], "/Idempotency-Key");
    }
    let twice = create(&server, "one", DRAFT).header("Idempotency-Key", "two");
    assert_eq!(server.send(twice).await.refused(400), "invalid_parameter");
    assert_eq!(total(&server).await, 1);
    server.stop().await;
}

#[tokio::test]
async fn a_create_that_died_between_insert_and_answer_is_finished_and_not_repeated() {
    let server = Server::start().await;
    let lease = Duration::from_millis(700);
    let held = died(
        &server,
        "create_notification",
        "k",
        "/notifications",
        DRAFT,
        lease,
    )
    .await;
    let draft = Draft {
        content: Content {
            title: "Weekend ride".to_owned(),
            body: "At nine.".to_owned(),
            ..Content::default()
        },
        audience: Audience::All,
        scheduled_at: None,
        expires_at: None,
        on_ambiguous: Default::default(),
    };
    let inserted = Notifications::new(&server.database)
        .add(
            AppId(1),
            NotificationUuid(held.identity),
            &draft,
            SystemClock.now(),
        )
        .await
        .unwrap();

    let early = server.send(create(&server, "k", DRAFT)).await;
    assert_eq!(early.refused(409), "idempotency_key_in_use");
    tokio::time::sleep(lease * 2).await;
    let (found, replayed) = answered(create(&server, "k", DRAFT), 200).await;
    assert!(replayed, "it says that it was done before");
    assert_eq!(found["result"]["uuid"], inserted.uuid.to_string());
    assert_eq!(total(&server).await, 1);
    server.stop().await;
}

#[tokio::test]
async fn a_create_that_died_before_its_insert_is_carried_out() {
    let server = Server::start().await;
    let lease = Duration::from_millis(10);
    let held = died(
        &server,
        "create_notification",
        "k",
        "/notifications",
        DRAFT,
        lease,
    )
    .await;
    tokio::time::sleep(lease * 5).await;
    let (made, replayed) = answered(create(&server, "k", DRAFT), 200).await;
    assert!(!replayed);
    assert_eq!(made["result"]["uuid"], held.identity.to_string());
    server.stop().await;
}

#[tokio::test]
async fn a_launch_that_died_before_its_answer_is_answered_as_done() {
    let server = Server::start().await;
    let made = server
        .post("/notifications", json!({"title": "a", "body": "b"}))
        .await
        .ok();
    let uuid = &made["uuid"];
    let target = format!("/notifications/{}/%3Alaunch", uuid.as_str().unwrap());
    let lease = Duration::from_millis(10);
    let held = died(&server, "launch_notification", "k", &target, "", lease).await;
    let which = jraze_storage::notifications::NotificationRef::parse(uuid.as_str().unwrap()).unwrap();
    Notifications::new(&server.database)
        .launch(AppId(1), which, Some(held.identity), None, SystemClock.now())
        .await
        .unwrap();
    tokio::time::sleep(lease * 5).await;
    let (launched, replayed) = answered(launch(&server, uuid, Some("k"), None), 200).await;
    assert!(replayed);
    assert_ne!(launched["result"]["status"], 0);
    let another = server.send(launch(&server, uuid, Some("another"), None)).await;
    assert_eq!(another.refused(409), "wrong_state");
    server.stop().await;
}

#[tokio::test]
async fn an_import_is_answered_again_once_the_whole_body_is_the_same() {
    let server = Server::start().await;
    let lines = |last: &str| format!("{{\"external_id\": \"a\"}}\n{{\"external_id\": \"{last}\"}}\n");
    let import = |body: String| {
        server
            .request(Method::POST, "/devices/-/:import")
            .header("X-Api-Key", &server.server)
            .header("Content-Type", "application/x-ndjson")
            .header("Idempotency-Key", "k")
            .body(body)
    };
    let (first, replayed) = answered(import(lines("b")), 200).await;
    assert_eq!((&first["result"]["created"], replayed), (&json!(2), false));
    assert_eq!(answered(import(lines("b")), 200).await, (first, true));
    let other = server.send(import(lines("c"))).await;
    assert_eq!(other.refused(422), "idempotency_key_reused");
    assert_eq!(server.get("/devices/c").await.refused(404), "unknown_device");
    server.stop().await;
}

#[tokio::test]
async fn an_import_that_broke_off_leaves_its_key_free() {
    let server = Server::start().await;
    let import = |body: reqwest::Body| {
        server
            .request(Method::POST, "/devices/-/:import")
            .header("X-Api-Key", &server.server)
            .header("Content-Type", "application/x-ndjson")
            .header("Idempotency-Key", "k")
            .body(body)
    };
    let pieces = [
        Ok("{\"external_id\": \"a\"}\n"),
        Err(std::io::Error::other("the phone went into a tunnel")),
    ];
    let broken = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    import(broken).send().await.ok();
    for _ in 0..50 {
        let answer = server.send(import("{\"external_id\": \"a\"}\n".into())).await;
        if answer.status == 200 {
            assert_eq!(answer.ok()["received"], 1);
            server.stop().await;
            return;
        }
        assert_eq!(answer.refused(409), "idempotency_key_in_use");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the key stays in use");
}

#[tokio::test]
async fn a_launch_is_held_to_the_reach_it_expects() {
    let server = Server::start().await;
    // Eight that can be sent to and match, and four that a campaign leaves out.
    for index in 0..12 {
        let device = json!({
            "external_id": format!("d{index}"), "send_platform": 1,
            "push_token": if index < 10 { json!(format!("t{index}")) } else { Value::Null },
        });
        server.put("/devices", device).await.ok();
        let age = if index < 8 {
            30
        } else if index < 10 {
            20
        } else {
            30
        };
        let properties = json!({"properties": [{"key": "age", "value": age}]});
        server
            .post(&format!("/devices/d{index}/properties/:add"), properties)
            .await
            .ok();
    }
    let tree = json!({"key": "age", "operator": "int_gte", "value": 30});
    let draft = json!({"title": "a", "body": "b", "conditions": tree});
    let made = server.post("/notifications", draft).await.ok();
    let uuid = &made["uuid"];
    let ask = |body: Value| server.send(launch(&server, uuid, None, Some(body)));

    for (body, pointer) in [
        (json!({"tolerance": 5}), "/tolerance"),
        (json!({"expected_reach": 8, "tolerance": 101}), "/tolerance"),
        (json!({"expected_reach": -1}), "/expected_reach"),
        (json!({"expected": 8}), "/expected"),
    ] {
        let refused = ask(body.clone()).await;
        assert_eq!(
            (refused.refused(400), refused.pointer()),
            ("invalid_body", pointer),
            "{body}"
        );
    }
    for body in [
        json!({"expected_reach": 12}),
        json!({"expected_reach": 10, "tolerance": 19.9}),
        json!({"expected_reach": 0, "tolerance": 100}),
    ] {
        let refused = ask(body.clone()).await;
        assert_eq!(refused.refused(409), "audience_moved", "{body}");
        let reason = refused.body["reason"].as_str().unwrap();
        assert!(reason.contains(&body["expected_reach"].to_string()), "{reason}");
        assert!(reason.contains('8'), "{reason}");
        assert_eq!(refused.pointer(), "/expected_reach");
    }
    assert_eq!(
        server
            .get(&format!("/notifications/{}", uuid.as_str().unwrap()))
            .await
            .ok()["status"],
        0
    );
    let launched = ask(json!({"expected_reach": 10, "tolerance": 20})).await.ok();
    assert_eq!(launched["status"], 5);
    server.stop().await;
}
