//! The suite on the simulated platform, and what only a simulation can show: faults, load that moves, lost bitmaps.

use std::{io::Read, sync::Arc, time::Duration};

use shadowcast::{
    hypervisor::{
        Control, Hypervisor, PlatformError,
        simulated::{Clock, FaultKind, FaultRule, Fleet, FleetSpec, Sickness, Verb, VirtualClock},
    },
    inventory::{DiskFormat, Vm},
    metrics::{Metric, Reading},
    replication::IncrementSpec,
    traffic::ServerSpec,
    units::{PoolId, SourceName, Timestamp, VmId, Weight},
    validation::Probe,
};

use crate::suite::{Harness, clear, point, shadow_on, ship, spool, us};

const START: Timestamp = Timestamp(1_795_357_920_000);
const GIB: u64 = 1 << 30;

/// `checkout-api-07` on `dc1`, with layers going to `dc2-cl01`.
struct Simulated {
    fleet: Fleet,
    clock: Arc<VirtualClock>,
    source: Arc<dyn Hypervisor>,
    target: Arc<dyn Hypervisor>,
    vm: Vm,
}

fn reading(platform: &dyn Hypervisor, vm: &VmId) -> Option<Reading> {
    let sample = platform.sample().unwrap();
    sample.readings.into_iter().find(|known| known.vm == *vm)
}

impl Simulated {
    fn new() -> Self {
        let clock = Arc::new(VirtualClock::new(START));
        let fleet = Fleet::new(FleetSpec::demo(400, 1), clock.clone());
        let source = fleet.hypervisor(&SourceName::from("dc1")).unwrap();
        let target = fleet.hypervisor(&SourceName::from("dc2")).unwrap();
        let vms = source.inventory().unwrap().vms;
        let vm = vms
            .into_iter()
            .find(|vm| vm.name == "checkout-api-07")
            .unwrap();
        Self {
            fleet,
            clock,
            source,
            target,
            vm,
        }
    }

    fn pool(&self) -> PoolId {
        self.place().0
    }

    /// 0..=1 of a VM's vCPUs over the next minute.
    fn cpu(&self, platform: &dyn Hypervisor, vm: &VmId) -> f64 {
        let before = reading(platform, vm).unwrap();
        self.clock.advance(60_000);
        let after = reading(platform, vm).unwrap();
        (after.cpu_nanos.unwrap() - before.cpu_nanos.unwrap()) as f64
            / (60e9 * f64::from(after.vcpus))
    }
}

impl Harness for Simulated {
    fn source(&self) -> &dyn Hypervisor {
        &*self.source
    }

    fn target(&self) -> &dyn Hypervisor {
        &*self.target
    }

    fn vm(&self) -> VmId {
        self.vm.id.clone()
    }

    fn place(&self) -> (PoolId, String) {
        (PoolId::from("dc2/dc2-cl01"), "images".to_owned())
    }

    fn let_it_write(&self) {
        self.clock.advance(60_000);
    }

    // A disk can be asked for what it held at any moment.
    fn hold(&self) {}

    fn release(&self) {}

    fn holds(&self, spec: &IncrementSpec, taken_at: Timestamp) -> bool {
        spec.disks.iter().all(|disk| {
            self.fleet
                .compare(
                    &spec.vm,
                    &disk.target,
                    taken_at,
                    &spec.target_pool,
                    &disk.layer_volume,
                )
                .unwrap()
                .identical()
        })
    }

    fn plant_volume(&self, name: &str) {
        self.fleet.plant_volume(&self.pool(), name);
    }

    fn has_volume(&self, name: &str) -> bool {
        self.fleet.has_volume(&self.pool(), name)
    }

    fn foreign_vm(&self) -> (String, String) {
        let vm = self.target.inventory().unwrap().vms.swap_remove(0);
        (vm.name, vm.id.uuid().to_owned())
    }
}

crate::contract_tests!(Simulated::new();
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
    a_volume_that_we_did_not_make_stays,
    a_vm_that_we_did_not_make_is_left_alone,
    the_shadow_of_another_engine_is_left_alone,
    what_does_not_exist_is_not_found,
    a_paused_primary_can_still_be_read_and_is_let_go,
    a_primary_that_runs_on_is_not_powered_off_by_its_last_delta,
    a_fenced_primary_is_off_until_it_is_let_go,
);

fn lost_reply() -> PlatformError {
    PlatformError::Timeout {
        what: "the platform".to_owned(),
        seconds: 30,
    }
}

