//! Disks as versions of blocks: what a guest has written by when, and the volumes that copies of it lie in.
//!
//! How often each block of a VM's disk was written is a function of the bytes that its load has written, so a disk
//! needs no memory, can be asked for any moment, and can be compared with what a chain of layers holds.

use std::{
    collections::BTreeMap,
    io::{self, Cursor, Read},
    sync::PoisonError,
};

use serde::{Deserialize, Serialize};

use super::{
    load::{mix, unit},
    roster::Record,
    world::{Shared, World},
};
use crate::{
    hypervisor::PlatformError,
    metrics::Metric,
    shadow::ShadowSpec,
    units::{PoolId, Timestamp, VmId},
};

/// Every disk is this many blocks, whatever its size.
pub(super) const BLOCKS: u32 = 1024;
/// One block in so many is written all the time.
const HOT_ONE_IN: u64 = 16;
/// Of the bytes that a disk moves, this part is written.
const WRITTEN: f64 = 0.5;
/// A changed block is at least one cluster.
const CLUSTER_BYTES: u64 = 65_536;
/// More than any simulated spool takes: a longer stream is not one.
const SPOOL_STREAM_LIMIT: u64 = 1 << 22;

/// Block numbers with their versions; a block that is not listed was never written.
pub(super) type Blocks = BTreeMap<u32, u64>;

/// Where a volume lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct VolumeKey {
    pub pool: PoolId,
    pub storage: String,
    pub name: String,
}

/// What a volume is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum VolumeUse {
    /// Written by a backup job of this VM's.
    Spool(VmId),
    Layer,
    /// Writable, on top of a layer.
    Overlay,
    /// Somebody else's.
    Foreign,
}

#[derive(Clone, Debug)]
pub(super) struct Volume {
    pub used_as: VolumeUse,
    pub backing: Option<String>,
    pub blocks: Blocks,
    pub bytes: u64,
    /// The writer came to its end.
    pub complete: bool,
}

/// Knows which blocks were written after it.
#[derive(Clone, Debug)]
pub(super) struct Checkpoint {
    pub at: Timestamp,
    /// Its bitmap was lost.
    pub broken: bool,
    /// The job that it was made with has not ended.
    pub job: bool,
}

/// What travels from a spool to a layer.
#[derive(Serialize, Deserialize)]
struct SpoolStream {
    bytes: u64,
    blocks: Blocks,
}

/// Each block's version on a disk of `vm` (0 for the first) at a moment.
pub(super) fn content(shared: &Shared, vm: &Record, disk: usize, at: Timestamp) -> Blocks {
    let capacity = vm.disks().get(disk).map_or(0, |disk| disk.capacity_bytes);
    let block_bytes = (capacity / u64::from(BLOCKS)).max(CLUSTER_BYTES) as f64;
    let written = written_bytes(shared, vm, at);
    let seed = mix(vm.seed, 64 + disk as i64);
    let allocated = vm.allocated_ratio() as f32;
    (0..BLOCKS)
        .filter_map(|block| {
            let draw = mix(seed, i64::from(block));
            let hot = draw.is_multiple_of(HOT_ONE_IN);
            let spread = block_bytes
                * f64::from(0.5 + 4.0 * unit(mix(draw, 1)))
                * if hot { 1.0 } else { 400.0 };
            let first = u64::from(hot || unit(mix(draw, 2)) < allocated);
            let version = first + (written / spread + f64::from(unit(mix(draw, 3)))) as u64;
            (version > 0).then_some((block, version))
        })
        .collect()
}

/// Bytes that the guest has written since the fleet's start.
pub(super) fn written_bytes(shared: &Shared, vm: &Record, at: Timestamp) -> f64 {
    shared.curve(vm, Metric::Disk).map_or(0.0, |curve| {
        let stops = shared.stops.lock().unwrap_or_else(PoisonError::into_inner);
        let still: f64 = (stops.of(&vm.id, at))
            .map(|(from, to)| curve.integral(from, to))
            .sum();
        WRITTEN * (curve.integral(shared.roster.start, at) - still)
    })
}

/// What a backup job of one disk writes: everything, or what changed since `parent`.
pub(super) fn spool_content(
    shared: &Shared,
    vm: &Record,
    disk: usize,
    parent: Option<Timestamp>,
    at: Timestamp,
) -> (Blocks, u64) {
    let (capacity, allocated) = vm
        .disks()
        .get(disk)
        .map_or((0, 0), |disk| (disk.capacity_bytes, disk.allocated_bytes));
    let block_bytes = (capacity / u64::from(BLOCKS)).max(CLUSTER_BYTES);
    let mut blocks = content(shared, vm, disk, at);
    let Some(parent) = parent else {
        // Blocks are coarse: the disk takes no more than its platform says.
        let bytes = (blocks.len() as u64 * block_bytes).min(allocated);
        return (blocks, bytes);
    };
    let before = content(shared, vm, disk, parent);
    blocks.retain(|block, version| before.get(block) != Some(version));
    let count = blocks.len() as u64;
    let written = written_bytes(shared, vm, at) - written_bytes(shared, vm, parent);
    let bytes = (written as u64)
        .max(count * CLUSTER_BYTES)
        .min(count * block_bytes);
    (blocks, bytes)
}

