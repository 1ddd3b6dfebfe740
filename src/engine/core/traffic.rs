//! Live traffic: what balancers say, the gate that guards each share, drift that is put right.

use std::collections::BTreeMap;

use super::{Action, Core, Effect, Failure, Outcome, Pending};
use crate::{
    engine::{command::Answer, snapshot::TimelineKind},
    inventory::{Owner, Service},
    metrics::{Metric, Sample},
    operation::Approval,
    problem::Problem,
    shadow::{Plan, PlanKind, ShareSpec, Step, plan},
    traffic::{
        DirectorError, ServerStats, TrafficReading,
        gate::{Gate, GateLimits, GateVerdict},
        split,
    },
    units::{OperationId, ServiceName, ShadowId, SourceName, Timestamp, VmId, Weight},
};

/// What a balancer said last, and rates between its last two answers.
#[derive(Clone, Debug, Default)]
pub struct Balancer {
    pub reading: TrafficReading,
    /// By backend and server.
    pub rates: BTreeMap<(String, String), Rates>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    pub requests_per_second: f64,
    pub errors_per_second: f64,
}

/// Watches one serving shadow.
#[derive(Clone, Debug)]
pub struct Guard {
    gate: Gate,
    pub verdict: GateVerdict,
    pub last_breach: Option<String>,
    /// The previous repair failed; said once.
    repair_failed: bool,
    /// The weights were off in the previous reading too: it was not just taken before they were set.
    drift_seen: bool,
}

impl Guard {
    fn new(share: &ShareSpec) -> Self {
        Self {
            gate: Gate::new(&*share.backend, &*share.shadow_server),
            verdict: GateVerdict::Inconclusive,
            last_breach: None,
            repair_failed: false,
            drift_seen: false,
        }
    }
}

impl Core {
    pub(super) fn traffic(
        &mut self,
        at: Timestamp,
        source: &SourceName,
        result: Result<TrafficReading, DirectorError>,
        millis: u64,
        out: &mut Vec<Effect>,
    ) {
        if !self.sources.contains_key(source) {
            return;
        }
        match result {
            Err(error) => self.source_answered(at, source, Some(error.to_string()), millis, out),
            Ok(reading) => {
                let balancer = self.balancers.entry(source.clone()).or_default();
                balancer.rates = rates(&balancer.reading, &reading);
                balancer.reading = reading;
                self.source_answered(at, source, None, millis, out);
                self.guard_shares(at, source, out);
            }
        }
    }

    /// Each shadow behind this balancer: is the share what is wanted, and does the gate hold?
    fn guard_shares(&mut self, at: Timestamp, source: &SourceName, out: &mut Vec<Effect>) {
        let busy = self.held_up_vms();
        let guarded: Vec<(ShadowId, VmId, ShareSpec)> = self
            .shadows
            .values()
            .filter(|shadow| !busy.contains(&shadow.vm))
            .filter_map(|shadow| {
                Some((shadow.id.clone(), shadow.vm.clone(), shadow.share.clone()?))
            })
            .filter(|(_, _, share)| share.director == *source)
            .collect();
        for (shadow, vm, share) in guarded {
            // Of a promoted one there is no other side that traffic could return to.
            let may_return = share.share > 0.0 && !self.is_promoted(&shadow);
            if may_return && self.gate_breached(source, &shadow, &share) {
                self.return_to_zero(at, &shadow, &vm, out);
            } else {
                self.repair_drift(at, &shadow, &share, out);
            }
        }
    }

    fn gate_limits(&self) -> GateLimits {
        GateLimits {
            error_ratio: self.settings.gate.error_ratio,
            response_millis: self.settings.gate.response_millis,
            window_seconds: self.settings.gate.window_seconds,
            min_requests: self.settings.gate.min_requests,
        }
    }

    fn gate_breached(&mut self, source: &SourceName, shadow: &ShadowId, share: &ShareSpec) -> bool {
        let limits = self.gate_limits();
        let Some(balancer) = self.balancers.get(source) else {
            return false;
        };
        let guard = self
            .guards
            .entry(shadow.clone())
            .or_insert_with(|| Guard::new(share));
        guard.gate.observe(&balancer.reading);
        guard.verdict = guard.gate.verdict(&limits);
        if let GateVerdict::Breached { why } = &guard.verdict {
            guard.last_breach = Some(format!("{why}; returned to 0 %"));
            return true;
        }
        false
    }

    /// The gate needs nobody: an operation of its own takes the share back.
    fn return_to_zero(
        &mut self,
        at: Timestamp,
        shadow: &ShadowId,
        vm: &VmId,
        out: &mut Vec<Effect>,
    ) {
        let why = self
            .guards
            .get(shadow)
            .and_then(|guard| guard.last_breach.clone())
            .unwrap_or_default();
        let text = format!("Gate breached for {}: {why}", self.vm_name(vm));
        self.event(
            at,
            TimelineKind::Traffic,
            text,
            Some(vm.clone()),
            None,
            true,
            out,
        );
        self.set_share(at, shadow, 0.0, "the gate".to_owned(), out);
        if let Some(guard) = self.guards.get_mut(shadow) {
            guard.gate.clear();
        }
    }

