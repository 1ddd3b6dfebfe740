//! What is decided and done: proposals, operations, shadows, services and their traffic.

use serde::Serialize;

use crate::{
    engine::snapshot::{
        OperationState, OperationView, PromotionView, ServiceView, ShadowState, ShadowView,
        StepView,
    },
    inventory::Service,
    operation::JournalRow,
    replication::{Consistency, Progress, ProofMark, RecoveryPoint},
    shadow::{
        Check, PlanKind, Precondition, Proposal, ProposalState, Rejected, Step, Urgency, plan,
    },
    units::{Digest, OperationId, PoolId, ProposalId, ServiceName, ShadowId, Timestamp, VmId},
    validation::{
        check::Check as ProofCheck,
        proof::{Conclusion, Proof},
    },
};

#[derive(Serialize)]
pub struct ProposalJson<'a> {
    id: &'a ProposalId,
    kind: PlanKind,
    vm: &'a VmId,
    vm_name: &'a str,
    digest: &'a Digest,
    state: &'static str,
    /// Whoever approved or rejected, and when.
    decided_by: Option<&'a str>,
    decided_at: Option<Timestamp>,
    /// Why it was rejected or went stale.
    decided_why: Option<&'a str>,
    snoozed_until: Option<Timestamp>,
    urgency: Urgency,
    crosses_at: Option<Timestamp>,
    probability: Option<f64>,
    why: &'a str,
    /// Nothing but forecasts that "as it was yesterday" does as well as speaks for it.
    no_better_than_naive: bool,
    pool: Option<&'a PoolId>,
    pool_why: Option<&'a str>,
    rejected_pools: &'a [Rejected],
    share: f64,
    vcpus: u32,
    memory_bytes: u64,
    checks: &'a [Check],
    plan: PlanJson<'a>,
    created_at: Timestamp,
    expires_at: Timestamp,
}

#[derive(Serialize)]
struct PlanJson<'a> {
    shadow: &'a ShadowId,
    steps: Vec<StepJson<'a>>,
    preconditions: &'a [Precondition],
    cost: &'a [String],
    undo: &'a str,
    estimate_seconds: u32,
}

#[derive(Serialize)]
struct StepJson<'a> {
    #[serde(flatten)]
    step: &'a Step,
    text: String,
    command: String,
    undo: String,
}

impl<'a> From<&'a Proposal> for ProposalJson<'a> {
    fn from(proposal: &'a Proposal) -> Self {
        let plan = &proposal.plan;
        let placement = proposal.placement.as_ref();
        let (decided_by, decided_at, decided_why, snoozed_until) = match &proposal.state {
            ProposalState::Open | ProposalState::Expired => (None, None, None, None),
            ProposalState::Snoozed { until } => (None, None, None, Some(*until)),
            ProposalState::Approved { by, at } => (Some(&**by), Some(*at), None, None),
            ProposalState::Rejected { by, at, why } => (Some(&**by), Some(*at), Some(&**why), None),
            ProposalState::Stale { why } => (None, None, Some(&**why), None),
        };
        Self {
            id: &proposal.id,
            kind: plan.kind,
            vm: &proposal.need.vm,
            vm_name: &plan.vm_name,
            digest: &proposal.digest,
            state: state_word(&proposal.state),
            decided_by,
            decided_at,
            decided_why,
            snoozed_until,
            urgency: proposal.need.urgency,
            crosses_at: proposal.need.crosses_at,
            probability: proposal.need.probability,
            no_better_than_naive: proposal.need.is_no_better_than_naive(),
            why: &proposal.why,
            pool: placement.map(|placement| &placement.pool),
            pool_why: placement.map(|placement| &*placement.why),
            rejected_pools: placement.map_or(&[], |placement| &placement.rejected),
            share: proposal.sizing.share,
            vcpus: proposal.sizing.vcpus,
            memory_bytes: proposal.sizing.memory_bytes,
            checks: &proposal.checks,
            plan: PlanJson {
                shadow: &plan.shadow,
                steps: (plan.steps.iter())
                    .map(|step| StepJson {
                        step,
                        text: plan::describe(step),
                        command: plan::command_text(step),
                        undo: plan::undo_text(step),
                    })
                    .collect(),
                preconditions: &plan.preconditions,
                cost: &plan.cost,
                undo: &plan.undo,
                estimate_seconds: plan.estimate_seconds,
            },
            created_at: proposal.created_at,
            expires_at: proposal.expires_at,
        }
    }
}

/// The name of a proposal's state, for people and scripts.
pub const fn state_word(state: &ProposalState) -> &'static str {
    match state {
        ProposalState::Open => "open",
        ProposalState::Snoozed { .. } => "snoozed",
        ProposalState::Approved { .. } => "approved",
        ProposalState::Rejected { .. } => "rejected",
        ProposalState::Stale { .. } => "stale",
        ProposalState::Expired => "expired",
    }
}

