//! What the database says became of each device: the windows of a campaign, read as bytes.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use mongodb::{Collection, Database};

/// A final outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Final {
    Sent,
    Unregistered,
    Failed,
    Unknown,
    Skipped,
    Expired,
    Canceled,
}

/// The byte of a result, as `docs/src/architecture.md` lists them. `None` for one that is not final.
fn read(byte: u8) -> Option<Final> {
    Some(match byte {
        1 => Final::Sent,
        2 => Final::Unregistered,
        3..=6 => Final::Failed,
        9 => Final::Unknown,
        10 => Final::Skipped,
        11 => Final::Expired,
        12 => Final::Canceled,
        _ => return None,
    })
}

/// A collection by name.
#[expect(
    clippy::disallowed_methods,
    reason = "the judge reads the database without anything of jraze"
)]
pub(crate) fn collection(database: &Database, name: &str) -> Collection<Document> {
    database.collection(name)
}

/// The final outcomes of every device of a campaign, and how many windows are not counted yet.
pub(crate) async fn of(database: &Database, notification: i64) -> Result<(HashMap<i64, Vec<Final>>, u64)> {
    let windows = collection(database, "windows");
    let mut cursor = windows.find(doc! { "notification_id": notification }).await?;
    let mut outcomes: HashMap<i64, Vec<Final>> = HashMap::new();
    let mut uncounted = 0;
    while let Some(window) = cursor.try_next().await? {
        let state = window.get_str("state")?;
        if state == "claimed" {
            // Never a claim, or in doubt: no outcome either way.
            continue;
        }
        uncounted += u64::from(state != "folded");
        let devices = window.get_binary_generic("devices")?;
        let results = window.get_binary_generic("results")?;
        ensure!(
            devices.len() == 8 * results.len(),
            "a window whose lists differ in length"
        );
        for (id, result) in devices.chunks_exact(8).zip(results) {
            let id = i64::from_be_bytes(id.try_into().context("eight bytes")?);
            if let Some(outcome) = read(*result) {
                outcomes.entry(id).or_default().push(outcome);
            }
        }
    }
    Ok((outcomes, uncounted))
}

/// The numbers of all devices by token.
pub(crate) async fn devices(database: &Database) -> Result<HashMap<String, i64>> {
    let mut cursor = collection(database, "devices")
        .find(doc! { "push_token": { "$exists": true } })
        .projection(doc! { "id": 1, "push_token": 1 })
        .await?;
    let mut devices = HashMap::new();
    while let Some(device) = cursor.try_next().await? {
        devices.insert(device.get_str("push_token")?.to_owned(), device.get_i64("id")?);
    }
    Ok(devices)
}
