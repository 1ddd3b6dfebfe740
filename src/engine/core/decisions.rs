//! What operators decide: approve on fresh inventory, reject, snooze.

use std::collections::BTreeSet;

use super::{Action, Core, Effect, Failure, Outcome, Pending, ReplyTo, proposals};
use crate::{
    engine::{
        command::{Answer, Reply},
        snapshot::TimelineKind,
    },
    hypervisor::ErrorKind,
    operation::Approval,
    problem::{Problem, ProblemKind},
    shadow::{Plan, PlanKind, Precondition, Proposal, ProposalState},
    units::{Digest, ProposalId, SourceName, Timestamp, printable},
};

const LONGEST_SNOOZE_SECONDS: u32 = 7 * 86_400;
/// After a rejection a VM is left alone for this long.
const AFTER_REJECTION_SECONDS: i64 = 4 * 3600;
const NOT_APPROVED: &str = "The plan was not approved; nothing was changed.";

impl Core {
    pub(super) fn approve(
        &mut self,
        at: Timestamp,
        to: ReplyTo,
        id: &ProposalId,
        digest: &Digest,
        by: String,
        out: &mut Vec<Effect>,
    ) {
        match self.may_approve(at, id, digest) {
            Err(problem) => out.push(Effect::Reply {
                to,
                reply: Err(problem),
            }),
            Ok(plan) => {
                // The plan is checked against what is there now, not what was there when it was made.
                let sources = hypervisors_of(&plan).into_iter().collect();
                let pending = Pending::Approve {
                    to,
                    proposal: id.clone(),
                    by,
                };
                self.perform(pending, Action::Refresh { sources }, out);
            }
        }
    }

    fn may_approve(
        &self,
        at: Timestamp,
        id: &ProposalId,
        digest: &Digest,
    ) -> Result<Plan, Problem> {
        let proposal = self
            .proposals
            .get(id)
            .ok_or_else(|| proposals::no_proposal(NOT_APPROVED, id))?;
        let refused = |why: String, next: &str| Err(Problem::refused(NOT_APPROVED, why, next));
        match &proposal.state {
            ProposalState::Open | ProposalState::Snoozed { .. } => {}
            ProposalState::Approved { by, .. } => {
                return refused(
                    format!("{by} has approved it already"),
                    "See `shadowcast operations`.",
                );
            }
            ProposalState::Rejected { by, .. } => {
                return refused(
                    format!("{by} has rejected it"),
                    "Plan it anew with `shadowcast shadow create`.",
                );
            }
            ProposalState::Stale { why } => {
                return refused(
                    format!("it no longer fits: {why}"),
                    "Take the newer proposal.",
                );
            }
            ProposalState::Expired => {
                return refused(
                    "it has expired".to_owned(),
                    "If the need stands, a new one follows.",
                );
            }
        }
        if proposal.digest != *digest {
            return refused(
                format!(
                    "the digest is another plan's: this one's begins with {:.12}",
                    proposal.digest.0
                ),
                "Read the plan again (`shadowcast proposal`) and approve what it says.",
            );
        }
        if at >= proposal.expires_at && proposal.state == ProposalState::Open {
            return refused(
                "it has expired".to_owned(),
                "If the need stands, a new one follows.",
            );
        }
        self.check_may_act(NOT_APPROVED, armed_of(&proposal.plan).iter())?;
        // Traffic moves while a point is tried; nothing else does.
        let busy = if proposal.plan.kind == PlanKind::Traffic {
            self.held_up_vms()
        } else {
            self.busy_vms()
        };
        if busy.contains(&proposal.plan.vm) {
            return refused(
                "an operation on this VM has not ended".to_owned(),
                "Wait for it: `shadowcast operations`.",
            );
        }
        if proposal.plan.kind == PlanKind::Create {
            self.check_data_age(at, &proposal.plan)?;
        }
        Ok(proposal.plan.clone())
    }

