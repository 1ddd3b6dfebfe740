//! The exact steps that create, serve and retire a shadow, with every name that they need, and the digest over them.
//!
//! ```text
//! create   Reserve ─ Replicate 0 (full) ─┬─ share 0: DefineShadow, powered off
//!                                        └─ else: Replicate 1 ─ DefineShadow ─ StartShadow ─ AwaitAnswer
//!                                                 ─ AddServer ─ AwaitServer ─ SetShare …
//! traffic  [DefineShadow ─ StartShadow ─ AwaitAnswer ─ AddServer ─ AwaitServer] ─ SetShare …
//! promote  CatchUp ─ PausePrimary ─ CatchUp ─ FencePrimary ─ RedefineShadow ─ StartShadow ─ AwaitAnswer ─ AwaitServer
//!          ─ PointOfNoReturn ─ SetShare 1 ─ OpenCommitWindow
//! rollback StopShadow ─ StartPrimary ─ AwaitServer ─ PointOfNoReturn ─ SetShare 0 ─ EndPromotion ─ RedefineShadow
//! refresh  SetShare 0 ─ AwaitDrained ─ StopShadow ─ Refresh ─ StartShadow ─ AwaitAnswer ─ AwaitServer ─ SetShare …
//! retire   SetShare 0 ─ AwaitDrained ─ RemoveServer ─ StopShadow ─ RemoveShadow ─ RemoveReplica ─ Release
//! ```
//!
//! All pure: what is random (ids, MAC) and what the network says (a free port) comes in through [`Names`].

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{Plan, PlanKind, Precondition, ShadowSpec, ShareSpec, Step};
use crate::{
    inventory::{Owner, Service},
    traffic::ServerSpec,
    units::{Digest, ShadowId, Timestamp, VmId, Weight},
};

mod create;
mod promote;
mod promotion_wording;
mod refresh;
mod retire;
mod rollback;
mod traffic;
mod validate;
mod wording;

pub use create::{PlanInput, create_plan, hold, replica_bytes};
pub use promote::{PromoteInput, promote_plan};
pub use refresh::{RefreshInput, refresh_plan};
pub use retire::{Replica, RetireInput, retire_plan};
pub use rollback::{RollbackInput, commit_plan, guard_plan, rollback_plan};
pub use traffic::{TrafficInput, traffic_plan};
pub use validate::{ValidateInput, validate_plan};
pub use wording::{bytes, command_text, describe, explain, undo_text};

/// A share grows by no more than this in one step.
const RAMP_STEP: f64 = 0.1;
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
        if !self.service.allows_clone() {
            return None;
        }
        self.service
            .members
            .iter()
            .find(|member| member.vm == *vm)
            .map(|member| member.server.as_str())
    }
}

fn service_allows(service: &Service) -> Precondition {
    Precondition::ServiceAllows {
        service: service.name.clone(),
        kind: service.kind,
    }
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
        method_map: serving.service.method_map.clone(),
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
pub(super) fn ramp(steps: &mut Vec<Step>, model: &ShareSpec, from: f64, to: f64) {
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

/// Seconds that a step usually takes; `seed_bytes` is what a first copy carries.
fn estimate(step: &Step, seed_bytes: u64) -> u32 {
    match step {
        Step::Reserve { .. } | Step::Release { .. } | Step::SetShare(_) => 1,
        Step::Replicate { increment, .. } if increment.parent_checkpoint.is_none() => {
            2 + u32::try_from(seed_bytes / SEED_BYTES_PER_SEC).unwrap_or(u32::MAX / 2)
        }
        Step::AwaitAnswer { .. } => 20,
        // The first check waits for the boot.
        Step::StartClone { .. } => 15,
        Step::CheckClone { .. } | Step::RemoveClone { .. } => 1,
        Step::StartShadow { .. } | Step::StopShadow { .. } => 5,
        Step::AwaitServer { .. } | Step::AwaitDrained { .. } | Step::RemoveReplica { .. } => 3,
        Step::Replicate { .. }
        | Step::DefineShadow { .. }
        | Step::AddServer { .. }
        | Step::RemoveServer { .. }
        | Step::Refresh { .. }
        | Step::RemoveShadow { .. } => 2,
        Step::Promotion(step) => promote::estimate(step),
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
