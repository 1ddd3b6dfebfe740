//! Real libvirt and QEMU behind the seams: a disk is replicated, a shadow serves on it, and nothing is left behind.

mod support;

#[path = "support/bench.rs"]
mod bench;

use std::{
    fs,
    io::{self, Read},
    path::Path,
    process::Command,
};

use bench::{A_WHILE, Bench, STORAGE, digest, identical, increment, named, names, owner};
use shadowcast::{
    hypervisor::{Control, PlatformError},
    inventory::{Owner, PowerState, Vm},
    replication::{IncrementSpec, Manifest},
    shadow::{OverlaySpec, ShadowNetwork, ShadowSpec},
    units::{EngineId, PoolId, ShadowId},
};
use support::{await_that, get, verified};

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
    let seed = increment(&vm, 0, None);
    let shipped = bench.cycle(&seed);
    assert!(shipped > 1 << 20, "{shipped}");

    let first = increment(&vm, 1, Some(&seed));
    an_increment_can_be_taken_twice_and_resumed(&bench, &first);
    a_cut_transfer_leaves_no_layer(&bench, &first);
    bench.ship(&first).unwrap();
    bench.source.ensure_increment_finished(&first).unwrap();

    let second = increment(&vm, 2, Some(&first));
    a_cancelled_increment_leaves_nothing(&bench, &second);
    // Nothing is written while it is paused: then both sides must hold the same bytes.
    let domain = bench.domain("primary", &vm);
    domain.suspend().unwrap();
    let bytes = bench.cycle(&second);
    identical(
        Path::new(&vm.disks[0].path),
        &bench.layer(&second.disks[0].layer_volume),
    );
    domain.resume().unwrap();
    assert!(bytes < shipped, "{bytes} of {shipped}");

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
    assert_eq!(resumed, again);
    let owned = names(&*bench.source);
    let checkpoints = owned.iter().filter(|name| **name == spec.checkpoint);
    assert_eq!(checkpoints.count(), 1, "{owned:?}");
}

fn a_cut_transfer_leaves_no_layer(bench: &Bench, spec: &IncrementSpec) {
    let spool = bench.source.read_spool(spec, 0).unwrap();
    let mut spool = BreaksOff(spool, 100_000);
    let cut = bench
        .target
        .ensure_layer(spec, 0, &mut spool, &Control::default());
    assert!(matches!(cut, Err(PlatformError::Failed { .. })), "{cut:?}");
    let owned = names(&*bench.target);
    assert!(!owned.contains(&spec.disks[0].layer_volume), "{owned:?}");
}

fn a_cancelled_increment_leaves_nothing(bench: &Bench, spec: &IncrementSpec) {
    let control = Control::default();
    control.cancel();
    let cancelled = bench.source.ensure_increment(spec, false, &control);
    assert_eq!(cancelled, Err(PlatformError::Cancelled));
    let owned = names(&*bench.source);
    assert!(!owned.contains(&spec.checkpoint), "{owned:?}");
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
        merging: None,
        garbage: Vec::new(),
        stalled: None,
        last_cycle_millis: None,
        active: true,
    };
    for number in 1..=3 {
        manifest.next_number = number;
        bench.target.ensure_manifest(&manifest).unwrap();
        let copies: Vec<String> = names(&*bench.target);
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
        // Short: libvirt 9.0 cuts names after 20 bytes for its sockets' paths, in the middle of a character if need be.
        name: "a<&\"'$(x)\u{202e}1".to_owned(),
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
            more: Vec::new(),
        },
    };
    let target = &bench.target;
    let model = bench.source.definition(&vm.id).unwrap();
    for _ in 0..2 {
        target.ensure_shadow(&spec, &model).unwrap();
    }
    let shadow = named(&target.inventory().unwrap(), &spec.name);
    assert_eq!(shadow.state, PowerState::Off);
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
    a_shadow_with_a_static_address_answers(bench, &spec, &model);
    for _ in 0..2 {
        target.ensure_shadow_absent(&spec).unwrap();
    }
    let owned = names(&**target);
    assert!(!owned.contains(&spec.name), "{owned:?}");
}

fn a_shadow_with_a_static_address_answers(bench: &Bench, spec: &ShadowSpec, model: &str) {
    let mut spec = spec.clone();
    spec.network.guest_address = Some("10.0.2.15/24".to_owned());
    bench.target.ensure_shadow(&spec, model).unwrap();
    let power = |on| {
        bench
            .target
            .ensure_power(&owner(), &spec.uuid, on, 0)
            .unwrap();
    };
    power(true);
    let url = format!("http://127.0.0.1:{}/", spec.network.port);
    await_that("the shadow answers", A_WHILE, || {
        let status = Command::new("curl")
            .args(["-sf", "-m", "20", &url])
            .output();
        status
            .is_ok_and(|output| output.status.success())
            .then_some(())
    });
    power(false);
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
