//! How likely a limit is crossed in each hour ahead, for any limit.
//!
//! The maximum of an hour is not the mean's neighbour: load is bursty, and what a burst reached at moments like this one
//! tells more than a bell curve round the mean. So the hour's maximum is read from several witnesses, each of which
//! says with what share it would be over the limit: what followed the most similar moments, the same hour on earlier
//! days, the last hours, and the model's own interval. They are pooled on the log-odds scale with one set of
//! weights for all series, so that 30 % is crossed three times in ten. A higher limit is never likelier to be crossed.

use super::ForecastPoint;

/// Standard deviations from the mean to the 97.5 % quantile of a normal distribution.
const UPPER_DEVIATIONS: f64 = 1.959_964;

/// A witness that never saw the limit crossed does not say 0, and one that always did not 1.
const LEAST: f64 = 0.01;

/// Values are taken as known to within this share of the series' range.
const MOMENT_SOFTNESS: f64 = 0.005;
const DAY_SOFTNESS: f64 = 0.15;
const RECENT_SOFTNESS: f64 = 0.1;

/// Each range over everything ever seen divides the odds by e this often.
const BEYOND: f64 = 3.0;

/// Crossings of neighbouring hours go together: an hour counts as this much of an independent one.
const INDEPENDENCE: f64 = 0.2;

/// Weights of the witnesses' log-odds.
struct Pool {
    moments: f64,
    days: f64,
    recent: f64,
    interval: f64,
    offset: f64,
}

const NEXT_HOUR: Pool = Pool {
    moments: 0.65,
    days: 0.28,
    recent: 0.13,
    interval: 0.08,
    offset: 0.15,
};
const NEXT_HOURS: Pool = Pool {
    moments: 0.36,
    days: 0.25,
    recent: 0.13,
    interval: 0.15,
    offset: 0.1,
};
const LATER: Pool = Pool {
    moments: 0.18,
    days: 0.34,
    recent: 0.11,
    interval: 0.12,
    offset: 0.03,
};
const NEXT_HOURS_END: usize = 6;

/// A maximum that an hour reached, and how much it counts; the weights of a set sum to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reached {
    pub value: f32,
    pub weight: f32,
}

/// What is known of the maximum of one hour ahead.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HourAhead {
    /// After the most similar moments.
    pub moments: Vec<Reached>,
    /// At the same time on earlier days.
    pub days: Vec<Reached>,
}

/// What the maximum of each hour ahead is told by; from it and the points the probability of crossing any limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exceedance {
    /// Steps of an hour.
    pub hour_steps: usize,
    /// Empty for a model that only has its interval to go by.
    pub hours: Vec<HourAhead>,
    /// Maxima of the last hours.
    pub recent: Vec<f32>,
    /// Most of the series' range.
    pub scale: f64,
    /// The highest value known.
    pub highest: f64,
    /// The present is like nothing before: only the model's interval can tell of it.
    pub without_precedent: bool,
}

impl Exceedance {
    /// By the interval alone.
    pub fn of_interval(step_seconds: u32) -> Self {
        Self {
            hour_steps: (3600 / step_seconds.max(1)).max(1) as usize,
            ..Self::default()
        }
    }

    /// 0..=1 for each hour ahead that its highest value is over `limit`.
    pub fn by_hour(&self, points: &[ForecastPoint], limit: f64) -> Vec<f64> {
        // As exact as the values are, or one that lies on the limit would be over it by rounding.
        let limit = f64::from(limit as f32);
        let recent = share_over(
            self.recent.iter().map(|value| (f64::from(*value), 1.0)),
            limit,
            RECENT_SOFTNESS * self.scale,
        );
        points
            .chunks(self.hour_steps.max(1))
            .enumerate()
            .map(|(hour, points)| {
                let steps = points.iter().map(|point| probability_over(point, limit));
                let interval = steps.fold(0.0, f64::max);
                match self.hours.get(hour) {
                    None => interval,
                    Some(known) => {
                        let pooled = self.pooled(hour, known, recent, interval, limit);
                        if self.without_precedent {
                            pooled.max(interval)
                        } else {
                            pooled
                        }
                    }
                }
            })
            .collect()
    }

