//! The control API: plain HTTP on its own port, for tests, scripts and people with curl.
//!
//! Adding an operation: an arm in [`route`] and a line in [`ENDPOINTS`], which `GET /` shows.

mod ledger;
mod phones;

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, Limited, combinators::BoxBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet, time::sleep};

use crate::{
    Addresses,
    clock::rfc3339,
    core::Core,
    ledger::{Filter, Provider},
    magic,
    query::Query,
    script::Script,
    stop::Stop,
    tray,
};

/// Largest script, in bytes: 100,000 rules with tokens of usual length.
const MAX_SCRIPT: usize = 64 * 1024 * 1024;

const ENDPOINTS: &[(&str, &str)] = &[
    ("GET /", "this page"),
    ("GET /health", "200 as long as the sandbox runs"),
    (
        "GET /ca.pem",
        "the certificate authority that clients have to trust",
    ),
    (
        "GET /ledger",
        "what was received: provider, token, status, since, limit, format=ndjson, wait=5s with count",
    ),
    (
        "GET /ledger/summary",
        "counts by provider and status, distinct and duplicate tokens: wait=5s with received or accepted",
    ),
    (
        "GET /ledger/tokens",
        "NDJSON of every token and how often it was sent to: provider",
    ),
    ("DELETE /ledger", "forget everything received"),
    (
        "GET /totals",
        "what people see: accepted requests, devices, tray entries, replacements and both kinds of duplicates: key, provider",
    ),
    (
        "GET /trays",
        "NDJSON of the same for every phone: key, provider, duplicates=true",
    ),
    (
        "GET /trays/{token}",
        "what the phone with this token shows: provider",
    ),
    ("GET /script", "the rules, and how many requests each took"),
    ("PUT /script", "new rules in place of all"),
    (
        "POST /script",
        "more rules after the others; all counts start anew",
    ),
    ("DELETE /script", "no rules"),
    (
        "GET /load",
        "with load_only: sends accepted and limited, and when the first and the last came",
    ),
    (
        "GET /load/timeline",
        "with load_timeline: the same in tenths of a second, by the message's title",
    ),
    ("DELETE /load", "count sends anew"),
    ("GET /magic", "tokens that name the answer they get"),
    ("GET /clock", "the sandbox's time"),
    ("PUT /clock", "move it: {\"offset_ms\": 3600000}"),
    (
        "GET /access-tokens",
        "how many access tokens were handed out, and asked for",
    ),
    ("DELETE /access-tokens", "make all of them invalid"),
];

type Body = BoxBody<Bytes, Infallible>;

/// The control API of one sandbox.
pub(crate) struct Control {
    pub(crate) core: Arc<Core>,
    pub(crate) addresses: Addresses,
    pub(crate) ca_pem: String,
}

/// An answer that says what the caller did wrong.
#[derive(Debug)]
struct Problem {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Problem {
    fn bad_request(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "BAD_REQUEST",
            message: message.into(),
        }
    }
}

impl From<crate::query::QueryError> for Problem {
    fn from(error: crate::query::QueryError) -> Self {
        Self::bad_request(error.to_string())
    }
}

