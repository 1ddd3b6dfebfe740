//! The plan by which a shadow takes its primary's place.

use super::{PlanSettings, Serving, estimate as estimate_of, ramp};
use crate::{
    inventory::{Owner, Vm},
    replication::{Manifest, RecoveryPoint, names},
    reservation::Hold,
    shadow::{
        OverlaySpec, Plan, PlanKind, Precondition, ShadowSpec, ShareSpec, Step,
        plan::wording,
        promotion::{Fence, FenceFrom, PromotionSpec, PromotionStep},
    },
    traffic::ServerSpec,
    units::{Timestamp, VmId, Weight, printable},
};

/// Numbers that are left for the points which are taken between the plan and its approval.
const NUMBERS_LEFT: u64 = 1000;

/// What a promotion's plan is made of.
#[derive(Clone, Debug)]
pub struct PromoteInput<'a> {
    pub owner: Owner,
    pub made_at: Timestamp,
    pub vm: &'a VmId,
    pub vm_name: &'a str,
    /// As its source says it is; `None` where that has not been heard since the start.
    pub seen: Option<&'a Vm>,
    /// The shadow as it is defined, and the point that it is on.
    pub spec: &'a ShadowSpec,
    pub point: u64,
    pub running: bool,
    pub hold: Option<&'a Hold>,
    /// What the promoted VM gets: the primary's size where there is room.
    pub vcpus: u32,
    pub memory_bytes: u64,
    pub manifest: &'a Manifest,
    /// An older point than the newest that can be had, by number.
    pub from_point: Option<&'a RecoveryPoint>,
    /// A person's word that the primary is off, where its source cannot be reached.
    pub attestation: Option<&'a str>,
    /// The service with the primary's balancer server.
    pub serving: Option<(Serving<'a>, &'a str)>,
    /// Its place in the balancer, where it has one.
    pub share: Option<&'a ShareSpec>,
    /// The name of a server that is to be added for it.
    pub server: &'a str,
    /// Other servers of the backend have weight: the primary's may be 0 meanwhile.
    pub others_serve: bool,
    pub window_seconds: u32,
    pub settings: PlanSettings,
}

/// What the plan needs to know of the point that it starts from.
struct Start {
    number: u64,
    layers: Vec<String>,
}

/// Plans it; `None` where a point lacks a layer for a disk, or where nothing is complete yet.
pub fn promote_plan(input: &PromoteInput) -> Option<Plan> {
    let fence = Fence {
        owner: input.owner.clone(),
        vm: input.vm.clone(),
        shadow: input.spec.shadow.clone(),
    };
    let numbers_from = input.manifest.next_number + NUMBERS_LEFT;
    let newest = input.manifest.newest()?;
    let kept = match (input.from_point, input.attestation) {
        (Some(point), _) => Some(point),
        (None, Some(_)) => Some(newest),
        (None, None) => None,
    };
    let start = kept.map_or_else(
        || layers_of(input, numbers_from + 1),
        |point| Start {
            number: point.number,
            layers: point.layers.clone(),
        },
    );
    let promoted = standing(input, &start)?;
    let mut original = promoted.clone();
    (original.vcpus, original.memory_bytes) = (input.spec.vcpus, input.spec.memory_bytes);
    original.vcpus_max = input.spec.vcpus_max;

    let mut steps = Vec::new();
    if let (Some(statement), Some(point)) = (input.attestation, kept) {
        steps.push(Step::Promotion(PromotionStep::AttestFenced {
            vm: input.vm.clone(),
            statement: statement.to_owned(),
            point_at: point.at,
        }));
    }
    rehold(input, &mut steps);
    clear_the_shadow(input, &mut steps);
    stop_the_primary(input, &fence, kept.is_some(), numbers_from, &mut steps);
    take_over(input, &promoted, start.number, &mut steps);
    steps.push(Step::Promotion(PromotionStep::OpenCommitWindow {
        promotion: Box::new(PromotionSpec {
            fence,
            point: start.number,
            attestation: input.attestation.map(ToOwned::to_owned),
            window_seconds: input.window_seconds,
            original,
            original_hold: input.hold.cloned(),
        }),
    }));
    let old: Vec<String> = (input.spec.overlays.iter().map(|overlay| &overlay.volume))
        .filter(|volume| promoted.overlays.iter().all(|new| new.volume != **volume))
        .cloned()
        .collect();
    if !old.is_empty() {
        steps.push(Step::Promotion(PromotionStep::RemoveVolumes {
            owner: input.spec.owner.clone(),
            pool: input.spec.pool.clone(),
            storage: input.spec.storage.clone(),
            volumes: old,
        }));
    }
    Some(Plan {
        kind: PlanKind::Promote,
        vm: input.vm.clone(),
        vm_name: input.vm_name.to_owned(),
        shadow: input.spec.shadow.clone(),
        owner: input.owner.clone(),
        made_at: input.made_at,
        preconditions: preconditions(input, kept, numbers_from),
        cost: cost(input, kept),
        undo: undo(input),
        estimate_seconds: steps.iter().map(|step| estimate_of(step, 0)).sum(),
        steps,
    })
}

