//! Log lines: readable for a person, JSON for a machine.
//!
//! On a terminal lines are coloured text, anywhere else one JSON object each (`timestamp, level,
//! target, message`, the fields of the event and of its spans), so that a collector needs no
//! pattern. What is logged is set, first one wins, by `JRAZE_LOG`, by `RUST_LOG`, by `log.level` of
//! the configuration; all three take the syntax of
//! [`EnvFilter`](https://docs.rs/tracing-subscriber/latest/tracing_subscriber/filter/struct.EnvFilter.html):
//! `info` or `warn,jraze_worker=debug`.
//!
//! Lines go to standard error: standard output belongs to what a command answers.

use std::io::IsTerminal;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, fmt, fmt::MakeWriter, layer::SubscriberExt, registry::LookupSpan,
    util::SubscriberInitExt,
};

/// What is logged, and in which shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// The least severe level that is logged (`error`, `warn`, `info`, `debug`, `trace`), also by
    /// module: `info,jraze_worker=debug`. `JRAZE_LOG` and `RUST_LOG` win over it.
    pub level: String,
    /// `auto` is `pretty` on a terminal and `json` elsewhere.
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            level: "info".into(),
            format: LogFormat::Auto,
        }
    }
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `pretty` on a terminal, `json` elsewhere.
    Auto,
    /// Coloured text.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// A filter that does not parse.
    #[error("{origin}: {filter:?} is not a log filter, expected something like \"info,jraze_worker=debug\"")]
    Filter {
        /// Where the filter was given.
        origin: &'static str,
        /// The text.
        filter: String,
        /// What the parser says.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// A subscriber was installed before.
    #[error("logging was set up twice")]
    Installed(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts logging for the whole process; called once, by `main`.
///
/// `env` looks up an environment variable.
///
/// # Errors
/// When the filter does not parse, or when logging was started before.
pub fn init(settings: &LogSettings, env: impl Fn(&str) -> Option<String>) -> Result<(), TelemetryError> {
    let terminal = std::io::stderr().is_terminal();
    let format = format_layer(settings.format, terminal, std::io::stderr);
    let filter = filter(settings, env)?;
    tracing_subscriber::registry()
        .with(format.with_filter(filter))
        .try_init()?;
    Ok(())
}

/// The filter that counts: `JRAZE_LOG`, else `RUST_LOG`, else `log.level`. Empty ones are skipped.
fn filter(settings: &LogSettings, env: impl Fn(&str) -> Option<String>) -> Result<EnvFilter, TelemetryError> {
    let from_env = ["JRAZE_LOG", "RUST_LOG"]
        .into_iter()
        .filter_map(|name| Some((name, env(name)?)))
        .find(|(_, value)| !value.is_empty());
    let (origin, filter) = from_env.unwrap_or_else(|| ("log.level", settings.level.clone()));
    EnvFilter::try_new(&filter).map_err(|source| TelemetryError::Filter {
        origin,
        filter,
        source,
    })
}

fn format_layer<S, W>(format: LogFormat, terminal: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Pretty => false,
        LogFormat::Json => true,
    };
    let layer = fmt::layer().with_writer(writer);
    if json {
        layer.json().flatten_event(true).with_span_list(false).boxed()
    } else {
        layer.with_ansi(terminal).with_target(true).compact().boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::{Layer, fmt::MakeWriter, layer::SubscriberExt};

    use super::{LogFormat, LogSettings, TelemetryError, filter, format_layer};

    #[derive(Debug, Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'writer> MakeWriter<'writer> for Lines {
        type Writer = Self;
        fn make_writer(&'writer self) -> Self {
            self.clone()
        }
    }

    fn logged(format: LogFormat, terminal: bool, env: &[(&str, &str)]) -> String {
        let lines = Lines::default();
        let lookup = |name: &str| {
            env.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let filter = filter(&LogSettings::default(), lookup).unwrap();
        let layer = format_layer(format, terminal, lines.clone()).with_filter(filter);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(device_count = 3, "partition planned");
            tracing::debug!("details");
        });
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn off_a_terminal_every_line_is_one_json_object() {
        let text = logged(LogFormat::Auto, false, &[]);
        assert_eq!(text.lines().count(), 1, "debug is below the default level");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "partition planned");
        assert_eq!(line["device_count"], 3);
        assert_eq!(line["level"], "INFO");
        assert!(line["timestamp"].is_string());
    }

    #[test]
    fn on_a_terminal_lines_are_text_unless_json_is_asked_for() {
        assert!(logged(LogFormat::Auto, true, &[]).contains("partition planned"));
        assert!(serde_json::from_str::<serde_json::Value>(&logged(LogFormat::Auto, true, &[])).is_err());
        assert!(serde_json::from_str::<serde_json::Value>(&logged(LogFormat::Json, true, &[])).is_ok());
    }

    #[test]
    fn jraze_log_wins_over_rust_log_and_that_over_the_settings() {
        let both = [("JRAZE_LOG", "debug"), ("RUST_LOG", "error")];
        assert_eq!(logged(LogFormat::Auto, false, &both).lines().count(), 2);
        assert_eq!(logged(LogFormat::Auto, false, &both[1..]), "");
        let empty = [("JRAZE_LOG", "")];
        assert_eq!(logged(LogFormat::Auto, false, &empty).lines().count(), 1);
    }

    #[test]
    fn a_filter_that_does_not_parse_is_refused_naming_where_it_was_given() {
        let error = filter(&LogSettings::default(), |_| Some("a=b=c".into())).unwrap_err();
        assert!(matches!(
            error,
            TelemetryError::Filter {
                origin: "JRAZE_LOG",
                ..
            }
        ));
    }
}
