//! The pure core: one value that holds all state, one function that takes an input and says what to do.
//!
//! It reads no clock, starts nothing and draws no unseeded number, so a seed can drive all of it. The order of
//! effects is the write-ahead rule: what must be on disk before something happens stands before it in the list.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    command::{Answer, Command, ImportedSeries, Reply},
    snapshot::{RunwayOf, TimelineEntry, TimelineKind},
};
use crate::{
    calendar::{Affecting, Event},
    forecast::Outlook,
    health::{HealthScore, Normal, SteadyState},
    hypervisor::{ErrorKind, Examination, PlatformError},
    inventory::{Inventory, Pool, Role, Service, Vm},
    metrics::{Metric, Sample},
    operation::{Entry, JournalRow, fold::Operation},
    policy::{Limits, Settings},
    problem::Problem,
    replication::{IncrementSpec, Manifest, Merge, Progress, cycle::Shipped},
    reservation::{Ledger, Reserved},
    shadow::{CloneSpec, PlanKind, Proposal, ShareSpec, Step, hold::Held},
    telemetry::prometheus::{PrometheusError, backfill::Wanted},
    traffic::{DirectorError, ServerSpec, TrafficReading},
    units::{
        EngineId, EventId, OperationId, PoolId, ProposalId, ServiceName, ShadowId, SourceName,
        Timestamp, VmId,
    },
    validation::{
        check::{Check, CheckResult},
        proof::Proof,
    },
};

mod calendar;
mod capacity;
mod commands;
mod decisions;
mod history;
mod judge;
mod methods;
mod operations;
mod promotion;
mod proofs;
mod proposals;
mod refresh;
mod replicas;
mod reservations;
mod settings;
mod shadows;
mod sources;
#[cfg(test)]
mod tests;
mod traffic;
mod validate;
mod view;
mod vms;

pub use promotion::Promotion;
pub use shadows::Shadow;
pub use sources::SourceConfig;

/// Ties a slow effect to its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EffectId(pub u64);

/// Ties a command to whoever waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyTo(pub u64);

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// Everything kept has been loaded: carry on what was begun.
    Started,
    /// Time passed.
    Tick,
    Command {
        to: ReplyTo,
        command: Command,
    },
    Inventory {
        source: SourceName,
        result: Result<Inventory, PlatformError>,
        millis: u64,
    },
    Samples {
        source: SourceName,
        result: Result<Sampled, PlatformError>,
        millis: u64,
    },
    Traffic {
        source: SourceName,
        result: Result<TrafficReading, DirectorError>,
        millis: u64,
    },
    Outlooks {
        batch: Vec<FleetOutlook>,
        pending: u32,
    },
    HistoryChanged {
        vms: Vec<VmId>,
    },
    /// A back-fill from this source has ended well.
    Backfilled {
        source: SourceName,
    },
    /// A server that only keeps history was looked at.
    LookedAt {
        source: SourceName,
        error: Option<String>,
        millis: u64,
    },
    Progress {
        effect: EffectId,
        progress: Progress,
    },
    /// The spool of the increment that this effect ships is complete.
    Spooled {
        effect: EffectId,
    },
    Outcome {
        effect: EffectId,
        result: Result<Outcome, Failure>,
    },
    /// Something could not be kept: nothing more may be changed.
    StoreFailed {
        why: String,
    },
}

/// The samples of one round.
#[derive(Clone, Debug, Default)]
pub struct Sampled {
    pub samples: Vec<Sample>,
    pub hung: Vec<VmId>,
}

/// What the fleet's forecaster found for one VM.
#[derive(Clone, Debug)]
pub struct FleetOutlook {
    pub vm: VmId,
    pub outlooks: Vec<Outlook>,
    pub spark: Vec<u8>,
    /// 0..=1 of the last day that was measured.
    pub coverage: f64,
}

/// What a slow effect came to.
#[derive(Clone, Debug)]
pub enum Outcome {
    Done { note: String },
    Shipped(Shipped),
    Merged { stored_bytes: u64 },
    Checked(CheckResult),
    CloneGone { console: String },
    Examined(Examination),
    Refreshed(Vec<(SourceName, Inventory)>),
}

/// Why a slow effect did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: ErrorKind,
    pub why: String,
    /// Only a full copy helps.
    pub checkpoint_lost: bool,
}

