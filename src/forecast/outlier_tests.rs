//! What is out of the ordinary in a history: a spike must not come back tomorrow, a new level must be followed.

use super::{
    Forecaster, Mix, Predicted, Select,
    synthetic::{curve, daily},
};
use crate::metrics::Series;

const DAY: usize = 288;
const MODELS: [&dyn Forecaster; 2] = [&Mix, &Select];

/// How far the means lie from what is right at most, over some steps of the next day.
fn off(predicted: &Predicted, steps: std::ops::Range<usize>, right: impl Fn(usize) -> f32) -> f32 {
    let apart = steps.map(|step| (predicted.points[step].mean - right(step)).abs());
    apart.fold(0.0, f32::max)
}

/// Two weeks, up to `end` steps after a midnight, the newest `steps` of them changed.
fn changed(end: usize, steps: usize, change: impl Fn(&mut f32)) -> Series {
    let mut series = daily(15, 0.02);
    series.values.truncate(14 * DAY + end);
    let from = series.values.len() - steps;
    series.values[from..].iter_mut().for_each(change);
    series
}

#[test]
fn a_wild_spike_does_not_come_back() {
    // Once, half a day ago or three days; five minutes to two hours long; ten times of what is usual.
    for (back, width) in [
        (DAY / 2, 1),
        (DAY / 2, 24),
        (30, 3),
        (DAY - 6, 12),
        (3 * DAY + 100, 12),
    ] {
        let mut series = daily(14, 0.02);
        let from = series.values.len() - back;
        series.values[from..from + width].fill(5.0);
        for model in MODELS {
            let predicted = model.predict(&series, DAY).unwrap();
            let worst = off(&predicted, 0..DAY, curve);
            assert!(worst < 0.1, "{} {back} {width}: {worst}", model.name());
        }
        let predicted = Mix.predict(&series, DAY).unwrap();
        let by_hour = predicted.exceedance.by_hour(&predicted.points, 0.85);
        let likeliest = by_hour.iter().copied().fold(0.0, f64::max);
        assert!(likeliest < 0.5, "{back} {width}: {likeliest}");
    }
}

#[test]
fn a_new_level_is_followed_within_half_an_hour_for_the_next_and_after_a_day_for_all_of_it() {
    let higher = |step| curve(step) + 0.3;
    for model in MODELS {
        // From half an hour after it on.
        for steps in [6, 36, 72, 144] {
            let series = changed(0, steps, |value| *value += 0.3);
            let predicted = model.predict(&series, DAY).unwrap();
            let worst = off(&predicted, 0..9, higher);
            assert!(worst < 0.1, "{} {steps}: {worst}", model.name());
        }
        let series = changed(0, DAY + 12, |value| *value += 0.3);
        let predicted = model.predict(&series, DAY).unwrap();
        let worst = off(&predicted, 0..DAY, higher);
        assert!(worst < 0.1, "{}: {worst}", model.name());
    }
}
