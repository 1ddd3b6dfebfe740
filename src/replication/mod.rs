//! Block-level replication by checkpoint increments: what one cycle is, what the manifest holds, what comes next.
//!
//! ```text
//! idle ──due──▶ spooling ──job done──▶ shipping ──layer complete──▶ commit (manifest) ──▶ idle
//!   ▲              │ abort, crash            │ crash: partial layer deleted, same spool shipped again
//!   └──────────────┴─ checkpoint deleted ◀───┘
//! ```
//!
//! Invariants: a layer counts only once the manifest lists it; the manifest is saved before a cycle starts (with
//! the names that it will use) and after it ends; a volume is garbage only if it bears this engine's prefix, lies in
//! the pool that was planned, *and* no readable manifest lists it.

use serde::{Deserialize, Serialize};

use crate::{
    inventory::Owner,
    units::{EngineId, OperationId, PoolId, ShadowId, Timestamp, VmId},
};

pub mod cycle;
pub mod digest;
pub mod ladder;
pub mod names;
pub mod qcow2;

/// What every generated name of `engine` begins with: `sc-`, eight characters of its id, `-`.
pub fn prefix(engine: &EngineId) -> String {
    let id: String = engine
        .as_str()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|character| character.to_ascii_lowercase())
        .take(8)
        .collect();
    format!("sc-{id}-")
}

/// One disk of one increment: every name is chosen before anything happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskIncrement {
    /// The guest-side name on the source, for example `vda`.
    pub target: String,
    pub capacity_bytes: u64,
    /// The file on the source that the backup job writes into.
    pub spool_volume: String,
    /// The volume on the target that the increment becomes.
    pub layer_volume: String,
    /// The layer below; `None` for a full copy.
    pub backing_volume: Option<String>,
}

/// One point in time of a VM, taken under one checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncrementSpec {
    pub owner: Owner,
    pub shadow: ShadowId,
    pub vm: VmId,
    /// Counts up from 0 for a shadow; part of every generated name.
    pub number: u64,
    /// The checkpoint that this increment makes on the source.
    pub checkpoint: String,
    /// The checkpoint that it counts from; `None` for a full copy.
    pub parent_checkpoint: Option<String>,
    /// Ask the guest agent to freeze file systems for the moment of the checkpoint.
    pub freeze: bool,
    /// The pool on the target and the storage inside it that hold the layers.
    pub target_pool: PoolId,
    pub target_storage: String,
    pub disks: Vec<DiskIncrement>,
}

/// A moment that the shadow can be started from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryPoint {
    pub number: u64,
    /// When the checkpoint was taken on the source.
    pub at: Timestamp,
    /// When the last byte was on the target.
    pub complete_at: Timestamp,
    pub consistent: Consistency,
    /// Bytes that travelled for it.
    pub shipped_bytes: u64,
    /// Bytes that its own layers take on the target.
    #[serde(default)]
    pub stored_bytes: u64,
    /// One layer for each disk, in the order of the disks.
    pub layers: Vec<String>,
    /// What the source gave for each layer, as SHA-256 of it past its first cluster; none once layers were merged.
    #[serde(default)]
    pub digests: Vec<String>,
    /// Counts the layers under it that it needs.
    pub depth: u32,
    /// Kept whatever the ladder says.
    #[serde(default)]
    pub pinned: bool,
    /// What the newest validation of it came to.
    #[serde(default)]
    pub proof: Option<ProofMark>,
}

/// The mark that a validation leaves on a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofMark {
    pub at: Timestamp,
    pub passed: bool,
    /// The operation that tried it, under which its evidence is kept.
    pub operation: OperationId,
}

/// Layers that become one, so that the points between them give their space back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    pub owner: Owner,
    pub shadow: ShadowId,
    pub pool: PoolId,
    pub storage: String,
    /// The point that stands on the lowest layer afterwards.
    pub number: u64,
    /// The points that are none any more.
    pub forgotten: Vec<u64>,
    pub disks: Vec<DiskMerge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskMerge {
    /// Takes what the others hold.
    pub base: String,
    /// From the bottom up; the last is the point's own.
    pub over: Vec<String>,
    /// Stands on the last of them, and on `base` afterwards.
    pub above: Option<String>,
    /// Through which the chain is opened; gone afterwards.
    pub scratch: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// As if the power had failed at that moment.
    Crash,
    /// File systems were frozen.
    FileSystem,
}

/// A cycle that was started and whose end is not recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    pub spec: IncrementSpec,
    pub started_at: Timestamp,
    /// The job is over and the spool complete: after a crash the same spool is shipped again.
    pub spooled_at: Option<Timestamp>,
}

/// All that is known of one replica; saved whole before and after each cycle, and kept on the target as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub shadow: ShadowId,
    pub owner: Owner,
    pub vm: VmId,
    pub target_pool: PoolId,
    pub target_storage: String,
    pub rpo_seconds: u32,
    pub next_number: u64,
    /// The checkpoint on the source that the newest point was taken under.
    pub checkpoint: Option<String>,
    /// Oldest first; the last one is the newest complete point.
    pub points: Vec<RecoveryPoint>,
    pub in_flight: Option<InFlight>,
    /// Begun, and not known to have ended.
    #[serde(default)]
    pub merging: Option<Merge>,
    /// Volumes that no point lists any more and that still stand.
    #[serde(default)]
    pub garbage: Vec<String>,
    /// The point that the running shadow's overlay stands on.
    pub serving_from: Option<u64>,
    /// Why the replica is behind; `None` while cycles succeed.
    pub stalled: Option<String>,
    pub last_cycle_millis: Option<u64>,
    /// Replication goes on by itself while this is set.
    pub active: bool,
}

/// How far a cycle is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub done_bytes: u64,
    /// Zero while not known.
    pub total_bytes: u64,
}
/// Whether `name` is one that this engine generated: its prefix, then only characters that mean nothing to a
/// shell, a path or QEMU's options.
pub fn is_ours(engine: &EngineId, name: &str) -> bool {
    name.len() <= 200
        && name.strip_prefix(&prefix(engine)).is_some_and(|rest| {
            !rest.is_empty()
                && rest
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_generated_names_of_this_engine_are_ours() {
        let engine = EngineId::from("0123456789abcdef");
        assert_eq!(prefix(&engine), "sc-01234567-");
        assert!(is_ours(&engine, "sc-01234567-s1-0.vda.qcow2"));
        for name in [
            "sc-01234567-",
            "sc-01234568-s1",
            "xsc-01234567-s1",
            "sc-01234567-../../etc/passwd",
            "sc-01234567-a,b",
            "sc-01234567-a:b",
            "sc-01234567-\u{202e}",
            "",
        ] {
            assert!(!is_ours(&engine, name), "{name:?}");
        }
    }
}
