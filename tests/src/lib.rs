//! What the black-box tests stand on: the built `jraze` binary, a real MongoDB and the sandbox.
//!
//! | module | is |
//! | --- | --- |
//! | [`ports`] | ports for servers that are told theirs |
//! | [`stack`] | starts `jraze` processes, as one (`jraze dev`) or one per role, and stops them |
//! | [`campaign`] | registers, launches and waits |
//! | [`client`] | calls the API and the sandbox's ledger |
//! | [`population`] | devices, and who of them should be sent to, worked out apart from jraze |
//! | [`eventually`] | waits for something to become true, and says what was true instead |
//!
//! A test names the rule it holds. Nothing here retries a flaky test.

pub mod campaign;
pub mod client;
pub mod eventually;
pub mod population;
pub mod ports;
pub mod stack;
