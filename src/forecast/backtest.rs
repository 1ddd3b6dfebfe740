//! What forecasts were worth: a model put back to past moments and judged by what came then.
//!
//! The model is given what was known at the moment and nothing else. Errors are counted on measured values only.

use super::{Exceedance, ForecastPoint, Forecaster, History, Predicted};
use crate::metrics::Series;

/// An hour this likely to cross is an alarm.
const ALARM: f64 = 0.5;

/// Equal steps of probability in which it is compared with what happened.
pub(super) const BINS: usize = 10;

/// One moment to be judged at.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// All that was known; its last value is that of the moment.
    pub known: &'a Series,
    /// What came after it, `NaN` where nothing was measured.
    pub truth: &'a [f32],
    pub limit: Option<f64>,
}

/// Said and happened, how often, in one band of probability.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    pub count: usize,
    pub said: f64,
    pub happened: usize,
}

/// What a number of cases came to; tallies of parts add up to the whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    pub cases: usize,
    /// Where the model gave a reason instead of a forecast.
    pub refused: usize,
    pub(super) points: usize,
    pub(super) inside: usize,
    pub(super) scaled_error: f64,
    /// Whether the next hour crossed from under the limit, and how likely that was said to be.
    onsets: Vec<(bool, f64)>,
    pub(super) bins: [Bin; BINS],
    pub(super) hours: usize,
    pub(super) false_alarms: usize,
    pub(super) alarms: usize,
    /// Crossings from under the limit within the horizon, and for those told of, how long before in seconds.
    pub(super) crossings: usize,
    pub(super) leads_seconds: Vec<u64>,
}

impl Tally {
    pub fn add(&mut self, case: &Case, predicted: &Predicted) {
        self.cases += 1;
        let scale = day_naive_error(case.known);
        for (point, truth) in predicted.points.iter().zip(case.truth) {
            if truth.is_finite() {
                self.points += 1;
                self.inside += usize::from((point.lower..=point.upper).contains(truth));
                self.scaled_error += f64::from((truth - point.mean).abs()) / scale;
            }
        }
        if let Some(limit) = case.limit {
            self.add_alarms(case, predicted, limit);
        }
    }

    fn add_alarms(&mut self, case: &Case, predicted: &Predicted, limit: f64) {
        let over = |value: &f32| *value > limit as f32;
        let hour_steps = predicted.exceedance.hour_steps.max(1);
        let now = case
            .known
            .values
            .iter()
            .rev()
            .find(|value| value.is_finite());
        let from_under = now.is_some_and(|now| !over(now));
        let by_hour = predicted.exceedance.by_hour(&predicted.points, limit);
        let mut crossed = !from_under;
        for (hour, (truth, said)) in case.truth.chunks(hour_steps).zip(by_hour).enumerate() {
            let measured = truth.iter().filter(|value| value.is_finite()).count();
            if 2 * measured < hour_steps {
                continue;
            }
            let first_over = truth.iter().position(over);
            let happened = first_over.is_some();
            if hour == 0 && from_under {
                self.onsets.push((happened, said));
            }
            let bin = &mut self.bins[((said * BINS as f64) as usize).min(BINS - 1)];
            bin.count += 1;
            bin.said += said;
            bin.happened += usize::from(happened);
            self.hours += 1;
            self.alarms += usize::from(said >= ALARM);
            self.false_alarms += usize::from(said >= ALARM && !happened);
            if let (Some(step), false) = (first_over, crossed) {
                crossed = true;
                self.crossings += 1;
                if said >= ALARM {
                    let steps = (hour * hour_steps + step + 1) as u64;
                    let step_seconds = u64::from(case.known.step_seconds);
                    self.leads_seconds.push(steps * step_seconds);
                }
            }
        }
    }

