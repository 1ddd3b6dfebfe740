//! A VM's checkpoints: named points in time, each with a dirty bitmap in every disk.

use virt::{
    domain::Domain,
    error::{Error, ErrorNumber},
};

use super::{
    raw::{self, Checkpoint},
    worker::Link,
};
use crate::hypervisor::PlatformError;

/// The VM's checkpoints; none where the driver has no checkpoints.
pub fn names(link: &Link, domain: &Domain) -> Result<Vec<String>, PlatformError> {
    let checkpoints = match raw::checkpoints(domain) {
        Ok(checkpoints) => checkpoints,
        Err(error) if error.code().is(ErrorNumber::NoSupport) => return Ok(Vec::new()),
        Err(error) => return Err(link.during("list checkpoints")(error)),
    };
    checkpoints
        .iter()
        .map(|checkpoint| checkpoint.name().map_err(link.during("list checkpoints")))
        .collect()
}

/// The checkpoint of this name; `None` where there is none.
pub fn find(link: &Link, domain: &Domain, name: &str) -> Result<Option<Checkpoint>, PlatformError> {
    for checkpoint in raw::checkpoints(domain).map_err(link.during("list checkpoints"))? {
        if checkpoint.name().map_err(link.during("list checkpoints"))? == name {
            return Ok(Some(checkpoint));
        }
    }
    Ok(None)
}

/// Deletes the checkpoint of this name; one that is gone is no error.
pub fn delete(link: &Link, domain: &Domain, name: &str) -> Result<(), PlatformError> {
    let Some(checkpoint) = find(link, domain, name)? else {
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
