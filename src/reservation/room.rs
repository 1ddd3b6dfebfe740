//! A part of a pool that an operator keeps for shadows: what it holds, who uses it, and whether it is really there.
//!
//! It is soft: this console goes by it, and nothing stops others from starting VMs in the pool. What they took of it is
//! told as short. Shadows get so much of the pool's memory and no more; a pool without one gives them what is free
//! beside the headroom. CPUs can be promised more than once, so their part is shown and checked when it is set, and what
//! a shadow does to them is told by contention.

use serde::{Deserialize, Serialize};

use super::{Ledger, Shortfall};
use crate::{
    inventory::Pool,
    units::{PoolId, Timestamp},
};

/// What an operator set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reserved {
    pub pool: PoolId,
    /// 0..=1 of the pool's memory and of its CPUs.
    pub share: f64,
    /// It ends by itself then; `None`: when it is released.
    pub until: Option<Timestamp>,
    pub since: Timestamp,
    pub by: String,
}

impl Reserved {
    pub fn memory_bytes(&self, pool: &Pool) -> u64 {
        (pool.memory_bytes as f64 * self.share.clamp(0.0, 1.0)).floor() as u64
    }

    pub fn cpus(&self, pool: &Pool) -> f64 {
        f64::from(pool.cpus) * self.share.clamp(0.0, 1.0)
    }

    pub fn has_ended(&self, at: Timestamp) -> bool {
        self.until.is_some_and(|until| at >= until)
    }
}

/// Whether a pool goes on without one of its hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NPlusOne {
    Kept,
    /// Less is free beside the reservation than one host has.
    Broken,
    /// It cannot be had: with its host the whole pool is lost.
    OneHost,
}

/// A reservation as it stands now.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Room {
    pub memory_bytes: u64,
    pub cpus: f64,
    /// Promised to shadows, of memory.
    pub taken_bytes: u64,
    /// What is kept and used by nobody: its cost.
    pub idle_bytes: u64,
    pub idle_cpus: f64,
    /// Of the idle part, what others have taken.
    pub short_bytes: u64,
    pub short_cpus: f64,
    pub n_plus_one: NPlusOne,
}

/// What shadows have of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub memory_bytes: u64,
    pub vcpus: u32,
    /// Of the memory, what belongs to shadows that do not run: the platform still counts it as free.
    pub waiting_bytes: u64,
}

/// Why a reservation cannot be kept, and how much could be: 0..=1, in whole percents.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unkept {
    Memory { possible: f64 },
    HostLoss { possible: f64, host_bytes: u64 },
    Cpus { possible: f64 },
}

/// How much memory goes with one host, in a pool of several; hosts are taken to be alike.
pub fn host_bytes(pool: &Pool) -> Option<u64> {
    (pool.hosts > 1).then(|| pool.memory_bytes.div_ceil(u64::from(pool.hosts)))
}

pub fn room(reserved: &Reserved, pool: &Pool, taken: Taken) -> Room {
    let (memory_bytes, cpus) = (reserved.memory_bytes(pool), reserved.cpus(pool));
    let idle_bytes = memory_bytes.saturating_sub(taken.memory_bytes);
    let idle_cpus = (cpus - f64::from(taken.vcpus)).max(0.0);
    let free = pool.memory_free_bytes.saturating_sub(taken.waiting_bytes);
    let n_plus_one = match host_bytes(pool) {
        None => NPlusOne::OneHost,
        Some(host) if free.saturating_sub(idle_bytes) >= host => NPlusOne::Kept,
        Some(_) => NPlusOne::Broken,
    };
    Room {
        memory_bytes,
        cpus,
        taken_bytes: taken.memory_bytes,
        idle_bytes,
        idle_cpus,
        short_bytes: idle_bytes.saturating_sub(free),
        short_cpus: free_cpus(pool).map_or(0.0, |free| (idle_cpus - free).max(0.0)),
        n_plus_one,
    }
}

/// Says whether the pool can keep it now: beside the headroom, and with one of several hosts lost.
///
/// # Errors
/// Names what is too scarce.
pub fn can_keep(
    reserved: &Reserved,
    pool: &Pool,
    taken: Taken,
    headroom: f64,
) -> Result<(), Unkept> {
    let now = room(reserved, pool, taken);
    let free = pool.memory_free_bytes.saturating_sub(taken.waiting_bytes);
    let possible = |kept: u64| {
        let most = taken.memory_bytes.saturating_add(free.saturating_sub(kept));
        whole_percents(most as f64 / pool.memory_bytes.max(1) as f64)
    };
    let kept = (pool.memory_bytes as f64 * headroom.clamp(0.0, 1.0)).ceil() as u64;
    if now.idle_bytes > free.saturating_sub(kept) {
        return Err(Unkept::Memory {
            possible: possible(kept),
        });
    }
    if let Some(host_bytes) = host_bytes(pool)
        && now.n_plus_one == NPlusOne::Broken
        && now.idle_bytes > 0
    {
        return Err(Unkept::HostLoss {
            possible: possible(host_bytes),
            host_bytes,
        });
    }
    if now.short_cpus > 0.0 {
        let most = (now.cpus - now.short_cpus) / f64::from(pool.cpus.max(1));
        return Err(Unkept::Cpus {
            possible: whole_percents(most),
        });
    }
    Ok(())
}

fn free_cpus(pool: &Pool) -> Option<f64> {
    Some((1.0 - pool.cpu_used?.clamp(0.0, 1.0)) * f64::from(pool.cpus))
}

fn whole_percents(ratio: f64) -> f64 {
    // A tenth is a bit less than 0.1 here and there.
    (ratio.clamp(0.0, 1.0) * 100.0 + 1e-6).floor() / 100.0
}

impl Ledger {
    /// Adds or replaces a pool's reservation.
    pub fn reserve(&mut self, reserved: Reserved) {
        self.give_up(&reserved.pool);
        self.reserved.push(reserved);
    }

    /// Takes a pool's reservation away.
    pub fn give_up(&mut self, pool: &PoolId) -> Option<Reserved> {
        let at = self.reserved.iter().position(|one| one.pool == *pool)?;
        Some(self.reserved.remove(at))
    }

    pub fn reserved_in(&self, pool: &PoolId) -> Option<&Reserved> {
        self.reserved.iter().find(|one| one.pool == *pool)
    }

    /// Says whether another shadow of this size leaves `pool` what it is to keep: no more than is reserved for shadows
    /// goes to them, and one of several hosts can be lost.
    ///
    /// # Errors
    /// Names what it would break.
    pub fn keeps(&self, pool: &Pool, memory_bytes: u64) -> Result<(), Shortfall> {
        if let Some(reserved) = self.reserved_in(&pool.id) {
            let all = reserved.memory_bytes(pool);
            let left = all.saturating_sub(self.memory_bytes(&pool.id));
            if memory_bytes > left {
                return Err(Shortfall::Reserved {
                    needed: memory_bytes,
                    left,
                    reserved: all,
                });
            }
        }
        let free = self.memory_free_bytes(pool, 0.0);
        match host_bytes(pool) {
            Some(host) if free.saturating_sub(memory_bytes) < host => Err(Shortfall::HostLoss {
                needed: memory_bytes,
                free,
                host,
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