    pub fn merge(&mut self, other: &Self) {
        self.cases += other.cases;
        self.refused += other.refused;
        self.points += other.points;
        self.inside += other.inside;
        self.scaled_error += other.scaled_error;
        self.onsets.extend_from_slice(&other.onsets);
        for (bin, other) in self.bins.iter_mut().zip(&other.bins) {
            bin.count += other.count;
            bin.said += other.said;
            bin.happened += other.happened;
        }
        self.hours += other.hours;
        self.false_alarms += other.false_alarms;
        self.alarms += other.alarms;
        self.crossings += other.crossings;
        self.leads_seconds.extend_from_slice(&other.leads_seconds);
    }

    /// Mean absolute error over that of the day-naive forecast inside the known history.
    pub fn mase(&self) -> Option<f64> {
        (self.points > 0).then(|| self.scaled_error / self.points as f64)
    }

    /// 0..=1 of the values that fell inside the 95 % interval.
    pub fn coverage(&self) -> Option<f64> {
        (self.points > 0).then(|| self.inside as f64 / self.points as f64)
    }

    /// How well the next hour's crossings from under the limit were told from the hours without, 0..=1.
    pub fn onset_precision(&self) -> Option<f64> {
        average_precision(&self.onsets)
    }

    pub fn onsets(&self) -> usize {
        self.onsets.iter().filter(|(happened, _)| *happened).count()
    }

    /// Bands of probability, lowest first: the mean of what was said and the share of what happened, of those in use.
    pub fn calibration(&self) -> impl Iterator<Item = (f64, f64, usize)> {
        self.bins.iter().filter(|bin| bin.count > 0).map(|bin| {
            let count = bin.count as f64;
            (bin.said / count, bin.happened as f64 / count, bin.count)
        })
    }

    /// Hours that were said to cross and did not, for each day of one VM's metric.
    pub fn false_alarms_per_day(&self) -> Option<f64> {
        (self.hours > 0).then(|| self.false_alarms as f64 / (self.hours as f64 / 24.0))
    }

    /// 0..=1 of the first crossings within the horizon whose hour had been called, and how long before, in the middle.
    pub fn told_in_time(&self) -> Option<(f64, u64)> {
        let mut leads = self.leads_seconds.clone();
        leads.sort_unstable();
        let median = leads.get(leads.len() / 2).copied()?;
        Some((leads.len() as f64 / self.crossings as f64, median))
    }
}

/// Puts `model` back to every `every`-th moment of `series` from `from` on, as long as one horizon lies after it.
///
/// Moments that the model refuses are counted and not judged.
pub fn roll(
    model: &dyn Forecaster,
    series: &Series,
    from: usize,
    every: usize,
    horizon_steps: usize,
    limit: Option<f64>,
) -> Tally {
    let mut tally = Tally::default();
    let last = series.values.len().saturating_sub(horizon_steps);
    for now in (from..last).step_by(every.max(1)) {
        let known = known_at(series, now);
        let case = Case {
            known: &known,
            truth: &series.values[now + 1..(now + 1 + horizon_steps).min(series.values.len())],
            limit,
        };
        match model.predict(&known, horizon_steps) {
            Ok(predicted) => tally.add(&case, &predicted),
            Err(_) => tally.refused += 1,
        }
    }
    tally
}

/// Of `series`, what a live forecast would have had at index `now`: the last two weeks up to it.
pub fn known_at(series: &Series, now: usize) -> Series {
    known_since(series, now, super::HISTORY_SECONDS)
}

/// The same of the last `seconds`.
pub fn known_since(series: &Series, now: usize, seconds: u64) -> Series {
    let steps = (seconds / u64::from(series.step_seconds.max(1))) as usize;
    let end = (now + 1).min(series.values.len());
    let from = (now + 1).saturating_sub(steps).min(end);
    let mut values = series.values[from..end].to_vec();
    // A series that ended before: nothing was measured since.
    values.resize(now + 1 - from, f32::NAN);
    Series {
        start: series.at(from),
        step_seconds: series.step_seconds,
        values,
    }
}