/// Serves the control API until `stop` turns true.
pub(crate) async fn serve(listener: TcpListener, control: Arc<Control>, mut stop: Stop) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            _ = stop.wait() => break,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => {
                    let control = Arc::clone(&control);
                    tasks.spawn(async move {
                        let _ = tcp.set_nodelay(true);
                        let service = hyper::service::service_fn(|request| {
                            let control = Arc::clone(&control);
                            async move { Ok::<_, Infallible>(answer(&control, request).await) }
                        });
                        let served = hyper::server::conn::http1::Builder::new()
                            .timer(TokioTimer::new())
                            .serve_connection(TokioIo::new(tcp), service)
                            .await;
                        if let Err(error) = served {
                            tracing::debug!(%error, "control connection ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a control connection");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
    // Nothing here is worth waiting for: a long poll would hold the shutdown up.
    tasks.shutdown().await;
}

async fn answer(control: &Control, request: Request<Incoming>) -> Response<Body> {
    match route(control, request).await {
        Ok(response) => response,
        Err(Problem {
            status,
            code,
            message,
        }) => json_response(status, &json!({"error": {"code": code, "message": message}})),
    }
}

async fn route(control: &Control, request: Request<Incoming>) -> Result<Response<Body>, Problem> {
    let core = &*control.core;
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let query = Query::parse(head.uri.query().unwrap_or_default());
    match (&head.method, path.as_str()) {
        (&Method::GET, "/") => Ok(ok(&about(control))),
        (&Method::GET, "/health") => Ok(ok(&json!({"status": "ok"}))),
        (&Method::GET, "/ca.pem") => Ok(full(
            StatusCode::OK,
            "application/x-pem-file",
            control.ca_pem.clone(),
        )),
        (&Method::GET, "/ledger") => ledger::list(core, query).await,
        (&Method::DELETE, "/ledger") => {
            core.ledger.clear();
            Ok(no_content())
        }
        (&Method::GET, "/ledger/summary") => ledger::summary(core, query).await,
        (&Method::GET, "/ledger/tokens") => ledger::tokens(control, query),
        (&Method::GET, "/totals") => phones::totals(control, query).await,
        (&Method::GET, "/trays") => phones::list(control, query),
        (&Method::GET, "/script") => Ok(ok(&script(core))),
        (&Method::PUT, "/script") => {
            let script: Script = read(body).await?;
            replace(core, script)
        }
        (&Method::POST, "/script") => {
            let more: Script = read(body).await?;
            let (mut script, _) = core.director.report();
            script.rules.extend(more.rules);
            replace(core, script)
        }
        (&Method::DELETE, "/script") => {
            replace(core, Script::default())?;
            Ok(no_content())
        }
        (&Method::GET, "/load") => Ok(ok(&core.load.read())),
        (&Method::GET, "/load/timeline") => Ok(ok(&core.load.timeline.read())),
        (&Method::DELETE, "/load") => {
            core.load.clear();
            Ok(no_content())
        }
        (&Method::GET, "/magic") => Ok(ok(&magic_tokens())),
        (&Method::GET, "/clock") => Ok(ok(&clock(core))),
        (&Method::PUT, "/clock") => {
            let Move { offset_ms } = read(body).await?;
            core.clock.set_offset_ms(offset_ms);
            Ok(ok(&clock(core)))
        }
        (&Method::GET, "/access-tokens") => Ok(ok(&json!({
            "issued": core.access_tokens.issued(),
            "requests": core.access_tokens.requests(),
        }))),
        (&Method::DELETE, "/access-tokens") => {
            core.access_tokens.revoke_all();
            Ok(no_content())
        }
        (&Method::GET, path) if path.starts_with("/trays/") => {
            show_tray(core, query, &path["/trays/".len()..])
        }
        (method, path) => Err(unknown(method, path)),
    }
}

fn unknown(method: &Method, path: &str) -> Problem {
    let methods: Vec<_> = ENDPOINTS
        .iter()
        .filter_map(|(endpoint, _)| endpoint.split_once(' '))
        .filter(|(_, known)| *known == path)
        .map(|(method, _)| method)
        .collect();
    match methods.is_empty() {
        true => Problem {
            status: StatusCode::NOT_FOUND,
            code: "NOT_FOUND",
            message: format!("there is no {path}; GET / lists what there is"),
        },
        false => Problem {
            status: StatusCode::METHOD_NOT_ALLOWED,
            code: "METHOD_NOT_ALLOWED",
            message: format!("{path} takes {}, not {method}", methods.join(", ")),
        },
    }
}

fn about(control: &Control) -> Value {
    let endpoints: serde_json::Map<_, _> = ENDPOINTS
        .iter()
        .map(|(endpoint, text)| ((*endpoint).to_owned(), json!(text)))
        .collect();
    let addresses = &control.addresses;
    json!({
        "name": "jraze sandbox",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "A stand-in for FCM and APNs. Nothing sent here reaches a phone.",
        "addresses": {
            "fcm_base_url": addresses.fcm_base_url,
            "oauth_token_url": addresses.oauth_token_url,
            "apns_base_url": addresses.apns_base_url,
            "control_url": addresses.control_url,
        },
        "endpoints": endpoints,
    })
}

fn magic_tokens() -> Value {
    let of = |provider| -> BTreeMap<&str, &str> { magic::list(provider).collect() };
    json!({"fcm": of(Provider::Fcm), "apns": of(Provider::Apns)})
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    offset_ms: i64,
}

fn clock(core: &Core) -> Value {
    json!({"now": rfc3339(core.clock.now_us()), "offset_ms": core.clock.offset_ms()})
}

fn script(core: &Core) -> Value {
    let (script, taken) = core.director.report();
    let rules: Vec<_> = script
        .rules
        .iter()
        .zip(taken)
        .map(|(rule, taken)| json!({"rule": rule, "taken": taken}))
        .collect();
    json!({"rules": rules})
}

fn replace(core: &Core, new: Script) -> Result<Response<Body>, Problem> {
    let rules = new.rules.len();
    core.director
        .replace(new)
        .map_err(|error| Problem::bad_request(error.to_string()))?;
    Ok(ok(&json!({"rules": rules})))
}

async fn read<T: for<'de> Deserialize<'de>>(body: Incoming) -> Result<T, Problem> {
    let body = Limited::new(body, MAX_SCRIPT)
        .collect()
        .await
        .map_err(|error| Problem::bad_request(format!("the body cannot be read: {error}")))?
        .to_bytes();
    serde_json::from_slice(&body)
        .map_err(|error| Problem::bad_request(format!("the body is not what it should be: {error}")))
}

fn show_tray(core: &Core, mut query: Query, token: &str) -> Result<Response<Body>, Problem> {
    let filter = Filter {
        provider: query.provider()?,
        token: Some(crate::query::percent_decode(token)),
        ..Filter::default()
    };
    query.finish()?;
    let (entries, _) = core.ledger.list(&filter, ledger::MAX_LIMIT);
    let token = filter.token.as_deref().unwrap_or_default();
    Ok(ok(&tray::tray(token, &entries)))
}

fn ok(value: &impl Serialize) -> Response<Body> {
    json_response(StatusCode::OK, value)
}

fn json_response(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    full(status, "application/json", text)
}

fn no_content() -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::new()).boxed());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn full(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    with_type(status, kind, Full::new(text.into()).boxed())
}

fn with_type(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}
