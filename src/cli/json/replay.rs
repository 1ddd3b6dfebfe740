//! What a replay found, in the stable shape.

use serde::Serialize;

use crate::{
    engine::snapshot::VmView,
    metrics::Metric,
    shadow::{
        Urgency,
        replay::{Crossing, Raised, Replayed, Verdict},
    },
    units::{Timestamp, VmId},
};

#[derive(Serialize)]
pub struct ReplaysJson<'a> {
    pub from: Timestamp,
    pub to: Timestamp,
    pub step_seconds: u32,
    pub summary: &'a ReplaySummary,
    pub vms: Vec<ReplayJson<'a>>,
}

/// Over all VMs.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct ReplaySummary {
    pub proposals: u32,
    pub crossed: u32,
    pub false_alarms: u32,
    pub not_yet_known: u32,
    pub crossings: u32,
    /// Crossings before which nothing stood proposed.
    pub missed: u32,
    pub median_lead_seconds: Option<u32>,
    /// Steps at which something could be decided, in days.
    pub vm_days: f64,
    pub false_alarms_per_vm_day: Option<f64>,
}

impl ReplaySummary {
    pub fn of<'a>(replayed: impl IntoIterator<Item = &'a Replayed>, step_seconds: u32) -> Self {
        let mut summary = Self::default();
        let mut leads = Vec::new();
        for one in replayed {
            for raised in &one.raised {
                summary.proposals += 1;
                match raised.result {
                    Verdict::Crossed { .. } => summary.crossed += 1,
                    Verdict::FalseAlarm => summary.false_alarms += 1,
                    Verdict::NotYetKnown => summary.not_yet_known += 1,
                }
            }
            for crossing in &one.crossings {
                summary.crossings += 1;
                match crossing.lead_seconds {
                    Some(lead) => leads.push(lead),
                    None => summary.missed += 1,
                }
            }
            let decided = one.steps.saturating_sub(one.unknown);
            summary.vm_days += f64::from(decided) * f64::from(step_seconds) / 86_400.0;
        }
        leads.sort_unstable();
        summary.median_lead_seconds = leads.get(leads.len() / 2).copied();
        summary.false_alarms_per_vm_day =
            (summary.vm_days > 0.0).then(|| f64::from(summary.false_alarms) / summary.vm_days);
        summary
    }
}

#[derive(Serialize)]
pub struct ReplayJson<'a> {
    vm: &'a VmId,
    vm_name: &'a str,
    steps: u32,
    /// Steps at which too little was known to decide.
    unknown_steps: u32,
    proposals: Vec<RaisedJson<'a>>,
    crossings: Vec<CrossingJson>,
}

#[derive(Serialize)]
struct RaisedJson<'a> {
    at: Timestamp,
    urgency: Urgency,
    crosses_at: Option<Timestamp>,
    probability: Option<f64>,
    why: &'a str,
    share: f64,
    vcpus: u32,
    withdrawn_at: Option<Timestamp>,
    result: &'static str,
    lead_seconds: Option<u32>,
}

#[derive(Serialize)]
struct CrossingJson {
    metric: Metric,
    at: Timestamp,
    lead_seconds: Option<u32>,
}

impl<'a> ReplayJson<'a> {
    pub fn of(view: &'a VmView, replayed: &'a Replayed) -> Self {
        Self {
            vm: &view.vm.id,
            vm_name: &view.vm.name,
            steps: replayed.steps,
            unknown_steps: replayed.unknown,
            proposals: replayed.raised.iter().map(RaisedJson::from).collect(),
            crossings: replayed.crossings.iter().map(CrossingJson::from).collect(),
        }
    }
}

impl<'a> From<&'a Raised> for RaisedJson<'a> {
    fn from(raised: &'a Raised) -> Self {
        Self {
            at: raised.at,
            urgency: raised.urgency,
            crosses_at: raised.crosses_at,
            probability: raised.probability,
            why: &raised.why,
            share: raised.share,
            vcpus: raised.vcpus,
            withdrawn_at: raised.withdrawn_at,
            result: match raised.result {
                Verdict::Crossed { .. } => "crossed",
                Verdict::FalseAlarm => "false_alarm",
                Verdict::NotYetKnown => "not_yet_known",
            },
            lead_seconds: match raised.result {
                Verdict::Crossed { lead_seconds } => Some(lead_seconds),
                Verdict::FalseAlarm | Verdict::NotYetKnown => None,
            },
        }
    }
}

impl From<&Crossing> for CrossingJson {
    fn from(crossing: &Crossing) -> Self {
        Self {
            metric: crossing.metric,
            at: crossing.at,
            lead_seconds: crossing.lead_seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_results_misses_and_alarms_per_day() {
        let raised = |result| Raised {
            at: Timestamp::from_secs(0),
            urgency: Urgency::Soon,
            why: String::new(),
            crosses_at: None,
            probability: None,
            share: 0.0,
            vcpus: 1,
            withdrawn_at: None,
            result,
        };
        let crossing = |lead_seconds| Crossing {
            metric: Metric::Cpu,
            at: Timestamp::from_secs(0),
            lead_seconds,
        };
        let one = Replayed {
            raised: vec![
                raised(Verdict::Crossed { lead_seconds: 600 }),
                raised(Verdict::FalseAlarm),
                raised(Verdict::NotYetKnown),
            ],
            crossings: vec![crossing(Some(600)), crossing(None)],
            steps: 600,
            unknown: 24,
        };
        let summary = ReplaySummary::of([&one], 300);
        assert_eq!(
            (summary.proposals, summary.crossed, summary.false_alarms),
            (3, 1, 1)
        );
        assert_eq!((summary.crossings, summary.missed), (2, 1));
        assert_eq!(summary.median_lead_seconds, Some(600));
        assert_eq!(summary.false_alarms_per_vm_day, Some(0.5));
        assert_eq!(ReplaySummary::of([], 300).false_alarms_per_vm_day, None);
    }
}
