//! Replication at its source: checkpoints, the backup job of an increment, its spool.

use std::io::Read;

use super::{
    disks::{Checkpoint, Volume, VolumeKey, VolumeUse, spool_content, spool_reader},
    observe::{Platform, STORAGE},
    roster::{Oddity, Record},
    world::World,
};
use crate::{
    hypervisor::{Control, PlatformError},
    inventory::Owner,
    replication::{DiskIncrement, IncrementSpec, Progress, prefix},
    units::{EngineId, PoolId, Timestamp, VmId},
};

/// How often long work reports and looks whether it was cancelled.
const TICKS_A_SECOND: u64 = 4;

/// A name that does not bear the engine's prefix is never touched.
pub(super) fn guard<'a>(
    engine: &EngineId,
    names: impl IntoIterator<Item = &'a String>,
) -> Result<(), PlatformError> {
    let prefix = prefix(engine);
    match names.into_iter().find(|name| !name.starts_with(&prefix)) {
        None => Ok(()),
        Some(name) => Err(PlatformError::NotOurs {
            what: format!("volume or checkpoint {name}"),
        }),
    }
}

pub(super) fn key(pool: &PoolId, storage: &str, name: &str) -> VolumeKey {
    VolumeKey {
        pool: pool.clone(),
        storage: storage.to_owned(),
        name: name.to_owned(),
    }
}

impl Platform {
    /// Lets the time pass that copying takes.
    pub(super) fn copy(&self, total_bytes: u64, control: &Control) -> Result<(), PlatformError> {
        let rate = self.shared.spec.latency.copy_bytes_per_sec.max(1);
        let tick = (rate / TICKS_A_SECOND).max(1);
        let mut done_bytes = 0;
        while done_bytes < total_bytes {
            control.check()?;
            let step = tick.min(total_bytes - done_bytes);
            self.shared
                .clock
                .sleep((u128::from(step) * 1000 / u128::from(rate)) as u64);
            done_bytes += step;
            control.report(Progress {
                done_bytes,
                total_bytes,
            });
        }
        control.check()
    }

    pub(super) fn pause(&self) {
        self.shared
            .clock
            .sleep(self.shared.spec.latency.verb_millis);
    }

    /// The place of a pool of this source in the scenario.
    pub(super) fn pool_index(&self, pool: &PoolId) -> Result<usize, PlatformError> {
        let pools = &self.shared.spec.pools;
        pools
            .iter()
            .position(|spec| {
                spec.source == self.source && PoolId::of(&spec.source, &spec.name) == *pool
            })
            .ok_or_else(|| PlatformError::NotFound {
                what: format!("pool {pool}"),
            })
    }

    pub(super) fn check_space(
        &self,
        world: &World,
        pool: &PoolId,
        bytes: u64,
    ) -> Result<(), PlatformError> {
        let index = self.pool_index(pool)?;
        let roster = &self.shared.roster;
        let free = roster
            .capacity(&self.shared.spec, index)
            .disk_bytes
            .saturating_sub(roster.pools[index].allocated_bytes + world.taken_bytes(pool));
        if bytes > free {
            return Err(PlatformError::NoSpace {
                place: format!("{pool}, {STORAGE}"),
            });
        }
        Ok(())
    }

    fn pool_of(&self, vm: &Record) -> PoolId {
        let pool = &self.shared.spec.pools[vm.pool as usize];
        PoolId::of(&pool.source, &pool.name)
    }

    fn spools(&self, vm: &Record, spec: &IncrementSpec) -> Vec<VolumeKey> {
        let pool = self.pool_of(vm);
        spec.disks
            .iter()
            .map(|disk| key(&pool, STORAGE, &disk.spool_volume))
            .collect()
    }

