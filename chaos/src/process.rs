//! One `jraze` process under a supervisor: whenever it ends, it is started again.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use crate::control::Control;

/// How a process is started.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    /// `jraze` with failpoints.
    pub(crate) binary: PathBuf,
    /// Its name for the runner, such as `worker-1`.
    pub(crate) name: String,
    /// The command of `jraze`.
    pub(crate) role: String,
    /// Where its settings and logs are.
    pub(crate) folder: PathBuf,
    /// The runner's address.
    pub(crate) control: String,
}

/// A process that is kept running.
#[derive(Debug)]
pub(crate) struct Process {
    start: Start,
    child: Mutex<Child>,
    /// Its end is wanted, by whom a restart follows too.
    expected: AtomicBool,
    /// Ends that nobody asked for.
    pub(crate) surprises: AtomicU64,
}

impl Process {
    /// Starts it, and the supervisor beside it.
    pub(crate) fn run(start: Start) -> Result<Arc<Self>> {
        let child = spawn(&start)?;
        let process = Arc::new(Self {
            start,
            child: Mutex::new(child),
            expected: AtomicBool::new(false),
            surprises: AtomicU64::new(0),
        });
        let kept = Arc::downgrade(&process);
        tokio::spawn(async move {
            while let Some(process) = kept.upgrade() {
                process.restart_when_ended().await;
                drop(process);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Ok(process)
    }

    /// Its name for the runner.
    pub(crate) fn name(&self) -> &str {
        &self.start.name
    }

    /// Everything that it printed, over all its lives.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(log(&self.start)).unwrap_or_default()
    }

    async fn restart_when_ended(&self) {
        let mut child = self.child.lock().await;
        if matches!(child.try_wait(), Ok(Some(_))) {
            if !self.expected.swap(false, Ordering::SeqCst) {
                self.surprises.fetch_add(1, Ordering::SeqCst);
            }
            match spawn(&self.start) {
                Ok(next) => *child = next,
                Err(error) => eprintln!("{error:#}"),
            }
        }
    }

    /// The id of the process that runs now.
    pub(crate) async fn pid(&self) -> Option<u32> {
        self.child.lock().await.id()
    }

    /// Waits until it runs and listens to the runner; its id.
    pub(crate) async fn present(&self, control: &Control) -> Option<u32> {
        for _ in 0..600 {
            if let Some(pid) = self.pid().await
                && tokio::time::timeout(Duration::from_secs(1), control.present(self.name(), pid)).await
                    == Ok(true)
            {
                return Some(pid);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    }

    /// Sends a signal; one that ends it makes its end no surprise.
    pub(crate) async fn signal(&self, signal: Signal) -> Result<()> {
        let child = self.child.lock().await;
        let id = child.id().context("it has ended")?;
        if matches!(signal, Signal::KILL | Signal::TERM) {
            self.expected.store(true, Ordering::SeqCst);
        }
        let pid = Pid::from_raw(i32::try_from(id)?).context("a process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits until the process with this id has made room for another.
    pub(crate) async fn replaced(&self, pid: u32, within: Duration) -> bool {
        let waiting = async {
            while self.pid().await.is_none_or(|now| now == pid) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(within, waiting).await.is_ok()
    }
}

fn log(start: &Start) -> PathBuf {
    start.folder.join(format!("{}.log", start.name))
}

fn spawn(start: &Start) -> Result<Child> {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log(start))?;
    let mut command = Command::new(&start.binary);
    command
        .arg("--json")
        .arg("--config")
        .arg(start.folder.join(format!("{}.toml", start.name)))
        .arg(&start.role)
        .env("JRAZE_TEST_FAILPOINTS", &start.control)
        .env("JRAZE_TEST_FAILPOINTS_NAME", &start.name)
        .current_dir(&start.folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .kill_on_drop(true);
    command
        .spawn()
        .with_context(|| format!("starting {}", start.name))
}
