//! libvirt: QEMU hosts over a local socket, ssh or TLS.
//!
//! ```text
//! Libvirt ─▶ Host ─▶ Worker (a thread and a connection) ─▶ Link ─▶ virt, raw
//!    │        idle connections, taken per call
//!    └─▶ Stats  the bulk call, alone on its connection; a second one while a guest hangs
//! ```
//!
//! Invariants: no caller waits past a deadline for a call that shows no life; what does not bear this engine's mark
//! is never changed; nothing but libvirt connections is needed on either side, and no path of this machine is used.

use std::{
    io::Read,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use self::{
    address::Address,
    host::{DEADLINE, Host, LONG_DEADLINE},
    inventory::{Before, CpuTime},
    stats::Stats,
};
use super::{Control, Examination, Hypervisor, Observe, Owned, PlatformError, Readings};
use crate::{
    inventory::{Inventory, Owner},
    metrics::{Metric, Series},
    replication::{IncrementSpec, Manifest},
    shadow::ShadowSpec,
    units::{EngineId, PoolId, SourceName, Timestamp, VmId},
};

mod address;
mod domain_xml;
mod error;
mod examine;
mod host;
mod inventory;
mod owned;
mod raw;
mod stats;
mod volumes;
mod worker;

/// One libvirt host.
struct Libvirt {
    host: Host,
    stats: Stats,
    /// The host's CPU time at the last inventory.
    cpu: Mutex<Option<CpuTime>>,
}

/// Opens `uri`.
///
/// # Errors
/// See [`super::connect`].
pub fn connect(
    name: &SourceName,
    uri: &str,
    engine: &EngineId,
) -> Result<Arc<dyn Hypervisor>, PlatformError> {
    let host = Host::new(name, Address::parse(uri)?, engine);
    host.run("connect", LONG_DEADLINE, |_| Ok(()))?;
    Ok(Arc::new(Libvirt {
        host,
        stats: Stats::default(),
        cpu: Mutex::new(None),
    }))
}

impl Libvirt {
    fn look(&self) -> Result<Inventory, PlatformError> {
        let mut last_cpu = self.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        let before = Before {
            engine: self.host.engine.clone(),
            service_address: self.host.address.service_address(),
            latest: self.stats.latest(),
            cpu: *last_cpu,
        };
        let (inventory, cpu) = self.host.run("take inventory", DEADLINE, move |link| {
            inventory::take(link, &before)
        })?;
        *last_cpu = cpu;
        Ok(inventory)
    }
}

/// Reading changes nothing, so a lost connection is worth a second try.
fn twice<T>(call: impl Fn() -> Result<T, PlatformError>) -> Result<T, PlatformError> {
    match call() {
        Err(PlatformError::Unreachable { .. }) => call(),
        result => result,
    }
}

impl Observe for Libvirt {
    fn examine(&self) -> Result<Examination, PlatformError> {
        let started = Instant::now();
        let inventory = self.inventory()?;
        let mut examination = self.host.run("examine", DEADLINE, move |link| {
            examine::look(link, &inventory)
        })?;
        examination.millis = started.elapsed().as_millis() as u64;
        Ok(examination)
    }

    fn inventory(&self) -> Result<Inventory, PlatformError> {
        twice(|| self.look())
    }

    fn sample(&self) -> Result<Readings, PlatformError> {
        twice(|| self.stats.sample(&self.host))
    }

    fn history(
        &self,
        _vm: &VmId,
        _metric: Metric,
        _from: Timestamp,
        _to: Timestamp,
        _step_seconds: u32,
    ) -> Result<Option<Series>, PlatformError> {
        Ok(None)
    }

    fn owned(&self, engine: &EngineId) -> Result<Vec<Owned>, PlatformError> {
        twice(|| {
            let engine = engine.clone();
            self.host.run("list what is ours", DEADLINE, move |link| {
                owned::list(link, &engine)
            })
        })
    }
}

impl Hypervisor for Libvirt {
    fn ensure_increment(
        &self,
        _s: &IncrementSpec,
        _r: bool,
        _c: &Control,
    ) -> Result<Timestamp, PlatformError> {
        later()
    }
    fn read_spool(
        &self,
        _s: &IncrementSpec,
        _d: usize,
    ) -> Result<Box<dyn Read + Send>, PlatformError> {
        later()
    }
    fn ensure_increment_finished(&self, _s: &IncrementSpec) -> Result<(), PlatformError> {
        later()
    }
    fn ensure_increment_absent(&self, _s: &IncrementSpec) -> Result<(), PlatformError> {
        later()
    }
    fn ensure_replication_absent(&self, _v: &VmId, _o: &Owner) -> Result<(), PlatformError> {
        later()
    }
    fn ensure_layer(
        &self,
        _s: &IncrementSpec,
        _d: usize,
        _r: &mut dyn Read,
        _c: &Control,
    ) -> Result<u64, PlatformError> {
        later()
    }
    fn ensure_flattened(
        &self,
        _p: &PoolId,
        _s: &str,
        _l: &str,
        _f: &str,
        _c: &Control,
    ) -> Result<(), PlatformError> {
        later()
    }
    fn ensure_volumes_absent(
        &self,
        _o: &Owner,
        _p: &PoolId,
        _s: &str,
        _v: &[String],
    ) -> Result<(), PlatformError> {
        later()
    }
    fn ensure_manifest(&self, _m: &Manifest) -> Result<(), PlatformError> {
        later()
    }
    fn ensure_manifest_absent(&self, _m: &Manifest) -> Result<(), PlatformError> {
        later()
    }
    fn ensure_shadow(&self, _s: &ShadowSpec, _m: &str) -> Result<(), PlatformError> {
        later()
    }
    fn ensure_overlays(&self, _s: &ShadowSpec) -> Result<(), PlatformError> {
        later()
    }
    fn ensure_power(&self, _o: &Owner, _u: &str, _on: bool, _g: u32) -> Result<(), PlatformError> {
        later()
    }
    fn ensure_shadow_absent(&self, _s: &ShadowSpec) -> Result<(), PlatformError> {
        later()
    }
    fn definition(&self, _v: &VmId) -> Result<String, PlatformError> {
        later()
    }
}
fn later<T>() -> Result<T, PlatformError> {
    Err(PlatformError::Unsupported {
        what: "changing".to_owned(),
        why: "not yet".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::PowerState;

    fn test_host() -> Arc<dyn Hypervisor> {
        connect(
            &SourceName::from("t"),
            "test:///default",
            &EngineId::from("0123456789"),
        )
        .unwrap()
    }

    #[test]
    fn the_test_drivers_host_is_one_pool_with_its_vm() {
        let inventory = test_host().inventory().unwrap();
        let [vm] = &inventory.vms[..] else {
            panic!("{:?}", inventory.vms);
        };
        assert_eq!(vm.name, "test");
        assert_eq!(vm.id.source().as_str(), "t");
        assert_eq!(vm.state, PowerState::Running);
        assert_eq!(vm.instance_type, "2 vCPU, 2 GiB");
        assert_eq!(vm.generation, 1);
        let [pool] = &inventory.pools[..] else {
            panic!("{:?}", inventory.pools);
        };
        assert_eq!((pool.name.as_str(), pool.hosts), ("t", 1));
        assert!(pool.cpus > 0 && pool.memory_bytes > 0);
        assert_eq!(pool.service_address, "127.0.0.1");
        assert!(
            pool.storage
                .iter()
                .any(|storage| storage.name == "default-pool")
        );
    }

    #[test]
    fn a_driver_without_counters_leaves_gaps() {
        let readings = test_host().sample().unwrap();
        assert_eq!(readings.readings.len(), 1);
        assert!(readings.hung.is_empty());
        assert_eq!(readings.readings[0].disk_bytes, None);
    }

    #[test]
    fn nothing_on_a_fresh_host_is_ours() {
        let engine = EngineId::from("0123456789");
        assert_eq!(test_host().owned(&engine).unwrap(), []);
    }

    #[test]
    fn an_examination_says_what_works() {
        let examination = test_host().examine().unwrap();
        assert!(examination.platform.contains("libvirt"), "{examination:?}");
        assert!(examination.findings.iter().any(|finding| finding.works));
    }

    #[test]
    fn hosts_that_are_not_there_are_unreachable_and_bad_addresses_are_named() {
        let open =
            |uri: &str| connect(&SourceName::from("x"), uri, &EngineId::from("e")).map(|_| ());
        let missing = open("qemu:///session?socket=/nonexistent/socket");
        assert!(
            matches!(missing, Err(PlatformError::Unreachable { .. })),
            "{missing:?}"
        );
        let bad = open("qemu+ssh://h/system?command=/bin/true");
        assert!(
            matches!(bad, Err(PlatformError::BadAddress { .. })),
            "{bad:?}"
        );
    }
}
