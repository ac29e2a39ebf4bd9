//! A private mongod, for as long as `jraze dev` runs.
//!
//! It listens on a free port of the loopback, keeps its data in `DATA/mongodb`, and is stopped by
//! its process id. It runs in a process group of its own, so that the Ctrl-C of a terminal reaches
//! jraze alone, which stops its own parts before the database below them.
//!
//! A jraze that was killed outright leaves its mongod running. The next start on the same directory
//! holds the directory's lock, so that server is nobody's: it is stopped before a new one starts.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::{
    process::{Child, Command},
    task,
    time::{Instant, sleep, timeout},
};

use super::replica_set;

/// A running mongod.
#[derive(Debug)]
pub(crate) struct Mongod {
    child: Child,
    uri: String,
}

impl Mongod {
    /// Starts `binary` on the data in `dir` and waits until it is primary.
    pub(crate) async fn start(binary: &Path, dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot write {}", dir.display()))?;
        stop_orphan(dir).await?;
        let port = choose_port(&dir.join("port"))?;
        let log = dir.join("mongod.log");
        let mut child = Command::new(binary)
            .arg("--dbpath")
            .arg(dir)
            .arg("--logpath")
            .arg(&log)
            .args([
                "--logappend",
                "--bind_ip",
                "127.0.0.1",
                "--nounixsocket",
                "--replSet",
                "rs0",
            ])
            .args([
                "--port",
                &port.to_string(),
                "--wiredTigerCacheSizeGB",
                "0.5",
                "--oplogSize",
                "128",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;

        let alive = Arc::new(AtomicBool::new(true));
        let flag = Arc::clone(&alive);
        let primary =
            task::spawn_blocking(move || replica_set::become_primary(port, || flag.load(Ordering::Relaxed)));
        let outcome = tokio::select! {
            primary = primary => primary.context("waiting for mongod broke off").and_then(|it| Ok(it?)),
            status = child.wait() => {
                alive.store(false, Ordering::Relaxed);
                Err(anyhow::anyhow!("mongod ended at once ({})", status.context("cannot watch mongod")?))
            }
        };
        let mongod = Self {
            child,
            uri: replica_set::uri(port),
        };
        if let Err(error) = outcome {
            mongod.stop().await;
            return Err(error.context(format!("see the end of {}", log.display())));
        }
        Ok(mongod)
    }

    /// Its connection string.
    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    /// Ends when the server does, which it should not.
    pub(crate) async fn ended(&mut self) -> io::Result<std::process::ExitStatus> {
        self.child.wait().await
    }

    /// Stops it in good order; after 20 s, outright.
    pub(crate) async fn stop(mut self) {
        if let Some(pid) = self.child.id().and_then(pid) {
            // It may have ended by itself a moment ago; waiting tells.
            kill_process(pid, Signal::TERM).ok();
        }
        if timeout(Duration::from_secs(20), self.child.wait()).await.is_err() {
            tracing::warn!("mongod does not stop, killing it");
            self.child.kill().await.ok();
        }
    }
}

fn pid(raw: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(raw).ok()?)
}

/// The port of the last start when it is free, because it makes the start quicker and is what a
/// person may have noted; else any free one.
fn choose_port(file: &Path) -> anyhow::Result<u16> {
    let free = |port| {
        Some(
            TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .ok()?
                .local_addr()
                .ok()?
                .port(),
        )
    };
    let last = fs::read_to_string(file)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let port = last.filter(|port| *port != 0).and_then(free).or_else(|| free(0));
    let port = port.context("no free port for mongod")?;
    fs::write(file, format!("{port}\n")).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(port)
}

/// Stops a mongod that an earlier jraze left behind on this directory.
async fn stop_orphan(dir: &Path) -> anyhow::Result<()> {
    // mongod writes its process id in there and empties the file when it ends in good order.
    let text = fs::read_to_string(dir.join("mongod.lock")).unwrap_or_default();
    let Some(orphan) = text.trim().parse().ok().and_then(pid) else {
        return Ok(());
    };
    if test_kill_process(orphan).is_err() || !works_on(orphan, dir) {
        return Ok(());
    }
    tracing::info!(pid = orphan.as_raw_pid(), "stopping the mongod of an earlier run");
    kill_process(orphan, Signal::TERM).context("cannot stop the mongod of an earlier run")?;
    let asked = Instant::now();
    while test_kill_process(orphan).is_ok() {
        anyhow::ensure!(
            asked.elapsed() < Duration::from_secs(30),
            "the mongod of an earlier run does not stop"
        );
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Whether the process is a mongod on this directory; process ids are used again.
fn works_on(pid: Pid, dir: &Path) -> bool {
    let process = pid.as_raw_pid().to_string();
    let arguments = fs::read_to_string(format!("/proc/{process}/cmdline")).or_else(|_| {
        let ps = std::process::Command::new("ps")
            .args(["-o", "args=", "-p", &process])
            .output()?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&ps.stdout).into_owned())
    });
    arguments.is_ok_and(|text| text.contains("mongod") && text.contains(&*dir.to_string_lossy()))
}

/// The directory's absolute path; what is in command lines must not depend on where one stands.
pub(crate) fn absolute(dir: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(dir).with_context(|| format!("cannot find {}", dir.display()))
}
