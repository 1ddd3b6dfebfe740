//! The plans that end a promotion: it stays, or the primary comes back; and the one that keeps a primary off.

use super::{PlanSettings, estimate, wording};
use crate::{
    inventory::Owner,
    reservation::Hold,
    shadow::{
        Plan, PlanKind, Precondition, ShadowSpec, ShareSpec, Step,
        promotion::{Fence, FenceFrom, PromotionSpec, PromotionStep},
    },
    units::{ShadowId, Timestamp, VmId, Weight, printable},
};

/// What the plan of a rollback is made of.
#[derive(Clone, Debug)]
pub struct RollbackInput<'a> {
    pub owner: Owner,
    pub made_at: Timestamp,
    pub vm: &'a VmId,
    pub vm_name: &'a str,
    /// The promoted VM.
    pub spec: &'a ShadowSpec,
    pub promotion: &'a PromotionSpec,
    pub promoted_at: Timestamp,
    pub hold: Option<&'a Hold>,
    pub share: Option<&'a ShareSpec>,
    /// Other servers of the backend have weight: the shadow's may be 0 meanwhile.
    pub others_serve: bool,
    /// What the promoted VM's overlays hold; `None` where that is not known.
    pub accepted_bytes: Option<u64>,
    pub settings: PlanSettings,
}

/// Plans that the primary comes back, and that what the promoted VM accepted is lost.
pub fn rollback_plan(input: &RollbackInput) -> Plan {
    let mut steps = Vec::new();
    if let Some(share) = input.share {
        let drained = Step::AwaitDrained {
            director: share.director.clone(),
            backend: share.backend.clone(),
            server: share.shadow_server.clone(),
            timeout_seconds: input.settings.drain_timeout_seconds,
        };
        if input.others_serve {
            steps.extend([
                Step::Promotion(PromotionStep::SetWeight {
                    director: share.director.clone(),
                    backend: share.backend.clone(),
                    server: share.shadow_server.clone(),
                    weight: Weight(0),
                    previous_weight: share.base_weight,
                }),
                drained,
            ]);
        }
    }
    let fence = input.promotion.fence.clone();
    steps.extend([
        Step::StopShadow {
            shadow: input.spec.shadow.clone(),
            source: input.spec.pool.source(),
            uuid: input.spec.uuid.clone(),
            grace_seconds: input.settings.stop_grace_seconds,
        },
        Step::Promotion(PromotionStep::StartPrimary { fence }),
    ]);
    if let Some(share) = input.share {
        steps.push(Step::AwaitServer {
            director: share.director.clone(),
            backend: share.backend.clone(),
            server: share.primary_server.clone(),
            timeout_seconds: input.settings.answer_timeout_seconds,
        });
    }
    steps.push(Step::Promotion(PromotionStep::PointOfNoReturn));
    if let Some(share) = input.share {
        steps.push(Step::SetShare(ShareSpec {
            share: 0.0,
            previous_share: share.share,
            ..share.clone()
        }));
    }
    steps.push(Step::Promotion(PromotionStep::EndPromotion {
        shadow: input.spec.shadow.clone(),
    }));
    put_back(input, &mut steps);
    Plan {
        kind: PlanKind::Rollback,
        vm: input.vm.clone(),
        vm_name: input.vm_name.to_owned(),
        shadow: input.spec.shadow.clone(),
        owner: input.owner.clone(),
        made_at: input.made_at,
        preconditions: preconditions(input),
        cost: cost(input),
        undo: format!(
            "Until traffic moves, a failure shuts {} down again and the promoted VM serves on with all that it has.",
            printable(input.vm_name)
        ),
        estimate_seconds: steps.iter().map(|step| estimate(step, 0)).sum(),
        steps,
    }
}

/// The shadow becomes again what it was: in step and powered off.
fn put_back(input: &RollbackInput, steps: &mut Vec<Step>) {
    if let Some(share) = input.share {
        steps.push(Step::RemoveServer {
            director: share.director.clone(),
            backend: share.backend.clone(),
            server: share.shadow_server.clone(),
        });
    }
    steps.push(Step::Promotion(PromotionStep::RedefineShadow {
        spec: Box::new(input.promotion.original.clone()),
        point: input.promotion.point,
        previous: Box::new(input.spec.clone()),
        previous_point: input.promotion.point,
    }));
    if let (Some(hold), Some(previous)) = (&input.promotion.original_hold, input.hold)
        && hold != previous
    {
        steps.push(Step::Promotion(PromotionStep::Rehold {
            hold: hold.clone(),
            previous: previous.clone(),
        }));
    }
}

fn preconditions(input: &RollbackInput) -> Vec<Precondition> {
    let mut sources = vec![input.spec.pool.source(), input.vm.source()];
    sources.extend(input.share.map(|share| share.director.clone()));
    sources.sort();
    sources.dedup();
    let mut all: Vec<_> = sources
        .into_iter()
        .map(|source| Precondition::Armed { source })
        .collect();
    all.push(Precondition::InCommitWindow {
        shadow: input.spec.shadow.clone(),
    });
    all
}

fn cost(input: &RollbackInput) -> Vec<String> {
    let name = printable(input.vm_name);
    let since = input.promoted_at;
    let accepted = input.accepted_bytes.map_or_else(
        || "how much is not known".to_owned(),
        |accepted| format!("{} on its disks", wording::bytes(accepted)),
    );
    vec![
        format!("What the promoted VM accepted since {since} is lost: {accepted}."),
        format!(
            "{name} comes back as it was when it was fenced; nobody answers from the stop of the one to the boot of \
             the other."
        ),
    ]
}

/// Plans that a promotion stays.
pub fn commit_plan(
    owner: Owner,
    made_at: Timestamp,
    vm: &VmId,
    vm_name: &str,
    shadow: &ShadowId,
) -> Plan {
    let name = printable(vm_name);
    Plan {
        kind: PlanKind::Commit,
        vm: vm.clone(),
        vm_name: vm_name.to_owned(),
        shadow: shadow.clone(),
        owner,
        made_at,
        preconditions: vec![Precondition::InCommitWindow {
            shadow: shadow.clone(),
        }],
        steps: vec![Step::Promotion(PromotionStep::Commit {
            shadow: shadow.clone(),
        })],
        cost: vec![
            format!("{name} stays off, with its disks as they were when it was fenced."),
            "Replication has ended: nothing protects the promoted VM until it gets a shadow of its own.".to_owned(),
        ],
        undo: "Cannot be taken back: after it there is no rollback.".to_owned(),
        estimate_seconds: 1,
    }
}

/// Plans that a primary which runs again is stopped again.
pub fn guard_plan(
    owner: Owner,
    made_at: Timestamp,
    vm_name: &str,
    fence: &Fence,
    grace_seconds: u32,
) -> Plan {
    Plan {
        kind: PlanKind::Guard,
        vm: fence.vm.clone(),
        vm_name: vm_name.to_owned(),
        shadow: fence.shadow.clone(),
        owner,
        made_at,
        preconditions: vec![Precondition::Armed {
            source: fence.vm.source(),
        }],
        steps: vec![Step::Promotion(PromotionStep::FencePrimary {
            fence: fence.clone(),
            from: FenceFrom::Running { grace_seconds },
        })],
        cost: Vec::new(),
        undo: "Only forward: two of it must not run.".to_owned(),
        estimate_seconds: grace_seconds,
    }
}
