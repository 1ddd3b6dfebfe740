//! Irregular samples to evenly spaced means, and what is asked of such a series. A gap stays a gap.

use super::Series;
use crate::units::Timestamp;

/// Gathers samples in any order into the steps of one span.
#[derive(Clone, Debug)]
pub struct SeriesBuilder {
    start: Timestamp,
    step_seconds: u32,
    steps: Vec<Bucket>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    sum: f64,
    count: u32,
    max: f32,
}

impl SeriesBuilder {
    /// Steps from the one that holds `from` up to the one that ends at or after `to`; none where `to` is not later.
    pub fn new(from: Timestamp, to: Timestamp, step_seconds: u32) -> Self {
        let step_seconds = step_seconds.max(1);
        let start = from.floor_to(step_seconds);
        let step_millis = i64::from(step_seconds) * 1000;
        let span_millis = to.as_millis().saturating_sub(start.as_millis()).max(0);
        let steps = usize::try_from(span_millis.div_euclid(step_millis)).unwrap_or(0)
            + usize::from(span_millis % step_millis != 0);
        Self {
            start,
            step_seconds,
            steps: vec![Bucket::default(); steps],
        }
    }

    /// Takes one sample; what is not finite or lies outside the span is left out.
    pub fn add(&mut self, at: Timestamp, value: f32) {
        let offset_millis = at.as_millis().saturating_sub(self.start.as_millis());
        let index = offset_millis.div_euclid(i64::from(self.step_seconds) * 1000);
        let Some(step) = usize::try_from(index)
            .ok()
            .and_then(|index| self.steps.get_mut(index))
        else {
            return;
        };
        if value.is_finite() {
            step.max = if step.count == 0 {
                value
            } else {
                step.max.max(value)
            };
            step.sum += f64::from(value);
            step.count += 1;
        }
    }

    /// The mean of each step.
    pub fn means(&self) -> Series {
        self.collect(|step| (step.sum / f64::from(step.count)) as f32)
    }

    /// The largest value of each step: what a mean hides.
    pub fn maxima(&self) -> Series {
        self.collect(|step| step.max)
    }

    fn collect(&self, value: impl Fn(&Bucket) -> f32) -> Series {
        Series {
            start: self.start,
            step_seconds: self.step_seconds,
            values: self
                .steps
                .iter()
                .map(|step| {
                    if step.count == 0 {
                        f32::NAN
                    } else {
                        value(step)
                    }
                })
                .collect(),
        }
    }
}

impl Series {
    /// The value of the step that holds `at`; `None` in a gap and outside.
    pub fn value_at(&self, at: Timestamp) -> Option<f32> {
        if self.step_seconds == 0 {
            return None;
        }
        let offset_millis = at.as_millis().checked_sub(self.start.as_millis())?;
        let index = offset_millis.div_euclid(i64::from(self.step_seconds) * 1000);
        self.values
            .get(usize::try_from(index).ok()?)
            .copied()
            .filter(|value| value.is_finite())
    }

    /// The index and value of the newest step that holds one.
    pub fn newest(&self) -> Option<(usize, f32)> {
        let index = self.values.iter().rposition(|value| value.is_finite())?;
        Some((index, self.values[index]))
    }

    /// Seconds from the end of the newest step that holds a value to `now`; 0 while that step still runs.
    pub fn newest_age_seconds(&self, now: Timestamp) -> Option<u64> {
        let (index, _) = self.newest()?;
        Some(u64::try_from(now.secs_since(self.at(index + 1))).unwrap_or(0))
    }

    /// Means over longer steps, aligned to whole multiples of `step_seconds` since 1970.
    #[must_use]
    pub fn downsample(&self, step_seconds: u32) -> Self {
        let mut builder = SeriesBuilder::new(self.start, self.end(), step_seconds);
        for (index, value) in self.values.iter().enumerate() {
            builder.add(self.at(index), *value);
        }
        builder.means()
    }

