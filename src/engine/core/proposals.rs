//! From needs to proposals: what is raised, adjusted, expired.

use std::{collections::BTreeSet, sync::Arc};

use super::{Core, Document, Effect, judge::Judged};
use crate::{
    engine::{
        command::{Answer, Reply},
        snapshot::TimelineKind,
    },
    health::HealthState,
    inventory::{DiskFormat, Owner, Pool, PowerState, Service, ServiceKind, Vm},
    problem::Problem,
    shadow::{
        Check, CheckOutcome, Need, Placement, Plan, PlanKind, Proposal, ProposalState, Reason,
        Rejected, Sizing, Step, Urgency,
        need::NeedPolicy,
        plan::{self, Names, PlanInput, PlanSettings, Replica, RetireInput, Serving},
    },
    traffic::split,
    units::{OperationId, PoolId, ProposalId, ShadowId, Timestamp, VmId},
};

/// Ports on which shadows' services are reached.
const PORTS: std::ops::Range<u16> = 42_000..48_000;
/// Decided proposals older than this are forgotten.
const KEEP_DECIDED_SECONDS: i64 = 7 * 86_400;

/// An open proposal is looked at again after this, and made anew when its share is off by so much.
const RENEW_AFTER_SECONDS: i64 = 60;
const RENEW_SHARE: f64 = 0.1;

/// What an operator fixed, in place of what would be chosen.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes {
    pub pool: Option<PoolId>,
    pub rpo_seconds: Option<u32>,
    pub share: Option<f64>,
}

impl Core {
    /// Raises what is needed and has not been raised.
    pub(super) fn decide(&mut self, at: Timestamp, out: &mut Vec<Effect>) {
        if self.store_failed.is_some() {
            return;
        }
        let policy = self.need_policy();
        self.renew_open(at, &policy, out);
        let needs = self.needs(at, &policy, out);
        for need in needs {
            let shadow = self.shadow_of(&need.vm);
            let raised = match (need.urgency, shadow) {
                (_, Some(shadow)) if self.is_promoted(&shadow) => continue,
                (Urgency::GiveBack, Some(shadow)) => self.build_retire(at, &shadow, need.clone()),
                (Urgency::GiveBack, None) | (_, Some(_)) => continue,
                (_, None) => self.build_create(at, need.clone(), &Wishes::default(), None),
            };
            match raised {
                Ok(proposal) => self.raise(at, proposal, out),
                Err(problem) => self.not_possible(at, &need, &problem, out),
            }
        }
    }

    /// What has been needed for long enough, of the VMs for which nothing is proposed or done.
    fn needs(&mut self, at: Timestamp, policy: &NeedPolicy, out: &mut Vec<Effect>) -> Vec<Need> {
        let busy = self.held_up_vms();
        let proposed: BTreeSet<VmId> = self
            .proposals
            .values()
            .filter(|proposal| is_open(proposal))
            .map(|proposal| proposal.plan.vm.clone())
            .collect();
        let hold = self.settings.hold_policy();
        let judged: Vec<(VmId, Judged, Option<String>)> = self
            .vms
            .iter()
            .filter(|(id, record)| {
                record.vm.owner.is_none()
                    && record.vm.state == PowerState::Running
                    && !busy.contains(*id)
                    && !proposed.contains(*id)
                    && record.no_proposal_before.is_none_or(|before| at >= before)
            })
            .map(|(id, record)| {
                let judged = self.judge(at, record, policy);
                (id.clone(), judged, self.withheld(at, record, policy))
            })
            .collect();
        let mut needs = Vec::new();
        for (vm, judged, withheld) in judged {
            let Some(record) = self.vms.get_mut(&vm) else {
                continue;
            };
            record.held = judged.held;
            let raised = (judged.need).filter(|need| judged.held.may_raise(need.urgency, at, hold));
            needs.extend(raised);
            self.tell_withheld(at, &vm, withheld, out);
        }
        needs
    }

