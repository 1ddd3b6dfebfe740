//! Looks at hosts and balancer past the program under test: what is there, what is left, what a disk holds.
#![allow(
    dead_code,
    reason = "each test program uses the part of it that it needs"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use jiff::Timestamp;
use virt::{connect::Connect, domain::Domain, sys::VIR_DOMAIN_START_AUTODESTROY};

use crate::{
    console::{Console, await_that_shown},
    support::{Lab, Verified, await_that, verified},
};

const LEASE: &str = "shadowcast-lease-";
const BOOTS_WITHIN: Duration = Duration::from_mins(2);

pub fn host(lab: &Lab, name: &str) -> Connect {
    Connect::open(Some(lab.uri(name))).expect("the host answers")
}

pub fn domain(lab: &Lab, host_name: &str, name: &str) -> Domain {
    host(lab, host_name)
        .lookup_domain_by_name(name)
        .expect("the host has this VM")
}

/// The hosts' leases, by the folder in which they lie.
pub fn leases(lab: &Lab) -> Vec<PathBuf> {
    let folders = ["primary", "secondary"].map(|host| lab.dir.join(host));
    let pools = folders.iter().flat_map(|host| {
        let entries = fs::read_dir(host).expect("a host's folder can be read");
        entries.map(|entry| entry.expect("an entry").path())
    });
    pools
        .filter(|pool| pool.is_dir())
        // The daemons' own folders are closed to others.
        .filter_map(|pool| fs::read_dir(pool).ok())
        .flatten()
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| is_lease(path))
        .collect()
}

pub fn is_lease(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().starts_with(LEASE)
}

/// Everything that is not the lab's own, by the place where it is.
pub fn ours(lab: &Lab) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    let guests: BTreeSet<&str> = lab.status.guests.iter().map(|guest| &*guest.name).collect();
    for name in ["primary", "secondary"] {
        let host = host(lab, name);
        let domains = host.list_all_domains(0).expect("a list of VMs");
        found.insert(
            format!("{name} VMs"),
            (domains.iter())
                .map(|domain| domain.name().expect("a VM has a name"))
                .filter(|name| !guests.contains(&**name))
                .collect(),
        );
        for pool in host.list_all_storage_pools(0).expect("a list of pools") {
            let pool_name = pool.name().expect("a pool has a name");
            let folder = lab.dir.join(name).join(&pool_name);
            // The folder itself, not what libvirt remembers of it.
            let files = fs::read_dir(&folder).expect("the pool's folder can be read");
            found.insert(
                format!("{name} {pool_name}"),
                files
                    .map(|file| {
                        file.expect("an entry")
                            .file_name()
                            .to_string_lossy()
                            .into_owned()
                    })
                    .filter(|file| !guests.contains(file.trim_end_matches(".qcow2")))
                    // A console that runs holds the hosts that it may change.
                    .filter(|file| !file.starts_with(LEASE))
                    .collect(),
            );
        }
    }
    for guest in &lab.status.guests {
        found.insert(
            format!("{} checkpoints", guest.name),
            checkpoints(lab, &guest.name),
        );
    }
    for service in &lab.status.services {
        let members: BTreeSet<&str> = (service.members.iter())
            .map(|(_, server)| &**server)
            .collect();
        found.insert(
            format!("{} servers", service.name),
            servers(lab, &service.backend)
                .into_iter()
                .filter(|server| !members.contains(&**server))
                .collect(),
        );
    }
    found
}

/// Fails with what is left, where anything is.
#[track_caller]
pub fn nothing_is_left(lab: &Lab) {
    let left: BTreeMap<_, _> = ours(lab)
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .collect();
    assert!(left.is_empty(), "left over: {left:#?}");
}

/// By the command line: the crate has no call for it.
pub fn checkpoints(lab: &Lab, vm: &str) -> BTreeSet<String> {
    let output = Command::new("virsh")
        .args(["-c", lab.uri("primary"), "checkpoint-list", vm, "--name"])
        .output()
        .expect("virsh starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .map(ToOwned::to_owned)
        .collect()
}

pub fn servers(lab: &Lab, backend: &str) -> BTreeSet<String> {
    lab.haproxy(&format!("show servers state {backend}"))
        .lines()
        .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()))
        .filter_map(|line| line.split_whitespace().nth(3).map(ToOwned::to_owned))
        .collect()
}

/// The server that was added to the lab's own.
pub fn shadow_server(lab: &Lab, backend: &str) -> Option<String> {
    let added = ours(lab).remove(&format!("{backend} servers"))?;
    assert!(added.len() <= 1, "{added:?}");
    added.into_iter().next()
}

/// As HAProxy itself says it.
pub fn weight(lab: &Lab, backend: &str, server: &str) -> u32 {
    let answer = lab.haproxy(&format!("get weight {backend}/{server}"));
    let number = answer.split_whitespace().next();
    number
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("{backend}/{server}: {answer}"))
}

/// Requests that a server has been given so far.
pub fn requests(lab: &Lab, backend: &str, server: &str) -> u64 {
    let stats = lab.haproxy("show stat");
    let mut lines = stats.lines();
    let header: Vec<&str> = lines
        .next()
        .expect("a header")
        .trim_start_matches("# ")
        .split(',')
        .collect();
    let column = |name: &str| {
        let found = header.iter().position(|column| *column == name);
        found.unwrap_or_else(|| panic!("{name} in {header:?}"))
    };
    let (backend_at, server_at, total_at) = (column("pxname"), column("svname"), column("stot"));
    lines
        .map(|line| line.split(',').collect::<Vec<_>>())
        .find(|row| row.len() > total_at && row[backend_at] == backend && row[server_at] == server)
        .and_then(|row| row[total_at].parse().ok())
        .unwrap_or_else(|| panic!("{backend}/{server} in {stats}"))
}

