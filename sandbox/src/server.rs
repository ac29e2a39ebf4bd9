//! The HTTP/2 side that FCM and APNs share: listen, shake hands, drive streams, execute replies.
//!
//! A connection is one task. It accepts streams, reads their bodies, asks the [`Handler`] (which only
//! computes) and writes the reply, all without another task or channel: `h2` guards a connection with
//! one lock, so spreading its streams over tasks would only make them wait for each other. Answers
//! with latency wait in a set of timers.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt};
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{Request, Response, request::Parts};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::{
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
/// How long a connection stays readable after its GOAWAY when nothing is left to answer.
const LINGER: Duration = Duration::from_secs(1);
/// How long half a body has to reach the client before the reset.
const HALF_BODY: Duration = Duration::from_millis(30);
/// Window of one stream and of the connection, in bytes.
const STREAM_WINDOW: u32 = 64 * 1024;
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

/// What is done to a stream or to its connection.
#[derive(Debug)]
pub(crate) enum Reply {
    /// An answer.
    Http(Response<Bytes>),
    /// The head, half of the body, then a reset.
    HalfBody(Response<Bytes>),
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
    let mut driver = Driver {
        http2,
        session: handler.session(id),
        handler,
        limit,
        plan,
        raise: Raise::Below,
        reading: FuturesUnordered::new(),
        later: FuturesUnordered::new(),
        silent: Vec::new(),
        open: 0,
        handled: 0,
        goaway: None,
        lingering: false,
    };
    let mut stopping = Box::pin(async move {
        stop.wait().await;
    });
    let mut told = false;
    std::future::poll_fn(|cx| {
        if !told && stopping.as_mut().poll(cx).is_ready() {
            told = true;
            driver.silent.clear();
            driver.http2.graceful_shutdown();
        }
        driver.poll(cx)
    })
    .await?;
    Ok(())
}

/// How far the raise of the stream limit has come.
#[derive(Debug, PartialEq, Eq)]
enum Raise {
    /// Nobody is authenticated.
    Below,
    /// The SETTINGS frame still has to be sent.
    Wanted,
    /// It was.
    Done,
}

/// Something to do after a while.
enum Later {
    Reply(SendResponse<Bytes>, Reply),
    Reset(SendStream<Bytes>),
    Close,
}

type LaterFuture = Pin<Box<dyn Future<Output = Later> + Send>>;

/// One HTTP/2 connection at work.
struct Driver<T, H: Handler> {
    http2: h2::server::Connection<Wire<T>, Bytes>,
    handler: Arc<H>,
    session: H::Session,
    limit: StreamLimit,
    plan: WirePlan,
    raise: Raise,
    reading: FuturesUnordered<Reading>,
    later: FuturesUnordered<LaterFuture>,
    /// Streams that never get an answer; dropping the handle would reset them.
    silent: Vec<SendResponse<Bytes>>,
    /// Streams accepted and not yet answered.
    open: u32,
    /// Highest stream that the handler has seen.
    handled: u32,
    /// Last stream that is still served after a GOAWAY.
    goaway: Option<u32>,
    lingering: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin, H: Handler> Driver<T, H> {
    /// Works until the connection ends.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            // h2 flushes what the round before has queued, when asked for new streams.
            let mut busy = false;
            while let Poll::Ready(accepted) = self.http2.poll_accept(cx) {
                let Some(accepted) = accepted else {
                    return Poll::Ready(Ok(()));
                };
                let (request, respond) = accepted?;
                busy = true;
                if self.accept(cx, request, respond) {
                    return Poll::Ready(Ok(()));
                }
            }
            while let Poll::Ready(Some((received, respond))) = self.reading.poll_next_unpin(cx) {
                busy = true;
                if self.answer(received, respond) {
                    return Poll::Ready(Ok(()));
                }
            }
            while let Poll::Ready(Some(later)) = self.later.poll_next_unpin(cx) {
                busy = true;
                let close = match later {
                    Later::Reply(respond, reply) => self.reply(respond, reply),
                    Later::Reset(mut stream) => {
                        stream.send_reset(Reason::INTERNAL_ERROR);
                        false
                    }
                    Later::Close => true,
                };
                if close {
                    return Poll::Ready(Ok(()));
                }
            }
            if self.raise == Raise::Wanted && self.http2.set_initial_window_size(STREAM_WINDOW).is_ok() {
                // It fails while the client has not acknowledged our first SETTINGS; that
                // acknowledgement wakes this task.
                self.raise = Raise::Done;
                busy = true;
            }
            if self.goaway.is_some() && self.open == 0 && !self.lingering {
                self.lingering = true;
                busy = true;
                self.later.push(Box::pin(async {
                    sleep(LINGER).await;
                    Later::Close
                }));
            }
            if !busy {
                return Poll::Pending;
            }
        }
    }

    /// Takes a new stream; true ends the connection.
    fn accept(
        &mut self,
        cx: &mut Context<'_>,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) -> bool {
        let stream = respond.stream_id().as_u32();
        if self.goaway.is_some_and(|last| stream > last) {
            self.silent.push(respond);
            return false;
        }
        if self.raise == Raise::Below && self.open >= self.limit.before_auth {
            respond.send_reset(Reason::REFUSED_STREAM);
            return false;
        }
        self.open += 1;
        let (head, body) = request.into_parts();
        let mut reading = Reading {
            head: Some(head),
            respond: Some(respond),
            body,
            first: Bytes::new(),
            more: BytesMut::new(),
            oversized: false,
        };
        // The body mostly came with the head, so the set of readers is rarely needed.
        match Pin::new(&mut reading).poll(cx) {
            Poll::Ready((received, respond)) => self.answer(received, respond),
            Poll::Pending => {
                self.reading.push(reading);
                false
            }
        }
    }

    /// Asks the handler and sends what it says, now or later; true ends the connection.
    fn answer(&mut self, received: Option<Received>, respond: SendResponse<Bytes>) -> bool {
        let Some(received) = received else {
            // The client gave up before its request was complete.
            self.open -= 1;
            return false;
        };
        let stream = received.stream;
        if self.goaway.is_some_and(|last| stream > last) {
            self.open -= 1;
            self.silent.push(respond);
            return false;
        }
        let Verdict { reply, delay } = self.handler.handle(&mut self.session, received);
        if self.raise == Raise::Below && self.handler.is_authenticated(&self.session) {
            if self.limit.before_auth < self.limit.after_auth {
                self.plan.announce_streams(self.limit.after_auth);
                self.raise = Raise::Wanted;
            } else {
                self.raise = Raise::Done;
            }
        }
        // A GOAWAY draws its line here and now, or streams beyond it would be handled meanwhile.
        if delay.is_zero() || matches!(reply, Reply::Goaway { .. }) {
            let close = self.reply(respond, reply);
            self.handled = self.handled.max(stream);
            return close;
        }
        self.handled = self.handled.max(stream);
        self.later.push(Box::pin(async move {
            sleep(delay).await;
            Later::Reply(respond, reply)
        }));
        false
    }

    /// Executes a reply; true ends the connection.
    fn reply(&mut self, mut respond: SendResponse<Bytes>, reply: Reply) -> bool {
        self.open -= 1;
        match reply {
            Reply::Http(answer) => send(&mut respond, answer),
            Reply::HalfBody(answer) => {
                let (head, body) = answer.into_parts();
                let half = body.slice(..body.len() / 2);
                if let Ok(mut stream) = respond.send_response(Response::from_parts(head, ()), false)
                    && stream.send_data(half, false).is_ok()
                {
                    // A reset now would overtake the data.
                    self.later.push(Box::pin(async move {
                        sleep(HALF_BODY).await;
                        Later::Reset(stream)
                    }));
                }
            }
            Reply::Reset(code) => respond.send_reset(code),
            Reply::Goaway { code, debug, answer } => {
                let stream = respond.stream_id().as_u32();
                let own = match answer {
                    Some(_) => stream,
                    None => stream.saturating_sub(2),
                };
                // What was handled before may not be declared unprocessed now.
                let last = own.max(self.handled);
                if self.goaway.is_none() {
                    self.goaway = Some(last);
                    self.plan.goaway(last, code.into(), debug.as_bytes());
                }
                match answer {
                    Some(answer) => send(&mut respond, answer),
                    None => self.silent.push(respond),
                }
            }
            Reply::Stall => self.silent.push(respond),
            Reply::Close => return true,
        }
        false
    }
}

