//! The contract of jraze: what can be asked over HTTP, and what is answered.
//!
//! This crate owns the paths, the objects on the wire, the failures and the document. It knows
//! nothing of MongoDB or of the domain: the server implements the [ports](api), and anybody else
//! (the workers, a dashboard, tests) can use the same types without dragging in the server.
//!
//! - [`dto`] holds the objects, [`api`] the operations and their ports.
//! - [`answer`] is the envelope around every result; [`dto::error`] the one around every failure.
//! - [`paths`] makes `:add`, `notification:add` and `/devices/` literal.
//! - [`spec`] prints the document and mounts the API; [`stub`] are the ports it is printed from.
//! - [`client`] (feature `client`) calls the internal endpoints with the same types.
//!
//! # What is promised
//!
//! Paths, field names, enum values and meanings stay. New operations, new optional fields and new
//! failure codes may come; a client ignores what it does not know.
//!
//! # How to add an operation
//!
//! 1. Its objects in `dto/`, with `#[oai(example)]`; the result's line in `answer.rs`.
//! 2. A method in the port and one in the API struct in `api/`, one in `stub.rs`.
//! 3. `make generate`, and its path in `tests/document.rs`.

pub mod answer;
pub mod api;
pub mod body;
#[cfg(feature = "client")]
pub mod client;
pub mod dto;
pub mod paths;
pub mod security;
pub mod spec;
pub mod stub;
