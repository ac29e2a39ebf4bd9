//! `jraze keys create | list | revoke`: straight in the database, because the first key cannot come
//! from an API that wants one.

use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use jraze_domain::{
    ids::AppId,
    keys::{KeyKind, Scope, Scopes},
};
use jraze_runtime::{
    clock::{Clock as _, SystemClock},
    config::HumanDuration,
};
use jraze_storage::{
    Store,
    apps::Apps,
    keys::{Key, Keys, NewKey},
};
use serde_json::{Value, json};

use super::{Done, apps::open, later, millis};
use crate::{output::Output, random, settings::Sources};

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Create a key; it is shown once
    Create(CreateArgs),
    /// List keys, without their secrets
    List {
        /// The app, by number or slug
        #[arg(long, default_value = "1")]
        app: String,
    },
    /// End a key
    Revoke {
        /// The id of the key, as `jraze keys list` shows it
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// What it is for: admin, server, client (shipped in apps) or internal (workers)
    #[arg(value_parser = kind)]
    kind: KeyKind,
    /// The app, by number or slug; 1 when absent. Not for internal keys, which are for all apps
    #[arg(long)]
    app: Option<String>,
    /// What people call it
    #[arg(long, default_value = "")]
    name: String,
    /// Only these scopes, comma-separated; all of its kind when absent
    #[arg(long, value_delimiter = ',', value_parser = scope)]
    scopes: Option<Vec<Scope>>,
    /// Expires after this time, e.g. 90d
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    expires_in: Option<HumanDuration>,
}

fn kind(text: &str) -> Result<KeyKind, String> {
    KeyKind::from_name(text).ok_or_else(|| "expected admin, server, client or internal".into())
}

fn lifetime(text: &str) -> Result<HumanDuration, String> {
    let expected = || "expected a time like 90d".to_owned();
    match text.parse::<HumanDuration>() {
        Ok(time) if time.get().is_zero() => Err("such a key would never be good".into()),
        time => time.map_err(|_| expected()),
    }
}

fn scope(text: &str) -> Result<Scope, String> {
    let names = Scope::ALL.map(Scope::name).join(", ");
    Scope::from_name(text).ok_or_else(|| format!("expected one of {names}"))
}

pub(crate) async fn run(command: KeysCommand, sources: &Sources, output: Output) -> anyhow::Result<Done> {
    if let KeysCommand::Create(CreateArgs {
        kind: KeyKind::Internal,
        app: Some(_),
        ..
    }) = &command
    {
        anyhow::bail!("an internal key is for all apps: leave --app out");
    }
    let store = open(sources).await?;
    let done = match command {
        KeysCommand::Create(args) => create(args, &store, output).await,
        KeysCommand::List { app } => list(&app, &store, output).await,
        KeysCommand::Revoke { id } => revoke(&id, &store, output).await,
    };
    store.close().await;
    done
}

async fn create(args: CreateArgs, store: &Store, output: Output) -> anyhow::Result<Done> {
    let app = match args.kind {
        KeyKind::Internal => None,
        _ => Some(find_app(args.app.as_deref().unwrap_or("1"), store).await?),
    };
    let allowed = args.kind.scopes();
    let scopes: Scopes = args
        .scopes
        .map_or_else(|| allowed.clone(), |scopes| scopes.into_iter().collect());
    if let Some(beyond) = scopes.difference(&allowed).next() {
        anyhow::bail!(
            "a key of the kind {} cannot have the scope {}",
            args.kind.name(),
            beyond.name()
        );
    }
    let now = SystemClock.now();
    let expires_at = args
        .expires_in
        .map(|time| later(now, time).context("--expires-in is too far away"))
        .transpose()?;
    let new = NewKey {
        app,
        kind: args.kind,
        scopes,
        name: args.name,
        expires_at,
    };
    let entropy = random::key_entropy(&mut random::generator());
    let created = Keys::new(store).create(new, &entropy, now).await?;
    output.line(created.text.reveal());
    output.line("(shown once; keep it safe)");
    let mut event = describe(&created.key, now);
    event["event"] = "created".into();
    event["key"] = created.text.reveal().into();
    output.event(&event);
    Ok(Done::Fully)
}

async fn list(app: &str, store: &Store, output: Output) -> anyhow::Result<Done> {
    let app = find_app(app, store).await?;
    let keys = Keys::new(store);
    let mut found = keys.list(Some(app)).await?;
    found.extend(keys.list(None).await?);
    let now = SystemClock.now();
    let rows: Vec<_> = found
        .iter()
        .map(|key| {
            let time = |time: Option<DateTime<Utc>>| {
                time.map_or("-".into(), |time| time.format("%Y-%m-%d %H:%M").to_string())
            };
            vec![
                key.id.clone(),
                key.kind.name().to_owned(),
                state(key, now).to_owned(),
                time(Some(key.created_at)),
                time(key.expires_at),
                time(key.last_used_at),
                key.name.clone(),
            ]
        })
        .collect();
    output.table(
        &["id", "kind", "state", "created", "expires", "last used", "name"],
        &rows,
    );
    for key in &found {
        output.event(&describe(key, now));
    }
    Ok(Done::Fully)
}

async fn revoke(id: &str, store: &Store, output: Output) -> anyhow::Result<Done> {
    let revoked = Keys::new(store).revoke(id, SystemClock.now()).await?;
    ensure!(revoked, "no key {id}, or it was revoked before");
    output.line(format!(
        "key {id} is revoked; a server may still take it for some seconds"
    ));
    output.event(&json!({"event": "revoked", "id": id}));
    Ok(Done::Fully)
}

/// The app of that number or slug.
async fn find_app(text: &str, store: &Store) -> anyhow::Result<AppId> {
    let apps = Apps::new(store);
    let found = match text.parse() {
        Ok(number) => apps.get(AppId(number)).await?,
        Err(_) => apps.find_by_slug(text).await?,
    };
    let found = found.with_context(|| format!("no app {text}; `jraze apps list` shows those there are"))?;
    Ok(found.id)
}

fn state(key: &Key, now: DateTime<Utc>) -> &'static str {
    match key {
        Key {
            revoked_at: Some(_), ..
        } => "revoked",
        Key {
            expires_at: Some(expires),
            ..
        } if *expires <= now => "expired",
        _ => "valid",
    }
}

fn describe(key: &Key, now: DateTime<Utc>) -> Value {
    let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.name()).collect();
    json!({
        "id": key.id, "app": key.app.map(|app| app.0), "kind": key.kind.name(), "scopes": scopes,
        "name": key.name, "state": state(key, now), "created_at": millis(key.created_at),
        "expires_at": key.expires_at.map(millis), "revoked_at": key.revoked_at.map(millis),
        "last_used_at": key.last_used_at.map(millis),
    })
}
