//! Candidates tried at past origins of one series: which did best at each distance, and how far off they were.

use super::{
    Accuracy, Record,
    candidate::{Basis, Candidate, Fading, Origin},
    history::History,
    residuals::{OUTSIDE, Spread},
    surge::{QUIET_MINUTES, Surge, WATCHED_STEPS},
};

/// Days back in which candidates are tried.
const TRIED_DAYS: usize = 3;

/// Past origins tried in each of these days.
const ORIGINS_PER_DAY: usize = 41;

/// Distances ahead at which candidates are tried, in minutes; between them the next longer one decides, and past the
/// end the last one. It is not a whole day: at that distance the last value is the same time of day, looks as good as
/// a profile, and would be taken for hours at which it is far off.
const PROBE_MINUTES: [usize; 15] = [
    5, 10, 15, 20, 30, 40, 50, 60, 90, 120, 180, 360, 720, 1020, 1260,
];

/// Fewer errors than this say nothing about an interval.
const MIN_ERRORS: usize = 20;

/// Up to so many candidates are averaged, as long as their error is no more than this over the least.
const BLENDED: usize = 3;
const NEAR_BEST: f64 = 1.1;

/// A day ahead, the errors of three days hold less than they promise; so much wider they hold 95 % on recorded load.
const WIDER_A_DAY_AHEAD: f64 = 0.6;

/// How fast and how far an interval follows what was missed lately.
const ADAPTING: f64 = 0.1;
const LEAST_ADAPTED: f64 = 0.7;
const MOST_ADAPTED: f64 = 2.0;

/// The mean of the candidates that did best.
#[derive(Clone, Copy)]
pub struct Blend {
    parts: [Candidate; BLENDED],
    count: usize,
}

impl Blend {
    fn of(score: &Score) -> Self {
        let error = |candidate: Candidate| score.errors[candidate as usize];
        let mut ranked = Candidate::ALL;
        ranked.sort_unstable_by(|left, right| error(*left).total_cmp(&error(*right)));
        let most = error(ranked[0]) * NEAR_BEST;
        Self {
            parts: std::array::from_fn(|rank| ranked[rank]),
            count: ranked[..BLENDED].partition_point(|candidate| error(*candidate) <= most),
        }
    }

    fn say(self, basis: &Basis, origin: &Origin, steps_ahead: usize, fading: Fading) -> f64 {
        let parts = &self.parts[..self.count];
        let said = parts
            .iter()
            .map(|candidate| basis.say(*candidate, origin, steps_ahead, fading));
        said.sum::<f64>() / self.count as f64
    }
}

/// One distance ahead at which candidates are tried.
struct Probe {
    steps: usize,
    fading: Fading,
}

/// Summed absolute errors of all candidates.
#[derive(Clone, Copy, Default)]
pub struct Score {
    errors: [f64; Candidate::COUNT],
    count: usize,
}

impl Score {
    pub fn plus(mut self, other: &Self) -> Self {
        for (sum, error) in self.errors.iter_mut().zip(other.errors) {
            *sum += error;
        }
        self.count += other.count;
        self
    }
}

/// Scores per probe, of targets before the last day and in it.
pub struct Scores {
    pub early: Vec<Score>,
    pub late: Vec<Score>,
}

/// One forecast of a value that is known by now.
#[derive(Clone, Copy)]
pub struct HeldOut {
    pub origin: usize,
    pub steps: usize,
    pub said: f64,
    pub spread: Spread,
    pub truth: f64,
}

/// The candidates at past origins of one series.
pub struct Trial<'a> {
    history: &'a History,
    basis: Basis<'a>,
    probes: Vec<Probe>,
    origins: Vec<Origin>,
    step_minutes: f64,
}

impl<'a> Trial<'a> {
    pub fn new(history: &'a History, horizon_steps: usize) -> Self {
        let day = history.day;
        let newest = history.origin();
        let earliest = newest - TRIED_DAYS * day;
        let basis = Basis::new(history, earliest);
        let step_minutes = 1440.0 / day as f64;
        let mut steps: Vec<usize> = PROBE_MINUTES
            .iter()
            .map(|minutes| ((*minutes as f64 / step_minutes) as usize).max(1))
            .collect();
        steps.dedup();
        // One probe at or past the end of the horizon is enough; the newest values need theirs, too.
        let horizon_steps = horizon_steps.max(WATCHED_STEPS);
        let short = steps
            .iter()
            .take_while(|steps| **steps < horizon_steps)
            .count();
        steps.truncate(short + 1);
        let probes = steps
            .into_iter()
            .map(|steps| Probe {
                steps,
                fading: basis.fading(steps),
            })
            .collect();
        let origins = (earliest..newest)
            .step_by((day / ORIGINS_PER_DAY).max(1))
            .map(|index| basis.origin(index))
            .collect();
        Self {
            history,
            basis,
            probes,
            origins,
            step_minutes,
        }
    }

