//! What several fuzz targets share.

pub mod filter;
pub mod tree;
pub mod verdict;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// A provider's answer, written as in a protocol trace so that the corpus can be read and edited:
///
/// ```text
/// 404 flags
/// retry-after: 7
///
/// {"error": ...}
/// ```
pub struct Answer {
    /// The status; anything that is none is read as 200.
    pub status: StatusCode,
    /// Words after the status, for circumstances.
    pub flags: String,
    /// The headers; lines that are none are passed over.
    pub headers: HeaderMap,
    /// The rest.
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads any bytes.
    pub fn read(data: &[u8]) -> Self {
        let mut rest = data;
        let mut line = || {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let (line, next) = match end {
                Some(end) => (&rest[..end], &rest[end + 1..]),
                None => (rest, &[][..]),
            };
            rest = next;
            line
        };
        let head = line();
        let (status, flags) = head.split_at(head.len().min(3));
        let mut headers = HeaderMap::new();
        loop {
            let header = line();
            if header.is_empty() {
                break;
            }
            let mut parts = header.splitn(2, |byte| *byte == b':');
            let name = HeaderName::from_bytes(parts.next().unwrap_or_default());
            let value = HeaderValue::from_bytes(parts.next().unwrap_or_default().trim_ascii());
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.append(name, value);
            }
        }
        Self {
            status: StatusCode::from_bytes(status).unwrap_or(StatusCode::OK),
            flags: String::from_utf8_lossy(flags).into_owned(),
            headers,
            body: rest.to_vec(),
        }
    }
}
