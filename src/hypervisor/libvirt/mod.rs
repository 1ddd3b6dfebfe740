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
    collections::BTreeMap,
    io::Read,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use virt_sys as sys;

use self::{
    address::Address,
    host::{DEADLINE, Host, LONG_DEADLINE},
    inventory::{Before, CpuTime},
    lease::Lease,
    stats::Stats,
    worker::{Link, Worker},
};
use super::{
    AgentAnswer, AgentQuestion, Claim, Control, Examination, Hypervisor, Observe, Owned,
    PlatformError, Readings,
};
use crate::{
    inventory::{Inventory, Owner},
    metrics::{Metric, Series},
    replication::{IncrementSpec, Manifest, Merge},
    shadow::{
        CloneSpec, ShadowSpec,
        promotion::{Fence, FenceFrom},
    },
    units::{EngineId, PoolId, SourceName, Timestamp, VmId},
};

mod address;
mod agent;
mod backup_job;
mod checkpoints;
mod clone;
mod domain_xml;
mod element;
mod error;
mod examine;
mod fence;
mod host;
mod increment;
mod inventory;
mod labels;
mod layers;
mod lease;
mod merge;
mod owned;
mod raw;
mod shadow;
mod shadow_xml;
mod spool;
mod stats;
mod volumes;
mod watchdog;
mod worker;

pub use raw::leave;
pub use watchdog::{run_watchdog, use_program as use_watchdog_program};

/// One libvirt host.
struct Libvirt {
    host: Host,
    stats: Stats,
    lease: Lease,
    /// The host's CPU time at the last inventory.
    cpu: Mutex<Option<CpuTime>>,
    /// Clones by uuid, each with the connection that it ends with.
    clones: Mutex<BTreeMap<String, Worker>>,
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
    raw::share_heaps();
    let host = Host::new(name, Address::parse(uri)?, engine);
    host.run("connect", LONG_DEADLINE, |_| Ok(()))?;
    Ok(Arc::new(Libvirt {
        host,
        stats: Stats::default(),
        lease: Lease::default(),
        cpu: Mutex::new(None),
        clones: Mutex::default(),
    }))
}

