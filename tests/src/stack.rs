//! Running `jraze` processes, the way a user does, and stopping them.
//!
//! [`Dev`] is `jraze dev`: everything in one process. [`Roles`] is one process per role over a database
//! of its own, the way it is deployed. Both use the binary that cargo built beside the tests.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::client::{Api, SandboxControl};

/// The database server that `scripts/mongod` (and so `make test`) starts for the tests.
pub const MONGODB_URI: &str = "JRAZE_TEST_MONGODB_URI";

/// The `jraze` binary of this build.
///
/// # Panics
/// When it was not built: `cargo build -p jraze` does.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let folder = test.parent().and_then(Path::parent).expect("tests run from target/<profile>/deps");
    let binary = folder.join("jraze");
    assert!(binary.exists(), "{} is missing: run `cargo build -p jraze` first", binary.display());
    binary
}

/// A running `jraze` process, killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(name: &'static str, mut command: Command, log: PathBuf) -> Result<Self> {
        let file = std::fs::File::create(&log)?;
        command
            .env_remove("JRAZE_MONGODB__URI")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self { name, child, log })
    }

    /// Everything it printed so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The most memory it held so far, in bytes.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1_024)
    }

    fn ended(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}:\n{}", self.name, self.output());
        }
        Ok(())
    }

    /// Ctrl-C, and how it ended.
    ///
    /// # Errors
    /// When it does not stop within 30 seconds.
    pub async fn interrupt(mut self) -> Result<(ExitStatus, String)> {
        if let Some(id) = self.child.id() {
            Command::new("kill").args(["-INT", &id.to_string()]).status().await?;
        }
        let status = tokio::time::timeout(Duration::from_secs(30), self.child.wait())
            .await
            .with_context(|| format!("{} did not stop:\n{}", self.name, self.output()))??;
        Ok((status, self.output()))
    }
}

/// `jraze dev` with a folder of its own.
#[derive(Debug)]
pub struct Dev {
    /// The process.
    pub process: Process,
    /// What `--ready-file` holds.
    pub ready: Value,
    /// Its data, and room for a test's files.
    pub folder: TempDir,
}

impl Dev {
    /// Starts it with some more arguments and waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or is not ready after two minutes (the first start may fetch the database server).
    pub async fn start(more: &[&str]) -> Result<Self> {
        Self::start_in(tempfile::tempdir()?, more).await
    }

