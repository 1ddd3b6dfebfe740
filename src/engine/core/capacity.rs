//! What is added up where many VMs share a capacity, and whose forecasts are looked back at.

use super::{Core, Fetch, VmRecord, commands::no_vm};
use crate::{
    engine::snapshot::RunwayOf,
    forecast::runway::MAX_HORIZON_DAYS,
    inventory::{PowerState, Vm},
    metrics::Metric,
    problem::Problem,
    units::{Timestamp, VmId, printable},
};

impl Core {
    pub(super) fn record_of(
        &self,
        at: Timestamp,
        vm: Option<VmId>,
        metric: Metric,
    ) -> Result<Fetch, Problem> {
        let Some(vm) = vm else {
            return Ok(Fetch::Record {
                metric,
                vms: self.running().map(|record| record.vm.id.clone()).collect(),
                one: None,
            });
        };
        let record = self
            .vms
            .get(&vm)
            .ok_or_else(|| no_vm("No record was shown.", &vm))?;
        Ok(Fetch::Record {
            metric,
            one: Some((self.limit(&vm, metric), self.acting_on(at, &record.vm))),
            vms: vec![vm],
        })
    }

    pub(super) fn runway_of(
        &self,
        of: RunwayOf,
        metric: Metric,
        horizon_days: u32,
    ) -> Result<Fetch, Problem> {
        let what = "No runway was worked out.";
        if horizon_days == 0 || horizon_days as usize > MAX_HORIZON_DAYS {
            return Err(Problem::usage(
                what,
                format!("{horizon_days} days are not between 1 and {MAX_HORIZON_DAYS}"),
                "Ask for at most a year.",
            ));
        }
        let (limit, members) = match &of {
            RunwayOf::Vm(vm) if self.vms.contains_key(vm) => {
                (self.limit(vm, metric), vec![(vm.clone(), 1.0)])
            }
            RunwayOf::Vm(vm) => return Err(no_vm(what, vm)),
            RunwayOf::Pool(id) => {
                let pool = self.pools.get(id).ok_or_else(|| {
                    Problem::failed(
                        what,
                        format!("there is no pool {}", printable(id.as_str())),
                        "`shadowcast pools` shows them.",
                    )
                })?;
                let limit = match metric {
                    Metric::Cpu => Some(f64::from(pool.cpus)),
                    Metric::Memory => Some(pool.memory_bytes as f64),
                    // Nobody tells what a pool's disks and networks can do.
                    _ => None,
                };
                let limit = limit.filter(|limit| *limit > 0.0);
                (limit, self.added_up(metric, |vm| vm.pool == *id))
            }
            RunwayOf::Type(name) => {
                let members = self.added_up(metric, |vm| vm.instance_type == *name);
                if members.is_empty() {
                    return Err(Problem::usage(
                        what,
                        format!("no VM that runs is of type {}", printable(name)),
                        "`shadowcast vms` shows the types.",
                    ));
                }
                (None, members)
            }
        };
        Ok(Fetch::Runway {
            of,
            metric,
            horizon_days,
            limit,
            members,
        })
    }

    fn running(&self) -> impl Iterator<Item = &VmRecord> {
        self.vms
            .values()
            .filter(|record| record.vm.state == PowerState::Running && record.vm.owner.is_none())
    }

    /// Ratios cannot be added up: they become what they are a ratio of.
    fn added_up(&self, metric: Metric, wanted: impl Fn(&Vm) -> bool) -> Vec<(VmId, f64)> {
        self.running()
            .filter(|record| wanted(&record.vm))
            .map(|record| {
                let scale = match metric {
                    Metric::Cpu => f64::from(record.vm.vcpus),
                    Metric::Memory => record.vm.memory_bytes as f64,
                    _ => 1.0,
                };
                (record.vm.id.clone(), scale)
            })
            .collect()
    }
}