impl Libvirt {
    fn clones(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Worker>> {
        self.clones.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `call` on what is known of the clone.
    fn on_clone<T: Send + 'static>(
        &self,
        what: &str,
        clone: &CloneSpec,
        call: impl FnOnce(&Link, &CloneSpec) -> Result<T, PlatformError> + Send + 'static,
    ) -> Result<T, PlatformError> {
        check_engine(&self.host, &clone.spec.owner)?;
        let clone = clone.clone();
        self.host
            .run(what, LONG_DEADLINE, move |link| call(link, &clone))
    }

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

/// What `owner` may change here is what this engine made.
fn check_engine(host: &Host, owner: &Owner) -> Result<(), PlatformError> {
    if owner.engine == host.engine {
        Ok(())
    } else {
        Err(PlatformError::NotOurs {
            what: format!("what engine {} made", owner.engine),
        })
    }
}

impl Hypervisor for Libvirt {
    fn ensure_increment(
        &self,
        spec: &IncrementSpec,
        resume: bool,
        control: &Control,
    ) -> Result<Timestamp, PlatformError> {
        check_engine(&self.host, &spec.owner)?;
        let (spec, control) = (spec.clone(), control.clone());
        let uri = self.host.address.uri.clone();
        self.host
            .run("take an increment", LONG_DEADLINE, move |link| {
                increment::ensure(link, &uri, &spec, resume, &control)
            })
    }

    fn read_spool(
        &self,
        spec: &IncrementSpec,
        disk: usize,
    ) -> Result<Box<dyn Read + Send>, PlatformError> {
        check_engine(&self.host, &spec.owner)?;
        let spec = spec.clone();
        self.host.run("read a spool", LONG_DEADLINE, move |link| {
            let download = increment::read(link, &spec, disk)?;
            Ok(Box::new(download) as Box<dyn Read + Send>)
        })
    }

    fn ensure_increment_finished(&self, spec: &IncrementSpec) -> Result<(), PlatformError> {
        check_engine(&self.host, &spec.owner)?;
        let spec = spec.clone();
        self.host
            .run("finish an increment", LONG_DEADLINE, move |link| {
                increment::finished(link, &spec)
            })
    }

    fn ensure_increment_absent(&self, spec: &IncrementSpec) -> Result<(), PlatformError> {
        check_engine(&self.host, &spec.owner)?;
        let spec = spec.clone();
        self.host
            .run("drop an increment", LONG_DEADLINE, move |link| {
                increment::absent(link, &spec)
            })
    }

    fn ensure_replication_absent(&self, vm: &VmId, owner: &Owner) -> Result<(), PlatformError> {
        check_engine(&self.host, owner)?;
        let (vm, owner) = (vm.clone(), owner.clone());
        self.host
            .run("end replication", LONG_DEADLINE, move |link| {
                increment::replication_absent(link, &vm, &owner)
            })
    }

    fn ensure_paused(&self, fence: &Fence) -> Result<(), PlatformError> {
        check_engine(&self.host, &fence.owner)?;
        let fence = fence.clone();
        self.host
            .run("pause the primary", LONG_DEADLINE, move |link| {
                fence::ensure_paused(link, &fence)
            })
    }

    fn ensure_fenced(&self, fence: &Fence, from: FenceFrom) -> Result<(), PlatformError> {
        check_engine(&self.host, &fence.owner)?;
        let fence = fence.clone();
        self.host
            .run("power the primary off", LONG_DEADLINE, move |link| {
                fence::ensure_fenced(link, &fence, from)
            })
    }

    fn ensure_unfenced(&self, fence: &Fence) -> Result<(), PlatformError> {
        check_engine(&self.host, &fence.owner)?;
        let fence = fence.clone();
        self.host
            .run("start the primary", LONG_DEADLINE, move |link| {
                fence::ensure_unfenced(link, &fence)
            })
    }

    fn ensure_layer(
        &self,
        spec: &IncrementSpec,
        disk: usize,
        spool: &mut dyn Read,
        control: &Control,
    ) -> Result<u64, PlatformError> {
        check_engine(&self.host, &spec.owner)?;
        layers::ensure(&self.host, spec, disk, spool, control)
    }

    fn ensure_flattened(
        &self,
        _pool: &PoolId,
        storage: &str,
        layer: &str,
        flat: &str,
        control: &Control,
    ) -> Result<(), PlatformError> {
        let [storage, layer, flat] = [storage, layer, flat].map(str::to_owned);
        layers::check_ours(&self.host.engine, [&layer, &flat])?;
        self.host
            .run_unbounded("flatten a layer", control, move |link| {
                layers::flatten(link, &storage, &layer, &flat)
            })
    }

    fn ensure_merged(&self, merge: &Merge, control: &Control) -> Result<u64, PlatformError> {
        check_engine(&self.host, &merge.owner)?;
        let (merge, control) = (merge.clone(), control.clone());
        self.host.run("merge layers", LONG_DEADLINE, move |link| {
            merge::ensure(link, &merge, &control)
        })
    }

    fn ensure_volumes_absent(
        &self,
        owner: &Owner,
        _pool: &PoolId,
        storage: &str,
        volumes: &[String],
    ) -> Result<(), PlatformError> {
        check_engine(&self.host, owner)?;
        layers::check_ours(&owner.engine, volumes)?;
        let (storage, volumes) = (storage.to_owned(), volumes.to_vec());
        self.host.run("delete volumes", LONG_DEADLINE, move |link| {
            layers::volumes_absent(link, &storage, &volumes)
        })
    }

    fn ensure_manifest(&self, manifest: &Manifest) -> Result<(), PlatformError> {
        check_engine(&self.host, &manifest.owner)?;
        let manifest = manifest.clone();
        self.host
            .run("write the manifest", LONG_DEADLINE, move |link| {
                layers::ensure_manifest(link, &manifest)
            })
    }

    fn ensure_manifest_absent(&self, manifest: &Manifest) -> Result<(), PlatformError> {
        check_engine(&self.host, &manifest.owner)?;
        let manifest = manifest.clone();
        self.host
            .run("delete the manifest", LONG_DEADLINE, move |link| {
                layers::manifest_absent(link, &manifest)
            })
    }

    fn ensure_shadow(&self, spec: &ShadowSpec, model: &str) -> Result<(), PlatformError> {
        check_engine(&self.host, &spec.owner)?;
        let (spec, model) = (spec.clone(), model.to_owned());
        self.host
            .run("define the shadow", LONG_DEADLINE, move |link| {
                shadow::ensure(link, &spec, &model)
            })
    }

    fn ensure_overlays(&self, spec: &ShadowSpec) -> Result<(), PlatformError> {
        check_engine(&self.host, &spec.owner)?;
        let spec = spec.clone();
        self.host.run("renew overlays", LONG_DEADLINE, move |link| {
            shadow::ensure_overlays(link, &spec)
        })
    }

    fn ensure_power(
        &self,
        owner: &Owner,
        uuid: &str,
        on: bool,
        grace_seconds: u32,
    ) -> Result<(), PlatformError> {
        check_engine(&self.host, owner)?;
        let (owner, uuid) = (owner.clone(), uuid.to_owned());
        let grace = Duration::from_secs(grace_seconds.into());
        self.host
            .run("switch the shadow", LONG_DEADLINE, move |link| {
                shadow::ensure_power(link, &owner, &uuid, on, grace)
            })
    }

    fn ensure_shadow_absent(&self, spec: &ShadowSpec) -> Result<(), PlatformError> {
        check_engine(&self.host, &spec.owner)?;
        let spec = spec.clone();
        self.host
            .run("remove the shadow", LONG_DEADLINE, move |link| {
                shadow::absent(link, &spec)
            })
    }

    fn ensure_clone(&self, clone: &CloneSpec, model: &str) -> Result<(), PlatformError> {
        if self.clones().contains_key(&clone.spec.uuid) {
            // It was started by this process: one that has ended since did so by itself, and that is an answer too.
            return self.on_clone("look at the clone", clone, |link, clone| {
                clone::running(link, clone).map(drop)
            });
        }
        check_engine(&self.host, &clone.spec.owner)?;
        let (starting, model) = (clone.clone(), model.to_owned());
        let ((), worker) =
            self.host
                .run_keeping("start the clone", LONG_DEADLINE, move |link| {
                    clone::start(link, &starting, &model)
                })?;
        self.clones().insert(clone.spec.uuid.clone(), worker);
        Ok(())
    }

    fn ensure_clone_absent(&self, clone: &CloneSpec) -> Result<(), PlatformError> {
        self.on_clone("remove the clone", clone, clone::absent)?;
        self.clones().remove(&clone.spec.uuid);
        Ok(())
    }

    fn clone_console(&self, clone: &CloneSpec) -> Result<String, PlatformError> {
        self.on_clone("read the clone's console", clone, clone::console)
    }

    fn ask_agent(
        &self,
        clone: &CloneSpec,
        question: &AgentQuestion,
    ) -> Result<AgentAnswer, PlatformError> {
        let question = question.clone();
        self.on_clone("ask the guest agent", clone, move |link, clone| {
            agent::ask(link, &clone::running(link, clone)?, &question)
        })
    }

    fn clone_takes(&self, clone: &CloneSpec, guest_port: u16) -> Result<bool, PlatformError> {
        self.on_clone("look at the clone's ports", clone, move |link, clone| {
            clone::takes(link, clone, guest_port)
        })
    }

    fn layer_digest(
        &self,
        _pool: &PoolId,
        storage: &str,
        layer: &str,
        control: &Control,
    ) -> Result<String, PlatformError> {
        layers::check_ours(&self.host.engine, [&layer.to_owned()])?;
        let (storage, layer, control) = (storage.to_owned(), layer.to_owned(), control.clone());
        self.host.run("read a layer", LONG_DEADLINE, move |link| {
            clone::layer_digest(link, &storage, &layer, &control)
        })
    }

    fn ensure_lease(&self, claim: &Claim) -> Result<(), PlatformError> {
        self.lease.ensure(&self.host, claim)
    }

    fn release_lease(&self, _claim: &Claim) -> Result<(), PlatformError> {
        self.lease.release(&self.host)
    }

    fn definition(&self, vm: &VmId) -> Result<String, PlatformError> {
        let uuid = vm.uuid().to_owned();
        self.host
            .run("read a VM's definition", DEADLINE, move |link| {
                link.domain(&uuid)?
                    .xml_desc(sys::VIR_DOMAIN_XML_INACTIVE)
                    .map_err(link.during(format!("VM {uuid}")))
            })
    }
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
