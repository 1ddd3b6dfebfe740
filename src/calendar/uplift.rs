//! What events did to a series, and a forecast that knows of the next ones.
//!
//! An occurrence is set against what the same time of day was on days without an event. The ratio is the uplift; it is
//! learned per event and series, drawn to what the planner expects while few occurrences are known, and carries its
//! spread into the interval.

use serde::{Deserialize, Serialize};

use super::{Affecting, Window};
use crate::{
    forecast::{ForecastPoint, Forecaster, HISTORY_SECONDS, NotReady, Predicted},
    metrics::Series,
    units::{EventId, Timestamp},
};

/// What a planner's figure counts for against occurrences that were seen; an event without one is expected to do
/// nothing, with half that weight.
const EXPECTED_WEIGHT: f64 = 0.5;
/// The spread (of the logarithm) of what was never seen, and the least of what was seen often.
const UNSEEN_SPREAD: f64 = 0.25;
const LEAST_SPREAD: f64 = 0.03;
/// Standard deviations to the bounds of a 95 % interval.
const DEVIATIONS: f64 = 1.96;
/// Days to each side of an occurrence that tell what is usual.
const DAYS_AROUND: i64 = 8;
/// Of those, so many of the nearest are enough.
const DAYS_ENOUGH: usize = 5;
/// No event changes a load more than this.
const MOST: f64 = 20.0;
/// 0..=1 of an occurrence's steps that must be measured.
const MIN_MEASURED: f64 = 0.5;

/// What an event does to one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    pub event: EventId,
    pub name: String,
    /// 1.5 is half as much again.
    pub factor: f64,
    /// Bounds of the factor that hold 95 % of occurrences.
    pub lower: f64,
    pub upper: f64,
    /// How many occurrences it was learned from; 0 is the planner's figure alone.
    pub occurrences: usize,
    /// The occurrences ahead, as far as the forecast goes.
    pub ahead: Vec<Window>,
}

/// What came of one occurrence: what was said of it by those before, and what it did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub window: Window,
    pub expected_factor: f64,
    pub actual_factor: f64,
    /// Mean absolute error over the occurrence of what is usual, and of that times the expected factor; in the
    /// metric's unit.
    pub error_without: f64,
    pub error_with: f64,
}

/// Forecasts a series that events act on: their past is taken out of it, their future put in.
///
/// # Errors
/// As the model's own.
pub fn predict(
    model: &dyn Forecaster,
    series: &Series,
    horizon_steps: usize,
    events: &[Affecting],
) -> Result<(Predicted, Vec<Learned>), NotReady> {
    if events.is_empty() {
        return Ok((model.predict(series, horizon_steps)?, Vec::new()));
    }
    let usual = Usual::of(series, events);
    // What was learned long ago counts; what a model continues is what it always goes by.
    let calm = newest(usual.without_events(events), HISTORY_SECONDS);
    let mut predicted = model.predict(&calm, horizon_steps)?;
    let end = predicted.points.last().map_or(series.end(), |last| last.at);
    let learned: Vec<Learned> = events
        .iter()
        .filter(|event| !event.exclude)
        .map(|event| usual.learn(event, &outcomes_of(&usual, event), end))
        .collect();
    let factors: Vec<f64> = predicted
        .points
        .iter()
        .map(|point| product(&learned, point.at, |one| one.factor))
        .collect();
    for point in &mut predicted.points {
        raise(point, &learned);
    }
    predicted.exceedance.scale_by_step(&factors);
    Ok((predicted, learned))
}

/// What came of each past occurrence of each event, oldest first.
pub fn outcomes(series: &Series, events: &[Affecting]) -> Vec<(EventId, Vec<Outcome>)> {
    let usual = Usual::of(series, events);
    events
        .iter()
        .map(|event| (event.event.clone(), outcomes_of(&usual, event)))
        .collect()
}

/// The newest `seconds` of a series.
fn newest(mut series: Series, seconds: u64) -> Series {
    let wanted = (seconds / u64::from(series.step_seconds.max(1))) as usize;
    let over = series.values.len().saturating_sub(wanted);
    series.start = series.at(over);
    series.values.drain(..over);
    series
}

fn product(learned: &[Learned], at: Timestamp, of: impl Fn(&Learned) -> f64) -> f64 {
    learned
        .iter()
        .filter(|one| one.ahead.iter().any(|window| window.holds(at)))
        .map(of)
        .product()
}

