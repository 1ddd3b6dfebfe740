//! What is known of each VM: inventory, newest sample, health, outlooks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Core, Effect, FleetOutlook, ForecastJob, Kin, Sampled, VmRecord};
use crate::{
    health::{
        self, ForecastRisk, HealthInput, HealthScore, HealthState, Limited, Normal, ShadowLag,
        SteadyState, Thresholds,
    },
    hypervisor::PlatformError,
    inventory::{Inventory, PowerState, Role, Vm},
    metrics::{Metric, Sample},
    policy::{Limits, Settings, types::type_of},
    shadow::hold::Held,
    units::{SourceName, Timestamp, VmId},
};

/// More of a type than this tell no more of it.
const MAX_KIN: usize = 12;
/// Fleets up to this size are forecast as often as this, whatever the settings say: it costs nothing.
const SMALL_FLEET: usize = 200;
const SMALL_FLEET_SECONDS: i64 = 30;

/// When the fleet was last forecast, and how much of that is left.
#[derive(Clone, Debug, Default)]
pub struct ForecastState {
    pub pending: u32,
    pub running: bool,
    pub last_started: Option<Timestamp>,
    pub rounds: u32,
    pub wanted: bool,
}

impl Core {
    pub(super) fn inventory(
        &mut self,
        at: Timestamp,
        source: &SourceName,
        result: Result<Inventory, PlatformError>,
        millis: u64,
        out: &mut Vec<Effect>,
    ) {
        if !self.sources.contains_key(source) {
            return;
        }
        match result {
            Err(error) => self.source_answered(at, source, Some(error.to_string()), millis, out),
            Ok(inventory) => {
                self.take_inventory(source, inventory);
                self.source_answered(at, source, None, millis, out);
            }
        }
    }

    pub(super) fn take_inventory(&mut self, source: &SourceName, inventory: Inventory) {
        let role = self
            .sources
            .get(source)
            .map_or(Role::Both, |source| source.config.role());
        let simulated = self
            .sources
            .get(source)
            .is_some_and(|source| source.config.uri.starts_with("simulated:"));
        self.pools.retain(|id, _| id.source() != *source);
        for mut pool in inventory.pools {
            // A simulated fleet gives each of its pools a role of its own.
            if !simulated {
                pool.role = role;
            }
            self.pools.insert(pool.id.clone(), pool);
        }
        let mut present: BTreeSet<VmId> = BTreeSet::new();
        for mut vm in inventory.vms {
            vm.instance_type = type_of(&self.settings.types, &vm).name;
            present.insert(vm.id.clone());
            match self.vms.get_mut(&vm.id) {
                Some(record) if *record.vm == vm => {}
                Some(record) => {
                    if record.vm.generation != vm.generation {
                        record.detail_version += 1;
                    }
                    record.vm = Arc::new(vm);
                    self.views.vms = None;
                }
                None => {
                    self.vms.insert(vm.id.clone(), VmRecord::new(vm));
                    self.forecast.wanted = true;
                    self.views.vms = None;
                }
            }
        }
        let before = self.vms.len();
        self.vms
            .retain(|id, _| id.source() != *source || present.contains(id));
        if self.vms.len() != before {
            self.views.vms = None;
        }
    }

    pub(super) fn samples(
        &mut self,
        at: Timestamp,
        source: &SourceName,
        result: Result<Sampled, PlatformError>,
        millis: u64,
        out: &mut Vec<Effect>,
    ) {
        let Some(known) = self.sources.get_mut(source) else {
            return;
        };
        match result {
            Err(error) => self.source_answered(at, source, Some(error.to_string()), millis, out),
            Ok(sampled) => {
                known.hung = sampled.hung;
                known.sampled = known.sampled.saturating_add(1);
                let keep = !known.config.uri.starts_with("simulated:");
                self.source_answered(at, source, None, millis, out);
                let mut kept = Vec::with_capacity(sampled.samples.len());
                for mut sample in sampled.samples {
                    if !self.vms.contains_key(&sample.vm) {
                        continue;
                    }
                    self.add_traffic_values(&mut sample);
                    if keep {
                        kept.push(sample.clone());
                    }
                    self.take_sample(at, sample);
                }
                self.views.vms = None;
                if !kept.is_empty() {
                    out.push(Effect::Store(kept));
                }
            }
        }
    }

    fn take_sample(&mut self, at: Timestamp, sample: Sample) {
        let id = sample.vm.clone();
        if let Some(record) = self.vms.get_mut(&id) {
            if let Some(millis) = sample.get(Metric::Response) {
                let normal = record.normal_response;
                record.normal_response = normal.after(sample.at, f64::from(millis));
            }
            record.sample = Some(sample);
            record.detail_version += 1;
        }
        self.score(at, &id);
    }

