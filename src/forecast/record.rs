//! The rolling record: what the live model's forecasts of one series were worth, kept day by day as days pass.
//!
//! The model is put back to a few moments of each day and judged by the day that came after, by the same tally as
//! every backtest. What is kept of that are sums only: those of many series add up to those of a fleet.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    NotReady, Predicted,
    backtest::{BINS, Case, Tally, day_naive_error},
};
use crate::{metrics::Series, units::Timestamp};

const DAY_SECONDS: i64 = 86_400;
const HOUR_SECONDS: u32 = 3600;

/// Moments of each day at which the model is put back, one in each quarter.
pub const ORIGINS_A_DAY: usize = 4;

/// Days that a record reaches back.
pub const DAYS: i64 = 14;

/// Fewer moments than this say nothing about a model.
const MIN_ORIGINS: u32 = 2 * ORIGINS_A_DAY as u32;

/// From this part of the naive error on a forecast is no better; one that repeats the day before is off by rounding.
const NO_BETTER: f64 = 0.999;

/// Sums are kept by week, so that what is too old can be taken off.
const WEEK_DAYS: i64 = 7;

/// A crossing can be told of this many hours ahead.
const LEAD_HOURS: usize = 24;

/// Errors up to one distance ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Errors {
    points: u64,
    inside: u64,
    /// In units of the day-naive error inside the known history, which is what MASE goes by.
    scaled: f64,
    /// The same of "as it was yesterday" at the very moments that were judged.
    naive: f64,
}

impl Errors {
    fn of(tally: &Tally, naive: f64) -> Self {
        Self {
            naive,
            points: tally.points as u64,
            inside: tally.inside as u64,
            scaled: tally.scaled_error,
        }
    }

    fn merge(&mut self, other: &Self) {
        self.points += other.points;
        self.inside += other.inside;
        self.scaled += other.scaled;
        self.naive += other.naive;
    }

    /// Mean absolute error over that of the day-naive forecast; `None` where nothing was judged.
    pub fn mase(&self) -> Option<f64> {
        (self.points > 0).then(|| self.scaled / self.points as f64)
    }

    /// The error over that of "as it was yesterday" at the same moments: MASE alone would blame a forecast for a day
    /// that nobody could have foretold.
    pub fn of_naive(&self) -> Option<f64> {
        (self.naive > 0.0).then(|| self.scaled / self.naive)
    }

    /// 0..=1 of the values that fell inside the 95 % interval.
    pub fn coverage(&self) -> Option<f64> {
        (self.points > 0).then(|| self.inside as f64 / self.points as f64)
    }
}

/// One band of probability: how often it was said, the sum of what was said, how often it happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Band {
    count: u32,
    said: f32,
    happened: u32,
}

/// What a number of forecasts were worth; those of parts add up to the whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Worth {
    /// Moments at which a forecast was judged.
    pub origins: u32,
    /// Moments at which the model gave a reason instead.
    pub refused: u32,
    /// Up to an hour ahead.
    pub hour: Errors,
    /// Up to a day ahead.
    pub day: Errors,
    bands: [Band; BINS],
    hours: u32,
    /// Hours that were said to be likelier to cross than not, and those of them that did not.
    pub alarms: u32,
    pub false_alarms: u32,
    /// First crossings from under the limit, and by whole hours before those that were told of.
    pub crossings: u32,
    leads: [u32; LEAD_HOURS],
}

impl Worth {
    fn of((hour, hour_naive): (&Tally, f64), (day, day_naive): (&Tally, f64)) -> Self {
        let mut leads = [0; LEAD_HOURS];
        for seconds in &day.leads_seconds {
            let hours = (seconds / u64::from(HOUR_SECONDS)) as usize;
            leads[hours.min(LEAD_HOURS - 1)] += 1;
        }
        Self {
            origins: day.cases as u32,
            refused: day.refused as u32,
            hour: Errors::of(hour, hour_naive),
            day: Errors::of(day, day_naive),
            bands: day.bins.map(|bin| Band {
                count: bin.count as u32,
                said: bin.said as f32,
                happened: bin.happened as u32,
            }),
            hours: day.hours as u32,
            alarms: day.alarms as u32,
            false_alarms: day.false_alarms as u32,
            crossings: day.crossings as u32,
            leads,
        }
    }

    pub fn merge(&mut self, other: &Self) {
        self.origins += other.origins;
        self.refused += other.refused;
        self.hour.merge(&other.hour);
        self.day.merge(&other.day);
        for (band, other) in self.bands.iter_mut().zip(&other.bands) {
            band.count += other.count;
            band.said += other.said;
            band.happened += other.happened;
        }
        self.hours += other.hours;
        self.alarms += other.alarms;
        self.false_alarms += other.false_alarms;
        self.crossings += other.crossings;
        for (lead, other) in self.leads.iter_mut().zip(other.leads) {
            *lead += other;
        }
    }

