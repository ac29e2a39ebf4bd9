//! A mongod of our own, to be killed: a replica set of one, on a port and in a folder that outlive it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use mongodb::bson::doc;
use mongodb::options::ClientOptions;
use mongodb::{Client, Database};
use tokio::process::{Child, Command};

use jraze_tests::ports::free_port;

/// The server and the way to it.
#[derive(Debug)]
pub(crate) struct Mongod {
    binary: PathBuf,
    folder: PathBuf,
    /// Where it listens; proxies lead here.
    pub(crate) port: u16,
    child: Child,
    client: Client,
}

impl Mongod {
    /// Starts it in `folder` and makes it the primary of a replica set of one.
    pub(crate) async fn start(binary: &Path, folder: &Path) -> Result<Self> {
        let (binary, folder, port) = (binary.to_owned(), folder.to_owned(), free_port()?);
        tokio::fs::create_dir_all(folder.join("data")).await?;
        let child = spawn(&binary, &folder, port)?;
        let uri = format!("mongodb://127.0.0.1:{port}/?directConnection=true");
        let mut options = ClientOptions::parse(uri).await?;
        options.server_selection_timeout = Some(Duration::from_secs(60));
        let client = Client::with_options(options)?;
        let member = doc! { "_id": 0, "host": format!("127.0.0.1:{port}") };
        let set = doc! { "_id": "rs0", "members": [member] };
        client
            .database("admin")
            .run_command(doc! { "replSetInitiate": set })
            .await
            .context("making a replica set of one")?;
        let this = Self {
            binary,
            folder,
            port,
            child,
            client,
        };
        this.until_primary().await?;
        Ok(this)
    }

    /// What jraze is told: through the proxy at `port`, and nowhere else.
    pub(crate) fn uri_through(port: u16) -> String {
        format!("mongodb://127.0.0.1:{port}/?directConnection=true")
    }

    /// A database of it, read without anything of jraze.
    pub(crate) fn database(&self, name: &str) -> Database {
        self.client.database(name)
    }

    /// Ends it as a power cut would, and starts it again after a while.
    pub(crate) async fn kill_and_restart(&mut self, away: Duration) -> Result<()> {
        self.child.kill().await?;
        tokio::time::sleep(away).await;
        self.child = spawn(&self.binary, &self.folder, self.port)?;
        self.until_primary().await
    }

    async fn until_primary(&self) -> Result<()> {
        let since = Instant::now();
        loop {
            let answer = self
                .client
                .database("admin")
                .run_command(doc! { "hello": 1 })
                .await;
            if answer.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false)) {
                return Ok(());
            }
            if since.elapsed() > Duration::from_secs(60) {
                bail!("mongod is no primary after 60 s");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn spawn(binary: &Path, folder: &Path, port: u16) -> Result<Child> {
    Command::new(binary)
        .arg("--dbpath")
        .arg(folder.join("data"))
        .arg("--logpath")
        .arg(folder.join("mongod.log"))
        .arg("--logappend")
        .args(["--port", &port.to_string(), "--bind_ip", "127.0.0.1"])
        .args(["--replSet", "rs0", "--nounixsocket"])
        .args(["--wiredTigerCacheSizeGB", "0.5", "--oplogSize", "990"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {}", binary.display()))
}
