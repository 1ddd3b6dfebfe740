//! Trying recovery points: by hand and by schedule, what a step does, and what a failed proof raises.

use std::collections::BTreeSet;

use super::{Action, Core, Effect, Layer, Pending, proposals::is_open};
use crate::{
    engine::command::{Answer, Reply},
    inventory::{Owner, Pool},
    operation::{Approval, fold::Operation},
    problem::Problem,
    shadow::{
        CheckOutcome, CloneSpec, Need, Plan, PlanKind, Proposal, Reason, Sizing, Step, Urgency,
        plan::{self, Names, ValidateInput},
    },
    units::{OperationId, ProposalId, ShadowId, Timestamp, VmId},
    validation::{check::Check, proof::Proof},
};

/// A shadow's first proof is due this long after it was made.
const FIRST_AFTER_SECONDS: i64 = 600;
/// After a validation that could not be tried to its end.
const AGAIN_AFTER_SECONDS: i64 = 900;
const NOT_PLANNED: &str = "No validation was planned.";

impl Core {
    pub(super) fn propose_validate(
        &mut self,
        at: Timestamp,
        shadow: &ShadowId,
        point: Option<u64>,
        out: &mut Vec<Effect>,
    ) -> Reply {
        let Some(found) = self.shadows.get(shadow) else {
            return Err(no_shadow(NOT_PLANNED, shadow));
        };
        if self.busy_vms().contains(&found.vm) {
            return Err(Problem::refused(
                NOT_PLANNED,
                "an operation on this shadow has not ended",
                "Wait for it, or cancel it: `shadowcast operations`.",
            ));
        }
        let need = need(&found.vm, Urgency::Later, Reason::ByHand);
        let mut proposal = self.build_validate(at, shadow, point, need)?;
        // What is open for the VM and says the same is replaced; anything else stays.
        let open = self.proposals.values().find(|open| {
            is_open(open)
                && open.plan.kind == PlanKind::Validate
                && open.plan.vm == proposal.plan.vm
        });
        if let Some(open) = open {
            proposal.id = open.id.clone();
        }
        let proposal = self.keep(proposal, out);
        Ok(Answer::Proposal { proposal })
    }

    /// From a point to what can be signed.
    fn build_validate(
        &mut self,
        at: Timestamp,
        id: &ShadowId,
        point: Option<u64>,
        need: Need,
    ) -> Result<Proposal, Problem> {
        let plan = self.validation_of(at, id, point)?;
        let checks = self
            .unmet(&plan, at)
            .into_iter()
            .map(|text| crate::shadow::Check {
                outcome: CheckOutcome::Blocks,
                text,
            });
        let checks = checks.collect();
        let peak = self.peak_of_limit(&plan.vm);
        let sizing = Sizing {
            share: 0.0,
            vcpus: 0,
            memory_bytes: 0,
            peak_no_action: peak,
            peak_primary: peak,
            peak_shadow: 0.0,
        };
        Ok(self.proposal(at, None, need, sizing, None, plan, checks))
    }

    fn validation_of(
        &mut self,
        at: Timestamp,
        id: &ShadowId,
        point: Option<u64>,
    ) -> Result<Plan, Problem> {
        let shadow = self
            .shadows
            .get(id)
            .cloned()
            .ok_or_else(|| no_shadow(NOT_PLANNED, id))?;
        let manifest = self.manifests.get(id);
        let points = manifest.map_or(&[][..], |manifest| &manifest.points);
        let found = match point {
            Some(number) => points.iter().find(|point| point.number == number),
            None => points.last(),
        };
        let (Some(point), Some(spec)) = (found.cloned(), shadow.spec.as_ref()) else {
            return Err(Problem::failed(
                NOT_PLANNED,
                match point {
                    Some(number) => format!("the shadow has no point {number}"),
                    None => "the shadow has no complete point yet".to_owned(),
                },
                format!("`shadowcast shadow points {}` lists them.", shadow.vm_name),
            ));
        };
        let service = self.service_of(&shadow.vm).cloned();
        let record = self.vms.get(&shadow.vm);
        let (instance_type, has_agent) = record.map_or((String::new(), false), |record| {
            (record.vm.instance_type.clone(), record.vm.has_agent)
        });
        let settings = self.settings.validation.clone();
        let checks =
            settings.checks_for(&shadow.vm_name, &instance_type, service.as_ref(), has_agent);
        let asked: BTreeSet<u16> = checks.iter().filter_map(Check::port).collect();
        let (names, ports) = match self.pools.get(&spec.pool).cloned() {
            Some(pool) => self.names_with_ports(&pool, asked.len()),
            None => {
                return Err(Problem::refused(
                    NOT_PLANNED,
                    format!("{} is gone", spec.pool),
                    "See `shadowcast pools`.",
                ));
            }
        };
        let operation = OperationId(format!("op-{}", self.short_id()));
        plan::validate_plan(&ValidateInput {
            owner: Owner {
                engine: self.engine.clone(),
                operation,
            },
            made_at: at,
            vm_name: &shadow.vm_name,
            spec,
            running: shadow.running,
            point: &point,
            guest_address: service.and_then(|service| service.guest_address),
            checks: &checks,
            names: &names,
            ports: &ports,
            boot_seconds: settings.boot_seconds,
            check_seconds: settings.check_seconds,
            lifetime_seconds: settings.lifetime_seconds,
        })
        .ok_or_else(|| {
            Problem::refused(
                NOT_PLANNED,
                format!("point {} lacks a layer for a disk", point.number),
                "Take a new one: `shadowcast shadow sync`.",
            )
        })
    }

