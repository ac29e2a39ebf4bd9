//! The rules of sending: how an audience is cut into work, what an answer means, when to try again.
//!
//! A *partition* is a range of the devices' storage order; a *window* is some hundred devices of it
//! that are claimed, sent and recorded together; an *outcome* is what one send came to; a *tally* is
//! the sum of outcomes that goes into a notification's counts.

pub mod brake;
pub mod outcome;
pub mod plan;
pub mod retry;
pub mod tally;

pub use brake::{Brake, Evidence, Tripped};
pub use outcome::{Delivery, DeviceEffect, Hold, Outcome, Reason, Scope};
pub use plan::{BucketRange, partitions};
pub use retry::RetryPolicy;
pub use tally::{Sent, Tally};
