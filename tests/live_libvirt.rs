//! Real libvirt and QEMU behind the seams: a disk is replicated, a shadow serves on it, faults are told apart, and
//! nothing is left behind.

mod support;

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use shadowcast::{
    hypervisor::{Control, Hypervisor, PlatformError, connect},
    inventory::{Inventory, Owner, Vm},
    lab,
    replication::{DiskIncrement, IncrementSpec, Manifest},
    shadow::{OverlaySpec, ShadowNetwork, ShadowSpec},
    units::{EngineId, OperationId, PoolId, ShadowId, SourceName, VmId},
};
use support::{Lab, await_that, get, options, skip, verified};
use virt::connect::Connect;

const ENGINE: &str = "0123abcd-4567";
const STORAGE: &str = "shadow";
const A_WHILE: Duration = Duration::from_secs(120);

struct Bench {
    lab: Lab,
    source: Arc<dyn Hypervisor>,
    target: Arc<dyn Hypervisor>,
}

impl Bench {
    fn start(test: &str, old_disk: bool) -> Option<Self> {
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

    fn vm(&self, name: &str) -> Vm {
        named(&self.source.inventory().unwrap(), name)
    }

    fn spec(&self, vm: &Vm, number: u64, parent: Option<&IncrementSpec>) -> IncrementSpec {
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

    /// One whole cycle; returns the bytes that travelled.
    fn cycle(&self, spec: &IncrementSpec) -> u64 {
        self.source
            .ensure_increment(spec, false, &Control::default())
            .unwrap();
        let bytes = self.ship(spec).unwrap();
        self.source.ensure_increment_finished(spec).unwrap();
        bytes
    }

    fn ship(&self, spec: &IncrementSpec) -> Result<u64, PlatformError> {
        let mut spool = self.source.read_spool(spec, 0)?;
        self.target
            .ensure_layer(spec, 0, &mut spool, &Control::default())
    }

    fn layer(&self, name: &str) -> PathBuf {
        self.lab.dir.join("secondary/shadow").join(name)
    }

    fn names(&self, host: &dyn Hypervisor) -> Vec<String> {
        let owned = host.owned(&EngineId::from(ENGINE)).unwrap();
        owned.into_iter().map(|owned| owned.name).collect()
    }

    fn domain(&self, host: &str, vm: &Vm) -> virt::domain::Domain {
        Connect::open(Some(self.lab.uri(host)))
            .unwrap()
            .lookup_domain_by_uuid_string(vm.id.uuid())
            .unwrap()
    }

    /// Ends replication of `vm` and checks that nothing stays.
    fn retire(&self, vm: &Vm, layers: &[&IncrementSpec]) {
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
        assert_eq!(self.names(&*self.source), [""; 0]);
        assert_eq!(self.names(&*self.target), [""; 0]);
    }
}

fn owner() -> Owner {
    Owner {
        engine: EngineId::from(ENGINE),
        operation: OperationId::from("op-00000001"),
    }
}

fn named(inventory: &Inventory, name: &str) -> Vm {
    let found = inventory.vms.iter().find(|vm| vm.name == name);
    found
        .unwrap_or_else(|| panic!("{name} in {inventory:?}"))
        .clone()
}

/// `qemu-img compare` over both chains.
fn identical(a: &Path, b: &Path) {
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

fn digest(file: &Path) -> Vec<u8> {
    use sha2::Digest as _;
    sha2::Sha256::digest(fs::read(file).unwrap()).to_vec()
}

/// Breaks off after some bytes, as a source that goes away does.
struct BreaksOff(Box<dyn Read + Send>, usize);

impl Read for BreaksOff {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.1 == 0 {
            return Err(io::Error::other("broken off"));
        }
        let room = buffer.len().min(self.1);
        let read = self.0.read(&mut buffer[..room])?;
        self.1 -= read;
        Ok(read)
    }
}

#[test]
fn a_replica_is_identical_serves_as_a_shadow_and_leaves_nothing() {
    let Some(bench) = Bench::start(
        "a_replica_is_identical_serves_as_a_shadow_and_leaves_nothing",
        false,
    ) else {
        return;
    };
    hosts_are_seen(&bench);
    let vm = bench.vm("shop-1");
    let seed = bench.spec(&vm, 0, None);
    let shipped = bench.cycle(&seed);
    assert!(shipped > 1 << 20, "{shipped}");

    let first = bench.spec(&vm, 1, Some(&seed));
    an_increment_can_be_taken_twice_and_resumed(&bench, &first);
    a_cut_transfer_leaves_no_layer(&bench, &first);
    bench.ship(&first).unwrap();
    bench.source.ensure_increment_finished(&first).unwrap();

    let second = bench.spec(&vm, 2, Some(&first));
    a_cancelled_increment_leaves_nothing(&bench, &second);
    // Nothing is written while it is paused: then both sides must hold the same bytes.
    let domain = bench.domain("primary", &vm);
    domain.suspend().unwrap();
    let increment = bench.cycle(&second);
    identical(
        Path::new(&vm.disks[0].path),
        &bench.layer(&second.disks[0].layer_volume),
    );
    domain.resume().unwrap();
    assert!(increment < shipped, "{increment} of {shipped}");

    manifest_has_one_whole_copy(&bench, &vm);
    let flat = "sc-0123abcd-s1-flat.qcow2";
    let layer = &second.disks[0].layer_volume;
    bench
        .target
        .ensure_flattened(
            &second.target_pool,
            STORAGE,
            layer,
            flat,
            &Control::default(),
        )
        .unwrap();
    identical(&bench.layer(layer), &bench.layer(flat));
    bench
        .target
        .ensure_volumes_absent(&owner(), &second.target_pool, STORAGE, &[flat.to_owned()])
        .unwrap();

    a_shadow_serves(&bench, &vm, &second);
    bench.retire(&vm, &[&seed, &first, &second]);
    assert_eq!(get(&bench.lab.guest_url("shop-1")).status, 200);
}

fn hosts_are_seen(bench: &Bench) {
    let inventory = bench.source.inventory().unwrap();
    assert_eq!(inventory.vms.len(), 3);
    let vm = named(&inventory, "shop-1");
    assert_eq!(vm.disks[0].compat.as_deref(), Some("1.1"));
    assert_eq!(vm.disks[0].capacity_bytes, 64 << 20);
    assert!(vm.disks[0].allocated_bytes > 0);
    assert_eq!(vm.foreign_jobs, [""; 0]);
    assert_eq!(vm.instance_type, "1 vCPU, 128 MiB");
    assert_eq!(
        inventory.pools[0].storage.len(),
        1,
        "the spool is no place for shadows"
    );
    let readings = bench.source.sample().unwrap();
    assert_eq!(readings.readings.len(), 3);
    for reading in &readings.readings {
        assert!(
            reading.cpu_nanos.is_some_and(|nanos| nanos > 0),
            "{reading:?}"
        );
        assert!(
            reading.disk_bytes.is_some_and(|bytes| bytes > 0),
            "{reading:?}"
        );
        assert!(reading.memory_used_bytes.is_some(), "{reading:?}");
    }
    let examination = bench.source.examine().unwrap();
    let needed = examination.findings.iter().filter(|finding| finding.needed);
    assert!(
        needed.clone().all(|finding| finding.works),
        "{examination:?}"
    );
    assert!(examination.platform.contains("QEMU"), "{examination:?}");
}

fn an_increment_can_be_taken_twice_and_resumed(bench: &Bench, spec: &IncrementSpec) {
    let take = |resume| {
        bench
            .source
            .ensure_increment(spec, resume, &Control::default())
            .unwrap()
    };
    let at = take(false);
    let again = take(false);
    assert!(again > at, "what was not resumed is taken anew");
    let resumed = take(true);
    assert_eq!(resumed.as_secs(), again.as_secs());
    let names = bench.names(&*bench.source);
    let checkpoints = names.iter().filter(|name| **name == spec.checkpoint);
    assert_eq!(checkpoints.count(), 1, "{names:?}");
}

fn a_cut_transfer_leaves_no_layer(bench: &Bench, spec: &IncrementSpec) {
    let spool = bench.source.read_spool(spec, 0).unwrap();
    let mut spool = BreaksOff(spool, 100_000);
    let cut = bench
        .target
        .ensure_layer(spec, 0, &mut spool, &Control::default());
    assert!(matches!(cut, Err(PlatformError::Failed { .. })), "{cut:?}");
    let names = bench.names(&*bench.target);
    assert!(!names.contains(&spec.disks[0].layer_volume), "{names:?}");
}

fn a_cancelled_increment_leaves_nothing(bench: &Bench, spec: &IncrementSpec) {
    let control = Control::default();
    control.cancel();
    let cancelled = bench.source.ensure_increment(spec, false, &control);
    assert_eq!(cancelled, Err(PlatformError::Cancelled));
    let names = bench.names(&*bench.source);
    assert!(!names.contains(&spec.checkpoint), "{names:?}");
    bench.source.ensure_increment_absent(spec).unwrap();
}

fn manifest_has_one_whole_copy(bench: &Bench, vm: &Vm) {
    let mut manifest = Manifest {
        shadow: ShadowId::from("s1"),
        owner: owner(),
        vm: vm.id.clone(),
        target_pool: PoolId::from("secondary/secondary"),
        target_storage: STORAGE.to_owned(),
        rpo_seconds: 5,
        next_number: 0,
        checkpoint: None,
        points: Vec::new(),
        in_flight: None,
        serving_from: None,
        stalled: None,
        last_cycle_millis: None,
        active: true,
    };
    for number in 1..=3 {
        manifest.next_number = number;
        bench.target.ensure_manifest(&manifest).unwrap();
        let copies: Vec<String> = bench.names(&*bench.target);
        let copies: Vec<&String> = copies
            .iter()
            .filter(|name| name.contains("manifest"))
            .collect();
        let [copy] = copies[..] else {
            panic!("{copies:?}");
        };
        let kept: Manifest = serde_json::from_slice(&fs::read(bench.layer(copy)).unwrap()).unwrap();
        assert_eq!(kept, manifest);
    }
    for _ in 0..2 {
        bench.target.ensure_manifest_absent(&manifest).unwrap();
    }
}

fn a_shadow_serves(bench: &Bench, vm: &Vm, point: &IncrementSpec) {
    let port = free_port();
    let layer = &point.disks[0].layer_volume;
    let spec = ShadowSpec {
        owner: owner(),
        shadow: ShadowId::from("s1"),
        of: vm.id.clone(),
        name: "shop <&\"'$(reboot) \u{202e}1".to_owned(),
        uuid: "5bd2c5a4-9f0e-4b62-9a2e-52d4a7a0c001".to_owned(),
        pool: PoolId::from("secondary/secondary"),
        storage: STORAGE.to_owned(),
        vcpus: 1,
        vcpus_max: 2,
        memory_bytes: 128 << 20,
        overlays: vec![OverlaySpec {
            target: "vda".to_owned(),
            volume: "sc-0123abcd-s1-top-vda.qcow2".to_owned(),
            layer_volume: layer.clone(),
            capacity_bytes: vm.disks[0].capacity_bytes,
        }],
        network: ShadowNetwork {
            mac: "02:5c:00:00:00:01".to_owned(),
            address: "127.0.0.1".to_owned(),
            port,
            guest_port: 80,
            guest_address: None,
            outbound_allowed: false,
        },
    };
    let target = &bench.target;
    let model = bench.source.definition(&vm.id).unwrap();
    for _ in 0..2 {
        target.ensure_shadow(&spec, &model).unwrap();
    }
    let shadow = named(&target.inventory().unwrap(), &spec.name);
    assert_eq!(shadow.state, shadowcast::inventory::PowerState::Off);
    assert_eq!(shadow.owner, Some(owner()));
    assert_eq!((shadow.vcpus, shadow.vcpus_max), (1, 2));

    let stranger = ShadowSpec {
        uuid: "5bd2c5a4-9f0e-4b62-9a2e-52d4a7a0c002".to_owned(),
        ..spec.clone()
    };
    let refused = target.ensure_shadow(&stranger, &model);
    assert!(
        matches!(refused, Err(PlatformError::NotOurs { .. })),
        "{refused:?}"
    );
    let theirs = target.ensure_power(
        &Owner {
            engine: EngineId::from("another"),
            ..owner()
        },
        &spec.uuid,
        true,
        0,
    );
    assert!(
        matches!(theirs, Err(PlatformError::NotOurs { .. })),
        "{theirs:?}"
    );

    let before = digest(&bench.layer(layer));
    for _ in 0..2 {
        target.ensure_power(&owner(), &spec.uuid, true, 0).unwrap();
    }
    let url = format!("http://127.0.0.1:{port}/cgi-bin/verify");
    let said = await_that(
        "the shadow verifies what the primary wrote",
        A_WHILE,
        || {
            let output = Command::new("curl")
                .args(["-s", "-m", "20", &url])
                .output()
                .ok()?;
            verified(&String::from_utf8_lossy(&output.stdout))
        },
    );
    assert!(said.ok > 0 && said.bad == 0, "{said:?}");
    let overlays = target.ensure_overlays(&spec);
    assert!(
        matches!(overlays, Err(PlatformError::Busy { .. })),
        "{overlays:?}"
    );

    for _ in 0..2 {
        target
            .ensure_power(&owner(), &spec.uuid, false, 30)
            .unwrap();
    }
    assert_eq!(
        digest(&bench.layer(layer)),
        before,
        "its writes stay in its overlay"
    );
    target.ensure_overlays(&spec).unwrap();
    for _ in 0..2 {
        target.ensure_shadow_absent(&spec).unwrap();
    }
    let names = bench.names(&**target);
    assert!(!names.contains(&spec.name), "{names:?}");
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn faults_are_told_apart_and_leave_the_primary_alone() {
    let test = "faults_are_told_apart_and_leave_the_primary_alone";
    let Some(bench) = Bench::start(test, true) else {
        return;
    };
    disks_that_keep_no_bitmaps_are_refused(&bench);
    somebody_elses_checkpoint_is_left_alone(&bench);
    a_hung_guest_does_not_stall_its_host(&bench);
    a_killed_qemu_loses_its_checkpoints(&bench);
    a_restarted_daemon_is_found_again(&bench);
    if rustix::process::getuid().is_root() {
        a_full_target_refuses_the_layer(&bench);
        a_full_spool_refuses_before_the_job(&bench);
    } else {
        skip(test, "small file systems need root");
    }
}

fn disks_that_keep_no_bitmaps_are_refused(bench: &Bench) {
    let inventory = bench.source.inventory().unwrap();
    let old = inventory
        .vms
        .iter()
        .find(|vm| vm.disks[0].compat.as_deref() == Some("0.10"))
        .unwrap_or_else(|| panic!("{inventory:?}"));
    let spec = bench.spec(old, 0, None);
    let refused = bench
        .source
        .ensure_increment(&spec, false, &Control::default());
    let Err(PlatformError::Unsupported { why, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("qemu-img amend"), "{why}");
    let examination = bench.source.examine().unwrap();
    assert!(
        examination
            .findings
            .iter()
            .any(|finding| finding.text.contains("compat 0.10")),
        "{examination:?}"
    );
}

fn somebody_elses_checkpoint_is_left_alone(bench: &Bench) {
    let vm = bench.vm("search-1");
    let virsh = |words: &[&str]| {
        let output = Command::new("virsh")
            .args(["-c", bench.lab.uri("primary")])
            .args(words)
            .output()
            .unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    virsh(&["checkpoint-create-as", "search-1", "theirs"]);
    assert_eq!(bench.vm("search-1").foreign_jobs, ["checkpoint `theirs`"]);
    let spec = bench.spec(&vm, 0, None);
    let refused = bench
        .source
        .ensure_increment(&spec, false, &Control::default());
    assert!(
        matches!(refused, Err(PlatformError::Busy { .. })),
        "{refused:?}"
    );
    bench
        .source
        .ensure_replication_absent(&vm.id, &owner())
        .unwrap();
    assert!(virsh(&["checkpoint-list", "search-1", "--name"]).contains("theirs"));
    virsh(&["checkpoint-delete", "search-1", "theirs"]);
}

fn qemu_pid(bench: &Bench, host: &str, vm: &str) -> Pid {
    let file = bench
        .lab
        .dir
        .join(host)
        .join("r/libvirt/qemu/run")
        .join(format!("{vm}.pid"));
    let text =
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    Pid::from_raw(text.trim().parse().unwrap()).unwrap()
}

fn a_hung_guest_does_not_stall_its_host(bench: &Bench) {
    let pid = qemu_pid(bench, "primary", "search-1");
    let hung = bench.vm("search-1").id;
    kill_process(pid, Signal::STOP).unwrap();
    for _ in 0..2 {
        let readings = bench.source.sample().unwrap();
        assert_eq!(readings.hung, [hung.clone()]);
        assert_eq!(readings.readings.len(), 3, "{readings:?}");
        assert!(readings.readings.iter().all(|reading| reading.vm != hung));
    }
    assert_eq!(bench.source.inventory().unwrap().vms.len(), 4);
    kill_process(pid, Signal::CONT).unwrap();
    await_that("the guest is out of quarantine", A_WHILE, || {
        let readings = bench.source.sample().ok()?;
        (readings.hung.is_empty() && readings.readings.len() == 4).then_some(())
    });
}

fn a_killed_qemu_loses_its_checkpoints(bench: &Bench) {
    let vm = bench.vm("ledger-1");
    let seed = bench.spec(&vm, 0, None);
    bench.cycle(&seed);
    kill_process(qemu_pid(bench, "primary", "ledger-1"), Signal::KILL).unwrap();
    let domain = bench.domain("primary", &vm);
    await_that("libvirt sees that QEMU is gone", A_WHILE, || {
        (!domain.is_active().unwrap()).then_some(())
    });
    let next = bench.spec(&vm, 1, Some(&seed));
    let off = bench
        .source
        .ensure_increment(&next, false, &Control::default());
    assert!(matches!(off, Err(PlatformError::Busy { .. })), "{off:?}");
    domain.create().unwrap();
    assert_ne!(bench.vm("ledger-1").generation, vm.generation);
    let lost = bench
        .source
        .ensure_increment(&next, false, &Control::default());
    assert!(
        matches!(lost, Err(PlatformError::CheckpointLost { .. })),
        "{lost:?}"
    );
    bench
        .source
        .ensure_replication_absent(&vm.id, &owner())
        .unwrap();
    let full = bench.spec(&vm, 2, None);
    domain.suspend().unwrap();
    bench.cycle(&full);
    identical(
        Path::new(&vm.disks[0].path),
        &bench.layer(&full.disks[0].layer_volume),
    );
    domain.resume().unwrap();
    bench.retire(&vm, &[&seed, &full]);
}

fn a_restarted_daemon_is_found_again(bench: &Bench) {
    let pid = fs::read_to_string(bench.lab.dir.join("primary/libvirtd.pid")).unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    let generation = bench.vm("shop-1").generation;
    kill_process(pid, Signal::KILL).unwrap();
    let gone = await_that("the daemon's end is noticed", A_WHILE, || {
        bench.source.inventory().err()
    });
    assert!(
        matches!(gone, PlatformError::Unreachable { .. }),
        "{gone:?}"
    );
    let mut again = options(bench.lab.dir.clone());
    again.old_disk = true;
    lab::up(&again, &|_| {}).unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!(bench.source.sample().unwrap().readings.len(), 4);
    assert_eq!(
        bench.vm("shop-1").generation,
        generation,
        "it was not started anew"
    );
}

/// A file system of a few MiB, unmounted when it goes out of scope.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf, like: &Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        let like = fs::metadata(like).unwrap();
        fs::create_dir(&at).unwrap();
        let options = format!("size=3m,uid={},gid={},mode=700", like.uid(), like.gid());
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&at)
            .status()
            .unwrap();
        assert!(status.success());
        Self(at)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()));
    }
}