/// A document that is kept whole.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    Source(SourceConfig),
    SourceGone(SourceName),
    Service(Service),
    ServiceGone(ServiceName),
    Proposal(Arc<Proposal>),
    Manifest(Box<Manifest>),
    ManifestGone(ShadowId),
    /// The evidence of one validation.
    Proof(Box<Proof>),
    ProofGone(OperationId),
    Event(Box<Event>),
    EventGone(EventId),
    Reserved(Box<Reserved>),
    ReservedGone(PoolId),
    /// Automation is stopped, across restarts too.
    Frozen(bool),
}

/// What to do, in this order.
#[derive(Debug)]
pub enum Effect {
    /// On disk before anything after it happens.
    Append(JournalRow),
    /// On disk before anything after it happens.
    Put(Document),
    Event(TimelineEntry),
    /// Changes a platform, or asks it; comes back as [`Input::Outcome`].
    Do {
        effect: EffectId,
        action: Action,
    },
    /// Ends a running `Do` as soon as it can.
    Cancel {
        effect: EffectId,
    },
    Reply {
        to: ReplyTo,
        reply: Reply,
    },
    /// Asks for facts that the answer carries; the core is not needed again.
    Fetch {
        to: ReplyTo,
        fetch: Fetch,
    },
    /// Starts reading a source.
    Watch(SourceConfig),
    /// Stops reading a source and forgets its connection.
    Unwatch(SourceName),
    Store(Vec<Sample>),
    Forecast(Vec<ForecastJob>),
}

/// A slow effect.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Step(Box<Step>),
    Undo(Box<Step>),
    /// One replication cycle outside of an operation. `resume`: the spool is known to be complete.
    Cycle {
        spec: Box<IncrementSpec>,
        resume: bool,
    },
    /// Make the newest point stand on full layers of its own.
    Flatten {
        manifest: Box<Manifest>,
    },
    /// Put one question to a clone.
    CheckClone {
        clone: Box<CloneSpec>,
        check: Check,
        timeout_seconds: u32,
        layers: Vec<Layer>,
    },
    /// Let layers become one.
    Merge {
        merge: Box<Merge>,
    },
    DropVolumes {
        manifest: Box<Manifest>,
        volumes: Vec<String>,
    },
    /// Our checkpoints and spools on the source go, then every layer on the target, then the manifest there.
    RemoveReplica {
        manifest: Box<Manifest>,
    },
    /// Bring the balancer back to what is wanted.
    Repair {
        server: Option<ServerSpec>,
        share: Box<ShareSpec>,
    },
    Examine {
        /// What errors call it.
        name: SourceName,
        uri: String,
    },
    /// Look whether a map of the balancer leads only reading requests to a backend.
    CheckMethods {
        director: SourceName,
        map: String,
        backend: String,
    },
    /// Take or keep the right to change a host.
    Lease {
        source: SourceName,
        uri: String,
    },
    /// Give it back.
    ReleaseLease {
        source: SourceName,
    },
    /// Look at these sources once more, now.
    Refresh {
        sources: Vec<SourceName>,
    },
    /// Write the settings file, if it still says `was`.
    KeepSettings {
        was: String,
        text: String,
    },
}

/// A layer that a point stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    pub volume: String,
    /// What the source gave for it; `None` once it was merged.
    pub digest: Option<String>,
}

/// Facts from the store or from forecasting.
#[derive(Clone, Debug, PartialEq)]
pub enum Fetch {
    Detail {
        vm: VmId,
        metric: Metric,
        limit: Option<f64>,
        past_seconds: u32,
        horizon_seconds: u32,
        version: u64,
        events: Vec<Affecting>,
        kin: Kin,
    },
    EventReport {
        event: EventId,
        /// Whom it affects, by name, with everything that acts on them.
        vms: Vec<(VmId, String, Vec<Affecting>)>,
    },
    History {
        vm: VmId,
        metric: Metric,
        from: Timestamp,
        to: Timestamp,
        step_seconds: Option<u32>,
    },
    Backfill {
        source: SourceName,
        uri: String,
        wanted: Wanted,
        /// Empty: all.
        only: Vec<VmId>,
        vms: Vec<(VmId, String)>,
    },
    Record {
        metric: Metric,
        vms: Vec<VmId>,
        /// One VM that is looked at there and then where nobody has yet.
        one: Option<(Option<f64>, Vec<Affecting>)>,
    },
    Runway {
        of: RunwayOf,
        metric: Metric,
        horizon_days: u32,
        limit: Option<f64>,
        /// And by how much the metric is multiplied before it is added up.
        members: Vec<(VmId, f64)>,
    },
    Stats,
    Verify,
    Import {
        known: Vec<(VmId, ImportedSeries)>,
        unknown: Vec<String>,
    },
    Journal {
        operation: OperationId,
    },
}

