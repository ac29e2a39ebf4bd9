//! The task of one connection: it owns the socket, and moves octets between it and the protocol.
//!
//! A round reads what there is, takes what senders have put into the inbox, writes everything that may be
//! written at once, and looks at one timer for all deadlines and for signs of life. When a round moved
//! nothing, the task sleeps until the socket, a sender or the timer wakes it.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::HeaderValue;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    time::{Instant, Sleep, sleep_until, timeout},
};

use super::{
    super::{
        connection::{Ending, Notice, State, Watch},
        stream_error::{Code, StreamError},
    },
    inbox::{Found, Handle, Inbox},
    protocol::Protocol,
};

/// Room for what is read at once: two frames of the longest kind, hundreds of answers.
const INPUT: usize = 32 * 1024;
/// After so many rounds the other tasks of the process get their turn.
const ROUNDS: usize = 16;
/// How long a goodbye may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// See the module.
pub(in super::super) struct Driver<T> {
    io: T,
    protocol: Protocol,
    inbox: Arc<Inbox>,
    found: Found,
    input: Box<[u8]>,
    filled: usize,
    /// Something was written since the last flush.
    unflushed: bool,
}

/// However the task ends, nobody waits for it: what it held ends with it, and no more is taken.
impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        drop(self.inbox.close(&StreamError::Closed));
    }
}

/// Why the rounds ended.
enum End {
    /// Nobody needs the connection any more.
    Unused,
    /// The peer closed it.
    Eof,
    /// The socket failed.
    Io(io::Error),
    /// The peer broke a rule.
    Broken(StreamError),
    /// No sign of life.
    Silent,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    /// A connection over `io`, and its handle. Nothing happens until it is driven.
    pub(in super::super) fn new(io: T, authority: HeaderValue, limit: Duration) -> (Handle, Self) {
        let (handle, inbox) = Handle::new();
        let driver = Self {
            io,
            protocol: Protocol::new(authority, limit),
            inbox,
            found: Found::default(),
            input: vec![0; INPUT].into_boxed_slice(),
            filled: 0,
            unflushed: false,
        };
        (handle, driver)
    }

    /// Drives the connection to its end. Every request on it has ended by then.
    pub(in super::super) async fn drive(
        mut self,
        state: Arc<State>,
        watch: Watch,
        notice: impl Fn(Notice),
    ) -> Ending {
        let mut life = Life::new(watch, state.reads());
        let mut timer = pin!(sleep_until(life.at));
        let end = poll_fn(|cx| self.poll(cx, timer.as_mut(), &state, &mut life, &notice)).await;
        state.retire();
        let going_away = self.protocol.going_away.take().map(|(_, error)| error);
        let (error, code) = match end {
            End::Unused => (going_away, Some(Code::NO_ERROR)),
            End::Eof if self.protocol.is_idle() => (going_away, None),
            End::Eof => (Some(StreamError::Closed), None),
            End::Io(error) => (Some(error.into()), None),
            End::Broken(error @ StreamError::Broken { code, .. }) => (Some(error), Some(code)),
            End::Broken(error) => (Some(error), None),
            End::Silent => (Some(StreamError::Silent), None),
        };
        let reason = error.clone().unwrap_or(StreamError::Closed);
        for job in self.inbox.close(&reason) {
            self.protocol.submit(job);
        }
        self.protocol.fail(&reason);
        // What is still there to be written was just promised not to be sent: it must not go out before a
        // goodbye.
        if let Some(code) = code
            && self.protocol.output().is_empty()
        {
            self.protocol.goodbye(code);
            // It is only polite.
            let _ = timeout(FAREWELL, self.farewell()).await;
        }
        match error {
            None => Ending::Closed,
            Some(StreamError::Silent) => Ending::Silent,
            Some(StreamError::GoAway {
                code: Code::NO_ERROR, ..
            }) => Ending::Closed,
            Some(error) => Ending::Failed(error),
        }
    }

