//! One connection: its handle for senders, and the task that drives it, on either engine.
//!
//! The task owns no sending handle: when the pool lets go of a connection and the last request on it is
//! answered, the engine sees that nobody can use it any more and closes it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::client::{self, SendRequest};
use http::uri::Authority;
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::client::TlsStream;

use super::{
    answer::Answer, error::AttemptError, frames, io::Observed, library, request::Request,
    stream_error::StreamError,
};

/// What the engines read from and write to.
pub(super) type Socket = Observed<TlsStream<TcpStream>>;

/// A connection as senders see it.
pub(super) struct Connection {
    sender: Sender,
    pub(super) state: Arc<State>,
}

/// The senders' end of either engine.
pub(super) enum Sender {
    H2(SendRequest<Bytes>, Authority),
    Frames(frames::Handle),
}

/// The task's end of either engine.
pub(super) enum Driver {
    H2(Box<client::Connection<Socket, Bytes>>),
    Frames(Box<frames::Driver<Socket>>),
}

/// What the driving task and the senders both see.
#[derive(Debug)]
pub(super) struct State {
    /// Its number within the pool, for logs.
    pub(super) number: u64,
    in_flight: AtomicUsize,
    limit: AtomicUsize,
    reads: Arc<AtomicU64>,
    retired: AtomicBool,
}

impl State {
    pub(super) fn new(number: u64, reads: Arc<AtomicU64>) -> Self {
        Self {
            number,
            in_flight: AtomicUsize::new(0),
            limit: AtomicUsize::new(1),
            reads,
            retired: AtomicBool::new(false),
        }
    }

    /// Requests without an answer.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The peer's limit.
    pub(super) fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Takes the peer's limit; true when it rose.
    pub(super) fn set_limit(&self, limit: usize) -> bool {
        self.limit.swap(limit, Ordering::Relaxed) < limit
    }

    /// How often something was read.
    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// True for the first caller only.
    pub(super) fn retire(&self) -> bool {
        !self.retired.swap(true, Ordering::AcqRel)
    }

    /// Takes one of the peer's streams, if one is free.
    pub(super) fn reserve(&self) -> bool {
        if self.is_retired() {
            return false;
        }
        let limit = self.limit();
        let more = |streams: usize| (streams < limit).then_some(streams + 1);
        self.in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, more)
            .is_ok()
    }

    /// Gives one back.
    pub(super) fn release(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Connection {
    pub(super) fn new(sender: Sender, state: Arc<State>) -> Self {
        Self { sender, state }
    }

    /// One attempt of one request, which is given up at `deadline`. Dropping the future gives it up too.
    pub(super) async fn exchange(
        &self,
        request: Request,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Answer, AttemptError> {
        match &self.sender {
            Sender::H2(sender, authority) => {
                // Apart, so that a send of the other engine is small.
                Box::pin(library::exchange(
                    sender,
                    authority,
                    &self.state,
                    request,
                    body,
                    deadline,
                ))
                .await
            }
            Sender::Frames(handle) => {
                let reply = handle
                    .exchange(request, body, deadline, self.state.reads())
                    .await?;
                Ok(Answer {
                    status: reply.status,
                    headers: reply.headers,
                    body: reply.body,
                    connection: Arc::clone(&self.state),
                })
            }
        }
    }
}

/// How the driving task watches for life.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    pub(super) quiet: Duration,
    pub(super) patience: Duration,
}

/// What the driving task tells the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    /// The peer allows more streams.
    LimitRose,
    /// The peer takes no new streams.
    GoingAway,
}

/// How a connection ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// In good order.
    Closed,
    /// No sign of life.
    Silent,
    /// Broken.
    Failed(StreamError),
}

impl Driver {
    /// Drives the connection to its end.
    pub(super) async fn drive(self, state: Arc<State>, watch: Watch, notice: impl Fn(Notice)) -> Ending {
        match self {
            Self::H2(driven) => library::drive(*driven, state, watch, notice).await,
            Self::Frames(driver) => driver.drive(state, watch, notice).await,
        }
    }
}