    /// The witnesses' shares over `limit`, in the order moments, days, recent, interval.
    fn pooled(
        &self,
        hour: usize,
        known: &HourAhead,
        recent: Option<f64>,
        interval: f64,
        limit: f64,
    ) -> f64 {
        let share = |reached: &[Reached], softness: f64| {
            let weighted = reached
                .iter()
                .map(|reached| (f64::from(reached.value), f64::from(reached.weight)));
            share_over(weighted, limit, softness * self.scale)
        };
        let pool = match hour {
            0 => NEXT_HOUR,
            _ if hour < NEXT_HOURS_END => NEXT_HOURS,
            _ => LATER,
        };
        let days = share(&known.days, DAY_SOFTNESS);
        // A day and more ahead there are no moments to go by: the same hour of earlier days speaks for them.
        let moments = share(&known.moments, MOMENT_SOFTNESS).or(days);
        let odds = |share: Option<f64>| share.map_or(0.0, log_odds);
        let said = pool.offset
            + pool.moments * odds(moments)
            + pool.days * odds(days)
            + pool.recent * odds(recent)
            + pool.interval * log_odds(interval);
        let beyond = ((limit - self.highest) / self.scale.max(1e-9)).max(0.0);
        1.0 / (1.0 + (BEYOND * beyond - said).exp())
    }
}

/// 0..=1 that any of these hours crosses, from the probability of each.
pub fn any_of(by_hour: &[f64]) -> f64 {
    let likeliest = by_hour.iter().copied().fold(0.0, f64::max);
    let none: f64 = by_hour
        .iter()
        .map(|probability| 1.0 - probability)
        .product();
    (1.0 - none.powf(INDEPENDENCE)).max(likeliest)
}

fn log_odds(share: f64) -> f64 {
    let share = share.clamp(LEAST, 1.0 - LEAST);
    (share / (1.0 - share)).ln()
}

/// Weighted share of values over `limit`, each known to within `softness`; `None` of nothing.
fn share_over(
    weighted: impl Iterator<Item = (f64, f64)>,
    limit: f64,
    softness: f64,
) -> Option<f64> {
    let softness = softness.max(1e-12);
    let (over, total) = weighted.fold((0.0, 0.0), |(over, total), (value, weight)| {
        let share = ((value - limit) / softness * 0.4 + 0.5).clamp(0.0, 1.0);
        (over + weight * share, total + weight)
    });
    (total > 0.0).then(|| over / total)
}

/// Of one step, taken as normal with the deviation that its upper quantile tells.
pub fn probability_over(point: &ForecastPoint, limit: f64) -> f64 {
    let mean = f64::from(point.mean);
    let deviation = (f64::from(point.upper) - mean) / UPPER_DEVIATIONS;
    if deviation <= 0.0 {
        return if mean >= limit { 1.0 } else { 0.0 };
    }
    libm::erfc((limit - mean) / deviation / std::f64::consts::SQRT_2) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Timestamp;

    fn point(step: i64, mean: f32, upper: f32) -> ForecastPoint {
        ForecastPoint {
            at: Timestamp::from_secs(step * 1800),
            mean,
            lower: 0.0,
            upper,
        }
    }

    #[test]
    fn an_interval_alone_tells_of_the_likeliest_step_of_each_hour() {
        let points = [point(1, 0.5, 0.8), point(2, 0.2, 0.3), point(3, 0.8, 0.8)];
        let by_hour = Exceedance::of_interval(1800).by_hour(&points, 0.8);
        assert_eq!(by_hour.len(), 2);
        assert!((by_hour[0] - 0.025).abs() < 1e-4);
        assert!((by_hour[1] - 1.0).abs() < 1e-12);
    }

    #[test]
    fn what_similar_moments_reached_decides_the_next_hour() {
        let reached = |values: [f32; 4]| {
            let reached = values.map(|value| Reached {
                value,
                weight: 0.25,
            });
            reached.to_vec()
        };
        let of = |moments, days| Exceedance {
            hour_steps: 2,
            hours: vec![HourAhead {
                moments: reached(moments),
                days: reached(days),
            }],
            recent: vec![0.1; 6],
            scale: 0.5,
            highest: 1.0,
            without_precedent: false,
        };
        let points = [point(1, 0.3, 0.5), point(2, 0.3, 0.5)];
        let next = |exceedance: Exceedance| exceedance.by_hour(&points, 0.8)[0];
        let never = next(of([0.2; 4], [0.2; 4]));
        let half = next(of([0.2, 0.2, 0.9, 0.9], [0.2, 0.2, 0.9, 0.9]));
        let always = next(of([0.9; 4], [0.9; 4]));
        assert!(never < 0.03 && (0.3..0.6).contains(&half) && always > 0.85);
    }

    #[test]
    fn several_hours_are_likelier_than_one_and_less_than_if_they_were_independent() {
        let any = any_of(&[0.2, 0.3, 0.1]);
        assert!((0.3..1.0 - 0.8 * 0.7 * 0.9).contains(&any), "{any}");
        let long = any_of(&[0.3; 24]);
        assert!(long > 0.6 && long < 0.99, "{long}");
        assert!((any_of(&[1.0, 0.0]) - 1.0).abs() < 1e-12);
        assert!(any_of(&[]).abs() < 1e-12);
    }
}