/// One VM that the fleet's forecaster looks at.
#[derive(Clone, Debug, PartialEq)]
pub struct ForecastJob {
    pub vm: VmId,
    pub limits: Limits,
    pub horizon_seconds: u32,
    /// What is known to act on it.
    pub events: Vec<Affecting>,
    pub kin: Kin,
}

/// Others of a VM's instance type on its source: they speak for it while it has no history of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kin {
    pub type_name: String,
    /// Some of them; it may be among them.
    pub vms: Arc<Vec<VmId>>,
}

/// What a running effect is for.
#[derive(Clone, Debug)]
enum Pending {
    Step {
        operation: OperationId,
        step: usize,
    },
    Undo {
        operation: OperationId,
        step: usize,
    },
    Cycle {
        shadow: ShadowId,
    },
    Flatten {
        shadow: ShadowId,
        number: u64,
        flat: Vec<String>,
    },
    Merge {
        shadow: ShadowId,
    },
    DropVolumes {
        shadow: ShadowId,
        volumes: Vec<String>,
    },
    Repair {
        shadow: ShadowId,
    },
    AddSource {
        to: ReplyTo,
        config: SourceConfig,
    },
    TestSource {
        to: ReplyTo,
    },
    MapService {
        to: ReplyTo,
        service: Box<Service>,
    },
    Arm {
        to: ReplyTo,
        source: SourceName,
    },
    /// The lease is kept, or given back.
    Lease {
        source: SourceName,
    },
    Approve {
        to: ReplyTo,
        proposal: ProposalId,
        by: String,
    },
    Settings {
        to: ReplyTo,
        text: String,
        settings: Box<Settings>,
        by: String,
    },
}

/// One VM with everything known of it.
#[derive(Clone, Debug)]
struct VmRecord {
    vm: Arc<Vm>,
    sample: Option<Sample>,
    health: Arc<HealthScore>,
    outlooks: Arc<Vec<Outlook>>,
    spark: Arc<Vec<u8>>,
    detail_version: u64,
    /// 0..=1 of the last day that was measured.
    coverage: f64,
    /// Since when nothing has been at risk; for giving back.
    quiet_since: Option<Timestamp>,
    state: SteadyState,
    /// What response time is normal for it.
    normal_response: Normal,
    /// No proposal for this VM before this moment: rejected, or just ended.
    no_proposal_before: Option<Timestamp>,
    /// Since when it needs something, or no longer does.
    held: Held,
    /// Why nothing is proposed though it would be, had enough been measured.
    withheld: Option<Arc<str>>,
}

pub struct Core {
    engine: EngineId,
    settings: Settings,
    settings_file: SettingsText,
    demo: bool,
    frozen: bool,
    /// Set once something could not be kept.
    store_failed: Option<String>,
    random: fastrand::Rng,
    next_effect: u64,
    version: u64,

    sources: BTreeMap<SourceName, sources::Source>,
    services: BTreeMap<ServiceName, Service>,
    calendar: BTreeMap<EventId, Event>,
    pools: BTreeMap<PoolId, Pool>,
    vms: BTreeMap<VmId, VmRecord>,
    ledger: Ledger,
    proposals: BTreeMap<ProposalId, Arc<Proposal>>,
    /// Proposals whose split an operator has changed.
    adjusted: BTreeSet<ProposalId>,
    operations: BTreeMap<OperationId, Operation>,
    shadows: BTreeMap<ShadowId, Shadow>,
    manifests: BTreeMap<ShadowId, Manifest>,
    proofs: BTreeMap<OperationId, Proof>,
    /// Since when a clone runs, by this engine's own count.
    clones: BTreeMap<OperationId, Timestamp>,
    balancers: BTreeMap<SourceName, traffic::Balancer>,
    guards: BTreeMap<ShadowId, traffic::Guard>,

