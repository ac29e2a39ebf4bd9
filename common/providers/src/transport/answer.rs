//! An answer, cut to a size that no peer can abuse.

use std::{fmt, sync::Arc};

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use http::{HeaderMap, Response, StatusCode};
use tokio::time::{Instant, timeout_at};

use super::connection::State;

/// How much of an answer's body is kept; the rest is not read.
pub const MAX_BODY: usize = 8 * 1024;

/// The answer to one request. Its body may be cut off; the status never is.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, at most [`MAX_BODY`] bytes of it.
    pub body: Bytes,
    pub(super) connection: Arc<State>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// Reads the body as far as it is worth it. What breaks after the head does not change the answer.
pub(super) async fn read(head: Response<RecvStream>, connection: Arc<State>, deadline: Instant) -> Answer {
    let (head, mut stream) = head.into_parts();
    let mut body = Bytes::new();
    while !stream.is_end_stream() {
        let Ok(Some(Ok(chunk))) = timeout_at(deadline, stream.data()).await else {
            break;
        };
        if body.is_empty() {
            body = chunk;
        } else {
            let mut longer = BytesMut::with_capacity(body.len() + chunk.len());
            longer.extend_from_slice(&body);
            longer.extend_from_slice(&chunk);
            body = longer.freeze();
        }
        if body.len() >= MAX_BODY {
            body.truncate(MAX_BODY);
            break;
        }
    }
    Answer {
        status: head.status,
        headers: head.headers,
        body,
        connection,
    }
}
