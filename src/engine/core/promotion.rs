//! Shadows in their primaries' place: what speaks against it, the plans, the commit window, the guard.

use super::{Core, Document, Effect, Outcome, Pending, Shadow};
use crate::{
    engine::{
        command::{Answer, Reply},
        snapshot::{Alarm, PromotionView, TimelineKind},
    },
    inventory::{Owner, PowerState},
    operation::{Approval, Entry},
    policy::AtExpiry,
    problem::Problem,
    replication::Manifest,
    shadow::{
        Check, CheckOutcome, Need, Plan, Proposal, Reason, Sizing, Step, Urgency,
        plan::{self, PromoteInput, RollbackInput, Serving},
        promotion::{PromotionSpec, PromotionStep},
    },
    units::{OperationId, ProposalId, ShadowId, Timestamp, printable},
};

const NOT_PLANNED: &str = "No promotion was planned; nothing was changed.";
/// Between two tries to stop a primary that came back.
const GUARD_AGAIN_SECONDS: i64 = 30;
/// A statement is one or two sentences.
const LONGEST_STATEMENT: usize = 400;

/// A shadow in its primary's place.
#[derive(Clone, Debug, PartialEq)]
pub struct Promotion {
    pub spec: PromotionSpec,
    pub at: Timestamp,
    pub until: Timestamp,
    pub committed_at: Option<Timestamp>,
}

impl Shadow {
    pub(super) fn promotion_done(&mut self, step: &PromotionStep, at: Timestamp) {
        match step {
            PromotionStep::AttestFenced { point_at, .. } => {
                self.lost_seconds = Some(at.secs_since(*point_at).max(0) as u64);
            }
            PromotionStep::Rehold { hold, .. } => self.hold = Some(hold.clone()),
            PromotionStep::RedefineShadow { spec, point, .. } => {
                self.spec = Some((**spec).clone());
                self.point = Some(*point);
            }
            PromotionStep::OpenCommitWindow { promotion } => {
                self.promotion = Some(Promotion {
                    spec: (**promotion).clone(),
                    at,
                    until: at.plus_secs(i64::from(promotion.window_seconds)),
                    committed_at: None,
                });
            }
            PromotionStep::Commit { .. } => {
                if let Some(promotion) = &mut self.promotion {
                    promotion.committed_at = Some(at);
                }
            }
            PromotionStep::EndPromotion { .. } => {
                self.promotion = None;
                self.lost_seconds = None;
            }
            PromotionStep::CatchUp { .. }
            | PromotionStep::SetWeight { .. }
            | PromotionStep::PausePrimary { .. }
            | PromotionStep::FencePrimary { .. }
            | PromotionStep::StartPrimary { .. }
            | PromotionStep::PointOfNoReturn
            | PromotionStep::RemoveVolumes { .. } => {}
        }
    }

    pub(super) fn promotion_undone(&mut self, step: &PromotionStep) {
        match step {
            PromotionStep::Rehold { previous, .. } => self.hold = Some(previous.clone()),
            PromotionStep::RedefineShadow {
                previous,
                previous_point,
                ..
            } => {
                self.spec = Some((**previous).clone());
                self.point = Some(*previous_point);
            }
            PromotionStep::AttestFenced { .. } => self.lost_seconds = None,
            _ => {}
        }
    }
}

impl Core {
    pub(super) fn is_promoted(&self, shadow: &ShadowId) -> bool {
        self.shadows
            .get(shadow)
            .is_some_and(|shadow| shadow.promotion.is_some())
    }

    /// Refuses what would take a promoted VM for a shadow.
    pub(super) fn check_not_promoted(&self, what: &str, shadow: &ShadowId) -> Result<(), Problem> {
        if !self.is_promoted(shadow) {
            return Ok(());
        }
        Err(Problem::refused(
            what,
            "the shadow stands in its primary's place: it is the only one that serves",
            "Within its commit window `shadowcast shadow rollback` brings the primary back.",
        ))
    }

    // ── steps ──

