//! Carrying operations on: the next step, its outcome, retries, undoing, parking.

use super::{Action, Core, Effect, EffectId, Failure, Outcome, Pending};
use crate::{
    engine::snapshot::TimelineKind,
    hypervisor::ErrorKind,
    metrics::Metric,
    operation::{
        Approval, Entry, Outcome as Ending,
        fold::{Mark, Next, Phase},
    },
    problem::Problem,
    replication::Manifest,
    shadow::{Plan, PlanKind, Precondition, Step, plan, promotion::PromotionStep},
    units::{OperationId, ShadowId, SourceName, Timestamp},
};

/// Attempts of a step or its undo before it counts as failed.
const MAX_ATTEMPTS: u32 = 4;
/// No new proposal for a VM for this long after an operation on it ended.
const REST_SECONDS: i64 = 300;

/// An operation that waits before it goes on.
#[derive(Clone, Debug)]
pub struct Retry {
    attempts: u32,
    at: Timestamp,
    pub why: String,
}

impl Core {
    /// Opens an operation on an approved plan. Whoever calls has checked the plan's preconditions.
    pub(super) fn open_operation(
        &mut self,
        at: Timestamp,
        id: &OperationId,
        plan: Plan,
        approval: Approval,
        out: &mut Vec<Effect>,
    ) {
        let text = format!(
            "{} started for {}, by {}",
            kind_name(plan.kind),
            plan.vm_name,
            approval.by
        );
        let vm = plan.vm.clone();
        let shadow = plan.shadow.clone();
        self.append(
            at,
            id,
            Entry::Opened {
                plan: Box::new(plan),
                approval,
            },
            out,
        );
        self.event(
            at,
            TimelineKind::Operation,
            text,
            Some(vm),
            Some(id.clone()),
            false,
            out,
        );
        let retiring = self
            .shadows
            .get(&shadow)
            .is_some_and(|shadow| shadow.retiring);
        if retiring && let Some(manifest) = self.manifests.get_mut(&shadow) {
            manifest.active = false;
            out.push(Effect::Put(super::Document::Manifest(Box::new(
                manifest.clone(),
            ))));
        }
        self.advance(at, id, out);
    }

    /// Does what comes next, until something slow runs or nothing is left.
    pub(super) fn advance(&mut self, at: Timestamp, id: &OperationId, out: &mut Vec<Effect>) {
        loop {
            if self.store_failed.is_some() || self.effect_of(id).is_some() {
                return;
            }
            let Some(operation) = self.operations.get(id) else {
                return;
            };
            let shadow = operation.plan.shadow.clone();
            // Beside a validation cycles go on.
            let validates = operation.plan.kind == PlanKind::Validate;
            if operation.next() != Next::Nothing
                && let Some(source) = self.unheard_source_of(&operation.plan)
            {
                // After a start the sources are being connected: that is no failed attempt.
                let why = format!("waits until {source} has answered once");
                let retry = Retry {
                    attempts: 0,
                    at: at.plus_secs(1),
                    why,
                };
                self.retries.insert(id.clone(), retry);
                return;
            }
            match operation.next() {
                Next::Nothing => return,
                Next::Close(outcome) => {
                    self.close(at, id, outcome, out);
                    return;
                }
                Next::Start(step) if validates => {
                    if self.merge_goes_first(at, id) || !self.start_step(at, id, step, out) {
                        return;
                    }
                }
                Next::Undo(step) if validates => {
                    if !self.start_undo(at, id, step, out) {
                        return;
                    }
                }
                Next::Start(0) if self.ends_merge_first(at, id, out) => return,
                Next::Start(step) => {
                    if self.yield_to_cycle(&shadow, out) || self.seed_waits(at, id, step) {
                        return;
                    }
                    if !self.start_step(at, id, step, out) {
                        return;
                    }
                }
                Next::Undo(step) => {
                    if self.yield_to_cycle(&shadow, out) || !self.start_undo(at, id, step, out) {
                        return;
                    }
                }
            }
        }
    }

    /// A source of the plan that has neither answered nor failed since the engine started.
    fn unheard_source_of(&self, plan: &Plan) -> Option<SourceName> {
        plan.preconditions
            .iter()
            .find_map(|condition| match condition {
                Precondition::Armed { source } => self
                    .sources
                    .get(source)
                    .filter(|known| !known.heard)
                    .map(|_| source.clone()),
                _ => None,
            })
    }

