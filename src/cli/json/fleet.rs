//! What exists and how it does: sources, pools, VMs, health, history, forecast.

use serde::Serialize;

use crate::{
    engine::snapshot::{SourceKind, SourceView, VmDetail, VmView},
    forecast::{Accuracy, Forecast, ForecastPoint, NotReady, Outlook},
    health::{Contribution, HealthState},
    inventory::{Disk, Label, Pool, PowerState, Role, Storage},
    metrics::{Metric, Series},
    units::{PoolId, ProposalId, ShadowId, SourceName, Timestamp, VmId},
};

#[derive(Serialize)]
pub struct SourceJson<'a> {
    name: &'a SourceName,
    uri: &'a str,
    kind: &'a SourceKind,
    role: Role,
    armed: bool,
    last_backfill: Option<Timestamp>,
    last_ok: Option<Timestamp>,
    error: Option<&'a str>,
    held_elsewhere: Option<&'a str>,
    vms: u32,
    hung: &'a [VmId],
    last_millis: u64,
}

impl<'a> From<&'a SourceView> for SourceJson<'a> {
    fn from(view: &'a SourceView) -> Self {
        Self {
            name: &view.name,
            uri: &view.uri,
            kind: &view.kind,
            role: view.role,
            armed: view.armed,
            last_backfill: view.last_backfill,
            last_ok: view.last_ok,
            error: view.error.as_deref(),
            held_elsewhere: view.held_elsewhere.as_deref(),
            vms: view.vms,
            hung: &view.hung,
            last_millis: view.last_millis,
        }
    }
}

#[derive(Serialize)]
pub struct PoolJson<'a> {
    id: &'a PoolId,
    name: &'a str,
    source: &'a SourceName,
    role: Role,
    hosts: u32,
    cpus: u32,
    memory_bytes: u64,
    memory_free_bytes: u64,
    cpu_used: Option<f64>,
    contention: Option<f64>,
    storage: &'a [Storage],
    service_address: &'a str,
}

impl<'a> From<&'a Pool> for PoolJson<'a> {
    fn from(pool: &'a Pool) -> Self {
        Self {
            id: &pool.id,
            name: &pool.name,
            source: &pool.source,
            role: pool.role,
            hosts: pool.hosts,
            cpus: pool.cpus,
            memory_bytes: pool.memory_bytes,
            memory_free_bytes: pool.memory_free_bytes,
            cpu_used: pool.cpu_used,
            contention: pool.contention,
            storage: &pool.storage,
            service_address: &pool.service_address,
        }
    }
}

#[derive(Serialize)]
pub struct VmJson<'a> {
    id: &'a VmId,
    name: &'a str,
    source: &'a SourceName,
    pool: &'a PoolId,
    host: &'a str,
    state: PowerState,
    instance_type: &'a str,
    vcpus: u32,
    memory_bytes: u64,
    cpu: Option<f32>,
    memory: Option<f32>,
    disk_bytes_per_sec: Option<u64>,
    net_bytes_per_sec: Option<u64>,
    steal: Option<f32>,
    response_millis: Option<f32>,
    errors: Option<f32>,
    requests_per_sec: Option<f32>,
    health: Option<u8>,
    health_state: HealthState,
    sampled_at: Option<Timestamp>,
    crosses_at: Option<Timestamp>,
    shadow: Option<&'a ShadowId>,
    proposal: Option<&'a ProposalId>,
    /// Made by this engine.
    is_shadow: bool,
}

impl<'a> From<&'a VmView> for VmJson<'a> {
    fn from(view: &'a VmView) -> Self {
        let vm = &*view.vm;
        let value = |metric: Metric| view.values[metric.index()].filter(|value| value.is_finite());
        let count = |metric| value(metric).map(|value| value.max(0.0).round() as u64);
        Self {
            id: &vm.id,
            name: &vm.name,
            source: &vm.source,
            pool: &vm.pool,
            host: &vm.host,
            state: vm.state,
            instance_type: &vm.instance_type,
            vcpus: vm.vcpus,
            memory_bytes: vm.memory_bytes,
            cpu: value(Metric::Cpu),
            memory: value(Metric::Memory),
            disk_bytes_per_sec: count(Metric::Disk),
            net_bytes_per_sec: count(Metric::Net),
            steal: value(Metric::Steal),
            response_millis: value(Metric::Response),
            errors: value(Metric::Errors),
            requests_per_sec: value(Metric::Requests),
            health: view.health.score,
            health_state: view.health.state,
            sampled_at: view.sampled_at,
            crosses_at: view.first_crossing().and_then(|outlook| outlook.crosses_at),
            shadow: view.shadow.as_ref(),
            proposal: view.proposal.as_ref(),
            is_shadow: vm.owner.is_some(),
        }
    }
}

