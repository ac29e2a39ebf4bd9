//! All of it, for one engine: the module is there once for each, and `rig` asks which one it is.

mod apns;
mod connections;
mod fcm;
mod peer;
mod rig;
mod settings;
mod transport;
