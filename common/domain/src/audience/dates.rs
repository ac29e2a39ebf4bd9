//! Dates in conditions: days, instants and relative dates, and the boundaries they become.
//!
//! Apps write dates as text properties, because JSON has no date. Such text takes part in
//! `date_*` only in one exact shape: `YYYY-MM-DD`, or `YYYY-MM-DDTHH:MM:SS[.f]Z` in UTC. Text of
//! that shape sorts as time does, so a comparison is a comparison of text, which a database can do.
//!
//! An operand stands for a span: a day, or one second (a fraction of a second is dropped). Then
//!
//! | operator | true when the property is |
//! | --- | --- |
//! | `date_gte d` | at or after the start of d |
//! | `date_lt d` | before the start of d |
//! | `date_lte d` | before the start of what follows d |
//! | `date_gt d` | at or after the start of what follows d |
//!
//! so each needs one half-open boundary. The text of a boundary drops what would sort wrong: the
//! trailing `Z`, so that `10:00:00Z` and `10:00:00.5Z` both sort at or after `10:00:00`; and
//! midnight, so that the day `2026-03-01` is at its own midnight and not before it.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, TimeDelta, Timelike, Utc};

/// The shape of a text that is a date, as a regular expression both for documents and for MongoDB
/// (`\z` and `[0-9]`, because `$` and `\d` mean more than they seem to).
pub const INSTANT_SHAPE: &str =
    r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z)?\z";

/// Farthest that a relative date may reach, in days either way: a hundred years.
const MAX_RELATIVE_DAYS: i64 = 36_525;

/// Whether a text has [`INSTANT_SHAPE`].
pub fn is_date_text(text: &str) -> bool {
    let bytes = text.as_bytes();
    let like = |part: &[u8], shape: &[u8]| {
        part.len() == shape.len()
            && part.iter().zip(shape).all(|(byte, expected)| match expected {
                b'0' => byte.is_ascii_digit(),
                other => byte == other,
            })
    };
    let Some((day, rest)) = bytes.split_at_checked(10) else {
        return false;
    };
    if !like(day, b"0000-00-00") {
        return false;
    }
    match rest {
        [] => true,
        [time @ .., b'Z'] if time.len() >= 9 => {
            let (clock, fraction) = time.split_at(9);
            like(clock, b"T00:00:00")
                && match fraction {
                    [] => true,
                    [b'.', digits @ ..] => {
                        (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
                    }
                    _ => false,
                }
        }
        _ => false,
    }
}

/// The operators of dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateRelation {
    /// After the operand.
    Gt,
    /// After or within the operand.
    Gte,
    /// Before the operand.
    Lt,
    /// Before or within the operand.
    Lte,
}

/// The value of a `date_*` comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateOperand {
    /// A whole day, UTC: `2026-11-21`.
    Day(NaiveDate),
    /// One second: `2026-11-21T09:00:00Z`.
    Instant(DateTime<Utc>),
    /// The second that lies so far from the time of evaluation: `now`, `now-7d`, `now+12h`.
    Relative(TimeDelta),
}

impl DateOperand {
    /// Reads an operand; `None` when the text is none of its forms.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(offset) = text.strip_prefix("now") {
            return parse_offset(offset).map(Self::Relative);
        }
        if !is_date_text(text) {
            return None;
        }
        if text.len() == 10 {
            return NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(Self::Day);
        }
        let instant = DateTime::parse_from_rfc3339(text).ok()?;
        // A leap second (:60) is read as the second before it, which chrono keeps as a fraction.
        instant
            .with_nanosecond(0)
            .map(|instant| Self::Instant(instant.to_utc()))
    }

    /// The one boundary that the comparison needs, at the time of evaluation.
    pub fn boundary(self, relation: DateRelation, now: DateTime<Utc>) -> Boundary {
        let (start, following) = match self {
            Self::Day(day) => {
                let midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
                (Some(midnight(day)), day.succ_opt().map(midnight))
            }
            Self::Instant(instant) => second(Some(instant)),
            Self::Relative(offset) => second(now.checked_add_signed(offset)),
        };
        let (at_or_after, at) = match relation {
            DateRelation::Gte => (true, start),
            DateRelation::Lt => (false, start),
            DateRelation::Lte => (false, following),
            DateRelation::Gt => (true, following),
        };
        Boundary {
            at_or_after,
            at: at.unwrap_or(DateTime::<Utc>::MAX_UTC),
        }
    }
}

/// The second that an instant lies in, and the next one.
fn second(instant: Option<DateTime<Utc>>) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
    let start = instant.and_then(|instant| instant.with_nanosecond(0));
    let following = start.and_then(|start| start.checked_add_signed(TimeDelta::seconds(1)));
    (start, following)
}

/// `""`, `-7d`, `+12h`; units s m h d w.
fn parse_offset(text: &str) -> Option<TimeDelta> {
    if text.is_empty() {
        return Some(TimeDelta::zero());
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("-", rest) => (-1, rest),
        ("+", rest) => (1, rest),
        _ => return None,
    };
    let unit_at = rest.len().checked_sub(1)?;
    let (digits, unit) = rest.split_at_checked(unit_at)?;
    if digits.is_empty() || digits.len() > 10 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: i64 = sign * digits.parse::<i64>().ok()?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    let offset = TimeDelta::try_seconds(amount.checked_mul(seconds)?)?;
    (offset.num_days().abs() <= MAX_RELATIVE_DAYS).then_some(offset)
}

/// One end of a half-open range of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boundary {
    /// True: at the boundary or after it. False: before it.
    pub at_or_after: bool,
    /// Where, at a whole second.
    pub at: DateTime<Utc>,
}

