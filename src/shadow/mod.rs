//! A shadow VM: why one is needed, how large and where, the exact steps that make, serve and retire it.
//!
//! ```text
//!  Need ─▶ sizing ─▶ placement ─▶ Plan{steps, digest} ─▶ (approval) ─▶ operation
//!
//!  absent ─create─▶ replicating (powered off) ─serve─▶ serving (share of traffic) ─retire─▶ absent
//!                      │      ▲ rollback ──────────────┐
//!                      └─ promote ─▶ promoted (commit window) ─commit─▶ in its primary's place
//! ```

use serde::{Deserialize, Serialize};

use crate::{
    inventory::{Owner, ServiceKind},
    metrics::Metric,
    replication::IncrementSpec,
    reservation::Hold,
    traffic::ServerSpec,
    units::{
        Digest, PoolId, ProposalId, ServiceName, ShadowId, SourceName, Timestamp, VmId, Weight,
    },
    validation::check as validation,
};

pub mod hold;
pub mod need;
pub mod placement;
pub mod plan;
pub mod promotion;
pub mod ready;
pub mod replay;
pub mod sizing;

use promotion::PromotionStep;

/// Why something should be done about a VM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Need {
    pub vm: VmId,
    pub urgency: Urgency,
    pub crosses_at: Option<Timestamp>,
    /// 0..=1 that the limit is crossed within the horizon.
    pub probability: Option<f64>,
    pub reasons: Vec<Reason>,
}

impl Need {
    /// All that speaks for it are forecasts that "as it was yesterday" does as well as: a person decides, and nothing
    /// acts on it by itself.
    pub fn is_no_better_than_naive(&self) -> bool {
        let weak = |reason: &Reason| {
            matches!(
                reason,
                Reason::ForecastCrosses {
                    no_better_than_naive: true,
                    ..
                }
            )
        };
        !self.reasons.is_empty() && self.reasons.iter().all(weak)
    }
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    ForecastCrosses {
        metric: Metric,
        peak: f64,
        limit: f64,
        at: Timestamp,
        /// On this series the model has lately not beaten "as it was yesterday": nothing acts on it by itself.
        #[serde(default)]
        no_better_than_naive: bool,
        /// So long after the crossing a shadow that is begun now is ready; 0 when it comes in time.
        #[serde(default)]
        late_by_seconds: u32,
    },
    HealthUnder {
        score: u8,
        threshold: u8,
        worst: String,
    },
    /// The risk has passed: the shadow can be given back.
    RiskPassed {
        peak: f64,
        limit: f64,
        quiet_since: Timestamp,
    },
    /// A recovery point did not pass its validation.
    ProofFailed { point: u64, why: String },
    /// An operator asked.
    ByHand,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// Within 30 minutes.
    Now,
    /// Within 4 hours.
    Soon,
    Later,
    /// Nothing is at risk: capacity can be returned.
    GiveBack,
}

/// How large the shadow is and what it takes over.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sizing {
    /// 0..=1 of the VM's traffic; 0 means: replicating and powered off.
    pub share: f64,
    pub vcpus: u32,
    pub memory_bytes: u64,
    /// Peak of the primary in the metric's unit: without and with the share moved, and of the shadow (0..=1 of its own limit basis).
    pub peak_no_action: f64,
    pub peak_primary: f64,
    pub peak_shadow: f64,
}

/// A pool that was considered and not taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    pub pool: PoolId,
    pub why: String,
}

/// The pool that was taken, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    pub pool: PoolId,
    pub storage: String,
    pub why: String,
    pub rejected: Vec<Rejected>,
}

/// The VM that a shadow becomes on its target platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowSpec {
    pub owner: Owner,
    pub shadow: ShadowId,
    /// The primary; its definition is the model for the shadow's.
    pub of: VmId,
    pub name: String,
    /// Chosen in the plan, so that the definition can be found again.
    pub uuid: String,
    pub pool: PoolId,
    pub storage: String,
    pub vcpus: u32,
    pub vcpus_max: u32,
    pub memory_bytes: u64,
    /// One overlay for each disk, in the order of the disks.
    pub overlays: Vec<OverlaySpec>,
    pub network: ShadowNetwork,
}

