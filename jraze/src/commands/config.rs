//! `jraze config check | reference`.

use clap::Subcommand;
use serde_json::json;

use super::Done;
use crate::{
    output::Output,
    settings::{Settings, Sources},
};

const INTRODUCTION: &str = "\
# Configuration

<!-- Generated from the settings types: run `make generate`. -->

Four sources, the later ones win: the defaults below, a TOML file (`--config FILE` or
`JRAZE_CONFIG`), the environment (`JRAZE_A__B` is the key `a.b`), flags (`--set KEY=VALUE` and those
of the commands). One file serves every role; each reads its part.

A key that does not exist is refused with a suggestion, in the file and in the environment. Every
secret can be given as the name of a file that holds it. File names are relative to the working
directory. `jraze config check` reads everything and says what is wrong.

Beside the keys, these variables are read: `JRAZE_LOG` (or `RUST_LOG`) for what is logged,
`JRAZE_API` and `JRAZE_KEY` for the commands that talk to a server, `JRAZE_MONGOD` for the MongoDB
server that `jraze dev` starts.

";

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Read the configuration as a role would, and say what is wrong with it
    Check,
    /// Print every key, as Markdown
    Reference,
}

pub(crate) fn run(command: ConfigCommand, sources: &Sources, output: Output) -> anyhow::Result<Done> {
    match command {
        ConfigCommand::Check => {
            let settings = sources.load()?;
            settings.worker.validate()?;
            output.line("the configuration is good");
            output.event(&json!({"event": "done", "ok": true}));
        }
        ConfigCommand::Reference => output.text(reference().trim_end()),
    }
    Ok(Done::Fully)
}

/// The page `docs/src/configuration.md`.
fn reference() -> String {
    format!(
        "{INTRODUCTION}{}",
        jraze_runtime::config_reference::markdown::<Settings>()
    )
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    #[test]
    fn the_committed_reference_is_current() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/configuration.md");
        let committed = fs::read_to_string(page).unwrap();
        assert!(
            committed.trim_end() == super::reference().trim_end(),
            "docs/src/configuration.md is stale, run: make generate"
        );
    }
}
