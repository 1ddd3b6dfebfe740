//! The seams to a virtualisation platform: reading it, and changing it.
//!
//! Collectors get only [`Observe`]. Every verb of [`Hypervisor`] is idempotent: it makes something so, and may be
//! called again after a crash. What is made carries its [`Owner`]; what does not carry ours is never touched.

use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    inventory::{Inventory, Owner},
    metrics::{Metric, Reading, Series},
    replication::{IncrementSpec, Manifest, Merge, Progress},
    shadow::{
        CloneSpec, ShadowSpec,
        promotion::{Fence, FenceFrom},
    },
    units::{EngineId, PoolId, SourceName, Timestamp, VmId},
};

pub mod libvirt;
pub mod simulated;

/// Why a platform did not do as asked. `kind` decides about a retry.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "error", rename_all = "snake_case")]
pub enum PlatformError {
    #[error("{source_name} cannot be reached: {why}")]
    Unreachable {
        source_name: SourceName,
        why: String,
    },
    #[error("{what} did not answer within {seconds} s")]
    Timeout { what: String, seconds: u32 },
    #[error("no permission: {what}")]
    Denied { what: String },
    #[error("{what} is not there")]
    NotFound { what: String },
    #[error("{what} was not made by this engine")]
    NotOurs { what: String },
    #[error("no space left on {place}")]
    NoSpace { place: String },
    #[error("{what} is not supported: {why}")]
    Unsupported { what: String, why: String },
    /// The chain of checkpoints is broken: only a full copy helps.
    #[error("checkpoint {checkpoint} cannot be used: {why}")]
    CheckpointLost { checkpoint: String, why: String },
    /// Somebody else works on it.
    #[error("{what} is busy: {why}")]
    Busy { what: String, why: String },
    /// Another console has the right to change this host.
    #[error(
        "{by} acts on {source_name}; it would be free after {seconds} s without a sign of life from there"
    )]
    Leased {
        source_name: SourceName,
        by: String,
        seconds: u32,
    },
    /// Somebody changed what this relies on.
    #[error("{what}: {why}")]
    Changed { what: String, why: String },
    #[error("cancelled")]
    Cancelled,
    #[error("not a connection address: {uri}: {why}")]
    BadAddress { uri: String, why: String },
    #[error("{what}: {message}")]
    Failed { what: String, message: String },
}

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Try again.
    Transient,
    /// The platform or what was made on it is gone.
    Lost,
    /// Trying again changes nothing.
    Refused,
    /// This platform cannot.
    Unsupported,
}

impl PlatformError {
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Timeout { .. } | Self::Busy { .. } | Self::Failed { .. } => ErrorKind::Transient,
            Self::Unreachable { .. } | Self::CheckpointLost { .. } => ErrorKind::Lost,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Denied { .. }
            | Self::NotFound { .. }
            | Self::NotOurs { .. }
            | Self::NoSpace { .. }
            | Self::Leased { .. }
            | Self::Changed { .. }
            | Self::Cancelled
            | Self::BadAddress { .. } => ErrorKind::Refused,
        }
    }
}

/// Who wants to be the one that changes a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub engine: EngineId,
    /// Machine and data folder: the same engine after a restart, and no copy of it elsewhere.
    pub console: String,
    /// Without a sign of life for so long a holder is taken for gone. The same for all consoles.
    pub stale: Duration,
}

/// One line of `source test`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub works: bool,
    /// Needed for shadows; a failing finding that is not needed is a note.
    pub needed: bool,
    pub text: String,
}

/// What a guest agent is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentQuestion {
    Ping,
    /// Run a program and wait for its end.
    Run {
        argv: Vec<String>,
        timeout: Duration,
    },
    /// The SHA-256 of a file.
    Sha256 {
        path: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentAnswer {
    Pong,
    Ran {
        code: i64,
        /// What it printed, errors last.
        output: String,
    },
    Sha256(String),
}

/// What `source test` found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Examination {
    /// For example `libvirt 9.0.0, QEMU 7.2.22`.
    pub platform: String,
    pub findings: Vec<Finding>,
    pub millis: u64,
}