    pending: BTreeMap<EffectId, Pending>,
    progress: BTreeMap<EffectId, Progress>,
    retries: BTreeMap<OperationId, operations::Retry>,
    replicas: BTreeMap<ShadowId, replicas::Replica>,
    /// When each primary that must stay off was last told so.
    guarded: BTreeMap<ShadowId, Timestamp>,
    settling: Vec<ReplyTo>,
    forecast: vms::ForecastState,
    events: VecDeque<TimelineEntry>,

    views: view::Cache,
    tick_changed: bool,
}

/// The settings file as it was read.
#[derive(Clone, Debug, Default)]
pub struct SettingsText {
    /// For people.
    pub name: String,
    pub text: String,
}

/// What was kept from before.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    pub frozen: bool,
    pub settings_file: SettingsText,
    pub sources: Vec<SourceConfig>,
    pub services: Vec<Service>,
    pub proposals: Vec<Proposal>,
    pub manifests: Vec<Manifest>,
    pub proofs: Vec<Proof>,
    pub calendar: Vec<Event>,
    pub reserved: Vec<Reserved>,
    pub rows: Vec<JournalRow>,
    /// Newest first.
    pub events: Vec<TimelineEntry>,
}

impl Core {
    /// A core on what was kept. Nothing happens before [`Input::Started`].
    pub fn new(engine: EngineId, settings: Settings, demo: bool, seed: u64, kept: Kept) -> Self {
        let mut core = Self {
            engine,
            settings,
            settings_file: kept.settings_file,
            demo,
            frozen: kept.frozen,
            store_failed: None,
            random: fastrand::Rng::with_seed(seed),
            next_effect: 0,
            version: 0,
            sources: BTreeMap::new(),
            services: BTreeMap::new(),
            calendar: BTreeMap::new(),
            pools: BTreeMap::new(),
            vms: BTreeMap::new(),
            ledger: Ledger::default(),
            proposals: BTreeMap::new(),
            adjusted: BTreeSet::new(),
            operations: BTreeMap::new(),
            shadows: BTreeMap::new(),
            manifests: BTreeMap::new(),
            proofs: BTreeMap::new(),
            clones: BTreeMap::new(),
            balancers: BTreeMap::new(),
            guards: BTreeMap::new(),
            pending: BTreeMap::new(),
            progress: BTreeMap::new(),
            retries: BTreeMap::new(),
            replicas: BTreeMap::new(),
            guarded: BTreeMap::new(),
            settling: Vec::new(),
            forecast: vms::ForecastState::default(),
            events: kept.events.into_iter().collect(),
            views: view::Cache::default(),
            tick_changed: false,
        };
        for config in kept.sources {
            core.sources
                .insert(config.name.clone(), sources::Source::new(config));
        }
        for service in kept.services {
            core.services.insert(service.name.clone(), service);
        }
        for proposal in kept.proposals {
            core.proposals
                .insert(proposal.id.clone(), Arc::new(proposal));
        }
        for event in kept.calendar {
            core.calendar.insert(event.id.clone(), event);
        }
        for manifest in kept.manifests {
            core.manifests.insert(manifest.shadow.clone(), manifest);
        }
        for reserved in kept.reserved {
            core.ledger.reserve(reserved);
        }
        for proof in kept.proofs {
            core.proofs.insert(proof.operation.clone(), proof);
        }
        for row in kept.rows {
            core.replay(&row);
        }
        core
    }

