//! An answer, cut to a size that no peer can abuse.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::connection::State;

/// How much of an answer's body is kept; the rest is not read.
pub const MAX_BODY: usize = 8 * 1024;

/// The answer to one request. Its body may be cut off; the status never is.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers; of a plain 200 there may be none, because nobody asks for them.
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
