//! The roles on their own: `jraze apiserver | worker | result-worker | sandbox`.
//!
//! Each reads its part of the configuration, runs until SIGINT or SIGTERM, finishes what is in
//! flight (a second signal drops it), and exits with 0.

use clap::Args;
use jraze_domain::keys::KeyKind;
use jraze_runtime::{
    clock::{Clock as _, SystemClock},
    lifecycle::Lifecycle,
};
use jraze_sandbox::Sandbox;
use jraze_storage::{
    Store,
    apps::{Apps, FirstApp},
};
use serde_json::json;
use toml::Table;

use super::Done;
use crate::{database, output::Output, random, settings::Sources, wiring};

#[derive(Debug, Args)]
pub(crate) struct ApiserverArgs {
    /// Address and port to listen on, instead of apiserver.listen
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SandboxArgs {
    /// Address that all ports listen on, instead of sandbox.listen
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where certificates and credential files are kept, instead of sandbox.state_dir
    #[arg(long, value_name = "DIR")]
    state_dir: Option<String>,
    /// Script of faults to begin with (TOML or JSON), instead of sandbox.script_file
    #[arg(long, value_name = "FILE")]
    script: Option<String>,
}

/// `[table] key = value` for the flags that are given.
fn flags<const N: usize>(table: &str, given: [(&str, Option<String>); N]) -> Table {
    let keys: Table = given
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?.into())))
        .collect();
    Table::from_iter([(table.to_owned(), keys.into())])
}

pub(crate) async fn apiserver(
    args: ApiserverArgs,
    sources: &Sources,
    output: Output,
) -> anyhow::Result<Done> {
    let flags = flags("apiserver", [("listen", args.listen)]);
    let settings = sources.start(Table::new(), flags)?;
    let store = database::open(&settings.mongodb).await?;
    first_start(&store, output).await?;
    let lifecycle = Lifecycle::new();
    let (_, server) = wiring::apiserver(&settings.apiserver, store.clone(), lifecycle.clone()).await?;
    let done = wiring::until_stopped(lifecycle, server).await;
    store.close().await;
    done
}

/// A database without an app gets one, and its keys are shown: now or never.
pub(super) async fn first_start(store: &Store, output: Output) -> anyhow::Result<()> {
    let mut generator = random::generator();
    let first = Apps::new(store)
        .ensure_first(|| random::key_entropy(&mut generator), SystemClock.now())
        .await?;
    let Some(FirstApp { app, keys }) = first else {
        return Ok(());
    };
    output.line(format!(
        "First start: app {} ({}). Its keys, shown once:",
        app.id.0, app.slug
    ));
    for created in &keys {
        let use_for = match created.key.kind {
            KeyKind::Admin => "people and dashboards",
            KeyKind::Server => "your backend",
            KeyKind::Client => "shipped in apps",
            KeyKind::Internal => "worker.internal_key, result_worker.internal_key",
        };
        let kind = created.key.kind.name();
        output.line(format!("  {kind:<9} {}  {use_for}", created.text.reveal()));
        output.event(&json!({"event": "key", "kind": kind, "key": created.text.reveal()}));
    }
    Ok(())
}

pub(crate) async fn worker(sources: &Sources) -> anyhow::Result<Done> {
    let settings = sources.start(Table::new(), Table::new())?;
    let store = database::open_to_repeat(&settings.mongodb).await?;
    let lifecycle = Lifecycle::new();
    let role = wiring::worker(
        settings.worker,
        settings.credentials,
        store.clone(),
        lifecycle.clone(),
    );
    let done = wiring::until_stopped(lifecycle, role).await;
    store.close().await;
    done
}

pub(crate) async fn result_worker(sources: &Sources) -> anyhow::Result<Done> {
    let settings = sources.start(Table::new(), Table::new())?;
    let store = database::open(&settings.mongodb).await?;
    let lifecycle = Lifecycle::new();
    let role = wiring::result_worker(settings.result_worker, store.clone(), lifecycle.clone());
    let done = wiring::until_stopped(lifecycle, role).await;
    store.close().await;
    done
}

pub(crate) async fn sandbox(args: SandboxArgs, sources: &Sources, output: Output) -> anyhow::Result<Done> {
    let flags = flags(
        "sandbox",
        [
            ("listen", args.listen),
            ("state_dir", args.state_dir),
            ("script_file", args.script),
        ],
    );
    let settings = sources.start(Table::new(), flags)?;
    let sandbox = Sandbox::start(settings.sandbox).await?;
    for (label, value) in [
        ("Control", sandbox.control_url().to_owned()),
        ("FCM", sandbox.fcm_base_url().to_owned()),
        ("OAuth", sandbox.oauth_token_url().to_owned()),
        ("APNs", sandbox.apns_base_url().to_owned()),
        ("Authority", sandbox.ca_file().display().to_string()),
        ("Account", sandbox.service_account_file().display().to_string()),
        ("APNs key", sandbox.apns_key_file().display().to_string()),
    ] {
        output.line(format!("  {label:<10} {value}"));
    }
    output.event(&json!({
        "event": "ready", "control": sandbox.control_url(), "fcm": sandbox.fcm_base_url(),
        "oauth": sandbox.oauth_token_url(), "apns": sandbox.apns_base_url(),
        "ca_file": sandbox.ca_file(), "service_account_file": sandbox.service_account_file(),
        "apns_key_file": sandbox.apns_key_file(), "apns_key_id": sandbox.apns_key_id(),
        "apns_team_id": sandbox.apns_team_id(), "apns_topic": sandbox.apns_topic(),
    }));
    let lifecycle = Lifecycle::new();
    let stopping = lifecycle.stopping().clone();
    let role = async move {
        stopping.cancelled().await;
        sandbox.shutdown().await;
        Ok(())
    };
    wiring::until_stopped(lifecycle, role).await
}
