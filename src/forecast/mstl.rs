//! The classical models of the crate `augurs`, computed on demand for the VM that somebody looks at.

use ::augurs::{
    Fit, Predict,
    ets::{AutoETS, trend::AutoETSTrendModel},
    mstl::MSTLModel,
};

use super::{
    Accuracy, Exceedance, Forecaster, NotReady, Predicted,
    history::History,
    residuals::{Spread, points},
};
use crate::metrics::Series;

/// Seasonal decomposition (day, and week where two weeks are known) with an exponentially smoothed trend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mstl;

/// Exponential smoothing of its best kind, without a season.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ets;

/// Days of history from which a daily season is told apart from noise; twice the period is what STL needs.
const MSTL_MIN_DAYS: usize = 3;

impl Forecaster for Mstl {
    fn name(&self) -> &'static str {
        "MSTL+ETS"
    }

    fn predict(&self, series: &Series, horizon_steps: usize) -> Result<Predicted, NotReady> {
        let history = History::of(series)?;
        let needed = MSTL_MIN_DAYS * history.day;
        if history.values.len() < needed {
            let missing_steps = (needed - history.values.len()) as u64;
            return Err(NotReady::TooShort {
                needed_seconds: missing_steps * u64::from(series.step_seconds),
            });
        }
        judged(self.name(), &history, series, horizon_steps, decompose)
    }
}

impl Forecaster for Ets {
    fn name(&self) -> &'static str {
        "ETS"
    }

    fn predict(&self, series: &Series, horizon_steps: usize) -> Result<Predicted, NotReady> {
        let history = History::of(series)?;
        judged(self.name(), &history, series, horizon_steps, smooth)
    }
}

/// MSTL where there is enough history for it, else ETS.
///
/// # Errors
/// Says what the series lacks for either.
pub fn second_opinion(series: &Series, horizon_steps: usize) -> Result<Predicted, NotReady> {
    match Mstl.predict(series, horizon_steps) {
        Err(NotReady::TooShort { .. } | NotReady::DoesNotFit { .. }) => {
            Ets.predict(series, horizon_steps)
        }
        answer => answer,
    }
}

/// Values, steps of a day, horizon; the values to come.
type Continue = fn(&[f64], usize, usize) -> Result<Vec<f64>, String>;

fn decompose(values: &[f64], day: usize, horizon_steps: usize) -> Result<Vec<f64>, String> {
    let mut periods = vec![day];
    if values.len() >= 14 * day {
        periods.push(7 * day);
    }
    MSTLModel::new(periods, AutoETSTrendModel::from(AutoETS::non_seasonal()))
        .fit(values)
        .and_then(|fitted| fitted.predict(horizon_steps, None))
        .map(|forecast| forecast.point)
        .map_err(|error| error.to_string())
}

fn smooth(values: &[f64], _day: usize, horizon_steps: usize) -> Result<Vec<f64>, String> {
    AutoETS::non_seasonal()
        .fit(values)
        .and_then(|fitted| fitted.predict(horizon_steps, None))
        .map(|forecast| forecast.point)
        .map_err(|error| error.to_string())
}

/// Continues the history and judges that by the last two days: each is held out once and forecast from the days
/// before it. The model's own intervals are not used; on real load they are often wider than anything possible.
fn judged(
    model: &str,
    history: &History,
    series: &Series,
    horizon_steps: usize,
    go_on: Continue,
) -> Result<Predicted, NotReady> {
    let go_on = |values: &[f64], steps: usize| continued(values, history.day, steps, go_on);
    let fails = |why: String| NotReady::DoesNotFit {
        model: model.to_owned(),
        why,
    };
    let means = go_on(&history.values, horizon_steps).map_err(fails)?;
    let day = history.day;
    let held_out = |days_back: usize| -> Vec<f64> {
        let Some(from) = history.values.len().checked_sub(days_back * day) else {
            return Vec::new();
        };
        // A model that cannot be fitted to the days before is not judged by this one.
        let said = (from >= 2 * day).then(|| go_on(&history.values[..from], day).ok());
        let said = said.flatten().unwrap_or_default();
        said.iter()
            .zip(from..)
            .filter(|(_, index)| history.measured[*index])
            .map(|(said, index)| history.values[index] - said.max(0.0))
            .collect()
    };
    let (newer, older) = (held_out(1), held_out(2));
    let accuracy = (!newer.is_empty() && !older.is_empty()).then(|| {
        let spread = spread_of(&older);
        let inside = newer.iter().filter(|error| spread.holds(**error)).count();
        let absolute = newer.iter().map(|error| error.abs()).sum::<f64>();
        Accuracy {
            mase: absolute / newer.len() as f64 / history.naive_error(),
            coverage: inside as f64 / newer.len() as f64,
        }
    });
    let mut errors = newer;
    errors.extend(older);
    if errors.is_empty() {
        // Too short to hold out a day: how far an hour's values lie from the hour before is all that is known.
        let hour = (day / 24).max(1);
        let changes = history.values[hour..].iter().zip(&history.values);
        errors.extend(changes.map(|(now, hour_before)| now - hour_before));
    }
    let spread = spread_of(&errors);
    let forecast = means.into_iter().map(|mean| (mean, spread));
    Ok(Predicted {
        model: model.to_owned(),
        accuracy,
        points: points(series, forecast),
        exceedance: Exceedance::of_interval(series.step_seconds),
    })
}

