//! What a face may ask of the engine, and what it answers. Serde types: the same over a channel or a socket.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    preview::SettingsPreview,
    snapshot::{EventReport, ForecastRecord, RunwayOf, RunwayReport, VmDetail},
};
use crate::{
    calendar::Event,
    hypervisor::Examination,
    inventory::{Role, ServiceKind},
    metrics::{Metric, Series},
    operation::JournalRow,
    problem::Problem,
    shadow::Proposal,
    units::{
        Digest, EventId, OperationId, PoolId, ProposalId, ServiceName, ShadowId, SourceName,
        Timestamp, VmId,
    },
    validation::proof::Proof,
};
pub use crate::{
    store::metrics::{Stats as HistoryStats, Tier, TierStats, Verified as HistoryVerified},
    telemetry::ImportedSeries,
};

/// Asks for a change or for facts. Whoever asks is named `by` the face that it came through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    SourceAdd {
        uri: String,
        name: Option<SourceName>,
        role: Role,
    },
    SourceTest {
        uri: String,
    },
    SourceArm {
        name: SourceName,
        armed: bool,
    },
    SourceRemove {
        name: SourceName,
    },

    ServiceMap {
        name: ServiceName,
        kind: ServiceKind,
        director: Option<SourceName>,
        backend: String,
        /// VM by name or id, and its balancer server.
        members: Vec<(String, String)>,
        guest_port: u16,
        guest_address: Option<String>,
        probe_path: String,
        outbound_allowed: bool,
        /// The balancer's map of methods; needed for a read-only service.
        #[serde(default)]
        method_map: Option<String>,
    },
    ServiceRemove {
        name: ServiceName,
    },

    HistoryImport {
        rows: Vec<ImportedSeries>,
    },
    /// Brings one slice of a server's history; asked again until the answer says that it is finished.
    HistoryBackfill {
        source: SourceName,
        since_seconds: u32,
        /// By name or id; none: all.
        vms: Vec<String>,
        /// None: those that there are usual queries for.
        metrics: Vec<Metric>,
        query: Option<String>,
    },

    /// Adds an entry to the calendar, or changes the one of its id; without an id it is a new one.
    EventPut {
        event: Box<Event>,
    },
    /// The same for many; all or none.
    EventsImport {
        events: Vec<Event>,
    },
    EventRemove {
        event: EventId,
    },

    /// Makes a proposal by hand; `Answer::Proposal` carries the plan and its digest.
    ShadowPropose {
        vm: VmId,
        pool: Option<PoolId>,
        rpo_seconds: Option<u32>,
        share: Option<f64>,
    },
    ShadowRetire {
        shadow: ShadowId,
    },
    /// Plans that the shadow takes its primary's place.
    ShadowPromote {
        shadow: ShadowId,
        /// An older recovery point than the newest that can be had.
        point: Option<u64>,
        /// A person's word that the primary is off, where its source cannot be reached.
        attest_fenced: Option<String>,
    },
    /// Plans that a promotion stays.
    ShadowCommit {
        shadow: ShadowId,
    },
    /// Plans that a promotion is taken back.
    ShadowRollback {
        shadow: ShadowId,
    },
    /// Plans a serving shadow's start on another recovery point; none: the newest.
    ShadowRefresh {
        shadow: ShadowId,
        point: Option<u64>,
    },
    /// Takes a point now, out of turn.
    ShadowSync {
        shadow: ShadowId,
    },

    /// Plans that a recovery point is tried in a clone; the newest where none is named.
    ShadowValidate {
        shadow: ShadowId,
        point: Option<u64>,
    },
    /// Keeps a point whatever the ladder says, or no longer.
    ShadowPin {
        shadow: ShadowId,
        point: u64,
        pinned: bool,
    },
    /// The plan that a command would propose; nothing is kept.
    DryRun {
        of: Box<Command>,
    },

    /// The split of an open proposal before approval: a new plan with a new digest.
    ProposalAdjust {
        proposal: ProposalId,
        share: f64,
    },
    Approve {
        proposal: ProposalId,
        digest: Digest,
        by: String,
    },
    Reject {
        proposal: ProposalId,
        by: String,
        why: String,
    },
    Snooze {
        proposal: ProposalId,
        for_seconds: u32,
    },

    /// More or less of the live traffic of a serving shadow, at once.
    TrafficSet {
        service: ServiceName,
        vm: Option<VmId>,
        share: f64,
        by: String,
    },

    OperationCancel {
        operation: OperationId,
        by: String,
    },
    OperationResume {
        operation: OperationId,
        by: String,
    },

    /// Keeps a part of a pool for shadows, in place of what was kept there before.
    Reserve {
        pool: PoolId,
        /// More than 0, at most 1.
        share: f64,
        until: Option<Timestamp>,
        by: String,
    },
    ReserveRelease {
        pool: PoolId,
        by: String,
    },

    /// Stops (or lets go on) all automation: cycles, gates' return to zero excepted.
    Freeze {
        frozen: bool,
        by: String,
    },

    /// What the settings would be like, and what that changes now; nothing is kept.
    SettingsPreview {
        text: String,
    },
    /// Puts `text` in the place of the settings file's `was`.
    SettingsSet {
        was: String,
        text: String,
        by: String,
    },

    // Facts.
    /// The settings file's text as the engine goes by it.
    Settings,
    /// What an event did to those whom it affects, and is expected to do.
    EventReport {
        event: EventId,
    },
    VmDetail {
        vm: VmId,
        metric: Metric,
        past_seconds: u32,
        horizon_seconds: u32,
    },
    History {
        vm: VmId,
        metric: Metric,
        from: Timestamp,
        to: Timestamp,
        /// `None`: as fine as an answer can be.
        step_seconds: Option<u32>,
    },
    /// What past forecasts were worth: of one VM, or of all that run.
    ForecastRecord {
        vm: Option<VmId>,
        metric: Metric,
    },
    /// How long a capacity lasts.
    Runway {
        of: RunwayOf,
        metric: Metric,
        horizon_days: u32,
    },
    /// What the history holds and costs.
    HistoryStats,
    /// Reads every row of the history and checks it.
    HistoryVerify,
    Proposal {
        proposal: ProposalId,
    },
    /// What the validations of a shadow found, with all evidence.
    Proofs {
        shadow: ShadowId,
    },
    Journal {
        operation: OperationId,
    },
    /// Waits until every source has been read once and proposals stand; for verbs without a running engine.
    Settle,
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// It is so; a sentence for people.
    Done {
        text: String,
    },
    Started {
        operation: OperationId,
    },
    /// The event as it is kept.
    Event {
        event: Box<Event>,
    },
    EventReport {
        report: Arc<EventReport>,
    },
    Examined {
        examination: Examination,
    },
    Settings {
        /// The file's name, for people.
        file: String,
        text: String,
    },
    SettingsPreview {
        preview: Box<SettingsPreview>,
    },
    Imported {
        series: usize,
        samples: usize,
        unknown_vms: Vec<String>,
    },
    Backfilled {
        state: BackfillState,
    },
    HistoryStats {
        stats: Box<HistoryStats>,
    },
    HistoryVerified {
        verified: HistoryVerified,
    },
    Proposal {
        proposal: Arc<Proposal>,
    },
    VmDetail {
        detail: Arc<VmDetail>,
    },
    History {
        series: Series,
    },
    Proofs {
        /// Newest first.
        proofs: Vec<Proof>,
    },
    ForecastRecord {
        record: Arc<ForecastRecord>,
    },
    Runway {
        report: Arc<RunwayReport>,
    },
    Journal {
        rows: Vec<JournalRow>,
    },
}

/// How a back-fill stands after a slice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BackfillState {
    /// The slice went on from where an earlier run ended.
    pub resumed: bool,
    pub finished: bool,
    /// 0..=1.
    pub share: f64,
    pub from: Timestamp,
    pub to: Timestamp,
    pub metric: Option<Metric>,
    /// Of this slice.
    pub series: usize,
    pub values: usize,
    /// Series that belong to no VM, and some of their names.
    pub unmatched: usize,
    pub unmatched_names: Vec<String>,
    /// Second series of a VM; the first was taken.
    pub doubles: usize,
    /// Values that cannot be this metric's, such as percent.
    pub out_of_range: usize,
    /// Since the back-fill began.
    pub total_values: u64,
}

pub type Reply = Result<Answer, Problem>;
