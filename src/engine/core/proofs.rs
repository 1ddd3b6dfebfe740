//! What validations found: evidence as it comes, the verdict and its mark on the point, how long it is kept; pins.

use super::{Core, Document, Effect, validate::no_shadow};
use crate::{
    engine::{
        command::{Answer, Reply},
        snapshot::TimelineKind,
    },
    problem::Problem,
    replication::ProofMark,
    shadow::{CloneSpec, Step},
    units::{OperationId, ShadowId, Timestamp},
    validation::{
        check::CheckResult,
        proof::{Conclusion, Proof},
    },
};

/// Proofs that are kept of each shadow.
const KEEP_PROOFS: usize = 12;

impl Core {
    /// The shadow's proofs, oldest first.
    pub(super) fn proofs_of(&self, shadow: &ShadowId) -> Vec<&Proof> {
        let mut proofs: Vec<&Proof> = self
            .proofs
            .values()
            .filter(|proof| proof.shadow == *shadow)
            .collect();
        proofs.sort_by_key(|proof| proof.started_at);
        proofs
    }

    /// The newest that says something.
    pub(super) fn last_concluded(&self, shadow: &ShadowId) -> Option<&Proof> {
        self.proofs
            .values()
            .filter(|proof| proof.shadow == *shadow && proof.concluded())
            .max_by_key(|proof| (proof.ended_at, &proof.operation))
    }

    pub(super) fn begin_proof(
        &mut self,
        at: Timestamp,
        id: &OperationId,
        clone: &CloneSpec,
        out: &mut Vec<Effect>,
    ) {
        if self.proofs.contains_key(id) {
            return;
        }
        let shadow = &clone.spec.shadow;
        let point_at = self
            .manifests
            .get(shadow)
            .and_then(|manifest| {
                manifest
                    .points
                    .iter()
                    .find(|point| point.number == clone.point)
            })
            .map_or(at, |point| point.at);
        let by = self
            .operations
            .get(id)
            .map(|operation| operation.approval.by.clone())
            .unwrap_or_default();
        let proof = Proof {
            operation: id.clone(),
            shadow: shadow.clone(),
            vm: clone.spec.of.clone(),
            point: clone.point,
            point_at,
            by,
            started_at: at,
            ended_at: None,
            verdict: None,
            why: None,
            results: Vec::new(),
            console: String::new(),
        };
        self.put_proof(proof, out);
        self.drop_old_proofs(&clone.spec.shadow, KEEP_PROOFS, out);
    }

    fn put_proof(&mut self, proof: Proof, out: &mut Vec<Effect>) {
        out.push(Effect::Put(Document::Proof(Box::new(proof.clone()))));
        self.proofs.insert(proof.operation.clone(), proof);
    }

    /// Forgets all but the newest.
    pub(super) fn drop_old_proofs(
        &mut self,
        shadow: &ShadowId,
        keep: usize,
        out: &mut Vec<Effect>,
    ) {
        let proofs = self.proofs_of(shadow);
        let surplus = proofs.len().saturating_sub(keep);
        let old: Vec<OperationId> = proofs[..surplus]
            .iter()
            .map(|proof| proof.operation.clone())
            .collect();
        for operation in old {
            self.proofs.remove(&operation);
            out.push(Effect::Put(Document::ProofGone(operation)));
        }
    }

    /// A check has its answer; the last one makes the verdict. Returns what the step's note says.
    pub(super) fn check_ended(
        &mut self,
        at: Timestamp,
        id: &OperationId,
        index: usize,
        result: CheckResult,
        out: &mut Vec<Effect>,
    ) -> String {
        let note = if result.passed {
            result.seen.clone()
        } else {
            format!("NOT PASSED: {}", result.seen)
        };
        let Some(mut proof) = self.proofs.get(id).cloned() else {
            return note;
        };
        // The steps before the checks have no results.
        proof.take(index.saturating_sub(1), result);
        let all = self.operations.get(id).map_or(0, |operation| {
            let checks = |step: &&Step| matches!(step, Step::CheckClone { .. });
            operation.plan.steps.iter().filter(checks).count()
        });
        if proof.results.len() >= all {
            proof.conclude(at);
            self.conclude(at, &proof, out);
        }
        self.put_proof(proof, out);
        note
    }

