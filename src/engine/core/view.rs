//! The core as a snapshot. What did not change is shared with the snapshot before.

use std::sync::Arc;

use super::{Core, Pending, SourceRole, VmRecord, proofs::failed};
use crate::{
    engine::snapshot::{
        Alarm, EventView, GateView, OperationState, OperationView, ServerView, ServiceView,
        ShadowState, ShadowView, Snapshot, SourceKind, SourceView, StepState, StepView,
        TimelineEntry, VmView,
    },
    inventory::{Pool, PowerState, Service},
    metrics::Metric,
    operation::{
        Outcome,
        fold::{Mark, Operation, Phase},
    },
    replication::{Manifest, ProofMark},
    shadow::{Proposal, ProposalState, plan},
    traffic::{gate::GateVerdict, split},
    units::{ShadowId, Timestamp, VmId},
    validation::proof::Proof,
};

pub(super) const MAX_EVENTS: usize = 500;
const MAX_OPERATIONS: usize = 100;
const MAX_DECIDED: usize = 50;
const MAX_PROOFS: usize = 6;
const MAX_CONSOLE_BYTES: usize = 1024;

/// Parts of the newest snapshot that may be used again.
#[derive(Debug, Default)]
pub(super) struct Cache {
    pub vms: Option<Arc<Vec<VmView>>>,
    pub events: Option<Arc<Vec<TimelineEntry>>>,
    /// When it was made and of how many VMs: what is next changes with time, whom it affects with the fleet.
    pub calendar: Option<(Timestamp, usize, Arc<Vec<EventView>>)>,
    pools: Arc<Vec<Pool>>,
}

impl Core {
    /// Everything that a face shows.
    pub fn snapshot(&mut self, at: Timestamp) -> Snapshot {
        self.version += 1;
        let vms = match &self.views.vms {
            Some(vms) => vms.clone(),
            None => {
                let vms = Arc::new(self.vm_views());
                self.views.vms = Some(vms.clone());
                vms
            }
        };
        let events = match &self.views.events {
            Some(events) => events.clone(),
            None => {
                let events = Arc::new(self.events.iter().cloned().collect::<Vec<_>>());
                self.views.events = Some(events.clone());
                events
            }
        };
        if !self.pools.values().eq(self.views.pools.iter()) {
            self.views.pools = Arc::new(self.pools.values().cloned().collect());
        }
        Snapshot {
            version: self.version,
            at,
            engine: self.engine.clone(),
            demo: self.demo,
            frozen: self.frozen,
            horizon_seconds: self.settings.forecast.horizon_hours * 3600,
            sources: self.source_views(),
            pools: self.views.pools.clone(),
            vms,
            services: self
                .services
                .values()
                .map(|service| self.service_view(service))
                .collect(),
            proposals: self.proposal_views(),
            operations: self.operation_views(),
            shadows: self
                .shadows
                .values()
                .map(|shadow| self.shadow_view(at, shadow))
                .collect(),
            reservations: self.reservation_views(),
            calendar: self.calendar_views(at),
            timeline: events,
            alarms: self.alarms(at),
            forecasts_pending: self.forecast.pending,
        }
    }

    fn vm_views(&self) -> Vec<VmView> {
        let open: std::collections::BTreeMap<&VmId, &Arc<Proposal>> = self
            .proposals
            .values()
            .filter(|proposal| proposal.state == ProposalState::Open)
            .map(|proposal| (&proposal.plan.vm, proposal))
            .collect();
        let shadows: std::collections::BTreeMap<&VmId, &super::Shadow> = self
            .shadows
            .values()
            .map(|shadow| (&shadow.vm, shadow))
            .collect();
        let view = |record: &VmRecord| VmView {
            values: record
                .sample
                .as_ref()
                .map_or([None; Metric::COUNT], |sample| sample.values),
            sampled_at: record.sample.as_ref().map(|sample| sample.at),
            health: record.health.clone(),
            outlooks: record.outlooks.clone(),
            spark: record.spark.clone(),
            shadow: shadows.get(&record.vm.id).map(|shadow| shadow.id.clone()),
            proposal: open.get(&record.vm.id).map(|proposal| proposal.id.clone()),
            detail_version: record.detail_version,
            // Of a VM that is off nothing is judged.
            withheld: (record.vm.state == PowerState::Running)
                .then(|| record.withheld.clone())
                .flatten(),
            vm: record.vm.clone(),
        };
        self.vms.values().map(view).collect()
    }

