//! The table and the raw figures of the storage scenario.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::arithmetic::Spread;

/// Figures by name, in the order in which they came.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Figures(Vec<Figure>);

#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    rounds: Vec<f64>,
}

impl Figures {
    /// One more round of a figure.
    pub(crate) fn add(&mut self, name: &str, value: f64) {
        if let Some(figure) = self.0.iter_mut().find(|figure| figure.name == name) {
            figure.rounds.push(value);
            return;
        }
        self.0.push(Figure {
            name: name.to_owned(),
            rounds: vec![value],
        });
    }
}

/// Everything of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) devices: u64,
    pub(crate) campaigns: u64,
    pub(crate) rounds: usize,
    pub(crate) commit: String,
    #[serde(skip)]
    pub(crate) asked: String,
    pub(crate) figures: Figures,
}

impl Report {
    /// Writes `storage.md` and `storage.json`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        let raw = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(folder.join("storage.json"), raw)?;
        let table = self.table();
        print!("{table}");
        Ok(std::fs::write(folder.join("storage.md"), table)?)
    }

    fn table(&self) -> String {
        let mut text = format!(
            "# Reads and counts over {} devices\n\n\
             2 cores, 24 GiB; MongoDB 6.0.5 alone on them but for this client, a cache of 4 GB unless said. Ten \
             properties a device: five integers, three texts, two lists. Middle of {} rounds, least to most in \
             parentheses; what is compared ran in turn. Commit {}.\n\n\
             Command: `{}`\n\n| figure | measured |\n| --- | --- |\n",
            self.devices, self.rounds, self.commit, self.asked
        );
        for Figure { name, rounds } in &self.figures.0 {
            let spread = Spread::of(rounds.iter().copied());
            let digits = if spread.middle < 100.0 { 2 } else { 0 };
            text.push_str(&format!("| {name} | {} |\n", spread.shown(digits)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_of_one_figure_are_one_row_in_the_order_of_the_first() {
        let mut figures = Figures::default();
        for (name, value) in [("b", 1.0), ("a", 5.0), ("b", 3.0), ("b", 2.0)] {
            figures.add(name, value);
        }
        let report = Report {
            devices: 1,
            campaigns: 1,
            rounds: 3,
            commit: "c".into(),
            asked: "make bench-storage".into(),
            figures,
        };
        let table = report.table();
        assert!(
            table.ends_with("| b | 2.00 (1.00 to 3.00) |\n| a | 5.00 (5.00 to 5.00) |\n"),
            "{table}"
        );
    }
}
