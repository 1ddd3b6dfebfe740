//! The suite on real libvirt hosts. One test for all behaviours: a lab for each would take longer than they do.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use shadowcast::{
    hypervisor::{Hypervisor, connect},
    replication::IncrementSpec,
    units::{PoolId, SourceName, Timestamp, VmId},
};
use virt::{connect::Connect, domain::Domain, storage_vol::StorageVol};

use crate::{
    suite::{self, Harness, us},
    support::{Lab, await_that},
};

const GUEST: &str = "shop-1";
const STORAGE: &str = "shadow";
const A_WHILE: Duration = Duration::from_mins(2);

struct Real {
    lab: Lab,
    source: Arc<dyn Hypervisor>,
    target: Arc<dyn Hypervisor>,
    vm: VmId,
    disks: Vec<(String, PathBuf)>,
}

impl Real {
    fn start(test: &str) -> Option<Self> {
        let lab = Lab::start(test)?;
        let open =
            |host: &str| connect(&SourceName::from(host), lab.uri(host), &us().engine).unwrap();
        let (source, target) = (open("primary"), open("secondary"));
        let vms = source.inventory().unwrap().vms;
        let vm = vms.into_iter().find(|vm| vm.name == GUEST).unwrap();
        let disks = vm.disks.iter();
        Some(Self {
            disks: disks
                .map(|disk| (disk.target.clone(), PathBuf::from(&disk.path)))
                .collect(),
            vm: vm.id,
            lab,
            source,
            target,
        })
    }

    fn on(&self, host: &str) -> Connect {
        Connect::open(Some(self.lab.uri(host))).unwrap()
    }

    fn domain(&self) -> Domain {
        let connect = self.on("primary");
        connect
            .lookup_domain_by_uuid_string(self.vm.uuid())
            .unwrap()
    }

    /// What the guest has written to its first disk since it was started.
    fn written_bytes(&self) -> i64 {
        let (target, _) = &self.disks[0];
        self.domain().block_stats(target).unwrap().wr_bytes
    }
}

impl Harness for Real {
    fn source(&self) -> &dyn Hypervisor {
        &*self.source
    }

    fn target(&self) -> &dyn Hypervisor {
        &*self.target
    }

    fn vm(&self) -> VmId {
        self.vm.clone()
    }

    fn place(&self) -> (PoolId, String) {
        (PoolId::from("secondary/secondary"), STORAGE.to_owned())
    }

    fn let_it_write(&self) {
        let before = self.written_bytes();
        await_that("the guest writes", A_WHILE, || {
            (self.written_bytes() > before).then_some(())
        });
    }

    fn hold(&self) {
        self.domain().suspend().unwrap();
    }

    fn release(&self) {
        self.domain().resume().unwrap();
    }

    fn holds(&self, spec: &IncrementSpec, _taken_at: Timestamp) -> bool {
        spec.disks.iter().all(|disk| {
            let (_, primary) = self
                .disks
                .iter()
                .find(|(target, _)| *target == disk.target)
                .unwrap();
            let layers = self.lab.dir.join("secondary").join(STORAGE);
            identical(primary, &layers.join(&disk.layer_volume))
        })
    }

    fn plant_volume(&self, name: &str) {
        let connect = self.on("secondary");
        let pool = connect.lookup_storage_pool_by_name(STORAGE).unwrap();
        let xml = format!(
            "<volume><name>{name}</name><capacity>4096</capacity><target><format type='raw'/></target></volume>"
        );
        StorageVol::create_xml(&pool, &xml, 0).unwrap();
    }

    fn has_volume(&self, name: &str) -> bool {
        let connect = self.on("secondary");
        let pool = connect.lookup_storage_pool_by_name(STORAGE).unwrap();
        pool.lookup_storage_vol_by_name(name).is_ok()
    }

    fn foreign_vm(&self) -> (String, String) {
        let (name, uuid) = ("theirs", "0ddba11e-0000-4000-8000-000000000001");
        let xml = format!(
            "<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>64</memory>
             <os><type arch='x86_64'>hvm</type></os></domain>"
        );
        self.on("secondary").define_domain_xml(&xml).unwrap();
        (name.to_owned(), uuid.to_owned())
    }
}

fn identical(a: &Path, b: &Path) -> bool {
    let output = Command::new("qemu-img")
        .args(["compare", "-U", "-f", "qcow2", "-F", "qcow2"])
        .args([a, b])
        .output()
        .unwrap();
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    output.status.success()
}

macro_rules! each {
    ($harness:expr; $($behaviour:ident),* $(,)?) => {
        $(eprintln!("{}", stringify!($behaviour));
        suite::$behaviour($harness);)*
    };
}

#[test]
fn real_hosts_keep_the_contract() {
    let Some(real) = Real::start("real_hosts_keep_the_contract") else {
        return;
    };
    each!(&real;
        the_inventory_has_the_vm_with_its_disks,
        counters_grow_between_two_samples,
        a_full_copy_and_two_increments_hold_what_the_disk_held,
        a_finished_increment_leaves_one_checkpoint_and_no_spool,
        an_abandoned_increment_leaves_nothing_and_loses_nothing,
        a_cycle_done_twice_is_a_cycle_done_once,
        a_complete_spool_is_kept_for_whoever_resumes,
        a_cancelled_copy_says_so_and_can_be_cleared,
        a_stream_that_breaks_off_makes_no_layer_and_can_be_shipped_again,
        a_flattened_chain_needs_nothing_under_it,
        merged_layers_hold_what_the_point_held,
        nothing_is_merged_under_a_running_shadow,
        a_clone_comes_and_goes_without_a_trace,
        a_shadow_is_defined_started_stopped_and_removed_each_twice,
        a_running_shadow_keeps_its_overlays,
        a_shadow_without_its_layer_is_not_defined,
        a_vm_that_we_did_not_make_is_left_alone,
        the_shadow_of_another_engine_is_left_alone,
        what_does_not_exist_is_not_found,
        a_paused_primary_can_still_be_read_and_is_let_go,
        a_primary_that_runs_on_is_not_powered_off_by_its_last_delta,
        a_primary_that_somebody_paused_is_left_alone,
        a_fenced_primary_is_off_until_it_is_let_go,
    );
    let other = connect(
        &SourceName::from("primary"),
        real.lab.uri("primary"),
        &us().engine,
    )
    .unwrap();
    suite::one_console_at_a_time_may_change_a_host(real.source(), &*other, &|stale| {
        // Only time makes a holder stale.
        std::thread::sleep(stale);
    });
    each!(&real;
        // Last: the strangers' volumes stay in the lab.
        a_volume_that_we_did_not_make_stays,
    );
}
