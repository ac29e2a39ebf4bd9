//! What the workers report, and what a device's history then shows.

use serde_json::{Value, json};

use crate::support::Server;

async fn campaign(server: &Server) -> Value {
    server
        .post("/notifications", json!({"title": "a", "body": "b"}))
        .await
        .ok()
}

fn increase(campaign: &Value) -> String {
    format!(
        "/internal/notifications/{}/sent:increase",
        campaign["uuid"].as_str().unwrap()
    )
}

#[tokio::test]
async fn increases_without_a_batch_id_each_count() {
    let server = Server::start().await;
    let campaign = campaign(&server).await;
    let once = server
        .report(&increase(&campaign), json!({"ios": 2, "android": 3}))
        .await
        .ok();
    assert_eq!(once, json!({"ios": 2, "android": 3, "web": 0}));
    let twice = server
        .report(&increase(&campaign), json!({"ios": 2, "android": 3}))
        .await
        .ok();
    assert_eq!(twice, json!({"ios": 4, "android": 6, "web": 0}));
    server.stop().await;
}

#[tokio::test]
async fn a_replayed_batch_changes_nothing_alone_or_in_company() {
    let server = Server::start().await;
    let campaign = campaign(&server).await;
    let one = json!({"ios": 2, "android": 3, "web": 1, "batch_id": "w1"});
    for _ in 0..3 {
        let totals = server.report(&increase(&campaign), one.clone()).await.ok();
        assert_eq!(totals, json!({"ios": 2, "android": 3, "web": 1}));
    }
    let many = json!({"batches": [
        {"batch_id": "w1", "ios": 2, "android": 3, "web": 1},
        {"batch_id": "w2", "android": 10, "outcomes": {"failed": 1, "unregistered": 2, "unknown": 3,
            "skipped": 4, "expired": 5, "canceled": 6}},
    ]});
    for _ in 0..2 {
        let totals = server.report(&increase(&campaign), many.clone()).await.ok();
        assert_eq!(totals, json!({"ios": 2, "android": 13, "web": 1}));
    }
    let shown = server
        .get(&format!("/notifications/{}", campaign["id"]))
        .await
        .ok();
    assert_eq!(shown["sent"], json!({"ios": 2, "android": 13, "web": 1}));
    assert_eq!(
        shown["counts"],
        json!({"targeted": 37, "sent": 16, "failed": 1, "unregistered": 2,
        "unknown": 3, "skipped": 4, "expired": 5, "canceled": 6})
    );
    server.stop().await;
}

#[tokio::test]
async fn the_reasons_of_failures_are_summed_for_the_one_that_is_read() {
    let server = Server::start().await;
    let campaign = campaign(&server).await;
    assert_eq!(campaign["failures"], json!([]));
    let batch = |id: &str, reasons: Value| json!({"batch_id": id, "android": 1, "outcomes": {"failed": 7, "reasons": reasons}});
    let first = batch(
        "w1",
        json!([{"reason": "SENDER_ID_MISMATCH", "count": 5}, {"reason": "$inc", "count": 2}]),
    );
    let second = batch("w2", json!([{"reason": "$inc", "count": 7}]));
    for batches in [json!([first]), json!([first, second])] {
        let body = json!({"batches": batches});
        server.report(&increase(&campaign), body).await.ok();
    }
    let shown = server
        .get(&format!("/notifications/{}", campaign["id"]))
        .await
        .ok();
    let failures = json!([{"reason": "$inc", "count": 9}, {"reason": "SENDER_ID_MISMATCH", "count": 5}]);
    assert_eq!(shown["failures"], failures, "the replayed batch counts once");
    let listed = server.get("/notifications").await.ok();
    assert_eq!(listed[0].get("failures"), None, "a list does not ask for each");
    server.stop().await;
}