/// The counters of all VMs that answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Readings {
    pub at: Timestamp,
    pub readings: Vec<Reading>,
    /// VMs that did not answer in time; their host goes on without them.
    pub hung: Vec<VmId>,
}

/// Something on a platform that bears an engine's mark.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owned {
    /// `domain`, `volume`, `checkpoint`, `server`, `mark` (on a primary that is fenced), …
    pub kind: String,
    pub name: String,
}

/// Lets long work report and be stopped.
#[derive(Clone, Default)]
pub struct Control {
    cancelled: Arc<AtomicBool>,
    report: Option<Arc<dyn Fn(Progress) + Send + Sync>>,
}

impl Control {
    pub fn reporting(report: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self {
            cancelled: Arc::default(),
            report: Some(Arc::new(report)),
        }
    }

    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub fn report(&self, progress: Progress) {
        if let Some(report) = &self.report {
            report(progress);
        }
    }

    /// # Errors
    /// [`PlatformError::Cancelled`] once somebody has cancelled.
    pub fn check(&self) -> Result<(), PlatformError> {
        if self.cancelled.load(Ordering::Relaxed) {
            Err(PlatformError::Cancelled)
        } else {
            Ok(())
        }
    }
}

/// Reads a platform; cannot change it.
pub trait Observe: Send + Sync {
    /// What works, what is missing, what permission lacks.
    ///
    /// # Errors
    /// When the platform cannot be reached at all.
    fn examine(&self) -> Result<Examination, PlatformError>;

    /// # Errors
    /// When the platform cannot be reached in time.
    fn inventory(&self) -> Result<Inventory, PlatformError>;

    /// All running VMs' counters in one go; a hung guest lands in `hung`.
    ///
    /// # Errors
    /// When the platform cannot be reached in time.
    fn sample(&self) -> Result<Readings, PlatformError>;

    /// The platform's own history, `from..to` at `step_seconds`; `None` where it keeps none.
    ///
    /// # Errors
    /// When the platform cannot be reached in time.
    fn history(
        &self,
        vm: &VmId,
        metric: Metric,
        from: Timestamp,
        to: Timestamp,
        step_seconds: u32,
    ) -> Result<Option<Series>, PlatformError>;

    /// Everything on the platform that `engine` made and that still stands, sorted.
    ///
    /// # Errors
    /// When the platform cannot be reached in time.
    fn owned(&self, engine: &EngineId) -> Result<Vec<Owned>, PlatformError>;
}

/// Changes a platform. The source side and the target side of replication are both here; a platform that can be
/// only one of them answers [`PlatformError::Unsupported`] for the other.
pub trait Hypervisor: Observe {
    // ── source side ──

    /// Takes the point in time that `spec` names and lays each disk's changed blocks into its spool volume; returns
    /// when the job is over. Running it again for a spec whose job never ended deletes the remains and begins anew;
    /// `resume` says that the spool of this very spec is known to be complete and may be kept.
    ///
    /// # Errors
    /// [`PlatformError::CheckpointLost`] where only a full copy helps; `NoSpace` before the spool would fill its file
    /// system; `Unsupported` for disks that cannot keep dirty bitmaps; `Busy` where another job runs.
    fn ensure_increment(
        &self,
        spec: &IncrementSpec,
        resume: bool,
        control: &Control,
    ) -> Result<Timestamp, PlatformError>;

    /// Reads the spool of one disk (by its index in the spec) from the start, as a qcow2 image without backing file.
    ///
    /// # Errors
    /// When the spool is not there.
    fn read_spool(
        &self,
        spec: &IncrementSpec,
        disk: usize,
    ) -> Result<Box<dyn Read + Send>, PlatformError>;

    /// The layer is safe on the target: drop the parent checkpoint and the spool.
    ///
    /// # Errors
    /// When the platform refuses; what is already gone is no error.
    fn ensure_increment_finished(&self, spec: &IncrementSpec) -> Result<(), PlatformError>;