    /// The timeline says once that something is withheld; the VM says so as long as it is.
    fn tell_withheld(
        &mut self,
        at: Timestamp,
        vm: &VmId,
        withheld: Option<String>,
        out: &mut Vec<Effect>,
    ) {
        let Some(record) = self.vms.get_mut(vm) else {
            return;
        };
        if record.withheld.as_deref() == withheld.as_deref() {
            return;
        }
        let is_new = record.withheld.is_none();
        record.withheld = withheld.as_deref().map(Arc::from);
        self.views.vms = None;
        if let Some(why) = withheld.filter(|_| is_new) {
            let text = format!("{}: {why}", self.vm_name(vm));
            let vm = Some(vm.clone());
            self.event(at, TimelineKind::Proposal, text, vm, None, false, out);
        }
    }

    /// An open proposal follows its need: sized anew when the load has changed much, withdrawn when it has passed. What
    /// an operator asked for or has adjusted is left alone.
    fn renew_open(&mut self, at: Timestamp, policy: &NeedPolicy, out: &mut Vec<Effect>) {
        let standing = policy.eased();
        let hold = self.settings.hold_policy();
        let young = at.plus_secs(-RENEW_AFTER_SECONDS);
        let open: Vec<Arc<Proposal>> = self
            .proposals
            .values()
            .filter(|proposal| {
                proposal.state == ProposalState::Open
                    && proposal.plan.kind == PlanKind::Create
                    && proposal.created_at <= young
                    && !proposal.need.reasons.contains(&Reason::ByHand)
                    && !self.adjusted.contains(&proposal.id)
            })
            .cloned()
            .collect();
        for proposal in open {
            let Some(record) = self.vms.get(&proposal.plan.vm).cloned() else {
                self.make_stale(&proposal.id, "its VM is gone", out);
                continue;
            };
            // Where nothing was measured lately, nothing is concluded.
            if record.health.state == HealthState::Unknown {
                continue;
            }
            let judged = self.judge(at, &record, &standing);
            if let Some(record) = self.vms.get_mut(&proposal.plan.vm) {
                record.held = judged.held;
            }
            let Some(need) = judged.need else {
                if judged.held.may_withdraw(at, hold) {
                    self.make_stale(&proposal.id, "the need has passed", out);
                }
                continue;
            };
            let service = self.service_of(&record.vm.id).cloned();
            let share = self.size(&record, &need, service.as_ref(), None).share;
            if (share - proposal.sizing.share).abs() < RENEW_SHARE {
                continue;
            }
            let id = Some(proposal.id.clone());
            match self.build_create(at, need, &Wishes::default(), id) {
                Ok(renewed) => drop(self.keep(renewed, out)),
                Err(problem) => self.make_stale(&proposal.id, &problem.why, out),
            }
        }
    }

    /// A need that nothing can be done about is said once, and tried again later.
    fn not_possible(
        &mut self,
        at: Timestamp,
        need: &Need,
        problem: &Problem,
        out: &mut Vec<Effect>,
    ) {
        let retry_at = at.plus_secs(i64::from(self.settings.approval.proposal_lifetime_seconds));
        if let Some(record) = self.vms.get_mut(&need.vm) {
            record.no_proposal_before = Some(retry_at);
        }
        let text = format!(
            "{} needs a shadow and cannot get one: {}",
            self.vm_name(&need.vm),
            problem.why
        );
        self.event(
            at,
            TimelineKind::Proposal,
            text,
            Some(need.vm.clone()),
            None,
            true,
            out,
        );
    }

    pub(super) fn raise(&mut self, at: Timestamp, proposal: Proposal, out: &mut Vec<Effect>) {
        let text = format!("Proposed for {}: {}", proposal.plan.vm_name, proposal.why);
        let vm = proposal.plan.vm.clone();
        self.keep(proposal, out);
        self.event(at, TimelineKind::Proposal, text, Some(vm), None, false, out);
    }

    pub(super) fn keep(&mut self, proposal: Proposal, out: &mut Vec<Effect>) -> Arc<Proposal> {
        let proposal = Arc::new(proposal);
        self.proposals.insert(proposal.id.clone(), proposal.clone());
        self.views.vms = None;
        out.push(Effect::Put(Document::Proposal(proposal.clone())));
        proposal
    }

    pub(super) fn shadow_of(&self, vm: &VmId) -> Option<ShadowId> {
        self.shadows
            .values()
            .find(|shadow| shadow.vm == *vm)
            .map(|shadow| shadow.id.clone())
    }

