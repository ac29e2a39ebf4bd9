//! One campaign under faults, from its draft to the verdict.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use jraze_tests::population::{Person, audience};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use crate::injection::Script;
use crate::oracle::{Evidence, Findings, Selected, counts_off, fencing, judge, outcomes};
use crate::stack::{LEASE, Stack, WINDOW, WINDOWS_IN_FLIGHT};
use crate::strike::{Struck, lie_in_wait, make_weather};

/// Devices of the population.
pub(crate) const DEVICES: u64 = 10_000;
/// Devices of every campaign whose provider declares them dead.
const DEAD: u64 = 5;

const SENT: u64 = 2;
const CANCELED: u64 = 7;
const LAUNCHED_OR_LATER: [u64; 6] = [1, 2, 3, 5, 6, 7];

/// What one campaign came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) title: String,
    pub(crate) commit: String,
    pub(crate) struck: Vec<Struck>,
    pub(crate) canceled: bool,
    /// Nobody was to get it twice.
    #[serde(default)]
    pub(crate) skip: bool,
    pub(crate) findings: Findings,
    pub(crate) violations: Vec<String>,
    /// From the launch to the end, in milliseconds.
    pub(crate) took_ms: u64,
    /// From the end of the last fault, or the kill itself, to the end of the campaign.
    pub(crate) recovery_ms: u64,
    /// From the end of the campaign until the counts were exact.
    pub(crate) counts_ms: u64,
    /// Whether the rule of retries had a say in the recovery.
    pub(crate) retries: bool,
}

/// Registers the population once.
pub(crate) async fn populate(stack: &Stack) -> Result<()> {
    stack.import((1..=DEVICES).map(|n| Person(n).import_line())).await
}

fn dead_token(title: &str, n: u64) -> String {
    format!("sbx-unregistered-{title}-{n}")
}

/// Gives the devices that die in every campaign a fresh token.
async fn revive(stack: &Stack, title: &str) -> Result<()> {
    let lines = (0..DEAD).map(|n| {
        json!({
            "external_id": format!("gone-{n}"), "push_token": dead_token(title, n),
            "send_platform": 1, "device_platform": 1,
        })
    });
    stack.import(lines).await
}

/// Who should get it, worked out apart from jraze.
async fn selected(stack: &Stack, title: &str, by_conditions: bool) -> Result<Selected> {
    let numbers = outcomes::devices(&stack.database).await?;
    let people = (1..=DEVICES).map(Person);
    let mut tokens: Vec<String> = people
        .filter(|person| !by_conditions || person.is_in_audience())
        .map(Person::token)
        .collect();
    let mut selected = Selected::default();
    if !by_conditions {
        let dead: Vec<String> = (0..DEAD).map(|n| dead_token(title, n)).collect();
        tokens.extend(dead.iter().cloned());
        selected.dead.extend(dead);
    }
    for token in tokens {
        let number = *numbers
            .get(&token)
            .with_context(|| format!("{token} is not registered"))?;
        selected.devices.insert(token, number);
    }
    Ok(selected)
}