fn raise(point: &mut ForecastPoint, learned: &[Learned]) {
    let at = point.at;
    let factor = product(learned, at, |one| one.factor);
    // Deviations of independent causes add up as squares.
    let apart = |bound: f32, mean: f32, of: fn(&Learned) -> f64| {
        let own = f64::from(bound - mean).abs() * factor;
        let event = (product(learned, at, of) - factor).abs() * f64::from(mean);
        own.hypot(event)
    };
    let below = apart(point.lower, point.mean, |one| one.lower);
    let above = apart(point.upper, point.mean, |one| one.upper);
    let mean = f64::from(point.mean) * factor;
    point.mean = mean as f32;
    point.lower = (mean - below).max(0.0) as f32;
    point.upper = (mean + above) as f32;
}

/// A series beside what it usually is.
struct Usual<'a> {
    series: &'a Series,
    /// The steps that any event acts on.
    acted_on: Vec<bool>,
    /// A little, so that nothing is divided by nothing.
    floor: f64,
}

impl<'a> Usual<'a> {
    fn of(series: &'a Series, events: &[Affecting]) -> Self {
        let mut acted_on = vec![false; series.values.len()];
        for window in events.iter().flat_map(|event| &event.windows) {
            for step in steps(series, *window) {
                acted_on[step] = true;
            }
        }
        let known: Vec<f64> = series
            .values
            .iter()
            .filter(|value| value.is_finite())
            .map(|value| f64::from(*value))
            .collect();
        let mean = known.iter().sum::<f64>() / known.len().max(1) as f64;
        Self {
            series,
            acted_on,
            floor: (mean * 0.01).max(1e-9),
        }
    }

    /// The median of the same time on the nearest days without an event.
    fn at(&self, step: usize) -> Option<f64> {
        let day = i64::from(86_400 / self.series.step_seconds.max(1));
        let mut found = Vec::with_capacity(DAYS_ENOUGH);
        'days: for days in 1..=DAYS_AROUND {
            for side in [-1, 1] {
                let Some(other) = usize::try_from(step as i64 + side * days * day)
                    .ok()
                    .filter(|other| *other < self.series.values.len())
                else {
                    continue;
                };
                let value = self.series.values[other];
                if value.is_finite() && !self.acted_on[other] {
                    found.push(f64::from(value));
                }
                if found.len() == DAYS_ENOUGH {
                    break 'days;
                }
            }
        }
        found.sort_by(f64::total_cmp);
        found.get(found.len() / 2).copied()
    }

    /// The logarithm of what an occurrence did; `None` where too little of it is known, or it is not over.
    fn ratio(&self, window: Window) -> Option<f64> {
        if window.to > self.series.end() {
            return None;
        }
        let steps = steps(self.series, window);
        let wanted = steps.len();
        let (mut actual, mut usual, mut known) = (0.0, 0.0, 0);
        for step in steps {
            let value = self.series.values[step];
            if let (true, Some(baseline)) = (value.is_finite(), self.at(step)) {
                actual += f64::from(value);
                usual += baseline;
                known += 1;
            }
        }
        if wanted == 0 || f64::from(known) < MIN_MEASURED * wanted as f64 {
            return None;
        }
        let floor = self.floor * f64::from(known);
        Some(
            ((actual + floor) / (usual + floor))
                .clamp(1.0 / MOST, MOST)
                .ln(),
        )
    }

    /// The series as it would have been: what an occurrence did is divided out, what is excluded is the usual.
    fn without_events(&self, events: &[Affecting]) -> Series {
        let mut series = self.series.clone();
        for event in events {
            for window in &event.windows {
                let ratio = if event.exclude {
                    None
                } else {
                    self.ratio(*window)
                };
                for step in steps(self.series, *window) {
                    let value = &mut series.values[step];
                    match ratio {
                        Some(ratio) => *value = (f64::from(*value) / ratio.exp()) as f32,
                        // Still running, or excluded: what is usual stands for it, else a gap does.
                        None => {
                            *value = self.at(step).map_or(f32::NAN, |usual| usual as f32);
                        }
                    }
                }
            }
        }
        series
    }

    fn learn(&self, event: &Affecting, outcomes: &[Outcome], end: Timestamp) -> Learned {
        let seen: Vec<f64> = outcomes
            .iter()
            .map(|outcome| outcome.actual_factor.ln())
            .collect();
        let (centre, deviation) = drawn(&seen, event.expected_factor);
        let now = self.series.end();
        Learned {
            event: event.event.clone(),
            name: event.name.clone(),
            factor: centre.exp(),
            lower: (centre - DEVIATIONS * deviation).exp(),
            upper: (centre + DEVIATIONS * deviation).exp(),
            occurrences: seen.len(),
            ahead: event
                .windows
                .iter()
                .filter(|window| window.to > now && window.from <= end)
                .copied()
                .collect(),
        }
    }
}

