//! The providers against the sandbox, over real TLS and HTTP/2.
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

mod apns;
mod connections;
mod fcm;
mod peer;
mod rig;
mod settings;
mod transport;
