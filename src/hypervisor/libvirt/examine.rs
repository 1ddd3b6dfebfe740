//! `source test`: what works on a host, what is missing, what permission lacks.

use virt::{connect::Connect, error::ErrorNumber};
use virt_sys as sys;

use super::{domain_xml, inventory, raw, volumes, worker::Link};
use crate::{
    hypervisor::{Examination, Finding, PlatformError},
    inventory::{DiskFormat, Inventory, Vm},
    units::printable,
};

/// Looks at a host; `inventory` is a fresh one.
pub fn look(link: &Link, inventory: &Inventory) -> Result<Examination, PlatformError> {
    let mut findings = vec![works(format!("lists its {} VMs", inventory.vms.len()))];
    findings.push(statistics(link));
    findings.push(permission(link));
    findings.extend(storage(link)?);
    findings.push(acceleration(link)?);
    findings.extend(inventory.vms.iter().flat_map(about_vm));
    Ok(Examination {
        platform: versions(&link.connect),
        findings,
        millis: 0,
    })
}

fn works(text: impl Into<String>) -> Finding {
    Finding {
        works: true,
        needed: true,
        text: text.into(),
    }
}

fn lacks(needed: bool, text: impl Into<String>) -> Finding {
    Finding {
        works: false,
        needed,
        text: text.into(),
    }
}

fn versions(connect: &Connect) -> String {
    let driver = connect
        .driver_type()
        .unwrap_or_else(|_| "driver".to_owned());
    let of = |number: u32| {
        format!(
            "{}.{}.{}",
            number / 1_000_000,
            number / 1000 % 1000,
            number % 1000
        )
    };
    let libvirt = connect.lib_version().map_or_else(|_| "?".to_owned(), of);
    let hypervisor = connect.hyp_version().map_or_else(|_| "?".to_owned(), of);
    format!("libvirt {libvirt}, {driver} {hypervisor}")
}

fn statistics(link: &Link) -> Finding {
    // The state alone: it answers even while a guest hangs, and needs the same permission.
    let flags = sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE;
    match raw::all_domain_stats(&link.connect, sys::VIR_DOMAIN_STATS_STATE, flags) {
        Ok(_) => works("reads statistics in bulk"),
        Err(error) => lacks(false, format!("no statistics: {}", error.message())),
    }
}

/// Defining needs a read-write connection; an empty definition shows without changing anything whether it is one.
fn permission(link: &Link) -> Finding {
    match link.connect.define_domain_xml("<domain/>") {
        Err(error)
            if error.code().is(ErrorNumber::OperationDenied)
                || error.code().is(ErrorNumber::AccessDenied)
                || error.code().is(ErrorNumber::AuthFailed) =>
        {
            lacks(true, format!("may not define VMs: {}", error.message()))
        }
        Ok(_) | Err(_) => works("may define VMs"),
    }
}

fn storage(link: &Link) -> Result<Vec<Finding>, PlatformError> {
    let mut found = Vec::new();
    let (mut targets, mut spool) = (0, false);
    for pool in inventory::directories(link)? {
        let name = pool.name().map_err(link.during("list storage"))?;
        if volumes::is_spool(&name) {
            spool = true;
            continue;
        }
        targets += 1;
        let info = pool
            .info()
            .map_err(link.during(format!("storage {name}")))?;
        found.push(works(format!(
            "storage {} can keep shadows: {} MiB of {} MiB free",
            printable(&name),
            info.available >> 20,
            info.capacity >> 20
        )));
    }
    if targets == 0 {
        found.push(lacks(
            false,
            "no active storage pool of type dir: shadows cannot be placed here",
        ));
    }
    found.push(if spool {
        works("increments are laid into the pool `spool`")
    } else {
        Finding {
            works: true,
            needed: false,
            text: "no pool `spool`: increments are laid beside a VM's first disk; its file system must have room for a full copy"
                .to_owned(),
        }
    });
    Ok(found)
}

fn acceleration(link: &Link) -> Result<Finding, PlatformError> {
    Ok(if has_kvm(link)? {
        works("runs VMs with KVM")
    } else {
        lacks(
            false,
            "no KVM: shadows run emulated (TCG) and are many times slower",
        )
    })
}

/// Whether the host can run VMs with KVM.
pub fn has_kvm(link: &Link) -> Result<bool, PlatformError> {
    let xml = link
        .connect
        .capabilities()
        .map_err(link.during("read capabilities"))?;
    let document = domain_xml::parse("the host", &xml)?;
    Ok(document
        .descendants()
        .any(|node| node.has_tag_name("domain") && node.attribute("type") == Some("kvm")))
}

fn about_vm(vm: &Vm) -> Vec<Finding> {
    let name = printable(&vm.name);
    let mut found = Vec::new();
    for disk in vm.disks.iter().filter(|disk| !disk.read_only) {
        let why = match (disk.format, disk.compat.as_deref()) {
            (DiskFormat::Qcow2, Some("0.10")) => {
                "is qcow2 compat 0.10: raise it with `qemu-img amend -o compat=1.1` while the VM is off"
            }
            (DiskFormat::Raw, _) => {
                "is raw: convert it with `qemu-img convert -O qcow2 -o compat=1.1` while the VM is off"
            }
            (DiskFormat::Other, _) => "is neither qcow2 nor raw",
            (DiskFormat::Qcow2, _) => continue,
        };
        found.push(lacks(
            false,
            format!("{name}: disk {} cannot be shadowed, it {why}", disk.target),
        ));
    }
    for job in &vm.foreign_jobs {
        found.push(lacks(
            false,
            format!(
                "{name}: {} is somebody else's; replication would disturb it",
                printable(job)
            ),
        ));
    }
    found
}