#[tokio::test]
async fn concurrent_reports_of_one_batch_count_once() {
    let server = Server::start().await;
    let campaign = campaign(&server).await;
    let path = increase(&campaign);
    let reports = (0..20).map(|n| {
        let body = json!({"batches": [{"batch_id": format!("w{}", n % 5), "ios": 1}]});
        server.report(&path, body)
    });
    for answer in futures_util::future::join_all(reports).await {
        answer.ok();
    }
    let totals = server.report(&path, json!({})).await.ok();
    assert_eq!(totals["ios"], 5);
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_report_is_refused_and_changes_nothing() {
    let server = Server::start().await;
    let campaign = campaign(&server).await;
    for (body, pointer) in [
        (json!({"ios": -1}), "/ios"),
        (json!({"ios": 1.5}), "/ios"),
        (
            json!({"batches": [{"batch_id": "", "ios": 1}]}),
            "/batches/0/batch_id",
        ),
        (
            json!({"batches": [{"batch_id": "x", "outcomes": {"failed": -1}}]}),
            "/batches/0/outcomes/failed",
        ),
        (
            json!({"batches": [{"batch_id": "x", "outcomes": {"reasons": [{"reason": "", "count": 1}]}}]}),
            "/batches/0/outcomes/reasons/0/reason",
        ),
    ] {
        let refused = server.report(&increase(&campaign), body.clone()).await;
        assert_eq!(
            (refused.refused(400), refused.pointer()),
            ("invalid_body", pointer),
            "{body}"
        );
    }
    let unknown = "/internal/notifications/0b0f0c7e-5a2e-4c8e-9d3c-2f6c1a3b7d10/sent:increase";
    assert_eq!(
        server.report(unknown, json!({"ios": 1})).await.refused(404),
        "unknown_notification"
    );
    let log = "/internal/devices/logs/notification:add";
    let nobody = json!({"device_ids": [1], "notification_id": 4711});
    assert_eq!(
        server.report(log, nobody).await.refused(404),
        "unknown_notification"
    );
    assert_eq!(
        server.report(&increase(&campaign), json!({})).await.ok()["ios"],
        0
    );
    server.stop().await;
}

#[tokio::test]
async fn a_logged_send_shows_in_the_history_once_however_often_it_is_reported() {
    let server = Server::start().await;
    let device = server.put("/devices", json!({"external_id": "a"})).await.ok();
    let other = server.put("/devices", json!({"external_id": "b"})).await.ok();
    let campaigns = [
        campaign(&server).await,
        campaign(&server).await,
        campaign(&server).await,
    ];
    let log = "/internal/devices/logs/notification:add";
    for (index, campaign) in campaigns.iter().enumerate() {
        let event = if index == 1 { "failed" } else { "sent" };
        let body = json!({"device_ids": [device["id"], other["id"]], "notification_id": campaign["id"],
            "batch_id": "w", "event": event});
        for _ in 0..2 {
            assert_eq!(server.report(log, body.clone()).await.ok(), 2);
        }
    }
    let history = async |query: &str| server.get(&format!("/devices/a/notifications{query}")).await.ok();
    let all = history("").await;
    assert_eq!(all["total"], 3);
    let seen: Vec<_> = all["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (event["notification"]["id"].clone(), event["event"].clone()))
        .collect();
    let expected: Vec<_> = [2, 1, 0]
        .map(|index| {
            (
                campaigns[index]["id"].clone(),
                json!(if index == 1 { "failed" } else { "sent" }),
            )
        })
        .into_iter()
        .collect();
    assert_eq!(seen, expected, "newest first");
    assert_eq!(all["events"][0]["notification"]["title"], "a");

    assert_eq!(history("?events=failed").await["total"], 1);
    assert_eq!(
        history("?events=sent,failed&order_bys=created_at,id&size=1").await["events"][0]["notification"]["id"],
        campaigns[0]["id"]
    );
    let second = history("?start=1&size=1").await;
    assert_eq!(
        (&second["total"], &second["events"][0]["notification"]["id"]),
        (&json!(3), &campaigns[1]["id"])
    );
    assert_eq!(
        server
            .get("/devices/a/notifications?events=opened")
            .await
            .pointer(),
        "/events"
    );
    assert_eq!(
        server.get("/devices/x/notifications").await.refused(404),
        "unknown_device"
    );
    let bad = json!({"device_ids": [1], "notification_id": campaigns[0]["id"], "event": "opened"});
    assert_eq!(server.report(log, bad).await.pointer(), "/event");
    server.stop().await;
}
