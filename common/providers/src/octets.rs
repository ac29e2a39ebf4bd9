//! Octets of single requests: bodies and paths are cut from larger pieces of memory, and looked at in one go.
//!
//! A request lives for some milliseconds, and there are a hundred thousand a second. Cut from one piece,
//! twenty of them are one allocation, their clones are a count, and a piece whose requests are all answered
//! is used again while it is in the processor's cache.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

/// Some twenty bodies. One slow answer keeps the piece that its request was cut from, so a larger one would cost
/// memory where answers are slow, and gain little.
const PIECE: usize = 16 * 1024;

thread_local! {
    static PIECE_IN_USE: RefCell<BytesMut> = RefCell::default();
}

/// What `write` writes, which is about `length` octets.
///
/// Not for what is kept: it would keep the whole piece.
pub(crate) fn written(length: usize, write: impl FnOnce(&mut BytesMut)) -> Bytes {
    PIECE_IN_USE.with_borrow_mut(|piece| {
        if piece.capacity() < length {
            piece.reserve(length.max(PIECE));
        }
        // Nothing is there, unless a `write` panicked.
        piece.clear();
        write(piece);
        piece.split().freeze()
    })
}

/// As `Iterator::all`, without a way out in the middle: then many octets are looked at at once.
pub(crate) fn all(octets: &[u8], is: impl Fn(u8) -> bool) -> bool {
    octets.iter().fold(true, |all, octet| all & is(*octet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_stays_as_it_is_while_more_is_written() {
        let letters: Vec<Bytes> = (b'a'..=b'z')
            .map(|letter| written(10_000, |to| to.extend_from_slice(&[letter; 10_000])))
            .collect();
        for (letter, written) in (b'a'..=b'z').zip(&letters) {
            assert_eq!(written.len(), 10_000);
            assert!(written.iter().all(|octet| *octet == letter));
        }
    }

    #[test]
    fn more_than_was_said_and_more_than_a_piece_is_written_too() {
        for length in [0, 1, PIECE - 1, PIECE, 3 * PIECE] {
            let written = written(1, |to| to.extend_from_slice(&vec![7; length]));
            assert_eq!(written, vec![7; length]);
        }
    }

    #[test]
    fn requests_share_a_piece() {
        let many: Vec<Bytes> = (0..16)
            .map(|_| written(1_000, |to| to.extend_from_slice(&[1; 1_000])))
            .collect();
        let follows = |pair: &[Bytes]| pair[1].as_ptr() as usize == pair[0].as_ptr() as usize + 1_000;
        let apart = many.windows(2).filter(|pair| !follows(pair)).count();
        assert!(apart <= 1, "{apart} times another piece was begun");
    }
}
