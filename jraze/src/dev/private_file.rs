//! Files with keys in them: readable by the owner only, whole or not at all.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::Context as _;
use serde::Serialize;

/// Writes a value as JSON, beside the file first and then in its place.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let context = || format!("cannot write {}", path.display());
    let partial = partial(path);
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial);
    let mut file = file.with_context(context)?;
    serde_json::to_writer_pretty(&file, value).with_context(context)?;
    file.write_all(b"\n").with_context(context)?;
    fs::rename(&partial, path).with_context(context)
}

/// What the file is called while it is not whole.
pub(super) fn partial(path: &Path) -> OsString {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    partial
}
