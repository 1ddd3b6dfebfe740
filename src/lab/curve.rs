//! The usual day of a lab guest: one function that the history and the live load both follow.

use std::f64::consts::TAU;

use crate::units::Timestamp;

const STEP_SECONDS: i64 = 300;
const DAY_SECONDS: i64 = 86_400;
/// 1970-01-01 was a Thursday; day 2 was the first Saturday.
const FIRST_SATURDAY: i64 = 2;

/// How busy a guest usually is through the day, in UTC.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Curve {
    /// 0..=1 of one vCPU at the quietest hour.
    pub night_cpu: f64,
    /// 0..=1 of one vCPU at the busiest hour of a weekday.
    pub peak_cpu: f64,
    pub peak_hour: f64,
    /// Seeds the small departures from the smooth curve.
    pub seed: u64,
}

impl Curve {
    /// 0..=1 of one vCPU at `at`; the same for the same moment and seed, whoever asks.
    pub fn usual_cpu(&self, at: Timestamp) -> f64 {
        let seconds = at.as_secs();
        let hour = seconds.rem_euclid(DAY_SECONDS) as f64 / 3600.0;
        let day_share = (0.5 * (1.0 + ((hour - self.peak_hour) / 24.0 * TAU).cos())).powf(1.4);
        let week_share = if is_weekend(seconds) { 0.8 } else { 1.0 };
        let smooth = self.night_cpu + (self.peak_cpu - self.night_cpu) * day_share * week_share;
        (smooth * (1.0 + self.departure(seconds))).clamp(0.01, 1.0)
    }

    /// Slow swings over hours and a little jitter a step, about 4 % together.
    pub fn departure(&self, seconds: i64) -> f64 {
        let hours = seconds as f64 / 3600.0;
        let knot = hours.floor();
        let share = hours - knot;
        let swing =
            self.noise(1, knot as i64) * (1.0 - share) + self.noise(1, knot as i64 + 1) * share;
        0.06 * swing + 0.03 * self.noise(2, seconds.div_euclid(STEP_SECONDS))
    }

    /// -1..1 of `stream` at `index`.
    fn noise(&self, stream: u64, index: i64) -> f64 {
        let mixed = self
            .seed
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(stream.wrapping_mul(0xbf58_476d_1ce4_e5b9))
            .wrapping_add(index as u64);
        fastrand::Rng::with_seed(mixed).f64() * 2.0 - 1.0
    }
}

fn is_weekend(seconds: i64) -> bool {
    (seconds.div_euclid(DAY_SECONDS) - FIRST_SATURDAY).rem_euclid(7) < 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: Curve = Curve {
        night_cpu: 0.15,
        peak_cpu: 0.35,
        peak_hour: 19.0,
        seed: 7,
    };

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn the_day_swings_between_night_and_peak() {
        let peak = SHOP.usual_cpu(at("2026-11-18T19:00:00Z"));
        let night = SHOP.usual_cpu(at("2026-11-18T07:00:00Z"));
        assert!((peak - 0.35).abs() < 0.35 * 0.1, "{peak}");
        assert!((night - 0.15).abs() < 0.15 * 0.1, "{night}");
    }

    #[test]
    fn weekends_are_quieter() {
        let mean = |day: &str| -> f64 {
            let start = at(day);
            (0..288)
                .map(|step| SHOP.usual_cpu(start.plus_secs(step * 300)))
                .sum::<f64>()
                / 288.0
        };
        assert!(mean("2026-11-21T00:00:00Z") < 0.95 * mean("2026-11-18T00:00:00Z"));
        assert!(is_weekend(at("2026-11-22T12:00:00Z").as_secs()));
        assert!(!is_weekend(at("2026-11-23T00:00:00Z").as_secs()));
    }

    #[test]
    fn another_seed_is_another_fleet() {
        let moment = at("2026-11-18T12:00:00Z");
        let other = Curve { seed: 8, ..SHOP };
        assert!((SHOP.usual_cpu(moment) - SHOP.usual_cpu(moment)).abs() < f64::EPSILON);
        assert!((SHOP.usual_cpu(moment) - other.usual_cpu(moment)).abs() > f64::EPSILON);
    }
}