    /// Health anew from what is known of a VM.
    pub(super) fn score(&mut self, at: Timestamp, id: &VmId) {
        let Some(record) = self.vms.get(id) else {
            return;
        };
        let limits = self.limits_of(id);
        let thresholds = self.settings.thresholds();
        let mut health = health_of(record, &limits, self.shadow_lag(at, id), &thresholds, at);
        if let Some(record) = self.vms.get_mut(id) {
            record.state = record.state.after(health.score, at, &thresholds.states);
            health.state = record.state.shown();
            if *record.health != health {
                record.health = Arc::new(health);
            }
        }
    }

    /// How far the VM's shadow is behind, once it stands.
    pub(super) fn shadow_lag(&self, at: Timestamp, id: &VmId) -> Option<ShadowLag> {
        let shadow = self.shadows.values().find(|shadow| shadow.vm == *id)?;
        let stands = self
            .operations
            .get(&shadow.operation)
            .is_none_or(crate::operation::fold::Operation::ended);
        if shadow.retiring || !stands {
            return None;
        }
        Some(ShadowLag {
            lag_seconds: self.manifests.get(&shadow.id)?.lag_seconds(at)?,
            rpo_seconds: shadow.rpo_seconds,
        })
    }

    /// The limits of a VM: the operator's, and where there are none for disk and network, the platform's own.
    pub(super) fn limits_of(&self, id: &VmId) -> Limits {
        self.vms.get(id).map_or_else(Limits::default, |record| {
            limits_by(&self.settings, &record.vm)
        })
    }

    pub(super) fn limit(&self, id: &VmId, metric: Metric) -> Option<f64> {
        let limits = self.limits_of(id);
        match metric {
            Metric::Cpu => limits.cpu,
            Metric::Memory => limits.memory,
            Metric::Disk => limits.disk_bytes_per_sec,
            Metric::Net => limits.net_bytes_per_sec,
            Metric::Response => Some(self.settings.health.response_millis),
            Metric::Errors => Some(self.settings.health.error_ratio),
            Metric::Steal => Some(self.settings.health.steal),
            Metric::Requests => None,
        }
    }

