//! The ledger over HTTP: listings, counts and the exact set of tokens.

use std::{borrow::Cow, collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde::Serialize;
use serde_json::{json, value::RawValue};
use tokio::time::{Instant, sleep};

use super::{Body, Control, Problem, full, ok, with_type};
use crate::{
    chance,
    clock::rfc3339,
    core::Core,
    fcm,
    ledger::{Entry, Filter, Ledger, Provider},
    query::Query,
};

/// Most entries of the ledger in one answer.
pub(super) const MAX_LIMIT: usize = 10_000;
const DEFAULT_LIMIT: usize = 100;
/// How often a waiting request looks again.
const TICK: Duration = Duration::from_millis(10);

/// One entry as it is shown.
#[derive(Serialize)]
struct Shown<'a> {
    sequence: u64,
    received_at: String,
    provider: Provider,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    token: &'a str,
    status: Option<u16>,
    #[serde(skip_serializing_if = "str::is_empty")]
    outcome: &'a str,
    message_id: String,
    headers: BTreeMap<&'a str, &'a str>,
    payload: Payload<'a>,
    connection: u64,
    stream: u32,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Payload<'a> {
    Json(&'a RawValue),
    Text(Cow<'a, str>),
}

impl<'a> Shown<'a> {
    fn new(entry: &'a Entry) -> Self {
        let fcm = entry.provider == Provider::Fcm;
        Self {
            sequence: entry.sequence,
            received_at: rfc3339(entry.received_us),
            provider: entry.provider,
            project: fcm.then_some(&*entry.scope),
            topic: (!fcm).then_some(&*entry.scope),
            token: &entry.token,
            status: entry.status,
            outcome: &entry.outcome,
            message_id: match fcm {
                true => format!(
                    "projects/{}/messages/{}",
                    entry.scope,
                    fcm::message_id(entry.received_us, entry.message_id)
                ),
                false => chance::Uuid(entry.message_id).to_string(),
            },
            headers: entry.headers.iter().map(|(n, v)| (*n, v.as_str())).collect(),
            payload: match serde_json::from_slice(&entry.payload) {
                Ok(json) => Payload::Json(json),
                Err(_) => Payload::Text(String::from_utf8_lossy(&entry.payload)),
            },
            connection: entry.connection,
            stream: entry.stream,
        }
    }
}

pub(super) async fn list(core: &Core, mut query: Query) -> Result<Response<Body>, Problem> {
    let filter = Filter {
        provider: query.provider()?,
        token: query.text("token"),
        status: query.number("status", 599)?,
        since: query.number("since", u64::MAX)?.unwrap_or(0),
        until: None,
    };
    let limit = query.number("limit", MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let format = query.one_of("format", &["json", "ndjson"])?;
    let wait = query.duration("wait")?;
    let count: usize = query.number("count", usize::MAX)?.unwrap_or(1);
    query.finish()?;
    if let Some(wait) = wait {
        // Only what is new since the last look is counted; an emptied ledger is counted anew.
        let (mut seen, mut ahead) = (0, filter.clone());
        poll_until(wait, || {
            let (received, _) = core.ledger.progress();
            if received < ahead.since && ahead.since > filter.since {
                (seen, ahead.since) = (0, filter.since);
            }
            if received > ahead.since {
                ahead.until = Some(received);
                seen += core.ledger.count(&ahead);
                ahead.since = received;
            }
            seen >= count
        })
        .await;
    }
    let (entries, total) = core.ledger.list(&filter, limit);
    let next = entries.last().map_or(filter.since, |entry| entry.sequence);
    let shown: Vec<_> = entries.iter().map(Shown::new).collect();
    if format == Some("ndjson") {
        let mut text = String::new();
        for entry in &shown {
            text.push_str(&serde_json::to_string(entry).unwrap_or_default());
            text.push('\n');
        }
        return Ok(full(StatusCode::OK, "application/x-ndjson", text));
    }
    Ok(ok(&LedgerPage {
        total,
        next,
        entries: shown,
    }))
}

#[derive(Serialize)]
struct LedgerPage<'a> {
    /// Entries that fit the filter, in this answer or not.
    total: usize,
    /// `since` of the next request.
    next: u64,
    entries: Vec<Shown<'a>>,
}

/// Looks until `done` or until `wait` is over.
async fn poll_until(wait: Duration, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + wait;
    while !done() && Instant::now() < end {
        sleep(TICK).await;
    }
}

pub(super) async fn summary(core: &Core, mut query: Query) -> Result<Response<Body>, Problem> {
    let wait = query.duration("wait")?;
    let wanted_received = query.number("received", u64::MAX)?;
    let wanted_accepted = query.number("accepted", u64::MAX)?;
    query.finish()?;
    if let Some(wait) = wait {
        let wanted_received = match wanted_accepted {
            Some(_) => wanted_received.unwrap_or(0),
            None => wanted_received.unwrap_or(1),
        };
        poll_until(wait, || {
            let (received, accepted) = core.ledger.progress();
            received >= wanted_received && accepted >= wanted_accepted.unwrap_or(0)
        })
        .await;
    }
    let mut providers = serde_json::Map::new();
    let (mut received, mut accepted) = (0, 0);
    for provider in Provider::ALL {
        let totals = core.ledger.totals(provider);
        received += totals.received;
        accepted += totals.accepted;
        let statuses: BTreeMap<String, u64> = totals
            .statuses
            .iter()
            .map(|(status, count)| {
                let name = status.map_or("none".to_owned(), |status| status.to_string());
                (name, *count)
            })
            .collect();
        providers.insert(
            provider.name().to_owned(),
            json!({
                "received": totals.received,
                "accepted": totals.accepted,
                "statuses": statuses,
                "distinct_tokens": totals.distinct_tokens,
                "duplicate_tokens": totals.duplicate_tokens,
            }),
        );
    }
    Ok(ok(&json!({
        "received": received,
        "accepted": accepted,
        "providers": providers,
    })))
}

/// Every token, one line each, a shard at a time so that a million of them need no large buffer.
pub(super) fn tokens(control: &Control, mut query: Query) -> Result<Response<Body>, Problem> {
    #[derive(Serialize)]
    struct Line<'a> {
        provider: Provider,
        token: &'a str,
        received: u64,
        accepted: u64,
    }

    let provider = query.provider()?;
    query.finish()?;
    let core = Arc::clone(&control.core);
    let pieces = (0..Ledger::PIECES).flat_map(move |piece| {
        Provider::ALL
            .into_iter()
            .filter(move |one| provider.is_none_or(|wanted| wanted == *one))
            .map(move |one| (one, piece))
    });
    let frames = pieces.map(move |(provider, piece)| {
        let mut text = Vec::new();
        for (token, tally) in core.ledger.tokens(provider, piece) {
            let line = Line {
                provider,
                token: &token,
                received: tally.received,
                accepted: tally.accepted,
            };
            if serde_json::to_writer(&mut text, &line).is_ok() {
                text.push(b'\n');
            }
        }
        Ok::<_, Infallible>(Frame::data(Bytes::from(text)))
    });
    let body = BodyExt::boxed(StreamBody::new(stream::iter(frames)));
    Ok(with_type(StatusCode::OK, "application/x-ndjson", body))
}
