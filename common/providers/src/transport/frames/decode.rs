//! Reading header blocks (RFC 7541, 3, 5 and 6).
//!
//! We announce a header table of size 0, so a peer that knows our SETTINGS refers to nothing but the static
//! table, and a block can be understood alone. Until the peer has confirmed them it may still use the 4096
//! octets that HTTP/2 starts with; so long every block is decoded and the table is kept.
//!
//! A field list is handed out up to [`MOST`] octets and what comes behind is decoded, because the table
//! has to stay in step, but not shown.

use super::{huffman, table::Table};

/// More header than any provider sends, counted as RFC 9113, 6.5.2 counts it.
pub(super) const MOST: usize = 32 * 1024;

/// The peer's fields cannot be read: nobody knows the state of its table any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) &'static str);

/// One direction's state.
#[derive(Debug)]
pub(super) struct Decoder {
    table: Table,
    /// The largest table that the peer may choose.
    allowed: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    /// As HTTP/2 starts: 4096 octets of table.
    pub(super) fn new() -> Self {
        Self::with_table(4096)
    }

    fn with_table(size: usize) -> Self {
        Self {
            table: Table::new(size),
            allowed: size,
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    /// The peer confirmed that there is no table.
    pub(super) fn forget(&mut self) {
        self.allowed = 0;
        self.table.resize(0);
    }

    /// True when a block can be passed over without losing anything.
    pub(super) fn has_no_table(&self) -> bool {
        self.allowed == 0
    }

    /// Hands every field of a block to `each`.
    pub(super) fn decode(
        &mut self,
        block: &[u8],
        mut each: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Unreadable> {
        let mut input = Input(block);
        let mut shown = 0;
        let mut may_resize = true;
        while let Some(first) = input.0.first().copied() {
            if first & 0b1110_0000 == 0b0010_0000 {
                let size = input.integer(5)?;
                if !may_resize || size > self.allowed {
                    return Err(Unreadable("a header table of a size that it may not have"));
                }
                self.table.resize(size);
                continue;
            }
            may_resize = false;
            let kept = if first & 0b1000_0000 != 0 {
                let index = input.integer(7)?;
                let field = self
                    .table
                    .get(index)
                    .ok_or(Unreadable("a field that is in no table"))?;
                show(field, &mut shown, &mut each);
                continue;
            } else if first & 0b1100_0000 == 0b0100_0000 {
                self.named(&mut input, 6)?;
                true
            } else {
                // Without indexing and never indexed are the same to one who passes nothing on.
                self.named(&mut input, 4)?;
                false
            };
            input.text(&mut self.value)?;
            show((&self.name, &self.value), &mut shown, &mut each);
            if kept {
                self.table.insert(&self.name, &self.value);
            }
        }
        Ok(())
    }

    /// Reads a field's name, which an index or a text gives.
    fn named(&mut self, input: &mut Input<'_>, bits: u32) -> Result<(), Unreadable> {
        let index = input.integer(bits)?;
        if index == 0 {
            return input.text(&mut self.name);
        }
        let (name, _) = self
            .table
            .get(index)
            .ok_or(Unreadable("a name that is in no table"))?;
        self.name.clear();
        self.name.extend_from_slice(name);
        Ok(())
    }
}

fn show((name, value): (&[u8], &[u8]), shown: &mut usize, each: &mut impl FnMut(&[u8], &[u8])) {
    *shown = shown.saturating_add(Table::cost(name, value));
    if *shown <= MOST {
        each(name, value);
    }
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn octet(&mut self) -> Result<u8, Unreadable> {
        let (first, rest) = self
            .0
            .split_first()
            .ok_or(Unreadable("a header block that ends too early"))?;
        self.0 = rest;
        Ok(*first)
    }

    /// An integer whose first octet gives it `bits` (RFC 7541, 5.1); at most 21 bits more.
    fn integer(&mut self, bits: u32) -> Result<usize, Unreadable> {
        let most = (1_usize << bits) - 1;
        let start = usize::from(self.octet()?) & most;
        if start < most {
            return Ok(start);
        }
        let mut value = start;
        for shift in [0, 7, 14] {
            let octet = self.octet()?;
            value += usize::from(octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Unreadable("a number that nothing in a header needs"))
    }

    /// A string literal (RFC 7541, 5.2).
    fn text(&mut self, text: &mut Vec<u8>) -> Result<(), Unreadable> {
        let coded = self.0.first().is_some_and(|first| first & 0x80 != 0);
        let length = self.integer(7)?;
        let Some((literal, rest)) = self.0.split_at_checked(length) else {
            return Err(Unreadable("a header block that ends too early"));
        };
        self.0 = rest;
        text.clear();
        if coded {
            huffman::decode(literal, text).ok_or(Unreadable("a text that is not Huffman-coded"))
        } else {
            text.extend_from_slice(literal);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(hex: &str) -> Vec<u8> {
        let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
        digits
            .chunks(2)
            .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("an octet"))
            .collect()
    }

    fn lines(decoder: &mut Decoder, hex: &str) -> Result<String, Unreadable> {
        let mut lines = String::new();
        decoder.decode(&octets(hex), |name, value| {
            let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
            lines.push_str(&format!("{}={}\n", text(name), text(value)));
        })?;
        Ok(lines)
    }

    const FIRST: &str = ":status=302\ncache-control=private\ndate=Mon, 21 Oct 2013 20:13:21 GMT\n\
        location=https://www.example.com\n";
    const SECOND: &str = ":status=307\ncache-control=private\ndate=Mon, 21 Oct 2013 20:13:21 GMT\n\
        location=https://www.example.com\n";
    const THIRD: &str = ":status=200\ncache-control=private\ndate=Mon, 21 Oct 2013 20:13:22 GMT\n\
        location=https://www.example.com\ncontent-encoding=gzip\n\
        set-cookie=foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n";

    #[test]
    fn answers_as_in_c5_of_the_rfc_are_read_with_a_table_of_256() {
        let mut decoder = Decoder::with_table(256);
        let first = "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 \
            2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d";
        assert_eq!(lines(&mut decoder, first).as_deref(), Ok(FIRST));
        assert_eq!(decoder.table.held(), (4, 222));
        assert_eq!(lines(&mut decoder, "4803 3330 37c1 c0bf").as_deref(), Ok(SECOND));
        let third = "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 \
            5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 \
            553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31";
        assert_eq!(lines(&mut decoder, third).as_deref(), Ok(THIRD));
        assert_eq!(decoder.table.held(), (3, 215));
    }

    #[test]
    fn answers_as_in_c6_of_the_rfc_are_read_from_huffman_code() {
        let mut decoder = Decoder::with_table(256);
        let first = "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b \
            ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3";
        assert_eq!(lines(&mut decoder, first).as_deref(), Ok(FIRST));
        assert_eq!(lines(&mut decoder, "4883 640e ffc1 c0bf").as_deref(), Ok(SECOND));
        let third = "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad \
            94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed \
            4ee5 b106 3d50 07";
        assert_eq!(lines(&mut decoder, third).as_deref(), Ok(THIRD));
    }

    #[test]
    fn requests_as_in_c3_of_the_rfc_are_read() {
        let mut decoder = Decoder::new();
        let first = "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d";
        assert_eq!(
            lines(&mut decoder, first).as_deref(),
            Ok(":method=GET\n:scheme=http\n:path=/\n:authority=www.example.com\n")
        );
        assert_eq!(decoder.table.held(), (1, 57));
    }

    #[test]
    fn once_the_peer_knows_that_there_is_no_table_a_reference_into_it_is_refused() {
        let mut decoder = Decoder::new();
        assert!(lines(&mut decoder, "4003 666f 6f03 6261 72").is_ok());
        assert_eq!(lines(&mut decoder, "be").as_deref(), Ok("foo=bar\n"));
        decoder.forget();
        assert!(decoder.has_no_table());
        assert!(lines(&mut decoder, "be").is_err());
        // An offer to index is taken without keeping anything, a size of 0 is what we asked for.
        assert_eq!(
            lines(&mut decoder, "2040 0366 6f6f 0362 6172").as_deref(),
            Ok("foo=bar\n")
        );
        assert!(lines(&mut decoder, "be").is_err());
        assert!(lines(&mut decoder, "21").is_err(), "a size above the limit");
    }

    #[test]
    fn blocks_that_break_the_rules_are_refused() {
        for (hex, why) in [
            ("80", "index 0"),
            ("ff", "a number without its end"),
            ("ffff ffff ffff 7f", "a number too large"),
            ("0003 666f", "a text cut short"),
            ("0081 ff00", "a text that is no Huffman code"),
            ("8820", "a size in the middle of a block"),
            ("3fe2 1f", "a size of 4097"),
            ("7e", "a name in no table"),
        ] {
            assert!(lines(&mut Decoder::new(), hex).is_err(), "{why}");
        }
    }

    #[test]
    fn a_list_without_end_is_shown_up_to_the_limit_and_the_table_stays_in_step() {
        let mut decoder = Decoder::new();
        let mut block = octets("4003 666f 6f7f d50e");
        block.extend([b'x'; 2004]);
        block.extend([0xbe; 30_000]);
        block.extend(octets("4001 6101 62"));
        let mut shown = 0;
        decoder.decode(&block, |_, _| shown += 1).expect("readable");
        assert_eq!(shown, MOST / (2004 + 3 + 32));
        assert_eq!(lines(&mut decoder, "be").as_deref(), Ok("a=b\n"));
    }
}
