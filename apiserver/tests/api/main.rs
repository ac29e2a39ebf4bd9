//! The API server over real sockets and a real MongoDB. One binary: linking it once is enough.

#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod bulk;
mod contract;
mod devices;
mod http;
mod idempotency;
mod internal;
mod keys;
mod notifications;
mod support;
