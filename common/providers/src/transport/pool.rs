//! The connections of one credential.
//!
//! Requests take streams of the least busy connection that has one free, some in a row of the same (`turn`).
//! When all are busy the pool opens another, up to its size; when all are full the request waits its turn. A
//! connection that dies or goes away leaves the pool at once, and the requests on it that were certainly not
//! processed are sent again on another, up to [`MAX_RESENDS`] times.
//!
//! No lock is held while a request is under way: senders read a snapshot of the list and count streams with
//! atomics. A request locks its connection's inbox for a moment, and all meet a lock when a connection is
//! opened or removed.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use jraze_runtime::backoff::Backoff;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{
    answer::Answer,
    connect::{self, HostGate},
    connection::{Connection, Ending, Notice, State, Watch},
    error::{Ambiguous, AttemptError, ConnectError, NotSent, TransportError},
    request::Request,
    settings::TransportSettings,
    tls::Endpoint,
    turn::Turn,
};
use crate::jitter::Jitter;

/// How often one request is sent again after it was certainly not processed.
pub const MAX_RESENDS: u32 = 2;

/// Waits between attempts to reach a host that does not take connections.
const RECONNECT: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// Connections to one endpoint for one credential. Clones share them.
#[derive(Debug, Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    settings: TransportSettings,
    gate: Arc<HostGate>,
    jitter: Arc<Jitter>,
    live: ArcSwap<Vec<Arc<Connection>>>,
    opening: Mutex<Opening>,
    /// Rung when a stream came free, when a connection was opened, when opening one failed.
    changed: Notify,
    /// Requests that wait for a stream; newcomers queue up behind them.
    waiting: AtomicUsize,
    turn: Turn,
    counts: Counts,
}

/// What is known about opening connections.
#[derive(Debug, Default)]
struct Opening {
    under_way: bool,
    /// Failures since the last success.
    failures: u32,
    /// Failures ever, so that a waiting request knows one from before its time.
    failures_ever: u64,
    not_before: Option<Instant>,
    last_error: Option<Arc<ConnectError>>,
}

#[derive(Debug, Default)]
struct Counts {
    opened: AtomicU64,
    failed: AtomicU64,
    resent: AtomicU64,
    timeouts: AtomicU64,
}

/// What a pool has done so far, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolStats {
    /// Connections in use now.
    pub connections: usize,
    /// Requests without an answer now.
    pub in_flight: usize,
    /// Connections opened.
    pub opened: u64,
    /// Connection attempts that failed.
    pub failed: u64,
    /// Requests sent again because they were certainly not processed.
    pub resent: u64,
    /// Requests that had no answer in time.
    pub timeouts: u64,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.state.fmt(f)
    }
}

/// One stream of a connection, given back on drop.
struct Stream<'a> {
    inner: &'a Inner,
    connection: Arc<Connection>,
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        self.connection.state.release();
        self.inner.changed.notify_one();
    }
}

/// A place in the queue for a stream. Whoever leaves it wakes the next, so that a stream that came
/// free is never left lying, whether the one who was woken for it took it or not.
struct Place<'a>(&'a Inner);

impl<'a> Place<'a> {
    /// Queues up; true when somebody is ahead.
    fn take(inner: &'a Inner) -> (Self, bool) {
        let ahead = inner.waiting.fetch_add(1, Ordering::AcqRel);
        (Self(inner), ahead > 0)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Ordering::AcqRel) > 1 {
            self.0.changed.notify_one();
        }
    }
}