    fn check_data_age(&self, at: Timestamp, plan: &Plan) -> Result<(), Problem> {
        let newest = self
            .vms
            .get(&plan.vm)
            .and_then(|record| record.sample.as_ref())
            .map(|s| s.at);
        let oldest = i64::from(self.settings.approval.max_data_age_seconds);
        match newest {
            Some(newest) if at.secs_since(newest) <= oldest => Ok(()),
            _ => Err(Problem::refused(
                NOT_APPROVED,
                format!(
                    "the newest sample of {} is older than {oldest} s",
                    plan.vm_name
                ),
                "Wait until its source answers again: `shadowcast source list`.",
            )),
        }
    }

    pub(super) fn approve_on_fresh(
        &mut self,
        at: Timestamp,
        to: ReplyTo,
        id: &ProposalId,
        by: String,
        result: Result<Outcome, Failure>,
        out: &mut Vec<Effect>,
    ) {
        let reply = self.open_on_fresh(at, id, by, result, out);
        out.push(Effect::Reply { to, reply });
    }

    fn open_on_fresh(
        &mut self,
        at: Timestamp,
        id: &ProposalId,
        by: String,
        result: Result<Outcome, Failure>,
        out: &mut Vec<Effect>,
    ) -> Reply {
        match result {
            Ok(Outcome::Refreshed(fresh)) => {
                for (source, inventory) in fresh {
                    self.take_inventory(&source, inventory);
                }
            }
            Ok(_) => return Err(super::unexpected_outcome(NOT_APPROVED)),
            Err(failure) => {
                let kind = match failure.kind {
                    ErrorKind::Lost | ErrorKind::Transient => ProblemKind::Unreachable,
                    ErrorKind::Refused | ErrorKind::Unsupported => ProblemKind::Refused,
                };
                return Err(Problem::new(
                    kind,
                    NOT_APPROVED,
                    failure.why,
                    "Try again when the source answers: `shadowcast source list`.",
                ));
            }
        }
        let proposal = self
            .proposals
            .get(id)
            .cloned()
            .ok_or_else(|| proposals::no_proposal(NOT_APPROVED, id))?;
        // Between the question and its answer anything may have been decided.
        self.may_approve(at, id, &proposal.digest)?;
        if let Some(why) = self.unmet(&proposal.plan, at).into_iter().next() {
            self.make_stale(id, &why, out);
            return Err(Problem::refused(
                NOT_APPROVED,
                format!("the plan no longer fits: {why}"),
                "If the need stands, a new proposal follows; read that one.",
            ));
        }
        let lifetime = i64::from(self.settings.approval.lifetime_seconds);
        let approval = Approval {
            proposal: Some(id.clone()),
            digest: proposal.digest.clone(),
            by: printable(&by),
            at,
            until: at.plus_secs(lifetime),
        };
        let operation = proposal.plan.owner.operation.clone();
        let state = ProposalState::Approved {
            by: approval.by.clone(),
            at,
        };
        let text = format!(
            "{} approved the plan for {}",
            approval.by, proposal.plan.vm_name
        );
        let vm = proposal.plan.vm.clone();
        let plan = proposal.plan.clone();
        self.keep(
            Proposal {
                state,
                ..(*proposal).clone()
            },
            out,
        );
        self.event(
            at,
            TimelineKind::Decision,
            text,
            Some(vm),
            Some(operation.clone()),
            false,
            out,
        );
        self.open_operation(at, &operation, plan, approval, out);
        Ok(Answer::Started { operation })
    }

    /// What a plan relies on and is not so.
    pub(super) fn unmet(&self, plan: &Plan, _at: Timestamp) -> Vec<String> {
        plan.preconditions
            .iter()
            .filter_map(|condition| self.unmet_one(condition))
            .collect()
    }

