//! A primary under a fence: its CPUs stopped, its power off, and on again. The one place that changes a VM which this
//! engine did not make; it does so only behind a mark in the VM's own metadata, which also keeps what autostart was.

use std::{
    thread,
    time::{Duration, Instant},
};

use virt::domain::{Domain, DomainState};
use virt_sys as sys;

use super::{
    domain_xml::{self, NAMESPACE},
    element::Element,
    worker::Link,
};
use crate::{
    hypervisor::PlatformError,
    shadow::promotion::{Fence, FenceFrom},
};

/// What our element in the metadata is called; the prefix that libvirt writes is its affair.
const KEY: &str = "shadowcast";
const LOOK: Duration = Duration::from_millis(100);
/// QEMU flushes and closes its images before it ends.
const OFF_WITHIN: Duration = Duration::from_secs(20);

struct Mark {
    autostart: bool,
}

/// Stops the CPUs; see [`crate::hypervisor::Hypervisor::ensure_paused`].
pub fn ensure_paused(link: &Link, fence: &Fence) -> Result<(), PlatformError> {
    let domain = link.domain(fence.vm.uuid())?;
    let marked = mark(link, &domain, fence)?.is_some();
    match state(link, &domain)? {
        DomainState::Running | DomainState::Blocked => {}
        // The mark comes before the pause: without it the pause is somebody else's, and so is its end.
        DomainState::Paused if !marked => return Err(changed(fence, "somebody has paused it")),
        DomainState::Paused => {}
        // Found off under our mark: somebody has cut the power of what we had paused.
        _ if marked => return Ok(()),
        _ => return Err(changed(fence, "it is not running any more")),
    }
    put_mark(link, &domain, fence)?;
    match state(link, &domain)? {
        DomainState::Paused => Ok(()),
        _ => domain
            .suspend()
            .map_err(link.during(format!("pause VM {}", fence.vm))),
    }
}

