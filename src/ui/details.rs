//! Histories and forecasts of single VMs, asked of the engine when they are looked at and kept while they are fresh.

use std::{collections::HashMap, sync::Arc};

use crate::{
    engine::{
        command::{Answer, Command, Reply},
        snapshot::VmDetail,
    },
    metrics::Metric,
    problem::Problem,
    units::VmId,
};

/// More than a screen shows, few enough to forget nothing that is in sight.
const KEPT: usize = 48;

type Key = (VmId, Metric, u32, u32);

#[derive(Default)]
struct Entry {
    detail: Option<Arc<VmDetail>>,
    /// The version that was asked for last.
    asked: Option<u64>,
    in_flight: bool,
    seen: u64,
    problem: Option<Problem>,
}

#[derive(Default)]
pub struct Details {
    entries: HashMap<Key, Entry>,
    wanted: Vec<Command>,
    turn: u64,
}

impl Details {
    /// The newest known detail, even while a newer one is on its way.
    pub fn want(
        &mut self,
        vm: &VmId,
        metric: Metric,
        (past_seconds, horizon_seconds): (u32, u32),
        version: u64,
    ) -> Option<Arc<VmDetail>> {
        self.turn += 1;
        let key = (vm.clone(), metric, past_seconds, horizon_seconds);
        let entry = self.entries.entry(key).or_default();
        entry.seen = self.turn;
        if !entry.in_flight && entry.asked != Some(version) {
            entry.asked = Some(version);
            entry.in_flight = true;
            self.wanted.push(Command::VmDetail {
                vm: vm.clone(),
                metric,
                past_seconds,
                horizon_seconds,
            });
        }
        entry.detail.clone()
    }

    /// Why there is no detail, where the engine said so.
    pub fn problem(&self, vm: &VmId, metric: Metric) -> Option<&Problem> {
        self.entries
            .iter()
            .filter(|((id, of, ..), entry)| id == vm && *of == metric && entry.detail.is_none())
            .find_map(|(_, entry)| entry.problem.as_ref())
    }

    /// What must be asked of the engine now.
    pub fn take_wanted(&mut self) -> Vec<Command> {
        if self.entries.len() > KEPT * 2 {
            let mut seen: Vec<u64> = self.entries.values().map(|entry| entry.seen).collect();
            seen.sort_unstable();
            let oldest_kept = seen[seen.len() - KEPT];
            self.entries
                .retain(|_, entry| entry.seen >= oldest_kept || entry.in_flight);
        }
        std::mem::take(&mut self.wanted)
    }

    /// Takes the answer to a `VmDetail`; false where the command is another one.
    pub fn answered(&mut self, command: &Command, reply: &Reply) -> bool {
        let Command::VmDetail {
            vm,
            metric,
            past_seconds,
            horizon_seconds,
        } = command
        else {
            return false;
        };
        let key = (vm.clone(), *metric, *past_seconds, *horizon_seconds);
        let entry = self.entries.entry(key).or_default();
        entry.in_flight = false;
        match reply {
            Ok(Answer::VmDetail { detail }) => {
                entry.detail = Some(Arc::clone(detail));
                entry.problem = None;
            }
            Ok(_) => {}
            Err(problem) => entry.problem = Some(problem.clone()),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_is_asked_for_once_a_version() {
        let mut details = Details::default();
        let vm = VmId::from("a/1");
        let ask = |details: &mut Details, version| {
            details.want(&vm, Metric::Cpu, (3600, 3600), version);
            details.take_wanted()
        };
        let first = ask(&mut details, 1);
        assert_eq!(first.len(), 1);
        assert!(ask(&mut details, 2).is_empty(), "one is on its way");
        let refused = Err(Problem::failed("a", "b", "c"));
        assert!(details.answered(&first[0], &refused));
        assert_eq!(ask(&mut details, 2).len(), 1);
        assert!(details.problem(&vm, Metric::Cpu).is_some());
    }
}
