//! Capacity promised per pool for shadows, never beyond what the pool has.

use serde::{Deserialize, Serialize};

use crate::units::{OperationId, PoolId};

/// What one shadow may take of its pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub operation: OperationId,
    pub pool: PoolId,
    pub vcpus: u32,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
}

/// All holds. Kept by the core, rebuilt from the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub holds: Vec<Hold>,
}

impl Ledger {
    /// Adds or replaces the hold of an operation.
    pub fn hold(&mut self, hold: Hold) {
        self.release(&hold.operation);
        self.holds.push(hold);
    }

    pub fn release(&mut self, operation: &OperationId) {
        self.holds.retain(|hold| hold.operation != *operation);
    }

    /// Memory promised in `pool`.
    pub fn memory_bytes(&self, pool: &PoolId) -> u64 {
        self.in_pool(pool).map(|hold| hold.memory_bytes).sum()
    }

    pub fn vcpus(&self, pool: &PoolId) -> u32 {
        self.in_pool(pool).map(|hold| hold.vcpus).sum()
    }

    pub fn disk_bytes(&self, pool: &PoolId) -> u64 {
        self.in_pool(pool).map(|hold| hold.disk_bytes).sum()
    }

    fn in_pool<'a>(&'a self, pool: &'a PoolId) -> impl Iterator<Item = &'a Hold> {
        self.holds.iter().filter(move |hold| hold.pool == *pool)
    }
}
