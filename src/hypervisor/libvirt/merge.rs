//! Layers that become one, without a running shadow.
//!
//! libvirt commits layers only in a running machine. So one without a guest is made for it: paused from its first
//! moment, with nothing but the chains as its disks, and gone with this connection.
//!
//! ```text
//! base ◀─ over … ◀─ above ◀─ scratch (the paused machine's disk)      commit over … into base
//! base ◀─────────── above                                             what stood on over stands on base
//! ```

use std::{thread, time::Duration};

use virt::{domain::Domain, error::ErrorNumber, storage_pool::StoragePool};
use virt_sys as sys;

use super::{
    domain_xml::{self, NAMESPACE},
    element::Element,
    layers::check_ours,
    raw,
    volumes::{self, NewVolume},
    worker::Link,
};
use crate::{
    hypervisor::{Control, PlatformError},
    replication::{DiskMerge, Merge, Progress, names},
};

/// Between two looks at the job.
const LOOK: Duration = Duration::from_millis(50);

/// See [`crate::hypervisor::Hypervisor::ensure_merged`].
pub fn ensure(link: &Link, merge: &Merge, control: &Control) -> Result<u64, PlatformError> {
    for disk in &merge.disks {
        let ours = [&disk.base, &disk.scratch].into_iter();
        check_ours(
            &merge.owner.engine,
            ours.chain(&disk.over).chain(&disk.above),
        )?;
    }
    let pool = link.storage(&merge.storage)?;
    remains_absent(link, &pool, merge)?;
    volumes::refresh(link, &pool)?;
    let mut left = Vec::new();
    for disk in &merge.disks {
        if !is_merged(link, &pool, disk)? {
            left.push(disk);
        }
    }
    if !left.is_empty() {
        let merged = commit(link, &pool, merge, &left, control);
        let cleared = remains_absent(link, &pool, merge);
        merged.and(cleared)?;
        volumes::refresh(link, &pool)?;
    }
    let mut bytes = 0_u64;
    for disk in &merge.disks {
        let base = find(link, &pool, &disk.base)?;
        bytes = bytes.saturating_add(volumes::describe(link, &base)?.allocated_bytes);
    }
    Ok(bytes)
}

fn find(
    link: &Link,
    pool: &StoragePool,
    name: &str,
) -> Result<virt::storage_vol::StorageVol, PlatformError> {
    volumes::find(link, pool, name)?.ok_or_else(|| PlatformError::NotFound {
        what: format!("the layer {name} on {}", link.source),
    })
}

fn path(link: &Link, pool: &StoragePool, name: &str) -> Result<String, PlatformError> {
    find(link, pool, name)?
        .path()
        .map_err(link.during("a layer's path"))
}

/// Whether nothing stands on the upper layers any more. Where nothing ever did, only their absence says so.
fn is_merged(link: &Link, pool: &StoragePool, disk: &DiskMerge) -> Result<bool, PlatformError> {
    if let Some(above) = &disk.above {
        let above = find(link, pool, above)?;
        let base = path(link, pool, &disk.base)?;
        return Ok(volumes::describe(link, &above)?.backing.as_deref() == Some(&*base));
    }
    match disk.over.last() {
        Some(top) => Ok(volumes::find(link, pool, top)?.is_none()),
        None => Ok(true),
    }
}

fn machine_name(merge: &Merge) -> String {
    format!("{}-merge", names::stem(&merge.owner.engine, &merge.shadow))
}

/// Ends what an earlier attempt has left running, and deletes its scratch.
fn remains_absent(link: &Link, pool: &StoragePool, merge: &Merge) -> Result<(), PlatformError> {
    let name = machine_name(merge);
    match link.connect.lookup_domain_by_name(&name) {
        Ok(domain) => {
            let xml = domain.xml_desc(0).map_err(link.during(&*name))?;
            let owner = domain_xml::read(&xml)?.owner;
            if owner.is_none_or(|owner| owner.engine != merge.owner.engine) {
                return Err(PlatformError::NotOurs {
                    what: format!("the VM {name} on {}", link.source),
                });
            }
            match domain.destroy() {
                Ok(()) => {}
                Err(error) if error.code().is(ErrorNumber::NoDomain) => {}
                Err(error) => return Err(link.during(name)(error)),
            }
        }
        Err(error) if error.code().is(ErrorNumber::NoDomain) => {}
        Err(error) => return Err(link.during(name)(error)),
    }
    for disk in &merge.disks {
        volumes::delete(link, pool, &disk.scratch)?;
    }
    Ok(())
}

