//! The live decision put back to past moments: what would have been proposed, when, and with what result.
//!
//! At every step only what had been measured by then is known. Forecast, health, need, hold and size are the functions
//! that decide live; nobody approves, so a proposal stands until its need has passed.

use super::{
    Urgency,
    hold::{Held, HoldPolicy},
    need::{self, NeedInput, NeedPolicy},
    plan,
    sizing::{self, SizingInput, SizingPolicy},
};
use crate::{
    calendar::{Affecting, uplift},
    forecast::{
        self, Model, Outlook,
        backtest::{known_at, known_since},
    },
    health::{self, ForecastRisk, HealthInput, Limited, Thresholds},
    inventory::{Service, Vm},
    metrics::{Metric, Series},
    units::Timestamp,
};

/// What is learned of events looks back on.
pub const LOOKS_BACK_SECONDS: u64 = 56 * 86_400;

/// What the live decision goes by.
#[derive(Clone, Copy, Debug)]
pub struct ReplayPolicy {
    pub need: NeedPolicy,
    pub hold: HoldPolicy,
    pub sizing: SizingPolicy,
    pub thresholds: Thresholds,
}

/// What was measured of one metric, all on the same steps, and from which value on it is too much.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    pub metric: Metric,
    pub series: &'a Series,
    pub limit: f64,
}

#[derive(Clone, Copy, Debug)]
pub struct ReplayInput<'a> {
    pub vm: &'a Vm,
    pub service: Option<&'a Service>,
    /// What the calendar knows of it.
    pub events: &'a [Affecting],
    /// From two weeks (with events, [`LOOKS_BACK_SECONDS`]) before `from` until a horizon after `to`, as far as there is.
    pub loads: &'a [Load<'a>],
    pub from: Timestamp,
    pub to: Timestamp,
    /// Between two decisions; made whole steps of the series.
    pub step_seconds: u32,
}

/// What came of what was foretold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// So long after the proposal a limit was crossed; 0 where it was already.
    Crossed {
        lead_seconds: u32,
    },
    FalseAlarm,
    /// What is measured ends before the horizon does.
    NotYetKnown,
}

/// One proposal that would have been made.
#[derive(Clone, Debug, PartialEq)]
pub struct Raised {
    pub at: Timestamp,
    pub urgency: Urgency,
    pub why: String,
    pub crosses_at: Option<Timestamp>,
    pub probability: Option<f64>,
    pub share: f64,
    pub vcpus: u32,
    pub withdrawn_at: Option<Timestamp>,
    pub result: Verdict,
}

/// One time that a limit was crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossing {
    pub metric: Metric,
    pub at: Timestamp,
    /// Of the proposal that stood by then; `None`: nobody was told.
    pub lead_seconds: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replayed {
    pub raised: Vec<Raised>,
    pub crossings: Vec<Crossing>,
    pub steps: u32,
    /// Of those, the ones at which too little was known to decide.
    pub unknown: u32,
}

/// A limit that is crossed again within this is crossed still.
const SAME_CROSSING_SECONDS: i64 = 3600;

/// Decides at every step from `from` on and before `to`.
pub fn replay(input: &ReplayInput, policy: &ReplayPolicy) -> Replayed {
    let mut done = Replayed::default();
    let Some(first) = input.loads.first() else {
        return done;
    };
    let width = first.series.step_seconds.max(1);
    let stride = input.step_seconds.max(1).div_ceil(width) as usize;
    let mut held = Held::default();
    let mut open: Option<Raised> = None;
    let begin = first_step_after(first.series, input.from);
    for index in (begin..).step_by(stride) {
        // The step before has just ended.
        let now = first.series.at(index);
        if now >= input.to {
            break;
        }
        let moment = Moment::at(input, policy, index, now);
        done.steps += 1;
        held = moment.decide(input, policy, held, &mut open, &mut done);
    }
    done.raised.extend(open);
    for raised in &mut done.raised {
        raised.result = result(input.loads, raised.at, policy.need.horizon_seconds);
    }
    done.crossings = crossings(input, &done.raised);
    done
}

