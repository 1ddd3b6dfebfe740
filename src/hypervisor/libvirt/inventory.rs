//! One look at a host: its VMs, its disks' formats, its memory, CPUs and storage.

use std::collections::HashMap;

use virt::{
    connect::Connect,
    domain::{Domain, DomainState},
    storage_pool::StoragePool,
};
use virt_sys as sys;

use super::{
    backup_job, checkpoints,
    domain_xml::{self, DiskXml, DomainXml},
    host::now,
    raw,
    stats::{DiskSizes, Latest},
    volumes,
    worker::Link,
};
use crate::{
    hypervisor::PlatformError,
    inventory::{Disk, Inventory, Pool, PowerState, Role, Storage, Vm, size_name},
    replication,
    units::{EngineId, PoolId, VmId},
};

/// The host's CPU time at one moment, to tell how busy it is between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    pub idle_nanos: u64,
    pub total_nanos: u64,
}

/// What an inventory needs besides the connection.
pub struct Before {
    pub engine: EngineId,
    pub service_address: String,
    pub latest: Latest,
    pub cpu: Option<CpuTime>,
}

/// Looks at everything; also the CPU time for the next look.
pub fn take(link: &Link, before: &Before) -> Result<(Inventory, Option<CpuTime>), PlatformError> {
    let pool = PoolId::of(&link.source, link.source.as_str());
    let host = link
        .connect
        .hostname()
        .map_err(link.during("read the host's name"))?;
    let domains = link
        .connect
        .list_all_domains(0)
        .map_err(link.during("list VMs"))?;
    let mut vms = Vec::with_capacity(domains.len());
    for domain in &domains {
        link.beat()?;
        match vm(link, before, &pool, &host, domain) {
            // What merges layers or tries a point for a moment is no VM of anybody's.
            Ok(vm) if is_helper(&vm) => {}
            Ok(vm) => vms.push(vm),
            // It went away between the list and the look.
            Err(PlatformError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let cpu = cpu_time(&link.connect);
    let inventory = Inventory {
        at: now(),
        pools: vec![pool_of_host(link, before, pool, cpu)?],
        vms,
    };
    Ok((inventory, cpu))
}

fn is_helper(vm: &Vm) -> bool {
    vm.owner
        .as_ref()
        .is_some_and(|owner| replication::is_ours(&owner.engine, &vm.name))
}

fn vm(
    link: &Link,
    before: &Before,
    pool: &PoolId,
    host: &str,
    domain: &Domain,
) -> Result<Vm, PlatformError> {
    let xml = domain.xml_desc(0).map_err(link.during("VM"))?;
    let described = domain_xml::read(&xml)?;
    let (state, _) = domain.state().map_err(link.during("VM"))?;
    let state = power_state(state.known());
    let disks = described
        .disks
        .iter()
        .map(|disk| disk_of(link, before, domain, &described, disk, state))
        .collect::<Result<_, _>>()?;
    Ok(Vm {
        id: VmId::of(&link.source, &described.uuid),
        source: link.source.clone(),
        pool: pool.clone(),
        host: host.to_owned(),
        state,
        // libvirt counts instances up for as long as it runs, and past those it finds running when it starts.
        generation: described.id.unwrap_or(0),
        vcpus: described.vcpus,
        vcpus_max: described.vcpus_max,
        memory_bytes: described.memory_bytes,
        memory_max_bytes: described.memory_max_bytes,
        instance_type: size_name(described.vcpus, described.memory_bytes),
        disks,
        net_limit_bytes_per_sec: described.net_limit_bytes_per_sec,
        has_agent: described.has_agent,
        foreign_jobs: if before.latest.hung.contains(&described.uuid) {
            // Asking for its jobs would hang as well.
            Vec::new()
        } else {
            foreign_jobs(link, &before.engine, domain, &described)?
        },
        labels: described.labels,
        owner: described.owner,
        name: described.name,
    })
}

fn power_state(state: Option<DomainState>) -> PowerState {
    match state {
        Some(DomainState::Running | DomainState::Blocked | DomainState::Shutdown) => {
            PowerState::Running
        }
        Some(DomainState::Paused | DomainState::PMSuspended) => PowerState::Paused,
        Some(DomainState::Shutoff) => PowerState::Off,
        Some(DomainState::Crashed) => PowerState::Crashed,
        Some(DomainState::NoState) | None => PowerState::Unknown,
    }
}

fn disk_of(
    link: &Link,
    before: &Before,
    domain: &Domain,
    described: &DomainXml,
    disk: &DiskXml,
    state: PowerState,
) -> Result<Disk, PlatformError> {
    // A disk outside every pool has no volume; its size comes from QEMU or from its file then, its compat from nobody.
    let volume = volumes::describe_by_path(link, &disk.path)?;
    let key = (described.uuid.clone(), disk.target.clone());
    let sizes = match (&volume, before.latest.disks.get(&key)) {
        (Some(volume), _) => DiskSizes {
            capacity_bytes: volume.capacity_bytes,
            allocated_bytes: volume.allocated_bytes,
        },
        (None, Some(sizes)) => *sizes,
        // Asking a running QEMU here could hang on it; the next sample will tell.
        (None, None) if state != PowerState::Off => DiskSizes::default(),
        (None, None) => domain.block_info(&disk.target, 0).map_or_else(
            |error| {
                tracing::debug!(%error, disk = disk.target, "no size");
                DiskSizes::default()
            },
            |info| DiskSizes {
                capacity_bytes: info.capacity,
                allocated_bytes: info.allocation,
            },
        ),
    };
    Ok(Disk {
        target: disk.target.clone(),
        path: disk.path.clone(),
        format: disk.format,
        compat: volume.and_then(|volume| volume.compat),
        capacity_bytes: sizes.capacity_bytes,
        allocated_bytes: sizes.allocated_bytes,
        read_only: disk.read_only,
        limit_bytes_per_sec: disk.limit_bytes_per_sec,
    })
}

/// Checkpoints and jobs on the VM's disks that this engine did not make.
pub fn foreign_jobs(
    link: &Link,
    engine: &EngineId,
    domain: &Domain,
    described: &DomainXml,
) -> Result<Vec<String>, PlatformError> {
    let mut found = described.mirrors.clone();
    for name in checkpoints::names(link, domain)? {
        if !replication::is_ours(engine, &name) {
            found.push(format!("checkpoint `{name}`"));
        }
    }
    if described.id.is_some()
        && let Some(targets) = backup_job::targets(link, domain)?
        && !targets
            .iter()
            .all(|name| replication::is_ours(engine, name))
    {
        found.push("a backup job".to_owned());
    }
    Ok(found)
}

fn pool_of_host(
    link: &Link,
    before: &Before,
    id: PoolId,
    cpu: Option<CpuTime>,
) -> Result<Pool, PlatformError> {
    let node = link
        .connect
        .node_info()
        .map_err(link.during("read the host's size"))?;
    let memory_bytes = node.memory.saturating_mul(1024);
    Ok(Pool {
        name: link.source.as_str().to_owned(),
        id,
        source: link.source.clone(),
        role: Role::Both,
        hosts: 1,
        cpus: node.cpus,
        memory_bytes,
        memory_free_bytes: memory_free(&link.connect).unwrap_or(0).min(memory_bytes),
        cpu_used: before
            .cpu
            .zip(cpu)
            .and_then(|(from, to)| cpu_used(from, to)),
        contention: before.latest.contention,
        storage: storage(link)?,
        service_address: before.service_address.clone(),
    })
}

/// What new VMs can take: free memory and what the kernel gives back at once. `virNodeGetFreeMemory` leaves out caches.
fn memory_free(connect: &Connect) -> Option<u64> {
    let fields = raw::node_memory(connect)
        .inspect_err(|error| tracing::debug!(%error, "no memory statistics"))
        .ok()?;
    let free_kib = fields
        .iter()
        .filter(|(name, _)| matches!(&**name, "free" | "buffers" | "cached"))
        .fold(0_u64, |sum, (_, kib)| sum.saturating_add(*kib));
    Some(free_kib.saturating_mul(1024))
}

fn cpu_time(connect: &Connect) -> Option<CpuTime> {
    let fields: HashMap<String, u64> = raw::node_cpu(connect)
        .inspect_err(|error| tracing::debug!(%error, "no CPU statistics"))
        .ok()?
        .into_iter()
        .collect();
    let idle_nanos = fields
        .get("idle")?
        .checked_add(*fields.get("iowait").unwrap_or(&0))?;
    let busy: u64 = ["user", "kernel", "intr"]
        .iter()
        .filter_map(|name| fields.get(*name))
        .sum();
    Some(CpuTime {
        idle_nanos,
        total_nanos: idle_nanos.checked_add(busy)?,
    })
}

fn cpu_used(from: CpuTime, to: CpuTime) -> Option<f64> {
    let total = to.total_nanos.checked_sub(from.total_nanos)?;
    let idle = to.idle_nanos.checked_sub(from.idle_nanos)?;
    (total > 0).then(|| (1.0 - idle as f64 / total as f64).clamp(0.0, 1.0))
}

/// The directories that shadows can be kept in; not those that only pass increments on.
fn storage(link: &Link) -> Result<Vec<Storage>, PlatformError> {
    let mut found = Vec::new();
    for pool in directories(link)? {
        let name = pool.name().map_err(link.during("list storage"))?;
        if volumes::is_spool(&name) {
            continue;
        }
        let info = pool
            .info()
            .map_err(link.during(format!("storage {name}")))?;
        found.push(Storage {
            name,
            capacity_bytes: info.capacity,
            available_bytes: info.available,
        });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// All active pools that are directories on a file system.
pub fn directories(link: &Link) -> Result<Vec<StoragePool>, PlatformError> {
    let kinds = sys::VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE
        | sys::VIR_CONNECT_LIST_STORAGE_POOLS_DIR
        | sys::VIR_CONNECT_LIST_STORAGE_POOLS_FS
        | sys::VIR_CONNECT_LIST_STORAGE_POOLS_NETFS;
    link.connect
        .list_all_storage_pools(kinds)
        .map_err(link.during("list storage"))
}