    /// Starts a step; true when it is over already.
    fn start_step(
        &mut self,
        at: Timestamp,
        id: &OperationId,
        index: usize,
        out: &mut Vec<Effect>,
    ) -> bool {
        let operation = &self.operations[id];
        let step = operation.plan.steps[index].clone();
        let in_doubt = matches!(operation.steps[index].mark, Mark::Started | Mark::Failed);
        if !in_doubt {
            self.append(at, id, Entry::StepStarted { step: index }, out);
        }
        let pending = Pending::Step {
            operation: id.clone(),
            step: index,
        };
        match step {
            Step::Reserve { .. } | Step::Release { .. } => {
                self.append(
                    at,
                    id,
                    Entry::StepDone {
                        step: index,
                        note: String::new(),
                    },
                    out,
                );
                return true;
            }
            Step::Replicate {
                increment,
                rpo_seconds,
            } => {
                let manifest = self
                    .manifests
                    .entry(increment.shadow.clone())
                    .or_insert_with(|| {
                        Manifest::new(
                            increment.shadow.clone(),
                            increment.owner.clone(),
                            increment.vm.clone(),
                            increment.target_pool.clone(),
                            increment.target_storage.clone(),
                            rpo_seconds,
                        )
                    });
                if manifest
                    .points
                    .iter()
                    .any(|point| point.number == increment.number)
                {
                    let note = "the point is complete already".to_owned();
                    self.append(at, id, Entry::StepDone { step: index, note }, out);
                    return true;
                }
                let resume = manifest
                    .in_flight
                    .as_ref()
                    .is_some_and(|flight| flight.spec == increment && flight.spooled_at.is_some());
                if !resume {
                    manifest.begin(increment.clone(), at);
                }
                out.push(Effect::Put(super::Document::Manifest(Box::new(
                    manifest.clone(),
                ))));
                let action = Action::Cycle {
                    spec: Box::new(increment),
                    resume,
                };
                self.perform(pending, action, out);
            }
            Step::RemoveReplica { ref shadow, .. } => match self.manifests.get(shadow).cloned() {
                None => {
                    let note = "nothing was left of it".to_owned();
                    self.append(at, id, Entry::StepDone { step: index, note }, out);
                    return true;
                }
                Some(manifest) => {
                    let action = Action::RemoveReplica {
                        manifest: Box::new(manifest),
                    };
                    self.perform(pending, action, out);
                }
            },
            Step::Promotion(step) => {
                return self.start_promotion_step(at, id, index, step, pending, out);
            }
            step => {
                let action = self
                    .clone_action(at, id, &step, out)
                    .unwrap_or_else(|| Action::Step(Box::new(step)));
                self.perform(pending, action, out);
            }
        }
        false
    }

    fn start_undo(
        &mut self,
        at: Timestamp,
        id: &OperationId,
        index: usize,
        out: &mut Vec<Effect>,
    ) -> bool {
        let operation = &self.operations[id];
        let step = operation.plan.steps[index].clone();
        if operation.steps[index].mark != Mark::Undoing {
            self.append(at, id, Entry::UndoStarted { step: index }, out);
        }
        let pending = Pending::Undo {
            operation: id.clone(),
            step: index,
        };
        match &step {
            Step::Reserve { .. }
            | Step::AwaitAnswer { .. }
            | Step::AwaitServer { .. }
            | Step::CheckClone { .. }
            | Step::RemoveClone { .. }
            | Step::AwaitDrained { .. } => {
                self.append(at, id, Entry::UndoDone { step: index }, out);
                true
            }
            Step::Replicate { increment, .. } if increment.parent_checkpoint.is_none() => {
                let Some(manifest) = self.manifests.get(&increment.shadow).cloned() else {
                    self.append(at, id, Entry::UndoDone { step: index }, out);
                    return true;
                };
                let action = Action::RemoveReplica {
                    manifest: Box::new(manifest),
                };
                self.perform(pending, action, out);
                false
            }
            // An increment goes with its seed.
            Step::Replicate { .. } => {
                self.append(at, id, Entry::UndoDone { step: index }, out);
                true
            }
            Step::Promotion(promotion) if promotion.has_no_undo() => {
                self.append(at, id, Entry::UndoDone { step: index }, out);
                true
            }
            _ => {
                self.perform(pending, Action::Undo(Box::new(step)), out);
                false
            }
        }
    }

