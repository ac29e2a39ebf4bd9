//! The bytes below HTTP/2: two things that the `h2` crate cannot say.
//!
//! APNs announces one stream and raises that once a client is authenticated, but `h2` has no way to
//! change `MAX_CONCURRENT_STREAMS` later. So `h2` is told the final number, its first SETTINGS frame
//! leaves here with the smaller one, and later `h2` is asked for a SETTINGS frame that changes nothing
//! (the window size it already has), which leaves here as the raise: same length, one entry, and the
//! peer's acknowledgement is one that `h2` expects. A GOAWAY with a chosen last stream id and debug
//! data is written between two frames in the same way.
//!
//! To know where frames begin, the stream follows their headers; that is 9 bytes of arithmetic per
//! frame, and nothing is copied unless something is to be changed.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const HEAD: usize = 9;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const MAX_CONCURRENT_STREAMS: [u8; 2] = [0, 3];
const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];

/// Asks a [`Wire`] to do something at the next frame boundary.
#[derive(Debug, Clone, Default)]
pub(crate) struct WirePlan(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    pending: AtomicBool,
    wishes: Mutex<Wishes>,
}

#[derive(Debug, Default)]
struct Wishes {
    /// What `MAX_CONCURRENT_STREAMS` of the next SETTINGS frame becomes.
    streams: Option<u32>,
    /// Frames to write.
    frames: Vec<u8>,
}

impl WirePlan {
    fn wish(&self, change: impl FnOnce(&mut Wishes)) {
        let mut wishes = self.0.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut wishes);
        let pending = wishes.streams.is_some() || !wishes.frames.is_empty();
        self.0.pending.store(pending, Ordering::Release);
    }

    /// The next SETTINGS frame announces `streams`.
    pub(crate) fn announce_streams(&self, streams: u32) {
        self.wish(|wishes| wishes.streams = Some(streams));
    }

    /// A GOAWAY frame is written at the next frame boundary.
    pub(crate) fn goaway(&self, last_stream: u32, code: u32, debug: &[u8]) {
        // A frame that every peer must take is at most 16 KiB.
        let debug = &debug[..debug.len().min(16_000)];
        let length = (8 + debug.len()) as u32;
        self.wish(|wishes| {
            let frame = &mut wishes.frames;
            frame.extend_from_slice(&length.to_be_bytes()[1..]);
            frame.extend_from_slice(&[GOAWAY, 0, 0, 0, 0, 0]);
            frame.extend_from_slice(&last_stream.to_be_bytes());
            frame.extend_from_slice(&code.to_be_bytes());
            frame.extend_from_slice(debug);
        });
    }

    fn is_pending(&self) -> bool {
        self.0.pending.load(Ordering::Acquire)
    }
}

/// Where in a sequence of frames the next byte belongs.
#[derive(Debug, Default)]
struct Position {
    head: [u8; HEAD],
    head_len: usize,
    payload_left: usize,
}

impl Position {
    fn is_boundary(&self) -> bool {
        self.head_len == 0 && self.payload_left == 0
    }

    /// Moves over `bytes`; stops at the first frame boundary when `stop`. Returns the bytes passed.
    fn advance(&mut self, bytes: &[u8], stop: bool) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            if self.payload_left > 0 {
                let step = self.payload_left.min(bytes.len() - at);
                self.payload_left -= step;
                at += step;
            } else {
                let step = (HEAD - self.head_len).min(bytes.len() - at);
                self.head[self.head_len..self.head_len + step].copy_from_slice(&bytes[at..at + step]);
                self.head_len += step;
                at += step;
                if self.head_len == HEAD {
                    self.head_len = 0;
                    self.payload_left = length(&self.head);
                }
            }
            if stop && self.is_boundary() {
                break;
            }
        }
        at
    }

    /// How many bytes of `bytes` belong to the frame that has begun.
    fn rest_of_frame(&self, bytes: &[u8]) -> usize {
        Self {
            head: self.head,
            ..*self
        }
        .advance(bytes, true)
    }
}

fn length(head: &[u8]) -> usize {
    u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize
}

