//! The engine on the `h2` crate: general, in use everywhere, and four times the work of `frames`.

use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use h2::{
    RecvStream,
    client::{self, ResponseFuture, SendRequest},
};
use http::{Method, Response, Uri, Version, header, uri, uri::Authority};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    answer::{Answer, MAX_BODY},
    connection::{Ending, Notice, State, Watch},
    error::{Ambiguous, AttemptError, NotSent},
    request::{OwnPath, Request},
    stream_error::StreamError,
};

/// An answer's body in the peer's hands is at most this long; we read half of it and never extend it.
const STREAM_WINDOW: u32 = 16 * 1024;
/// All unread answers of a connection together.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// More header than any provider sends.
const MAX_HEADER_LIST: u32 = 32 * 1024;

/// Says hello over a connection that is open.
pub(super) async fn handshake<T: AsyncRead + AsyncWrite + Unpin>(
    io: T,
) -> Result<(SendRequest<Bytes>, client::Connection<T, Bytes>), StreamError> {
    let opened = client::Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_LIST)
        // Until the peer's SETTINGS say more, one: APNs may refuse the second.
        .initial_max_send_streams(1)
        .handshake(io)
        .await?;
    Ok(opened)
}

/// One attempt of one request.
pub(super) async fn exchange(
    sender: &SendRequest<Bytes>,
    authority: &Authority,
    state: &Arc<State>,
    request: Request,
    body: Bytes,
    deadline: Instant,
) -> Result<Answer, AttemptError> {
    let reads_before = state.reads();
    let started = Instant::now();
    let answer =
        start(sender, authority, request, body).map_err(|error| AttemptError::not_started(error.into()))?;
    match timeout_at(deadline, answer).await {
        Ok(Ok(head)) => Ok(read(head, Arc::clone(state), deadline).await),
        Ok(Err(error)) => Err(of_stream(error)),
        // Not a byte all that time: the connection is dead or wedged, no new request goes there.
        Err(_) => Err(AttemptError::Ambiguous {
            cause: Ambiguous::Timeout(deadline - started),
            retire: state.reads() == reads_before,
        }),
    }
}

/// Puts a whole request on the wire; the future is its answer.
fn start(
    sender: &SendRequest<Bytes>,
    authority: &Authority,
    request: Request,
    body: Bytes,
) -> Result<ResponseFuture, h2::Error> {
    // The clone has no memory of a queued stream; keeping to the limit is done by `reserve`.
    let (answer, mut stream) = sender.clone().send_request(head(authority, request), false)?;
    // An error here is one of the stream, and the answer's future will say which.
    let _ = stream.send_data(body, true);
    Ok(answer)
}

fn head(authority: &Authority, request: Request) -> http::Request<()> {
    let own = request.path.as_ref().map(OwnPath::parsed);
    let path = own.or_else(|| request.fixed.path.clone());
    let mut parts = uri::Parts::default();
    parts.scheme = Some(uri::Scheme::HTTPS);
    parts.authority = Some(authority.clone());
    parts.path_and_query = Some(path.unwrap_or_else(|| uri::PathAndQuery::from_static("/")));
    let mut head = http::Request::new(());
    *head.method_mut() = Method::POST;
    *head.version_mut() = Version::HTTP_2;
    *head.uri_mut() = Uri::from_parts(parts).expect("all three parts are there");
    let mut headers = request.fixed.headers.clone();
    if let Some(authorization) = request.authorization {
        headers.insert(header::AUTHORIZATION, authorization);
    }
    *head.headers_mut() = headers;
    head
}

/// Sorts the error of a stream that had been opened.
fn of_stream(error: h2::Error) -> AttemptError {
    let remote = error.is_remote();
    let (going_away, reset) = (error.is_go_away(), error.is_reset());
    let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
    let error = StreamError::from(error);
    if remote && going_away {
        // h2 ends exactly the streams above the last id with the remote's GOAWAY; the others stay
        // open for their answers.
        return AttemptError::Unprocessed {
            cause: NotSent::GoneAway(error),
            retire: true,
        };
    }
    if remote && reset {
        return if refused {
            AttemptError::refused(error)
        } else {
            AttemptError::ambiguous(Ambiguous::Reset(error))
        };
    }
    AttemptError::ambiguous(Ambiguous::Lost(error))
}

/// Reads the body as far as it is worth it. What breaks after the head does not change the answer.
async fn read(head: Response<RecvStream>, connection: Arc<State>, deadline: Instant) -> Answer {
    let (head, mut stream) = head.into_parts();
    let mut body = Bytes::new();
    while !stream.is_end_stream() {
        let Ok(Some(Ok(chunk))) = timeout_at(deadline, stream.data()).await else {
            break;
        };
        if body.is_empty() {
            body = chunk;
        } else {
            let mut longer = BytesMut::with_capacity(body.len() + chunk.len());
            longer.extend_from_slice(&body);
            longer.extend_from_slice(&chunk);
            body = longer.freeze();
        }
        if body.len() >= MAX_BODY {
            body.truncate(MAX_BODY);
            break;
        }
    }
    Answer {
        status: head.status,
        headers: head.headers,
        body,
        connection,
    }
}

/// Drives a connection to its end.
///
/// Polls the h2 connection, publishes the peer's stream limit after every poll, and asks for a sign of life
/// when the peer was quiet. Dropping the h2 connection, as happens when the peer stays silent, ends its
/// streams with an error.
pub(super) async fn drive<T: AsyncRead + AsyncWrite + Unpin>(
    mut driven: client::Connection<T, Bytes>,
    state: Arc<State>,
    watch: Watch,
    notice: impl Fn(Notice),
) -> Ending {
    let mut pings = driven.ping_pong();
    let mut seen = state.reads();
    let mut waiting_for_life = false;
    let mut timer = pin!(sleep_until(Instant::now() + watch.quiet));
    loop {
        tokio::select! {
            biased;
            ended = poll_fn(|cx| poll_driven(cx, &mut driven, &state, &notice)) => {
                return match ended {
                    Ok(()) => Ending::Closed,
                    Err(error) => Ending::Failed(error.into()),
                };
            }
            () = &mut timer => {
                let reads = state.reads();
                let quiet = reads == seen;
                seen = reads;
                if quiet && waiting_for_life {
                    return Ending::Silent;
                }
                waiting_for_life = false;
                if quiet && let Some(pings) = &mut pings {
                    // The pong of the last ping has to be fetched before another may go out.
                    let _ = poll_fn(|cx| Poll::Ready(pings.poll_pong(cx))).await;
                    waiting_for_life = pings.send_ping(h2::Ping::opaque()).is_ok();
                }
                let pause = if waiting_for_life { watch.patience } else { watch.quiet };
                timer.as_mut().reset(Instant::now() + pause);
            }
        }
    }
}

fn poll_driven<T: AsyncRead + AsyncWrite + Unpin>(
    cx: &mut Context<'_>,
    driven: &mut client::Connection<T, Bytes>,
    state: &State,
    notice: &impl Fn(Notice),
) -> Poll<Result<(), h2::Error>> {
    let polled = std::pin::Pin::new(&mut *driven).poll(cx);
    if state.set_limit(driven.max_concurrent_send_streams()) {
        notice(Notice::LimitRose);
    }
    polled
}
