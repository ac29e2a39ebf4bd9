//! What a credential that its provider refuses costs: time, and nothing else. Over real processes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use jraze_tests::client::Api;
use jraze_tests::eventually::eventually;
use jraze_tests::population::Person;
use jraze_tests::stack::Roles;
use serde_json::{Value, json};

const LAUNCHED: u64 = 1;
const SENT: u64 = 2;
const CANCELED: u64 = 7;

async fn register(api: &Api, devices: &[Value]) -> Result<()> {
    for chunk in devices.chunks(64) {
        try_join_all(chunk.iter().map(|body| api.put("/devices", body))).await?;
    }
    Ok(())
}

async fn launch(api: &Api) -> Result<String> {
    let draft = json!({ "title": "Hello", "body": "World", "all": true });
    let created = api.post("/notifications", &draft).await?;
    let path = format!("/notifications/{}", created["uuid"].as_str().context("a uuid")?);
    api.post_empty(&format!("{path}/:launch")).await?;
    Ok(path)
}

async fn until(api: &Api, path: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually(
        what,
        Duration::from_secs(60),
        async || api.get(path).await.unwrap_or_default(),
        is_so,
    )
    .await
}

/// Requests for each token so far.
async fn requests(stack: &Roles) -> Result<BTreeMap<String, u64>> {
    let ledger = stack.sandbox().ledger("limit=10000").await?;
    let mut requests = BTreeMap::new();
    for entry in ledger["entries"].as_array().context("entries")? {
        let token = entry["token"].as_str().context("a token")?;
        *requests.entry(token.to_owned()).or_default() += 1;
    }
    Ok(requests)
}

#[tokio::test]
async fn a_refused_credential_holds_its_devices_says_so_and_costs_no_attempt() -> Result<()> {
    let stack = Roles::start("credone").await?;
    let api = stack.api("server");
    let people: Vec<Person> = (1..=800).map(Person).collect();
    let bodies: Vec<Value> = people.iter().map(|person| person.registration()).collect();
    register(&api, &bodies).await?;
    let on_apns = people.iter().filter(|person| person.is_ios()).count() as u64;
    let refused = json!({ "rules": [{ "provider": "apns", "answer": { "error": { "code": "InvalidProviderToken" } } }] });
    stack.sandbox().script(&refused).await?;

    let path = launch(&api).await?;
    let waiting = until(&api, &path, "the hold is shown and FCM is done", |seen| {
        seen["holds"].as_array().is_some_and(|holds| !holds.is_empty())
            && seen["counts"]["sent"] == 800 - on_apns
    })
    .await;
    assert_eq!(waiting["status"], LAUNCHED);
    assert_eq!(waiting["counts"]["failed"], 0, "no device paid for it");
    let hold = &waiting["holds"][0];
    assert_eq!(
        (&hold["send_platform"], &hold["device_platform"]),
        (&json!(2), &Value::Null)
    );
    assert_eq!(hold["reason"], "InvalidProviderToken");
    assert!(hold["since"].as_str() < hold["until"].as_str(), "{hold}");
    let in_vain = requests(&stack).await?.values().sum::<u64>() - (800 - on_apns);
    assert!(
        (1..=60).contains(&in_vain),
        "{in_vain} requests with a key that is refused"
    );

    // Somebody repairs the key: the next try finds out, and everybody is reached.
    stack.sandbox().script(&json!({ "rules": [] })).await?;
    let done = until(&api, &path, "the campaign is SENT", |seen| seen["status"] == SENT).await;
    assert_eq!(done["counts"]["sent"], 800);
    assert_eq!(done["holds"], json!([]), "nothing waits any more");
    stack.stop().await
}

#[tokio::test]
async fn a_key_that_is_refused_for_one_device_platform_holds_that_one_only() -> Result<()> {
    let stack = Roles::start("credplat").await?;
    let api = stack.api("server");
    let device = |n: u64, platform: u64| {
        let kind = ["", "android", "iphone"][platform as usize];
        json!({
            "external_id": format!("{kind}-{n}"), "push_token": format!("{kind}-{n}:{:0100x}", n),
            "send_platform": 1, "device_platform": platform,
        })
    };
    let all: Vec<Value> = (1..=600).map(|n| device(n, 1 + n % 2)).collect();
    register(&api, &all).await?;
    let refused = json!({ "rules": [{
        "token_prefix": "iphone-", "answer": { "error": { "code": "THIRD_PARTY_AUTH_ERROR" } },
    }] });
    stack.sandbox().script(&refused).await?;

    let path = launch(&api).await?;
    let waiting = until(&api, &path, "the hold is shown and Android is done", |seen| {
        seen["holds"].as_array().is_some_and(|holds| !holds.is_empty()) && seen["counts"]["sent"] == 300
    })
    .await;
    assert_eq!(waiting["status"], LAUNCHED);
    let hold = &waiting["holds"][0];
    assert_eq!(
        (&hold["send_platform"], &hold["device_platform"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(hold["reason"], "THIRD_PARTY_AUTH_ERROR");

    // Nobody repairs it, and the campaign is canceled: who waited comes out as canceled, and was never sent to
    // again.
    let in_vain = requests(&stack).await?.values().sum::<u64>() - 300;
    api.put(&format!("{path}/status"), &json!({ "status": CANCELED }))
        .await?;
    let over = until(&api, &path, "everybody has come out", |seen| {
        seen["counts"]["targeted"] == 600
    })
    .await;
    assert_eq!(
        (&over["counts"]["sent"], &over["counts"]["canceled"]),
        (&json!(300), &json!(300))
    );
    assert_eq!(requests(&stack).await?.values().sum::<u64>() - 300, in_vain);
    stack.stop().await
}