/// `vm NAME`: the row of `vms` and what only one VM's page needs.
#[derive(Serialize)]
pub struct OneVmJson<'a> {
    #[serde(flatten)]
    vm: VmJson<'a>,
    disks: &'a [Disk],
    has_agent: bool,
    foreign_jobs: &'a [String],
    labels: &'a [Label],
    contributions: &'a [Contribution],
    outlooks: &'a [Outlook],
    /// Why nothing is proposed though it would be, had enough been measured.
    withheld: Option<&'a str>,
}

impl<'a> From<&'a VmView> for OneVmJson<'a> {
    fn from(view: &'a VmView) -> Self {
        Self {
            vm: view.into(),
            disks: &view.vm.disks,
            has_agent: view.vm.has_agent,
            foreign_jobs: &view.vm.foreign_jobs,
            labels: &view.vm.labels,
            contributions: &view.health.contributions,
            outlooks: &view.outlooks,
            withheld: view.withheld.as_deref(),
        }
    }
}

#[derive(Serialize)]
pub struct HealthJson<'a> {
    vm: &'a VmId,
    vm_name: &'a str,
    score: Option<u8>,
    state: HealthState,
    contributions: &'a [Contribution],
}

impl<'a> From<&'a VmView> for HealthJson<'a> {
    fn from(view: &'a VmView) -> Self {
        Self {
            vm: &view.vm.id,
            vm_name: &view.vm.name,
            score: view.health.score,
            state: view.health.state,
            contributions: &view.health.contributions,
        }
    }
}

#[derive(Serialize)]
pub struct ForecastJson<'a> {
    vm: &'a VmId,
    vm_name: &'a str,
    metric: Metric,
    unit: &'static str,
    made_at: Timestamp,
    step_seconds: u32,
    model: &'a str,
    accuracy: Option<Accuracy>,
    points: &'a [ForecastPoint],
    limit: Option<f64>,
    crosses_at: Option<Timestamp>,
    probability: Option<f64>,
    /// The same for each hour ahead.
    hourly: &'a [f32],
    no_better_than_naive: bool,
    /// Another model's opinion on the same series, where there is one.
    second: Option<SecondJson<'a>>,
}

#[derive(Serialize)]
pub struct SecondJson<'a> {
    model: &'a str,
    accuracy: Option<Accuracy>,
    points: &'a [ForecastPoint],
    crosses_at: Option<Timestamp>,
}

impl<'a> ForecastJson<'a> {
    /// # Errors
    /// Why there is no forecast.
    pub fn of(view: &'a VmView, detail: &'a VmDetail) -> Result<Self, &'a NotReady> {
        let forecast: &Forecast = detail.forecast.as_ref()?;
        Ok(Self {
            vm: &view.vm.id,
            vm_name: &view.vm.name,
            metric: forecast.metric,
            unit: forecast.metric.unit(),
            made_at: forecast.made_at,
            step_seconds: forecast.step_seconds,
            model: &forecast.model,
            accuracy: forecast.accuracy,
            points: &forecast.points,
            limit: forecast.limit,
            crosses_at: forecast.crosses_at,
            probability: forecast.probability,
            hourly: &forecast.hourly,
            no_better_than_naive: detail.no_better_than_naive(),
            second: detail.second.as_ref().map(|second| SecondJson {
                model: &second.model,
                accuracy: second.accuracy,
                points: &second.points,
                crosses_at: second.crosses_at,
            }),
        })
    }
}

#[derive(Serialize)]
pub struct HistoryJson<'a> {
    vm: &'a VmId,
    vm_name: &'a str,
    metric: Metric,
    unit: &'static str,
    step_seconds: u32,
    points: Vec<HistoryPoint>,
}

#[derive(Serialize)]
struct HistoryPoint {
    at: Timestamp,
    /// `null` is a gap.
    value: Option<f32>,
}

impl<'a> HistoryJson<'a> {
    pub fn of(view: &'a VmView, metric: Metric, series: &Series) -> Self {
        Self {
            vm: &view.vm.id,
            vm_name: &view.vm.name,
            metric,
            unit: metric.unit(),
            step_seconds: series.step_seconds,
            points: (series.values.iter().enumerate())
                .map(|(index, value)| HistoryPoint {
                    at: series.at(index),
                    value: value.is_finite().then_some(*value),
                })
                .collect(),
        }
    }
}
