//! Firebase Cloud Messaging, HTTP v1.
//!
//! One message per request; an OAuth access token of a service account opens the door. The default
//! quota is 600,000 messages a minute and project; FCM allows 100 streams on a connection.

mod auth;
pub mod classify;
mod client;
mod message;
mod settings;

pub use self::{
    client::Client,
    message::{MAX_PAYLOAD, Prepared},
    settings::FcmSettings,
};
