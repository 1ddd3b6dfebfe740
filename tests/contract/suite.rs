//! The behaviours. A platform takes part by a [`Harness`] and `contract_tests!`.

use std::{
    io::{self, Read},
    time::Duration,
};

use shadowcast::{
    hypervisor::{Claim, Control, Hypervisor, Owned, PlatformError},
    inventory::{Owner, PowerState, Vm},
    replication::{DiskIncrement, DiskMerge, IncrementSpec, Merge, prefix},
    shadow::{
        CloneSpec, OverlaySpec, ShadowNetwork, ShadowSpec,
        promotion::{Fence, FenceFrom},
    },
    units::{EngineId, OperationId, PoolId, ShadowId, Timestamp, VmId},
};

/// A pair of platforms with a VM on the first that writes to its disks.
pub trait Harness {
    fn source(&self) -> &dyn Hypervisor;
    fn target(&self) -> &dyn Hypervisor;
    fn vm(&self) -> VmId;
    /// Where layers go: a pool of the target and the storage inside it.
    fn place(&self) -> (PoolId, String);
    /// Returns after the VM has written something.
    fn let_it_write(&self);
    /// Keeps the VM from writing until [`Harness::release`], where `holds` could not compare otherwise.
    fn hold(&self);
    fn release(&self);
    /// Whether the layers of `spec` hold what the VM's disks held when its checkpoint was taken.
    fn holds(&self, spec: &IncrementSpec, taken_at: Timestamp) -> bool;
    /// Puts a volume on the target that no engine made.
    fn plant_volume(&self, name: &str);
    fn has_volume(&self, name: &str) -> bool;
    /// Name and uuid of a VM on the target that no engine made.
    fn foreign_vm(&self) -> (String, String);
}

/// Makes one test of each behaviour; `$make` makes a harness.
#[macro_export]
macro_rules! contract_tests {
    ($make:expr; $($behaviour:ident),* $(,)?) => {
        $(#[test]
        fn $behaviour() {
            $crate::suite::$behaviour(&$make);
        })*
    };
}

pub fn owner(engine: &str) -> Owner {
    Owner {
        engine: EngineId::from(engine),
        operation: OperationId::from("op-00000001"),
    }
}

pub fn us() -> Owner {
    owner("c0ffee00-contract")
}

fn find(platform: &dyn Hypervisor, id: &VmId) -> Option<Vm> {
    let inventory = platform.inventory().unwrap();
    inventory.vms.into_iter().find(|vm| vm.id == *id)
}

/// The `number`th point of the harness's VM, on top of the one before.
pub fn point(harness: &dyn Harness, number: u64) -> IncrementSpec {
    let owner = us();
    let stem = format!("{}s-0badcafe", prefix(&owner.engine));
    let vm = find(harness.source(), &harness.vm()).expect("the VM is in the inventory");
    let (target_pool, target_storage) = harness.place();
    let before = number.checked_sub(1);
    IncrementSpec {
        shadow: ShadowId::from("s-0badcafe"),
        vm: vm.id,
        number,
        checkpoint: format!("{stem}-{number}"),
        parent_checkpoint: before.map(|before| format!("{stem}-{before}")),
        freeze: false,
        target_pool,
        target_storage,
        disks: vm
            .disks
            .iter()
            .map(|disk| DiskIncrement {
                target: disk.target.clone(),
                capacity_bytes: disk.capacity_bytes,
                spool_volume: format!("{stem}-spool-{}-{number}", disk.target),
                layer_volume: format!("{stem}-{}-{number}", disk.target),
                backing_volume: before.map(|before| format!("{stem}-{}-{before}", disk.target)),
            })
            .collect(),
        owner,
    }
}

pub fn spool(harness: &dyn Harness, spec: &IncrementSpec) -> Timestamp {
    harness
        .source()
        .ensure_increment(spec, false, &Control::default())
        .unwrap()
}

