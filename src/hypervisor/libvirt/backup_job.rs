//! The backup job that lays an increment into the spool: begun, followed, judged, aborted.

use std::{thread, time::Duration};

use virt::{
    domain::Domain,
    error::{Error, ErrorNumber},
};

use super::{
    domain_xml,
    element::Element,
    error::platform_error,
    host::now,
    raw::{self, JobKind, Value},
    spool::{self, Spool},
    watchdog::Watchdog,
    worker::Link,
};
use crate::{
    hypervisor::{Control, PlatformError},
    replication::{IncrementSpec, Progress},
    units::Timestamp,
};

/// How often a running job is looked at, and at every how many looks the free space is.
const LOOK: Duration = Duration::from_millis(25);
const LOOKS_PER_ROOM_CHECK: u32 = 10;

/// Why, with what to do.
pub const RAW: &str = "raw disks cannot keep dirty bitmaps; with the VM off, convert it with \
                   `qemu-img convert -O qcow2 -o compat=1.1` and point the VM at the new file";
pub const COMPAT_0_10: &str = "qcow2 compat 0.10 cannot keep dirty bitmaps; with the VM off, raise it with \
                           `qemu-img amend -o compat=1.1`";

/// Starts the job; returns the time that the point cannot be older than.
pub fn begin(
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
        _ => platform_error(&link.source, "start the backup job", error),
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
pub fn follow(
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
pub fn judge(link: &Link, domain: &Domain) -> Result<(), PlatformError> {
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
pub fn abort(
    link: &Link,
    domain: &Domain,
    ours: impl Fn(&str) -> bool,
) -> Result<(), PlatformError> {
    // Long enough for QEMU to cancel copies in flight on a busy disk.
    const LOOKS: u32 = 2000;
    for look in 0..LOOKS {
        link.beat()?;
        match targets(link, domain)? {
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

/// Whether any job runs. Asking for a backup job that is not there writes an error into the host's log.
fn has_job(link: &Link, domain: &Domain) -> Result<bool, PlatformError> {
    match raw::job_stats(domain, false) {
        Ok(job) => Ok(job.kind == raw::JobKind::Running),
        Err(error)
            if error.code().is(ErrorNumber::NoSupport)
                || error.code().is(ErrorNumber::OperationInvalid) =>
        {
            Ok(false)
        }
        Err(error) => Err(link.during("look for a job")(error)),
    }
}

/// The file names that a running backup job writes into; `None` where no such job runs.
pub fn targets(link: &Link, domain: &Domain) -> Result<Option<Vec<String>>, PlatformError> {
    if !has_job(link, domain)? {
        return Ok(None);
    }
    let xml = match raw::backup_xml(domain) {
        Ok(xml) => xml,
        Err(error)
            if error.code().is(ErrorNumber::NoDomainBackup)
                || error.code().is(ErrorNumber::NoSupport)
                || error.code().is(ErrorNumber::OperationInvalid) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(link.during("look for a backup job")(error)),
    };
    let document = domain_xml::parse("a backup job", &xml)?;
    let names = document
        .descendants()
        .filter(|node| node.has_tag_name("target"))
        .filter_map(|target| target.attribute("file"))
        .map(|path| path.rsplit('/').next().unwrap_or(path).to_owned())
        .collect::<Vec<_>>();
    // A pull job has no files and is never ours.
    Ok(Some(if names.is_empty() {
        vec![String::new()]
    } else {
        names
    }))
}
