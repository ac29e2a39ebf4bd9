//! The contract's ports, implemented: find out who asks, convert, call a service, convert.

pub(crate) mod devices;
pub(crate) mod health;
pub(crate) mod internal;
pub(crate) mod notifications;
