//! Everything that a campaign needs, as processes of its own: mongod, the sandbox, an API server, two workers,
//! two result workers, and a proxy on every line that can be cut.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use jraze_tests::client::Api;
use mongodb::Database;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::control::Control;
use crate::mongod::Mongod;
use crate::process::{Process, Start};
use crate::proxy::Proxy;
use crate::sandbox::Sandbox;
use jraze_tests::ports::free_port;

/// The name of the database.
pub(crate) const DATABASE: &str = "jraze_chaos";
/// How long a lease lasts here: short, so that a takeover does not take long.
pub(crate) const LEASE: Duration = Duration::from_secs(3);
/// Devices of a window.
pub(crate) const WINDOW: u64 = 200;
/// Windows that one worker may have in flight: two units at a time, two windows of each.
pub(crate) const WINDOWS_IN_FLIGHT: u64 = 4;

/// A worker and its lines.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) process: Arc<Process>,
    pub(crate) to_database: Proxy,
    pub(crate) to_fcm: Proxy,
    pub(crate) to_apns: Proxy,
}

/// The processes.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) control: Control,
    pub(crate) mongod: Mutex<Mongod>,
    pub(crate) database: Database,
    pub(crate) sandbox: Sandbox,
    pub(crate) apiserver: Arc<Process>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) result_workers: Vec<Arc<Process>>,
    pub(crate) api: Api,
    pub(crate) folder: TempDir,
    binary: PathBuf,
    api_url: String,
    server_key: String,
    // Dropped last: everything else leads to it.
    _sandbox: Arc<Process>,
}

impl Stack {
    /// Starts all of it with these binaries.
    pub(crate) async fn start(jraze: &Path, mongod: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("jraze-chaos-").tempdir()?;
        let control = Control::start().await?;
        let mongod = Mongod::start(mongod, folder.path()).await?;
        let binary = jraze
            .canonicalize()
            .with_context(|| format!("{} is not there", jraze.display()))?;
        let api_url = format!("http://127.0.0.1:{}", free_port()?);
        let run = |name: &str, role: &str, settings: String| -> Result<Arc<Process>> {
            std::fs::write(folder.path().join(format!("{name}.toml")), settings)?;
            Process::run(Start {
                binary: binary.clone(),
                name: name.to_owned(),
                role: role.to_owned(),
                folder: folder.path().to_owned(),
                control: control.address.clone(),
            })
        };
        let sandbox_process = run("sandbox", "sandbox", SANDBOX.to_owned())?;
        let listen = api_url.trim_start_matches("http://");
        let apiserver = run(
            "apiserver",
            "apiserver",
            format!(
                "{}[apiserver]\nlisten = \"{listen}\"\nplanner_lease = \"3s\"\n",
                database(mongod.port, "")
            ),
        )?;
        let ready = event(&sandbox_process, "event", "ready").await?;
        let key = async |kind: &str| -> Result<String> {
            let made = event(&apiserver, "kind", kind).await?;
            Ok(made["key"].as_str().context("a key")?.to_owned())
        };
        let (server_key, internal_key) = (key("server").await?, key("internal").await?);
        let shared = format!("api_url = \"{api_url}\"\ninternal_key = \"{internal_key}\"\n");
        let mut workers = Vec::new();
        for number in 1..=2 {
            let to_database = Proxy::start(mongod.port).await?;
            let to_fcm = Proxy::start(port_of(&ready["fcm"])?).await?;
            let to_apns = Proxy::start(port_of(&ready["apns"])?).await?;
            let settings = format!(
                "{}[worker]\n{shared}{WORKER}{}",
                database(to_database.port, if number == 1 { NAMED } else { "" }),
                credentials(&ready, to_fcm.port, to_apns.port)
            );
            workers.push(Worker {
                process: run(&format!("worker-{number}"), "worker", settings)?,
                to_database,
                to_fcm,
                to_apns,
            });
        }
        let mut result_workers = Vec::new();
        for number in 1..=2 {
            let settings = format!(
                "{}[result_worker]\n{shared}poll = \"100ms\"\n",
                database(mongod.port, "")
            );
            result_workers.push(run(
                &format!("result-worker-{number}"),
                "result-worker",
                settings,
            )?);
        }
        let control_url = ready["control"].as_str().context("a control address")?;
        let stack = Self {
            database: mongod.database(DATABASE),
            mongod: Mutex::new(mongod),
            sandbox: Sandbox::new(control_url)?,
            api: Api::new(&api_url, &server_key),
            apiserver,
            workers,
            result_workers,
            control,
            folder,
            binary,
            api_url,
            server_key,
            _sandbox: sandbox_process,
        };
        stack.until_ready().await?;
        Ok(stack)
    }

