//! Writing the header blocks of requests (RFC 7541, 6).
//!
//! What is alike for many requests goes into the peer's table with the first of them and is an octet each
//! from then on; such a run of octets is remembered as long as the table does not change, so that a request
//! to FCM costs a copy of six octets. What belongs to one device, or is secret, is written out and kept
//! out of the table: a path (as Apple's guide asks), and the authorization unless it was said to last.
//!
//! The table is as large as the peer allows, 4096 octets at most. Nothing is Huffman-coded: a path of
//! 74 octets would shrink by 20 and cost more to code than to send.

use std::sync::Arc;

use http::{HeaderValue, header};

use super::{
    super::request::{Fixed, Request},
    table::{Found, Table},
};

/// What HTTP/2 starts with, and the most that we use.
const TABLE: usize = 4096;
/// The index of `:path` in the static table.
const PATH: usize = 4;
/// The index of `authorization` there.
const AUTHORIZATION: usize = 23;
/// How many runs of octets are remembered: one for each message that is sent at the same time.
const REMEMBERED: usize = 8;

/// How a field is written.
#[derive(Clone, Copy)]
enum Keep {
    /// Into the table.
    Table,
    /// Nowhere.
    Nowhere,
    /// Nowhere, and no one on the way may either (RFC 7541, 6.2.3).
    Never,
}

/// One direction's state.
pub(super) struct Encoder {
    table: Table,
    /// The smallest and the last limit that the peer set since the last block.
    resized: Option<(usize, usize)>,
    authority: HeaderValue,
    runs: Vec<Run>,
}

/// The octets of everything in a request that is in the table.
struct Run {
    fixed: Arc<Fixed>,
    authorization: Option<HeaderValue>,
    own_path: bool,
    changes: u64,
    octets: Vec<u8>,
    /// Where a path of its own goes.
    split: usize,
}