    /// Starts a step of a promotion; true when it is over already.
    pub(super) fn start_promotion_step(
        &mut self,
        at: Timestamp,
        id: &OperationId,
        index: usize,
        step: PromotionStep,
        pending: Pending,
        out: &mut Vec<Effect>,
    ) -> bool {
        if let PromotionStep::CatchUp { shadow, number, .. } = &step {
            return self.start_catch_up(at, id, index, shadow, *number, pending, out);
        }
        if step.is_only_journalled() {
            let note = match &step {
                PromotionStep::AttestFenced { point_at, .. } => {
                    let lost = at.secs_since(*point_at).max(0);
                    format!("{lost} s of writes are lost, if it wrote until now")
                }
                _ => String::new(),
            };
            self.append(at, id, Entry::StepDone { step: index, note }, out);
            return true;
        }
        let action = super::Action::Step(Box::new(Step::Promotion(step)));
        self.perform(pending, action, out);
        false
    }

    #[allow(clippy::too_many_arguments)] // what any step is started with, and its point
    fn start_catch_up(
        &mut self,
        at: Timestamp,
        id: &OperationId,
        index: usize,
        shadow: &ShadowId,
        number: u64,
        pending: Pending,
        out: &mut Vec<Effect>,
    ) -> bool {
        let disks = self.disks_of(shadow);
        let Some(manifest) = self.manifests.get_mut(shadow) else {
            let why = "there is no replica of it any more".to_owned();
            self.append(at, id, Entry::StepFailed { step: index, why }, out);
            return true;
        };
        if manifest.points.iter().any(|point| point.number == number) {
            let note = "the point is complete already".to_owned();
            self.append(at, id, Entry::StepDone { step: index, note }, out);
            return true;
        }
        let (spec, resume) = match &manifest.in_flight {
            // What a cycle has left half done is only found again by its own names, so it comes first.
            Some(flight) => (flight.spec.clone(), flight.spooled_at.is_some()),
            None => {
                manifest.next_number = manifest.next_number.max(number);
                let Some(spec) = manifest.next_increment(&disks, false) else {
                    let why = "the replica has no point yet".to_owned();
                    self.append(at, id, Entry::StepFailed { step: index, why }, out);
                    return true;
                };
                (spec, false)
            }
        };
        if !resume {
            manifest.begin(spec.clone(), at);
        }
        out.push(Effect::Put(Document::Manifest(Box::new(manifest.clone()))));
        let action = super::Action::Cycle {
            spec: Box::new(spec),
            resume,
        };
        self.perform(pending, action, out);
        false
    }

    /// Whether what came is a cycle that had been left half done: then the step's own point follows.
    pub(super) fn caught_up_with_another(
        &mut self,
        step: &Step,
        outcome: &Outcome,
        out: &mut Vec<Effect>,
    ) -> bool {
        let (
            Step::Promotion(PromotionStep::CatchUp { shadow, number, .. }),
            Outcome::Shipped(shipped),
        ) = (step, outcome)
        else {
            return false;
        };
        let flight = self
            .manifests
            .get(shadow)
            .and_then(|manifest| manifest.in_flight.as_ref());
        if flight.is_none_or(|flight| flight.spec.number == *number) {
            return false;
        }
        self.commit_flight(shadow, shipped, out);
        true
    }

    /// A full copy while the primary stands still would take too long: the promotion fails, and the cycles make it.
    pub(super) fn catch_up_lost_its_checkpoint(
        &mut self,
        step: &Step,
        failure: &super::Failure,
        out: &mut Vec<Effect>,
    ) {
        if let Step::Promotion(PromotionStep::CatchUp { shadow, .. }) = step
            && failure.checkpoint_lost
            && let Some(manifest) = self.manifests.get_mut(shadow)
        {
            manifest.lose_checkpoint();
            out.push(Effect::Put(Document::Manifest(Box::new(manifest.clone()))));
        }
    }

