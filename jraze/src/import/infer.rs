//! The type of a CSV column, from all of its cells, and which cell stands in the way of a narrower
//! one.
//!
//! One cell `n/a` makes a column of ages text, and then no `int_gte` selects anybody. That has to be
//! right for the file and is hardly ever what its owner meant, so it is said before anything is sent.

use serde_json::{Value, json};

use super::columns::Kind;

/// What was seen of one column.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cells {
    /// Numbers, truth values and texts: how many, and the first of each.
    classes: [Class; 3],
    fractions: bool,
}

#[derive(Debug, Clone, Default)]
struct Class {
    count: u64,
    first: Option<(u64, String)>,
}

const NUMBERS: usize = 0;
const BOOLS: usize = 1;
const TEXTS: usize = 2;

impl Cells {
    /// Takes one cell in. Empty cells say nothing.
    pub(crate) fn see(&mut self, line: impl FnOnce() -> u64, cell: &str) {
        if cell.is_empty() {
            return;
        }
        let class = match Kind::of(cell) {
            Kind::Int => NUMBERS,
            Kind::Float => {
                self.fractions = true;
                NUMBERS
            }
            Kind::Bool => BOOLS,
            Kind::Text | Kind::List => TEXTS,
        };
        let class = &mut self.classes[class];
        class.count += 1;
        class.first.get_or_insert_with(|| (line(), cell.to_owned()));
    }

    /// The narrowest type that fits all cells.
    pub(crate) fn kind(&self) -> Kind {
        match &self.classes.each_ref().map(|class| class.count > 0) {
            [true, false, false] => self.numbers(),
            [false, true, false] => Kind::Bool,
            _ => Kind::Text,
        }
    }

    fn numbers(&self) -> Kind {
        if self.fractions { Kind::Float } else { Kind::Int }
    }

    /// The type that most cells have, and the first cell that has another one; nothing when all
    /// agree, or when most are texts anyway.
    pub(crate) fn spoiler(&self) -> Option<Spoiler> {
        let dominant = (0..TEXTS).max_by_key(|class| self.classes[*class].count)?;
        let count = self.classes[dominant].count;
        if count == 0 || count < self.classes[TEXTS].count {
            return None;
        }
        let others = (0..self.classes.len()).filter(|class| *class != dominant);
        let (line, cell) = others
            .filter_map(|class| self.classes[class].first.as_ref())
            .min()?;
        Some(Spoiler {
            otherwise: if dominant == NUMBERS {
                self.numbers()
            } else {
                Kind::Bool
            },
            line: *line,
            cell: cell.chars().take(40).collect(),
        })
    }
}

/// The first cell that made a column text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spoiler {
    /// The type that most cells have.
    pub(crate) otherwise: Kind,
    /// Where the cell is, from 1; the header is on line 1.
    pub(crate) line: u64,
    /// The cell, or its beginning.
    pub(crate) cell: String,
}

/// One property of a CSV file, as it is about to be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inferred {
    /// The name in the header.
    pub(crate) column: String,
    /// The key of the property.
    pub(crate) key: String,
    /// Its type.
    pub(crate) kind: Kind,
    /// What stood in the way of another type. Never there when `--map` chose the type.
    pub(crate) spoiler: Option<Spoiler>,
}

impl Inferred {
    /// For a person.
    pub(crate) fn text(&self) -> String {
        let (key, kind) = (&self.key, self.kind.name());
        let Some(Spoiler {
            otherwise,
            line,
            cell,
        }) = &self.spoiler
        else {
            return format!("{key}: {kind}");
        };
        let no = match otherwise {
            Kind::Bool => "is no truth value",
            // `007` and `1e5` are read as numbers, but a number would not be written so again.
            _ if cell.parse::<f64>().is_ok() => "would not stay as it is written",
            _ => "is no number",
        };
        let mapping = format!("{}={key}:{}", self.column, otherwise.name());
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-=:.".contains(&byte);
        let mapping = if mapping.bytes().all(plain) {
            mapping
        } else {
            format!("'{}'", mapping.replace('\'', r"'\''"))
        };
        let remedy = if *otherwise != Kind::Bool && cell.parse::<f64>().is_ok() {
            "reads it as a number"
        } else {
            "rejects such rows"
        };
        format!("{key}: {kind} (line {line}: {cell:?} {no}; --map {mapping} {remedy})")
    }

    /// For a script.
    pub(crate) fn json(&self) -> Value {
        let mut value = json!({"column": self.column, "property": self.key, "type": self.kind.name()});
        if let Some(Spoiler {
            otherwise,
            line,
            cell,
        }) = &self.spoiler
        {
            value["not"] = json!({"type": otherwise.name(), "line": line, "cell": cell});
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::{Cells, Inferred, Kind};

    fn inferred(cells: &[&str]) -> Inferred {
        let mut seen = Cells::default();
        for (cell, line) in cells.iter().zip(2..) {
            seen.see(|| line, cell);
        }
        Inferred {
            column: "age".into(),
            key: "age".into(),
            kind: seen.kind(),
            spoiler: seen.spoiler(),
        }
    }

    #[test]
    fn a_column_has_the_narrowest_type_that_fits_all_of_its_cells() {
        let kind = |cells: &[&str]| inferred(cells).kind;
        assert_eq!(kind(&["1", "-20", ""]), Kind::Int);
        assert_eq!(kind(&["1", "2.5"]), Kind::Float);
        assert_eq!(kind(&["true", "FALSE"]), Kind::Bool);
        assert_eq!(kind(&["1", "n/a"]), Kind::Text);
        assert_eq!(kind(&["true", "1"]), Kind::Text);
        assert_eq!(kind(&["", ""]), Kind::Text);
    }

    #[test]
    fn the_cell_that_made_a_column_text_is_named_with_what_would_reject_it() {
        assert_eq!(
            inferred(&["31", "n/a", "25", "-"]).text(),
            r#"age: string (line 3: "n/a" is no number; --map age=age:int rejects such rows)"#
        );
        assert_eq!(
            inferred(&["n/a", "1.5", "2"]).text(),
            r#"age: string (line 2: "n/a" is no number; --map age=age:float rejects such rows)"#
        );
        assert_eq!(inferred(&["true", "false", "1"]).spoiler.unwrap().cell, "1");
        assert!(
            inferred(&["8001", "08002"])
                .text()
                .contains("--map age=age:int reads it")
        );
        let mut named = inferred(&["1", "2", "x"]);
        named.column = "how old".into();
        assert!(named.text().contains("--map 'how old=age:int'"));
    }

    #[test]
    fn a_column_of_texts_is_not_complained_about() {
        assert_eq!(inferred(&["gold", "7", "silver"]).text(), "age: string");
        assert_eq!(inferred(&["1", "2"]).text(), "age: int");
        assert_eq!(inferred(&["1", "2", "x"]).json()["not"]["line"], 4);
    }
}
