//! Guests: a tiny Linux each, with a disk that it keeps writing checksummed files to and a web server.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use virt::{connect::Connect, error::ErrorNumber};

use super::{
    host::{last_lines, on_host},
    http::Client,
    layout::{Layout, RunAs},
    preflight::Tools,
    process::wait_until,
    record::{GuestRecord, PRIMARY, Record},
};
use crate::problem::Problem;

const AGENT_CHANNEL: &str = "
    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>";
const DISK: &str = "64M";
/// Under emulation on a busy machine a guest takes many times the usual six seconds.
const BOOT_LIMIT: Duration = Duration::from_secs(150);

/// Makes the guests' disks and starts the guests that do not run; says whether any was started.
///
/// # Errors
/// When a disk cannot be made or libvirt refuses a guest.
pub fn ensure_started(
    layout: &Layout,
    tools: &Tools,
    run_as: RunAs,
    record: &Record,
) -> Result<bool, Problem> {
    make_disks(layout, tools, run_as, &record.guests).map_err(|error| {
        Problem::failed(
            "The guests' disks were not made.",
            error.to_string(),
            "Make room or give another folder with --dir.",
        )
    })?;
    let definitions: Vec<(String, String)> = record
        .guests
        .iter()
        .enumerate()
        .map(|(index, guest)| (guest.name.clone(), definition(layout, tools, index, guest)))
        .collect();
    on_host(layout, PRIMARY, Duration::from_mins(2), move |connection| {
        let mut started = false;
        for (name, xml) in &definitions {
            started |= ensure_one_started(connection, name, xml)?;
        }
        Ok(started)
    })
}

fn ensure_one_started(
    connection: &Connect,
    name: &str,
    xml: &str,
) -> Result<bool, virt::error::Error> {
    let domain = match connection.lookup_domain_by_name(name) {
        Err(error)
            if error
                .code()
                .is_known_and(|code| code == ErrorNumber::NoDomain) =>
        {
            connection.define_domain_xml(xml)?
        }
        found => found?,
    };
    if domain.is_active()? {
        return Ok(false);
    }
    domain.create()?;
    Ok(true)
}

fn disk(layout: &Layout, guest: &str) -> PathBuf {
    layout
        .host(PRIMARY)
        .join("images")
        .join(format!("{guest}.qcow2"))
}

/// Where the guest's serial console is written to.
pub fn console(layout: &Layout, guest: &str) -> PathBuf {
    layout
        .host(PRIMARY)
        .join("console")
        .join(format!("{guest}.log"))
}

fn make_disks(
    layout: &Layout,
    tools: &Tools,
    run_as: RunAs,
    guests: &[GuestRecord],
) -> io::Result<()> {
    let missing: Vec<&GuestRecord> = guests
        .iter()
        .filter(|guest| !disk(layout, &guest.name).exists())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let template = layout.boot().join("empty-ext4.raw");
    run(Command::new("truncate").args(["-s", DISK]).arg(&template))?;
    run(Command::new(&tools.mkfs_ext4)
        .args(["-q", "-F", "-m", "0"])
        .arg(&template))?;
    for guest in missing {
        let disk = disk(layout, &guest.name);
        let unfinished = disk.with_extension("new");
        run(Command::new(&tools.qemu_img)
            .args(["convert", "-f", "raw", "-O", "qcow2", "-o"])
            .arg(format!("compat={}", guest.disk_compat))
            .arg(&template)
            .arg(&unfinished))?;
        run_as.give(&unfinished)?;
        fs::rename(&unfinished, &disk)?;
    }
    fs::remove_file(template)
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!(
        "{}: {}; {said}",
        Path::new(command.get_program()).display(),
        output.status
    )))
}

/// All names in it are plain: the folder's by `preflight::folder`, the guests' are our own.
fn definition(layout: &Layout, tools: &Tools, index: usize, guest: &GuestRecord) -> String {
    let GuestRecord {
        name, uuid, port, ..
    } = guest;
    let (kernel, initramfs) = (layout.kernel(), layout.initramfs());
    let (kernel, initramfs) = (kernel.display(), initramfs.display());
    let agent = if guest.agent { AGENT_CHANNEL } else { "" };
    let qemu = tools.qemu.display();
    let disk = disk(layout, name);
    let disk = disk.display();
    let console = console(layout, name);
    let console = console.display();
    format!(
        "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>128</memory>
  <vcpu placement='static' current='1'>4</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initramfs}</initrd>
    <cmdline>console=ttyS0 quiet panic=1 name={name} role=primary</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='custom' match='exact'><model>qemu64</model></cpu>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>{qemu}</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' discard='unmap'/>
      <source file='{disk}'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <serial type='file'><source path='{console}'/><target port='0'/></serial>
    <memballoon model='virtio'><stats period='2'/></memballoon>{agent}
  </devices>
  <qemu:commandline>
    <qemu:arg value='-netdev'/>
    <qemu:arg value='user,id=u0,hostfwd=tcp:127.0.0.1:{port}-:80'/>
    <qemu:arg value='-device'/>
    <qemu:arg value='virtio-net-pci,netdev=u0,mac=52:54:00:1a:b0:{index:02x},addr=0x10'/>
  </qemu:commandline>
</domain>"
    )
}

/// Waits until every guest serves.
///
/// # Errors
/// Names the guest that does not and the end of its console.
pub fn wait_serving(layout: &Layout, record: &Record, client: &Client) -> Result<(), Problem> {
    let mut waiting: Vec<&GuestRecord> = record.guests.iter().collect();
    let all = wait_until(BOOT_LIMIT, || {
        waiting.retain(|guest| {
            let url = format!("http://127.0.0.1:{}/", guest.port);
            !matches!(client.get(&url, Duration::from_secs(2)), Ok((200, _)))
        });
        waiting.is_empty().then_some(())
    });
    all.ok_or_else(|| {
        let why: Vec<String> = waiting
            .iter()
            .map(|guest| {
                let said = last_lines(&console(layout, &guest.name));
                format!(
                    "{} does not answer after {BOOT_LIMIT:?}; console: {said}",
                    guest.name
                )
            })
            .collect();
        Problem::failed(
            "The lab's guests did not come up.",
            why.join("; "),
            "Try again when the machine is less busy.",
        )
    })
}
