//! The shadow's domain on the target: its overlays, its definition, its power.

use std::{
    thread,
    time::{Duration, Instant},
};

use virt::{
    domain::{Domain, DomainState},
    error::ErrorNumber,
    storage_pool::StoragePool,
};
use virt_sys as sys;

use super::{
    domain_xml, examine,
    layers::check_ours,
    shadow_xml,
    volumes::{self, NewVolume},
    worker::Link,
};
use crate::{
    hypervisor::PlatformError,
    inventory::Owner,
    shadow::{OverlaySpec, ShadowSpec},
};

/// Defines the shadow; see [`crate::hypervisor::Hypervisor::ensure_shadow`].
pub fn ensure(link: &Link, spec: &ShadowSpec, model: &str) -> Result<(), PlatformError> {
    check_names(spec)?;
    if let Some(domain) = find(link, spec)?
        && is_active(link, &domain)?
    {
        // It serves already: its overlays are in use, and its definition is the one that it was started with.
        return Ok(());
    }
    let disks = make_overlays(link, spec)?;
    let xml = shadow_xml::build(spec, model, &disks, examine::has_kvm(link)?, None)?;
    link.connect
        .define_domain_xml(&xml)
        .map(|_| ())
        .map_err(link.during(format!("define VM {}", spec.name)))
}

/// Puts fresh overlays on the layers.
pub fn ensure_overlays(link: &Link, spec: &ShadowSpec) -> Result<(), PlatformError> {
    check_names(spec)?;
    if let Some(domain) = find(link, spec)?
        && is_active(link, &domain)?
    {
        return Err(PlatformError::Busy {
            what: format!("VM {}", spec.name),
            why: "it runs on its overlays".to_owned(),
        });
    }
    make_overlays(link, spec).map(|_| ())
}

/// Makes the shadow run or not.
pub fn ensure_power(
    link: &Link,
    owner: &Owner,
    uuid: &str,
    on: bool,
    grace: Duration,
) -> Result<(), PlatformError> {
    let domain = link.domain(uuid)?;
    check_owner(link, owner, &domain, uuid)?;
    if on {
        start(link, &domain)
    } else {
        stop(link, &domain, grace)
    }
}

/// Undefines the shadow and deletes its overlays.
pub fn absent(link: &Link, spec: &ShadowSpec) -> Result<(), PlatformError> {
    check_names(spec)?;
    if let Some(domain) = find(link, spec)? {
        stop(link, &domain, Duration::ZERO)?;
        let flags = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
            | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            | sys::VIR_DOMAIN_UNDEFINE_NVRAM;
        match domain.undefine_flags(flags) {
            Ok(()) => {}
            Err(error) if error.code().is(ErrorNumber::NoDomain) => {}
            Err(error) => return Err(link.during(format!("undefine VM {}", spec.name))(error)),
        }
    }
    let overlays: Vec<String> = spec
        .overlays
        .iter()
        .map(|overlay| overlay.volume.clone())
        .collect();
    super::layers::volumes_absent(link, &spec.storage, &overlays)
}

pub(super) fn check_names(spec: &ShadowSpec) -> Result<(), PlatformError> {
    let names = spec
        .overlays
        .iter()
        .flat_map(|overlay| [&overlay.volume, &overlay.layer_volume]);
    check_ours(&spec.owner.engine, names)
}

/// The shadow's domain, if it is there; an error where its name or uuid is somebody else's.
pub(super) fn find(link: &Link, spec: &ShadowSpec) -> Result<Option<Domain>, PlatformError> {
    match link.connect.lookup_domain_by_name(&spec.name) {
        Ok(domain) => {
            let uuid = domain.uuid_string().map_err(link.during("VM"))?;
            if uuid != spec.uuid {
                return Err(PlatformError::NotOurs {
                    what: format!("the VM {} ({uuid}) on {}", spec.name, link.source),
                });
            }
        }
        Err(error) if error.code().is(ErrorNumber::NoDomain) => {}
        Err(error) => return Err(link.during(format!("VM {}", spec.name))(error)),
    }
    match link.domain(&spec.uuid) {
        Ok(domain) => {
            check_owner(link, &spec.owner, &domain, &spec.uuid)?;
            Ok(Some(domain))
        }
        Err(PlatformError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn check_owner(
    link: &Link,
    owner: &Owner,
    domain: &Domain,
    uuid: &str,
) -> Result<(), PlatformError> {
    let xml = domain
        .xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)
        .map_err(link.during(format!("VM {uuid}")))?;
    let marked = domain_xml::read(&xml)?.owner;
    if marked.is_some_and(|marked| marked.engine == owner.engine) {
        Ok(())
    } else {
        Err(PlatformError::NotOurs {
            what: format!("the VM {uuid} on {}", link.source),
        })
    }
}

pub(super) fn is_active(link: &Link, domain: &Domain) -> Result<bool, PlatformError> {
    domain.is_active().map_err(link.during("VM"))
}

/// Makes every overlay anew; returns their paths.
pub(super) fn make_overlays(link: &Link, spec: &ShadowSpec) -> Result<Vec<String>, PlatformError> {
    let pool = link.storage(&spec.storage)?;
    volumes::refresh(link, &pool)?;
    spec.overlays
        .iter()
        .map(|overlay| make_overlay(link, &pool, overlay))
        .collect()
}

fn make_overlay(
    link: &Link,
    pool: &StoragePool,
    overlay: &OverlaySpec,
) -> Result<String, PlatformError> {
    let layer = volumes::find(link, pool, &overlay.layer_volume)?.ok_or_else(|| {
        PlatformError::NotFound {
            what: format!("the layer {} on {}", overlay.layer_volume, link.source),
        }
    })?;
    let layer = layer.path().map_err(link.during("a layer's path"))?;
    volumes::delete(link, pool, &overlay.volume)?;
    let new = NewVolume {
        name: &overlay.volume,
        format: "qcow2",
        capacity_bytes: overlay.capacity_bytes,
        backing: Some(&layer),
    };
    volumes::create(link, pool, &new)?
        .path()
        .map_err(link.during("an overlay's path"))
}

fn start(link: &Link, domain: &Domain) -> Result<(), PlatformError> {
    let (state, _) = domain.state().map_err(link.during("VM"))?;
    match state.known() {
        Some(DomainState::Running | DomainState::Blocked) => Ok(()),
        Some(DomainState::Paused) => domain.resume().map_err(link.during("resume the shadow")),
        _ => {
            stop(link, domain, Duration::ZERO)?;
            domain.create().map_err(link.during("start the shadow"))
        }
    }
}

/// Asks the guest, waits, then cuts the power.
fn stop(link: &Link, domain: &Domain, grace: Duration) -> Result<(), PlatformError> {
    const LOOK: Duration = Duration::from_millis(100);
    if !is_active(link, domain)? {
        return Ok(());
    }
    let asked_at = Instant::now();
    if !grace.is_zero()
        && let Err(error) = domain.shutdown()
    {
        tracing::debug!(%error, "the guest cannot be asked to shut down");
    }
    while asked_at.elapsed() < grace {
        link.beat()?;
        if !is_active(link, domain)? {
            return Ok(());
        }
        thread::sleep(LOOK);
    }
    match domain.destroy() {
        Ok(()) => Ok(()),
        Err(_) if !is_active(link, domain)? => Ok(()),
        Err(error) => Err(link.during("power the shadow off")(error)),
    }
}
