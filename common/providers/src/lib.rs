//! FCM and APNs: the only place that talks to them.
//!
//! A worker asks a [`ProviderSet`] for the [`Provider`] of an app and a send platform, prepares one
//! campaign's message per device platform ([`Provider::prepare`]: mapping, size check, serialised
//! once), and then sends it to token after token ([`Provider::send`]). A send has no error: whatever
//! happens becomes an [`Outcome`](jraze_domain::dispatch::Outcome), because every failure means
//! something for the delivery, for the device or for whoever should hold back.
//!
//! Both providers have a folder with the same files:
//!
//! | file | is |
//! | --- | --- |
//! | `settings` | what stands in the configuration |
//! | `auth` | the token that opens the door, and when a new one may be had |
//! | `message` | a message as the provider expects it for each platform |
//! | `classify` | **the table**: the only place where an answer becomes an outcome |
//! | `client` | the path of one send through the four above |
//!
//! Below both lies one HTTP/2 client, [`transport`]. The crates `fcm` (firebae-cm) and `a2` (apns-h2)
//! give the message types and the names of errors, nothing more.
//!
//! To add a provider, add a folder with these files, a variant to [`Provider`], [`Prepared`] and
//! [`CredentialSettings`], and a row to the table of `docs/src/reference/providers.md`.
//!
//! # Times
//! A send takes at most twice `transport.request_timeout` (20 s by default), resends included, so that
//! a worker knows when nothing of its own can be in flight any more.

pub mod apns;
#[cfg(feature = "counted")]
pub mod counted;
mod credential;
pub mod fcm;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod jitter;
mod octets;
mod pressure;
mod provider;
mod retry_after;
mod set;
#[cfg(test)]
mod test_contents;
pub mod transport;
mod verdict;

pub use self::{
    credential::{CredentialError, CredentialProblem, CredentialSettings},
    jitter::Jitter,
    pressure::{Pressure, pressure},
    provider::{Environment, PayloadError, Prepared, Provider},
    retry_after::retry_after,
    set::ProviderSet,
    verdict::{Remedy, Verdict, reason},
};