    /// Whether "as it was yesterday" did as well; `None` while too little was judged to say so.
    pub fn no_better_than_naive(&self) -> Option<bool> {
        if self.origins < MIN_ORIGINS {
            return None;
        }
        self.day.of_naive().map(|ratio| ratio >= NO_BETTER)
    }

    /// Bands of probability in use, lowest first: the mean of what was said of an hour, the share of what happened,
    /// and of how many hours.
    pub fn calibration(&self) -> impl Iterator<Item = (f64, f64, u32)> {
        self.bands.iter().filter(|band| band.count > 0).map(|band| {
            let count = f64::from(band.count);
            (
                f64::from(band.said) / count,
                f64::from(band.happened) / count,
                band.count,
            )
        })
    }

    /// Hours that were said to cross and did not, for each day of one series; `None` where it has no limit.
    pub fn false_alarms_per_day(&self) -> Option<f64> {
        (self.hours > 0).then(|| f64::from(self.false_alarms) / (f64::from(self.hours) / 24.0))
    }

    /// First crossings whose hour had been called.
    pub fn told(&self) -> u32 {
        self.leads.iter().sum()
    }

    /// How long before, in the middle of those told of; to half an hour.
    pub fn median_lead_seconds(&self) -> Option<u32> {
        let middle = self.told().checked_sub(1)? / 2;
        let mut seen = 0;
        let hour = self.leads.iter().position(|lead| {
            seen += lead;
            seen > middle
        })?;
        Some(hour as u32 * HOUR_SECONDS + HOUR_SECONDS / 2)
    }
}

/// What was judged of one series, newest [`DAYS`] and up to a week more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The days judged, without a gap between them, as days since 1970 UTC.
    judged: Option<(i64, i64)>,
    /// Nothing was known before the first of them.
    from_the_start: bool,
    /// By week of the origins.
    weeks: BTreeMap<i64, Worth>,
}

/// The last day whose forecasts have all come true or not at `now`.
const fn over(now: Timestamp) -> i64 {
    now.as_secs().div_euclid(DAY_SECONDS) - 2
}

/// The beginning of a day.
pub const fn start_of(day: i64) -> Timestamp {
    Timestamp::from_secs(day * DAY_SECONDS)
}

impl Record {
    /// The day that is to be judged next: first the days since the last look, then those before the first.
    pub fn due(&self, now: Timestamp) -> Option<i64> {
        let newest = over(now);
        match self.judged {
            None => Some(newest),
            Some((_, last)) if last < newest - DAYS => Some(newest),
            Some((_, last)) if last < newest => Some(last + 1),
            Some((first, _)) => {
                (!self.from_the_start && first > newest - (DAYS - 1)).then_some(first - 1)
            }
        }
    }

    /// Takes what a day came to, `None` where nothing was known up to its end. A day that is not next to those known
    /// begins the record anew.
    pub fn take(&mut self, day: i64, worth: Option<&Worth>) {
        match self.judged {
            Some((first, last)) if (first..=last).contains(&day) => return,
            Some((first, last)) if day == last + 1 => self.judged = Some((first, day)),
            Some((first, last)) if day == first - 1 => {
                self.from_the_start = worth.is_none();
                self.judged = Some((day, last));
            }
            _ => {
                *self = Self {
                    judged: Some((day, day)),
                    from_the_start: worth.is_none(),
                    weeks: BTreeMap::new(),
                };
            }
        }
        if let Some(worth) = worth {
            let week = self.weeks.entry(day.div_euclid(WEEK_DAYS)).or_default();
            week.merge(worth);
        }
        self.drop_old();
    }

    /// History is known from `start` on: where that is before what was taken for the beginning, some was brought.
    pub fn known_from(&mut self, start: Timestamp) {
        let brought = self
            .judged
            .is_some_and(|(first, _)| self.from_the_start && start < start_of(first));
        if brought && self.is_empty() {
            *self = Self::default();
        } else if brought {
            self.from_the_start = false;
        }
    }

    fn drop_old(&mut self) {
        let Some((first, last)) = self.judged else {
            return;
        };
        // A week goes once all of it is too old.
        let kept = (last - (DAYS - 1)).div_euclid(WEEK_DAYS);
        self.weeks = self.weeks.split_off(&kept);
        self.judged = Some((first.max(kept * WEEK_DAYS), last));
    }

    pub fn worth(&self) -> Worth {
        let mut whole = Worth::default();
        for week in self.weeks.values() {
            whole.merge(week);
        }
        whole
    }

