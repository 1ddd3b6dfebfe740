//! Many VMs as one: what a pool or a type needs together, who of them it comes from, and what a VM without a history
//! of its own can be expected to do by its type.
//!
//! The sum is forecast as a series of its own. Adding up the members' intervals would say that all of them are high at
//! once, and is far too wide.

use super::{
    ForecastPoint, Forecaster, NotReady, Predicted,
    history::History,
    residuals::{Spread, points},
};
use crate::{
    metrics::Series,
    units::{Timestamp, VmId},
};

/// A step at which members with less of the usual load than this were measured is a gap of the sum.
const MIN_MEASURED: f64 = 0.8;

/// A type is known from so many VMs on.
pub const MIN_TYPE_VMS: usize = 3;

/// A VM's own level counts half against its type's after so many hours.
const HALF_KNOWN_HOURS: f64 = 6.0;

/// However it began, a VM is taken for no more than this many times its type, nor for less than its inverse.
const MOST_OF_TYPE: f64 = 4.0;

/// The forecast of a sum and whom its peak comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Together {
    /// The measured sum.
    pub sum: Series,
    pub predicted: Predicted,
    /// What each member is expected to bring to the highest mean, most first; they add up to it.
    pub contributions: Vec<(VmId, f64)>,
}

/// Forecasts the sum of `members`.
///
/// # Errors
/// Says what the sum lacks for a forecast.
pub fn together(
    model: &dyn Forecaster,
    members: &[(VmId, &Series)],
    horizon_steps: usize,
) -> Result<Together, NotReady> {
    let series: Vec<&Series> = members.iter().map(|(_, series)| *series).collect();
    let sum = sum(&series)?;
    let predicted = model.predict(&sum, horizon_steps)?;
    let contributions = contributions(members, &predicted.points);
    Ok(Together {
        sum,
        predicted,
        contributions,
    })
}

/// The sum over all steps that any of `members` has. A member that says nothing for a step counts with its value of a
/// day before, or else its median, as long as most of the usual load was measured.
///
/// # Errors
/// Where there are no members or their steps differ.
pub fn sum(members: &[&Series]) -> Result<Series, NotReady> {
    let first = members.first().ok_or(NotReady::NoHistory)?;
    let step_seconds = first.step_seconds;
    if let Some(odd) = members.iter().find(|one| one.step_seconds != step_seconds) {
        return Err(NotReady::OddStep {
            step_seconds: odd.step_seconds,
        });
    }
    let step = i64::from(step_seconds.max(1));
    let floor = |at: Timestamp| at.as_secs().div_euclid(step);
    let from = members.iter().map(|one| floor(one.start)).min();
    let to = members.iter().map(|one| floor(one.end())).max();
    let (Some(from), Some(to)) = (from, to) else {
        return Err(NotReady::NoHistory);
    };
    let steps = usize::try_from(to - from).unwrap_or(0);
    let day = (86_400 / step) as usize;
    let (mut total, mut measured, mut usual) = (vec![0.0; steps], vec![0.0; steps], 0.0);
    for member in members {
        let typical = typical(member);
        usual += typical;
        let offset = usize::try_from(floor(member.start) - from).unwrap_or(0);
        // What it was before it existed is nothing; what it is after its last value is a gap.
        measured[..offset]
            .iter_mut()
            .for_each(|known| *known += typical);
        for index in 0..steps - offset {
            let value = member.values.get(index).filter(|value| value.is_finite());
            let day_before = index
                .checked_sub(day)
                .and_then(|before| member.values.get(before))
                .filter(|value| value.is_finite());
            let taken = value
                .or(day_before)
                .map_or(typical, |value| f64::from(*value));
            total[offset + index] += taken.max(0.0);
            measured[offset + index] += if value.is_some() { typical } else { 0.0 };
        }
    }
    let values = total.iter().zip(&measured).map(|(total, measured)| {
        if *measured >= MIN_MEASURED * usual {
            *total as f32
        } else {
            f32::NAN
        }
    });
    Ok(Series {
        start: Timestamp::from_secs(from * step),
        step_seconds,
        values: values.collect(),
    })
}

