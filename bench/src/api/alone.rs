//! Another API server over the same database, which writes every change by itself.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use jraze_tests::ports::free_port;
use jraze_tests::stack::{Roles, binary};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// The process, killed when dropped.
pub(super) struct Alone {
    pub(super) address: String,
    _process: Child,
}

impl Alone {
    pub(super) async fn start(stack: &Roles) -> Result<Self> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let process = Command::new(binary())
            .args(["--json", "--config"])
            .arg(stack.folder.path().join("jraze.toml"))
            .arg("apiserver")
            .env("JRAZE_APISERVER__LISTEN", &address)
            .env("JRAZE_APISERVER__GATHER_WRITES", "false")
            .current_dir(stack.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting a second API server")?;
        for _ in 0..300 {
            if TcpStream::connect(&address).await.is_ok() {
                return Ok(Self {
                    address,
                    _process: process,
                });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the second API server does not listen at {address}");
    }
}