fn pool_at(bench: &Bench, host: &str, name: &str, path: &Path) {
    let connect = Connect::open(Some(bench.lab.uri(host))).unwrap();
    if let Ok(pool) = connect.lookup_storage_pool_by_name(name) {
        pool.destroy().unwrap();
        pool.undefine().unwrap();
    }
    let xml = format!(
        "<pool type='dir'><name>{name}</name><target><path>{}</path></target></pool>",
        path.display()
    );
    let pool = connect.define_storage_pool_xml(&xml, 0).unwrap();
    pool.create(0).unwrap();
}

fn a_full_target_refuses_the_layer(bench: &Bench) {
    let home = bench.lab.dir.join("secondary");
    let disk = SmallDisk::mount(home.join("small"), &home.join("shadow"));
    pool_at(bench, "secondary", "small", &disk.0);
    let vm = bench.vm("shop-1");
    let mut spec = bench.spec(&vm, 0, None);
    spec.target_storage = "small".to_owned();
    bench
        .source
        .ensure_increment(&spec, false, &Control::default())
        .unwrap();
    let full = bench.ship(&spec);
    assert!(
        matches!(full, Err(PlatformError::NoSpace { .. })),
        "{full:?}"
    );
    assert_eq!(
        fs::read_dir(&disk.0).unwrap().count(),
        0,
        "no partial layer stays"
    );
    bench.retire(&vm, &[]);
    let connect = Connect::open(Some(bench.lab.uri("secondary"))).unwrap();
    let pool = connect.lookup_storage_pool_by_name("small").unwrap();
    pool.destroy().unwrap();
    pool.undefine().unwrap();
}

fn a_full_spool_refuses_before_the_job(bench: &Bench) {
    let home = bench.lab.dir.join("primary");
    let disk = SmallDisk::mount(home.join("small"), &home.join("spool"));
    pool_at(bench, "primary", "spool", &disk.0);
    let vm = bench.vm("shop-1");
    let spec = bench.spec(&vm, 0, None);
    let full = bench
        .source
        .ensure_increment(&spec, false, &Control::default());
    assert!(
        matches!(full, Err(PlatformError::NoSpace { .. })),
        "{full:?}"
    );
    assert_eq!(fs::read_dir(&disk.0).unwrap().count(), 0);
    bench.retire(&vm, &[]);
    assert_eq!(
        bench.vm("shop-1").id,
        VmId::of(&SourceName::from("primary"), vm.id.uuid())
    );
    pool_at(bench, "primary", "spool", &home.join("spool"));
}
