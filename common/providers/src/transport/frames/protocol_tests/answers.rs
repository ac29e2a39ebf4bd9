//! Answers, in all the ways in which they may come.

use super::*;

#[tokio::test]
async fn an_answer_that_comes_before_the_body_has_left_ends_the_request() {
    let mut wire = Wire::greeted(&[(setting::INITIAL_WINDOW_SIZE, 1)]);
    let mut early = wire.submit(b"{}");
    wire.written();
    wire.receive(&answer(1, NOT_FOUND));
    assert_eq!(status(&mut early), 404);
    assert_eq!(wire.summary(), [(kind::RST_STREAM, 1, 4)]);
    wire.receive(&window_update(1, 10));
    assert_eq!(wire.summary(), []);
}

#[tokio::test]
async fn resets_are_told_apart_and_do_not_change_an_answer_that_has_begun() {
    let mut wire = Wire::greeted(&[]);
    let mut answers: Vec<_> = (0..3).map(|_| wire.submit(b"{}")).collect();
    wire.receive(&reset(1, Code::REFUSED_STREAM));
    assert!(matches!(
        error(&mut answers[0]),
        AttemptError::Unprocessed {
            cause: NotSent::Refused(_),
            retire: false
        }
    ));
    wire.receive(&reset(3, Code::CANCEL));
    assert!(matches!(
        error(&mut answers[1]),
        AttemptError::Ambiguous {
            cause: Ambiguous::Reset(_),
            ..
        }
    ));
    wire.receive(&[head(5, NOT_FOUND), reset(5, Code::CANCEL)].concat());
    assert_eq!(status(&mut answers[2]), 404);
    wire.receive(&reset(5, Code::CANCEL));
}

#[tokio::test]
async fn an_answer_in_pieces_with_padding_announcements_and_trailers_is_one_answer() {
    let mut wire = Wire::greeted(&[]);
    let mut reply = wire.submit(b"{}");
    wire.written();
    // 103 without indexing, then 429 with a retry-after, cut in three, with padding and priority.
    let early = b"\x08\x03103";
    wire.receive(&head(1, early));
    let block = b"\x08\x03429\x0f\x26\x017";
    let padded = [&[2_u8, 0, 0, 0, 0, 9][..], &block[..2], &[0, 0]].concat();
    wire.receive(&frame(kind::HEADERS, flag::PADDED | flag::PRIORITY, 1, &padded));
    wire.receive(&frame(kind::CONTINUATION, 0, 1, &block[2..6]));
    wire.receive(&frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block[6..]));
    wire.receive(&frame(kind::PRIORITY, 0, 1, &[0; 5]));
    wire.receive(&frame(0xee, 0xff, 77, b"who knows"));
    wire.receive(&frame(kind::DATA, flag::PADDED, 1, b"\x03abc\0\0\0"));
    wire.receive(&frame(kind::DATA, 0, 1, b"def"));
    assert!(waits(&mut reply));
    wire.receive(&answer(1, b"\x00\x01a\x01b"));
    let reply = reply.try_recv().expect("an outcome").expect("an answer");
    assert_eq!(reply.status, 429);
    assert_eq!(reply.headers["retry-after"], "7");
    assert_eq!(&reply.body[..], b"abcdef");
    assert_eq!(wire.summary(), []);
}

#[tokio::test]
async fn a_body_without_end_is_cut_and_the_connections_window_is_given_back() {
    let mut wire = Wire::greeted(&[]);
    let mut reply = wire.submit(b"{}");
    wire.written();
    wire.receive(&head(1, NOT_FOUND));
    let piece = vec![b'x'; 5_000];
    wire.receive(&frame(kind::DATA, 0, 1, &piece));
    assert!(waits(&mut reply));
    wire.receive(&frame(kind::DATA, 0, 1, &piece));
    let reply = reply.try_recv().expect("an outcome").expect("an answer");
    assert_eq!(reply.body.len(), 8 * 1024);
    assert_eq!(wire.summary(), [(kind::RST_STREAM, 1, 4)]);
    // What comes for it still counts, and is still given back.
    let piece = vec![b'x'; 16_384];
    for _ in 0..1_000 {
        wire.receive(&frame(kind::DATA, 0, 1, &piece));
    }
    let given = wire.written();
    assert!(given.iter().all(|frame| frame.kind == kind::WINDOW_UPDATE));
    assert_eq!(given.len(), 7);
}

#[tokio::test]
async fn until_it_knows_our_settings_the_peer_may_use_its_table() {
    let mut wire = Wire::new();
    wire.receive(&settings(&[]));
    let mut first = wire.submit(b"{}");
    let mut second = wire.submit(b"{}");
    wire.receive(&answer(1, b"\x88\x40\x0bretry-after\x019"));
    assert_eq!(status(&mut first), 200);
    wire.receive(&answer(3, b"\x8d\xbe"));
    let reply = second.try_recv().expect("an outcome").expect("an answer");
    assert_eq!(reply.headers["retry-after"], "9");
    wire.receive(&frame(kind::SETTINGS, flag::ACK, 0, &[]));
    let _third = wire.submit(b"{}");
    let error = wire.try_receive(&answer(5, b"\x8d\xbe")).expect_err("no table");
    assert_eq!(code_of(error), Code::COMPRESSION_ERROR);
}

#[tokio::test]
async fn octets_may_come_one_by_one() {
    let mut wire = Wire::greeted(&[]);
    let mut reply = wire.submit(b"{}");
    let octets = [
        head(1, NOT_FOUND),
        frame(kind::DATA, flag::END_STREAM, 1, b"gone"),
    ]
    .concat();
    let mut pending = Vec::new();
    for octet in octets {
        pending.push(octet);
        let read = wire.protocol.receive(&pending).expect("no rule is broken");
        pending.drain(..read);
    }
    let reply = reply.try_recv().expect("an outcome").expect("an answer");
    assert_eq!((reply.status.as_u16(), &reply.body[..]), (404, &b"gone"[..]));
}
