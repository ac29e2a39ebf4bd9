//! `jraze migrate`: what every role does at its start, on its own; for deployments that want it as
//! a step before the rollout.

use serde_json::json;
use toml::Table;

use super::Done;
use crate::{database, output::Output, settings::Sources};

pub(crate) async fn run(sources: &Sources, output: Output) -> anyhow::Result<Done> {
    let settings = sources.start(Table::new(), Table::new())?;
    let store = database::connect(&settings.mongodb).await?;
    let applied = database::migrate(&store, &settings.mongodb).await?;
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
