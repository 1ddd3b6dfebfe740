//! The plan that lets a serving shadow start anew on another recovery point.

use super::{PlanSettings, Serving, estimate, ramp, service_allows, traffic::standing_on, wording};
use crate::{
    inventory::Owner,
    replication::RecoveryPoint,
    shadow::{Plan, PlanKind, Precondition, ShadowSpec, ShareSpec, Step},
    units::{Timestamp, VmId},
};

/// What a refresh plan is made of.
#[derive(Clone, Debug)]
pub struct RefreshInput<'a> {
    pub owner: Owner,
    pub made_at: Timestamp,
    pub vm: &'a VmId,
    pub vm_name: &'a str,
    /// The shadow as it runs, and the point that it stands on.
    pub spec: &'a ShadowSpec,
    pub from: u64,
    pub to: &'a RecoveryPoint,
    pub serving: Serving<'a>,
    /// Its newest share.
    pub share: &'a ShareSpec,
    pub settings: PlanSettings,
}

/// Plans the way: drain, stop, fresh overlays on `to`, start, ramp back. What the shadow wrote is discarded.
///
/// `None` where the service does not let a clone serve, or the point lacks a layer for a disk.
pub fn refresh_plan(input: &RefreshInput) -> Option<Plan> {
    let service = input.serving.service;
    input.serving.primary_server(input.vm)?;
    let spec = standing_on(input.spec, service, input.to)?;
    let (shadow, source) = (spec.shadow.clone(), spec.pool.source());
    let share = input.share;
    let mut steps = Vec::new();
    if share.share > 0.0 {
        ramp(&mut steps, share, share.share, 0.0);
    }
    steps.extend([
        Step::AwaitDrained {
            director: share.director.clone(),
            backend: share.backend.clone(),
            server: share.shadow_server.clone(),
            timeout_seconds: input.settings.drain_timeout_seconds,
        },
        Step::StopShadow {
            shadow: shadow.clone(),
            source: source.clone(),
            uuid: spec.uuid.clone(),
            grace_seconds: input.settings.stop_grace_seconds,
        },
        Step::Refresh {
            from: Box::new(input.spec.clone()),
            from_point: input.from,
            spec: Box::new(spec.clone()),
            point: input.to.number,
        },
        Step::StartShadow {
            shadow: shadow.clone(),
            source: source.clone(),
            uuid: spec.uuid.clone(),
        },
        Step::AwaitAnswer {
            shadow: shadow.clone(),
            address: spec.network.address.clone(),
            port: spec.network.port,
            path: service.probe_path.clone(),
            timeout_seconds: input.settings.answer_timeout_seconds,
        },
        Step::AwaitServer {
            director: share.director.clone(),
            backend: share.backend.clone(),
            server: share.shadow_server.clone(),
            timeout_seconds: input.settings.server_timeout_seconds,
        },
    ]);
    if share.share > 0.0 {
        ramp(&mut steps, share, 0.0, share.share);
    }
    let armed = |source| Precondition::Armed { source };
    Some(Plan {
        kind: PlanKind::Refresh,
        vm: input.vm.clone(),
        vm_name: input.vm_name.to_owned(),
        shadow: shadow.clone(),
        owner: input.owner.clone(),
        made_at: input.made_at,
        preconditions: vec![
            armed(source),
            armed(share.director.clone()),
            Precondition::PointStands {
                shadow: shadow.clone(),
                point: input.to.number,
                layers: input.to.layers.clone(),
            },
            Precondition::StandsOn {
                shadow,
                from: input.from,
                to: input.to.number,
            },
            service_allows(service),
        ],
        cost: wording::refresh_cost(&spec, input.from, input.to),
        undo: wording::refresh_undo(&spec, input.from),
        estimate_seconds: steps.iter().map(|step| estimate(step, 0)).sum(),
        steps,
    })
}
