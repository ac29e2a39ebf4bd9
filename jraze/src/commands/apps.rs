//! `jraze apps create | list | index`: tenants, straight in the database.

use clap::Subcommand;
use jraze_domain::property::PropertyKey;
use jraze_runtime::clock::{Clock as _, SystemClock};
use jraze_storage::{
    StorageError, Store,
    apps::Apps,
    indexed_properties::{IndexedProperties, MOST_INDEXED},
};
use serde_json::json;
use toml::Table;

use super::{Done, millis, roles::first_start};
use crate::{database, output::Output, settings::Sources};

#[derive(Debug, Subcommand)]
pub(crate) enum AppsCommand {
    /// Create an app; give it keys with `jraze keys create --app`
    Create {
        /// Name for commands: small letters, digits and -, beginning with a letter
        #[arg(value_parser = slug)]
        slug: String,
        /// Name for people; the slug when absent
        #[arg(long)]
        name: Option<String>,
    },
    /// List the apps
    List,
    /// Index a property that narrow audiences ask for, so that they are counted without reading everybody;
    /// every write of a device costs more for it. Eight at most
    Index {
        /// The property; without one, the indexed ones are listed
        property: Option<String>,
        /// Whose; as in `jraze apps list`
        #[arg(long, default_value = "default")]
        app: String,
        /// Drop its index
        #[arg(long, requires = "property")]
        remove: bool,
    },
}

fn slug(text: &str) -> Result<String, String> {
    let good = text.starts_with(|first: char| first.is_ascii_lowercase())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && text.len() <= 64;
    if good {
        Ok(text.to_owned())
    } else {
        Err("expected small letters, digits and -, beginning with a letter".into())
    }
}

pub(crate) async fn run(command: AppsCommand, sources: &Sources, output: Output) -> anyhow::Result<Done> {
    let store = open(sources).await?;
    let apps = Apps::new(&store);
    match command {
        AppsCommand::Create { slug, name } => {
            // App 1 is the first start's; it must not become somebody's by accident.
            first_start(&store, output).await?;
            let name = name.unwrap_or_else(|| slug.clone());
            let app = apps.create(&slug, &name, SystemClock.now()).await;
            let app = app.map_err(|error| match error {
                StorageError::Conflict { .. } => anyhow::anyhow!("there is already an app {slug}"),
                error => error.into(),
            })?;
            output.line(format!("app {} ({})", app.id.0, app.slug));
            output.event(&json!({"event": "created", "app": app.id.0, "slug": app.slug, "name": app.name}));
        }
        AppsCommand::List => {
            let apps = apps.list().await?;
            let rows: Vec<_> = apps
                .iter()
                .map(|app| {
                    let created = app.created_at.format("%Y-%m-%d %H:%M").to_string();
                    vec![app.id.0.to_string(), app.slug.clone(), created, app.name.clone()]
                })
                .collect();
            output.table(&["app", "slug", "created", "name"], &rows);
            for app in apps {
                output.event(&json!({
                    "app": app.id.0, "slug": app.slug, "name": app.name, "created_at": millis(app.created_at),
                }));
            }
        }
        AppsCommand::Index {
            property,
            app,
            remove,
        } => {
            let found = apps.find_by_slug(&app).await?;
            let found =
                found.ok_or_else(|| anyhow::anyhow!("there is no app {app}: see `jraze apps list`"))?;
            let indexed = IndexedProperties::new(&store);
            if let Some(property) = &property {
                let key = PropertyKey::new(property)?;
                if remove {
                    let dropped = indexed.remove(found.id, &key).await?;
                    anyhow::ensure!(dropped, "{property} has no index");
                } else {
                    let added = indexed.add(found.id, &key).await?;
                    anyhow::ensure!(
                        added,
                        "{app} has {MOST_INDEXED} indexed properties already: remove one"
                    );
                }
            }
            let mut all = indexed.list(found.id).await?;
            all.sort();
            let rows: Vec<_> = all.iter().map(|key| vec![key.as_str().to_owned()]).collect();
            output.table(&["indexed property"], &rows);
            for key in &all {
                output.event(&json!({"app": found.id.0, "indexed": key.as_str()}));
            }
        }
    }
    store.close().await;
    Ok(Done::Fully)
}

/// The database, migrated.
pub(super) async fn open(sources: &Sources) -> anyhow::Result<Store> {
    let settings = sources.start(Table::new(), Table::new())?;
    database::open(&settings.mongodb).await
}
