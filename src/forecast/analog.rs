//! The moments of a series' own past that were most like now, and what came after them.
//!
//! A moment is told by its level (15 minutes, an hour, six hours), by its last hour's maximum and by how high the
//! coming hour usually goes at that time of day; near in time of day and not long ago counts a little, too.

use super::history::History;

/// Days that must lie before a moment, so that its time of day is known.
const DAYS_BEFORE: usize = 1;

/// Moments are looked at this often.
const STRIDE_MINUTES: f64 = 10.0;

/// The usual maximum of an hour is a median over so many days.
const USUAL_DAYS: usize = 7;

/// What a moment is told by, and what a difference of the series' whole range counts in each. Found by nested rolling
/// origins on recorded load; anything near these does about as well.
const FEATURES: usize = 5;
const WEIGHTS: [f64; FEATURES] = [2.25, 1.5, 1.0, 1.8, 0.8];
const PER_HOUR_OF_DAY: f64 = 0.04;
const PER_DAY_OF_AGE: f64 = 0.03;

/// So many moments are enough to tell a distribution, and few enough to be alike.
const NEAREST: usize = 60;

/// Weights fall by e with this many median distances.
const BANDWIDTH: f64 = 0.6;

/// What the last hours did is no precedent for what they do; nor is a hair over the highest value a new world.
const QUIET_HOURS: usize = 6;
const SLACK: f64 = 0.05;

type Features = [f64; FEATURES];

/// A past moment and how much it counts; the weights of a set sum to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    pub index: usize,
    pub weight: f64,
}

/// Moments of one series, ready to be compared.
pub struct Analogs<'a> {
    history: &'a History,
    /// Maximum of the hour that begins at each index, as far as it is known.
    hour_max: Vec<f64>,
    sums: Vec<f64>,
    hour: usize,
    level_steps: usize,
    candidates: Vec<(usize, Features)>,
    /// What differences are measured by: most of the series' range.
    scale: f64,
}

impl<'a> Analogs<'a> {
    /// `None` where there is too little history to compare anything.
    pub fn new(history: &'a History) -> Option<Self> {
        let (values, day) = (&history.values, history.day);
        let step_minutes = 1440.0 / day as f64;
        let hour = (day / 24).max(1);
        let mut sums = Vec::with_capacity(values.len() + 1);
        let mut sum = 0.0;
        sums.push(sum);
        for value in values {
            sum += value;
            sums.push(sum);
        }
        let mut found = Self {
            history,
            hour_max: window_max(values, hour),
            sums,
            hour,
            level_steps: ((15.0 / step_minutes) as usize).max(1),
            candidates: Vec::new(),
            scale: range_of(values),
        };
        let first = DAYS_BEFORE * day + 6 * hour;
        let last = history.origin().checked_sub(hour)?;
        let stride = ((STRIDE_MINUTES / step_minutes) as usize).max(1);
        // Counted back from now, so that the newest moment that has an hour behind it is among them.
        let mut candidates: Vec<(usize, Features)> = (first..=last)
            .rev()
            .step_by(stride)
            .map(|index| (index, found.features(index)))
            .collect();
        candidates.reverse();
        found.candidates = candidates;
        (found.candidates.len() >= 2 * NEAREST).then_some(found)
    }

    pub fn scale(&self) -> f64 {
        self.scale
    }

    pub fn hour(&self) -> usize {
        self.hour
    }

    /// Maximum of the hour that begins at `index`.
    pub fn hour_max(&self, index: usize) -> f64 {
        self.hour_max[index]
    }

    /// Whether the newest quarter of an hour lies outside of all that came before the last hours: then no moment is
    /// like it, however near the nearest.
    pub fn has_no_precedent(&self) -> bool {
        let values = &self.history.values;
        let newest = self.mean(values.len() - self.level_steps, values.len());
        let before = &values[..values.len().saturating_sub(QUIET_HOURS * self.hour)];
        let lowest = before.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = before.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let slack = SLACK * self.scale;
        !(lowest - slack..=highest + slack).contains(&newest)
    }

