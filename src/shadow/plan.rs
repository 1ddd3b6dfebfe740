//! The exact steps that create, serve and retire a shadow, with every name that they need, and the digest over them.
//!
//! ```text
//! create   Reserve ─ Replicate 0 (full) ─┬─ share 0: DefineShadow, powered off
//!                                        └─ else: Replicate 1 ─ DefineShadow ─ StartShadow ─ AwaitAnswer
//!                                                 ─ AddServer ─ AwaitServer ─ SetShare …
//! traffic  [DefineShadow ─ StartShadow ─ AwaitAnswer ─ AddServer ─ AwaitServer] ─ SetShare …
//! retire   SetShare 0 ─ AwaitDrained ─ RemoveServer ─ StopShadow ─ RemoveShadow ─ RemoveReplica ─ Release
//! ```
//!
//! All pure: what is random (ids, MAC) and what the network says (a free port) comes in through [`Names`].

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{
    OverlaySpec, Plan, PlanKind, Precondition, ShadowNetwork, ShadowSpec, ShareSpec, Sizing, Step,
};
use crate::{
    inventory::{Owner, Pool, Service, ServiceKind, Vm},
    replication::{DiskIncrement, IncrementSpec, RecoveryPoint, names},
    reservation::Hold,
    traffic::ServerSpec,
    units::{Digest, OperationId, PoolId, ShadowId, SourceName, Timestamp, VmId, Weight},
};

mod wording;

pub use wording::{bytes, command_text, describe, explain, undo_text};

/// A share grows by no more than this in one step.
const RAMP_STEP: f64 = 0.1;
/// What a layer chain may take beyond the copied disk before it is flattened.
const CHAIN_SLACK: f64 = 1.3;
/// A first copy's usual speed, for the estimate only.
const SEED_BYTES_PER_SEC: u64 = 80 << 20;

/// Generated names of one shadow, chosen before the plan so that the plan can carry them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    pub shadow: ShadowId,
    pub uuid: String,
    pub mac: String,
    /// A free TCP port on the target, where the service is forwarded in.
    pub port: u16,
    /// The balancer server: `[a-z0-9]`, at most 32.
    pub server: String,
}

impl Names {
    /// Derives all names from random `bits` and a free `port` on the target.
    pub fn from_bits(bits: [u8; 16], port: u16) -> Self {
        let id = hex::encode(&bits[..4]);
        Self {
            shadow: ShadowId::new(format!("s-{id}")),
            uuid: uuid::Builder::from_random_bytes(bits)
                .into_uuid()
                .to_string(),
            // Bit 1 of the first octet marks a locally administered address.
            mac: format!("52:54:00:{:02x}:{:02x}:{:02x}", bits[4], bits[5], bits[7]),
            port,
            server: format!("sc{id}"),
        }
    }
}

/// The figures of the settings that a plan is made by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlanSettings {
    pub rpo_seconds: u32,
    pub freeze_filesystems: bool,
    pub answer_timeout_seconds: u32,
    /// How long the balancer's own checks may take to pass.
    pub server_timeout_seconds: u32,
    pub drain_timeout_seconds: u32,
    /// The guest's time to shut down before its power is cut.
    pub stop_grace_seconds: u32,
    pub check_interval_millis: u32,
}

impl Default for PlanSettings {
    fn default() -> Self {
        Self {
            rpo_seconds: 60,
            freeze_filesystems: false,
            answer_timeout_seconds: 120,
            server_timeout_seconds: 30,
            drain_timeout_seconds: 30,
            stop_grace_seconds: 20,
            check_interval_millis: 1000,
        }
    }
}

/// The service that a shadow takes part in, and the primary's weight before there was a shadow.
#[derive(Clone, Copy, Debug)]
pub struct Serving<'a> {
    pub service: &'a Service,
    pub base_weight: Weight,
}

impl<'a> Serving<'a> {
    /// The primary's balancer server, where a clone may serve beside it.
    fn primary_server(&self, vm: &VmId) -> Option<&'a str> {
        if !allows_clone(self.service.kind) {
            return None;
        }
        self.service
            .members
            .iter()
            .find(|member| member.vm == *vm)
            .map(|member| member.server.as_str())
    }
}

