//! The fleet's default model: the best simple ways of [`super::Select`] and what followed the most similar moments.

use super::{
    Accuracy, Forecaster, NotReady, Predicted, Record,
    analog::{Analogs, Moment, Ranked, quantiles},
    exceedance::{Exceedance, HourAhead, Reached},
    history::History,
    naive,
    residuals::{OUTSIDE, Spread, points},
    trial::{Scores, Trial},
};
use crate::metrics::Series;

/// With fewer days than this there is nothing to choose by, and day naive answers.
const MIN_DAYS: usize = 8;

/// The share of the similar moments in the mean of the next hour, of the hours after it, and in the interval.
#[derive(Clone, Copy)]
struct Shares {
    next_hour: f64,
    later: f64,
    interval: f64,
}

const MIXED: Shares = Shares {
    next_hour: 0.4,
    later: 0.25,
    interval: 0.5,
};

const MOMENTS_ALONE: Shares = Shares {
    next_hour: 1.0,
    later: 1.0,
    interval: 1.0,
};

/// What followed a moment is shifted by this part of the difference between then and now, for the next hour.
const SHIFT: f64 = 0.3;

/// The same hour on earlier days: so many days, each counting so much of the one after it.
const DAYS: usize = 14;
const PER_DAY: f64 = 0.9;

const RECENT_HOURS: usize = 6;

/// The mean of two intervals is a little too wide for the next hour, and too narrow after it.
const WIDTH_NEXT_HOUR: f64 = 0.95;
const WIDTH_LATER: f64 = 1.1;

/// Up to so many sets are cheaper found than sorted.
const FEW_SETS: usize = 4;

/// Every so many of the origins that are tried, the mix is judged.
const JUDGED_EVERY: usize = 10;

/// Only what came after the moments most like now, up to a day ahead; what [`Mix`] is made of, to be judged alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Analog;

impl Forecaster for Analog {
    fn name(&self) -> &'static str {
        "analog"
    }

    fn predict(&self, series: &Series, horizon_steps: usize) -> Result<Predicted, NotReady> {
        predict(self.name(), MOMENTS_ALONE, series, horizon_steps)
    }
}

/// The mean of `select` and of what came after the moments most like now; the probability of crossing a limit from
/// what those moments and earlier days reached.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mix;

impl Forecaster for Mix {
    fn name(&self) -> &'static str {
        "mix"
    }

    /// From eight days of history; with less, [`super::DayNaive`] answers under its own name.
    fn predict(&self, series: &Series, horizon_steps: usize) -> Result<Predicted, NotReady> {
        predict(self.name(), MIXED, series, horizon_steps)
    }
}

fn predict(
    name: &str,
    shares: Shares,
    series: &Series,
    horizon_steps: usize,
) -> Result<Predicted, NotReady> {
    let history = History::of(series)?;
    history.must_move(series.step_seconds)?;
    if history.values.len() < MIN_DAYS * history.day {
        return Ok(naive::predict(&history, series, horizon_steps));
    }
    let trial = Trial::new(&history, horizon_steps);
    let scores = trial.scores();
    let chosen = trial.choose(|probe| scores.early[probe].plus(&scores.late[probe]));
    let spreads = trial.spreads(&chosen, history.values.len());
    let selected = trial.forecast(&chosen, &spreads, horizon_steps);
    let Some(analogs) = Analogs::new(&history) else {
        return Ok(Predicted {
            model: name.to_owned(),
            accuracy: trial.accuracy(&scores),
            points: points(series, selected),
            exceedance: Exceedance::of_interval(series.step_seconds),
        });
    };
    let ahead = Ahead::new(&history, &analogs, horizon_steps);
    let is_new = trial.surge(&chosen, &spreads).is_some() || analogs.has_no_precedent();
    let mut continued = Continued::new(&history, &analogs, shares);
    let accuracy = continued.accuracy(&trial, &scores);
    let mixed = selected.enumerate().map(|(index, said)| {
        let steps = index + 1;
        match ahead.set(steps) {
            // Where the present is like nothing before, no past moment tells what comes next.
            Some(set) if !is_new => continued.mixed(set, history.origin(), steps, said),
            _ => said,
        }
    });
    Ok(Predicted {
        model: name.to_owned(),
        accuracy,
        points: points(series, mixed),
        exceedance: ahead.exceedance(is_new),
    })
}

