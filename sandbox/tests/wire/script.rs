//! Scripted answers and faults, over the wire.

use std::time::{Duration, Instant};

use crate::support::{Apns, Fcm, control, get, script, soon, start};
use h2::Reason;
use serde_json::json;

#[tokio::test]
async fn a_scripted_answer_is_sent_verbatim() {
    let it = start(|_| ()).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    script(&it.sandbox, &json!({"rules": [
        {"token": "json", "answer": {"http": {"status": 503, "headers": {"Retry-After": "abc", "x-y": "z"}, "body": {"a": 1}}}},
        {"token": "text", "answer": {"http": {"status": 520, "headers": {"content-type": "text/html"}, "body": "<h1>edge</h1>"}}},
        {"token": "none", "answer": {"http": {"status": 500}}},
    ]})).await;
    let answer = fcm.to("json").await.unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (503, "abc"));
    assert_eq!(answer.header("x-y"), "z");
    assert_eq!(&answer.body[..], br#"{"a":1}"#);
    let answer = fcm.to("text").await.unwrap();
    assert_eq!((answer.status, answer.header("content-type")), (520, "text/html"));
    assert_eq!(&answer.body[..], b"<h1>edge</h1>");
    let answer = fcm.to("none").await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (500, 0));
    assert_eq!(fcm.to("other").await.unwrap().status, 200);
}

#[tokio::test]
async fn an_error_by_name_has_the_documented_answer() {
    let it = start(|_| ()).await;
    script(&it.sandbox, &json!({"rules": [
        {"token_prefix": "q", "answer": {"error": {"code": "QUOTA_EXCEEDED", "retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"}}},
        {"token": "aa", "answer": {"error": {"code": "Unregistered", "timestamp_ms": 1234567890123_i64}}},
    ]})).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    let answer = fcm.to("q1").await.unwrap();
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("retry-after"), "Wed, 21 Oct 2026 07:28:00 GMT");
    let apns = Apns::connect(&it.sandbox).await;
    let answer = apns.to("aa").await.unwrap();
    assert_eq!(
        answer.json(),
        json!({"reason": "Unregistered", "timestamp": 1234567890123_i64})
    );
}

#[tokio::test]
async fn a_rule_is_spent_after_its_times_and_reports_them() {
    let it = start(|_| ()).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    script(
        &it.sandbox,
        &json!({"rules": [{"name": "twice", "times": 2, "answer": {"error": {"code": "UNAVAILABLE"}}}]}),
    )
    .await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(fcm.to("t").await.unwrap().status);
    }
    assert_eq!(statuses, [503, 503, 200]);
    let report = get(&it.sandbox, "/script").await;
    assert_eq!(report["rules"][0]["taken"], 2);
    assert_eq!(report["rules"][0]["rule"]["name"], "twice");
    let (status, _) = control(&it.sandbox, "DELETE", "/script", "").await;
    assert_eq!(status, 204);
    assert_eq!(get(&it.sandbox, "/script").await["rules"], json!([]));
}

#[tokio::test]
async fn latency_delays_answers_but_not_each_other() {
    let it = start(|settings| settings.latency_ms = 50).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    script(
        &it.sandbox,
        &json!({"rules": [{"token": "slow", "latency_ms": 100}]}),
    )
    .await;
    let begin = Instant::now();
    let timed = async |token: &str| {
        let answer = fcm.to(token).await.unwrap();
        (answer.status, begin.elapsed())
    };
    let (slow, fast) = tokio::join!(timed("slow"), timed("fast"));
    assert_eq!((slow.0, fast.0), (200, 200));
    assert!(slow.1 >= Duration::from_millis(150));
    assert!(fast.1 >= Duration::from_millis(50));
    assert!(fast.1 < slow.1, "the slow one was sent first");
}

#[tokio::test]
async fn a_script_that_makes_no_sense_is_refused_and_the_old_one_stays() {
    let it = start(|_| ()).await;
    script(
        &it.sandbox,
        &json!({"rules": [{"token": "t", "answer": "stall"}]}),
    )
    .await;
    for bad in [
        json!({"rules": [{"tokn": "t"}]}),
        json!({"rules": [{"answer": {"error": {"code": "NOPE"}}}]}),
        json!({"rules": [{"answer": "explode"}]}),
    ] {
        let (status, body) = control(&it.sandbox, "PUT", "/script", &bad.to_string()).await;
        assert_eq!(status, 400);
        assert!(body.contains("BAD_REQUEST"), "{body}");
    }
    assert_eq!(
        get(&it.sandbox, "/script").await["rules"][0]["rule"]["token"],
        "t"
    );
}

#[tokio::test]
async fn a_script_can_come_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("script.json");
    std::fs::write(
        &path,
        r#"{"rules":[{"token":"t","answer":{"error":{"code":"INTERNAL"}}}]}"#,
    )
    .unwrap();
    let it = start(|settings| settings.script_file = Some(path)).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    assert_eq!(fcm.to("t").await.unwrap().status, 500);
}

