//! One change at a time, as the API asks for it; gathered into rounds with whoever asks meanwhile.

use chrono::{DateTime, Utc};
use jraze_domain::device::PropertyChanges;
use jraze_domain::ids::AppId;

use crate::error::StorageError;
use crate::gather::{Gather, Waiting};
use crate::property_catalogue::PropertyCatalogue;

use super::Devices;
use super::round::Approach;
use super::write::{Change, Made, WriteResult, Writer};

/// The callers are told what became of their device, and most that register have done so before.
const APPROACH: Approach = Approach {
    expects_new: false,
    shows_devices: true,
};

/// A change on its way.
#[derive(Debug)]
pub(super) struct Wish {
    app: AppId,
    change: Change,
    now: DateTime<Utc>,
}

impl Devices {
    /// Makes a change: a registration, properties, or both at once. All of it is applied, or nothing.
    ///
    /// Repeating it is safe. A caller that gives up waiting does not undo it.
    ///
    /// # Errors
    /// [`super::WriteError`]: the device is not there, the guard was not satisfied, its properties are
    /// full, or the database failed.
    pub async fn change(&self, app: AppId, change: Change, now: DateTime<Utc>) -> WriteResult {
        let wish = Wish { app, change, now };
        if let Some(gather) = &self.gather {
            return gather.ask(wish).await?;
        }
        let (alone, answer) = Waiting::of(wish);
        // A task of its own: a caller that gives up must not leave half of it.
        tokio::spawn(work(self.writer.clone(), self.catalogue.clone(), vec![alone]));
        answer.await.map_err(|_| StorageError::Stopped)?
    }
}

pub(super) fn start(writer: Writer, catalogue: PropertyCatalogue) -> Gather<Wish, WriteResult> {
    Gather::start(move |batch| work(writer.clone(), catalogue.clone(), batch))
}

async fn work(writer: Writer, catalogue: PropertyCatalogue, batch: Vec<Waiting<Wish, WriteResult>>) {
    // Nearly always one app. The order within an app is the order of arrival.
    let mut by_app: Vec<(AppId, DateTime<Utc>, Vec<_>)> = Vec::new();
    for waiting in batch {
        let (wish, answer) = waiting.split();
        let part = by_app.iter_mut().find(|(app, ..)| *app == wish.app);
        match part {
            Some((_, now, part)) => {
                *now = (*now).max(wish.now);
                part.push((answer, wish.change));
            }
            None => by_app.push((wish.app, wish.now, vec![(answer, wish.change)])),
        }
    }
    for (app, now, changes) in by_app {
        let mut applied: Vec<PropertyChanges> = Vec::new();
        writer
            .write(app, changes, now, APPROACH, |answer, change, result| {
                if result.is_ok() && !change.properties.is_empty() {
                    applied.push(change.properties);
                }
                // A caller that is gone does not want its answer.
                drop(answer.send(result.and_then(Made::shown)));
            })
            .await;
        // What was refused leaves no trace in the catalogue, and nobody waits for what was not: neither
        // the callers nor the next batch.
        if !applied.is_empty() {
            let catalogue = catalogue.clone();
            tokio::spawn(async move { catalogue.observe_all(app, &applied, now).await });
        }
    }
}
