//! Apple Push Notification service, token based, over HTTP/2.
//!
//! One request per device token; a signed JWT of the team's key opens the door. It lives up to an
//! hour and may be replaced every 20 minutes at most. A new connection takes one request at a time
//! until Apple has accepted a token on it.

mod auth;
pub mod classify;
mod client;
mod message;
mod settings;

#[cfg(feature = "counted")]
pub(crate) use self::client::path;
pub use self::{
    client::Client,
    message::{MAX_PAYLOAD, Prepared},
    settings::ApnsSettings,
};
