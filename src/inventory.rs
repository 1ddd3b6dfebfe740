//! What exists: VMs with their disks, hosts grouped into pools, services behind balancers.

use serde::{Deserialize, Serialize};

use crate::units::{EngineId, OperationId, PoolId, ServiceName, SourceName, Timestamp, VmId};

/// What an operator lets a source be used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// VMs run here and may get shadows elsewhere.
    Primary,
    /// Shadows may be placed here.
    Secondary,
    #[default]
    Both,
}

impl Role {
    pub const fn takes_shadows(self) -> bool {
        matches!(self, Self::Secondary | Self::Both)
    }

    pub const fn has_primaries(self) -> bool {
        matches!(self, Self::Primary | Self::Both)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerState {
    Running,
    Paused,
    Off,
    Crashed,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskFormat {
    Qcow2,
    Raw,
    Other,
}

/// One block device of a VM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Disk {
    /// The guest-side name, for example `vda`.
    pub target: String,
    /// Where it lies on its platform; a file path on libvirt.
    pub path: String,
    pub format: DiskFormat,
    /// The qcow2 compatibility level (`1.1`); dirty bitmaps need it. `None` where not known.
    pub compat: Option<String>,
    pub capacity_bytes: u64,
    pub allocated_bytes: u64,
    pub read_only: bool,
    /// The operator's or the platform's throughput limit, reads and writes together.
    pub limit_bytes_per_sec: Option<u64>,
}

/// Marks what this engine made, so that nothing else is ever touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub engine: EngineId,
    pub operation: OperationId,
}

/// Something that a VM was marked with; a key may come more than once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// For example `title` or `instance/flavor@name`.
    pub key: String,
    pub value: String,
}

/// `2 vCPU, 4 GiB`; memory that is no whole number of GiB in MiB.
pub fn size_name(vcpus: u32, memory_bytes: u64) -> String {
    let mib = memory_bytes >> 20;
    if mib >= 1024 && mib.is_multiple_of(1024) {
        format!("{vcpus} vCPU, {} GiB", mib / 1024)
    } else {
        format!("{vcpus} vCPU, {mib} MiB")
    }
}

/// One VM as its platform describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vm {
    pub id: VmId,
    pub name: String,
    pub source: SourceName,
    pub pool: PoolId,
    pub host: String,
    pub state: PowerState,
    /// Changes whenever the VM is started anew; with `id` and `host` it tells one life from another.
    pub generation: u64,
    pub vcpus: u32,
    pub vcpus_max: u32,
    pub memory_bytes: u64,
    pub memory_max_bytes: u64,
    /// By the rules of the settings; where none fits, the platform's word or [`size_name`].
    pub instance_type: String,
    pub disks: Vec<Disk>,
    pub net_limit_bytes_per_sec: Option<u64>,
    /// A guest agent channel exists and answered.
    pub has_agent: bool,
    /// Checkpoints or block jobs on its disks that this engine did not make.
    pub foreign_jobs: Vec<String>,
    /// What the platform's people wrote beside it.
    #[serde(default)]
    pub labels: Vec<Label>,
    /// Set where this engine made the VM: a shadow.
    pub owner: Option<Owner>,
}

/// Where a pool keeps the disks of its VMs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    pub name: String,
    pub capacity_bytes: u64,
    pub available_bytes: u64,
}

/// A group of hosts that a VM can be placed in; on plain libvirt, one host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    pub id: PoolId,
    pub name: String,
    pub source: SourceName,
    pub role: Role,
    pub hosts: u32,
    pub cpus: u32,
    pub memory_bytes: u64,
    pub memory_free_bytes: u64,
    /// 0..=1 of the pool's CPUs in use by everything on it; `None` where not known.
    pub cpu_used: Option<f64>,
    /// 0..=1 of the time in which its VMs waited for a CPU; `None` where not known.
    pub contention: Option<f64>,
    pub storage: Vec<Storage>,
    /// The address under which services on its shadows are reached.
    pub service_address: String,
}

/// One look at a platform.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    pub at: Timestamp,
    pub pools: Vec<Pool>,
    pub vms: Vec<Vm>,
}

/// What a service's traffic allows; a clone may serve only the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceKind {
    Stateless,
    /// Only requests that change nothing (GET, HEAD) may reach a shadow.
    ReadOnly,
    Stateful,
}

/// Which balancer server stands for which VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceMember {
    pub vm: VmId,
    pub server: String,
}

/// A service that a balancer spreads over VMs, as `service map` declared it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub name: ServiceName,
    pub kind: ServiceKind,
    /// The balancer source.
    pub director: SourceName,
    pub backend: String,
    pub members: Vec<ServiceMember>,
    /// The TCP port that the service listens on inside the guest.
    pub guest_port: u16,
    /// The guest's static address with prefix (`192.0.2.10/24`); `None` where the guest uses DHCP or 10.0.2.15.
    pub guest_address: Option<String>,
    /// The path of the health probe, for example `/`.
    pub probe_path: String,
    /// Whether shadows of this service may open connections outward.
    pub outbound_allowed: bool,
    /// The balancer's map that leads GET and HEAD to `backend` and the rest elsewhere, for a read-only service.
    #[serde(default)]
    pub method_map: Option<String>,
}

impl Service {
    /// Whether a copy that forgets its writes may answer for it.
    pub const fn allows_clone(&self) -> bool {
        match self.kind {
            ServiceKind::Stateless => true,
            // Without routing by method the copy would get requests that write.
            ServiceKind::ReadOnly => self.method_map.is_some(),
            ServiceKind::Stateful => false,
        }
    }
}