    pub(super) fn increment(
        &self,
        spec: &IncrementSpec,
        resume: bool,
        control: &Control,
        halfway: Option<PlatformError>,
    ) -> Result<Timestamp, PlatformError> {
        let vm = self.record(&spec.vm)?;
        check_replicable(vm, spec)?;
        if self.shared.world().is_off(&spec.vm) {
            return Err(PlatformError::Busy {
                what: format!("VM {}", vm.name),
                why: "it is powered off; increments need a running VM".to_owned(),
            });
        }
        guard(
            &spec.owner.engine,
            spec.disks
                .iter()
                .map(|disk| &disk.spool_volume)
                .chain([&spec.checkpoint]),
        )?;
        let spools = self.spools(vm, spec);
        if resume && let Some(at) = self.spooled(spec, &spools) {
            return Ok(at);
        }
        self.pause();
        control.check()?;
        let (at, total_bytes) = self.begin_job(vm, spec, &spools)?;
        if let Some(error) = halfway {
            return Err(error);
        }
        let copied = self.copy(total_bytes, control);
        let mut world = self.shared.world();
        let checkpoint = world
            .checkpoints
            .get_mut(&spec.vm)
            .and_then(|all| all.get_mut(&spec.checkpoint))
            .ok_or_else(|| PlatformError::Failed {
                what: format!("the backup job of {}", vm.name),
                message: "it was aborted".to_owned(),
            })?;
        // Ended or aborted; an aborted one leaves its checkpoint and what it has written.
        checkpoint.job = false;
        copied?;
        for spool in &spools {
            if let Some(volume) = world.volumes.get_mut(spool) {
                volume.complete = true;
            }
        }
        Ok(at)
    }

    /// When the checkpoint of a spec was taken whose spool is complete.
    fn spooled(&self, spec: &IncrementSpec, spools: &[VolumeKey]) -> Option<Timestamp> {
        let world = self.shared.world();
        let checkpoint = world.checkpoints.get(&spec.vm)?.get(&spec.checkpoint)?;
        let complete = spools.iter().all(|spool| {
            world
                .volumes
                .get(spool)
                .is_some_and(|volume| volume.complete)
        });
        (complete && !checkpoint.job && !checkpoint.broken).then_some(checkpoint.at)
    }

    fn begin_job(
        &self,
        vm: &Record,
        spec: &IncrementSpec,
        spools: &[VolumeKey],
    ) -> Result<(Timestamp, u64), PlatformError> {
        let mut world = self.shared.world();
        remove_increment(&mut world, spec, spools);
        let parent = parent_of(&world, vm, spec)?;
        let at = self.shared.now();
        let mut written = Vec::new();
        for disk in &spec.disks {
            let index = disk_index(vm, disk)?;
            written.push(spool_content(&self.shared, vm, index, parent, at));
        }
        let total_bytes = written.iter().map(|(_, bytes)| bytes).sum();
        self.check_space(&world, &self.pool_of(vm), total_bytes)?;
        world
            .checkpoints
            .entry(spec.vm.clone())
            .or_default()
            .insert(
                spec.checkpoint.clone(),
                Checkpoint {
                    at,
                    broken: false,
                    job: true,
                },
            );
        for (spool, (blocks, bytes)) in spools.iter().zip(written) {
            let volume = Volume {
                used_as: VolumeUse::Spool(spec.vm.clone()),
                backing: None,
                blocks,
                bytes,
                complete: false,
            };
            world.volumes.insert(spool.clone(), volume);
        }
        Ok((at, total_bytes))
    }

    pub(super) fn open_spool(
        &self,
        spec: &IncrementSpec,
        disk: usize,
        cut: Option<&PlatformError>,
    ) -> Result<Box<dyn Read + Send>, PlatformError> {
        let vm = self.record(&spec.vm)?;
        let missing = || PlatformError::NotFound {
            what: format!("the spool of {}", spec.checkpoint),
        };
        let spool = self
            .spools(vm, spec)
            .into_iter()
            .nth(disk)
            .ok_or_else(missing)?;
        let world = self.shared.world();
        let volume = world.volumes.get(&spool).ok_or_else(missing)?;
        if !volume.complete {
            return Err(PlatformError::Failed {
                what: format!("volume {}", spool.name),
                message: "its backup job has not ended".to_owned(),
            });
        }
        spool_reader(volume, cut)
    }