/// A series that never changes goes on as it is; the models refuse it or divide by its variance.
fn continued(
    values: &[f64],
    day: usize,
    steps: usize,
    go_on: Continue,
) -> Result<Vec<f64>, String> {
    let last = values.last().copied().unwrap_or_default();
    if steps == 0 || values.iter().all(|value| (value - last).abs() < 1e-12) {
        return Ok(vec![last; steps]);
    }
    // Scaled to about 1, so that bytes a second and ratios are alike to the fit's tolerances.
    let scale = values.iter().copied().fold(0.0, f64::max);
    let scaled: Vec<f64> = values.iter().map(|value| value / scale).collect();
    let said = go_on(&scaled, day, steps)?;
    if said.len() != steps || said.iter().any(|value| !value.is_finite()) {
        return Err("its answer is not finite".to_owned());
    }
    Ok(said.into_iter().map(|value| value * scale).collect())
}

/// Held-out days are few and their errors share a direction: so much wider, and alike on both sides, they hold 95 %
/// of the truth on recorded load, an hour ahead as well as a day.
const WIDER: f64 = 1.5;

fn spread_of(errors: &[f64]) -> Spread {
    Spread::symmetric(errors).widened(WIDER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::synthetic::{curve, daily};

    fn sound(predicted: &Predicted) -> bool {
        predicted.points.iter().all(|point| {
            point.upper.is_finite()
                && 0.0 <= point.lower
                && point.lower <= point.mean
                && point.mean <= point.upper
        })
    }

    #[test]
    fn a_season_is_continued_with_an_interval_of_its_own_errors() {
        let predicted = Mstl.predict(&daily(8, 0.02), 288).unwrap();
        assert_eq!(predicted.model, "MSTL+ETS");
        assert!(sound(&predicted));
        for (step, point) in predicted.points.iter().enumerate() {
            assert!(
                (point.mean - curve(step)).abs() < 0.06,
                "step {step}: {point:?}"
            );
            assert!(point.upper - point.lower < 0.3);
        }
        let accuracy = predicted.accuracy.unwrap();
        assert!(accuracy.mase < 1.5, "{accuracy:?}");
    }

    #[test]
    fn too_short_for_a_season_is_smoothed() {
        let mut series = daily(2, 0.02);
        assert!(matches!(
            Mstl.predict(&series, 12),
            Err(NotReady::TooShort { .. })
        ));
        series.values.truncate(26 * 12);
        let predicted = second_opinion(&series, 12).unwrap();
        assert_eq!(predicted.model, "ETS");
        assert!(sound(&predicted) && predicted.accuracy.is_none());
        assert!(predicted.points[0].upper > predicted.points[0].lower);
    }

    #[test]
    fn constant_zero_gappy_and_jumping_series_are_borne() {
        let mut constant = daily(4, 0.0);
        constant.values.fill(0.25);
        let mut zero = constant.clone();
        zero.values.fill(0.0);
        let mut gappy = daily(4, 0.02);
        gappy.values[300..380].fill(f32::NAN);
        gappy.values[1140..].fill(f32::NAN);
        let mut jumping = zero.clone();
        jumping.values[1000] = 1e12;
        let mut rounded = daily(4, 0.0);
        for value in &mut rounded.values {
            *value = value.round();
        }
        for series in [constant, zero, gappy, jumping, rounded] {
            for model in [&Mstl as &dyn Forecaster, &Ets] {
                match model.predict(&series, 24) {
                    Ok(predicted) => {
                        assert_eq!(predicted.points.len(), 24);
                        assert!(sound(&predicted), "{}: {predicted:?}", model.name());
                    }
                    Err(why) => assert!(matches!(why, NotReady::DoesNotFit { .. }), "{why}"),
                }
            }
        }
    }
}