fn commit(
    link: &Link,
    pool: &StoragePool,
    merge: &Merge,
    disks: &[&DiskMerge],
    control: &Control,
) -> Result<(), PlatformError> {
    let mut devices = Element::new("devices");
    let mut jobs = Vec::new();
    for (index, disk) in disks.iter().enumerate() {
        let top = disk.over.last().unwrap_or(&disk.base);
        let under = find(link, pool, disk.above.as_ref().unwrap_or(top))?;
        let scratch = NewVolume {
            name: &disk.scratch,
            format: "qcow2",
            capacity_bytes: volumes::describe(link, &under)?.capacity_bytes,
            backing: Some(&under.path().map_err(link.during("a layer's path"))?),
        };
        let scratch = volumes::create(link, pool, &scratch)?
            .path()
            .map_err(link.during("a volume's path"))?;
        let target = target_name(index);
        devices = devices.with(disk_on(&target, &scratch));
        jobs.push((
            target,
            path(link, pool, &disk.base)?,
            path(link, pool, top)?,
        ));
    }
    let flags = sys::VIR_DOMAIN_START_PAUSED | sys::VIR_DOMAIN_START_AUTODESTROY;
    let machine = link
        .connect
        .create_domain_xml(&machine(merge, devices), flags)
        .map_err(link.during("open the layers to merge"))?;
    for (target, base, top) in &jobs {
        raw::block_commit(&machine, target, base, top)
            .map_err(link.during(format!("merge into {base}")))?;
        follow(link, &machine, target, control)?;
    }
    // How a job ended is told only to those who listen for events: what the chains are now says the same.
    let xml = machine.xml_desc(0).map_err(link.during("merge layers"))?;
    for (target, base, top) in &jobs {
        if domain_xml::chain_of(&xml, target)?.contains(top) {
            return Err(PlatformError::Failed {
                what: format!("merge into {base}"),
                message: "the job ended without having moved everything".to_owned(),
            });
        }
    }
    Ok(())
}

/// `vda`, `vdb`, …; a guest has no more than 26 disks that we replicate.
fn target_name(index: usize) -> String {
    let letter = u8::try_from(index).map_or(b'z', |index| b'a' + index.min(25));
    format!("vd{}", char::from(letter))
}

fn disk_on(target: &str, path: &str) -> Element {
    Element::new("disk")
        .attribute("type", "file")
        .attribute("device", "disk")
        .with(
            Element::new("driver")
                .attribute("name", "qemu")
                .attribute("type", "qcow2"),
        )
        .with(Element::new("source").attribute("file", path))
        .with(
            Element::new("target")
                .attribute("dev", target)
                .attribute("bus", "virtio"),
        )
}

fn machine(merge: &Merge, devices: Element) -> String {
    let mark = Element::new("shadowcast:owner")
        .attribute("xmlns:shadowcast", NAMESPACE)
        .attribute("engine", merge.owner.engine.as_str())
        .attribute("operation", merge.owner.operation.as_str())
        .attribute("shadow", merge.shadow.as_str());
    Element::new("domain")
        .attribute("type", "qemu")
        .with(Element::new("name").text(&machine_name(merge)))
        .with(Element::new("metadata").with(mark))
        .with(Element::new("memory").attribute("unit", "MiB").text("16"))
        .with(Element::new("vcpu").text("1"))
        .with(Element::new("os").with(Element::new("type").text("hvm")))
        .with(devices.with(Element::new("memballoon").attribute("model", "none")))
        .to_xml()
}

fn follow(
    link: &Link,
    machine: &Domain,
    target: &str,
    control: &Control,
) -> Result<(), PlatformError> {
    loop {
        link.beat()?;
        control.check()?;
        let job = raw::block_job(machine, target).map_err(link.during("merge layers"))?;
        let Some((done_bytes, total_bytes)) = job else {
            return Ok(());
        };
        control.report(Progress {
            done_bytes,
            total_bytes,
        });
        thread::sleep(LOOK);
    }
}