fn first_step_after(series: &Series, from: Timestamp) -> usize {
    let seconds = u64::try_from(from.secs_since(series.start)).unwrap_or(0);
    let steps = seconds.div_ceil(u64::from(series.step_seconds.max(1)));
    // Before anything was measured there is nothing to decide on.
    usize::try_from(steps).unwrap_or(usize::MAX).max(1)
}

/// What was known at one moment.
struct Moment {
    now: Timestamp,
    values: [Option<f32>; Metric::COUNT],
    sampled_at: Option<Timestamp>,
    outlooks: Vec<Outlook>,
    health: health::HealthScore,
    coverage: f64,
}

impl Moment {
    fn at(input: &ReplayInput, policy: &ReplayPolicy, index: usize, now: Timestamp) -> Self {
        let mut moment = Self {
            now,
            values: [None; Metric::COUNT],
            sampled_at: None,
            outlooks: Vec::new(),
            health: health::score(&HealthInput::default(), &policy.thresholds),
            coverage: 0.0,
        };
        let mut limits = [None; Metric::COUNT];
        for load in input.loads {
            let known = if input.events.is_empty() {
                known_at(load.series, index - 1)
            } else {
                known_since(load.series, index - 1, LOOKS_BACK_SECONDS)
            };
            let known = trimmed(known);
            limits[load.metric.index()] = Some(load.limit);
            moment.values[load.metric.index()] = known
                .values
                .last()
                .copied()
                .filter(|value| value.is_finite());
            let newest = known.newest().map(|(newest, _)| known.at(newest + 1));
            moment.sampled_at = moment.sampled_at.max(newest);
            if load.metric == Metric::Cpu || input.loads.len() == 1 {
                moment.coverage = last_day_coverage(&known);
            }
            moment
                .outlooks
                .extend(outlook(input, load, &known, policy, now));
        }
        moment.health = health::score(&moment.health_input(&limits), &policy.thresholds);
        moment
    }

    fn health_input(&self, limits: &[Option<f64>; Metric::COUNT]) -> HealthInput {
        let limited = |metric: Metric| Limited {
            value: self.values[metric.index()].map(f64::from),
            limit: limits[metric.index()],
        };
        HealthInput {
            cpu: limited(Metric::Cpu),
            memory: limited(Metric::Memory),
            disk: limited(Metric::Disk),
            net: limited(Metric::Net),
            forecast: ForecastRisk::nearest(&self.outlooks, self.now),
            data_age_seconds: self
                .sampled_at
                .and_then(|at| u64::try_from(self.now.secs_since(at)).ok()),
            coverage: (self.coverage > 0.0).then_some(self.coverage),
            ..HealthInput::default()
        }
    }

    fn decide(
        &self,
        input: &ReplayInput,
        policy: &ReplayPolicy,
        held: Held,
        open: &mut Option<Raised>,
        done: &mut Replayed,
    ) -> Held {
        let asked = NeedInput {
            vm: &input.vm.id,
            now: self.now,
            outlooks: &self.outlooks,
            health: &self.health,
            coverage: self.coverage,
            sampled_at: self.sampled_at,
            helped: None,
        };
        // What stands is judged by easier terms than what is raised.
        let terms = if open.is_some() {
            policy.need.eased()
        } else {
            policy.need
        };
        if !need::is_known(&asked, &terms) {
            done.unknown += 1;
            return held;
        }
        let need = need::need(&asked, &terms);
        let held = held.after(need.is_some(), self.now);
        match need {
            Some(need) if open.is_none() && held.may_raise(need.urgency, self.now, policy.hold) => {
                *open = Some(self.raise(input, policy, &need));
            }
            None if held.may_withdraw(self.now, policy.hold) => {
                if let Some(mut raised) = open.take() {
                    raised.withdrawn_at = Some(self.now);
                    done.raised.push(raised);
                }
            }
            _ => {}
        }
        held
    }