    /// As [`Self::start`], over the data of an earlier run.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_in(folder: TempDir, more: &[&str]) -> Result<Self> {
        let ready_file = folder.path().join("ready.json");
        let _ = std::fs::remove_file(&ready_file);
        let mut command = Command::new(binary());
        command
            .arg("dev")
            .args(["--listen", "127.0.0.1:0"])
            .arg("--data")
            .arg(folder.path().join("data"))
            .arg("--ready-file")
            .arg(&ready_file)
            .args(more)
            .current_dir(folder.path());
        let mut process = Process::start("jraze dev", command, folder.path().join("dev.log"))?;
        for _ in 0..1_200 {
            process.ended()?;
            if let Ok(text) = std::fs::read_to_string(&ready_file)
                && let Ok(ready) = serde_json::from_str(&text)
            {
                return Ok(Self { process, ready, folder });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("jraze dev is not ready after 120 s:\n{}", process.output());
    }

    /// One text of the ready file.
    ///
    /// # Panics
    /// When it is not there.
    pub fn text(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap_or_else(|| panic!("the ready file has no {name}: {}", self.ready))
    }

    /// A caller with the server key.
    pub fn api(&self) -> Api {
        Api::new(self.text("api"), self.text("server_key"))
    }

    /// The sandbox.
    pub fn sandbox(&self) -> SandboxControl {
        SandboxControl::new(self.text("sandbox"))
    }
}

/// Runs a `jraze` command to its end.
///
/// # Errors
/// When it cannot be started or does not end within ten minutes.
pub async fn run(arguments: &[&str], folder: &Path, environment: &[(&str, &str)]) -> Result<Ran> {
    let output = Command::new(binary())
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(600), output).await??;
    Ok(Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it printed beside.
    pub stderr: String,
}

impl Ran {
    /// The same, when it succeeded.
    ///
    /// # Errors
    /// When it did not, with everything it printed.
    pub fn success(self) -> Result<Self> {
        ensure!(self.code == Some(0), "exit code {:?}\n{}\n{}", self.code, self.stdout, self.stderr);
        Ok(self)
    }
}

/// One process per role over a database of its own.
#[derive(Debug)]
pub struct Roles {
    /// The API server.
    pub apiserver: Process,
    /// The worker.
    pub worker: Process,
    /// The result worker.
    pub result_worker: Process,
    /// The pretend FCM and APNs.
    pub sandbox: Process,
    /// The API's address.
    pub api_url: String,
    /// The sandbox's control address.
    pub sandbox_url: String,
    /// The keys of app 1: `admin`, `server`, `client`, `internal`.
    pub keys: Value,
    /// Settings, credentials and room for a test's files.
    pub folder: TempDir,
    database: String,
}

impl Roles {
    /// Migrates a fresh database, makes keys, and starts a process per role.
    ///
    /// # Errors
    /// When one of them ends, or is not ready within a minute.
    pub async fn start(name: &str) -> Result<Self> {
        let uri = std::env::var(MONGODB_URI)
            .with_context(|| format!("{MONGODB_URI} is not set: `make test` starts a database server"))?;
        let folder = tempfile::tempdir()?;
        let database = format!("jraze_test_{name}_{}", std::process::id());
        let (api_port, control_port) = (free_port()?, free_port()?);
        let api_url = format!("http://127.0.0.1:{api_port}");
        let sandbox_url = format!("http://127.0.0.1:{control_port}");
        let settings = folder.path().join("jraze.toml");
        let state = folder.path().join("sandbox");
        let base = format!(
            "[mongodb]\nuri = \"{uri}\"\ndatabase = \"{database}\"\n\n\
             [apiserver]\nlisten = \"127.0.0.1:{api_port}\"\n\n\
             [sandbox]\nstate_dir = \"{}\"\ncontrol_listen = \"127.0.0.1:{control_port}\"\n",
            state.display()
        );
        std::fs::write(&settings, &base)?;

        let sandbox = role("sandbox", &settings, folder.path())?;
        let mut stack_sandbox = sandbox;
        let info = wait_for_json(&mut stack_sandbox, &sandbox_url).await?;

        run(&["--config", &settings.to_string_lossy(), "migrate"], folder.path(), &[]).await?.success()?;
        let mut keys = serde_json::Map::new();
        for kind in ["admin", "server", "client", "internal"] {
            let arguments =
                ["--json", "--config", &settings.to_string_lossy(), "keys", "create", "--kind", kind];
            let made = run(&arguments, folder.path(), &[]).await?.success()?;
            let made: Value = serde_json::from_str(&made.stdout).context(made.stdout.clone())?;
            keys.insert(kind.to_owned(), made["key"].clone());
        }
        let keys = Value::Object(keys);
        let internal = keys["internal"].as_str().context("no internal key")?;
        let credentials = info["credentials_toml"].as_str().unwrap_or_default();
        std::fs::write(
            &settings,
            format!(
                "{base}\n[worker]\napi_url = \"{api_url}\"\ninternal_key = \"{internal}\"\n\n\
                 [result_worker]\napi_url = \"{api_url}\"\ninternal_key = \"{internal}\"\n\n{credentials}"
            ),
        )?;
        let mut apiserver = role("apiserver", &settings, folder.path())?;
        wait_for_json(&mut apiserver, &format!("{api_url}/health/ready")).await?;
        let worker = role("worker", &settings, folder.path())?;
        let result_worker = role("result-worker", &settings, folder.path())?;
        Ok(Self {
            apiserver,
            worker,
            result_worker,
            sandbox: stack_sandbox,
            api_url,
            sandbox_url,
            keys,
            folder,
            database,
        })
    }

    /// A caller with the key of a kind.
    ///
    /// # Panics
    /// For a kind that has none.
    pub fn api(&self, kind: &str) -> Api {
        Api::new(&self.api_url, self.keys[kind].as_str().expect("a key of every kind was made"))
    }

    /// The sandbox.
    pub fn sandbox(&self) -> SandboxControl {
        SandboxControl::new(&self.sandbox_url)
    }

    /// Stops every role as Ctrl-C does; each must end with success.
    ///
    /// # Errors
    /// When one does not.
    pub async fn stop(self) -> Result<()> {
        for process in [self.worker, self.result_worker, self.apiserver, self.sandbox] {
            let name = process.name;
            let (status, output) = process.interrupt().await?;
            ensure!(status.success(), "{name} ended with {status}:\n{output}");
            ensure!(!output.contains("panicked"), "{name} panicked:\n{output}");
        }
        Ok(())
    }

    /// The name of its database.
    pub fn database(&self) -> &str {
        &self.database
    }
}

fn role(name: &'static str, settings: &Path, folder: &Path) -> Result<Process> {
    let mut command = Command::new(binary());
    command.arg("--config").arg(settings).arg(name).current_dir(folder);
    Process::start(name, command, folder.join(format!("{name}.log")))
}

async fn wait_for_json(process: &mut Process, url: &str) -> Result<Value> {
    crate::client::install_crypto();
    for _ in 0..600 {
        process.ended()?;
        if let Ok(answer) = reqwest::get(url).await
            && answer.status().is_success()
            && let Ok(value) = answer.json().await
        {
            return Ok(value);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("{url} does not answer after 60 s:\n{}", process.output());
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
