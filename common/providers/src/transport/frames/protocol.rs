//! One connection's state, without its socket: octets go in, octets come out, requests end.
//!
//! The driver reads into it ([`Protocol::receive`]), takes what is to be written ([`Protocol::output`])
//! and says how much of it the socket took ([`Protocol::accepted`]): that number decides whether a request
//! on a broken connection was certainly not sent. `send` and `receive` hold the two directions.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use http::HeaderValue;
use tokio::time::Instant;

use super::{
    super::{
        error::{Ambiguous, AttemptError, NotSent},
        stream_error::{Code, StreamError},
    },
    decode::Decoder,
    encode::Encoder,
    receive::Block,
    streams::{Deadlines, Job, Stream, Streams},
    wire::{self, setting},
};

/// An answer's body in the peer's hands is at most this long; we read half of it and never extend it.
pub(super) const STREAM_WINDOW: u32 = 16 * 1024;
/// All unread answers of a connection together.
pub(super) const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// What HTTP/2 starts with, for either window.
pub(super) const FIRST_WINDOW: u32 = 65_535;
/// How much may wait for a socket that takes nothing before no new request is written.
pub(super) const ENOUGH: usize = 64 * 1024;
/// How many octets of replies to the peer's own frames may wait. A peer that asks and asks and does not
/// read the replies is given up.
const MOST_REPLIES: usize = 64 * 1024;

/// See the module.
pub(super) struct Protocol {
    out: Vec<u8>,
    /// How much of `out` the socket took.
    taken: usize,
    /// How much it took before `out`.
    taken_before: u64,
    /// Octets in `out` that the peer made us write.
    replies: usize,
    pub(super) queue: VecDeque<Job>,
    pub(super) streams: Streams,
    /// Streams with a rest of a body, in order.
    pub(super) stuck: VecDeque<u32>,
    pub(super) deadlines: Deadlines,
    pub(super) encoder: Encoder,
    pub(super) decoder: Decoder,
    /// The header block that is being read.
    pub(super) block: Option<Block>,
    pub(super) scratch: Vec<u8>,
    pub(super) peer: Peer,
    /// The peer has said its SETTINGS.
    pub(super) greeted: bool,
    /// How much DATA the peer still takes on the connection.
    pub(super) window: i64,
    /// How much DATA we still take, and how much was taken and not given back.
    pub(super) receive_window: i64,
    pub(super) unreturned: u32,
    /// The highest stream that was opened.
    pub(super) last_opened: u32,
    /// The last stream that the peer looks at, once it is going away, and what it said.
    pub(super) going_away: Option<(u32, StreamError)>,
    /// How long a request waits for its answer, for messages.
    limit: Duration,
}

/// The peer's settings, as HTTP/2 starts until it says otherwise.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) max_streams: usize,
    pub(super) initial_window: u32,
}

impl Protocol {
    /// A connection whose first octets wait to be written.
    pub(super) fn new(authority: HeaderValue, limit: Duration) -> Self {
        let mut out = Vec::with_capacity(ENOUGH);
        out.extend_from_slice(wire::PREFACE);
        let settings = [
            (setting::HEADER_TABLE_SIZE, 0),
            (setting::ENABLE_PUSH, 0),
            (setting::INITIAL_WINDOW_SIZE, STREAM_WINDOW),
            (
                setting::MAX_HEADER_LIST_SIZE,
                u32::try_from(super::decode::MOST).unwrap_or(u32::MAX),
            ),
        ];
        wire::put_settings(&mut out, &settings);
        wire::put_window_update(&mut out, 0, CONNECTION_WINDOW - FIRST_WINDOW);
        Self {
            out,
            taken: 0,
            taken_before: 0,
            replies: 0,
            queue: VecDeque::new(),
            streams: Streams::default(),
            stuck: VecDeque::new(),
            deadlines: Deadlines::default(),
            encoder: Encoder::new(authority),
            decoder: Decoder::new(),
            block: None,
            scratch: Vec::new(),
            // Until the peer's SETTINGS say more, one: APNs may refuse the second.
            peer: Peer {
                max_streams: 1,
                initial_window: FIRST_WINDOW,
            },
            greeted: false,
            window: i64::from(FIRST_WINDOW),
            receive_window: i64::from(CONNECTION_WINDOW),
            unreturned: 0,
            last_opened: 0,
            going_away: None,
            limit,
        }
    }

    /// Takes a request; it is written by [`Protocol::fill`].
    pub(super) fn submit(&mut self, job: Job) {
        if let Some((_, error)) = &self.going_away {
            let _ = job.slot.send(Err(AttemptError::not_started(error.clone())));
            return;
        }
        self.deadlines.push(job.deadline, job.id);
        self.queue.push_back(job);
    }

    /// The sender of a request went away.
    pub(super) fn cancel(&mut self, id: u32) {
        if self.streams.remove(&id).is_some() {
            self.reset(id, Code::CANCEL);
        } else {
            self.take_waiting(id);
        }
    }

    /// Ends the requests whose time is up. `reads` is how often something was read so far: where that did
    /// not change in all the time of a request, the connection is dead or wedged.
    pub(super) fn expire(&mut self, now: Instant, reads: u64) {
        let limit = self.limit;
        while let Some(id) = self.deadlines.pop(now) {
            if let Some(stream) = self.streams.remove(&id) {
                self.reset(id, Code::CANCEL);
                let retire = stream.reads == reads;
                stream.end(|| AttemptError::Ambiguous {
                    cause: Ambiguous::Timeout(limit),
                    retire,
                });
            } else if let Some(job) = self.take_waiting(id) {
                let _ = job.slot.send(Err(AttemptError::Unprocessed {
                    cause: NotSent::NoFreeStream(limit),
                    retire: job.reads == reads,
                }));
            }
        }
    }

