//! When jraze stops a campaign by itself, and what it does when nobody can know, over real processes.

use std::time::Duration;

use anyhow::{Context as _, Result};
use jraze_tests::campaign::{self, ERROR, LAUNCHED, PAUSED, SENT, launch, until};
use jraze_tests::client::Api;
use jraze_tests::population::Person;
use jraze_tests::stack::Roles;
use serde_json::{Value, json};

/// How many devices, unless somebody asks for another number.
fn devices(usual: u64) -> Result<u64> {
    match std::env::var("JRAZE_TEST_DEVICES") {
        Ok(number) => Ok(number.parse()?),
        Err(_) => Ok(usual),
    }
}

/// Registers so many phones of one kind.
async fn register(api: &Api, ios: bool, count: usize) -> Result<Vec<Person>> {
    let people: Vec<Person> = (1..)
        .map(Person)
        .filter(|person| person.is_ios() == ios)
        .take(count)
        .collect();
    campaign::register(api, people.iter().copied()).await?;
    Ok(people)
}

/// Requests that reached a provider so far.
async fn requests(stack: &Roles) -> Result<u64> {
    let ledger = stack.sandbox().ledger("limit=10000").await?;
    Ok(ledger["entries"].as_array().context("entries")?.len() as u64)
}

async fn answer_with(stack: &Roles, rule: Value) -> Result<()> {
    stack.sandbox().script(&json!({ "rules": [rule] })).await
}

/// Whom a campaign to everybody reaches when every phone works: the devices that are still alive.
async fn alive(stack: &Roles, api: &Api) -> Result<u64> {
    stack.sandbox().script(&json!({ "rules": [] })).await?;
    let path = launch(api, json!({ "title": "Still there?" })).await?;
    let done = until(api, &path, SENT, 60).await;
    done["counts"]["sent"].as_u64().context("a count")
}

#[tokio::test]
async fn tokens_that_may_be_of_another_environment_hold_a_campaign_and_cost_no_device() -> Result<()> {
    let stack = Roles::start("brakeenv").await?;
    let api = stack.api("server");
    let devices = devices(2_000)?;
    register(&api, true, devices as usize).await?;
    answer_with(
        &stack,
        json!({ "answer": { "error": { "code": "BadDeviceToken" } } }),
    )
    .await?;
    let path = launch(&api, json!({})).await?;
    let held = until(&api, &path, PAUSED, 20).await;
    assert_eq!(held["hold"]["code"], "environment_mismatch", "{held}");
    let message = held["hold"]["message"].as_str().context("a message")?;
    assert!(
        message.contains("APNS") && message.contains("BadDeviceToken"),
        "{message}"
    );
    assert!(held["hold"]["since"].is_string());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let asked = requests(&stack).await?;
    assert!((41..=500).contains(&asked), "{asked} requests");

    // A person puts the credential right and lets it go on: the rest of the audience gets it.
    stack.sandbox().script(&json!({ "rules": [] })).await?;
    api.put(&format!("{path}/status"), &json!({ "status": LAUNCHED }))
        .await?;
    let done = until(&api, &path, SENT, 60).await;
    let refused = done["counts"]["failed"].as_u64().context("a count")?;
    assert_eq!(done["counts"]["sent"], devices - refused, "{}", done["counts"]);
    assert_eq!(done["hold"], Value::Null);
    assert_eq!(alive(&stack, &api).await?, devices, "no device was touched");
    stack.stop().await
}

#[tokio::test]
async fn a_provider_that_calls_everybody_dead_is_not_believed_without_a_person() -> Result<()> {
    let stack = Roles::start("brakemass").await?;
    let api = stack.api("server");
    register(&api, true, 2_500).await?;
    let gone = json!({ "answer": { "error": { "code": "Unregistered" } }, "latency_ms": 50 });
    answer_with(&stack, gone.clone()).await?;
    let path = launch(&api, json!({})).await?;
    let held = until(&api, &path, PAUSED, 30).await;
    assert_eq!(held["hold"]["code"], "mass_invalidation", "{held}");

    // Canceled: nobody confirmed it, so no device was lost.
    api.put(&format!("{path}/status"), &json!({ "status": 7 }))
        .await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(alive(&stack, &api).await?, 2_500, "no device was touched");

    // The same once more, and this time a person says that it is right.
    answer_with(&stack, gone).await?;
    let path = launch(&api, json!({})).await?;
    until(&api, &path, PAUSED, 30).await;
    api.put(&format!("{path}/status"), &json!({ "status": LAUNCHED }))
        .await?;
    let done = until(&api, &path, SENT, 60).await;
    assert_eq!(done["counts"]["unregistered"], 2_500, "{}", done["counts"]);
    assert_eq!(alive(&stack, &api).await?, 0, "they are out of audiences now");
    stack.stop().await
}

