//! Reading frames (RFC 9113, 5 and 6): what each means for the connection and for the streams on it.
//!
//! An error that is returned here ends the connection; the peer is told its code. What is only wrong with
//! one stream ends that stream. Frames of kinds that nobody knows, and PRIORITY, mean nothing.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{
    super::{
        error::{AttemptError, NotSent},
        stream_error::{Code, Debug, StreamError},
    },
    decode::MOST,
    protocol::{CONNECTION_WINDOW, FIRST_WINDOW, Protocol, STREAM_WINDOW},
    streams::of_reset,
    wire::{self, HEAD, Head, MAX_31, broken, flag, kind, setting},
};

/// `:status: 200` of the static table, alone in an octet.
const OK: u8 = 0x88;
/// A header block in more pieces than this is an attack.
const MOST_PIECES: u32 = 32;

/// A header block of which the end is still to come.
#[derive(Debug)]
pub(super) struct Block {
    stream: u32,
    ends_stream: bool,
    octets: Vec<u8>,
    pieces: u32,
}

impl Protocol {
    /// Reads all whole frames of `input` and says how many octets they were.
    ///
    /// # Errors
    /// When the peer breaks a rule that concerns the whole connection.
    pub(super) fn receive(&mut self, input: &[u8]) -> Result<usize, StreamError> {
        let mut rest = input;
        while let Some(head) = Head::read(rest) {
            if head.length > wire::MAX_PAYLOAD {
                return Err(broken(
                    Code::FRAME_SIZE_ERROR,
                    "a frame longer than we ever allowed",
                ));
            }
            let Some(payload) = rest.get(HEAD..HEAD + head.length) else {
                break;
            };
            self.frame(head, payload)?;
            rest = &rest[HEAD + head.length..];
        }
        Ok(input.len() - rest.len())
    }

    fn frame(&mut self, head: Head, payload: &[u8]) -> Result<(), StreamError> {
        if !self.greeted && (head.kind != kind::SETTINGS || head.has(flag::ACK)) {
            return Err(broken(Code::PROTOCOL_ERROR, "its SETTINGS have to come first"));
        }
        if self.block.is_some() && head.kind != kind::CONTINUATION {
            return Err(broken(
                Code::PROTOCOL_ERROR,
                "a frame in the middle of a header block",
            ));
        }
        match head.kind {
            kind::DATA => self.data(head, payload),
            kind::HEADERS => self.headers(head, payload),
            kind::CONTINUATION => self.continuation(head, payload),
            kind::RST_STREAM => self.reset_by_peer(head, payload),
            kind::SETTINGS => self.settings(head, payload),
            kind::PING => self.pinged(head, payload),
            kind::GOAWAY => self.goaway(head, payload),
            kind::WINDOW_UPDATE => self.window_update(head, payload),
            kind::PUSH_PROMISE => Err(broken(Code::PROTOCOL_ERROR, "a push that we do not take")),
            kind::PRIORITY if head.stream == 0 => Err(broken(Code::PROTOCOL_ERROR, "PRIORITY of no stream")),
            _ => Ok(()),
        }
    }

    /// A stream that the peer may name: one that we opened, whether it still is or not.
    fn known(&self, head: Head) -> Result<u32, StreamError> {
        if head.stream.is_multiple_of(2) || head.stream > self.last_opened {
            return Err(broken(Code::PROTOCOL_ERROR, "a stream that was never opened"));
        }
        Ok(head.stream)
    }

    fn data(&mut self, head: Head, payload: &[u8]) -> Result<(), StreamError> {
        let id = self.known(head)?;
        let data = wire::unpadded(head, payload)?;
        // Padding counts, and so does what nobody waits for any more.
        self.receive_window -= i64::try_from(payload.len()).unwrap_or(i64::MAX);
        if self.receive_window < 0 {
            return Err(broken(
                Code::FLOW_CONTROL_ERROR,
                "more DATA than its window allows",
            ));
        }
        self.unreturned += u32::try_from(payload.len()).unwrap_or(u32::MAX);
        if self.unreturned >= CONNECTION_WINDOW / 2 {
            let increment = std::mem::take(&mut self.unreturned);
            self.receive_window += i64::from(increment);
            self.reply(|out| wire::put_window_update(out, 0, increment))?;
        }
        // Before the peer knows our SETTINGS it may believe in a larger window.
        let window = if self.decoder.has_no_table() {
            STREAM_WINDOW
        } else {
            FIRST_WINDOW
        };
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        stream.received += payload.len();
        if stream.status.is_none() {
            return self.spoil(id, Code::PROTOCOL_ERROR, "DATA before the head of an answer");
        }
        let enough = stream.keep(data);
        if stream.received > window as usize {
            return self.spoil(
                id,
                Code::FLOW_CONTROL_ERROR,
                "more DATA than the stream's window allows",
            );
        }
        let ends = head.has(flag::END_STREAM);
        if ends || enough {
            self.finish(id, !ends);
        }
        Ok(())
    }

