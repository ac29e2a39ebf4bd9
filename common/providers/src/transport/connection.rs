//! One connection: its handle for senders, and the task that drives it.
//!
//! The task polls the h2 connection, publishes the peer's stream limit after every poll, and asks for
//! a sign of life when the peer was quiet. It owns no sending handle: when the pool lets go of a
//! connection and the last request on it is answered, h2 sees that nobody can use it any more and
//! closes it.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use tokio::time::{Instant, sleep_until};

use super::connect::Driven;

/// A connection as senders see it.
pub(super) struct Connection {
    sender: SendRequest<Bytes>,
    pub(super) state: Arc<State>,
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
    pub(super) fn new(sender: SendRequest<Bytes>, state: Arc<State>) -> Self {
        Self { sender, state }
    }

    /// Puts a whole request on the wire; the future is its answer.
    pub(super) fn start(&self, request: Request<()>, body: Bytes) -> Result<ResponseFuture, h2::Error> {
        // The clone has no memory of a queued stream; keeping to the limit is done by `reserve`.
        let (answer, mut stream) = self.sender.clone().send_request(request, false)?;
        // An error here is one of the stream, and the answer's future will say which.
        let _ = stream.send_data(body, true);
        Ok(answer)
    }
}

/// How the driving task watches for life.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    pub(super) quiet: Duration,
    pub(super) patience: Duration,
}

/// Drives a connection to its end; `limit_rose` is called when the peer allows more streams.
///
/// Dropping the h2 connection, as happens when the peer stays silent, ends its streams with an error.
pub(super) async fn drive(
    mut driven: Driven,
    state: Arc<State>,
    watch: Watch,
    limit_rose: impl Fn(),
) -> Ending {
    let mut pings = driven.ping_pong();
    let mut seen = state.reads();
    let mut waiting_for_life = false;
    let mut timer = pin!(sleep_until(Instant::now() + watch.quiet));
    loop {
        tokio::select! {
            biased;
            ended = poll_fn(|cx| poll_driven(cx, &mut driven, &state, &limit_rose)) => {
                return match ended {
                    Ok(()) => Ending::Closed,
                    Err(error) => Ending::Failed(error),
                };
            }
            () = &mut timer => {
                let reads = state.reads();
                let quiet = reads == seen;
                seen = reads;
                if quiet && waiting_for_life {
                    return Ending::Silent;
                }
                waiting_for_life = false;
                if quiet && let Some(pings) = &mut pings {
                    // The pong of the last ping has to be fetched before another may go out.
                    let _ = poll_fn(|cx| Poll::Ready(pings.poll_pong(cx))).await;
                    waiting_for_life = pings.send_ping(h2::Ping::opaque()).is_ok();
                }
                let pause = if waiting_for_life { watch.patience } else { watch.quiet };
                timer.as_mut().reset(Instant::now() + pause);
            }
        }
    }
}

/// How a connection ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// In good order.
    Closed,
    /// No sign of life.
    Silent,
    /// Broken.
    Failed(h2::Error),
}

fn poll_driven(
    cx: &mut Context<'_>,
    driven: &mut Driven,
    state: &State,
    limit_rose: &impl Fn(),
) -> Poll<Result<(), h2::Error>> {
    let polled = std::pin::Pin::new(&mut *driven).poll(cx);
    let limit = driven.max_concurrent_send_streams();
    if state.limit.swap(limit, Ordering::Relaxed) < limit {
        limit_rose();
    }
    polled
}