pub fn ship(harness: &dyn Harness, spec: &IncrementSpec) {
    for disk in 0..spec.disks.len() {
        let mut stream = harness.source().read_spool(spec, disk).unwrap();
        let bytes = harness
            .target()
            .ensure_layer(spec, disk, &mut stream, &Control::default())
            .unwrap();
        assert!(bytes > 0);
    }
}

/// A whole cycle; says whether the new point holds the disk.
fn cycle(harness: &dyn Harness, spec: &IncrementSpec) -> bool {
    harness.let_it_write();
    harness.hold();
    let at = spool(harness, spec);
    ship(harness, spec);
    let holds = harness.holds(spec, at);
    harness.source().ensure_increment_finished(spec).unwrap();
    harness.release();
    holds
}

pub fn shadow_on(spec: &IncrementSpec) -> ShadowSpec {
    ShadowSpec {
        owner: spec.owner.clone(),
        shadow: spec.shadow.clone(),
        of: spec.vm.clone(),
        name: "contract-s1".to_owned(),
        uuid: "5ade0000-0000-4000-8000-00000badcafe".to_owned(),
        pool: spec.target_pool.clone(),
        storage: spec.target_storage.clone(),
        vcpus: 1,
        vcpus_max: 2,
        memory_bytes: 128 << 20,
        overlays: spec
            .disks
            .iter()
            .map(|disk| OverlaySpec {
                target: disk.target.clone(),
                volume: format!("{}-overlay", disk.layer_volume),
                layer_volume: disk.layer_volume.clone(),
                capacity_bytes: disk.capacity_bytes,
            })
            .collect(),
        network: ShadowNetwork {
            mac: "52:54:00:5a:de:01".to_owned(),
            address: "127.0.0.1".to_owned(),
            port: 18_099,
            guest_port: 80,
            guest_address: None,
            outbound_allowed: false,
            more: Vec::new(),
        },
    }
}

fn shadow_id(harness: &dyn Harness, spec: &ShadowSpec) -> VmId {
    let (pool, _) = harness.place();
    VmId::of(&pool.source(), &spec.uuid)
}

fn define(harness: &dyn Harness, spec: &ShadowSpec) {
    let model = harness.source().definition(&spec.of).unwrap();
    harness.target().ensure_shadow(spec, &model).unwrap();
}

fn owned(harness: &dyn Harness) -> Vec<Owned> {
    let engine = us().engine;
    let mut all = harness.source().owned(&engine).unwrap();
    all.extend(harness.target().owned(&engine).unwrap());
    all.sort();
    all.dedup();
    all
}

/// Takes everything away that these points have made, and looks whether anything is left.
pub fn clear(harness: &dyn Harness, points: &[&IncrementSpec]) {
    for spec in points {
        harness.source().ensure_increment_absent(spec).unwrap();
        let layers: Vec<String> = spec
            .disks
            .iter()
            .map(|disk| disk.layer_volume.clone())
            .collect();
        harness
            .target()
            .ensure_volumes_absent(
                &spec.owner,
                &spec.target_pool,
                &spec.target_storage,
                &layers,
            )
            .unwrap();
    }
    harness
        .source()
        .ensure_replication_absent(&harness.vm(), &us())
        .unwrap();
    assert_eq!(owned(harness), []);
}

/// Whoever makes a claim in this suite goes stale after this.
const STALE: Duration = Duration::from_secs(2);

fn claim(console: &str) -> Claim {
    Claim {
        engine: us().engine,
        console: console.to_owned(),
        stale: STALE,
    }
}

/// `first` and `second` are two consoles' own connections to the same host; `pass` lets a claim go stale.
pub fn one_console_at_a_time_may_change_a_host(
    first: &dyn Hypervisor,
    second: &dyn Hypervisor,
    pass: &dyn Fn(Duration),
) {
    let leased = |result: Result<(), PlatformError>| match result {
        Err(PlatformError::Leased { by, .. }) => by,
        other => panic!("{other:?}"),
    };
    first.ensure_lease(&claim("a:/data")).unwrap();
    let by = leased(second.ensure_lease(&claim("b:/data")));
    assert!(by.contains("a:/data"), "{by}");
    first.ensure_lease(&claim("a:/data")).unwrap();

    // Given back, it is free at once.
    first.release_lease(&claim("a:/data")).unwrap();
    second.ensure_lease(&claim("b:/data")).unwrap();
    leased(first.ensure_lease(&claim("a:/data")));

    // Its holder has died: after a while without a beat another takes over, and the old one acts no more.
    pass(STALE + Duration::from_millis(100));
    first.ensure_lease(&claim("a:/data")).unwrap();
    leased(second.ensure_lease(&claim("b:/data")));
    first.release_lease(&claim("a:/data")).unwrap();
}

