//! Everything that a face shows, as one immutable value.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    calendar::{
        Event, Window,
        uplift::{Learned, Outcome},
    },
    forecast::{Forecast, NotReady, Outlook, record::Worth, runway::Runway},
    health::HealthScore,
    inventory::{Pool, Role, Service, Vm},
    metrics::{Metric, Series},
    replication::{Progress, ProofMark, RecoveryPoint},
    reservation::{Reserved, Room},
    shadow::{PlanKind, Proposal},
    units::{
        EngineId, EventId, OperationId, PoolId, ProposalId, ServiceName, ShadowId, SourceName,
        Timestamp, VmId, Weight,
    },
    validation::proof::Proof,
};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Grows with every snapshot.
    pub version: u64,
    pub at: Timestamp,
    pub engine: EngineId,
    /// A built-in simulated fleet, not a real one.
    pub demo: bool,
    pub frozen: bool,
    /// How far the forecasts look.
    pub horizon_seconds: u32,
    pub sources: Vec<SourceView>,
    pub pools: Arc<Vec<Pool>>,
    /// Sorted by id. A new `Arc` whenever anything in it changed.
    pub vms: Arc<Vec<VmView>>,
    pub services: Vec<ServiceView>,
    /// Open and snoozed first, most urgent first; then decided ones.
    pub proposals: Vec<Arc<Proposal>>,
    pub operations: Vec<OperationView>,
    pub shadows: Vec<ShadowView>,
    /// By pool.
    #[serde(default)]
    pub reservations: Vec<ReservationView>,
    /// Next first; those that are over last.
    #[serde(default)]
    pub calendar: Arc<Vec<EventView>>,
    /// Newest first.
    pub timeline: Arc<Vec<TimelineEntry>>,
    /// What is broken now and what that affects.
    pub alarms: Vec<Alarm>,
    /// Forecast work that is left: VM-metrics not yet forecast.
    pub forecasts_pending: u32,
}

impl Snapshot {
    pub fn vm(&self, id: &VmId) -> Option<&VmView> {
        self.vms
            .binary_search_by(|view| view.vm.id.cmp(id))
            .ok()
            .map(|index| &self.vms[index])
    }

    pub fn shadow_of(&self, vm: &VmId) -> Option<&ShadowView> {
        self.shadows.iter().find(|shadow| shadow.vm == *vm)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    Hypervisor,
    Balancer,
    /// Keeps samples of its own, such as Prometheus.
    History,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceView {
    pub name: SourceName,
    /// Without secrets.
    pub uri: String,
    pub kind: SourceKind,
    pub role: Role,
    pub armed: bool,
    /// When a back-fill from it ended last.
    pub last_backfill: Option<Timestamp>,
    /// `None` until the first answer.
    pub last_ok: Option<Timestamp>,
    /// What fails now.
    pub error: Option<String>,
    /// Why another console may change it and this one may not.
    pub held_elsewhere: Option<String>,
    pub vms: u32,
    /// VMs that do not answer.
    pub hung: Vec<VmId>,
    /// What the last look took.
    pub last_millis: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VmView {
    pub vm: Arc<Vm>,
    /// Newest values; `None` is a gap.
    pub values: [Option<f32>; Metric::COUNT],
    pub sampled_at: Option<Timestamp>,
    pub health: Arc<HealthScore>,
    /// One for each forecast metric that has a forecast.
    pub outlooks: Arc<Vec<Outlook>>,
    /// The last 24 means of CPU and the next 24 forecasts, in percent of the limit basis; 255 is a gap.
    pub spark: Arc<Vec<u8>>,
    pub shadow: Option<ShadowId>,
    pub proposal: Option<ProposalId>,
    /// Grows when new history or a new forecast is there.
    pub detail_version: u64,
    /// Why nothing is proposed though it would be, had enough been measured.
    #[serde(default)]
    pub withheld: Option<Arc<str>>,
}

impl VmView {
    /// The outlook that crosses its limit first.
    pub fn first_crossing(&self) -> Option<&Outlook> {
        self.outlooks
            .iter()
            .filter(|outlook| outlook.crosses_at.is_some())
            .min_by_key(|outlook| outlook.crosses_at)
    }

    pub fn outlook(&self, metric: Metric) -> Option<&Outlook> {
        self.outlooks
            .iter()
            .find(|outlook| outlook.metric == metric)
    }
}

/// One VM and metric at length, for its chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VmDetail {
    pub vm: VmId,
    pub metric: Metric,
    pub version: u64,
    pub measured: Series,
    pub forecast: Result<Forecast, NotReady>,
    /// A second opinion where one was computed: augurs' model.
    pub second: Option<Forecast>,
    pub limit: Option<f64>,
    /// The events that act on it.
    #[serde(default)]
    pub events: Vec<EventMark>,
    /// What past forecasts of it were worth; `None` for metrics that no record is kept of.
    #[serde(default)]
    pub record: Option<VmRecord>,
}

impl VmDetail {
    /// "As it was yesterday" does as well: by the record where there is one, else by the forecast's own last day.
    pub fn no_better_than_naive(&self) -> bool {
        let by_record = self
            .record
            .as_ref()
            .and_then(|record| record.worth.no_better_than_naive());
        by_record.unwrap_or_else(|| {
            self.forecast
                .as_ref()
                .is_ok_and(Forecast::no_better_than_naive)
        })
    }
}

/// What the past forecasts of one VM's metric were worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VmRecord {
    pub vm: VmId,
    pub worth: Worth,
    /// Between which moments forecasts were judged.
    pub from: Timestamp,
    pub to: Timestamp,
}

/// The same of many VMs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForecastRecord {
    pub metric: Metric,
    pub at: Timestamp,
    /// Of all of them together.
    pub total: Worth,
    /// Those that were looked at, in the order of their ids.
    pub vms: Vec<VmRecord>,
    /// Those that nobody has looked at yet.
    pub waiting: u32,
}