    pub(super) fn propose_by_hand(
        &mut self,
        at: Timestamp,
        vm: &VmId,
        pool: Option<PoolId>,
        rpo_seconds: Option<u32>,
        share: Option<f64>,
        out: &mut Vec<Effect>,
    ) -> Reply {
        let what = "No shadow was planned.";
        let vm = self.find_vm(what, vm.as_str())?;
        if let Some(shadow) = self.shadow_of(&vm) {
            return Err(Problem::refused(
                what,
                format!("{} has the shadow {shadow} already", self.vm_name(&vm)),
                "Change its traffic with `shadowcast traffic set`, or retire it first.",
            ));
        }
        if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err(Problem::usage(
                what,
                "the share is not 0 % to 100 %",
                "Give 0 % to 100 %.",
            ));
        }
        let need = Need {
            vm: vm.clone(),
            urgency: Urgency::Later,
            crosses_at: None,
            probability: None,
            reasons: vec![Reason::ByHand],
        };
        // By hand means what was asked for, and no traffic unless it was.
        let share = Some(share.unwrap_or(0.0));
        let wishes = Wishes {
            pool,
            rpo_seconds,
            share,
        };
        let open = self.open_for(&vm);
        let proposal = self.build_create(at, need, &wishes, open)?;
        let proposal = self.keep(proposal, out);
        Ok(Answer::Proposal { proposal })
    }

    pub(super) fn propose_retire(
        &mut self,
        at: Timestamp,
        shadow: &ShadowId,
        out: &mut Vec<Effect>,
    ) -> Reply {
        let what = "The retirement was not planned.";
        let Some(found) = self.shadows.get(shadow) else {
            return Err(Problem::failed(
                what,
                format!("there is no shadow {shadow}"),
                "`shadowcast shadow list` shows them.",
            ));
        };
        self.check_not_promoted(what, shadow)?;
        if self.busy_vms().contains(&found.vm) {
            return Err(Problem::refused(
                what,
                "an operation on this shadow has not ended",
                "Wait for it, or cancel it: `shadowcast operations`.",
            ));
        }
        let need = Need {
            vm: found.vm.clone(),
            urgency: Urgency::GiveBack,
            crosses_at: None,
            probability: None,
            reasons: vec![Reason::ByHand],
        };
        let open = self.open_for(&need.vm);
        let mut proposal = self.build_retire(at, shadow, need)?;
        if let Some(id) = open {
            proposal.id = id;
        }
        let proposal = self.keep(proposal, out);
        Ok(Answer::Proposal { proposal })
    }

    pub(super) fn open_for(&self, vm: &VmId) -> Option<ProposalId> {
        self.proposals
            .values()
            .find(|proposal| is_open(proposal) && proposal.plan.vm == *vm)
            .map(|proposal| proposal.id.clone())
    }

    /// Another split before approval: the plan is made anew and has another digest.
    pub(super) fn adjust(
        &mut self,
        at: Timestamp,
        id: &ProposalId,
        share: f64,
        out: &mut Vec<Effect>,
    ) -> Reply {
        let what = "The proposal was not changed.";
        let proposal = self
            .proposals
            .get(id)
            .cloned()
            .ok_or_else(|| no_proposal(what, id))?;
        if !is_open(&proposal) {
            return Err(Problem::refused(
                what,
                "it has been decided",
                "See `shadowcast proposals`.",
            ));
        }
        if !(0.0..=1.0).contains(&share) {
            return Err(Problem::usage(
                what,
                format!("{share} is not a share"),
                "Give 0 % to 100 %.",
            ));
        }
        let rpo_seconds = proposal.plan.steps.iter().find_map(|step| match step {
            Step::Replicate { rpo_seconds, .. } => Some(*rpo_seconds),
            _ => None,
        });
        let wishes = Wishes {
            pool: proposal
                .placement
                .as_ref()
                .map(|placement| placement.pool.clone()),
            rpo_seconds,
            share: Some(share),
        };
        let mut changed =
            self.build_create(at, proposal.need.clone(), &wishes, Some(id.clone()))?;
        // The reasons why other pools were not taken stay of interest.
        changed.placement.clone_from(&proposal.placement);
        self.adjusted.insert(id.clone());
        let proposal = self.keep(changed, out);
        Ok(Answer::Proposal { proposal })
    }

    /// The whole way from a need to what an operator can sign.
    fn build_create(
        &mut self,
        at: Timestamp,
        need: Need,
        wishes: &Wishes,
        id: Option<ProposalId>,
    ) -> Result<Proposal, Problem> {
        let what = "No shadow was planned.";
        let record = self
            .vms
            .get(&need.vm)
            .cloned()
            .ok_or_else(|| super::commands::no_vm(what, &need.vm))?;
        let vm = record.vm.clone();
        check_replicable(what, &vm)?;
        let service = self.service_of(&vm.id).cloned();
        let base_weight = service.as_ref().and_then(|service| {
            let member = service.members.iter().find(|member| member.vm == vm.id)?;
            self.base_weight(service, &member.server)
        });
        // Without its weight in the balancer nothing can be split.
        let splittable = service.as_ref().filter(|_| base_weight.is_some());
        let sizing = self.size(&record, &need, splittable, wishes.share);
        let (placement, pool) = self.place_or_refuse(what, &vm, &sizing, wishes)?;
        let names = self.names_for(&pool);
        let operation = OperationId(format!("op-{}", self.short_id()));
        let taken_names: Vec<String> = self
            .vms
            .values()
            .filter(|other| other.vm.source == pool.source)
            .map(|other| other.vm.name.clone())
            .collect();
        let serving = service
            .as_ref()
            .zip(base_weight)
            .map(|(service, base_weight)| Serving {
                service,
                base_weight,
            });
        let plan = plan::create_plan(&PlanInput {
            owner: Owner {
                engine: self.engine.clone(),
                operation,
            },
            made_at: at,
            vm: &vm,
            pool: &pool,
            storage: &placement.storage,
            sizing,
            serving,
            names: &names,
            taken_names: &taken_names,
            settings: self.plan_settings(wishes.rpo_seconds),
        });
        let checks = self.checks(at, &vm, &plan, &pool, &sizing, service.as_ref());
        Ok(self.proposal(at, id, need, sizing, Some(placement), plan, checks))
    }

    pub(super) fn build_retire(
        &mut self,
        at: Timestamp,
        id: &ShadowId,
        need: Need,
    ) -> Result<Proposal, Problem> {
        let operation = OperationId(format!("op-{}", self.short_id()));
        let what = "The retirement was not planned.";
        let shadow = self.shadows.get(id).cloned().ok_or_else(|| {
            Problem::failed(
                what,
                format!("there is no shadow {id}"),
                "`shadowcast shadow list` shows them.",
            )
        })?;
        let manifest = self.manifests.get(id);
        let plan = plan::retire_plan(&RetireInput {
            owner: Owner {
                engine: self.engine.clone(),
                operation,
            },
            made_at: at,
            vm: &shadow.vm,
            vm_name: &shadow.vm_name,
            shadow: id,
            served: shadow.share.as_ref(),
            spec: shadow.spec.as_ref(),
            running: shadow.running,
            replica: manifest.map(|manifest| Replica {
                owner: &manifest.owner,
                pool: &manifest.target_pool,
                storage: &manifest.target_storage,
            }),
            hold: shadow.hold.as_ref(),
            settings: self.plan_settings(None),
        });
        let sizing = Sizing {
            share: 0.0,
            vcpus: 0,
            memory_bytes: 0,
            peak_no_action: self.peak_of_limit(&shadow.vm),
            peak_primary: self.peak_of_limit(&shadow.vm),
            peak_shadow: 0.0,
        };
        Ok(self.proposal(at, None, need, sizing, None, plan, Vec::new()))
    }

    /// The highest forecast of CPU, 0..=1; what the VM carries alone.
    pub(super) fn peak_of_limit(&self, vm: &VmId) -> f64 {
        self.vms
            .get(vm)
            .and_then(|record| {
                record
                    .outlooks
                    .iter()
                    .map(|outlook| f64::from(outlook.peak))
                    .reduce(f64::max)
            })
            .unwrap_or_default()
    }

    #[allow(clippy::too_many_arguments)] // the parts of a proposal, each once
    pub(super) fn proposal(
        &mut self,
        at: Timestamp,
        id: Option<ProposalId>,
        need: Need,
        sizing: Sizing,
        placement: Option<Placement>,
        plan: Plan,
        checks: Vec<Check>,
    ) -> Proposal {
        let id = id.unwrap_or_else(|| ProposalId(format!("p-{}", self.short_id())));
        let lifetime = i64::from(self.settings.approval.proposal_lifetime_seconds);
        Proposal {
            id,
            why: plan::explain(&need, &plan.vm_name, at),
            need,
            sizing,
            placement,
            digest: plan::digest(&plan),
            plan,
            created_at: at,
            expires_at: at.plus_secs(lifetime),
            state: ProposalState::Open,
            checks,
        }
    }

    fn place_or_refuse(
        &self,
        what: &str,
        vm: &Vm,
        sizing: &Sizing,
        wishes: &Wishes,
    ) -> Result<(Placement, Pool), Problem> {
        let rejected = match self.place(vm, sizing, wishes.pool.as_ref()) {
            Ok(placement) => match self.pools.get(&placement.pool) {
                Some(pool) => return Ok((placement, pool.clone())),
                None => Vec::new(),
            },
            Err(rejected) => rejected,
        };
        let why = match rejected.as_slice() {
            [] => "no source was added that takes shadows".to_owned(),
            rejected => rejected
                .iter()
                .map(|Rejected { pool, why }| format!("{pool}: {why}"))
                .collect::<Vec<_>>()
                .join("; "),
        };
        Err(Problem::refused(
            what,
            format!("no pool can take it: {why}"),
            "Add a secondary source, or make room in one of these pools.",
        ))
    }

    /// Random names, and a port that no other shadow was given.
    pub(super) fn names_for(&mut self, pool: &Pool) -> Names {
        let taken: BTreeSet<u16> = self
            .shadows
            .values()
            .filter_map(|shadow| shadow.spec.as_ref())
            .chain(self.proposals.values().flat_map(|proposal| {
                proposal.plan.steps.iter().filter_map(|step| match step {
                    Step::DefineShadow { spec, .. } => Some(spec),
                    _ => None,
                })
            }))
            .filter(|spec| spec.pool == pool.id)
            .map(|spec| spec.network.port)
            .collect();
        let free = PORTS.len() - taken.len().min(PORTS.len());
        let mut port = self.random.u16(PORTS);
        while free > 0 && taken.contains(&port) {
            port = if port + 1 == PORTS.end {
                PORTS.start
            } else {
                port + 1
            };
        }
        Names::from_bits(self.random.u128(..).to_le_bytes(), port)
    }

    pub(super) fn plan_settings(&self, rpo_seconds: Option<u32>) -> PlanSettings {
        PlanSettings {
            rpo_seconds: rpo_seconds.unwrap_or(self.settings.shadow.rpo_seconds),
            freeze_filesystems: self.settings.shadow.freeze_filesystems,
            answer_timeout_seconds: self.settings.shadow.answer_timeout_seconds,
            ..PlanSettings::default()
        }
    }

    /// What speaks for and against, as an operator would look it up.
    fn checks(
        &self,
        at: Timestamp,
        vm: &Vm,
        plan: &Plan,
        pool: &Pool,
        sizing: &Sizing,
        service: Option<&Service>,
    ) -> Vec<Check> {
        let passed = |text: String| Check {
            outcome: CheckOutcome::Passed,
            text,
        };
        let note = |text: String| Check {
            outcome: CheckOutcome::Note,
            text,
        };
        let blocks = |text: String| Check {
            outcome: CheckOutcome::Blocks,
            text,
        };
        let mut checks = Vec::new();
        let held = self.ledger.memory_bytes(&pool.id) + sizing.memory_bytes;
        let free = pool.memory_free_bytes.saturating_sub(held);
        let percent = free as f64 / pool.memory_bytes.max(1) as f64 * 100.0;
        checks.push(passed(format!(
            "{} keeps {percent:.0} % of its memory free",
            pool.name
        )));
        checks.extend(self.room_check(pool, sizing.memory_bytes));
        for problem in self.unmet(plan, at) {
            checks.push(blocks(problem));
        }
        match service {
            Some(service) if service.allows_clone() => {
                checks.push(passed(format!("{} may be served by a copy", service.name)));
            }
            Some(service) if service.kind == ServiceKind::ReadOnly => checks.push(note(format!(
                "{} is read-only and not routed by method: its copy replicates and takes no traffic",
                service.name
            ))),
            Some(service) => checks.push(note(format!(
                "{} keeps state: its copy replicates and takes no traffic",
                service.name
            ))),
            None => checks.push(note(
                "No service is mapped: the copy takes no traffic".to_owned(),
            )),
        }
        let coarse = service.and_then(|service| {
            let member = service.members.iter().find(|member| member.vm == vm.id)?;
            split::coarseness(self.base_weight(service, &member.server)?)
        });
        checks.extend(coarse.map(note));
        let sticky = service.is_some_and(|service| {
            self.balancers
                .get(&service.director)
                .is_some_and(|balancer| {
                    balancer
                        .reading
                        .backends
                        .iter()
                        .any(|b| b.name == service.backend && b.sticky)
                })
        });
        if sticky {
            checks.push(note(
                "Sticky sessions: the share is reached only by new clients".to_owned(),
            ));
        }
        if !vm.has_agent && self.settings.shadow.freeze_filesystems {
            checks.push(note(
                "No guest agent: points are crash-consistent".to_owned(),
            ));
        }
        checks
    }

    pub(super) fn expire_proposals(&mut self, at: Timestamp, out: &mut Vec<Effect>) {
        let mut changed = Vec::new();
        for proposal in self.proposals.values() {
            let state = match &proposal.state {
                ProposalState::Open if at >= proposal.expires_at => ProposalState::Expired,
                ProposalState::Snoozed { until } if at >= *until => ProposalState::Expired,
                _ => continue,
            };
            changed.push(Proposal {
                state,
                ..(**proposal).clone()
            });
        }
        for proposal in changed {
            self.keep(proposal, out);
        }
        let old = at.plus_secs(-KEEP_DECIDED_SECONDS);
        let before = self.proposals.len();
        self.proposals
            .retain(|_, proposal| is_open(proposal) || proposal.created_at > old);
        if self.proposals.len() != before {
            self.views.vms = None;
        }
    }

    pub(super) fn make_stale(&mut self, id: &ProposalId, why: &str, out: &mut Vec<Effect>) {
        if let Some(proposal) = self.proposals.get(id).filter(|proposal| is_open(proposal)) {
            let state = ProposalState::Stale {
                why: why.to_owned(),
            };
            let stale = Proposal {
                state,
                ..(**proposal).clone()
            };
            self.keep(stale, out);
        }
    }
}

