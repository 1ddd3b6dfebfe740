//! What a lab consists of, written down before and while it is made, so that `down` finds everything.

use std::{fs, io::ErrorKind};

use serde::{Deserialize, Serialize};

use super::{
    curve::Curve,
    layout::{Layout, write_whole},
    process::Identity,
};
use crate::{
    inventory::{Role, ServiceKind},
    problem::Problem,
};

pub const PRIMARY: &str = "primary";
pub const SECONDARY: &str = "secondary";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub seed: u64,
    pub hosts: Vec<HostRecord>,
    pub guests: Vec<GuestRecord>,
    pub services: Vec<ServiceRecord>,
    #[serde(default)]
    pub processes: Vec<ProcessRecord>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostRecord {
    pub name: String,
    pub role: Role,
    pub uuid: uuid::Uuid,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GuestRecord {
    pub name: String,
    pub uuid: uuid::Uuid,
    /// `None` for a guest that only exists to have an old disk.
    pub service: Option<String>,
    /// The loopback port that leads to the guest's port 80.
    pub port: u16,
    /// qcow2 compatibility level of its disk.
    pub disk_compat: String,
    /// Whether it has a guest agent.
    #[serde(default)]
    pub agent: bool,
    pub calibration: Option<Calibration>,
}

/// What was measured of a guest after its start, without and with load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// 0..=1 of one vCPU without requests.
    pub idle_cpu: f64,
    pub cpu_seconds_per_request: f64,
    /// 0..=1 of the guest's memory in use.
    pub memory_used: Option<f64>,
    pub disk_bytes_per_second: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServiceRecord {
    pub name: String,
    pub kind: ServiceKind,
    /// The loopback port of its HAProxy frontend.
    pub port: u16,
    pub night_cpu: f64,
    pub peak_cpu: f64,
    pub peak_hour: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessRecord {
    pub name: String,
    pub identity: Identity,
}

impl Record {
    /// `None` when no lab was ever made in this folder.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn load(layout: &Layout) -> Result<Option<Self>, Problem> {
        let path = layout.record();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(layout, &error.to_string())),
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| unreadable(layout, &error.to_string()))
    }

    /// # Errors
    /// When the lab's folder cannot be written.
    pub fn save(&self, layout: &Layout) -> Result<(), Problem> {
        let written = serde_json::to_vec_pretty(self)
            .map_err(std::io::Error::other)
            .and_then(|json| write_whole(&layout.record(), &json));
        written.map_err(|error| {
            Problem::failed(
                "The lab's record was not written.",
                format!("{}: {error}", layout.record().display()),
                "Make room or give another folder with --dir.",
            )
        })
    }

    pub fn running(&self, process: &str) -> Option<&Identity> {
        self.processes
            .iter()
            .find(|known| known.name == process && known.identity.is_alive())
            .map(|known| &known.identity)
    }

    /// Notes a started process at once, so that it is never lost.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn started(
        &mut self,
        layout: &Layout,
        process: &str,
        identity: Identity,
    ) -> Result<(), Problem> {
        self.processes.retain(|known| known.name != process);
        self.processes.push(ProcessRecord {
            name: process.to_owned(),
            identity,
        });
        self.save(layout)
    }

    pub fn service(&self, name: &str) -> Option<&ServiceRecord> {
        self.services.iter().find(|service| service.name == name)
    }

    pub fn members<'a>(&'a self, service: &'a str) -> impl Iterator<Item = &'a GuestRecord> {
        self.guests
            .iter()
            .filter(move |guest| guest.service.as_deref() == Some(service))
    }

    /// The usual day of one guest; `None` for a guest without a service.
    pub fn curve(&self, guest: &GuestRecord) -> Option<Curve> {
        let service = self.service(guest.service.as_deref()?)?;
        // FNV-1a: only to give each guest noise of its own.
        let own = guest
            .name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        Some(Curve {
            night_cpu: service.night_cpu,
            peak_cpu: service.peak_cpu,
            peak_hour: service.peak_hour,
            seed: self.seed ^ own,
        })
    }
}

fn unreadable(layout: &Layout, why: &str) -> Problem {
    Problem::failed(
        "The lab's record could not be read.",
        format!("{}: {why}", layout.record().display()),
        "Give another folder with --dir; remove this one by hand if it holds nothing else.",
    )
}
