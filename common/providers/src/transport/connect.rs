//! Opening one connection: fresh DNS, TCP without delay, TLS with HTTP/2, the HTTP/2 preface.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use http::HeaderValue;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep_until, timeout},
};

use super::{
    connection::{Driver, Sender},
    error::ConnectError,
    frames,
    io::Observed,
    library,
    settings::{Engine, TransportSettings},
    tls::Endpoint,
};

/// New connections to one host: a burst of them after a quiet time, and then so many apart.
///
/// APNs takes connections that come and go quickly for an attack, whatever pool they belong to, so all
/// pools of a host share one gate. A pool that fills up once is no such thing, and a campaign should not
/// wait seconds for its width.
#[derive(Debug, Default)]
pub struct HostGate {
    /// When the next one would come if none had ever come early.
    next: std::sync::Mutex<Option<Instant>>,
}

impl HostGate {
    /// Waits for this caller's turn. Turns are `interval` apart, but up to `burst` of them may come early.
    pub(super) async fn turn(&self, interval: Duration, burst: u16) {
        let now = Instant::now();
        let at = {
            let mut next = self
                .next
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let due = next.map_or(now, |next| next.max(now));
            *next = Some(due + interval);
            due.checked_sub(interval * u32::from(burst.saturating_sub(1)))
                .map_or(now, |early| early.max(now))
        };
        sleep_until(at).await;
    }
}

/// Opens a connection. `first` chooses which of several addresses is tried first.
pub(super) async fn open(
    endpoint: &Endpoint,
    settings: &TransportSettings,
    first: usize,
    reads: Arc<AtomicU64>,
) -> Result<(Sender, Driver), ConnectError> {
    let limit = settings.connect_timeout.get();
    let host = || endpoint.host.clone();
    let opening = async {
        let stream = reach(endpoint, limit, first).await?;
        // A lonely request would otherwise wait 40 ms for the peer's delayed acknowledgement.
        stream
            .set_nodelay(true)
            .map_err(|source| ConnectError::Connect { host: host(), source })?;
        let stream = endpoint
            .tls
            .connect(endpoint.server_name.clone(), stream)
            .await
            .map_err(|source| sort_tls_error(host(), source))?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(ConnectError::NoHttp2 { host: host() });
        }
        let stream = Observed::new(stream, reads);
        Ok(match settings.engine {
            Engine::H2 => {
                let (sender, driven) = library::handshake(stream)
                    .await
                    .map_err(|source| ConnectError::Handshake { host: host(), source })?;
                (
                    Sender::H2(sender, endpoint.authority.clone()),
                    Driver::H2(Box::new(driven)),
                )
            }
            Engine::Frames => {
                let authority = HeaderValue::try_from(endpoint.authority.as_str())
                    .expect("what stands in an address may stand in a header");
                let limit = settings.request_timeout.get();
                let (handle, driver) = frames::Driver::new(stream, authority, limit);
                (Sender::Frames(handle), Driver::Frames(Box::new(driver)))
            }
        })
    };
    match timeout(limit, opening).await {
        Ok(opened) => opened,
        Err(_) => Err(ConnectError::Timeout {
            host: host(),
            after: limit,
        }),
    }
}

/// A TCP connection to the first address that takes one. Every address gets its share of the time, so
/// that one dead address does not use it all up.
async fn reach(endpoint: &Endpoint, limit: Duration, first: usize) -> Result<TcpStream, ConnectError> {
    let host = || endpoint.host.clone();
    let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(|source| ConnectError::Resolve { host: host(), source })?
        .collect();
    if addresses.is_empty() {
        let source = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        return Err(ConnectError::Resolve { host: host(), source });
    }
    let count = addresses.len();
    addresses.rotate_left(first % count);
    let share = limit / u32::try_from(count.min(4)).unwrap_or(4);
    let mut last = io::Error::new(io::ErrorKind::NotConnected, "no address was tried");
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(source)) => last = source,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "the address does not answer"),
        }
    }
    Err(ConnectError::Connect {
        host: host(),
        source: last,
    })
}

fn sort_tls_error(host: String, source: io::Error) -> ConnectError {
    let is_tls = source.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    if is_tls {
        ConnectError::Tls { host, source }
    } else {
        ConnectError::Connect { host, source }
    }
}
