//! What tests and demonstrations do to a fleet from outside: disturb it, look into it, compare.

use super::{
    Fleet,
    clones::CloneFlaw,
    disks::{Blocks, Volume, VolumeUse, content},
    fault::{FaultRule, Verb},
    observe::{STORAGE, owned_on},
    replicas::key,
    shadows::{Power, Sickness},
};
use crate::{
    hypervisor::{Owned, PlatformError},
    inventory::PowerState,
    replication::{Manifest, RecoveryPoint},
    units::{EngineId, PoolId, SourceName, Timestamp, VmId},
};

/// A disk at a moment beside what a chain of volumes holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Blocks that either side has.
    pub blocks: usize,
    pub differing: Vec<u32>,
}

impl Comparison {
    /// Every block is the same, and there is at least one.
    pub fn identical(&self) -> bool {
        self.blocks > 0 && self.differing.is_empty()
    }
}

impl Fleet {
    pub fn fault(&self, rule: FaultRule) {
        self.shared.world().faults.add(rule);
    }

    pub fn clear_faults(&self) {
        self.shared.world().faults.clear();
    }

    /// How often a verb was called on any source.
    pub fn calls(&self, verb: Verb) -> u64 {
        self.shared.world().faults.calls(verb)
    }

    /// Cuts a source or the balancer off, with the reason that callers get, or brings it back.
    pub fn set_unreachable(&self, source: &SourceName, why: Option<&str>) {
        let unreachable = &mut self.shared.world().unreachable;
        match why {
            Some(why) => unreachable.insert(source.clone(), why.to_owned()),
            None => unreachable.remove(source),
        };
    }

    /// Makes a guest stop answering, or answer again.
    pub fn set_hung(&self, vm: &VmId, hung: bool) {
        let since = self.shared.now();
        let guests = &mut self.shared.world().hung;
        if hung {
            guests.entry(vm.clone()).or_insert(since);
        } else {
            guests.remove(vm);
        }
    }

    /// As after a crash of the VM's process: the bitmaps of its checkpoints are lost.
    pub fn lose_bitmaps(&self, vm: &VmId) {
        let mut world = self.shared.world();
        for checkpoint in world
            .checkpoints
            .entry(vm.clone())
            .or_default()
            .values_mut()
        {
            checkpoint.broken = true;
        }
    }

    /// Leaves so many bytes free in a pool's storage; `None` gives everything back.
    pub fn set_free_space(&self, pool: &PoolId, free_bytes: Option<u64>) {
        let spec = &self.shared.spec;
        let mut world = self.shared.world();
        world.filled.remove(pool);
        let index = spec
            .pools
            .iter()
            .position(|known| PoolId::of(&known.source, &known.name) == *pool);
        if let (Some(index), Some(free)) = (index, free_bytes) {
            let capacity = self.shared.roster.capacity(spec, index).disk_bytes;
            let allocated = self.shared.roster.pools[index].allocated_bytes;
            let taken = allocated + world.taken_bytes(pool) + free;
            world
                .filled
                .insert(pool.clone(), capacity.saturating_sub(taken));
        }
    }

    /// Puts a volume there that no engine made.
    pub fn plant_volume(&self, pool: &PoolId, name: &str) {
        let volume = Volume {
            used_as: VolumeUse::Foreign,
            backing: None,
            blocks: Blocks::new(),
            bytes: 4096,
            complete: true,
        };
        self.shared
            .world()
            .volumes
            .insert(key(pool, STORAGE, name), volume);
    }

    pub fn has_volume(&self, pool: &PoolId, name: &str) -> bool {
        self.shared
            .world()
            .volumes
            .contains_key(&key(pool, STORAGE, name))
    }

    /// Makes the service on a shadow answer badly, or well again.
    pub fn sicken(&self, shadow: &VmId, sickness: Option<Sickness>) {
        let now = self.shared.now();
        let mut world = self.shared.world();
        world.settle_traffic(&self.shared, now);
        if let Some(shadow) = world.shadows.get_mut(shadow) {
            shadow.sickness = sickness;
        }
    }

    pub fn power_of(&self, vm: &VmId) -> PowerState {
        self.shared.world().power_of(vm)
    }

