//! A shadow that takes its primary's place: what is fenced, what is promised while it can be taken back, each step.

use serde::{Deserialize, Serialize};

use super::{ShadowSpec, Step};
use crate::{
    inventory::Owner,
    reservation::Hold,
    units::{PoolId, ShadowId, SourceName, Timestamp, VmId, Weight},
};

/// A primary that must not run, because its shadow does. Written into its metadata too, so that whoever finds the VM
/// finds out why it is off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// The engine, and the operation that fenced it first.
    pub owner: Owner,
    pub vm: VmId,
    pub shadow: ShadowId,
}

/// How a primary is found that is to be powered off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FenceFrom {
    /// Its CPUs were stopped before the last delta was read: if they run again, that delta is not the last.
    Paused,
    /// It runs though it may not: it is asked to shut down, and its power is cut after so many seconds.
    Running { grace_seconds: u32 },
}

/// What stands while a promotion can be taken back, and what taking it back brings back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromotionSpec {
    pub fence: Fence,
    /// The recovery point that the promoted VM started from.
    pub point: u64,
    /// What a person said about a primary that could not be reached.
    pub attestation: Option<String>,
    pub window_seconds: u32,
    /// The shadow as it was, on the promoted point.
    pub original: ShadowSpec,
    pub original_hold: Option<Hold>,
}

/// A step of a promotion, of its commit or of its rollback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum PromotionStep {
    /// One more point out of turn, under a number that is kept free for it.
    CatchUp {
        shadow: ShadowId,
        vm: VmId,
        number: u64,
    },
    /// Make one server's weight so, the others' stay.
    SetWeight {
        director: SourceName,
        backend: String,
        server: String,
        weight: Weight,
        previous_weight: Weight,
    },
    /// Stop the primary's CPUs: from here on its disk stands still.
    PausePrimary {
        fence: Fence,
    },
    /// Power the primary off, and see that it is. Autostart is off and the mark is there before.
    FencePrimary {
        fence: Fence,
        from: FenceFrom,
    },
    /// Start the primary again, with autostart as it was; its mark goes.
    StartPrimary {
        fence: Fence,
    },
    /// A person says that the primary is off; this only writes it down.
    AttestFenced {
        vm: VmId,
        statement: String,
        /// What was written later is lost.
        point_at: Timestamp,
    },
    /// Change what is promised in the ledger.
    Rehold {
        hold: Hold,
        previous: Hold,
    },
    /// Define the shadow anew, powered off, on fresh overlays.
    RedefineShadow {
        spec: Box<ShadowSpec>,
        point: u64,
        previous: Box<ShadowSpec>,
        previous_point: u64,
    },
    /// From here on writes are accepted that going back would lose: only forward.
    PointOfNoReturn,
    OpenCommitWindow {
        promotion: Box<PromotionSpec>,
    },
    /// The promotion stays: the window closes.
    Commit {
        shadow: ShadowId,
    },
    /// The promotion was taken back.
    EndPromotion {
        shadow: ShadowId,
    },
    /// Overlays that nothing uses any more.
    RemoveVolumes {
        owner: Owner,
        pool: PoolId,
        storage: String,
        volumes: Vec<String>,
    },
}

impl Step {
    /// Whether an operation that has come here only goes forward.
    pub const fn is_point_of_no_return(&self) -> bool {
        matches!(self, Self::Promotion(PromotionStep::PointOfNoReturn))
    }
}

impl PromotionStep {
    /// Whether it is done by being written down.
    pub const fn is_only_journalled(&self) -> bool {
        matches!(
            self,
            Self::AttestFenced { .. }
                | Self::Rehold { .. }
                | Self::PointOfNoReturn
                | Self::OpenCommitWindow { .. }
                | Self::Commit { .. }
                | Self::EndPromotion { .. }
        )
    }

    /// Whether going back needs nothing on any platform.
    pub const fn has_no_undo(&self) -> bool {
        self.is_only_journalled()
            || matches!(
                self,
                Self::CatchUp { .. }
                    | Self::RemoveVolumes { .. }
                    // It was never to run.
                    | Self::FencePrimary {
                        from: FenceFrom::Running { .. },
                        ..
                    }
            )
    }
}
