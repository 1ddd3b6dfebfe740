//! Which hosts, guests and services a lab has.

use std::{io, net::TcpListener};

use uuid::Uuid;

use super::record::{GuestRecord, HostRecord, PRIMARY, Record, SECONDARY, ServiceRecord};
use crate::inventory::{Role, ServiceKind};

/// Name, kind, CPU at night and at the daily peak, hour of the peak (UTC). Together they leave room on two slow cores.
const SERVICES: [(&str, ServiceKind, f64, f64, f64); 3] = [
    ("shop", ServiceKind::Stateless, 0.15, 0.35, 19.0),
    ("search", ServiceKind::ReadOnly, 0.12, 0.20, 13.0),
    ("ledger", ServiceKind::Stateful, 0.11, 0.16, 9.0),
];

/// The plan of a new lab on free ports: guests go round the services, `shop-1`, `search-1`, `ledger-1`, `shop-2`, …
///
/// # Errors
/// When the machine has no free ports.
pub fn plan(guests: u8, old_disk: bool, seed: u64) -> io::Result<Record> {
    let count = usize::from(guests);
    let ports = free_ports(SERVICES.len() + count + 1)?;
    let services = SERVICES
        .iter()
        .zip(&ports)
        .map(
            |((name, kind, night_cpu, peak_cpu, peak_hour), port)| ServiceRecord {
                name: (*name).to_owned(),
                kind: *kind,
                port: *port,
                night_cpu: *night_cpu,
                peak_cpu: *peak_cpu,
                peak_hour: *peak_hour,
            },
        )
        .collect();
    let guest = |name: String, service: Option<&str>, port, compat: &str| GuestRecord {
        name,
        uuid: Uuid::new_v4(),
        service: service.map(ToOwned::to_owned),
        port,
        disk_compat: compat.to_owned(),
        // One service without, as in most fleets.
        agent: matches!(service, Some(service) if service != "search"),
        calibration: None,
    };
    let ports = &ports[SERVICES.len()..];
    let mut all: Vec<GuestRecord> = (0..count)
        .map(|index| {
            let service = SERVICES[index % SERVICES.len()].0;
            let name = format!("{service}-{}", index / SERVICES.len() + 1);
            guest(name, Some(service), ports[index], "1.1")
        })
        .collect();
    if old_disk {
        all.push(guest("old-disk-1".to_owned(), None, ports[count], "0.10"));
    }
    let host = |name: &str, role| HostRecord {
        name: name.to_owned(),
        role,
        uuid: Uuid::new_v4(),
    };
    Ok(Record {
        seed,
        hosts: vec![
            host(PRIMARY, Role::Primary),
            host(SECONDARY, Role::Secondary),
        ],
        guests: all,
        services,
        processes: Vec::new(),
    })
}

/// All held at once, so that they differ; another program may still take one before the lab does.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let held: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind(("127.0.0.1", 0)))
        .collect::<io::Result<_>>()?;
    held.iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect()
}

/// A plan with made-up measurements.
#[cfg(test)]
pub fn calibrated(guests: u8) -> Record {
    let mut record = plan(guests, false, 7).unwrap();
    for guest in &mut record.guests {
        guest.calibration = Some(super::record::Calibration {
            idle_cpu: 0.06,
            cpu_seconds_per_request: 0.05,
            memory_used: Some(0.4),
            disk_bytes_per_second: 60_000.0,
        });
    }
    record
}
