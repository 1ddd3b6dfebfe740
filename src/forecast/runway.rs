//! How long a capacity lasts: daily peaks carried on for up to a year by their trend and their week.
//!
//! The trend is the median of the slopes between all pairs of days (Theil and Sen), which no single event bends; its
//! interval is Kendall's. What the trend leaves is told by weekday, and the rest, together with the trend's own
//! doubt, is the interval. Judged by rolling origins against "as on the same weekday last week".

use serde::{Deserialize, Serialize};

use super::{Accuracy, ForecastPoint, NotReady, candidate::median, residuals::Spread};
use crate::{metrics::Series, units::Timestamp};

const DAY_SECONDS: u32 = 86_400;

/// Fewer days tell neither a week nor a trend.
const MIN_DAYS: usize = 21;

/// Older days are not looked at; a trend that was is not one that is.
const MAX_DAYS: usize = 180;

pub const MAX_HORIZON_DAYS: usize = 366;

/// A day that was measured less than this has no peak.
const MIN_DAY_COVERAGE: f64 = 0.5;

const WEEK: usize = 7;

/// Level and week are those of so many of the newest days.
const LEVEL_DAYS: usize = 28;

/// Past origins by which the runway is judged, a week apart, and how far each looks.
const JUDGED_WEEKS: usize = 4;
const JUDGED_DAYS: usize = 14;

/// The normal's 97.5 % quantile.
const DEVIATIONS: f64 = 1.959_964;

/// When a capacity is reached; `None` is not within the horizon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Full {
    /// The first day whose upper bound is at the limit.
    pub earliest: Option<Timestamp>,
    /// The first day whose mean is.
    pub likely: Option<Timestamp>,
    /// The first day whose lower bound is.
    pub latest: Option<Timestamp>,
}

/// Daily peaks to come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Runway {
    /// One a day.
    pub peaks: Vec<ForecastPoint>,
    /// In the metric's unit, by which the peaks rise each day.
    pub trend_a_day: f64,
    /// The mean absolute error is over that of last week's same weekday.
    pub accuracy: Option<Accuracy>,
    /// `None` where no limit is known.
    pub full: Option<Full>,
}

impl Runway {
    /// When the capacity is reached, in words; `None` where no limit is known.
    pub fn words(&self) -> Option<String> {
        let full = self.full?;
        let days = self.peaks.len();
        Some(match (full.earliest, full.likely, full.latest) {
            (_, Some(likely), _) if self.peaks.first().is_some_and(|day| day.at >= likely) => {
                "full already".to_owned()
            }
            (Some(earliest), Some(likely), Some(latest)) => format!(
                "full {}, between {} and {}",
                date(likely),
                date(earliest),
                date(latest)
            ),
            (Some(earliest), Some(likely), None) => {
                format!("full {}, {} at the earliest", date(likely), date(earliest))
            }
            (Some(earliest), None, _) => {
                format!(
                    "not expected to be full within {days} days, {} at the earliest",
                    date(earliest)
                )
            }
            (None, ..) => format!("not full within {days} days"),
        })
    }

    pub fn no_better_than_naive(&self) -> bool {
        self.accuracy
            .is_some_and(|accuracy| !accuracy.beats_naive())
    }
}

fn date(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.as_secs()).map_or_else(
        |_| at.to_string(),
        |at| at.strftime("%-d %b %Y").to_string(),
    )
}

/// The highest value of each day of `series`, whose first day begins at its start; a day hardly measured is a gap, and
/// one that is not over is left out.
pub fn daily_peaks(series: &Series) -> Series {
    let day = (DAY_SECONDS / series.step_seconds.max(1)).max(1) as usize;
    let peaks = series.values.chunks_exact(day).map(|values| {
        let known = values.iter().copied().filter(|value| value.is_finite());
        let enough = known.clone().count() as f64 >= MIN_DAY_COVERAGE * day as f64;
        let peak = known.fold(f32::NAN, f32::max);
        if enough { peak } else { f32::NAN }
    });
    Series {
        start: series.start,
        step_seconds: DAY_SECONDS,
        values: peaks.collect(),
    }
}

