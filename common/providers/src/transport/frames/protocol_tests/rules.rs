//! Peers that break the rules.

use super::*;

#[tokio::test]
async fn broken_rules_end_the_connection_with_their_code() {
    let first = settings(&[]);
    let open = |stream| [settings(&[]), head(stream, OK)].concat();
    let cases: Vec<(&str, Vec<u8>, Code)> = vec![
        (
            "no SETTINGS first",
            frame(kind::PING, 0, 0, &[0; 8]),
            Code::PROTOCOL_ERROR,
        ),
        ("a stream of the peer", open(2), Code::PROTOCOL_ERROR),
        ("a stream never opened", open(99), Code::PROTOCOL_ERROR),
        ("no stream", open(0), Code::PROTOCOL_ERROR),
        (
            "a push",
            [
                first.clone(),
                frame(kind::PUSH_PROMISE, 4, 1, &[0, 0, 0, 2, 0x88]),
            ]
            .concat(),
            Code::PROTOCOL_ERROR,
        ),
        (
            "a frame in a header block",
            [
                first.clone(),
                frame(kind::HEADERS, 0, 1, OK),
                frame(kind::PING, 0, 0, &[0; 8]),
            ]
            .concat(),
            Code::PROTOCOL_ERROR,
        ),
        (
            "CONTINUATION of nothing",
            [first.clone(), frame(kind::CONTINUATION, 4, 1, OK)].concat(),
            Code::PROTOCOL_ERROR,
        ),
        (
            "SETTINGS of 5 octets",
            frame(kind::SETTINGS, 0, 0, &[0; 5]),
            Code::FRAME_SIZE_ERROR,
        ),
        (
            "an ack with content",
            [first.clone(), frame(kind::SETTINGS, flag::ACK, 0, &[0; 6])].concat(),
            Code::FRAME_SIZE_ERROR,
        ),
        (
            "push switched on",
            settings(&[(setting::ENABLE_PUSH, 1)]),
            Code::PROTOCOL_ERROR,
        ),
        (
            "a tiny frame limit",
            settings(&[(setting::MAX_FRAME_SIZE, 100)]),
            Code::PROTOCOL_ERROR,
        ),
        (
            "a window of 2^31",
            settings(&[(setting::INITIAL_WINDOW_SIZE, 1 << 31)]),
            Code::FLOW_CONTROL_ERROR,
        ),
        (
            "the connection's window beyond all",
            [first.clone(), window_update(0, 0x7fff_ffff)].concat(),
            Code::FLOW_CONTROL_ERROR,
        ),
        (
            "nothing more",
            [first.clone(), window_update(0, 0)].concat(),
            Code::PROTOCOL_ERROR,
        ),
        (
            "PING of 7 octets",
            [first.clone(), frame(kind::PING, 0, 0, &[0; 7])].concat(),
            Code::FRAME_SIZE_ERROR,
        ),
        (
            "GOAWAY of 7 octets",
            [first.clone(), frame(kind::GOAWAY, 0, 0, &[0; 7])].concat(),
            Code::FRAME_SIZE_ERROR,
        ),
        (
            "an unreadable head",
            [first.clone(), head(1, &[0xff, 0xff])].concat(),
            Code::COMPRESSION_ERROR,
        ),
        (
            "a frame too long",
            [first.clone(), frame(0xee, 0, 0, &[0; 16_385])].concat(),
            Code::FRAME_SIZE_ERROR,
        ),
        (
            "padding beyond the frame",
            [first.clone(), frame(kind::DATA, flag::PADDED, 1, &[9, 0])].concat(),
            Code::PROTOCOL_ERROR,
        ),
    ];
    for (what, octets, code) in cases {
        let mut wire = Wire::new();
        let _answer = wire.submit(b"{}");
        let error = wire.try_receive(&octets).expect_err(what);
        assert_eq!(code_of(error), code, "{what}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_one_stream_ends_only_that() {
    let mut wire = Wire::greeted(&[]);
    let mut good = wire.submit(b"{}");
    let mut bad: Vec<_> = (0..4).map(|_| wire.submit(b"{}")).collect();
    wire.written();
    wire.receive(&frame(kind::DATA, 0, 3, b"no head"));
    wire.receive(&answer(5, b"\x08\x03103"));
    wire.receive(&answer(7, b"\x00\x01a\x01b"));
    wire.receive(&window_update(9, 0x7fff_ffff));
    for answer in &mut bad {
        assert!(matches!(
            error(answer),
            AttemptError::Ambiguous {
                cause: Ambiguous::Lost(_),
                ..
            }
        ));
    }
    let resets: Vec<_> = [3, 5, 7, 9].map(|id| (kind::RST_STREAM, id, 4)).into();
    assert_eq!(wire.summary(), resets);
    wire.receive(&answer(1, OK));
    assert_eq!(status(&mut good), 200);
}

#[tokio::test]
async fn a_peer_that_asks_and_never_reads_is_given_up() {
    let mut wire = Wire::greeted(&[]);
    let ping = frame(kind::PING, 0, 0, b"question");
    wire.receive(&ping);
    let pong = wire.written();
    assert_eq!(
        (pong[0].flags, &pong[0].payload[..]),
        (flag::ACK, &b"question"[..])
    );
    for _ in 0..100_000 {
        wire.receive(&ping);
        wire.octets();
    }
    let mut asked = 0;
    let error = loop {
        asked += 1;
        match wire.try_receive(&ping) {
            Ok(()) => assert!(asked < 10_000),
            Err(error) => break error,
        }
    };
    assert_eq!(code_of(error), Code::ENHANCE_YOUR_CALM);
}

#[tokio::test]
async fn a_header_block_without_end_is_given_up() {
    for piece in [0, 16_000] {
        let mut wire = Wire::greeted(&[]);
        let _answer = wire.submit(b"{}");
        wire.receive(&frame(kind::HEADERS, 0, 1, OK));
        let more = frame(kind::CONTINUATION, 0, 1, &vec![0; piece]);
        let error = (0..100).find_map(|_| wire.try_receive(&more).err());
        assert_eq!(
            code_of(error.expect("too much")),
            Code::ENHANCE_YOUR_CALM,
            "{piece}"
        );
    }
}
