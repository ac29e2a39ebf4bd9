//! What can happen to a campaign besides going well, over real processes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jraze_tests::campaign::{CANCELED, LAUNCHED, PAUSED, SENT, launch, register, until};
use jraze_tests::client::Api;
use jraze_tests::eventually::eventually;
use jraze_tests::population::Person;
use jraze_tests::stack::Roles;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// A campaign to so many people that is LAUNCHED, every send of which takes a while.
async fn under_way(stack: &Roles, people: u64, latency_ms: u64) -> Result<(Api, String)> {
    let api = stack.api("server");
    register(&api, (1..=people).map(Person)).await?;
    stack
        .sandbox()
        .script(&json!({ "rules": [{ "latency_ms": latency_ms }] }))
        .await?;
    let path = launch(&api, json!({})).await?;
    until(&api, &path, LAUNCHED, 5).await;
    Ok((api, path))
}

/// Devices that the API counts as sent to.
fn sent(notification: &Value) -> u64 {
    let sent = &notification["sent"];
    ["android", "ios", "web"]
        .iter()
        .filter_map(|platform| sent[platform].as_u64())
        .sum()
}

#[tokio::test]
async fn a_scheduled_campaign_goes_out_at_its_second_and_not_before() -> Result<()> {
    let stack = Roles::start("schedule").await?;
    let api = stack.api("server");
    register(&api, (1..=20).map(Person)).await?;
    let when = chrono::DateTime::from_timestamp_millis(
        i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_millis())? + 3_000,
    )
    .context("a time")?;
    let path = launch(&api, json!({ "scheduled_at": when.to_rfc3339() })).await?;
    tokio::time::sleep(Duration::from_millis(2_300)).await;
    assert!(
        stack.sandbox().accepted_tokens().await?.is_empty(),
        "nothing leaves early"
    );
    assert_eq!(api.get(&path).await?["status"], 5);
    until(&api, &path, SENT, 4).await;
    let ledger = stack.sandbox().ledger("limit=100").await?;
    for entry in ledger["entries"].as_array().context("entries")? {
        let at: chrono::DateTime<chrono::Utc> = entry["received_at"].as_str().context("a time")?.parse()?;
        assert!(at >= when, "{at} is before {when}");
        assert!(
            at < when + chrono::TimeDelta::seconds(2),
            "{at} is late for {when}"
        );
    }
    stack.stop().await
}

#[tokio::test]
async fn cancelling_stops_what_has_not_gone_and_counts_what_has() -> Result<()> {
    let stack = Roles::start("cancel").await?;
    let (api, path) = under_way(&stack, 6_000, 400).await?;
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let canceled = api
        .put(&format!("{path}/status"), &json!({ "status": CANCELED }))
        .await?;
    assert_eq!(canceled["status"], CANCELED);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after_two_seconds = stack.sandbox().accepted_tokens().await?.len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let later = stack.sandbox().accepted_tokens().await?.len();
    assert_eq!(
        after_two_seconds, later,
        "nothing leaves two seconds after the cancel"
    );
    assert!(later > 0 && later < 6_000, "{later} had gone");
    eventually(
        "the counts are the ledger's",
        Duration::from_secs(5),
        async || api.get(&path).await.unwrap_or_default(),
        |seen| sent(seen) == later as u64,
    )
    .await;
    assert_eq!(api.get(&path).await?["status"], CANCELED, "it stays canceled");
    stack.stop().await
}

#[tokio::test]
async fn a_paused_campaign_rests_and_goes_on_where_it_was() -> Result<()> {
    let stack = Roles::start("pause").await?;
    let (api, path) = under_way(&stack, 4_000, 300).await?;
    tokio::time::sleep(Duration::from_millis(700)).await;
    api.put(&format!("{path}/status"), &json!({ "status": PAUSED }))
        .await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let resting = stack.sandbox().accepted_tokens().await?.len();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        stack.sandbox().accepted_tokens().await?.len(),
        resting,
        "a paused campaign sends nothing"
    );
    assert!(resting < 4_000);
    api.put(&format!("{path}/status"), &json!({ "status": LAUNCHED }))
        .await?;
    let done = until(&api, &path, SENT, 30).await;
    let accepted = stack.sandbox().accepted_tokens().await?;
    assert_eq!(accepted.len(), 4_000);
    assert!(
        accepted.values().all(|times| *times == 1),
        "a pause doubles nothing"
    );
    assert_eq!(done["counts"]["failed"], 0);
    stack.stop().await
}