fn outcomes_of(usual: &Usual<'_>, event: &Affecting) -> Vec<Outcome> {
    let mut seen = Vec::new();
    let mut outcomes = Vec::new();
    for window in &event.windows {
        let Some(ratio) = usual.ratio(*window) else {
            continue;
        };
        let expected_factor = drawn(&seen, event.expected_factor).0.exp();
        let (mut without, mut with, mut known) = (0.0, 0.0, 0.0);
        for step in steps(usual.series, *window) {
            let value = f64::from(usual.series.values[step]);
            if let (true, Some(baseline)) = (value.is_finite(), usual.at(step)) {
                without += (value - baseline).abs();
                with += (value - baseline * expected_factor).abs();
                known += 1.0;
            }
        }
        outcomes.push(Outcome {
            window: *window,
            expected_factor,
            actual_factor: ratio.exp(),
            error_without: without / f64::max(known, 1.0),
            error_with: with / f64::max(known, 1.0),
        });
        seen.push(ratio);
    }
    outcomes
}

/// Centre and deviation of the logarithm of an uplift, from what was seen and what was expected.
fn drawn(seen: &[f64], expected: Option<f64>) -> (f64, f64) {
    let (prior, weight) = match expected {
        Some(factor) => (factor.clamp(1.0 / MOST, MOST).ln(), EXPECTED_WEIGHT),
        None => (0.0, EXPECTED_WEIGHT / 2.0),
    };
    let count = seen.len() as f64;
    let centre = (seen.iter().sum::<f64>() + prior * weight) / (count + weight);
    if seen.is_empty() {
        return (
            centre,
            if expected.is_some() {
                UNSEEN_SPREAD
            } else {
                0.0
            },
        );
    }
    let squares: f64 = seen.iter().map(|ratio| (ratio - centre).powi(2)).sum();
    // One occurrence tells little of how they differ.
    let variance = (squares + UNSEEN_SPREAD.powi(2)) / (count + 1.0);
    (centre, variance.sqrt().max(LEAST_SPREAD))
}

