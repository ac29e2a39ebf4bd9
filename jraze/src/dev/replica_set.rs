//! Making a replica set of one out of a fresh mongod.
//!
//! The driver belongs to `jraze-storage`, which only accepts a server that is in a replica set, so
//! the three commands that come before that are spoken here by hand: `OP_MSG` over TCP with just
//! enough BSON to write them. Answers are searched for the one field that matters, not decoded.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use thiserror::Error;

const NAME: &str = "rs0";
/// How long a fresh server may take to answer, and a set to elect its only member.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// Why there is no primary.
#[derive(Debug, Error)]
pub(crate) enum ReplicaSetError {
    /// The server never answered.
    #[error("mongod does not answer on port {port}")]
    Silent {
        port: u16,
        #[source]
        source: io::Error,
    },
    /// The server answers, and does not become primary.
    #[error("mongod on port {port} does not become primary")]
    NoPrimary { port: u16 },
}

/// The connection string of the replica set that [`become_primary`] makes.
pub(crate) fn uri(port: u16) -> String {
    format!("mongodb://127.0.0.1:{port}/?replicaSet={NAME}")
}

/// Waits for the server on `port`, makes it the only member of a replica set (again, when its data
/// remembers another port) and waits until it is primary. Blocks. `alive` says whether waiting
/// still makes sense.
pub(crate) fn become_primary(port: u16, mut alive: impl FnMut() -> bool) -> Result<(), ReplicaSetError> {
    let started = Instant::now();
    let hello = Document::new().int("hello", 1);
    while let Err(source) = command(port, &hello) {
        if started.elapsed() > PATIENCE || !alive() {
            return Err(ReplicaSetError::Silent { port, source });
        }
        std_sleep(POLL);
    }

    let member = Document::new()
        .int("_id", 0)
        .text("host", &format!("127.0.0.1:{port}"));
    let config = |version: Option<i32>| {
        let config = Document::new().text("_id", NAME).list("members", &[&member]);
        match version {
            Some(version) => config.int("version", version).int("protocolVersion", 1),
            None => config,
        }
    };
    let initiate = Document::new().document("replSetInitiate", &config(None));
    // Forced, so that it works without a primary; the server raises the version by itself.
    let moved = config(Some(1));
    let reconfigure = Document::new()
        .document("replSetReconfig", &moved)
        .boolean("force", true);
    let initiated = command(port, &initiate);
    let is_new = initiated.is_ok_and(|answer| contains(&answer, b"\x01ok\0\0\0\0\0\0\0\xf0\x3f"));

    let mut reconfigured = is_new;
    let asked = Instant::now();
    while asked.elapsed() < PATIENCE && alive() {
        if command(port, &hello).is_ok_and(|answer| contains(&answer, b"\x08isWritablePrimary\0\x01")) {
            return Ok(());
        }
        // Data of an earlier run: primary within moments when the port is the same as then.
        if !reconfigured && asked.elapsed() > Duration::from_secs(2) {
            reconfigured = command(port, &reconfigure).is_ok();
        }
        std_sleep(POLL);
    }
    Err(ReplicaSetError::NoPrimary { port })
}

#[expect(clippy::disallowed_methods, reason = "runs on a thread that may block")]
fn std_sleep(time: Duration) {
    std::thread::sleep(time);
}

fn contains(answer: &[u8], part: &[u8]) -> bool {
    answer.windows(part.len()).any(|window| window == part)
}

/// Sends one command to the database `admin`; the answer's bytes.
fn command(port: u16, document: &Document) -> io::Result<Vec<u8>> {
    const OP_MSG: i32 = 2013;
    let body = document.clone().text("$db", "admin").finish();
    // Header (length, request id, response to, opcode), flags, section kind 0.
    let length = i32::try_from(16 + 4 + 1 + body.len()).map_err(io::Error::other)?;
    let mut message = Vec::new();
    for number in [length, 1, 0, OP_MSG, 0] {
        message.extend(number.to_le_bytes());
    }
    message.push(0);
    message.extend(body);

    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(&message)?;
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let length = usize::try_from(i32::from_le_bytes(head)).unwrap_or(0);
    if !(21..=16 * 1024 * 1024).contains(&length) {
        return Err(io::Error::other("not an answer of a MongoDB server"));
    }
    let mut answer = vec![0; length - 4];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// A BSON document being written.
#[derive(Debug, Clone, Default)]
struct Document(Vec<u8>);

impl Document {
    fn new() -> Self {
        Self::default()
    }

    fn field(mut self, kind: u8, name: &str, value: &[u8]) -> Self {
        self.0.push(kind);
        self.0.extend(name.as_bytes());
        self.0.push(0);
        self.0.extend(value);
        self
    }

    fn int(self, name: &str, value: i32) -> Self {
        self.field(0x10, name, &value.to_le_bytes())
    }

    fn boolean(self, name: &str, value: bool) -> Self {
        self.field(0x08, name, &[u8::from(value)])
    }

    fn text(self, name: &str, value: &str) -> Self {
        // The texts here are names and addresses; none comes near the limit of the length.
        let length = i32::try_from(value.len() + 1).unwrap_or(i32::MAX);
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(value.as_bytes());
        bytes.push(0);
        self.field(0x02, name, &bytes)
    }

    fn document(self, name: &str, value: &Self) -> Self {
        self.field(0x03, name, &value.finish())
    }

    fn list(self, name: &str, values: &[&Self]) -> Self {
        let numbered = values.iter().enumerate();
        let list = numbered.fold(Self::new(), |list, (index, value)| {
            list.document(&index.to_string(), value)
        });
        self.field(0x04, name, &list.finish())
    }

    fn finish(&self) -> Vec<u8> {
        let length = i32::try_from(self.0.len() + 5).unwrap_or(i32::MAX);
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(&self.0);
        bytes.push(0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::Document;

    #[test]
    fn documents_are_written_as_the_bson_specification_shows() {
        let hello = Document::new().text("hello", "world").finish();
        assert_eq!(hello, b"\x16\0\0\0\x02hello\0\x06\0\0\0world\0\0");
        let nested = Document::new()
            .list("a", &[&Document::new().int("b", 1)])
            .finish();
        assert_eq!(
            nested,
            b"\x1c\0\0\0\x04a\0\x14\0\0\0\x030\0\x0c\0\0\0\x10b\0\x01\0\0\0\0\0\0"
        );
    }
}