    fn unmet_one(&self, condition: &Precondition) -> Option<String> {
        match condition {
            Precondition::Armed { source } => match self.sources.get(source) {
                Some(source) if source.config.armed => None,
                Some(_) => Some(format!("{source} is read-only")),
                None => Some(format!("{source} was removed")),
            },
            Precondition::SameVm {
                vm,
                name,
                host,
                generation,
            } => {
                let Some(record) = self.vms.get(vm) else {
                    return Some(format!("{name} is gone"));
                };
                let now = &record.vm;
                if now.name != *name {
                    Some(format!("{name} is now named {}", printable(&now.name)))
                } else if now.host != *host {
                    Some(format!("{name} has moved from {host} to {}", now.host))
                } else if now.generation != *generation {
                    Some(format!("{name} was started anew since the plan was made"))
                } else {
                    None
                }
            }
            Precondition::Replicable { vm } => {
                let record = self.vms.get(vm)?;
                proposals::check_replicable("", &record.vm)
                    .err()
                    .map(|problem| problem.why)
            }
            Precondition::PoolHas {
                pool,
                vcpus,
                memory_bytes,
                storage,
                disk_bytes,
            } => {
                let Some(found) = self.pools.get(pool) else {
                    return Some(format!("{pool} is gone"));
                };
                let free = found
                    .memory_free_bytes
                    .saturating_sub(self.ledger.memory_bytes(pool));
                let space = found.storage.iter().find(|known| known.name == *storage);
                let space = space.map(|storage| storage.available_bytes);
                if found.cpus < *vcpus {
                    Some(format!(
                        "{pool} has {} CPUs, {vcpus} are needed",
                        found.cpus
                    ))
                } else if free < *memory_bytes {
                    Some(format!(
                        "{pool} has {} free, {} are needed",
                        plan_bytes(free),
                        plan_bytes(*memory_bytes)
                    ))
                } else if space.is_none_or(|space| space < *disk_bytes) {
                    Some(format!(
                        "{storage} on {pool} has {} of space, {} are needed",
                        plan_bytes(space.unwrap_or(0)),
                        plan_bytes(*disk_bytes)
                    ))
                } else {
                    self.would_break(found, *memory_bytes)
                }
            }
            Precondition::ServiceAllows { service, kind } => match self.services.get(service) {
                Some(found) if found.kind == *kind => None,
                Some(_) => Some(format!("{service} is mapped as another kind now")),
                None => Some(format!("the mapping of {service} was removed")),
            },
            Precondition::NoShadowYet { vm } => self
                .shadow_of(vm)
                .map(|shadow| format!("{shadow} is its shadow already")),
            Precondition::MemoryFree { pool, memory_bytes } => {
                let Some(found) = self.pools.get(pool) else {
                    return Some(format!("{pool} is gone"));
                };
                // What runs is missing from the free memory already.
                let promised: u64 = self
                    .shadows
                    .values()
                    .filter(|shadow| !shadow.running)
                    .filter_map(|shadow| shadow.hold.as_ref())
                    .filter(|hold| hold.pool == *pool)
                    .map(|hold| hold.memory_bytes)
                    .sum();
                let free = found.memory_free_bytes.saturating_sub(promised);
                (free < *memory_bytes).then(|| {
                    format!(
                        "{pool} has {} free, {} are needed",
                        plan_bytes(free),
                        plan_bytes(*memory_bytes)
                    )
                })
            }
            Precondition::PointStands {
                shadow,
                point,
                layers,
            } => {
                let manifest = self.manifests.get(shadow)?;
                let found = manifest.points.iter().find(|known| known.number == *point);
                let merging = manifest.merging.as_ref().map(|merge| merge.number);
                match found {
                    None => Some(format!("point {point} has expired")),
                    Some(found) if found.layers != *layers => {
                        Some(format!("the layers of point {point} were merged since"))
                    }
                    Some(_) if merging == Some(*point) => {
                        Some(format!("the layers of point {point} are being merged"))
                    }
                    Some(_) => None,
                }
            }
            Precondition::StandsOn { shadow, from, to } => self.cannot_refresh(shadow, *from, *to),
            Precondition::ShadowExists { shadow } => {
                (!self.shadows.contains_key(shadow)).then(|| format!("{shadow} is gone"))
            }
            Precondition::Promotable {
                shadow,
                numbers_from,
                attested,
            } => self.not_promotable(shadow, *numbers_from, *attested),
            Precondition::InCommitWindow { shadow } => self.not_in_window(shadow),
        }
    }

