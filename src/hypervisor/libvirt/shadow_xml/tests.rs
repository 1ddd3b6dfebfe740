//! What a shadow's definition holds, and what it must not.

use proptest::prelude::*;

use super::*;
use crate::{
    inventory::Owner,
    shadow::OverlaySpec,
    units::{EngineId, OperationId, PoolId, ShadowId, VmId},
};

const MODEL: &str = r#"<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>shop-1</name><uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid>
  <metadata><o:os xmlns:o='urn:other'/></metadata>
  <memory unit='MiB'>4096</memory><vcpu current='1'>4</vcpu><cputune><vcpupin vcpu='0' cpuset='3'/></cputune>
  <memoryBacking><hugepages/></memoryBacking>
  <os><type arch='x86_64' machine='pc'>hvm</type><loader readonly='yes' type='pflash'>/fw</loader>
    <nvram>/var/lib/libvirt/qemu/nvram/shop-1_VARS.fd</nvram>
    <kernel>/boot/k</kernel><cmdline>a=&lt;b&gt; "c"</cmdline></os>
  <features><acpi/><hyperv/></features>
  <cpu mode='host-passthrough'><topology sockets='1' cores='4' threads='1'/><numa><cell id='0' cpus='0-3' memory='1' unit='GiB'/></numa></cpu>
  <devices>
    <emulator>/opt/qemu</emulator>
    <disk type='file' device='cdrom'><source file='/iso'/><target dev='hda'/></disk>
    <disk type='file' device='disk'><driver name='qemu' type='qcow2' discard='unmap' iothread='1'/><source file='/images/secret.qcow2'/>
      <target dev='vda' bus='virtio'/><address type='pci' domain='0x0000' bus='0x00' slot='0x1c' function='0x0'/></disk>
    <interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/></interface>
    <serial type='file'><source path='/var/log/console'/></serial>
    <channel type='unix'><source mode='bind' path='/run/agent.sock'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>
    <graphics type='vnc' passwd='secret'/><hostdev mode='subsystem' type='pci'/><filesystem type='mount'><source dir='/home'/></filesystem>
    <memballoon model='virtio'><stats period='2'/></memballoon>
    <rng model='virtio'><backend model='egd' type='tcp'><source host='secret'/></backend></rng>
    <tpm><backend type='passthrough'/></tpm><shmem name='secret'/><redirdev bus='usb'/>
  </devices>
  <qemu:commandline><qemu:arg value='-netdev'/><qemu:arg value='user,id=u0'/></qemu:commandline>
  <seclabel type='static'><label>secret</label></seclabel>
</domain>"#;

fn spec() -> ShadowSpec {
    ShadowSpec {
        owner: Owner {
            engine: EngineId::from("e1"),
            operation: OperationId::from("op-1"),
        },
        shadow: ShadowId::from("s-1"),
        of: VmId::from("a/6695eb01-f6a4-8304-79aa-97f2502e193f"),
        name: "shop-1-shadow".to_owned(),
        uuid: "11111111-f6a4-8304-79aa-97f2502e193f".to_owned(),
        pool: PoolId::from("b/b"),
        storage: "shadow".to_owned(),
        vcpus: 2,
        vcpus_max: 8,
        memory_bytes: 1 << 30,
        overlays: vec![OverlaySpec {
            target: "vda".to_owned(),
            volume: "sc-e1-top".to_owned(),
            layer_volume: "sc-e1-0".to_owned(),
            capacity_bytes: 1,
        }],
        network: ShadowNetwork {
            mac: "02:5c:00:00:00:01".to_owned(),
            address: "127.0.0.1".to_owned(),
            port: 8081,
            guest_port: 80,
            guest_address: None,
            outbound_allowed: false,
            more: Vec::new(),
        },
    }
}

fn built(spec: &ShadowSpec, has_kvm: bool) -> String {
    build(spec, MODEL, &["/pool/sc-e1-top".to_owned()], has_kvm, None).unwrap()
}

