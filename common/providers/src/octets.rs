//! Bodies and paths of single requests, cut from larger pieces of memory.
//!
//! A request lives for some milliseconds, and there are a hundred thousand a second. Cut from one piece, a
//! hundred of them are one allocation, their clones are a count, and a piece whose requests are all answered
//! is used again while it is in the processor's cache.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

/// A hundred bodies.
const PIECE: usize = 64 * 1024;

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
        write(piece);
        piece.split().freeze()
    })
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
    fn a_piece_is_used_again_once_nobody_reads_it() {
        let place = |_| written(PIECE / 2, |to| to.extend_from_slice(&[1; PIECE / 2])).as_ptr();
        let places: std::collections::HashSet<_> = (0..100).map(place).collect();
        assert!(places.len() < 10, "{} pieces", places.len());
    }
}
