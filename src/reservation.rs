//! Capacity promised per pool for shadows, never beyond what the pool has.

use serde::{Deserialize, Serialize};

use crate::{
    inventory::Pool,
    units::{OperationId, PoolId},
};

pub mod room;

pub use room::{NPlusOne, Reserved, Room, Taken};

/// What one shadow may take of its pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub operation: OperationId,
    pub pool: PoolId,
    pub vcpus: u32,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
}

/// What a pool lacks for a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortfall {
    /// More vCPUs than the pool has CPUs: no host could run it.
    Cpus { needed: u32, cpus: u32 },
    /// `free` is what is left after promises and headroom.
    Memory { needed: u64, free: u64 },
    /// `free` is what is left on the storage after promises.
    Disk { needed: u64, free: u64 },
    /// The pool has no storage of that name.
    NoStorage,
    /// `left` of what is `reserved` for shadows there.
    Reserved {
        needed: u64,
        left: u64,
        reserved: u64,
    },
    /// What stays free would be less than one of its hosts has.
    HostLoss { needed: u64, free: u64, host: u64 },
}

/// All holds. Kept by the core, rebuilt from the journal.
///
/// A hold counts in full for as long as it stands, also when its shadow already runs and the platform's free figures
/// have shrunk with it: promising too little is safe, promising twice is not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    pub holds: Vec<Hold>,
    /// At most one a pool.
    #[serde(default)]
    pub reserved: Vec<Reserved>,
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
        self.in_pool(pool)
            .fold(0, |sum, hold| sum.saturating_add(hold.memory_bytes))
    }

    pub fn vcpus(&self, pool: &PoolId) -> u32 {
        self.in_pool(pool)
            .fold(0, |sum, hold| sum.saturating_add(hold.vcpus))
    }

    pub fn disk_bytes(&self, pool: &PoolId) -> u64 {
        self.in_pool(pool)
            .fold(0, |sum, hold| sum.saturating_add(hold.disk_bytes))
    }

    /// Memory of `pool` that is neither used nor promised, less the `headroom` (0..=1 of its memory) that stays free.
    pub fn memory_free_bytes(&self, pool: &Pool, headroom: f64) -> u64 {
        let kept = (pool.memory_bytes as f64 * headroom.clamp(0.0, 1.0)).ceil() as u64;
        pool.memory_free_bytes
            .saturating_sub(self.memory_bytes(&pool.id))
            .saturating_sub(kept)
    }

    /// Says whether `pool` can keep `hold` beside all that is promised already. A hold that the same operation has
    /// is replaced, so it does not count. CPUs may be promised more than once: contention tells when that is too much.
    ///
    /// # Errors
    /// Names the first resource that is too scarce, with figures.
    pub fn fits(
        &self,
        hold: &Hold,
        pool: &Pool,
        storage: &str,
        headroom: f64,
    ) -> Result<(), Shortfall> {
        let mut others = self.clone();
        others.release(&hold.operation);
        if hold.vcpus > pool.cpus {
            return Err(Shortfall::Cpus {
                needed: hold.vcpus,
                cpus: pool.cpus,
            });
        }
        let free = others.memory_free_bytes(pool, headroom);
        if hold.memory_bytes > free {
            return Err(Shortfall::Memory {
                needed: hold.memory_bytes,
                free,
            });
        }
        others.keeps(pool, hold.memory_bytes)?;
        let storage = pool
            .storage
            .iter()
            .find(|candidate| candidate.name == storage)
            .ok_or(Shortfall::NoStorage)?;
        // Holds do not name their storage, so each counts against every storage of its pool.
        let free = storage
            .available_bytes
            .saturating_sub(others.disk_bytes(&pool.id));
        if hold.disk_bytes > free {
            return Err(Shortfall::Disk {
                needed: hold.disk_bytes,
                free,
            });
        }
        Ok(())
    }

    fn in_pool<'a>(&'a self, pool: &'a PoolId) -> impl Iterator<Item = &'a Hold> {
        self.holds.iter().filter(move |hold| hold.pool == *pool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Role, Storage};

    const GIB: u64 = 1 << 30;

    fn pool() -> Pool {
        Pool {
            id: PoolId::from("b/host"),
            name: "host".to_owned(),
            source: "b".into(),
            role: Role::Secondary,
            hosts: 1,
            cpus: 8,
            memory_bytes: 64 * GIB,
            memory_free_bytes: 32 * GIB,
            cpu_used: None,
            contention: None,
            storage: vec![Storage {
                name: "default".to_owned(),
                capacity_bytes: 100 * GIB,
                available_bytes: 50 * GIB,
            }],
            service_address: "127.0.0.1".to_owned(),
        }
    }

    fn hold(operation: &str, memory_gib: u64, disk_gib: u64) -> Hold {
        Hold {
            operation: operation.into(),
            pool: pool().id,
            vcpus: 2,
            memory_bytes: memory_gib * GIB,
            disk_bytes: disk_gib * GIB,
        }
    }

    #[test]
    fn what_is_promised_to_one_is_not_promised_to_another() {
        let mut ledger = Ledger::default();
        let first = hold("op-1", 16, 10);
        assert_eq!(ledger.fits(&first, &pool(), "default", 0.125), Ok(()));
        ledger.hold(first);
        // 32 free, 16 promised, 8 of headroom: 8 are left.
        assert_eq!(
            ledger.fits(&hold("op-2", 9, 10), &pool(), "default", 0.125),
            Err(Shortfall::Memory {
                needed: 9 * GIB,
                free: 8 * GIB
            })
        );
        assert_eq!(
            ledger.fits(&hold("op-2", 8, 41), &pool(), "default", 0.125),
            Err(Shortfall::Disk {
                needed: 41 * GIB,
                free: 40 * GIB
            })
        );
        assert_eq!(
            ledger.fits(&hold("op-2", 8, 40), &pool(), "default", 0.125),
            Ok(())
        );
    }

    #[test]
    fn a_hold_made_twice_counts_once() {
        let mut ledger = Ledger::default();
        ledger.hold(hold("op-1", 16, 10));
        ledger.hold(hold("op-1", 16, 10));
        assert_eq!(ledger.memory_bytes(&pool().id), 16 * GIB);
        assert_eq!(
            ledger.fits(&hold("op-1", 24, 50), &pool(), "default", 0.125),
            Ok(())
        );
        ledger.release(&"op-1".into());
        assert_eq!(ledger, Ledger::default());
    }
}