    /// First index of the last day, which is held out where accuracy is told.
    fn last_day(&self) -> usize {
        self.history.values.len() - self.history.day
    }

    /// The origins from which `probe` meets a measured value, with the index of that value.
    fn targets(&self, probe: &Probe) -> impl Iterator<Item = (&Origin, usize)> {
        self.origins.iter().filter_map(move |origin| {
            let target = origin.index() + probe.steps;
            let measured = self.history.measured.get(target).copied();
            measured.unwrap_or(false).then_some((origin, target))
        })
    }

    pub fn scores(&self) -> Scores {
        let mut early = vec![Score::default(); self.probes.len()];
        let mut late = early.clone();
        for (index, probe) in self.probes.iter().enumerate() {
            for (origin, target) in self.targets(probe) {
                let score = if target < self.last_day() {
                    &mut early[index]
                } else {
                    &mut late[index]
                };
                let truth = self.history.values[target];
                for (sum, said) in score.errors.iter_mut().zip(self.basis.say_all(
                    origin,
                    probe.steps,
                    probe.fading,
                )) {
                    *sum += (truth - said).abs();
                }
                score.count += 1;
            }
        }
        Scores { early, late }
    }

    /// The best candidate of each probe; with too few errors the one of the probe before.
    pub fn choose(&self, score: impl Fn(usize) -> Score) -> Vec<Blend> {
        let mut best = Blend {
            parts: [Candidate::Profile; BLENDED],
            count: 1,
        };
        (0..self.probes.len())
            .map(|probe| {
                let score = score(probe);
                if score.count >= MIN_ERRORS {
                    best = Blend::of(&score);
                }
                best
            })
            .collect()
    }

    fn errors(&self, probe: usize, blend: Blend) -> impl Iterator<Item = (usize, f64)> {
        let probe = &self.probes[probe];
        self.targets(probe).map(move |(origin, target)| {
            let said = blend.say(&self.basis, origin, probe.steps, probe.fading);
            (target, self.history.values[target] - said)
        })
    }

    /// The spread of each probe's errors at targets before `until`; with too few the one of the probe before.
    pub fn spreads(&self, chosen: &[Blend], until: usize) -> Vec<Spread> {
        let mut spread = Spread::default();
        let mut errors = Vec::with_capacity(self.origins.len());
        let mut in_order = Vec::new();
        (0..self.probes.len())
            .map(|probe| {
                errors.clear();
                let known = self.errors(probe, chosen[probe]);
                errors.extend(
                    known
                        .filter(|(target, _)| *target < until)
                        .map(|(_, error)| error),
                );
                if errors.len() >= MIN_ERRORS {
                    let days_ahead = self.probes[probe].steps as f64 / self.history.day as f64;
                    let factor = 1.0 + WIDER_A_DAY_AHEAD * days_ahead.sqrt();
                    in_order.clone_from(&errors);
                    let whole = Spread::of(&mut errors);
                    spread = whole.widened(factor * adapted(whole, &in_order));
                }
                spread
            })
            .collect()
    }

    /// Chosen and spread by the days before: what judges by the last day goes by.
    pub fn early(&self, scores: &Scores) -> (Vec<Blend>, Vec<Spread>) {
        let chosen = self.choose(|probe| scores.early[probe]);
        let spreads = self.spreads(&chosen, self.last_day());
        (chosen, spreads)
    }

