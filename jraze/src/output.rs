//! What a command answers, on standard output.
//!
//! Three shapes: text for a person, one JSON object a line with `--json` for scripts, and bars on a
//! terminal. A reader that closed the pipe early (`jraze export | head`) is not an error.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// Where a command writes its answer, and in which shape.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    terminal: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            terminal: io::stdout().is_terminal() && io::stderr().is_terminal(),
        }
    }

    /// `--json` was given: only [`Output::event`] may write.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Somebody is looking: bars may be drawn (on standard error).
    pub(crate) fn draws_bars(self) -> bool {
        self.terminal && !self.json
    }

    /// A line for a person; nothing with `--json`.
    pub(crate) fn line(self, text: impl AsRef<str>) {
        if !self.json {
            write_line(text.as_ref());
        }
    }

    /// A line on standard error, whatever the shape: why the exit code is not 0.
    pub(crate) fn complain(self, text: &str) {
        // Nobody is left to be told when standard error is gone.
        let _ = writeln!(io::stderr().lock(), "jraze: {text}");
    }

    /// A line for a script; nothing without `--json`.
    pub(crate) fn event(self, event: &impl Serialize) {
        if self.json {
            self.always(event);
        }
    }

    /// One JSON object on a line, with or without `--json`.
    pub(crate) fn always(self, value: &impl Serialize) {
        match serde_json::to_string(value) {
            Ok(text) => write_line(&text),
            Err(error) => tracing::error!(%error, "cannot write an event"),
        }
    }

    /// A document that is text by its nature, with or without `--json`.
    pub(crate) fn text(self, text: &str) {
        write_line(text);
    }

    /// Columns of text, wide enough for what is in them.
    pub(crate) fn table(self, header: &[&str], rows: &[Vec<String>]) {
        let width = |column: usize| {
            let cells = rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count());
            cells
                .chain(header.get(column).map(|cell| cell.len()))
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<_> = (0..header.len()).map(width).collect();
        let print = |cells: &mut dyn Iterator<Item = &str>| {
            let cells = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            self.line(cells.collect::<Vec<_>>().join("  ").trim_end());
        };
        print(&mut header.iter().copied());
        for row in rows {
            print(&mut row.iter().map(String::as_str));
        }
    }
}

fn write_line(text: &str) {
    let mut out = io::stdout().lock();
    // Nobody is left to be told when standard output is gone.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_are_grouped_by_threes_from_the_right() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
