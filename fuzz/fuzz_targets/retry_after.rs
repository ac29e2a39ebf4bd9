//! Retry-After: whatever the header holds, the wait is between a second and an hour, or there is none.
//!
//! Input: the header's bytes; a second line, if any, is the time it is now.
#![no_main]

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderValue, header::RETRY_AFTER};
use jraze_providers::retry_after;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let (text, now) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let Ok(value) = HeaderValue::from_bytes(text) else {
        return;
    };
    let now = std::str::from_utf8(now).ok().and_then(|now| now.parse().ok());
    let now: DateTime<Utc> =
        now.unwrap_or_else(|| DateTime::from_timestamp(1_795_251_600, 0).expect("a time"));
    let headers = HeaderMap::from_iter([(RETRY_AFTER, value)]);
    for now in [now, DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
        let wait = retry_after(&headers, now);
        if let Some(wait) = wait {
            assert!(
                (Duration::from_secs(1)..=Duration::from_secs(3_600)).contains(&wait),
                "{wait:?}"
            );
        }
        // Plain digits are seconds; only zero is no wish.
        let digits = text.trim_ascii();
        if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
            let seconds = digits.iter().fold(0_u64, |sum, digit| {
                sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
            });
            let expected = (seconds > 0).then(|| Duration::from_secs(seconds.min(3_600)));
            assert_eq!(wait, expected);
        }
    }
});
