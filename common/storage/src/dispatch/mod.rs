//! The work of campaigns: units, their leases, and the windows they are sent in.
//!
//! ```text
//! notification --plan--> units (partitions, retries)     one lease each: owner, epoch, expiry
//!                          |
//!                          +--claim--> windows            up to 2,000 devices, packed
//!                                        CLAIMED -> RECORDED -> SETTLED -> FOLDED
//! ```
//!
//! Three rules carry the whole protocol:
//!
//! 1. *Ids are computed.* A unit or window that is made a second time meets itself.
//! 2. *A claim counts once the unit says so.* A window is inserted first; only the compare-and-set on
//!    the unit (owner and epoch in the filter) that moves `next_sequence` past it makes it a claim, and
//!    nothing is sent before. A window at or beyond `next_sequence` was never sent.
//! 3. *Every later write names the epoch.* A worker that wakes up after its lease was taken over
//!    matches nothing and learns that it was fenced.
//!
//! Lease times are the database's (`$$NOW`); no worker's clock is asked.

mod gone;
mod units;
mod window_document;
mod windows;

pub use gone::{Answered, DeadOf};
pub use units::{Advance, Fenced, Retry, Unit, Units, Via, Work};
pub use windows::{ClaimedDevice, GoneToken, Settled, Window, WindowState, Windows};

pub(crate) use units::{COLLECTION as UNITS, ViaDocument};
pub(crate) use windows::COLLECTION as WINDOWS;
