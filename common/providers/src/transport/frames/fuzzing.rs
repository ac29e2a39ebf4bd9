//! For `fuzz/` only: a connection that is fed whatever a peer may send.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use tokio::{sync::oneshot, time::Instant};

use super::{
    super::request::{Fixed, Request},
    decode::Decoder,
    protocol::Protocol,
    streams::Job,
    wire,
};

/// Requests that are under way while the peer talks.
const REQUESTS: u32 = 8;

/// What became of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Requests that were made, one of which was withdrawn in the end.
    pub requests: usize,
    /// Requests with an answer.
    pub answered: usize,
    /// Requests with an error.
    pub failed: usize,
    /// The code of the rule that the peer broke.
    pub broken: Option<u32>,
    /// The longest body of an answer.
    pub longest_body: usize,
    /// The most that waited to be written.
    pub most_waiting: usize,
}

/// Requests of which half are open when the peer begins to talk, in pieces of `piece` octets. The socket
/// takes half of what is offered after each piece.
pub fn talk(input: &[u8], piece: usize, greeted: bool) -> Outcome {
    let limit = Duration::from_secs(10);
    let mut protocol = Protocol::new(HeaderValue::from_static("push.example"), limit);
    let mut outcome = Outcome::default();
    let mut octets = Vec::new();
    if greeted {
        wire::put_settings(&mut octets, &[]);
        wire::put_settings_ack(&mut octets);
    }
    let fixed = Arc::new(Fixed::new(None, HeaderMap::new()));
    let start = Instant::now();
    let mut answers = Vec::new();
    let mut submit = |protocol: &mut Protocol, number: u32| {
        let (slot, answer) = oneshot::channel();
        answers.push(answer);
        protocol.submit(Job {
            id: 2 * number + 1,
            request: Request::new(&fixed),
            body: Bytes::from_static(&[b'x'; 4_000]),
            deadline: start + limit,
            reads: 0,
            slot,
        });
        protocol.fill();
    };
    for number in 0..REQUESTS / 2 {
        submit(&mut protocol, number);
    }
    let mut next = REQUESTS / 2;
    let mut rest = input;
    loop {
        match protocol.receive(&octets) {
            Ok(read) => octets.drain(..read),
            Err(error) => {
                outcome.broken = Some(match error {
                    super::super::StreamError::Broken { code, .. } => code.0,
                    _ => u32::MAX,
                });
                break;
            }
        };
        assert!(
            octets.len() < wire::HEAD + wire::MAX_PAYLOAD,
            "a whole frame was left"
        );
        protocol.fill();
        let waiting = protocol.output().len();
        outcome.most_waiting = outcome.most_waiting.max(waiting);
        protocol.accepted(waiting / 2);
        if next < REQUESTS {
            submit(&mut protocol, next);
            next += 1;
        }
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at(rest.len().min(piece.max(1)));
        octets.extend_from_slice(now);
        rest = later;
    }
    // Whatever happened, everybody hears of it: in time, or when the connection ends.
    protocol.expire(start + limit / 2, 1);
    protocol.cancel(3);
    protocol.fail(&super::super::StreamError::Closed);
    assert!(protocol.is_idle());
    outcome.requests = answers.len();
    for (number, answer) in answers.iter_mut().enumerate() {
        match answer.try_recv() {
            Ok(Ok(reply)) => {
                outcome.answered += 1;
                outcome.longest_body = outcome.longest_body.max(reply.body.len());
            }
            Ok(Err(_)) => outcome.failed += 1,
            // The one that was cancelled.
            Err(_) => assert_eq!(number, 1),
        }
    }
    outcome
}

/// The fields of a header block, with the table that HTTP/2 starts with or with none; the block is decoded
/// `times` times in a row.
pub fn fields(block: &[u8], table: bool, times: usize) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut decoder = Decoder::new();
    if !table {
        decoder.forget();
    }
    let mut fields = Vec::new();
    for _ in 0..times {
        let each = |name: &[u8], value: &[u8]| fields.push((name.to_vec(), value.to_vec()));
        decoder.decode(block, each).ok()?;
    }
    Some(fields)
}
