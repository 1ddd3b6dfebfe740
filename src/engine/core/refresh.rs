//! A serving shadow is started anew on another recovery point, by a plan like any other.

use super::{Core, Effect};
use crate::{
    engine::command::{Answer, Reply},
    inventory::{Owner, Service},
    problem::Problem,
    shadow::{
        Need, Proposal, Reason, Sizing, Urgency,
        plan::{self, RefreshInput, Serving},
    },
    units::{OperationId, ShadowId, Timestamp, printable},
};

const NOT_PLANNED: &str = "The refresh was not planned.";

impl Core {
    pub(super) fn propose_refresh(
        &mut self,
        at: Timestamp,
        shadow: &ShadowId,
        point: Option<u64>,
        out: &mut Vec<Effect>,
    ) -> Reply {
        let vm = self.shadows.get(shadow).map(|found| found.vm.clone());
        let open = vm.and_then(|vm| self.open_for(&vm));
        let mut proposal = self.build_refresh(at, shadow, point)?;
        if let Some(id) = open {
            proposal.id = id;
        }
        let proposal = self.keep(proposal, out);
        Ok(Answer::Proposal { proposal })
    }

    fn build_refresh(
        &mut self,
        at: Timestamp,
        id: &ShadowId,
        point: Option<u64>,
    ) -> Result<Proposal, Problem> {
        let operation = OperationId(format!("op-{}", self.short_id()));
        let shadow = self.shadows.get(id).cloned().ok_or_else(|| {
            Problem::failed(
                NOT_PLANNED,
                format!("there is no shadow {id}"),
                "`shadowcast shadow list` shows them.",
            )
        })?;
        self.check_not_promoted(NOT_PLANNED, id)?;
        let refused = |why: String, next: &str| Problem::refused(NOT_PLANNED, why, next);
        if self.busy_vms().contains(&shadow.vm) {
            let next = "Wait for it, or cancel it: `shadowcast operations`.";
            return Err(refused("an operation on it has not ended".to_owned(), next));
        }
        let (Some(spec), Some(share), Some(from), true) =
            (&shadow.spec, &shadow.share, shadow.point, shadow.running)
        else {
            let next = "It starts from the newest point when it is let serve.";
            return Err(refused("it does not serve".to_owned(), next));
        };
        let service = self
            .services
            .get(&share.service)
            .cloned()
            .filter(Service::allows_clone)
            .ok_or_else(|| {
                refused(
                    format!(
                        "what it wrote may only be discarded for services mapped --stateless or --read-only, and {} is \
                         not",
                        share.service
                    ),
                    "`shadowcast service list` shows how it is mapped.",
                )
            })?;
        let points = self.manifests.get(id).map(|manifest| &manifest.points);
        let found = points.and_then(|points| match point {
            Some(number) => points.iter().find(|known| known.number == number),
            None => points.last(),
        });
        let to = found.cloned().ok_or_else(|| {
            let next = format!("`shadowcast shadow show {id}` lists its points.");
            Problem::failed(NOT_PLANNED, "there is no such recovery point", next)
        })?;
        if to.number == from {
            let next = format!("Take a newer one first: `shadowcast shadow sync {id}`.");
            return Err(refused(format!("it stands on point {from} already"), &next));
        }
        let plan = plan::refresh_plan(&RefreshInput {
            owner: Owner {
                engine: self.engine.clone(),
                operation,
            },
            made_at: at,
            vm: &shadow.vm,
            vm_name: &shadow.vm_name,
            spec,
            from,
            to: &to,
            serving: Serving {
                service: &service,
                base_weight: share.base_weight,
            },
            share,
            settings: self.plan_settings(None),
        })
        .ok_or_else(|| {
            let why = format!(
                "{} no longer has {}, or the point lacks a disk",
                service.name,
                printable(&shadow.vm_name)
            );
            refused(why, "Map the service again, or retire the shadow.")
        })?;
        let peak = self.peak_of_limit(&shadow.vm);
        let sizing = Sizing {
            share: share.share,
            vcpus: spec.vcpus,
            memory_bytes: spec.memory_bytes,
            peak_no_action: peak,
            peak_primary: peak,
            peak_shadow: 0.0,
        };
        let need = Need {
            vm: shadow.vm.clone(),
            urgency: Urgency::Later,
            crosses_at: None,
            probability: None,
            reasons: vec![Reason::ByHand],
        };
        Ok(self.proposal(at, None, need, sizing, None, plan, Vec::new()))
    }

    /// Why a shadow cannot go from one point to the other now.
    pub(super) fn cannot_refresh(&self, shadow: &ShadowId, from: u64, to: u64) -> Option<String> {
        let Some(found) = self.shadows.get(shadow) else {
            return Some(format!("{shadow} is gone"));
        };
        if !found.running || found.point != Some(from) {
            return Some(format!("{shadow} no longer runs on point {from}"));
        }
        let known = self
            .manifests
            .get(shadow)
            .is_some_and(|manifest| manifest.points.iter().any(|point| point.number == to));
        (!known).then(|| format!("point {to} of {shadow} has expired"))
    }
}