    fn source_views(&self) -> Vec<SourceView> {
        self.sources
            .values()
            .map(|source| {
                let name = &source.config.name;
                SourceView {
                    name: name.clone(),
                    uri: source.config.uri.clone(),
                    kind: match source.config.kind {
                        SourceRole::Hypervisor(_) => SourceKind::Hypervisor,
                        SourceRole::Balancer => SourceKind::Balancer,
                        SourceRole::History => SourceKind::History,
                    },
                    role: source.config.role(),
                    armed: source.config.armed,
                    last_backfill: source.config.last_backfill,
                    last_ok: source.last_ok,
                    error: source.error.clone(),
                    held_elsewhere: source.held_elsewhere.clone(),
                    vms: self
                        .vms
                        .range(VmId(format!("{name}/"))..VmId(format!("{name}0")))
                        .count() as u32,
                    hung: source.hung.clone(),
                    last_millis: source.last_millis,
                }
            })
            .collect()
    }

    fn service_view(&self, service: &Service) -> ServiceView {
        let shadow = self.shadows.values().find(|shadow| {
            shadow
                .share
                .as_ref()
                .is_some_and(|share| share.service == service.name)
        });
        let balancer = self.balancers.get(&service.director);
        let mut servers: Vec<ServerView> = Vec::new();
        for stats in balancer
            .iter()
            .flat_map(|balancer| &balancer.reading.servers)
        {
            if stats.backend != service.backend {
                continue;
            }
            let member = service
                .members
                .iter()
                .find(|member| member.server == stats.server);
            let is_shadow = shadow
                .and_then(|shadow| shadow.share.as_ref())
                .is_some_and(|share| share.shadow_server == stats.server);
            let rates = self.rates(&service.director, &service.backend, &stats.server);
            servers.push(ServerView {
                server: stats.server.clone(),
                vm: member.map(|member| member.vm.clone()),
                is_shadow,
                weight: stats.weight,
                up: stats.up,
                requests_per_second: rates.map(|rates| rates.requests_per_second),
                errors_per_second: rates.map(|rates| rates.errors_per_second),
                response_millis: stats.response_millis,
            });
        }
        let sum = |value: fn(&ServerView) -> Option<f64>| {
            servers
                .iter()
                .filter_map(value)
                .reduce(|total, part| total + part)
        };
        let requests = sum(|server| server.requests_per_second);
        let weighted: f64 = servers
            .iter()
            .filter_map(|server| Some(server.response_millis? * server.requests_per_second?))
            .sum();
        let error = if balancer.is_none() {
            Some(format!("{} has not answered yet", service.director))
        } else if servers.is_empty() {
            Some(format!(
                "{} has no backend {}",
                service.director, service.backend
            ))
        } else {
            None
        };
        ServiceView {
            service: service.clone(),
            shadow_share: shadow
                .and_then(|shadow| shadow.share.as_ref())
                .map_or(0.0, |share| self.read_share(share)),
            errors_per_second: sum(|server| server.errors_per_second),
            response_millis: requests
                .filter(|requests| *requests > 0.0)
                .map(|requests| weighted / requests),
            requests_per_second: requests,
            sticky: balancer.is_some_and(|balancer| {
                balancer
                    .reading
                    .backends
                    .iter()
                    .any(|backend| backend.name == service.backend && backend.sticky)
            }),
            servers,
            error,
        }
    }

    /// The share that the balancer's weights make, as they were read.
    fn read_share(&self, share: &crate::shadow::ShareSpec) -> f64 {
        let weight = |server: &str| {
            self.stats(&share.director, &share.backend, server)
                .map(|stats| stats.weight)
        };
        match (weight(&share.primary_server), weight(&share.shadow_server)) {
            (Some(primary), Some(shadow)) => split::share_of(primary, shadow),
            _ => 0.0,
        }
    }

    fn proposal_views(&self) -> Vec<Arc<Proposal>> {
        let (mut open, mut decided): (Vec<_>, Vec<_>) =
            self.proposals.values().cloned().partition(|proposal| {
                matches!(
                    proposal.state,
                    ProposalState::Open | ProposalState::Snoozed { .. }
                )
            });
        open.sort_by_key(|proposal| {
            let snoozed = matches!(proposal.state, ProposalState::Snoozed { .. });
            let crosses = proposal.need.crosses_at.map_or(i64::MAX, |at| at.0);
            (snoozed, proposal.need.urgency, crosses, proposal.id.clone())
        });
        decided.sort_by_key(|proposal| std::cmp::Reverse(proposal.created_at));
        decided.truncate(MAX_DECIDED);
        open.extend(decided);
        open
    }

    fn operation_views(&self) -> Vec<OperationView> {
        let mut operations: Vec<&Operation> = self.operations.values().collect();
        operations.sort_by_key(|operation| std::cmp::Reverse((operation.opened_at, &operation.id)));
        operations.truncate(MAX_OPERATIONS);
        operations
            .into_iter()
            .map(|operation| self.operation_view(operation))
            .collect()
    }