    pub(super) fn step_ended(
        &mut self,
        at: Timestamp,
        id: &OperationId,
        index: usize,
        result: Result<Outcome, Failure>,
        out: &mut Vec<Effect>,
    ) {
        let Some(operation) = self.operations.get(id) else {
            return;
        };
        let forward = operation.phase == Phase::Forward;
        let unwinds = operation.unwinds();
        let step = operation.plan.steps[index].clone();
        match result {
            Ok(outcome) => {
                self.retries.remove(id);
                if self.caught_up_with_another(&step, &outcome, out) {
                    self.advance(at, id, out);
                    return;
                }
                let note = self.step_succeeded(at, id, index, &step, outcome, out);
                self.append(at, id, Entry::StepDone { step: index, note }, out);
                self.after_step(&step, out);
            }
            Err(failure) if forward && self.retry_later(at, id, &failure) => return,
            Err(failure) => {
                self.retries.remove(id);
                self.catch_up_lost_its_checkpoint(&step, &failure, out);
                let why = format!("{}: {}", plan::describe(&step), failure.why);
                let (vm, name) = self.vm_of(id);
                let text = format!("{name}: {why}");
                self.append(
                    at,
                    id,
                    Entry::StepFailed {
                        step: index,
                        why: why.clone(),
                    },
                    out,
                );
                self.event(
                    at,
                    TimelineKind::Operation,
                    text,
                    Some(vm),
                    Some(id.clone()),
                    true,
                    out,
                );
                if !unwinds {
                    self.append(at, id, Entry::Parked { why }, out);
                }
            }
        }
        self.advance(at, id, out);
    }

    /// Takes what a step brought, and says it in a note.
    fn step_succeeded(
        &mut self,
        at: Timestamp,
        id: &OperationId,
        index: usize,
        step: &Step,
        outcome: Outcome,
        out: &mut Vec<Effect>,
    ) -> String {
        match (step, outcome) {
            (Step::Replicate { increment, .. }, Outcome::Shipped(shipped)) => {
                if let Some(manifest) = self.manifests.get_mut(&increment.shadow) {
                    manifest.commit(increment, &shipped);
                    out.push(Effect::Put(super::Document::Manifest(Box::new(
                        manifest.clone(),
                    ))));
                }
                format!("{} bytes shipped", shipped.shipped_bytes)
            }
            (Step::Promotion(PromotionStep::CatchUp { shadow, .. }), Outcome::Shipped(shipped)) => {
                self.commit_flight(shadow, &shipped, out);
                format!("{} bytes shipped", shipped.shipped_bytes)
            }
            (Step::RemoveReplica { shadow, .. }, outcome) => {
                self.manifests.remove(shadow);
                out.push(Effect::Put(super::Document::ManifestGone(shadow.clone())));
                note_of(outcome)
            }
            (_, Outcome::Checked(result)) => self.check_ended(at, id, index, result, out),
            (_, Outcome::CloneGone { console }) => {
                self.clone_removed(id, &console, out);
                String::new()
            }
            (_, outcome) => note_of(outcome),
        }
    }

    /// The manifest knows which point a running shadow stands on, so that its layers are kept.
    fn after_step(&mut self, step: &Step, out: &mut Vec<Effect>) {
        let (Step::StartShadow { shadow, .. } | Step::StopShadow { shadow, .. }) = step else {
            return;
        };
        self.note_standing(shadow, out);
    }

    /// An engine may have died between a step's end and the manifest that follows from it.
    pub(super) fn mend_standing(&mut self, out: &mut Vec<Effect>) {
        let shadows: Vec<ShadowId> = self.shadows.keys().cloned().collect();
        for shadow in &shadows {
            self.note_standing(shadow, out);
        }
    }

    fn note_standing(&mut self, shadow: &ShadowId, out: &mut Vec<Effect>) {
        let point = self
            .shadows
            .get(shadow)
            .filter(|shadow| shadow.running)
            .and_then(|s| s.point);
        if let Some(manifest) = self.manifests.get_mut(shadow)
            && manifest.serving_from != point
        {
            manifest.serving_from = point;
            out.push(Effect::Put(super::Document::Manifest(Box::new(
                manifest.clone(),
            ))));
        }
    }

    pub(super) fn undo_ended(
        &mut self,
        at: Timestamp,
        id: &OperationId,
        index: usize,
        result: Result<Outcome, Failure>,
        out: &mut Vec<Effect>,
    ) {
        let Some(operation) = self.operations.get(id) else {
            return;
        };
        let step = operation.plan.steps[index].clone();
        match result {
            Ok(_) => {
                self.retries.remove(id);
                if let Step::Replicate { increment, .. } = &step {
                    self.manifests.remove(&increment.shadow);
                    out.push(Effect::Put(super::Document::ManifestGone(
                        increment.shadow.clone(),
                    )));
                }
                self.append(at, id, Entry::UndoDone { step: index }, out);
                self.after_step(&step, out);
            }
            Err(failure) if self.retry_later(at, id, &failure) => return,
            Err(failure) => {
                self.retries.remove(id);
                let why = format!("undoing «{}»: {}", plan::describe(&step), failure.why);
                let (vm, name) = self.vm_of(id);
                self.append(
                    at,
                    id,
                    Entry::UndoFailed {
                        step: index,
                        why: why.clone(),
                    },
                    out,
                );
                self.append(at, id, Entry::Parked { why: why.clone() }, out);
                let text = format!("{name}: parked, {why}");
                self.event(
                    at,
                    TimelineKind::Operation,
                    text,
                    Some(vm),
                    Some(id.clone()),
                    true,
                    out,
                );
            }
        }
        self.advance(at, id, out);
    }