    fn take_waiting(&mut self, id: u32) -> Option<Job> {
        let at = self.queue.binary_search_by_key(&id, |job| job.id).ok()?;
        self.queue.remove(at)
    }

    /// When [`Protocol::expire`] has something to do.
    pub(super) fn next_deadline(&mut self) -> Option<Instant> {
        let Self {
            deadlines,
            streams,
            queue,
            ..
        } = self;
        let open = streams.len() + queue.len();
        deadlines.tidy(open, |id| {
            streams.contains_key(&id) || queue.front().is_some_and(|first| first.id <= id)
        });
        deadlines.next()
    }

    /// Requests that have no answer.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.is_empty() && self.queue.is_empty()
    }

    /// The connection is broken: ends every request, with the promise that it was not sent where nothing
    /// of it was handed to the socket.
    pub(super) fn fail(&mut self, error: &StreamError) {
        let handed = self.handed();
        for (_, stream) in self.streams.drain() {
            let unsent = stream.begins >= handed;
            stream.end(|| {
                if unsent {
                    AttemptError::not_started(error.clone())
                } else {
                    AttemptError::ambiguous(Ambiguous::Lost(error.clone()))
                }
            });
        }
        for job in self.queue.drain(..) {
            let _ = job.slot.send(Err(AttemptError::not_started(error.clone())));
        }
        self.stuck.clear();
        self.deadlines.clear();
    }

    /// What is to be written.
    pub(super) fn output(&self) -> &[u8] {
        &self.out[self.taken..]
    }

    /// The socket took so much of it.
    pub(super) fn accepted(&mut self, octets: usize) {
        self.taken += octets;
        if self.taken >= self.out.len() {
            self.taken_before += self.taken as u64;
            self.taken = 0;
            self.out.clear();
            self.out.shrink_to(4 * ENOUGH);
        } else if self.taken >= ENOUGH {
            self.out.drain(..self.taken);
            self.taken_before += self.taken as u64;
            self.taken = 0;
        }
        self.replies = self.replies.min(self.output().len());
    }

    /// Writing failed: nobody knows how much of what was offered went out before it did.
    pub(super) fn doubt(&mut self) {
        self.accepted(self.output().len());
    }

    /// How much the socket was ever given.
    fn handed(&self) -> u64 {
        self.taken_before + self.taken as u64
    }

    /// How much has ever been put out.
    pub(super) fn put(&self) -> u64 {
        self.taken_before + self.out.len() as u64
    }

    /// Where frames are written. What a peer makes us write is counted with [`Protocol::reply`].
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Writes a frame that the peer made us write.
    ///
    /// # Errors
    /// When too many of them wait.
    pub(super) fn reply(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), StreamError> {
        let before = self.out.len();
        write(&mut self.out);
        self.replies += self.out.len() - before;
        if self.replies > MOST_REPLIES {
            return Err(wire::broken(
                Code::ENHANCE_YOUR_CALM,
                "more questions than replies are taken",
            ));
        }
        Ok(())
    }

    /// Tells the peer that a stream is of no interest any more.
    pub(super) fn reset(&mut self, id: u32, code: Code) {
        wire::put_reset(&mut self.out, id, code);
    }

    /// Asks for a sign of life.
    pub(super) fn ping(&mut self) {
        wire::put_ping(&mut self.out, 0, *b"are you?");
    }

    /// Says goodbye.
    pub(super) fn goodbye(&mut self, code: Code) {
        wire::put_goaway(&mut self.out, code);
    }

    /// Ends a stream that the peer broke, and only that.
    pub(super) fn spoil(&mut self, id: u32, code: Code, what: &'static str) -> Result<(), StreamError> {
        if let Some(stream) = self.streams.remove(&id) {
            stream.end(|| AttemptError::ambiguous(Ambiguous::Lost(wire::broken(code, what))));
        }
        self.reply(|out| wire::put_reset(out, id, code))
    }

    /// Ends a stream whose answer is whole, or as whole as anybody wants it.
    pub(super) fn finish(&mut self, id: u32, wants_more: bool) {
        let Some(stream) = self.streams.remove(&id) else {
            return;
        };
        // The peer may go on writing, or wait for the rest of our body: it should do neither.
        if wants_more || !stream.rest.is_empty() {
            self.reset(id, Code::CANCEL);
        }
        stream.end(|| {
            AttemptError::ambiguous(Ambiguous::Lost(wire::broken(
                Code::PROTOCOL_ERROR,
                "an answer without a status",
            )))
        });
    }

    /// A stream as it begins.
    pub(super) fn open(&self, job: Job, begins: u64) -> (Stream, Bytes) {
        let stream = Stream {
            wants_success_body: job.request.fixed.success_has_body,
            slot: job.slot,
            reads: job.reads,
            begins,
            window: i64::from(self.peer.initial_window),
            rest: Bytes::new(),
            status: None,
            headers: None,
            body: bytes::BytesMut::new(),
            received: 0,
        };
        (stream, job.body)
    }
}
