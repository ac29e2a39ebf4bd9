//! The Huffman code of HPACK (RFC 7541, 5.2 and appendix B), for reading only.
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols, and every
//! length starts where the shorter ones end. So the lengths alone say everything, and a symbol is found by
//! asking of each length whether the bits so far lie among its codes. That is slower than a table of
//! states, and it is only asked for the headers of errors.

/// The length in bits of each octet's code.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26,
];
const LONGEST: usize = 30;

/// For each length: its first code, how many there are, and where their symbols begin in `SYMBOLS`.
struct Codes {
    first: [u32; LONGEST + 1],
    count: [u32; LONGEST + 1],
    start: [usize; LONGEST + 1],
    symbols: [u8; 256],
}

const CODES: Codes = codes();

const fn codes() -> Codes {
    let mut codes = Codes {
        first: [0; LONGEST + 1],
        count: [0; LONGEST + 1],
        start: [0; LONGEST + 1],
        symbols: [0; 256],
    };
    let (mut length, mut code, mut place) = (1, 0, 0);
    while length <= LONGEST {
        codes.first[length] = code;
        codes.start[length] = place;
        let mut symbol = 0;
        while symbol < 256 {
            if LENGTHS[symbol] as usize == length {
                codes.symbols[place] = symbol as u8;
                codes.count[length] += 1;
                place += 1;
            }
            symbol += 1;
        }
        code = (code + codes.count[length]) << 1;
        length += 1;
    }
    codes
}

/// Appends the text that `coded` stands for; `None` when it stands for none: the end-of-string symbol, or
/// a rest that is more than seven bits of it.
pub(super) fn decode(coded: &[u8], text: &mut Vec<u8>) -> Option<()> {
    let (mut code, mut length) = (0_u32, 0_usize);
    for octet in coded {
        for shift in (0..8).rev() {
            code = code << 1 | u32::from(octet >> shift & 1);
            length += 1;
            if length > LONGEST {
                return None;
            }
            let at = code.wrapping_sub(CODES.first[length]);
            if at < CODES.count[length] {
                text.push(CODES.symbols[CODES.start[length] + at as usize]);
                (code, length) = (0, 0);
            }
        }
    }
    // What is left is the beginning of the longest code, which is all ones.
    (length < 8 && code == (1 << length) - 1).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(coded: &[u8]) -> Option<String> {
        let mut text = Vec::new();
        decode(coded, &mut text)?;
        Some(String::from_utf8(text).expect("ASCII"))
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let example = [
            0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
        ];
        assert_eq!(text(&example).as_deref(), Some("www.example.com"));
        assert_eq!(
            text(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).as_deref(),
            Some("no-cache")
        );
        assert_eq!(text(&[0x64, 0x02]).as_deref(), Some("302"));
        assert_eq!(text(&[]).as_deref(), Some(""));
    }

    #[test]
    fn every_octet_has_a_code_that_is_read_as_itself_and_one_code_is_left_for_the_end() {
        let mut room: u64 = 1 << LONGEST;
        for symbol in 0..=255_u8 {
            let length = usize::from(LENGTHS[usize::from(symbol)]);
            room -= 1 << (LONGEST - length);
            let start = CODES.start[length];
            let among = &CODES.symbols[start..start + CODES.count[length] as usize];
            let at = among.iter().position(|other| *other == symbol).expect("its code");
            let code = CODES.first[length] + u32::try_from(at).expect("small");
            // Left-aligned, and padded with ones.
            let padded = (u64::from(code) << (40 - length)) | ((1 << (40 - length)) - 1);
            let octets = &padded.to_be_bytes()[3..3 + length.div_ceil(8)];
            let mut read = Vec::new();
            assert_eq!(decode(octets, &mut read), Some(()), "{symbol}");
            assert_eq!(read, [symbol]);
        }
        assert_eq!(room, 1);
    }

    #[test]
    fn the_end_symbol_and_padding_of_a_whole_octet_or_of_zeros_are_refused() {
        assert_eq!(text(&[0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(text(&[0x64, 0x02, 0xff]), None);
        // "a" and three zeros.
        assert_eq!(text(&[0b0001_1000]), None);
        assert_eq!(text(&[0b0001_1111]).as_deref(), Some("a"));
    }
}
