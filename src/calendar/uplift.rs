//! What events did to a series, and a forecast that knows of the next ones.
//!
//! An occurrence is set against what the same time of day was on days without an event. What it did is learned per event
//! and series, as a factor or, where that tells occurrences better, as so much more; drawn to what the planner expects
//! while few occurrences are known, and with its spread put into the interval.

use serde::{Deserialize, Serialize};

use super::{Affecting, Window};
use crate::{
    forecast::{ForecastPoint, Forecaster, HISTORY_SECONDS, NotReady, Predicted},
    metrics::Series,
    units::{EventId, Timestamp},
};

mod seen;
mod usual;

use seen::{MOST, Seen};
use usual::{Usual, steps};

/// Standard deviations to the bounds of a 95 % interval.
const DEVIATIONS: f64 = 1.96;

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
    /// What counts instead of the factor where the event adds to whatever the load is.
    #[serde(default)]
    pub added: Option<Added>,
    /// How many occurrences it was learned from; 0 is the planner's figure alone.
    pub occurrences: usize,
    /// The occurrences ahead, as far as the forecast goes.
    pub ahead: Vec<Window>,
}

/// How much more an event makes, in the metric's unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Added {
    pub mean: f64,
    /// Bounds that hold 95 % of occurrences.
    pub lower: f64,
    pub upper: f64,
}

/// What came of one occurrence: what was said of it by those before, and what it did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub window: Window,
    pub expected_factor: f64,
    pub actual_factor: f64,
    /// Mean absolute error over the occurrence of what is usual, and of that with what was expected; in the metric's
    /// unit.
    pub error_without: f64,
    pub error_with: f64,
}

/// Forecasts a series that events act on: their past is taken out of it, their future put in. `older` is what lies
/// before `series` in coarser steps; only what events did is learned from it.
///
/// # Errors
/// As the model's own.
pub fn predict(
    model: &dyn Forecaster,
    series: &Series,
    older: Option<&Series>,
    horizon_steps: usize,
    events: &[Affecting],
) -> Result<(Predicted, Vec<Learned>), NotReady> {
    if events.is_empty() {
        return Ok((model.predict(series, horizon_steps)?, Vec::new()));
    }
    let usual = Usual::of(series, events);
    let past = past_of(&usual, older, events);
    // What was learned long ago counts; what a model continues is what it always goes by.
    let calm = newest(without_events(&usual, events, &past), HISTORY_SECONDS);
    let mut predicted = model.predict(&calm, horizon_steps)?;
    let end = predicted.points.last().map_or(series.end(), |last| last.at);
    let learned = learned_by(&past, events, series.end(), end);
    let factors: Vec<f64> = predicted
        .points
        .iter_mut()
        .map(|point| {
            let before = f64::from(point.mean) + usual.floor;
            raise(point, &learned);
            ((f64::from(point.mean) + usual.floor) / before).clamp(0.0, MOST)
        })
        .collect();
    predicted.exceedance.scale_by_step(&factors);
    Ok((predicted, learned))
}

/// What the events that train do to `series`, with their occurrences until `end`.
pub fn learned(series: &Series, events: &[Affecting], end: Timestamp) -> Vec<Learned> {
    let usual = Usual::of(series, events);
    learned_by(&past_of(&usual, None, events), events, series.end(), end)
}

/// What came of each past occurrence of each event, oldest first.
pub fn outcomes(
    series: &Series,
    older: Option<&Series>,
    events: &[Affecting],
) -> Vec<(EventId, Vec<Outcome>)> {
    let usual = Usual::of(series, events);
    let past = past_of(&usual, older, events);
    events
        .iter()
        .zip(past)
        .map(|(event, seen)| (event.event.clone(), outcomes_of(event, &seen)))
        .collect()
}

/// A forecaster that knows of events, where one is asked for.
pub struct Knowing<'a> {
    pub model: &'a dyn Forecaster,
    pub events: &'a [Affecting],
}

impl Forecaster for Knowing<'_> {
    fn name(&self) -> &'static str {
        self.model.name()
    }

    fn predict(&self, series: &Series, horizon_steps: usize) -> Result<Predicted, NotReady> {
        predict(self.model, series, None, horizon_steps, self.events)
            .map(|(predicted, _)| predicted)
    }
}

/// The newest `seconds` of a series.
fn newest(mut series: Series, seconds: u64) -> Series {
    let wanted = (seconds / u64::from(series.step_seconds.max(1))) as usize;
    let over = series.values.len().saturating_sub(wanted);
    series.start = series.at(over);
    series.values.drain(..over);
    series
}

