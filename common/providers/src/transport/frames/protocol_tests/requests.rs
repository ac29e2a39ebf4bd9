//! Requests: how many are written, how much of each, and what becomes of those without an answer.

use super::*;

#[tokio::test]
async fn until_the_peer_has_said_its_limit_one_request_is_written() {
    let mut wire = Wire::new();
    let mut first = wire.submit(b"{}");
    let mut second = wire.submit(b"{}");
    let opened = |frames: &[Frame]| frames.iter().filter(|frame| frame.kind == kind::HEADERS).count();
    assert_eq!(opened(&wire.written()), 1);
    wire.receive(&settings(&[(setting::MAX_CONCURRENT_STREAMS, 1)]));
    assert_eq!(opened(&wire.written()), 0);
    wire.receive(&settings(&[(setting::MAX_CONCURRENT_STREAMS, 2)]));
    assert_eq!(opened(&wire.written()), 1);
    wire.receive(&[answer(3, NOT_FOUND), answer(1, OK)].concat());
    assert_eq!(status(&mut first), 200);
    assert_eq!(status(&mut second), 404);
    assert!(wire.protocol.is_idle());
}

#[tokio::test]
async fn a_limit_that_falls_below_what_is_open_holds_the_next_until_enough_are_answered() {
    let mut wire = Wire::greeted(&[(setting::MAX_CONCURRENT_STREAMS, 10)]);
    let _open: Vec<_> = (0..3).map(|_| wire.submit(b"{}")).collect();
    wire.receive(&settings(&[(setting::MAX_CONCURRENT_STREAMS, 2)]));
    wire.written();
    let _next = wire.submit(b"{}");
    assert!(wire.written().is_empty());
    wire.receive(&answer(1, OK));
    assert!(wire.written().is_empty(), "two are open still");
    wire.receive(&answer(3, OK));
    assert_eq!(wire.summary()[0].1, 7);
    wire.receive(&settings(&[(setting::MAX_CONCURRENT_STREAMS, 0)]));
    let mut never = wire.submit(b"{}");
    wire.receive(&[answer(5, OK), answer(7, OK)].concat());
    wire.fail();
    assert!(matches!(
        error(&mut never),
        AttemptError::Unprocessed {
            cause: NotSent::NotStarted(_),
            ..
        }
    ));
}

#[tokio::test]
async fn a_body_goes_out_as_the_streams_window_allows() {
    let mut wire = Wire::greeted(&[(setting::INITIAL_WINDOW_SIZE, 4)]);
    let _answer = wire.submit(b"0123456789");
    assert_eq!(wire.summary()[1..], [(kind::DATA, 1, 4)]);
    wire.receive(&window_update(1, 1));
    assert_eq!(wire.summary(), [(kind::DATA, 1, 1)]);
    // A smaller window takes back what was given: -3, then 1 more than nothing.
    wire.receive(&settings(&[(setting::INITIAL_WINDOW_SIZE, 1)]));
    assert_eq!(wire.summary(), [(kind::SETTINGS, 0, 0)]);
    wire.receive(&window_update(1, 3));
    assert_eq!(wire.summary(), []);
    wire.receive(&settings(&[(setting::INITIAL_WINDOW_SIZE, 2)]));
    assert_eq!(wire.summary().last(), Some(&(kind::DATA, 1, 1)));
    wire.receive(&window_update(1, 100));
    let last = wire.written();
    assert_eq!(
        (last[0].flags, &last[0].payload[..]),
        (flag::END_STREAM, &b"6789"[..])
    );
}

#[tokio::test]
async fn bodies_share_the_connections_window_and_none_begins_without_it() {
    let body: &'static [u8] = Box::leak(vec![b'x'; 40_000].into_boxed_slice());
    let mut wire = Wire::greeted(&[(setting::INITIAL_WINDOW_SIZE, 1 << 20)]);
    let _answers: Vec<_> = (0..3).map(|_| wire.submit(body)).collect();
    let mut frames = Vec::new();
    for _ in 0..10 {
        wire.protocol.fill();
        frames.extend(wire.written());
    }
    let sent: usize = frames
        .iter()
        .filter(|frame| frame.kind == kind::DATA)
        .map(|frame| frame.payload.len())
        .sum();
    assert_eq!(sent, 65_535);
    assert!(
        frames.iter().all(|frame| frame.stream < 5),
        "the third has not begun"
    );
    assert!(frames.iter().all(|frame| frame.payload.len() <= 16_384));
    wire.receive(&window_update(0, 1 << 20));
    let mut frames = wire.written();
    for _ in 0..10 {
        wire.protocol.fill();
        frames.extend(wire.written());
    }
    let ended: Vec<_> = frames
        .iter()
        .filter(|frame| frame.kind == kind::DATA && frame.flags == flag::END_STREAM)
        .map(|frame| frame.stream)
        .collect();
    assert_eq!(ended, [3, 5]);
}

