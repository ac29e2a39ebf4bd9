//! One HTTP/2 client for both providers.
//!
//! A sender has to know more than a usual client tells: whether a failed request can have been processed
//! ([`TransportError`]), how many streams the peer takes, when it goes away. Two engines tell it: the `h2`
//! crate, and one of our own that writes frames. What neither does: HTTP/1, redirects, proxies, cookies,
//! decompression, an "insecure" switch.
//!
//! | module | is |
//! | --- | --- |
//! | `settings` | what an operator can choose |
//! | `tls` | the address, and whom we trust there |
//! | `connect` | opening one connection |
//! | `connection` | one connection: streams counted, driven by its own task |
//! | `library` | the engine on the `h2` crate |
//! | `frames` | our own engine |
//! | `request` | a request as both engines take it |
//! | `pool` | many connections: the path that a request takes |
//! | `turn` | which of them the next request takes |
//! | `answer` | an answer, cut to size |
//! | `error` | what a failure means for the request |
//! | `stream_error` | what ended a stream, as both engines say it |
//!
//! A connection's life: opened when a request finds no free stream or all others busy (one at a time,
//! one a second per host), used in turn with the others, pinged when quiet, retired on GOAWAY, on
//! silence, or when a provider's answer says so. A retired connection takes no new request and is
//! closed when its last one is answered.

mod answer;
mod connect;
mod connection;
mod error;
mod frames;
mod io;
mod library;
mod pool;
mod request;
mod settings;
mod stream_error;
mod tls;
mod turn;

#[cfg(feature = "counted")]
pub(crate) use self::frames::counted;
#[cfg(feature = "fuzzing")]
pub(crate) use self::frames::fuzzing;
pub use self::{
    answer::{Answer, MAX_BODY},
    connect::HostGate,
    error::{Ambiguous, ConnectError, NotSent, TransportError},
    pool::{MAX_RESENDS, Pool, PoolStats},
    request::{Fixed, OwnPath, Request},
    settings::{EndpointSettings, Engine, OutOfRange, TransportSettings},
    stream_error::{Code, StreamError},
    tls::{Endpoint, EndpointError},
};
