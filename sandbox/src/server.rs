//! The HTTP/2 side that FCM and APNs share: listen, shake hands, drive streams, execute replies.
//!
//! A connection is one task. It accepts streams, reads their bodies, asks the [`Handler`] (which only
//! computes) and writes the reply, all without another task or channel: `h2` guards a connection with
//! one lock, so spreading its streams over tasks would only make them wait for each other. Answers
//! with latency wait in a set of timers.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::Reason;
use http::{Response, request::Parts};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    driver::Driver,
    http1,
    stop::Stop,
    wire::{Wire, WirePlan},
};

/// Longest request body that is read, in bytes; more is thrown away and reported as too large.
pub(crate) const MAX_BODY: usize = 64 * 1024;
/// Longest handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long connections may take to end once the sandbox shuts down.
const GRACE: Duration = Duration::from_millis(500);
/// Window of one stream and of the connection, in bytes.
pub(crate) const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// A request with its body.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
    /// Whether the body was longer than [`MAX_BODY`]; it is then empty.
    pub(crate) oversized: bool,
    pub(crate) stream: u32,
}

/// What is sent back, and after how long.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) reply: Reply,
    pub(crate) delay: Duration,
}

/// How a body trickles.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DripPace {
    /// How much of it there is, when it is filler: the answer's body over and over.
    pub(crate) filler: Option<u64>,
    pub(crate) chunk: usize,
    pub(crate) every: Duration,
}

/// A body that trickles.
#[derive(Debug)]
pub(crate) struct Drip {
    pace: DripPace,
    body: Bytes,
    left: u64,
}

impl Drip {
    pub(crate) fn new(pace: DripPace, body: Bytes) -> Self {
        let left = pace.filler.unwrap_or(body.len() as u64);
        Self { pace, body, left }
    }

    pub(crate) fn every(&self) -> Duration {
        self.pace.every
    }

    /// How much the next bit has; 0 at the end.
    pub(crate) fn next_len(&self) -> usize {
        usize::try_from(self.left).map_or(self.pace.chunk, |left| left.min(self.pace.chunk))
    }

    /// Takes the next bit, at most `most` bytes of it.
    pub(crate) fn take(&mut self, most: usize) -> Bytes {
        let taken = self.next_len().min(most);
        self.left -= taken as u64;
        match self.pace.filler {
            Some(_) => self.body.slice(..taken),
            None => self.body.split_to(taken),
        }
    }
}

/// What is done to a stream or to its connection.
#[derive(Debug)]
pub(crate) enum Reply {
    /// An answer.
    Http(Response<Bytes>),
    /// The head, half of the body, then a reset.
    HalfBody(Response<Bytes>),
    /// The head, and then the body bit by bit.
    Drip { pace: DripPace, answer: Response<Bytes> },
    /// An answer, and another number of streams from now on.
    StreamLimit { streams: u32, answer: Response<Bytes> },
    /// A reset.
    Reset(Reason),
    /// A GOAWAY; with an answer when this stream counts as processed.
    Goaway {
        code: Reason,
        debug: String,
        answer: Option<Response<Bytes>>,
    },
    /// Nothing, for ever.
    Stall,
    /// The end of the connection.
    Close,
}

/// How many streams a client may have open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamLimit {
    /// Before a request was authenticated.
    pub(crate) before_auth: u32,
    /// After that.
    pub(crate) after_auth: u32,
}

/// A provider behind HTTP/2.
pub(crate) trait Handler: Send + Sync + 'static {
    /// What is remembered for one connection.
    type Session: Send + 'static;

    /// Streams of a new connection.
    fn streams(&self) -> StreamLimit;

    /// Begins a connection.
    fn session(&self, connection: u64) -> Self::Session;

    /// Whether a request on this connection was authenticated.
    fn is_authenticated(&self, session: &Self::Session) -> bool;

    /// Answers a request.
    fn handle(&self, session: &mut Self::Session, request: Received) -> Verdict;
}

/// Serves `handler` on `listener` until `stop` turns true; returns when every connection has ended.
pub(crate) async fn serve<H: Handler>(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    handler: Arc<H>,
    connections: Arc<AtomicU64>,
    mut stop: Stop,
) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            _ = stop.wait() => break,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => {
                    let (acceptor, handler) = (acceptor.clone(), Arc::clone(&handler));
                    let id = connections.fetch_add(1, Ordering::Relaxed) + 1;
                    let stop = stop.clone();
                    tasks.spawn(async move {
                        if let Err(error) = connection(tcp, acceptor, handler, id, stop).await {
                            tracing::debug!(connection = id, %error, "connection ended");
                        }
                    });
                }
                Err(error) => {
                    // Out of file descriptors, mostly: wait for some to come back.
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
    drop(listener);
    let ended = async { while tasks.join_next().await.is_some() {} };
    if timeout(GRACE, ended).await.is_err() {
        tasks.shutdown().await;
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("the handshake took too long")]
    Slow,
    #[error("TCP or TLS failed")]
    Io(#[from] io::Error),
    #[error("HTTP/2 failed")]
    Http2(#[from] h2::Error),
    #[error("HTTP/1.1 failed")]
    Http1(#[from] hyper::Error),
    #[error("the client does not speak h2")]
    Protocol,
}

async fn connection<H: Handler>(
    tcp: TcpStream,
    acceptor: TlsAcceptor,
    handler: Arc<H>,
    id: u64,
    mut stop: Stop,
) -> Result<(), ConnectionError> {
    tcp.set_nodelay(true)?;
    let offers_http1 = acceptor
        .config()
        .alpn_protocols
        .iter()
        .any(|name| name == b"http/1.1");
    let tls = tokio::select! {
        tls = timeout(HANDSHAKE, acceptor.accept(tcp)) => tls.map_err(|_| ConnectionError::Slow)??,
        _ = stop.wait() => return Ok(()),
    };
    match tls.get_ref().1.alpn_protocol() {
        Some(b"h2") => {}
        _ if offers_http1 => return Ok(http1::connection(tls, handler, id, stop).await?),
        _ => return Err(ConnectionError::Protocol),
    }
    let limit = handler.streams();
    let plan = WirePlan::default();
    if limit.before_auth < limit.after_auth {
        plan.announce_streams(limit.before_auth);
    }
    let handshake = h2::server::Builder::new()
        .max_concurrent_streams(limit.after_auth)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(16 * 1024)
        .handshake(Wire::new(tls, plan.clone()));
    let http2 = tokio::select! {
        http2 = timeout(HANDSHAKE, handshake) => http2.map_err(|_| ConnectionError::Slow)??,
        _ = stop.wait() => return Ok(()),
    };
    let mut driver = Driver::new(http2, handler, id, plan);
    let mut stopping = Box::pin(async move {
        stop.wait().await;
    });
    let mut told = false;
    std::future::poll_fn(|cx| {
        if !told && stopping.as_mut().poll(cx).is_ready() {
            told = true;
            driver.wind_down();
        }
        driver.poll(cx)
    })
    .await?;
    Ok(())
}