#[tokio::test]
async fn a_script_can_come_from_a_toml_file_with_faults_of_the_token_endpoint() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("faults.toml");
    std::fs::write(
        &path,
        "[[rules]]\noauth = true\ntimes = 1\nanswer = { error = { code = \"temporarily_unavailable\" } }\n\
         [[rules]]\ntoken_prefix = \"d\"\nlatency_jitter_ms = 5\n\
         answer = { drip = { bytes = 3, status = 503, every_ms = 1 } }\n",
    )
    .unwrap();
    let it = start(|settings| settings.script_file = Some(path)).await;
    let client = crate::support::Client::connect(&it.sandbox, it.sandbox.fcm_base_url()).await;
    let refused = client.request("POST", "/token", &[], "").await.unwrap();
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json()["error"], "temporarily_unavailable");
    let fcm = Fcm::connect(&it.sandbox).await;
    let slow = fcm.to("d1").await.unwrap();
    assert_eq!((slow.status, &slow.body[..]), (503, &b"xxx"[..]));
    assert_eq!(fcm.to("e1").await.unwrap().status, 200);
    assert_eq!(
        get(&it.sandbox, "/access-tokens").await,
        json!({"issued": 1, "requests": 2})
    );
}

#[tokio::test]
async fn checks_come_before_the_script() {
    let it = start(|_| ()).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    script(
        &it.sandbox,
        &json!({"rules": [{"answer": {"error": {"code": "UNAVAILABLE"}}}]}),
    )
    .await;
    let answer = fcm
        .send(&json!({"message": {"token": "t", "bad": 1}}))
        .await
        .unwrap();
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn a_reset_has_its_code_and_leaves_the_connection_alone() {
    let it = start(|_| ()).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    script(
        &it.sandbox,
        &json!({"rules": [{"token": "t", "times": 1, "answer": {"reset": {"code": "REFUSED_STREAM"}}}]}),
    )
    .await;
    let error = fcm.to("t").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::REFUSED_STREAM));
    assert_eq!(fcm.to("t").await.unwrap().status, 200);
    let ledger = get(&it.sandbox, "/ledger").await;
    assert_eq!(ledger["entries"][0]["status"], json!(null));
    assert_eq!(ledger["entries"][0]["outcome"], "reset REFUSED_STREAM");
}

#[tokio::test]
async fn half_a_body_comes_with_status_and_then_a_reset() {
    let it = start(|_| ()).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    script(
        &it.sandbox,
        &json!({"rules": [{"token": "t", "answer": "half_body"}]}),
    )
    .await;
    let error = fcm.to("t").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    assert_eq!(get(&it.sandbox, "/ledger?status=200").await["total"], 1);
}

#[tokio::test]
async fn a_stalled_stream_never_answers_and_others_go_on() {
    let it = start(|_| ()).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    script(
        &it.sandbox,
        &json!({"rules": [{"token": "t", "answer": "stall"}]}),
    )
    .await;
    let stalled = tokio::time::timeout(Duration::from_millis(100), fcm.to("t")).await;
    assert!(stalled.is_err());
    assert_eq!(fcm.to("u").await.unwrap().status, 200);
}

#[tokio::test]
async fn close_cuts_the_connection_after_the_request() {
    let it = start(|_| ()).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    script(
        &it.sandbox,
        &json!({"rules": [{"token": "t", "answer": "close"}]}),
    )
    .await;
    assert!(soon(fcm.to("t")).await.is_err());
    assert_eq!(get(&it.sandbox, "/ledger?token=t").await["total"], 1);
}

#[tokio::test]
async fn a_goaway_excludes_its_request_carries_its_reason_and_answers_what_came_before() {
    let it = start(|_| ()).await;
    let apns = Apns::connect(&it.sandbox).await;
    assert_eq!(apns.to("aa").await.unwrap().status, 200);
    script(
        &it.sandbox,
        &json!({"rules": [
            {"token": "bb", "latency_ms": 100},
            {"token": "cc", "answer": {"goaway": {"code": "NO_ERROR", "debug": "{\"reason\":\"Shutdown\"}"}}},
        ]}),
    )
    .await;
    let (before, cut) = tokio::join!(apns.to("bb"), async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        apns.to("cc").await
    });
    assert_eq!(before.unwrap().status, 200);
    let error = cut.unwrap_err();
    assert!(error.is_go_away() && error.is_remote(), "{error:?}");
    assert_eq!(error.reason(), Some(Reason::NO_ERROR));
    // The connection ends by itself soon after.
    let _ = soon(apns.client.driver).await.unwrap();
}

#[tokio::test]
async fn a_goaway_may_count_its_request_as_processed() {
    let it = start(|_| ()).await;
    let fcm = Fcm::connect(&it.sandbox).await;
    script(
        &it.sandbox,
        &json!({"rules": [{"token": "t", "answer": {"goaway": {"processed": true}}}]}),
    )
    .await;
    assert_eq!(fcm.to("t").await.unwrap().status, 200);
    assert!(soon(fcm.to("u")).await.is_err());
    assert_eq!(get(&it.sandbox, "/ledger").await["total"], 1);
}
