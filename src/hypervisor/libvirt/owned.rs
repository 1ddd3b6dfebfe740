//! What on a host bears an engine's mark: domains by their metadata, everything else by its generated name.

use super::{checkpoints, domain_xml, inventory, volumes, worker::Link};
use crate::{
    hypervisor::{Owned, PlatformError},
    replication,
    units::EngineId,
};

/// Everything of `engine` that stands on the host, sorted.
pub fn list(link: &Link, engine: &EngineId) -> Result<Vec<Owned>, PlatformError> {
    let mut found = Vec::new();
    let domains = link
        .connect
        .list_all_domains(0)
        .map_err(link.during("list VMs"))?;
    for domain in domains {
        link.beat()?;
        let xml = match domain.xml_desc(0).map_err(link.during("VM")) {
            Ok(xml) => xml,
            Err(PlatformError::NotFound { .. }) => continue,
            Err(error) => return Err(error),
        };
        let described = domain_xml::read(&xml)?;
        if described.owner.is_some_and(|owner| owner.engine == *engine) {
            found.push(owned("domain", described.name));
        } else if described.fenced_by.is_some_and(|by| by == *engine) {
            found.push(owned("mark", described.name));
        }
        for name in checkpoints::names(link, &domain)? {
            if replication::is_ours(engine, &name) {
                found.push(owned("checkpoint", name));
            }
        }
    }
    for pool in inventory::directories(link)? {
        link.beat()?;
        let name = pool.name().map_err(link.during("list storage"))?;
        volumes::refresh(link, &pool)?;
        for volume in volumes::names(link, &pool)? {
            if replication::is_ours(engine, &volume) {
                found.push(owned("volume", volume));
            }
        }
        if replication::is_ours(engine, &name) {
            found.push(owned("pool", name));
        }
    }
    found.sort();
    Ok(found)
}

fn owned(kind: &str, name: String) -> Owned {
    Owned {
        kind: kind.to_owned(),
        name,
    }
}
