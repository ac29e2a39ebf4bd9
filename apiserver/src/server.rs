//! Connections: poem's endpoint behind hyper's HTTP/1 server.
//!
//! poem's own server sets no TCP_NODELAY (40 ms on every second small answer) and gives hyper no
//! timer, so that a half-sent head may stay for ever. This one does both, bounds the number of
//! connections, and stops in good order: no new connection, running requests are finished, idle
//! connections are closed.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use jraze_openapi::dto::ApiError;
use jraze_runtime::lifecycle::Lifecycle;
use poem::{
    Addr, Endpoint, Response,
    endpoint::BoxEndpoint,
    http::uri::Scheme,
    web::{LocalAddr, RemoteAddr},
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// How connections are treated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    pub(crate) max_connections: usize,
    pub(crate) header_timeout: Duration,
}

/// Largest head of a request, in bytes; hyper refuses less than 8 KiB.
const MAX_HEAD: usize = 32 << 10;

/// Accepts connections until the soft stop, then waits for the running requests.
pub(crate) async fn serve(
    listener: TcpListener,
    endpoint: Arc<BoxEndpoint<'static, Response>>,
    limits: ConnectionLimits,
    lifecycle: &Lifecycle,
) {
    let permits = Arc::new(Semaphore::new(limits.max_connections.max(1)));
    loop {
        // The permit comes first: what cannot be served is not taken off the kernel's queue.
        let accepted = tokio::select! {
            accepted = accept(&listener, &permits) => accepted,
            () = lifecycle.stopping().cancelled() => break,
        };
        match accepted {
            Ok((stream, permit)) => {
                let connection = connection(stream, permit, endpoint.clone(), limits, lifecycle.clone());
                lifecycle.spawn(connection);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                // Out of file descriptors, most likely. Nothing helps but a little time.
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    // Every connection holds a permit until its last request is answered.
    let all = u32::try_from(limits.max_connections.max(1)).unwrap_or(u32::MAX);
    let finished = permits.acquire_many(all);
    tokio::select! {
        _ = finished => {}
        () = lifecycle.aborting().cancelled() => {}
    }
}

/// Listens with room for as many callers as are served at a time. The usual 128 are full after a burst
/// of a few milliseconds, and a caller that finds them full is silent for a whole second.
pub(crate) async fn listen(address: &str, callers: usize) -> io::Result<TcpListener> {
    let mut refused = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for address in tokio::net::lookup_host(address).await? {
        match listen_at(address, callers) {
            Ok(listener) => return Ok(listener),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn listen_at(address: SocketAddr, callers: usize) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(u32::from(u16::try_from(callers).unwrap_or(u16::MAX)))
}

async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted | Kind::ConnectionReset | Kind::ConnectionRefused | Kind::InvalidInput
    )
}

async fn connection(
    stream: TcpStream,
    permit: OwnedSemaphorePermit,
    endpoint: Arc<BoxEndpoint<'static, Response>>,
    limits: ConnectionLimits,
    lifecycle: Lifecycle,
) {
    let (Ok(local), Ok(remote)) = (stream.local_addr(), stream.peer_addr()) else {
        return; // gone already
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let request = poem_request(request, local, remote);
        let endpoint = endpoint.clone();
        async move {
            let response = match endpoint.call(request).await {
                Ok(response) => response,
                Err(error) => ApiError::from_framework(&error).to_response(),
            };
            Ok::<_, Infallible>(hyper::Response::from(response))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = lifecycle.stopping().cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        // A client that went away or sent no HTTP; none of our business beyond debugging.
        tracing::debug!(%error, "connection ended early");
    }
    drop(permit);
}

fn poem_request(request: Request<Incoming>, local: SocketAddr, remote: SocketAddr) -> poem::Request {
    let local = LocalAddr(Addr::SocketAddr(local));
    let remote = RemoteAddr(Addr::SocketAddr(remote));
    poem::Request::from((request, local, remote, Scheme::HTTP))
}
