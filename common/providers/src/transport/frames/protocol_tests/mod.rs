//! The protocol against a peer that is written out frame by frame.

mod answers;
mod requests;
mod rules;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::{
    sync::oneshot::{self, error::TryRecvError},
    time::Instant,
};

use super::{
    super::{
        error::{Ambiguous, AttemptError, NotSent},
        request::{Fixed, Request},
        stream_error::{Code, StreamError},
    },
    protocol::Protocol,
    streams::{Job, Reply},
    wire::{self, HEAD, Head, flag, kind, setting},
};

const LIMIT: Duration = Duration::from_secs(10);
const OK: &[u8] = &[0x88];
const NOT_FOUND: &[u8] = &[0x8d];

type Answer = oneshot::Receiver<Result<Reply, AttemptError>>;

/// A frame as the peer writes it, or as we did.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    wire::put_head(&mut out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
    out
}

fn settings(entries: &[(u16, u32)]) -> Vec<u8> {
    let mut out = Vec::new();
    wire::put_settings(&mut out, entries);
    out
}

fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

fn goaway(last: u32, code: Code, debug: &[u8]) -> Vec<u8> {
    let payload = [&last.to_be_bytes(), &code.0.to_be_bytes(), debug].concat();
    frame(kind::GOAWAY, 0, 0, &payload)
}

fn reset(stream: u32, code: Code) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code.0.to_be_bytes())
}

/// The head of an answer, which ends it too.
fn answer(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, stream, block)
}

fn head(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS, stream, block)
}

struct Wire {
    protocol: Protocol,
    next: u32,
}

impl Wire {
    /// Past the greetings, with these settings of the peer.
    fn greeted(entries: &[(u16, u32)]) -> Self {
        let mut wire = Self::new();
        wire.receive(&settings(entries));
        wire.receive(&frame(kind::SETTINGS, flag::ACK, 0, &[]));
        wire.written();
        wire
    }

    fn new() -> Self {
        let protocol = Protocol::new(HeaderValue::from_static("push.example"), LIMIT);
        let mut wire = Self { protocol, next: 1 };
        let greeting = wire.octets();
        assert!(greeting.starts_with(wire::PREFACE));
        wire
    }

    fn submit(&mut self, body: &'static [u8]) -> Answer {
        let (slot, answer) = oneshot::channel();
        let fixed = Arc::new(Fixed::new(None, HeaderMap::new()));
        let id = self.next;
        self.next += 2;
        self.protocol.submit(Job {
            id,
            request: Request::new(&fixed),
            body: Bytes::from_static(body),
            deadline: Instant::now() + LIMIT,
            reads: 0,
            slot,
        });
        self.protocol.fill();
        answer
    }

    fn try_receive(&mut self, octets: &[u8]) -> Result<(), StreamError> {
        let read = self.protocol.receive(octets)?;
        assert_eq!(read, octets.len());
        self.protocol.fill();
        Ok(())
    }

    fn receive(&mut self, octets: &[u8]) {
        self.try_receive(octets).expect("no rule is broken");
    }

    fn octets(&mut self) -> Vec<u8> {
        let octets = self.protocol.output().to_vec();
        self.protocol.accepted(octets.len());
        octets
    }

    /// The frames that were put out since the last look.
    fn written(&mut self) -> Vec<Frame> {
        let octets = self.octets();
        let mut rest = &octets[..];
        let mut frames = Vec::new();
        while let Some(head) = Head::read(rest) {
            frames.push(Frame {
                kind: head.kind,
                flags: head.flags,
                stream: head.stream,
                payload: rest[HEAD..HEAD + head.length].to_vec(),
            });
            rest = &rest[HEAD + head.length..];
        }
        assert!(rest.is_empty());
        frames
    }

    /// The same, in short: kind, stream, length of the payload.
    fn summary(&mut self) -> Vec<(u8, u32, usize)> {
        let frames = self.written();
        frames
            .iter()
            .map(|frame| (frame.kind, frame.stream, frame.payload.len()))
            .collect()
    }

    fn fail(&mut self) {
        self.protocol.fail(&StreamError::Closed);
    }
}

fn status(answer: &mut Answer) -> StatusCode {
    answer.try_recv().expect("an outcome").expect("an answer").status
}

fn error(answer: &mut Answer) -> AttemptError {
    answer.try_recv().expect("an outcome").expect_err("an error")
}

fn waits(answer: &mut Answer) -> bool {
    matches!(answer.try_recv(), Err(TryRecvError::Empty))
}

fn code_of(error: StreamError) -> Code {
    match error {
        StreamError::Broken { code, .. } => code,
        other => panic!("{other:?}"),
    }
}