impl Pool {
    /// A pool that opens its first connection when the first request comes.
    pub fn new(
        endpoint: Endpoint,
        settings: TransportSettings,
        gate: Arc<HostGate>,
        jitter: Arc<Jitter>,
    ) -> Self {
        let inner = Inner {
            endpoint,
            settings,
            gate,
            jitter,
            live: ArcSwap::default(),
            opening: Mutex::default(),
            changed: Notify::new(),
            waiting: AtomicUsize::new(0),
            turn: Turn::default(),
            counts: Counts::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Sends a request and waits for its answer.
    ///
    /// The body is sent as it is. A redirect is an answer like any other, and at most 8 KiB of an answer's
    /// body are kept. `wanted` is asked each time a stream is at hand: waiting for one may take so long
    /// that nobody wants it sent any more.
    ///
    /// Takes at most `deadline`, and no longer than the request timeout for a free stream and the
    /// request timeout again for the answer.
    ///
    /// # Errors
    /// See [`TransportError`]: whether the peer can have seen the request.
    pub async fn send(
        &self,
        deadline: Instant,
        request: &Request,
        body: &Bytes,
        wanted: impl Fn() -> bool,
    ) -> Result<Answer, TransportError> {
        let inner = &*self.inner;
        let mut resends = 0;
        let mut false_starts = 0;
        loop {
            let stream = self.stream(deadline).await?;
            if !wanted() {
                let cause = NotSent::Unwanted;
                return Err(TransportError::NotSent {
                    cause,
                    retry_in: None,
                });
            }
            let error = match inner.exchange(&stream, deadline, request, body).await {
                Ok(head) => return Ok(head),
                Err(error) => error,
            };
            if error.retires() {
                inner.retire(&stream.connection.state);
            }
            if let AttemptError::Unprocessed { cause, .. } = &error {
                // Not having started costs nothing and takes a connection out of the pool each time.
                let again = if matches!(cause, NotSent::NotStarted(_)) {
                    false_starts += 1;
                    false_starts <= u32::from(inner.settings.connections) + 1
                } else {
                    // Whoever refused it gets no more of the row.
                    inner.turn.end();
                    resends += 1;
                    resends <= MAX_RESENDS
                };
                if again && Instant::now() < deadline {
                    inner.counts.resent.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
            }
            return Err(error.into());
        }
    }

    /// Stops using the connection that an answer came on; requests on it still get their answers.
    pub fn retire(&self, answer: &Answer) {
        self.inner.retire(&answer.connection);
    }

    /// Closes every connection once its requests are answered. Later requests open new ones.
    pub fn close(&self) {
        for connection in self.inner.live.swap(Arc::default()).iter() {
            connection.state.retire();
        }
    }

    /// What the pool has done so far.
    pub fn stats(&self) -> PoolStats {
        let live = self.inner.live.load();
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        PoolStats {
            connections: live.len(),
            in_flight: live.iter().map(|connection| connection.state.in_flight()).sum(),
            opened: read(&self.inner.counts.opened),
            failed: read(&self.inner.counts.failed),
            resent: read(&self.inner.counts.resent),
            timeouts: read(&self.inner.counts.timeouts),
        }
    }

    /// Where the pool connects to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    /// A free stream, waiting for one if need be, in the order of coming.
    async fn stream(&self, deadline: Instant) -> Result<Stream<'_>, TransportError> {
        let inner = &*self.inner;
        if inner.waiting.load(Ordering::Acquire) == 0
            && let Some(stream) = self.free_stream()
        {
            return Ok(stream);
        }
        // Apart, so that a send that need not wait is small.
        Box::pin(self.wait_for_stream(deadline)).await
    }

    async fn wait_for_stream(&self, deadline: Instant) -> Result<Stream<'_>, TransportError> {
        let inner = &*self.inner;
        let failures_before = inner.opening().failures_ever;
        let started = Instant::now();
        let deadline = deadline.min(started + inner.settings.request_timeout.get());
        let (_place, mut somebody_ahead) = Place::take(inner);
        loop {
            let mut changed = pin!(inner.changed.notified());
            // Listening before looking: what comes free in between is not missed.
            changed.as_mut().enable();
            if !somebody_ahead && let Some(stream) = self.free_stream() {
                return Ok(stream);
            }
            self.open_another(Some(failures_before))?;
            if timeout_at(deadline, changed).await.is_err() {
                let cause = NotSent::NoFreeStream(started.elapsed());
                return Err(TransportError::NotSent {
                    cause,
                    retry_in: None,
                });
            }
            // The bell rings for the one at the head of the queue.
            somebody_ahead = false;
        }
    }

    /// A free stream of one of the connections.
    fn free_stream(&self) -> Option<Stream<'_>> {
        let live = self.inner.live.load();
        let busy = self.inner.settings.busy_streams as usize;
        let taken = self
            .inner
            .turn
            .take(&live, |connection| &connection.state, busy)?;
        let stream = Stream {
            inner: &self.inner,
            connection: Arc::clone(taken.on),
        };
        if taken.all_busy && live.len() < usize::from(self.inner.settings.connections) {
            let _ = self.open_another(None);
        }
        Some(stream)
    }

    /// Starts opening one more connection, unless there are enough or one is on its way.
    ///
    /// For a waiting request, `failures_before` is the number of failures when it came.
    ///
    /// # Errors
    /// When there is no connection at all and the host does not take any.
    fn open_another(&self, failures_before: Option<u64>) -> Result<(), TransportError> {
        let mut opening = self.inner.opening();
        let live = self.inner.live.load().len();
        let now = Instant::now();
        let not_before = opening.not_before.filter(|at| *at > now);
        if let (0, Some(before), Some(error)) = (live, failures_before, &opening.last_error)
            && (opening.failures_ever > before || not_before.is_some())
        {
            let cause = NotSent::Connect(Arc::clone(error));
            let retry_in = not_before.map(|at| at - now);
            return Err(TransportError::NotSent { cause, retry_in });
        }
        if !opening.under_way && not_before.is_none() && live < usize::from(self.inner.settings.connections) {
            opening.under_way = true;
            let first = opening.failures as usize;
            let interval = self.inner.settings.connect_interval.get();
            let burst = self.inner.settings.connect_burst;
            let gate = Arc::clone(&self.inner.gate);
            let pool = Arc::downgrade(&self.inner);
            tokio::spawn(async move {
                gate.turn(interval, burst).await;
                // By its turn the pool may be gone, and nobody wants the connection.
                if let Some(inner) = pool.upgrade() {
                    open(inner, first).await;
                }
            });
        }
        Ok(())
    }
}