    /// Waits until the API server answers.
    pub(crate) async fn until_ready(&self) -> Result<()> {
        for _ in 0..600 {
            if self.api.get("/health/ready").await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!(
            "the API server is not ready after 30 s:\n{}",
            self.apiserver.output()
        );
    }

    /// Imports lines through the command line.
    pub(crate) async fn import(&self, lines: impl Iterator<Item = Value>) -> Result<()> {
        let file = self.folder.path().join("import.ndjson");
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        tokio::fs::write(&file, text).await?;
        let output = tokio::process::Command::new(&self.binary)
            .arg("--json")
            .arg("import")
            .arg(&file)
            .env("JRAZE_API", &self.api_url)
            .env("JRAZE_KEY", &self.server_key)
            .current_dir(self.folder.path())
            .output()
            .await?;
        if !output.status.success() {
            bail!("the import failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Every process but the sandbox.
    pub(crate) fn processes(&self) -> impl Iterator<Item = &Arc<Process>> {
        let workers = self.workers.iter().map(|worker| &worker.process);
        workers.chain(&self.result_workers).chain([&self.apiserver])
    }

    /// Ends that nobody asked for, so far.
    pub(crate) fn surprises(&self) -> u64 {
        self.processes()
            .map(|process| process.surprises.load(Ordering::SeqCst))
            .sum()
    }
}

const SANDBOX: &str = "[sandbox]\nfcm_port = 0\napns_port = 0\ncontrol_port = 0\n\
                       state_dir = \"sandbox\"\nlatency_ms = 30\nlatency_jitter_ms = 60\n";

const WORKER: &str = "lease = \"3s\"\nwindow_devices = 200\nwindows_in_flight = 2\nconcurrent_units = 2\n\
                      max_in_flight = 100\ncampaign_refresh = \"100ms\"\nidle_wait = \"100ms\"\n\
                      fcm_quota_per_minute = 6000000\nfcm_ramp = \"0s\"\n";

/// Makes the database's log name the session of each write, which the oracle tells writers by. A worker does
/// without that otherwise, as the second one here does.
const NAMED: &str = "&retryWrites=true";

fn database(port: u16, options: &str) -> String {
    format!(
        "[mongodb]\nuri = \"{}{options}\"\ndatabase = \"{DATABASE}\"\nserver_selection_timeout = \"2s\"\n\n",
        Mongod::uri_through(port)
    )
}

/// The sandbox's credentials, by way of the proxies.
fn credentials(sandbox: &Value, fcm: u16, apns: u16) -> String {
    // Texts of JSON are texts of TOML.
    format!(
        "\n[[credentials]]\napp = 1\nprovider = \"fcm\"\nservice_account_file = {}\n\
         base_url = \"https://127.0.0.1:{fcm}\"\ntoken_url = {}\nca_file = {}\n\
         transport = {{ request_timeout = \"1s\" }}\n\
         \n[[credentials]]\napp = 1\nprovider = \"apns\"\nkey_file = {}\nkey_id = {}\nteam_id = {}\n\
         topic = {}\nbase_url = \"https://127.0.0.1:{apns}\"\nca_file = {}\n\
         transport = {{ request_timeout = \"1s\" }}\n",
        sandbox["service_account_file"],
        // Its address is part of what is signed, so this one goes without a proxy.
        sandbox["oauth"],
        sandbox["ca_file"],
        sandbox["apns_key_file"],
        sandbox["apns_key_id"],
        sandbox["apns_team_id"],
        sandbox["apns_topic"],
        sandbox["ca_file"],
    )
}

fn after_host(url: &Value) -> &str {
    url.as_str()
        .and_then(|url| url.split_once("://"))
        .map_or("", |(_, rest)| rest)
}

fn port_of(url: &Value) -> Result<u16> {
    let host = after_host(url).split('/').next().unwrap_or_default();
    let port = host.rsplit(':').next().unwrap_or_default();
    port.parse().with_context(|| format!("no port in {url}"))
}

/// The first JSON line that a process printed in which `name` is `value`.
async fn event(process: &Process, name: &str, value: &str) -> Result<Value> {
    for _ in 0..600 {
        let output = process.output();
        let mut events = output
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        if let Some(found) = events.find(|event| event[name] == value) {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("no event with {name} {value} after 30 s:\n{}", process.output());
}