    /// The increment will not be used: abort its job, drop its checkpoint (its bitmap merges back) and its spool.
    ///
    /// # Errors
    /// When the platform refuses; what is already gone is no error.
    fn ensure_increment_absent(&self, spec: &IncrementSpec) -> Result<(), PlatformError>;

    /// Drop every checkpoint and spool volume of this owner's engine on `vm`, for `shadow`'s replica.
    ///
    /// # Errors
    /// When the platform refuses; what is already gone (the VM included) is no error.
    fn ensure_replication_absent(&self, vm: &VmId, owner: &Owner) -> Result<(), PlatformError>;

    /// Stops the primary's CPUs, once its mark is in its metadata and its autostart is off. Already off stays off.
    ///
    /// # Errors
    /// [`PlatformError::NotOurs`] where another engine's mark is there; `Unsupported` for a VM that is gone once off;
    /// `Changed` where it is off, or paused, and bears no mark.
    fn ensure_paused(&self, fence: &Fence) -> Result<(), PlatformError>;

    /// Powers the primary off and returns once it is seen off, its mark there and its autostart off.
    ///
    /// # Errors
    /// [`PlatformError::Changed`] where it was to be paused and runs: what was read of its disk is not the last.
    fn ensure_fenced(&self, fence: &Fence, from: FenceFrom) -> Result<(), PlatformError>;

    /// Lets the primary run again, with the autostart that it had; takes the mark off last.
    ///
    /// # Errors
    /// [`PlatformError::NotOurs`] where it is off and does not bear this engine's mark.
    fn ensure_unfenced(&self, fence: &Fence) -> Result<(), PlatformError>;

    // ── target side ──

    /// Writes one disk's layer from `spool`, with its backing file put into the header in flight. A partial volume of
    /// the same name is deleted first. Returns the bytes written.
    ///
    /// # Errors
    /// `NoSpace` when the target is full; the partial volume is deleted before returning.
    fn ensure_layer(
        &self,
        spec: &IncrementSpec,
        disk: usize,
        spool: &mut dyn Read,
        control: &Control,
    ) -> Result<u64, PlatformError>;

    /// Copies the chain under `layer` into one full volume `flat`, so that what lies under it can go.
    ///
    /// # Errors
    /// When the platform refuses or is full.
    fn ensure_flattened(
        &self,
        pool: &PoolId,
        storage: &str,
        layer: &str,
        flat: &str,
        control: &Control,
    ) -> Result<(), PlatformError>;

    /// Lets each disk's `base` take what the layers over it hold, and puts what stands above them on it. Those layers
    /// are left, and nothing stands on them any more. Broken off anywhere, what is above reads as before, and doing it
    /// again ends the same. Returns the bytes that the merged layers take.
    ///
    /// # Errors
    /// When a layer is missing or in use, or the platform refuses or is full.
    fn ensure_merged(&self, merge: &Merge, control: &Control) -> Result<u64, PlatformError>;

    /// Deletes our volumes of these names.
    ///
    /// # Errors
    /// [`PlatformError::NotOurs`] for a name that does not bear the engine's prefix; what is gone is no error.
    fn ensure_volumes_absent(
        &self,
        owner: &Owner,
        pool: &PoolId,
        storage: &str,
        volumes: &[String],
    ) -> Result<(), PlatformError>;

    /// Keeps a copy of the manifest on the target.
    ///
    /// # Errors
    /// When the target cannot be reached or is full.
    fn ensure_manifest(&self, manifest: &Manifest) -> Result<(), PlatformError>;

    /// Removes the manifest's copy.
    ///
    /// # Errors
    /// When the target cannot be reached; what is gone is no error.
    fn ensure_manifest_absent(&self, manifest: &Manifest) -> Result<(), PlatformError>;

    /// Defines the shadow, powered off, each overlay on its layer. `model` is the primary's definition as its own
    /// platform gave it ([`Hypervisor::definition`]).
    ///
    /// # Errors
    /// [`PlatformError::NotOurs`] where something else has the name or uuid.
    fn ensure_shadow(&self, spec: &ShadowSpec, model: &str) -> Result<(), PlatformError>;

