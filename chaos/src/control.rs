//! The other end of `jraze`'s failpoints: arming points in running processes, and hearing who came there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex as AsyncMutex, watch};

/// What one process last said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// The point where it stands still.
    pub(crate) hit: Option<String>,
    /// The point that it armed last.
    armed: Option<String>,
    refused: Option<String>,
}

#[derive(Debug, Clone)]
struct Connection {
    pid: u32,
    writes: Arc<AsyncMutex<OwnedWriteHalf>>,
    heard: Arc<watch::Sender<Heard>>,
}

/// Listens for processes.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    /// Where processes are sent to.
    pub(crate) address: String,
    connections: Arc<Mutex<HashMap<String, Connection>>>,
}

impl Control {
    /// Starts listening on a free port.
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let this = Self {
            address: listener.local_addr()?.to_string(),
            connections: Arc::default(),
        };
        let accepting = this.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let this = accepting.clone();
                tokio::spawn(async move { this.serve(stream).await });
            }
        });
        Ok(this)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Connection>> {
        self.connections
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn one(&self, name: &str) -> Option<Connection> {
        self.all().get(name).cloned()
    }

    async fn serve(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let (reads, writes) = stream.into_split();
        let mut lines = BufReader::new(reads).lines();
        let Ok(Some(hello)) = lines.next_line().await else {
            return;
        };
        let words: Vec<&str> = hello.split_whitespace().collect();
        let ["hello", name, pid] = words[..] else { return };
        let Ok(pid) = pid.parse() else { return };
        let heard = Arc::new(watch::channel(Heard::default()).0);
        let connection = Connection {
            pid,
            writes: Arc::new(AsyncMutex::new(writes)),
            heard: heard.clone(),
        };
        self.all().insert(name.to_owned(), connection);
        while let Ok(Some(line)) = lines.next_line().await {
            let Some((word, rest)) = line.split_once(' ') else {
                continue;
            };
            heard.send_modify(|heard| match word {
                "hit" => heard.hit = Some(rest.to_owned()),
                "armed" => heard.armed = Some(rest.to_owned()),
                _ => heard.refused = Some(rest.to_owned()),
            });
        }
        let mut all = self.all();
        if all.get(name).is_some_and(|known| known.pid == pid) {
            all.remove(name);
        }
    }

    /// Waits until the process with this id is there.
    pub(crate) async fn present(&self, name: &str, pid: u32) -> bool {
        for _ in 0..600 {
            if self.one(name).is_some_and(|connection| connection.pid == pid) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }

    async fn tell(&self, name: &str, line: String) -> Result<Connection> {
        let connection = self.one(name).with_context(|| format!("{name} is not there"))?;
        connection
            .writes
            .lock()
            .await
            .write_all(format!("{line}\n").as_bytes())
            .await?;
        Ok(connection)
    }

    /// Makes the process stop at a point, after passing it so many times.
    pub(crate) async fn arm(&self, name: &str, point: &str, passes: u64) -> Result<()> {
        self.armed(name, point, format!("arm {point} {passes}")).await
    }

    /// Gives a point an action of the crate `fail`.
    pub(crate) async fn set(&self, name: &str, point: &str, action: &str) -> Result<()> {
        self.armed(name, point, format!("set {point} {action}")).await
    }

    async fn armed(&self, name: &str, point: &str, line: String) -> Result<()> {
        let connection = self.one(name).with_context(|| format!("{name} is not there"))?;
        connection
            .heard
            .send_modify(|heard| (heard.armed, heard.refused) = (None, None));
        self.tell(name, line).await?;
        let mut heard = connection.heard.subscribe();
        let answered =
            heard.wait_for(|heard| heard.armed.as_deref() == Some(point) || heard.refused.is_some());
        let answer = tokio::time::timeout(Duration::from_secs(5), answered).await??;
        if let Some(refused) = &answer.refused {
            bail!("{name} does not arm {point}: {refused}");
        }
        Ok(())
    }

    /// Waits for the process to stand still at a point. `None` when it is gone.
    pub(crate) async fn hit(&self, name: &str) -> Option<String> {
        let connection = self.one(name)?;
        let mut heard = connection.heard.subscribe();
        // The map holds the other end, so a process that went away is noticed by looking.
        loop {
            let waited = tokio::time::timeout(
                Duration::from_millis(200),
                heard.wait_for(|heard| heard.hit.is_some()),
            )
            .await;
            match waited {
                Ok(Ok(heard)) => return heard.hit.clone(),
                Ok(Err(_)) => return None,
                Err(_) if self.one(name).is_none_or(|now| now.pid != connection.pid) => return None,
                Err(_) => {}
            }
        }
    }

    /// Lets the process go on.
    pub(crate) async fn go(&self, name: &str) {
        if let Ok(connection) = self.tell(name, "go".to_owned()).await {
            connection.heard.send_modify(|heard| heard.hit = None);
        }
    }
}