    /// Takes one input and says what to do.
    pub fn apply(&mut self, at: Timestamp, input: Input) -> Vec<Effect> {
        let mut out = Vec::new();
        let is_tick = matches!(input, Input::Tick);
        match input {
            Input::Started => self.started(at, &mut out),
            Input::Tick => self.tick(at, &mut out),
            Input::Command { to, command } => self.command(at, to, command, &mut out),
            Input::Inventory {
                source,
                result,
                millis,
            } => {
                self.inventory(at, &source, result, millis, &mut out);
            }
            Input::Samples {
                source,
                result,
                millis,
            } => {
                self.samples(at, &source, result, millis, &mut out);
            }
            Input::Traffic {
                source,
                result,
                millis,
            } => {
                self.traffic(at, &source, result, millis, &mut out);
            }
            Input::Outlooks { batch, pending } => self.outlooks(at, batch, pending, &mut out),
            Input::Backfilled { source } => self.backfilled(at, &source, &mut out),
            Input::LookedAt {
                source,
                error,
                millis,
            } => self.looked_at(at, &source, error, millis, &mut out),
            Input::HistoryChanged { vms } => self.history_changed(at, &vms, &mut out),
            Input::Progress { effect, progress } => {
                if self.pending.contains_key(&effect) {
                    self.progress.insert(effect, progress);
                }
            }
            Input::Spooled { effect } => self.spooled(at, effect, &mut out),
            Input::Outcome { effect, result } => self.outcome(at, effect, result, &mut out),
            Input::StoreFailed { why } => {
                self.store_failed = Some(why);
                self.frozen = true;
            }
        }
        self.tick_changed |= is_tick && !out.is_empty();
        out
    }

    fn started(&mut self, at: Timestamp, out: &mut Vec<Effect>) {
        for source in self.sources.values() {
            out.push(Effect::Watch(source.config.clone()));
        }
        self.mend_standing(out);
        let open: Vec<OperationId> = self
            .operations
            .values()
            .filter(|op| !op.ended())
            .map(|op| op.id.clone())
            .collect();
        if !open.is_empty() {
            let text = format!(
                "Engine started; {} unfinished operation(s) go on",
                open.len()
            );
            self.event(at, TimelineKind::Engine, text, None, None, false, out);
        }
        for operation in open {
            self.advance(at, &operation, out);
        }
    }

    fn tick(&mut self, at: Timestamp, out: &mut Vec<Effect>) {
        self.retry_operations(at, out);
        self.keep_leases(at, out);
        self.run_cycles(at, out);
        self.watch_promotions(at, out);
        self.run_validations(at, out);
        self.expire_proposals(at, out);
        self.expire_reservations(at, out);
        self.age_vms(at);
        self.decide(at, out);
        self.refresh_forecasts(at, out);
        self.settle(at, out);
    }

    fn outcome(
        &mut self,
        at: Timestamp,
        effect: EffectId,
        result: Result<Outcome, Failure>,
        out: &mut Vec<Effect>,
    ) {
        self.progress.remove(&effect);
        let Some(pending) = self.pending.remove(&effect) else {
            return;
        };
        match pending {
            Pending::Step { operation, step } => {
                self.step_ended(at, &operation, step, result, out);
            }
            Pending::Undo { operation, step } => self.undo_ended(at, &operation, step, result, out),
            Pending::Cycle { shadow } => self.cycle_ended(at, &shadow, result, out),
            Pending::Flatten {
                shadow,
                number,
                flat,
            } => {
                self.flatten_ended(at, &shadow, number, &flat, result, out);
            }
            Pending::Merge { shadow } => self.merge_ended(at, &shadow, result, out),
            Pending::DropVolumes { shadow, volumes } => {
                self.volumes_dropped(at, &shadow, &volumes, result, out);
            }
            Pending::Repair { shadow } => self.repaired(at, &shadow, result, out),
            Pending::AddSource { to, config } => self.source_examined(at, to, config, result, out),
            Pending::MapService { to, service } => {
                let reply = self.methods_looked_at(at, *service, result, out);
                out.push(Effect::Reply { to, reply });
            }
            Pending::Arm { to, source } => self.armed(at, to, &source, result, out),
            Pending::Lease { source } => self.lease_ended(at, &source, result, out),
            Pending::TestSource { to } => {
                let reply = match result {
                    Ok(Outcome::Examined(examination)) => Ok(Answer::Examined { examination }),
                    Ok(_) => Err(unexpected_outcome("The source was not tested.")),
                    Err(failure) => Err(sources::unusable("The source was not tested.", &failure)),
                };
                out.push(Effect::Reply { to, reply });
            }
            Pending::Approve { to, proposal, by } => {
                self.approve_on_fresh(at, to, &proposal, by, result, out);
            }
            Pending::Settings {
                to,
                text,
                settings,
                by,
            } => self.settings_kept(at, to, text, *settings, &by, result, out),
        }
    }

