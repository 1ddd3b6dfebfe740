//! The plan that tries a recovery point.

use super::{Names, estimate, wording};
use crate::{
    inventory::Owner,
    replication::{RecoveryPoint, names},
    shadow::{
        CloneSpec, Forward, OverlaySpec, Plan, PlanKind, Precondition, ShadowNetwork, ShadowSpec,
        Step,
    },
    units::{Timestamp, VmId},
    validation::check::Check,
};

/// What a plan that tries a point is made of.
#[derive(Clone, Debug)]
pub struct ValidateInput<'a> {
    pub owner: Owner,
    pub made_at: Timestamp,
    pub vm_name: &'a str,
    /// The shadow as its create plan defined it: the clone is as large.
    pub spec: &'a ShadowSpec,
    /// It runs already, so the clone needs memory of its own.
    pub running: bool,
    pub point: &'a RecoveryPoint,
    /// The guest's own static address with prefix, where it has one.
    pub guest_address: Option<String>,
    pub checks: &'a [Check],
    pub names: &'a Names,
    /// Free ports on the target, one for each of the guest's that is asked.
    pub ports: &'a [u16],
    pub boot_seconds: u32,
    pub check_seconds: u32,
    pub lifetime_seconds: u32,
}

/// Plans that a clone of a point is booted, asked and removed. `None` where the point lacks a layer for a disk.
pub fn validate_plan(input: &ValidateInput) -> Option<Plan> {
    let clone = Box::new(clone_of(input)?);
    let mut steps = vec![Step::StartClone {
        clone: clone.clone(),
    }];
    for check in input.checks {
        steps.push(Step::CheckClone {
            clone: clone.clone(),
            check: check.clone(),
            timeout_seconds: input.check_seconds,
        });
    }
    steps.push(Step::RemoveClone {
        clone: clone.clone(),
    });
    let spec = &clone.spec;
    let mut preconditions = vec![
        Precondition::Armed {
            source: spec.pool.source(),
        },
        Precondition::ShadowExists {
            shadow: spec.shadow.clone(),
        },
        Precondition::PointStands {
            shadow: spec.shadow.clone(),
            point: input.point.number,
            layers: input.point.layers.clone(),
        },
    ];
    if input.running {
        preconditions.push(Precondition::MemoryFree {
            pool: spec.pool.clone(),
            memory_bytes: spec.memory_bytes,
        });
    }
    Some(Plan {
        kind: PlanKind::Validate,
        vm: spec.of.clone(),
        vm_name: input.vm_name.to_owned(),
        shadow: spec.shadow.clone(),
        owner: input.owner.clone(),
        made_at: input.made_at,
        preconditions,
        cost: wording::validate_cost(&clone, input.running),
        undo: wording::validate_undo(input.vm_name),
        estimate_seconds: steps.iter().map(|step| estimate(step, 0)).sum(),
        steps,
    })
}

fn clone_of(input: &ValidateInput) -> Option<CloneSpec> {
    let shadow = input.spec;
    let point = input.point;
    if shadow.overlays.len() != point.layers.len() {
        return None;
    }
    let engine = &input.owner.engine;
    let overlays = shadow
        .overlays
        .iter()
        .zip(&point.layers)
        .map(|(disk, layer)| OverlaySpec {
            target: disk.target.clone(),
            volume: names::clone_volume(engine, &shadow.shadow, &disk.target, point.number),
            layer_volume: layer.clone(),
            capacity_bytes: disk.capacity_bytes,
        })
        .collect();
    let mut guest_ports: Vec<u16> = input.checks.iter().filter_map(Check::port).collect();
    guest_ports.sort_unstable();
    guest_ports.dedup();
    let more: Vec<Forward> = guest_ports
        .into_iter()
        .zip(input.ports)
        .map(|(guest_port, port)| Forward {
            port: *port,
            guest_port,
        })
        .collect();
    Some(CloneSpec {
        model: VmId::of(&shadow.pool.source(), &shadow.uuid),
        point: point.number,
        console_volume: names::console_volume(engine, &shadow.shadow, point.number),
        boot_seconds: input.boot_seconds,
        lifetime_seconds: input.lifetime_seconds,
        spec: ShadowSpec {
            owner: input.owner.clone(),
            name: names::clone_name(engine, &shadow.shadow),
            uuid: input.names.uuid.clone(),
            overlays,
            network: ShadowNetwork {
                mac: input.names.mac.clone(),
                address: shadow.network.address.clone(),
                port: 0,
                guest_port: 0,
                guest_address: input.guest_address.clone(),
                // Whatever its service may: a clone that is tried reaches nobody.
                outbound_allowed: false,
                more,
            },
            ..shadow.clone()
        },
    })
}
