//! The tables of HPACK (RFC 7541, 2.3): the static one of 61 fields, and the dynamic one that both ends
//! of a direction keep in step.

use std::collections::VecDeque;

/// What a field costs in a table besides its octets (RFC 7541, 4.1).
const OVERHEAD: usize = 32;

type Octets = Box<[u8]>;

/// The dynamic table; the newest field comes first.
#[derive(Debug, Default)]
pub(super) struct Table {
    fields: VecDeque<(Octets, Octets)>,
    size: usize,
    limit: usize,
    /// Counts what came and went: while it stands still, so does every index.
    changes: u64,
}

/// What a search found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The field itself, by its index.
    Field(usize),
    /// A field of that name.
    Name(usize),
    Nothing,
}

impl Table {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// What a field would cost.
    pub(super) fn cost(name: &[u8], value: &[u8]) -> usize {
        name.len() + value.len() + OVERHEAD
    }

    /// Sets the limit and drops the oldest fields that no longer fit.
    pub(super) fn resize(&mut self, limit: usize) {
        self.limit = limit;
        self.shrink_to(limit);
    }

    /// Adds a field in front; one that can never fit empties the table (RFC 7541, 4.4).
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) {
        let cost = Self::cost(name, value);
        self.changes += 1;
        self.shrink_to(self.limit.saturating_sub(cost));
        if cost <= self.limit {
            self.size += cost;
            self.fields.push_front((name.into(), value.into()));
        }
    }

    fn shrink_to(&mut self, size: usize) {
        while self.size > size
            && let Some((name, value)) = self.fields.pop_back()
        {
            self.size -= Self::cost(&name, &value);
            self.changes += 1;
        }
    }

    /// The field at an index, which counts from 1 through the static table and then through this one.
    pub(super) fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let index = index.checked_sub(1)?;
        if let Some((name, value)) = STATIC.get(index) {
            return Some((name.as_bytes(), value.as_bytes()));
        }
        let (name, value) = self.fields.get(index - STATIC.len())?;
        Some((name, value))
    }

    /// The index of a field, or of its name.
    pub(super) fn find(&self, name: &[u8], value: &[u8]) -> Found {
        let ours = self.fields.iter().map(|(name, value)| (&**name, &**value));
        let all = STATIC
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .chain(ours);
        let mut found = Found::Nothing;
        for (index, (a_name, a_value)) in (1..).zip(all) {
            if a_name != name {
                continue;
            }
            if a_value == value {
                return Found::Field(index);
            }
            if found == Found::Nothing {
                found = Found::Name(index);
            }
        }
        found
    }

    /// How many fields it holds, and their cost.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        (self.fields.len(), self.size)
    }
}

/// RFC 7541, appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_static_table_ends_at_61_and_the_newest_field_follows() {
        let mut table = Table::new(4096);
        table.insert(b"a", b"1");
        table.insert(b"b", b"2");
        assert_eq!(table.get(0), None);
        assert_eq!(table.get(8), Some((&b":status"[..], &b"200"[..])));
        assert_eq!(table.get(61), Some((&b"www-authenticate"[..], &b""[..])));
        assert_eq!(table.get(62), Some((&b"b"[..], &b"2"[..])));
        assert_eq!(table.get(63), Some((&b"a"[..], &b"1"[..])));
        assert_eq!(table.get(64), None);
        assert_eq!(table.find(b"a", b"1"), Found::Field(63));
        assert_eq!(table.find(b"a", b"2"), Found::Name(63));
        assert_eq!(table.find(b":status", b"404"), Found::Field(13));
        assert_eq!(table.find(b"c", b""), Found::Nothing);
    }

    #[test]
    fn the_oldest_fields_make_room_and_one_that_never_fits_empties_the_table() {
        let mut table = Table::new(70);
        table.insert(b"a", b"1");
        table.insert(b"b", b"2");
        assert_eq!(table.held(), (2, 68));
        let before = table.changes();
        table.insert(b"c", b"3");
        assert_eq!(table.held(), (2, 68));
        assert!(table.changes() > before);
        assert_eq!(table.get(63), Some((&b"b"[..], &b"2"[..])));
        table.insert(b"long", &[b'x'; 50]);
        assert_eq!(table.held(), (0, 0));
    }
}
