//! What stands around every request.
//!
//! | from the outside in | does |
//! | --- | --- |
//! | [`trace`] | request id, one log line, headers that every answer carries |
//! | [`envelope`] | whatever went wrong further in, panics included, becomes an envelope |
//! | the router | finds the operation; what it does not know is 404 or 405 |
//! | [`admission`] | per operation: key and scope, size and time of the body, time of the answer |
//! | [`idempotency`] | where a client may repeat a request: that it is carried out once |

pub(crate) mod admission;
pub(crate) mod envelope;
pub(crate) mod idempotency;
pub(crate) mod trace;