fn layers_of(input: &PromoteInput, number: u64) -> Start {
    let engine = &input.manifest.owner.engine;
    Start {
        number,
        layers: (input.spec.overlays.iter())
            .map(|disk| names::layer_volume(engine, &input.spec.shadow, &disk.target, number))
            .collect(),
    }
}

/// The shadow with fresh overlays on the point, at the size that it is to have.
fn standing(input: &PromoteInput, start: &Start) -> Option<ShadowSpec> {
    let spec = input.spec;
    if spec.overlays.len() != start.layers.len() {
        return None;
    }
    let engine = &spec.owner.engine;
    let mut standing = spec.clone();
    standing.overlays = (spec.overlays.iter().zip(&start.layers))
        .map(|(overlay, layer)| OverlaySpec {
            target: overlay.target.clone(),
            // Not a name that a stopped shadow's own overlay of this point may have.
            volume: format!(
                "{}-p",
                names::overlay_volume(engine, &spec.shadow, &overlay.target, start.number)
            ),
            layer_volume: layer.clone(),
            capacity_bytes: overlay.capacity_bytes,
        })
        .collect();
    standing.vcpus = input.vcpus;
    standing.vcpus_max = spec.vcpus_max.max(input.vcpus);
    standing.memory_bytes = input.memory_bytes;
    if let Some((serving, _)) = &input.serving {
        let service = serving.service;
        standing.network.guest_port = service.guest_port;
        standing
            .network
            .guest_address
            .clone_from(&service.guest_address);
        standing.network.outbound_allowed = service.outbound_allowed;
    }
    Some(standing)
}

fn rehold(input: &PromoteInput, steps: &mut Vec<Step>) {
    let Some(previous) = input.hold else { return };
    let hold = Hold {
        vcpus: input.vcpus,
        memory_bytes: input.memory_bytes,
        ..previous.clone()
    };
    if hold != *previous {
        steps.push(Step::Promotion(PromotionStep::Rehold {
            hold,
            previous: previous.clone(),
        }));
    }
}

/// A shadow that runs gives back its traffic and stops: what it has written goes no further.
fn clear_the_shadow(input: &PromoteInput, steps: &mut Vec<Step>) {
    if let Some(share) = input.share.filter(|share| share.share > 0.0) {
        ramp(steps, share, share.share, 0.0);
        steps.push(Step::AwaitDrained {
            director: share.director.clone(),
            backend: share.backend.clone(),
            server: share.shadow_server.clone(),
            timeout_seconds: input.settings.drain_timeout_seconds,
        });
    }
    if input.running {
        steps.push(Step::StopShadow {
            shadow: input.spec.shadow.clone(),
            source: input.spec.pool.source(),
            uuid: input.spec.uuid.clone(),
            grace_seconds: input.settings.stop_grace_seconds,
        });
    }
}

