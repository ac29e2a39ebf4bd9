//! The sandbox's clock: the one it was given, moved by an offset.
//!
//! Token lifetimes are an hour, which no test wants to wait. `PUT /clock` moves the sandbox into the
//! future instead, and everything that expires, expires.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use chrono::{DateTime, SecondsFormat, TimeZone, Utc};
use jraze_runtime::clock::Clock as Base;

/// Time as the sandbox sees it.
#[derive(Debug)]
pub(crate) struct Clock {
    base: Arc<dyn Base>,
    offset_ms: AtomicI64,
}

impl Clock {
    pub(crate) fn new(base: Arc<dyn Base>) -> Self {
        Self {
            base,
            offset_ms: AtomicI64::new(0),
        }
    }

    /// Microseconds since 1970.
    pub(crate) fn now_us(&self) -> i64 {
        self.base.now().timestamp_micros() + self.offset_ms.load(Ordering::Relaxed) * 1000
    }

    /// Seconds since 1970.
    pub(crate) fn now_s(&self) -> i64 {
        self.now_us() / 1_000_000
    }

    /// The offset, in milliseconds.
    pub(crate) fn offset_ms(&self) -> i64 {
        self.offset_ms.load(Ordering::Relaxed)
    }

    /// Moves the clock to `offset_ms` milliseconds from the one below it.
    pub(crate) fn set_offset_ms(&self, offset_ms: i64) {
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
    }
}

/// Microseconds since 1970 as RFC 3339 in UTC with milliseconds.
pub(crate) fn rfc3339(us: i64) -> String {
    Utc.timestamp_micros(us)
        .single()
        .unwrap_or(DateTime::UNIX_EPOCH)
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}
