//! Intervals from a model's own past errors.

/// How far the truth lay from the forecast, low and high.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    /// At most 0.
    pub low: f64,
    /// At least 0.
    pub high: f64,
}

impl Spread {
    /// The spread that holds all but `outside` (0..1) of errors like these; sorts `errors`.
    ///
    /// With few errors it is their whole range: the conformal rank `(n + 1)·p` lies outside of them.
    pub fn of(errors: &mut [f64], outside: f64) -> Self {
        if errors.is_empty() {
            return Self::default();
        }
        errors.sort_unstable_by(f64::total_cmp);
        Self {
            low: quantile(errors, outside / 2.0).min(0.0),
            high: quantile(errors, 1.0 - outside / 2.0).max(0.0),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_holds_what_it_promises() {
        let mut errors: Vec<f64> = (-500..=500).map(f64::from).collect();
        let spread = Spread::of(&mut errors, 0.05);
        let held = errors.iter().filter(|error| spread.holds(**error)).count();
        assert!((949..=953).contains(&held), "{held}");
    }

    #[test]
    fn few_errors_give_their_whole_range_and_always_hold_zero() {
        let spread = Spread::of(&mut [3.0, 1.0, 2.0], 0.05);
        assert_eq!(
            spread,
            Spread {
                low: 0.0,
                high: 3.0
            }
        );
        assert_eq!(Spread::of(&mut [], 0.05), Spread::default());
    }
}