#[test]
fn nothing_of_the_primarys_host_comes_along() {
    let xml = built(&spec(), true);
    for tie in [
        "secret",
        "br0",
        "52:54:00",
        "/iso",
        "/home",
        "/var/",
        "/run/",
        "/opt/",
        "6695eb01-f6a4-8304-79aa-97f2502e193f</uuid>",
        "hugepages",
        "vcpupin",
        "graphics",
        "hostdev",
        "shmem",
        "redirdev",
        "tpm",
        "spice",
        "egd",
        "u0",
        "iothread",
        "numa",
        "topology",
    ] {
        assert!(!xml.contains(tie), "{tie} in {xml}");
    }
    for own in [
        "<kernel>/boot/k</kernel>",
        "host-passthrough",
        "/pool/sc-e1-top",
        "discard=\"unmap\"",
        "org.qemu.guest_agent.0",
        "current=\"2\">8</vcpu>",
        "type=\"kvm\"",
        "addr=0x1b",
        "restrict=on",
        "hostfwd=tcp:127.0.0.1:8081-:80",
    ] {
        assert!(xml.contains(own), "{own} in {xml}");
    }
}

#[test]
fn a_target_without_kvm_emulates_a_cpu_that_it_has() {
    let xml = built(&spec(), false);
    assert!(xml.contains("type=\"qemu\""));
    assert!(
        !xml.contains("host-passthrough") && !xml.contains("hyperv"),
        "{xml}"
    );
}

#[test]
fn a_guest_with_a_static_address_finds_itself_in_its_own_subnet() {
    let mut spec = spec();
    spec.network.guest_address = Some("192.0.2.2/24".to_owned());
    let xml = built(&spec, true);
    let expected = "net=192.0.2.0/24,host=192.0.2.1,dns=192.0.2.3,dhcpstart=192.0.2.2,hostfwd=tcp:127.0.0.1:8081-192.0.2.2:80";
    assert!(xml.contains(expected), "{xml}");
    for bad in [
        "",
        "192.0.2.2",
        "192.0.2.0/24",
        "192.0.2.255/24",
        "192.0.2.2/31",
        "::1/64",
        "1.1.1.1/24,x=y",
    ] {
        spec.network.guest_address = Some(bad.to_owned());
        let disks = ["/p".to_owned()];
        assert!(build(&spec, MODEL, &disks, true, None).is_err(), "{bad}");
    }
}

#[test]
fn options_for_qemu_cannot_be_smuggled_in() {
    for bad in [
        "",
        "02:00:00:00:00:00,x=y",
        "52:54:01:00:00:00:00",
        "01:00:00:00:00:01",
        "+2:00:00:00:00:01",
        "zz:00:00:00:00:01",
    ] {
        let mut spec = spec();
        spec.network.mac = bad.to_owned();
        let disks = ["/p".to_owned()];
        assert!(build(&spec, MODEL, &disks, true, None).is_err(), "{bad}");
    }
    let mut spec = spec();
    spec.network.address = "127.0.0.1:1-:1,guestfwd=x".to_owned();
    assert!(build(&spec, MODEL, &["/p".to_owned()], true, None).is_err());
}

proptest! {
    #[test]
    fn whatever_a_name_holds_stays_a_name(name in "[^\\x00-\\x1f\\x7f\u{fffe}\u{ffff}]{1,40}") {
        let mut spec = spec();
        spec.name.clone_from(&name);
        let xml = built(&spec, true);
        let document = roxmltree::Document::parse(&xml).unwrap();
        let read = document
            .root_element()
            .children()
            .find(|node| node.has_tag_name("name"))
            .and_then(|node| node.text());
        prop_assert_eq!(read, Some(name.as_str()));
    }
}

#[test]
fn a_clone_keeps_its_console_reaches_nobody_and_does_not_start_anew() {
    let mut spec = spec();
    // As a plan makes it: no service port, only those that are asked.
    spec.network.port = 0;
    spec.network.guest_port = 0;
    spec.network.more = vec![
        Forward {
            port: 42_001,
            guest_port: 22,
        },
        Forward {
            port: 42_002,
            guest_port: 80,
        },
    ];
    let disks = ["/pool/sc-e1-top".to_owned()];
    let xml = build(&spec, MODEL, &disks, true, Some("/pool/sc-e1-console")).unwrap();
    for part in [
        "<serial type=\"file\"><source path=\"/pool/sc-e1-console\" append=\"off\"></source>",
        "<on_reboot>destroy</on_reboot>",
        "restrict=on,hostfwd=tcp:127.0.0.1:42001-:22,hostfwd=tcp:127.0.0.1:42002-:80\"",
        "mac=02:5c:00:00:00:01",
    ] {
        assert!(xml.contains(part), "{part} in {xml}");
    }
    assert!(!xml.contains("<interface"), "{xml}");
    assert!(!xml.contains("br0"), "{xml}");
    assert!(
        !xml.contains("52:54:00:00:00:01"),
        "the primary's card: {xml}"
    );
}
