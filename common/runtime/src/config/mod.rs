//! Reading the configuration.
//!
//! Four sources, the later ones win: the defaults in the code, a TOML file, the environment
//! (`JRAZE_A__B` is the key `a.b`), flags. A key that does not exist is refused with a suggestion
//! instead of being ignored, because a mistyped limit that silently does nothing is found out on
//! the worst day. Every [`Secret`] `x` can be given as `x_file` (`JRAZE_A__X_FILE`) instead: the
//! name of a file that holds it, as container platforms hand secrets over.
//!
//! The keys come from the types: a settings struct derives `Deserialize` and `JsonSchema` and
//! carries `#[serde(default, deny_unknown_fields)]`; its doc comments become the reference (see
//! [`crate::config_reference`]). To add a key, add a field.

mod duration;
mod error;
mod layer;
mod schema;
mod secret;

use std::{collections::BTreeMap, path::Path};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use self::layer::Layer;
pub use self::{
    duration::HumanDuration,
    error::{ConfigError, Origin},
    schema::{Property, SchemaView},
    secret::Secret,
};

/// The beginning of every environment variable that is a key.
pub const ENV_PREFIX: &str = "JRAZE_";

/// Reads a configuration: defaults < `file` < `env` < `overrides`.
///
/// `env` is the whole environment; names without the prefix `JRAZE_` are skipped, and the caller
/// leaves out those `JRAZE_` names that mean something else. `overrides` has the shape of the file
/// and holds what flags say.
///
/// # Errors
/// When the file cannot be read or is not TOML, when a key does not exist, when a value does not
/// fit its key, when a secret's file cannot be read.
pub fn load<T>(
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
    overrides: Table,
) -> Result<T, ConfigError>
where
    T: DeserializeOwned + JsonSchema,
{
    load_over(Table::new(), file, env, overrides)
}

/// Like [`load`], with other defaults: `base` lies above those of the code and below the file.
///
/// # Errors
/// As [`load`].
pub fn load_over<T>(
    base: Table,
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
    overrides: Table,
) -> Result<T, ConfigError>
where
    T: DeserializeOwned + JsonSchema,
{
    let root = schemars::schema_for!(T).to_value();
    let schema = SchemaView::new(&root);

    let mut layers = vec![Layer {
        origin: Origin::Default,
        table: base,
    }];
    if let Some(path) = file {
        layers.push(Layer::from_file(path)?);
    }
    layers.push(Layer::from_env(env, schema)?);
    layers.push(Layer {
        origin: Origin::Flag,
        table: overrides,
    });

    let mut merged = Table::new();
    let mut origins = BTreeMap::new();
    for mut layer in layers {
        layer.check_keys(schema)?;
        layer.read_secret_files(schema)?;
        note_origins(&layer.origin, "", &layer.table, &mut origins);
        merge(&mut merged, layer.table);
    }

    serde_path_to_error::deserialize(Value::Table(merged)).map_err(|error| {
        let key = error.path().to_string();
        let origin = origin_of(&key, &origins);
        let expected = schema.at_path(&key).map(|property| property.type_text());
        let message = error.into_inner().to_string();
        ConfigError::Invalid {
            origin,
            key,
            message: message.trim().to_owned(),
            expected,
        }
    })
}

/// The environment variable that is the key: `mongodb.uri` -> `JRAZE_MONGODB__URI`.
pub fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// Lays `over` on `under`, table by table; anything else is replaced as a whole.
fn merge(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(under)), Value::Table(over)) => merge(under, over),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

fn note_origins(origin: &Origin, prefix: &str, table: &Table, origins: &mut BTreeMap<String, Origin>) {
    for (key, value) in table {
        let path = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        match value {
            Value::Table(table) => note_origins(origin, &path, table, origins),
            _ => {
                origins.insert(path, origin.clone());
            }
        }
    }
}

/// Who gave the value at `key`: the entry for it, for the array around it or for something in it.
fn origin_of(key: &str, origins: &BTreeMap<String, Origin>) -> Origin {
    let around = |path: &str| {
        key.strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    origins
        .iter()
        .find(|(path, _)| around(path))
        .or_else(|| origins.iter().find(|(path, _)| path.starts_with(key)))
        .map_or(Origin::Default, |(_, origin)| origin.clone())
}

#[cfg(test)]
mod tests;
