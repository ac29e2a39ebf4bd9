//! Frames as they stand on the wire (RFC 9113, 4 and 6): nine octets of head, then what they carry.

use super::super::stream_error::{Code, StreamError};

/// Octets before a frame's payload.
pub(super) const HEAD: usize = 9;
/// The longest payload that we take; we never announce another limit.
pub(super) const MAX_PAYLOAD: usize = 16_384;
/// What a client says first (RFC 9113, 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest stream number and the largest window.
pub(super) const MAX_31: u32 = 0x7fff_ffff;

/// Kinds of frames.
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const HEADERS: u8 = 1;
    pub(in super::super) const PRIORITY: u8 = 2;
    pub(in super::super) const RST_STREAM: u8 = 3;
    pub(in super::super) const SETTINGS: u8 = 4;
    pub(in super::super) const PUSH_PROMISE: u8 = 5;
    pub(in super::super) const PING: u8 = 6;
    pub(in super::super) const GOAWAY: u8 = 7;
    pub(in super::super) const WINDOW_UPDATE: u8 = 8;
    pub(in super::super) const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub(super) mod flag {
    /// Of SETTINGS and PING.
    pub(in super::super) const ACK: u8 = 0x1;
    pub(in super::super) const END_STREAM: u8 = 0x1;
    pub(in super::super) const END_HEADERS: u8 = 0x4;
    pub(in super::super) const PADDED: u8 = 0x8;
    pub(in super::super) const PRIORITY: u8 = 0x20;
}

/// Numbers of settings.
pub(super) mod setting {
    pub(in super::super) const HEADER_TABLE_SIZE: u16 = 1;
    pub(in super::super) const ENABLE_PUSH: u16 = 2;
    pub(in super::super) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(in super::super) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(in super::super) const MAX_FRAME_SIZE: u16 = 5;
    pub(in super::super) const MAX_HEADER_LIST_SIZE: u16 = 6;
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    /// The head at the start of `input`, once all of it is there.
    pub(super) fn read(input: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, stream @ ..] = *input.first_chunk::<HEAD>()?;
        Some(Self {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & MAX_31,
        })
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// A rule broken by the peer that ends the connection.
pub(super) fn broken(code: Code, what: &'static str) -> StreamError {
    StreamError::Broken { code, what }
}

/// The payload without its padding (RFC 9113, 6.1).
pub(super) fn unpadded(head: Head, payload: &[u8]) -> Result<&[u8], StreamError> {
    if !head.has(flag::PADDED) {
        return Ok(payload);
    }
    let inner = payload.split_first().and_then(|(padding, rest)| {
        let length = rest.len().checked_sub(usize::from(*padding))?;
        rest.get(..length)
    });
    inner.ok_or_else(|| broken(Code::PROTOCOL_ERROR, "padding longer than its frame"))
}

/// A number of four octets, if these are four.
pub(super) fn number(payload: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(payload.try_into().ok()?))
}

/// Appends a frame's head. The length has 24 bits: payloads are cut to the peer's limit before.
pub(super) fn put_head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    let [_, a, b, c] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, d, e, f, g]);
}

pub(super) fn put_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    put_head(out, settings.len() * 6, kind::SETTINGS, 0, 0);
    for (setting, value) in settings {
        out.extend_from_slice(&setting.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub(super) fn put_settings_ack(out: &mut Vec<u8>) {
    put_head(out, 0, kind::SETTINGS, flag::ACK, 0);
}

pub(super) fn put_ping(out: &mut Vec<u8>, flags: u8, opaque: [u8; 8]) {
    put_head(out, 8, kind::PING, flags, 0);
    out.extend_from_slice(&opaque);
}

pub(super) fn put_reset(out: &mut Vec<u8>, stream: u32, code: Code) {
    put_head(out, 4, kind::RST_STREAM, 0, stream);
    out.extend_from_slice(&code.0.to_be_bytes());
}

pub(super) fn put_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    put_head(out, 4, kind::WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&increment.to_be_bytes());
}

/// We take no streams of the peer, so the last one that we looked at is always 0.
pub(super) fn put_goaway(out: &mut Vec<u8>, code: Code) {
    put_head(out, 8, kind::GOAWAY, 0, 0);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// A header block in as many frames as the peer's limit asks for: HEADERS, then CONTINUATION.
pub(super) fn put_header_block(out: &mut Vec<u8>, block: &[u8], most: usize, stream: u32, ends_stream: bool) {
    let mut kind = kind::HEADERS;
    let mut flags = if ends_stream { flag::END_STREAM } else { 0 };
    let mut rest = block;
    loop {
        let (piece, later) = rest.split_at(rest.len().min(most));
        if later.is_empty() {
            flags |= flag::END_HEADERS;
        }
        put_head(out, piece.len(), kind, flags, stream);
        out.extend_from_slice(piece);
        if later.is_empty() {
            return;
        }
        (rest, kind, flags) = (later, kind::CONTINUATION, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written_and_the_reserved_bit_is_ignored() {
        let mut out = Vec::new();
        put_head(&mut out, 0x01_02_03, kind::DATA, flag::END_STREAM, 0x8000_0007);
        let head = Head::read(&out).expect("nine octets");
        assert_eq!((head.length, head.kind, head.stream), (0x01_02_03, kind::DATA, 7));
        assert!(head.has(flag::END_STREAM));
        assert_eq!(Head::read(&out[..8]), None);
    }

    #[test]
    fn padding_is_taken_off_and_may_not_be_longer_than_its_frame() {
        let head = Head {
            length: 0,
            kind: kind::DATA,
            flags: flag::PADDED,
            stream: 1,
        };
        assert_eq!(unpadded(head, &[2, b'a', b'b', 0, 0]).expect("it fits"), b"ab");
        assert_eq!(unpadded(head, &[0]).expect("nothing at all"), b"");
        assert!(unpadded(head, &[2, 0]).is_err());
        assert!(unpadded(head, &[]).is_err());
    }

    #[test]
    fn a_long_header_block_is_continued_and_only_its_last_frame_ends_it() {
        let mut out = Vec::new();
        put_header_block(&mut out, &[7; 25], 10, 3, true);
        let mut rest = &out[..];
        let mut seen = Vec::new();
        while let Some(head) = Head::read(rest) {
            seen.push((head.kind, head.flags, head.length));
            rest = &rest[HEAD + head.length..];
        }
        assert_eq!(
            seen,
            [
                (kind::HEADERS, flag::END_STREAM, 10),
                (kind::CONTINUATION, 0, 10),
                (kind::CONTINUATION, flag::END_HEADERS, 5)
            ]
        );
    }
}
