//! Notifications: written, edited, launched, planned.

use std::time::Duration;

use chrono::TimeDelta;
use jraze_apiserver::Settings;
use jraze_domain::campaign::Plan;
use jraze_domain::dispatch::BucketRange;
use jraze_runtime::clock::{Clock as _, SystemClock};
use jraze_runtime::config::HumanDuration;
use jraze_storage::dispatch::Units;
use jraze_storage::notifications::Notifications;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Server};

fn draft() -> Value {
    json!({
        "title": "Weekend ride", "body": "At nine.", "deep_link": "myapp://rides/1",
        "image_url": "https://images.example.com/a.jpg", "icon_url": null,
        "conditions": {"conditions": [{"key": "age", "operator": "int_gte", "value": "30"}], "join_type": "AND"},
        "scheduled_at": null
    })
}

async fn until(server: &Server, uuid: &str, status: i64) -> Value {
    for _ in 0..100 {
        let found = server.get(&format!("/notifications/{uuid}")).await.ok();
        if found["status"] == status {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{uuid} never became {status}");
}

#[tokio::test]
async fn a_draft_is_written_read_by_both_names_edited_and_withdrawn() {
    let server = Server::start().await;
    let made = server.post("/notifications", draft()).await.ok();
    let (uuid, id) = (made["uuid"].as_str().unwrap(), made["id"].as_i64().unwrap());
    for field in [
        "title",
        "body",
        "deep_link",
        "image_url",
        "icon_url",
        "conditions",
        "scheduled_at",
    ] {
        assert_eq!(made[field], draft()[field], "{field}");
    }
    assert_eq!(made["status"], 0);
    assert_eq!(made["sent"], json!({"android": 0, "ios": 0, "web": 0}));
    assert!(made["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(server.get(&format!("/notifications/{id}")).await.ok(), made);
    assert_eq!(server.get(&format!("/notifications/{uuid}")).await.ok(), made);

    let path = format!("/notifications/{uuid}");
    let edited = server
        .put(&path, json!({"title": "New", "body": "", "all": true}))
        .await
        .ok();
    assert_eq!(
        (&edited["title"], &edited["all"], &edited["conditions"]),
        (&json!("New"), &json!(true), &Value::Null)
    );
    let gone = server.call(Method::DELETE, &path, None).await.ok();
    assert_eq!(gone["status"], 4);
    assert_eq!(server.put(&path, draft()).await.refused(409), "wrong_state");
    let again = server.call(Method::DELETE, &path, None).await;
    assert_eq!(again.refused(409), "wrong_state");
    server.stop().await;
}

#[tokio::test]
async fn withdrawing_a_campaign_lets_go_of_partitions_that_a_planner_wrote_before_it_died() {
    // Only this test plans what becomes due.
    let rarely = |settings: &mut Settings| settings.planner_interval = HumanDuration::from_secs(3_600);
    let server = Server::start_with(rarely).await;
    let soon = SystemClock.now() + TimeDelta::seconds(2);
    let scheduled = json!({"title": "a", "body": "b", "all": true, "scheduled_at": soon});
    let made = server.post("/notifications", scheduled).await.ok();
    let path = format!("/notifications/{}", made["uuid"].as_str().unwrap());
    let launched = server.put(&format!("{path}/status"), json!({"status": 5})).await;
    assert_eq!(launched.ok()["status"], 5);
    let notifications = Notifications::new(&server.database);
    let claimed = loop {
        if let Some(claimed) = notifications.claim_due(Duration::from_secs(60)).await.unwrap() {
            break claimed;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let plan = Plan {
        audience_upper_id: 9,
        evaluated_at: soon,
        partitions: 1,
    };
    assert!(notifications.freeze(&claimed, plan).await.unwrap());
    let (units, campaign) = (Units::new(&server.database), &claimed.notification);
    let written = units.plan(campaign.app, campaign.id, &[BucketRange::ALL]).await;
    written.unwrap();

    let gone = server.call(Method::DELETE, &path, None).await.ok();
    assert_eq!(gone["status"], 4);
    let units = server.database.documents("dispatch_units").await;
    let [unit] = units.as_slice() else {
        panic!("{units:?}")
    };
    assert_eq!(unit["notification_id"], campaign.id.0);
    assert!(unit.get("expire_at").is_some(), "{unit}");
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_draft_is_pointed_at() {
    let server = Server::start().await;
    let tree = |node: Value| json!({"title": "a", "body": "b", "conditions": node});
    let deep = (0..70).fold(
        json!({"key": "a", "operator": "exists"}),
        |node, _| json!({"join_type": "AND", "conditions": [node]}),
    );
    for (body, code, pointer) in [
        (json!({"title": "", "body": ""}), "invalid_notification", "/title"),
        (json!({"title": "a"}), "invalid_body", ""),
        (
            json!({"title": "a", "body": "b", "image_url": "http://x/y"}),
            "invalid_notification",
            "/image_url",
        ),
        (
            json!({"title": "a", "body": "b", "scheduled_at": "tomorrow"}),
            "invalid_body",
            "/scheduled_at",
        ),
        (
            json!({"title": "a", "body": "b", "schedule_at": null}),
            "invalid_body",
            "/schedule_at",
        ),
        (
            tree(json!({"key": "$where", "operator": "int_eq", "value": 1})),
            "invalid_condition",
            "/conditions/key",
        ),
        (
            tree(json!({"key": "a.b", "operator": "int_eq", "value": 1})),
            "invalid_condition",
            "/conditions/key",
        ),
        (
            tree(json!({"key": "a", "operator": "regex", "value": 1})),
            "invalid_condition",
            "/conditions/operator",
        ),
        (
            tree(json!({"key": "a", "operator": "int_eq", "value": {"$gt": 1}})),
            "invalid_condition",
            "/conditions/value",
        ),
        (
            tree(json!({"join_type": "AND", "conditions": []})),
            "invalid_condition",
            "/conditions/conditions",
        ),
    ] {
        let refused = server.post("/notifications", body.clone()).await;
        assert_eq!(
            (refused.refused(400), refused.pointer()),
            (code, pointer),
            "{body}"
        );
    }
    assert_eq!(
        server.post("/notifications", tree(deep)).await.status.as_u16(),
        400
    );
    assert_eq!(server.get("/notifications").await.body["page"]["total"], 0);
    server.stop().await;
}

#[tokio::test]
async fn a_launched_notification_is_planned_within_moments() {
    let server = Server::start().await;
    let device = json!({"external_id": "a", "push_token": "t", "send_platform": 1, "device_platform": 1});
    server.put("/devices", device).await.ok();
    let made = server.post("/notifications", draft()).await.ok();
    let uuid = made["uuid"].as_str().unwrap();
    let launch = format!("/notifications/{uuid}/:launch");
    // Empty body, as the contract has it.
    let launched = server.call(Method::POST, &launch, None).await.ok();
    assert_eq!(launched["status"], 5);
    let running = until(&server, uuid, 1).await;
    assert!(running["progress"]["partitions_total"].as_u64().unwrap() >= 1);
    assert_eq!(running["progress"]["partitions_done"], 0);

    let again = server.call(Method::POST, &launch, None).await;
    assert_eq!(again.refused(409), "wrong_state");
    assert!(
        again.body["reason"].as_str().unwrap().contains("LAUNCHED"),
        "{}",
        again.body
    );
    server.stop().await;
}

#[tokio::test]
async fn a_schedule_is_kept_to_the_second() {
    let server = Server::start().await;
    let at = SystemClock.now() + chrono::TimeDelta::milliseconds(1500);
    let mut later = draft();
    later["scheduled_at"] = json!(at.to_rfc3339());
    let made = server.post("/notifications", later).await.ok();
    let uuid = made["uuid"].as_str().unwrap();
    server
        .call(Method::POST, &format!("/notifications/{uuid}/:launch"), None)
        .await
        .ok();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(
        server.get(&format!("/notifications/{uuid}")).await.ok()["status"],
        5
    );
    let running = until(&server, uuid, 1).await;
    let started: chrono::DateTime<chrono::Utc> = running["modified_at"].as_str().unwrap().parse().unwrap();
    let late = started - at;
    assert!((0..1000).contains(&late.num_milliseconds()), "{late}");
    server.stop().await;
}

#[tokio::test]
async fn a_person_moves_it_only_along_the_state_machine() {
    let server = Server::start().await;
    let made = server.post("/notifications", draft()).await.ok();
    let uuid = made["uuid"].as_str().unwrap().to_owned();
    let path = format!("/notifications/{uuid}/status");
    let set = async |status: i64| -> Answer { server.put(&path, json!({"status": status})).await };
    for refused in [0, 1, 2, 3, 6, 7] {
        let answer = set(refused).await;
        assert_eq!(answer.refused(409), "wrong_state", "{refused}");
        assert!(
            answer.body["reason"].as_str().unwrap().contains("DRAFT"),
            "{}",
            answer.body
        );
    }
    assert_eq!(set(9).await.refused(400), "invalid_body");
    assert_eq!(set(5).await.ok()["status"], 5);
    until(&server, &uuid, 1).await;
    assert_eq!(set(2).await.refused(409), "wrong_state");
    assert_eq!(set(6).await.ok()["status"], 6);
    assert_eq!(set(1).await.ok()["status"], 1);
    assert_eq!(set(7).await.ok()["status"], 7);
    assert_eq!(set(1).await.refused(409), "wrong_state");
    server.stop().await;
}

#[tokio::test]
async fn a_list_is_ordered_filtered_and_paged() {
    let server = Server::start().await;
    for title in ["a", "b", "c"] {
        server
            .post("/notifications", json!({"title": title, "body": "x"}))
            .await
            .ok();
    }
    let titles = async |query: &str| -> Vec<String> {
        let found = server.get(&format!("/notifications{query}")).await.ok();
        found
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["title"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(titles("").await, ["c", "b", "a"]);
    assert_eq!(titles("?order_bys=created_at,id").await, ["a", "b", "c"]);
    assert_eq!(titles("/?order_bys=-id&size=1&start=1").await, ["b"]);
    assert_eq!(titles("?status=5").await, Vec::<String>::new());
    let page = server.get("/notifications?size=2").await.body["page"].clone();
    assert_eq!(page, json!({"total": 3, "start": 0, "size": 2, "next": 2}));
    assert_eq!(
        server.get("/notifications?order_bys=secret").await.pointer(),
        "/order_bys"
    );
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_404() {
    let server = Server::start().await;
    for name in [
        "0b0f0c7e-5a2e-4c8e-9d3c-2f6c1a3b7d10",
        "17",
        "-1",
        "nonsense",
        "99999999999999999999",
    ] {
        assert_eq!(
            server.get(&format!("/notifications/{name}")).await.refused(404),
            "unknown_notification",
            "{name}"
        );
        let launch = format!("/notifications/{name}/:launch");
        assert_eq!(
            server.call(Method::POST, &launch, None).await.refused(404),
            "unknown_notification"
        );
    }
    server.stop().await;
}
