//! Process plumbing, kept thin.
//!
//! What every role needs and no role should write twice: reading the configuration, logging,
//! stopping in good order, asking for the time, waiting between attempts, and the loop that leases
//! jobs and runs them. Rule of admission: used by two crates *and* describable without a business
//! word. Nothing in here knows a push, a campaign or MongoDB.
//!
//! | module | question it answers |
//! | --- | --- |
//! | [`config`] | what did the operator ask for, and what was mistyped? |
//! | [`config_reference`] | which keys exist? (generates the page of the documentation) |
//! | [`telemetry`] | where do log lines go, and in which shape? |
//! | [`lifecycle`] | when must I stop, and who is still working? |
//! | [`clock`] | what time is it? |
//! | [`backoff`] | how long do I wait before the next attempt? |
//! | [`job_driver`] | how do I keep N jobs running until told to stop? |

pub mod backoff;
pub mod clock;
pub mod config;
pub mod config_reference;
pub mod job_driver;
pub mod lifecycle;
pub mod telemetry;
