//! When what was sent in `load_only`, told apart by the message's title: a campaign has one.
//!
//! Counts stand in bins of a tenth of a second by the sandbox's clock, so that a rate over time, and how
//! campaigns share it, can be told without a ledger of every send.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

/// Microseconds in a bin.
const BIN_US: i64 = 100_000;
/// Bins that are kept: over an hour and a half.
const MOST_BINS: usize = 60_000;
/// Titles that are told apart; what comes later goes under no title.
const MOST_TITLES: usize = 1_000;

/// Accepted and limited sends over time.
#[derive(Debug, Default)]
pub(crate) struct Timeline(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    /// When the first bin begins.
    from_us: Option<i64>,
    titles: BTreeMap<String, Row>,
}

#[derive(Debug, Default)]
struct Row {
    first_us: i64,
    last_us: i64,
    accepted: Vec<u32>,
    limited: Vec<u32>,
}

impl Timeline {
    /// A send with this body came at `now_us`.
    pub(crate) fn count(&self, body: &[u8], now_us: i64, accepted: bool) {
        let mut taken = self.taken();
        let from_us = *taken.from_us.get_or_insert(now_us);
        let bin = usize::try_from((now_us - from_us) / BIN_US).unwrap_or(0);
        if bin >= MOST_BINS {
            return;
        }
        let title = title(body);
        if !taken.titles.contains_key(title) {
            let title = if taken.titles.len() < MOST_TITLES {
                title
            } else {
                ""
            };
            taken.titles.entry(title.to_owned()).or_default();
        }
        let title = if taken.titles.contains_key(title) {
            title
        } else {
            ""
        };
        let Some(row) = taken.titles.get_mut(title) else {
            return;
        };
        let bins = if accepted {
            &mut row.accepted
        } else {
            &mut row.limited
        };
        if bins.len() <= bin {
            bins.resize(bin + 1, 0);
        }
        bins[bin] += 1;
        if accepted {
            if row.first_us == 0 {
                row.first_us = now_us;
            }
            row.last_us = now_us;
        }
    }

    /// For the control API.
    pub(crate) fn read(&self) -> Value {
        let taken = self.taken();
        let titles: serde_json::Map<String, Value> = taken
            .titles
            .iter()
            .map(|(title, row)| {
                let about = json!({
                    "first_us": row.first_us,
                    "last_us": row.last_us,
                    "accepted": row.accepted,
                    "limited": row.limited,
                });
                (title.clone(), about)
            })
            .collect();
        json!({ "from_us": taken.from_us.unwrap_or(0), "bin_ms": BIN_US / 1_000, "titles": titles })
    }

    pub(crate) fn clear(&self) {
        *self.taken() = Taken::default();
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first title in a body, as it is written there; "" without one.
fn title(body: &[u8]) -> &str {
    const KEY: &[u8] = br#""title":""#;
    let found = body.windows(KEY.len()).position(|window| window == KEY);
    let rest = found.map_or(&[][..], |at| &body[at + KEY.len()..]);
    let end = rest.iter().position(|byte| *byte == b'"').unwrap_or(0);
    std::str::from_utf8(&rest[..end]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_are_told_apart_by_title_and_time() {
        let timeline = Timeline::default();
        let (one, other) = (
            br#"{"message":{"token":"t","notification":{"title":"One","body":"b"}}}"#,
            br#"{"aps":{"alert":{"body":"b","title":"Other"}}}"#,
        );
        timeline.count(one, 1_000_000, true);
        timeline.count(one, 1_099_999, true);
        timeline.count(one, 1_100_000, false);
        timeline.count(other, 1_350_000, true);
        timeline.count(b"{}", 1_350_000, true);
        let read = timeline.read();
        assert_eq!(read["from_us"], 1_000_000);
        assert_eq!(read["titles"]["One"]["accepted"], json!([2]));
        assert_eq!(read["titles"]["One"]["limited"], json!([0, 1]));
        assert_eq!(read["titles"]["One"]["last_us"], 1_099_999);
        assert_eq!(read["titles"]["Other"]["accepted"], json!([0, 0, 0, 1]));
        assert_eq!(read["titles"][""]["accepted"], json!([0, 0, 0, 1]));
        timeline.clear();
        assert_eq!(timeline.read()["titles"], json!({}));
    }

    #[test]
    fn titles_beyond_the_most_go_under_none() {
        let timeline = Timeline::default();
        for n in 0..MOST_TITLES + 5 {
            let body = format!(r#"{{"title":"{n}"}}"#);
            timeline.count(body.as_bytes(), 1, true);
            timeline.count(body.as_bytes(), 1, true);
        }
        assert_eq!(timeline.read()["titles"][""]["accepted"], json!([10]));
        assert_eq!(timeline.read()["titles"]["0"]["accepted"], json!([2]));
    }
}
