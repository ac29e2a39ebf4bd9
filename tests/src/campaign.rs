//! What most tests do with campaigns: register people, launch, wait for a status.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use crate::client::Api;
use crate::eventually::eventually;
use crate::population::Person;

/// Some devices are being sent to.
pub const LAUNCHED: u64 = 1;
/// Everybody was.
pub const SENT: u64 = 2;
/// It cannot be sent.
pub const ERROR: u64 = 3;
/// Launched, and not planned yet.
pub const QUEUED: u64 = 5;
/// Held by a person or by a brake.
pub const PAUSED: u64 = 6;
/// Stopped for good.
pub const CANCELED: u64 = 7;

/// Registers the people one by one, as apps do.
///
/// # Errors
/// When the API refuses one.
pub async fn register(api: &Api, people: impl IntoIterator<Item = Person>) -> Result<()> {
    let bodies: Vec<Value> = people.into_iter().map(Person::registration).collect();
    register_devices(api, &bodies).await
}

/// The same with bodies of `PUT /devices`.
///
/// # Errors
/// As [`register`].
pub async fn register_devices(api: &Api, bodies: &[Value]) -> Result<()> {
    for chunk in bodies.chunks(64) {
        try_join_all(chunk.iter().map(|body| api.put("/devices", body))).await?;
    }
    Ok(())
}

/// A draft with some more fields; its path. It goes to everybody unless there are conditions.
///
/// # Errors
/// When the API refuses it.
pub async fn create(api: &Api, more: Value) -> Result<String> {
    let mut draft = json!({ "title": "Hello", "body": "World" });
    if more.get("conditions").is_none() {
        draft["all"] = json!(true);
    }
    if let (Some(draft), Some(more)) = (draft.as_object_mut(), more.as_object()) {
        draft.extend(more.clone());
    }
    let created = api.post("/notifications", &draft).await?;
    Ok(format!(
        "/notifications/{}",
        created["uuid"].as_str().context("a uuid")?
    ))
}

/// Launches a draft.
///
/// # Errors
/// When the API refuses it.
pub async fn launch_draft(api: &Api, path: &str) -> Result<()> {
    let launched = api.post_empty(&format!("{path}/:launch")).await?;
    ensure!(launched["status"] == QUEUED, "a launch queues: {launched}");
    Ok(())
}

/// As [`create`], and launched.
///
/// # Errors
/// When the API refuses it.
pub async fn launch(api: &Api, more: Value) -> Result<String> {
    let path = create(api, more).await?;
    launch_draft(api, &path).await?;
    Ok(path)
}

/// Waits until the campaign has the status.
pub async fn until(api: &Api, path: &str, status: u64, seconds: u64) -> Value {
    let what = format!("status {status} of {path}");
    until_so(api, path, &what, seconds, |seen| seen["status"] == status).await
}

/// Waits until `is_so` is true of what the API shows.
pub async fn until_so(
    api: &Api,
    path: &str,
    what: &str,
    seconds: u64,
    is_so: impl Fn(&Value) -> bool,
) -> Value {
    let seen = async || api.get(path).await.unwrap_or_default();
    eventually(what, Duration::from_secs(seconds), seen, is_so).await
}