    /// The point bears the mark, and the timeline says so.
    fn conclude(&mut self, at: Timestamp, proof: &Proof, out: &mut Vec<Effect>) {
        if let Some(manifest) = self.manifests.get_mut(&proof.shadow) {
            let point = manifest
                .points
                .iter_mut()
                .find(|point| point.number == proof.point);
            if let Some(point) = point {
                point.proof = Some(ProofMark {
                    at,
                    passed: proof.passed(),
                    operation: proof.operation.clone(),
                });
                out.push(Effect::Put(Document::Manifest(Box::new(manifest.clone()))));
            }
        }
        let name = self.vm_name(&proof.vm);
        let text = match &proof.why {
            None => format!(
                "Point {} of {name} passed its validation, {} check(s)",
                proof.point,
                proof.results.len()
            ),
            Some(why) => format!("Point {} of {name} did not pass: {why}", proof.point),
        };
        self.event(
            at,
            TimelineKind::Replication,
            text,
            Some(proof.vm.clone()),
            Some(proof.operation.clone()),
            !proof.passed(),
            out,
        );
    }

    /// The clone is gone; what it had said is evidence.
    pub(super) fn clone_removed(&mut self, id: &OperationId, console: &str, out: &mut Vec<Effect>) {
        self.clones.remove(id);
        if let Some(mut proof) = self.proofs.get(id).cloned()
            && !console.is_empty()
        {
            proof.keep_console(console);
            self.put_proof(proof, out);
        }
    }

    /// The operation has ended. One that was undone before its verdict has shown nothing.
    pub(super) fn validation_closed(
        &mut self,
        at: Timestamp,
        id: &OperationId,
        why: Option<&str>,
        out: &mut Vec<Effect>,
    ) {
        self.clones.remove(id);
        let Some(mut proof) = self.proofs.get(id).cloned() else {
            return;
        };
        if proof.verdict.is_none() {
            proof.give_up(at, why.unwrap_or("it was not tried to its end"));
            self.put_proof(proof, out);
        }
    }

    pub(super) fn pin(
        &mut self,
        at: Timestamp,
        shadow: &ShadowId,
        number: u64,
        pinned: bool,
        out: &mut Vec<Effect>,
    ) -> Reply {
        let what = if pinned {
            "The point was not pinned."
        } else {
            "The point was not unpinned."
        };
        let Some(manifest) = self.manifests.get_mut(shadow) else {
            return Err(no_shadow(what, shadow));
        };
        let Some(point) = manifest
            .points
            .iter_mut()
            .find(|point| point.number == number)
        else {
            return Err(Problem::failed(
                what,
                format!("the shadow has no point {number}"),
                format!("`shadowcast shadow points {shadow}` lists them."),
            ));
        };
        point.pinned = pinned;
        let vm = manifest.vm.clone();
        out.push(Effect::Put(Document::Manifest(Box::new(manifest.clone()))));
        let text = format!(
            "Point {number} of {} is {}",
            self.vm_name(&vm),
            if pinned {
                "kept until it is unpinned"
            } else {
                "not pinned any more"
            }
        );
        let kind = TimelineKind::Replication;
        self.event(at, kind, text.clone(), Some(vm), None, false, out);
        Ok(Answer::Done { text })
    }

    /// The proofs of one shadow, newest first, with all evidence.
    pub(super) fn evidence(&self, shadow: &ShadowId) -> Reply {
        if !self.shadows.contains_key(shadow) {
            return Err(no_shadow("No proofs were shown.", shadow));
        }
        let proofs = self.proofs_of(shadow).into_iter().rev().cloned().collect();
        Ok(Answer::Proofs { proofs })
    }
}

/// Whether a proof has a verdict that speaks against its point.
pub(super) fn failed(proof: &Proof) -> bool {
    proof.verdict == Some(Conclusion::Failed)
}
