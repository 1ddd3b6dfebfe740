//! Faults of real hosts are told apart, and leave the primary and what others made alone.

mod support;

#[path = "support/bench.rs"]
mod bench;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use bench::{A_WHILE, Bench, identical, increment, names, owner};
use rustix::process::{Pid, Signal, kill_process};
use shadowcast::{
    hypervisor::{Control, PlatformError, libvirt::use_watchdog_program},
    lab,
    units::{SourceName, VmId},
};
use support::{await_that, options, skip};
use virt::connect::Connect;

#[test]
fn faults_are_told_apart_and_leave_the_primary_alone() {
    let test = "faults_are_told_apart_and_leave_the_primary_alone";
    let Some(bench) = Bench::start(test, true) else {
        return;
    };
    disks_that_keep_no_bitmaps_are_refused(&bench);
    a_freeze_without_an_agent_is_refused(&bench);
    a_frozen_point_leaves_the_guest_thawed(&bench);
    a_guest_whose_engine_died_while_it_was_frozen_is_thawed(&bench);
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
    let spec = increment(old, 0, None);
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

fn a_freeze_without_an_agent_is_refused(bench: &Bench) {
    let mut spec = increment(&bench.vm("search-1"), 0, None);
    spec.freeze = true;
    let refused = bench
        .source
        .ensure_increment(&spec, false, &Control::default());
    assert!(
        matches!(refused, Err(PlatformError::Unsupported { .. })),
        "{refused:?}"
    );
    assert_eq!(names(&*bench.source), [""; 0]);
}

/// What the guest's agent answers to one of its commands.
fn agent(bench: &Bench, vm: &str, command: &str) -> String {
    let output = Command::new("virsh")
        .args(["-c", bench.lab.uri("primary"), "qemu-agent-command", vm])
        .arg(format!("{{\"execute\":\"{command}\"}}"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{command}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

const THAWED: &str = r#"{"return":"thawed"}"#;
const FROZEN: &str = r#"{"return":"frozen"}"#;

fn a_frozen_point_leaves_the_guest_thawed(bench: &Bench) {
    use_watchdog_program(env!("CARGO_BIN_EXE_shadowcast").into());
    let vm = bench.vm("shop-1");
    let mut spec = increment(&vm, 0, None);
    spec.freeze = true;
    await_that("the guest's agent answers", A_WHILE, || {
        let domain = bench.domain("primary", &vm);
        domain.time(0).ok()
    });
    bench.cycle(&spec);
    assert_eq!(agent(bench, "shop-1", "guest-fsfreeze-status"), THAWED);
    bench.retire(&vm, &[&spec]);
}

/// A watchdog as the engine starts it, ready to thaw.
fn watchdog(bench: &Bench, vm: &VmId, after_seconds: &str) -> Child {
    let mut child = Command::new(env!("CARGO_BIN_EXE_shadowcast"))
        .args(["watchdog", "thaw", "--uri", bench.lab.uri("primary")])
        .args(["--uuid", vm.uuid(), "--after", after_seconds])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let stdout = child.stdout.as_mut().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

fn a_guest_whose_engine_died_while_it_was_frozen_is_thawed(bench: &Bench) {
    let vm = bench.vm("shop-1").id;
    // The engine's end of the pipe closes when it dies; one that hangs is given its seconds.
    for (after_seconds, dies) in [("600", true), ("1", false)] {
        let mut dog = watchdog(bench, &vm, after_seconds);
        agent(bench, "shop-1", "guest-fsfreeze-freeze");
        if dies {
            assert_eq!(agent(bench, "shop-1", "guest-fsfreeze-status"), FROZEN);
            drop(dog.stdin.take());
        }
        assert!(dog.wait().unwrap().success());
        assert_eq!(agent(bench, "shop-1", "guest-fsfreeze-status"), THAWED);
    }
    // Told that the guest is thawed it does nothing, even to one that somebody else froze.
    let mut dog = watchdog(bench, &vm, "600");
    agent(bench, "shop-1", "guest-fsfreeze-freeze");
    dog.stdin.take().unwrap().write_all(b".").unwrap();
    assert!(dog.wait().unwrap().success());
    assert_eq!(agent(bench, "shop-1", "guest-fsfreeze-status"), FROZEN);
    agent(bench, "shop-1", "guest-fsfreeze-thaw");
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
    let spec = increment(&vm, 0, None);
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
        assert_eq!(readings.hung, std::slice::from_ref(&hung));
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
    let seed = increment(&vm, 0, None);
    bench.cycle(&seed);
    kill_process(qemu_pid(bench, "primary", "ledger-1"), Signal::KILL).unwrap();
    let domain = bench.domain("primary", &vm);
    await_that("libvirt sees that QEMU is gone", A_WHILE, || {
        (!domain.is_active().unwrap()).then_some(())
    });
    let next = increment(&vm, 1, Some(&seed));
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
    let full = increment(&vm, 2, None);
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

/// A file system of one MiB, unmounted when it goes out of scope.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf, like: &Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        let like = fs::metadata(like).unwrap();
        fs::create_dir(&at).unwrap();
        let options = format!("size=1m,uid={},gid={},mode=700", like.uid(), like.gid());
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
    let mut spec = increment(&vm, 0, None);
    "small".clone_into(&mut spec.target_storage);
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
    let spec = increment(&vm, 0, None);
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
