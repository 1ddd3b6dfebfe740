//! What a lab looks like from outside; scripts rely on the names of the fields.

use serde::{Deserialize, Serialize};

use super::{
    balancer::{self, service_url},
    host::process_name,
    layout::Layout,
    load::{self, Surge},
    now, process,
    record::{PRIMARY, Record},
};
use crate::{
    inventory::{Role, ServiceKind},
    problem::Problem,
};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LabStatus {
    /// Every part of it runs.
    pub up: bool,
    pub hosts: Vec<LabHost>,
    pub guests: Vec<LabGuest>,
    /// Where clients reach the service `shop`.
    pub service_url: Option<String>,
    pub haproxy_socket: Option<String>,
    /// The same as an address for `source add`.
    pub haproxy_uri: Option<String>,
    pub services: Vec<LabService>,
    pub surge: Option<Surge>,
    pub load_requests_per_second: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabHost {
    pub name: String,
    pub uri: String,
    pub role: Role,
    pub running: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabGuest {
    pub name: String,
    pub host: String,
    /// `address:port` of its web server.
    pub address: String,
    pub running: bool,
}

/// What `service map` needs to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabService {
    pub name: String,
    pub kind: ServiceKind,
    pub backend: String,
    /// Guest and its server in the backend.
    pub members: Vec<(String, String)>,
    pub guest_port: u16,
    pub probe_path: String,
    pub url: String,
    /// Of a read-only service.
    pub method_map: Option<String>,
}

/// A folder without a lab gives an empty status that is not up.
///
/// # Errors
/// When the lab's record or its load's state cannot be read.
pub fn of(layout: &Layout) -> Result<LabStatus, Problem> {
    let Some(record) = Record::load(layout)? else {
        return Ok(LabStatus::default());
    };
    let unreadable = |error: std::io::Error| {
        Problem::failed(
            "The state of the lab's load could not be read.",
            error.to_string(),
            "Run `shadowcast lab down`, then `shadowcast lab up`.",
        )
    };
    let surge = load::surge(layout).map_err(unreadable)?;
    let load_runs = record.running(load::PROCESS).is_some();
    let load_state = load::state(layout)
        .map_err(unreadable)?
        .filter(|_| load_runs);
    let hosts: Vec<LabHost> = record
        .hosts
        .iter()
        .map(|host| LabHost {
            name: host.name.clone(),
            uri: layout.uri(&host.name),
            role: host.role,
            running: record.running(&process_name(&host.name)).is_some(),
        })
        .collect();
    let guests: Vec<LabGuest> = record
        .guests
        .iter()
        .map(|guest| LabGuest {
            name: guest.name.clone(),
            host: PRIMARY.to_owned(),
            address: format!("127.0.0.1:{}", guest.port),
            running: guest_runs(layout, &guest.name),
        })
        .collect();
    let up = load_runs
        && record.running(balancer::PROCESS).is_some()
        && hosts.iter().all(|host| host.running)
        && guests.iter().all(|guest| guest.running);
    let socket = layout.haproxy_socket().display().to_string();
    Ok(LabStatus {
        up,
        hosts,
        guests,
        service_url: record.service(load::SURGING).map(service_url),
        haproxy_uri: Some(format!("haproxy+unix://{socket}")),
        haproxy_socket: Some(socket),
        services: services(layout, &record),
        surge: surge.filter(|surge| surge.factor > 1.0 && surge.holds_at(now())),
        load_requests_per_second: load_state.map(|state| {
            state
                .services
                .iter()
                .map(|service| service.requests_per_second)
                .sum()
        }),
    })
}

fn services(layout: &Layout, record: &Record) -> Vec<LabService> {
    record
        .services
        .iter()
        .map(|service| LabService {
            name: service.name.clone(),
            kind: service.kind,
            backend: balancer::backend(service),
            members: record
                .members(&service.name)
                .map(|guest| (guest.name.clone(), guest.name.clone()))
                .collect(),
            guest_port: 80,
            probe_path: "/".to_owned(),
            url: service_url(service),
            method_map: (service.kind == ServiceKind::ReadOnly)
                .then(|| balancer::method_map(layout, service).display().to_string()),
        })
        .collect()
}

/// Looks at the processes: libvirt may be down or hang while a guest runs on.
fn guest_runs(layout: &Layout, guest: &str) -> bool {
    let disk = format!("{}/images/{guest}.qcow2", layout.host(PRIMARY).display());
    !process::find(|arguments| arguments.iter().any(|argument| argument.contains(&disk))).is_empty()
}