/// What a runway is asked of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunwayOf {
    Vm(VmId),
    Pool(PoolId),
    /// All VMs of an instance type.
    Type(String),
}

/// How long a capacity lasts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunwayReport {
    pub of: RunwayOf,
    pub metric: Metric,
    pub at: Timestamp,
    /// How many VMs were added up.
    pub vms: u32,
    /// In the metric's unit for a VM; in vCPUs or bytes for many, where the metric is a ratio.
    pub limit: Option<f64>,
    /// The highest hour of each day so far.
    pub peaks: Series,
    pub runway: Result<Runway, NotReady>,
}

/// An event on one VM's chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventMark {
    pub name: String,
    /// Past and to come.
    pub windows: Vec<Window>,
    /// `None` where nothing is learned from it: it is excluded.
    pub learned: Option<Learned>,
}

/// An entry of the calendar as it stands now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventView {
    pub event: Event,
    /// The one that runs, or the next within a year.
    pub next: Option<Window>,
    /// How many VMs it affects.
    pub vms: u32,
}

/// What one event did to those whom it affects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventReport {
    pub event: EventId,
    pub metric: Metric,
    /// Of the busiest that it affects.
    pub vms: Vec<VmUplift>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VmUplift {
    pub vm: VmId,
    pub vm_name: String,
    pub learned: Option<Learned>,
    /// Oldest first.
    pub outcomes: Vec<Outcome>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceView {
    pub service: Service,
    pub servers: Vec<ServerView>,
    /// 0..=1 of its VM's traffic on the shadow, read back from the balancer; 0 without a shadow.
    pub shadow_share: f64,
    pub errors_per_second: Option<f64>,
    pub response_millis: Option<f64>,
    pub requests_per_second: Option<f64>,
    pub sticky: bool,
    pub error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerView {
    pub server: String,
    pub vm: Option<VmId>,
    pub is_shadow: bool,
    pub weight: Weight,
    pub up: bool,
    pub requests_per_second: Option<f64>,
    pub errors_per_second: Option<f64>,
    pub response_millis: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    Running,
    Waiting,
    Done,
    Undone,
    Parked,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperationView {
    pub id: OperationId,
    pub kind: PlanKind,
    pub vm: VmId,
    pub vm_name: String,
    pub shadow: ShadowId,
    pub state: OperationState,
    /// Steps done.
    pub step: usize,
    pub steps: Vec<StepView>,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// Of the step that runs.
    pub progress: Option<Progress>,
    pub undoing: bool,
    pub by: String,
    /// Why it stopped, failed or waits.
    pub why: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    pub text: String,
    pub state: StepState,
    pub note: String,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    Pending,
    Running,
    Done,
    Failed,
    Undone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShadowState {
    Creating,
    /// In step and powered off.
    Replicating,
    Serving,
    /// Cycles fail: the newest point is older than the objective allows.
    Stalled,
    Retiring,
    /// In its primary's place, and can be rolled back.
    Promoted,
    /// In its primary's place for good.
    Committed,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowView {
    pub id: ShadowId,
    pub vm: VmId,
    pub vm_name: String,
    pub name: String,
    pub pool: PoolId,
    pub state: ShadowState,
    pub method: String,
    pub vcpus: u32,
    pub memory_bytes: u64,
    pub rpo_seconds: u32,
    /// Age of the newest complete point.
    pub lag_seconds: Option<u64>,
    /// Bytes that the source has written since the newest complete point.
    pub lag_bytes: Option<u64>,
    pub points: Vec<RecoveryPoint>,
    /// What the points take on the target.
    pub stored_bytes: u64,
    /// The newest proof that says something.
    pub last_proof: Option<ProofMark>,
    /// When it is renewed by itself.
    pub next_proof_at: Option<Timestamp>,
    /// A clone of one of its points runs.
    pub proving: bool,
    /// The newest validations, newest first; of a console only the end, and that of the first alone.
    pub proofs: Vec<Proof>,
    pub serving_from: Option<u64>,
    pub last_cycle_millis: Option<u64>,
    pub cycle_progress: Option<Progress>,
    pub stalled: Option<String>,
    pub service: Option<ServiceName>,
    /// As read back.
    pub traffic_share: f64,
    pub wanted_share: f64,
    pub gate: Option<GateView>,
    /// Lag in seconds at the end of each of the newest cycles, oldest first.
    pub recent_lags: Vec<f32>,
    /// It stands in its primary's place.
    #[serde(default)]
    pub promotion: Option<PromotionView>,
}

/// A shadow in its primary's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromotionView {
    pub at: Timestamp,
    /// Until then it can be rolled back; afterwards it waits for a decision.
    pub until: Timestamp,
    pub committed_at: Option<Timestamp>,
    /// The recovery point that it started from.
    pub point: u64,
    /// What a person said about a primary that could not be reached.
    pub attestation: Option<String>,
    /// At most so many seconds of the primary's writes were lost.
    pub lost_seconds: Option<u64>,
    /// What its disks have taken since; what a rollback would lose.
    pub accepted_bytes: Option<u64>,
}

/// What is kept for shadows in one pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReservationView {
    pub reserved: Reserved,
    /// `None` until the pool was read.
    pub room: Option<Room>,
    /// The shadows that have a part of it, running or not.
    pub users: Vec<ReservationUser>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReservationUser {
    pub shadow: ShadowId,
    pub vm_name: String,
    pub vcpus: u32,
    pub memory_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateView {
    pub holds: bool,
    pub error_ratio: Option<f64>,
    pub error_limit: f64,
    pub response_millis: Option<f64>,
    pub response_limit_millis: f64,
    /// The last breach and what was done.
    pub last_breach: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimelineKind {
    Proposal,
    Decision,
    Operation,
    Replication,
    Traffic,
    Source,
    Engine,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimelineEntry {
    pub at: Timestamp,
    pub kind: TimelineKind,
    pub text: String,
    pub vm: Option<VmId>,
    pub operation: Option<OperationId>,
    /// Something went wrong.
    pub bad: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    pub text: String,
    /// What it affects.
    pub effect: String,
    pub since: Timestamp,
}

impl RunwayReport {
    /// Ratios of many VMs cannot be added up: they become what they are a ratio of.
    pub const fn unit(&self) -> &'static str {
        match (&self.of, self.metric) {
            (RunwayOf::Pool(_) | RunwayOf::Type(_), Metric::Cpu) => "vcpus",
            (RunwayOf::Pool(_) | RunwayOf::Type(_), Metric::Memory) => "bytes",
            (_, metric) => metric.unit(),
        }
    }

    pub fn newest_peak(&self) -> Option<f32> {
        let known = self.peaks.values.iter().rev();
        known.copied().find(|peak| peak.is_finite())
    }

    /// The first day whose mean reaches the limit.
    pub fn likely_full(&self) -> Option<Timestamp> {
        self.runway.as_ref().ok()?.full?.likely
    }
}
