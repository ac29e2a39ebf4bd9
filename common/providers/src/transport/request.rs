//! A request as both engines take it: a POST whose head is mostly alike for many requests.
//!
//! What is alike stands once, in [`Fixed`], and is shared; what belongs to one request is its path (for
//! APNs, which has the device in it) and its authorization. Making a request from them allocates nothing,
//! and an engine that remembers the last `Fixed` knows without comparing that its headers are known.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, uri::PathAndQuery};

use crate::octets;

/// What is alike for many requests.
pub struct Fixed {
    pub(crate) path: Option<PathAndQuery>,
    pub(crate) headers: HeaderMap,
    /// Whether the authorization is worth a place in the header table of a connection.
    pub(super) authorization_stays: bool,
    /// Whether the body of a success is read by anybody.
    pub(super) success_has_body: bool,
}

impl Fixed {
    /// Requests with these headers, to `path` unless a request has its own.
    ///
    /// Names and values stay in the peer's header table from the first request on: nothing that belongs
    /// to one device may stand in `headers`.
    pub fn new(path: Option<PathAndQuery>, headers: HeaderMap) -> Self {
        Self {
            path,
            headers,
            authorization_stays: false,
            success_has_body: true,
        }
    }

    /// Puts the authorization into the peer's header table too, so that it is not sent with every request.
    ///
    /// RFC 7541, 7.1 warns of secrets that share a table with what an attacker may write. Nobody else
    /// writes on our connections, and a token cannot be guessed as a whole.
    #[must_use]
    pub fn with_lasting_authorization(mut self) -> Self {
        self.authorization_stays = true;
        self
    }

    /// A 2xx says it all; what comes behind it may be thrown away unread.
    #[must_use]
    pub fn without_success_body(mut self) -> Self {
        self.success_has_body = false;
        self
    }
}

impl fmt::Debug for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixed")
            .field("headers", &self.headers.len())
            .finish_non_exhaustive()
    }
}

/// Far more than a device's token takes.
const LONGEST_PATH: usize = 4096;

/// The path of one request. It is not taken apart, as [`PathAndQuery`] would do for each.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnPath(Bytes);

impl OwnPath {
    /// A path of ASCII letters, digits and slashes, which begins with a slash and has at most 4096 octets;
    /// `None` for any other.
    pub fn new(path: Bytes) -> Option<Self> {
        let is_plain = |octet: u8| octet.is_ascii_alphanumeric() | (octet == b'/');
        let fits = path.len() <= LONGEST_PATH && path.starts_with(b"/");
        (fits && octets::all(&path, is_plain)).then_some(Self(path))
    }

    pub(super) fn octets(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn parsed(&self) -> PathAndQuery {
        PathAndQuery::from_maybe_shared(self.0.clone()).expect("letters, digits and slashes make a path")
    }
}

impl fmt::Debug for OwnPath {
    /// It may have a device's token in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnPath({} bytes)", self.0.len())
    }
}

/// The head of one request.
#[derive(Clone)]
pub struct Request {
    pub(super) fixed: Arc<Fixed>,
    pub(super) path: Option<OwnPath>,
    pub(super) authorization: Option<HeaderValue>,
}

impl Request {
    /// A request with the path of `fixed`.
    pub fn new(fixed: &Arc<Fixed>) -> Self {
        Self {
            fixed: Arc::clone(fixed),
            path: None,
            authorization: None,
        }
    }

    /// With a path of its own, which is kept out of the peer's header table.
    #[must_use]
    pub fn to_path(mut self, path: &OwnPath) -> Self {
        self.path = Some(path.clone());
        self
    }

    /// With an `authorization` header.
    #[must_use]
    pub fn authorized(mut self, authorization: &HeaderValue) -> Self {
        self.authorization = Some(authorization.clone());
        self
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("fixed", &self.fixed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_letters_digits_and_slashes_is_a_path_for_the_library_too_and_others_are_none() {
        let path = OwnPath::new(Bytes::from_static(b"/3/device/00fcAB")).expect("a path");
        assert_eq!(path.parsed().as_str(), "/3/device/00fcAB");
        for not_one in [
            "",
            "3/device/00fc",
            "/3/device/00 fc",
            "/a?b",
            "/a#b",
            "/a\r\nb",
            "/ä",
        ] {
            assert_eq!(
                OwnPath::new(Bytes::from_static(not_one.as_bytes())),
                None,
                "{not_one:?}"
            );
        }
    }
}
