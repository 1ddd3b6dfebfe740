//! The simple ways to continue a series that [`super::Select`] chooses among, each computed at any past origin.

use super::history::History;

/// The usual day is a median over so many days.
const PROFILE_DAYS: usize = 7;

/// One way to continue a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Candidate {
    Last,
    /// Mean of the last 15 minutes.
    Level,
    /// Exponentially smoothed level.
    SmoothLevel,
    /// The usual day.
    Profile,
    /// The usual day and the present deviation from it, which fades slowly.
    ProfileSlow,
    /// The same, fading fast.
    ProfileFast,
    /// The usual day and the present deviation of the smoothed level, which fades slowly.
    ProfileSmooth,
    /// The usual day and the smoothed level of what is left without it, kept: what Theta says without its drift.
    Theta,
    /// The same time yesterday.
    DayNaive,
    /// Yesterday, shifted by a fading part of the change since then.
    DayShifted,
    /// Half the usual day, half the present level.
    Half,
    /// The same time a week ago.
    WeekNaive,
}

impl Candidate {
    pub const COUNT: usize = 12;
    pub const ALL: [Self; Self::COUNT] = [
        Self::Last,
        Self::Level,
        Self::SmoothLevel,
        Self::Profile,
        Self::ProfileSlow,
        Self::ProfileFast,
        Self::ProfileSmooth,
        Self::Theta,
        Self::DayNaive,
        Self::DayShifted,
        Self::Half,
        Self::WeekNaive,
    ];
}

/// How much of a deviation is left after some steps, for each speed.
#[derive(Clone, Copy, Debug)]
pub struct Fading {
    slow: f64,
    fast: f64,
    shift: f64,
}

/// Halving times in minutes.
const SLOW_MINUTES: f64 = 170.0;
const FAST_MINUTES: f64 = 33.0;
const SHIFT_MINUTES: f64 = 68.0;

/// The paces that a smoothed level chooses among: halving times in minutes.
const LEVEL_MINUTES: [f64; 6] = [5.0, 12.0, 30.0, 75.0, 180.0, 400.0];

/// So long before the first that is asked for a level begins.
const WARM_UP_MINUTES: f64 = 600.0;

/// A day that lies further from the usual one than so many times what is usual between them, counts as that far: what
/// was wild once must not come back the next day. The usual is at least this part of the series' mean.
const WILD: f64 = 10.0;
const LEAST_USUAL: f64 = 0.05;

/// What all candidates need to know of a history, computed once.
pub struct Basis<'a> {
    history: &'a History,
    /// Usual day from `profile_from` to a day past the newest value.
    profile: Vec<f64>,
    profile_from: usize,
    /// Smoothed level at each index from `profile_from` on.
    smooth: Vec<f64>,
    /// The same of the values less the usual day.
    adjusted: Vec<f64>,
    most_unusual: f64,
    level_steps: usize,
    step_minutes: f64,
}

/// The state at one origin.
#[derive(Clone, Copy)]
pub struct Origin {
    index: usize,
    last: f64,
    level: f64,
    smooth: f64,
    adjusted: f64,
    profile: f64,
    /// Change against the day before.
    shift: f64,
}

impl Origin {
    pub fn index(&self) -> usize {
        self.index
    }
}

impl<'a> Basis<'a> {
    /// Ready for origins from `earliest` on.
    pub fn new(history: &'a History, earliest: usize) -> Self {
        let day = history.day;
        let values = &history.values;
        let profile_from = earliest.max(day);
        let profile: Vec<f64> = (profile_from..values.len() + day)
            .map(|target| usual(values, target, day))
            .collect();
        let step_minutes = 1440.0 / day as f64;
        let warm_up = profile_from.saturating_sub((WARM_UP_MINUTES / step_minutes) as usize);
        let unusual: Vec<f64> = values[profile_from..]
            .iter()
            .zip(&profile)
            .map(|(value, usual)| value - usual)
            .collect();
        Self {
            history,
            profile,
            profile_from,
            smooth: smoothed(&values[warm_up..], profile_from - warm_up, step_minutes),
            adjusted: smoothed(&unusual, 0, step_minutes),
            most_unusual: most_unusual(&unusual, values),
            level_steps: ((15.0 / step_minutes) as usize).max(1),
            step_minutes,
        }
    }