    pub(super) fn commit_flight(
        &mut self,
        shadow: &ShadowId,
        shipped: &crate::replication::cycle::Shipped,
        out: &mut Vec<Effect>,
    ) {
        if let Some(manifest) = self.manifests.get_mut(shadow)
            && let Some(flight) = manifest.in_flight.clone()
        {
            manifest.commit(&flight.spec, shipped);
            out.push(Effect::Put(Document::Manifest(Box::new(manifest.clone()))));
        }
    }

    // ── preflight ──

    /// Everything that a promotion stands or falls by, as an operator would look it up.
    fn preflight(&self, at: Timestamp, shadow: &Shadow, attested: bool) -> Vec<Check> {
        let check = |good: bool, yes: String, no: String| Check {
            outcome: if good {
                CheckOutcome::Passed
            } else {
                CheckOutcome::Blocks
            },
            text: if good { yes } else { no },
        };
        let name = printable(&shadow.vm_name);
        let mut checks = vec![check(
            shadow.promotion.is_none() && !shadow.retiring && shadow.spec.is_some(),
            format!("{} is defined and free", shadow.name),
            format!(
                "{} is being made or retired, or was promoted already",
                shadow.name
            ),
        )];
        let manifest = self.manifests.get(&shadow.id);
        let newest = manifest.and_then(Manifest::newest);
        checks.push(check(
            newest.is_some(),
            newest.map_or_else(String::new, |point| {
                format!(
                    "Point {} of {} is complete, {} s old",
                    point.number,
                    point.at,
                    at.secs_since(point.at).max(0)
                )
            }),
            "No recovery point is complete".to_owned(),
        ));
        let source = self.sources.get(&shadow.vm.source());
        let lost = source.is_none_or(|source| source.heard && source.error.is_some());
        if attested {
            checks.push(check(
                lost,
                format!(
                    "{} cannot be reached: your word stands in for a fence",
                    shadow.vm.source()
                ),
                format!(
                    "{} answers: no word is needed, plan it without --attest-fenced",
                    shadow.vm.source()
                ),
            ));
        } else {
            checks.push(check(
                !lost && source.is_some_and(|source| source.heard),
                format!("{} answers", shadow.vm.source()),
                format!(
                    "{} does not answer. That it cannot be reached does not mean that {name} is off",
                    shadow.vm.source()
                ),
            ));
            let state = self.vms.get(&shadow.vm).map(|record| record.vm.state);
            checks.push(check(
                state == Some(PowerState::Running),
                format!("{name} runs: its last writes can be brought over"),
                format!("{name} does not run, and increments need a running VM: start it, or name a point"),
            ));
            let stalled = manifest.and_then(|manifest| manifest.stalled.clone());
            checks.push(check(
                stalled.is_none(),
                "Replication is in step".to_owned(),
                format!(
                    "Replication is behind: {}",
                    printable(&stalled.unwrap_or_default())
                ),
            ));
        }
        if let Some(service) = self.service_of(&shadow.vm)
            && service.method_map.is_some()
        {
            checks.push(Check {
                outcome: CheckOutcome::Note,
                text: format!(
                    "Only GET and HEAD of {} go to the backend {}: where its other requests go is not changed",
                    service.name,
                    printable(&service.backend)
                ),
            });
        }
        if let Some(service) = self.service_of(&shadow.vm) {
            let known = self.service_weights(shadow).is_some();
            checks.push(check(
                known,
                format!("{} has the server of {name}", service.director),
                format!(
                    "{} does not answer, or does not have the server of {name}",
                    service.director
                ),
            ));
        }
        checks
    }

    pub(super) fn not_promotable(
        &self,
        shadow: &ShadowId,
        numbers_from: u64,
        attested: bool,
    ) -> Option<String> {
        let Some(found) = self.shadows.get(shadow) else {
            return Some(format!("{shadow} is gone"));
        };
        let used = self
            .manifests
            .get(shadow)
            .is_some_and(|manifest| manifest.next_number > numbers_from);
        if used {
            return Some("the numbers that it kept for its points are taken by now".to_owned());
        }
        self.preflight(Timestamp(0), found, attested)
            .into_iter()
            .find(|check| check.outcome == CheckOutcome::Blocks)
            .map(|check| check.text)
    }