/// Dirty bitmaps live in qcow2 images of version 3; nobody else's job may stand on the disk.
pub(super) fn check_replicable(what: &str, vm: &Vm) -> Result<(), Problem> {
    let mut disks = vm.disks.iter().filter(|disk| !disk.read_only).peekable();
    if disks.peek().is_none() {
        return Err(Problem::refused(
            what,
            format!("{} has no writable disk", vm.name),
            "Nothing needs to be replicated; clone it by other means.",
        ));
    }
    for disk in disks {
        let problem = match (disk.format, disk.compat.as_deref()) {
            (DiskFormat::Qcow2, Some("0.10")) => {
                "is qcow2 of compatibility 0.10, which cannot keep dirty bitmaps"
            }
            (DiskFormat::Qcow2, _) => continue,
            (DiskFormat::Raw, _) => "is raw, and increments need qcow2",
            (DiskFormat::Other, _) => "has a format that increments cannot be taken of",
        };
        return Err(Problem::refused(
            what,
            format!("disk {} of {} {problem}", disk.target, vm.name),
            "With the VM off: `qemu-img amend -o compat=1.1 FILE`, or convert it with `qemu-img convert -O qcow2`.",
        ));
    }
    if let Some(job) = vm.foreign_jobs.first() {
        return Err(Problem::refused(
            what,
            format!(
                "{} has a checkpoint or block job of somebody else: {job}",
                vm.name
            ),
            "End it with the tool that made it; it is not touched from here.",
        ));
    }
    Ok(())
}

pub(super) fn is_open(proposal: &Proposal) -> bool {
    matches!(
        proposal.state,
        ProposalState::Open | ProposalState::Snoozed { .. }
    )
}

pub(super) fn no_proposal(what: &str, id: &ProposalId) -> Problem {
    Problem::failed(
        what,
        format!("there is no proposal {id}"),
        "`shadowcast proposals` lists them.",
    )
}