/// Where a row must stand although there is no forecast: the newest value goes on, between all that was seen of late.
/// Only for files that ask for a row at every moment; nothing that decides reads this.
pub fn going_on(known: &Series, horizon_steps: usize) -> Predicted {
    let bounded = |value: f32| value.clamp(0.0, f32::MAX);
    let measured = known
        .values
        .iter()
        .copied()
        .filter(|value| value.is_finite());
    let newest = measured.clone().next_back().map_or(0.0, bounded);
    let day = (86_400 / known.step_seconds.max(1)) as usize;
    let (mut lower, mut upper) = (newest, newest);
    for value in measured.rev().take(day) {
        lower = lower.min(bounded(value));
        upper = upper.max(bounded(value));
    }
    let steps = 0..horizon_steps;
    Predicted {
        model: "last value".to_owned(),
        accuracy: None,
        points: steps
            .map(|step| ForecastPoint {
                at: known.at(known.values.len() + step),
                mean: newest,
                lower,
                upper,
            })
            .collect(),
        exceedance: Exceedance::of_interval(known.step_seconds),
    }
}

/// In-sample error of "as it was yesterday", the unit of MASE; never 0.
pub(super) fn day_naive_error(known: &Series) -> f64 {
    if let Ok(history) = History::of(known) {
        return history.naive_error();
    }
    let day = (86_400 / known.step_seconds.max(1)) as usize;
    let later = known.values.get(day..).unwrap_or_default();
    let changes = later.iter().zip(&known.values);
    let (sum, count) = changes
        .map(|(now, before)| f64::from((now - before).abs()))
        .filter(|change| change.is_finite())
        .fold((0.0, 0.0), |(sum, count), change| {
            (sum + change, count + 1.0)
        });
    (sum / f64::max(count, 1.0)).max(1e-9)
}

