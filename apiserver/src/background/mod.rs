//! What the API server does besides answering.

pub(crate) mod planner;