    /// Opens the operation that makes a share so.
    pub(super) fn set_share(
        &mut self,
        at: Timestamp,
        shadow: &ShadowId,
        share: f64,
        by: String,
        out: &mut Vec<Effect>,
    ) -> Option<OperationId> {
        let record = self.shadows.get(shadow)?;
        let current = record.share.clone()?;
        let step = ShareSpec {
            previous_share: current.share,
            share,
            ..current
        };
        let id = OperationId(format!("op-{}", self.short_id()));
        let record = self.shadows.get(shadow)?;
        let plan = Plan {
            kind: PlanKind::Traffic,
            vm: record.vm.clone(),
            vm_name: record.vm_name.clone(),
            shadow: shadow.clone(),
            owner: Owner {
                engine: self.engine.clone(),
                operation: id.clone(),
            },
            made_at: at,
            preconditions: Vec::new(),
            steps: vec![Step::SetShare(step)],
            cost: Vec::new(),
            undo: format!(
                "The share goes back to {:.0} %.",
                current_percent(record.wanted_share())
            ),
            estimate_seconds: 1,
        };
        let approval = Approval {
            proposal: None,
            digest: plan::digest(&plan),
            by,
            at,
            until: at.plus_secs(i64::from(self.settings.approval.lifetime_seconds)),
        };
        self.open_operation(at, &id, plan, approval, out);
        Some(id)
    }

    /// A reload reverts weights and forgets servers: what is wanted is applied again.
    fn repair_drift(
        &mut self,
        at: Timestamp,
        shadow: &ShadowId,
        share: &ShareSpec,
        out: &mut Vec<Effect>,
    ) {
        let repairing = self.pending.values().any(
            |pending| matches!(pending, Pending::Repair { shadow: repaired } if repaired == shadow),
        );
        let armed = self
            .sources
            .get(&share.director)
            .is_some_and(|source| source.config.armed);
        if repairing || !armed || self.store_failed.is_some() {
            return;
        }
        let (primary, shadowed) = split::weights(share.base_weight, share.share);
        let weight = |server: &str| {
            self.stats(&share.director, &share.backend, server)
                .map(|stats| stats.weight)
        };
        let seen = (weight(&share.primary_server), weight(&share.shadow_server));
        // A backend that cannot be seen at all is a source problem, not a drift.
        let Some(seen_primary) = seen.0 else { return };
        let guard = self
            .guards
            .entry(shadow.clone())
            .or_insert_with(|| Guard::new(share));
        let drifted = seen_primary != primary || seen.1 != Some(shadowed);
        let seen_before = std::mem::replace(&mut guard.drift_seen, drifted);
        if !(drifted && seen_before) {
            return;
        }
        let was = seen
            .1
            .map_or("gone".to_owned(), |weight| weight.0.to_string());
        let text = format!(
            "Weights of {} drifted to {}/{was}, wanted {}/{}: put right",
            share.service, seen_primary.0, primary.0, shadowed.0
        );
        let vm = self.shadows.get(shadow).map(|shadow| shadow.vm.clone());
        self.event(at, TimelineKind::Traffic, text, vm, None, true, out);
        let server = self
            .shadows
            .get(shadow)
            .and_then(|shadow| shadow.server.clone());
        let action = Action::Repair {
            server: server.map(|(_, spec)| spec),
            share: Box::new(share.clone()),
        };
        self.perform(
            Pending::Repair {
                shadow: shadow.clone(),
            },
            action,
            out,
        );
    }

    pub(super) fn repaired(
        &mut self,
        at: Timestamp,
        shadow: &ShadowId,
        result: Result<Outcome, Failure>,
        out: &mut Vec<Effect>,
    ) {
        let failed = result.err();
        let Some(guard) = self.guards.get_mut(shadow) else {
            return;
        };
        let news = failed.is_some() && !guard.repair_failed;
        guard.repair_failed = failed.is_some();
        if let (true, Some(failure)) = (news, failed) {
            let vm = self.shadows.get(shadow).map(|shadow| shadow.vm.clone());
            let text = format!("Weights could not be put right: {}", failure.why);
            self.event(at, TimelineKind::Traffic, text, vm, None, true, out);
        }
    }

    pub(super) fn stats(
        &self,
        director: &SourceName,
        backend: &str,
        server: &str,
    ) -> Option<&ServerStats> {
        let balancer = self.balancers.get(director)?;
        balancer
            .reading
            .servers
            .iter()
            .find(|stats| stats.backend == backend && stats.server == server)
    }

    pub(super) fn rates(
        &self,
        director: &SourceName,
        backend: &str,
        server: &str,
    ) -> Option<Rates> {
        let key = (backend.to_owned(), server.to_owned());
        self.balancers.get(director)?.rates.get(&key).copied()
    }

    /// The service whose traffic a VM carries.
    pub(super) fn service_of(&self, vm: &VmId) -> Option<&Service> {
        self.services
            .values()
            .find(|service| service.members.iter().any(|member| member.vm == *vm))
    }

