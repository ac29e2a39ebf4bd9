//! The main job: devices in, a campaign out over real HTTP/2, exact counts back.

use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jraze_tests::client::segment;
use jraze_tests::eventually::eventually;
use jraze_tests::population::{Person, audience};
use jraze_tests::stack::{Roles, run};
use serde_json::{Value, json};

/// DRAFT, LAUNCHED, SENT of the contract.
const SENT: u64 = 2;

#[tokio::test]
async fn each_selected_device_is_sent_to_exactly_once_and_nobody_else() -> Result<()> {
    let devices: u64 = std::env::var("JRAZE_TEST_DEVICES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(100_000);
    let stack = Roles::start("e2e").await?;
    let api = stack.api("server");

    // Import through the API, with the progress that the command line shows.
    let file = stack.folder.path().join("devices.ndjson");
    let mut lines = std::io::BufWriter::new(std::fs::File::create(&file)?);
    for person in (1..=devices).map(Person) {
        writeln!(lines, "{}", person.import_line())?;
    }
    lines.flush()?;
    drop(lines);
    let importing = Instant::now();
    let server_key = stack.keys["server"].as_str().context("a server key")?;
    let environment = [("JRAZE_API", stack.api_url.as_str()), ("JRAZE_KEY", server_key)];
    let imported = run(
        &["--json", "import", &file.to_string_lossy()],
        stack.folder.path(),
        &environment,
    )
    .await?
    .success()?;
    let import_time = importing.elapsed();
    let events: Vec<Value> = imported
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let summary = events.last().context("the import prints a summary")?;
    assert_eq!(summary["created"], devices, "{summary}");
    assert_eq!(summary["rejected"], 0, "{summary}");
    assert!(
        events.len() > 1,
        "progress is shown while it runs: {}",
        imported.stdout
    );

    // Who should get it, worked out apart from jraze.
    let expected: BTreeMap<String, Person> = (1..=devices)
        .map(Person)
        .filter(|person| person.is_in_audience())
        .map(|person| (person.token(), person))
        .collect();
    let ios = expected.values().filter(|person| person.is_ios()).count() as u64;
    let android = expected.len() as u64 - ios;

    let search = json!({ "conditions": audience(), "start": 0, "size": 1 });
    let found = api
        .call(reqwest::Method::POST, "/devices/-/:search", Some(&search))
        .await?;
    assert_eq!(
        found.body["page"]["total"],
        expected.len(),
        "the search counts the audience"
    );

    let draft = json!({
        "title": "Spring sale",
        "body": "Everything must go",
        "deep_link": "myapp://sale",
        "conditions": audience(),
    });
    let created = api.post("/notifications", &draft).await?;
    let uuid = created["uuid"].as_str().context("a uuid")?.to_owned();
    assert_eq!(created["status"], 0);
    let launching = Instant::now();
    api.post_empty(&format!("/notifications/{uuid}/:launch")).await?;
    let path = format!("/notifications/{uuid}");
    let done = eventually(
        "the campaign is SENT",
        Duration::from_secs(180),
        async || api.get(&path).await.unwrap_or_default(),
        |notification| notification["status"] == SENT,
    )
    .await;
    let dispatch_time = launching.elapsed();

    // The ledger holds each selected device exactly once, and nobody else.
    let accepted = stack.sandbox().accepted_tokens().await?;
    let strangers: Vec<_> = accepted
        .keys()
        .filter(|token| !expected.contains_key(*token))
        .take(5)
        .collect();
    let missed: Vec<_> = expected
        .keys()
        .filter(|token| !accepted.contains_key(*token))
        .take(5)
        .collect();
    let doubled: Vec<_> = accepted
        .iter()
        .filter(|(_, times)| **times != 1)
        .take(5)
        .collect();
    assert!(
        strangers.is_empty(),
        "sent to devices outside the audience: {strangers:?}"
    );
    assert!(missed.is_empty(), "not sent to: {missed:?}");
    assert!(doubled.is_empty(), "sent to more than once: {doubled:?}");

    // The API's counts are the ledger's.
    assert_eq!(done["sent"], json!({ "android": android, "ios": ios, "web": 0 }));

    // The history of devices agrees, inside and outside the audience.
    let mut checked = HashSet::new();
    for person in (1..=devices).step_by((devices as usize / 60).max(1)).map(Person) {
        let path = format!("/devices/{}/notifications", segment(&person.external_id()));
        let history = api.get(&path).await?;
        let wanted = u64::from(person.is_in_audience());
        assert_eq!(history["total"], wanted, "{person:?}: {history}");
        if wanted == 1 {
            assert_eq!(history["events"][0]["event"], "sent");
            assert_eq!(history["events"][0]["notification"]["uuid"], uuid.as_str());
        }
        checked.insert(wanted);
    }
    assert_eq!(checked.len(), 2, "both kinds of devices were looked at");

    println!(
        "figures: {devices} devices imported in {:.1} s ({:.0}/s); {} sent in {:.2} s ({:.0}/s)",
        import_time.as_secs_f64(),
        devices as f64 / import_time.as_secs_f64(),
        expected.len(),
        dispatch_time.as_secs_f64(),
        expected.len() as f64 / dispatch_time.as_secs_f64(),
    );
    for (name, process) in [
        ("apiserver", &stack.apiserver),
        ("worker", &stack.worker),
        ("result-worker", &stack.result_worker),
        ("sandbox", &stack.sandbox),
    ] {
        println!(
            "memory peak of {name}: {} MiB",
            process.peak_memory().unwrap_or_default() >> 20
        );
    }
    stack.stop().await
}
