//! What happened, in order: always as a hash, and as lines when somebody wants to read it.

use std::fmt;
use std::hash::{DefaultHasher, Hasher as _};

/// The history of one run.
#[derive(Debug)]
pub(crate) struct Trace {
    hasher: DefaultHasher,
    lines: Option<Vec<String>>,
}

impl Trace {
    pub(crate) fn new(keep_lines: bool) -> Self {
        Self {
            hasher: DefaultHasher::new(),
            lines: keep_lines.then(Vec::new),
        }
    }

    pub(crate) fn note(&mut self, line: fmt::Arguments<'_>) {
        // A hasher takes any text, so this cannot fail.
        let _ = fmt::write(&mut Hashing(&mut self.hasher), line);
        if let Some(lines) = &mut self.lines {
            lines.push(line.to_string());
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    pub(crate) fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}

struct Hashing<'a>(&'a mut DefaultHasher);

impl fmt::Write for Hashing<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}