/// A writable disk of a running shadow on top of a frozen layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlaySpec {
    pub target: String,
    pub volume: String,
    /// The layer that it stands on.
    pub layer_volume: String,
    pub capacity_bytes: u64,
}

/// How a serving shadow is reached, and nothing else: a clone must not meet its primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowNetwork {
    /// Locally administered, never the primary's.
    pub mac: String,
    /// Where the target host listens for the service.
    pub address: String,
    pub port: u16,
    pub guest_port: u16,
    /// The guest's own static address with prefix, where it has one.
    pub guest_address: Option<String>,
    pub outbound_allowed: bool,
    /// Further ports that are forwarded in; only clones that are tried have any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<Forward>,
}

/// A port of the target host that leads to one of the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    pub port: u16,
    pub guest_port: u16,
}

/// A VM that lives for one validation: it stands on a recovery point, and nothing of it stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneSpec {
    pub spec: ShadowSpec,
    /// The definition that it is modelled on: the shadow's own, which knows nothing of the primary's network.
    pub model: VmId,
    pub point: u64,
    /// What it says on its serial console.
    pub console_volume: String,
    /// Until this is over its guest may still be booting: no check fails before.
    pub boot_seconds: u32,
    /// Its power is cut after this, whatever it does.
    pub lifetime_seconds: u32,
}

/// One step of a plan. It either changes something or waits; it takes nothing from earlier steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Promise the capacity in the ledger.
    Reserve {
        hold: Hold,
    },
    /// Take a point in time of the source and bring it to the target: the seed when it has no parent.
    Replicate {
        increment: IncrementSpec,
        rpo_seconds: u32,
    },
    /// Define the shadow on the target, powered off, on an overlay of the named layers.
    DefineShadow {
        spec: ShadowSpec,
        point: u64,
    },
    StartShadow {
        shadow: ShadowId,
        source: SourceName,
        uuid: String,
    },
    /// Wait until the shadow's service answers.
    AwaitAnswer {
        shadow: ShadowId,
        address: String,
        port: u16,
        path: String,
        timeout_seconds: u32,
    },
    /// Add the shadow to the balancer at weight 0.
    AddServer {
        director: SourceName,
        server: ServerSpec,
    },
    /// Wait until the balancer's own checks pass.
    AwaitServer {
        director: SourceName,
        backend: String,
        server: String,
        timeout_seconds: u32,
    },
    /// Make the shadow's share of the primary's traffic so.
    SetShare(ShareSpec),
    /// Wait until no request is left on the shadow.
    AwaitDrained {
        director: SourceName,
        backend: String,
        server: String,
        timeout_seconds: u32,
    },
    RemoveServer {
        director: SourceName,
        backend: String,
        server: String,
    },
    StopShadow {
        shadow: ShadowId,
        source: SourceName,
        uuid: String,
        grace_seconds: u32,
    },
    /// Give the powered off shadow fresh overlays on another point; what it wrote is discarded.
    Refresh {
        from: Box<ShadowSpec>,
        from_point: u64,
        spec: Box<ShadowSpec>,
        point: u64,
    },
    /// Undefine the shadow and delete its overlays.
    RemoveShadow {
        spec: ShadowSpec,
    },
    /// End replication: our checkpoints on the source and the spool go, then every layer on the target.
    RemoveReplica {
        shadow: ShadowId,
        owner: Owner,
        vm: VmId,
        pool: PoolId,
        storage: String,
    },
    Release {
        hold: Hold,
    },
    /// The shadow takes its primary's place, or gives it back.
    Promotion(PromotionStep),
    /// Boot a clone of a recovery point on an isolated network.
    StartClone {
        clone: Box<CloneSpec>,
    },
    /// Put one question to the clone, and write down what was seen. A wrong answer is a result, not a failed step.
    CheckClone {
        clone: Box<CloneSpec>,
        check: validation::Check,
        timeout_seconds: u32,
    },
    /// Cut the clone's power and remove all that was made for it.
    RemoveClone {
        clone: Box<CloneSpec>,
    },
}