/// Runs one campaign under a script.
pub(crate) async fn run(stack: &Arc<Stack>, title: &str, commit: &str, script: Script) -> Result<Outcome> {
    stack.until_ready().await?;
    revive(stack, title).await?;
    stack.sandbox.clear().await?;
    stack.sandbox.stumble(script.stumbles).await?;
    let selected = selected(stack, title, script.by_conditions).await?;
    let log_from = fencing::end(stack.database.client()).await?;
    let surprises = stack.surprises();

    let since = Instant::now();
    let (over, is_over) = watch::channel(false);
    let armed = Arc::new(Semaphore::new(0));
    let mut ambushes = Vec::new();
    for (name, plan) in &script.ambushes {
        let process = stack.processes().find(|process| process.name() == name);
        let process = process.with_context(|| format!("no process {name}"))?.clone();
        let lying = lie_in_wait(
            stack.clone(),
            process,
            plan.clone(),
            since,
            armed.clone(),
            is_over.clone(),
        );
        ambushes.push(tokio::spawn(lying));
    }
    // Everybody lies in wait before anything happens.
    let waiting = armed.acquire_many(u32::try_from(ambushes.len())?);
    drop(tokio::time::timeout(Duration::from_secs(30), waiting).await);

    let spoiling = script
        .sabotage
        .map(|sabotage| tokio::spawn(sabotage.commit(stack.database.clone())));
    let path = launch(stack, title, &script).await?;
    if let Some(spoiling) = spoiling {
        spoiling.await??;
    }
    let weather: Vec<_> = script
        .weather
        .iter()
        .map(|weather| tokio::spawn(make_weather(stack.clone(), *weather, since, is_over.clone())))
        .collect();
    let canceled_ms = match script.cancel_after {
        Some(after) => cancel(stack, &path, after).await?,
        None => None,
    };
    let ended = until_over(stack, &path, Duration::from_secs(120)).await;
    let ended_ms = since.elapsed();
    over.send_replace(true);
    let mut struck = Vec::new();
    for ambush in ambushes {
        struck.extend(ambush.await?);
    }
    for weather in weather {
        struck.extend(weather.await?);
    }

    let id = ended
        .as_ref()
        .map_or(0, |shown| shown["id"].as_i64().unwrap_or(0));
    let id = if id == 0 {
        stack.api.get(&path).await?["id"].as_i64().context("an id")?
    } else {
        id
    };
    let quiet_from = Instant::now();
    let (shown, finals) = settled_counts(stack, &path, id, canceled_ms.is_some()).await?;
    let counts_ms = millis(quiet_from.elapsed());
    until_quiet(stack).await?;
    let requests = stack.sandbox.requests().await?;
    let mut findings = judge(&Evidence {
        title,
        selected: &selected,
        requests: &requests,
        outcomes: &finals,
        shown: &shown,
        canceled_ms,
    });
    findings.tray_doubles += doubles_shown(stack, title, &requests).await?;
    let fenced = fencing::read(&stack.database, log_from).await?;
    (findings.stale_writes, findings.takeovers) = (fenced.stale_writes, fenced.takeovers);
    findings.records = fenced.records;
    findings.attributed = fenced.records - fenced.unattributed;

    let last_over = struck.iter().map(recovers_from).max().unwrap_or(0);
    let retries = script.stumbles
        || struck
            .iter()
            .any(|one| one.weather.is_some_and(|kind| kind.makes_retries()));
    let mut outcome = Outcome {
        title: title.to_owned(),
        commit: commit.to_owned(),
        canceled: canceled_ms.is_some(),
        skip: script.skip,
        violations: findings.violations(if script.skip { 0 } else { repeats_allowed(&struck) }),
        findings,
        took_ms: millis(ended_ms),
        recovery_ms: millis(ended_ms).saturating_sub(last_over),
        counts_ms,
        retries,
        struck,
    };
    let bound = millis(LEASE) + 15_000 + if retries { LONGEST_RETRY_MS } else { 0 };
    if ended.is_none() {
        outcome.violations.push("did not end within 120 s".to_owned());
    } else if outcome.recovery_ms > bound {
        outcome
            .violations
            .push(format!("recovered after {} ms, not {bound}", outcome.recovery_ms));
    }
    if counts_ms > 5_000 + if outcome.canceled { bound } else { 0 } {
        outcome
            .violations
            .push(format!("counts were exact after {counts_ms} ms only"));
    }
    let ended_by_themselves = stack.surprises() - surprises;
    // Without a database a process may end; one that starts finds none and ends, as it should.
    if ended_by_themselves > 0 && !outcome.struck.iter().any(|one| one.weather.is_some()) {
        outcome
            .violations
            .push(format!("{ended_by_themselves} processes ended by themselves"));
    }
    Ok(outcome)
}

/// The waits of the first retries: 10 s and 20 s, drawn evenly around, and the time of a window.
const LONGEST_RETRY_MS: u64 = 45_000;

/// When recovery from a fault begins: a kill at once, everything else when it is over.
fn recovers_from(struck: &Struck) -> u64 {
    match struck.blow {
        Some(crate::injection::Blow::Kill) => struck.struck_ms,
        _ => struck.over_ms,
    }
}

/// Each fault may repeat what its worker had in flight; mongod is everybody's.
fn repeats_allowed(struck: &[Struck]) -> u64 {
    let in_flight = WINDOW * WINDOWS_IN_FLIGHT;
    let of = |one: &Struck| match one.weather {
        Some(crate::injection::Surroundings::MongodKill) => 2 * in_flight,
        Some(_) => in_flight,
        // What happens to those who send nothing repeats nothing.
        None if one.process.starts_with("worker") => in_flight,
        None => 0,
    };
    struck.iter().map(of).sum()
}

