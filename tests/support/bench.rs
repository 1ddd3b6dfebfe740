//! Two hosts of a lab behind the seams, and the names of one replica between them.
#![allow(
    dead_code,
    reason = "each test program uses the part of it that it needs"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use shadowcast::{
    hypervisor::{Control, Hypervisor, PlatformError, connect},
    inventory::{Inventory, Owner, Vm},
    replication::{DiskIncrement, IncrementSpec},
    units::{EngineId, OperationId, PoolId, ShadowId, SourceName},
};
use virt::connect::Connect;

use crate::support::Lab;

pub const ENGINE: &str = "0123abcd-4567";
pub const STORAGE: &str = "shadow";
pub const A_WHILE: Duration = Duration::from_mins(2);

pub struct Bench {
    pub lab: Lab,
    pub source: Arc<dyn Hypervisor>,
    pub target: Arc<dyn Hypervisor>,
}

impl Bench {
    pub fn start(test: &str, old_disk: bool) -> Option<Self> {
        let lab = Lab::start_with(test, |options| options.old_disk = old_disk)?;
        let open = |name: &str| {
            connect(
                &SourceName::from(name),
                lab.uri(name),
                &EngineId::from(ENGINE),
            )
            .unwrap()
        };
        Some(Self {
            source: open("primary"),
            target: open("secondary"),
            lab,
        })
    }

    pub fn vm(&self, name: &str) -> Vm {
        named(&self.source.inventory().unwrap(), name)
    }

    /// One whole cycle; returns the bytes that travelled.
    pub fn cycle(&self, spec: &IncrementSpec) -> u64 {
        self.source
            .ensure_increment(spec, false, &Control::default())
            .unwrap();
        let bytes = self.ship(spec).unwrap();
        self.source.ensure_increment_finished(spec).unwrap();
        bytes
    }

    pub fn ship(&self, spec: &IncrementSpec) -> Result<u64, PlatformError> {
        let mut spool = self.source.read_spool(spec, 0)?;
        self.target
            .ensure_layer(spec, 0, &mut spool, &Control::default())
    }

    pub fn layer(&self, name: &str) -> PathBuf {
        self.lab.dir.join("secondary/shadow").join(name)
    }

    pub fn domain(&self, host: &str, vm: &Vm) -> virt::domain::Domain {
        Connect::open(Some(self.lab.uri(host)))
            .unwrap()
            .lookup_domain_by_uuid_string(vm.id.uuid())
            .unwrap()
    }

    /// Ends replication of `vm` and checks that nothing stays.
    pub fn retire(&self, vm: &Vm, layers: &[&IncrementSpec]) {
        self.source
            .ensure_replication_absent(&vm.id, &owner())
            .unwrap();
        let volumes: Vec<String> = layers
            .iter()
            .flat_map(|spec| &spec.disks)
            .map(|disk| disk.layer_volume.clone())
            .collect();
        let pool = PoolId::from("secondary/secondary");
        for _ in 0..2 {
            self.target
                .ensure_volumes_absent(&owner(), &pool, STORAGE, &volumes)
                .unwrap();
        }
        assert_eq!(names(&*self.source), [""; 0]);
        assert_eq!(names(&*self.target), [""; 0]);
    }
}

pub fn increment(vm: &Vm, number: u64, parent: Option<&IncrementSpec>) -> IncrementSpec {
    let disks = vm.disks.iter().enumerate().map(|(i, disk)| DiskIncrement {
        target: disk.target.clone(),
        capacity_bytes: disk.capacity_bytes,
        spool_volume: format!("sc-0123abcd-s1-{number}-{}", disk.target),
        layer_volume: format!("sc-0123abcd-s1-{number}-{}.qcow2", disk.target),
        backing_volume: parent.map(|parent| parent.disks[i].layer_volume.clone()),
    });
    IncrementSpec {
        owner: owner(),
        shadow: ShadowId::from("s1"),
        vm: vm.id.clone(),
        number,
        checkpoint: format!("sc-0123abcd-s1-{number}"),
        parent_checkpoint: parent.map(|parent| parent.checkpoint.clone()),
        freeze: false,
        target_pool: PoolId::from("secondary/secondary"),
        target_storage: STORAGE.to_owned(),
        disks: disks.collect(),
    }
}

pub fn names(host: &dyn Hypervisor) -> Vec<String> {
    let owned = host.owned(&EngineId::from(ENGINE)).unwrap();
    owned.into_iter().map(|owned| owned.name).collect()
}

pub fn owner() -> Owner {
    Owner {
        engine: EngineId::from(ENGINE),
        operation: OperationId::from("op-00000001"),
    }
}

pub fn named(inventory: &Inventory, name: &str) -> Vm {
    let found = inventory.vms.iter().find(|vm| vm.name == name);
    found
        .unwrap_or_else(|| panic!("{name} in {inventory:?}"))
        .clone()
}

/// `qemu-img compare` over both chains.
pub fn identical(a: &Path, b: &Path) {
    let output = Command::new("qemu-img")
        .args(["compare", "-U", "-f", "qcow2", "-F", "qcow2"])
        .args([a, b])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{} {}: {}{}",
        a.display(),
        b.display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

pub fn digest(file: &Path) -> Vec<u8> {
    use sha2::Digest as _;
    sha2::Sha256::digest(fs::read(file).unwrap()).to_vec()
}
