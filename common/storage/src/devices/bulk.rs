//! Imports: a thousand devices a call, each with an outcome of its own.

use chrono::{DateTime, Utc};
use jraze_domain::ids::AppId;

use super::Devices;
use super::merge::merge;
use super::write::{Change, WriteResult, Written};

/// Changes that one call of [`Devices::import`] should bring at most.
pub const MAX_IMPORT_BATCH: usize = 1_000;

impl Devices {
    /// Makes many changes at once, in order, and returns the outcome of each. One that fails does not
    /// stop the rest; a device that comes twice ends as the later change left it.
    pub async fn import(&self, app: AppId, changes: Vec<Change>, now: DateTime<Utc>) -> Vec<WriteResult> {
        let mut outcomes: Vec<Option<WriteResult>> = changes.iter().map(|_| None).collect();
        let merged = merge(changes).into_iter().map(|one| (one.lines, one.change));
        let mut applied = Vec::new();
        self.writer
            .write(app, merged, now, |lines, change, result| {
                if result.is_ok() {
                    applied.push(change.properties);
                }
                for (nth, line) in lines.into_iter().enumerate() {
                    // Of several lines, the first has made the device.
                    outcomes[line] = Some(result.clone().map(|written| Written {
                        created: written.created && nth == 0,
                        ..written
                    }));
                }
            })
            .await;
        // Only now: what was refused leaves no trace in the catalogue.
        self.catalogue.observe_all(app, &applied, now).await;
        // `write` answers every change it was given.
        outcomes.into_iter().flatten().collect()
    }
}