impl Encoder {
    pub(super) fn new(authority: HeaderValue) -> Self {
        Self {
            table: Table::new(TABLE),
            resized: None,
            authority,
            runs: Vec::new(),
        }
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE.
    pub(super) fn resize(&mut self, size: u32) {
        let size = usize::try_from(size).unwrap_or(TABLE).min(TABLE);
        let least = self.resized.map_or(size, |(least, _)| least.min(size));
        let before = self.resized.map_or(self.table.limit(), |(_, last)| last);
        if size != before || self.resized.is_some() {
            self.resized = Some((least, size));
        }
    }

    /// Appends the block of a request. It has to be sent, and in this order.
    pub(super) fn encode(&mut self, request: &Request, out: &mut Vec<u8>) {
        // RFC 7541, 4.2: the smallest size in between has to be told too, for it emptied the table.
        if let Some((least, last)) = self.resized.take() {
            if least < last {
                put_integer(out, 0b0010_0000, 5, least);
            }
            put_integer(out, 0b0010_0000, 5, last);
            self.table.resize(least);
            self.table.resize(last);
            self.runs.clear();
        }
        let lasting = request
            .authorization
            .as_ref()
            .filter(|_| request.fixed.authorization_stays);
        let changes = self.table.changes();
        let run = self.runs.iter().find(|run| run.is_of(request, lasting, changes));
        if let Some(run) = run {
            let (before, after) = run.octets.split_at(run.split);
            out.extend_from_slice(before);
            if let Some(path) = &request.path {
                put_literal(out, Keep::Nowhere, PATH, b"", path.octets());
            }
            out.extend_from_slice(after);
        } else {
            self.encode_anew(request, lasting, out);
        }
        if let Some(secret) = &request.authorization
            && lasting.is_none()
        {
            put_literal(out, Keep::Never, AUTHORIZATION, b"", secret.as_bytes());
        }
    }

    /// Encodes field by field, and remembers the octets when they would be the same again.
    fn encode_anew(&mut self, request: &Request, lasting: Option<&HeaderValue>, out: &mut Vec<u8>) {
        let changes = self.table.changes();
        let start = out.len();
        self.field(out, ":method", b"POST");
        self.field(out, ":scheme", b"https");
        let authority = self.authority.clone();
        self.field(out, ":authority", authority.as_bytes());
        let split = out.len();
        match (&request.path, &request.fixed.path) {
            (Some(path), _) => put_literal(out, Keep::Nowhere, PATH, b"", path.octets()),
            (None, Some(path)) => self.field(out, ":path", path.as_str().as_bytes()),
            (None, None) => self.field(out, ":path", b"/"),
        }
        let own = request.path.is_some();
        let after = if own { out.len() } else { split };
        for (name, value) in &request.fixed.headers {
            self.field(out, name.as_str(), value.as_bytes());
        }
        if let Some(lasting) = lasting {
            let name = header::AUTHORIZATION.as_str();
            self.field(out, name, lasting.as_bytes());
        }
        // A field that went into the table is written otherwise next time; what it pushed out made the
        // octets of all others wrong.
        if self.table.changes() != changes {
            return;
        }
        self.runs.retain(|run| run.changes == changes);
        if self.runs.len() >= REMEMBERED {
            self.runs.remove(0);
        }
        self.runs.push(Run {
            fixed: Arc::clone(&request.fixed),
            authorization: lasting.cloned(),
            own_path: own,
            changes,
            octets: [&out[start..split], &out[after..]].concat(),
            split: split - start,
        });
    }

    /// A field that belongs into the table.
    fn field(&mut self, out: &mut Vec<u8>, name: &str, value: &[u8]) {
        let name = name.as_bytes();
        let index = match self.table.find(name, value) {
            Found::Field(index) => {
                put_integer(out, 0b1000_0000, 7, index);
                return;
            }
            Found::Name(index) => index,
            Found::Nothing => 0,
        };
        // What would push out nearly everything else is not worth its place.
        if Table::cost(name, value) <= self.table.limit() / 4 * 3 {
            put_literal(out, Keep::Table, index, name, value);
            self.table.insert(name, value);
        } else {
            put_literal(out, Keep::Nowhere, index, name, value);
        }
    }
}

impl Run {
    fn is_of(&self, request: &Request, lasting: Option<&HeaderValue>, changes: u64) -> bool {
        let same = |a: &HeaderValue, b: &HeaderValue| {
            // Most of the time it is not only as long a token but the very same octets.
            std::ptr::eq(a.as_bytes(), b.as_bytes()) || a == b
        };
        self.changes == changes
            && Arc::ptr_eq(&self.fixed, &request.fixed)
            && self.own_path == request.path.is_some()
            && match (&self.authorization, lasting) {
                (Some(ours), Some(theirs)) => same(ours, theirs),
                (None, None) => true,
                _ => false,
            }
    }
}

/// A literal with the name at `index`, or with its own name when that is 0.
fn put_literal(out: &mut Vec<u8>, keep: Keep, index: usize, name: &[u8], value: &[u8]) {
    match keep {
        Keep::Table => put_integer(out, 0b0100_0000, 6, index),
        Keep::Nowhere => put_integer(out, 0b0000_0000, 4, index),
        Keep::Never => put_integer(out, 0b0001_0000, 4, index),
    }
    if index == 0 {
        put_text(out, name);
    }
    put_text(out, value);
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// RFC 7541, 5.1.
fn put_integer(out: &mut Vec<u8>, pattern: u8, bits: u32, value: usize) {
    let most = (1_usize << bits) - 1;
    if value < most {
        out.push(pattern | low(value));
        return;
    }
    out.push(pattern | low(most));
    let mut rest = value - most;
    while rest >= 0x80 {
        out.push(low(rest & 0x7f) | 0x80);
        rest >>= 7;
    }
    out.push(low(rest));
}

fn low(value: usize) -> u8 {
    u8::try_from(value & 0xff).unwrap_or(0)
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
