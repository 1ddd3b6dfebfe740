//! The present against the pattern: load that has just left its usual course lifts (or lowers) what comes next.

use super::residuals::Spread;

/// A model that goes by the time of day does not see a surge. The newest steps count as one when each of them, the
/// newest included, lies further from what was expected than any value of the last days did. A series that often
/// spikes is so left to its model: there a spike is usual, and gone with the next step.
pub const WATCHED_STEPS: usize = 3;

/// Errors of the last hours do not count as usual, or a surge would explain itself.
pub const QUIET_MINUTES: f64 = 360.0;

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
    /// `newest`: values and what was expected of them, oldest first; `usual`: how far off such expectations have been.
    pub fn detect(newest: &[(f64, f64)], usual: Spread) -> Option<Self> {
        let side = |(value, expected): &(f64, f64)| {
            let error = value - expected;
            (!usual.holds(error)).then_some(error > 0.0)
        };
        let up = newest.last().and_then(side)?;
        let surged = newest
            .iter()
            .rev()
            .take_while(|step| side(step) == Some(up));
        let (sum, steps) = surged.fold((0.0, 0), |(sum, steps), step| (sum + step.0, steps + 1));
        Some(Self {
            level: sum / f64::from(steps),
            up,
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
    fn only_what_is_not_usual_is_a_surge() {
        let detect = |newest: &[(f64, f64)]| Surge::detect(newest, SPREAD);
        assert_eq!(detect(&[(0.5, 0.45), (0.5, 0.45)]), None);
        assert_eq!(detect(&[(0.9, 0.45), (0.5, 0.45)]), None);
        assert_eq!(
            detect(&[(0.5, 0.45), (0.9, 0.45)]),
            Some(Surge {
                level: 0.9,
                up: true
            })
        );
        let two = detect(&[(0.1, 0.45), (0.8, 0.45), (0.9, 0.45)]).unwrap();
        assert!((two.level - 0.85).abs() < 1e-12);
        assert_eq!(
            detect(&[(0.1, 0.45)]),
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
        assert!(surge.lift(0.95, 5.0).abs() < 1e-12);
    }
}
