//! Numbers that compare as mathematics does.
//!
//! A device may hold `31` and a condition may ask for `31.0`, or the other way round, and ids of
//! 2^53 and beyond meet doubles that cannot hold them. Rounding the integer to a double, which is
//! what `as f64` does, would make different numbers equal. MongoDB compares a long with a double
//! exactly, so the evaluator must do the same: here is the one place that does it.

use std::cmp::Ordering;

use serde::Serialize;

/// A number of a property or of a condition's operand: an integer, or a double that is finite.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
pub enum Number {
    /// Any 64-bit signed integer.
    Int(i64),
    /// A finite double; [`Number::float`] refuses the others.
    Float(f64),
}

/// -2^63 as a double, exactly; 2^63 is its negation.
const MIN_AS_FLOAT: f64 = i64::MIN as f64;

impl Number {
    /// A double that is neither infinite nor NaN; `None` for those.
    pub fn float(value: f64) -> Option<Self> {
        value.is_finite().then_some(Self::Float(value))
    }

    /// The mathematical order of two numbers, whatever mix of integer and double they are.
    pub fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Int(left), Self::Int(right)) => left.cmp(&right),
            (Self::Float(left), Self::Float(right)) => {
                // Both are finite, so they have an order; -0.0 and 0.0 are equal in it.
                left.partial_cmp(&right).unwrap_or(Ordering::Equal)
            }
            (Self::Int(left), Self::Float(right)) => compare_mixed(left, right),
            (Self::Float(left), Self::Int(right)) => compare_mixed(right, left).reverse(),
        }
    }
}

impl PartialEq for Number {
    /// Equal as numbers: `Int(1)` is `Float(1.0)`.
    fn eq(&self, other: &Self) -> bool {
        self.compare(*other) == Ordering::Equal
    }
}

fn compare_mixed(int: i64, float: f64) -> Ordering {
    if float >= -MIN_AS_FLOAT {
        return Ordering::Less;
    }
    if float < MIN_AS_FLOAT {
        return Ordering::Greater;
    }
    // In range, so truncation is exact and only the fraction is left to decide.
    let whole = float.trunc() as i64;
    int.cmp(&whole)
        .then_with(|| 0.0f64.partial_cmp(&float.fract()).unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_doubles_compare_without_rounding() {
        let two_53 = 1i64 << 53;
        let cases = [
            (Number::Int(1), Number::Float(1.0), Ordering::Equal),
            (Number::Int(1), Number::Float(1.5), Ordering::Less),
            (Number::Int(-1), Number::Float(-1.5), Ordering::Greater),
            (Number::Int(0), Number::Float(-0.0), Ordering::Equal),
            (Number::Int(0), Number::Float(-0.25), Ordering::Greater),
            (
                Number::Int(two_53 + 1),
                Number::Float(two_53 as f64),
                Ordering::Greater,
            ),
            (
                Number::Int(i64::MAX),
                Number::Float(9_223_372_036_854_775_808.0),
                Ordering::Less,
            ),
            (
                Number::Int(i64::MIN),
                Number::Float(-9_223_372_036_854_775_808.0),
                Ordering::Equal,
            ),
            (Number::Int(i64::MIN), Number::Float(-1e300), Ordering::Greater),
            (Number::Int(i64::MAX), Number::Float(f64::MAX), Ordering::Less),
            (Number::Float(5e-324), Number::Int(0), Ordering::Greater),
        ];
        for (left, right, expected) in cases {
            assert_eq!(left.compare(right), expected, "{left:?} against {right:?}");
            assert_eq!(
                right.compare(left),
                expected.reverse(),
                "{right:?} against {left:?}"
            );
        }
    }

    #[test]
    fn a_double_that_is_not_finite_is_no_number() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(Number::float(value).is_none());
        }
    }
}
