//! How fast workers send together, and who gets his turn, over real processes and a sandbox that keeps FCM's
//! quota.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jraze_tests::campaign::{LAUNCHED, SENT, launch, until};
use jraze_tests::eventually::eventually;
use jraze_tests::population::Person;
use jraze_tests::stack::{Process, Roles, run};
use serde_json::{Value, json};

/// Imports so many Android phones, of which every one in `one_in` is `chosen`.
async fn import(stack: &Roles, count: usize, one_in: usize) -> Result<()> {
    let file = stack.folder.path().join("devices.ndjson");
    let mut lines = std::io::BufWriter::new(std::fs::File::create(&file)?);
    let people = (1..).map(Person).filter(|person| !person.is_ios()).take(count);
    for (n, person) in people.enumerate() {
        let mut line = person.registration();
        line["properties"] = json!({ "chosen": n.is_multiple_of(one_in) });
        writeln!(lines, "{line}")?;
    }
    lines.flush()?;
    drop(lines);
    let key = stack.keys["server"].as_str().context("a server key")?;
    let environment = [("JRAZE_API", stack.api_url.as_str()), ("JRAZE_KEY", key)];
    let arguments = ["--json", "import", &file.to_string_lossy()];
    run(&arguments, stack.folder.path(), &environment)
        .await?
        .success()?;
    Ok(())
}

fn chosen() -> Value {
    let is_chosen = json!({ "key": "chosen", "operator": "bool_eq", "value": true });
    json!({ "conditions": { "join_type": "AND", "conditions": [is_chosen] } })
}

/// Waits until two workers send: a newcomer has its part once the other has had time to hear of it.
async fn both_have_their_part(stack: &Roles, second: &Process) {
    hears_of(&stack.worker, 2, 10).await;
    hears_of(second, 2, 10).await;
    tokio::time::sleep(Duration::from_secs(7)).await;
}

/// Waits until the newest count of workers that `process` heard of is this one, and tells how long it took.
async fn hears_of(process: &Process, workers: u64, seconds: u64) -> Duration {
    let began = Instant::now();
    let newest = |output: &str| {
        let counted = output
            .lines()
            .rfind(|line| line.contains("workers under this quota"));
        let last = counted.and_then(|line| serde_json::from_str::<Value>(line).ok());
        last.map_or(0, |line| {
            let fields = if line["workers"].is_u64() {
                &line
            } else {
                &line["fields"]
            };
            fields["workers"].as_u64().unwrap_or_default()
        })
    };
    eventually(
        &format!("{workers} workers are counted"),
        Duration::from_secs(seconds),
        async || newest(&process.output()),
        |counted| *counted == workers,
    )
    .await;
    began.elapsed()
}

/// FCM requests with this answer, and the seconds from the first to the last.
async fn answered(stack: &Roles, status: u16) -> Result<(usize, f64)> {
    let query = format!("provider=fcm&status={status}&limit=10000");
    let page = stack.sandbox().ledger(&query).await?;
    let entries = page["entries"].as_array().context("entries")?;
    let mut times = Vec::new();
    for entry in entries {
        let at = entry["received_at"].as_str().context("a time")?;
        times.push(chrono::DateTime::parse_from_rfc3339(at)?.timestamp_micros());
    }
    let span = times
        .iter()
        .max()
        .zip(times.iter().min())
        .map_or(0, |(last, first)| last - first);
    Ok((entries.len(), span as f64 / 1e6))
}

async fn everybody_once(stack: &Roles, people: usize) -> Result<()> {
    let accepted = stack.sandbox().accepted_tokens().await?;
    ensure!(accepted.len() == people, "{} people", accepted.len());
    ensure!(accepted.values().all(|times| *times == 1), "nobody gets it twice");
    Ok(())
}

