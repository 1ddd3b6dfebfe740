//! What a domain's XML says, read with a size cap and without DTDs.

use roxmltree::{Document, Node, ParsingOptions};

use super::labels;
use crate::{
    hypervisor::PlatformError,
    inventory::{DiskFormat, Label, Owner},
    units::{EngineId, OperationId},
};

/// The namespace of what we write into a domain's metadata.
pub const NAMESPACE: &str = "urn:shadowcast:1";
/// Larger descriptions are refused: a domain's is some kilobytes.
const MAX_XML_BYTES: usize = 4 << 20;
const MAX_NODES: u32 = 200_000;

/// A domain as its description says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DomainXml {
    pub name: String,
    pub uuid: String,
    /// The running instance's number; `None` while it is off.
    pub id: Option<u64>,
    pub vcpus: u32,
    pub vcpus_max: u32,
    pub memory_bytes: u64,
    pub memory_max_bytes: u64,
    pub disks: Vec<DiskXml>,
    pub net_limit_bytes_per_sec: Option<u64>,
    pub has_agent: bool,
    pub labels: Vec<Label>,
    pub owner: Option<Owner>,
    /// The engine whose shadow stands in its place.
    pub fenced_by: Option<EngineId>,
    /// Disks under a block job, with the job's kind.
    pub mirrors: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DiskXml {
    pub target: String,
    /// Empty where the disk is no file or block device.
    pub path: String,
    pub format: DiskFormat,
    pub read_only: bool,
    pub limit_bytes_per_sec: Option<u64>,
}

/// Parses XML from outside.
///
/// # Errors
/// [`PlatformError::Failed`] for XML that is too large or broken.
pub fn parse<'a>(what: &str, xml: &'a str) -> Result<Document<'a>, PlatformError> {
    let failed = |message: String| PlatformError::Failed {
        what: format!("read the description of {what}"),
        message,
    };
    if xml.len() > MAX_XML_BYTES {
        return Err(failed(format!("{} bytes are too many", xml.len())));
    }
    let options = ParsingOptions {
        allow_dtd: false,
        nodes_limit: MAX_NODES,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(xml, options).map_err(|error| failed(error.to_string()))
}

/// Reads a domain's description.
///
/// # Errors
/// [`PlatformError::Failed`] for XML that is broken or of no domain.
pub fn read(xml: &str) -> Result<DomainXml, PlatformError> {
    let document = parse("a VM", xml)?;
    let root = document.root_element();
    let (Some(name), Some(uuid)) = (child_text(root, "name"), child_text(root, "uuid")) else {
        return Err(PlatformError::Failed {
            what: "read the description of a VM".to_owned(),
            message: "it has no name or no uuid".to_owned(),
        });
    };
    let devices = child(root, "devices");
    let vcpu = child(root, "vcpu");
    let vcpus_max = vcpu.and_then(|node| number(node.text())).unwrap_or(1) as u32;
    let memory_max_bytes = child(root, "memory").and_then(bytes).unwrap_or(0);
    let disks: Vec<Node> = named(devices, "disk")
        .filter(|disk| disk.attribute("device").unwrap_or("disk") == "disk")
        .collect();
    Ok(DomainXml {
        name: name.to_owned(),
        uuid: uuid.to_owned(),
        id: number(root.attribute("id")),
        vcpus: vcpu
            .and_then(|node| number(node.attribute("current")))
            .map_or(vcpus_max, |current| current as u32),
        vcpus_max,
        memory_bytes: child(root, "currentMemory")
            .and_then(bytes)
            .unwrap_or(memory_max_bytes),
        memory_max_bytes,
        mirrors: disks.iter().filter_map(|disk| mirror(*disk)).collect(),
        disks: disks.into_iter().map(disk).collect(),
        net_limit_bytes_per_sec: net_limit(devices),
        has_agent: named(devices, "channel")
            .filter_map(|channel| child(channel, "target"))
            .any(|target| {
                target.attribute("name") == Some("org.qemu.guest_agent.0")
                    && target.attribute("state") == Some("connected")
            }),
        labels: labels::read(root),
        owner: owner(root),
        fenced_by: fenced_by(root),
    })
}

/// The files of a running domain's disk, from the one that it writes to down to the last.
///
/// # Errors
/// [`PlatformError::Failed`] for XML that is broken.
pub fn chain_of(xml: &str, target: &str) -> Result<Vec<String>, PlatformError> {
    let document = parse("a VM", xml)?;
    let devices = child(document.root_element(), "devices");
    let mut at = named(devices, "disk").find(|disk| {
        child(*disk, "target").is_some_and(|node| node.attribute("dev") == Some(target))
    });
    let mut files = Vec::new();
    while let Some(node) = at {
        let source = child(node, "source");
        files.extend(
            source
                .and_then(|source| source.attribute("file"))
                .map(str::to_owned),
        );
        at = child(node, "backingStore");
    }
    Ok(files)
}

/// Whose the domain is, from our element in its metadata.
pub fn owner(domain: Node) -> Option<Owner> {
    let mark = child(domain, "metadata")?
        .children()
        .find(|node| node.has_tag_name((NAMESPACE, "owner")))?;
    Some(Owner {
        engine: EngineId::new(mark.attribute("engine")?),
        operation: OperationId::new(mark.attribute("operation")?),
    })
}

fn fenced_by(domain: Node) -> Option<EngineId> {
    let mark = child(domain, "metadata")?
        .children()
        .find(|node| node.has_tag_name((NAMESPACE, "fence")))?;
    Some(EngineId::new(mark.attribute("engine")?))
}