impl Inner {
    fn opening(&self) -> MutexGuard<'_, Opening> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn retire(&self, state: &Arc<State>) {
        if state.retire() {
            tracing::debug!(host = %self.endpoint.authority, connection = state.number, "connection retired");
        }
        self.remove(state);
    }

    fn remove(&self, state: &Arc<State>) {
        let is_it = |connection: &Arc<Connection>| Arc::ptr_eq(&connection.state, state);
        self.live.rcu(|live| {
            if live.iter().any(is_it) {
                Arc::new(
                    live.iter()
                        .filter(|connection| !is_it(connection))
                        .cloned()
                        .collect(),
                )
            } else {
                Arc::clone(live)
            }
        });
        // Whoever waits for a stream may have to open a connection now.
        self.changed.notify_waiters();
    }

    /// One attempt of one request.
    async fn exchange(
        &self,
        stream: &Stream<'_>,
        deadline: Instant,
        request: &Request,
        body: &Bytes,
    ) -> Result<Answer, AttemptError> {
        let limit = self.settings.request_timeout.get();
        let deadline = deadline.min(Instant::now() + limit);
        let outcome = stream
            .connection
            .exchange(request.clone(), body.clone(), deadline)
            .await;
        if let Err(AttemptError::Ambiguous {
            cause: Ambiguous::Timeout(_),
            ..
        }) = &outcome
        {
            self.counts.timeouts.fetch_add(1, Ordering::Relaxed);
        }
        outcome
    }
}

/// Opens one connection, puts it into the pool and drives it to its end.
async fn open(inner: Arc<Inner>, first: usize) {
    let reads = Arc::new(AtomicU64::new(0));
    let opened = connect::open(&inner.endpoint, &inner.settings, first, Arc::clone(&reads)).await;
    let (sender, driver) = match opened {
        Ok(opened) => opened,
        Err(error) => return failed(&inner, error),
    };
    let number = inner.counts.opened.fetch_add(1, Ordering::Relaxed);
    let state = Arc::new(State::new(number, reads));
    let connection = Arc::new(Connection::new(sender, Arc::clone(&state)));
    {
        let mut opening = inner.opening();
        opening.under_way = false;
        opening.failures = 0;
        opening.not_before = None;
        opening.last_error = None;
        inner.live.rcu(|live| {
            let mut live = Vec::clone(live);
            live.push(Arc::clone(&connection));
            live
        });
    }
    // From here on only the pool holds the connection, and the task the pool's weak end.
    drop(connection);
    tracing::debug!(host = %inner.endpoint.authority, connection = number, "connection opened");
    inner.changed.notify_waiters();
    let watch = Watch {
        quiet: inner.settings.ping_after.get(),
        patience: inner.settings.ping_timeout.get(),
    };
    let pool = Arc::downgrade(&inner);
    drop(inner);
    let (ring, noticed) = (Weak::clone(&pool), Arc::clone(&state));
    let notice = move |notice| {
        let Some(inner) = ring.upgrade() else {
            return;
        };
        match notice {
            Notice::LimitRose => inner.changed.notify_waiters(),
            Notice::GoingAway => inner.retire(&noticed),
        }
    };
    let ending = driver.drive(Arc::clone(&state), watch, notice).await;
    state.retire();
    if let Some(inner) = pool.upgrade() {
        inner.remove(&state);
        match ending {
            Ending::Closed => {
                tracing::debug!(host = %inner.endpoint.authority, connection = number, "closed")
            }
            Ending::Silent => {
                tracing::warn!(host = %inner.endpoint.authority, connection = number, "no sign of life, dropped");
            }
            Ending::Failed(error) => {
                tracing::info!(host = %inner.endpoint.authority, connection = number, %error, "connection lost");
            }
        }
    }
}

fn failed(inner: &Inner, error: ConnectError) {
    inner.counts.failed.fetch_add(1, Ordering::Relaxed);
    let mut opening = inner.opening();
    let wait = inner.jitter.backoff(RECONNECT, opening.failures);
    tracing::warn!(
        host = %inner.endpoint.authority,
        error = &error as &dyn std::error::Error,
        retry_in_ms = wait.as_millis(),
        "no connection"
    );
    opening.under_way = false;
    opening.failures = opening.failures.saturating_add(1);
    opening.failures_ever += 1;
    opening.not_before = Some(Instant::now() + wait);
    opening.last_error = Some(Arc::new(error));
    drop(opening);
    inner.changed.notify_waiters();
}
