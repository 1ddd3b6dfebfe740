//! Each step is as it was at the same time the day before.

use super::{
    Accuracy, Forecaster, NotReady, Predicted,
    history::History,
    residuals::Spread,
    select::{INTERVAL_OUTSIDE, points},
    surge::{Surge, WATCHED_STEPS},
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
    // The newest values are judged by the errors before them, or they would explain themselves.
    let newest_from = values.len() - WATCHED_STEPS;
    let usual = Spread::of(&mut measured(day, newest_from), INTERVAL_OUTSIDE);
    let newest: Vec<_> = (newest_from..values.len())
        .map(|index| (values[index], values[index - day], usual))
        .collect();
    let surge = Surge::detect(&newest);
    let spread = Spread::of(&mut measured(day, values.len()), INTERVAL_OUTSIDE);
    let now = values[history.origin() - day];
    let step_minutes = 1440.0 / day as f64;
    let means = (1..=horizon_steps).map(|step| {
        let days_back = step.div_ceil(day) * day;
        let lift = surge.map_or(0.0, |surge| surge.lift(now, step as f64 * step_minutes));
        (values[history.origin() + step - days_back] + lift, spread)
    });
    Predicted {
        model: DayNaive.name().to_owned(),
        accuracy: accuracy(history, measured),
        points: points(series, means),
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
    let spread = Spread::of(&mut earlier, INTERVAL_OUTSIDE);
    let inside = held_out
        .iter()
        .filter(|error| spread.holds(**error))
        .count();
    let mean_error = held_out.iter().map(|error| error.abs()).sum::<f64>() / held_out.len() as f64;
    Some(Accuracy {
        mase: mean_error / history.naive_error(),
        coverage: inside as f64 / held_out.len() as f64,
    })
}