/// The steps of `series` that lie in `window`.
fn steps(series: &Series, window: Window) -> std::ops::Range<usize> {
    let step = i64::from(series.step_seconds.max(1));
    let last = series.values.len() as i64;
    let index = |at: Timestamp| {
        (at.secs_since(series.start) + step - 1)
            .div_euclid(step)
            .clamp(0, last) as usize
    };
    let (from, to) = (index(window.from), index(window.to));
    from..to.max(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::Mix;

    const DAY: usize = 288;
    const START: Timestamp = Timestamp::from_secs(1_792_022_400);

    /// Two weeks of a daily curve; `events` (day, first step, steps, factor) act on it.
    fn series(days: usize, events: &[(usize, usize, usize, f32)]) -> Series {
        let mut random = fastrand::Rng::with_seed(3);
        let values = (0..days * DAY)
            .map(|step| {
                let angle = (step % DAY) as f32 / DAY as f32 * std::f32::consts::TAU;
                let usual = 0.3 - 0.15 * angle.cos() + (random.f32() - 0.5) * 0.02;
                let factor = events.iter().find(|(day, first, steps, _)| {
                    (day * DAY + first..day * DAY + first + steps).contains(&step)
                });
                usual * factor.map_or(1.0, |event| event.3)
            })
            .collect();
        Series {
            start: START,
            step_seconds: 300,
            values,
        }
    }

    fn window(day: usize, first: usize, steps: usize) -> Window {
        let at = |step: usize| START.plus_secs((day * DAY + step) as i64 * 300);
        Window {
            from: at(first),
            to: at(first + steps),
        }
    }

    fn sale(windows: Vec<Window>, expected_factor: Option<f64>) -> Affecting {
        Affecting {
            event: "e-1".into(),
            name: "Sale".to_owned(),
            expected_factor,
            exclude: false,
            windows,
        }
    }

    fn error(points: &[ForecastPoint], truth: &[f32], steps: std::ops::Range<usize>) -> f32 {
        let sum: f32 = steps
            .clone()
            .map(|step| (points[step].mean - truth[step]).abs())
            .sum();
        sum / steps.len() as f32
    }

    #[test]
    fn a_learned_event_at_least_halves_the_error_of_its_day() {
        // Every three days for two hours; the fifth is to be forecast.
        let planted = [
            (1, 200, 24, 1.6),
            (4, 200, 24, 1.5),
            (7, 200, 24, 1.7),
            (10, 200, 24, 1.6),
            (13, 200, 24, 1.6),
        ];
        let all = series(14, &planted);
        let mut known = all.clone();
        let truth = known.values.split_off(13 * DAY);
        let windows: Vec<Window> = planted
            .iter()
            .map(|event| window(event.0, event.1, event.2))
            .collect();
        let events = [sale(windows, None)];
        let without = Mix.predict(&known, DAY).unwrap();
        let (with, learned) = predict(&Mix, &known, DAY, &events).unwrap();
        assert_eq!(learned[0].occurrences, 4);
        assert!((learned[0].factor - 1.55).abs() < 0.1, "{learned:?}");
        assert!(
            learned[0].lower < 1.5 && learned[0].upper > 1.65,
            "{learned:?}"
        );
        let before = error(&without.points, &truth, 200..224);
        let after = error(&with.points, &truth, 200..224);
        assert!(after < before / 2.0, "{after} {before}");
        // Outside of it nothing changes for the worse.
        assert!(
            error(&with.points, &truth, 0..190) <= error(&without.points, &truth, 0..190) * 1.1
        );
        let inside = (200..224).filter(|step| {
            let point = with.points[*step];
            (point.lower..=point.upper).contains(&truth[*step])
        });
        assert!(inside.count() > 20);
        // The crossing that comes of it is likely, and was not without it.
        let limit = 0.5;
        let likely = |predicted: &Predicted| {
            let hours = predicted.exceedance.by_hour(&predicted.points, limit);
            hours.into_iter().fold(0.0, f64::max)
        };
        assert!(likely(&with) > 0.5, "{}", likely(&with));
        assert!(likely(&with) > likely(&without));
    }

    #[test]
    fn the_first_time_the_planners_figure_counts_and_is_wide() {
        let known = series(14, &[]);
        let events = [sale(vec![window(14, 100, 12)], Some(2.0))];
        let (with, learned) = predict(&Mix, &known, DAY, &events).unwrap();
        let (plain, _) = predict(&Mix, &known, DAY, &[]).unwrap();
        assert_eq!((learned[0].occurrences, learned[0].factor), (0, 2.0));
        for step in 100..112 {
            let ratio = with.points[step].mean / plain.points[step].mean;
            assert!((ratio - 2.0).abs() < 1e-3, "{ratio}");
            let wide = with.points[step].upper - with.points[step].lower;
            assert!(wide > 2.0 * (plain.points[step].upper - plain.points[step].lower));
        }
        assert_eq!(with.points[99], plain.points[99]);
    }

    #[test]
    fn what_is_excluded_never_trains_and_changes_nothing_ahead() {
        let planted = [(12, 0, DAY, 3.0)];
        let marred = series(14, &planted);
        let mut event = sale(vec![window(12, 0, DAY), window(14, 0, DAY)], Some(3.0));
        event.exclude = true;
        let (with, learned) = predict(&Mix, &marred, DAY, &[event]).unwrap();
        assert_eq!(learned, []);
        let (clean, _) = predict(&Mix, &series(14, &[]), DAY, &[]).unwrap();
        for step in 0..DAY {
            let apart = (with.points[step].mean - clean.points[step].mean).abs();
            assert!(apart < 0.05, "{step}: {apart}");
        }
    }

    #[test]
    fn each_occurrence_is_set_against_what_was_known_before_it() {
        let planted = [(3, 100, 24, 2.0), (6, 100, 24, 2.0), (9, 100, 24, 2.0)];
        let known = series(14, &planted);
        let windows = planted
            .iter()
            .map(|event| window(event.0, event.1, event.2))
            .collect();
        let found = outcomes(&known, &[sale(windows, None)]);
        let outcomes = &found[0].1;
        assert_eq!(outcomes.len(), 3);
        assert!(
            (outcomes[0].expected_factor - 1.0).abs() < 1e-9,
            "nothing was known"
        );
        assert!((outcomes[0].error_with - outcomes[0].error_without).abs() < 1e-9);
        assert!(outcomes[2].expected_factor > 1.7, "{:?}", outcomes[2]);
        assert!(
            outcomes[2].error_with < outcomes[2].error_without / 3.0,
            "{:?}",
            outcomes[2]
        );
        assert!(
            outcomes
                .iter()
                .all(|one| (one.actual_factor - 2.0).abs() < 0.1)
        );
    }

    #[test]
    fn an_occurrence_that_was_hardly_measured_teaches_nothing() {
        let mut known = series(14, &[(6, 100, 24, 2.0)]);
        known.values[6 * DAY + 100..6 * DAY + 120].fill(f32::NAN);
        let found = outcomes(&known, &[sale(vec![window(6, 100, 24)], None)]);
        assert_eq!(found[0].1, []);
    }
}
