//! The source side of replication: a backup job under a checkpoint, into the spool.
//!
//! ```text
//! remains gone ─▶ checks ─▶ (freeze) ─▶ job + checkpoint ─▶ (thaw) ─▶ followed to its end ─▶ spool complete
//!                                                              └ cancelled, no room, failed ─▶ remains gone
//! ```

use virt::domain::Domain;

use super::{
    backup_job, checkpoints,
    domain_xml::{self, DiskXml, DomainXml},
    inventory,
    raw::{self, JobKind},
    spool::{self, Spool},
    volumes::{self, Download},
    worker::Link,
};
use crate::{
    hypervisor::{Control, PlatformError},
    inventory::{DiskFormat, Owner},
    replication::{self, IncrementSpec},
    units::{Timestamp, VmId},
};

/// Takes the increment; see [`crate::hypervisor::Hypervisor::ensure_increment`].
pub fn ensure(
    link: &Link,
    uri: &str,
    spec: &IncrementSpec,
    resume: bool,
    control: &Control,
) -> Result<Timestamp, PlatformError> {
    check_names(spec)?;
    let domain = link.domain(spec.vm.uuid())?;
    if resume && let Some(at) = complete(link, &domain, spec)? {
        return Ok(at);
    }
    absent(link, spec)?;
    let vm = describe(link, &domain)?;
    check_source(link, &domain, &vm, spec)?;
    let spool = Spool::ensure(link, &spec.owner.engine, &vm)?;
    spool.check_room(link, expected_bytes(link, &domain, &vm, spec)?)?;
    control.check()?;
    let taken = backup_job::begin(link, uri, &domain, spec, &spool).and_then(|at| {
        backup_job::follow(link, &domain, &spool, control)?;
        backup_job::judge(link, &domain)?;
        Ok(at)
    });
    match taken {
        Ok(at) => Ok(at),
        Err(error) => {
            // Whoever called again meanwhile uses the same names: then the remains are theirs.
            if !link.is_abandoned()
                && let Err(remains) = absent(link, spec)
            {
                tracing::warn!(error = %remains, "an increment's remains stay until the next try");
            }
            Err(error)
        }
    }
}

/// Opens the spool of one disk.
pub fn read(link: &Link, spec: &IncrementSpec, disk: usize) -> Result<Download, PlatformError> {
    let file = spool::file_name(&disk_of(spec, disk)?.spool_volume, &spec.vm);
    let missing = || PlatformError::NotFound {
        what: format!("the spool {file} on {}", link.source),
    };
    let spool = Spool::find(link, &spec.owner.engine)?.ok_or_else(missing)?;
    volumes::refresh(link, &spool.pool)?;
    let volume = volumes::find(link, &spool.pool, &file)?.ok_or_else(missing)?;
    Download::start(link, &volume, &file)
}