    /// What would have been said about measured values of the last day, from every `every`-th origin tried.
    pub fn held_out(
        &self,
        (chosen, spreads): &(Vec<Blend>, Vec<Spread>),
        every: usize,
        mut judge: impl FnMut(HeldOut),
    ) {
        let from = self.last_day();
        // From the newest back; the oldest are as many steps before the last day as the longest distance.
        for origin in self.origins.iter().rev().step_by(every) {
            for (index, probe) in self.probes.iter().enumerate() {
                let target = origin.index() + probe.steps;
                let measured = self.history.measured.get(target).copied();
                if target < from || !measured.unwrap_or(false) {
                    continue;
                }
                judge(HeldOut {
                    origin: origin.index(),
                    steps: probe.steps,
                    said: chosen[index].say(&self.basis, origin, probe.steps, probe.fading),
                    spread: spreads[index],
                    truth: self.history.values[target],
                });
            }
        }
    }

    /// Chosen and spread by the days before, judged by the last day.
    pub fn accuracy(&self, scores: &Scores) -> Option<Accuracy> {
        let mut record = Record::default();
        self.held_out(&self.early(scores), 1, |held_out| {
            record.add(held_out.said, held_out.spread, held_out.truth);
        });
        record.accuracy(self.history)
    }

    /// The probe that decides about a distance: the first that is as far, else the last.
    fn probe_of(&self, steps: usize) -> usize {
        let shorter = self.probes.partition_point(|probe| probe.steps < steps);
        shorter.min(self.probes.len() - 1)
    }

    fn spread_at(&self, spreads: &[Spread], steps: usize) -> Spread {
        let probe = self.probe_of(steps);
        let to = self.probes[probe].steps;
        if probe == 0 || to <= steps {
            return spreads[probe];
        }
        let from = self.probes[probe - 1].steps;
        let weight = (steps - from) as f64 / (to - from) as f64;
        spreads[probe - 1].towards(spreads[probe], weight)
    }

    pub fn forecast(
        &self,
        chosen: &[Blend],
        spreads: &[Spread],
        horizon_steps: usize,
    ) -> impl Iterator<Item = (f64, Spread)> {
        let origin = self.basis.origin(self.history.origin());
        let surge = self.surge(chosen, spreads);
        let nearest = self.basis.fading(1);
        (1..=horizon_steps).map(move |steps| {
            let blend = chosen[self.probe_of(steps)];
            let said = blend.say(&self.basis, &origin, steps, self.basis.fading(steps));
            let lift = surge.map_or(0.0, |surge| {
                let now = blend.say(&self.basis, &origin, 1, nearest);
                surge.lift(now, steps as f64 * self.step_minutes)
            });
            (said + lift, self.spread_at(spreads, steps))
        })
    }

    /// Looks at the newest values from just before them. What counts as usual leaves the last hours out, so that a
    /// surge that goes on does not become usual while it lasts.
    pub fn surge(&self, chosen: &[Blend], spreads: &[Spread]) -> Option<Surge> {
        let said = |origin: &Origin, steps: usize| {
            chosen[self.probe_of(steps)].say(&self.basis, origin, steps, self.basis.fading(steps))
        };
        let before = self.basis.origin(self.history.origin() - WATCHED_STEPS);
        let newest: Vec<(f64, f64)> = (1..=WATCHED_STEPS)
            .map(|steps| {
                let value = self.history.values[before.index() + steps];
                (value, said(&before, steps))
            })
            .collect();
        let newest_error = newest.last().map(|(value, said)| value - said)?;
        if self.spread_at(spreads, WATCHED_STEPS).holds(newest_error) {
            return None;
        }
        let quiet = (QUIET_MINUTES / self.step_minutes) as usize;
        let until = self
            .history
            .origin()
            .saturating_sub(quiet.max(2 * WATCHED_STEPS));
        let earlier = (self.origins.first()?.index()..until)
            .filter(|index| self.history.measured[index + WATCHED_STEPS])
            .map(|index| {
                let origin = self.basis.origin(index);
                self.history.values[index + WATCHED_STEPS] - said(&origin, WATCHED_STEPS)
            });
        Surge::detect(&newest, Spread::range(earlier))
    }
}

/// Adaptive conformal inference: goes through the errors in the order of time, widens after each miss and narrows a
/// little after each hit, so that what was missed lately counts more than what was missed days ago.
fn adapted(spread: Spread, in_order: &[f64]) -> f64 {
    let mut factor = 1.0;
    for error in in_order {
        let missed = !spread.widened(factor).holds(*error);
        factor *= (ADAPTING * (f64::from(u8::from(missed)) - OUTSIDE)).exp();
    }
    factor.clamp(LEAST_ADAPTED, MOST_ADAPTED)
}
