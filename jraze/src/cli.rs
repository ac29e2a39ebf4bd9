//! The commands and their flags.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::commands::{apps, campaign, config, dev, doctor, export, import, keys, roles};

/// Self-hosted push campaigns: import devices, choose an audience, launch, see exact counts.
///
/// Start with `jraze dev`: everything in one process, nothing leaves the machine.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// TOML file with the settings of the roles
    #[arg(long, global = true, env = "JRAZE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Set one key of the configuration, e.g. `--set worker.max_in_flight=200`; wins over everything
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Answer with one JSON object a line, for scripts
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Everything in one process: database, API, workers, pretend FCM and APNs, sample devices
    Dev(dev::DevArgs),
    /// Run the API server
    Apiserver(roles::ApiserverArgs),
    /// Run a worker: streams audiences and sends
    Worker,
    /// Run a result worker: folds outcomes into counts and closes campaigns
    ResultWorker,
    /// Run the pretend FCM and APNs, also for other projects' tests
    Sandbox(roles::SandboxArgs),
    /// Bring the database's indexes and documents up to this version
    Migrate,
    /// Print the OpenAPI document
    Openapi,
    /// Import devices from an NDJSON or CSV file
    Import(import::ImportArgs),
    /// Export all devices as NDJSON
    Export(export::ExportArgs),
    /// Create, launch, watch and stop campaigns
    #[command(subcommand)]
    Campaign(campaign::CampaignCommand),
    /// Create, list and revoke keys (talks to the database)
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Create and list apps (talks to the database)
    #[command(subcommand)]
    Apps(apps::AppsCommand),
    /// Check the configuration, or print its reference
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Is everything in place? Each line says what to do
    Doctor(doctor::DoctorArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