pub fn the_inventory_has_the_vm_with_its_disks(harness: &dyn Harness) {
    let vm = find(harness.source(), &harness.vm()).unwrap();
    assert_eq!(vm.state, PowerState::Running);
    assert!(vm.vcpus > 0 && vm.memory_bytes > 0);
    assert!(!vm.disks.is_empty());
    assert!(vm.disks.iter().all(|disk| disk.capacity_bytes > 0));
    assert_eq!(vm.owner, None);
    let pools = harness.target().inventory().unwrap().pools;
    let (pool, storage) = harness.place();
    let pool = pools.iter().find(|known| known.id == pool).unwrap();
    assert!(pool.storage.iter().any(|known| known.name == storage));
}

pub fn counters_grow_between_two_samples(harness: &dyn Harness) {
    let read = || {
        let sample = harness.source().sample().unwrap();
        let mine = sample
            .readings
            .into_iter()
            .find(|reading| reading.vm == harness.vm());
        mine.expect("the VM answers")
    };
    let before = read();
    harness.let_it_write();
    let after = read();
    assert!(after.at > before.at);
    assert!(after.cpu_nanos.unwrap() > before.cpu_nanos.unwrap());
    assert!(after.disk_bytes.unwrap() > before.disk_bytes.unwrap());
}

pub fn a_full_copy_and_two_increments_hold_what_the_disk_held(harness: &dyn Harness) {
    let points = [0, 1, 2].map(|number| point(harness, number));
    for spec in &points {
        assert!(cycle(harness, spec), "point {}", spec.number);
    }
    clear(harness, &points.each_ref());
}

pub fn a_finished_increment_leaves_one_checkpoint_and_no_spool(harness: &dyn Harness) {
    let points = [0, 1].map(|number| point(harness, number));
    for spec in &points {
        assert!(cycle(harness, spec));
    }
    assert!(harness.source().read_spool(&points[1], 0).is_err());
    let kinds = |kind: &str| -> Vec<String> {
        let all = harness.source().owned(&us().engine).unwrap();
        let some = all.into_iter().filter(|owned| owned.kind == kind);
        some.map(|owned| owned.name).collect()
    };
    assert_eq!(kinds("checkpoint"), [points[1].checkpoint.clone()]);
    // What counts from the dropped checkpoint cannot be had any more.
    let late = IncrementSpec {
        parent_checkpoint: Some(points[0].checkpoint.clone()),
        ..point(harness, 2)
    };
    let refused = harness
        .source()
        .ensure_increment(&late, false, &Control::default());
    assert!(
        matches!(refused, Err(PlatformError::CheckpointLost { .. })),
        "{refused:?}"
    );
    clear(harness, &[&points[0], &points[1], &late]);
}

pub fn an_abandoned_increment_leaves_nothing_and_loses_nothing(harness: &dyn Harness) {
    let first = point(harness, 0);
    assert!(cycle(harness, &first));
    let before = owned(harness);
    harness.let_it_write();
    let abandoned = point(harness, 1);
    spool(harness, &abandoned);
    assert_ne!(owned(harness), before);
    harness
        .source()
        .ensure_increment_absent(&abandoned)
        .unwrap();
    harness
        .source()
        .ensure_increment_absent(&abandoned)
        .unwrap();
    assert_eq!(owned(harness), before);
    // The writes before the abandoned checkpoint are in the next one.
    let next = point(harness, 1);
    assert!(cycle(harness, &next));
    clear(harness, &[&first, &next]);
}

