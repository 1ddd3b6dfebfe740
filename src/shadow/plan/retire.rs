//! The plan of a shadow's end.

use super::{PlanSettings, estimate, ramp, wording};
use crate::{
    inventory::Owner,
    reservation::Hold,
    shadow::{Plan, PlanKind, Precondition, ShadowSpec, ShareSpec, Step},
    units::{PoolId, ShadowId, SourceName, Timestamp, VmId},
};

/// What stands of a shadow that is to go. Parts that do not exist are `None` and get no step.
#[derive(Clone, Debug)]
pub struct RetireInput<'a> {
    pub owner: Owner,
    pub made_at: Timestamp,
    pub vm: &'a VmId,
    pub vm_name: &'a str,
    pub shadow: &'a ShadowId,
    /// Its place in the balancer, `share` being the present one.
    pub served: Option<&'a ShareSpec>,
    pub spec: Option<&'a ShadowSpec>,
    pub running: bool,
    pub replica: Option<Replica<'a>>,
    pub hold: Option<&'a Hold>,
    pub settings: PlanSettings,
}

/// Where a replica lies and whose mark it bears.
#[derive(Clone, Copy, Debug)]
pub struct Replica<'a> {
    pub owner: &'a Owner,
    pub pool: &'a PoolId,
    pub storage: &'a str,
}

/// Plans the end of a shadow: drain, stop, remove, release.
pub fn retire_plan(input: &RetireInput) -> Plan {
    let mut steps = Vec::new();
    let mut sources: Vec<SourceName> = Vec::new();
    if let Some(served) = input.served {
        sources.push(served.director.clone());
        ramp(&mut steps, served, served.share, 0.0);
        steps.extend([
            Step::AwaitDrained {
                director: served.director.clone(),
                backend: served.backend.clone(),
                server: served.shadow_server.clone(),
                timeout_seconds: input.settings.drain_timeout_seconds,
            },
            Step::RemoveServer {
                director: served.director.clone(),
                backend: served.backend.clone(),
                server: served.shadow_server.clone(),
            },
        ]);
    }
    if let Some(spec) = input.spec {
        sources.push(spec.pool.source());
        if input.running {
            steps.push(Step::StopShadow {
                shadow: spec.shadow.clone(),
                source: spec.pool.source(),
                uuid: spec.uuid.clone(),
                grace_seconds: input.settings.stop_grace_seconds,
            });
        }
        steps.push(Step::RemoveShadow { spec: spec.clone() });
    }
    if let Some(replica) = input.replica {
        sources.extend([replica.pool.source(), input.vm.source()]);
        steps.push(Step::RemoveReplica {
            shadow: input.shadow.clone(),
            owner: replica.owner.clone(),
            vm: input.vm.clone(),
            pool: replica.pool.clone(),
            storage: replica.storage.to_owned(),
        });
    }
    steps.extend(input.hold.map(|hold| Step::Release { hold: hold.clone() }));

    sources.sort();
    sources.dedup();
    let mut preconditions: Vec<_> = sources
        .into_iter()
        .map(|source| Precondition::Armed { source })
        .collect();
    preconditions.push(Precondition::ShadowExists {
        shadow: input.shadow.clone(),
    });
    Plan {
        kind: PlanKind::Retire,
        vm: input.vm.clone(),
        vm_name: input.vm_name.to_owned(),
        shadow: input.shadow.clone(),
        owner: input.owner.clone(),
        made_at: input.made_at,
        preconditions,
        cost: wording::retire_cost(input.hold),
        undo: wording::retire_undo(input.vm_name),
        estimate_seconds: steps.iter().map(|step| estimate(step, 0)).sum(),
        steps,
    }
}