#[derive(Serialize)]
pub struct OperationJson<'a> {
    id: &'a OperationId,
    kind: PlanKind,
    vm: &'a VmId,
    vm_name: &'a str,
    shadow: &'a ShadowId,
    state: OperationState,
    step: usize,
    steps: usize,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    why: Option<&'a str>,
    undoing: bool,
    by: &'a str,
}

impl<'a> From<&'a OperationView> for OperationJson<'a> {
    fn from(view: &'a OperationView) -> Self {
        Self {
            id: &view.id,
            kind: view.kind,
            vm: &view.vm,
            vm_name: &view.vm_name,
            shadow: &view.shadow,
            state: view.state,
            step: view.step,
            steps: view.steps.len(),
            started_at: view.started_at,
            ended_at: view.ended_at,
            why: view.why.as_deref(),
            undoing: view.undoing,
            by: &view.by,
        }
    }
}

/// `operation ID`: the row of `operations` with its steps and journal.
#[derive(Serialize)]
pub struct OneOperationJson<'a> {
    #[serde(flatten)]
    operation: OperationJson<'a>,
    step_list: &'a [StepView],
    progress: Option<Progress>,
    journal: &'a [JournalRow],
}

impl<'a> OneOperationJson<'a> {
    pub fn of(view: &'a OperationView, journal: &'a [JournalRow]) -> Self {
        Self {
            operation: view.into(),
            step_list: &view.steps,
            progress: view.progress,
            journal,
        }
    }
}

#[derive(Serialize)]
pub struct ShadowJson<'a> {
    id: &'a ShadowId,
    vm: &'a VmId,
    vm_name: &'a str,
    name: &'a str,
    pool: &'a PoolId,
    state: ShadowState,
    method: &'a str,
    vcpus: u32,
    memory_bytes: u64,
    rpo_seconds: u32,
    lag_seconds: Option<u64>,
    lag_bytes: Option<u64>,
    points: Vec<PointJson<'a>>,
    serving_from: Option<u64>,
    stored_bytes: u64,
    last_proof: Option<LastProofJson>,
    next_proof_at: Option<Timestamp>,
    proving: bool,
    last_cycle_millis: Option<u64>,
    stalled: Option<&'a str>,
    service: Option<&'a ServiceName>,
    traffic_share: f64,
    wanted_share: f64,
    gate_holds: Option<bool>,
    last_breach: Option<&'a str>,
    /// Set while it stands in its primary's place.
    promotion: Option<&'a PromotionView>,
}

#[derive(Serialize)]
struct LastProofJson {
    at: Timestamp,
    passed: bool,
}

/// `shadow points`.
#[derive(Serialize)]
pub struct PointsJson<'a> {
    vm: &'a VmId,
    shadow: &'a ShadowId,
    stored_bytes: u64,
    points: Vec<PointJson<'a>>,
}

impl<'a> From<&'a ShadowView> for PointsJson<'a> {
    fn from(view: &'a ShadowView) -> Self {
        Self {
            vm: &view.vm,
            shadow: &view.id,
            stored_bytes: view.stored_bytes,
            points: view.points.iter().map(PointJson::from).collect(),
        }
    }
}

/// One of `shadow proofs`.
#[derive(Serialize)]
pub struct ProofJson<'a> {
    id: &'a OperationId,
    vm: &'a VmId,
    shadow: &'a ShadowId,
    point: u64,
    point_at: Timestamp,
    by: &'a str,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    passed: bool,
    verdict: Option<Conclusion>,
    why: Option<&'a str>,
    checks: Vec<CheckJson<'a>>,
    console: &'a str,
}

#[derive(Serialize)]
struct CheckJson<'a> {
    #[serde(flatten)]
    check: &'a ProofCheck,
    text: String,
    passed: bool,
    seen: &'a str,
    millis: u64,
}

impl<'a> From<&'a Proof> for ProofJson<'a> {
    fn from(proof: &'a Proof) -> Self {
        Self {
            id: &proof.operation,
            vm: &proof.vm,
            shadow: &proof.shadow,
            point: proof.point,
            point_at: proof.point_at,
            by: &proof.by,
            started_at: proof.started_at,
            ended_at: proof.ended_at,
            passed: proof.passed(),
            verdict: proof.verdict,
            why: proof.why.as_deref(),
            checks: (proof.results.iter())
                .map(|result| CheckJson {
                    check: &result.check,
                    text: result.check.to_string(),
                    passed: result.passed,
                    seen: &result.seen,
                    millis: result.millis,
                })
                .collect(),
            console: &proof.console,
        }
    }
}