impl Boundary {
    /// Whether an instant lies on the wanted side.
    pub fn accepts(self, instant: DateTime<Utc>) -> bool {
        (instant >= self.at) == self.at_or_after
    }

    /// Whether a text of [`INSTANT_SHAPE`] lies on the wanted side.
    pub fn accepts_text(self, text: &str) -> bool {
        (text >= self.text().as_str()) == self.at_or_after
    }

    /// The boundary as text that sorts rightly against text of [`INSTANT_SHAPE`].
    pub fn text(self) -> String {
        match self.at.year() {
            // Years that four digits cannot write lie before or behind every text of the shape.
            ..=-1 => String::new(),
            0..=9999 if self.at.num_seconds_from_midnight() == 0 => self.at.format("%Y-%m-%d").to_string(),
            0..=9999 => self.at.format("%Y-%m-%dT%H:%M:%S").to_string(),
            _ => ":".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    #[test]
    fn only_the_exact_shape_is_a_date() {
        for good in [
            "2026-11-21",
            "2026-11-21T09:00:00Z",
            "2026-11-21T09:00:00.5Z",
            "2026-11-21T09:00:00.123456789Z",
            "9999-99-99", // a shape, not a calendar
        ] {
            assert!(is_date_text(good), "{good}");
        }
        for bad in [
            "",
            "2026-11-2",
            "2026-11-211",
            "2026-11-21T",
            "2026-11-21T09:00Z",
            "2026-11-21 09:00:00Z",
            "2026-11-21T09:00:00",
            "2026-11-21T09:00:00+01:00",
            "2026-11-21T09:00:00.Z",
            "2026-11-21T09:00:00.1234567890Z",
            "2026-11-21\n",
            "2026-11-21Z",
            "２026-11-21",
            "2026-11-2ä",
        ] {
            assert!(!is_date_text(bad), "{bad:?}");
        }
    }

    #[test]
    fn operands_are_days_instants_and_relative_dates() {
        let relative = |delta| Some(DateOperand::Relative(delta));
        assert_eq!(DateOperand::parse("now"), relative(TimeDelta::zero()));
        assert_eq!(DateOperand::parse("now-7d"), relative(TimeDelta::days(-7)));
        assert_eq!(DateOperand::parse("now+12h"), relative(TimeDelta::hours(12)));
        assert_eq!(DateOperand::parse("now-2w"), relative(TimeDelta::weeks(-2)));
        assert!(matches!(
            DateOperand::parse("2024-02-29"),
            Some(DateOperand::Day(_))
        ));
        for bad in [
            "",
            "now7d",
            "now-",
            "now-d",
            "now-7",
            "now-7y",
            "now--7d",
            "now-99999999999s",
            "now-9999999999w",
            "2026-02-29",
            "2026-13-01",
            "2026-11-21T25:00:00Z",
            "yesterday",
            "nowä",
            "now-ä",
        ] {
            assert_eq!(DateOperand::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn boundaries_are_half_open_at_the_granularity_of_the_operand() {
        use DateRelation::{Gt, Gte, Lt, Lte};
        let now = at("2026-11-21T09:00:00.750Z");
        let cases = [
            ("2026-11-21", Gte, true, "2026-11-21"),
            ("2026-11-21", Lt, false, "2026-11-21"),
            ("2026-11-21", Lte, false, "2026-11-22"),
            ("2026-11-21", Gt, true, "2026-11-22"),
            ("2026-11-21T09:00:00Z", Gte, true, "2026-11-21T09:00:00"),
            ("2026-11-21T09:00:00.9Z", Lte, false, "2026-11-21T09:00:01"),
            ("2026-11-21T23:59:59Z", Gt, true, "2026-11-22"),
            ("2026-11-21T00:00:00Z", Lt, false, "2026-11-21"),
            ("9999-12-31", Gt, true, ":"),
            ("now", Lte, false, "2026-11-21T09:00:01"),
            ("now-1d", Gte, true, "2026-11-20T09:00:00"),
        ];
        for (operand, relation, at_or_after, text) in cases {
            let boundary = DateOperand::parse(operand).unwrap().boundary(relation, now);
            assert_eq!(
                (boundary.at_or_after, boundary.text().as_str()),
                (at_or_after, text),
                "{operand} {relation:?}"
            );
        }
    }

    #[test]
    fn text_and_instants_fall_on_the_same_side() {
        use DateRelation::{Gt, Gte, Lt, Lte};
        let now = at("2026-11-21T09:00:00Z");
        let values = [
            "2026-11-20T23:59:59.999Z",
            "2026-11-21T00:00:00Z",
            "2026-11-21T00:00:00.001Z",
            "2026-11-21T09:00:00Z",
            "2026-11-21T09:00:00.5Z",
            "2026-11-21T09:00:01Z",
            "2026-11-22T00:00:00Z",
        ];
        for operand in [
            "2026-11-21",
            "2026-11-21T00:00:00Z",
            "2026-11-21T09:00:00Z",
            "now",
            "now-9h",
        ] {
            for relation in [Gt, Gte, Lt, Lte] {
                let boundary = DateOperand::parse(operand).unwrap().boundary(relation, now);
                for value in values {
                    assert_eq!(
                        boundary.accepts_text(value),
                        boundary.accepts(at(value)),
                        "{value} {relation:?} {operand}"
                    );
                }
            }
        }
        let midnight = DateOperand::parse("2026-11-21T00:00:00Z")
            .unwrap()
            .boundary(Gte, now);
        assert!(
            midnight.accepts_text("2026-11-21"),
            "a day is at its own midnight"
        );
    }
}