/// Drops the parent checkpoint and the spool.
pub fn finished(link: &Link, spec: &IncrementSpec) -> Result<(), PlatformError> {
    check_names(spec)?;
    match link.domain(spec.vm.uuid()) {
        Ok(domain) => {
            if let Some(parent) = &spec.parent_checkpoint {
                checkpoints::delete(link, &domain, parent)?;
            }
        }
        Err(PlatformError::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    delete_spool(link, spec)
}

/// Aborts the increment's job and drops its checkpoint and spool.
pub fn absent(link: &Link, spec: &IncrementSpec) -> Result<(), PlatformError> {
    check_names(spec)?;
    match link.domain(spec.vm.uuid()) {
        Ok(domain) => {
            let ours: Vec<String> = spec
                .disks
                .iter()
                .map(|disk| spool::file_name(&disk.spool_volume, &spec.vm))
                .collect();
            backup_job::abort(link, &domain, |target| {
                ours.iter().any(|file| file == target)
            })?;
            checkpoints::delete(link, &domain, &spec.checkpoint)?;
        }
        Err(PlatformError::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    delete_spool(link, spec)
}

/// Drops everything of the owner's engine on `vm`.
pub fn replication_absent(link: &Link, vm: &VmId, owner: &Owner) -> Result<(), PlatformError> {
    let engine = &owner.engine;
    match link.domain(vm.uuid()) {
        Ok(domain) => {
            backup_job::abort(link, &domain, |target| replication::is_ours(engine, target))?;
            // The newest first: each merges into the one before it, and the last one simply goes.
            for name in checkpoints::names(link, &domain)?.iter().rev() {
                if replication::is_ours(engine, name) {
                    checkpoints::delete(link, &domain, name)?;
                }
            }
        }
        Err(PlatformError::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    if let Some(spool) = Spool::find(link, engine)? {
        spool.clear(link, engine, vm)?;
        spool.remove_if_empty(link, engine)?;
    }
    Ok(())
}

fn check_names(spec: &IncrementSpec) -> Result<(), PlatformError> {
    let names = spec
        .disks
        .iter()
        .map(|disk| &disk.spool_volume)
        .chain([&spec.checkpoint])
        .chain(&spec.parent_checkpoint);
    for name in names {
        if !replication::is_ours(&spec.owner.engine, name) {
            return Err(PlatformError::NotOurs { what: name.clone() });
        }
    }
    Ok(())
}

pub fn disk_of(
    spec: &IncrementSpec,
    disk: usize,
) -> Result<&replication::DiskIncrement, PlatformError> {
    spec.disks.get(disk).ok_or_else(|| PlatformError::NotFound {
        what: format!("disk {disk} of increment {}", spec.number),
    })
}

fn describe(link: &Link, domain: &Domain) -> Result<DomainXml, PlatformError> {
    domain_xml::read(&domain.xml_desc(0).map_err(link.during("VM"))?)
}

/// The time of the checkpoint where the spool is complete.
fn complete(
    link: &Link,
    domain: &Domain,
    spec: &IncrementSpec,
) -> Result<Option<Timestamp>, PlatformError> {
    let Some(checkpoint) = checkpoints::find(link, domain, &spec.checkpoint)? else {
        return Ok(None);
    };
    let Some(spool) = Spool::find(link, &spec.owner.engine)? else {
        return Ok(None);
    };
    volumes::refresh(link, &spool.pool)?;
    for disk in &spec.disks {
        let file = spool::file_name(&disk.spool_volume, &spec.vm);
        if volumes::find(link, &spool.pool, &file)?.is_none() {
            return Ok(None);
        }
    }
    let xml = checkpoint
        .xml(false)
        .map_err(link.during("read the checkpoint"))?;
    let document = domain_xml::parse("a checkpoint", &xml)?;
    let seconds = domain_xml::number(domain_xml::child_text(
        document.root_element(),
        "creationTime",
    ));
    Ok(seconds.map(|seconds| Timestamp::from_secs(seconds as i64)))
}

/// Everything that would make the job fail or disturb somebody, before anything is changed.
fn check_source(
    link: &Link,
    domain: &Domain,
    vm: &DomainXml,
    spec: &IncrementSpec,
) -> Result<(), PlatformError> {
    let busy = |why: String| PlatformError::Busy {
        what: format!("VM {}", vm.name),
        why,
    };
    if vm.id.is_none() {
        return Err(busy(
            "it is powered off; increments need a running VM".to_owned(),
        ));
    }
    for disk in &spec.disks {
        check_disk(link, vm, source_disk(vm, &disk.target)?)?;
    }
    let foreign = inventory::foreign_jobs(link, &spec.owner.engine, domain, vm)?;
    if !foreign.is_empty() {
        return Err(busy(format!(
            "{} stand on its disks and are not ours; end them first",
            foreign.join(", ")
        )));
    }
    let job = raw::job_stats(domain, false).map_err(link.during("look for a job"))?;
    if job.kind == JobKind::Running {
        return Err(busy("another job runs on it".to_owned()));
    }
    if let Some(parent) = &spec.parent_checkpoint
        && checkpoints::find(link, domain, parent)?.is_none()
    {
        return Err(PlatformError::CheckpointLost {
            checkpoint: parent.clone(),
            why: "it is not there any more".to_owned(),
        });
    }
    Ok(())
}

fn source_disk<'a>(vm: &'a DomainXml, target: &str) -> Result<&'a DiskXml, PlatformError> {
    vm.disks
        .iter()
        .find(|disk| disk.target == target)
        .ok_or_else(|| PlatformError::NotFound {
            what: format!("disk {target} of VM {}", vm.name),
        })
}

fn check_disk(link: &Link, vm: &DomainXml, disk: &DiskXml) -> Result<(), PlatformError> {
    let unsupported = |why: &str| {
        Err(PlatformError::Unsupported {
            what: format!("replicating disk {} of VM {}", disk.target, vm.name),
            why: why.to_owned(),
        })
    };
    match disk.format {
        DiskFormat::Raw => unsupported(backup_job::RAW),
        DiskFormat::Other => unsupported("it is no qcow2 image"),
        DiskFormat::Qcow2 => {
            match volumes::describe_by_path(link, &disk.path)?.and_then(|volume| volume.compat) {
                Some(compat) if compat == "0.10" => unsupported(backup_job::COMPAT_0_10),
                _ => Ok(()),
            }
        }
    }
}

/// What the job may write: everything allocated for a full copy, else what changed since the parent.
fn expected_bytes(
    link: &Link,
    domain: &Domain,
    vm: &DomainXml,
    spec: &IncrementSpec,
) -> Result<u64, PlatformError> {
    if let Some(parent) = &spec.parent_checkpoint {
        let checkpoint = checkpoints::find(link, domain, parent)?;
        // Its size is an estimate that not every version gives; the watch over the free space holds without it.
        let sized = checkpoint.and_then(|checkpoint| checkpoint.xml(true).ok());
        return Ok(sized.map_or(0, |xml| changed_bytes(&xml)));
    }
    let mut sum = 0_u64;
    for disk in &spec.disks {
        let path = &source_disk(vm, &disk.target)?.path;
        let allocated = if let Some(volume) = volumes::describe_by_path(link, path)? {
            volume.allocated_bytes
        } else {
            let info = domain
                .block_info(&disk.target, 0)
                .map_err(link.during(format!("size of disk {}", disk.target)))?;
            info.allocation.min(info.physical)
        };
        sum = sum.saturating_add(allocated);
    }
    Ok(sum)
}

fn changed_bytes(checkpoint: &str) -> u64 {
    domain_xml::parse("a checkpoint", checkpoint).map_or(0, |document| {
        document
            .descendants()
            .filter(|node| node.has_tag_name("disk"))
            .filter_map(|disk| domain_xml::number(disk.attribute("size")))
            .fold(0, u64::saturating_add)
    })
}

fn delete_spool(link: &Link, spec: &IncrementSpec) -> Result<(), PlatformError> {
    let Some(spool) = Spool::find(link, &spec.owner.engine)? else {
        return Ok(());
    };
    volumes::refresh(link, &spool.pool)?;
    for disk in &spec.disks {
        let file = spool::file_name(&disk.spool_volume, &spec.vm);
        volumes::delete(link, &spool.pool, &file)?;
    }
    Ok(())
}