    fn operation_view(&self, operation: &Operation) -> OperationView {
        let retry = self.retries.get(&operation.id);
        let state = match operation.phase {
            Phase::Ended(Outcome::Done) => OperationState::Done,
            Phase::Ended(Outcome::Undone) => OperationState::Undone,
            Phase::Parked { .. } => OperationState::Parked,
            Phase::Forward | Phase::Unwinding if retry.is_some() => OperationState::Waiting,
            Phase::Forward | Phase::Unwinding => OperationState::Running,
        };
        let steps = operation
            .plan
            .steps
            .iter()
            .zip(&operation.steps)
            .map(|(step, record)| StepView {
                text: plan::describe(step),
                state: match record.mark {
                    Mark::Pending => StepState::Pending,
                    Mark::Started | Mark::Undoing => StepState::Running,
                    Mark::Done => StepState::Done,
                    Mark::Failed => StepState::Failed,
                    Mark::Undone => StepState::Undone,
                },
                note: record.note.clone(),
                started_at: record.started_at,
                ended_at: record.ended_at,
            })
            .collect();
        OperationView {
            id: operation.id.clone(),
            kind: operation.plan.kind,
            vm: operation.plan.vm.clone(),
            vm_name: operation.plan.vm_name.clone(),
            shadow: operation.plan.shadow.clone(),
            state,
            step: operation.done_steps(),
            steps,
            started_at: operation.opened_at,
            ended_at: operation.ended_at,
            progress: self
                .effect_of(&operation.id)
                .and_then(|effect| self.progress.get(&effect).copied()),
            undoing: operation.phase == Phase::Unwinding
                || operation.phase == Phase::Parked { unwinding: true },
            by: operation.approval.by.clone(),
            why: retry
                .map(|retry| retry.why.clone())
                .or_else(|| operation.why.clone()),
        }
    }

    fn proof_views(&self, shadow: &ShadowId) -> Vec<Proof> {
        let newest = self.proofs_of(shadow).into_iter().rev();
        newest
            .take(MAX_PROOFS)
            .enumerate()
            .map(|(index, proof)| {
                let start = match index {
                    0 => proof.console.len().saturating_sub(MAX_CONSOLE_BYTES),
                    _ => proof.console.len(),
                };
                let start = (start..=proof.console.len())
                    .find(|at| proof.console.is_char_boundary(*at))
                    .unwrap_or(proof.console.len());
                Proof {
                    console: proof.console[start..].to_owned(),
                    ..proof.clone()
                }
            })
            .collect()
    }

    fn shadow_view(&self, at: Timestamp, shadow: &super::Shadow) -> ShadowView {
        let manifest = self.manifests.get(&shadow.id);
        let replica = self.replicas.get(&shadow.id);
        let creating = self
            .operations
            .get(&shadow.operation)
            .is_some_and(|operation| !operation.ended());
        let stalled = manifest.and_then(|manifest| manifest.stalled.clone());
        let lag_seconds = manifest.and_then(|manifest| manifest.lag_seconds(at));
        let behind = lag_seconds.is_some_and(|lag| lag > 2 * u64::from(shadow.rpo_seconds));
        let committed = (shadow.promotion.as_ref()).map(|known| known.committed_at.is_some());
        let state = if let Some(committed) = committed {
            if committed {
                ShadowState::Committed
            } else {
                ShadowState::Promoted
            }
        } else if shadow.retiring {
            ShadowState::Retiring
        } else if creating {
            ShadowState::Creating
        } else if stalled.is_some() && behind {
            ShadowState::Stalled
        } else if shadow.wanted_share() > 0.0 {
            ShadowState::Serving
        } else {
            ShadowState::Replicating
        };
        ShadowView {
            id: shadow.id.clone(),
            vm: shadow.vm.clone(),
            vm_name: shadow.vm_name.clone(),
            name: shadow.name.clone(),
            pool: shadow
                .hold
                .as_ref()
                .map(|hold| hold.pool.clone())
                .unwrap_or_default(),
            state,
            method: "increments".to_owned(),
            vcpus: shadow.spec.as_ref().map_or(0, |spec| spec.vcpus),
            memory_bytes: shadow.spec.as_ref().map_or(0, |spec| spec.memory_bytes),
            rpo_seconds: shadow.rpo_seconds,
            lag_seconds,
            lag_bytes: manifest.and_then(|manifest| self.lag_bytes(at, manifest)),
            points: manifest
                .map(|manifest| manifest.points.clone())
                .unwrap_or_default(),
            stored_bytes: manifest.map_or(0, Manifest::stored_bytes),
            last_proof: self.last_concluded(&shadow.id).and_then(|proof| {
                Some(ProofMark {
                    at: proof.ended_at?,
                    passed: proof.passed(),
                    operation: proof.operation.clone(),
                })
            }),
            next_proof_at: self.proof_due_at(&shadow.id),
            proving: self.is_validating(&shadow.id),
            proofs: self.proof_views(&shadow.id),
            serving_from: manifest.and_then(|manifest| manifest.serving_from),
            last_cycle_millis: manifest.and_then(|manifest| manifest.last_cycle_millis),
            cycle_progress: self
                .replica_effect(&shadow.id)
                .and_then(|effect| self.progress.get(&effect).copied()),
            stalled,
            service: shadow.share.as_ref().map(|share| share.service.clone()),
            traffic_share: shadow
                .share
                .as_ref()
                .map_or(0.0, |share| self.read_share(share)),
            wanted_share: shadow.wanted_share(),
            gate: self.gate_view(shadow),
            recent_lags: replica
                .map(|replica| replica.recent_lags.clone())
                .unwrap_or_default(),
            promotion: self.promotion_view(shadow),
        }
    }

