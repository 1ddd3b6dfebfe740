//! Intervals from a model's own past errors.

use super::ForecastPoint;
use crate::metrics::Series;

/// An interval leaves out this share of the truth, half on each side.
pub const OUTSIDE: f64 = 0.05;

/// How far the truth lay from the forecast, low and high.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// At most 0.
    pub low: f64,
    /// At least 0.
    pub high: f64,
}

impl Spread {
    /// The spread that holds 95 % of errors like these; sorts `errors`.
    ///
    /// With few errors it is their whole range: the conformal rank `(n + 1)·p` lies outside of them.
    pub fn of(errors: &mut [f64]) -> Self {
        if errors.is_empty() {
            return Self::default();
        }
        errors.sort_unstable_by(f64::total_cmp);
        Self {
            low: quantile(errors, OUTSIDE / 2.0).min(0.0),
            high: quantile(errors, 1.0 - OUTSIDE / 2.0).max(0.0),
        }
    }

    /// The same on both sides, by the size of the errors.
    pub fn symmetric(errors: &[f64]) -> Self {
        let both_ways = errors.iter().flat_map(|error| [*error, -error]);
        Self::of(&mut both_ways.collect::<Vec<f64>>())
    }

    /// The least spread that holds all of these errors.
    pub fn range(errors: impl Iterator<Item = f64>) -> Self {
        errors.fold(Self::default(), |range, error| Self {
            low: range.low.min(error),
            high: range.high.max(error),
        })
    }

    #[must_use]
    pub fn widened(self, factor: f64) -> Self {
        Self {
            low: self.low * factor,
            high: self.high * factor,
        }
    }

    /// Between two spreads; `weight` (0..=1) of the second.
    #[must_use]
    pub fn towards(self, other: Self, weight: f64) -> Self {
        Self {
            low: self.low + (other.low - self.low) * weight,
            high: self.high + (other.high - self.high) * weight,
        }
    }

    pub fn holds(self, error: f64) -> bool {
        (self.low..=self.high).contains(&error)
    }
}

/// Linear between the conformal ranks of sorted values; their ends outside of these.
fn quantile(sorted: &[f64], p: f64) -> f64 {
    let rank = (p * (sorted.len() + 1) as f64 - 1.0).clamp(0.0, (sorted.len() - 1) as f64);
    let below = rank as usize;
    let above = (below + 1).min(sorted.len() - 1);
    let weight = rank - below as f64;
    sorted[below] * (1.0 - weight) + sorted[above] * weight
}

/// Means and spreads as points of `series`' future: never negative, infinite or out of order.
pub fn points(
    series: &Series,
    forecast: impl Iterator<Item = (f64, Spread)>,
) -> Vec<ForecastPoint> {
    let bounded = |value: f64| value.clamp(0.0, f64::from(f32::MAX)) as f32;
    forecast
        .enumerate()
        .map(|(step, (mean, spread))| ForecastPoint {
            at: series.at(series.values.len() + step),
            mean: bounded(mean),
            lower: bounded(mean.max(0.0) + spread.low),
            upper: bounded(mean.max(0.0) + spread.high),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_holds_what_it_promises() {
        let mut errors: Vec<f64> = (-500..=500).map(f64::from).collect();
        let spread = Spread::of(&mut errors);
        let held = errors.iter().filter(|error| spread.holds(**error)).count();
        assert!((949..=953).contains(&held), "{held}");
    }

    #[test]
    fn few_errors_give_their_whole_range_and_always_hold_zero() {
        let spread = Spread::of(&mut [3.0, 1.0, 2.0]);
        assert_eq!(
            spread,
            Spread {
                low: 0.0,
                high: 3.0
            }
        );
        assert_eq!(Spread::of(&mut []), Spread::default());
    }
}
