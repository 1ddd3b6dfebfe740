//! A model's answer set against the limit, and the little of it that a whole fleet's views need.

use super::{Forecast, ForecastPoint, Outlook, Predicted, exceedance::any_of};
use crate::{
    metrics::{Metric, Series},
    units::{Timestamp, VmId},
};

/// A spark holds so many measured and so many forecast steps.
pub const SPARK_STEPS: usize = 24;

/// A gap in a spark.
pub const SPARK_GAP: u8 = 255;

/// An hour this likely to cross is taken to.
const LIKELY: f32 = 0.5;

/// Puts VM, metric and limit to what a model predicted.
///
/// The probabilities are the model's own, hour by hour, and for the horizon that any of its hours crosses.
pub fn assemble(
    vm: VmId,
    metric: Metric,
    limit: Option<f64>,
    made_at: Timestamp,
    step_seconds: u32,
    predicted: Predicted,
) -> Forecast {
    let points = predicted.points;
    let limit = limit.filter(|limit| limit.is_finite() && *limit > 0.0);
    let crosses_at = limit.and_then(|limit| {
        let over = |point: &&ForecastPoint| f64::from(point.mean) >= limit;
        points.iter().find(over).map(|point| point.at)
    });
    let hourly = limit.map_or_else(Vec::new, |limit| {
        predicted.exceedance.by_hour(&points, limit)
    });
    Forecast {
        vm,
        metric,
        made_at,
        step_seconds,
        model: predicted.model,
        accuracy: predicted.accuracy,
        points,
        limit,
        crosses_at,
        probability: limit.map(|_| any_of(&hourly)),
        hourly: hourly.into_iter().map(|hour| hour as f32).collect(),
    }
}

/// The beginning of the first hour that is likelier to cross than not.
fn likely_at(forecast: &Forecast) -> Option<Timestamp> {
    let hour = forecast.hourly.iter().position(|hour| *hour >= LIKELY)?;
    let hour_steps = (3600 / forecast.step_seconds.max(1)).max(1) as usize;
    forecast.points.get(hour * hour_steps).map(|point| point.at)
}

/// The short form; of a forecast without points it says 0 at the moment it was made.
pub fn outlook(forecast: &Forecast) -> Outlook {
    let points = &forecast.points;
    let peak = points.iter().reduce(|highest, point| {
        if point.mean > highest.mean {
            point
        } else {
            highest
        }
    });
    let peak_upper = points.iter().map(|point| point.upper).fold(0.0, f32::max);
    Outlook {
        metric: forecast.metric,
        made_at: forecast.made_at,
        peak: peak.map_or(0.0, |point| point.mean),
        peak_upper,
        peak_at: peak.map_or(forecast.made_at, |point| point.at),
        p95: p95_of_means(points),
        limit: forecast.limit.map(|limit| limit as f32),
        crosses_at: forecast.crosses_at,
        probability: forecast.probability.map(|probability| probability as f32),
        likely_at: likely_at(forecast),
        no_better_than_naive: forecast.no_better_than_naive(),
    }
}

/// The least of the means that at least 95 % of them do not exceed.
fn p95_of_means(points: &[ForecastPoint]) -> f32 {
    if points.is_empty() {
        return 0.0;
    }
    let mut means: Vec<f32> = points.iter().map(|point| point.mean).collect();
    let rank = (means.len() * 95).div_ceil(100) - 1;
    *means.select_nth_unstable_by(rank, f32::total_cmp).1
}