pub fn primary_disk(lab: &Lab, guest: &str) -> PathBuf {
    lab.dir.join(format!("primary/images/{guest}.qcow2"))
}

pub fn layer(lab: &Lab, volume: &str) -> PathBuf {
    lab.dir.join("secondary/shadow").join(volume)
}

/// Compares what a guest would read of both, chains included.
#[track_caller]
pub fn identical(a: &Path, b: &Path) {
    let output = Command::new("qemu-img")
        .args(["compare", "-U", "-f", "qcow2", "-F", "qcow2"])
        .args([a, b])
        .output()
        .expect("qemu-img starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("Images are identical"),
        "{} {}: {said}{}",
        a.display(),
        b.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The two hosts' image folders are different ones, hold no file in common, and no chain leads from one to the other.
pub fn nothing_is_shared(lab: &Lab, newest: &Path) {
    let files = |host: &str, pools: &[&str]| -> BTreeSet<(u64, u64)> {
        pools
            .iter()
            .flat_map(|pool| fs::read_dir(lab.dir.join(host).join(pool)).expect("a folder"))
            .filter_map(|file| fs::metadata(file.expect("an entry").path()).ok())
            .map(|file| (file.dev(), file.ino()))
            .collect()
    };
    let primary = files("primary", &["images", "spool"]);
    let secondary = files("secondary", &["shadow"]);
    assert!(!primary.is_empty() && !secondary.is_empty());
    assert!(primary.is_disjoint(&secondary));

    let output = Command::new("qemu-img")
        .args(["info", "-U", "--backing-chain", "--output=json"])
        .arg(newest)
        .output()
        .expect("qemu-img starts");
    let chain: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("qemu-img says what the chain is");
    let home = lab.dir.join("secondary/shadow");
    for image in chain.as_array().expect("a chain") {
        let file = Path::new(image["filename"].as_str().expect("a file name"));
        assert_eq!(file.parent(), Some(&*home), "{chain:#}");
    }
}

/// Boots a throw-away clone on `layer` that recomputes every checksum on the disk, and says what it found.
pub fn boot_and_verify(lab: &Lab, layer: &Path) -> (Verified, u64) {
    let home = lab.dir.join("secondary");
    let (overlay, console) = (
        home.join("validate.qcow2"),
        home.join("console/validate.log"),
    );
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"])
        .args([layer, &*overlay])
        .status()
        .expect("qemu-img starts");
    assert!(made.success());
    let owner = fs::metadata(&home).expect("the host's folder");
    chown(&overlay, Some(owner.uid()), Some(owner.gid())).expect("the overlay is the host's");
    let boot = lab.dir.join("boot");
    let xml = format!(
        "<domain type='qemu'><name>validate</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{boot}/vmlinuz</kernel><initrd>{boot}/initramfs.gz</initrd>
    <cmdline>console=ttyS0 quiet panic=1 name=validate role=validate</cmdline></os>
  <features><acpi/></features><on_reboot>destroy</on_reboot>
  <devices>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
      <source file='{overlay}'/><target dev='vda' bus='virtio'/></disk>
    <serial type='file'><source path='{console}'/></serial>
  </devices></domain>",
        boot = boot.display(),
        overlay = overlay.display(),
        console = console.display(),
    );
    // Gone with this connection, whatever happens here.
    let host = host(lab, "secondary");
    host.create_domain_xml(&xml, VIR_DOMAIN_START_AUTODESTROY)
        .expect("the clone starts");
    let said = await_that("the clone has verified its disk", BOOTS_WITHIN, || {
        let text = fs::read_to_string(&console).unwrap_or_default();
        let line = text.lines().find(|line| line.contains("VALIDATE"))?;
        line.contains("last=").then(|| line.trim().to_owned())
    });
    await_that("the clone is gone", BOOTS_WITHIN, || {
        host.lookup_domain_by_name("validate").err()
    });
    fs::remove_file(&overlay).expect("the overlay is removed");
    let found = verified(&said).unwrap_or_else(|| panic!("{said}"));
    (found, last_written(&said))
}

/// The newest file's number in `last=…`.
pub fn last_written(text: &str) -> u64 {
    text.split_whitespace()
        .find_map(|word| word.strip_prefix("last="))
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no last= in {text}"))
}

/// Pauses the primary, waits for a point taken since, compares both sides, and lets it go on. Returns the point's layer.
pub fn identical_while_paused(lab: &Lab, console: &Console, vm: &str, shadow: &str) -> PathBuf {
    let primary = domain(lab, "primary", vm);
    primary.suspend().expect("the primary pauses");
    let paused_at = Timestamp::now();
    console.ok(&["shadow", "sync", shadow]);
    let volume = await_that_shown(
        "a point of the paused primary",
        BOOTS_WITHIN,
        || {
            let row = console.shadow(shadow);
            let newest = row["points"].as_array()?.last()?.clone();
            let at: Timestamp = newest["at"].as_str()?.parse().ok()?;
            (at > paused_at).then(|| newest["layers"][0].as_str().expect("a layer").to_owned())
        },
        || format!("{:#}", console.shadow(shadow)),
    );
    let layer = layer(lab, &volume);
    identical(&primary_disk(lab, vm), &layer);
    primary.resume().expect("the primary goes on");
    layer
}