    pub(super) fn not_in_window(&self, shadow: &ShadowId) -> Option<String> {
        let promotion = (self.shadows.get(shadow)).and_then(|shadow| shadow.promotion.as_ref());
        match promotion {
            None => Some(format!("{shadow} does not stand in its primary's place")),
            Some(promotion) if promotion.committed_at.is_some() => {
                Some("the promotion was committed already".to_owned())
            }
            Some(_) => None,
        }
    }

    /// The service of the shadow's primary, with the weight that its server has when it serves alone.
    fn service_weights(&self, shadow: &Shadow) -> Option<(Serving<'_>, &str)> {
        let service = self.service_of(&shadow.vm)?;
        let member = (service.members.iter()).find(|member| member.vm == shadow.vm)?;
        let base_weight = match &shadow.share {
            Some(share) => share.base_weight,
            None => self.base_weight(service, &member.server)?,
        };
        let serving = Serving {
            service,
            base_weight,
        };
        Some((serving, &member.server))
    }

    /// Whether servers beside these two have weight, so that these may have none for a while.
    fn others_serve(&self, serving: Serving<'_>, but: [&str; 2]) -> bool {
        let service = serving.service;
        self.balancers.get(&service.director).is_some_and(|known| {
            known.reading.servers.iter().any(|server| {
                server.backend == service.backend
                    && server.up
                    && server.weight.0 > 0
                    && !but.contains(&&*server.server)
            })
        })
    }

    // ── plans ──

    fn shadow_for(&self, what: &str, shadow: &ShadowId) -> Result<Shadow, Problem> {
        let found = self.shadows.get(shadow).cloned().ok_or_else(|| {
            Problem::failed(
                what,
                format!("there is no shadow {shadow}"),
                "`shadowcast shadow list` shows them.",
            )
        })?;
        if self.busy_vms().contains(&found.vm) {
            return Err(Problem::refused(
                what,
                "an operation on this shadow has not ended",
                "Wait for it, or cancel it: `shadowcast operations`.",
            ));
        }
        Ok(found)
    }

    pub(super) fn propose_promote(
        &mut self,
        at: Timestamp,
        id: &ShadowId,
        point: Option<u64>,
        attestation: Option<&str>,
        out: &mut Vec<Effect>,
    ) -> Reply {
        let shadow = self.shadow_for(NOT_PLANNED, id)?;
        self.check_not_promoted(NOT_PLANNED, id)?;
        let attestation = attestation.map(str::trim);
        if let Some(said) = attestation
            && (said.is_empty() || said.chars().count() > LONGEST_STATEMENT)
        {
            return Err(Problem::usage(
                NOT_PLANNED,
                "the attestation says nothing, or too much",
                "Say in a sentence how you know that the primary is off.",
            ));
        }
        let plan = self.promote_plan(at, &shadow, point, attestation)?;
        let checks = self.preflight(at, &shadow, attestation.is_some());
        let proposal = self.promotion_proposal(at, plan, checks);
        let proposal = self.keep(proposal, out);
        Ok(Answer::Proposal { proposal })
    }

