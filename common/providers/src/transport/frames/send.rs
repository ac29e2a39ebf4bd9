//! Writing requests, as far as the peer takes them (RFC 9113, 5.1.2 and 5.2).
//!
//! Frames are never longer than the 16 KiB that every peer has to take: longer ones gain nothing.

use bytes::{Buf as _, Bytes};

use super::{
    protocol::{ENOUGH, Protocol},
    wire::{self, flag, kind},
};

impl Protocol {
    /// Puts out whatever may be put out: rests of bodies that windows held up, then new requests.
    pub(super) fn fill(&mut self) {
        if !self.stuck.is_empty() {
            self.push_rests();
        }
        while self.output().len() < ENOUGH
            && self.streams.len() < self.peer.max_streams
            // A request whose body cannot follow would be half sent for nothing.
            && self.window > 0
            && let Some(job) = self.queue.pop_front()
        {
            if job.slot.is_closed() {
                continue;
            }
            let id = job.id;
            let begins = self.put();
            let mut block = std::mem::take(&mut self.scratch);
            block.clear();
            self.encoder.encode(&job.request, &mut block);
            let bodiless = job.body.is_empty();
            wire::put_header_block(self.out(), &block, wire::MAX_PAYLOAD, id, bodiless);
            self.scratch = block;
            self.last_opened = id;
            let (mut stream, mut body) = self.open(job, begins);
            self.push_body(id, &mut stream.window, &mut body);
            if !body.is_empty() {
                stream.rest = body;
                self.stuck.push_back(id);
            }
            self.streams.insert(id, stream);
        }
    }

    /// Puts out as much of a body as both windows allow.
    fn push_body(&mut self, id: u32, window: &mut i64, body: &mut Bytes) {
        while !body.is_empty() {
            let most = usize::try_from((*window).min(self.window)).unwrap_or(0);
            let length = body.len().min(most).min(wire::MAX_PAYLOAD);
            if length == 0 {
                return;
            }
            let flags = if length == body.len() { flag::END_STREAM } else { 0 };
            let out = self.out();
            wire::put_head(out, length, kind::DATA, flags, id);
            out.extend_from_slice(&body[..length]);
            body.advance(length);
            // At most 2^31, so it fits.
            let length = i64::try_from(length).unwrap_or(i64::MAX);
            self.window -= length;
            *window -= length;
        }
    }

    fn push_rests(&mut self) {
        for _ in 0..self.stuck.len() {
            let Some(id) = self.stuck.pop_front() else {
                return;
            };
            if self.output().len() >= ENOUGH || self.window <= 0 {
                self.stuck.push_front(id);
                return;
            }
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            let mut window = stream.window;
            let mut rest = std::mem::take(&mut stream.rest);
            self.push_body(id, &mut window, &mut rest);
            let done = rest.is_empty();
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.window = window;
                stream.rest = rest;
            }
            if !done {
                self.stuck.push_back(id);
            }
        }
    }
}