/// The median of what was measured; a little even of nothing, so that an idle member counts as one.
fn typical(member: &Series) -> f64 {
    let mut known: Vec<f32> = member
        .values
        .iter()
        .copied()
        .filter(|v| v.is_finite())
        .collect();
    if known.is_empty() {
        return 0.0;
    }
    let middle = known.len() / 2;
    let median = *known.select_nth_unstable_by(middle, f32::total_cmp).1;
    f64::from(median.max(0.0)).max(1e-9)
}

/// Each member's usual value at the time of day of the highest mean, scaled so that they add up to it.
fn contributions(members: &[(VmId, &Series)], points: &[ForecastPoint]) -> Vec<(VmId, f64)> {
    let Some(peak) = points.iter().max_by(|a, b| a.mean.total_cmp(&b.mean)) else {
        return Vec::new();
    };
    let mut found: Vec<(VmId, f64)> = members
        .iter()
        .map(|(vm, series)| (vm.clone(), usual_at(series, peak.at)))
        .collect();
    let total: f64 = found.iter().map(|(_, usual)| usual).sum();
    if total > 0.0 {
        for (_, usual) in &mut found {
            *usual *= f64::from(peak.mean) / total;
        }
    }
    found.sort_by(|left, right| right.1.total_cmp(&left.1));
    found
}

/// Mean of the last week's values at the time of day of `at`.
fn usual_at(series: &Series, at: Timestamp) -> f64 {
    let step = i64::from(series.step_seconds.max(1));
    let steps_ahead = at.secs_since(series.start).div_euclid(step);
    let day = 86_400 / step;
    let same_time = (1..=14).filter_map(|back| {
        let index = usize::try_from(steps_ahead - back * day).ok()?;
        series.values.get(index).filter(|value| value.is_finite())
    });
    let (sum, count) = same_time.take(7).fold((0.0, 0.0), |(sum, count), value| {
        (sum + f64::from(*value), count + 1.0)
    });
    sum / f64::max(count, 1.0)
}

/// A VM of a type, with its size in whatever its load grows with; 1 for a metric that is a ratio of the size already.
#[derive(Clone, Copy, Debug)]
pub struct OfType<'a> {
    pub size: f64,
    pub series: &'a Series,
}

/// What VMs of one type do for each unit of size.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeProfile {
    pub vms: usize,
    /// The middle VM at each step.
    pub series: Series,
    /// How far single VMs lie from it.
    pub spread: Spread,
}

impl TypeProfile {
    /// # Errors
    /// Where there are fewer than [`MIN_TYPE_VMS`] VMs, or they have no step in common.
    pub fn of(members: &[OfType]) -> Result<Self, NotReady> {
        let members: Vec<&OfType> = members
            .iter()
            .filter(|member| member.size > 0.0 && member.size.is_finite())
            .collect();
        let end = members.iter().map(|member| member.series.end()).max();
        let (Some(end), true) = (end, members.len() >= MIN_TYPE_VMS) else {
            return Err(NotReady::NoHistory);
        };
        let step_seconds = members[0].series.step_seconds.max(1);
        if let Some(odd) = members
            .iter()
            .find(|one| one.series.step_seconds != step_seconds)
        {
            return Err(NotReady::OddStep {
                step_seconds: odd.series.step_seconds,
            });
        }
        let step = i64::from(step_seconds);
        let steps = (super::HISTORY_SECONDS / u64::from(step_seconds)) as usize;
        let start = end.plus_secs(-(steps as i64) * step);
        let mut values = Vec::with_capacity(steps);
        let mut errors = Vec::new();
        let mut at_step: Vec<f64> = Vec::with_capacity(members.len());
        for index in 0..steps {
            let at = start.plus_secs(index as i64 * step);
            at_step.clear();
            at_step.extend(members.iter().filter_map(|member| {
                let index = at.secs_since(member.series.start).div_euclid(step);
                let value = member.series.values.get(usize::try_from(index).ok()?)?;
                value.is_finite().then(|| f64::from(*value) / member.size)
            }));
            if at_step.len() < MIN_TYPE_VMS {
                values.push(f32::NAN);
                continue;
            }
            at_step.sort_unstable_by(f64::total_cmp);
            let middle = at_step[at_step.len() / 2];
            values.push(middle as f32);
            errors.extend(at_step.iter().map(|value| value - middle));
        }
        Ok(Self {
            vms: members.len(),
            series: Series {
                start,
                step_seconds,
                values,
            },
            spread: Spread::of(&mut errors),
        })
    }

