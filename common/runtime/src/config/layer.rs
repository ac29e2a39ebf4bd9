//! One source of the configuration: a table, and where it came from.

use std::{fs, path::Path};

use toml::{Table, Value};

use super::{ConfigError, ENV_PREFIX, Origin, SchemaView};

/// The keys that one source gives.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) origin: Origin,
    pub(super) table: Table,
}

impl Layer {
    pub(super) fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let table = text.parse().map_err(|source| ConfigError::Syntax {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        Ok(Self {
            origin: Origin::File(path.to_owned()),
            table,
        })
    }

    /// Takes the variables that begin with the prefix. Texts become the type that the schema wants;
    /// lists may be written as TOML or with commas, tables as TOML.
    pub(super) fn from_env(
        env: impl Iterator<Item = (String, String)>,
        schema: SchemaView<'_>,
    ) -> Result<Self, ConfigError> {
        let mut variables: Vec<_> = env
            .filter_map(|(name, value)| {
                let key = name.strip_prefix(ENV_PREFIX)?.to_lowercase().replace("__", ".");
                Some((key, value))
            })
            .collect();
        variables.sort();

        let mut table = Table::new();
        for (key, text) in variables {
            // An unknown key stays text here and is refused by `check_keys`.
            let value = match schema.at_path(&key) {
                Some(schema) => typed(text, schema).map_err(|message| ConfigError::Invalid {
                    origin: Origin::Env,
                    key: key.clone(),
                    message,
                    expected: Some(schema.type_text()),
                })?,
                None => Value::String(text),
            };
            insert(&mut table, &key, value);
        }
        Ok(Self {
            origin: Origin::Env,
            table,
        })
    }

    /// Refuses the first key that does not exist.
    pub(super) fn check_keys(&self, schema: SchemaView<'_>) -> Result<(), ConfigError> {
        let Err(key) = unknown_key(&self.table, schema, "") else {
            return Ok(());
        };
        let mut paths = Vec::new();
        for property in schema.properties() {
            property.paths("", &mut paths);
        }
        let level = key.rsplit_once('.').map_or("", |(level, _)| level);
        let known = paths
            .iter()
            .filter(|path| path.rsplit_once('.').map_or("", |(level, _)| level) == level)
            .filter(|path| !path.ends_with("_file"))
            .cloned()
            .collect();
        let suggestion = suggest(&self.given_as(&key), &paths).or_else(|| suggest(&key, &paths));
        Err(ConfigError::UnknownKey {
            origin: self.origin.clone(),
            key,
            suggestion,
            known,
        })
    }

    /// The first key below an unknown one, in full: `mongo.uri` says more than `mongo`.
    fn given_as(&self, key: &str) -> String {
        let mut path = key.to_owned();
        let mut value = key
            .split('.')
            .try_fold(None::<&Value>, |level, name| match level {
                None => self.table.get(name).map(Some),
                Some(level) => level.get(name).map(Some),
            });
        while let Some(Some(Value::Table(table))) = value {
            let Some((name, below)) = table.iter().next() else {
                break;
            };
            path = format!("{path}.{name}");
            value = Some(Some(below));
        }
        path
    }

    /// Replaces every `x_file`, where `x` is a secret, by the content of that file as `x`.
    pub(super) fn read_secret_files(&mut self, schema: SchemaView<'_>) -> Result<(), ConfigError> {
        read_secret_files(&self.origin, &mut self.table, schema, "")
    }
}

fn typed(text: String, schema: SchemaView<'_>) -> Result<Value, String> {
    if schema.may_be("string") {
        return Ok(Value::String(text));
    }
    let trimmed = text.trim();
    if schema.may_be("boolean")
        && let Ok(value) = trimmed.parse()
    {
        return Ok(Value::Boolean(value));
    }
    if schema.may_be("integer") || schema.may_be("number") {
        if let Ok(value) = trimmed.parse() {
            return Ok(Value::Integer(value));
        }
        if schema.may_be("number")
            && let Ok(value) = trimmed.parse()
        {
            return Ok(Value::Float(value));
        }
    }
    if let Some(items) = schema.items()
        && !trimmed.starts_with('[')
    {
        let parts = trimmed.split(',').map(str::trim).filter(|part| !part.is_empty());
        return parts
            .map(|part| typed(part.to_owned(), items))
            .collect::<Result<_, _>>()
            .map(Value::Array);
    }
    if schema.may_be("array") || schema.may_be("object") {
        let document: Table = format!("value = {trimmed}")
            .parse()
            .map_err(|_| "not a TOML value".to_owned())?;
        return document
            .get("value")
            .cloned()
            .ok_or_else(|| "not a TOML value".to_owned());
    }
    Err(format!("cannot read {text:?}"))
}

/// Sets `a.b.c`, making the tables on the way. A variable for a table and one for a key in it
/// (`JRAZE_A={..}` and `JRAZE_A__B`) go together because the shorter name is set first.
fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((first, rest)) => {
            let below = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            if !below.is_table() {
                *below = Value::Table(Table::new());
            }
            if let Value::Table(below) = below {
                insert(below, rest, value);
            }
        }
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

/// The secret that `name` hands over as a file.
fn secret_of_file<'n>(name: &'n str, schema: SchemaView<'_>) -> Option<&'n str> {
    let secret = name.strip_suffix("_file")?;
    let is_secret = |name| {
        schema
            .property(name)
            .is_some_and(|property| property.schema.is_secret())
    };
    (schema.property(name).is_none() && is_secret(secret)).then_some(secret)
}

fn unknown_key(table: &Table, schema: SchemaView<'_>, prefix: &str) -> Result<(), String> {
    for (name, value) in table {
        let path = join(prefix, name);
        let Some(property) = schema.property(name) else {
            if schema.is_open() || secret_of_file(name, schema).is_some() {
                continue;
            }
            return Err(path);
        };
        match value {
            Value::Table(table) if property.schema.may_be("object") => {
                unknown_key(table, property.schema, &path)?;
            }
            Value::Array(values) => {
                let Some(items) = property.schema.items() else {
                    continue;
                };
                for (index, value) in values.iter().enumerate() {
                    if let Value::Table(table) = value {
                        unknown_key(table, items, &format!("{path}[{index}]"))?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn read_secret_files(
    origin: &Origin,
    table: &mut Table,
    schema: SchemaView<'_>,
    prefix: &str,
) -> Result<(), ConfigError> {
    let files: Vec<(String, String)> = table
        .keys()
        .filter_map(|name| Some((name.clone(), secret_of_file(name, schema)?.to_owned())))
        .collect();
    for (file, secret) in files {
        let key = join(prefix, &file);
        if table.contains_key(&secret) {
            return Err(ConfigError::SecretTwice {
                origin: origin.clone(),
                key: join(prefix, &secret),
            });
        }
        let Some(Value::String(path)) = table.remove(&file) else {
            return Err(ConfigError::Invalid {
                origin: origin.clone(),
                key,
                message: "not a file name".into(),
                expected: Some("text".into()),
            });
        };
        let text = fs::read_to_string(&path).map_err(|source| ConfigError::SecretFile {
            origin: origin.clone(),
            key,
            path: path.into(),
            source,
        })?;
        table.insert(
            secret,
            Value::String(text.trim_end_matches(['\r', '\n']).to_owned()),
        );
    }
    for (name, value) in table.iter_mut() {
        let Some(property) = schema.property(name) else {
            continue;
        };
        let path = join(prefix, name);
        match value {
            Value::Table(table) => read_secret_files(origin, table, property.schema, &path)?,
            Value::Array(values) => {
                let Some(items) = property.schema.items() else {
                    continue;
                };
                for (index, value) in values.iter_mut().enumerate() {
                    if let Value::Table(table) = value {
                        read_secret_files(origin, table, items, &format!("{path}[{index}]"))?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The path that looks most like `given`, if any does. Dots and underscores count alike, so that
/// `JRAZE_MONGODB_URI` finds `JRAZE_MONGODB__URI`.
fn suggest(given: &str, paths: &[String]) -> Option<String> {
    let plain = |path: &str| path.replace(['.', '_'], "");
    let given = plain(given);
    let distance = |path: &String| strsim::damerau_levenshtein(&given, &plain(path));
    let (path, distance) = paths
        .iter()
        .map(|path| (path, distance(path)))
        .min_by_key(|(_, distance)| *distance)?;
    (distance <= (given.chars().count() / 4).max(2)).then(|| path.clone())
}
