//! MongoDB, and nothing above it: the only crate that knows what a document looks like.
//!
//! A repository is a small struct over one or two collections, made from [`Store`], cheap to clone.
//! It takes and gives domain types; times, randomness and limits are arguments. No call goes without
//! an app, unless the thing is app-less by nature.
//!
//! | collection | written by | repository |
//! | --- | --- | --- |
//! | `apps`, `keys` | `jraze keys`, first start | [`apps`], [`keys`] |
//! | `counters` | whoever makes something numbered | [`counters`] |
//! | `devices` | API server; result worker (dead tokens) | [`devices`] |
//! | `property_catalogue` | API server, when it sees a new key or type | [`property_catalogue`] |
//! | `notifications` | API server and its planner; closing by the result worker | [`notifications`] |
//! | `dispatch_units` | planner, worker | [`dispatch`] |
//! | `windows` | worker, result worker | [`dispatch`] |
//! | `send_log`, `tallies`, `tally_heads` | API server, for the internal operations; old log entries go by the result worker | [`send_log`], [`tallies`] |
//! | `idempotency` | API server, around requests that may be repeated | [`idempotency`] |
//! | `workers` | worker, while it is there | [`fleet`] |
//! | `migrations` | every process at its start | [`migrations`] |
//!
//! Reading an audience is [`audience_filter`] (THE COMPILE) and [`audience_stream`].
//!
//! # Rules
//!
//! 1. Values never become operators: filters are built from typed trees, values are wrapped in `$eq`
//!    and its kin, keys come through a grammar. There is no `$where`, and no text of a client in a
//!    regular expression.
//! 2. A transition is an update with the expected state in its filter; matching nothing is an answer
//!    the caller must handle, never silence.
//! 3. Computed ids instead of transactions: a step done twice meets its own document.
//! 4. Reading tolerates unknown fields, because versions run side by side during an upgrade.
//! 5. A dropped future throws its connection away, so work that others wait for runs in its own task.
//!
//! # Adding a repository
//!
//! A file with its story; `pub(crate) const COLLECTION`; private document types with a conversion that
//! names the field when it fails ([`StorageError::Corrupt`]); its indexes in `indexes.rs` with a
//! reason and a migration; tests over [`test_util::TestDatabase`](crate::test_util); a row above.

pub mod apps;
mod audience_estimate;
pub mod audience_filter;
pub mod audience_stream;
pub mod connect;
#[cfg(feature = "counted")]
pub mod counted;
pub mod counters;
pub mod devices;
pub mod dispatch;
pub mod error;
pub mod fleet;
mod gather;
pub mod idempotency;
pub mod indexed_properties;
mod indexes;
pub mod keys;
pub mod migrations;
pub mod notifications;
mod packing;
pub mod property_catalogue;
pub mod send_log;
pub mod tallies;
#[cfg(any(test, feature = "test-util"))]
pub mod test_util;
mod time;

pub use connect::{MongoSettings, Store};
pub use error::StorageError;
pub use mongodb::bson::oid::ObjectId;
