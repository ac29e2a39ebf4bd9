//! For the counts of `jraze-bench micro` only: a connection whose peer takes everything and says 200.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use tokio::{sync::oneshot, time::Instant};

use super::{
    super::{error::AttemptError, request::Request},
    protocol::Protocol,
    streams::{Job, Reply},
    wire::{self, flag, kind, setting},
};

/// The whole head of an answer: the field of HPACK's own table that says 200.
const OK: [u8; 1] = [0x88];

/// See the module.
pub struct Connection {
    protocol: Protocol,
    next: u32,
    deadline: Instant,
    answer: Vec<u8>,
    waiting: Option<oneshot::Receiver<Result<Reply, AttemptError>>>,
}

impl Default for Connection {
    fn default() -> Self {
        let limit = Duration::from_secs(10);
        let mut protocol = Protocol::new(HeaderValue::from_static("push.example"), limit);
        let mut greeting = Vec::new();
        let settings = [
            (setting::MAX_CONCURRENT_STREAMS, 1_000),
            (setting::INITIAL_WINDOW_SIZE, wire::MAX_31 / 2),
        ];
        wire::put_settings(&mut greeting, &settings);
        wire::put_window_update(&mut greeting, 0, wire::MAX_31 / 2);
        protocol.receive(&greeting).expect("a greeting as it should be");
        let waiting = protocol.output().len();
        protocol.accepted(waiting);
        Self {
            protocol,
            next: 1,
            deadline: Instant::now() + limit,
            answer: Vec::new(),
            waiting: None,
        }
    }
}

impl Connection {
    /// Writes one request; how many octets it took.
    pub fn write(&mut self, request: Request, body: Bytes) -> usize {
        let (slot, waiting) = oneshot::channel();
        self.waiting = Some(waiting);
        self.protocol.submit(Job {
            id: self.next,
            request,
            body,
            deadline: self.deadline,
            reads: 0,
            slot,
        });
        self.protocol.fill();
        let octets = self.protocol.output().len();
        self.protocol.accepted(octets);
        octets
    }

    /// The octets of the answer to the last request, before they are read.
    pub fn be_answered(&mut self) {
        self.answer.clear();
        let flags = flag::END_HEADERS | flag::END_STREAM;
        wire::put_head(&mut self.answer, OK.len(), kind::HEADERS, flags, self.next);
        self.answer.extend_from_slice(&OK);
        self.next += 2;
    }

    /// Reads the answer; its status.
    pub fn read(&mut self) -> Option<u16> {
        self.protocol.receive(&self.answer).ok()?;
        let reply = self.waiting.take()?.try_recv().ok()?.ok()?;
        Some(reply.status.as_u16())
    }
}