/// The most similar moments for each hour ahead, of those that have that hour behind them.
struct Ahead<'a> {
    history: &'a History,
    analogs: &'a Analogs<'a>,
    /// One set an hour, up to a day.
    sets: Vec<Vec<Moment>>,
    hours: usize,
}

impl<'a> Ahead<'a> {
    fn new(history: &'a History, analogs: &'a Analogs, horizon_steps: usize) -> Self {
        let hour = analogs.hour();
        let hours = horizon_steps.div_ceil(hour);
        let mut ranked = analogs.ranked(history.origin());
        if hours > FEW_SETS {
            ranked = ranked.sorted();
        }
        let sets = (1..=hours.min(24)).map(|ahead| ranked.nearest(ahead * hour));
        Self {
            history,
            analogs,
            sets: sets.collect(),
            hours,
        }
    }

    fn set(&self, steps: usize) -> Option<&[Moment]> {
        let set = self.sets.get((steps - 1) / self.analogs.hour())?;
        (!set.is_empty()).then_some(set)
    }

    fn exceedance(&self, without_precedent: bool) -> Exceedance {
        let analogs = self.analogs;
        let (hour, day) = (analogs.hour(), self.history.day);
        let next = self.history.values.len();
        let reached = |from: usize, weight: f64| Reached {
            value: analogs.hour_max(from) as f32,
            weight: weight as f32,
        };
        let hours = (0..self.hours).map(|ahead| {
            let moments = self.sets.get(ahead).map_or(&[][..], |set| &set[..]);
            let from = next + ahead * hour;
            let days = (1..=DAYS + from.saturating_sub(next) / day)
                .filter_map(|back| Some((back, from.checked_sub(back * day)?)))
                .filter(|(_, from)| from + hour <= next)
                .take(DAYS);
            HourAhead {
                moments: moments
                    .iter()
                    .map(|moment| reached(moment.index + 1 + ahead * hour, moment.weight))
                    .collect(),
                days: days
                    .map(|(back, from)| reached(from, PER_DAY.powi(back as i32)))
                    .collect(),
            }
        });
        let recent = (1..=RECENT_HOURS).filter_map(|back| next.checked_sub(back * hour));
        Exceedance {
            hour_steps: hour,
            hours: hours.collect(),
            recent: recent.map(|from| analogs.hour_max(from) as f32).collect(),
            scale: analogs.scale(),
            highest: self.history.values.iter().copied().fold(0.0, f64::max),
            without_precedent,
        }
    }
}

/// What followed the moments, mixed with what `select` says.
struct Continued<'a> {
    history: &'a History,
    analogs: &'a Analogs<'a>,
    shares: Shares,
    weighted: Vec<(f64, f64)>,
}

impl<'a> Continued<'a> {
    fn new(history: &'a History, analogs: &'a Analogs, shares: Shares) -> Self {
        Self {
            history,
            analogs,
            shares,
            weighted: Vec::new(),
        }
    }

    fn mixed(
        &mut self,
        set: &[Moment],
        origin: usize,
        steps: usize,
        (said, spread): (f64, Spread),
    ) -> (f64, Spread) {
        let values = &self.history.values;
        let next_hour = steps <= self.analogs.hour();
        let (share, shift, width) = if next_hour {
            (self.shares.next_hour, SHIFT, WIDTH_NEXT_HOUR)
        } else {
            (self.shares.later, 0.0, WIDTH_LATER)
        };
        self.weighted.clear();
        self.weighted.extend(set.iter().map(|moment| {
            let shifted =
                values[moment.index + steps] + shift * (values[origin] - values[moment.index]);
            (shifted, moment.weight)
        }));
        let [low, middle, high] = quantiles(
            &mut self.weighted,
            [OUTSIDE / 2.0, 0.5, 1.0 - OUTSIDE / 2.0],
        );
        let said = said.max(0.0);
        let mean = said + share * (middle.max(0.0) - said);
        let between = |one: f64, other: f64| one + self.shares.interval * (other - one);
        let spread = Spread {
            low: (between(said + spread.low, low) - mean).min(0.0),
            high: (between(said + spread.high, high) - mean).max(0.0),
        };
        (mean, spread.widened(width))
    }