fn send(respond: &mut SendResponse<Bytes>, answer: Response<Bytes>) {
    let (head, body) = answer.into_parts();
    // Errors mean that the client reset the stream or left; there is nobody to tell.
    if let Ok(mut stream) = respond.send_response(Response::from_parts(head, ()), body.is_empty())
        && !body.is_empty()
    {
        let _ = stream.send_data(body, true);
    }
}

/// A request whose body is still arriving.
struct Reading {
    head: Option<Parts>,
    respond: Option<SendResponse<Bytes>>,
    body: RecvStream,
    first: Bytes,
    more: BytesMut,
    oversized: bool,
}

impl Reading {
    fn take(&mut self, data: Bytes) {
        if self.oversized || self.first.len() + self.more.len() + data.len() > MAX_BODY {
            self.oversized = true;
            self.first = Bytes::new();
            self.more = BytesMut::new();
        } else if self.first.is_empty() {
            self.first = data;
        } else {
            self.more.extend_from_slice(&data);
        }
    }
}

impl Future for Reading {
    type Output = (Option<Received>, SendResponse<Bytes>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let whole = loop {
            match std::task::ready!(this.body.poll_data(cx)) {
                Some(Ok(data)) => {
                    let _ = this.body.flow_control().release_capacity(data.len());
                    this.take(data);
                }
                Some(Err(_)) => break false,
                None => break true,
            }
        };
        let respond = this.respond.take().expect("polled once to the end");
        let head = this.head.take().expect("polled once to the end");
        let body = if this.more.is_empty() {
            std::mem::take(&mut this.first)
        } else {
            let mut body = BytesMut::from(&this.first[..]);
            body.extend_from_slice(&this.more);
            body.freeze()
        };
        let received = whole.then(|| Received {
            head,
            body,
            oversized: this.oversized,
            stream: respond.stream_id().as_u32(),
        });
        Poll::Ready((received, respond))
    }
}