    /// Starts a slow effect.
    fn perform(&mut self, pending: Pending, action: Action, out: &mut Vec<Effect>) -> EffectId {
        self.next_effect += 1;
        let effect = EffectId(self.next_effect);
        self.pending.insert(effect, pending);
        out.push(Effect::Do { effect, action });
        effect
    }

    /// Writes one row of an operation's journal and takes it.
    fn append(
        &mut self,
        at: Timestamp,
        operation: &OperationId,
        entry: Entry,
        out: &mut Vec<Effect>,
    ) {
        let seq = self
            .operations
            .get(operation)
            .map_or(0, |operation| operation.next_seq);
        let row = JournalRow {
            operation: operation.clone(),
            seq,
            at,
            entry,
        };
        self.replay(&row);
        out.push(Effect::Append(row));
    }

    #[allow(clippy::too_many_arguments)] // one line of the timeline is these facts
    fn event(
        &mut self,
        at: Timestamp,
        kind: TimelineKind,
        text: String,
        vm: Option<VmId>,
        operation: Option<OperationId>,
        bad: bool,
        out: &mut Vec<Effect>,
    ) {
        let entry = TimelineEntry {
            at,
            kind,
            text,
            vm,
            operation,
            bad,
        };
        self.events.push_front(entry.clone());
        self.events.truncate(view::MAX_EVENTS);
        self.views.events = None;
        out.push(Effect::Event(entry));
    }

    /// Eight hexadecimal digits.
    fn short_id(&mut self) -> String {
        format!("{:08x}", self.random.u32(..))
    }

    fn vm_name(&self, vm: &VmId) -> String {
        self.vms
            .get(vm)
            .map_or_else(|| vm.to_string(), |record| record.vm.name.clone())
    }

    /// Whether the newest tick changed what a face shows.
    pub fn changed_by_tick(&mut self) -> bool {
        std::mem::take(&mut self.tick_changed)
    }

    /// Whether something is shown whose age grows by itself.
    pub fn has_ages(&self) -> bool {
        !self.shadows.is_empty() || self.operations.values().any(|operation| !operation.ended())
    }

    /// The same without validations: beside those, replication, traffic and decisions go on.
    fn held_up_vms(&self) -> BTreeSet<VmId> {
        self.operations
            .values()
            .filter(|op| !op.ended() && op.plan.kind != PlanKind::Validate)
            .map(|op| op.plan.vm.clone())
            .collect()
    }

    /// VMs that have an operation which has not ended.
    fn busy_vms(&self) -> BTreeSet<VmId> {
        self.operations
            .values()
            .filter(|op| !op.ended())
            .map(|op| op.plan.vm.clone())
            .collect()
    }
}

impl From<PlatformError> for Failure {
    fn from(error: PlatformError) -> Self {
        Self {
            kind: error.kind(),
            checkpoint_lost: matches!(error, PlatformError::CheckpointLost { .. }),
            why: error.to_string(),
        }
    }
}

impl From<PrometheusError> for Failure {
    fn from(error: PrometheusError) -> Self {
        let kind = match &error {
            PrometheusError::Unreachable(_) => ErrorKind::Lost,
            PrometheusError::Garbled(_) => ErrorKind::Transient,
            PrometheusError::BadAddress(_)
            | PrometheusError::Refused(_)
            | PrometheusError::TooLarge(_) => ErrorKind::Refused,
        };
        Self {
            kind,
            why: error.to_string(),
            checkpoint_lost: false,
        }
    }
}

impl From<DirectorError> for Failure {
    fn from(error: DirectorError) -> Self {
        let kind = match &error {
            DirectorError::Unreachable(_) => ErrorKind::Lost,
            DirectorError::Garbled(_) => ErrorKind::Transient,
            DirectorError::NotFound(_)
            | DirectorError::Refused(_)
            | DirectorError::BadName(_)
            | DirectorError::BadAddress(_) => ErrorKind::Refused,
        };
        Self {
            kind,
            why: error.to_string(),
            checkpoint_lost: false,
        }
    }
}

fn unexpected_outcome(what: &str) -> Problem {
    Problem::failed(
        what,
        "the effect came to something else",
        "Report this; it is a defect.",
    )
}

/// What a source is for; derived from its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceRole {
    Hypervisor(Role),
    Balancer,
    /// Keeps samples; is only ever read.
    History,
}