/// Carries daily `peaks` on, as [`daily_peaks`] makes them.
///
/// # Errors
/// Says how much is missing to three weeks.
pub fn runway(peaks: &Series, limit: Option<f64>, horizon_days: usize) -> Result<Runway, NotReady> {
    let from = peaks.values.len().saturating_sub(MAX_DAYS);
    let values = &peaks.values[from..];
    let Some(course) = Course::of(values) else {
        let known = values.iter().filter(|value| value.is_finite()).count();
        let missing_days = MIN_DAYS.saturating_sub(known).max(1) as u64;
        return Err(NotReady::TooShort {
            needed_seconds: missing_days * u64::from(DAY_SECONDS),
        });
    };
    let bounded = |value: f64| value.clamp(0.0, f64::from(f32::MAX)) as f32;
    let points: Vec<ForecastPoint> = (0..horizon_days.min(MAX_HORIZON_DAYS))
        .map(|ahead| {
            let (mean, spread) = course.say(values.len() + ahead);
            ForecastPoint {
                at: peaks.at(peaks.values.len() + ahead),
                mean: bounded(mean),
                lower: bounded(mean + spread.low),
                upper: bounded(mean + spread.high),
            }
        })
        .collect();
    let first = |bound: fn(&ForecastPoint) -> f32, limit: f64| {
        let found = points.iter().find(|point| f64::from(bound(point)) >= limit);
        found.map(|point| point.at)
    };
    let limit = limit.filter(|limit| limit.is_finite() && *limit > 0.0);
    Ok(Runway {
        full: limit.map(|limit| Full {
            earliest: first(|point| point.upper, limit),
            likely: first(|point| point.mean, limit),
            latest: first(|point| point.lower, limit),
        }),
        trend_a_day: course.slope,
        accuracy: judged(values),
        peaks: points,
    })
}

/// Trend, week and rest of known days; day 0 is the first of them.
struct Course {
    /// A day on which the trend's line lies at `level`.
    centre: f64,
    level: f64,
    slope: f64,
    /// By how much the slope may be lower and higher.
    doubt: Spread,
    weekdays: [f64; WEEK],
    rest: Spread,
}

impl Course {
    /// `None` where too few days are known.
    fn of(values: &[f32]) -> Option<Self> {
        let known: Vec<(f64, f64)> = values
            .iter()
            .enumerate()
            .filter(|(_, value)| value.is_finite())
            .map(|(day, value)| (day as f64, f64::from(*value)))
            .collect();
        if known.len() < MIN_DAYS {
            return None;
        }
        let (slope, doubt) = trend(&known);
        let centre = known.iter().map(|(day, _)| day).sum::<f64>() / known.len() as f64;
        // Of late: a step to another level is no trend, and is the level from then on.
        let recent = &known[known.len().saturating_sub(LEVEL_DAYS)..];
        let mut levels: Vec<f64> = recent
            .iter()
            .map(|(day, value)| value - slope * (day - centre))
            .collect();
        let level = median(&mut levels);
        let over = |weekday: usize| -> Vec<f64> {
            recent
                .iter()
                .filter(|(day, _)| *day as usize % WEEK == weekday)
                .map(|(day, value)| value - level - slope * (day - centre))
                .collect()
        };
        let weekdays = std::array::from_fn(|weekday| median(&mut over(weekday)));
        let mut course = Self {
            centre,
            level,
            slope,
            doubt,
            weekdays,
            rest: Spread::default(),
        };
        let mut rests: Vec<f64> = known
            .iter()
            .map(|(day, value)| value - course.mean(*day as usize))
            .collect();
        course.rest = Spread::of(&mut rests);
        Some(course)
    }

    fn mean(&self, day: usize) -> f64 {
        self.level + self.slope * (day as f64 - self.centre) + self.weekdays[day % WEEK]
    }