/// Whether a copy that forgets its writes may answer for this kind of service.
pub const fn allows_clone(kind: ServiceKind) -> bool {
    matches!(kind, ServiceKind::Stateless | ServiceKind::ReadOnly)
}

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

fn service_allows(service: &Service) -> Precondition {
    Precondition::ServiceAllows {
        service: service.name.clone(),
        kind: service.kind,
    }
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
        },
    }
}

/// `<primary>-s1`, with what could deceive or be refused replaced, and the first number that is free.
fn shadow_name(primary: &str, taken: &[String]) -> String {
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

fn share_spec(
    shadow: &ShadowId,
    serving: Serving,
    primary_server: &str,
    shadow_server: &str,
) -> ShareSpec {
    ShareSpec {
        shadow: shadow.clone(),
        service: serving.service.name.clone(),
        director: serving.service.director.clone(),
        backend: serving.service.backend.clone(),
        primary_server: primary_server.to_owned(),
        shadow_server: shadow_server.to_owned(),
        base_weight: serving.base_weight,
        share: 0.0,
        previous_share: 0.0,
    }
}

fn start_steps(
    steps: &mut Vec<Step>,
    spec: &ShadowSpec,
    serving: Serving,
    server: &str,
    settings: &PlanSettings,
) {
    let service = serving.service;
    steps.extend([
        Step::StartShadow {
            shadow: spec.shadow.clone(),
            source: spec.pool.source(),
            uuid: spec.uuid.clone(),
        },
        Step::AwaitAnswer {
            shadow: spec.shadow.clone(),
            address: spec.network.address.clone(),
            port: spec.network.port,
            path: service.probe_path.clone(),
            timeout_seconds: settings.answer_timeout_seconds,
        },
        Step::AddServer {
            director: service.director.clone(),
            server: ServerSpec {
                backend: service.backend.clone(),
                server: server.to_owned(),
                address: spec.network.address.clone(),
                port: spec.network.port,
                check_interval_millis: settings.check_interval_millis,
            },
        },
        Step::AwaitServer {
            director: service.director.clone(),
            backend: service.backend.clone(),
            server: server.to_owned(),
            timeout_seconds: settings.server_timeout_seconds,
        },
    ]);
}

/// More traffic in steps of [`RAMP_STEP`], less of it at once.
fn ramp(steps: &mut Vec<Step>, model: &ShareSpec, from: f64, to: f64) {
    let from = if from.is_finite() {
        from.clamp(0.0, 1.0)
    } else {
        0.0
    };
    let to = if to.is_finite() {
        to.clamp(0.0, 1.0)
    } else {
        0.0
    };
    let mut previous = from;
    loop {
        // Whole percents: sums of 0.1 drift off what people read.
        let next = ((previous + RAMP_STEP) * 100.0).round() / 100.0;
        let share = if next < to { next } else { to };
        steps.push(Step::SetShare(ShareSpec {
            share,
            previous_share: previous,
            ..model.clone()
        }));
        if share >= to || to <= from {
            break;
        }
        previous = share;
    }
}

/// What a traffic plan is made of.
#[derive(Clone, Debug)]
pub struct TrafficInput<'a> {
    pub owner: Owner,
    pub made_at: Timestamp,
    pub vm: &'a Vm,
    /// The shadow as its create plan defined it.
    pub spec: &'a ShadowSpec,
    pub serving: Serving<'a>,
    /// The shadow's balancer server, the one of [`Names`].
    pub server: &'a str,
    /// The newest complete point; `None` where the shadow runs already and only its share changes.
    pub start_from: Option<&'a RecoveryPoint>,
    pub previous_share: f64,
    pub share: f64,
    pub settings: PlanSettings,
}