    /// Response time, errors and requests of the VM's server join its sample.
    pub(super) fn add_traffic_values(&self, sample: &mut Sample) {
        let Some(service) = self.service_of(&sample.vm) else {
            return;
        };
        let Some(member) = service.members.iter().find(|member| member.vm == sample.vm) else {
            return;
        };
        let Some(stats) = self.stats(&service.director, &service.backend, &member.server) else {
            return;
        };
        sample.values[Metric::Response.index()] = stats.response_millis.map(|millis| millis as f32);
        let Some(rates) = self.rates(&service.director, &service.backend, &member.server) else {
            return;
        };
        sample.values[Metric::Requests.index()] = Some(rates.requests_per_second as f32);
        if rates.requests_per_second > 0.0 {
            let ratio = (rates.errors_per_second / rates.requests_per_second).clamp(0.0, 1.0);
            sample.values[Metric::Errors.index()] = Some(ratio as f32);
        }
    }

    /// `traffic set`: more or less of the live traffic of a serving shadow.
    pub(super) fn traffic_set(
        &mut self,
        at: Timestamp,
        service: &ServiceName,
        vm: Option<&VmId>,
        share: f64,
        by: String,
        out: &mut Vec<Effect>,
    ) -> Result<Answer, Problem> {
        let what = "The split was not changed.";
        if !(0.0..=1.0).contains(&share) {
            return Err(Problem::usage(
                what,
                format!("{share} is not a share"),
                "Give 0 % to 100 %.",
            ));
        }
        let Some(mapped) = self.services.get(service) else {
            return Err(Problem::failed(
                what,
                format!("there is no service named {service}"),
                "`shadowcast service list` shows the names.",
            ));
        };
        let (director, serves) = (mapped.director.clone(), mapped.allows_clone());
        let found: Vec<&super::Shadow> = self
            .shadows
            .values()
            .filter(|shadow| {
                shadow
                    .share
                    .as_ref()
                    .is_some_and(|share| share.service == *service)
            })
            .filter(|shadow| vm.is_none_or(|vm| shadow.vm == *vm))
            .collect();
        let (shadow, shadow_vm) = match found.as_slice() {
            [one] => (one.id.clone(), one.vm.clone()),
            [] => {
                return Err(Problem::refused(
                    what,
                    format!("{service} has no shadow that takes traffic"),
                    "Create one: `shadowcast shadow create VM`.",
                ));
            }
            _ => {
                return Err(Problem::usage(
                    what,
                    format!("{service} has several shadows"),
                    "Name the VM with --vm.",
                ));
            }
        };
        self.check_may_act(what, [&director])?;
        self.check_not_promoted(what, &shadow)?;
        if self.held_up_vms().contains(&shadow_vm) {
            return Err(Problem::refused(
                what,
                "an operation on this shadow has not ended",
                "Wait for it: `shadowcast operations`.",
            ));
        }
        if share > 0.0 && !serves {
            return Err(Problem::refused(
                what,
                format!("{service} is not mapped so that a copy may serve"),
                "Map it --stateless, or --read-only with --method-map; then create the shadow anew.",
            ));
        }
        if share > self.settings.shadow.max_share {
            return Err(Problem::refused(
                what,
                format!(
                    "{:.0} % is more than shadow.max_share allows ({:.0} %)",
                    share * 100.0,
                    self.settings.shadow.max_share * 100.0
                ),
                "Give a smaller share, or raise that setting.",
            ));
        }
        match self.set_share(at, &shadow, share, by, out) {
            Some(operation) => Ok(Answer::Started { operation }),
            None => Err(Problem::refused(
                what,
                "the shadow takes no traffic",
                "Create it with a share.",
            )),
        }
    }

    /// The primary's weight when it carries all of its own traffic.
    pub(super) fn base_weight(&self, service: &Service, server: &str) -> Option<Weight> {
        self.stats(&service.director, &service.backend, server)
            .map(|stats| stats.weight)
    }
}

fn current_percent(share: f64) -> f64 {
    share * 100.0
}

/// Rates between two answers; a counter that went down (a reload) says nothing.
fn rates(before: &TrafficReading, now: &TrafficReading) -> BTreeMap<(String, String), Rates> {
    let seconds = (now.at.as_millis() - before.at.as_millis()) as f64 / 1000.0;
    if seconds <= 0.0 {
        return BTreeMap::new();
    }
    let mut rates = BTreeMap::new();
    for server in &now.servers {
        let old = before
            .servers
            .iter()
            .find(|old| old.backend == server.backend && old.server == server.server);
        let Some(old) = old else { continue };
        let (Some(requests), Some(errors)) = (
            server.requests_total.checked_sub(old.requests_total),
            server.errors_total.checked_sub(old.errors_total),
        ) else {
            continue;
        };
        rates.insert(
            (server.backend.clone(), server.server.clone()),
            Rates {
                requests_per_second: requests as f64 / seconds,
                errors_per_second: errors as f64 / seconds,
            },
        );
    }
    rates
}
