//! What a credential that its provider refuses costs: time, and nothing else. Over real processes.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use jraze_tests::campaign::{CANCELED, LAUNCHED, SENT, launch, register_devices, until, until_so};
use jraze_tests::population::Person;
use jraze_tests::stack::Roles;
use serde_json::{Value, json};

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
    register_devices(&api, &bodies).await?;
    let on_apns = people.iter().filter(|person| person.is_ios()).count() as u64;
    let refused = json!({ "rules": [{ "provider": "apns", "answer": { "error": { "code": "InvalidProviderToken" } } }] });
    stack.sandbox().script(&refused).await?;

    let path = launch(&api, json!({})).await?;
    let waiting = until_so(&api, &path, "the hold is shown and FCM is done", 60, |seen| {
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
    let done = until(&api, &path, SENT, 60).await;
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
    register_devices(&api, &all).await?;
    let refused = json!({ "rules": [{
        "token_prefix": "iphone-", "answer": { "error": { "code": "THIRD_PARTY_AUTH_ERROR" } },
    }] });
    stack.sandbox().script(&refused).await?;

    let path = launch(&api, json!({})).await?;
    let waiting = until_so(&api, &path, "the hold is shown and Android is done", 60, |seen| {
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
    let over = until_so(&api, &path, "everybody has come out", 60, |seen| {
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

#[tokio::test]
async fn a_credential_that_the_worker_lacks_is_shown_as_held() -> Result<()> {
    let mut stack = Roles::start("credmissing").await?;
    let settings = stack.folder.path().join("jraze.toml");
    let complete = std::fs::read_to_string(&settings)?;
    let apns = "[[credentials]]\napp = 1\nprovider = \"apns\"";
    let (without, _) = complete.split_once(apns).context("APNs comes last")?;
    std::fs::write(&settings, without)?;
    let lacking = stack.another_worker()?;
    std::mem::replace(&mut stack.worker, lacking).interrupt().await?;
    let api = stack.api("server");
    let people: Vec<Person> = (1..=400).map(Person).collect();
    let bodies: Vec<Value> = people.iter().map(|person| person.registration()).collect();
    register_devices(&api, &bodies).await?;
    let on_apns = people.iter().filter(|person| person.is_ios()).count() as u64;

    let path = launch(&api, json!({})).await?;
    let waiting = until_so(&api, &path, "the hold is shown and FCM is done", 60, |seen| {
        seen["holds"].as_array().is_some_and(|holds| !holds.is_empty())
            && seen["counts"]["sent"] == 400 - on_apns
    })
    .await;
    assert_eq!(waiting["status"], LAUNCHED);
    let hold = &waiting["holds"][0];
    assert_eq!(
        (&hold["send_platform"], &hold["reason"]),
        (&json!(2), &json!("jraze:no_credential"))
    );
    stack.stop().await
}