pub fn a_cycle_done_twice_is_a_cycle_done_once(harness: &dyn Harness) {
    let first = point(harness, 0);
    assert!(cycle(harness, &first));
    harness.let_it_write();
    harness.hold();
    let spec = point(harness, 1);
    spool(harness, &spec);
    let at = spool(harness, &spec);
    ship(harness, &spec);
    ship(harness, &spec);
    harness.source().ensure_increment_finished(&spec).unwrap();
    let once = owned(harness);
    harness.source().ensure_increment_finished(&spec).unwrap();
    assert_eq!(owned(harness), once);
    assert!(harness.holds(&spec, at));
    harness.release();
    clear(harness, &[&first, &spec]);
}

pub fn a_complete_spool_is_kept_for_whoever_resumes(harness: &dyn Harness) {
    harness.let_it_write();
    harness.hold();
    let spec = point(harness, 0);
    let at = spool(harness, &spec);
    let again = harness
        .source()
        .ensure_increment(&spec, true, &Control::default())
        .unwrap();
    assert_eq!(again, at);
    ship(harness, &spec);
    assert!(harness.holds(&spec, at));
    harness.release();
    clear(harness, &[&spec]);
}

pub fn a_cancelled_copy_says_so_and_can_be_cleared(harness: &dyn Harness) {
    let spec = point(harness, 0);
    let control = Control::default();
    control.cancel();
    let outcome = harness.source().ensure_increment(&spec, false, &control);
    assert_eq!(outcome, Err(PlatformError::Cancelled));
    clear(harness, &[&spec]);
}

/// A stream that breaks off after its first bytes.
struct BreaksOff<R>(io::Take<R>);

impl<R: Read> Read for BreaksOff<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::other("the connection was lost")),
            count => Ok(count),
        }
    }
}

pub fn a_stream_that_breaks_off_makes_no_layer_and_can_be_shipped_again(harness: &dyn Harness) {
    harness.let_it_write();
    harness.hold();
    let spec = point(harness, 0);
    let at = spool(harness, &spec);
    let stream = harness.source().read_spool(&spec, 0).unwrap();
    let mut broken = BreaksOff(stream.take(1000));
    let refused = harness
        .target()
        .ensure_layer(&spec, 0, &mut broken, &Control::default());
    assert!(refused.is_err());
    ship(harness, &spec);
    assert!(harness.holds(&spec, at));
    harness.release();
    clear(harness, &[&spec]);
}

pub fn a_flattened_chain_needs_nothing_under_it(harness: &dyn Harness) {
    let points = [0, 1].map(|number| point(harness, number));
    for spec in &points {
        assert!(cycle(harness, spec));
    }
    harness.let_it_write();
    harness.hold();
    let mut newest = point(harness, 2);
    let at = spool(harness, &newest);
    ship(harness, &newest);
    let (pool, storage) = harness.place();
    for disk in &mut newest.disks {
        let flat = format!("{}-flat", disk.layer_volume);
        for _ in 0..2 {
            harness
                .target()
                .ensure_flattened(
                    &pool,
                    &storage,
                    &disk.layer_volume,
                    &flat,
                    &Control::default(),
                )
                .unwrap();
        }
        disk.layer_volume = flat;
        disk.backing_volume = None;
    }
    let deep: Vec<String> = points
        .iter()
        .chain([&point(harness, 2)])
        .flat_map(|spec| &spec.disks)
        .map(|disk| disk.layer_volume.clone())
        .collect();
    harness
        .target()
        .ensure_volumes_absent(&us(), &pool, &storage, &deep)
        .unwrap();
    assert!(harness.holds(&newest, at));
    harness.release();
    clear(harness, &[&newest]);
}

