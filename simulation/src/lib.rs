//! The delivery protocol, run some thousand times a minute with everything going wrong.
//!
//! The worker in here is the real one ([`jraze_worker::run_in`]), with its job driver, heartbeats, gates
//! and retries. Around it everything is in memory: the queue (`memory.rs`, the compare-and-set rules of
//! `jraze_storage::dispatch`, held to them by `conformance.rs` on a real server), the audience, the
//! campaign, the log, and a provider with a ledger and phone trays. Time is paused and moves only when
//! everybody waits; one seed decides every latency, fault and choice. So a seed is a whole history, and the
//! same seed is the same history: its trace has the same hash.
//!
//! # What goes wrong
//!
//! - a call to the database fails and was not made; or was made; or is made seconds after it failed;
//! - a request to the provider is refused in passing, cannot be sent, is never answered (taken or not), or
//!   meets a refused credential;
//! - a worker is killed with all its tasks, wherever they wait, while what it had sent is still on the
//!   way; it comes back under another name;
//! - a worker is cut off for longer than its lease and then goes on where it stood, also between its last
//!   look at the lease and the request;
//! - a worker is told to stop, and does in good order;
//! - the internal endpoint fails before or after it logged;
//! - counts are raised and the window is not marked; two result workers count at once;
//! - a person pauses, resumes and cancels; devices go.
//!
//! Then everything heals, and the campaign has to come to its end.
//!
//! # What must hold
//!
//! While it runs:
//!
//! 1. *Claim before send.* Each request about a device has a claim or a takeover of a claimed window of its
//!    own.
//! 2. *Fencing.* No write under an epoch matches once a later holder has taken the unit (its lease) or the
//!    window (its results) over.
//! 3. *Only what broke is repeated.* A claimed window is taken over only from a worker that something
//!    happened to.
//! 4. *Canceled is canceled.* A worker that has seen the cancel sends nothing more.
//! 5. *A batch is a batch.* What is logged or counted again under the same id is the same.
//!
//! At the end:
//!
//! 6. *Nobody lost, nobody twice.* Every device of the audience has exactly one final outcome; of a canceled
//!    campaign, every device that was sent to, and the others at most one. Nobody outside the audience is
//!    sent to.
//! 7. *One entry in the tray*, under one collapse identity.
//! 8. *Bounded repeats.* Requests about a device are at most one, plus its faults: passing refusals and
//!    missing answers for it, and takeovers of its claimed window. Without faults there is exactly one.
//! 9. *Counts are the ledger's.* Accepted means that the provider took it. Whatever the provider took is
//!    counted as accepted or unknown; totals and log say the same as the windows.
//! 10. *It ends.* After everything healed the campaign is over within one lease and the longest waits.
//!
//! # Running it
//!
//! ```text
//! cargo test -p jraze-simulation                                               1,000 seeds
//! JRAZE_SIM_SEEDS=100000 cargo test -p jraze-simulation --test simulation -- --nocapture
//! JRAZE_SIM_SEED=4711 cargo test -p jraze-simulation --test simulation -- --nocapture     one, with its trace
//! ```
//!
//! A seed that fails is written into `seeds.txt`, which is run first by everybody from then on.
//!
//! Counting is the simulation's own model of the result worker, step by step as the real one does it.