/// [`SPARK_STEPS`] measured and as many forecast means, each over its share of the series' tail and of the horizon's
/// beginning, in percent of `basis` (what counts as 100 %, for example 1.0 for a ratio).
///
/// Past steps are `forecast.step_seconds` long, ahead the whole horizon is shown; 0..=200, [`SPARK_GAP`] is a gap.
pub fn spark(measured: &Series, forecast: Option<&Forecast>, basis: f64) -> Vec<u8> {
    let mut spark = vec![SPARK_GAP; 2 * SPARK_STEPS];
    if !(basis.is_finite() && basis > 0.0) {
        return spark;
    }
    let percent = |value: f32| {
        let percent = f64::from(value) / basis * 100.0;
        percent.round().clamp(0.0, 200.0) as u8
    };
    let (past, ahead) = spark.split_at_mut(SPARK_STEPS);
    let known = measured.values.iter().rev();
    for (bar, value) in past.iter_mut().rev().zip(known) {
        if value.is_finite() {
            *bar = percent(*value);
        }
    }
    let points = forecast.map_or(&[][..], |forecast| &forecast.points[..]);
    for (index, bar) in ahead.iter_mut().enumerate() {
        let from = index * points.len() / SPARK_STEPS;
        let to = ((index + 1) * points.len() / SPARK_STEPS).max(from + 1);
        // The highest mean of its share: a short crossing must not be averaged away.
        let means = points.get(from..to.min(points.len())).unwrap_or_default();
        if let Some(highest) = means.iter().map(|point| point.mean).reduce(f32::max) {
            *bar = percent(highest);
        }
    }
    spark
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::Exceedance;

    fn point(step: usize, mean: f32, upper: f32) -> ForecastPoint {
        ForecastPoint {
            at: Timestamp::from_secs(step as i64 * 300),
            mean,
            lower: 0.0,
            upper,
        }
    }

    fn of(limit: Option<f64>, points: Vec<ForecastPoint>) -> Forecast {
        let predicted = Predicted {
            model: "select".into(),
            accuracy: None,
            points,
            exceedance: Exceedance::of_interval(300),
        };
        assemble(
            "p/a".into(),
            Metric::Cpu,
            limit,
            Timestamp::from_secs(0),
            300,
            predicted,
        )
    }

    #[test]
    fn the_first_mean_at_the_limit_is_the_crossing() {
        let points = || vec![point(1, 0.5, 0.6), point(2, 0.85, 0.9), point(3, 0.9, 1.0)];
        let forecast = of(Some(0.85), points());
        assert_eq!(forecast.crosses_at, Some(Timestamp::from_secs(600)));
        assert!(forecast.probability.unwrap() > 0.8);
        assert_eq!(forecast.hourly.len(), 1);
        let likely_at = outlook(&forecast).likely_at;
        assert_eq!(likely_at, Some(Timestamp::from_secs(300)));
        let short = outlook(&forecast);
        assert_eq!((short.peak, short.peak_upper), (0.9, 1.0));
        assert_eq!(short.peak_at, Timestamp::from_secs(900));
        assert!((short.p95 - 0.9).abs() < 1e-6);
        let unlimited = of(None, points());
        assert_eq!((unlimited.crosses_at, unlimited.probability), (None, None));
    }

    #[test]
    fn the_upper_quantile_reaches_the_limit_with_two_and_a_half_percent() {
        let forecast = of(Some(0.8), vec![point(1, 0.5, 0.8)]);
        assert!((forecast.probability.unwrap() - 0.025).abs() < 1e-4);
        assert_eq!(outlook(&forecast).likely_at, None);
        assert_eq!(forecast.crosses_at, None);
        assert_eq!(
            of(Some(0.8), vec![point(1, 0.5, 0.5)]).probability,
            Some(0.0)
        );
        assert_eq!(
            of(Some(0.8), vec![point(1, 0.8, 0.8)]).probability,
            Some(1.0)
        );
    }

    #[test]
    fn the_p95_leaves_out_a_twentieth() {
        let points = (1..=100)
            .map(|step| point(step, step as f32, step as f32))
            .collect();
        let short = outlook(&of(None, points));
        assert!((short.p95 - 95.0).abs() < 1e-6);
    }

    #[test]
    fn a_spark_is_percent_with_gaps_and_keeps_the_highest() {
        let measured = Series {
            start: Timestamp::from_secs(0),
            step_seconds: 300,
            values: vec![0.25, f32::NAN, 0.5],
        };
        let mut points: Vec<_> = (1..=48).map(|step| point(step, 0.1, 0.2)).collect();
        points[47].mean = 0.9;
        let bars = spark(&measured, Some(&of(None, points)), 1.0);
        assert_eq!(bars.len(), 48);
        assert_eq!(bars[20..24], [SPARK_GAP, 25, SPARK_GAP, 50]);
        assert_eq!((bars[24], bars[47]), (10, 90));
        let short = spark(&measured, Some(&of(None, vec![point(1, 0.1, 0.2)])), 1.0);
        assert_eq!(short.len(), 48);
        assert_eq!(spark(&measured, None, 0.0), vec![SPARK_GAP; 48]);
    }
}