    /// How unlike `origin` each moment before it is.
    pub fn ranked(&self, origin: usize) -> Ranked {
        let wanted = self.features(origin);
        let day = self.history.day;
        let latest = origin.saturating_sub(self.hour);
        let known = self
            .candidates
            .partition_point(|(index, _)| *index <= latest);
        let steps_to_hours = 24.0 / day as f64;
        let moments = self.candidates[..known]
            .iter()
            .map(|(index, features)| {
                let steps = origin - index;
                let off_time = (steps % day).min(day - steps % day) as f64 * steps_to_hours;
                let mut distance = 0.0;
                for ((one, other), weight) in features.iter().zip(&wanted).zip(&WEIGHTS) {
                    distance += weight * (one - other).abs();
                }
                let distance = distance / self.scale
                    + PER_HOUR_OF_DAY * off_time
                    + PER_DAY_OF_AGE * steps as f64 / day as f64;
                (distance, *index)
            })
            .collect();
        Ranked {
            origin,
            moments,
            sorted: false,
        }
    }

    fn mean(&self, from: usize, to: usize) -> f64 {
        (self.sums[to] - self.sums[from]) / (to - from) as f64
    }

    fn features(&self, index: usize) -> Features {
        let end = index + 1;
        let usual_from = end.min(self.history.values.len() - 1);
        let mut usual = [0.0; USUAL_DAYS];
        let mut days = 0;
        for back in 1..=USUAL_DAYS {
            let Some(known) = usual_from.checked_sub(back * self.history.day) else {
                break;
            };
            usual[days] = self.hour_max[known];
            days += 1;
        }
        usual[..days].sort_unstable_by(f64::total_cmp);
        [
            self.mean(end - self.level_steps, end),
            self.mean(end - self.hour, end),
            self.hour_max[end - self.hour],
            usual[days / 2],
            self.mean(end - 6 * self.hour, end),
        ]
    }
}

/// Moments and their distance to one origin.
pub struct Ranked {
    origin: usize,
    moments: Vec<(f64, usize)>,
    sorted: bool,
}

fn nearer(left: &(f64, usize), right: &(f64, usize)) -> std::cmp::Ordering {
    left.0.total_cmp(&right.0)
}

impl Ranked {
    /// Pays off when many sets are asked for.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.moments.sort_unstable_by(nearer);
        self.sorted = true;
        self
    }

    /// The nearest whose next `steps_ahead` lie before the origin.
    pub fn nearest(&self, steps_ahead: usize) -> Vec<Moment> {
        let known = self
            .moments
            .iter()
            .filter(|(_, index)| index + steps_ahead <= self.origin);
        let nearest: Vec<(f64, usize)> = if self.sorted {
            known.take(NEAREST).copied().collect()
        } else {
            let mut known: Vec<(f64, usize)> = known.copied().collect();
            if known.len() > NEAREST {
                known.select_nth_unstable_by(NEAREST - 1, nearer);
                known.truncate(NEAREST);
            }
            // The median of the distances sets the width of the weights.
            let middle = known.len() / 2;
            if middle > 0 {
                known.select_nth_unstable_by(middle, nearer);
            }
            known
        };
        let Some((median, _)) = nearest.get(nearest.len() / 2) else {
            return Vec::new();
        };
        let bandwidth = BANDWIDTH * median + 1e-9;
        let mut moments: Vec<Moment> = nearest
            .iter()
            .map(|(distance, index)| Moment {
                index: *index,
                weight: (-distance / bandwidth).exp(),
            })
            .collect();
        let total: f64 = moments.iter().map(|moment| moment.weight).sum();
        for moment in &mut moments {
            moment.weight /= total;
        }
        moments
    }
}

/// Values and weights that sum to 1; sorts them. The values at which the weights before reach each of `levels`.
pub fn quantiles<const N: usize>(weighted: &mut [(f64, f64)], levels: [f64; N]) -> [f64; N] {
    weighted.sort_unstable_by(|left, right| left.0.total_cmp(&right.0));
    let mut found = [weighted.last().map_or(0.0, |last| last.0); N];
    let (mut level, mut before) = (0, 0.0);
    for (value, weight) in weighted {
        while level < N && before + 0.5 * *weight >= levels[level] {
            found[level] = *value;
            level += 1;
        }
        before += *weight;
    }
    found
}

