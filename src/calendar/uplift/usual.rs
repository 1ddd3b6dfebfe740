//! A series beside what it usually is at the same time of day.

use super::super::{Affecting, Window};
use super::seen::Seen;
use crate::{metrics::Series, units::Timestamp};

/// Days to each side of an occurrence that tell what is usual.
const DAYS_AROUND: i64 = 8;
/// Of those, so many of the nearest are enough.
const DAYS_ENOUGH: usize = 5;
/// 0..=1 of an occurrence's steps that must be measured.
const MIN_MEASURED: f64 = 0.5;

/// A series beside what it usually is.
pub struct Usual<'a> {
    pub series: &'a Series,
    /// The steps that any event acts on.
    acted_on: Vec<bool>,
    /// A little, so that nothing is divided by nothing.
    pub floor: f64,
}

impl<'a> Usual<'a> {
    pub fn of(series: &'a Series, events: &[Affecting]) -> Self {
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
    pub fn at(&self, step: usize) -> Option<f64> {
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

    /// What an occurrence did; `None` where too little of it is known, or it is not over.
    pub fn seen(&self, window: Window) -> Option<Seen> {
        if window.from < self.series.start || window.to > self.series.end() {
            return None;
        }
        let steps = whole_steps(self.series, window);
        let wanted = steps.len();
        let known: Vec<(f64, f64)> = steps
            .filter_map(|step| {
                let value = self.series.values[step];
                Some((f64::from(value), self.at(step)?))
            })
            .filter(|(value, _)| value.is_finite())
            .collect();
        if wanted == 0 || (known.len() as f64) < MIN_MEASURED * wanted as f64 {
            return None;
        }
        Some(Seen::of(window, known, self.floor))
    }
}

/// The steps of `series` that lie in `window`.
pub fn steps(series: &Series, window: Window) -> std::ops::Range<usize> {
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

/// Of those, the ones that do not go on after it: what a coarse step says of the rest is no part of the occurrence.
fn whole_steps(series: &Series, window: Window) -> std::ops::Range<usize> {
    let all = steps(series, window);
    let ends_later = all.end > all.start && series.at(all.end) > window.to;
    all.start..all.end - usize::from(ends_later)
}
