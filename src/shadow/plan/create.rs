//! The plan of a new shadow.

use super::{
    Names, PlanSettings, Serving, estimate, ramp, service_allows, share_spec, start_steps, wording,
};
use crate::{
    inventory::{Owner, Pool, Vm},
    replication::{DiskIncrement, IncrementSpec, names},
    reservation::Hold,
    shadow::{OverlaySpec, Plan, PlanKind, Precondition, ShadowNetwork, ShadowSpec, Sizing, Step},
    units::{OperationId, PoolId, Timestamp},
};

/// What a layer chain may take beyond the copied disk before it is flattened.
const CHAIN_SLACK: f64 = 1.3;

/// What a create plan is made of.
#[derive(Clone, Debug)]
pub struct PlanInput<'a> {
    pub owner: Owner,
    pub made_at: Timestamp,
    pub vm: &'a Vm,
    pub pool: &'a Pool,
    pub storage: &'a str,
    pub sizing: Sizing,
    /// `None`: the shadow only replicates, whatever share was sized.
    pub serving: Option<Serving<'a>>,
    pub names: &'a Names,
    /// Names of VMs on the target that the shadow's must differ from.
    pub taken_names: &'a [String],
    pub settings: PlanSettings,
}

/// Disk space on the target that a replica of `vm` is promised: what is allocated now (the capacity where that is not
/// known) and a slack for layers and overlay.
pub fn replica_bytes(vm: &Vm) -> u64 {
    let copied: u64 = vm
        .disks
        .iter()
        .filter(|disk| !disk.read_only)
        .map(|disk| {
            if disk.allocated_bytes == 0 {
                disk.capacity_bytes
            } else {
                disk.allocated_bytes
            }
        })
        .fold(0, u64::saturating_add);
    (copied as f64 * CHAIN_SLACK).ceil() as u64
}

/// What a shadow of `vm` with `sizing` holds in `pool`.
pub fn hold(operation: &OperationId, pool: &PoolId, vm: &Vm, sizing: &Sizing) -> Hold {
    Hold {
        operation: operation.clone(),
        pool: pool.clone(),
        vcpus: sizing.vcpus,
        memory_bytes: sizing.memory_bytes,
        disk_bytes: replica_bytes(vm),
    }
}

/// Plans a new shadow: replicating and powered off where the share is 0 or no service lets a clone serve, else serving.
pub fn create_plan(input: &PlanInput) -> Plan {
    let served = input.serving.and_then(|serving| {
        let primary = serving.primary_server(&input.vm.id)?;
        (input.sizing.share > 0.0).then_some((serving, primary))
    });
    let hold = hold(
        &input.owner.operation,
        &input.pool.id,
        input.vm,
        &input.sizing,
    );
    let point = u64::from(served.is_some());
    let spec = shadow_spec(input, point);

    let mut steps = vec![Step::Reserve { hold: hold.clone() }];
    for number in 0..=point {
        // The second point makes up for what the primary wrote during the long first copy.
        steps.push(Step::Replicate {
            increment: increment(input, number),
            rpo_seconds: input.settings.rpo_seconds,
        });
    }
    steps.push(Step::DefineShadow {
        spec: spec.clone(),
        point,
    });
    if let Some((serving, primary)) = served {
        start_steps(
            &mut steps,
            &spec,
            serving,
            &input.names.server,
            &input.settings,
        );
        ramp(
            &mut steps,
            &share_spec(&spec.shadow, serving, primary, &input.names.server),
            0.0,
            input.sizing.share,
        );
    }

    let seed_bytes = (hold.disk_bytes as f64 / CHAIN_SLACK) as u64;
    Plan {
        kind: PlanKind::Create,
        vm: input.vm.id.clone(),
        vm_name: input.vm.name.clone(),
        shadow: spec.shadow.clone(),
        owner: input.owner.clone(),
        made_at: input.made_at,
        preconditions: create_preconditions(input, &hold, served.map(|(serving, _)| serving)),
        cost: wording::create_cost(
            &hold,
            &input.vm.name,
            input.settings.rpo_seconds,
            seed_bytes,
        ),
        undo: wording::create_undo(&input.vm.name, served.is_some()),
        estimate_seconds: steps.iter().map(|step| estimate(step, seed_bytes)).sum(),
        steps,
    }
}

