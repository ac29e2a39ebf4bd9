//! One HTTP/2 connection at work.
//!
//! Streams are accepted, read, handed to the [`Handler`] and answered in one task, in rounds: new
//! streams, bodies that are complete, answers whose time has come, and whatever these change about the
//! connection itself (the raise of its stream limit, a GOAWAY).

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt};
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{Request, Response, request::Parts};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::sleep,
};

use crate::{
    server::{Drip, Handler, MAX_BODY, Received, Reply, STREAM_WINDOW, StreamLimit, Verdict},
    wire::{Wire, WirePlan},
};

/// How long a connection stays readable after its GOAWAY when nothing is left to answer.
const LINGER: Duration = Duration::from_secs(1);
/// How long half a body has to reach the client before the reset.
const HALF_BODY: Duration = Duration::from_millis(30);

/// Something to do after a while.
enum Later {
    Reply(SendResponse<Bytes>, Reply),
    Reset(SendStream<Bytes>),
    Nothing,
    Close,
}

type LaterFuture = Pin<Box<dyn Future<Output = Later> + Send>>;

/// One HTTP/2 connection at work.
pub(crate) struct Driver<T, H: Handler> {
    http2: h2::server::Connection<Wire<T>, Bytes>,
    handler: Arc<H>,
    session: H::Session,
    limit: StreamLimit,
    plan: WirePlan,
    authenticated: bool,
    /// Streams that the client was told it may have open.
    allowed: u32,
    /// How many it is to be told.
    wanted: Option<u32>,
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
    /// Drives a connection that shook hands.
    pub(crate) fn new(
        http2: h2::server::Connection<Wire<T>, Bytes>,
        handler: Arc<H>,
        id: u64,
        plan: WirePlan,
    ) -> Self {
        let limit = handler.streams();
        Self {
            http2,
            session: handler.session(id),
            limit,
            handler,
            plan,
            authenticated: false,
            allowed: limit.before_auth,
            wanted: None,
            reading: FuturesUnordered::new(),
            later: FuturesUnordered::new(),
            silent: Vec::new(),
            open: 0,
            handled: 0,
            goaway: None,
            lingering: false,
        }
    }

    /// Takes no new streams and ends when those at work are answered.
    pub(crate) fn wind_down(&mut self) {
        self.silent.clear();
        self.http2.graceful_shutdown();
    }

    /// Works until the connection ends.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            // h2 flushes what is queued whenever it is asked for a new stream, so all that came are taken
            // before the first is answered: their answers leave in one write.
            let mut arrived = Vec::new();
            let ended = loop {
                match self.http2.poll_accept(cx) {
                    Poll::Ready(Some(Ok(stream))) => arrived.push(stream),
                    Poll::Ready(Some(Err(error))) => break Some(Err(error)),
                    Poll::Ready(None) => break Some(Ok(())),
                    Poll::Pending => break None,
                }
            };
            let mut busy = !arrived.is_empty();
            for (request, respond) in arrived {
                if self.accept(cx, request, respond) {
                    return self.close(cx);
                }
            }
            // Those that were taken are in the ledger all the same; nobody is left to hear the answers.
            if let Some(ended) = ended {
                return Poll::Ready(ended);
            }
            while let Poll::Ready(Some((received, respond))) = self.reading.poll_next_unpin(cx) {
                busy = true;
                if self.answer(received, respond) {
                    return self.close(cx);
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
                    Later::Nothing => false,
                    Later::Close => true,
                };
                if close {
                    return self.close(cx);
                }
            }
            if let Some(streams) = self.wanted
                && self.http2.set_initial_window_size(STREAM_WINDOW).is_ok()
            {
                // It fails while the client has not acknowledged our last SETTINGS; that
                // acknowledgement wakes this task.
                self.plan.announce_streams(streams);
                (self.allowed, self.wanted) = (streams, None);
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

    /// The end, after what was answered before it.
    fn close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let _ = self.http2.poll_closed(cx);
        Poll::Ready(Ok(()))
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
        if self.open >= self.allowed {
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
        if !self.authenticated && self.handler.is_authenticated(&self.session) {
            self.authenticated = true;
            self.want_streams(self.limit.after_auth);
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

    /// Has the client told how many streams it may have open.
    fn want_streams(&mut self, streams: u32) {
        let streams = streams.min(self.limit.after_auth);
        self.wanted = (streams != self.allowed).then_some(streams);
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
            Reply::Drip { pace, answer } => {
                let (head, body) = answer.into_parts();
                if let Ok(stream) = respond.send_response(Response::from_parts(head, ()), false) {
                    let bits = Drip::new(pace, body);
                    self.later.push(Box::pin(trickle(stream, bits)));
                }
            }
            Reply::StreamLimit { streams, answer } => {
                self.want_streams(streams);
                send(&mut respond, answer);
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

/// Sends a body bit by bit, as far as the client takes it.
async fn trickle(mut stream: SendStream<Bytes>, mut bits: Drip) -> Later {
    loop {
        let wanted = bits.next_len();
        if wanted == 0 {
            let _ = stream.send_data(Bytes::new(), true);
            return Later::Nothing;
        }
        if !bits.every().is_zero() {
            sleep(bits.every()).await;
        }
        stream.reserve_capacity(wanted);
        while stream.capacity() == 0 {
            match poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(Ok(_)) => {}
                // The client has heard enough.
                _ => return Later::Nothing,
            }
        }
        let bit = bits.take(stream.capacity());
        if stream.send_data(bit, false).is_err() {
            return Later::Nothing;
        }
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

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