fn disk(node: Node) -> DiskXml {
    let source = child(node, "source");
    let path =
        source.and_then(|source| source.attribute("file").or_else(|| source.attribute("dev")));
    DiskXml {
        target: child(node, "target")
            .and_then(|target| target.attribute("dev"))
            .unwrap_or_default()
            .to_owned(),
        path: path.unwrap_or_default().to_owned(),
        format: match child(node, "driver").and_then(|driver| driver.attribute("type")) {
            Some("qcow2") => DiskFormat::Qcow2,
            Some("raw") => DiskFormat::Raw,
            _ => DiskFormat::Other,
        },
        read_only: child(node, "readonly").is_some(),
        limit_bytes_per_sec: child(node, "iotune").and_then(iotune_limit),
    }
}

fn iotune_limit(iotune: Node) -> Option<u64> {
    let of = |name| number(child_text(iotune, name)).filter(|limit| *limit > 0);
    of("total_bytes_sec").or_else(|| {
        let (read, write) = (of("read_bytes_sec")?, of("write_bytes_sec")?);
        read.checked_add(write)
    })
}

/// The sum over all interfaces and both directions; `None` unless each is limited.
fn net_limit(devices: Option<Node>) -> Option<u64> {
    let mut sum = None;
    for interface in named(devices, "interface") {
        let bandwidth = child(interface, "bandwidth")?;
        for direction in ["inbound", "outbound"] {
            let kib_per_sec = number(child(bandwidth, direction)?.attribute("average"))?;
            let bytes_per_sec = kib_per_sec.checked_mul(1024)?;
            sum = Some(sum.unwrap_or(0_u64).checked_add(bytes_per_sec)?);
        }
    }
    sum
}

fn mirror(disk: Node) -> Option<String> {
    let job = child(disk, "mirror")?.attribute("job").unwrap_or("copy");
    let target = child(disk, "target")?.attribute("dev").unwrap_or("?");
    Some(format!("block job `{job}` on {target}"))
}

/// The element's size; libvirt's unit is KiB unless it says another.
pub fn bytes(node: Node) -> Option<u64> {
    let factor: u64 = match node.attribute("unit").unwrap_or("KiB") {
        "b" | "bytes" => 1,
        "KB" => 1_000,
        "k" | "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "M" | "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "G" | "GiB" => 1 << 30,
        "TB" => 1_000_000_000_000,
        "T" | "TiB" => 1 << 40,
        _ => return None,
    };
    number(node.text())?.checked_mul(factor)
}

pub fn number(text: Option<&str>) -> Option<u64> {
    text?.trim().parse().ok()
}

pub fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.has_tag_name(name))
}

pub fn child_text<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    child(node, name).and_then(|child| child.text())
}

fn named<'a, 'input: 'a>(
    parent: Option<Node<'a, 'input>>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    parent
        .into_iter()
        .flat_map(|parent| parent.children())
        .filter(move |node| node.has_tag_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = r#"<domain type='qemu' id='7' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
      <name>a&lt;&amp;"'$(x)</name><uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid>
      <metadata><s:owner xmlns:s='urn:shadowcast:1' engine='e1' operation='op-1' shadow='s-1' of='a/b'/></metadata>
      <memory unit='MiB'>256</memory><currentMemory unit='KiB'>131072</currentMemory>
      <vcpu placement='static' current='1'>4</vcpu>
      <devices>
        <disk type='file' device='cdrom'><target dev='hda'/><readonly/></disk>
        <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/i/a b.qcow2'/>
          <target dev='vda'/><iotune><read_bytes_sec>1000</read_bytes_sec><write_bytes_sec>500</write_bytes_sec></iotune>
          <mirror type='file' job='copy'/></disk>
        <disk type='file' device='disk'><driver type='raw'/><source file='/i/b.raw'/><target dev='vdb'/></disk>
        <interface type='bridge'><bandwidth><inbound average='10'/><outbound average='20'/></bandwidth></interface>
        <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel>
      </devices></domain>"#;

    #[test]
    fn a_description_is_read_whole() {
        let domain = read(XML).unwrap();
        assert_eq!(domain.name, "a<&\"'$(x)");
        assert_eq!(domain.id, Some(7));
        assert_eq!((domain.vcpus, domain.vcpus_max), (1, 4));
        assert_eq!(
            (domain.memory_bytes, domain.memory_max_bytes),
            (128 << 20, 256 << 20)
        );
        assert_eq!(domain.disks.len(), 2, "the CD is no disk to replicate");
        assert_eq!(domain.disks[0].path, "/i/a b.qcow2");
        assert_eq!(domain.disks[0].limit_bytes_per_sec, Some(1500));
        assert_eq!(domain.disks[1].format, DiskFormat::Raw);
        assert_eq!(domain.net_limit_bytes_per_sec, Some(30 * 1024));
        assert_eq!(domain.mirrors, ["block job `copy` on vda"]);
        assert!(domain.has_agent);
        assert_eq!(domain.owner.unwrap().operation.as_str(), "op-1");
    }

    #[test]
    fn hostile_descriptions_are_refused() {
        for xml in [
            "",
            "<domain>",
            "<domain/>",
            "<!DOCTYPE d [<!ENTITY a 'x'>]><domain><name>&a;</name><uuid>u</uuid></domain>",
        ] {
            assert!(read(xml).is_err(), "{xml}");
        }
        let large = format!(
            "<domain><name>{}</name></domain>",
            "x".repeat(MAX_XML_BYTES)
        );
        assert!(read(&large).is_err());
    }

    #[test]
    fn somebody_elses_metadata_is_not_ours() {
        let xml = XML.replace("urn:shadowcast:1", "urn:other");
        assert_eq!(read(&xml).unwrap().owner, None);
    }
}
