//! The task over a pipe, with a peer that the test plays itself.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex},
    task::JoinHandle,
    time::Instant,
};

use super::{
    super::{
        connection::{Ending, Notice, State, Watch},
        error::{Ambiguous, AttemptError, NotSent},
        io::Observed,
        request::{Fixed, Request},
        stream_error::{Code, StreamError},
    },
    Driver, Handle,
    inbox::{Found, Inbox},
    wire::{self, Head, flag, kind, setting},
};

struct Peer {
    io: DuplexStream,
    handle: Option<Handle>,
    state: Arc<State>,
    going_away: Arc<AtomicUsize>,
    task: JoinHandle<Ending>,
}

/// A connection over a pipe that holds `room` octets, greeted by the peer.
async fn connection(room: usize, limit: Duration, watch: Watch) -> Peer {
    let (ours, theirs) = duplex(room);
    let reads = Arc::new(AtomicU64::new(0));
    let state = Arc::new(State::new(0, Arc::clone(&reads)));
    let io = Observed::new(ours, reads);
    let (handle, driver) = Driver::new(io, HeaderValue::from_static("push.example"), limit);
    let going_away = Arc::new(AtomicUsize::new(0));
    let (told, told_of) = (Arc::clone(&going_away), Arc::clone(&state));
    let notice = move |notice| {
        if notice == Notice::GoingAway {
            told_of.retire();
            told.fetch_add(1, Ordering::SeqCst);
        }
    };
    let task = tokio::spawn(driver.drive(Arc::clone(&state), watch, notice));
    let mut peer = Peer {
        io: theirs,
        handle: Some(handle),
        state,
        going_away,
        task,
    };
    let mut preface = vec![0; wire::PREFACE.len()];
    peer.io.read_exact(&mut preface).await.expect("the preface");
    assert_eq!(preface, wire::PREFACE);
    let mut hello = Vec::new();
    wire::put_settings(&mut hello, &[(setting::MAX_CONCURRENT_STREAMS, 100)]);
    wire::put_settings_ack(&mut hello);
    peer.io.write_all(&hello).await.expect("written");
    peer
}

fn patient() -> Watch {
    Watch {
        quiet: Duration::from_secs(60),
        patience: Duration::from_secs(60),
    }
}

const LONG: Duration = Duration::from_secs(30);

impl Peer {
    /// The next frame of the client of this kind.
    async fn next(&mut self, kind: u8) -> Head {
        loop {
            let mut octets = [0; wire::HEAD];
            self.io.read_exact(&mut octets).await.expect("a frame");
            let head = Head::read(&octets).expect("nine octets");
            let mut payload = vec![0; head.length];
            self.io.read_exact(&mut payload).await.expect("its payload");
            if head.kind == kind {
                return head;
            }
        }
    }

    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut out = Vec::new();
        wire::put_head(&mut out, payload.len(), kind, flags, stream);
        out.extend_from_slice(payload);
        self.io.write_all(&out).await.expect("written");
    }

    async fn answer(&mut self, stream: u32) {
        let flags = flag::END_HEADERS | flag::END_STREAM;
        self.write(kind::HEADERS, flags, stream, &[0x88]).await;
    }

    fn handle(&self) -> &Handle {
        self.handle.as_ref().expect("not dropped yet")
    }
}

async fn send(handle: &Handle, limit: Duration) -> Result<u16, AttemptError> {
    let fixed = Arc::new(Fixed::new(None, HeaderMap::new()));
    let request = Request::new(&fixed);
    let body = Bytes::from_static(b"{}");
    let reply = handle.exchange(request, body, Instant::now() + limit, 0).await?;
    Ok(reply.status.as_u16())
}

#[tokio::test]
async fn requests_are_answered_and_an_unused_connection_says_goodbye() {
    let mut peer = connection(1 << 20, LONG, patient()).await;
    let handle = peer.handle.take().expect("not dropped yet");
    let (first, ()) = tokio::join!(send(&handle, LONG), async {
        let head = peer.next(kind::HEADERS).await;
        peer.answer(head.stream).await;
    });
    assert_eq!(first.expect("an answer"), 200);
    assert_eq!(peer.state.limit(), 100);
    drop(handle);
    peer.next(kind::GOAWAY).await;
    assert_eq!(peer.io.read(&mut [0; 1]).await.expect("closed"), 0);
    assert!(matches!(peer.task.await, Ok(Ending::Closed)));
}