#[tokio::test]
async fn a_message_that_nobody_takes_ends_in_error_after_few_requests() -> Result<()> {
    let stack = Roles::start("brakepayload").await?;
    let api = stack.api("server");
    register(&api, false, 2_000).await?;
    let refused = json!({ "error": {
        "code": 400, "message": "Invalid value at 'message.data'", "status": "INVALID_ARGUMENT",
        "details": [{
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{ "field": "message.data[0].value", "description": "Invalid value" }],
        }],
    }});
    answer_with(
        &stack,
        json!({ "provider": "fcm", "answer": { "http": { "status": 400, "body": refused } } }),
    )
    .await?;
    let path = launch(&api, json!({})).await?;
    let ended = until(&api, &path, ERROR, 20).await;
    let error = ended["error"].as_str().context("a reason")?;
    assert!(
        error.starts_with("payload_refused: FCM") && error.contains("INVALID_ARGUMENT"),
        "{error}"
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    let asked = requests(&stack).await?;
    assert!((20..=200).contains(&asked), "{asked} requests");
    assert_eq!(alive(&stack, &api).await?, 2_000, "no device was touched");
    stack.stop().await
}

#[tokio::test]
async fn some_dead_tokens_leave_the_audience_when_their_campaign_is_over() -> Result<()> {
    let stack = Roles::start("brakenone").await?;
    let api = stack.api("server");
    let people = register(&api, true, 300).await?;
    let dead = json!({ "token": people[7].token(), "answer": { "error": { "code": "Unregistered" } } });
    answer_with(&stack, dead).await?;
    let path = launch(&api, json!({})).await?;
    let done = until(&api, &path, SENT, 30).await;
    assert_eq!(done["counts"]["unregistered"], 1);
    let why = [json!({ "reason": "Unregistered", "count": 1 })];
    assert_eq!(done["failures"], json!(why), "{done}");
    assert_eq!(alive(&stack, &api).await?, 299);
    stack.stop().await
}

#[tokio::test]
async fn who_wants_nobody_to_get_it_twice_gets_unknown_and_who_wants_nobody_left_out_a_repeat() -> Result<()>
{
    let stack = Roles::start("ambiguous").await?;
    let api = stack.api("server");
    let people = register(&api, true, 60).await?;
    let victim = people[30].token();
    // Received, and its connection is cut without an answer: once, and then answered as usual.
    let cut =
        json!({ "token": victim, "times_per_token": 1, "answer": { "reset": { "code": "INTERNAL_ERROR" } } });

    answer_with(&stack, cut.clone()).await?;
    let path = launch(&api, json!({ "on_ambiguous": "skip" })).await?;
    let done = until(&api, &path, SENT, 40).await;
    assert_eq!(done["on_ambiguous"], "skip");
    assert_eq!(done["counts"]["unknown"], 1, "{}", done["counts"]);
    assert_eq!(done["counts"]["sent"], 59);
    let asked = requests(&stack).await?;
    assert_eq!(asked, 60, "nobody is asked for twice");

    answer_with(&stack, cut).await?;
    let path = launch(&api, json!({})).await?;
    let done = until(&api, &path, SENT, 60).await;
    assert_eq!(done["on_ambiguous"], "resend", "the default");
    assert_eq!(done["counts"]["unknown"], 0, "{}", done["counts"]);
    assert_eq!(done["counts"]["sent"], 60);
    assert_eq!(requests(&stack).await?, asked + 61);
    stack.stop().await
}

#[tokio::test]
async fn what_a_dead_worker_had_in_flight_is_unknown_when_nobody_shall_get_it_twice() -> Result<()> {
    let mut stack = Roles::start_with("skipkill", "lease = \"10s\"\n").await?;
    let api = stack.api("server");
    register(&api, true, 1_200).await?;
    answer_with(&stack, json!({ "latency_ms": 300 })).await?;
    let path = launch(&api, json!({ "on_ambiguous": "skip" })).await?;
    until(&api, &path, LAUNCHED, 10).await;
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let heir = stack.another_worker()?;
    std::mem::replace(&mut stack.worker, heir).kill().await?;
    let done = until(&api, &path, SENT, 60).await;
    let accepted = stack.sandbox().accepted_tokens().await?;
    assert!(
        accepted.values().all(|times| *times == 1),
        "nobody is asked for twice"
    );
    let count = |name: &str| done["counts"][name].as_u64().unwrap_or_default();
    assert!(count("unknown") > 0, "{}", done["counts"]);
    assert_eq!(
        count("sent") + count("unknown"),
        1_200,
        "and nobody is guessed at"
    );
    stack.stop().await
}
