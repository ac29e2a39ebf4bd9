//! The Retry-After header (RFC 9110, 10.2.3), cleaned of absurd values.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use http::{HeaderMap, header};

/// The shortest wait that is honoured; less becomes this.
pub(crate) const SHORTEST: Duration = Duration::from_secs(1);
/// The longest wait that is honoured; more becomes this.
pub(crate) const LONGEST: Duration = Duration::from_secs(3_600);

/// The three ways in which RFC 9110 writes a date.
const DATES: [&str; 3] = [
    "%a, %d %b %Y %H:%M:%S GMT",
    "%A, %d-%b-%y %H:%M:%S GMT",
    "%a %b %e %H:%M:%S %Y",
];

/// The wait that the headers ask for, between [`SHORTEST`] and [`LONGEST`].
///
/// Garbage, zero, a negative number and a time that is not ahead count as no wish at all.
pub fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a wish for a long time, not garbage.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let at = DATES
            .iter()
            .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())?;
        (at.and_utc() - now).to_std().ok()?
    };
    (!wait.is_zero()).then(|| wait.clamp(SHORTEST, LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn wait(text: &str) -> Option<u64> {
        let now = "2026-10-21T07:28:00Z".parse().expect("a time");
        let mut headers = HeaderMap::new();
        headers.insert(
            header::RETRY_AFTER,
            HeaderValue::from_bytes(text.as_bytes()).expect("a header"),
        );
        retry_after(&headers, now).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_are_taken_as_they_are() {
        assert_eq!(wait("7"), Some(7));
        assert_eq!(wait(" 120 "), Some(120));
    }

    #[test]
    fn a_date_is_the_time_until_then() {
        assert_eq!(wait("Wed, 21 Oct 2026 07:29:30 GMT"), Some(90));
        assert_eq!(wait("Wednesday, 21-Oct-26 07:29:30 GMT"), Some(90));
        assert_eq!(wait("Wed Oct 21 07:29:30 2026"), Some(90));
    }

    #[test]
    fn garbage_zero_negative_and_past_count_as_absent() {
        for text in [
            "",
            "0",
            "-5",
            "abc",
            "7.5",
            "1e3",
            "7s",
            "Wed, 21 Oct 2026 07:28:00 GMT",
            "\u{fffd}",
        ] {
            assert_eq!(wait(text), None, "{text}");
        }
        assert_eq!(wait("Mon, 21 Oct 1996 07:28:00 GMT"), None);
        assert_eq!(
            wait("Thu, 21 Oct 2026 07:29:30 GMT"),
            None,
            "that day is a Wednesday"
        );
        assert_eq!(retry_after(&HeaderMap::new(), DateTime::UNIX_EPOCH), None);
    }

    #[test]
    fn absurd_waits_are_cut_to_an_hour() {
        assert_eq!(wait("315360000"), Some(3_600));
        assert_eq!(wait("99999999999999999999999999"), Some(3_600));
        assert_eq!(wait("Sat, 21 Oct 2036 07:28:00 GMT"), None, "a Tuesday");
        assert_eq!(wait("Tue, 21 Oct 2036 07:28:00 GMT"), Some(3_600));
    }
}