#[tokio::test]
async fn two_workers_divide_a_quota_and_never_exceed_it() -> Result<()> {
    // 100 a second for both of them; the sandbox bears a quarter of a second's worth at once.
    let worker = "fcm_quota_per_minute = 6000\nconcurrent_units = 1\n";
    let sandbox = "fcm.quota_per_minute = 6000\nfcm.quota_burst = 25\n";
    let stack = Roles::start_shaped("pacing", worker, sandbox).await?;
    let second = stack.another_worker()?;
    import(&stack, 16_000, 20).await?;
    both_have_their_part(&stack, &second).await;

    let api = stack.api("server");
    let path = launch(&api, chosen()).await?;
    let done = until(&api, &path, SENT, 40).await;
    assert_eq!(done["counts"]["sent"], 800, "{}", done["counts"]);
    everybody_once(&stack, 800).await?;
    let (limited, _) = answered(&stack, 429).await?;
    let (accepted, took) = answered(&stack, 200).await?;
    let rate = accepted as f64 / took;
    println!("{accepted} in {took:.2} s, {rate:.1} a second, {limited} limited");
    assert_eq!(limited, 0, "at {rate} a second");
    assert!((70.0..103.0).contains(&rate), "{rate} of 100 a second");
    second.interrupt().await?;
    stack.stop().await
}

#[tokio::test]
async fn a_quota_that_is_half_of_what_the_settings_say_costs_some_refusals_and_nothing_else() -> Result<()> {
    let worker = "fcm_quota_per_minute = 6000\nconcurrent_units = 1\n";
    let sandbox = "fcm.quota_per_minute = 3000\nfcm.quota_burst = 25\n";
    let stack = Roles::start_shaped("pacing429", worker, sandbox).await?;
    let second = stack.another_worker()?;
    import(&stack, 16_000, 40).await?;
    both_have_their_part(&stack, &second).await;

    let api = stack.api("server");
    let path = launch(&api, chosen()).await?;
    let done = until(&api, &path, SENT, 90).await;
    assert_eq!(done["counts"]["sent"], 400, "{}", done["counts"]);
    everybody_once(&stack, 400).await?;
    let (limited, _) = answered(&stack, 429).await?;
    let (accepted, took) = answered(&stack, 200).await?;
    println!("{accepted} in {took:.2} s, {limited} limited");
    assert!((1..=100).contains(&limited), "{limited} refusals");
    second.interrupt().await?;
    stack.stop().await
}

#[tokio::test]
async fn a_small_campaign_is_done_long_before_a_large_one_that_was_there_first() -> Result<()> {
    // 50 a second: the large one alone takes 40 seconds, and has every place there is.
    let worker = "fcm_quota_per_minute = 3000\nconcurrent_units = 1\n";
    let stack = Roles::start_with("pacingfair", worker).await?;
    import(&stack, 2_000, 100).await?;
    let api = stack.api("server");
    let large = launch(&api, json!({})).await?;
    until(&api, &large, LAUNCHED, 10).await;
    tokio::time::sleep(Duration::from_secs(2)).await;

    let began = Instant::now();
    let small = launch(&api, chosen()).await?;
    let done = until(&api, &small, SENT, 40).await;
    let took = began.elapsed();
    println!("20 of a small campaign beside 2,000 of a large one: {took:?}");
    assert_eq!(done["counts"]["sent"], 20, "{}", done["counts"]);
    assert!(took < Duration::from_secs(6), "{took:?}");
    let other = api.get(&large).await?;
    assert_eq!(other["status"], LAUNCHED, "{other}");
    api.put(&format!("{large}/status"), &json!({ "status": 7 }))
        .await?;
    // A worker that stops sends what it has claimed, unless it has heard of the cancel.
    tokio::time::sleep(Duration::from_secs(1)).await;
    stack.stop().await
}

#[tokio::test]
async fn a_worker_that_dies_is_forgotten_and_one_that_leaves_is_gone_at_once() -> Result<()> {
    let stack = Roles::start("pacingfleet").await?;
    let second = stack.another_worker()?;
    hears_of(&stack.worker, 2, 10).await;
    second.kill().await?;
    let took = hears_of(&stack.worker, 1, 20).await;
    assert!(took < Duration::from_secs(15), "{took:?}");
    let third = stack.another_worker()?;
    hears_of(&stack.worker, 2, 10).await;
    third.interrupt().await?;
    let took = hears_of(&stack.worker, 1, 20).await;
    assert!(took < Duration::from_secs(4), "{took:?}");
    stack.stop().await
}