/// A share of one primary's traffic, as absolute weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShareSpec {
    pub shadow: ShadowId,
    pub service: ServiceName,
    pub director: SourceName,
    pub backend: String,
    pub primary_server: String,
    pub shadow_server: String,
    /// The primary's weight before there was a shadow; what undo restores.
    pub base_weight: Weight,
    /// 0..=1.
    pub share: f64,
    pub previous_share: f64,
    /// Only GET and HEAD reach the shadow, by this map of the balancer.
    #[serde(default)]
    pub method_map: Option<String>,
}

/// What a plan relies on; checked once more on fresh inventory when the operation opens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "check", rename_all = "snake_case")]
pub enum Precondition {
    /// Both platforms and the balancer are armed.
    Armed {
        source: SourceName,
    },
    /// Same VM, same host, same life.
    SameVm {
        vm: VmId,
        name: String,
        host: String,
        generation: u64,
    },
    /// Dirty bitmaps can be kept on each disk, and nobody else's job or checkpoint is there.
    Replicable {
        vm: VmId,
    },
    PoolHas {
        pool: PoolId,
        vcpus: u32,
        memory_bytes: u64,
        storage: String,
        disk_bytes: u64,
    },
    /// The service allows a clone and its balancer has the primary's server with this weight.
    ServiceAllows {
        service: ServiceName,
        kind: ServiceKind,
    },
    NoShadowYet {
        vm: VmId,
    },
    ShadowExists {
        shadow: ShadowId,
    },
    /// It runs on the one point, and the other is still there.
    StandsOn {
        shadow: ShadowId,
        from: u64,
        to: u64,
    },
    /// Nothing stands against the shadow's taking the primary's place; see `shadow promote --dry-run`.
    Promotable {
        shadow: ShadowId,
        /// The first number that the plan keeps for its own points.
        numbers_from: u64,
        /// A person says that the primary is off, since its source cannot be reached.
        attested: bool,
    },
    /// The shadow stands in its primary's place, and that is not settled yet.
    InCommitWindow {
        shadow: ShadowId,
    },
    /// So much memory is free beside what shadows that are off are promised.
    MemoryFree {
        pool: PoolId,
        memory_bytes: u64,
    },
    /// The point is still there, on these layers.
    PointStands {
        shadow: ShadowId,
        point: u64,
        layers: Vec<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanKind {
    /// Create the shadow, replicate, and serve a share where one is planned.
    Create,
    /// Start serving with a shadow that only replicates, or change its share.
    Traffic,
    /// Start a serving shadow anew on another recovery point.
    Refresh,
    Retire,
    /// The shadow takes its primary's place.
    Promote,
    /// A promotion stays.
    Commit,
    /// A promotion is taken back within its window.
    Rollback,
    /// A primary that came back while its shadow stands in its place is stopped again.
    Guard,
    /// Try a recovery point in a clone.
    Validate,
}

/// The exact steps, with what they cost and what undoes them. Its digest is what an operator signs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub kind: PlanKind,
    pub vm: VmId,
    pub vm_name: String,
    pub shadow: ShadowId,
    pub owner: Owner,
    pub made_at: Timestamp,
    pub preconditions: Vec<Precondition>,
    pub steps: Vec<Step>,
    /// Sentences for people: what it takes while it stands.
    pub cost: Vec<String>,
    pub undo: String,
    /// Whole-plan estimate.
    pub estimate_seconds: u32,
}

/// What an operator decides on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    pub id: ProposalId,
    pub need: Need,
    pub why: String,
    pub sizing: Sizing,
    pub placement: Option<Placement>,
    pub plan: Plan,
    pub digest: Digest,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub state: ProposalState,
    /// Present findings: each passes, warns or blocks.
    pub checks: Vec<Check>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ProposalState {
    Open,
    Snoozed {
        until: Timestamp,
    },
    Approved {
        by: String,
        at: Timestamp,
    },
    Rejected {
        by: String,
        at: Timestamp,
        why: String,
    },
    /// The plan no longer fits; what changed.
    Stale {
        why: String,
    },
    Expired,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub outcome: CheckOutcome,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    Passed,
    Note,
    Blocks,
}
