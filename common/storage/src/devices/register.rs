//! One change at a time, as the API asks for it; gathered into rounds with whoever asks meanwhile.

use chrono::{DateTime, Utc};
use jraze_domain::ids::AppId;

use crate::gather::{Gather, Waiting};
use crate::property_catalogue::PropertyCatalogue;

use super::Devices;
use super::write::{Change, WriteResult, Writer};

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
        self.gather.ask(Wish { app, change, now }).await?
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
        catalogue
            .observe_all(app, changes.iter().map(|(_, change)| &change.properties), now)
            .await;
        // A caller that is gone does not want its answer.
        writer
            .write(app, changes, now, |answer, result| drop(answer.send(result)))
            .await;
    }
}