/// A spool as it travels; `cut` breaks it off halfway with that error.
pub(super) fn spool_reader(
    volume: &Volume,
    cut: Option<&PlatformError>,
) -> Result<Box<dyn Read + Send>, PlatformError> {
    let stream = SpoolStream {
        bytes: volume.bytes,
        blocks: volume.blocks.clone(),
    };
    let mut bytes = rmp_serde::to_vec(&stream).map_err(|error| failed("a spool", &error))?;
    match cut {
        None => Ok(Box::new(Cursor::new(bytes))),
        Some(error) => {
            bytes.truncate(bytes.len() / 2);
            Ok(Box::new(
                Cursor::new(bytes).chain(Broken(error.to_string())),
            ))
        }
    }
}

/// Reads a whole spool stream; returns its blocks and the bytes that they stand for.
pub(super) fn read_spool_stream(spool: &mut dyn Read) -> Result<(Blocks, u64), PlatformError> {
    let mut bytes = Vec::new();
    spool
        .take(SPOOL_STREAM_LIMIT)
        .read_to_end(&mut bytes)
        .map_err(|error| failed("the spool's stream", &error))?;
    let stream: SpoolStream =
        rmp_serde::from_slice(&bytes).map_err(|error| failed("the spool's stream", &error))?;
    Ok((stream.blocks, stream.bytes))
}

fn failed(what: &str, error: &dyn std::error::Error) -> PlatformError {
    PlatformError::Failed {
        what: what.to_owned(),
        message: error.to_string(),
    }
}

/// A stream that breaks off.
struct Broken(String);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other(self.0.clone()))
    }
}

impl World {
    /// What a reader of `top` sees: each block as the uppermost volume of the chain has it.
    pub(super) fn chain(&self, top: &VolumeKey) -> Result<Blocks, PlatformError> {
        let mut seen = Blocks::new();
        let mut next = Some(top.clone());
        // A chain cannot be longer than there are volumes, unless it bites its tail.
        for _ in 0..=self.volumes.len() {
            let Some(key) = next else {
                return Ok(seen);
            };
            let volume = self
                .volumes
                .get(&key)
                .ok_or_else(|| PlatformError::NotFound {
                    what: format!("volume {}", key.name),
                })?;
            if !volume.complete {
                return Err(PlatformError::Failed {
                    what: format!("volume {}", key.name),
                    message: "it is not complete".to_owned(),
                });
            }
            for (block, version) in &volume.blocks {
                seen.entry(*block).or_insert(*version);
            }
            next = volume.backing.clone().map(|name| VolumeKey { name, ..key });
        }
        Err(PlatformError::Failed {
            what: format!("volume {}", top.name),
            message: "its chain has no end".to_owned(),
        })
    }

    /// The largest volume of a chain: about what one without backing takes.
    pub(super) fn chain_bytes(&self, top: &VolumeKey) -> u64 {
        let mut next = Some(top.clone());
        let mut most = 0;
        for _ in 0..=self.volumes.len() {
            let Some((volume, key)) =
                next.and_then(|key| self.volumes.get(&key).map(|volume| (volume, key)))
            else {
                break;
            };
            most = most.max(volume.bytes);
            next = volume.backing.clone().map(|name| VolumeKey { name, ..key });
        }
        most
    }

    /// Writes down every running shadow whose disks have lost what they stand on.
    pub(super) fn note_broken_shadows(&mut self) {
        let clones = self.clones.values().filter(|clone| !clone.over);
        let broken: Vec<String> = self
            .shadows
            .values()
            .filter(|shadow| shadow.runs())
            .map(|shadow| &shadow.spec)
            .chain(clones.map(|clone| &clone.spec.spec))
            .filter(|spec| {
                spec.overlays.iter().any(|overlay| {
                    let top = VolumeKey {
                        pool: spec.pool.clone(),
                        storage: spec.storage.clone(),
                        name: overlay.volume.clone(),
                    };
                    self.chain(&top).is_err()
                })
            })
            .map(|spec| format!("{} runs on a broken chain", spec.name))
            .collect();
        self.violations.extend(broken);
    }

    /// A running machine whose disks stand on `layer`: as with a real one, its lock lets nobody write there.
    pub(super) fn reader_of(&self, layer: &VolumeKey) -> Option<&str> {
        let shadows = self.shadows.values().filter(|shadow| shadow.runs());
        let clones = self.clones.values().filter(|clone| !clone.over);
        shadows
            .map(|shadow| &shadow.spec)
            .chain(clones.map(|clone| &clone.spec.spec))
            .filter(|spec| spec.pool == layer.pool)
            .find(|spec| self.reads(spec, layer))
            .map(|spec| spec.name.as_str())
    }

    fn reads(&self, spec: &ShadowSpec, layer: &VolumeKey) -> bool {
        spec.overlays.iter().any(|overlay| {
            let mut next = Some(overlay.volume.clone());
            for _ in 0..=self.volumes.len() {
                let Some(name) = next else { return false };
                if name == layer.name {
                    return true;
                }
                let (pool, storage) = (spec.pool.clone(), spec.storage.clone());
                let volume = self.volumes.get(&VolumeKey {
                    pool,
                    storage,
                    name,
                });
                next = volume.and_then(|volume| volume.backing.clone());
            }
            false
        })
    }

    /// Bytes that volumes and fillings take in a pool.
    pub(super) fn taken_bytes(&self, pool: &PoolId) -> u64 {
        let volumes: u64 = self
            .volumes
            .iter()
            .filter(|(key, _)| key.pool == *pool)
            .map(|(_, volume)| volume.bytes)
            .sum();
        volumes + self.filled.get(pool).copied().unwrap_or_default()
    }
}
