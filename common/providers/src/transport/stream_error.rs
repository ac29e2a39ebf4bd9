//! What ends a stream or a connection, in words that both engines share.

use std::{fmt, io, sync::Arc};

use thiserror::Error;

/// An error code of HTTP/2 (RFC 9113, 7).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u32);

impl Code {
    /// NO_ERROR
    pub const NO_ERROR: Self = Self(0x0);
    /// PROTOCOL_ERROR
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// FLOW_CONTROL_ERROR
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// FRAME_SIZE_ERROR
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// REFUSED_STREAM: the request was not processed at all (RFC 9113, 8.7).
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// CANCEL
    pub const CANCEL: Self = Self(0x8);
    /// COMPRESSION_ERROR
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// ENHANCE_YOUR_CALM
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);

    const NAMES: [&'static str; 14] = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = usize::try_from(self.0).ok().and_then(|at| Self::NAMES.get(at));
        match name {
            Some(name) => f.write_str(name),
            None => write!(f, "error code {:#x}", self.0),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a stream or a connection ended before its time.
#[derive(Debug, Clone, Error)]
pub enum StreamError {
    /// The peer reset the stream.
    #[error("the peer reset the stream: {0}")]
    Reset(Code),
    /// The peer says goodbye.
    #[error("the peer goes away: {code}{debug}")]
    GoAway {
        /// Why.
        code: Code,
        /// What it says about it: nothing, or text in brackets.
        debug: Debug,
    },
    /// The peer broke the protocol, so we ended it.
    #[error("the peer broke HTTP/2 ({code}): {what}")]
    Broken {
        /// The code that the peer was told.
        code: Code,
        /// The rule.
        what: &'static str,
    },
    /// The connection's socket or TLS failed.
    #[error("the connection failed")]
    Io(#[source] Arc<io::Error>),
    /// The connection was closed.
    #[error("the connection was closed")]
    Closed,
    /// Nothing came from the peer any more.
    #[error("no sign of life")]
    Silent,
    /// The connection has used up all numbers of streams.
    #[error("the connection has carried all that it can")]
    Exhausted,
    /// Anything else, in the words of the h2 crate.
    #[error("{0}")]
    Other(Arc<str>),
}

impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl From<h2::Error> for StreamError {
    fn from(error: h2::Error) -> Self {
        let code = error.reason().map(|reason| Code(reason.into()));
        match code {
            Some(code) if error.is_remote() && error.is_reset() => Self::Reset(code),
            Some(code) if error.is_remote() && error.is_go_away() => Self::GoAway {
                code,
                // The crate shows what the peer said only within its own message.
                debug: Debug(error.to_string()),
            },
            _ => {
                let words = error.to_string();
                match error.into_io() {
                    Some(error) => Self::from(error),
                    None => Self::Other(words.into()),
                }
            }
        }
    }
}

/// What a GOAWAY says besides its code, cut short; nothing but printable ASCII is shown.
#[derive(Clone, Default)]
pub struct Debug(String);

impl Debug {
    /// How much is kept.
    const MOST: usize = 128;

    /// Reads the frame's debug data.
    pub fn read(data: &[u8]) -> Self {
        let printable = data.iter().filter(|byte| matches!(byte, b' '..=b'~'));
        Self(printable.take(Self::MOST).map(|byte| char::from(*byte)).collect())
    }
}

impl fmt::Display for Debug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", self.0)
    }
}

impl fmt::Debug for Debug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goodbye_is_told_with_its_code_and_what_can_be_printed() {
        let error = StreamError::GoAway {
            code: Code(0xb),
            debug: Debug::read(b"{\"reason\":\"Shutdown\"}\n\xff"),
        };
        assert_eq!(
            error.to_string(),
            "the peer goes away: ENHANCE_YOUR_CALM ({\"reason\":\"Shutdown\"})"
        );
        let quiet = StreamError::GoAway {
            code: Code(0x77),
            debug: Debug::read(b""),
        };
        assert_eq!(quiet.to_string(), "the peer goes away: error code 0x77");
    }
}
