//! An HTTP/2 client for exactly what providers need: POST, a small body, a small answer.
//!
//! A general client pays for generality with every request: a task or a channel, a header map, a look-up in
//! a table, a timer, a TLS record of its own. This one writes frames. A request's head is copied from the
//! last one like it (RFC 7541), all requests that are there go out in one write, and an answer that says
//! 200 is understood from one octet.
//!
//! | module | is | by |
//! | --- | --- | --- |
//! | `wire` | frames as octets | RFC 9113, 4 and 6 |
//! | `table`, `encode`, `decode`, `huffman` | header blocks | RFC 7541 |
//! | `streams` | requests on their way, and their deadlines | RFC 9113, 5.1 |
//! | `protocol` | a connection without its socket | |
//! | `send` | what may be written, and in which order | RFC 9113, 5.1.2, 5.2 |
//! | `receive` | what each frame of the peer means | RFC 9113, 5, 6 and 8 |
//! | `inbox` | where senders and the task meet | |
//! | `driver` | the task that owns the socket | |
//!
//! What it promises is the same as the other engine's (`library`): a request of which nothing was handed
//! to the socket, that was refused, or that a GOAWAY excludes is [`NotSent`](super::NotSent); every other
//! one without an answer is [`Ambiguous`](super::Ambiguous). What it does not do: other methods, bodies that
//! stream, pushes, priorities, answers beyond 8 KiB, the headers of a plain 200.
//!
//! No peer can make it grow: answers are cut, windows are fixed, header blocks end after 32 KiB, replies to
//! the peer's own frames are counted while they wait, and nothing new is written while 64 KiB wait.

#[cfg(feature = "counted")]
pub(crate) mod counted;
mod decode;
mod driver;
#[cfg(test)]
mod driver_tests;
mod encode;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod huffman;
mod inbox;
mod protocol;
#[cfg(test)]
mod protocol_tests;
mod receive;
mod send;
mod streams;
mod table;
mod wire;

pub(super) use self::{driver::Driver, inbox::Handle};