    pub(super) fn reject(
        &mut self,
        at: Timestamp,
        id: &ProposalId,
        by: String,
        why: String,
        out: &mut Vec<Effect>,
    ) -> Reply {
        let what = "The proposal was not rejected.";
        let proposal = self.undecided(what, id)?;
        let text = format!(
            "{by} rejected the plan for {}: {}",
            proposal.plan.vm_name,
            printable(&why)
        );
        let vm = proposal.plan.vm.clone();
        let state = ProposalState::Rejected { by, at, why };
        self.keep(Proposal { state, ..proposal }, out);
        if let Some(record) = self.vms.get_mut(&vm) {
            record.no_proposal_before = Some(at.plus_secs(AFTER_REJECTION_SECONDS));
        }
        self.event(
            at,
            TimelineKind::Decision,
            text.clone(),
            Some(vm),
            None,
            false,
            out,
        );
        Ok(Answer::Done { text })
    }

    pub(super) fn snooze(
        &mut self,
        at: Timestamp,
        id: &ProposalId,
        for_seconds: u32,
        out: &mut Vec<Effect>,
    ) -> Reply {
        let what = "The proposal was not snoozed.";
        if for_seconds == 0 || for_seconds > LONGEST_SNOOZE_SECONDS {
            return Err(Problem::usage(
                what,
                "the time is not 1 s to 7 days",
                "Give a shorter time.",
            ));
        }
        let proposal = self.undecided(what, id)?;
        let until = at.plus_secs(i64::from(for_seconds));
        let text = format!("The plan for {} rests until {until}", proposal.plan.vm_name);
        let vm = proposal.plan.vm.clone();
        self.keep(
            Proposal {
                state: ProposalState::Snoozed { until },
                ..proposal
            },
            out,
        );
        self.event(
            at,
            TimelineKind::Decision,
            text.clone(),
            Some(vm),
            None,
            false,
            out,
        );
        Ok(Answer::Done { text })
    }

    fn undecided(&self, what: &str, id: &ProposalId) -> Result<Proposal, Problem> {
        let proposal = self
            .proposals
            .get(id)
            .ok_or_else(|| proposals::no_proposal(what, id))?;
        if proposals::is_open(proposal) {
            Ok((**proposal).clone())
        } else {
            Err(Problem::refused(
                what,
                "it has been decided",
                "See `shadowcast proposals`.",
            ))
        }
    }
}

fn plan_bytes(bytes: u64) -> String {
    crate::shadow::plan::bytes(bytes)
}

/// Every source that a plan changes.
fn armed_of(plan: &Plan) -> BTreeSet<SourceName> {
    plan.preconditions
        .iter()
        .filter_map(|condition| match condition {
            Precondition::Armed { source } => Some(source.clone()),
            _ => None,
        })
        .collect()
}

/// The platforms whose inventory a plan relies on.
fn hypervisors_of(plan: &Plan) -> BTreeSet<SourceName> {
    plan.preconditions
        .iter()
        .filter_map(|condition| match condition {
            Precondition::SameVm { vm, .. } | Precondition::Replicable { vm } => Some(vm.source()),
            Precondition::PoolHas { pool, .. } | Precondition::MemoryFree { pool, .. } => {
                Some(pool.source())
            }
            _ => None,
        })
        .collect()
}