fn stop_the_primary(
    input: &PromoteInput,
    fence: &Fence,
    from_point: bool,
    numbers_from: u64,
    steps: &mut Vec<Step>,
) {
    let catch_up = |number| {
        Step::Promotion(PromotionStep::CatchUp {
            shadow: input.spec.shadow.clone(),
            vm: input.vm.clone(),
            number,
        })
    };
    // Most of the delta travels while the primary still serves.
    if !from_point {
        steps.push(catch_up(numbers_from));
    }
    if let Some((serving, primary)) = input.serving.filter(|_| input.others_serve) {
        let service = serving.service;
        steps.extend([
            Step::Promotion(PromotionStep::SetWeight {
                director: service.director.clone(),
                backend: service.backend.clone(),
                server: primary.to_owned(),
                weight: Weight(0),
                previous_weight: serving.base_weight,
            }),
            Step::AwaitDrained {
                director: service.director.clone(),
                backend: service.backend.clone(),
                server: primary.to_owned(),
                timeout_seconds: input.settings.drain_timeout_seconds,
            },
        ]);
    }
    if input.attestation.is_some() {
        return;
    }
    let fence = fence.clone();
    steps.push(Step::Promotion(PromotionStep::PausePrimary {
        fence: fence.clone(),
    }));
    if !from_point {
        steps.push(catch_up(numbers_from + 1));
    }
    steps.push(Step::Promotion(PromotionStep::FencePrimary {
        fence,
        from: FenceFrom::Paused,
    }));
}

fn take_over(input: &PromoteInput, promoted: &ShadowSpec, point: u64, steps: &mut Vec<Step>) {
    // A shadow that ran goes back to its own overlay's point, whose layers stand; one that did not, to this one: the
    // layers that it was once defined on may be long gone.
    let mut previous = input.spec.clone();
    let previous_point = if input.running { input.point } else { point };
    if !input.running {
        for (overlay, new) in previous.overlays.iter_mut().zip(&promoted.overlays) {
            overlay.layer_volume.clone_from(&new.layer_volume);
        }
    }
    steps.extend([
        Step::Promotion(PromotionStep::RedefineShadow {
            spec: Box::new(promoted.clone()),
            point,
            previous: Box::new(previous),
            previous_point,
        }),
        Step::StartShadow {
            shadow: promoted.shadow.clone(),
            source: promoted.pool.source(),
            uuid: promoted.uuid.clone(),
        },
    ]);
    let Some((serving, primary)) = &input.serving else {
        steps.push(Step::Promotion(PromotionStep::PointOfNoReturn));
        return;
    };
    let service = serving.service;
    let network = &promoted.network;
    steps.push(Step::AwaitAnswer {
        shadow: promoted.shadow.clone(),
        address: network.address.clone(),
        port: network.port,
        path: service.probe_path.clone(),
        timeout_seconds: input.settings.answer_timeout_seconds,
    });
    let server = input
        .share
        .map_or(input.server, |share| &share.shadow_server);
    if input.share.is_none() {
        steps.push(Step::AddServer {
            director: service.director.clone(),
            server: ServerSpec {
                backend: service.backend.clone(),
                server: server.to_owned(),
                address: network.address.clone(),
                port: network.port,
                check_interval_millis: input.settings.check_interval_millis,
            },
        });
    }
    steps.extend([
        Step::AwaitServer {
            director: service.director.clone(),
            backend: service.backend.clone(),
            server: server.to_owned(),
            timeout_seconds: input.settings.server_timeout_seconds,
        },
        Step::Promotion(PromotionStep::PointOfNoReturn),
        Step::SetShare(ShareSpec {
            shadow: promoted.shadow.clone(),
            service: service.name.clone(),
            director: service.director.clone(),
            backend: service.backend.clone(),
            primary_server: (*primary).to_owned(),
            shadow_server: server.to_owned(),
            base_weight: serving.base_weight,
            share: 1.0,
            previous_share: 0.0,
            // It is no copy any more: it may get whatever its primary got here.
            method_map: None,
        }),
    ]);
}

