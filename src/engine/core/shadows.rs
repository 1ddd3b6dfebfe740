//! What the journal says of each shadow: the fold of the steps that were done and undone.

use super::{Core, promotion::Promotion};
use crate::{
    operation::{Entry, JournalRow, Outcome, fold::Operation},
    reservation::Hold,
    shadow::{PlanKind, ShadowSpec, ShareSpec, Step},
    traffic::ServerSpec,
    units::{OperationId, ShadowId, SourceName, Timestamp, VmId},
};

/// One shadow, as far as its steps have brought it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shadow {
    pub id: ShadowId,
    pub vm: VmId,
    pub vm_name: String,
    /// Its own name on its platform, as its plan chose it.
    pub name: String,
    /// The operation that made it, whose id its objects bear.
    pub operation: OperationId,
    pub created_at: Timestamp,
    pub hold: Option<Hold>,
    pub spec: Option<ShadowSpec>,
    /// The recovery point that its overlays stand on.
    pub point: Option<u64>,
    pub running: bool,
    pub server: Option<(SourceName, ServerSpec)>,
    /// The newest share that was set.
    pub share: Option<ShareSpec>,
    pub rpo_seconds: u32,
    pub retiring: bool,
    /// It stands in its primary's place.
    pub promotion: Option<Promotion>,
    /// Seconds of the primary's writes that an attested promotion went on without.
    pub lost_seconds: Option<u64>,
}

impl Shadow {
    /// 0..=1 that the balancer should give it.
    pub fn wanted_share(&self) -> f64 {
        self.share.as_ref().map_or(0.0, |share| share.share)
    }

    fn done(&mut self, step: &Step, at: Timestamp) {
        match step {
            Step::Promotion(step) => self.promotion_done(step, at),
            Step::Reserve { hold } => self.hold = Some(hold.clone()),
            Step::DefineShadow { spec, point } => {
                self.spec = Some(spec.clone());
                self.point = Some(*point);
            }
            Step::StartShadow { .. } => self.running = true,
            Step::AddServer { director, server } => {
                self.server = Some((director.clone(), server.clone()));
            }
            Step::SetShare(share) => self.share = Some(share.clone()),
            Step::RemoveServer { .. } => {
                self.server = None;
                self.share = None;
            }
            Step::StopShadow { .. } => self.running = false,
            Step::Refresh { spec, point, .. } => {
                self.spec = Some((**spec).clone());
                self.point = Some(*point);
            }
            Step::RemoveShadow { .. } => {
                self.spec = None;
                self.point = None;
            }
            Step::Release { .. } => self.hold = None,
            Step::Replicate { .. }
            | Step::AwaitAnswer { .. }
            | Step::AwaitServer { .. }
            | Step::AwaitDrained { .. }
            | Step::RemoveReplica { .. }
            | Step::StartClone { .. }
            | Step::CheckClone { .. }
            | Step::RemoveClone { .. } => {}
        }
    }

    fn undone(&mut self, step: &Step) {
        match step {
            Step::Promotion(step) => self.promotion_undone(step),
            Step::StopShadow { .. } => self.running = true,
            Step::Reserve { .. } => self.hold = None,
            Step::DefineShadow { .. } => {
                self.spec = None;
                self.point = None;
            }
            Step::StartShadow { .. } => self.running = false,
            Step::Refresh {
                from, from_point, ..
            } => {
                self.spec = Some((**from).clone());
                self.point = Some(*from_point);
            }
            Step::AddServer { .. } => {
                self.server = None;
                self.share = None;
            }
            Step::SetShare(share) => {
                self.share = Some(ShareSpec {
                    share: share.previous_share,
                    ..share.clone()
                });
            }
            _ => {}
        }
    }
}

impl Core {
    /// Takes a row of the journal, new or from before.
    pub(super) fn replay(&mut self, row: &JournalRow) {
        if let Entry::Opened { plan, .. } = &row.entry {
            let Some(operation) = Operation::open(row) else {
                return;
            };
            match plan.kind {
                PlanKind::Create => {
                    let shadow = Shadow {
                        id: plan.shadow.clone(),
                        vm: plan.vm.clone(),
                        vm_name: plan.vm_name.clone(),
                        name: planned_name(&plan.steps),
                        operation: row.operation.clone(),
                        created_at: row.at,
                        hold: None,
                        spec: None,
                        point: None,
                        running: false,
                        server: None,
                        share: None,
                        rpo_seconds: planned_rpo(&plan.steps),
                        retiring: false,
                        promotion: None,
                        lost_seconds: None,
                    };
                    self.shadows.insert(plan.shadow.clone(), shadow);
                }
                PlanKind::Retire => {
                    if let Some(shadow) = self.shadows.get_mut(&plan.shadow) {
                        shadow.retiring = true;
                    }
                }
                PlanKind::Traffic
                | PlanKind::Refresh
                | PlanKind::Validate
                | PlanKind::Promote
                | PlanKind::Commit
                | PlanKind::Rollback
                | PlanKind::Guard => {}
            }
            self.operations.insert(row.operation.clone(), operation);
            return;
        }
        let Some(operation) = self.operations.get_mut(&row.operation) else {
            return;
        };
        operation.apply(row);
        let (shadow_id, kind) = (operation.plan.shadow.clone(), operation.plan.kind);
        let step = match &row.entry {
            Entry::StepDone { step, .. } | Entry::UndoDone { step } => {
                operation.plan.steps.get(*step).cloned()
            }
            _ => None,
        };
        let Some(shadow) = self.shadows.get_mut(&shadow_id) else {
            return;
        };
        match (&row.entry, step) {
            (Entry::StepDone { .. }, Some(step)) => shadow.done(&step, row.at),
            (Entry::UndoDone { .. }, Some(step)) => shadow.undone(&step),
            (Entry::Closed { outcome }, _) => {
                let gone = matches!(
                    (kind, outcome),
                    (PlanKind::Create, Outcome::Undone) | (PlanKind::Retire, Outcome::Done)
                );
                if gone {
                    self.shadows.remove(&shadow_id);
                    self.guards.remove(&shadow_id);
                    self.replicas.remove(&shadow_id);
                }
            }
            _ => {}
        }
        self.hold_as(&row.operation, &shadow_id);
    }

    /// The ledger follows what the shadow's steps say.
    fn hold_as(&mut self, operation: &OperationId, shadow: &ShadowId) {
        let hold = self
            .shadows
            .get(shadow)
            .and_then(|shadow| shadow.hold.clone());
        match hold {
            Some(hold) => self.ledger.hold(hold),
            None => {
                let owner = self
                    .shadows
                    .get(shadow)
                    .map_or(operation, |shadow| &shadow.operation);
                let owner = owner.clone();
                self.ledger.release(&owner);
                if let Some(operation) = self.operations.get(operation) {
                    self.ledger.release(&operation.plan.owner.operation);
                }
            }
        }
    }
}

fn planned_name(steps: &[Step]) -> String {
    let defined = steps.iter().find_map(|step| match step {
        Step::DefineShadow { spec, .. } => Some(spec.name.clone()),
        _ => None,
    });
    defined.unwrap_or_default()
}

fn planned_rpo(steps: &[Step]) -> u32 {
    let replicated = steps.iter().find_map(|step| match step {
        Step::Replicate { rpo_seconds, .. } => Some(*rpo_seconds),
        _ => None,
    });
    replicated.unwrap_or_default()
}
