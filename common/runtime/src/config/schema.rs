//! The keys that exist, read from the JSON schema of the settings types.
//!
//! Only what `schemars` writes for settings structs is understood: objects, references into
//! `$defs`, `anyOf` for an `Option`, `oneOf` for an enum (whose variants' keys are taken together;
//! which of them fit one another is left to serde).

use serde_json::Value;

/// One level of the schema.
#[derive(Debug, Clone, Copy)]
pub struct SchemaView<'a> {
    root: &'a Value,
    here: &'a Value,
}

/// One key of a level.
#[derive(Debug, Clone, Copy)]
pub struct Property<'a> {
    /// Its name in the table around it.
    pub name: &'a str,
    /// What it holds.
    pub schema: SchemaView<'a>,
}

impl<'a> SchemaView<'a> {
    /// The top level.
    pub fn new(root: &'a Value) -> Self {
        Self { root, here: root }
    }

    /// The keys of this table, sorted by name; empty when it is not a table. Keys that several
    /// variants of an enum share come once.
    pub fn properties(self) -> Vec<Property<'a>> {
        let mut found: Vec<Property<'a>> = Vec::new();
        for part in self.parts() {
            let Some(properties) = part.get("properties").and_then(Value::as_object) else {
                continue;
            };
            for (name, here) in properties {
                if !found.iter().any(|property| property.name == name) {
                    found.push(Property {
                        name,
                        schema: Self { here, ..self },
                    });
                }
            }
        }
        found.sort_by_key(|property| property.name);
        found
    }

    /// True for a table of any keys (a map).
    pub fn is_open(self) -> bool {
        self.parts().iter().any(|part| {
            part.get("additionalProperties")
                .is_some_and(|more| more.is_object() || more == true)
        })
    }

    /// The variants of an enum whose variants are tables told apart by one constant key, each with
    /// that key's name and value (`provider`, `fcm`); empty when it is something else.
    pub fn variants(self) -> Vec<(&'a str, &'a str, Self)> {
        let alternatives = self
            .parts()
            .into_iter()
            .filter_map(|part| part.get("oneOf")?.as_array());
        let mut found = Vec::new();
        for here in alternatives.flatten() {
            let properties = here
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flatten();
            let tag =
                properties.filter_map(|(name, schema)| Some((name.as_str(), schema.get("const")?.as_str()?)));
            found.extend(
                tag.map(|(name, value)| (name, value, Self { here, ..self }))
                    .next(),
            );
        }
        found
    }

    /// The key `name` of this table.
    pub fn property(self, name: &str) -> Option<Property<'a>> {
        self.properties()
            .into_iter()
            .find(|property| property.name == name)
    }

    /// What the elements of this array hold.
    pub fn items(self) -> Option<Self> {
        self.parts().into_iter().find_map(|part| {
            Some(Self {
                here: part.get("items")?,
                ..self
            })
        })
    }

    /// Whether the value may have the JSON type (`string`, `integer`, ...).
    pub fn may_be(self, json_type: &str) -> bool {
        self.parts().iter().any(|part| match part.get("type") {
            Some(Value::String(one)) => one == json_type,
            Some(Value::Array(several)) => several.iter().any(|one| one == json_type),
            _ => false,
        })
    }

    /// True for a [`super::Secret`].
    pub fn is_secret(self) -> bool {
        self.format() == Some("password")
    }

    /// The text that documents it, in one line.
    pub fn description(self) -> String {
        let text = self
            .parts()
            .into_iter()
            .find_map(|part| part.get("description")?.as_str());
        text.unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The default, when it has one that is not `null`.
    pub fn default_value(self) -> Option<&'a Value> {
        self.here.get("default").filter(|value| !value.is_null())
    }

    /// What a value of it looks like, in words.
    pub fn type_text(self) -> String {
        let choices = self.choices();
        if !choices.is_empty() {
            let quoted: Vec<_> = choices.iter().map(|choice| format!("\"{choice}\"")).collect();
            return quoted.join(" or ");
        }
        if let Some(items) = self.items() {
            return format!("list of {}", items.type_text());
        }
        if !self.properties().is_empty() || self.is_open() {
            return "table".to_owned();
        }
        match (self.format(), self.may_be("string")) {
            (Some("password"), _) => "secret text".to_owned(),
            (Some("duration"), _) => "length of time such as \"30s\"".to_owned(),
            (_, true) => "text".to_owned(),
            _ if self.may_be("boolean") => "true or false".to_owned(),
            _ if self.may_be("integer") => format!("whole number{}", self.range()),
            _ if self.may_be("number") => format!("number{}", self.range()),
            _ => "value".to_owned(),
        }
    }

    /// The schema at a path such as `worker.credentials[0].app`.
    pub(super) fn at_path(self, path: &str) -> Option<Self> {
        path.split('.').try_fold(self, |level, segment| {
            let (name, indexed) = match segment.split_once('[') {
                Some((name, _)) => (name, true),
                None => (segment, false),
            };
            let schema = level.property(name)?.schema;
            if indexed { schema.items() } else { Some(schema) }
        })
    }

    /// The texts of an enum of unit variants.
    fn choices(self) -> Vec<&'a str> {
        let mut choices = Vec::new();
        for part in self.parts() {
            if part.get("properties").is_some() {
                return Vec::new();
            }
            choices.extend(part.get("const").and_then(Value::as_str));
            let listed = part.get("enum").and_then(Value::as_array).into_iter().flatten();
            choices.extend(listed.filter_map(Value::as_str));
        }
        choices
    }

    fn format(self) -> Option<&'a str> {
        self.parts()
            .into_iter()
            .find_map(|part| part.get("format")?.as_str())
    }

    fn range(self) -> String {
        let bound = |name| self.parts().into_iter().find_map(|part| part.get(name)?.as_f64());
        let (low, high) = (bound("minimum"), bound("maximum"));
        match (low, high, self.format()) {
            (Some(low), Some(high), _) => format!(" from {low} to {high}"),
            (Some(low), None, _) => format!(" from {low}"),
            (None, Some(high), _) => format!(" up to {high}"),
            (None, None, _) => String::new(),
        }
    }

    /// This schema, what it refers to, and all its alternatives; `null` left out.
    fn parts(self) -> Vec<&'a Value> {
        let mut parts = Vec::new();
        self.collect(self.here, &mut parts, 0);
        parts
    }

    fn collect(self, here: &'a Value, parts: &mut Vec<&'a Value>, depth: usize) {
        // Settings do not nest like this; the bound only keeps a schema with a cycle from hanging.
        if depth > 16 || here.get("type").is_some_and(|one| one == "null") {
            return;
        }
        parts.push(here);
        let target = here
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|reference| self.root.pointer(reference.trim_start_matches('#')));
        if let Some(target) = target {
            self.collect(target, parts, depth + 1);
        }
        for keyword in ["anyOf", "oneOf", "allOf"] {
            for part in here.get(keyword).and_then(Value::as_array).into_iter().flatten() {
                self.collect(part, parts, depth + 1);
            }
        }
    }
}

impl Property<'_> {
    /// Every key below it, dotted after `prefix`, itself included; tables in arrays left out.
    pub(super) fn paths(self, prefix: &str, paths: &mut Vec<String>) {
        let path = if prefix.is_empty() {
            self.name.to_owned()
        } else {
            format!("{prefix}.{}", self.name)
        };
        if self.schema.is_secret() {
            paths.push(format!("{path}_file"));
        }
        for property in self.schema.properties() {
            property.paths(&path, paths);
        }
        paths.push(path);
    }
}
