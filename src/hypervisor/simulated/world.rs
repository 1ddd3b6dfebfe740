//! What changes in a fleet: counters, shares of traffic, checkpoints, volumes, shadows, servers, faults.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    balancer::Balancer,
    clock::Clock,
    clones::{CloneFlaw, TriedClone},
    disks::{Checkpoint, Volume, VolumeKey},
    fault::{FaultKind, Faults, Verb},
    fences::{Fenced, Stops},
    load::{Curve, mix},
    roster::{Record, Roster},
    scenario::FleetSpec,
    shadows::Shadow,
};
use crate::{
    hypervisor::{Claim, PlatformError},
    metrics::Metric,
    replication::Manifest,
    units::{PoolId, ShadowId, SourceName, Timestamp, VmId},
};

/// A guest without any traffic still does this much, as a part of its vCPUs.
const IDLE_CPU: f64 = 0.02;

/// Everything that the platforms, the balancer and the prober of one fleet share.
pub(super) struct Shared {
    pub spec: FleetSpec,
    pub roster: Roster,
    pub clock: Arc<dyn Clock>,
    world: Mutex<World>,
    /// When each primary stood still; apart from the world, since a disk's content is asked for under its lock.
    pub stops: Mutex<Stops>,
}

pub(super) struct World {
    pub faults: Faults,
    /// Sources that do not answer, and why.
    pub unreachable: BTreeMap<SourceName, String>,
    /// Guests that do not answer, and since when.
    pub hung: BTreeMap<VmId, Timestamp>,
    pub counters: Vec<Counters>,
    /// Of VMs whose traffic was ever shared, by their place in the roster.
    pub shares: BTreeMap<usize, ShareLog>,
    pub checkpoints: BTreeMap<VmId, BTreeMap<String, Checkpoint>>,
    pub volumes: BTreeMap<VolumeKey, Volume>,
    /// Bytes that something else has taken, by pool and storage.
    pub filled: BTreeMap<PoolId, u64>,
    pub manifests: BTreeMap<(SourceName, ShadowId), Manifest>,
    /// Who may change a source, and when it last said so.
    pub leases: BTreeMap<SourceName, (Claim, Timestamp)>,
    /// By source and uuid.
    pub shadows: BTreeMap<VmId, Shadow>,
    /// By source and uuid.
    pub clones: BTreeMap<VmId, TriedClone>,
    pub clone_flaw: Option<CloneFlaw>,
    pub balancer: Balancer,
    /// Primaries that somebody has stopped or marked.
    pub fences: BTreeMap<VmId, Fenced>,
    /// What no engine may ever do, and this one did.
    pub violations: Vec<String>,
}

/// What one VM has used since the fleet started, in units of its metric times seconds.
#[derive(Clone, Copy, Default)]
pub(super) struct Counters {
    pub at: Timestamp,
    pub cpu: f64,
    pub steal: f64,
    pub disk: f64,
    pub net: f64,
}

/// From each moment on, the part of its usual traffic that a VM has.
#[derive(Clone, Debug, Default)]
pub(super) struct ShareLog(Vec<(Timestamp, f64)>);

impl ShareLog {
    pub(super) fn set(&mut self, at: Timestamp, factor: f64) {
        let last = self.0.last().map_or(1.0, |last| last.1);
        if (last - factor).abs() < 1e-9 {
            return;
        }
        match self.0.last_mut() {
            Some(last) if last.0 >= at => last.1 = factor,
            _ => self.0.push((at, factor)),
        }
    }

    pub(super) fn first_change(&self) -> Option<Timestamp> {
        self.0.first().map(|change| change.0)
    }

    pub(super) fn at(&self, at: Timestamp) -> f64 {
        let known = self.0.partition_point(|change| change.0 <= at);
        known.checked_sub(1).map_or(1.0, |last| self.0[last].1)
    }

