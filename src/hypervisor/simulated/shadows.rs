//! Shadows as their platform holds them: defined, started, answering, loaded by their share of traffic.

use super::{
    roster::Record,
    world::{Counters, ShareLog, Shared, World, follows_traffic, idle},
};
use crate::{
    inventory::{Disk, DiskFormat, PowerState, Vm, size_name},
    metrics::{Metric, Reading},
    shadow::ShadowSpec,
    units::{Timestamp, VmId},
};

/// A shadow uses less memory than its primary, which has been filling its caches for weeks.
const MEMORY_PART: f64 = 0.7;

pub(super) struct Shadow {
    pub spec: ShadowSpec,
    /// The primary's place in the roster.
    pub of: usize,
    pub state: Power,
    pub generation: u64,
    pub counters: Counters,
    pub share: ShareLog,
    pub sickness: Option<Sickness>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    Off,
    /// Answers once its boot is over.
    On {
        since: Timestamp,
        answers_at: Timestamp,
    },
}

/// What a service does when something is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sickness {
    /// 0..=1 of its requests that fail.
    pub error_ratio: f64,
    pub response_millis: f64,
}

impl Shadow {
    pub(super) fn new(spec: ShadowSpec, of: usize, at: Timestamp) -> Self {
        let mut share = ShareLog::default();
        // Before it is in a balancer it has no traffic at all.
        share.set(Timestamp(i64::MIN), 0.0);
        Self {
            spec,
            of,
            state: Power::Off,
            generation: 0,
            counters: Counters {
                at,
                ..Counters::default()
            },
            share,
            sickness: None,
        }
    }

    pub(super) fn answers(&self, at: Timestamp) -> bool {
        matches!(self.state, Power::On { answers_at, .. } if answers_at <= at)
    }

    pub(super) fn runs(&self) -> bool {
        self.state != Power::Off
    }

    pub(super) fn runs_since(&self) -> Option<Timestamp> {
        match self.state {
            Power::Off => None,
            Power::On { since, .. } => Some(since),
        }
    }

    /// Sizes of the primary over those of the shadow: the same traffic is more of a smaller VM.
    fn gain(&self, primary: &Record, metric: Metric) -> f64 {
        match metric {
            Metric::Cpu => f64::from(primary.size.vcpus) / f64::from(self.spec.vcpus.max(1)),
            _ => 1.0,
        }
    }

    /// The mean of a metric over a span; `None` for what a hypervisor does not measure.
    pub(super) fn mean(
        &self,
        shared: &Shared,
        metric: Metric,
        from: Timestamp,
        to: Timestamp,
    ) -> Option<f64> {
        let primary = &shared.roster.vms[self.of];
        let curve = shared.curve(primary, metric)?;
        let seconds = (to.as_millis() - from.as_millis()).max(1) as f64 / 1000.0;
        if metric == Metric::Memory {
            return Some(curve.integral(from, to) / seconds * MEMORY_PART);
        }
        if !follows_traffic(metric) {
            return Some(0.0);
        }
        let gain = self.gain(primary, metric);
        let sum = self.share.integral(&curve, idle(metric), gain, from, to);
        let mean = sum / seconds;
        Some(if metric == Metric::Cpu {
            mean.min(1.0)
        } else {
            mean
        })
    }

    /// Brings the counters up to `now` and reads them.
    pub(super) fn read(&mut self, shared: &Shared, id: &VmId, now: Timestamp) -> Reading {
        let from = self.counters.at;
        let seconds = (now.as_millis() - from.as_millis()).max(0) as f64 / 1000.0;
        let used = |metric| self.mean(shared, metric, from, now).unwrap_or_default() * seconds;
        let (cpu, disk, net) = (used(Metric::Cpu), used(Metric::Disk), used(Metric::Net));
        self.counters.at = now;
        self.counters.cpu += cpu;
        self.counters.disk += disk;
        self.counters.net += net;
        let memory = self
            .mean(shared, Metric::Memory, now, now.plus_secs(1))
            .unwrap_or_default();
        Reading {
            vm: id.clone(),
            at: now,
            vcpus: self.spec.vcpus,
            cpu_nanos: Some((self.counters.cpu * f64::from(self.spec.vcpus) * 1e9) as u64),
            steal_nanos: Some(0),
            disk_bytes: Some(self.counters.disk as u64),
            net_bytes: Some(self.counters.net as u64),
            memory_used_bytes: Some((memory * self.spec.memory_bytes as f64) as u64),
            memory_total_bytes: Some(self.spec.memory_bytes),
        }
    }

    pub(super) fn describe(&self, id: &VmId, host: String) -> Vm {
        let spec = &self.spec;
        Vm {
            id: id.clone(),
            name: spec.name.clone(),
            source: id.source(),
            pool: spec.pool.clone(),
            host,
            state: match self.state {
                Power::Off => PowerState::Off,
                Power::On { .. } => PowerState::Running,
            },
            generation: self.generation,
            vcpus: spec.vcpus,
            vcpus_max: spec.vcpus_max,
            memory_bytes: spec.memory_bytes,
            memory_max_bytes: spec.memory_bytes,
            instance_type: size_name(spec.vcpus, spec.memory_bytes),
            disks: spec
                .overlays
                .iter()
                .map(|overlay| Disk {
                    target: overlay.target.clone(),
                    path: format!("/var/lib/libvirt/images/{}", overlay.volume),
                    format: DiskFormat::Qcow2,
                    compat: Some("1.1".to_owned()),
                    capacity_bytes: overlay.capacity_bytes,
                    allocated_bytes: self.counters.disk as u64,
                    read_only: false,
                    limit_bytes_per_sec: None,
                })
                .collect(),
            net_limit_bytes_per_sec: None,
            has_agent: false,
            foreign_jobs: Vec::new(),
            labels: Vec::new(),
            owner: Some(spec.owner.clone()),
        }
    }
}

impl World {
    /// The shadow that a service is reached on.
    pub(super) fn shadow_at(&self, address: &str, port: u16) -> Option<&Shadow> {
        self.shadows.values().find(|shadow| {
            shadow.spec.network.address == address && shadow.spec.network.port == port
        })
    }
}