fn create_preconditions(
    input: &PlanInput,
    hold: &Hold,
    serving: Option<Serving>,
) -> Vec<Precondition> {
    let mut armed = vec![input.vm.source.clone(), input.pool.source.clone()];
    armed.extend(serving.map(|serving| serving.service.director.clone()));
    armed.dedup();
    let mut all: Vec<_> = armed
        .into_iter()
        .map(|source| Precondition::Armed { source })
        .collect();
    all.extend([
        Precondition::SameVm {
            vm: input.vm.id.clone(),
            name: input.vm.name.clone(),
            host: input.vm.host.clone(),
            generation: input.vm.generation,
        },
        Precondition::Replicable {
            vm: input.vm.id.clone(),
        },
        Precondition::NoShadowYet {
            vm: input.vm.id.clone(),
        },
        Precondition::PoolHas {
            pool: hold.pool.clone(),
            vcpus: hold.vcpus,
            memory_bytes: hold.memory_bytes,
            storage: input.storage.to_owned(),
            disk_bytes: hold.disk_bytes,
        },
    ]);
    all.extend(serving.map(|serving| service_allows(serving.service)));
    all
}

fn increment(input: &PlanInput, number: u64) -> IncrementSpec {
    let engine = &input.owner.engine;
    let shadow = &input.names.shadow;
    let below = number.checked_sub(1);
    IncrementSpec {
        owner: input.owner.clone(),
        shadow: shadow.clone(),
        vm: input.vm.id.clone(),
        number,
        checkpoint: names::checkpoint(engine, shadow, number),
        parent_checkpoint: below.map(|below| names::checkpoint(engine, shadow, below)),
        freeze: input.settings.freeze_filesystems && input.vm.has_agent,
        target_pool: input.pool.id.clone(),
        target_storage: input.storage.to_owned(),
        disks: input
            .vm
            .disks
            .iter()
            .filter(|disk| !disk.read_only)
            .map(|disk| DiskIncrement {
                target: disk.target.clone(),
                capacity_bytes: disk.capacity_bytes,
                spool_volume: names::spool_volume(engine, shadow, &disk.target, number),
                layer_volume: names::layer_volume(engine, shadow, &disk.target, number),
                backing_volume: below
                    .map(|below| names::layer_volume(engine, shadow, &disk.target, below)),
            })
            .collect(),
    }
}

fn shadow_spec(input: &PlanInput, point: u64) -> ShadowSpec {
    let engine = &input.owner.engine;
    let shadow = &input.names.shadow;
    let service = input.serving.map(|serving| serving.service);
    ShadowSpec {
        owner: input.owner.clone(),
        shadow: shadow.clone(),
        of: input.vm.id.clone(),
        name: shadow_name(&input.vm.name, input.taken_names),
        uuid: input.names.uuid.clone(),
        pool: input.pool.id.clone(),
        storage: input.storage.to_owned(),
        vcpus: input.sizing.vcpus,
        vcpus_max: input.vm.vcpus_max.max(input.sizing.vcpus),
        memory_bytes: input.sizing.memory_bytes,
        overlays: input
            .vm
            .disks
            .iter()
            .filter(|disk| !disk.read_only)
            .map(|disk| OverlaySpec {
                target: disk.target.clone(),
                volume: names::overlay_volume(engine, shadow, &disk.target, point),
                layer_volume: names::layer_volume(engine, shadow, &disk.target, point),
                capacity_bytes: disk.capacity_bytes,
            })
            .collect(),
        network: ShadowNetwork {
            mac: input.names.mac.clone(),
            address: input.pool.service_address.clone(),
            port: input.names.port,
            guest_port: service.map_or(0, |service| service.guest_port),
            guest_address: service.and_then(|service| service.guest_address.clone()),
            outbound_allowed: service.is_some_and(|service| service.outbound_allowed),
            more: Vec::new(),
        },
    }
}

/// `<primary>-s1`, with what could deceive or be refused replaced, and the first number that is free.
pub(super) fn shadow_name(primary: &str, taken: &[String]) -> String {
    let mut stem: String = primary
        .chars()
        .take(48)
        .map(|character| match character {
            kept @ ('a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-') => kept,
            _ => '-',
        })
        .collect();
    if !stem.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        stem.insert_str(0, "vm");
    }
    (1..=taken.len() + 1)
        .map(|number| format!("{stem}-s{number}"))
        .find(|name| !taken.contains(name))
        .expect("n names cannot take n + 1 numbers")
}