/// Of three points the two older become one; what the newest and the middle one hold stays.
pub fn merged_layers_hold_what_the_point_held(harness: &dyn Harness) {
    let points = [0, 1].map(|number| point(harness, number));
    for spec in &points {
        assert!(cycle(harness, spec));
    }
    harness.let_it_write();
    harness.hold();
    let newest = point(harness, 2);
    let at = spool(harness, &newest);
    ship(harness, &newest);
    let (pool, storage) = harness.place();
    let merge = |upper: &IncrementSpec, above: Option<&IncrementSpec>| Merge {
        owner: us(),
        shadow: upper.shadow.clone(),
        pool: pool.clone(),
        storage: storage.clone(),
        number: upper.number,
        forgotten: vec![0],
        disks: upper
            .disks
            .iter()
            .enumerate()
            .map(|(index, disk)| DiskMerge {
                base: points[0].disks[index].layer_volume.clone(),
                over: vec![disk.layer_volume.clone()],
                above: above.map(|above| above.disks[index].layer_volume.clone()),
                scratch: format!("{}-scratch", disk.layer_volume),
            })
            .collect(),
    };
    let target = harness.target();
    let gone = |spec: &IncrementSpec| {
        let layers: Vec<String> = spec.disks.iter().map(|d| d.layer_volume.clone()).collect();
        target
            .ensure_volumes_absent(&us(), &pool, &storage, &layers)
            .unwrap();
    };
    let into_the_base = merge(&points[1], Some(&newest));
    for _ in 0..2 {
        let bytes = target
            .ensure_merged(&into_the_base, &Control::default())
            .unwrap();
        assert!(bytes > 0);
    }
    gone(&points[1]);
    assert!(harness.holds(&newest, at), "the newest reads as before");

    // Then the newest itself, on which nothing stands.
    let all = merge(&newest, None);
    for _ in 0..2 {
        target.ensure_merged(&all, &Control::default()).unwrap();
    }
    gone(&newest);
    target.ensure_merged(&all, &Control::default()).unwrap();
    let mut whole = newest.clone();
    for (disk, base) in whole.disks.iter_mut().zip(&points[0].disks) {
        disk.layer_volume.clone_from(&base.layer_volume);
        disk.backing_volume = None;
    }
    assert!(harness.holds(&whole, at), "the base holds the newest");
    let helpers = |owned: &Owned| owned.name.contains("merge") || owned.name.contains("scratch");
    let left = target.owned(&us().engine).unwrap();
    assert!(!left.iter().any(helpers), "{left:?}");
    harness.release();
    clear(harness, &[&newest, &points[0]]);
}

fn clone_on(spec: &IncrementSpec) -> CloneSpec {
    let mut shadow = shadow_on(spec);
    let stem = format!("{}s-0badcafe-clone", prefix(&spec.owner.engine));
    shadow.name = format!("{}cafe", prefix(&spec.owner.engine));
    "5ade0000-0000-4000-8000-0000000c10ae".clone_into(&mut shadow.uuid);
    for overlay in &mut shadow.overlays {
        overlay.volume = format!("{stem}-{}", overlay.target);
    }
    shadow.network.port = 0;
    shadow.network.guest_port = 0;
    CloneSpec {
        spec: shadow,
        model: spec.vm.clone(),
        point: spec.number,
        console_volume: format!("{stem}-console"),
        boot_seconds: 60,
        lifetime_seconds: 60,
    }
}