    /// The rest of a day and the doubt about the trend are independent: their squares add up.
    fn say(&self, day: usize) -> (f64, Spread) {
        let away = day as f64 - self.centre;
        let spread = Spread {
            low: -self.rest.low.hypot(self.doubt.low * away),
            high: self.rest.high.hypot(self.doubt.high * away),
        };
        (self.mean(day), spread)
    }
}

/// Theil and Sen's slope and its 95 % interval. Pairs of the same weekday only: the week must not look like a trend.
fn trend(known: &[(f64, f64)]) -> (f64, Spread) {
    let mut slopes = Vec::new();
    for (index, (day, value)) in known.iter().enumerate() {
        for (later_day, later) in &known[index + 1..] {
            let apart = later_day - day;
            if (apart as usize).is_multiple_of(WEEK) {
                slopes.push((later - value) / apart);
            }
        }
    }
    if slopes.is_empty() {
        return (0.0, Spread::default());
    }
    slopes.sort_unstable_by(f64::total_cmp);
    let slope = median(&mut slopes.clone());
    // The variance of Kendall's statistic, each weekday ranked on its own; neighbouring days go together, so the
    // count of independent ones is taken as half.
    let a_weekday = known.len() as f64 / WEEK as f64;
    let variance = WEEK as f64 * a_weekday * (a_weekday - 1.0) * (2.0 * a_weekday + 5.0) / 18.0;
    let ranks = DEVIATIONS * (2.0 * variance).sqrt() / 2.0;
    let middle = slopes.len() as f64 / 2.0;
    let at = |rank: f64| slopes[(rank.max(0.0) as usize).min(slopes.len() - 1)];
    let doubt = Spread {
        low: (at(middle - ranks) - slope).min(0.0),
        high: (at(middle + ranks) - slope).max(0.0),
    };
    (slope, doubt)
}

