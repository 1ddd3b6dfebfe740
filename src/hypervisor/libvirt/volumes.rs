//! Storage volumes: looking them up, making, filling, reading and deleting them.

use std::io;

use virt::{
    error::ErrorNumber, storage_pool::StoragePool, storage_vol::StorageVol, stream::Stream,
};

use super::{domain_xml, worker::Link};
use crate::hypervisor::PlatformError;

/// What a volume's description says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeInfo {
    pub path: String,
    pub capacity_bytes: u64,
    pub allocated_bytes: u64,
    pub format: String,
    /// `1.1` for qcow2 that can keep dirty bitmaps; libvirt leaves `0.10` out.
    pub compat: Option<String>,
}

/// Whether a pool of this name only passes increments on.
pub fn is_spool(pool: &str) -> bool {
    pool == SPOOL || (pool.starts_with("sc-") && pool.ends_with("-spool"))
}

/// A host that has a pool of this name wants increments to be laid there.
pub const SPOOL: &str = "spool";

/// The volume at `path`; `None` where no active pool holds it.
pub fn describe_by_path(link: &Link, path: &str) -> Result<Option<VolumeInfo>, PlatformError> {
    if path.is_empty() {
        return Ok(None);
    }
    match link.connect.lookup_storage_vol_by_path(path) {
        Ok(volume) => describe(link, &volume).map(Some),
        Err(error)
            if error.code().is(ErrorNumber::NoStorageVolume)
                || error.code().is(ErrorNumber::NoSupport) =>
        {
            Ok(None)
        }
        Err(error) => Err(link.during(format!("volume {path}"))(error)),
    }
}

pub fn describe(link: &Link, volume: &StorageVol) -> Result<VolumeInfo, PlatformError> {
    let xml = volume
        .xml_desc(0)
        .map_err(link.during("read a volume's description"))?;
    read(&xml)
}

fn read(xml: &str) -> Result<VolumeInfo, PlatformError> {
    let document = domain_xml::parse("a volume", xml)?;
    let root = document.root_element();
    let size = |name| {
        domain_xml::child(root, name).and_then(|node| {
            // Volumes count in bytes where domains count in KiB.
            if node.attribute("unit").is_some() {
                domain_xml::bytes(node)
            } else {
                domain_xml::number(node.text())
            }
        })
    };
    let target = domain_xml::child(root, "target");
    let format = target
        .and_then(|target| domain_xml::child(target, "format"))
        .and_then(|format| format.attribute("type"))
        .unwrap_or_default();
    let compat = target
        .and_then(|target| domain_xml::child_text(target, "compat"))
        .map(str::to_owned);
    Ok(VolumeInfo {
        path: target
            .and_then(|target| domain_xml::child_text(target, "path"))
            .unwrap_or_default()
            .to_owned(),
        capacity_bytes: size("capacity").unwrap_or(0),
        allocated_bytes: size("allocation").unwrap_or(0),
        compat: compat.or_else(|| (format == "qcow2").then(|| "0.10".to_owned())),
        format: format.to_owned(),
    })
}

/// Looks at the directory again; a pool that is being written to cannot and need not.
pub fn refresh(link: &Link, pool: &StoragePool) -> Result<(), PlatformError> {
    match pool.refresh(0) {
        Ok(()) => Ok(()),
        Err(error) if error.message().contains("asynchronous jobs") => Ok(()),
        // The test driver's pools have nothing to look at.
        Err(error) if error.code().is(ErrorNumber::NoSupport) => Ok(()),
        Err(error) => Err(link.during("refresh storage")(error)),
    }
}

/// The names of all volumes that the pool knows.
pub fn names(link: &Link, pool: &StoragePool) -> Result<Vec<String>, PlatformError> {
    pool.list_all_volumes(0)
        .map_err(link.during("list volumes"))?
        .iter()
        .map(|volume| volume.name().map_err(link.during("list volumes")))
        .collect()
}

/// The volume of this name; `None` where there is none.
pub fn find(
    link: &Link,
    pool: &StoragePool,
    name: &str,
) -> Result<Option<StorageVol>, PlatformError> {
    match pool.lookup_storage_vol_by_name(name) {
        Ok(volume) => Ok(Some(volume)),
        Err(error) if error.code().is(ErrorNumber::NoStorageVolume) => Ok(None),
        Err(error) => Err(link.during(format!("volume {name}"))(error)),
    }
}
