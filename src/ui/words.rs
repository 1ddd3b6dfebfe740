//! Plans, needs and states as sentences.

use super::format::{self, Clock};
use crate::{
    engine::snapshot::{OperationState, ShadowState, Snapshot},
    metrics::Metric,
    shadow::{Plan, PlanKind, Proposal, Reason, ShareSpec, Step, Urgency},
    units::{PoolId, printable},
};

/// The name of a pool, for people.
pub fn pool(now: &Snapshot, id: &PoolId) -> String {
    now.pools.iter().find(|pool| pool.id == *id).map_or_else(
        || {
            let text = id.as_str();
            printable(text.split_once('/').map_or(text, |(_, name)| name))
        },
        |pool| printable(&pool.name),
    )
}

/// The share that the plan sets, where it sets one.
pub fn share_step(plan: &Plan) -> Option<&ShareSpec> {
    plan.steps.iter().rev().find_map(|step| match step {
        Step::SetShare(share) => Some(share),
        _ => None,
    })
}

/// What the proposal would do, in a few words.
pub fn title(proposal: &Proposal) -> String {
    let share = proposal.sizing.share;
    match (proposal.plan.kind, share > 0.0) {
        (PlanKind::Create, true) => format!(
            "Create a shadow and move {} of traffic to it",
            format::percent(share)
        ),
        (PlanKind::Create, false) => "Create a shadow and keep it in step".to_owned(),
        (PlanKind::Traffic, _) => {
            format!("Move {} of traffic to the shadow", format::percent(share))
        }
        (PlanKind::Retire, _) => "Drain the shadow and give its capacity back".to_owned(),
    }
}

/// The same as a chip.
pub fn chip(proposal: &Proposal) -> String {
    let share = format::percent(proposal.sizing.share);
    match (proposal.plan.kind, proposal.sizing.share > 0.0) {
        (PlanKind::Create, true) => format!("Shadow, move {share}"),
        (PlanKind::Create, false) => "Shadow, no split".to_owned(),
        (PlanKind::Traffic, _) => format!("Move {share}"),
        (PlanKind::Retire, _) => "Drain and remove".to_owned(),
    }
}

/// The metric that the proposal is about.
pub fn metric(proposal: &Proposal) -> Metric {
    proposal
        .need
        .reasons
        .iter()
        .find_map(|reason| match reason {
            Reason::ForecastCrosses { metric, .. } => Some(*metric),
            _ => None,
        })
        .unwrap_or(Metric::Cpu)
}

/// The evidence on one line.
pub fn evidence(proposal: &Proposal, clock: &Clock) -> String {
    match proposal.need.reasons.first() {
        Some(Reason::ForecastCrosses {
            metric,
            peak,
            limit,
            at,
        }) => format!(
            "{} over {} at {}, peak {}",
            format::metric(*metric),
            format::value(*metric, *limit),
            clock.near(*at),
            format::value(*metric, *peak)
        ),
        Some(Reason::HealthUnder {
            score,
            threshold,
            worst,
        }) => format!("Health {score}, under {threshold}: {}", printable(worst)),
        Some(Reason::RiskPassed { quiet_since, .. }) => {
            format!("Quiet since {}, forecast flat", clock.near(*quiet_since))
        }
        Some(Reason::ByHand) => "Asked for by hand".to_owned(),
        None => printable(&proposal.why),
    }
}

/// How long there is: until the crossing, or since when it is quiet.
pub fn time_left(proposal: &Proposal, clock: &Clock) -> String {
    if let Some(at) = proposal.need.crosses_at {
        let left = at.secs_since(clock.now);
        return if left <= 0 {
            "now".to_owned()
        } else {
            format::span(left)
        };
    }
    match proposal.need.reasons.first() {
        Some(Reason::RiskPassed { quiet_since, .. }) => {
            format!("idle {}", clock.ago(*quiet_since))
        }
        _ => String::new(),
    }
}

pub const fn urgency(urgency: Urgency) -> (&'static str, &'static str) {
    match urgency {
        Urgency::Now => ("Act now", "within 30 min"),
        Urgency::Soon => ("Soon", "within 4 h"),
        Urgency::Later => ("Later", "after that"),
        Urgency::GiveBack => ("Give back", "no longer needed"),
    }
}