/// A clone runs, is nobody's VM, and leaves nothing but the layer under it as it was.
pub fn a_clone_comes_and_goes_without_a_trace(harness: &dyn Harness) {
    let spec = point(harness, 0);
    harness.let_it_write();
    harness.hold();
    let at = spool(harness, &spec);
    ship(harness, &spec);
    let clone = clone_on(&spec);
    let target = harness.target();
    let model = harness.source().definition(&spec.vm).unwrap();
    let digest = |layer: &str| {
        let (pool, storage) = harness.place();
        target.layer_digest(&pool, &storage, layer, &Control::default())
    };
    let layer = &spec.disks[0].layer_volume;
    let before = digest(layer).unwrap();
    for _ in 0..2 {
        target.ensure_clone(&clone, &model).unwrap();
    }
    let seen = target.inventory().unwrap().vms;
    assert!(
        !seen.iter().any(|vm| vm.name == clone.spec.name),
        "{seen:?}"
    );
    let ours = target.owned(&us().engine).unwrap();
    let named = |name: &str| ours.iter().any(|owned| owned.name == name);
    assert!(
        named(&clone.spec.name) && named(&clone.console_volume),
        "{ours:?}"
    );
    target.clone_console(&clone).unwrap();
    for _ in 0..2 {
        target.ensure_clone_absent(&clone).unwrap();
    }
    assert_eq!(target.clone_console(&clone).unwrap(), "");
    assert!(target.clone_takes(&clone, 80).is_err(), "it is gone");
    assert_eq!(digest(layer).unwrap(), before);
    assert!(digest("sc-c0ffee00-none").is_err());
    assert!(harness.holds(&spec, at));

    let mut foreign = clone.clone();
    "theirs".clone_into(&mut foreign.console_volume);
    assert!(matches!(
        target.ensure_clone(&foreign, &model),
        Err(PlatformError::NotOurs { .. })
    ));
    harness.release();
    clear(harness, &[&spec]);
    assert!(
        target.ensure_clone(&clone, &model).is_err(),
        "its layer is gone"
    );
    target.ensure_clone_absent(&clone).unwrap();
    assert_eq!(owned(harness), []);
}

/// A layer that a running machine reads is not written to.
pub fn nothing_is_merged_under_a_running_shadow(harness: &dyn Harness) {
    let points = [0, 1].map(|number| point(harness, number));
    for spec in &points {
        assert!(cycle(harness, spec));
    }
    let shadow = shadow_on(&points[1]);
    define(harness, &shadow);
    let target = harness.target();
    target
        .ensure_power(&shadow.owner, &shadow.uuid, true, 1)
        .unwrap();
    let (pool, storage) = harness.place();
    let merge = Merge {
        owner: us(),
        shadow: points[1].shadow.clone(),
        pool,
        storage,
        number: 1,
        forgotten: vec![0],
        disks: vec![DiskMerge {
            base: points[0].disks[0].layer_volume.clone(),
            over: vec![points[1].disks[0].layer_volume.clone()],
            above: None,
            scratch: format!("{}-scratch", points[1].disks[0].layer_volume),
        }],
    };
    let refused = target.ensure_merged(&merge, &Control::default());
    assert!(refused.is_err(), "{refused:?}");
    target
        .ensure_power(&shadow.owner, &shadow.uuid, false, 0)
        .unwrap();
    target.ensure_shadow_absent(&shadow).unwrap();
    target.ensure_merged(&merge, &Control::default()).unwrap();
    clear(harness, &[&points[1], &points[0]]);
}

pub fn a_shadow_is_defined_started_stopped_and_removed_each_twice(harness: &dyn Harness) {
    let spec = point(harness, 0);
    assert!(cycle(harness, &spec));
    let shadow = shadow_on(&spec);
    let id = shadow_id(harness, &shadow);
    let target = harness.target();
    for _ in 0..2 {
        define(harness, &shadow);
        let seen = find(target, &id).unwrap();
        assert_eq!(
            (seen.state, seen.name),
            (PowerState::Off, shadow.name.clone())
        );
        assert_eq!(seen.owner.as_ref(), Some(&shadow.owner));
    }
    target.ensure_overlays(&shadow).unwrap();
    for on in [true, true, false, false] {
        target
            .ensure_power(&shadow.owner, &shadow.uuid, on, 1)
            .unwrap();
        let state = if on {
            PowerState::Running
        } else {
            PowerState::Off
        };
        assert_eq!(find(target, &id).unwrap().state, state);
    }
    // A running one is powered off on the way.
    target
        .ensure_power(&shadow.owner, &shadow.uuid, true, 1)
        .unwrap();
    for _ in 0..2 {
        target.ensure_shadow_absent(&shadow).unwrap();
        assert_eq!(find(target, &id), None);
    }
    clear(harness, &[&spec]);
}

