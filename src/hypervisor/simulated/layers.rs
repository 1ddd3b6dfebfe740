//! Replication at its target: layers on their backing files, flattened chains, the manifest's copy.

use std::io::Read;

use super::{
    disks::{Blocks, Volume, VolumeKey, VolumeUse, read_spool_stream},
    observe::Platform,
    replicas::{guard, key},
    world::World,
};
use crate::{
    hypervisor::{Control, PlatformError},
    inventory::Owner,
    replication::{DiskMerge, IncrementSpec, Manifest, Merge},
    units::PoolId,
};

/// Whether nothing stands on the upper layers any more.
fn is_merged(world: &World, merge: &Merge, disk: &DiskMerge) -> Result<bool, PlatformError> {
    let find = |name: &str| world.volumes.get(&key(&merge.pool, &merge.storage, name));
    let missing = |name: &str| PlatformError::NotFound {
        what: format!("volume {name}"),
    };
    if find(&disk.base).is_none() {
        return Err(missing(&disk.base));
    }
    if let Some(above) = &disk.above {
        let above = find(above).ok_or_else(|| missing(above))?;
        return Ok(above.backing.as_ref() == Some(&disk.base));
    }
    Ok(disk.over.last().is_none_or(|top| find(top).is_none()))
}

impl Platform {
    pub(super) fn layer(
        &self,
        spec: &IncrementSpec,
        disk: usize,
        spool: &mut dyn Read,
        control: &Control,
        halfway: Option<PlatformError>,
    ) -> Result<u64, PlatformError> {
        self.pool_index(&spec.target_pool)?;
        let disk = spec
            .disks
            .get(disk)
            .ok_or_else(|| PlatformError::NotFound {
                what: format!("disk {disk} of {}", spec.checkpoint),
            })?;
        guard(&spec.owner.engine, [&disk.layer_volume])?;
        let layer = key(&spec.target_pool, &spec.target_storage, &disk.layer_volume);
        self.pause();
        {
            let mut world = self.shared.world();
            if let Some(backing) = &disk.backing_volume {
                world.chain(&key(&spec.target_pool, &spec.target_storage, backing))?;
            }
            let partial = Volume {
                used_as: VolumeUse::Layer,
                backing: disk.backing_volume.clone(),
                blocks: Blocks::new(),
                bytes: 0,
                complete: false,
            };
            world.volumes.insert(layer.clone(), partial);
        }
        if let Some(error) = halfway {
            return Err(error);
        }
        let written = self.fill_layer(&layer, spool, control);
        if written.is_err() {
            self.shared.world().volumes.remove(&layer);
        }
        written
    }

    fn fill_layer(
        &self,
        layer: &VolumeKey,
        spool: &mut dyn Read,
        control: &Control,
    ) -> Result<u64, PlatformError> {
        let (blocks, bytes) = read_spool_stream(spool)?;
        self.check_space(&self.shared.world(), &layer.pool, bytes)?;
        self.copy(bytes, control)?;
        let mut world = self.shared.world();
        let volume = world
            .volumes
            .get_mut(layer)
            .ok_or_else(|| PlatformError::Failed {
                what: format!("volume {}", layer.name),
                message: "it was deleted while it was written".to_owned(),
            })?;
        volume.blocks = blocks;
        volume.bytes = bytes;
        volume.complete = true;
        Ok(bytes)
    }

    pub(super) fn flatten(
        &self,
        layer: &VolumeKey,
        flat: &VolumeKey,
        control: &Control,
    ) -> Result<(), PlatformError> {
        self.pool_index(&layer.pool)?;
        // No owner is given: what is made must bear the mark of what it is made from.
        let mark = |name: &str| name.splitn(3, '-').take(2).collect::<Vec<_>>().join("-");
        if !layer.name.starts_with("sc-") || mark(&layer.name) != mark(&flat.name) {
            return Err(PlatformError::NotOurs {
                what: format!("volume {}", flat.name),
            });
        }
        let (blocks, bytes) = {
            let world = self.shared.world();
            if world
                .volumes
                .get(flat)
                .is_some_and(|volume| volume.complete)
            {
                return Ok(());
            }
            let bytes = world.chain_bytes(layer);
            self.check_space(&world, &layer.pool, bytes)?;
            (world.chain(layer)?, bytes)
        };
        self.pause();
        self.copy(bytes, control)?;
        let volume = Volume {
            used_as: VolumeUse::Layer,
            backing: None,
            blocks,
            bytes,
            complete: true,
        };
        self.shared.world().volumes.insert(flat.clone(), volume);
        Ok(())
    }

    pub(super) fn merge(
        &self,
        merge: &Merge,
        control: &Control,
        halfway: Option<PlatformError>,
    ) -> Result<u64, PlatformError> {
        self.pool_index(&merge.pool)?;
        let at = |name: &str| key(&merge.pool, &merge.storage, name);
        for disk in &merge.disks {
            guard(&merge.owner.engine, disk.over.iter().chain([&disk.base]))?;
        }
        self.pause();
        let mut bytes = 0;
        for disk in &merge.disks {
            let moved = {
                let world = self.shared.world();
                if is_merged(&world, merge, disk)? {
                    bytes += world.volumes[&at(&disk.base)].bytes;
                    continue;
                }
                for name in disk.over.iter().chain(&disk.above) {
                    world.chain(&at(name))?;
                }
                world.volumes[&at(disk.over.last().unwrap_or(&disk.base))].bytes
            };
            self.copy(moved, control)?;
            let mut world = self.shared.world();
            if let Some(reader) = world.reader_of(&at(&disk.base)) {
                return Err(PlatformError::Busy {
                    what: format!("volume {}", disk.base),
                    why: format!("{reader} runs on it"),
                });
            }
            let mut whole = Blocks::new();
            let mut size = 0;
            for name in &disk.over {
                if let Some(volume) = world.volumes.get(&at(name)) {
                    whole.extend(volume.blocks.clone());
                    size += volume.bytes;
                }
            }
            if let Some(error) = halfway {
                // Half of it has gone down; what is above still says what those blocks are.
                let half = whole.len() / 2;
                whole = whole.into_iter().take(half).collect();
                if let Some(base) = world.volumes.get_mut(&at(&disk.base)) {
                    base.blocks.extend(whole);
                }
                return Err(error);
            }
            if let Some(base) = world.volumes.get_mut(&at(&disk.base)) {
                base.blocks.extend(whole);
                base.bytes = base.bytes.max(size).min(base.bytes + size);
                bytes += base.bytes;
            }
            if let Some(above) = &disk.above
                && let Some(above) = world.volumes.get_mut(&at(above))
            {
                above.backing = Some(disk.base.clone());
            }
        }
        Ok(bytes)
    }

    pub(super) fn remove_volumes(
        &self,
        owner: &Owner,
        pool: &PoolId,
        storage: &str,
        volumes: &[String],
    ) -> Result<(), PlatformError> {
        guard(&owner.engine, volumes)?;
        self.pool_index(pool)?;
        let mut world = self.shared.world();
        for name in volumes {
            world.volumes.remove(&key(pool, storage, name));
        }
        world.note_broken_shadows();
        Ok(())
    }

    pub(super) fn keep_manifest(&self, manifest: &Manifest) -> Result<(), PlatformError> {
        self.pool_index(&manifest.target_pool)?;
        let at = (self.source.clone(), manifest.shadow.clone());
        self.shared.world().manifests.insert(at, manifest.clone());
        Ok(())
    }
}
