//! Each step is as it was at the same time the day before.

use super::{
    Accuracy, Exceedance, Forecaster, NotReady, Predicted, Record,
    history::History,
    residuals::{Spread, points},
    surge::{QUIET_MINUTES, Surge, WATCHED_STEPS},
};
use crate::metrics::Series;

/// Day naive, for a history that is too short for more; a surge of the newest values is carried on.
#[derive(Clone, Copy, Debug, Default)]
pub struct DayNaive;

impl Forecaster for DayNaive {
    fn name(&self) -> &'static str {
        "day-naive"
    }

    fn predict(&self, series: &Series, horizon_steps: usize) -> Result<Predicted, NotReady> {
        let history = History::of(series)?;
        Ok(predict(&history, series, horizon_steps))
    }
}

pub fn predict(history: &History, series: &Series, horizon_steps: usize) -> Predicted {
    let (values, day) = (&history.values, history.day);
    let error_at = |index: usize| values[index] - values[index - day];
    let measured = |from: usize, to: usize| {
        (from..to)
            .filter(|index| history.measured[*index] && history.measured[index - day])
            .map(error_at)
            .collect::<Vec<f64>>()
    };
    let step_minutes = 1440.0 / day as f64;
    let newest_from = values.len() - WATCHED_STEPS;
    let newest: Vec<_> = (newest_from.max(day)..values.len())
        .map(|index| (values[index], values[index - day]))
        .collect();
    let quiet_from = values.len() - (QUIET_MINUTES / step_minutes) as usize;
    let mut usual = measured(day, quiet_from);
    if usual.len() < WATCHED_STEPS {
        // Hardly more than a day is known: all that came before the newest values has to do.
        usual = measured(day, newest_from);
    }
    let surge = (!usual.is_empty())
        .then(|| Surge::detect(&newest, Spread::range(usual.into_iter())))
        .flatten();
    let spread = Spread::of(&mut measured(day, values.len()));
    let now = values[history.origin() - day];
    let means = (1..=horizon_steps).map(|step| {
        let days_back = step.div_ceil(day) * day;
        let lift = surge.map_or(0.0, |surge| surge.lift(now, step as f64 * step_minutes));
        (values[history.origin() + step - days_back] + lift, spread)
    });
    Predicted {
        model: DayNaive.name().to_owned(),
        accuracy: accuracy(history, measured),
        points: points(series, means),
        exceedance: Exceedance::of_interval(series.step_seconds),
    }
}

/// By the last day, with the spread of the days before it; `None` where there are none.
fn accuracy(history: &History, errors: impl Fn(usize, usize) -> Vec<f64>) -> Option<Accuracy> {
    let last_day = history.values.len() - history.day;
    if last_day <= history.day {
        return None;
    }
    let mut earlier = errors(history.day, last_day);
    let held_out = errors(last_day, history.values.len());
    if earlier.is_empty() || held_out.is_empty() {
        return None;
    }
    let spread = Spread::of(&mut earlier);
    let mut record = Record::default();
    for error in held_out {
        record.add(0.0, spread, error);
    }
    record.accuracy(history)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::synthetic::{daily, with_tail};

    #[test]
    fn tomorrow_is_like_today() {
        let series = daily(3, 0.01);
        let predicted = DayNaive.predict(&series, 288).unwrap();
        assert_eq!(predicted.points.len(), 288);
        assert_eq!(predicted.points[0].at, series.end());
        for (point, day_before) in predicted.points.iter().zip(&series.values[2 * 288..]) {
            assert!((point.mean - day_before).abs() < 1e-6);
            assert!(point.lower <= point.mean && point.mean <= point.upper);
            assert!(point.upper - point.lower < 0.1);
        }
        let accuracy = predicted.accuracy.unwrap();
        assert!((0.8..1.2).contains(&accuracy.mase), "{accuracy:?}");
        assert!(accuracy.coverage > 0.85, "{accuracy:?}");
    }

    #[test]
    fn a_surge_lifts_what_comes_next() {
        for days in [2, 3] {
            let surged = with_tail(daily(days, 0.01), &[0.9, 0.92]);
            let predicted = DayNaive.predict(&surged, 144).unwrap();
            assert!(
                predicted.points[0].mean >= 0.85,
                "{:?}",
                predicted.points[0]
            );
            assert!(predicted.points[143].mean < 0.85);
        }
    }

    #[test]
    fn a_day_and_two_hours_are_enough_and_less_is_not() {
        let mut series = daily(2, 0.01);
        series.values.truncate(26 * 12);
        assert!(DayNaive.predict(&series, 12).is_ok());
        series.values.pop();
        let missing = NotReady::TooShort {
            needed_seconds: 300,
        };
        assert_eq!(DayNaive.predict(&series, 12), Err(missing));
    }
}
