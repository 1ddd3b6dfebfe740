//! A shadow's domain XML, derived from its primary's.
//!
//! A serving shadow is a clone on production. So what makes the guest itself (firmware, kernel, CPU, disks' buses)
//! is kept, and what ties it to the primary's host or network is not: interfaces, host devices, files, sockets,
//! graphics, pinning. Devices are an allow list, so that what we do not know is left out. The only way in is the
//! service's port, over QEMU's user-mode network.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, ToSocketAddrs},
};

use roxmltree::Node;

use super::{
    domain_xml::{self, NAMESPACE},
    element::Element,
};
use crate::{
    hypervisor::PlatformError,
    shadow::{Forward, ShadowNetwork, ShadowSpec},
};

const QEMU_NAMESPACE: &str = "http://libvirt.org/schemas/domain/qemu/1.0";
/// Parts of a domain that are the guest's own.
const KEPT: [&str; 5] = ["features", "cpu", "clock", "sysinfo", "pm"];
/// Devices that have nothing outside the guest.
const KEPT_DEVICES: [&str; 6] = [
    "controller",
    "input",
    "memballoon",
    "video",
    "watchdog",
    "panic",
];
/// What a kept device must not bring along.
const TIES: [&str; 5] = ["alias", "backend", "driver", "seclabel", "source"];
const AGENT: &str = "org.qemu.guest_agent.0";
/// The slot of the shadow's network card where it is free: guests often name interfaces by slot.
const NIC_SLOT: u32 = 0x1c;

/// Writes the definition. `disks` are paths on the target, in the order of the spec's overlays. Of a clone that is tried,
/// `console` is the file that its console is kept in; it does not start anew when it ends.
///
/// # Errors
/// When the model is no domain, lacks a disk, or the network cannot be made.
pub fn build(
    spec: &ShadowSpec,
    model: &str,
    disks: &[String],
    has_kvm: bool,
    console: Option<&str>,
) -> Result<String, PlatformError> {
    let document = domain_xml::parse("the primary", model)?;
    let root = document.root_element();
    if !root.has_tag_name("domain") {
        return Err(failed("the primary's description is of no domain"));
    }
    let emulated = root.attribute("type") != Some("kvm") || !has_kvm;
    let bytes = spec.memory_bytes.to_string();
    let size = |name: &str| Element::new(name).attribute("unit", "bytes").text(&bytes);
    let mut domain = Element::new("domain")
        .attribute("type", if emulated { "qemu" } else { "kvm" })
        .attribute("xmlns:qemu", QEMU_NAMESPACE)
        .with(Element::new("name").text(&spec.name))
        .with(Element::new("uuid").text(&spec.uuid))
        .with(Element::new("metadata").with(mark(spec)))
        .with(size("memory"))
        .with(size("currentMemory"))
        .with(
            Element::new("vcpu")
                .attribute("placement", "static")
                .attribute("current", &spec.vcpus.to_string())
                .text(&spec.vcpus_max.max(spec.vcpus).to_string()),
        );
    if let Some(os) = domain_xml::child(root, "os") {
        // The variables' file is the primary's; libvirt makes a new one from the firmware's template.
        domain = domain.with(Element::copy(os, &|node| !node.has_tag_name("nvram")));
    }
    let lost_kvm = emulated && root.attribute("type") == Some("kvm");
    let keep = |node: Node| keeps(node, lost_kvm);
    domain = domain.with_all(
        root.children()
            .filter(|node| KEPT.contains(&node.tag_name().name()) && keep(*node))
            .map(|node| Element::copy(node, &keep)),
    );
    for (event, action) in [
        ("on_poweroff", "destroy"),
        (
            "on_reboot",
            if console.is_some() {
                "destroy"
            } else {
                "restart"
            },
        ),
        ("on_crash", "destroy"),
    ] {
        domain = domain.with(Element::new(event).text(action));
    }
    let devices = domain_xml::child(root, "devices");
    let (devices, slots) = devices_of(spec, devices, disks, console)?;
    Ok(domain
        .with(devices)
        .with(command_line(&spec.network, &slots)?)
        .to_xml())
}

fn failed(message: impl Into<String>) -> PlatformError {
    PlatformError::Failed {
        what: "describe the shadow".to_owned(),
        message: message.into(),
    }
}