/// From the 5 % to the 95 % quantile, at least a quarter of the standard deviation, never 0.
fn range_of(values: &[f64]) -> f64 {
    let mut known = values.to_vec();
    let last = known.len() - 1;
    let low = *known.select_nth_unstable_by(last / 20, f64::total_cmp).1;
    let high = *known
        .select_nth_unstable_by(last - last / 20, f64::total_cmp)
        .1;
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>()
        / count;
    (high - low)
        .max(0.25 * variance.sqrt())
        .max(mean * 1e-3)
        .max(1e-9)
}

/// Maximum of the `width` values from each index on; fewer at the end. Block by block, whatever the width costs the same.
fn window_max(values: &[f64], width: usize) -> Vec<f64> {
    let mut to_block_end = values.to_vec();
    for index in (0..values.len().saturating_sub(1)).rev() {
        if (index + 1) % width != 0 {
            to_block_end[index] = to_block_end[index].max(to_block_end[index + 1]);
        }
    }
    let mut from_block_start = values.to_vec();
    for index in 1..values.len() {
        if index % width != 0 {
            from_block_start[index] = from_block_start[index].max(from_block_start[index - 1]);
        }
    }
    (0..values.len())
        .map(|index| {
            let last = (index + width - 1).min(values.len() - 1);
            if index / width == last / width {
                // All of it in one block, which it may begin late: only at the end of the values.
                to_block_end[index]
            } else {
                to_block_end[index].max(from_block_start[last])
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::synthetic::daily;

    #[test]
    fn the_nearest_moments_of_a_daily_course_have_its_time_of_day() {
        let series = daily(14, 0.005);
        let history = History::of(&series).unwrap();
        let analogs = Analogs::new(&history).unwrap();
        let origin = history.origin();
        for (ranked, steps) in [
            (analogs.ranked(origin), 12),
            (analogs.ranked(origin).sorted(), 288),
        ] {
            let nearest = ranked.nearest(steps);
            assert_eq!(nearest.len(), NEAREST);
            let total: f64 = nearest.iter().map(|moment| moment.weight).sum();
            assert!((total - 1.0).abs() < 1e-9);
            for moment in nearest {
                assert!(moment.index + steps <= origin, "{moment:?} is not over yet");
                let off = (origin - moment.index) % 288;
                assert!(off.min(288 - off) <= 24, "{moment:?}");
            }
        }
    }

    #[test]
    fn sorted_or_not_the_same_moments_are_nearest() {
        let series = daily(14, 0.1);
        let history = History::of(&series).unwrap();
        let analogs = Analogs::new(&history).unwrap();
        let ranked = || analogs.ranked(history.origin() - 100);
        let sum = |moments: Vec<Moment>| {
            let indices = moments.iter().map(|moment| moment.index);
            (indices.sum::<usize>(), moments.len())
        };
        let sorted = sum(ranked().sorted().nearest(12));
        assert_eq!(sum(ranked().nearest(12)), sorted);
    }

    #[test]
    fn the_hour_maximum_is_that_of_every_window() {
        let mut random = fastrand::Rng::with_seed(1);
        let values: Vec<f64> = (0..100).map(|_| random.f64()).collect();
        for width in [1, 3, 12, 60] {
            for (index, found) in window_max(&values, width).into_iter().enumerate() {
                let window = &values[index..(index + width).min(values.len())];
                let highest = window.iter().copied().fold(0.0, f64::max);
                assert!((found - highest).abs() < 1e-12, "{width} {index}");
            }
        }
    }

    #[test]
    fn quantiles_follow_the_weights() {
        let mut weighted = [(3.0, 0.1), (1.0, 0.8), (2.0, 0.1)];
        let [low, middle, high] = quantiles(&mut weighted, [0.025, 0.5, 0.975]);
        assert_eq!([low, middle, high].map(|value| value as u32), [1, 2, 3]);
    }
}