    /// One series from several that tell of the same thing, for example an import and the live roll-ups: each step
    /// takes its value from the last of `layers` that has one. The span bounds what a far-off layer can cost.
    #[must_use]
    pub fn layered(from: Timestamp, to: Timestamp, step_seconds: u32, layers: &[&Self]) -> Self {
        let mut merged = SeriesBuilder::new(from, to, step_seconds).means();
        for index in 0..merged.values.len() {
            let at = merged.at(index);
            if let Some(value) = layers.iter().rev().find_map(|layer| layer.value_at(at)) {
                merged.values[index] = value;
            }
        }
        merged
    }

    /// Bridges gaps of up to `max_steps` between two values with a straight line. For models only: what people see
    /// and what decides a state keeps its gaps.
    #[must_use]
    pub fn short_gaps_filled(&self, max_steps: usize) -> Self {
        let mut filled = self.clone();
        let mut last: Option<usize> = None;
        for index in 0..filled.values.len() {
            if !filled.values[index].is_finite() {
                continue;
            }
            if let Some(last) = last
                && (2..=max_steps + 1).contains(&(index - last))
            {
                let (from, to) = (filled.values[last], filled.values[index]);
                let steps = (index - last) as f32;
                for between in 1..index - last {
                    filled.values[last + between] = from + (to - from) * between as f32 / steps;
                }
            }
            last = Some(index);
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: f32 = f32::NAN;

    fn series(values: &[f32]) -> Series {
        Series {
            start: Timestamp::from_secs(600),
            step_seconds: 300,
            values: values.to_vec(),
        }
    }

    fn same(left: &Series, right: &[f32]) {
        let text = |values: &[f32]| format!("{values:?}");
        assert_eq!(text(&left.values), text(right));
    }

    #[test]
    fn samples_become_means_and_maxima_with_gaps() {
        let at = Timestamp::from_secs;
        let mut builder = SeriesBuilder::new(at(650), at(1601), 300);
        for (seconds, value) in [(1000, 3.0), (600, 1.0), (899, 2.0), (599, 9.0), (1800, 9.0)] {
            builder.add(at(seconds), value);
        }
        builder.add(at(700), f32::INFINITY);
        let means = builder.means();
        assert_eq!(means.start, at(600));
        same(&means, &[1.5, 3.0, GAP, GAP]);
        same(&builder.maxima(), &[2.0, 3.0, GAP, GAP]);
        assert!(
            SeriesBuilder::new(at(900), at(600), 300)
                .means()
                .values
                .is_empty()
        );
    }

    #[test]
    fn only_short_gaps_between_values_are_filled() {
        let gappy = series(&[GAP, 1.0, GAP, GAP, GAP, 5.0, GAP, GAP, GAP, GAP, 9.0, GAP]);
        same(
            &gappy.short_gaps_filled(3),
            &[GAP, 1.0, 2.0, 3.0, 4.0, 5.0, GAP, GAP, GAP, GAP, 9.0, GAP],
        );
    }

    #[test]
    fn live_values_win_over_imported_ones() {
        let imported = series(&[1.0, 1.0, 1.0]);
        let mut live = series(&[GAP, 2.0]);
        live.start = Timestamp::from_secs(900);
        let from = Timestamp::from_secs(300);
        let merged = Series::layered(from, Timestamp::from_secs(1800), 300, &[&imported, &live]);
        same(&merged, &[GAP, 1.0, 1.0, 2.0, GAP]);
    }

    #[test]
    fn the_newest_value_has_an_age() {
        let stale = series(&[1.0, 2.0, GAP, GAP]);
        assert_eq!(stale.newest(), Some((1, 2.0)));
        assert_eq!(
            stale.newest_age_seconds(Timestamp::from_secs(1500)),
            Some(300)
        );
        assert_eq!(
            stale.newest_age_seconds(Timestamp::from_secs(1000)),
            Some(0)
        );
        assert_eq!(
            series(&[GAP]).newest_age_seconds(Timestamp::from_secs(1500)),
            None
        );
    }

    #[test]
    fn longer_steps_are_means() {
        same(
            &series(&[1.0, 3.0, GAP, 4.0, GAP]).downsample(600),
            &[2.0, 4.0, GAP],
        );
    }
}