    /// By some origins whose truth lies in the last day, each with what was known then.
    fn accuracy(&mut self, trial: &Trial, scores: &Scores) -> Option<Accuracy> {
        let mut record = Record::default();
        let (hour, day) = (self.analogs.hour(), self.history.day);
        let analogs = self.analogs;
        let mut known: Option<Known> = None;
        // Origins come one after the other, and the distances of each in rising order.
        trial.held_out(&trial.early(scores), JUDGED_EVERY, |held_out| {
            let (origin, steps) = (held_out.origin, held_out.steps);
            let reach = if steps <= hour { hour } else { day };
            let known = match &mut known {
                Some(known) if known.origin == origin => known,
                other => other.insert(Known {
                    origin,
                    reach: 0,
                    ranked: analogs.ranked(origin),
                    set: Vec::new(),
                }),
            };
            if known.reach != reach {
                known.reach = reach;
                known.set = known.ranked.nearest(reach);
            }
            let said = (held_out.said, held_out.spread);
            let (mean, spread) = if known.set.is_empty() {
                said
            } else {
                self.mixed(&known.set, origin, steps, said)
            };
            record.add(mean, spread, held_out.truth);
        });
        record.accuracy(self.history)
    }
}

/// The moments like one origin, as far as they reach.
struct Known {
    origin: usize,
    reach: usize,
    ranked: Ranked,
    set: Vec<Moment>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        forecast::{
            Exceedance,
            synthetic::{curve, daily, with_tail},
        },
        units::Timestamp,
    };

    fn hourly(predicted: &Predicted, limit: f64) -> Vec<f64> {
        predicted.exceedance.by_hour(&predicted.points, limit)
    }

    /// Idle but for a burst of a quarter of an hour each day at noon; `days` whole days and `hours` more.
    fn noon_bursts(days: usize, hours: usize) -> Series {
        let mut series = daily(days + 1, 0.0);
        let mut random = fastrand::Rng::with_seed(3);
        for (step, value) in series.values.iter_mut().enumerate() {
            let burst = (144..147).contains(&(step % 288));
            *value = if burst { 0.8 } else { 0.1 } + random.f32() * 0.05;
        }
        series.values.truncate(days * 288 + hours * 12);
        series
    }

    #[test]
    fn a_daily_course_is_found_and_its_interval_holds() {
        let mut series = daily(15, 0.03);
        let truth = series.values.split_off(14 * 288);
        let predicted = Mix.predict(&series, 288).unwrap();
        assert_eq!(
            (predicted.model.as_str(), predicted.points.len()),
            ("mix", 288)
        );
        let points = predicted.points.iter().zip(&truth);
        let inside = points.filter(|(point, truth)| (point.lower..=point.upper).contains(truth));
        assert!(inside.count() > 288 * 9 / 10);
        for (step, point) in predicted.points.iter().enumerate() {
            assert!((point.mean - curve(step)).abs() < 0.03, "{step}: {point:?}");
        }
        let accuracy = predicted.accuracy.unwrap();
        assert!(accuracy.beats_naive(), "{accuracy:?}");
        assert!((0.85..=1.0).contains(&accuracy.coverage), "{accuracy:?}");
    }

    #[test]
    fn a_burst_that_the_mean_does_not_show_is_likely_at_its_hour_only() {
        let predicted = Mix.predict(&noon_bursts(14, 11), 288).unwrap();
        let by_hour = hourly(&predicted, 0.5);
        assert_eq!(by_hour.len(), 24);
        assert!(by_hour[1] > 0.7, "{by_hour:?}");
        for (hour, probability) in by_hour.iter().enumerate() {
            assert!(hour == 1 || *probability < 0.2, "{hour}: {probability}");
        }
        // Nothing ever came near this one.
        let never = hourly(&predicted, 3.0);
        assert!(never.iter().all(|probability| *probability < 1e-3));
    }

    #[test]
    fn a_higher_limit_is_never_likelier_to_be_crossed() {
        let predicted = Mix.predict(&noon_bursts(14, 5), 48).unwrap();
        let limits = (0..60).map(|limit| f64::from(limit) / 50.0);
        let ahead: Vec<Vec<f64>> = limits.map(|limit| hourly(&predicted, limit)).collect();
        for pair in ahead.windows(2) {
            for (lower, higher) in pair[0].iter().zip(&pair[1]) {
                assert!(higher <= &(lower + 1e-12), "{lower} {higher}");
            }
        }
    }

    #[test]
    fn a_surge_without_precedent_is_carried_on_and_likely_to_cross() {
        for tail in [&[0.88][..], &[0.86, 0.9, 0.88], &[0.88; 24]] {
            let surged = with_tail(daily(14, 0.02), tail);
            let predicted = Mix.predict(&surged, 144).unwrap();
            let first = predicted.points.iter().position(|point| point.mean >= 0.85);
            assert!(first.is_some_and(|step| step < 3), "{tail:?}: {first:?}");
            assert!(hourly(&predicted, 0.85)[0] > 0.5);
        }
        let calm = Mix.predict(&daily(14, 0.02), 144).unwrap();
        assert!(hourly(&calm, 0.85).iter().all(|hour| *hour < 0.02));
    }

    #[test]
    fn what_stands_still_is_refused_with_the_reason() {
        let mut still = daily(14, 0.0);
        still.values[12 * 288..].fill(0.3);
        assert!(matches!(
            Mix.predict(&still, 12),
            Err(NotReady::DoesNotMove {
                seconds: 86_400,
                ..
            })
        ));
        let short = Mix.predict(&daily(7, 0.02), 12).unwrap();
        assert_eq!(short.model, "day-naive");
        assert_eq!(short.exceedance, Exceedance::of_interval(300));
    }

    #[test]
    fn two_weeks_ahead_are_finite_and_keep_the_day() {
        let predicted = Mix.predict(&daily(14, 0.02), 14 * 288).unwrap();
        assert_eq!(predicted.points.len(), 4032);
        for (step, point) in predicted.points.iter().enumerate() {
            assert!((point.mean - curve(step)).abs() < 0.05, "{step}: {point:?}");
        }
        assert_eq!(hourly(&predicted, 0.5).len(), 336);
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
            values in proptest::collection::vec(any_value(), 190..500),
            step_seconds in prop_oneof![Just(3600), Just(1800), Just(7), Just(u32::MAX)],
            horizon_steps in 0_usize..100,
            limit in any::<f64>(),
        ) {
            let series = Series { start: Timestamp::from_secs(0), step_seconds, values };
            let Ok(predicted) = Mix.predict(&series, horizon_steps) else { return Ok(()) };
            for point in &predicted.points {
                prop_assert!(point.lower.is_finite() && point.mean.is_finite() && point.upper.is_finite());
                prop_assert!(0.0 <= point.lower && point.lower <= point.mean && point.mean <= point.upper);
            }
            if limit.is_finite() {
                for hour in predicted.exceedance.by_hour(&predicted.points, limit) {
                    prop_assert!((0.0..=1.0).contains(&hour), "{hour}");
                }
            }
            if let Some(accuracy) = predicted.accuracy {
                prop_assert!(accuracy.mase.is_finite() && (0.0..=1.0).contains(&accuracy.coverage));
            }
        }
    }
}