pub fn a_running_shadow_keeps_its_overlays(harness: &dyn Harness) {
    let spec = point(harness, 0);
    assert!(cycle(harness, &spec));
    let shadow = shadow_on(&spec);
    define(harness, &shadow);
    let target = harness.target();
    target
        .ensure_power(&shadow.owner, &shadow.uuid, true, 1)
        .unwrap();
    assert!(target.ensure_overlays(&shadow).is_err());
    target.ensure_shadow_absent(&shadow).unwrap();
    clear(harness, &[&spec]);
}

pub fn a_shadow_without_its_layer_is_not_defined(harness: &dyn Harness) {
    let shadow = shadow_on(&point(harness, 0));
    let model = harness.source().definition(&shadow.of).unwrap();
    assert!(harness.target().ensure_shadow(&shadow, &model).is_err());
    assert_eq!(find(harness.target(), &shadow_id(harness, &shadow)), None);
    harness.target().ensure_shadow_absent(&shadow).unwrap();
    clear(harness, &[]);
}

fn assert_not_ours(outcome: &Result<(), PlatformError>) {
    assert!(
        matches!(outcome, Err(PlatformError::NotOurs { .. })),
        "{outcome:?}"
    );
}

pub fn a_volume_that_we_did_not_make_stays(harness: &dyn Harness) {
    let (pool, storage) = harness.place();
    let others = format!("{}x", prefix(&owner("deadbeef-other").engine));
    for name in ["precious.qcow2", &others] {
        harness.plant_volume(name);
        assert_not_ours(&harness.target().ensure_volumes_absent(
            &us(),
            &pool,
            &storage,
            &[name.to_owned()],
        ));
        assert!(harness.has_volume(name));
    }
}

pub fn a_vm_that_we_did_not_make_is_left_alone(harness: &dyn Harness) {
    let spec = point(harness, 0);
    assert!(cycle(harness, &spec));
    let (name, uuid) = harness.foreign_vm();
    let target = harness.target();
    let id = VmId::of(&harness.place().0.source(), &uuid);
    let before = find(target, &id).unwrap().state;
    assert_not_ours(&target.ensure_power(&us(), &uuid, false, 1));
    let model = harness.source().definition(&spec.vm).unwrap();
    for taken in [
        ShadowSpec {
            name: name.clone(),
            ..shadow_on(&spec)
        },
        ShadowSpec {
            uuid: uuid.clone(),
            ..shadow_on(&spec)
        },
    ] {
        assert_not_ours(&target.ensure_shadow(&taken, &model));
    }
    assert_not_ours(&target.ensure_shadow_absent(&ShadowSpec {
        uuid,
        ..shadow_on(&spec)
    }));
    let after = find(target, &id).unwrap();
    assert_eq!((after.name, after.state), (name, before));
    clear(harness, &[&spec]);
}

pub fn the_shadow_of_another_engine_is_left_alone(harness: &dyn Harness) {
    let spec = point(harness, 0);
    assert!(cycle(harness, &spec));
    let shadow = shadow_on(&spec);
    define(harness, &shadow);
    let stranger = owner("deadbeef-other");
    let target = harness.target();
    assert_not_ours(&target.ensure_power(&stranger, &shadow.uuid, true, 1));
    let theirs = ShadowSpec {
        owner: stranger.clone(),
        overlays: Vec::new(),
        ..shadow.clone()
    };
    assert_not_ours(&target.ensure_shadow_absent(&theirs));
    assert_eq!(target.owned(&stranger.engine).unwrap(), []);
    assert!(find(target, &shadow_id(harness, &shadow)).is_some());
    target.ensure_shadow_absent(&shadow).unwrap();
    clear(harness, &[&spec]);
}

pub fn what_does_not_exist_is_not_found(harness: &dyn Harness) {
    let nobody = VmId::of(
        &harness.vm().source(),
        "00000000-0000-4000-8000-00000000dead",
    );
    let outcome = harness.source().definition(&nobody);
    assert!(
        matches!(outcome, Err(PlatformError::NotFound { .. })),
        "{outcome:?}"
    );
    let spec = IncrementSpec {
        vm: nobody.clone(),
        ..point(harness, 0)
    };
    let outcome = harness
        .source()
        .ensure_increment(&spec, false, &Control::default());
    assert!(
        matches!(outcome, Err(PlatformError::NotFound { .. })),
        "{outcome:?}"
    );
    // To make it absent is no error: it is.
    harness.source().ensure_increment_absent(&spec).unwrap();
    harness
        .source()
        .ensure_replication_absent(&nobody, &us())
        .unwrap();
}