    fn promote_plan(
        &mut self,
        at: Timestamp,
        shadow: &Shadow,
        point: Option<u64>,
        attestation: Option<&str>,
    ) -> Result<Plan, Problem> {
        let refused = |why: String, next: &str| Problem::refused(NOT_PLANNED, why, next);
        let owner = self.new_owner();
        let (Some(spec), Some(manifest)) = (&shadow.spec, self.manifests.get(&shadow.id)) else {
            return Err(refused(
                "the shadow is not complete yet".to_owned(),
                "Wait for the operation that makes it.",
            ));
        };
        let from_point = match point {
            None => None,
            Some(number) => Some(
                (manifest.points.iter())
                    .find(|point| point.number == number)
                    .ok_or_else(|| {
                        refused(
                            format!("there is no recovery point {number}"),
                            "`shadowcast shadow show` lists them.",
                        )
                    })?,
            ),
        };
        let serving = self.service_weights(shadow);
        if serving.is_none()
            && let Some(service) = self.service_of(&shadow.vm)
        {
            return Err(refused(
                format!(
                    "{} does not say what weight the primary's server has",
                    service.director
                ),
                "Wait until the balancer answers: `shadowcast source list`.",
            ));
        }
        let seen = self.vms.get(&shadow.vm).map(|record| record.vm.clone());
        let (vcpus, memory_bytes) = self.promoted_size(shadow, spec.vcpus, spec.memory_bytes);
        let server = shadow.id.as_str().replace("s-", "sc");
        let shadow_server = (shadow.share.as_ref()).map_or(&*server, |share| &share.shadow_server);
        let others_serve = serving.as_ref().is_some_and(|(serving, primary)| {
            self.others_serve(*serving, [*primary, shadow_server])
        });
        plan::promote_plan(&PromoteInput {
            owner,
            made_at: at,
            vm: &shadow.vm,
            vm_name: &shadow.vm_name,
            seen: seen.as_deref(),
            spec,
            point: shadow.point.unwrap_or_default(),
            running: shadow.running,
            hold: shadow.hold.as_ref(),
            vcpus,
            memory_bytes,
            manifest,
            from_point,
            attestation,
            serving,
            share: shadow.share.as_ref(),
            server: &server,
            others_serve,
            window_seconds: self.settings.promotion.commit_window_seconds,
            settings: self.plan_settings(None),
        })
        .ok_or_else(|| {
            refused(
                "the replica lacks a point with a layer for each disk".to_owned(),
                "Take one: `shadowcast shadow sync`.",
            )
        })
    }

    /// The primary's size where the pool has room for it beside what it keeps for others, else the shadow's own.
    fn promoted_size(&self, shadow: &Shadow, vcpus: u32, memory_bytes: u64) -> (u32, u64) {
        let (Some(record), Some(hold)) = (self.vms.get(&shadow.vm), &shadow.hold) else {
            return (vcpus, memory_bytes);
        };
        let Some(pool) = self.pools.get(&hold.pool) else {
            return (vcpus, memory_bytes);
        };
        let free = (pool.memory_free_bytes).saturating_sub(
            self.ledger
                .memory_bytes(&pool.id)
                .saturating_sub(hold.memory_bytes),
        );
        let vm = &record.vm;
        if vm.memory_bytes <= free && vm.vcpus <= pool.cpus {
            (vm.vcpus.max(vcpus), vm.memory_bytes.max(memory_bytes))
        } else {
            (vcpus, memory_bytes)
        }
    }

    fn new_owner(&mut self) -> Owner {
        Owner {
            engine: self.engine.clone(),
            operation: OperationId(format!("op-{}", self.short_id())),
        }
    }

    fn promotion_proposal(&mut self, at: Timestamp, plan: Plan, checks: Vec<Check>) -> Proposal {
        let id: Option<ProposalId> = self.open_for(&plan.vm);
        let need = Need {
            vm: plan.vm.clone(),
            urgency: Urgency::Now,
            crosses_at: None,
            probability: None,
            reasons: vec![Reason::ByHand],
        };
        let sizing = Sizing {
            share: 1.0,
            vcpus: 0,
            memory_bytes: 0,
            peak_no_action: 0.0,
            peak_primary: 0.0,
            peak_shadow: 0.0,
        };
        self.proposal(at, id, need, sizing, None, plan, checks)
    }

    pub(super) fn propose_commit(
        &mut self,
        at: Timestamp,
        id: &ShadowId,
        out: &mut Vec<Effect>,
    ) -> Reply {
        let what = "Nothing was committed.";
        let shadow = self.shadow_for(what, id)?;
        self.check_in_window(what, id)?;
        let plan = self.commit_plan(at, &shadow);
        let proposal = self.promotion_proposal(at, plan, Vec::new());
        let proposal = self.keep(proposal, out);
        Ok(Answer::Proposal { proposal })
    }

    fn commit_plan(&mut self, at: Timestamp, shadow: &Shadow) -> Plan {
        let owner = self.new_owner();
        plan::commit_plan(owner, at, &shadow.vm, &shadow.vm_name, &shadow.id)
    }