fn mark(spec: &ShadowSpec) -> Element {
    Element::new("shadowcast:owner")
        .attribute("xmlns:shadowcast", NAMESPACE)
        .attribute("engine", spec.owner.engine.as_str())
        .attribute("operation", spec.owner.operation.as_str())
        .attribute("shadow", spec.shadow.as_str())
        .attribute("of", spec.of.as_str())
}

/// Whether a part of the guest stays; NUMA cells and the topology would contradict the shadow's own size.
fn keeps(node: Node, lost_kvm: bool) -> bool {
    match node.tag_name().name() {
        "numa" | "topology" => false,
        // Host models and KVM's and Hyper-V's helpers need KVM.
        "cpu" | "hyperv" | "kvm" => !lost_kvm,
        name => !TIES.contains(&name),
    }
}

/// The devices, and the PCI slots of the first bus that they ask for.
fn devices_of(
    spec: &ShadowSpec,
    model: Option<Node>,
    disks: &[String],
    console: Option<&str>,
) -> Result<(Element, HashSet<u32>), PlatformError> {
    let model: Vec<Node> = model.into_iter().flat_map(|node| node.children()).collect();
    let named = |name: &'static str| model.iter().filter(move |node| node.has_tag_name(name));
    let mut devices = Element::new("devices");
    let mut kept = Vec::new();
    for (overlay, path) in spec.overlays.iter().zip(disks) {
        let disk = named("disk")
            .find(|disk| {
                domain_xml::child(**disk, "target")
                    .is_some_and(|target| target.attribute("dev") == Some(&overlay.target))
            })
            .ok_or_else(|| failed(format!("the primary has no disk {}", overlay.target)))?;
        kept.push(*disk);
        devices = devices.with(disk_on(*disk, path));
    }
    for device in &model {
        if KEPT_DEVICES.contains(&device.tag_name().name()) {
            kept.push(*device);
            devices = devices.with(Element::copy(*device, &|node| keeps(node, false)));
        }
    }
    if let Some(source) = named("rng")
        .filter_map(|rng| domain_xml::child_text(*rng, "backend"))
        .find(|source| matches!(*source, "/dev/urandom" | "/dev/random"))
    {
        devices = devices.with(
            Element::new("rng").attribute("model", "virtio").with(
                Element::new("backend")
                    .attribute("model", "random")
                    .text(source),
            ),
        );
    }
    let port = Element::new("target").attribute("port", "0");
    if let Some(path) = console {
        devices = devices.with(
            Element::new("serial")
                .attribute("type", "file")
                .with(
                    Element::new("source")
                        .attribute("path", path)
                        .attribute("append", "off"),
                )
                .with(port),
        );
    } else if named("serial").chain(named("console")).next().is_some() {
        // The guest's console may be its kernel's argument; a file or socket of the primary's host is not for us.
        devices = devices.with(Element::new("serial").attribute("type", "pty").with(port));
    }
    if named("channel").any(is_agent) {
        devices = devices.with(
            Element::new("channel").attribute("type", "unix").with(
                Element::new("target")
                    .attribute("type", "virtio")
                    .attribute("name", AGENT),
            ),
        );
    }
    let slots = kept
        .iter()
        .flat_map(Node::children)
        .filter(|node| node.has_tag_name("address") && node.attribute("type") == Some("pci"))
        .filter(|address| hexadecimal(address.attribute("bus")) == Some(0))
        .filter_map(|address| hexadecimal(address.attribute("slot")))
        .collect();
    Ok((devices, slots))
}

fn is_agent(channel: &Node) -> bool {
    domain_xml::child(*channel, "target")
        .is_some_and(|target| target.attribute("name") == Some(AGENT))
}

/// The primary's disk as the guest sees it, on another file.
fn disk_on(disk: Node, path: &str) -> Element {
    let mut driver = Element::new("driver")
        .attribute("name", "qemu")
        .attribute("type", "qcow2");
    if let Some(model) = domain_xml::child(disk, "driver") {
        for name in ["cache", "discard", "detect_zeroes"] {
            if let Some(value) = model.attribute(name) {
                driver = driver.attribute(name, value);
            }
        }
    }
    let guest_side = [
        "target", "boot", "serial", "wwn", "vendor", "product", "address",
    ];
    Element::new("disk")
        .attribute("type", "file")
        .attribute("device", "disk")
        .with(driver)
        .with(Element::new("source").attribute("file", path))
        .with_all(
            disk.children()
                .filter(|node| guest_side.contains(&node.tag_name().name()))
                .map(|node| Element::copy(node, &|_| true)),
        )
}