/// From origins a week apart, each with the days before it only; `None` with too few days for any.
fn judged(values: &[f32]) -> Option<Accuracy> {
    let (mut error, mut naive, mut inside, mut count) = (0.0, 0.0, 0_usize, 0_usize);
    for weeks_back in 1..=JUDGED_WEEKS {
        let Some(now) = values.len().checked_sub(weeks_back * WEEK) else {
            break;
        };
        let Some(course) = Course::of(&values[..now]) else {
            break;
        };
        for (day, value) in values.iter().enumerate().skip(now).take(JUDGED_DAYS) {
            let weeks = (day - now) / WEEK + 1;
            let last_week = values[day - weeks * WEEK];
            if !value.is_finite() || !last_week.is_finite() {
                continue;
            }
            let (mean, spread) = course.say(day);
            let off = f64::from(*value) - mean;
            error += off.abs();
            naive += f64::from((value - last_week).abs());
            inside += usize::from(spread.holds(off));
            count += 1;
        }
    }
    (count > 0).then(|| Accuracy {
        mase: error / naive.max(1e-9 * count as f64),
        coverage: inside as f64 / count as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Peaks that rise by `slope` a day, with a quieter weekend and noise.
    fn rising(days: usize, slope: f64, noise: f64) -> Series {
        let mut random = fastrand::Rng::with_seed(11);
        let value = |day: usize| {
            let weekend = if day % 7 >= 5 { -0.1 } else { 0.0 };
            0.4 + weekend + slope * day as f64 + (random.f64() - 0.5) * 2.0 * noise
        };
        Series {
            start: Timestamp::from_secs(0),
            step_seconds: DAY_SECONDS,
            values: (0..days).map(value).map(|value| value as f32).collect(),
        }
    }

    fn day_of(at: Option<Timestamp>) -> i64 {
        at.unwrap().as_secs() / i64::from(DAY_SECONDS)
    }

    #[test]
    fn a_rising_load_is_full_between_two_days_that_hold_the_true_one() {
        let run = runway(&rising(60, 0.004, 0.02), Some(0.9), 366).unwrap();
        assert!(
            (run.trend_a_day - 0.004).abs() < 0.0005,
            "{}",
            run.trend_a_day
        );
        let full = run.full.unwrap();
        // 0.4 + 0.004 × 125 = 0.9.
        let (earliest, likely, latest) = (
            day_of(full.earliest),
            day_of(full.likely),
            day_of(full.latest),
        );
        assert!(earliest <= 125 && 125 <= latest, "{earliest} {latest}");
        assert!((115..=137).contains(&likely), "{likely}");
        assert!(latest - earliest < 80, "{earliest} {latest}");
        assert!(!run.no_better_than_naive(), "{:?}", run.accuracy);
    }

    #[test]
    fn what_does_not_rise_is_not_full_and_doubt_grows_with_distance() {
        let run = runway(&rising(40, 0.0, 0.03), Some(0.9), 365).unwrap();
        let full = run.full.unwrap();
        assert_eq!((full.likely, full.latest), (None, None));
        let width = |day: usize| run.peaks[day].upper - run.peaks[day].lower;
        assert!(width(300) > width(2));
        assert_eq!(run.peaks.len(), 365);
        // The weekend stays: days 40 and 41 of a week that begins on day 0 are a Saturday and a Sunday.
        assert!(run.peaks[0].mean < 0.35 && run.peaks[2].mean > 0.35);
        let unlimited = runway(&rising(40, 0.0, 0.03), None, 10).unwrap();
        assert_eq!(unlimited.full, None);
    }

    #[test]
    fn when_it_is_full_is_said_in_words() {
        let words = |days, slope, limit| {
            let run = runway(&rising(days, slope, 0.02), limit, 366).unwrap();
            run.words()
        };
        let rising = words(60, 0.004, Some(0.9)).unwrap();
        assert!(
            rising.starts_with("full ") && rising.contains(" May 1970, between "),
            "{rising}"
        );
        assert_eq!(words(60, 0.004, Some(0.1)).unwrap(), "full already");
        assert_eq!(
            words(60, 0.0, Some(9.0)).unwrap(),
            "not full within 366 days"
        );
        assert_eq!(words(60, 0.004, None), None);
    }

    #[test]
    fn one_event_bends_no_trend() {
        let mut peaks = rising(60, 0.002, 0.01);
        peaks.values[58] = 50.0;
        let run = runway(&peaks, None, 30).unwrap();
        assert!((run.trend_a_day - 0.002).abs() < 0.0005);
    }

    #[test]
    fn a_new_level_that_the_trend_has_not_seen_is_said_to_be_no_better_than_naive() {
        let mut peaks = rising(90, 0.0, 0.01);
        for peak in &mut peaks.values[78..] {
            *peak += 2.0;
        }
        let run = runway(&peaks, Some(9.0), 60).unwrap();
        assert!(run.no_better_than_naive(), "{:?}", run.accuracy);
        // Four weeks later it is the level.
        let mut settled = rising(120, 0.0, 0.01);
        for peak in &mut settled.values[78..] {
            *peak += 2.0;
        }
        let run = runway(&settled, None, 7).unwrap();
        assert!((run.peaks[0].mean - 2.4).abs() < 0.3, "{:?}", run.peaks[0]);
    }

    #[test]
    fn three_weeks_are_needed_and_gaps_are_borne() {
        let missing = NotReady::TooShort {
            needed_seconds: 86_400,
        };
        assert_eq!(runway(&rising(20, 0.0, 0.0), None, 7), Err(missing));
        let mut gappy = rising(40, 0.004, 0.01);
        gappy.values[10..14].fill(f32::NAN);
        assert!((runway(&gappy, None, 7).unwrap().trend_a_day - 0.004).abs() < 0.001);
    }

    #[test]
    fn a_peak_is_the_highest_of_a_day_that_was_measured() {
        let mut values = vec![0.1; 3 * 24 + 5];
        values[30] = 0.9;
        values[48..62].fill(f32::NAN);
        let series = Series {
            start: Timestamp::from_secs(0),
            step_seconds: 3600,
            values,
        };
        let peaks = daily_peaks(&series);
        assert_eq!(peaks.values[..2], [0.1, 0.9]);
        assert!(peaks.values[2].is_nan());
        assert_eq!(peaks.values.len(), 3);
    }
}