    fn check_in_window(&self, what: &str, id: &ShadowId) -> Result<(), Problem> {
        match self.not_in_window(id) {
            None => Ok(()),
            Some(why) => Err(Problem::refused(
                what,
                why,
                "`shadowcast shadow show` says how it stands.",
            )),
        }
    }

    pub(super) fn propose_rollback(
        &mut self,
        at: Timestamp,
        id: &ShadowId,
        out: &mut Vec<Effect>,
    ) -> Reply {
        let what = "No rollback was planned; nothing was changed.";
        let shadow = self.shadow_for(what, id)?;
        self.check_in_window(what, id)?;
        let (Some(promotion), Some(spec)) = (&shadow.promotion, &shadow.spec) else {
            return Err(Problem::refused(
                what,
                "the shadow is not defined",
                "See its operations.",
            ));
        };
        let others_serve = shadow.share.as_ref().is_some_and(|share| {
            self.service_weights(&shadow).is_some_and(|(serving, _)| {
                self.others_serve(serving, [&share.primary_server, &share.shadow_server])
            })
        });
        let owner = self.new_owner();
        let plan = plan::rollback_plan(&RollbackInput {
            owner,
            made_at: at,
            vm: &shadow.vm,
            vm_name: &shadow.vm_name,
            spec,
            promotion: &promotion.spec,
            promoted_at: promotion.at,
            hold: shadow.hold.as_ref(),
            share: shadow.share.as_ref(),
            others_serve,
            accepted_bytes: self.accepted_bytes(&shadow),
            settings: self.plan_settings(None),
        });
        let source = shadow.vm.source();
        let lost = (self.sources.get(&source)).is_none_or(|known| known.error.is_some());
        let checks = vec![Check {
            outcome: if lost {
                CheckOutcome::Blocks
            } else {
                CheckOutcome::Passed
            },
            text: if lost {
                format!("{source} does not answer: the primary cannot be started")
            } else {
                format!("{source} answers")
            },
        }];
        let proposal = self.promotion_proposal(at, plan, checks);
        let proposal = self.keep(proposal, out);
        Ok(Answer::Proposal { proposal })
    }

    /// What the promoted VM's overlays hold, by its platform's newest word.
    fn accepted_bytes(&self, shadow: &Shadow) -> Option<u64> {
        let spec = shadow.spec.as_ref()?;
        let id = crate::units::VmId::of(&spec.pool.source(), &spec.uuid);
        let record = self.vms.get(&id)?;
        Some(
            (record.vm.disks.iter())
                .map(|disk| disk.allocated_bytes)
                .sum(),
        )
    }

    // ── the window and the guard ──

    /// Windows that end, and primaries that run though their shadows stand in their place.
    pub(super) fn watch_promotions(&mut self, at: Timestamp, out: &mut Vec<Effect>) {
        if self.store_failed.is_some() {
            return;
        }
        let busy = self.held_up_vms();
        let promoted: Vec<Shadow> = self
            .shadows
            .values()
            .filter(|shadow| shadow.promotion.is_some() && !busy.contains(&shadow.vm))
            .cloned()
            .collect();
        for shadow in promoted {
            // The second engine of a split brain waits for no window, and is not stopped by `freeze`.
            if !self.keep_primary_off(at, &shadow, out) {
                self.end_window(at, &shadow, out);
            }
        }
    }

