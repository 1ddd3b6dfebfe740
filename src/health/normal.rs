//! What response time is normal for one service: a level that follows slowly.

use crate::units::Timestamp;

/// After so much measured time it is said to be known.
const KNOWN_AFTER_SECONDS: f64 = 3600.0;
/// What it remembers.
const MEMORY_SECONDS: f64 = 2.0 * 86_400.0;
/// A value counts for the time since the one before, but never for more than this.
const LONGEST_STEP_SECONDS: f64 = 300.0;
/// One value pulls no harder than this many times the level: an incident must not become normal while it lasts.
const MOST_PULL: f64 = 2.0;
/// Nothing is faster, as far as ratios go.
const LEAST_MILLIS: f64 = 0.1;

/// A geometric mean over the last days, each value clipped to twice the level or half of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Normal {
    millis: f64,
    learned_seconds: f64,
    at: Option<Timestamp>,
}

impl Normal {
    /// `None` until an hour has been measured.
    pub fn millis(&self) -> Option<f64> {
        (self.learned_seconds >= KNOWN_AFTER_SECONDS).then_some(self.millis)
    }

    /// Takes a measured value. One that is older than the last is left out.
    #[must_use]
    pub fn after(self, at: Timestamp, millis: f64) -> Self {
        if !millis.is_finite() || millis < 0.0 {
            return self;
        }
        let millis = millis.max(LEAST_MILLIS);
        let Some(last) = self.at else {
            return Self {
                millis,
                learned_seconds: 0.0,
                at: Some(at),
            };
        };
        let step = at.secs_since(last) as f64;
        if step <= 0.0 {
            return self;
        }
        let step = step.min(LONGEST_STEP_SECONDS);
        let learned_seconds = (self.learned_seconds + step).min(MEMORY_SECONDS);
        let pull = (millis / self.millis).clamp(1.0 / MOST_PULL, MOST_PULL);
        Self {
            millis: self.millis * pull.powf(step / learned_seconds),
            learned_seconds,
            at: Some(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(mut normal: Normal, from: i64, hours: i64, millis: f64) -> (Normal, i64) {
        let to = from + hours * 3600;
        for second in (from..to).step_by(10) {
            normal = normal.after(Timestamp::from_secs(second), millis);
        }
        (normal, to)
    }

    #[test]
    fn an_hour_is_needed_to_know_what_is_normal() {
        let (normal, now) = hours(Normal::default(), 0, 1, 120.0);
        assert_eq!(normal.millis(), None);
        let (normal, _) = hours(normal, now, 1, 120.0);
        assert!((normal.millis().unwrap() - 120.0).abs() < 1e-6);
    }

    #[test]
    fn an_incident_is_not_normal_and_a_lasting_change_becomes_so() {
        let (normal, now) = hours(Normal::default(), 0, 48, 100.0);
        let (incident, now) = hours(normal, now, 2, 5000.0);
        assert!(incident.millis().unwrap() < 105.0, "{incident:?}");
        let (lasting, _) = hours(incident, now, 14 * 24, 200.0);
        assert!(lasting.millis().unwrap() > 180.0, "{lasting:?}");
    }

    #[test]
    fn gaps_and_odd_values_teach_nothing() {
        let (normal, now) = hours(Normal::default(), 0, 48, 100.0);
        for value in [f64::NAN, f64::INFINITY, -1.0] {
            assert_eq!(normal.after(Timestamp::from_secs(now), value), normal);
        }
        assert_eq!(normal.after(Timestamp::from_secs(5), 900.0), normal);
        let after_gap = normal.after(Timestamp::from_secs(now + 86_400), 900.0);
        assert!(after_gap.millis().unwrap() < 101.0, "{after_gap:?}");
    }
}
