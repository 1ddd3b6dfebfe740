//! The target side of replication: layers, flattened copies, and the manifest's copy.

use std::io::{self, Read};

use virt::{storage_pool::StoragePool, storage_vol::StorageVol};

use super::{
    host::{Host, LONG_DEADLINE},
    increment::disk_of,
    volumes::{self, Download, NewVolume, Upload},
    worker::Link,
};
use crate::{
    hypervisor::{Control, PlatformError},
    replication::{
        self, IncrementSpec, Manifest, Progress,
        qcow2::{self, Qcow2Error},
    },
    units::EngineId,
};

const BUFFER_BYTES: usize = 256 << 10;
/// A manifest is some kilobytes; more is none of ours.
const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// Refuses names that this engine did not generate.
pub fn check_ours<'a>(
    engine: &EngineId,
    names: impl IntoIterator<Item = &'a String>,
) -> Result<(), PlatformError> {
    for name in names {
        if !replication::is_ours(engine, name) {
            return Err(PlatformError::NotOurs { what: name.clone() });
        }
    }
    Ok(())
}

/// Writes one layer; see [`crate::hypervisor::Hypervisor::ensure_layer`].
///
/// Streams on the caller's thread: a chunk waits for nobody but the target's file system, and a peer that is gone
/// shows by keepalive.
pub fn ensure(
    host: &Host,
    spec: &IncrementSpec,
    disk: usize,
    spool: &mut dyn Read,
    control: &Control,
) -> Result<u64, PlatformError> {
    let disk = disk_of(spec, disk)?;
    let name = disk.layer_volume.clone();
    check_ours(
        &spec.owner.engine,
        [&name].into_iter().chain(&disk.backing_volume),
    )?;
    let head = first_cluster(spool, disk.backing_volume.as_deref())?;
    let storage = spec.target_storage.clone();
    let backing = disk.backing_volume.clone();
    let upload = {
        let (storage, name) = (storage.clone(), name.clone());
        host.run("create a layer", LONG_DEADLINE, move |link| {
            let pool = link.storage(&storage)?;
            if let Some(backing) = &backing
                && volumes::find(link, &pool, backing)?.is_none()
            {
                return Err(PlatformError::NotFound {
                    what: format!("the layer {backing} on {}", link.source),
                });
            }
            volumes::delete(link, &pool, &name)?;
            let volume = empty(link, &pool, &name, 0)?;
            Upload::start(link, &volume, &name)
        })?
    };
    let sent = send_all(&upload, &head, spool, control).and_then(|bytes| {
        upload.finish()?;
        Ok(bytes)
    });
    host.run("close a layer", LONG_DEADLINE, move |link| {
        let pool = link.storage(&storage)?;
        match sent {
            // Until then libvirt takes the volume for the raw one that it made.
            Ok(bytes) => volumes::refresh(link, &pool).map(|()| bytes),
            Err(error) => {
                if let Err(remains) = volumes::delete(link, &pool, &name) {
                    tracing::warn!(error = %remains, volume = name, "a partial layer stays until the next try");
                }
                Err(error)
            }
        }
    })
}

/// A volume of plain bytes; an upload makes it as long as it needs to be.
fn empty(
    link: &Link,
    pool: &StoragePool,
    name: &str,
    capacity_bytes: u64,
) -> Result<StorageVol, PlatformError> {
    let volume = NewVolume {
        name,
        format: "raw",
        capacity_bytes,
        backing: None,
    };
    volumes::create(link, pool, &volume)
}

/// Reads the image's first cluster and gives it its backing file.
fn first_cluster(spool: &mut dyn Read, backing: Option<&str>) -> Result<Vec<u8>, PlatformError> {
    let mut head = vec![0; qcow2::PREFIX_BYTES];
    spool
        .read_exact(&mut head)
        .map_err(|error| spool_failed(&error))?;
    let cluster = qcow2::cluster_bytes(&head).map_err(|error| not_taken(&error))?;
    head.resize(cluster, 0);
    spool
        .read_exact(&mut head[qcow2::PREFIX_BYTES..])
        .map_err(|error| spool_failed(&error))?;
    qcow2::with_backing(&head, backing).map_err(|error| not_taken(&error))
}

fn send_all(
    upload: &Upload,
    head: &[u8],
    spool: &mut dyn Read,
    control: &Control,
) -> Result<u64, PlatformError> {
    upload.send(head)?;
    let mut progress = Progress {
        done_bytes: head.len() as u64,
        total_bytes: 0,
    };
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        control.check()?;
        let read = spool
            .read(&mut buffer)
            .map_err(|error| spool_failed(&error))?;
        if read == 0 {
            return Ok(progress.done_bytes);
        }
        upload.send(&buffer[..read])?;
        progress.done_bytes += read as u64;
        control.report(progress);
    }
}