    /// Whether the failed attempt will be made again.
    fn retry_later(&mut self, at: Timestamp, id: &OperationId, failure: &Failure) -> bool {
        if !matches!(failure.kind, ErrorKind::Transient | ErrorKind::Lost)
            || failure.checkpoint_lost
        {
            return false;
        }
        let attempts = self.retries.get(id).map_or(0, |retry| retry.attempts) + 1;
        if attempts >= MAX_ATTEMPTS {
            return false;
        }
        let pause = 1 << attempts;
        let why = format!(
            "{}; attempt {} of {MAX_ATTEMPTS} follows",
            failure.why,
            attempts + 1
        );
        self.retries.insert(
            id.clone(),
            Retry {
                attempts,
                at: at.plus_secs(pause),
                why,
            },
        );
        true
    }

    pub(super) fn retry_operations(&mut self, at: Timestamp, out: &mut Vec<Effect>) {
        let due: Vec<OperationId> = self
            .retries
            .iter()
            .filter(|(_, retry)| retry.at <= at)
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            self.advance(at, &id, out);
        }
    }

    /// A promotion counts on the layers that stand: what merges them is not cut off but brought to its end.
    fn ends_merge_first(&mut self, at: Timestamp, id: &OperationId, out: &mut Vec<Effect>) -> bool {
        let plan = &self.operations[id].plan;
        let shadow = plan.shadow.clone();
        let merging = |core: &Self| {
            (core.manifests.get(&shadow)).is_some_and(|manifest| manifest.merging.is_some())
        };
        if plan.kind != PlanKind::Promote || !merging(self) {
            return false;
        }
        if self.replica_effect(&shadow).is_none() {
            self.tidy(&shadow, out);
        }
        if self.replica_effect(&shadow).is_none() {
            return false;
        }
        let retry = Retry {
            attempts: 0,
            at: at.plus_secs(1),
            why: "waits until expired points are merged".to_owned(),
        };
        self.retries.insert(id.clone(), retry);
        true
    }

    fn merge_goes_first(&mut self, at: Timestamp, id: &OperationId) -> bool {
        let waits = self.waits_for_merge(&self.operations[id].plan);
        if waits {
            let retry = Retry {
                attempts: 0,
                at: at.plus_secs(1),
                why: "waits until expired points are merged".to_owned(),
            };
            self.retries.insert(id.clone(), retry);
        }
        waits
    }

    /// A first copy of a VM that is overloaded already makes it worse: wait for a calmer moment, but not for ever.
    fn seed_waits(&mut self, at: Timestamp, id: &OperationId, index: usize) -> bool {
        let operation = &self.operations[id];
        let Step::Replicate { increment, .. } = &operation.plan.steps[index] else {
            return false;
        };
        let calm_by = operation
            .opened_at
            .plus_secs(i64::from(self.settings.shadow.seed_wait_seconds));
        if increment.parent_checkpoint.is_some() || at >= calm_by {
            return false;
        }
        let cpu = self
            .vms
            .get(&increment.vm)
            .and_then(|record| record.sample.as_ref())
            .and_then(|sample| sample.get(Metric::Cpu));
        let limit = self.settings.shadow.seed_max_cpu;
        match cpu {
            Some(cpu) if f64::from(cpu) > limit => {
                let why = format!(
                    "the first copy waits: CPU {:.0} % is over {:.0} %",
                    cpu * 100.0,
                    limit * 100.0
                );
                self.retries.insert(
                    id.clone(),
                    Retry {
                        attempts: 0,
                        at: at.plus_secs(2),
                        why,
                    },
                );
                true
            }
            _ => false,
        }
    }

    fn close(&mut self, at: Timestamp, id: &OperationId, outcome: Ending, out: &mut Vec<Effect>) {
        self.retries.remove(id);
        let operation = &self.operations[id];
        let plan = operation.plan.clone();
        let why = operation.why.clone();
        self.append(at, id, Entry::Closed { outcome }, out);
        let (what, bad) = match outcome {
            Ending::Done => ("done", false),
            Ending::Undone => ("undone: everything is as before", true),
        };
        let text = format!("{} of {} {what}", kind_name(plan.kind), plan.vm_name);
        self.event(
            at,
            TimelineKind::Operation,
            text,
            Some(plan.vm.clone()),
            Some(id.clone()),
            bad,
            out,
        );
        if plan.kind == PlanKind::Create
            && outcome == Ending::Done
            && let Some(manifest) = self.manifests.get_mut(&plan.shadow)
        {
            manifest.active = true;
            out.push(Effect::Put(super::Document::Manifest(Box::new(
                manifest.clone(),
            ))));
        }
        if plan.kind == PlanKind::Retire && outcome == Ending::Done {
            self.drop_old_proofs(&plan.shadow, 0, out);
        }
        if plan.kind == PlanKind::Validate {
            self.validation_closed(at, id, why.as_deref(), out);
        } else if let Some(record) = self.vms.get_mut(&plan.vm) {
            record.no_proposal_before = Some(at.plus_secs(REST_SECONDS));
        }
        self.views.vms = None;
    }

    pub(super) fn cancel(
        &mut self,
        at: Timestamp,
        id: &OperationId,
        by: String,
        out: &mut Vec<Effect>,
    ) -> Result<(), Problem> {
        let what = "The operation was not cancelled.";
        let Some(operation) = self.operations.get(id) else {
            return Err(Problem::failed(
                what,
                format!("there is no operation {id}"),
                "See `shadowcast operations`.",
            ));
        };
        if operation.phase != Phase::Forward {
            return Err(Problem::refused(
                what,
                "it has ended, or is being undone already",
                "See `shadowcast operation` for where it stands.",
            ));
        }
        if !operation.unwinds() {
            return Err(Problem::refused(
                what,
                "it only goes forward: what is gone, or written by now, would be lost on the way back",
                "Wait for its end, and plan what is wanted then.",
            ));
        }
        self.retries.remove(id);
        self.append(at, id, Entry::CancelRequested { by }, out);
        match self.effect_of(id) {
            Some(effect) => out.push(Effect::Cancel { effect }),
            None => self.advance(at, id, out),
        }
        Ok(())
    }

    pub(super) fn resume(
        &mut self,
        at: Timestamp,
        id: &OperationId,
        by: String,
        out: &mut Vec<Effect>,
    ) -> Result<(), Problem> {
        let what = "The operation was not resumed.";
        match self.operations.get(id).map(|operation| operation.phase) {
            None => Err(Problem::failed(
                what,
                format!("there is no operation {id}"),
                "See `shadowcast operations`.",
            )),
            Some(Phase::Parked { .. }) => {
                self.append(at, id, Entry::Resumed { by }, out);
                self.advance(at, id, out);
                Ok(())
            }
            Some(_) => Err(Problem::refused(
                what,
                "it is not parked",
                "Nothing needs to be done.",
            )),
        }
    }

    /// The running effect of an operation.
    pub(super) fn effect_of(&self, id: &OperationId) -> Option<EffectId> {
        self.pending
            .iter()
            .find_map(|(effect, pending)| match pending {
                Pending::Step { operation, .. } | Pending::Undo { operation, .. }
                    if operation == id =>
                {
                    Some(*effect)
                }
                _ => None,
            })
    }

    fn vm_of(&self, id: &OperationId) -> (crate::units::VmId, String) {
        self.operations
            .get(id)
            .map(|operation| (operation.plan.vm.clone(), operation.plan.vm_name.clone()))
            .unwrap_or_default()
    }
}

fn note_of(outcome: Outcome) -> String {
    match outcome {
        Outcome::Done { note } => note,
        Outcome::Shipped(_)
        | Outcome::Merged { .. }
        | Outcome::Checked(_)
        | Outcome::CloneGone { .. }
        | Outcome::Examined(_)
        | Outcome::Refreshed(_) => String::new(),
    }
}

pub(super) const fn kind_name(kind: PlanKind) -> &'static str {
    match kind {
        PlanKind::Create => "Shadow creation",
        PlanKind::Traffic => "Traffic change",
        PlanKind::Refresh => "Refresh",
        PlanKind::Retire => "Retirement",
        PlanKind::Promote => "Promotion",
        PlanKind::Commit => "Commit",
        PlanKind::Rollback => "Rollback",
        PlanKind::Guard => "Guarded stop",
        PlanKind::Validate => "Validation",
    }
}
