//! A TCP proxy between a process and a server, which can be cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// Bytes pass.
    Whole,
    /// Open connections are reset, new ones are closed at once.
    Dropped,
    /// Connections stand, and nothing passes: a cable that was pulled.
    Silent,
}

/// A proxy to one server.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) port: u16,
    line: Arc<watch::Sender<Line>>,
}

impl Proxy {
    /// Listens on a free port of the loopback.
    pub(crate) async fn start(to: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (line, state) = watch::channel(Line::Whole);
        let to = SocketAddr::from(([127, 0, 0, 1], to));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connect(client, to, state.clone()));
            }
        });
        Ok(Self {
            port,
            line: Arc::new(line),
        })
    }

    /// Cuts or mends the line.
    pub(crate) fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

async fn connect(client: TcpStream, to: SocketAddr, state: watch::Receiver<Line>) {
    if *state.borrow() == Line::Dropped {
        return;
    }
    let mut waiting = state.clone();
    if waiting.wait_for(|line| *line != Line::Silent).await.is_err() {
        return;
    }
    let Ok(server) = TcpStream::connect(to).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut dropped = state.clone();
    tokio::select! {
        () = pass(from_client, to_server, state.clone()) => {}
        () = pass(from_server, to_client, state) => {}
        _ = dropped.wait_for(|line| *line == Line::Dropped) => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<Line>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        // Held back, not lost: a network that comes back delivers what TCP still has.
        if state.wait_for(|line| *line != Line::Silent).await.is_err()
            || to.write_all(&buffer[..read]).await.is_err()
        {
            return;
        }
    }
}

/// Cuts a line for a while.
pub(crate) async fn cut(proxies: &[&Proxy], how: Line, lasting: Duration) {
    for proxy in proxies {
        proxy.set(how);
    }
    tokio::time::sleep(lasting).await;
    for proxy in proxies {
        proxy.set(Line::Whole);
    }
}