    /// Puts fresh overlays on the layers that `spec` names; the shadow is off.
    ///
    /// # Errors
    /// When the shadow runs, or a layer is missing.
    fn ensure_overlays(&self, spec: &ShadowSpec) -> Result<(), PlatformError>;

    /// Makes the shadow run or not. Off: asks the guest first and cuts the power after `grace_seconds`.
    ///
    /// # Errors
    /// [`PlatformError::NotOurs`] unless the VM bears this engine's mark.
    fn ensure_power(
        &self,
        owner: &Owner,
        uuid: &str,
        on: bool,
        grace_seconds: u32,
    ) -> Result<(), PlatformError>;

    /// Undefines the shadow (powering it off where needed) and deletes its overlays.
    ///
    /// # Errors
    /// [`PlatformError::NotOurs`] where what is there is not ours.
    fn ensure_shadow_absent(&self, spec: &ShadowSpec) -> Result<(), PlatformError>;

    // ── validation, at the target ──

    /// Makes the clone run, on fresh overlays of its layers and on a network that leads nowhere but from the forwarded
    /// ports in. One that runs already stays as it is. It ends with this process.
    ///
    /// # Errors
    /// When a layer is missing, or the platform refuses or is full.
    fn ensure_clone(&self, clone: &CloneSpec, model: &str) -> Result<(), PlatformError>;

    /// Cuts the clone's power and deletes its overlays and its console's text.
    ///
    /// # Errors
    /// [`PlatformError::NotOurs`] where what is there is not ours; what is gone is no error.
    fn ensure_clone_absent(&self, clone: &CloneSpec) -> Result<(), PlatformError>;

    /// What the clone has written to its serial console, the end of it.
    ///
    /// # Errors
    /// When the platform cannot be reached; a clone that was never started has written nothing.
    fn clone_console(&self, clone: &CloneSpec) -> Result<String, PlatformError>;

    /// Asks the agent in the clone.
    ///
    /// # Errors
    /// When no agent answers, or it refuses.
    fn ask_agent(
        &self,
        clone: &CloneSpec,
        question: &AgentQuestion,
    ) -> Result<AgentAnswer, PlatformError>;

    /// Whether the guest has taken a connection that stands open to this port of it.
    ///
    /// # Errors
    /// When the clone does not run.
    fn clone_takes(&self, clone: &CloneSpec, guest_port: u16) -> Result<bool, PlatformError>;

    /// The digest of a layer as it lies on the target (see [`crate::replication::digest`]).
    ///
    /// # Errors
    /// When the layer is not there or cannot be read.
    fn layer_digest(
        &self,
        pool: &PoolId,
        storage: &str,
        layer: &str,
        control: &Control,
    ) -> Result<String, PlatformError>;

    // ── both ──

    /// Takes or keeps the right to change this host; called before each change, and now and then without one.
    ///
    /// # Errors
    /// [`PlatformError::Leased`] while another console has it.
    fn ensure_lease(&self, claim: &Claim) -> Result<(), PlatformError>;

    /// Gives it back; without it that is no error.
    ///
    /// # Errors
    /// When the platform cannot be reached in time; then the lease goes stale by itself.
    fn release_lease(&self, claim: &Claim) -> Result<(), PlatformError>;

    /// The platform's own description of a VM (domain XML on libvirt), a model for its shadow.
    ///
    /// # Errors
    /// When the VM is not there.
    fn definition(&self, vm: &VmId) -> Result<String, PlatformError>;
}

/// Opens a connection by its address: `qemu…:`, `test:`.
///
/// # Errors
/// [`PlatformError::BadAddress`] for an address of no known kind, `Unreachable` or `Denied` from the platform.
pub fn connect(
    name: &SourceName,
    uri: &str,
    engine: &EngineId,
) -> Result<Arc<dyn Hypervisor>, PlatformError> {
    libvirt::connect(name, uri, engine)
}