/// The past occurrences of each event that are known well enough, oldest first.
fn past_of(usual: &Usual, older: Option<&Series>, events: &[Affecting]) -> Vec<Vec<Seen>> {
    let long_ago = older.map(|series| Usual::of(series, events));
    let see = |window: &Window| {
        // What both hold counts once, and by the finer.
        let coarse = long_ago
            .as_ref()
            .filter(|_| window.from < usual.series.start);
        usual
            .seen(*window)
            .or_else(|| coarse.and_then(|long_ago| long_ago.seen(*window)))
    };
    events
        .iter()
        .map(|event| event.windows.iter().filter_map(see).collect())
        .collect()
}

/// The series as it would have been: what an occurrence did is taken out, what is excluded is the usual.
fn without_events(usual: &Usual, events: &[Affecting], past: &[Vec<Seen>]) -> Series {
    let mut series = usual.series.clone();
    for (event, seen) in events.iter().zip(past) {
        let adds = seen::adds(seen);
        for window in &event.windows {
            let seen = seen.iter().find(|seen| seen.window == *window);
            for step in steps(usual.series, *window) {
                let value = &mut series.values[step];
                *value = match seen.filter(|_| !event.exclude) {
                    Some(seen) if adds => (f64::from(*value) - seen.more).max(0.0) as f32,
                    Some(seen) => (f64::from(*value) / seen.ratio.exp()) as f32,
                    // Still running, or excluded: what is usual stands for it, else a gap does.
                    None => usual.at(step).map_or(f32::NAN, |usual| usual as f32),
                };
            }
        }
    }
    series
}

fn learned_by(
    past: &[Vec<Seen>],
    events: &[Affecting],
    now: Timestamp,
    end: Timestamp,
) -> Vec<Learned> {
    let trains = events.iter().zip(past).filter(|(event, _)| !event.exclude);
    trains
        .map(|(event, seen)| {
            let ratio = seen::ratio(seen, event.expected_factor);
            let bound = |deviations: f64| (ratio.centre + deviations * ratio.deviation).exp();
            Learned {
                event: event.event.clone(),
                name: event.name.clone(),
                factor: ratio.centre.exp(),
                lower: bound(-DEVIATIONS),
                upper: bound(DEVIATIONS),
                added: seen::adds(seen).then(|| {
                    let more = seen::more(seen, event.expected_factor);
                    Added {
                        mean: more.centre,
                        lower: more.centre - DEVIATIONS * more.deviation,
                        upper: more.centre + DEVIATIONS * more.deviation,
                    }
                }),
                occurrences: seen.len(),
                ahead: event
                    .windows
                    .iter()
                    .filter(|window| window.to > now && window.from <= end)
                    .copied()
                    .collect(),
            }
        })
        .collect()
}

/// Of the factors of those that act at `at`.
fn product(learned: &[Learned], at: Timestamp, of: impl Fn(&Learned) -> f64) -> f64 {
    acting(learned, at)
        .filter(|one| one.added.is_none())
        .map(of)
        .product()
}

fn acting(learned: &[Learned], at: Timestamp) -> impl Iterator<Item = &Learned> {
    let acts = move |one: &&Learned| one.ahead.iter().any(|window| window.holds(at));
    learned.iter().filter(acts)
}

fn raise(point: &mut ForecastPoint, learned: &[Learned]) {
    let at = point.at;
    let factor = product(learned, at, |one| one.factor);
    let added = || acting(learned, at).filter_map(|one| one.added);
    // Deviations of independent causes add up as squares.
    let apart = |bound: f32, of: fn(&Learned) -> f64, of_added: fn(&Added) -> f64| {
        let own = f64::from(bound - point.mean).abs() * factor;
        let event = (product(learned, at, of) - factor).abs() * f64::from(point.mean);
        let more = added().map(|more| of_added(&more) - more.mean);
        more.fold(own.hypot(event), f64::hypot)
    };
    let below = apart(point.lower, |one| one.lower, |more| more.lower);
    let above = apart(point.upper, |one| one.upper, |more| more.upper);
    let mean = f64::from(point.mean) * factor + added().map(|more| more.mean).sum::<f64>();
    let mean = mean.max(0.0);
    point.mean = mean as f32;
    point.lower = (mean - below).max(0.0) as f32;
    point.upper = (mean + above) as f32;
}

fn outcomes_of(event: &Affecting, seen: &[Seen]) -> Vec<Outcome> {
    let outcome = |(index, one): (usize, &Seen)| {
        let before = &seen[..index];
        let factor = seen::ratio(before, event.expected_factor).centre.exp();
        let more = seen::more(before, event.expected_factor).centre;
        let adds = seen::adds(before);
        Outcome {
            window: one.window,
            expected_factor: factor,
            actual_factor: one.ratio.exp(),
            error_without: one.error(|usual| usual),
            error_with: one.error(|usual| if adds { usual + more } else { usual * factor }),
        }
    };
    seen.iter().enumerate().map(outcome).collect()
}

#[cfg(test)]
mod tests;