#[tokio::test]
async fn passing_failures_are_retried_and_dead_tokens_leave_the_audience() -> Result<()> {
    let stack = Roles::start("failures").await?;
    let api = stack.api("server");
    register(&api, (1..=200).map(Person)).await?;
    for (id, token) in [("dead", "sbx-unregistered-1"), ("wrong", "sbx-bad-1")] {
        let body = json!({
            "external_id": id, "push_token": token, "send_platform": 1, "device_platform": 1,
        });
        api.put("/devices", &body).await?;
    }
    // Every FCM device is refused once in passing, with a wait that the provider names.
    let refuse_once = json!({ "rules": [{
        "provider": "fcm", "token_prefix": "fcm-", "times_per_token": 1,
        "answer": { "error": { "code": "UNAVAILABLE", "retry_after": "2" } },
    }]});
    stack.sandbox().script(&refuse_once).await?;
    let started = Instant::now();
    let path = launch(&api, json!({})).await?;
    let done = until(&api, &path, SENT, 60).await;
    assert!(
        started.elapsed() >= Duration::from_secs(2),
        "Retry-After is honoured"
    );
    let accepted = stack.sandbox().accepted_tokens().await?;
    assert_eq!(
        accepted.values().filter(|times| **times == 1).count(),
        200,
        "each got it once"
    );
    assert_eq!(
        done["counts"]["sent"]
            .as_u64()
            .or(done["counts"]["accepted"].as_u64()),
        Some(200),
        "{done}"
    );
    assert_eq!(done["counts"]["unregistered"], 1, "{}", done["counts"]);
    assert_eq!(done["counts"]["failed"], 1, "{}", done["counts"]);

    // The dead token is not sent to again; the one that may be our own mistake is.
    stack.sandbox().script(&json!({ "rules": [] })).await?;
    let again = launch(&api, json!({})).await?;
    let done = until(&api, &again, SENT, 30).await;
    assert_eq!(done["counts"]["unregistered"], 0, "{}", done["counts"]);
    assert_eq!(done["counts"]["failed"], 1, "{}", done["counts"]);
    // Until its app registers again.
    let body = json!({
        "external_id": "dead", "push_token": "sbx-ok-1", "send_platform": 1, "device_platform": 1,
    });
    api.put("/devices", &body).await?;
    let third = launch(&api, json!({})).await?;
    let done = until(&api, &third, SENT, 30).await;
    assert_eq!(sent(&done), 201);
    stack.stop().await
}

#[tokio::test]
async fn a_worker_killed_in_the_middle_loses_nothing_and_the_totals_are_exact() -> Result<()> {
    let mut stack = Roles::start_with("kill", "lease = \"10s\"\n").await?;
    let (api, path) = under_way(&stack, 6_000, 200).await?;
    tokio::time::sleep(Duration::from_millis(900)).await;
    let heir = stack.another_worker()?;
    std::mem::replace(&mut stack.worker, heir).kill().await?;
    let done = until(&api, &path, SENT, 60).await;

    let accepted = stack.sandbox().accepted_tokens().await?;
    assert_eq!(accepted.len(), 6_000, "nobody is left out");
    let doubled = accepted.values().filter(|times| **times > 1).count();
    // Windows of 500, two in flight for each of four units.
    assert!(
        doubled <= 4 * 2 * 500,
        "{doubled} doubled: only what was in flight may be"
    );
    assert_eq!(
        sent(&done),
        6_000,
        "a device counts once however often it was asked for"
    );
    stack.stop().await
}

#[tokio::test]
async fn only_a_draft_can_be_launched_and_nobody_is_not_everybody() -> Result<()> {
    let stack = Roles::start("launch").await?;
    let api = stack.api("server");
    register(&api, (1..=10).map(Person)).await?;
    for conditions in [
        json!({}),
        json!({ "conditions": null }),
        json!({ "conditions": {} }),
    ] {
        let mut more = json!({ "all": false });
        more.as_object_mut()
            .context("an object")?
            .extend(conditions.as_object().cloned().unwrap_or_default());
        let path = launch(&api, more).await?;
        let again = api.call(Method::POST, &format!("{path}/:launch"), None).await?;
        assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.body);
        until(&api, &path, SENT, 10).await;
    }
    assert!(
        stack.sandbox().accepted_tokens().await?.is_empty(),
        "absent conditions select nobody"
    );
    stack.stop().await
}

#[tokio::test]
async fn what_a_dead_worker_had_sent_is_counted_or_unknown_even_when_the_campaign_is_cancelled() -> Result<()>
{
    let mut stack = Roles::start_with("killcancel", "lease = \"10s\"\n").await?;
    let (api, path) = under_way(&stack, 3_000, 200).await?;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let heir = stack.another_worker()?;
    std::mem::replace(&mut stack.worker, heir).kill().await?;
    api.put(&format!("{path}/status"), &json!({ "status": CANCELED }))
        .await?;
    let accepted = stack.sandbox().accepted_tokens().await?;
    assert!(!accepted.is_empty());
    let went = accepted.len() as u64;
    let count = |seen: &Value, name: &str| seen["counts"][name].as_u64().unwrap_or(0);
    eventually(
        "everything that went is counted as sent or as unknown",
        Duration::from_secs(30),
        async || api.get(&path).await.unwrap_or_default(),
        |seen| sent(seen) + count(seen, "unknown") >= went && count(seen, "unknown") > 0,
    )
    .await;
    let again = stack.sandbox().accepted_tokens().await?;
    assert!(
        again.values().all(|times| *times == 1),
        "nothing of a cancelled campaign is sent again"
    );
    stack.stop().await
}

#[tokio::test]
async fn a_device_that_no_provider_reaches_ends_as_failed_and_says_why() -> Result<()> {
    let stack = Roles::start("webpush").await?;
    let api = stack.api("server");
    register(&api, (1..=3).map(Person)).await?;
    let browser = json!({
        "external_id": "browser", "push_token": "https://push.example.com/1", "send_platform": 3,
        "device_platform": 3,
    });
    api.put("/devices", &browser).await?;
    let path = launch(&api, json!({})).await?;
    let done = until(&api, &path, SENT, 20).await;
    assert_eq!(done["counts"]["failed"], 1, "{}", done["counts"]);
    stack.stop().await
}

#[tokio::test]
async fn sends_are_logged_and_counted_once_the_api_server_is_back() -> Result<()> {
    let mut stack = Roles::start("apiaway").await?;
    let (api, path) = under_way(&stack, 1_500, 300).await?;
    stack.restart_apiserver(Duration::from_secs(3)).await?;
    let done = until(&api, &path, SENT, 40).await;
    assert_eq!(sent(&done), 1_500);
    let accepted = stack.sandbox().accepted_tokens().await?;
    assert!(accepted.len() == 1_500 && accepted.values().all(|times| *times == 1));
    stack.stop().await
}