/// Mean of the precision at each rise of recall, likeliest first; those said alike count together. `None` where
/// nothing happened.
fn average_precision(said: &[(bool, f64)]) -> Option<f64> {
    let events = said.iter().filter(|(happened, _)| *happened).count();
    if events == 0 {
        return None;
    }
    let mut ranked = said.to_vec();
    ranked.sort_by(|left, right| right.1.total_cmp(&left.1));
    let (mut hits, mut seen, mut area) = (0, 0, 0.0);
    for alike in ranked.chunk_by(|left, right| left.1.total_cmp(&right.1).is_eq()) {
        let new = alike.iter().filter(|(happened, _)| *happened).count();
        hits += new;
        seen += alike.len();
        area += new as f64 / events as f64 * hits as f64 / seen as f64;
    }
    Some(area)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        forecast::{DayNaive, synthetic::daily},
        units::Timestamp,
    };

    fn hourly(values: Vec<f32>) -> Series {
        Series {
            start: Timestamp::from_secs(0),
            step_seconds: 3600,
            values,
        }
    }

    fn said(points: &[(f32, f32)]) -> Predicted {
        Predicted {
            model: "test".into(),
            accuracy: None,
            points: points
                .iter()
                .map(|(mean, upper)| ForecastPoint {
                    at: Timestamp::from_secs(0),
                    mean: *mean,
                    lower: 0.0,
                    upper: *upper,
                })
                .collect(),
            exceedance: Exceedance::of_interval(3600),
        }
    }

    #[test]
    fn errors_are_counted_in_units_of_yesterday() {
        // Each day is 2 over the day before.
        let known = hourly((0..72).map(|hour| (hour / 24 * 2) as f32).collect());
        let truth = [5.0, f32::NAN, 9.0];
        let case = Case {
            known: &known,
            truth: &truth,
            limit: None,
        };
        let mut tally = Tally::default();
        tally.add(&case, &said(&[(4.0, 6.0), (0.0, 0.0), (6.0, 8.0)]));
        // |5 − 4| and |9 − 6| over 2; the gap counts nowhere; 9 lies over its interval.
        assert!((tally.mase().unwrap() - 1.0).abs() < 1e-9);
        assert!((tally.coverage().unwrap() - 0.5).abs() < 1e-9);
        assert_eq!(tally.onset_precision(), None);
    }

    #[test]
    fn alarms_are_right_false_or_in_time() {
        let known = hourly((0..48).map(|hour| (hour % 5) as f32).collect());
        let (sure, never) = ((9.0, 9.0), (1.0, 1.0));
        let mut tally = Tally::default();
        let mut judge = |points: &[(f32, f32)], truth: &[f32]| {
            let limit = Some(5.0);
            let known = &known;
            tally.add(
                &Case {
                    known,
                    truth,
                    limit,
                },
                &said(points),
            );
        };
        judge(&[never, never, sure, never], &[1.0, 1.0, 7.0, 7.0]);
        judge(&[sure, never], &[1.0, 8.0]);
        judge(&[sure], &[8.0]);
        // Three first crossings; the hours of two were called, one three hours and one one hour before.
        assert_eq!(tally.told_in_time(), Some((2.0 / 3.0, 3 * 3600)));
        let days = 7.0 / 24.0;
        assert!((tally.false_alarms_per_day().unwrap() - 1.0 / days).abs() < 1e-9);
        let bins: Vec<_> = tally.calibration().map(|(_, rate, n)| (rate, n)).collect();
        assert_eq!(bins, [(0.5, 4), (2.0 / 3.0, 3)]);
        // The next hour: sure and wrong, sure and right, never and right.
        assert_eq!(tally.onset_precision(), Some(0.5));
    }

    #[test]
    fn average_precision_has_known_values() {
        let of = |said: &[(bool, f64)]| average_precision(said).unwrap();
        assert!((of(&[(true, 0.9), (true, 0.8), (false, 0.1)]) - 1.0).abs() < 1e-12);
        assert!((of(&[(false, 0.9), (true, 0.8)]) - 0.5).abs() < 1e-12);
        // All said alike: the share of events.
        assert!((of(&[(true, 0.5), (false, 0.5), (false, 0.5)]) - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(average_precision(&[(false, 0.5)]), None);
    }

    #[test]
    fn a_rolling_origin_never_shows_the_future() {
        let mut series = daily(4, 0.0);
        for value in &mut series.values[3 * 288 + 13..] {
            *value = 50.0;
        }
        let tally = roll(&DayNaive, &series, 3 * 288, 1, 12, None);
        let honest = roll(&DayNaive, &daily(4, 0.0), 3 * 288, 1, 12, None);
        // The first moment has nothing of the jump before it nor in its hour.
        let first = roll(&DayNaive, &series, 3 * 288, 500, 12, None);
        assert!(first.mase().unwrap() < 1e-3 && honest.mase().unwrap() < 1e-3);
        assert!(tally.mase().unwrap() > 1.0);
        assert_eq!((tally.refused, tally.cases), (0, 288 - 12));
        assert_eq!(known_at(&series, 300).values.len(), 301);
        let ended = known_at(&series, 4 * 288 + 4);
        assert!(ended.values[4 * 288..].iter().all(|value| value.is_nan()));
        assert_eq!(ended.values.len(), 4 * 288 + 5);
    }

    #[test]
    fn a_row_is_given_where_there_is_no_forecast() {
        let row = going_on(&hourly(vec![f32::NAN; 3]), 2);
        assert_eq!(row.points.len(), 2);
        assert!(
            row.points
                .iter()
                .all(|point| point.mean.abs() < f32::EPSILON)
        );
        let row = going_on(&hourly(vec![-1.0, 4.0, 2.0, f32::INFINITY]), 1);
        let point = row.points[0];
        assert_eq!(
            [point.lower, point.mean, point.upper].map(|v| v as u32),
            [0, 2, 4]
        );
    }
}