    /// Somebody starts or stops a primary by hand.
    pub fn set_power(&self, vm: &VmId, state: PowerState) {
        let now = self.shared.now();
        let mut world = self.shared.world();
        world.set_power(&self.shared, vm, state, now);
    }

    /// The shadow's process dies.
    pub fn crash_shadow(&self, shadow: &VmId) {
        let now = self.shared.now();
        let mut world = self.shared.world();
        world.settle_traffic(&self.shared, now);
        if let Some(shadow) = world.shadows.get_mut(shadow) {
            shadow.state = Power::Off;
        }
        world.settle_traffic(&self.shared, now);
    }

    /// Every clone that is started from now on has this flaw.
    pub fn flaw_clones(&self, flaw: Option<CloneFlaw>) {
        self.shared.world().clone_flaw = flaw;
    }

    /// The engine's connections are cut, as its death does: what ends with them ends.
    pub fn cut_connections(&self) {
        self.shared.world().clones.clear();
    }

    /// Changes a block of a volume behind everybody's back.
    pub fn damage_volume(&self, pool: &PoolId, name: &str) {
        let mut world = self.shared.world();
        if let Some(volume) = world.volumes.get_mut(&key(pool, STORAGE, name)) {
            volume.blocks.insert(0, u64::MAX);
        }
    }

    /// Everything of an engine's that stands anywhere in the fleet, servers at the balancer included, sorted.
    pub fn leftovers(&self, engine: &EngineId) -> Vec<Owned> {
        let world = self.shared.world();
        let mut all: Vec<Owned> = self
            .shared
            .spec
            .sources
            .iter()
            .flat_map(|source| owned_on(&world, &source.name, engine))
            .collect();
        for (backend, servers) in &world.balancer.backends {
            let added = servers
                .servers
                .iter()
                .filter(|(_, server)| server.vm.is_none());
            all.extend(added.map(|(name, _)| Owned {
                kind: "server".to_owned(),
                name: format!("{backend}/{name}"),
            }));
        }
        all.sort();
        all
    }

    /// What an engine did that it never may, for example deleting a layer under a running shadow.
    pub fn violations(&self) -> Vec<String> {
        self.shared.world().violations.clone()
    }

    /// Compares a disk of `vm` as it was at a moment with what a volume and its chain hold.
    ///
    /// # Errors
    /// When the VM, the disk or a volume of the chain is not there.
    pub fn compare(
        &self,
        vm: &VmId,
        disk: &str,
        at: Timestamp,
        pool: &PoolId,
        volume: &str,
    ) -> Result<Comparison, PlatformError> {
        let missing = |what: String| PlatformError::NotFound { what };
        let index = self
            .shared
            .roster
            .find(vm)
            .ok_or_else(|| missing(format!("VM {vm}")))?;
        let record = &self.shared.roster.vms[index];
        let disk = record
            .disks()
            .iter()
            .position(|known| known.target == disk)
            .ok_or_else(|| missing(format!("disk {disk} of {}", record.name)))?;
        let source = content(&self.shared, record, disk, at);
        let copy = self.shared.world().chain(&key(pool, STORAGE, volume))?;
        let mut blocks: Vec<u32> = source.keys().chain(copy.keys()).copied().collect();
        blocks.sort_unstable();
        blocks.dedup();
        let differing = blocks
            .iter()
            .filter(|block| source.get(block) != copy.get(block))
            .copied()
            .collect();
        Ok(Comparison {
            blocks: blocks.len(),
            differing,
        })
    }

    /// Compares a recovery point with its VM's disks, one after the other.
    ///
    /// # Errors
    /// As [`Fleet::compare`].
    pub fn compare_point(
        &self,
        manifest: &Manifest,
        point: &RecoveryPoint,
    ) -> Result<Comparison, PlatformError> {
        let mut whole = Comparison::default();
        for (layer, disk) in point.layers.iter().zip(["vda", "vdb"]) {
            let pool = &manifest.target_pool;
            let one = self.compare(&manifest.vm, disk, point.at, pool, layer)?;
            whole.blocks += one.blocks;
            whole.differing.extend(one.differing);
        }
        Ok(whole)
    }
}