    pub(super) fn finish_increment(&self, spec: &IncrementSpec) -> Result<(), PlatformError> {
        guard(&spec.owner.engine, spec.parent_checkpoint.as_ref())?;
        guard(
            &spec.owner.engine,
            spec.disks.iter().map(|disk| &disk.spool_volume),
        )?;
        let Ok(vm) = self.record(&spec.vm) else {
            return Ok(());
        };
        let spools = self.spools(vm, spec);
        let mut world = self.shared.world();
        if let Some(parent) = &spec.parent_checkpoint {
            remove_checkpoint(&mut world, &spec.vm, parent);
        }
        for spool in &spools {
            world.volumes.remove(spool);
        }
        Ok(())
    }

    pub(super) fn abandon_increment(&self, spec: &IncrementSpec) -> Result<(), PlatformError> {
        guard(
            &spec.owner.engine,
            spec.disks
                .iter()
                .map(|disk| &disk.spool_volume)
                .chain([&spec.checkpoint]),
        )?;
        if let Ok(vm) = self.record(&spec.vm) {
            let spools = self.spools(vm, spec);
            remove_increment(&mut self.shared.world(), spec, &spools);
        }
        Ok(())
    }

    pub(super) fn abandon_replication(&self, vm: &VmId, owner: &Owner) {
        let prefix = prefix(&owner.engine);
        let mut world = self.shared.world();
        if let Some(checkpoints) = world.checkpoints.get_mut(vm) {
            checkpoints.retain(|name, _| !name.starts_with(&prefix));
            if checkpoints.is_empty() {
                world.checkpoints.remove(vm);
            }
        }
        world.volumes.retain(|key, volume| {
            volume.used_as != VolumeUse::Spool(vm.clone()) || !key.name.starts_with(&prefix)
        });
    }
}

fn check_replicable(vm: &Record, spec: &IncrementSpec) -> Result<(), PlatformError> {
    let unsupported = |why: &str| {
        Err(PlatformError::Unsupported {
            what: format!("replicating {}", vm.name),
            why: why.to_owned(),
        })
    };
    match vm.oddity {
        Some(Oddity::RawDisk) => unsupported("a raw disk cannot store dirty bitmaps"),
        Some(Oddity::OldQcow2) => unsupported("qcow2 compat 0.10 cannot store dirty bitmaps"),
        Some(Oddity::ForeignBackup) => Err(PlatformError::Busy {
            what: vm.name.clone(),
            why: "a backup job of another program runs on it".to_owned(),
        }),
        None if spec.disks.is_empty() => unsupported("it has no disk"),
        None => Ok(()),
    }
}

fn disk_index(vm: &Record, disk: &DiskIncrement) -> Result<usize, PlatformError> {
    vm.disks()
        .iter()
        .position(|known| known.target == disk.target)
        .ok_or_else(|| PlatformError::NotFound {
            what: format!("disk {} of {}", disk.target, vm.name),
        })
}

/// When the parent checkpoint was taken; `None` for a full copy.
fn parent_of(
    world: &World,
    vm: &Record,
    spec: &IncrementSpec,
) -> Result<Option<Timestamp>, PlatformError> {
    let checkpoints = world.checkpoints.get(&spec.vm);
    if checkpoints.is_some_and(|all| all.values().any(|checkpoint| checkpoint.job)) {
        return Err(PlatformError::Busy {
            what: vm.name.clone(),
            why: "a backup job runs on it".to_owned(),
        });
    }
    let Some(parent) = &spec.parent_checkpoint else {
        return Ok(None);
    };
    let lost = |why: &str| PlatformError::CheckpointLost {
        checkpoint: parent.clone(),
        why: why.to_owned(),
    };
    match checkpoints.and_then(|all| all.get(parent)) {
        None => Err(lost("it is not there")),
        Some(checkpoint) if checkpoint.broken => Err(lost("its bitmap is missing or broken")),
        Some(checkpoint) => Ok(Some(checkpoint.at)),
    }
}

fn remove_checkpoint(world: &mut World, vm: &VmId, name: &str) {
    if let Some(checkpoints) = world.checkpoints.get_mut(vm) {
        checkpoints.remove(name);
        if checkpoints.is_empty() {
            world.checkpoints.remove(vm);
        }
    }
}

fn remove_increment(world: &mut World, spec: &IncrementSpec, spools: &[VolumeKey]) {
    remove_checkpoint(world, &spec.vm, &spec.checkpoint);
    for spool in spools {
        world.volumes.remove(spool);
    }
}
