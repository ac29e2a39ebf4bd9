//! The file of the lines that were not imported, beside the input.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::Rejected;

/// `FILE.rejected.ndjson`, made when the first line is rejected.
pub(crate) struct RejectedFile {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl RejectedFile {
    /// The file of an input's rejected lines; for standard input it is `import.rejected.ndjson`.
    pub(crate) fn beside(input: &Path) -> Self {
        let mut name = if input.as_os_str() == "-" {
            "import".into()
        } else {
            input.as_os_str().to_owned()
        };
        name.push(".rejected.ndjson");
        Self {
            path: name.into(),
            file: None,
        }
    }

    /// Writes some of them, in the order of the input.
    pub(crate) fn write(&mut self, rejected: &[Rejected]) -> anyhow::Result<()> {
        if rejected.is_empty() {
            return Ok(());
        }
        let context = || format!("cannot write {}", self.path.display());
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(BufWriter::new(File::create(&self.path).with_context(context)?)),
        };
        for line in rejected {
            serde_json::to_writer(&mut *file, line).with_context(context)?;
            file.write_all(b"\n").with_context(context)?;
        }
        Ok(())
    }

    /// Its name, when there is one.
    pub(crate) fn close(self) -> anyhow::Result<Option<PathBuf>> {
        let Some(mut file) = self.file else {
            return Ok(None);
        };
        file.flush()
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(Some(self.path))
    }
}
