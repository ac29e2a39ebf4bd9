//! Requests on their way: waiting to be written, open, and when each of them is given up.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    hash::{BuildHasherDefault, Hasher},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use tokio::{sync::oneshot, time::Instant};

use super::super::{
    answer::MAX_BODY,
    error::{Ambiguous, AttemptError},
    request::Request,
    stream_error::{Code, StreamError},
};

/// What comes back.
pub(in super::super) struct Reply {
    pub(in super::super) status: StatusCode,
    pub(in super::super) headers: HeaderMap,
    pub(in super::super) body: Bytes,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Where a sender waits.
pub(super) type Slot = oneshot::Sender<Result<Reply, AttemptError>>;

/// A request that nothing was written of.
pub(super) struct Job {
    pub(super) id: u32,
    pub(super) request: Request,
    pub(super) body: Bytes,
    pub(super) deadline: Instant,
    /// How much had been read from the connection when it came.
    pub(super) reads: u64,
    pub(super) slot: Slot,
}

/// A request whose head was written.
pub(super) struct Stream {
    pub(super) slot: Slot,
    pub(super) reads: u64,
    /// How much had been put out on the connection before it.
    pub(super) begins: u64,
    /// How much more the peer takes of its body; below zero after the peer cut its windows down.
    pub(super) window: i64,
    /// What of its body is not written yet.
    pub(super) rest: Bytes,
    pub(super) status: Option<StatusCode>,
    pub(super) headers: Option<Box<HeaderMap>>,
    pub(super) body: BytesMut,
    /// Octets of DATA that came, padding included.
    pub(super) received: usize,
    pub(super) wants_success_body: bool,
}

impl Stream {
    /// Keeps what is worth keeping; true when no more is wanted.
    pub(super) fn keep(&mut self, data: &[u8]) -> bool {
        let wanted = self.wants_success_body || !self.status.is_some_and(|status| status.is_success());
        if wanted {
            let room = MAX_BODY.saturating_sub(self.body.len());
            self.body.extend_from_slice(&data[..data.len().min(room)]);
        }
        self.received >= MAX_BODY
    }

    /// The answer as far as it came; `None` when not even its head did.
    pub(super) fn reply(&mut self) -> Option<Reply> {
        Some(Reply {
            status: self.status?,
            headers: self.headers.take().map(|headers| *headers).unwrap_or_default(),
            body: std::mem::take(&mut self.body).freeze(),
        })
    }

    /// Ends it: with its answer as far as it came, because what breaks after the head does not change
    /// the answer, else with `error`.
    pub(super) fn end(mut self, error: impl FnOnce() -> AttemptError) {
        let outcome = self.reply().ok_or_else(error);
        // Nobody there: the sender went away.
        let _ = self.slot.send(outcome);
    }
}

/// What a reset by the peer means for the request.
pub(super) fn of_reset(code: Code) -> AttemptError {
    let error = StreamError::Reset(code);
    if code == Code::REFUSED_STREAM {
        AttemptError::refused(error)
    } else {
        AttemptError::ambiguous(Ambiguous::Reset(error))
    }
}

/// Open streams by their number.
pub(super) type Streams = HashMap<u32, Stream, BuildHasherDefault<Spread>>;

/// A hash for numbers that we give ourselves, so that nobody can choose them to collide.
#[derive(Default)]
pub(super) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.write_u32(u32::from(*octet));
        }
    }

    fn write_u32(&mut self, number: u32) {
        let product = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // The map looks at both ends of it, and the numbers of our streams are all odd.
        self.0 = product ^ product >> 32;
    }
}

/// When each request is given up, the earliest first.
///
/// Nearly all have the same limit, so a newcomer nearly always goes to the end. Those that were answered
/// stay until they come to the front, or until they are more than half.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    queue: VecDeque<(Instant, u32)>,
}

impl Deadlines {
    pub(super) fn push(&mut self, at: Instant, id: u32) {
        let behind_all = self.queue.back().is_none_or(|(last, _)| *last <= at);
        if behind_all {
            self.queue.push_back((at, id));
        } else {
            let place = self.queue.partition_point(|(other, _)| *other <= at);
            self.queue.insert(place, (at, id));
        }
    }

    /// Drops those from the front that are not open any more; `open` of them are.
    pub(super) fn tidy(&mut self, open: usize, is_open: impl Fn(u32) -> bool) {
        while self.queue.front().is_some_and(|(_, id)| !is_open(*id)) {
            self.queue.pop_front();
        }
        if self.queue.len() > 2 * open + 1024 {
            self.queue.retain(|(_, id)| is_open(*id));
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.front().map(|(at, _)| *at)
    }

    /// The next one whose time is up.
    pub(super) fn pop(&mut self, now: Instant) -> Option<u32> {
        let (at, id) = *self.queue.front()?;
        if at > now {
            return None;
        }
        self.queue.pop_front();
        Some(id)
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_earliest_deadline_comes_first_and_what_is_answered_does_not_pile_up() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut deadlines = Deadlines::default();
        for (seconds, id) in [(10, 1), (10, 3), (5, 5), (11, 7)] {
            deadlines.push(after(seconds), id);
        }
        assert_eq!(deadlines.next(), Some(after(5)));
        assert_eq!(deadlines.pop(after(4)), None);
        let due: Vec<_> = std::iter::from_fn(|| deadlines.pop(after(10))).collect();
        assert_eq!(due, [5, 1, 3]);
        for id in 0..10_000 {
            deadlines.push(after(20 + u64::from(id)), 9 + 2 * id);
            deadlines.tidy(2, |id| id == 7 || id == 9);
        }
        assert!(deadlines.queue.len() < 1_100, "{}", deadlines.queue.len());
        assert_eq!(deadlines.next(), Some(after(11)));
    }
}
