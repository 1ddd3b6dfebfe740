//! The fleet's default model: for each distance ahead, the simple ways that did best on this series' own last days.

use super::{
    Exceedance, Forecaster, NotReady, Predicted, history::History, naive, residuals::points,
    trial::Trial,
};
use crate::metrics::Series;

/// With fewer days than this there is nothing to choose by, and day naive answers.
const MIN_DAYS: usize = 8;

/// Chooses per series and distance among simple candidates by their mean absolute error over the last days, averages
/// those that are about as good as the best, and takes the interval from that average's own errors. A surge of the
/// newest values is carried on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Select;

impl Forecaster for Select {
    fn name(&self) -> &'static str {
        "select"
    }

    /// From eight days of history; with less, [`super::DayNaive`] answers under its own name.
    fn predict(&self, series: &Series, horizon_steps: usize) -> Result<Predicted, NotReady> {
        let history = History::of(series)?;
        if history.values.len() < MIN_DAYS * history.day {
            return Ok(naive::predict(&history, series, horizon_steps));
        }
        let trial = Trial::new(&history, horizon_steps);
        let scores = trial.scores();
        let chosen = trial.choose(|probe| scores.early[probe].plus(&scores.late[probe]));
        let spreads = trial.spreads(&chosen, history.values.len());
        Ok(Predicted {
            model: self.name().to_owned(),
            accuracy: trial.accuracy(&scores),
            points: points(series, trial.forecast(&chosen, &spreads, horizon_steps)),
            exceedance: Exceedance::of_interval(series.step_seconds),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        forecast::synthetic::{curve, daily, with_tail},
        units::Timestamp,
    };

    fn first_at(predicted: &Predicted, limit: f32) -> Option<usize> {
        predicted
            .points
            .iter()
            .position(|point| point.mean >= limit)
    }

    #[test]
    fn a_daily_course_is_found_and_its_interval_holds() {
        let mut series = daily(15, 0.03);
        let truth = series.values.split_off(14 * 288);
        let predicted = Select.predict(&series, 288).unwrap();
        assert_eq!(predicted.model, "select");
        assert_eq!(predicted.points.len(), 288);
        assert_eq!(predicted.points[1].at, series.end().plus_secs(300));
        let points = predicted.points.iter().zip(&truth);
        let inside = points.filter(|(point, truth)| (point.lower..=point.upper).contains(truth));
        assert!(inside.count() > 288 * 9 / 10);
        for (step, point) in predicted.points.iter().enumerate() {
            assert!(
                (point.mean - curve(step)).abs() < 0.03,
                "step {step}: {point:?}"
            );
        }
        let accuracy = predicted.accuracy.unwrap();
        assert!(accuracy.mase < 0.9, "{accuracy:?}");
        assert!((0.9..=1.0).contains(&accuracy.coverage), "{accuracy:?}");
    }

    #[test]
    fn a_sudden_surge_to_the_limit_crosses_it_at_once() {
        for tail in [&[0.88][..], &[0.87, 0.9], &[0.86, 0.9, 0.88], &[0.88; 24]] {
            let predicted = Select
                .predict(&with_tail(daily(14, 0.02), tail), 144)
                .unwrap();
            let crossing = first_at(&predicted, 0.85);
            assert!(
                crossing.is_some_and(|step| step < 3),
                "{tail:?}: {crossing:?}"
            );
        }
        let calm = Select.predict(&daily(14, 0.02), 144).unwrap();
        assert_eq!(first_at(&calm, 0.85), None);
    }

    #[test]
    fn a_fall_lowers_what_comes_next() {
        let mut series = daily(15, 0.02);
        series.values.truncate(14 * 288 + 144);
        let predicted = Select.predict(&with_tail(series, &[0.05; 6]), 24).unwrap();
        assert!(predicted.points[..6].iter().all(|point| point.mean < 0.3));
    }

    #[test]
    fn one_more_spike_among_many_is_left_to_the_model() {
        let mut series = daily(14, 0.02);
        for step in (5..14 * 288).step_by(37) {
            series.values[step] = 0.95;
        }
        let predicted = Select.predict(&with_tail(series, &[0.95]), 12).unwrap();
        assert!(predicted.points[3..].iter().all(|point| point.mean < 0.6));
    }

    #[test]
    fn short_history_is_day_naive_and_gaps_are_borne() {
        assert_eq!(
            Select.predict(&daily(7, 0.02), 12).unwrap().model,
            "day-naive"
        );
        let mut gappy = daily(14, 0.02);
        for from in [100, 700, 2900, 4000] {
            gappy.values[from..from + 31].fill(f32::NAN);
        }
        let predicted = Select.predict(&gappy, 288).unwrap();
        assert_eq!(predicted.model, "select");
        for (step, point) in predicted.points.iter().enumerate() {
            assert!(
                (point.mean - curve(step)).abs() < 0.05,
                "step {step}: {point:?}"
            );
        }
    }

    #[test]
    fn any_step_that_divides_a_day_and_any_horizon_will_do() {
        for step_seconds in [60, 300, 900, 3600] {
            let series = daily(14, 0.02).downsample(step_seconds.max(300));
            let series = Series {
                step_seconds,
                ..series
            };
            for horizon_steps in [0, 1, 12, 3000] {
                let answer = Select.predict(&series, horizon_steps);
                assert_eq!(
                    answer.unwrap().points.len(),
                    horizon_steps,
                    "{step_seconds} s"
                );
            }
        }
    }

    fn any_value() -> impl Strategy<Value = f32> {
        prop_oneof![
            6 => 0.0..1.0_f32,
            1 => any::<f32>(),
            1 => Just(f32::NAN),
            1 => Just(0.0),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn an_answer_is_finite_ordered_and_not_negative(
            values in proptest::collection::vec(any_value(), 0..500),
            step_seconds in prop_oneof![Just(3600), Just(1800), Just(7), Just(0), Just(u32::MAX)],
            horizon_steps in 0_usize..100,
        ) {
            let series = Series { start: Timestamp::from_secs(0), step_seconds, values };
            let Ok(predicted) = Select.predict(&series, horizon_steps) else { return Ok(()) };
            for point in predicted.points {
                prop_assert!(point.lower.is_finite() && point.mean.is_finite() && point.upper.is_finite());
                prop_assert!(0.0 <= point.lower && point.lower <= point.mean && point.mean <= point.upper);
            }
            if let Some(accuracy) = predicted.accuracy {
                prop_assert!(accuracy.mase.is_finite() && (0.0..=1.0).contains(&accuracy.coverage));
            }
        }
    }
}
