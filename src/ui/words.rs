//! Plans, needs and states as sentences.

use super::format::{self, Clock};
use crate::{
    engine::snapshot::{OperationState, ShadowState, Snapshot},
    inventory::Service,
    metrics::Metric,
    shadow::{Plan, PlanKind, Proposal, Reason, ShareSpec, Step, Urgency, plan},
    units::{PoolId, VmId, printable},
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

/// 0..=1 that the shadow has before the plan runs.
pub fn share_before(plan: &Plan) -> f64 {
    let first = plan.steps.iter().find_map(|step| match step {
        Step::SetShare(share) => Some(share.previous_share),
        _ => None,
    });
    first.unwrap_or(0.0)
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
        (PlanKind::Refresh, _) => "Let the shadow stand on a newer point".to_owned(),
        (PlanKind::Retire, _) => "Drain the shadow and give its capacity back".to_owned(),
        (PlanKind::Promote, _) => "Put the shadow in its primary's place".to_owned(),
        (PlanKind::Commit, _) => "Keep the shadow in its primary's place".to_owned(),
        (PlanKind::Rollback, _) => "Bring the primary back".to_owned(),
        (PlanKind::Guard, _) => "Keep the primary off".to_owned(),
        (PlanKind::Validate, _) => "Boot a clone of a recovery point and check it".to_owned(),
    }
}

/// The same as a chip.
pub fn chip(proposal: &Proposal) -> String {
    let share = format::percent(proposal.sizing.share);
    match (proposal.plan.kind, proposal.sizing.share > 0.0) {
        (PlanKind::Create, true) => format!("Shadow, move {share}"),
        (PlanKind::Create, false) => "Shadow, no split".to_owned(),
        (PlanKind::Traffic, _) => format!("Move {share}"),
        (PlanKind::Refresh, _) => "Refresh".to_owned(),
        (PlanKind::Retire, _) => "Drain and remove".to_owned(),
        (PlanKind::Promote, _) => "Promote".to_owned(),
        (PlanKind::Commit, _) => "Commit".to_owned(),
        (PlanKind::Rollback, _) => "Roll back".to_owned(),
        (PlanKind::Guard, _) => "Keep off".to_owned(),
        (PlanKind::Validate, _) => "Try a point".to_owned(),
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
            ..
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
        Some(Reason::ProofFailed { point, why }) => {
            format!("Point {point} did not pass: {}", printable(why))
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

/// A step of a plan in the words of the whole house: what, and the particulars.
pub fn step(step: &Step) -> (String, String) {
    let words = printable(&plan::describe(step));
    if let Some((what, more)) = words.split_once(", ") {
        return (what.to_owned(), more.to_owned());
    }
    if let Some((what, more)) = words
        .strip_suffix(')')
        .and_then(|words| words.split_once(" ("))
    {
        return (what.to_owned(), more.to_owned());
    }
    (words, String::new())
}

/// The exact effect of a step, for the approval: the verb and its arguments.
pub fn command(step: &Step) -> (String, String) {
    let words = printable(&plan::command_text(step));
    match words.split_once(' ') {
        Some((verb, rest)) => (verb.to_owned(), rest.to_owned()),
        None => (words, String::new()),
    }
}

/// The service that a clone of the VM may serve, as it was mapped.
pub fn service<'a>(now: &'a Snapshot, vm: &VmId) -> Option<&'a Service> {
    now.services
        .iter()
        .map(|view| &view.service)
        .find(|service| service.members.iter().any(|member| member.vm == *vm))
}

/// `16 vCPU, 64 GiB`.
pub fn capacity(vcpus: u32, memory_bytes: u64) -> String {
    format!("{vcpus} vCPU, {}", format::binary_bytes(memory_bytes))
}

pub const fn operation_kind(kind: PlanKind) -> &'static str {
    match kind {
        PlanKind::Create => "Create shadow",
        PlanKind::Traffic => "Move traffic",
        PlanKind::Refresh => "Refresh shadow",
        PlanKind::Retire => "Retire shadow",
        PlanKind::Promote => "Promote shadow",
        PlanKind::Commit => "Commit promotion",
        PlanKind::Rollback => "Roll back",
        PlanKind::Guard => "Keep primary off",
        PlanKind::Validate => "Validate shadow",
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
        ShadowState::Promoted => "Promoted",
        ShadowState::Committed => "Committed",
    }
}