    /// The usual value at an index up to any distance past the newest one.
    pub fn profile_at(&self, target: usize) -> f64 {
        let last = self.profile_from + self.profile.len() - 1;
        let days_beyond = target.saturating_sub(last).div_ceil(self.history.day);
        self.profile[target - days_beyond * self.history.day - self.profile_from]
    }

    pub fn fading(&self, steps_ahead: usize) -> Fading {
        let left = |halving_minutes: f64| {
            (-(steps_ahead as f64) * self.step_minutes / halving_minutes).exp2()
        };
        Fading {
            slow: left(SLOW_MINUTES),
            fast: left(FAST_MINUTES),
            shift: left(SHIFT_MINUTES),
        }
    }

    pub fn origin(&self, index: usize) -> Origin {
        let values = &self.history.values;
        let newest = &values[index + 1 - self.level_steps..=index];
        Origin {
            index,
            last: values[index],
            level: newest.iter().sum::<f64>() / newest.len() as f64,
            smooth: self.smooth[index - self.profile_from],
            adjusted: self.adjusted[index - self.profile_from],
            profile: self.profile_at(index),
            shift: values[index] - values[index - self.history.day],
        }
    }

    /// What each of [`Candidate::ALL`] says.
    pub fn say_all(
        &self,
        origin: &Origin,
        steps_ahead: usize,
        fading: Fading,
    ) -> [f64; Candidate::COUNT] {
        Candidate::ALL.map(|candidate| self.say(candidate, origin, steps_ahead, fading))
    }

    /// What `candidate` says at `origin` about the value `steps_ahead` (at least 1) later.
    pub fn say(
        &self,
        candidate: Candidate,
        origin: &Origin,
        steps_ahead: usize,
        fading: Fading,
    ) -> f64 {
        let target = origin.index + steps_ahead;
        match candidate {
            Candidate::Last => origin.last,
            Candidate::Level => origin.level,
            Candidate::SmoothLevel => origin.smooth,
            Candidate::Profile => self.profile_at(target),
            Candidate::ProfileSlow => {
                self.profile_at(target) + (origin.level - origin.profile) * fading.slow
            }
            Candidate::ProfileFast => {
                self.profile_at(target) + (origin.level - origin.profile) * fading.fast
            }
            Candidate::ProfileSmooth => {
                self.profile_at(target) + (origin.smooth - origin.profile) * fading.slow
            }
            Candidate::Theta => self.profile_at(target) + origin.adjusted,
            Candidate::DayNaive => self.ago(origin, target, 1),
            Candidate::DayShifted => self.ago(origin, target, 1) + origin.shift * fading.shift,
            Candidate::Half => f64::midpoint(self.profile_at(target), origin.level),
            Candidate::WeekNaive => self.ago(origin, target, 7),
        }
    }

    /// The value at the time of day of `target`, a multiple of `days` before it and known at `origin`.
    fn ago(&self, origin: &Origin, target: usize, days: usize) -> f64 {
        let cycle = self.history.day * days;
        let cycles = (target - origin.index).div_ceil(cycle).max(1) * cycle;
        match target.checked_sub(cycles) {
            Some(index) => {
                let usual = self.profile_at(target);
                let (least, most) = (usual - self.most_unusual, usual + self.most_unusual);
                self.history.values[index].clamp(least, most)
            }
            // A history of less than a week before an early origin: the usual day is the nearest to it.
            None => self.profile_at(target),
        }
    }
}

