//! One kept-alive connection that writes requests made before and reads no more of an answer than it must.
//!
//! The load shares the machine with what it loads, so it has to be cheap: a full HTTP client would cost
//! about as much as the server.

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection to the API.
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Where the API is, and with which key it is asked.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) address: String,
    pub(super) key: String,
}

impl Target {
    /// A request, ready to be written.
    pub(super) fn request(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n",
            self.address, self.key
        )
        .into_bytes();
        if method != "GET" {
            let head = format!(
                "content-type: {content_type}\r\ncontent-length: {}\r\n",
                body.len()
            );
            request.extend_from_slice(head.as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        request
    }

    pub(super) async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            buffer: Vec::with_capacity(16 << 10),
        })
    }
}

impl Connection {
    /// Sends a request and gives the body of its answer, which must be a success.
    pub(super) async fn call(&mut self, request: &[u8]) -> Result<&[u8]> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let (status, start, length) = loop {
            ensure!(
                self.stream.read_buf(&mut self.buffer).await? > 0,
                "the connection was closed"
            );
            if let Some(head) = head(&self.buffer)? {
                break head;
            }
        };
        while self.buffer.len() < start + length {
            ensure!(
                self.stream.read_buf(&mut self.buffer).await? > 0,
                "the answer broke off"
            );
        }
        let body = &self.buffer[start..start + length];
        ensure!(status == 200, "{status}: {}", String::from_utf8_lossy(body));
        Ok(body)
    }
}

/// Status, where the body begins, and how long it is; `None` while the head is not all there.
fn head(bytes: &[u8]) -> Result<Option<(u16, usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end])?;
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let status = status.with_context(|| format!("no status in {head}"))?;
    let length = length.with_context(|| format!("no length in {head}"))?;
    Ok(Some((status, end + 4, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_an_answer_tells_where_its_body_is() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx: y\r\n\r\n{}";
        assert_eq!(head(answer).unwrap(), Some((200, answer.len() - 2, 2)));
        assert_eq!(head(&answer[..20]).unwrap(), None);
        assert!(head(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
