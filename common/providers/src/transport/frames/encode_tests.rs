use http::{HeaderMap, uri::PathAndQuery};

use super::{
    super::{super::request::OwnPath, decode::Decoder},
    *,
};

fn encoder() -> Encoder {
    Encoder::new(HeaderValue::from_static("push.example"))
}

fn fixed(path: Option<&'static str>, headers: &[(&'static str, &str)]) -> Fixed {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.parse().expect("a value"));
    }
    Fixed::new(path.map(PathAndQuery::from_static), map)
}

fn apns(collapse: &str) -> Arc<Fixed> {
    Arc::new(fixed(
        None,
        &[("apns-topic", "com.example"), ("apns-collapse-id", collapse)],
    ))
}

fn fcm() -> Arc<Fixed> {
    let fixed = fixed(
        Some("/v1/projects/p/messages:send"),
        &[("content-type", "application/json")],
    );
    Arc::new(fixed.with_lasting_authorization())
}

fn secret(text: &str) -> HeaderValue {
    let mut value = HeaderValue::try_from(text).expect("a value");
    value.set_sensitive(true);
    value
}

/// Both ends of a direction: what is encoded must be read back, and its length is the answer.
struct Pair(Encoder, Decoder);

impl Pair {
    fn new() -> Self {
        Self(encoder(), Decoder::new())
    }

    fn send(&mut self, request: &Request) -> (Vec<u8>, Vec<(String, String)>) {
        let mut block = vec![0xee];
        self.0.encode(request, &mut block);
        let block = block.split_off(1);
        let mut fields = Vec::new();
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).expect("text");
        self.1
            .decode(&block, |name, value| fields.push((text(name), text(value))))
            .expect("readable");
        (block, fields)
    }
}

fn expected(path: &str, headers: &[(&str, &str)]) -> Vec<(String, String)> {
    let pseudo = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "push.example"),
        (":path", path),
    ];
    let all = pseudo.iter().chain(headers);
    all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn from_the_second_request_on_a_request_to_fcm_is_six_octets() {
    let mut pair = Pair::new();
    let request = Request::new(&fcm()).authorized(&secret("Bearer x"));
    let wanted = expected(
        "/v1/projects/p/messages:send",
        &[
            ("content-type", "application/json"),
            ("authorization", "Bearer x"),
        ],
    );
    for round in 0..5 {
        let (block, fields) = pair.send(&request);
        assert_eq!(fields, wanted, "{round}");
        assert_eq!(block.len() == 6, round > 0, "{round}: {block:?}");
    }
    let renewed = Request::new(&request.fixed).authorized(&secret("Bearer y"));
    for round in 0..3 {
        let (block, fields) = pair.send(&renewed);
        assert_eq!(fields[5].1, "Bearer y");
        assert_eq!(block.len() == 6, round > 0);
    }
    // And the old one again: both are in the table.
    assert_eq!(pair.send(&request).1, wanted);
}

#[test]
fn neither_a_path_of_its_own_nor_a_passing_authorization_enters_the_table() {
    let mut pair = Pair::new();
    let fixed = apns("c1");
    for round in 0..50 {
        let path = format!("/3/device/{round:064x}");
        let own = OwnPath::new(path.clone().into()).expect("a path");
        let token = format!("bearer {round}");
        let request = Request::new(&fixed).to_path(&own).authorized(&secret(&token));
        let (block, fields) = pair.send(&request);
        let headers = [
            ("apns-topic", "com.example"),
            ("apns-collapse-id", "c1"),
            ("authorization", token.as_str()),
        ];
        assert_eq!(fields, expected(path.as_str(), &headers));
        if round > 1 {
            // Three octets, the path as a literal, two octets, the authorization never indexed.
            assert_eq!(block[3], 0x04, "{block:?}");
            assert_eq!(block.len(), 3 + 2 + 74 + 2 + 3 + token.len());
            assert_eq!(block[3 + 2 + 74 + 2], 0x1f);
        }
    }
    assert_eq!(pair.0.table.held().0, 3, "authority, topic, collapse id");
}

#[test]
fn many_messages_at_a_time_that_do_not_fit_the_table_are_still_read_right() {
    let mut pair = Pair::new();
    let fixed: Vec<_> = (0..60).map(|number| apns(&format!("{number:060}"))).collect();
    for round in 0..3 {
        for (number, fixed) in fixed.iter().enumerate() {
            for _ in 0..2 {
                let (_, fields) = pair.send(&Request::new(fixed));
                assert_eq!(fields[5].1, format!("{number:060}"), "{round}");
            }
        }
    }
    assert!(pair.0.table.held().1 <= TABLE);
    assert!(pair.0.runs.len() <= REMEMBERED);
}

#[test]
fn a_table_of_no_size_is_obeyed_from_the_next_block_on() {
    let mut pair = Pair::new();
    let request = Request::new(&fcm()).authorized(&secret("Bearer x"));
    pair.send(&request);
    pair.send(&request);
    pair.0.resize(0);
    let (block, fields) = pair.send(&request);
    assert_eq!(block[0], 0b0010_0000, "told first");
    assert_eq!(fields.len(), 6);
    pair.1.forget();
    for _ in 0..3 {
        let (block, _) = pair.send(&request);
        assert!(block.len() > 60, "written out: {block:?}");
        assert!(block[0] & 0b1110_0000 != 0b0010_0000, "told once");
    }
}

#[test]
fn a_table_that_shrank_and_grew_between_two_blocks_is_told_with_both_sizes() {
    let mut pair = Pair::new();
    let request = Request::new(&fcm()).authorized(&secret("Bearer x"));
    pair.send(&request);
    pair.0.resize(0);
    pair.0.resize(100);
    pair.0.resize(1 << 30);
    let (block, _) = pair.send(&request);
    // Size 0, then 4096: 31, then 4065 in two octets.
    assert_eq!(block[..4], [0x20, 0x3f, 0xe1, 0x1f]);
    assert_eq!(pair.send(&request).0.len(), 6);
    // A size that it already has is not told.
    pair.0.resize(4096);
    assert_eq!(pair.send(&request).0.len(), 6);
}

#[test]
fn a_field_that_would_fill_the_table_stays_out_of_it() {
    let mut pair = Pair::new();
    let long = "x".repeat(3_500);
    let request = Request::new(&fcm()).authorized(&secret(&long));
    for _ in 0..3 {
        let (block, fields) = pair.send(&request);
        assert_eq!(fields[5].1, long);
        assert!(block.len() > 3_500);
    }
    let small = Request::new(&request.fixed).authorized(&secret("Bearer x"));
    pair.send(&small);
    assert_eq!(pair.send(&small).0.len(), 6, "nothing else was pushed out");
}

#[test]
fn requests_as_in_c1_and_c2_of_the_rfc_are_written() {
    let integer = |bits, value| {
        let mut out = Vec::new();
        put_integer(&mut out, 0, bits, value);
        out
    };
    assert_eq!(integer(5, 10), [10]);
    assert_eq!(integer(5, 1337), [31, 154, 10]);
    assert_eq!(integer(8, 42), [42]);
    let mut out = Vec::new();
    put_literal(&mut out, Keep::Table, 0, b"custom-key", b"custom-header");
    assert_eq!(out, b"\x40\x0acustom-key\x0dcustom-header");
    out.clear();
    put_literal(&mut out, Keep::Nowhere, 4, b"", b"/sample/path");
    assert_eq!(out, b"\x04\x0c/sample/path");
    out.clear();
    put_literal(&mut out, Keep::Never, 0, b"password", b"secret");
    assert_eq!(out, b"\x10\x08password\x06secret");
}