    /// What a VM of this type and `size` will do, going by its type until its own history carries a forecast. What is
    /// known of `own` so far sets its level. The model's name says where it comes from; it has no record of its own.
    ///
    /// # Errors
    /// Says what the type lacks for a forecast.
    pub fn predict(
        &self,
        model: &dyn Forecaster,
        type_name: &str,
        size: f64,
        own: &Series,
        horizon_steps: usize,
    ) -> Result<Predicted, NotReady> {
        let of_type = model.predict(&self.series, horizon_steps)?;
        let (level, known_hours) = self.level(size, own);
        let doubt = HALF_KNOWN_HOURS / (HALF_KNOWN_HOURS + known_hours);
        let forecast = of_type.points.iter().map(|point| {
            let mean = f64::from(point.mean) * size * level;
            let own = |bound: f32| (f64::from(bound) - f64::from(point.mean)) * size * level;
            let spread = Spread {
                low: -own(point.lower).hypot(self.spread.low * size * doubt.sqrt()),
                high: own(point.upper).hypot(self.spread.high * size * doubt.sqrt()),
            };
            (mean, spread)
        });
        Ok(Predicted {
            model: format!("like {} VMs of type {type_name}", self.vms),
            accuracy: None,
            points: points(&self.series, forecast),
            exceedance: super::Exceedance::of_interval(self.series.step_seconds),
        })
    }

    /// The VM's level against its type's, drawn to 1 while little is known, and the hours that are known.
    fn level(&self, size: f64, own: &Series) -> (f64, f64) {
        let step = i64::from(self.series.step_seconds);
        let (mut sum, mut type_sum, mut count) = (0.0, 0.0, 0.0);
        for (index, value) in own.values.iter().enumerate() {
            let at = own.at(index).secs_since(self.series.start).div_euclid(step);
            let of_type = usize::try_from(at)
                .ok()
                .and_then(|at| self.series.values.get(at));
            if let (true, Some(of_type)) = (value.is_finite(), of_type.filter(|v| v.is_finite())) {
                sum += f64::from(*value);
                type_sum += f64::from(*of_type) * size;
                count += 1.0;
            }
        }
        if type_sum <= 0.0 {
            return (1.0, 0.0);
        }
        let hours = count * f64::from(own.step_seconds) / 3600.0;
        let known = hours / (HALF_KNOWN_HOURS + hours);
        let level = (sum / type_sum).clamp(1.0 / MOST_OF_TYPE, MOST_OF_TYPE);
        (level.powf(known), hours)
    }
}