#[tokio::test]
async fn a_thousand_at_a_time_through_a_narrow_pipe_are_all_answered() {
    let mut peer = connection(100, LONG, patient()).await;
    let handle = Arc::new(peer.handle.take().expect("not dropped yet"));
    let mut sends = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let handle = Arc::clone(&handle);
        sends.spawn(async move { send(&handle, LONG).await });
    }
    for _ in 0..1_000 {
        let head = peer.next(kind::DATA).await;
        peer.answer(head.stream).await;
    }
    while let Some(sent) = sends.join_next().await {
        assert_eq!(sent.expect("no panic").expect("an answer"), 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn senders_on_many_threads_that_come_and_go_are_all_heard() {
    let mut peer = connection(4_096, LONG, patient()).await;
    let handle = Arc::new(peer.handle.take().expect("not dropped yet"));
    let senders: Vec<_> = (0..8_u64)
        .map(|sender| {
            let handle = Arc::clone(&handle);
            tokio::spawn(async move {
                let mut answered = 0;
                for number in 0..500 {
                    let sent = send(&handle, LONG);
                    // Every third may go away at any point of its way.
                    let patience = match number % 3 {
                        0 => Duration::from_micros((sender * 37 + number * 11) % 400),
                        _ => LONG,
                    };
                    if let Ok(outcome) = tokio::time::timeout(patience, sent).await {
                        assert_eq!(outcome.expect("an answer"), 200);
                        answered += 1;
                    }
                }
                answered
            })
        })
        .collect();
    drop(handle);
    let (mut from, mut to) = tokio::io::split(peer.io);
    let serve = tokio::spawn(async move {
        let mut octets = [0; wire::HEAD];
        while from.read_exact(&mut octets).await.is_ok() {
            let head = Head::read(&octets).expect("nine octets");
            let mut payload = vec![0; head.length];
            from.read_exact(&mut payload).await.expect("its payload");
            if head.kind == kind::GOAWAY {
                break;
            }
            if head.kind == kind::DATA {
                let mut answer = Vec::new();
                let flags = flag::END_HEADERS | flag::END_STREAM;
                wire::put_head(&mut answer, 1, kind::HEADERS, flags, head.stream);
                answer.push(0x88);
                to.write_all(&answer).await.expect("written");
            }
        }
    });
    let mut answered = 0;
    for sender in senders {
        answered += sender.await.expect("no panic");
    }
    assert!(answered >= 8 * 333, "{answered}");
    assert!(matches!(peer.task.await, Ok(Ending::Closed)));
    serve.await.expect("no panic");
}

#[tokio::test]
async fn a_sender_that_goes_away_frees_its_stream() {
    let mut peer = connection(1 << 20, LONG, patient()).await;
    let gave_up = tokio::time::timeout(Duration::from_millis(50), send(peer.handle(), LONG)).await;
    assert!(gave_up.is_err());
    let opened = peer.next(kind::HEADERS).await;
    assert_eq!(peer.next(kind::RST_STREAM).await.stream, opened.stream);
}

#[tokio::test]
async fn time_is_up_without_a_timer_of_its_own() {
    let limit = Duration::from_millis(100);
    let mut peer = connection(1 << 20, limit, patient()).await;
    let started = Instant::now();
    let error = send(peer.handle(), limit).await.expect_err("no answer");
    assert!(matches!(error, AttemptError::Ambiguous { .. }), "{error:?}");
    assert!((95..1_000).contains(&started.elapsed().as_millis()));
    peer.next(kind::RST_STREAM).await;
}

#[tokio::test]
async fn a_peer_that_goes_away_gets_no_more_and_is_left_when_all_is_answered() {
    let mut peer = connection(1 << 20, LONG, patient()).await;
    let handle = peer.handle.take().expect("not dropped yet");
    let going_away = Arc::clone(&peer.going_away);
    let serve = async {
        let head = peer.next(kind::HEADERS).await;
        peer.write(kind::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]).await;
        while going_away.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let late = send(&handle, LONG).await.expect_err("nobody takes it");
        assert!(
            matches!(
                late,
                AttemptError::Unprocessed {
                    cause: NotSent::NotStarted(StreamError::GoAway { .. }),
                    retire: true
                }
            ),
            "{late:?}"
        );
        peer.answer(head.stream).await;
    };
    let (first, ()) = tokio::join!(send(&handle, LONG), serve);
    assert_eq!(first.expect("an answer"), 200);
    assert!(matches!(peer.task.await, Ok(Ending::Closed)));
    assert!(peer.state.is_retired());
}

#[tokio::test]
async fn a_broken_rule_is_told_to_the_peer_and_the_requests_are_lost() {
    let mut peer = connection(1 << 20, LONG, patient()).await;
    let handle = peer.handle.take().expect("not dropped yet");
    let serve = async {
        peer.next(kind::HEADERS).await;
        peer.write(kind::PING, 0, 0, &[1]).await;
        peer.next(kind::GOAWAY).await;
    };
    let (lost, ()) = tokio::join!(send(&handle, LONG), serve);
    assert!(matches!(lost, Err(AttemptError::Ambiguous { .. })), "{lost:?}");
    let ended = peer.task.await.expect("no panic");
    assert!(
        matches!(
            ended,
            Ending::Failed(StreamError::Broken {
                code: Code::FRAME_SIZE_ERROR,
                ..
            })
        ),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_quiet_peer_is_asked_and_dropped_when_it_stays_silent() {
    let watch = Watch {
        quiet: Duration::from_millis(60),
        patience: Duration::from_millis(60),
    };
    let mut peer = connection(1 << 20, LONG, watch).await;
    for _ in 0..3 {
        peer.next(kind::PING).await;
        peer.write(kind::PING, flag::ACK, 0, b"are you?").await;
    }
    peer.next(kind::PING).await;
    assert!(matches!(peer.task.await, Ok(Ending::Silent)));
}

#[tokio::test]
async fn a_peer_that_closes_loses_what_is_open_and_what_comes_later_is_not_sent() {
    let mut peer = connection(1 << 20, LONG, patient()).await;
    let handle = peer.handle.take().expect("not dropped yet");
    let serve = async {
        peer.next(kind::DATA).await;
        peer.io.shutdown().await.expect("closed");
    };
    let (lost, ()) = tokio::join!(send(&handle, LONG), serve);
    assert!(matches!(lost, Err(AttemptError::Ambiguous { .. })), "{lost:?}");
    let ended = peer.task.await.expect("no panic");
    assert!(matches!(ended, Ending::Failed(StreamError::Closed)), "{ended:?}");
    let late = send(&handle, LONG).await.expect_err("it is closed");
    assert!(matches!(late, AttemptError::Unprocessed { .. }), "{late:?}");
}

#[tokio::test]
async fn nobody_waits_for_a_task_that_is_no_more() {
    let mut peer = connection(1 << 20, LONG, patient()).await;
    let handle = peer.handle.take().expect("not dropped yet");
    let end = async {
        peer.next(kind::DATA).await;
        peer.task.abort();
    };
    let (lost, ()) = tokio::join!(send(&handle, LONG), end);
    assert!(matches!(lost, Err(AttemptError::Ambiguous { .. })), "{lost:?}");
    let late = send(&handle, LONG).await.expect_err("nobody is there");
    assert!(
        matches!(late, AttemptError::Unprocessed { retire: true, .. }),
        "{late:?}"
    );
}

#[tokio::test]
async fn a_connection_that_has_no_number_left_takes_no_new_request() {
    let (handle, inbox): (Handle, Arc<Inbox>) = Handle::new();
    inbox.wear_out(1);
    let mut last = Box::pin(send(&handle, LONG));
    let mut found = Found::default();
    std::future::poll_fn(|cx| {
        assert!(last.as_mut().poll(cx).is_pending());
        inbox.take(&mut found, cx);
        std::task::Poll::Ready(())
    })
    .await;
    assert_eq!(found.jobs.len(), 1);
    assert_eq!(found.jobs[0].id, 0x7fff_ffff);
    let none = send(&handle, LONG).await.expect_err("no number is left");
    assert!(
        matches!(
            none,
            AttemptError::Unprocessed {
                cause: NotSent::NotStarted(StreamError::Exhausted),
                retire: true
            }
        ),
        "{none:?}"
    );
}

/// A socket that greets, and then talks without end or takes nothing more.
struct Odd {
    greeting: Vec<u8>,
    talks: bool,
    breaks: bool,
    written: usize,
}

impl Odd {
    fn new(talks: bool, breaks: bool) -> Self {
        let mut greeting = Vec::new();
        wire::put_settings(&mut greeting, &[(setting::MAX_CONCURRENT_STREAMS, 100)]);
        wire::put_settings_ack(&mut greeting);
        Self {
            greeting,
            talks,
            breaks,
            written: 0,
        }
    }
}

impl AsyncRead for Odd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.greeting.is_empty() && !self.talks {
            return Poll::Pending;
        }
        if self.greeting.is_empty() {
            wire::put_ping(&mut self.greeting, flag::ACK, [0; 8]);
        }
        to.put_slice(&std::mem::take(&mut self.greeting));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Odd {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        // The first write is ours to greet.
        if self.breaks && self.written > 0 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.written += octets.len();
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The outcome of one request over such a socket.
async fn over(io: Odd, limit: Duration) -> Result<u16, AttemptError> {
    let reads = Arc::new(AtomicU64::new(0));
    let state = Arc::new(State::new(0, Arc::clone(&reads)));
    let io = Observed::new(io, reads);
    let (handle, driver) = Driver::new(io, HeaderValue::from_static("push.example"), limit);
    let task = tokio::spawn(driver.drive(state, patient(), |_| {}));
    // The task greets before the request is there.
    tokio::task::yield_now().await;
    let outcome = tokio::time::timeout(LONG, send(&handle, limit)).await;
    task.abort();
    outcome.expect("its time is long up")
}

#[tokio::test]
async fn a_peer_that_talks_without_end_does_not_stop_the_clock() {
    let error = over(Odd::new(true, false), Duration::from_millis(100))
        .await
        .expect_err("no answer");
    assert!(
        matches!(error, AttemptError::Ambiguous { retire: false, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn what_was_offered_to_a_socket_that_broke_may_have_gone_out() {
    // One write carries the greeting and nothing else, the next one fails.
    let error = over(Odd::new(false, true), LONG).await.expect_err("no answer");
    assert!(
        matches!(
            error,
            AttemptError::Ambiguous {
                cause: Ambiguous::Lost(StreamError::Io(_)),
                ..
            }
        ),
        "{error:?}"
    );
}