#[test]
fn the_comparison_sees_an_increment_that_was_left_out() {
    let lab = Simulated::new();
    let first = point(&lab, 0);
    spool(&lab, &first);
    ship(&lab, &first);
    lab.let_it_write();
    let skipped = point(&lab, 1);
    spool(&lab, &skipped);
    lab.let_it_write();
    let mut last = point(&lab, 2);
    let at = spool(&lab, &last);
    for (disk, below) in last.disks.iter_mut().zip(&first.disks) {
        disk.backing_volume = Some(below.layer_volume.clone());
    }
    ship(&lab, &last);
    assert!(!lab.holds(&last, at));
}

#[test]
fn one_console_at_a_time_may_change_a_host() {
    let lab = Simulated::new();
    let other = lab.fleet.hypervisor(&SourceName::from("dc1")).unwrap();
    crate::suite::one_console_at_a_time_may_change_a_host(&*lab.source, &*other, &|stale| {
        lab.clock.advance(stale.as_millis() as u64);
    });
}

#[test]
fn a_fault_before_changes_nothing_and_one_after_loses_only_the_reply() {
    let lab = Simulated::new();
    let spec = point(&lab, 0);
    let begin = || {
        lab.source
            .ensure_increment(&spec, false, &Control::default())
    };
    let engine = us().engine;

    lab.fleet.fault(FaultRule::next(
        Verb::EnsureIncrement,
        FaultKind::FailBefore(lost_reply()),
    ));
    assert_eq!(begin(), Err(lost_reply()));
    assert_eq!(lab.fleet.leftovers(&engine), []);

    lab.fleet.fault(FaultRule::next(
        Verb::EnsureIncrement,
        FaultKind::FailAfter(lost_reply()),
    ));
    assert_eq!(begin(), Err(lost_reply()));
    assert!(lab.source.read_spool(&spec, 0).is_ok());

    assert_eq!(lab.fleet.calls(Verb::EnsureIncrement), 2);
    clear(&lab, &[&spec]);
}

#[test]
fn a_job_that_never_ended_is_seen_and_begun_anew() {
    let lab = Simulated::new();
    let spec = point(&lab, 0);
    lab.fleet.fault(FaultRule::next(
        Verb::EnsureIncrement,
        FaultKind::FailMidway(lost_reply()),
    ));
    let begin = |spec, resume| {
        lab.source
            .ensure_increment(spec, resume, &Control::default())
    };
    assert_eq!(begin(&spec, false), Err(lost_reply()));
    let owned = lab.source.owned(&us().engine).unwrap();
    assert!(owned.iter().any(|owned| owned.kind == "job"), "{owned:?}");
    assert!(lab.source.read_spool(&spec, 0).is_err());
    let other = IncrementSpec {
        checkpoint: format!("{}-b", spec.checkpoint),
        ..spec.clone()
    };
    assert!(matches!(
        begin(&other, false),
        Err(PlatformError::Busy { .. })
    ));
    let at = begin(&spec, true).unwrap();
    ship(&lab, &spec);
    assert!(lab.holds(&spec, at));
    clear(&lab, &[&spec]);
}

#[test]
fn a_rule_counts_the_calls_of_its_source() {
    let lab = Simulated::new();
    lab.fleet.fault(FaultRule {
        source: Some(SourceName::from("dc2")),
        verb: Verb::Inventory,
        skip: 1,
        count: 2,
        kind: FaultKind::FailBefore(lost_reply()),
    });
    let outcomes: Vec<bool> = (0..5).map(|_| lab.target.inventory().is_ok()).collect();
    assert_eq!(outcomes, [true, false, false, true, true]);
    assert!(lab.source.inventory().is_ok());
}

#[test]
fn a_hang_takes_its_time() {
    let lab = Simulated::new();
    let before = lab.clock.now();
    lab.fleet.fault(FaultRule::next(
        Verb::Sample,
        FaultKind::Hang { millis: 9_000 },
    ));
    assert!(lab.source.sample().is_ok());
    assert_eq!(lab.clock.now(), before.plus_secs(9));
}

#[test]
fn a_source_that_is_cut_off_does_nothing_until_it_is_back() {
    let lab = Simulated::new();
    let name = SourceName::from("dc1");
    lab.fleet.set_unreachable(&name, Some("no route to host"));
    let outcome = lab.source.inventory();
    assert!(matches!(outcome, Err(PlatformError::Unreachable { .. })));
    lab.fleet.set_unreachable(&name, None);
    assert!(lab.source.inventory().is_ok());
}