/// Whether a VM's own history carries a forecast, so that its type is no longer needed.
pub fn has_own_history(own: &Series) -> bool {
    History::of(own).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::{
        Mix,
        synthetic::{curve, daily},
    };

    fn noisy(seed: u64, noise: f32) -> Series {
        let mut series = daily(14, 0.0);
        let mut random = fastrand::Rng::with_seed(seed);
        for value in &mut series.values {
            *value = (*value + (random.f32() - 0.5) * 2.0 * noise).max(0.0);
        }
        series
    }

    fn width(predicted: &Predicted) -> f64 {
        let widths = predicted
            .points
            .iter()
            .map(|point| f64::from(point.upper - point.lower));
        widths.sum::<f64>() / predicted.points.len() as f64
    }

    #[test]
    fn the_interval_of_a_sum_is_narrower_than_the_sum_of_the_intervals() {
        let series: Vec<Series> = (0..16).map(|seed| noisy(seed, 0.1)).collect();
        let members: Vec<(VmId, &Series)> = series
            .iter()
            .enumerate()
            .map(|(index, series)| (VmId(format!("p/{index}")), series))
            .collect();
        let pool = together(&Mix, &members, 288).unwrap();
        let apart: f64 = series
            .iter()
            .map(|series| width(&Mix.predict(series, 288).unwrap()))
            .sum();
        let ratio = width(&pool.predicted) / apart;
        // Sixteen independent noises: a quarter.
        assert!((0.15..0.45).contains(&ratio), "{ratio}");
        for (step, point) in pool.predicted.points.iter().enumerate() {
            assert!((point.mean / 16.0 - curve(step)).abs() < 0.05, "{step}");
        }
    }

    #[test]
    fn contributions_add_up_to_the_peak_and_name_the_largest_first() {
        let (small, mut large) = (daily(14, 0.01), daily(14, 0.01));
        for value in &mut large.values {
            *value *= 3.0;
        }
        let members = [("p/a".into(), &small), ("p/b".into(), &large)];
        let pool = together(&Mix, &members, 288).unwrap();
        let peak = pool
            .predicted
            .points
            .iter()
            .map(|point| point.mean)
            .fold(0.0, f32::max);
        let total: f64 = pool.contributions.iter().map(|(_, part)| part).sum();
        assert!((total - f64::from(peak)).abs() < 1e-4);
        let (first, part) = &pool.contributions[0];
        assert_eq!(first, &VmId::from("p/b"));
        assert!((part / total - 0.75).abs() < 0.02);
    }

    #[test]
    fn a_silent_member_leaves_no_dip_and_too_many_a_gap() {
        let mut series: Vec<Series> = (0..10).map(|_| daily(3, 0.0)).collect();
        series[0].values[600..620].fill(f32::NAN);
        for silent in &mut series[..5] {
            silent.values[700..710].fill(f32::NAN);
        }
        let members: Vec<&Series> = series.iter().collect();
        let sum = sum(&members).unwrap();
        assert!((sum.values[610] - 10.0 * curve(610)).abs() < 1e-4);
        assert!(sum.values[705].is_nan() && sum.values[711].is_finite());
    }

    #[test]
    fn members_that_begin_later_and_odd_steps_are_told_apart() {
        let old = daily(4, 0.0);
        let mut young = old.clone();
        young.start = old.at(2 * 288);
        young.values.truncate(2 * 288);
        let sum_of = sum(&[&old, &young]).unwrap();
        assert_eq!(sum_of.values.len(), 4 * 288);
        assert!((sum_of.values[10] - curve(10)).abs() < 1e-6);
        assert!((sum_of.values[3 * 288] - 2.0 * curve(0)).abs() < 1e-6);
        young.step_seconds = 60;
        assert_eq!(
            sum(&[&old, &young]),
            Err(NotReady::OddStep { step_seconds: 60 })
        );
        assert_eq!(sum(&[]), Err(NotReady::NoHistory));
    }

    #[test]
    fn a_young_vm_is_forecast_by_its_type_and_says_so() {
        let series: Vec<Series> = (0..5).map(|seed| noisy(seed, 0.02)).collect();
        let members: Vec<OfType> = series
            .iter()
            .map(|series| OfType { size: 1.0, series })
            .collect();
        let profile = TypeProfile::of(&members).unwrap();
        assert_eq!(profile.vms, 5);
        // Two hours of twice the type's load, at a size of two.
        let mut own = series[0].clone();
        own.start = own.at(14 * 288 - 24);
        own.values.drain(..14 * 288 - 24);
        for value in &mut own.values {
            *value *= 4.0;
        }
        assert!(!has_own_history(&own));
        let predicted = profile.predict(&Mix, "web", 2.0, &own, 288).unwrap();
        assert_eq!(predicted.model, "like 5 VMs of type web");
        assert_eq!(predicted.accuracy, None);
        let level = 2.0_f32.powf(2.0 / 8.0);
        for (step, point) in predicted.points.iter().enumerate() {
            assert!(
                (point.mean - 2.0 * level * curve(step)).abs() < 0.1,
                "{step}"
            );
            assert!(point.lower <= point.mean && point.mean <= point.upper);
        }
        assert_eq!(TypeProfile::of(&members[..2]), Err(NotReady::NoHistory));
    }
}
