//! The parts of `jraze dev`; [`crate::commands::dev`] puts them together.

pub(crate) mod keys;
pub(crate) mod mongod;
pub(crate) mod mongod_binary;
mod private_file;
pub(crate) mod ready;
pub(crate) mod replica_set;
pub(crate) mod samples;
