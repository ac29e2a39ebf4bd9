//! Imports: a thousand devices a call, each with an outcome of its own.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use jraze_domain::ids::AppId;

use super::Devices;
use super::merge::merge;
use super::round::Approach;
use super::write::{Change, Made, WriteError};

/// Changes that one call of [`Devices::import`] should bring at most.
pub const MAX_IMPORT_BATCH: usize = 1_000;

/// A batch is taken for one of new devices when at most one change in this many found its device there.
/// The server gives up inserting some hundred together at the first that is there, and goes one by one.
const ONE_KNOWN_IN: usize = 250;

/// A change of an import that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Imported {
    /// Whether it made the device.
    pub created: bool,
}

/// The outcome of one change of an import.
pub type ImportResult = Result<Imported, WriteError>;

/// Apps whose last import brought new devices: the next batch most likely does so too.
#[derive(Debug, Clone, Default)]
pub(super) struct Newcomers(Arc<Mutex<HashSet<AppId>>>);

impl Newcomers {
    fn expected(&self, app: AppId) -> bool {
        let apps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        apps.contains(&app)
    }

    fn learn(&self, app: AppId, were_new: bool) {
        let mut apps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if were_new {
            apps.insert(app);
        } else {
            apps.remove(&app);
        }
    }
}

impl Devices {
    /// Makes many changes at once, in order, and returns the outcome of each. One that fails does not
    /// stop the rest; a device that comes twice ends as the later change left it.
    pub async fn import(&self, app: AppId, changes: Vec<Change>, now: DateTime<Utc>) -> Vec<ImportResult> {
        let mut outcomes: Vec<Option<ImportResult>> = changes.iter().map(|_| None).collect();
        let merged = merge(changes).into_iter().map(|one| (one.lines, one.change));
        let approach = Approach {
            expects_new: self.newcomers.expected(app),
            shows_devices: false,
        };
        let mut applied = Vec::new();
        let mut known = 0;
        self.writer
            .write(app, merged, now, approach, |lines, change, result| {
                let result = result.map(|made| Imported {
                    created: matches!(made, Made::Created(_)),
                });
                known += usize::from(!matches!(result, Ok(Imported { created: true })));
                if result.is_ok() {
                    applied.push(change.properties);
                }
                for (nth, line) in lines.into_iter().enumerate() {
                    // Of several lines, the first has made the device.
                    outcomes[line] = Some(result.clone().map(|imported| Imported {
                        created: imported.created && nth == 0,
                    }));
                }
            })
            .await;
        self.newcomers.learn(app, known * ONE_KNOWN_IN <= outcomes.len());
        // Only now: what was refused leaves no trace in the catalogue.
        self.catalogue.observe_all(app, &applied, now).await;
        // `write` answers every change it was given.
        outcomes.into_iter().flatten().collect()
    }
}
