//! The providers against the sandbox, over real TLS and HTTP/2, and all of it with either HTTP/2 engine.
//!
//! | module | holds |
//! | --- | --- |
//! | `fcm` | every row of the FCM table, access tokens, what arrives |
//! | `apns` | every row of the APNs table, provider tokens, what arrives |
//! | `transport` | streams, and everything that can break one |
//! | `connections` | reaching a host, keeping a connection, giving one up |
//! | `settings` | credentials that cannot be used, refused with the reason |
//!
//! Below them, `rig` starts a sandbox with both providers configured for it, and `peer` is a server
//! that misbehaves in ways that no sandbox would.

#[path = "suite.rs"]
mod frames;
#[path = "suite.rs"]
#[expect(clippy::duplicate_mod, reason = "the same tests hold for both engines")]
mod h2;