    /// VMs whose samples stopped are no longer scored by them.
    pub(super) fn age_vms(&mut self, at: Timestamp) {
        let oldest = at.plus_secs(-i64::from(self.settings.max_sample_age_seconds()));
        let stale: Vec<VmId> = self
            .vms
            .iter()
            .filter(|(_, record)| record.health.state != HealthState::Unknown)
            .filter(|(_, record)| {
                record
                    .sample
                    .as_ref()
                    .is_none_or(|sample| sample.at < oldest)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in &stale {
            self.score(at, id);
        }
        if !stale.is_empty() {
            self.views.vms = None;
        }
    }

    pub(super) fn outlooks(
        &mut self,
        at: Timestamp,
        batch: Vec<FleetOutlook>,
        pending: u32,
        _out: &mut Vec<Effect>,
    ) {
        self.forecast.pending = pending;
        if pending == 0 {
            self.forecast.running = false;
            self.forecast.rounds += 1;
        }
        let policy = self.need_policy();
        for found in batch {
            let Some(record) = self.vms.get_mut(&found.vm) else {
                continue;
            };
            record.coverage = found.coverage;
            record.outlooks = Arc::new(found.outlooks);
            record.spark = Arc::new(found.spark);
            record.detail_version += 1;
            self.score(at, &found.vm);
            let quiet = self
                .vms
                .get(&found.vm)
                .and_then(|record| self.quiet_since(at, record, &policy));
            if let Some(record) = self.vms.get_mut(&found.vm) {
                record.quiet_since = quiet;
            }
        }
        self.views.vms = None;
    }

    pub(super) fn history_changed(&mut self, _at: Timestamp, vms: &[VmId], _out: &mut Vec<Effect>) {
        for vm in vms {
            if let Some(record) = self.vms.get_mut(vm) {
                record.detail_version += 1;
            }
        }
        self.forecast.wanted = true;
        self.views.vms = None;
    }

    /// Some running VMs of each instance type of each source.
    fn kin(&self) -> BTreeMap<(SourceName, String), Kin> {
        let mut found: BTreeMap<(SourceName, String), Vec<VmId>> = BTreeMap::new();
        let running = |record: &&VmRecord| {
            record.vm.state == PowerState::Running && record.vm.owner.is_none()
        };
        for record in self.vms.values().filter(running) {
            let key = (record.vm.source.clone(), record.vm.instance_type.clone());
            let of_type = found.entry(key).or_default();
            if of_type.len() < MAX_KIN {
                of_type.push(record.vm.id.clone());
            }
        }
        found
            .into_iter()
            .map(|((source, type_name), vms)| {
                let kin = Kin {
                    type_name: type_name.clone(),
                    vms: Arc::new(vms),
                };
                ((source, type_name), kin)
            })
            .collect()
    }

    pub(super) fn kin_of(&self, vm: &Vm) -> Kin {
        let key = (vm.source.clone(), vm.instance_type.clone());
        self.kin().remove(&key).unwrap_or_default()
    }

    pub(super) fn refresh_forecasts(&mut self, at: Timestamp, out: &mut Vec<Effect>) {
        let heard = self.sources.values().all(|source| source.heard);
        if self.forecast.running || self.vms.is_empty() || !heard {
            return;
        }
        let every = if self.vms.len() <= SMALL_FLEET {
            SMALL_FLEET_SECONDS.min(i64::from(self.settings.forecast.refresh_seconds))
        } else {
            i64::from(self.settings.forecast.refresh_seconds)
        };
        let due = self
            .forecast
            .last_started
            .is_none_or(|last| at.secs_since(last) >= every);
        if !due && !self.forecast.wanted {
            return;
        }
        let horizon_seconds = self.settings.forecast.horizon_hours * 3600;
        // Whoever was nearest to a limit last time is looked at first, then whoever is busiest now.
        let mut order: Vec<&VmRecord> = self
            .vms
            .values()
            .filter(|record| record.vm.state == PowerState::Running && record.vm.owner.is_none())
            .collect();
        let busy = |record: &VmRecord| {
            let sample = record.sample.as_ref();
            let values =
                [Metric::Cpu, Metric::Memory].map(|metric| sample.and_then(|s| s.get(metric)));
            values.into_iter().flatten().fold(0.0, f32::max)
        };
        order.sort_by_cached_key(|record| {
            let crosses = record
                .outlooks
                .iter()
                .filter_map(|outlook| outlook.crosses_at)
                .min();
            (
                crosses.map_or(i64::MAX, |at| at.0),
                -(busy(record) * 1000.0) as i64,
            )
        });
        let kin = self.kin();
        let calendar = self.calendar_around(at);
        let jobs: Vec<ForecastJob> = order
            .into_iter()
            .map(|record| ForecastJob {
                vm: record.vm.id.clone(),
                limits: self.limits_of(&record.vm.id),
                horizon_seconds,
                events: self.of_calendar(&calendar, &record.vm),
                kin: kin
                    .get(&(record.vm.source.clone(), record.vm.instance_type.clone()))
                    .cloned()
                    .unwrap_or_default(),
            })
            .collect();
        self.forecast.wanted = false;
        self.forecast.last_started = Some(at);
        self.forecast.pending = jobs.len() as u32;
        self.forecast.running = !jobs.is_empty();
        if jobs.is_empty() {
            self.forecast.rounds += 1;
        } else {
            out.push(Effect::Forecast(jobs));
        }
    }
}

impl VmRecord {
    fn new(vm: crate::inventory::Vm) -> Self {
        let health = HealthScore {
            score: None,
            state: HealthState::Unknown,
            contributions: Vec::new(),
        };
        Self {
            vm: Arc::new(vm),
            sample: None,
            health: Arc::new(health),
            outlooks: Arc::default(),
            spark: Arc::default(),
            detail_version: 0,
            coverage: 0.0,
            quiet_since: None,
            state: SteadyState::default(),
            normal_response: Normal::default(),
            no_proposal_before: None,
            held: Held::default(),
            withheld: None,
        }
    }
}

/// The operator's limits, and where there are none for disk and network, the platform's own.
pub(super) fn limits_by(settings: &Settings, vm: &Vm) -> Limits {
    let mut limits = settings.limits_of(&vm.name);
    let disks: Option<u64> = vm
        .disks
        .iter()
        .map(|disk| disk.limit_bytes_per_sec)
        .collect::<Option<Vec<_>>>()
        .map(|limits| limits.into_iter().sum());
    if !vm.disks.is_empty() {
        limits.disk_bytes_per_sec = limits
            .disk_bytes_per_sec
            .or(disks.map(|limit| limit as f64));
    }
    limits.net_bytes_per_sec = limits
        .net_bytes_per_sec
        .or(vm.net_limit_bytes_per_sec.map(|limit| limit as f64));
    limits
}

pub(super) fn health_of(
    record: &VmRecord,
    limits: &Limits,
    shadow: Option<ShadowLag>,
    thresholds: &Thresholds,
    at: Timestamp,
) -> HealthScore {
    let value = |metric: Metric| {
        record
            .sample
            .as_ref()
            .and_then(|sample| sample.get(metric))
            .map(f64::from)
    };
    let limited = |metric: Metric, limit: Option<f64>| Limited {
        value: value(metric),
        limit,
    };
    health::score(
        &HealthInput {
            cpu: limited(Metric::Cpu, limits.cpu),
            memory: limited(Metric::Memory, limits.memory),
            disk: limited(Metric::Disk, limits.disk_bytes_per_sec),
            net: limited(Metric::Net, limits.net_bytes_per_sec),
            steal: value(Metric::Steal),
            response_millis: value(Metric::Response),
            normal_response_millis: record.normal_response.millis(),
            error_ratio: value(Metric::Errors),
            forecast: ForecastRisk::nearest(&record.outlooks, at),
            data_age_seconds: record
                .sample
                .as_ref()
                .map(|sample| at.secs_since(sample.at).max(0) as u64),
            coverage: (record.coverage > 0.0).then_some(record.coverage),
            shadow,
        },
        thresholds,
    )
}