/// What the source's platform said, where it was the one that failed.
fn spool_failed(error: &io::Error) -> PlatformError {
    let platform = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<PlatformError>());
    platform.cloned().unwrap_or_else(|| PlatformError::Failed {
        what: "read the spool".to_owned(),
        message: error.to_string(),
    })
}

fn not_taken(error: &Qcow2Error) -> PlatformError {
    PlatformError::Failed {
        what: "take the increment's image".to_owned(),
        message: error.to_string(),
    }
}

/// Copies a layer and all under it into one full volume; see [`crate::hypervisor::Hypervisor::ensure_flattened`].
pub fn flatten(link: &Link, storage: &str, layer: &str, flat: &str) -> Result<(), PlatformError> {
    let pool = link.storage(storage)?;
    volumes::refresh(link, &pool)?;
    let from = volumes::find(link, &pool, layer)?.ok_or_else(|| PlatformError::NotFound {
        what: format!("the layer {layer} on {}", link.source),
    })?;
    let capacity_bytes = volumes::describe(link, &from)?.capacity_bytes;
    volumes::delete(link, &pool, flat)?;
    let new = NewVolume {
        name: flat,
        format: "qcow2",
        capacity_bytes,
        backing: None,
    };
    StorageVol::create_xml_from(&pool, &new.to_xml(), &from, 0)
        .map(|_| ())
        .map_err(link.during(format!("flatten {layer}")))
}

/// Deletes volumes; a pool that is gone took them along.
pub fn volumes_absent(link: &Link, storage: &str, names: &[String]) -> Result<(), PlatformError> {
    let pool = match link.storage(storage) {
        Ok(pool) => pool,
        Err(PlatformError::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    volumes::refresh(link, &pool)?;
    for name in names {
        link.beat()?;
        volumes::delete(link, &pool, name)?;
    }
    Ok(())
}

/// The two names that the manifest's copy alternates between: one of them is whole at any moment.
fn manifest_names(manifest: &Manifest) -> [String; 2] {
    let prefix = replication::prefix(&manifest.owner.engine);
    ["a", "b"].map(|side| format!("{prefix}{}-manifest-{side}", manifest.shadow))
}

/// Writes the manifest beside the one that is there, then deletes that one.
pub fn ensure_manifest(link: &Link, manifest: &Manifest) -> Result<(), PlatformError> {
    let names = manifest_names(manifest);
    check_ours(&manifest.owner.engine, &names)?;
    let json = serde_json::to_vec(manifest).map_err(|error| PlatformError::Failed {
        what: "write the manifest".to_owned(),
        message: error.to_string(),
    })?;
    let pool = link.storage(&manifest.target_storage)?;
    // What is whole stays until the new one is; a torn one is what a crash left.
    let mut newest: Option<(usize, Manifest)> = None;
    for (side, name) in names.iter().enumerate() {
        let Some(kept) = read_manifest(link, &pool, name)? else {
            continue;
        };
        if newest
            .as_ref()
            .is_none_or(|(_, newest)| is_newer(&kept, newest))
        {
            newest = Some((side, kept));
        }
    }
    let side = newest.map_or(0, |(side, _)| 1 - side);
    let name = &names[side];
    volumes::delete(link, &pool, name)?;
    let volume = empty(link, &pool, name, json.len() as u64)?;
    let upload = Upload::start(link, &volume, name)?;
    upload.send(&json)?;
    upload.finish()?;
    volumes::delete(link, &pool, &names[1 - side])
}

fn is_newer(a: &Manifest, b: &Manifest) -> bool {
    (a.next_number, a.points.len()) > (b.next_number, b.points.len())
}

/// The manifest in this volume, if it is whole.
fn read_manifest(
    link: &Link,
    pool: &StoragePool,
    name: &str,
) -> Result<Option<Manifest>, PlatformError> {
    let Some(volume) = volumes::find(link, pool, name)? else {
        return Ok(None);
    };
    let mut json = Vec::new();
    Download::start(link, &volume, name)?
        .take(MAX_MANIFEST_BYTES)
        .read_to_end(&mut json)
        .map_err(|error| spool_failed(&error))?;
    Ok(serde_json::from_slice(&json)
        .inspect_err(|error| tracing::warn!(%error, volume = name, "a torn manifest"))
        .ok())
}

/// Removes both.
pub fn manifest_absent(link: &Link, manifest: &Manifest) -> Result<(), PlatformError> {
    let names = manifest_names(manifest);
    check_ours(&manifest.owner.engine, &names)?;
    volumes_absent(link, &manifest.target_storage, &names)
}