    /// What the source has written since the newest point, by its measured rate: an upper bound, since blocks that
    /// are written twice travel once.
    fn lag_bytes(&self, at: Timestamp, manifest: &Manifest) -> Option<u64> {
        let seconds = manifest.lag_seconds(at)?;
        let rate = self
            .vms
            .get(&manifest.vm)?
            .sample
            .as_ref()?
            .get(Metric::Disk)?;
        Some((f64::from(rate) * seconds as f64) as u64)
    }

    fn gate_view(&self, shadow: &super::Shadow) -> Option<GateView> {
        let share = shadow.share.as_ref()?;
        let guard = self.guards.get(&shadow.id);
        let rates = self.rates(&share.director, &share.backend, &share.shadow_server);
        let stats = self.stats(&share.director, &share.backend, &share.shadow_server);
        Some(GateView {
            holds: !matches!(
                guard.map(|guard| &guard.verdict),
                Some(GateVerdict::Breached { .. })
            ),
            error_ratio: rates
                .filter(|rates| rates.requests_per_second > 0.0)
                .map(|rates| (rates.errors_per_second / rates.requests_per_second).clamp(0.0, 1.0)),
            error_limit: self.settings.gate.error_ratio,
            response_millis: stats.and_then(|stats| stats.response_millis),
            response_limit_millis: self.settings.gate.response_millis,
            last_breach: guard.and_then(|guard| guard.last_breach.clone()),
        })
    }

    fn alarms(&self, at: Timestamp) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        if let Some(why) = &self.store_failed {
            alarms.push(Alarm {
                text: format!("The journal cannot be written: {why}"),
                effect: "nothing is changed on any platform".to_owned(),
                since: at,
            });
        }
        for source in self.sources.values() {
            if let Some(error) = &source.error {
                let name = &source.config.name;
                let vms = self.vms.keys().filter(|id| id.source() == *name).count();
                let effect = match source.config.kind {
                    SourceRole::Balancer => "shares are not guarded".to_owned(),
                    SourceRole::Hypervisor(_) => {
                        format!("forecasts for {vms} VMs use older data")
                    }
                    SourceRole::History => "no history is brought from there".to_owned(),
                };
                alarms.push(Alarm {
                    text: format!("{name}: {error}"),
                    effect,
                    since: source.error_since.unwrap_or(at),
                });
            }
            for vm in &source.hung {
                alarms.push(Alarm {
                    text: format!("{} does not answer", self.vm_name(vm)),
                    effect: "its samples are missing; its host goes on".to_owned(),
                    since: at,
                });
            }
        }
        self.promotion_alarms(at, &mut alarms);
        for shadow in self.shadows.values() {
            if let Some(proof) = self
                .last_concluded(&shadow.id)
                .filter(|proof| failed(proof))
            {
                alarms.push(Alarm {
                    text: format!(
                        "Point {} of {} did not pass its validation",
                        proof.point, shadow.vm_name
                    ),
                    effect: "it is not known whether its shadow would start".to_owned(),
                    since: proof.ended_at.unwrap_or(at),
                });
            }
        }
        alarms.extend(self.reservation_alarms(at));
        let parked = self
            .operations
            .values()
            .filter(|op| matches!(op.phase, Phase::Parked { .. }));
        for operation in parked {
            alarms.push(Alarm {
                text: format!("{} of {} is parked", operation.id, operation.plan.vm_name),
                effect: "it waits for your answer".to_owned(),
                since: at,
            });
        }
        alarms
    }

    /// Whether anything slow runs; for tests and simulations.
    pub fn is_busy(&self) -> bool {
        !self.pending.is_empty()
            || self
                .operations
                .values()
                .any(|operation| matches!(operation.phase, Phase::Forward | Phase::Unwinding))
    }

    /// Whether a replication cycle runs now.
    pub fn cycling(&self) -> bool {
        self.pending
            .values()
            .any(|pending| matches!(pending, Pending::Cycle { .. }))
    }
}