#[derive(Serialize)]
struct PointJson<'a> {
    id: u64,
    at: Timestamp,
    complete_at: Timestamp,
    consistent: Consistency,
    shipped_bytes: u64,
    stored_bytes: u64,
    pinned: bool,
    /// The volumes that hold it, one for each disk.
    layers: &'a [String],
    /// When it passed its newest validation.
    proven_at: Option<Timestamp>,
    proof: Option<&'a ProofMark>,
}

impl<'a> From<&'a RecoveryPoint> for PointJson<'a> {
    fn from(point: &'a RecoveryPoint) -> Self {
        Self {
            id: point.number,
            at: point.at,
            complete_at: point.complete_at,
            consistent: point.consistent,
            shipped_bytes: point.shipped_bytes,
            stored_bytes: point.stored_bytes,
            pinned: point.pinned,
            layers: &point.layers,
            proven_at: (point.proof.as_ref())
                .filter(|mark| mark.passed)
                .map(|mark| mark.at),
            proof: point.proof.as_ref(),
        }
    }
}

impl<'a> From<&'a ShadowView> for ShadowJson<'a> {
    fn from(view: &'a ShadowView) -> Self {
        let gate = view.gate.as_ref();
        Self {
            id: &view.id,
            vm: &view.vm,
            vm_name: &view.vm_name,
            name: &view.name,
            pool: &view.pool,
            state: view.state,
            method: &view.method,
            vcpus: view.vcpus,
            memory_bytes: view.memory_bytes,
            rpo_seconds: view.rpo_seconds,
            lag_seconds: view.lag_seconds,
            lag_bytes: view.lag_bytes,
            points: view.points.iter().map(PointJson::from).collect(),
            serving_from: view.serving_from,
            stored_bytes: view.stored_bytes,
            last_proof: view.last_proof.as_ref().map(|mark| LastProofJson {
                at: mark.at,
                passed: mark.passed,
            }),
            next_proof_at: view.next_proof_at,
            proving: view.proving,
            last_cycle_millis: view.last_cycle_millis,
            stalled: view.stalled.as_deref(),
            service: view.service.as_ref(),
            traffic_share: view.traffic_share,
            wanted_share: view.wanted_share,
            gate_holds: gate.map(|gate| gate.holds),
            last_breach: gate.and_then(|gate| gate.last_breach.as_deref()),
            promotion: view.promotion.as_ref(),
        }
    }
}

/// `services`: what `service map` declared.
#[derive(Serialize)]
pub struct ServiceJson<'a> {
    #[serde(flatten)]
    service: &'a Service,
    sticky: bool,
    error: Option<&'a str>,
}

impl<'a> From<&'a ServiceView> for ServiceJson<'a> {
    fn from(view: &'a ServiceView) -> Self {
        Self {
            service: &view.service,
            sticky: view.sticky,
            error: view.error.as_deref(),
        }
    }
}

#[derive(Serialize)]
pub struct TrafficJson<'a> {
    name: &'a ServiceName,
    primary_weight: u32,
    shadow_weight: u32,
    shadow_share: f64,
    errors_per_second: Option<f64>,
    response_millis: Option<f64>,
    requests_per_second: Option<f64>,
    sticky: bool,
    servers: Vec<ServerJson<'a>>,
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct ServerJson<'a> {
    server: &'a str,
    vm: Option<&'a VmId>,
    is_shadow: bool,
    weight: u16,
    up: bool,
    requests_per_second: Option<f64>,
    errors_per_second: Option<f64>,
    response_millis: Option<f64>,
}

impl<'a> From<&'a ServiceView> for TrafficJson<'a> {
    fn from(view: &'a ServiceView) -> Self {
        let weight_of = |is_shadow: bool| {
            (view.servers.iter())
                .filter(|server| server.is_shadow == is_shadow)
                .map(|server| u32::from(server.weight.0))
                .sum()
        };
        Self {
            name: &view.service.name,
            primary_weight: weight_of(false),
            shadow_weight: weight_of(true),
            shadow_share: view.shadow_share,
            errors_per_second: view.errors_per_second,
            response_millis: view.response_millis,
            requests_per_second: view.requests_per_second,
            sticky: view.sticky,
            servers: (view.servers.iter())
                .map(|server| ServerJson {
                    server: &server.server,
                    vm: server.vm.as_ref(),
                    is_shadow: server.is_shadow,
                    weight: server.weight.0,
                    up: server.up,
                    requests_per_second: server.requests_per_second,
                    errors_per_second: server.errors_per_second,
                    response_millis: server.response_millis,
                })
                .collect(),
            error: view.error.as_deref(),
        }
    }
}
