//! A made-up fleet for the console: 10,000 VMs in 12 pools with stories, and a stand-in for the engine that answers
//! what the window asks and writes down what it commands.
#![allow(dead_code, reason = "each test and bench uses its own part")]

use std::sync::Arc;

use shadowcast::{
    engine::snapshot::{Alarm, Snapshot, SourceKind, SourceView},
    inventory::{Owner, Role},
    units::{EngineId, OperationId, SourceName, Timestamp, VmId},
};

mod capacity;
mod detail;
mod operations;
mod proposals;
mod shadows;
mod stand_in;
mod vms;

#[allow(unused_imports, reason = "the bench looks at no capacity")]
pub use capacity::{forecast_record, runway_report};
pub use detail::detail;
#[allow(unused_imports, reason = "the bench decides nothing")]
pub use proposals::{adjusted, digest, proposal};
#[allow(unused_imports, reason = "the bench needs only the stand-in itself")]
pub use stand_in::{StandIn, stand_in};

/// Sunday 22 November 2026, 14:32:08 UTC.
pub const NOW: Timestamp = Timestamp::from_secs(1_795_357_928);

pub const HORIZON_SECONDS: u32 = 12 * 3600;

/// Same words, same number.
fn spread(words: &str) -> u64 {
    words.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

pub fn source() -> SourceName {
    SourceName::from("kvm-primary")
}

pub fn target() -> SourceName {
    SourceName::from("kvm-secondary")
}

pub fn vm_id(name: &str) -> VmId {
    VmId(format!("kvm-primary/{:016x}", spread(name)))
}

fn engine() -> EngineId {
    EngineId::from("0badcafe")
}

fn owner(operation: &str) -> Owner {
    Owner {
        engine: engine(),
        operation: OperationId::from(operation),
    }
}

/// The whole fleet with everything going on in it.
pub fn fleet(vms: usize) -> Snapshot {
    let fleet = Arc::new(vms::all_vms(vms));
    let mut snapshot = Snapshot {
        version: 1,
        at: NOW,
        engine: engine(),
        horizon_seconds: HORIZON_SECONDS,
        sources: sources(fleet.len() as u32),
        pools: Arc::new(vms::pools()),
        vms: fleet,
        services: shadows::services(),
        operations: operations::operations(),
        shadows: shadows::shadows(),
        timeline: Arc::new(operations::timeline()),
        alarms: vec![Alarm {
            text: "kvm-edge not answering for 6 min".to_owned(),
            effect: "forecasts for 412 VMs use older data".to_owned(),
            since: NOW.plus_secs(-360),
        }],
        ..Snapshot::default()
    };
    snapshot.proposals = proposals::proposals();
    snapshot
}

/// Before anything was connected.
pub fn first_run() -> Snapshot {
    Snapshot {
        version: 1,
        at: NOW,
        engine: engine(),
        horizon_seconds: HORIZON_SECONDS,
        ..Snapshot::default()
    }
}

fn sources(vms: u32) -> Vec<SourceView> {
    let view =
        |name: &str, uri: &str, kind, role, armed, ago: i64, error: Option<&str>, vms| SourceView {
            name: SourceName::from(name),
            uri: uri.to_owned(),
            kind,
            role,
            armed,
            last_backfill: None,
            last_ok: Some(NOW.plus_secs(-ago)),
            error: error.map(str::to_owned),
            held_elsewhere: None,
            vms,
            hung: Vec::new(),
            last_millis: 38,
        };
    vec![
        view(
            "kvm-primary",
            "qemu+ssh://ops@kvm-01.example.net/system",
            SourceKind::Hypervisor,
            Role::Primary,
            true,
            4,
            None,
            vms.saturating_sub(412),
        ),
        view(
            "kvm-secondary",
            "qemu+ssh://ops@kvm-02.example.net/system",
            SourceKind::Hypervisor,
            Role::Secondary,
            true,
            3,
            None,
            7,
        ),
        view(
            "kvm-edge",
            "qemu+tls://edge-01.example.net/system",
            SourceKind::Hypervisor,
            Role::Both,
            false,
            362,
            Some("kvm-edge cannot be reached: connection timed out after 8 s"),
            412,
        ),
        view(
            "lb-01",
            "haproxy+unix:///run/haproxy/admin.sock",
            SourceKind::Balancer,
            Role::Both,
            true,
            2,
            None,
            0,
        ),
    ]
}
