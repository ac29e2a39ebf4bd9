//! The page of the documentation that lists every key, made from the settings types.
//!
//! A top-level key that is a table becomes a section of its own; tables in a list are shown as
//! `credentials[].app`. The text is what the doc comments say, so the page cannot drift from the
//! code: a test compares the committed page with this output.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde_json::Value;

use crate::config::{Property, SchemaView, env_name};

/// The keys of `T` as Markdown: a section for each table, in it a table with key, environment
/// variable, type, default and description. Ends with a newline.
pub fn markdown<T: JsonSchema>() -> String {
    let root = schemars::schema_for!(T).to_value();
    let schema = SchemaView::new(&root);
    let mut text = String::new();
    for property in schema.properties() {
        section(property, &mut text);
    }
    text
}

fn section(property: Property<'_>, text: &mut String) {
    let items = property
        .schema
        .items()
        .filter(|items| !items.properties().is_empty());
    let heading = if items.is_some() {
        format!("[[{}]]", property.name)
    } else if property.schema.properties().is_empty() {
        property.name.to_owned()
    } else {
        format!("[{}]", property.name)
    };
    // Writing to a String cannot fail.
    let _ = write!(text, "## `{heading}`\n\n");
    let description = property.schema.description();
    if !description.is_empty() && heading.starts_with('[') {
        let _ = write!(text, "{description}\n\n");
    }
    let variants = items.map(SchemaView::variants).unwrap_or_default();
    if variants.is_empty() {
        let mut rows = Vec::new();
        collect(property, "", true, &mut rows);
        table(rows, text);
    }
    for (tag, value, variant) in variants {
        let _ = write!(text, "### `{tag} = \"{value}\"`\n\n");
        let description = variant.description();
        if !description.is_empty() {
            let _ = write!(text, "{description}\n\n");
        }
        let mut rows = Vec::new();
        for below in variant.properties() {
            if below.name != tag {
                collect(below, &format!("{}[]", property.name), false, &mut rows);
            }
        }
        table(rows, text);
    }
}

fn table(rows: Vec<String>, text: &mut String) {
    text.push_str("| key | environment | type | default | meaning |\n| --- | --- | --- | --- | --- |\n");
    text.extend(rows);
    text.push('\n');
}

/// One row for each key below `property`. `settable` is false inside lists, whose elements have no
/// environment variable of their own.
fn collect(property: Property<'_>, prefix: &str, settable: bool, rows: &mut Vec<String>) {
    let key = if prefix.is_empty() {
        property.name.to_owned()
    } else {
        format!("{prefix}.{}", property.name)
    };
    let schema = property.schema;
    let below = schema.properties();
    if !below.is_empty() {
        for property in below {
            collect(property, &key, settable, rows);
        }
        return;
    }
    if let Some(items) = schema.items()
        && !items.properties().is_empty()
    {
        for property in items.properties() {
            collect(property, &format!("{key}[]"), false, rows);
        }
        return;
    }
    let environment = if settable {
        format!("`{}`", env_name(&key))
    } else {
        String::new()
    };
    let default = schema
        .default_value()
        .map(|value| format!("`{}`", toml_text(value)))
        .unwrap_or_default();
    let mut meaning = schema.description();
    if schema.is_secret() {
        meaning.push_str(if settable {
            " Also as a file: append `_file` to the key, `_FILE` to the variable."
        } else {
            " Also as a file: append `_file` to the key."
        });
    }
    let cells = [
        format!("`{key}`"),
        environment,
        schema.type_text(),
        default,
        meaning,
    ];
    let cells: Vec<_> = cells.iter().map(|cell| cell.trim().replace('|', "\\|")).collect();
    rows.push(format!("| {} |\n", cells.join(" | ")));
}

/// A default as one would write it in the file.
fn toml_text(value: &Value) -> String {
    match toml::Value::try_from(value) {
        Ok(value) => value.to_string(),
        Err(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::markdown;
    use crate::{
        config::{HumanDuration, Secret},
        telemetry::LogSettings,
    };

    #[derive(Default, Deserialize, JsonSchema)]
    #[serde(default)]
    struct Settings {
        /// How to reach the database.
        mongodb: Mongo,
        log: LogSettings,
        /// One for each app and provider.
        credentials: Vec<Credential>,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(default)]
    struct Mongo {
        /// The address, a | in it
        /// over two lines.
        uri: Secret,
        timeout: HumanDuration,
    }

    impl Default for Mongo {
        fn default() -> Self {
            Self {
                uri: Secret::new("hidden"),
                timeout: HumanDuration::from_millis(1500),
            }
        }
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(tag = "provider", rename_all = "lowercase")]
    #[expect(dead_code, reason = "only its schema is looked at")]
    enum Credential {
        /// Google's.
        Fcm(Fcm),
        /// Apple's.
        Apns {
            /// The signing key.
            key_file: String,
        },
    }

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Fcm {
        /// The number of the app.
        app: u16,
    }

    #[test]
    fn every_key_has_a_row_with_variable_type_default_and_meaning() {
        let text = markdown::<Settings>();
        for line in [
            "## `[mongodb]`",
            "How to reach the database.",
            "| `mongodb.uri` | `JRAZE_MONGODB__URI` | secret text |  | The address, a \\| in it over two lines. Also as a file: append `_file` to the key, `_FILE` to the variable. |",
            "| `mongodb.timeout` | `JRAZE_MONGODB__TIMEOUT` | length of time such as \"30s\" | `\"1s 500ms\"` |  |",
            "## `[[credentials]]`",
            "One for each app and provider.",
            "### `provider = \"fcm\"`",
            "Google's.",
            "| `credentials[].app` |  | whole number from 0 to 65535 |  | The number of the app. |",
            "### `provider = \"apns\"`",
            "| `credentials[].key_file` |  | text |  | The signing key. |",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nin\n{text}");
        }
        assert!(
            text.contains("\"auto\" or \"pretty\" or \"json\" | `\"auto\"`"),
            "{text}"
        );
    }

    #[test]
    fn the_default_of_a_secret_is_not_printed() {
        assert!(!markdown::<Settings>().contains("hidden"));
    }
}
