//! A clone of a recovery point for the time of its validation: transient, and gone with the connection that made it.

use std::io::Read as _;

use virt::domain::Domain;
use virt_sys as sys;

use super::{
    examine,
    layers::{check_ours, volumes_absent},
    shadow, shadow_xml,
    volumes::{self, Download},
    worker::Link,
};
use crate::{
    hypervisor::{Control, PlatformError},
    replication::digest::Digested,
    shadow::CloneSpec,
};

/// More of a console is not read.
const MAX_CONSOLE_BYTES: u64 = 4 << 20;
/// The end of it that is given.
const CONSOLE_BYTES: usize = 64 << 10;
const BUFFER_BYTES: usize = 256 << 10;

/// Starts the clone, after whatever an earlier attempt has left is gone.
pub fn start(link: &Link, clone: &CloneSpec, model: &str) -> Result<(), PlatformError> {
    absent(link, clone)?;
    let spec = &clone.spec;
    let disks = shadow::make_overlays(link, spec)?;
    let folder = disks
        .first()
        .and_then(|path| path.rsplit_once('/'))
        .map(|(folder, _)| folder)
        .ok_or_else(|| PlatformError::Failed {
            what: format!("start VM {}", spec.name),
            message: "it has no disk".to_owned(),
        })?;
    let console = format!("{folder}/{}", clone.console_volume);
    let has_kvm = examine::has_kvm(link)?;
    let xml = shadow_xml::build(spec, model, &disks, has_kvm, Some(&console))?;
    link.connect
        .create_domain_xml(&xml, sys::VIR_DOMAIN_START_AUTODESTROY)
        .map(|_| ())
        .map_err(link.during(format!("start VM {}", spec.name)))
}

/// The running clone.
pub fn running(link: &Link, clone: &CloneSpec) -> Result<Domain, PlatformError> {
    let gone = || PlatformError::NotFound {
        what: format!(
            "the clone {} (it has ended by itself, or its power was cut)",
            clone.spec.name
        ),
    };
    let domain = shadow::find(link, &clone.spec)?.ok_or_else(gone)?;
    if shadow::is_active(link, &domain)? {
        Ok(domain)
    } else {
        Err(gone())
    }
}

pub fn absent(link: &Link, clone: &CloneSpec) -> Result<(), PlatformError> {
    let spec = &clone.spec;
    shadow::check_names(spec)?;
    check_ours(&spec.owner.engine, [&clone.console_volume])?;
    if let Some(domain) = shadow::find(link, spec)? {
        match domain.destroy() {
            Ok(()) => {}
            // A transient machine that has ended is not there any more.
            Err(_) if shadow::find(link, spec)?.is_none() => {}
            Err(error) => return Err(link.during("power the clone off")(error)),
        }
    }
    let mut volumes: Vec<String> = spec
        .overlays
        .iter()
        .map(|overlay| overlay.volume.clone())
        .collect();
    volumes.push(clone.console_volume.clone());
    volumes_absent(link, &spec.storage, &volumes)
}

pub fn console(link: &Link, clone: &CloneSpec) -> Result<String, PlatformError> {
    check_ours(&clone.spec.owner.engine, [&clone.console_volume])?;
    let pool = link.storage(&clone.spec.storage)?;
    volumes::refresh(link, &pool)?;
    let Some(volume) = volumes::find(link, &pool, &clone.console_volume)? else {
        return Ok(String::new());
    };
    let mut text = Vec::new();
    Download::start(link, &volume, &clone.console_volume)?
        .take(MAX_CONSOLE_BYTES)
        .read_to_end(&mut text)
        .map_err(|error| PlatformError::Failed {
            what: "read the console".to_owned(),
            message: error.to_string(),
        })?;
    let start = text.len().saturating_sub(CONSOLE_BYTES);
    Ok(String::from_utf8_lossy(&text[start..]).into_owned())
}

/// Whether QEMU's own network has a connection to this port of the guest that the guest has taken.
///
/// QEMU takes connections to forwarded ports itself, whether or not the guest does.
pub fn takes(link: &Link, clone: &CloneSpec, guest_port: u16) -> Result<bool, PlatformError> {
    let domain = running(link, clone)?;
    let listed = domain
        .qemu_monitor_command("info usernet", sys::VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP)
        .map_err(link.during("look at the clone's connections"))?;
    Ok(is_taken(&listed, guest_port))
}

/// `TCP[ESTABLISHED]  31  127.0.0.1 43512  10.0.2.15 80  0 0`: state, descriptor, from, to, queues.
fn is_taken(listed: &str, guest_port: u16) -> bool {
    listed
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.first() == Some(&"TCP[ESTABLISHED]"))
        .any(|words| {
            words
                .get(5)
                .is_some_and(|port| port.parse() == Ok(guest_port))
        })
}

/// The digest of a layer on its target.
pub fn layer_digest(
    link: &Link,
    storage: &str,
    layer: &str,
    control: &Control,
) -> Result<String, PlatformError> {
    let pool = link.storage(storage)?;
    volumes::refresh(link, &pool)?;
    let volume = volumes::find(link, &pool, layer)?.ok_or_else(|| PlatformError::NotFound {
        what: format!("the layer {layer} on {}", link.source),
    })?;
    let mut reader = Digested::new(Download::start(link, &volume, layer)?);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        link.beat()?;
        control.check()?;
        let read = reader
            .read(&mut buffer)
            .map_err(|error| PlatformError::Failed {
                what: format!("read the layer {layer}"),
                message: error.to_string(),
            })?;
        if read == 0 {
            return Ok(reader.finish());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_connection_that_the_guest_has_taken_counts() {
        let listed = "Hub 0 (#net1):\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\n  \
            TCP[ESTABLISHED]   31       127.0.0.1 43512       10.0.2.15    80     0     0\n  \
            TCP[SYN_SENT]      32       127.0.0.1 43513       10.0.2.15    22     0     0\n  \
            TCP[HOST_FORWARD]  30       127.0.0.1 42000       10.0.2.15  8080     0     0\n";
        assert!(is_taken(listed, 80));
        assert!(!is_taken(listed, 22));
        assert!(!is_taken(listed, 8080));
        assert!(!is_taken("", 80));
    }
}
