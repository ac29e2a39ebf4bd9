//! One file for each command; [`run`] picks it.

pub(crate) mod apps;
pub(crate) mod campaign;
pub(crate) mod config;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod keys;
pub(crate) mod migrate;
pub(crate) mod openapi;
pub(crate) mod roles;
pub(crate) mod watch;

use chrono::{DateTime, SecondsFormat, Utc};
use jraze_runtime::config::HumanDuration;

use crate::{
    cli::{Cli, Command},
    output::Output,
    settings::Sources,
};

/// How a command that ran to its end ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    /// All of it.
    Fully,
    /// Not at all; the reason was said on the way.
    Failed,
    /// Some of it: the rest was reported on the way.
    Partly,
}

/// Runs the command.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<Done> {
    let output = Output::new(cli.json);
    let sources = Sources::new(cli.config, cli.set);
    match cli.command {
        Command::Dev(args) => dev::run(args, &sources, output).await,
        Command::Apiserver(args) => roles::apiserver(args, &sources, output).await,
        Command::Worker => roles::worker(&sources).await,
        Command::ResultWorker => roles::result_worker(&sources).await,
        Command::Sandbox(args) => roles::sandbox(args, &sources, output).await,
        Command::Migrate => migrate::run(&sources, output).await,
        Command::Openapi => openapi::run(output),
        Command::Import(args) => import::run(args, output).await,
        Command::Export(args) => export::run(args, output).await,
        Command::Campaign(command) => campaign::run(command, output).await,
        Command::Keys(command) => keys::run(command, &sources, output).await,
        Command::Apps(command) => apps::run(command, &sources, output).await,
        Command::Config(command) => config::run(command, &sources, output),
        Command::Doctor(args) => doctor::run(args, &sources, output).await,
    }
}

/// So long after `now`, unless the calendar does not go that far.
fn later(now: DateTime<Utc>, wait: HumanDuration) -> Option<DateTime<Utc>> {
    now.checked_add_signed(chrono::TimeDelta::from_std(wait.get()).ok()?)
}

/// A time as everything on the wire has it: RFC 3339 with milliseconds.
fn millis(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