/// Powers off; see [`crate::hypervisor::Hypervisor::ensure_fenced`].
pub fn ensure_fenced(link: &Link, fence: &Fence, from: FenceFrom) -> Result<(), PlatformError> {
    let domain = link.domain(fence.vm.uuid())?;
    let grace = match (from, state(link, &domain)?) {
        (FenceFrom::Paused, DomainState::Running | DomainState::Blocked) => {
            return Err(changed(
                fence,
                "somebody let it run on after its last delta was read",
            ));
        }
        (FenceFrom::Running { grace_seconds }, DomainState::Running | DomainState::Blocked) => {
            Duration::from_secs(grace_seconds.into())
        }
        _ => Duration::ZERO,
    };
    put_mark(link, &domain, fence)?;
    power_off(link, &domain, grace)?;
    let asked_at = Instant::now();
    // Nothing counts but that it is seen off.
    while is_active(link, &domain)? {
        link.beat()?;
        if asked_at.elapsed() > OFF_WITHIN {
            return Err(PlatformError::Timeout {
                what: format!("VM {} that is being powered off", fence.vm),
                seconds: OFF_WITHIN.as_secs() as u32,
            });
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

/// Lets it run; see [`crate::hypervisor::Hypervisor::ensure_unfenced`].
pub fn ensure_unfenced(link: &Link, fence: &Fence) -> Result<(), PlatformError> {
    let domain = link.domain(fence.vm.uuid())?;
    let Some(mark) = mark(link, &domain, fence)? else {
        return if is_active(link, &domain)? {
            Ok(())
        } else {
            Err(PlatformError::NotOurs {
                what: format!("VM {} on {}, which is off,", fence.vm, link.source),
            })
        };
    };
    match state(link, &domain)? {
        DomainState::Running | DomainState::Blocked => {}
        DomainState::Paused => domain
            .resume()
            .map_err(link.during(format!("let VM {} run on", fence.vm)))?,
        _ => domain
            .create()
            .map_err(link.during(format!("start VM {}", fence.vm)))?,
    }
    domain
        .set_autostart(mark.autostart)
        .map_err(link.during(format!("set autostart of VM {}", fence.vm)))?;
    set_metadata(link, &domain, fence, None)
}

fn power_off(link: &Link, domain: &Domain, grace: Duration) -> Result<(), PlatformError> {
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
    if !is_active(link, domain)? {
        return Ok(());
    }
    match domain.destroy() {
        Ok(()) => Ok(()),
        Err(_) if !is_active(link, domain)? => Ok(()),
        Err(error) => Err(link.during("power the primary off")(error)),
    }
}

/// Our mark on the domain; an error where it is another engine's.
fn mark(link: &Link, domain: &Domain, fence: &Fence) -> Result<Option<Mark>, PlatformError> {
    let xml = domain
        .xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)
        .map_err(link.during(format!("VM {}", fence.vm)))?;
    let document = domain_xml::parse("a primary", &xml)?;
    let Some(found) = domain_xml::child(document.root_element(), "metadata").and_then(|metadata| {
        metadata
            .children()
            .find(|node| node.tag_name().namespace() == Some(NAMESPACE))
    }) else {
        return Ok(None);
    };
    let ours = found.tag_name().name() == "fence"
        && found.attribute("engine") == Some(fence.owner.engine.as_str())
        && found.attribute("shadow") == Some(fence.shadow.as_str());
    if !ours {
        return Err(PlatformError::NotOurs {
            what: format!("the mark on VM {} on {}", fence.vm, link.source),
        });
    }
    Ok(Some(Mark {
        autostart: found.attribute("autostart") == Some("true"),
    }))
}

/// Autostart goes off after the mark that remembers it is there. A mark that stands already remembers better.
fn put_mark(link: &Link, domain: &Domain, fence: &Fence) -> Result<(), PlatformError> {
    let failed = || link.during(format!("mark VM {}", fence.vm));
    if !domain.is_persistent().map_err(failed())? {
        return Err(PlatformError::Unsupported {
            what: format!("powering off VM {}", fence.vm),
            why: "it is transient: once off, its host has forgotten it".to_owned(),
        });
    }
    if mark(link, domain, fence)?.is_none() {
        let autostart = domain.autostart().map_err(failed())?;
        let element = Element::new("fence")
            .attribute("engine", fence.owner.engine.as_str())
            .attribute("operation", fence.owner.operation.as_str())
            .attribute("shadow", fence.shadow.as_str())
            .attribute("autostart", if autostart { "true" } else { "false" });
        set_metadata(link, domain, fence, Some(&element.to_xml()))?;
    }
    domain.set_autostart(false).map_err(failed())
}

fn set_metadata(
    link: &Link,
    domain: &Domain,
    fence: &Fence,
    element: Option<&str>,
) -> Result<(), PlatformError> {
    let mut flags = sys::VIR_DOMAIN_AFFECT_CONFIG;
    if is_active(link, domain)? {
        flags |= sys::VIR_DOMAIN_AFFECT_LIVE;
    }
    domain
        .set_metadata(
            sys::VIR_DOMAIN_METADATA_ELEMENT as i32,
            element,
            Some(KEY),
            Some(NAMESPACE),
            flags,
        )
        .map_err(link.during(format!("mark VM {}", fence.vm)))
}

fn state(link: &Link, domain: &Domain) -> Result<DomainState, PlatformError> {
    let (state, _) = domain.state().map_err(link.during("VM"))?;
    Ok(state.known().unwrap_or(DomainState::NoState))
}

fn is_active(link: &Link, domain: &Domain) -> Result<bool, PlatformError> {
    domain.is_active().map_err(link.during("VM"))
}

fn changed(fence: &Fence, why: &str) -> PlatformError {
    PlatformError::Changed {
        what: format!("VM {}", fence.vm),
        why: why.to_owned(),
    }
}