/// Plans that a replicating shadow starts to serve, or that a serving one gets another share.
///
/// `None` where the service does not let a clone serve, does not have the VM, or the point lacks a layer for a disk.
pub fn traffic_plan(input: &TrafficInput) -> Option<Plan> {
    let primary = input.serving.primary_server(&input.vm.id)?;
    let service = input.serving.service;
    let mut spec = input.spec.clone();
    let mut steps = Vec::new();
    let mut sources = vec![service.director.clone()];
    if let Some(point) = input.start_from {
        spec = standing_on(&spec, service, point)?;
        sources.insert(0, spec.pool.source());
        steps.push(Step::DefineShadow {
            spec: spec.clone(),
            point: point.number,
        });
        start_steps(
            &mut steps,
            &spec,
            input.serving,
            input.server,
            &input.settings,
        );
    }
    ramp(
        &mut steps,
        &share_spec(&spec.shadow, input.serving, primary, input.server),
        input.previous_share,
        input.share,
    );
    let mut preconditions: Vec<_> = sources
        .into_iter()
        .map(|source| Precondition::Armed { source })
        .collect();
    preconditions.extend([
        Precondition::SameVm {
            vm: input.vm.id.clone(),
            name: input.vm.name.clone(),
            host: input.vm.host.clone(),
            generation: input.vm.generation,
        },
        Precondition::ShadowExists {
            shadow: spec.shadow.clone(),
        },
        service_allows(service),
    ]);
    Some(Plan {
        kind: PlanKind::Traffic,
        vm: input.vm.id.clone(),
        vm_name: input.vm.name.clone(),
        shadow: spec.shadow.clone(),
        owner: input.owner.clone(),
        made_at: input.made_at,
        preconditions,
        cost: wording::traffic_cost(&spec, input.start_from),
        undo: wording::traffic_undo(&input.vm.name, input.previous_share, input.start_from),
        estimate_seconds: steps.iter().map(|step| estimate(step, 0)).sum(),
        steps,
    })
}

/// The shadow with fresh overlays on `point`, reached as `service` now says.
fn standing_on(spec: &ShadowSpec, service: &Service, point: &RecoveryPoint) -> Option<ShadowSpec> {
    if spec.overlays.len() != point.layers.len() {
        return None;
    }
    let engine = &spec.owner.engine;
    let overlays = spec
        .overlays
        .iter()
        .zip(&point.layers)
        .map(|(overlay, layer)| OverlaySpec {
            target: overlay.target.clone(),
            volume: names::overlay_volume(engine, &spec.shadow, &overlay.target, point.number),
            layer_volume: layer.clone(),
            capacity_bytes: overlay.capacity_bytes,
        })
        .collect();
    let mut standing = spec.clone();
    standing.overlays = overlays;
    standing.network.guest_port = service.guest_port;
    standing
        .network
        .guest_address
        .clone_from(&service.guest_address);
    standing.network.outbound_allowed = service.outbound_allowed;
    Some(standing)
}

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

/// Seconds that a step usually takes; `seed_bytes` is what a first copy carries.
fn estimate(step: &Step, seed_bytes: u64) -> u32 {
    match step {
        Step::Reserve { .. } | Step::Release { .. } | Step::SetShare(_) => 1,
        Step::Replicate { increment, .. } if increment.parent_checkpoint.is_none() => {
            2 + u32::try_from(seed_bytes / SEED_BYTES_PER_SEC).unwrap_or(u32::MAX / 2)
        }
        Step::AwaitAnswer { .. } => 20,
        Step::StartShadow { .. } | Step::StopShadow { .. } => 5,
        Step::AwaitServer { .. } | Step::AwaitDrained { .. } | Step::RemoveReplica { .. } => 3,
        Step::Replicate { .. }
        | Step::DefineShadow { .. }
        | Step::AddServer { .. }
        | Step::RemoveServer { .. }
        | Step::RemoveShadow { .. } => 2,
    }
}

/// SHA-256 over all of a plan that decides what happens, as JSON with the fields in their declared order.
pub fn digest(plan: &Plan) -> Digest {
    #[derive(Serialize)]
    struct Signed<'a> {
        kind: PlanKind,
        vm: &'a VmId,
        shadow: &'a ShadowId,
        owner: &'a Owner,
        made_at: Timestamp,
        preconditions: &'a [Precondition],
        steps: &'a [Step],
    }
    let signed = Signed {
        kind: plan.kind,
        vm: &plan.vm,
        shadow: &plan.shadow,
        owner: &plan.owner,
        made_at: plan.made_at,
        preconditions: &plan.preconditions,
        steps: &plan.steps,
    };
    let json = serde_json::to_vec(&signed).expect("plans hold only what JSON can write");
    Digest::new(hex::encode(Sha256::digest(&json)))
}

#[cfg(test)]
mod tests;