fn preconditions(
    input: &PromoteInput,
    kept: Option<&RecoveryPoint>,
    numbers_from: u64,
) -> Vec<Precondition> {
    let mut sources = vec![input.spec.pool.source()];
    if input.attestation.is_none() {
        sources.push(input.vm.source());
    }
    sources.extend((input.serving.iter()).map(|(serving, _)| serving.service.director.clone()));
    sources.sort();
    sources.dedup();
    let mut all: Vec<_> = sources
        .into_iter()
        .map(|source| Precondition::Armed { source })
        .collect();
    all.push(Precondition::ShadowExists {
        shadow: input.spec.shadow.clone(),
    });
    all.extend(kept.map(|point| Precondition::PointStands {
        shadow: input.spec.shadow.clone(),
        point: point.number,
        layers: point.layers.clone(),
    }));
    if input.attestation.is_none() {
        all.extend(input.seen.map(|seen| Precondition::SameVm {
            vm: seen.id.clone(),
            name: seen.name.clone(),
            host: seen.host.clone(),
            generation: seen.generation,
        }));
        if input.from_point.is_none() {
            all.push(Precondition::Replicable {
                vm: input.vm.clone(),
            });
        }
    }
    all.push(Precondition::Promotable {
        shadow: input.spec.shadow.clone(),
        numbers_from,
        attested: input.attestation.is_some(),
    });
    all
}

fn cost(input: &PromoteInput, kept: Option<&RecoveryPoint>) -> Vec<String> {
    let name = printable(input.vm_name);
    let mut cost = Vec::new();
    match kept {
        None => cost.push(format!(
            "{name} is off from its last delta until the shadow answers: a boot and about a second."
        )),
        Some(point) => cost.push(format!(
            "What {name} wrote after {} is lost: {} s as of now.",
            point.at,
            input.made_at.secs_since(point.at).max(0)
        )),
    }
    if input.attestation.is_some() {
        cost.push(format!(
            "{name} may still run where it cannot be reached. It gets no traffic from the balancer, and is shut down \
             at first contact."
        ));
    } else {
        cost.push(format!(
            "{name} is powered off, autostart off and marked; nothing else of it is changed."
        ));
    }
    if let Some(seen) = input.seen
        && (input.vcpus < seen.vcpus || input.memory_bytes < seen.memory_bytes)
    {
        cost.push(format!(
            "It runs with {} vCPU and {}; the primary has {} vCPU and {}.",
            input.vcpus,
            wording::bytes(input.memory_bytes),
            seen.vcpus,
            wording::bytes(seen.memory_bytes)
        ));
    }
    if input.serving.is_none() {
        cost.push(
            "No service is mapped: it runs on its isolated network, and nobody reaches it."
                .to_owned(),
        );
    }
    cost
}

fn undo(input: &PromoteInput) -> String {
    let name = printable(input.vm_name);
    if input.attestation.is_some() {
        format!("Until traffic moves, the shadow stops again; {name} is not touched.")
    } else {
        format!(
            "Until traffic moves, a failure starts {name} again with all that it had. Afterwards `shadow rollback` \
             takes it back within the commit window."
        )
    }
}

/// Seconds that a step usually takes.
pub(super) const fn estimate(step: &PromotionStep) -> u32 {
    match step {
        PromotionStep::CatchUp { .. }
        | PromotionStep::FencePrimary { .. }
        | PromotionStep::RedefineShadow { .. } => 2,
        PromotionStep::StartPrimary { .. } => 5,
        PromotionStep::SetWeight { .. }
        | PromotionStep::PausePrimary { .. }
        | PromotionStep::RemoveVolumes { .. } => 1,
        _ => 0,
    }
}