/// Median of the same time on the days before `target` that are known.
fn usual(values: &[f64], target: usize, day: usize) -> f64 {
    let mut same_time = [0.0; PROFILE_DAYS];
    let mut count = 0;
    for days in 1..=PROFILE_DAYS {
        if let Some(value) = target
            .checked_sub(days * day)
            .and_then(|index| values.get(index))
        {
            same_time[count] = *value;
            count += 1;
        }
    }
    median(&mut same_time[..count])
}

/// The middle of a few values; may reorder them. Weeks are asked for by the thousand, so seven go without branches.
pub fn median(values: &mut [f64]) -> f64 {
    if let Ok(week) = <&mut [f64; PROFILE_DAYS]>::try_from(&mut *values) {
        return median_of_week(week);
    }
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

/// A selection network: thirteen exchanges bring the middle of seven to its place.
fn median_of_week(values: &mut [f64; PROFILE_DAYS]) -> f64 {
    const EXCHANGES: [(usize, usize); 13] = [
        (0, 5),
        (0, 3),
        (1, 6),
        (2, 4),
        (0, 1),
        (3, 5),
        (2, 6),
        (2, 3),
        (3, 6),
        (4, 5),
        (1, 4),
        (1, 3),
        (3, 4),
    ];
    for (low, high) in EXCHANGES {
        let (one, other) = (values[low], values[high]);
        values[low] = one.min(other);
        values[high] = one.max(other);
    }
    values[3]
}

/// How far from the usual day a value counts, by the middle one of the distances.
fn most_unusual(unusual: &[f64], values: &[f64]) -> f64 {
    let mut apart: Vec<f64> = unusual.iter().map(|distance| distance.abs()).collect();
    let middle = apart.len() / 2;
    let usual = if apart.is_empty() {
        0.0
    } else {
        *apart.select_nth_unstable_by(middle, f64::total_cmp).1
    };
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    usual.max(LEAST_USUAL * mean) * WILD
}

/// Exponentially smoothed level at each index from `from` on, at the pace that was best at telling the next value.
fn smoothed(values: &[f64], from: usize, step_minutes: f64) -> Vec<f64> {
    let tried = LEVEL_MINUTES.map(|halving_minutes| {
        let weight = 1.0 - (-step_minutes / halving_minutes).exp2();
        let mut level = values.first().copied().unwrap_or_default();
        let mut squares = 0.0;
        let levels: Vec<f64> = values
            .iter()
            .map(|value| {
                let error = value - level;
                squares += error * error;
                level += weight * error;
                level
            })
            .collect();
        (squares, levels)
    });
    let best = tried
        .into_iter()
        .min_by(|one, other| one.0.total_cmp(&other.0));
    best.map_or_else(Vec::new, |(_, mut levels)| {
        levels.drain(..from);
        levels
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_follows_at_the_pace_that_suits_the_series() {
        let mut random = fastrand::Rng::with_seed(9);
        let mut steps = |kept: f64| -> Vec<f64> {
            let mut value = 0.0;
            let step = |_| {
                value = kept * value + random.f64() - 0.5;
                value
            };
            (0..2000).map(step).collect()
        };
        // What wanders is best told by its newest value, what only jitters by its mean.
        let (wandering, jittering) = (steps(1.0), steps(0.0));
        let last = |values: &[f64]| smoothed(values, 100, 5.0)[1899];
        assert!((last(&wandering) - wandering[1999]).abs() < 0.6);
        assert!(last(&jittering).abs() < 0.1);
        assert_eq!(smoothed(&wandering, 100, 5.0).len(), 1900);
    }

    #[test]
    fn a_median_is_the_middle_of_any_order() {
        let mut random = fastrand::Rng::with_seed(4);
        for count in 1..=8 {
            for _ in 0..200 {
                let mut values: Vec<f64> = (0..count).map(|_| f64::from(random.u8(..9))).collect();
                let mut sorted = values.clone();
                sorted.sort_unstable_by(f64::total_cmp);
                let middle = f64::midpoint(sorted[(count - 1) / 2], sorted[count / 2]);
                assert!((median(&mut values) - middle).abs() < 1e-12, "{sorted:?}");
            }
        }
    }
}