fn hexadecimal(text: Option<&str>) -> Option<u32> {
    u32::from_str_radix(text?.strip_prefix("0x")?, 16).ok()
}

/// QEMU's user-mode network by hand: libvirt knows it only without forwarded ports.
fn command_line(network: &ShadowNetwork, used: &HashSet<u32>) -> Result<Element, PlatformError> {
    let slot = (0x10..=NIC_SLOT)
        .rev()
        .find(|slot| !used.contains(slot))
        .ok_or_else(|| failed("no PCI slot is free for the network card"))?;
    let netdev = netdev(network)?;
    let device = format!(
        "virtio-net-pci,netdev=scnet,mac={},addr={slot:#x}",
        mac(&network.mac)?
    );
    Ok(Element::new("qemu:commandline").with_all(
        ["-netdev", &netdev, "-device", &device]
            .map(|value| Element::new("qemu:arg").attribute("value", value)),
    ))
}

fn netdev(network: &ShadowNetwork) -> Result<String, PlatformError> {
    let listen = listen_address(&network.address, network.port)?;
    let (subnet, guest) = match &network.guest_address {
        Some(address) => subnet(address)?,
        None => (String::new(), String::new()),
    };
    let restrict = if network.outbound_allowed {
        "off"
    } else {
        "on"
    };
    let mut netdev = format!("user,id=scnet,ipv6=off,restrict={restrict}{subnet}");
    for forward in forwards(network) {
        let Forward { port, guest_port } = forward;
        netdev.push_str(&format!(
            ",hostfwd=tcp:{listen}:{port}-{guest}:{guest_port}"
        ));
    }
    Ok(netdev)
}

/// A VM without a mapped service has no port that anybody may reach.
fn forwards(network: &ShadowNetwork) -> impl Iterator<Item = Forward> {
    let service = Forward {
        port: network.port,
        guest_port: network.guest_port,
    };
    std::iter::once(service)
        .chain(network.more.iter().copied())
        .filter(|forward| forward.guest_port != 0 && forward.port != 0)
}

/// A guest with a static address finds itself in its own subnet, with QEMU as everybody else in it.
fn subnet(guest: &str) -> Result<(String, String), PlatformError> {
    let bad = || {
        failed(format!(
            "`{guest}` is no guest address such as 192.0.2.10/24"
        ))
    };
    let (address, bits) = guest.split_once('/').ok_or_else(bad)?;
    let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
    let bits: u32 = bits.parse().map_err(|_| bad())?;
    if !(8..=29).contains(&bits) {
        return Err(failed(format!("`{guest}`: the prefix is between 8 and 29")));
    }
    let mask = u32::MAX << (32 - bits);
    let net = address.to_bits() & mask;
    let broadcast = net | !mask;
    if address.to_bits() == net || address.to_bits() == broadcast {
        return Err(bad());
    }
    let mut free = (net + 1..broadcast)
        .filter(|other| *other != address.to_bits())
        .map(Ipv4Addr::from_bits);
    let (Some(host), Some(dns)) = (free.next(), free.next()) else {
        return Err(bad());
    };
    let net = Ipv4Addr::from_bits(net);
    Ok((
        format!(",net={net}/{bits},host={host},dns={dns},dhcpstart={address}"),
        address.to_string(),
    ))
}

/// QEMU listens on literal addresses only.
fn listen_address(address: &str, port: u16) -> Result<Ipv4Addr, PlatformError> {
    if let Ok(literal) = address.parse() {
        return Ok(literal);
    }
    let found = (address, port)
        .to_socket_addrs()
        .map_err(|error| failed(format!("`{address}` has no address: {error}")))?;
    for candidate in found {
        if let std::net::IpAddr::V4(v4) = candidate.ip() {
            return Ok(v4);
        }
    }
    Err(failed(format!("`{address}` has no IPv4 address")))
}

fn mac(text: &str) -> Result<&str, PlatformError> {
    let octets: Vec<u8> = text
        .split(':')
        .filter(|part| part.len() == 2)
        .filter_map(|part| u8::from_str_radix(part, 16).ok())
        .collect();
    // Locally administered and for one station: never a card that somebody owns.
    let local = octets.first().is_some_and(|first| first & 0b11 == 0b10);
    if octets.len() == 6 && text.len() == 17 && local && !text.contains('+') {
        Ok(text)
    } else {
        Err(failed(format!(
            "`{text}` is no locally administered MAC address"
        )))
    }
}

#[cfg(test)]
mod tests;
