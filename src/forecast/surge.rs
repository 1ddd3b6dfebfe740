//! The present against the pattern: load that has just left its usual course lifts (or lowers) what comes next.

use super::residuals::Spread;

/// A model that goes by the time of day does not see a surge. The newest steps count as one when each of them, the
/// newest included, lies outside of what the model's own errors at that distance explain.
pub const WATCHED_STEPS: usize = 3;

/// A surge is carried on in full for this long, and then halves each time.
const HOLD_MINUTES: f64 = 60.0;
const HALVING_MINUTES: f64 = 180.0;

/// How far the newest values lie from what was expected of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Surge {
    /// Mean of the newest values that left the course.
    level: f64,
    up: bool,
}

impl Surge {
    /// `newest`: value, what was expected of it and its usual spread, oldest first.
    pub fn detect(newest: &[(f64, f64, Spread)]) -> Option<Self> {
        let above = |(value, expected, spread): &(f64, f64, Spread)| {
            let error = value - expected;
            if error > spread.high {
                1
            } else if error < spread.low {
                -1
            } else {
                0
            }
        };
        let side = newest.last().map(above).filter(|side| *side != 0)?;
        let steps = newest
            .iter()
            .rev()
            .take_while(|step| above(step) == side)
            .count();
        let sum: f64 = newest.iter().rev().take(steps).map(|step| step.0).sum();
        Some(Self {
            level: sum / steps as f64,
            up: side > 0,
        })
    }

    /// What is to be added to a forecast `minutes_ahead`, where the model says `now` for the present; nothing where
    /// the model itself has gone as far.
    pub fn lift(self, now: f64, minutes_ahead: f64) -> f64 {
        let fading_minutes = (minutes_ahead - HOLD_MINUTES).max(0.0);
        let missing = self.level - now;
        if self.up != (missing > 0.0) {
            return 0.0;
        }
        missing * (-fading_minutes / HALVING_MINUTES).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPREAD: Spread = Spread {
        low: -0.1,
        high: 0.1,
    };

    #[test]
    fn only_what_the_spread_does_not_explain_is_a_surge() {
        assert_eq!(
            Surge::detect(&[(0.5, 0.45, SPREAD), (0.5, 0.45, SPREAD)]),
            None
        );
        assert_eq!(
            Surge::detect(&[(0.9, 0.45, SPREAD), (0.5, 0.45, SPREAD)]),
            None
        );
        let one = Surge::detect(&[(0.5, 0.45, SPREAD), (0.9, 0.45, SPREAD)]).unwrap();
        assert_eq!(
            one,
            Surge {
                level: 0.9,
                up: true
            }
        );
        let two = Surge::detect(&[(0.8, 0.45, SPREAD), (0.9, 0.45, SPREAD)]).unwrap();
        assert!((two.level - 0.85).abs() < 1e-12);
        assert_eq!(
            Surge::detect(&[(0.1, 0.45, SPREAD)]),
            Some(Surge {
                level: 0.1,
                up: false
            })
        );
    }

    #[test]
    fn a_surge_is_held_for_an_hour_and_then_fades() {
        let surge = Surge {
            level: 0.9,
            up: true,
        };
        assert!((surge.lift(0.5, 5.0) - 0.4).abs() < 1e-12);
        assert!((surge.lift(0.5, 60.0) - 0.4).abs() < 1e-12);
        assert!((surge.lift(0.5, 240.0) - 0.2).abs() < 1e-12);
        assert_eq!(surge.lift(0.95, 5.0), 0.0);
    }
}