    fn headers(&mut self, head: Head, payload: &[u8]) -> Result<(), StreamError> {
        let id = self.known(head)?;
        let mut octets = wire::unpadded(head, payload)?;
        if head.has(flag::PRIORITY) {
            octets = octets
                .get(5..)
                .ok_or_else(|| broken(Code::FRAME_SIZE_ERROR, "HEADERS without their priority"))?;
        }
        let ends_stream = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.block_ended(id, ends_stream, octets);
        }
        self.block = Some(Block {
            stream: id,
            ends_stream,
            octets: octets.to_vec(),
            pieces: 1,
        });
        Ok(())
    }

    fn continuation(&mut self, head: Head, payload: &[u8]) -> Result<(), StreamError> {
        let Some(mut block) = self.block.take().filter(|block| block.stream == head.stream) else {
            return Err(broken(
                Code::PROTOCOL_ERROR,
                "CONTINUATION of nothing that was begun",
            ));
        };
        block.octets.extend_from_slice(payload);
        block.pieces += 1;
        if block.octets.len() > MOST || block.pieces > MOST_PIECES {
            return Err(broken(Code::ENHANCE_YOUR_CALM, "a header block without end"));
        }
        if head.has(flag::END_HEADERS) {
            return self.block_ended(block.stream, block.ends_stream, &block.octets);
        }
        self.block = Some(block);
        Ok(())
    }

    /// The head of an answer, or one that announces it (1xx), or what trails it.
    fn block_ended(&mut self, id: u32, ends_stream: bool, octets: &[u8]) -> Result<(), StreamError> {
        let in_step = self.decoder.has_no_table();
        let stream = self.streams.get_mut(&id);
        let waits_for_head = stream.as_ref().is_some_and(|stream| stream.status.is_none());
        // Nobody asks for the headers of a plain success, and nothing is lost by not reading them.
        if in_step && waits_for_head && octets.first() == Some(&OK) {
            if let Some(stream) = stream {
                stream.status = Some(StatusCode::OK);
            }
            if ends_stream {
                self.finish(id, false);
            }
            return Ok(());
        }
        if in_step && !waits_for_head && stream.is_none() {
            return Ok(());
        }
        let mut status = None;
        let mut headers = HeaderMap::new();
        let decoded = self.decoder.decode(octets, |name, value| {
            if name == b":status" {
                status = StatusCode::from_bytes(value).ok();
            } else if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
            {
                // Too many for a map is too many for anybody.
                let _ = headers.try_append(name, value);
            }
        });
        decoded.map_err(|why| broken(Code::COMPRESSION_ERROR, why.0))?;
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        if stream.status.is_some() {
            // Trailers, of which nothing is kept.
            self.finish(id, !ends_stream);
            return Ok(());
        }
        match status {
            None => self.spoil(id, Code::PROTOCOL_ERROR, "an answer without a status"),
            Some(status) if status.is_informational() && ends_stream => {
                self.spoil(id, Code::PROTOCOL_ERROR, "an answer that only announces one")
            }
            Some(status) if status.is_informational() => Ok(()),
            Some(status) => {
                stream.status = Some(status);
                stream.headers = Some(Box::new(headers));
                if ends_stream {
                    self.finish(id, false);
                }
                Ok(())
            }
        }
    }

    fn reset_by_peer(&mut self, head: Head, payload: &[u8]) -> Result<(), StreamError> {
        let code = wire::number(payload)
            .ok_or_else(|| broken(Code::FRAME_SIZE_ERROR, "RST_STREAM of a wrong length"))?;
        let id = self.known(head)?;
        if let Some(stream) = self.streams.remove(&id) {
            stream.end(|| of_reset(Code(code)));
        }
        Ok(())
    }

    fn settings(&mut self, head: Head, payload: &[u8]) -> Result<(), StreamError> {
        if head.stream != 0 {
            return Err(broken(Code::PROTOCOL_ERROR, "SETTINGS of a stream"));
        }
        let ack = head.has(flag::ACK);
        if !payload.len().is_multiple_of(6) || ack && !payload.is_empty() {
            return Err(broken(Code::FRAME_SIZE_ERROR, "SETTINGS of a wrong length"));
        }
        if ack {
            self.decoder.forget();
            return Ok(());
        }
        if !self.greeted {
            self.greeted = true;
            // No limit, unless it says one.
            self.peer.max_streams = usize::MAX;
        }
        for entry in payload.chunks_exact(6) {
            let number = u16::from_be_bytes([entry[0], entry[1]]);
            let value = u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]);
            self.setting(number, value)?;
        }
        self.reply(wire::put_settings_ack)
    }

    fn setting(&mut self, number: u16, value: u32) -> Result<(), StreamError> {
        match number {
            setting::HEADER_TABLE_SIZE => self.encoder.resize(value),
            setting::ENABLE_PUSH if value != 0 => {
                return Err(broken(
                    Code::PROTOCOL_ERROR,
                    "a server that wants to be pushed to",
                ));
            }
            setting::MAX_CONCURRENT_STREAMS => {
                self.peer.max_streams = usize::try_from(value).unwrap_or(usize::MAX);
            }
            setting::INITIAL_WINDOW_SIZE => {
                if value > MAX_31 {
                    return Err(broken(Code::FLOW_CONTROL_ERROR, "a window beyond all windows"));
                }
                let change = i64::from(value) - i64::from(self.peer.initial_window);
                self.peer.initial_window = value;
                for stream in self.streams.values_mut() {
                    stream.window += change;
                    if stream.window > i64::from(MAX_31) {
                        return Err(broken(Code::FLOW_CONTROL_ERROR, "a window beyond all windows"));
                    }
                }
            }
            setting::MAX_FRAME_SIZE if !(16_384..=16_777_215).contains(&value) => {
                return Err(broken(Code::PROTOCOL_ERROR, "a frame size that there is not"));
            }
            _ => {}
        }
        Ok(())
    }

    fn pinged(&mut self, head: Head, payload: &[u8]) -> Result<(), StreamError> {
        if head.stream != 0 {
            return Err(broken(Code::PROTOCOL_ERROR, "PING of a stream"));
        }
        let opaque: [u8; 8] = payload
            .try_into()
            .map_err(|_| broken(Code::FRAME_SIZE_ERROR, "PING of a wrong length"))?;
        if head.has(flag::ACK) {
            // That it came is all there is to know.
            return Ok(());
        }
        self.reply(|out| wire::put_ping(out, flag::ACK, opaque))
    }

    fn goaway(&mut self, head: Head, payload: &[u8]) -> Result<(), StreamError> {
        if head.stream != 0 {
            return Err(broken(Code::PROTOCOL_ERROR, "GOAWAY of a stream"));
        }
        let (Some(last), Some(code)) = (
            payload.get(..4).and_then(wire::number),
            payload.get(4..8).and_then(wire::number),
        ) else {
            return Err(broken(Code::FRAME_SIZE_ERROR, "GOAWAY of a wrong length"));
        };
        let error = StreamError::GoAway {
            code: Code(code),
            debug: Debug::read(&payload[8..]),
        };
        // It may say so again with a lower number, never with a higher one (6.8).
        let before = self.going_away.as_ref().map_or(MAX_31, |(last, _)| *last);
        let last = (last & MAX_31).min(before);
        self.going_away = Some((last, error.clone()));
        let excluded = self.streams.extract_if(|id, _| *id > last);
        for (_, stream) in excluded {
            stream.end(|| AttemptError::Unprocessed {
                cause: NotSent::GoneAway(error.clone()),
                retire: true,
            });
        }
        for job in self.queue.drain(..) {
            let _ = job.slot.send(Err(AttemptError::not_started(error.clone())));
        }
        Ok(())
    }

    fn window_update(&mut self, head: Head, payload: &[u8]) -> Result<(), StreamError> {
        let increment = wire::number(payload)
            .ok_or_else(|| broken(Code::FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong length"))?
            & MAX_31;
        if head.stream == 0 {
            self.window += i64::from(increment);
            if increment == 0 {
                return Err(broken(Code::PROTOCOL_ERROR, "WINDOW_UPDATE of nothing"));
            }
            if self.window > i64::from(MAX_31) {
                return Err(broken(Code::FLOW_CONTROL_ERROR, "a window beyond all windows"));
            }
            return Ok(());
        }
        let id = self.known(head)?;
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        stream.window += i64::from(increment);
        if increment == 0 {
            return self.spoil(id, Code::PROTOCOL_ERROR, "WINDOW_UPDATE of nothing");
        }
        if stream.window > i64::from(MAX_31) {
            return self.spoil(id, Code::FLOW_CONTROL_ERROR, "a window beyond all windows");
        }
        Ok(())
    }
}