/// Writes the draft and launches it, again and again until it is: the API server may be killed at it.
async fn launch(stack: &Stack, title: &str, script: &Script) -> Result<String> {
    let mut draft = json!({ "title": title, "body": "Everything must go" });
    if script.skip {
        draft["on_ambiguous"] = json!("skip");
    }
    match script.by_conditions {
        true => draft["conditions"] = audience(),
        false => draft["all"] = json!(true),
    }
    let mut path = None;
    for _ in 0..300 {
        let Some(known) = &path else {
            // A draft whose answer was lost stays a draft, and is never sent by itself.
            if let Ok(created) = stack.api.post("/notifications", &draft).await {
                path = created["uuid"]
                    .as_str()
                    .map(|uuid| format!("/notifications/{uuid}"));
            } else {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            continue;
        };
        let _ = stack.api.post_empty(&format!("{known}/:launch")).await;
        // Whatever was answered, or not: what does it say now?
        if let Ok(shown) = stack.api.get(known).await
            && shown["status"]
                .as_u64()
                .is_some_and(|status| LAUNCHED_OR_LATER.contains(&status))
        {
            return Ok(known.clone());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("{title} could not be launched")
}

/// Cancels after a while; when that was answered, if it was still possible.
async fn cancel(stack: &Stack, path: &str, after: Duration) -> Result<Option<i64>> {
    tokio::time::sleep(after).await;
    for _ in 0..300 {
        let body = json!({ "status": CANCELED });
        let answer = stack
            .api
            .call(reqwest::Method::PUT, &format!("{path}/status"), Some(&body))
            .await;
        match answer {
            Ok(answer) if answer.status.is_success() => {
                return Ok(Some(mongodb::bson::DateTime::now().timestamp_millis()));
            }
            // Too late, or its answer was lost.
            Ok(answer) if answer.status.is_client_error() => {
                let shown = stack.api.get(path).await?;
                let now = mongodb::bson::DateTime::now().timestamp_millis();
                return Ok((shown["status"] == CANCELED).then_some(now));
            }
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    Ok(None)
}

/// Waits until it is SENT or CANCELED.
async fn until_over(stack: &Stack, path: &str, within: Duration) -> Option<Value> {
    let waiting = async {
        loop {
            if let Ok(shown) = stack.api.get(path).await
                && [SENT, CANCELED].iter().any(|status| shown["status"] == *status)
            {
                return shown;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(within, waiting).await.ok()
}

/// Waits until counts and windows agree and none is waiting; what they are then, or after half a minute.
async fn settled_counts(
    stack: &Stack,
    path: &str,
    id: i64,
    canceled: bool,
) -> Result<(Value, HashMap<i64, Vec<outcomes::Final>>)> {
    let patience = Duration::from_secs(if canceled { 30 } else { 8 });
    let since = Instant::now();
    let mut calm = 0;
    loop {
        let shown = stack.api.get(path).await;
        let read = outcomes::of(&stack.database, id).await;
        if let (Ok(shown), Ok((finals, uncounted))) = (shown, read) {
            let agrees = uncounted == 0 && counts_off(&shown, &finals) == 0;
            // Of a canceled campaign something may still be in flight.
            calm = if agrees { calm + 1 } else { 0 };
            if (agrees && !canceled) || calm > 100 || since.elapsed() > patience {
                return Ok((shown, finals));
            }
        } else if since.elapsed() > Duration::from_secs(60) {
            bail!("neither API nor database answer");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until nothing new arrives at the providers.
async fn until_quiet(stack: &Stack) -> Result<()> {
    let mut before = stack.sandbox.received().await?;
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = stack.sandbox.received().await?;
        if now == before {
            return Ok(());
        }
        before = now;
    }
    bail!("requests do not end")
}

/// Phones that show it twice, asked of the sandbox's own trays; only repeats can.
async fn doubles_shown(stack: &Stack, title: &str, requests: &[crate::sandbox::Request]) -> Result<u64> {
    let mut times: HashMap<&str, u64> = HashMap::new();
    for request in requests.iter().filter(|request| request.accepted) {
        *times.entry(&request.token).or_default() += 1;
    }
    let mut doubles = 0;
    for (token, _) in times.iter().filter(|(_, times)| **times > 1).take(50) {
        doubles += u64::from(stack.sandbox.shown(token, title).await? != 1);
    }
    Ok(doubles)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
