//! Import and export.

use std::time::Duration;

use futures_util::stream;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::Server;

fn line(index: usize) -> String {
    let properties =
        json!({"age": index % 100, "plan": if index.is_multiple_of(2) { "gold" } else { "free" }});
    json!({"external_id": format!("d{index}"), "push_token": format!("t{index}"), "send_platform": 1,
        "device_platform": 1, "locale": "de-CH", "properties": properties})
    .to_string()
}

async fn export(server: &Server) -> Vec<Value> {
    let request = server
        .request(Method::GET, "/devices/-/:export")
        .header("X-Api-Key", &server.server);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let text = response.text().await.unwrap();
    let mut lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    lines.sort_by_key(|line| line["external_id"].as_str().unwrap().to_owned());
    lines
}

#[tokio::test]
async fn wrong_lines_are_reported_by_number_and_do_not_stop_the_rest() {
    let server = Server::start().await;
    let long = format!("{{\"external_id\": \"{}\"}}", "x".repeat(70_000));
    let lines = [
        line(1).as_str(),
        "not json",
        "",
        r#"{"external_id": ""}"#,
        r#"{"external_id": "p", "properties": {"$where": 1}}"#,
        &long,
        r#"{"external_id": "q", "send_platform": 8}"#,
        r#"{"external_id": "r", "send_platform": 2, "push_token": "not hexadecimal"}"#,
        r#"{"external_id": "r", "time_zone": "Mars/Olympus"}"#,
        r#"{"external_id": "r", "app_version": "latest"}"#,
        r#"{"external_id": "r", "locale": "de_CH"}"#,
        line(2).as_str(),
    ]
    .join("\n");
    let report = server.import(lines).await.ok();
    assert_eq!(
        (&report["received"], &report["created"], &report["failed"]),
        (&json!(11), &json!(2), &json!(9))
    );
    let errors: Vec<_> = report["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| {
            (
                error["line"].as_u64().unwrap(),
                error["code"].as_str().unwrap(),
                error["pointer"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        errors,
        [
            (2, "malformed_json", None),
            (4, "invalid_device", Some("/external_id")),
            (5, "invalid_property", Some("/properties/$where")),
            (6, "line_too_long", None),
            (7, "invalid_body", Some("/send_platform")),
            (8, "invalid_device", Some("/push_token")),
            (9, "invalid_device", Some("/time_zone")),
            (10, "invalid_device", Some("/app_version")),
            (11, "invalid_device", Some("/locale")),
        ]
    );
    server.stop().await;
}

#[tokio::test]
async fn many_batches_arrive_whole_and_the_later_line_of_a_device_wins() {
    let server = Server::start().await;
    let mut lines: Vec<String> = (0..5_200).map(line).collect();
    lines.push(json!({"external_id": "d7", "properties": {"plan": "late", "age": null}}).to_string());
    let report = server.import(lines.join("\n")).await.ok();
    assert_eq!(
        report,
        json!({"received": 5201, "created": 5200, "updated": 1, "failed": 0, "errors": []})
    );
    let seven = server.get("/devices/d7").await.ok();
    assert_eq!(seven["device_properties"], json!([{"plan": "late"}]));
    assert_eq!(
        seven["push_token"], "t7",
        "what the later line does not name stays"
    );
    let again = server.import(lines.join("\n")).await.ok();
    assert_eq!((&again["created"], &again["updated"]), (&json!(0), &json!(5201)));
    server.stop().await;
}

#[tokio::test]
async fn what_was_exported_can_be_imported() {
    let server = Server::start().await;
    let lines: Vec<String> = (0..2_500).map(line).collect();
    server.import(lines.join("\n")).await.ok();
    let exported = export(&server).await;
    assert_eq!(exported.len(), 2_500);
    let one = exported.iter().find(|line| line["external_id"] == "d42").unwrap();
    assert_eq!(
        one.to_string(),
        serde_json::from_str::<Value>(&line(42)).unwrap().to_string()
    );

    let other = Server::start().await;
    let text: Vec<String> = exported.iter().map(Value::to_string).collect();
    assert_eq!(other.import(text.join("\n")).await.ok()["created"], 2_500);
    assert_eq!(export(&other).await, exported);
    other.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_pauses_too_long_is_408_and_what_came_before_stays() {
    let server = Server::start_with(|settings| {
        settings.body_timeout = jraze_runtime::config::HumanDuration::from_millis(300);
    })
    .await;
    let first: String = (0..1_000).map(|index| line(index) + "\n").collect();
    let pieces = stream::unfold(Some(first), |first| async move {
        match first {
            Some(text) => Some((Ok::<_, std::io::Error>(text), None)),
            None => std::future::pending().await,
        }
    });
    let request = server
        .request(Method::POST, "/devices/-/:import")
        .header("X-Api-Key", &server.server)
        .header("Content-Type", "application/x-ndjson")
        .body(reqwest::Body::wrap_stream(pieces));
    assert_eq!(server.send(request).await.refused(408), "request_timeout");
    let found = server
        .post("/devices/-/:search", json!({"external_ids": ["d999"]}))
        .await;
    for _ in 0..50 {
        if found.body["page"]["total"] == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.get("/devices/d999").await.ok()["external_id"], "d999");
    server.stop().await;
}