    /// The integral of what is left of `curve` over `from..to`; `idle` stays whatever the share. `gain` is the size of
    /// the VM that the curve is of over the size of this one.
    pub(super) fn integral(
        &self,
        curve: &Curve<'_>,
        idle: f64,
        gain: f64,
        from: Timestamp,
        to: Timestamp,
    ) -> f64 {
        let mut sum = 0.0;
        let mut begin = from;
        while begin < to {
            let next = self.0.partition_point(|change| change.0 <= begin);
            let end = self.0.get(next).map_or(to, |change| change.0.min(to));
            let seconds = (end.as_millis() - begin.as_millis()) as f64 / 1000.0;
            let factor = self.at(begin) * gain;
            sum += idle * seconds + (curve.integral(begin, end) - idle * seconds) * factor;
            begin = end;
        }
        sum
    }
}

impl Shared {
    pub(super) fn new(spec: FleetSpec, clock: Arc<dyn Clock>) -> Self {
        let start = clock.now();
        let roster = Roster::new(&spec, start);
        let fresh = Counters {
            at: start,
            ..Counters::default()
        };
        let world = World {
            faults: Faults::default(),
            unreachable: BTreeMap::new(),
            hung: hung_guests(&spec, &roster),
            counters: vec![fresh; roster.vms.len()],
            shares: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            volumes: BTreeMap::new(),
            filled: BTreeMap::new(),
            manifests: BTreeMap::new(),
            leases: BTreeMap::new(),
            shadows: BTreeMap::new(),
            fences: BTreeMap::new(),
            clones: BTreeMap::new(),
            clone_flaw: None,
            balancer: Balancer::new(&spec, &roster),
            violations: Vec::new(),
        };
        Self {
            spec,
            roster,
            clock,
            world: Mutex::new(world),
            stops: Mutex::new(Stops::default()),
        }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Carries out a call that is done at once under the fault rules: it has no half, and fails before that.
    pub(super) fn call<T>(
        &self,
        source: &SourceName,
        verb: Verb,
        effect: impl FnOnce() -> Result<T, PlatformError>,
    ) -> Result<T, PlatformError> {
        self.call_in_parts(source, verb, |halfway| match halfway {
            Some(error) => Err(error),
            None => effect(),
        })
    }

    /// Carries out a call under the fault rules. `effect` gets the error with which it is to stop halfway.
    pub(super) fn call_in_parts<T>(
        &self,
        source: &SourceName,
        verb: Verb,
        effect: impl FnOnce(Option<PlatformError>) -> Result<T, PlatformError>,
    ) -> Result<T, PlatformError> {
        let (fault, unreachable) = {
            let mut world = self.world();
            let fault = world.faults.meet(source, verb);
            (fault, world.unreachable.get(source).cloned())
        };
        if let Some(why) = unreachable {
            return Err(PlatformError::Unreachable {
                source_name: source.clone(),
                why,
            });
        }
        match fault {
            None => effect(None),
            Some(FaultKind::Hang { millis }) => {
                self.clock.sleep(millis);
                effect(None)
            }
            Some(FaultKind::FailBefore(error)) => Err(error),
            Some(FaultKind::FailMidway(error)) => effect(Some(error)),
            Some(FaultKind::FailAfter(error)) => effect(None).and(Err(error)),
        }
    }

    pub(super) fn curve(&self, vm: &Record, metric: Metric) -> Option<Curve<'_>> {
        self.roster.curve(&self.spec, vm, metric)
    }
}

/// What stays of a metric without any traffic.
pub(super) const fn idle(metric: Metric) -> f64 {
    match metric {
        Metric::Cpu => IDLE_CPU,
        _ => 0.0,
    }
}

/// Whether a metric follows the traffic.
pub(super) const fn follows_traffic(metric: Metric) -> bool {
    matches!(metric, Metric::Cpu | Metric::Disk | Metric::Net)
}

fn hung_guests(spec: &FleetSpec, roster: &Roster) -> BTreeMap<VmId, Timestamp> {
    let usual: Vec<&Record> = roster.vms.iter().filter(|vm| vm.story.is_none()).collect();
    if usual.is_empty() {
        return BTreeMap::new();
    }
    // A small fleet is not to consist of nothing else.
    (0..i64::from(spec.hung_guests).min(usual.len() as i64 / 100))
        .map(|number| {
            let draw = mix(spec.seed ^ 0x4096, number) as usize % usual.len();
            (usual[draw].id.clone(), roster.start.plus_secs(-360))
        })
        .collect()
}