    async fn farewell(&mut self) -> io::Result<()> {
        self.io.write_all(self.protocol.output()).await?;
        self.io.shutdown().await
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
        state: &State,
        life: &mut Life,
        notice: &impl Fn(Notice),
    ) -> Poll<End> {
        for left in (0..ROUNDS).rev() {
            let mut moved = match self.read(cx) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(end)) => return Poll::Ready(end),
                Poll::Pending => false,
            };
            if moved {
                self.publish(state, notice);
            }
            moved |= self.look_into_inbox(cx);
            if self.protocol.is_idle() && (self.found.abandoned || self.protocol.going_away.is_some()) {
                return Poll::Ready(End::Unused);
            }
            self.protocol.fill();
            match self.write(cx) {
                Ok(wrote) => moved |= wrote,
                Err(error) => return Poll::Ready(self.last_words(cx, error, state, notice)),
            }
            // A peer that never stops talking does not stop the clock.
            if moved && left > 0 {
                continue;
            }
            match self.look_at_clock(cx, timer.as_mut(), state, life) {
                Some(Tick::Dead) => return Poll::Ready(End::Silent),
                Some(Tick::Ping) => self.protocol.ping(),
                Some(Tick::Nothing) => {}
                None if moved => {}
                None => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let mut buffer = ReadBuf::new(&mut self.input[self.filled..]);
        let read = ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer));
        let length = buffer.filled().len();
        if let Err(error) = read {
            return Poll::Ready(Err(End::Io(error)));
        }
        if length == 0 {
            return Poll::Ready(Err(End::Eof));
        }
        self.filled += length;
        let consumed = match self.protocol.receive(&self.input[..self.filled]) {
            Ok(consumed) => consumed,
            Err(error) => return Poll::Ready(Err(End::Broken(error))),
        };
        self.input.copy_within(consumed..self.filled, 0);
        self.filled -= consumed;
        Poll::Ready(Ok(()))
    }

    /// The socket takes nothing more. What the peer said before it closed may be an answer, or a GOAWAY
    /// that says which requests it never looked at.
    fn last_words(
        &mut self,
        cx: &mut Context<'_>,
        error: io::Error,
        state: &State,
        notice: &impl Fn(Notice),
    ) -> End {
        self.protocol.doubt();
        for _ in 0..ROUNDS {
            if !matches!(self.read(cx), Poll::Ready(Ok(()))) {
                break;
            }
            self.publish(state, notice);
        }
        End::Io(error)
    }

    /// Tells the pool what the peer said about itself.
    fn publish(&self, state: &State, notice: &impl Fn(Notice)) {
        if self.protocol.greeted && state.set_limit(self.protocol.peer.max_streams) {
            notice(Notice::LimitRose);
        }
        if let Some((_, error)) = &self.protocol.going_away
            && !state.is_retired()
        {
            // What is still in the inbox ends with its own error in the next look.
            self.inbox.refuse(error);
            notice(Notice::GoingAway);
        }
    }

    fn look_into_inbox(&mut self, cx: &mut Context<'_>) -> bool {
        let some = self.inbox.take(&mut self.found, cx);
        for job in self.found.jobs.drain(..) {
            self.protocol.submit(job);
        }
        for id in self.found.gone.drain(..) {
            self.protocol.cancel(id);
        }
        some
    }

    /// Writes and flushes what there is; true when something was taken.
    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut wrote = false;
        while !self.protocol.output().is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, self.protocol.output()) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(octets)) => {
                    self.protocol.accepted(octets);
                    (wrote, self.unflushed) = (true, true);
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.io).poll_flush(cx)
        {
            flushed?;
            self.unflushed = false;
        }
        Ok(wrote)
    }

    /// `None` when nothing is due; then the timer is set to what is due next.
    fn look_at_clock(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
        state: &State,
        life: &mut Life,
    ) -> Option<Tick> {
        let next = self
            .protocol
            .next_deadline()
            .map_or(life.at, |deadline| deadline.min(life.at));
        // A timer that is too early is left alone: it costs one look for nothing.
        if next < timer.deadline() {
            timer.as_mut().reset(next);
        }
        if timer.as_mut().poll(cx).is_pending() {
            return None;
        }
        let now = Instant::now();
        timer.as_mut().reset(life.at);
        self.protocol.expire(now, state.reads());
        if now < life.at {
            return Some(Tick::Nothing);
        }
        let tick = life.tick(now, state.reads());
        timer.as_mut().reset(life.at);
        Some(tick)
    }
}

/// Watches for life: a connection that was quiet is asked, and dropped when it stays so.
struct Life {
    watch: Watch,
    at: Instant,
    seen: u64,
    asked: bool,
}

/// What a look at the clock brought.
enum Tick {
    Nothing,
    Ping,
    Dead,
}

impl Life {
    fn new(watch: Watch, reads: u64) -> Self {
        Self {
            watch,
            at: Instant::now() + watch.quiet,
            seen: reads,
            asked: false,
        }
    }

    fn tick(&mut self, now: Instant, reads: u64) -> Tick {
        let quiet = reads == self.seen;
        self.seen = reads;
        if quiet && self.asked {
            return Tick::Dead;
        }
        self.asked = quiet;
        if quiet {
            self.at = now + self.watch.patience;
            Tick::Ping
        } else {
            self.at = now + self.watch.quiet;
            Tick::Nothing
        }
    }
}