    fn names_with_ports(&mut self, pool: &Pool, count: usize) -> (Names, Vec<u16>) {
        let names = self.names_for(pool);
        let mut ports = vec![names.port];
        while ports.len() < count {
            let port = self.names_for(pool).port;
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        (names, ports)
    }

    /// Validations that have not ended.
    fn validating(&self) -> impl Iterator<Item = &Operation> {
        self.operations
            .values()
            .filter(|operation| operation.plan.kind == PlanKind::Validate && !operation.ended())
    }

    pub(super) fn is_validating(&self, shadow: &ShadowId) -> bool {
        self.validating().any(|op| op.plan.shadow == *shadow)
    }

    /// Points that a clone stands on, beside those of the shadow itself.
    pub(super) fn held_points(&self, shadow: &ShadowId) -> BTreeSet<u64> {
        self.validating()
            .filter(|operation| operation.plan.shadow == *shadow)
            .filter_map(|operation| clone_of(&operation.plan))
            .map(|clone| clone.point)
            .collect()
    }

    /// Starts what is due by itself, and raises what a failed proof asks for.
    pub(super) fn run_validations(&mut self, at: Timestamp, out: &mut Vec<Effect>) {
        if self.store_failed.is_some() {
            return;
        }
        self.raise_failed(at, out);
        let settings = &self.settings.validation;
        let full = self.validating().count() >= settings.at_once as usize;
        if self.frozen || settings.every_hours == 0 || full || !settings.is_open(at) {
            return;
        }
        let due: Option<ShadowId> = self
            .shadows
            .keys()
            .filter_map(|id| Some((self.proof_due_at(id)?, id)))
            .filter(|(due, id)| *due <= at && self.may_validate_now(id))
            .min()
            .map(|(_, id)| id.clone());
        if let Some(shadow) = due {
            self.validate_by_schedule(at, &shadow, out);
        }
    }

    /// When the shadow's newest proof is to be renewed by itself.
    pub(super) fn proof_due_at(&self, id: &ShadowId) -> Option<Timestamp> {
        let every = i64::from(self.settings.validation.every_hours) * 3600;
        if every == 0 {
            return None;
        }
        let shadow = self.shadows.get(id)?;
        let due = match self.last_concluded(id).and_then(|proof| proof.ended_at) {
            Some(at) => at.plus_secs(every),
            None => shadow.created_at.plus_secs(every.min(FIRST_AFTER_SECONDS)),
        };
        let tried = self.proofs_of(id).last().and_then(|proof| proof.ended_at);
        Some(match tried {
            Some(tried) => due.max(tried.plus_secs(AGAIN_AFTER_SECONDS.min(every))),
            None => due,
        })
    }

    fn may_validate_now(&self, id: &ShadowId) -> bool {
        let (Some(shadow), Some(manifest)) = (self.shadows.get(id), self.manifests.get(id)) else {
            return false;
        };
        let target = manifest.target_pool.source();
        manifest.active
            && shadow.promotion.is_none()
            && !shadow.retiring
            && !manifest.points.is_empty()
            && !self.busy_vms().contains(&shadow.vm)
            && self
                .sources
                .get(&target)
                .is_some_and(|source| source.heard && source.error.is_none())
            && self.check_may_act("", [&target]).is_ok()
    }

    fn validate_by_schedule(&mut self, at: Timestamp, shadow: &ShadowId, out: &mut Vec<Effect>) {
        let Ok(plan) = self.validation_of(at, shadow, None) else {
            return;
        };
        // Memory that is short now may be there in a minute; an operator who asks by hand is told.
        if !self.unmet(&plan, at).is_empty() {
            return;
        }
        let approval = Approval {
            proposal: None,
            digest: plan::digest(&plan),
            by: "the schedule".to_owned(),
            at,
            until: at.plus_secs(i64::from(self.settings.approval.lifetime_seconds)),
        };
        let operation = plan.owner.operation.clone();
        self.open_operation(at, &operation, plan, approval, out);
    }

    /// A point that did not pass asks for another look, for as long as nothing newer has passed.
    fn raise_failed(&mut self, at: Timestamp, out: &mut Vec<Effect>) {
        let settled: Vec<ProposalId> = self
            .proposals
            .values()
            .filter(|proposal| is_open(proposal) && proposal.plan.kind == PlanKind::Validate)
            .filter(|proposal| !proposal.need.reasons.contains(&Reason::ByHand))
            .filter(|proposal| {
                let newest = self.last_concluded(&proposal.plan.shadow);
                newest.is_none_or(Proof::passed)
            })
            .map(|proposal| proposal.id.clone())
            .collect();
        for id in settled {
            self.make_stale(&id, "a point has passed since", out);
        }
        let busy = self.busy_vms();
        let failed: Vec<(ShadowId, VmId, Reason)> = self
            .shadows
            .values()
            .filter(|shadow| !shadow.retiring && !busy.contains(&shadow.vm))
            .filter(|shadow| {
                let rests = self
                    .vms
                    .get(&shadow.vm)
                    .and_then(|record| record.no_proposal_before)
                    .is_some_and(|before| at < before);
                let proposed = self
                    .proposals
                    .values()
                    .any(|proposal| is_open(proposal) && proposal.plan.vm == shadow.vm);
                !rests && !proposed
            })
            .filter_map(|shadow| {
                let proof = self.last_concluded(&shadow.id)?;
                let why = proof.why.clone().unwrap_or_default();
                let point = proof.point;
                (!proof.passed()).then(|| {
                    let reason = Reason::ProofFailed { point, why };
                    (shadow.id.clone(), shadow.vm.clone(), reason)
                })
            })
            .collect();
        for (shadow, vm, reason) in failed {
            let need = need(&vm, Urgency::Soon, reason);
            match self.build_validate(at, &shadow, None, need) {
                Ok(proposal) => self.raise(at, proposal, out),
                Err(problem) => tracing::debug!(why = problem.why, "no point to try again"),
            }
        }
    }

    /// What a step of a validation does; the step's own effect for all others.
    pub(super) fn clone_action(
        &mut self,
        at: Timestamp,
        id: &OperationId,
        step: &Step,
        out: &mut Vec<Effect>,
    ) -> Option<Action> {
        match step {
            Step::StartClone { clone } => {
                self.clones.insert(id.clone(), at);
                self.begin_proof(at, id, clone, out);
                None
            }
            Step::CheckClone {
                clone,
                check,
                timeout_seconds,
            } => {
                // After a restart of the engine the clone boots anew, and so does its time.
                let started = *self.clones.entry(id.clone()).or_insert(at);
                let left = |seconds: u32| {
                    let left = i64::from(seconds) - at.secs_since(started);
                    u32::try_from(left.max(0)).unwrap_or(u32::MAX)
                };
                let timeout_seconds = (*timeout_seconds).max(left(clone.boot_seconds));
                Some(Action::CheckClone {
                    clone: clone.clone(),
                    check: check.clone(),
                    timeout_seconds: timeout_seconds.min(left(clone.lifetime_seconds)),
                    layers: self.layers_under(&clone.spec.shadow, clone.point),
                })
            }
            _ => None,
        }
    }

    /// The layers that a point stands on, its own first, with what the source gave for each.
    fn layers_under(&self, shadow: &ShadowId, point: u64) -> Vec<Layer> {
        let Some(manifest) = self.manifests.get(shadow) else {
            return Vec::new();
        };
        let at = manifest
            .points
            .iter()
            .position(|known| known.number == point);
        let mut layers = Vec::new();
        for point in at
            .iter()
            .flat_map(|at| manifest.points[..=*at].iter().rev())
        {
            layers.extend(point.layers.iter().enumerate().map(|(disk, volume)| Layer {
                volume: volume.clone(),
                digest: point.digests.get(disk).cloned(),
            }));
            if point.depth == 0 {
                break;
            }
        }
        layers
    }

    /// A clone does not start while the layers that it would read are being written to.
    pub(super) fn waits_for_merge(&self, plan: &Plan) -> bool {
        plan.kind == PlanKind::Validate
            && self.pending.values().any(
                |pending| matches!(pending, Pending::Merge { shadow } if *shadow == plan.shadow),
            )
    }
}

fn clone_of(plan: &Plan) -> Option<&CloneSpec> {
    plan.steps.iter().find_map(|step| match step {
        Step::StartClone { clone } => Some(&**clone),
        _ => None,
    })
}

fn need(vm: &VmId, urgency: Urgency, reason: Reason) -> Need {
    Need {
        vm: vm.clone(),
        urgency,
        crosses_at: None,
        probability: None,
        reasons: vec![reason],
    }
}

pub(super) fn no_shadow(what: &str, shadow: &ShadowId) -> Problem {
    Problem::failed(
        what,
        format!("there is no shadow {shadow}"),
        "`shadowcast shadow list` shows them.",
    )
}
