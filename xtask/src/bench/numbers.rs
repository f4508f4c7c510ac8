//! Many measurements, put into few numbers.

use std::fmt;

use serde_json::{Value, json};

/// What several measurements of the same thing gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        let median = percentile(values, 50.0)?;
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some(Self { median, min, max })
    }

    pub(super) fn json(self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(3);
        write!(f, "{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.min, self.max)
    }
}

/// A number as many measurements tell it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    pub(super) median: f64,
    /// The median's standard error, as that of a normal distribution whose middle half is as wide: a few values far off
    /// say nothing of it.
    error: f64,
}

impl Estimate {
    /// `None` of nothing.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        let width = percentile(values, 75.0)? - percentile(values, 25.0)?;
        // A half is 1.349 deviations wide, and a median's error is 1.253 times that of a mean.
        let error = width / 1.349 * 1.253 / as_f64(values.len() as u64).sqrt();
        Some(Self { median: percentile(values, 50.0)?, error })
    }

    pub(super) fn json(self) -> Value {
        json!({ "median": self.median, "standard_error": self.error })
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(3);
        write!(f, "{:.digits$} ± {:.digits$}", self.median, self.error)
    }
}

/// The value below which `percent` of the values lie; between two values, the share of the way that it is.
pub(super) fn percentile(values: &[f64], percent: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let place = as_f64(last as u64) * percent / 100.0;
    let below = (0..=last).rev().find(|index| as_f64(*index as u64) <= place)?;
    let above = (below + 1).min(last);
    let share = place - as_f64(below as u64);
    Some(sorted[below] + (sorted[above] - sorted[below]) * share)
}

/// A count as a number to reckon with.
#[expect(
    clippy::cast_precision_loss,
    reason = "no count here has more than 53 bits, and none needs them all"
)]
pub(super) fn as_f64(count: u64) -> f64 {
    count as f64
}

/// `a` minus `b`, which may be less than nothing.
pub(super) fn difference(a: u64, b: u64) -> i64 {
    let size = i64::try_from(a.abs_diff(b)).unwrap_or(i64::MAX);
    if a < b { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::{Estimate, Spread, difference, percentile};

    #[test]
    fn the_median_of_an_even_number_lies_in_the_middle() {
        assert_eq!(percentile(&[4.0, 1.0, 3.0, 2.0], 50.0), Some(2.5));
        assert_eq!(percentile(&[3.0, 1.0, 2.0], 50.0), Some(2.0));
    }

    #[test]
    fn percentiles_reach_both_ends() {
        let values = [5.0, 1.0, 9.0];
        assert_eq!(percentile(&values, 0.0), Some(1.0));
        assert_eq!(percentile(&values, 100.0), Some(9.0));
        assert_eq!(percentile(&values, 75.0), Some(7.0));
        assert_eq!(percentile(&[7.0], 99.0), Some(7.0));
        assert_eq!(percentile(&[], 50.0), None);
    }

    #[test]
    fn a_spread_is_shown_with_its_ends() {
        let spread = Spread::of(&[0.99, 0.97, 0.98]).unwrap();
        assert_eq!(spread.to_string(), "0.980 (0.970–0.990)");
        assert_eq!(format!("{spread:.1}"), "1.0 (1.0–1.0)");
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn an_estimate_is_better_the_more_there_is_and_heeds_no_outlier() {
        let few = [1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(Estimate::of(&few).unwrap().to_string(), "3.000 ± 0.831");
        assert_eq!(Estimate::of(&few.repeat(4)).unwrap().to_string(), "3.000 ± 0.415");
        assert_eq!(Estimate::of(&[1.0, 2.0, 3.0, 4.0, 500.0]), Estimate::of(&few));
        assert_eq!(Estimate::of(&[]), None);
    }

    #[test]
    fn a_difference_may_be_negative() {
        assert_eq!(difference(3, 5), -2);
        assert_eq!(difference(5, 3), 2);
    }
}