    /// How many days were looked at.
    pub fn days(&self) -> i64 {
        self.judged.map_or(0, |(first, last)| last - first + 1)
    }

    /// Between which moments the origins lie.
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        self.judged
            .map(|(first, last)| (start_of(first), start_of(last + 1)))
    }

    /// The last day judged, for what was looked at longest ago.
    pub fn last_day(&self) -> Option<i64> {
        self.judged.map(|(_, last)| last)
    }

    /// Whether anything was judged at all.
    pub fn is_empty(&self) -> bool {
        self.weeks.values().all(|week| week.origins == 0)
    }

    /// Nobody has looked for so long that it says nothing any more.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.last_day().is_none_or(|last| last < over(now) - DAYS)
    }
}

/// The moment in a quarter of the day, as a step of it, at which a series is judged: another one for each series and
/// day, so that all times of day are.
fn step_in_quarter(seed: u64, day: i64, quarter: usize, steps: usize) -> usize {
    let mixed = seed ^ (day as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (quarter as u64) << 32;
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((mixed ^ (mixed >> 27)) % steps.max(1) as u64) as usize
}

/// Puts `predict` back to moments of `day` and judges it by `series`, which reaches from as far back as a live
/// forecast looks to the end of the day after. A moment before which nothing was measured is no moment; `None` where
/// all of the day's are such.
pub fn judge_day(
    seed: u64,
    day: i64,
    series: &Series,
    limit: Option<f64>,
    mut predict: impl FnMut(&Series, usize) -> Result<Predicted, NotReady>,
) -> Option<Worth> {
    let step_seconds = series.step_seconds.max(1);
    let day_steps = DAY_SECONDS as usize / step_seconds as usize;
    let quarter_steps = day_steps / ORIGINS_A_DAY;
    let start = start_of(day)
        .secs_since(series.start)
        .div_euclid(i64::from(step_seconds));
    let (mut hour_tally, mut day_tally) = (Tally::default(), Tally::default());
    let (mut hour_naive, mut day_naive) = (0.0, 0.0);
    let mut anything_known = false;
    for quarter in 0..ORIGINS_A_DAY {
        let step = quarter * quarter_steps + step_in_quarter(seed, day, quarter, quarter_steps);
        let Ok(origin) = usize::try_from(start + step as i64) else {
            continue;
        };
        let Some(known) = known_at(series, origin) else {
            continue;
        };
        anything_known = true;
        let end = (origin + 1 + day_steps).min(series.values.len());
        let truth = &series.values[(origin + 1).min(end)..end];
        if truth.iter().all(|value| value.is_nan()) {
            // The VM was gone: nothing tells whether the forecast was right.
            continue;
        }
        match predict(&known, day_steps) {
            Ok(predicted) => {
                let case = |truth| Case {
                    known: &known,
                    truth,
                    limit,
                };
                let hour = truth.len().min((HOUR_SECONDS / step_seconds) as usize);
                hour_tally.add(&case(&truth[..hour]), &predicted);
                day_tally.add(&case(truth), &predicted);
                hour_naive += naive_error(&known, &truth[..hour], &predicted, day_steps);
                day_naive += naive_error(&known, truth, &predicted, day_steps);
            }
            Err(_) => day_tally.refused += 1,
        }
    }
    anything_known.then(|| Worth::of((&hour_tally, hour_naive), (&day_tally, day_naive)))
}

/// What "as it was yesterday" was off by, in the unit of MASE. Where nothing was measured a day before, it counts as
/// the forecast does.
fn naive_error(known: &Series, truth: &[f32], predicted: &Predicted, day_steps: usize) -> f64 {
    let day_before = known.values.len().checked_sub(day_steps);
    let day_before = day_before.map_or(&[][..], |from| &known.values[from..]);
    let scale = day_naive_error(known);
    let judged = truth.iter().zip(&predicted.points).enumerate();
    judged
        .filter(|(_, (truth, _))| truth.is_finite())
        .map(|(step, (truth, point))| {
            let naive = day_before.get(step).filter(|value| value.is_finite());
            f64::from((truth - naive.unwrap_or(&point.mean)).abs()) / scale
        })
        .sum()
}

/// `series` up to `origin`, from its first value on; `None` where there is none.
fn known_at(series: &Series, origin: usize) -> Option<Series> {
    let known = series.values.get(..=origin)?;
    let first = known.iter().position(|value| value.is_finite())?;
    Some(Series {
        start: series.at(first),
        step_seconds: series.step_seconds,
        values: known[first..].to_vec(),
    })
}

#[cfg(test)]
mod tests;
