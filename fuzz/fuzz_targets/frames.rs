//! HTTP/2 frames of a provider: every request that was under way ends, however the peer talks; what is kept
//! of an answer and what waits to be written stay small; and a header block without a table means the same
//! whenever it comes.
//!
//! Input: an octet that says what is read (1: a header block; else frames, 2: before the peer's SETTINGS),
//! an octet for the size of the pieces in which they come, and then what comes.
#![no_main]

use jraze_providers::fuzzing::{fields, talk};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [how, piece, rest @ ..] = data else {
        return;
    };
    if how & 1 == 1 {
        check_fields(rest);
    } else {
        check_frames(rest, usize::from(*piece), how & 2 == 0);
    }
});

fn check_frames(frames: &[u8], piece: usize, greeted: bool) {
    let outcome = talk(frames, piece, greeted);
    assert!(outcome.answered + outcome.failed + 1 >= outcome.requests);
    assert!(outcome.longest_body <= 8 * 1024);
    // 64 KiB of requests, 64 KiB of replies, and the last of each.
    assert!(outcome.most_waiting <= 192 * 1024, "{outcome:?}");
    // NO_ERROR is no reason, and neither is one that only a peer can have.
    assert!(
        outcome
            .broken
            .is_none_or(|code| matches!(code, 0x1 | 0x3 | 0x6 | 0x9 | 0xb)),
        "{outcome:?}"
    );
}

fn check_fields(block: &[u8]) {
    let Some(once) = fields(block, false, 1) else {
        return;
    };
    let size: usize = once
        .iter()
        .map(|(name, value)| name.len() + value.len() + 32)
        .sum();
    assert!(size <= 32 * 1024);
    // Without a table every block stands for itself, and a table changes nothing for one that needs none.
    let twice = fields(block, false, 2).expect("it was readable");
    assert_eq!(twice, [once.clone(), once.clone()].concat());
    assert_eq!(fields(block, true, 1), Some(once));
}
