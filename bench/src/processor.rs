//! Processor time and memory of everything that takes part in a run.

use std::path::Path;
use std::time::Duration;

use jraze_tests::stack::{MONGODB_URI, Process, Roles};
use serde::{Deserialize, Serialize};

/// Time on processors, of each role.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    worker: Duration,
    apiserver: Duration,
    result_worker: Duration,
    sandbox: Duration,
    mongod: Option<Duration>,
}

/// The same for each device, in microseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct PerDevice {
    pub(crate) worker_us: f64,
    pub(crate) apiserver_us: f64,
    pub(crate) result_worker_us: f64,
    /// The pretend FCM and APNs, with TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sandbox_us: Option<f64>,
    /// Where the database server runs on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mongod_us: Option<f64>,
}

impl Spent {
    /// So far.
    pub(crate) fn by(stack: &Roles) -> Self {
        let of = |process: &Process| process.cpu_time().unwrap_or_default();
        Self {
            worker: of(&stack.worker),
            apiserver: of(&stack.apiserver),
            result_worker: of(&stack.result_worker),
            sandbox: of(&stack.sandbox),
            mongod: mongod(),
        }
    }

    /// The worker's alone.
    pub(crate) fn worker(&self) -> Duration {
        self.worker
    }

    /// Between two moments, for each of `devices`.
    pub(crate) fn until(self, later: Self, devices: u64) -> PerDevice {
        let each = |before: Duration, after: Duration| {
            after.saturating_sub(before).as_secs_f64() * 1e6 / devices.max(1) as f64
        };
        PerDevice {
            worker_us: each(self.worker, later.worker),
            apiserver_us: each(self.apiserver, later.apiserver),
            result_worker_us: each(self.result_worker, later.result_worker),
            sandbox_us: Some(each(self.sandbox, later.sandbox)),
            mongod_us: self.mongod.zip(later.mongod).map(|(a, b)| each(a, b)),
        }
    }
}

/// Of the database server that is asked, when it is a process of this machine: the one whose command line
/// has the port.
fn mongod() -> Option<Duration> {
    let uri = std::env::var(MONGODB_URI).ok()?;
    let port = port(&uri)?;
    let folders = std::fs::read_dir("/proc").ok()?.flatten();
    let found = folders.map(|folder| folder.path()).find(|folder| {
        let line = std::fs::read(folder.join("cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0);
        words.next().is_some_and(|program| program.ends_with(b"mongod"))
            && words.any(|word| word == port.as_bytes())
    })?;
    ticks(&found)
}

/// `mongodb://127.0.0.1:27999/?replicaSet=rs0`
fn port(uri: &str) -> Option<&str> {
    let hosts = uri.strip_prefix("mongodb://")?;
    let hosts = hosts.split(['/', '?']).next()?;
    hosts.rsplit_once(':').map(|(_, port)| port)
}

/// Of the process that a folder of `/proc` is about.
pub(crate) fn ticks(folder: &Path) -> Option<Duration> {
    let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_an_address() {
        assert_eq!(port("mongodb://127.0.0.1:27999/?replicaSet=rs0"), Some("27999"));
        assert_eq!(port("mongodb://db"), None);
    }

    #[test]
    fn the_time_of_this_very_process_is_read() {
        assert!(ticks(Path::new("/proc/self")).is_some());
    }
}