#[test]
fn lost_bitmaps_ask_for_a_full_copy_which_holds_again() {
    let lab = Simulated::new();
    let first = point(&lab, 0);
    spool(&lab, &first);
    lab.fleet.lose_bitmaps(&lab.vm.id);
    lab.let_it_write();
    let next = point(&lab, 1);
    let refused = lab
        .source
        .ensure_increment(&next, false, &Control::default());
    assert!(matches!(refused, Err(PlatformError::CheckpointLost { .. })));
    let mut full = IncrementSpec {
        parent_checkpoint: None,
        ..next
    };
    full.disks
        .iter_mut()
        .for_each(|disk| disk.backing_volume = None);
    let at = spool(&lab, &full);
    ship(&lab, &full);
    assert!(lab.holds(&full, at));
    clear(&lab, &[&first, &full]);
}

#[test]
fn a_full_target_refuses_the_layer_and_a_full_source_the_spool() {
    let lab = Simulated::new();
    let spec = point(&lab, 0);
    lab.fleet.set_free_space(&lab.vm.pool, Some(GIB));
    let refused = lab
        .source
        .ensure_increment(&spec, false, &Control::default());
    assert!(matches!(refused, Err(PlatformError::NoSpace { .. })));
    assert_eq!(lab.fleet.leftovers(&us().engine), []);

    lab.fleet.set_free_space(&lab.vm.pool, None);
    spool(&lab, &spec);
    lab.fleet.set_free_space(&lab.pool(), Some(GIB));
    let mut stream = lab.source.read_spool(&spec, 0).unwrap();
    let refused = lab
        .target
        .ensure_layer(&spec, 0, &mut stream, &Control::default());
    assert!(matches!(refused, Err(PlatformError::NoSpace { .. })));
    assert_eq!(lab.target.owned(&us().engine).unwrap(), []);
    clear(&lab, &[&spec]);
}

#[test]
fn a_spool_that_breaks_off_on_its_way_is_an_error_of_the_reader() {
    let lab = Simulated::new();
    let spec = point(&lab, 0);
    spool(&lab, &spec);
    lab.fleet.fault(FaultRule::next(
        Verb::ReadSpool,
        FaultKind::FailMidway(lost_reply()),
    ));
    let mut stream = lab.source.read_spool(&spec, 0).unwrap();
    let mut bytes = Vec::new();
    assert!(stream.read_to_end(&mut bytes).is_err());
    assert!(!bytes.is_empty());
}

#[test]
fn a_disk_without_dirty_bitmaps_is_refused() {
    let lab = Simulated::new();
    let clock = Arc::new(VirtualClock::new(START));
    let fleet = Fleet::new(FleetSpec::demo(2_000, 1), clock);
    let source = fleet.hypervisor(&SourceName::from("dc1")).unwrap();
    let vms = source.inventory().unwrap().vms;
    let raw = vms
        .iter()
        .find(|vm| vm.disks[0].format == DiskFormat::Raw)
        .unwrap();
    let spec = IncrementSpec {
        vm: raw.id.clone(),
        ..point(&lab, 0)
    };
    let refused = source.ensure_increment(&spec, false, &Control::default());
    assert!(matches!(refused, Err(PlatformError::Unsupported { .. })));
}

/// A started shadow of the lab's VM, and its server at the balancer at weight 0.
fn serving(lab: &Simulated) -> (IncrementSpec, VmId, ServerSpec) {
    let spec = point(lab, 0);
    spool(lab, &spec);
    ship(lab, &spec);
    let mut shadow = shadow_on(&spec);
    shadow.vcpus = lab.vm.vcpus / 2;
    let model = lab.source.definition(&shadow.of).unwrap();
    lab.target.ensure_shadow(&shadow, &model).unwrap();
    lab.target
        .ensure_power(&shadow.owner, &shadow.uuid, true, 5)
        .unwrap();
    let server = ServerSpec {
        backend: "checkout".to_owned(),
        server: "scc0ffee00s1".to_owned(),
        address: shadow.network.address.clone(),
        port: shadow.network.port,
        check_interval_millis: 500,
    };
    lab.fleet.director().ensure_server(&server).unwrap();
    let id = VmId::of(&SourceName::from("dc2"), &shadow.uuid);
    (spec, id, server)
}