    fn keep_primary_off(&mut self, at: Timestamp, shadow: &Shadow, out: &mut Vec<Effect>) -> bool {
        let Some(promotion) = &shadow.promotion else {
            return false;
        };
        let runs = self.vms.get(&shadow.vm).is_some_and(|record| {
            matches!(record.vm.state, PowerState::Running | PowerState::Paused)
        });
        let reachable = self
            .sources
            .get(&shadow.vm.source())
            .is_some_and(|source| source.heard && source.error.is_none() && source.config.armed);
        let lately = self
            .guarded
            .get(&shadow.id)
            .is_some_and(|last| at < last.plus_secs(GUARD_AGAIN_SECONDS));
        if !runs || !reachable || lately {
            return false;
        }
        self.guarded.insert(shadow.id.clone(), at);
        let name = printable(&shadow.vm_name);
        let text = format!("{name} runs although its shadow stands in its place: it is stopped");
        let vm = Some(shadow.vm.clone());
        self.event(at, TimelineKind::Operation, text, vm, None, true, out);
        let owner = self.new_owner();
        let grace = self.settings.promotion.stop_grace_seconds;
        let plan = plan::guard_plan(owner, at, &shadow.vm_name, &promotion.spec.fence, grace);
        self.open_by(at, plan, "the guard", out);
        true
    }

    fn end_window(&mut self, at: Timestamp, shadow: &Shadow, out: &mut Vec<Effect>) {
        let over = shadow
            .promotion
            .as_ref()
            .is_some_and(|promotion| promotion.committed_at.is_none() && promotion.until <= at);
        if !over || self.open_for(&shadow.vm).is_some() {
            return;
        }
        let resting = self
            .vms
            .get(&shadow.vm)
            .is_some_and(|record| (record.no_proposal_before).is_some_and(|before| at < before));
        match self.settings.promotion.at_expiry {
            AtExpiry::Commit if !self.frozen => {
                let plan = self.commit_plan(at, shadow);
                self.open_by(at, plan, "the policy promotion.at_expiry", out);
            }
            AtExpiry::Ask if !resting => {
                let plan = self.commit_plan(at, shadow);
                let proposal = self.promotion_proposal(at, plan, Vec::new());
                let text = format!(
                    "The commit window of {} is over: commit it, or roll it back",
                    printable(&shadow.vm_name)
                );
                self.keep(proposal, out);
                let vm = Some(shadow.vm.clone());
                self.event(at, TimelineKind::Proposal, text, vm, None, false, out);
            }
            AtExpiry::Commit | AtExpiry::Ask => {}
        }
    }

    /// Opens an operation that nobody has to approve.
    fn open_by(&mut self, at: Timestamp, plan: Plan, by: &str, out: &mut Vec<Effect>) {
        let approval = Approval {
            proposal: None,
            digest: plan::digest(&plan),
            by: by.to_owned(),
            at,
            until: at.plus_secs(i64::from(self.settings.approval.lifetime_seconds)),
        };
        let id = plan.owner.operation.clone();
        self.open_operation(at, &id, plan, approval, out);
    }

    pub(super) fn promotion_alarms(&self, at: Timestamp, alarms: &mut Vec<Alarm>) {
        for shadow in self.shadows.values() {
            let Some(promotion) = &shadow.promotion else {
                continue;
            };
            let name = printable(&shadow.vm_name);
            if promotion.committed_at.is_none() && promotion.until <= at {
                alarms.push(Alarm {
                    text: format!("The commit window of {name} is over"),
                    effect: "commit it, or roll it back; nothing is rolled back by itself"
                        .to_owned(),
                    since: promotion.until,
                });
            }
            let runs = self.vms.get(&shadow.vm).is_some_and(|record| {
                matches!(record.vm.state, PowerState::Running | PowerState::Paused)
            });
            let source = self.sources.get(&shadow.vm.source());
            if runs && source.is_some_and(|source| !source.config.armed) {
                alarms.push(Alarm {
                    text: format!("{name} runs although its shadow stands in its place"),
                    effect: format!(
                        "{} is read-only, so that it cannot be stopped from here",
                        shadow.vm.source()
                    ),
                    since: at,
                });
            }
        }
    }

    pub(super) fn promotion_view(&self, shadow: &Shadow) -> Option<PromotionView> {
        let promotion = shadow.promotion.as_ref()?;
        Some(PromotionView {
            at: promotion.at,
            until: promotion.until,
            committed_at: promotion.committed_at,
            point: promotion.spec.point,
            attestation: promotion.spec.attestation.clone(),
            lost_seconds: shadow.lost_seconds,
            accepted_bytes: self.accepted_bytes(shadow),
        })
    }
}
