//! API keys: what is made reads back, what reads is written back the same, and a change of one
//! character is always noticed.
//!
//! Input: a presented key; or, with at least 42 bytes, the randomness of a new one and what to damage.
#![no_main]

use jraze_domain::keys::{KeyEntropy, KeyKind, KeyText};
use libfuzzer_sys::fuzz_target;

const ALPHABET: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_ -\n\0";

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(key) = KeyText::parse(text)
    {
        check(&key, text);
    }
    if let Some((entropy, rest)) = data.split_first_chunk::<40>()
        && let [which, place, .., letter] = *rest
    {
        let kind = KeyKind::ALL[usize::from(which) % KeyKind::ALL.len()];
        let key = KeyText::generate(kind, &KeyEntropy(*entropy));
        let text = key.reveal();
        assert_eq!(KeyText::parse(&text).as_ref(), Ok(&key));
        check(&key, &text);

        let mut damaged = text.clone().into_bytes();
        let place = usize::from(place) % damaged.len();
        damaged[place] = ALPHABET[usize::from(letter) % ALPHABET.len()];
        let damaged = String::from_utf8(damaged).expect("ASCII");
        assert_eq!(KeyText::parse(&damaged).is_ok(), damaged == text, "{damaged:?}");
        assert!(KeyText::parse(&text[..place]).is_err(), "cut off");
    }
});

fn check(key: &KeyText, text: &str) {
    assert_eq!(key.reveal(), text);
    assert_eq!(text.len(), 68);
    let shown = format!("{key:?}");
    assert!(!shown.contains(key.secret()), "{shown}");
}
