//! All phones over HTTP: their totals in one answer, or a line for each.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use futures_util::stream;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde::Serialize;

use super::{Body, Control, Problem, ok, with_type};
use crate::{
    ledger::{Ledger, Provider},
    query::Query,
    totals::{self, NOTIFICATION_KEY, Phone, Totals},
};

/// The totals, and whether they can be trusted.
#[derive(Serialize)]
struct Shown {
    /// Requests received, accepted or not.
    received: u64,
    #[serde(flatten)]
    totals: Totals,
    /// False when the ledger had to drop entries: everything but `received` is then too low.
    complete: bool,
}

/// Adds all phones up.
pub(super) async fn totals(control: &Control, mut query: Query) -> Result<Response<Body>, Problem> {
    let (key, provider) = (key(&mut query), query.provider()?);
    query.finish()?;
    let core = Arc::clone(&control.core);
    // A million payloads are read; nobody else's answers may wait for that.
    let shown = tokio::task::spawn_blocking(move || {
        let mut totals = Totals::default();
        for piece in 0..Ledger::PIECES {
            let phones = totals::phones(&core.ledger, piece, &key);
            phones
                .iter()
                .filter(|phone| wanted(phone, provider))
                .for_each(|phone| totals.add(phone));
        }
        Shown {
            received: core.ledger.progress().0,
            totals,
            complete: core.ledger.dropped() == 0 && core.settings.ledger.payloads,
        }
    })
    .await
    .map_err(|_| Problem {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        code: "INTERNAL",
        message: "the totals could not be computed".to_owned(),
    })?;
    Ok(ok(&shown))
}

/// One line for each phone that accepted something, a piece of the ledger at a time.
pub(super) fn list(control: &Control, mut query: Query) -> Result<Response<Body>, Problem> {
    let (key, provider) = (key(&mut query), query.provider()?);
    let only_duplicates = query.one_of("duplicates", &["true", "false"])? == Some("true");
    query.finish()?;
    let core = Arc::clone(&control.core);
    let frames = (0..Ledger::PIECES).map(move |piece| {
        let mut text = Vec::new();
        for phone in totals::phones(&core.ledger, piece, &key) {
            let doubled = phone.duplicate_requests > 0 || phone.duplicate_entries > 0;
            if wanted(&phone, provider)
                && (doubled || !only_duplicates)
                && serde_json::to_writer(&mut text, &phone).is_ok()
            {
                text.push(b'\n');
            }
        }
        Ok::<_, Infallible>(Frame::data(Bytes::from(text)))
    });
    let body = BodyExt::boxed(StreamBody::new(stream::iter(frames)));
    Ok(with_type(StatusCode::OK, "application/x-ndjson", body))
}

fn key(query: &mut Query) -> String {
    query.text("key").unwrap_or_else(|| NOTIFICATION_KEY.to_owned())
}

fn wanted(phone: &Phone, provider: Option<Provider>) -> bool {
    provider.is_none_or(|wanted| wanted == phone.provider)
}
