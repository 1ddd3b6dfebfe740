//! The journal: what was approved, started and ended. State is a fold over its entries, and `next` is pure.
//!
//! ```text
//! opened ─▶ step 0 … step n ─▶ done
//!              │ failed, cancelled
//!              ▼
//!          undo of every started step, last first ─▶ undone
//!              │ undo failed
//!              ▼
//!            parked ──resume──▶ (undo again)
//! ```

use serde::{Deserialize, Serialize};

use crate::{
    shadow::Plan,
    units::{Digest, OperationId, ProposalId, Timestamp},
};

pub mod fold;

/// Who allowed a plan, by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub proposal: Option<ProposalId>,
    pub digest: Digest,
    pub by: String,
    pub at: Timestamp,
    pub until: Timestamp,
}

/// One row of the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    Opened { plan: Box<Plan>, approval: Approval },
    StepStarted { step: usize },
    StepDone { step: usize, note: String },
    StepFailed { step: usize, why: String },
    CancelRequested { by: String },
    UndoStarted { step: usize },
    UndoDone { step: usize },
    UndoFailed { step: usize, why: String },
    Parked { why: String },
    Resumed { by: String },
    Closed { outcome: Outcome },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done,
    Undone,
}

/// A row with its place in the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalRow {
    pub operation: OperationId,
    pub seq: u32,
    pub at: Timestamp,
    pub entry: Entry,
}
