//! The plan that lets a shadow serve, or gives it another share.

use super::{
    PlanSettings, Serving, estimate, ramp, service_allows, share_spec, start_steps, wording,
};
use crate::{
    inventory::{Owner, Service, Vm},
    replication::{RecoveryPoint, names},
    shadow::{OverlaySpec, Plan, PlanKind, Precondition, ShadowSpec, Step},
    units::Timestamp,
};

/// What a traffic plan is made of.
#[derive(Clone, Debug)]
pub struct TrafficInput<'a> {
    pub owner: Owner,
    pub made_at: Timestamp,
    pub vm: &'a Vm,
    /// The shadow as its create plan defined it.
    pub spec: &'a ShadowSpec,
    pub serving: Serving<'a>,
    /// The shadow's balancer server, the one of `Names`.
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
pub(super) fn standing_on(
    spec: &ShadowSpec,
    service: &Service,
    point: &RecoveryPoint,
) -> Option<ShadowSpec> {
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