    fn raise(&self, input: &ReplayInput, policy: &ReplayPolicy, need: &super::Need) -> Raised {
        let sizing = sizing::size(
            &SizingInput {
                vm: input.vm,
                need,
                outlooks: &self.outlooks,
                values: &self.values,
                service: input.service,
                share_now: 0.0,
            },
            &policy.sizing,
        );
        Raised {
            at: self.now,
            urgency: need.urgency,
            why: plan::explain(need, &input.vm.name, self.now),
            crosses_at: need.crosses_at,
            probability: need.probability,
            share: sizing.share,
            vcpus: sizing.vcpus,
            withdrawn_at: None,
            result: Verdict::NotYetKnown,
        }
    }
}

/// From its first value on, as the live forecast has it.
fn trimmed(mut series: Series) -> Series {
    let first = series.values.iter().position(|value| value.is_finite());
    let first = first.unwrap_or(series.values.len());
    series.start = series.at(first);
    series.values.drain(..first);
    series
}

fn last_day_coverage(series: &Series) -> f64 {
    let day = (86_400 / series.step_seconds.max(1)).max(1) as usize;
    let last_day = series.values.iter().rev().take(day);
    last_day.filter(|value| value.is_finite()).count() as f64 / day as f64
}

fn outlook(
    input: &ReplayInput,
    load: &Load,
    known: &Series,
    policy: &ReplayPolicy,
    now: Timestamp,
) -> Option<Outlook> {
    let steps = (policy.need.horizon_seconds / known.step_seconds.max(1)).max(1) as usize;
    // A model that refuses leaves the VM without an outlook, as it does live.
    let model = Model::LIVE.forecaster();
    let (predicted, _) = uplift::predict(model, known, None, steps, input.events).ok()?;
    let limit = Some(load.limit);
    let step = known.step_seconds;
    let made = forecast::assemble(
        input.vm.id.clone(),
        load.metric,
        limit,
        now,
        step,
        predicted,
    );
    Some(forecast::outlook(&made))
}

fn result(loads: &[Load], at: Timestamp, horizon_seconds: u32) -> Verdict {
    let until = at.plus_secs(i64::from(horizon_seconds));
    let crossed_at = loads
        .iter()
        .filter_map(|load| {
            // The step that had just ended counts: a VM that is over its limit has crossed it.
            let from = at.plus_secs(-i64::from(load.series.step_seconds));
            over(load).find(|crossed| *crossed >= from && *crossed < until)
        })
        .min();
    let measured_until = loads.iter().filter_map(|load| {
        let (newest, _) = load.series.newest()?;
        Some(load.series.at(newest + 1))
    });
    match crossed_at {
        Some(crossed_at) => Verdict::Crossed {
            lead_seconds: u32::try_from(crossed_at.secs_since(at)).unwrap_or(0),
        },
        None if measured_until.max().is_some_and(|end| end >= until) => Verdict::FalseAlarm,
        None => Verdict::NotYetKnown,
    }
}

/// The steps that are at the limit or over it.
fn over<'a>(load: &'a Load) -> impl Iterator<Item = Timestamp> + 'a {
    let values = load.series.values.iter().enumerate();
    values
        .filter(|(_, value)| f64::from(**value) >= load.limit)
        .map(|(index, _)| load.series.at(index))
}

fn crossings(input: &ReplayInput, raised: &[Raised]) -> Vec<Crossing> {
    let mut found = Vec::new();
    for load in input.loads {
        let mut last: Option<Timestamp> = None;
        for at in over(load) {
            let goes_on = last.is_some_and(|last| at.secs_since(last) <= SAME_CROSSING_SECONDS);
            last = Some(at);
            if goes_on || at < input.from || at >= input.to {
                continue;
            }
            let told = raised.iter().find(|raised| {
                raised.at <= at && raised.withdrawn_at.is_none_or(|withdrawn| withdrawn > at)
            });
            found.push(Crossing {
                metric: load.metric,
                at,
                lead_seconds: told.and_then(|raised| u32::try_from(at.secs_since(raised.at)).ok()),
            });
        }
    }
    found.sort_by_key(|crossing| crossing.at);
    found
}

#[cfg(test)]
mod tests;