#[test]
fn a_share_of_traffic_is_a_share_of_load() {
    let lab = Simulated::new();
    let (_, shadow, server) = serving(&lab);
    let director = lab.fleet.director();
    // After its boot.
    lab.clock.advance(10_000);
    let alone = lab.cpu(&*lab.source, &lab.vm.id);
    assert!(lab.cpu(&*lab.target, &shadow) < 0.05);

    let split = [
        ("checkout-api-07".to_owned(), Weight(60)),
        (server.server.clone(), Weight(40)),
    ];
    director.ensure_weights("checkout", &split).unwrap();
    let primary = lab.cpu(&*lab.source, &lab.vm.id);
    let beside = lab.cpu(&*lab.target, &shadow);
    // It rises a little in these minutes by itself.
    assert!((primary / alone - 0.6).abs() < 0.05, "{primary} of {alone}");
    // The shadow has half of the vCPUs.
    assert!((beside / alone - 0.8).abs() < 0.08, "{beside} of {alone}");

    // What history says of that time is the same.
    lab.clock.advance(600_000);
    let now = lab.clock.now();
    let series = lab
        .source
        .history(&lab.vm.id, Metric::Cpu, now.plus_secs(-300), now, 60)
        .unwrap()
        .unwrap();
    assert!(f64::from(series.values[0]) < alone * 0.75, "{series:?}");

    director
        .ensure_server_absent("checkout", &server.server)
        .unwrap();
    director
        .ensure_weights("checkout", &[("checkout-api-07".to_owned(), Weight(100))])
        .unwrap();
    assert!(lab.cpu(&*lab.source, &lab.vm.id) > alone * 0.95);
}

#[test]
fn requests_land_by_weight_and_a_sick_shadow_fails_them() {
    let lab = Simulated::new();
    let (_, shadow, server) = serving(&lab);
    lab.clock.advance(10_000);
    let director = lab.fleet.director();
    let split = [
        ("checkout-api-07".to_owned(), Weight(75)),
        (server.server.clone(), Weight(25)),
    ];
    director.ensure_weights("checkout", &split).unwrap();
    let counts = || {
        let reading = director.read().unwrap();
        let of = |name: &str| {
            let found = reading.servers.iter().find(|known| known.server == name);
            let found = found.unwrap();
            (found.requests_total as f64, found.errors_total as f64)
        };
        (of("checkout-api-07"), of(&server.server))
    };
    let (primary, beside) = counts();
    lab.clock.advance(60_000);
    let (primary_after, beside_after) = counts();
    let share = beside_after.0 - beside.0;
    let both = share + primary_after.0 - primary.0;
    assert!((share / both - 0.25).abs() < 0.005, "{share} of {both}");

    lab.fleet.sicken(
        &shadow,
        Some(Sickness {
            error_ratio: 0.5,
            response_millis: 2_000.0,
        }),
    );
    lab.clock.advance(60_000);
    let (_, sick) = counts();
    let ratio = (sick.1 - beside_after.1) / (sick.0 - beside_after.0);
    assert!((ratio - 0.5).abs() < 0.02, "{ratio}");
}

#[test]
fn a_shadow_answers_after_its_boot_and_not_after_its_crash() {
    let lab = Simulated::new();
    let (_, shadow, server) = serving(&lab);
    let probe = Probe::Http {
        address: server.address.clone(),
        port: server.port,
        path: "/health".to_owned(),
    };
    let prober = lab.fleet.prober();
    let asks = || prober.probe(&probe, Duration::from_secs(1));
    assert!(!asks().passed);
    lab.clock.advance(10_000);
    assert!(asks().passed, "{:?}", asks());
    let up = || {
        let servers = lab.fleet.director().read().unwrap().servers;
        servers
            .into_iter()
            .find(|known| known.server == server.server)
            .unwrap()
            .up
    };
    assert!(up());
    lab.fleet.crash_shadow(&shadow);
    assert!(!asks().passed);
    assert!(!up());
}

#[test]
fn a_balancer_keeps_its_last_weight_and_the_operators_servers() {
    let lab = Simulated::new();
    let director = lab.fleet.director();
    let servers = director.read().unwrap().servers;
    let zero: Vec<(String, Weight)> = servers
        .iter()
        .filter(|server| server.backend == "checkout")
        .map(|server| (server.server.clone(), Weight(0)))
        .collect();
    assert!(director.ensure_weights("checkout", &zero).is_err());
    assert!(
        director
            .ensure_server_absent("checkout", "checkout-api-07")
            .is_err()
    );
    assert_eq!(director.read().unwrap().servers, servers);
}

#[test]
fn deleting_under_a_running_shadow_is_noticed() {
    let lab = Simulated::new();
    let (spec, ..) = serving(&lab);
    assert_eq!(lab.fleet.violations(), Vec::<String>::new());
    let layers = [spec.disks[0].layer_volume.clone()];
    lab.target
        .ensure_volumes_absent(&us(), &spec.target_pool, &spec.target_storage, &layers)
        .unwrap();
    assert_eq!(lab.fleet.violations().len(), 1);
}
