//! `jraze migrate`: what every role does at its start, on its own; for deployments that want it as
//! a step before the rollout.

use anyhow::Context as _;
use jraze_storage::{Store, migrations};
use serde_json::json;
use toml::Table;

use super::Done;
use crate::{output::Output, settings::Sources};

pub(crate) async fn run(sources: &Sources, output: Output) -> anyhow::Result<Done> {
    let settings = sources.start(Table::new(), Table::new())?;
    let store = Store::connect(&settings.mongodb)
        .await
        .context("cannot use the database")?;
    let applied = migrations::run(&store)
        .await
        .context("the migration stopped; running it again goes on")?;
    for name in &applied {
        output.line(format!("applied: {name}"));
    }
    if applied.is_empty() {
        output.line("nothing to do");
    }
    output.event(&json!({"event": "done", "applied": applied}));
    store.close().await;
    Ok(Done::Fully)
}
