//! Who wrote what under which lease, from the database's own log (`local.oplog.rs`).
//!
//! The log is one order of all writes. It tells when a unit was leased, by whom and under which epoch, when a
//! window was taken over, and when its results were written; the driver's session (`lsid`) tells which
//! process a write came from. From that follows whether results came from a holder whose lease was
//! another's by then, without asking the workers.

use std::collections::HashMap;

use anyhow::Result;
use futures_util::TryStreamExt as _;
use mongodb::bson::{Bson, Document, Timestamp, doc};
use mongodb::{Client, Database};

use super::outcomes::collection;
use crate::stack::DATABASE;

/// What the log says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fencing {
    /// Results that were written by another than the holder under whose epoch the window stood, or a second
    /// time.
    pub(crate) stale_writes: u64,
    /// Windows that passed to another holder before they were settled.
    pub(crate) takeovers: u64,
    /// Results whose writer the log does not tell.
    pub(crate) unattributed: u64,
    /// Results that were written.
    pub(crate) records: u64,
}

/// The end of the log now.
pub(crate) async fn end(client: &Client) -> Result<Timestamp> {
    let log = collection(&client.database("local"), "oplog.rs");
    let last = log.find_one(doc! {}).sort(doc! { "$natural": -1 }).await?;
    let at = last.and_then(|last| last.get_timestamp("ts").ok());
    Ok(at.unwrap_or(Timestamp {
        time: 0,
        increment: 0,
    }))
}

/// Reads the log from `since` on.
pub(crate) async fn read(database: &Database, since: Timestamp) -> Result<Fencing> {
    let log = collection(&database.client().database("local"), "oplog.rs");
    let (units, windows) = (
        format!("{DATABASE}.dispatch_units"),
        format!("{DATABASE}.windows"),
    );
    let filter = doc! { "ts": { "$gt": since }, "ns": { "$in": [units.as_str(), windows.as_str()] } };
    let entries: Vec<Document> = log
        .find(filter)
        .sort(doc! { "$natural": 1 })
        .await?
        .try_collect()
        .await?;
    Ok(judge(&entries, &units, &windows))
}

/// A window as the log has it so far.
#[derive(Debug, Default)]
struct Window {
    unit: String,
    epoch: i64,
    recorded: u64,
}

fn judge(entries: &[Document], units: &str, windows: &str) -> Fencing {
    let mut fencing = Fencing::default();
    let writers = writers(entries, units);
    let mut holders: HashMap<(String, i64), String> = HashMap::new();
    let mut known: HashMap<String, Window> = HashMap::new();
    for entry in entries {
        let (Ok(namespace), Some(id)) = (entry.get_str("ns"), id(entry)) else {
            continue;
        };
        let change = change(entry);
        if namespace == units {
            if let (Some(owner), Some(epoch)) = (change.owner, change.epoch) {
                holders.insert((id, epoch), owner);
            }
            continue;
        }
        if namespace != windows {
            continue;
        }
        let window = known.entry(id).or_default();
        if let Some(unit) = change.unit {
            *window = Window {
                unit,
                ..Window::default()
            };
        }
        if let Some(epoch) = change.epoch {
            fencing.takeovers += u64::from(window.epoch != 0 && epoch > window.epoch);
            window.epoch = epoch;
        }
        if change.records {
            fencing.records += 1;
            window.recorded += 1;
            fencing.stale_writes += u64::from(window.recorded > 1);
            let holder = holders.get(&(window.unit.clone(), window.epoch));
            match (session(entry).and_then(|session| writers.get(&session)), holder) {
                (Some(writer), Some(holder)) => fencing.stale_writes += u64::from(writer != holder),
                _ => fencing.unattributed += 1,
            }
        }
    }
    fencing
}

/// What one entry changes, as far as it matters here.
#[derive(Debug, Default)]
struct Change {
    /// Of a lease.
    owner: Option<String>,
    epoch: Option<i64>,
    /// Of a window that is new.
    unit: Option<String>,
    records: bool,
}