fn fence(harness: &dyn Harness, owner: Owner) -> Fence {
    Fence {
        owner,
        vm: harness.vm(),
        shadow: ShadowId::from("s-0badcafe"),
    }
}

fn power(harness: &dyn Harness) -> PowerState {
    find(harness.source(), &harness.vm()).unwrap().state
}

fn marks(harness: &dyn Harness) -> usize {
    let all = owned(harness);
    all.iter().filter(|owned| owned.kind == "mark").count()
}

pub fn a_paused_primary_can_still_be_read_and_is_let_go(harness: &dyn Harness) {
    let first = point(harness, 0);
    assert!(cycle(harness, &first));
    let ours = fence(harness, us());
    for _ in 0..2 {
        harness.source().ensure_paused(&ours).unwrap();
        assert_eq!((power(harness), marks(harness)), (PowerState::Paused, 1));
    }
    // The last delta: nothing is written any more, so it holds what the disk will hold.
    let last = point(harness, 1);
    let at = spool(harness, &last);
    ship(harness, &last);
    harness.source().ensure_increment_finished(&last).unwrap();
    assert!(harness.holds(&last, at));
    for _ in 0..2 {
        harness.source().ensure_unfenced(&ours).unwrap();
        assert_eq!((power(harness), marks(harness)), (PowerState::Running, 0));
    }
    clear(harness, &[&first, &last]);
}

pub fn a_primary_that_runs_on_is_not_powered_off_by_its_last_delta(harness: &dyn Harness) {
    let ours = fence(harness, us());
    let refused = harness.source().ensure_fenced(&ours, FenceFrom::Paused);
    assert!(
        matches!(refused, Err(PlatformError::Changed { .. })),
        "{refused:?}"
    );
    assert_eq!((power(harness), marks(harness)), (PowerState::Running, 0));
}

/// Needs a harness whose `hold` pauses the VM.
pub fn a_primary_that_somebody_paused_is_left_alone(harness: &dyn Harness) {
    let ours = fence(harness, us());
    harness.hold();
    let refused = harness.source().ensure_paused(&ours);
    assert!(
        matches!(refused, Err(PlatformError::Changed { .. })),
        "{refused:?}"
    );
    // What undoes the step leaves it as it is.
    harness.source().ensure_unfenced(&ours).unwrap();
    assert_eq!((power(harness), marks(harness)), (PowerState::Paused, 0));
    harness.release();
}

pub fn a_fenced_primary_is_off_until_it_is_let_go(harness: &dyn Harness) {
    let ours = fence(harness, us());
    harness.source().ensure_paused(&ours).unwrap();
    for _ in 0..2 {
        harness
            .source()
            .ensure_fenced(&ours, FenceFrom::Paused)
            .unwrap();
        assert_eq!((power(harness), marks(harness)), (PowerState::Off, 1));
    }
    // What another engine has put there is its own affair.
    let theirs = fence(harness, owner("deadbeef-other"));
    assert_not_ours(&harness.source().ensure_unfenced(&theirs));
    assert_eq!(power(harness), PowerState::Off);
    for _ in 0..2 {
        harness.source().ensure_unfenced(&ours).unwrap();
        assert_eq!((power(harness), marks(harness)), (PowerState::Running, 0));
    }
    let from = FenceFrom::Running { grace_seconds: 0 };
    for _ in 0..2 {
        harness.source().ensure_fenced(&ours, from).unwrap();
        assert_eq!((power(harness), marks(harness)), (PowerState::Off, 1));
    }
    harness.source().ensure_unfenced(&ours).unwrap();
    assert_eq!((power(harness), marks(harness)), (PowerState::Running, 0));
}
