//! The fleet's default model: for each distance ahead, the simple way that did best on this series' own last days.

use super::{
    Accuracy, ForecastPoint, Forecaster, NotReady, Predicted,
    candidate::{Basis, Candidate, Fading, Origin},
    history::History,
    naive,
    residuals::Spread,
    surge::{Surge, WATCHED_STEPS},
};
use crate::metrics::Series;

/// An interval leaves out this share of the truth, half on each side.
pub const INTERVAL_OUTSIDE: f64 = 0.05;

/// With fewer days than this there is nothing to choose by, and day naive answers.
const MIN_DAYS: usize = 8;

/// Days back in which candidates are tried.
const TRIED_DAYS: usize = 3;

/// Past origins tried in each of these days.
const ORIGINS_PER_DAY: usize = 41;

/// Distances ahead at which candidates are tried, in minutes; between them the next longer one decides.
const PROBE_MINUTES: [usize; 15] = [
    5, 10, 15, 20, 30, 40, 50, 60, 90, 120, 180, 360, 720, 1080, 1440,
];

/// Fewer errors than this say nothing about an interval.
const MIN_ERRORS: usize = 20;

/// Chooses per series and distance among simple candidates by their mean absolute error over the last days, and
/// takes the interval from the chosen one's own errors. A surge of the newest values is carried on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Select;

impl Forecaster for Select {
    fn name(&self) -> &'static str {
        "select"
    }

    /// From eight days of history; with less, [`super::DayNaive`] answers under its own name.
    fn predict(&self, series: &Series, horizon_steps: usize) -> Result<Predicted, NotReady> {
        let history = History::of(series)?;
        if history.values.len() < MIN_DAYS * history.day {
            return Ok(naive::predict(&history, series, horizon_steps));
        }
        let trial = Trial::new(&history, horizon_steps);
        let scores = trial.scores();
        let chosen = trial.choose(|probe| scores.early[probe].plus(&scores.late[probe]));
        let spreads = trial.spreads(&chosen, history.values.len());
        Ok(Predicted {
            model: self.name().to_owned(),
            accuracy: trial.accuracy(&scores),
            points: points(series, trial.forecast(&chosen, &spreads, horizon_steps)),
        })
    }
}

/// Means and spreads as points of `series`' future: never negative, infinite or out of order.
pub fn points(
    series: &Series,
    forecast: impl Iterator<Item = (f64, Spread)>,
) -> Vec<ForecastPoint> {
    let bounded = |value: f64| value.clamp(0.0, f64::from(f32::MAX)) as f32;
    forecast
        .enumerate()
        .map(|(step, (mean, spread))| ForecastPoint {
            at: series.at(series.values.len() + step),
            mean: bounded(mean),
            lower: bounded(mean.max(0.0) + spread.low),
            upper: bounded(mean.max(0.0) + spread.high),
        })
        .collect()
}

/// One distance ahead at which candidates are tried.
struct Probe {
    steps: usize,
    fading: Fading,
}

/// Summed absolute errors of all candidates.
#[derive(Clone, Copy, Default)]
struct Score {
    errors: [f64; Candidate::COUNT],
    count: usize,
}

impl Score {
    fn plus(mut self, other: &Self) -> Self {
        for (sum, error) in self.errors.iter_mut().zip(other.errors) {
            *sum += error;
        }
        self.count += other.count;
        self
    }

    fn best(&self) -> Candidate {
        let errors = |candidate: &Candidate| self.errors[*candidate as usize];
        Candidate::ALL
            .into_iter()
            .min_by(|left, right| errors(left).total_cmp(&errors(right)))
            .unwrap_or(Candidate::Profile)
    }
}

/// Scores per probe, of targets before the last day and in it.
struct Scores {
    early: Vec<Score>,
    late: Vec<Score>,
}

/// The candidates at past origins of one series.
struct Trial<'a> {
    history: &'a History,
    basis: Basis<'a>,
    probes: Vec<Probe>,
    origins: Vec<Origin>,
    step_minutes: f64,
}

impl<'a> Trial<'a> {
    fn new(history: &'a History, horizon_steps: usize) -> Self {
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

    fn scores(&self) -> Scores {
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
    fn choose(&self, score: impl Fn(usize) -> Score) -> Vec<Candidate> {
        let mut best = Candidate::Profile;
        (0..self.probes.len())
            .map(|probe| {
                let score = score(probe);
                if score.count >= MIN_ERRORS {
                    best = score.best();
                }
                best
            })
            .collect()
    }

    fn errors(&self, probe: usize, candidate: Candidate) -> impl Iterator<Item = (usize, f64)> {
        let probe = &self.probes[probe];
        self.targets(probe).map(move |(origin, target)| {
            let said = self.basis.say(candidate, origin, probe.steps, probe.fading);
            (target, self.history.values[target] - said)
        })
    }

    /// The spread of each probe's errors at targets before `until`; with too few the one of the probe before.
    fn spreads(&self, chosen: &[Candidate], until: usize) -> Vec<Spread> {
        let mut spread = Spread::default();
        let mut errors = Vec::with_capacity(self.origins.len());
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
                    spread = Spread::of(&mut errors, INTERVAL_OUTSIDE);
                }
                spread
            })
            .collect()
    }

    /// Chosen and spread by the days before, judged by the last day.
    fn accuracy(&self, scores: &Scores) -> Option<Accuracy> {
        let chosen = self.choose(|probe| scores.early[probe]);
        let spreads = self.spreads(&chosen, self.last_day());
        let (mut count, mut inside, mut absolute) = (0_usize, 0_usize, 0.0);
        for probe in 0..self.probes.len() {
            for (_, error) in self
                .errors(probe, chosen[probe])
                .filter(|(target, _)| *target >= self.last_day())
            {
                count += 1;
                inside += usize::from(spreads[probe].holds(error));
                absolute += error.abs();
            }
        }
        (count > 0).then(|| Accuracy {
            mase: absolute / count as f64 / self.history.naive_error(),
            coverage: inside as f64 / count as f64,
        })
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

    fn forecast(
        &self,
        chosen: &[Candidate],
        spreads: &[Spread],
        horizon_steps: usize,
    ) -> impl Iterator<Item = (f64, Spread)> {
        let origin = self.basis.origin(self.history.origin());
        let surge = self.surge(chosen, spreads);
        let nearest = self.basis.fading(1);
        (1..=horizon_steps).map(move |steps| {
            let candidate = chosen[self.probe_of(steps)];
            let said = self
                .basis
                .say(candidate, &origin, steps, self.basis.fading(steps));
            let lift = surge.map_or(0.0, |surge| {
                let now = self.basis.say(candidate, &origin, 1, nearest);
                surge.lift(now, steps as f64 * self.step_minutes)
            });
            (said + lift, self.spread_at(spreads, steps))
        })
    }

    /// Looks at the newest values from just before them.
    fn surge(&self, chosen: &[Candidate], spreads: &[Spread]) -> Option<Surge> {
        let before = self.basis.origin(self.history.origin() - WATCHED_STEPS);
        let newest: Vec<_> = (1..=WATCHED_STEPS)
            .map(|steps| {
                let candidate = chosen[self.probe_of(steps)];
                let said = self
                    .basis
                    .say(candidate, &before, steps, self.basis.fading(steps));
                let value = self.history.values[before.index() + steps];
                (value, said, self.spread_at(spreads, steps))
            })
            .collect();
        Surge::detect(&newest)
    }
}