#[tokio::test]
async fn a_goaway_tells_the_excluded_from_the_rest_and_may_come_again_with_less() {
    let mut wire = Wire::greeted(&[]);
    let mut answers: Vec<_> = (0..4).map(|_| wire.submit(b"{}")).collect();
    wire.written();
    wire.receive(&goaway(0x7fff_ffff, Code::NO_ERROR, b""));
    assert!(answers.iter_mut().all(waits));
    let mut late = wire.submit(b"{}");
    assert!(matches!(
        error(&mut late),
        AttemptError::Unprocessed {
            cause: NotSent::NotStarted(_),
            retire: true
        }
    ));
    for (last, excluded) in [(5, 3), (3, 2), (5, 1)] {
        wire.receive(&goaway(last, Code::ENHANCE_YOUR_CALM, b"slow down"));
        if last == 5 && excluded == 1 {
            assert!(waits(&mut answers[1]), "what was included before stays so");
            continue;
        }
        let AttemptError::Unprocessed {
            cause: NotSent::GoneAway(why),
            retire: true,
        } = error(&mut answers[excluded])
        else {
            panic!("it was never looked at");
        };
        assert_eq!(
            why.to_string(),
            "the peer goes away: ENHANCE_YOUR_CALM (slow down)"
        );
    }
    wire.receive(&answer(1, OK));
    assert_eq!(status(&mut answers[0]), 200);
    wire.fail();
    assert!(matches!(
        error(&mut answers[1]),
        AttemptError::Ambiguous {
            cause: Ambiguous::Lost(_),
            ..
        }
    ));
}

#[tokio::test]
async fn what_the_socket_never_took_was_not_sent_and_what_it_took_in_part_may_have_been() {
    let mut wire = Wire::greeted(&[]);
    let mut first = wire.submit(b"{}");
    let length = wire.protocol.output().len();
    let mut second = wire.submit(b"{}");
    let mut third = wire.submit(b"{}");
    wire.protocol.accepted(length + 1);
    wire.fail();
    for answer in [&mut first, &mut second] {
        assert!(matches!(
            error(answer),
            AttemptError::Ambiguous {
                cause: Ambiguous::Lost(_),
                retire: false
            }
        ));
    }
    assert!(matches!(
        error(&mut third),
        AttemptError::Unprocessed {
            cause: NotSent::NotStarted(_),
            retire: true
        }
    ));
}

#[tokio::test]
async fn time_is_up_for_each_by_itself_and_the_stream_comes_free() {
    let mut wire = Wire::greeted(&[(setting::MAX_CONCURRENT_STREAMS, 2)]);
    let mut silent = wire.submit(b"{}");
    let mut begun = wire.submit(b"{}");
    let mut waiting = wire.submit(b"{}");
    wire.written();
    wire.receive(&head(3, OK));
    wire.protocol.expire(Instant::now(), 1);
    assert!(waits(&mut silent));
    wire.protocol.expire(Instant::now() + LIMIT, 1);
    assert!(matches!(
        error(&mut silent),
        AttemptError::Ambiguous {
            cause: Ambiguous::Timeout(LIMIT),
            retire: false
        }
    ));
    assert_eq!(status(&mut begun), 200);
    assert!(matches!(
        error(&mut waiting),
        AttemptError::Unprocessed {
            cause: NotSent::NoFreeStream(LIMIT),
            ..
        }
    ));
    assert_eq!(
        wire.summary(),
        [(kind::RST_STREAM, 1, 4), (kind::RST_STREAM, 3, 4)]
    );
    let mut wedged = wire.submit(b"{}");
    wire.protocol.expire(Instant::now() + LIMIT, 0);
    assert!(error(&mut wedged).retires(), "nothing was read all the time");
    // Late answers are nobody's.
    wire.receive(&[answer(1, OK), frame(kind::DATA, flag::END_STREAM, 3, b"late")].concat());
    assert_eq!(wire.protocol.next_deadline(), None);
}

#[tokio::test]
async fn who_goes_away_leaves_nothing_behind() {
    let mut wire = Wire::greeted(&[(setting::MAX_CONCURRENT_STREAMS, 1)]);
    let open = wire.submit(b"{}");
    let waiting = wire.submit(b"{}");
    let mut next = wire.submit(b"{}");
    wire.written();
    drop((open, waiting));
    wire.protocol.cancel(3);
    wire.protocol.cancel(1);
    wire.protocol.fill();
    let written = wire.summary();
    assert_eq!(written[0], (kind::RST_STREAM, 1, 4));
    assert_eq!(written[1].1, 5, "the one that waited is passed over");
    wire.receive(&answer(5, OK));
    assert_eq!(status(&mut next), 200);
    assert!(wire.protocol.is_idle());
    assert_eq!(wire.protocol.next_deadline(), None);
}

#[tokio::test]
async fn nothing_new_is_written_while_much_waits_for_the_socket() {
    let body: &'static [u8] = Box::leak(vec![b'x'; 4_000].into_boxed_slice());
    let mut wire = Wire::greeted(&[(setting::INITIAL_WINDOW_SIZE, 1 << 20)]);
    wire.receive(&window_update(0, 1 << 30));
    let answers: Vec<_> = (0..1_000).map(|_| wire.submit(body)).collect();
    assert!(wire.protocol.output().len() < 80 * 1024);
    let mut opened = 0;
    for _ in 0..1_000 {
        opened += wire
            .written()
            .iter()
            .filter(|frame| frame.kind == kind::HEADERS)
            .count();
        wire.protocol.fill();
    }
    assert_eq!(opened, answers.len());
}
