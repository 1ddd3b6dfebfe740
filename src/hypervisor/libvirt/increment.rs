//! The source side of replication: a backup job under a checkpoint, into the spool.
//!
//! ```text
//! remains gone ─▶ checks ─▶ (freeze) ─▶ job + checkpoint ─▶ (thaw) ─▶ followed to its end ─▶ spool complete
//!                                                              └ cancelled, no room, failed ─▶ remains gone
//! ```

use std::{thread, time::Duration};

use virt::{
    domain::Domain,
    error::{Error, ErrorNumber},
};

use super::{
    domain_xml::{self, DiskXml, DomainXml},
    element::Element,
    host::now,
    inventory,
    raw::{self, Checkpoint, JobKind, Value},
    spool::{self, Spool},
    volumes::{self, Download},
    watchdog::Watchdog,
    worker::Link,
};
use crate::{
    hypervisor::{Control, PlatformError},
    inventory::{DiskFormat, Owner},
    replication::{self, IncrementSpec, Progress},
    units::{Timestamp, VmId},
};

/// How often a running job is looked at, and at every how many looks the free space is.
const LOOK: Duration = Duration::from_millis(25);
const LOOKS_PER_ROOM_CHECK: u32 = 10;

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
    let taken = begin(link, uri, &domain, spec, &spool).and_then(|at| {
        follow(link, &domain, &spool, control)?;
        judge(link, &domain)?;
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
                delete_checkpoint(link, &domain, parent)?;
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
            abort(link, &domain, |target| {
                ours.iter().any(|file| file == target)
            })?;
            delete_checkpoint(link, &domain, &spec.checkpoint)?;
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
            abort(link, &domain, |target| replication::is_ours(engine, target))?;
            // The newest first: each merges into the one before it, and the last one simply goes.
            for name in inventory::checkpoint_names(link, &domain)?.iter().rev() {
                if replication::is_ours(engine, name) {
                    delete_checkpoint(link, &domain, name)?;
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
    let Some(checkpoint) = find_checkpoint(link, domain, &spec.checkpoint)? else {
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
        && find_checkpoint(link, domain, parent)?.is_none()
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
        DiskFormat::Raw => unsupported(RAW),
        DiskFormat::Other => unsupported("it is no qcow2 image"),
        DiskFormat::Qcow2 => {
            match volumes::describe_by_path(link, &disk.path)?.and_then(|volume| volume.compat) {
                Some(compat) if compat == "0.10" => unsupported(COMPAT_0_10),
                _ => Ok(()),
            }
        }
    }
}

const RAW: &str = "raw disks cannot keep dirty bitmaps; with the VM off, convert it with \
                   `qemu-img convert -O qcow2 -o compat=1.1` and point the VM at the new file";
const COMPAT_0_10: &str = "qcow2 compat 0.10 cannot keep dirty bitmaps; with the VM off, raise it with \
                           `qemu-img amend -o compat=1.1`";

/// What the job may write: everything allocated for a full copy, else what changed since the parent.
fn expected_bytes(
    link: &Link,
    domain: &Domain,
    vm: &DomainXml,
    spec: &IncrementSpec,
) -> Result<u64, PlatformError> {
    if let Some(parent) = &spec.parent_checkpoint {
        let checkpoint = find_checkpoint(link, domain, parent)?;
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

/// Starts the job; returns the time that the point cannot be older than.
fn begin(
    link: &Link,
    uri: &str,
    domain: &Domain,
    spec: &IncrementSpec,
    spool: &Spool,
) -> Result<Timestamp, PlatformError> {
    let (backup, checkpoint) = (backup_xml(spec, spool), checkpoint_xml(spec));
    let start = || {
        let at = now();
        raw::backup_begin(domain, &backup, &checkpoint)
            .map(|()| at)
            .map_err(|error| not_begun(link, spec, &error))
    };
    if spec.freeze {
        frozen(link, uri, domain, spec, start)
    } else {
        start()
    }
}

fn backup_xml(spec: &IncrementSpec, spool: &Spool) -> String {
    let disks = spec.disks.iter().map(|disk| {
        let path = spool.path(&spool::file_name(&disk.spool_volume, &spec.vm));
        Element::new("disk")
            .attribute("name", &disk.target)
            .attribute("type", "file")
            .with(Element::new("target").attribute("file", &path))
            .with(Element::new("driver").attribute("type", "qcow2"))
    });
    let parent = spec.parent_checkpoint.iter();
    Element::new("domainbackup")
        .attribute("mode", "push")
        .with_all(parent.map(|name| Element::new("incremental").text(name)))
        .with(Element::new("disks").with_all(disks))
        .to_xml()
}

fn checkpoint_xml(spec: &IncrementSpec) -> String {
    let disks = spec.disks.iter().map(|disk| {
        Element::new("disk")
            .attribute("name", &disk.target)
            .attribute("checkpoint", "bitmap")
    });
    Element::new("domaincheckpoint")
        .with(Element::new("name").text(&spec.checkpoint))
        .with(Element::new("disks").with_all(disks))
        .to_xml()
}

fn not_begun(link: &Link, spec: &IncrementSpec, error: &Error) -> PlatformError {
    let message = error.message();
    let lost = error.code().is(ErrorNumber::CheckpointInconsistent)
        || error.code().is(ErrorNumber::NoDomainCheckpoint)
        || message.contains("missing or broken bitmap");
    let unsupported = |why: &str| PlatformError::Unsupported {
        what: format!("replicating VM {}", spec.vm),
        why: why.to_owned(),
    };
    match &spec.parent_checkpoint {
        Some(parent) if lost => PlatformError::CheckpointLost {
            checkpoint: parent.clone(),
            why: message.to_owned(),
        },
        _ if message.contains("qcow2 v2") => unsupported(COMPAT_0_10),
        _ if message.contains("unsupported for storage type 'raw'")
            || message.contains("unsupported for storage type raw") =>
        {
            unsupported(RAW)
        }
        _ => super::error::platform_error(&link.source, "start the backup job", error),
    }
}

/// Runs `start` while the guest's file systems are frozen. The job copies before it writes, so the guest thaws at once.
fn frozen(
    link: &Link,
    uri: &str,
    domain: &Domain,
    spec: &IncrementSpec,
    start: impl FnOnce() -> Result<Timestamp, PlatformError>,
) -> Result<Timestamp, PlatformError> {
    let unsupported = |error: &Error| PlatformError::Unsupported {
        what: format!("freezing the file systems of VM {}", spec.vm),
        why: format!("the guest agent does not answer: {}", error.message()),
    };
    // The cheapest question to the agent: a freeze that nobody answers would block.
    domain.time(0).map_err(|error| unsupported(&error))?;
    let watchdog = Watchdog::start(uri, spec.vm.uuid())?;
    link.beat()?;
    raw::fs_freeze(domain).map_err(|error| unsupported(&error))?;
    let started = start();
    raw::fs_thaw(domain).map_err(link.during("thaw the guest"))?;
    watchdog.dismiss();
    started
}

/// Waits for the job's end; aborts it when nobody wants it any more or the file system fills.
fn follow(
    link: &Link,
    domain: &Domain,
    spool: &Spool,
    control: &Control,
) -> Result<(), PlatformError> {
    for look in 0_u32.. {
        link.beat()?;
        control.check()?;
        let job = raw::job_stats(domain, false).map_err(link.during("follow the backup job"))?;
        if job.kind != JobKind::Running {
            break;
        }
        control.report(Progress {
            done_bytes: job.count("disk_processed").unwrap_or(0),
            total_bytes: job.count("disk_total").unwrap_or(0),
        });
        if look.is_multiple_of(LOOKS_PER_ROOM_CHECK) {
            spool.check_room(link, 0)?;
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

/// Whether the job that ended did its work.
fn judge(link: &Link, domain: &Domain) -> Result<(), PlatformError> {
    let job = raw::job_stats(domain, true).map_err(link.during("read the backup job's end"))?;
    let succeeded = job.get("success") == Some(&Value::Bool(true));
    if job.kind == JobKind::Completed && succeeded {
        return Ok(());
    }
    let message = match job.get("errmsg") {
        Some(Value::Text(message)) => message.clone(),
        _ => "the backup job did not succeed".to_owned(),
    };
    if message.contains("No space left") {
        return Err(PlatformError::NoSpace {
            place: format!("the spool of {}", link.source),
        });
    }
    Err(PlatformError::Failed {
        what: "the backup job".to_owned(),
        message,
    })
}

/// Aborts the backup job if all its targets are `ours`, and waits until it is over.
fn abort(link: &Link, domain: &Domain, ours: impl Fn(&str) -> bool) -> Result<(), PlatformError> {
    // Long enough for QEMU to cancel copies in flight on a busy disk.
    const LOOKS: u32 = 2000;
    for look in 0..LOOKS {
        link.beat()?;
        match inventory::backup_targets(link, domain)? {
            Some(targets) if targets.iter().all(|target| ours(target)) => {}
            Some(_) | None => return Ok(()),
        }
        if look == 0
            && let Err(error) = raw::abort_job(domain)
        {
            // It may have ended by itself just now; the next look tells.
            tracing::debug!(%error, "no job to abort");
        }
        thread::sleep(LOOK);
    }
    Err(PlatformError::Busy {
        what: "the backup job".to_owned(),
        why: "it does not end".to_owned(),
    })
}

fn find_checkpoint(
    link: &Link,
    domain: &Domain,
    name: &str,
) -> Result<Option<Checkpoint>, PlatformError> {
    for checkpoint in raw::checkpoints(domain).map_err(link.during("list checkpoints"))? {
        if checkpoint.name().map_err(link.during("list checkpoints"))? == name {
            return Ok(Some(checkpoint));
        }
    }
    Ok(None)
}

fn delete_checkpoint(link: &Link, domain: &Domain, name: &str) -> Result<(), PlatformError> {
    let Some(checkpoint) = find_checkpoint(link, domain, name)? else {
        return Ok(());
    };
    let what = format!("delete checkpoint {name}");
    match checkpoint.delete(false) {
        Ok(()) => Ok(()),
        Err(error) if error.code().is(ErrorNumber::NoDomainCheckpoint) => Ok(()),
        // Its bitmap is broken or gone: only libvirt's note of it is left. A VM that is off keeps the bitmap in its
        // image, where it harms nobody; libvirt has no call that removes it.
        Err(error) if is_metadata_only(&error) => {
            tracing::warn!(checkpoint = name, %error, "only its metadata is deleted");
            checkpoint.delete(true).map_err(link.during(what))
        }
        Err(error) => Err(link.during(what)(error)),
    }
}

fn is_metadata_only(error: &Error) -> bool {
    let message = error.message();
    error.code().is(ErrorNumber::CheckpointInconsistent)
        || message.contains("missing or broken bitmap")
        || message.contains("inactive domain")
        || (message.contains("bitmap") && message.contains("not found"))
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
