//! `jraze doctor`: is everything in place? Each line is a check, a failed one says what to do.

use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use jraze_openapi::dto::{Health, Notification};
use jraze_providers::ProviderSet;
use jraze_runtime::clock::SystemClock;
use jraze_storage::migrations;
use serde_json::json;
use toml::Table;

use super::Done;
use crate::{
    client::{Client, ClientArgs},
    database,
    output::Output,
    settings::{Settings, Sources},
};

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    client: ClientArgs,
}

/// The checks so far.
struct Report {
    output: Output,
    failed: usize,
}

impl Report {
    fn note(&mut self, check: &str, outcome: anyhow::Result<String>) {
        let (good, text) = match outcome {
            Ok(text) => (true, text),
            Err(error) => (false, format!("{error:#}")),
        };
        self.failed += usize::from(!good);
        self.output
            .line(format!("{} {check:<14} {text}", if good { "✓" } else { "✗" }));
        self.output
            .event(&json!({"check": check, "ok": good, "text": text}));
    }

    fn skip(&self, check: &str, why: &str) {
        self.output.line(format!("- {check:<14} {why}"));
        self.output
            .event(&json!({"check": check, "ok": null, "text": why}));
    }
}

pub(crate) async fn run(args: DoctorArgs, sources: &Sources, output: Output) -> anyhow::Result<Done> {
    let mut report = Report { output, failed: 0 };
    match sources.start(Table::new(), Table::new()) {
        Ok(settings) => {
            report.note(
                "configuration",
                settings
                    .worker
                    .validate()
                    .map(|()| "read".into())
                    .map_err(Into::into),
            );
            database(&settings, &mut report).await;
            credentials(settings, &mut report);
        }
        Err(error) => report.note("configuration", Err(error)),
    }
    server(&args.client, &mut report).await;
    Ok(if report.failed == 0 {
        Done::Fully
    } else {
        Done::Failed
    })
}

async fn database(settings: &Settings, report: &mut Report) {
    let store = match database::connect(&settings.mongodb).await {
        Ok(store) => store,
        Err(error) => return report.note("database", Err(error)),
    };
    let version = store.server_version().await;
    report.note(
        "database",
        version.map_err(Into::into).map(|version| {
            let name = &settings.mongodb.database;
            format!("a replica set of MongoDB {version} answers; database {name:?}")
        }),
    );
    let pending = migrations::pending(&store).await;
    report.note(
        "migrations",
        pending.map(|names| migrations_text(&names)).map_err(Into::into),
    );
    store.close().await;
}

/// Steps that wait are no fault: the next start of any role takes them.
fn migrations_text(pending: &[&str]) -> String {
    if pending.is_empty() {
        return "all applied".to_owned();
    }
    let (count, names) = (pending.len(), pending.join(", "));
    format!("{count} pending ({names}): the next start applies them, or `jraze migrate`")
}

fn credentials(settings: Settings, report: &mut Report) {
    if settings.credentials.is_empty() {
        return report.skip("credentials", "none configured: workers can send nothing");
    }
    let set = ProviderSet::from_settings(settings.credentials, Arc::new(SystemClock), 0);
    report.note(
        "credentials",
        set.map_err(Into::into).map(|set| {
            let names = set
                .configured()
                .map(|(app, platform)| format!("{} of app {}", platform.name(), app.0));
            names.collect::<Vec<_>>().join(", ")
        }),
    );
}

async fn server(args: &ClientArgs, report: &mut Report) {
    let client = match args.anonymous() {
        Ok(client) => client,
        Err(error) => return report.note("API server", Err(error)),
    };
    let health = client.get(&["health", "ready"]).send::<Health>().await;
    let is_there = health.is_ok();
    report.note(
        "API server",
        health
            .map(|health| format!("ready, version {}", health.version))
            .map_err(Into::into),
    );
    if is_there && args.has_key() {
        report.note("key", key(&client).await);
    } else {
        report.skip(
            "key",
            if is_there {
                "not given (--key, JRAZE_KEY)"
            } else {
                "not tried"
            },
        );
    }
}

async fn key(client: &Client) -> anyhow::Result<String> {
    let campaigns = client
        .get(&["notifications"])
        .query("size", 1)
        .send::<Vec<Notification>>()
        .await;
    campaigns.context("the key cannot read campaigns")?;
    Ok("good, may read campaigns".into())
}

#[cfg(test)]
mod tests {
    use super::migrations_text;

    #[test]
    fn migrations_that_wait_are_named_with_what_applies_them() {
        assert_eq!(migrations_text(&[]), "all applied");
        let text = migrations_text(&["one", "two"]);
        assert!(
            text.starts_with("2 pending (one, two)") && text.contains("jraze migrate"),
            "{text}"
        );
    }
}