/// A byte stream that carries the frames of one HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct Wire<T> {
    inner: T,
    plan: WirePlan,
    position: Position,
    outbox: Vec<u8>,
    outbox_sent: usize,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    /// Carries frames over `inner` and does what `plan` asks for.
    pub(crate) fn new(inner: T, plan: WirePlan) -> Self {
        Self {
            inner,
            plan,
            position: Position::default(),
            outbox: Vec::new(),
            outbox_sent: 0,
        }
    }

    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.outbox_sent < self.outbox.len() {
            let rest = &self.outbox[self.outbox_sent..];
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbox_sent += written;
        }
        self.outbox.clear();
        self.outbox_sent = 0;
        Poll::Ready(Ok(()))
    }

    /// At a frame boundary: puts wished frames in the outbox.
    fn take_frames(&mut self) {
        if self.position.is_boundary() && self.plan.is_pending() {
            self.plan.wish(|wishes| self.outbox.append(&mut wishes.frames));
        }
    }

    /// At a frame boundary before a SETTINGS frame: puts the changed frame in the outbox. Returns the
    /// length of the frame, or 0 when there is nothing to change.
    fn take_settings(&mut self, bytes: &[u8]) -> usize {
        if !self.position.is_boundary() || bytes.len() < HEAD {
            return 0;
        }
        let end = HEAD + length(bytes);
        if bytes[3] != SETTINGS || bytes[4] & ACK != 0 || bytes.len() < end {
            return 0;
        }
        let mut frame = bytes[..end].to_vec();
        let mut entries = frame[HEAD..].chunks_exact_mut(6);
        let only = end == HEAD + 6;
        let entry = entries
            .find(|entry| entry[..2] == MAX_CONCURRENT_STREAMS || only && entry[..2] == INITIAL_WINDOW_SIZE);
        let mut changed = 0;
        self.plan.wish(|wishes| {
            if let (Some(entry), Some(streams)) = (entry, wishes.streams) {
                entry[..2].copy_from_slice(&MAX_CONCURRENT_STREAMS);
                entry[2..].copy_from_slice(&streams.to_be_bytes());
                wishes.streams = None;
                changed = end;
            }
        });
        if changed > 0 {
            self.outbox.append(&mut frame);
        }
        changed
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.drain(cx))?;
        let mut limit = buf.len();
        if this.plan.is_pending() {
            this.take_frames();
            ready!(this.drain(cx))?;
            let changed = this.take_settings(buf);
            if changed > 0 {
                return Poll::Ready(Ok(changed));
            }
            // One frame at a time while something waits for a boundary.
            limit = this.position.rest_of_frame(buf);
        }
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, &buf[..limit]))?;
        this.position.advance(&buf[..written], false);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.plan.is_pending() || !self.outbox.is_empty() {
            let first = bufs.iter().find(|buf| !buf.is_empty());
            return self.poll_write(cx, first.map_or(&[][..], |buf| buf));
        }
        let this = &mut *self;
        let written = ready!(Pin::new(&mut this.inner).poll_write_vectored(cx, bufs))?;
        let mut left = written;
        for buf in bufs {
            let passed = left.min(buf.len());
            this.position.advance(&buf[..passed], false);
            left -= passed;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.drain(cx))?;
        this.take_frames();
        ready!(this.drain(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, 0, 0, 0, 0, 0]);
        frame.extend_from_slice(payload);
        frame
    }

    async fn through(plan: WirePlan, pieces: &[&[u8]]) -> Vec<u8> {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let mut wire = Wire::new(near, plan);
        for piece in pieces {
            wire.write_all(piece).await.unwrap();
        }
        wire.flush().await.unwrap();
        drop(wire);
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn the_next_settings_frame_announces_the_streams_and_keeps_its_length() {
        let plan = WirePlan::default();
        plan.announce_streams(1);
        let data = frame(0, b"hello");
        let settings = frame(4, &[0, 4, 0, 1, 0, 0, 0, 3, 0, 0, 3, 232]);
        let bytes = through(plan, &[&data, &settings, &settings]).await;
        let announced = frame(4, &[0, 4, 0, 1, 0, 0, 0, 3, 0, 0, 0, 1]);
        assert_eq!(bytes, [data, announced, settings].concat());
    }

    #[tokio::test]
    async fn a_lone_window_size_becomes_the_raise() {
        let plan = WirePlan::default();
        plan.announce_streams(1000);
        let bytes = through(plan, &[&frame(4, &[0, 4, 0, 0, 255, 255])]).await;
        assert_eq!(bytes, frame(4, &[0, 3, 0, 0, 3, 232]));
    }

    #[tokio::test]
    async fn a_goaway_never_splits_a_frame() {
        let plan = WirePlan::default();
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let mut wire = Wire::new(near, plan.clone());
        let data = frame(0, b"hello world");
        wire.write_all(&data[..4]).await.unwrap();
        plan.goaway(5, 0, b"bye");
        wire.write_all(&data[4..12]).await.unwrap();
        wire.flush().await.unwrap();
        wire.write_all(&data[12..]).await.unwrap();
        wire.flush().await.unwrap();
        drop(wire);
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).await.unwrap();
        let goaway = frame(GOAWAY, b"\0\0\0\x05\0\0\0\0bye");
        assert_eq!(bytes, [data, goaway].concat());
    }
}