fn change(entry: &Document) -> Change {
    let mut change = Change::default();
    let Ok(what) = entry.get_document("o") else {
        return change;
    };
    let number = |document: &Document, name: &str| document.get(name).and_then(Bson::as_i64);
    let text = |document: &Document, name: &str| document.get_str(name).ok().map(str::to_owned);
    match entry.get_str("op") {
        Ok("i") => {
            change.unit = text(what, "unit_id");
            change.epoch = number(what, "epoch");
        }
        Ok("u") => {
            // A replacement holds the document itself, an update the difference.
            let Ok(difference) = what.get_document("diff") else {
                change.unit = text(what, "unit_id");
                change.epoch = number(what, "epoch");
                return change;
            };
            for part in ["u", "i"]
                .iter()
                .filter_map(|part| difference.get_document(part).ok())
            {
                change.epoch = change.epoch.or(number(part, "epoch"));
                change.records |= part.get_str("state").is_ok_and(|state| state == "recorded");
                if let Ok(lease) = part.get_document("lease") {
                    (change.owner, change.epoch) = (text(lease, "owner"), number(lease, "epoch"));
                }
            }
            if let Ok(lease) = difference.get_document("slease") {
                for part in ["u", "i"].iter().filter_map(|part| lease.get_document(part).ok()) {
                    change.owner = change.owner.or(text(part, "owner"));
                    change.epoch = change.epoch.or(number(part, "epoch"));
                }
            }
        }
        _ => {}
    }
    change
}

fn id(entry: &Document) -> Option<String> {
    let place = match entry.get_str("op").ok()? {
        "u" => "o2",
        _ => "o",
    };
    Some(entry.get_document(place).ok()?.get_str("_id").ok()?.to_owned())
}

fn session(entry: &Document) -> Option<Vec<u8>> {
    let session = entry.get_document("lsid").ok()?;
    match session.get("id")? {
        Bson::Binary(id) => Some(id.bytes.clone()),
        _ => None,
    }
}

/// Which worker uses a session: whoever leased a unit, or wrote to one that it held, in it.
fn writers(entries: &[Document], units: &str) -> HashMap<Vec<u8>, String> {
    let mut owners: HashMap<String, String> = HashMap::new();
    let mut writers = HashMap::new();
    for entry in entries
        .iter()
        .filter(|entry| entry.get_str("ns").is_ok_and(|ns| ns == units))
    {
        let Some(unit) = id(entry) else { continue };
        if let Some(owner) = change(entry).owner {
            owners.insert(unit.clone(), owner);
        }
        // Every write to a unit is filtered by its owner, so it is the owner's, but for the first ones,
        // which are the planner's.
        if let (Some(session), Some(owner), Ok("u")) =
            (session(entry), owners.get(&unit), entry.get_str("op"))
        {
            writers.entry(session).or_insert_with(|| owner.clone());
        }
    }
    writers
}

#[cfg(test)]
mod tests {
    use mongodb::bson::Binary;
    use mongodb::bson::spec::BinarySubtype;

    use super::*;

    fn entry(ns: &str, session: u8, id: &str, difference: Document) -> Document {
        let bytes = vec![session];
        let id_of_session = Binary {
            subtype: BinarySubtype::Uuid,
            bytes,
        };
        doc! {
            "op": "u", "ns": ns, "o2": { "_id": id }, "o": { "$v": 2, "diff": difference },
            "lsid": { "id": id_of_session },
        }
    }

    fn leased(session: u8, owner: &str, epoch: i64) -> Document {
        entry(
            "u",
            session,
            "1:p:0",
            doc! { "slease": { "u": { "owner": owner, "epoch": epoch } } },
        )
    }

    fn recorded(session: u8) -> Document {
        entry("w", session, "1:p:0:0", doc! { "u": { "state": "recorded" } })
    }

    fn claimed() -> Document {
        doc! { "op": "i", "ns": "w", "o": { "_id": "1:p:0:0", "unit_id": "1:p:0", "epoch": 1_i64 } }
    }

    fn taken_over() -> Document {
        entry("w", 2, "1:p:0:0", doc! { "u": { "epoch": 2_i64 } })
    }

    #[test]
    fn results_of_the_holder_are_fine_before_and_after_a_takeover() {
        let plain = [leased(1, "a", 1), claimed(), recorded(1)];
        assert_eq!(judge(&plain, "u", "w").stale_writes, 0);
        let over = [
            leased(1, "a", 1),
            claimed(),
            leased(2, "b", 2),
            taken_over(),
            recorded(2),
        ];
        let found = judge(&over, "u", "w");
        assert_eq!(
            (found.stale_writes, found.takeovers, found.unattributed),
            (0, 1, 0)
        );
    }

    #[test]
    fn results_of_an_earlier_holder_after_a_takeover_are_stale() {
        let over = [
            leased(1, "a", 1),
            claimed(),
            leased(2, "b", 2),
            taken_over(),
            recorded(1),
        ];
        assert_eq!(judge(&over, "u", "w").stale_writes, 1);
    }

    #[test]
    fn results_that_are_written_twice_are_stale() {
        let twice = [leased(1, "a", 1), claimed(), recorded(1), recorded(1)];
        assert_eq!(judge(&twice, "u", "w").stale_writes, 1);
    }
}
