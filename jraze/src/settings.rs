//! The whole configuration: one file serves every role, each reads its part.

use std::path::PathBuf;

use anyhow::Context as _;
use jraze_runtime::{
    config::{self, ConfigError},
    telemetry::{self, LogSettings},
};
use schemars::JsonSchema;
use serde::Deserialize;
use toml::Table;

/// Names that begin like keys and belong to the command line or to the logs. `JRAZE_TEST_` belongs
/// to the tests.
const NOT_KEYS: [&str; 5] = [
    "JRAZE_API",
    "JRAZE_KEY",
    "JRAZE_CONFIG",
    "JRAZE_LOG",
    "JRAZE_MONGOD",
];

/// Everything that can be configured.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// The database; every role but the sandbox needs it.
    pub(crate) mongodb: jraze_storage::MongoSettings,
    /// The API server.
    pub(crate) apiserver: jraze_apiserver::Settings,
    /// The workers, which send.
    pub(crate) worker: jraze_worker::Settings,
    /// The result workers, which count and close campaigns.
    pub(crate) result_worker: jraze_result_worker::Settings,
    /// What the workers present to FCM and APNs: one entry for each app and provider.
    pub(crate) credentials: jraze_worker::Credentials,
    /// The pretend FCM and APNs.
    pub(crate) sandbox: jraze_sandbox::Settings,
    /// Log lines.
    pub(crate) log: LogSettings,
}

/// Where the configuration comes from.
#[derive(Debug)]
pub(crate) struct Sources {
    file: Option<PathBuf>,
    set: Vec<String>,
}

impl Sources {
    pub(crate) fn new(file: Option<PathBuf>, set: Vec<String>) -> Self {
        Self { file, set }
    }

    /// Reads the configuration.
    pub(crate) fn load(&self) -> anyhow::Result<Settings> {
        self.load_over(Table::new(), Table::new())
    }

    /// Reads the configuration of a command with defaults (`base`) and flags (`flags`) of its own.
    /// `--set` wins over both.
    pub(crate) fn load_over(&self, base: Table, flags: Table) -> anyhow::Result<Settings> {
        let mut overrides = flags;
        for assignment in &self.set {
            merge(&mut overrides, parse_assignment(assignment)?);
        }
        let settings: Result<Settings, ConfigError> =
            config::load_over(base, self.file.as_deref(), environment(), overrides);
        Ok(settings?)
    }

    /// Reads the configuration and starts the log.
    pub(crate) fn start(&self, base: Table, flags: Table) -> anyhow::Result<Settings> {
        let settings = self.load_over(base, flags)?;
        telemetry::init(&settings.log, |name| std::env::var(name).ok())?;
        Ok(settings)
    }
}

fn environment() -> impl Iterator<Item = (String, String)> {
    let texts = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    texts.filter(|(name, _)| !NOT_KEYS.contains(&name.as_str()) && !name.starts_with("JRAZE_TEST_"))
}

/// `worker.max_in_flight=200` as TOML; what is no TOML value is taken as text, so that
/// `apiserver.listen=0.0.0.0:80` needs no quotes.
fn parse_assignment(assignment: &str) -> anyhow::Result<Table> {
    let (key, value) = assignment.split_once('=').context("--set expects KEY=VALUE")?;
    let (key, value) = (key.trim(), value.trim());
    let parsed = format!("{key} = {value}").parse::<Table>();
    let quoted = || format!("{key} = {}", toml::Value::from(value)).parse::<Table>();
    parsed
        .or_else(|_| quoted())
        .with_context(|| format!("--set {assignment}: {key} is no key"))
}

fn merge(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => merge(under, over),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::{Settings, parse_assignment};
    use crate::cli::Cli;

    #[test]
    fn the_example_in_the_help_of_set_is_a_key() {
        let command = Cli::command();
        let set = command.get_arguments().find(|arg| arg.get_id() == "set").unwrap();
        let help = set.get_help().unwrap().to_string();
        let (_, example) = help.split_once("`--set ").unwrap();
        let example = parse_assignment(example.split('`').next().unwrap()).unwrap();
        let settings: Settings = example.try_into().unwrap();
        assert_eq!(settings.worker.max_in_flight, 200);
    }

    #[test]
    fn set_takes_toml_values_and_plain_texts() {
        let set = |text: &str| parse_assignment(text).unwrap().to_string();
        assert_eq!(
            set("worker.max_in_flight=8").replace(' ', ""),
            "[worker]\nmax_in_flight=8\n"
        );
        assert_eq!(
            set("apiserver.listen=0.0.0.0:80"),
            "[apiserver]\nlisten = \"0.0.0.0:80\"\n"
        );
        assert!(parse_assignment("worker").is_err());
        assert!(parse_assignment("a b=1").is_err());
    }
}
