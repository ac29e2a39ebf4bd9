//! What figures are reduced with: the middle and the ends, shares, and how even they are.

use serde::Serialize;

/// The middle of some figures, the least and the most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) middle: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// The middle of an even number of figures is halfway between the two in the middle. Of no figure at
    /// all it is three times nothing (`NaN`).
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let sorted = sorted(figures);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        Self {
            least: at(0),
            middle: f64::midpoint(at(sorted.len().saturating_sub(1) / 2), at(sorted.len() / 2)),
            most: at(sorted.len().saturating_sub(1)),
        }
    }

    /// `0.71 (0.69 to 0.74)`
    pub(crate) fn shown(self, digits: usize) -> String {
        format!(
            "{:.digits$} ({:.digits$} to {:.digits$})",
            self.middle, self.least, self.most
        )
    }
}

fn sorted(figures: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = figures.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// How evenly something was shared, after Jain: 1 when everybody had the same, one over the number of
/// sharers when one had it all. Nobody, or nothing to share, counts as even.
pub(crate) fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    if squares == 0.0 {
        return 1.0;
    }
    sum * sum / (shares.len() as f64 * squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_with_its_ends() {
        let spread = Spread::of([3.0, 1.0, 2.0]);
        assert_eq!(spread.shown(0), "2 (1 to 3)");
        assert!(Spread::of([]).middle.is_nan());
    }

    #[test]
    fn sharing_is_even_or_not() {
        assert_eq!(jain(&[5.0, 5.0]), 1.0);
        assert_eq!(jain(&[1.0, 0.0, 0.0, 0.0]), 0.25);
        assert!((jain(&[2.0, 1.0]) - 0.9).abs() < 1e-12);
        assert_eq!(jain(&[]), 1.0);
        assert_eq!(jain(&[0.0, 0.0]), 1.0);
    }
}