/// A step of a plan: what, and the particulars.
pub fn step(now: &Snapshot, step: &Step) -> (String, String) {
    match step {
        Step::Reserve { hold } => (
            format!("Reserve {}", capacity(hold.vcpus, hold.memory_bytes)),
            format!(
                "{} of disk in {}",
                format::bytes(hold.disk_bytes),
                pool(now, &hold.pool)
            ),
        ),
        Step::Replicate {
            increment,
            rpo_seconds,
        } => (
            if increment.parent_checkpoint.is_none() {
                "Copy the disks once, then their changes".to_owned()
            } else {
                "Bring the newest changes over".to_owned()
            },
            format!(
                "{} to {}, at most {} behind",
                format::plural(increment.disks.len(), "disk", "disks"),
                pool(now, &increment.target_pool),
                format::span(i64::from(*rpo_seconds))
            ),
        ),
        Step::DefineShadow { spec, .. } => (
            format!("Define {}", printable(&spec.name)),
            "powered off, new MAC, isolated network".to_owned(),
        ),
        Step::StartShadow { .. } => (
            "Start the shadow".to_owned(),
            "on a writable copy of the point".to_owned(),
        ),
        Step::AwaitAnswer {
            port,
            path,
            timeout_seconds,
            ..
        } => (
            "Wait until its service answers".to_owned(),
            format!(
                "port {port}{}, {timeout_seconds} s at most",
                if path.is_empty() {
                    String::new()
                } else {
                    format!(", {}", printable(path))
                }
            ),
        ),
        Step::AddServer { server, .. } => (
            format!("Add it to {}", printable(&server.backend)),
            format!("as {}, weight 0", printable(&server.server)),
        ),
        Step::AwaitServer {
            timeout_seconds, ..
        } => (
            "Wait for the balancer's checks".to_owned(),
            format!("{timeout_seconds} s at most"),
        ),
        Step::SetShare(share) => (
            format!("Move {} of the traffic", format::percent(share.share)),
            format!(
                "{}, back to 0 by itself on errors or slowness",
                printable(&share.backend)
            ),
        ),
        Step::AwaitDrained {
            timeout_seconds, ..
        } => (
            "Wait until no request is left on it".to_owned(),
            format!("{timeout_seconds} s at most"),
        ),
        Step::RemoveServer {
            backend, server, ..
        } => (
            format!("Remove it from {}", printable(backend)),
            printable(server),
        ),
        Step::StopShadow { grace_seconds, .. } => (
            "Stop the shadow".to_owned(),
            format!("power cut after {grace_seconds} s"),
        ),
        Step::RemoveShadow { spec } => (
            format!("Delete {}", printable(&spec.name)),
            "its definition and its writable disks".to_owned(),
        ),
        Step::RemoveReplica { pool: id, .. } => (
            "End replication".to_owned(),
            format!("checkpoints at the source, layers in {}", pool(now, id)),
        ),
        Step::Release { hold } => (
            "Release the reservation".to_owned(),
            capacity(hold.vcpus, hold.memory_bytes),
        ),
    }
}

/// The command that a step comes down to, for the approval: a verb and its arguments.
pub fn command(step: &Step) -> (&'static str, String) {
    match step {
        Step::Reserve { hold } => (
            "reserve",
            format!(
                "{} {} vCPU {} {}",
                printable(hold.pool.as_str()),
                hold.vcpus,
                format::binary_bytes(hold.memory_bytes),
                format::bytes(hold.disk_bytes)
            ),
        ),
        Step::Replicate { increment, .. } => (
            "replicate",
            format!(
                "{} checkpoint {} to {}",
                printable(increment.vm.uuid()),
                printable(&increment.checkpoint),
                printable(&increment.target_storage)
            ),
        ),
        Step::DefineShadow { spec, .. } => (
            "define",
            format!(
                "{} {} vCPU {} mac {}",
                printable(&spec.name),
                spec.vcpus,
                format::binary_bytes(spec.memory_bytes),
                printable(&spec.network.mac)
            ),
        ),
        Step::StartShadow { uuid, .. } => ("start", printable(uuid)),
        Step::AwaitAnswer {
            address,
            port,
            path,
            timeout_seconds,
            ..
        } => (
            "await",
            format!(
                "http {}:{port}{} within {timeout_seconds} s",
                printable(address),
                printable(path)
            ),
        ),
        Step::AddServer { server, .. } => (
            "add server",
            format!(
                "{}/{} {}:{} weight 0",
                printable(&server.backend),
                printable(&server.server),
                printable(&server.address),
                server.port
            ),
        ),
        Step::AwaitServer {
            backend,
            server,
            timeout_seconds,
            ..
        } => (
            "await",
            format!(
                "{}/{} up within {timeout_seconds} s",
                printable(backend),
                printable(server)
            ),
        ),
        Step::SetShare(share) => (
            "set weight",
            format!(
                "{} {} {} of {}'s share",
                printable(&share.backend),
                printable(&share.shadow_server),
                format::percent(share.share),
                printable(&share.primary_server)
            ),
        ),
        Step::AwaitDrained {
            backend, server, ..
        } => (
            "await",
            format!("{}/{} drained", printable(backend), printable(server)),
        ),
        Step::RemoveServer {
            backend, server, ..
        } => (
            "del server",
            format!("{}/{}", printable(backend), printable(server)),
        ),
        Step::StopShadow {
            uuid,
            grace_seconds,
            ..
        } => (
            "stop",
            format!("{} within {grace_seconds} s", printable(uuid)),
        ),
        Step::RemoveShadow { spec } => ("undefine", printable(&spec.name)),
        Step::RemoveReplica { vm, storage, .. } => (
            "end replica",
            format!("{} in {}", printable(vm.uuid()), printable(storage)),
        ),
        Step::Release { hold } => ("release", printable(hold.pool.as_str())),
    }
}

/// `16 vCPU, 64 GiB`.
pub fn capacity(vcpus: u32, memory_bytes: u64) -> String {
    format!("{vcpus} vCPU, {}", format::binary_bytes(memory_bytes))
}

pub const fn operation_kind(kind: PlanKind) -> &'static str {
    match kind {
        PlanKind::Create => "Create shadow",
        PlanKind::Traffic => "Move traffic",
        PlanKind::Retire => "Retire shadow",
    }
}

pub const fn operation_state(state: OperationState, undoing: bool) -> &'static str {
    match (state, undoing) {
        (OperationState::Running | OperationState::Waiting, true) => "Undoing",
        (OperationState::Running, false) => "Running",
        (OperationState::Waiting, false) => "Waiting",
        (OperationState::Done, _) => "Done",
        (OperationState::Undone, _) => "Undone",
        (OperationState::Parked, _) => "Needs an answer",
        (OperationState::Failed, _) => "Failed",
    }
}

pub const fn shadow_state(state: ShadowState) -> &'static str {
    match state {
        ShadowState::Creating => "Creating",
        ShadowState::Replicating => "In step",
        ShadowState::Serving => "Serving",
        ShadowState::Stalled => "Stalled",
        ShadowState::Retiring => "Retiring",
    }
}
