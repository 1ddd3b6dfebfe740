//! `forecast --pool P`, `forecast --type T`: what many VMs will do together, and whom the peak comes from.

use super::{
    context::unexpected,
    json::{ContributionJson, TogetherJson},
    output::{self, Listing},
};
use crate::{
    engine::{
        command::{Answer, Command},
        handle::Handle,
        snapshot::{Snapshot, VmView},
    },
    forecast::{
        HISTORY_SECONDS, Model,
        aggregate::{self, Together},
    },
    inventory::PowerState,
    metrics::{Metric, Series},
    problem::Problem,
    units::VmId,
};

pub const STEP_SECONDS: u32 = 300;
/// A table longer than this is cut for people; `--json` has every VM.
const MOST_ROWS: usize = 12;

/// Which VMs, how they are called together, and what is asked of them.
pub struct Asked<'a> {
    pub name: String,
    pub views: Vec<&'a VmView>,
    pub metric: Metric,
    pub horizon_seconds: u32,
}

impl Asked<'_> {
    pub fn run(&self, handle: &Handle, now: &Snapshot, json: bool) -> Result<(), Problem> {
        let found = self.forecast(handle, now)?;
        if json {
            output::json(&self.document(&found, now))
        } else {
            self.show(&found)
        }
    }

    fn forecast(&self, handle: &Handle, now: &Snapshot) -> Result<Together, Problem> {
        let waiting = output::spinner("adding up");
        let mut members: Vec<(VmId, Series)> = Vec::new();
        for view in &self.views {
            if view.vm.owner.is_some() || view.vm.state != PowerState::Running {
                continue;
            }
            let series = history(handle, now, view, self.metric)?;
            if !series.values.is_empty() {
                members.push((view.vm.id.clone(), series));
            }
        }
        let members: Vec<(VmId, &Series)> = members
            .iter()
            .map(|(vm, series)| (vm.clone(), series))
            .collect();
        let steps = (self.horizon_seconds / STEP_SECONDS).max(1) as usize;
        let found = aggregate::together(Model::LIVE.forecaster(), &members, steps);
        waiting.finish_and_clear();
        found.map_err(|not_ready| {
            Problem::failed(
                format!(
                    "There is no forecast of {} for {}.",
                    self.metric.name(),
                    self.name
                ),
                format!("{not_ready}."),
                "Let an engine go on sampling (`shadowcast agent`), or bring history with `shadowcast history import FILE`.",
            )
        })
    }

    fn document<'a>(&'a self, found: &'a Together, now: &'a Snapshot) -> TogetherJson<'a> {
        TogetherJson {
            of: &self.name,
            metric: self.metric,
            unit: unit(self.metric),
            made_at: now.at,
            step_seconds: STEP_SECONDS,
            model: &found.predicted.model,
            accuracy: found.predicted.accuracy,
            points: &found.predicted.points,
            contributions: found
                .contributions
                .iter()
                .map(|(vm, at_peak)| ContributionJson {
                    vm,
                    at_peak: *at_peak,
                })
                .collect(),
        }
    }

    fn show(&self, found: &Together) -> Result<(), Problem> {
        let metric = self.metric;
        let vms = found.contributions.len();
        output::line(&format!("{}, {}: {vms} VMs", self.name, metric.name()))?;
        let points = &found.predicted.points;
        let Some(peak) = points.iter().max_by(|a, b| a.mean.total_cmp(&b.mean)) else {
            return output::line("The forecast has no points.");
        };
        output::line(&format!(
            "peak {} at {}, between {} and {}",
            shown(metric, f64::from(peak.mean)),
            output::moment(peak.at),
            shown(metric, f64::from(peak.lower)),
            shown(metric, f64::from(peak.upper))
        ))?;
        let mut listing = Listing::new(&["vm", ">at the peak", ">of it"]);
        for (vm, at_peak) in found.contributions.iter().take(MOST_ROWS) {
            let view = self.views.iter().find(|view| view.vm.id == *vm);
            let name = view.map_or(vm.as_str(), |view| view.vm.name.as_str());
            listing.row([
                name.into(),
                shown(metric, *at_peak).into(),
                output::percent(at_peak / f64::from(peak.mean).max(1e-9)).into(),
            ]);
        }
        listing.show()
    }
}

/// Ratios cannot be added up: they become what they are a ratio of.
fn scale(view: &VmView, metric: Metric) -> f32 {
    match metric {
        Metric::Cpu => view.vm.vcpus as f32,
        Metric::Memory => view.vm.memory_bytes as f32,
        _ => 1.0,
    }
}

const fn unit(metric: Metric) -> &'static str {
    match metric {
        Metric::Cpu => "vcpus",
        Metric::Memory => "bytes",
        other => other.unit(),
    }
}

fn shown(metric: Metric, value: f64) -> String {
    match metric {
        Metric::Cpu => format!("{value:.1} vCPU"),
        Metric::Memory => output::bytes(value.max(0.0) as u64),
        other => output::value(other, value),
    }
}

/// Two weeks, from the first value to the last one, in what can be added up.
fn history(
    handle: &Handle,
    now: &Snapshot,
    view: &VmView,
    metric: Metric,
) -> Result<Series, Problem> {
    let mut series = measured(handle, now, view, metric)?;
    let scale = scale(view, metric);
    for value in &mut series.values {
        *value *= scale;
    }
    Ok(series)
}

/// Two weeks, from the first value to the last one.
pub fn measured(
    handle: &Handle,
    now: &Snapshot,
    view: &VmView,
    metric: Metric,
) -> Result<Series, Problem> {
    let step = i64::from(STEP_SECONDS);
    let end = now.at.as_secs().div_euclid(step) * step;
    let past = i64::try_from(HISTORY_SECONDS).unwrap_or(i64::MAX);
    let answer = handle.ask(Command::History {
        vm: view.vm.id.clone(),
        metric,
        from: crate::units::Timestamp::from_secs(end - past),
        to: crate::units::Timestamp::from_secs(end),
        step_seconds: Some(STEP_SECONDS),
    })?;
    let mut series = match answer {
        Answer::History { series } => series,
        other => return Err(unexpected(&other)),
    };
    let measured = |value: &f32| value.is_finite();
    let first = series.values.iter().position(measured);
    let last = series.values.iter().rposition(measured);
    let (first, end) = first
        .zip(last)
        .map_or((0, 0), |(first, last)| (first, last + 1));
    series.start = series.at(first);
    series.values.truncate(end);
    series.values.drain(..first);
    Ok(series)
}
