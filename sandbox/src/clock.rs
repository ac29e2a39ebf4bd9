//! The sandbox's clock: the system's, moved by an offset.
//!
//! Token lifetimes are an hour, which no test wants to wait. `PUT /clock` moves the sandbox into the
//! future instead, and everything that expires, expires.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use chrono::{DateTime, SecondsFormat, TimeZone, Utc};

/// Time as the sandbox sees it.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    offset_ms: AtomicI64,
}

impl Clock {
    /// Microseconds since 1970.
    pub(crate) fn now_us(&self) -> i64 {
        // The one place where the sandbox reads the time.
        let system = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_micros() as i64);
        system + self.offset_ms.load(Ordering::Relaxed) * 1000
    }

    /// Seconds since 1970.
    pub(crate) fn now_s(&self) -> i64 {
        self.now_us() / 1_000_000
    }

    /// The offset to the system's time, in milliseconds.
    pub(crate) fn offset_ms(&self) -> i64 {
        self.offset_ms.load(Ordering::Relaxed)
    }

    /// Moves the clock to `offset_ms` milliseconds from the system's time.
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
