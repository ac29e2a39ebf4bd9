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
use crate::ports::free_port;

/// The database server that `scripts/mongod` (and so `make test`) starts for the tests.
pub const MONGODB_URI: &str = "JRAZE_TEST_MONGODB_URI";

/// The `jraze` binary of this build.
///
/// # Panics
/// When it was not built: `cargo build -p jraze` does.
pub fn binary() -> PathBuf {
    let program = std::env::current_exe().expect("a running program has a path");
    // Tests run from target/<profile>/deps, other programs from target/<profile>.
    let beside = program
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("jraze"));
    beside.clone().find(|binary| binary.is_file()).unwrap_or_else(|| {
        panic!(
            "no jraze in {:?}: run `cargo build -p jraze` first",
            beside.collect::<Vec<_>>()
        )
    })
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

    /// Ends it as a power cut would.
    ///
    /// # Errors
    /// When it has ended already.
    pub async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// The time that it spent on processors so far, on its own behalf and in the kernel.
    pub fn cpu_time(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()?)).ok()?;
        // The name in parentheses may hold anything; fields count from behind it.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_whitespace().skip(11);
        let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
        // Linux counts these in hundredths of a second, whatever its own clock.
        Some(Duration::from_millis(ticks * 10))
    }

    /// The most memory it held so far, in bytes.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace()
            .nth(1)?
            .parse::<u64>()
            .ok()
            .map(|kib| kib * 1_024)
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
            Command::new("kill")
                .args(["-INT", &id.to_string()])
                .status()
                .await?;
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
                return Ok(Self {
                    process,
                    ready,
                    folder,
                });
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
        self.ready[name]
            .as_str()
            .unwrap_or_else(|| panic!("the ready file has no {name}: {}", self.ready))
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
        ensure!(
            self.code == Some(0),
            "exit code {:?}\n{}\n{}",
            self.code,
            self.stdout,
            self.stderr
        );
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
        Self::start_with(name, "").await
    }

    /// As [`Self::start`], with some more lines in `[worker]`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(name: &str, worker: &str) -> Result<Self> {
        Self::start_shaped(name, worker, "").await
    }

    /// As [`Self::start`], with some more lines in `[worker]` and in `[sandbox]`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_shaped(name: &str, worker: &str, sandbox: &str) -> Result<Self> {
        let uri = std::env::var(MONGODB_URI)
            .with_context(|| format!("{MONGODB_URI} is not set: `make test` starts a database server"))?;
        let folder = tempfile::tempdir()?;
        let database = format!("jraze_test_{name}_{}", std::process::id());
        let api_url = format!("http://127.0.0.1:{}", free_port()?);
        let settings = folder.path().join("jraze.toml");
        let base = format!(
            "[mongodb]\nuri = \"{uri}\"\ndatabase = \"{database}\"\n\n\
             [apiserver]\nlisten = \"{}\"\n\n\
             [sandbox]\nfcm_port = 0\napns_port = 0\ncontrol_port = 0\nstate_dir = \"{}\"\n{sandbox}\n",
            api_url.trim_start_matches("http://"),
            folder.path().join("sandbox").display()
        );
        std::fs::write(&settings, &base)?;
        let mut sandbox = role("sandbox", &settings, folder.path())?;
        let mut apiserver = role("apiserver", &settings, folder.path())?;
        let ready = event(&mut sandbox, "event", "ready").await?;
        let mut keys = serde_json::Map::new();
        for kind in ["admin", "server", "client", "internal"] {
            // The first start makes them and shows them once.
            let made = event(&mut apiserver, "kind", kind).await?;
            keys.insert(kind.to_owned(), made["key"].clone());
        }
        let internal = keys["internal"].as_str().context("no internal key")?;
        std::fs::write(
            &settings,
            base + &workers_settings(&api_url, internal, worker, &ready),
        )?;
        wait_until_ready(&mut apiserver, &api_url).await?;
        let worker = role("worker", &settings, folder.path())?;
        let result_worker = role("result-worker", &settings, folder.path())?;
        let sandbox_url = ready["control"]
            .as_str()
            .context("no control address")?
            .to_owned();
        let keys = Value::Object(keys);
        Ok(Self {
            apiserver,
            worker,
            result_worker,
            sandbox,
            api_url,
            sandbox_url,
            keys,
            folder,
            database,
        })
    }

    /// Another worker over the same settings.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn another_worker(&self) -> Result<Process> {
        role(
            "worker",
            &self.folder.path().join("jraze.toml"),
            self.folder.path(),
        )
    }

    /// Kills the API server, and starts it again after a while.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn restart_apiserver(&mut self, away: Duration) -> Result<()> {
        self.apiserver.child.kill().await?;
        tokio::time::sleep(away).await;
        self.apiserver = role(
            "apiserver",
            &self.folder.path().join("jraze.toml"),
            self.folder.path(),
        )?;
        wait_until_ready(&mut self.apiserver, &self.api_url).await
    }

    /// A caller with the key of a kind.
    ///
    /// # Panics
    /// For a kind that has none.
    pub fn api(&self, kind: &str) -> Api {
        Api::new(
            &self.api_url,
            self.keys[kind].as_str().expect("a key of every kind was made"),
        )
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

/// `[worker]`, `[result_worker]` and the credentials of the sandbox.
fn workers_settings(api_url: &str, internal_key: &str, worker: &str, sandbox: &Value) -> String {
    // What is only pretended needs no warming up, unless that is what the test is about.
    let ramp = if worker.contains("fcm_ramp") {
        ""
    } else {
        "fcm_ramp = \"0s\"\n"
    };
    let worker = format!("{ramp}{worker}");
    let roles = [("worker", worker.as_str()), ("result_worker", "")]
        .map(|(role, more)| {
            format!("\n[{role}]\napi_url = \"{api_url}\"\ninternal_key = \"{internal_key}\"\n{more}")
        })
        .concat();
    // Texts of JSON are texts of TOML.
    format!(
        "{roles}\n[[credentials]]\napp = 1\nprovider = \"fcm\"\nservice_account_file = {}\n\
         base_url = {}\ntoken_url = {}\nca_file = {}\n\
         \n[[credentials]]\napp = 1\nprovider = \"apns\"\nkey_file = {}\nkey_id = {}\nteam_id = {}\n\
         topic = {}\nbase_url = {}\nca_file = {}\n",
        sandbox["service_account_file"],
        sandbox["fcm"],
        sandbox["oauth"],
        sandbox["ca_file"],
        sandbox["apns_key_file"],
        sandbox["apns_key_id"],
        sandbox["apns_team_id"],
        sandbox["apns_topic"],
        sandbox["apns"],
        sandbox["ca_file"],
    )
}

fn role(name: &'static str, settings: &Path, folder: &Path) -> Result<Process> {
    let mut command = Command::new(binary());
    command
        .arg("--json")
        .arg("--config")
        .arg(settings)
        .arg(name)
        .current_dir(folder);
    let log = (0..)
        .map(|n| folder.join(format!("{name}.{n}.log")))
        .find(|log| !log.exists());
    Process::start(name, command, log.context("no name for a log")?)
}

/// The first JSON line that a process printed in which `name` is `value`.
async fn event(process: &mut Process, name: &str, value: &str) -> Result<Value> {
    for _ in 0..300 {
        process.ended()?;
        let output = process.output();
        let mut events = output
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        if let Some(found) = events.find(|event| event[name] == value) {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("no event with {name} {value} after 30 s:\n{}", process.output());
}

async fn wait_until_ready(process: &mut Process, api_url: &str) -> Result<()> {
    let api = Api::new(api_url, "");
    for _ in 0..300 {
        process.ended()?;
        if api.get("/health/ready").await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("the API server is not ready after 30 s:\n{}", process.output());
}
