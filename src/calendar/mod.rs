//! What is known to come: sales, campaigns, maintenance, holidays; when each recurs, whom it affects, and what it did
//! to their load before.
//!
//! ```text
//!  Event ─▶ windows(from, to) ─┐
//!  Target ◀─ VM                ├─▶ Affecting ─▶ uplift::predict ─▶ Predicted with its events, Learned
//!  history of one series ──────┘
//! ```
//!
//! Past occurrences are taken out of what a model learns from, and put back where the next one is forecast.

use serde::{Deserialize, Serialize};

use crate::{
    inventory::Vm,
    units::{EventId, ServiceName, Timestamp},
};

pub mod holidays;
pub mod ics;
mod recurrence;
pub mod table;
pub mod uplift;

/// No event is longer than this.
const MAX_SECONDS: u32 = 31 * 86_400;
const MAX_NAME: usize = 120;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    Sale,
    Campaign,
    Maintenance,
    Holiday,
    /// A job of our own: a backup, a report, a batch.
    Batch,
    #[default]
    Other,
}

impl EventKind {
    pub const ALL: [Self; 6] = [
        Self::Sale,
        Self::Campaign,
        Self::Maintenance,
        Self::Holiday,
        Self::Batch,
        Self::Other,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Sale => "sale",
            Self::Campaign => "campaign",
            Self::Maintenance => "maintenance",
            Self::Holiday => "holiday",
            Self::Batch => "batch",
            Self::Other => "other",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Whom an event affects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "target", content = "name")]
pub enum Target {
    /// By name or id.
    Vm(String),
    InstanceType(String),
    Service(String),
    Pool(String),
}

impl Target {
    /// `vm:web-1`, `type:2 vCPU, 4 GiB`, `service:shop`, `pool:dc1`.
    ///
    /// # Errors
    /// Says how one is written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is not one of vm:NAME, type:NAME, service:NAME, pool:NAME");
        let (kind, name) = text.split_once(':').ok_or_else(wrong)?;
        let name = name.trim().to_owned();
        if name.is_empty() {
            return Err(wrong());
        }
        match kind.trim() {
            "vm" => Ok(Self::Vm(name)),
            "type" => Ok(Self::InstanceType(name)),
            "service" => Ok(Self::Service(name)),
            "pool" => Ok(Self::Pool(name)),
            _ => Err(wrong()),
        }
    }

    fn holds(&self, vm: &Vm, services: &[&ServiceName]) -> bool {
        match self {
            Self::Vm(name) => vm.name == *name || vm.id.as_str() == name,
            Self::InstanceType(name) => vm.instance_type == *name,
            Self::Service(name) => services.iter().any(|service| service.as_str() == name),
            Self::Pool(name) => {
                let pool = vm.pool.as_str();
                pool == name || pool.rsplit('/').next() == Some(name)
            }
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Vm(name) => write!(f, "vm:{name}"),
            Self::InstanceType(name) => write!(f, "type:{name}"),
            Self::Service(name) => write!(f, "service:{name}"),
            Self::Pool(name) => write!(f, "pool:{name}"),
        }
    }
}

/// One entry of the calendar.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub id: EventId,
    pub name: String,
    pub kind: EventKind,
    pub starts: Timestamp,
    pub lasts_seconds: u32,
    /// RFC 5545, for example `FREQ=WEEKLY;BYDAY=TU`; `None` happens once.
    pub rule: Option<String>,
    /// The IANA zone in which it recurs: ten o'clock stays ten o'clock.
    pub zone: String,
    /// Empty: everybody.
    pub affects: Vec<Target>,
    /// What the planner expects: 1.5 is half as much again.
    pub expected_factor: Option<f64>,
    /// Its occurrences are left out of what models learn from, and nothing is learned from them.
    pub exclude: bool,
}

/// One occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Window {
    pub fn holds(self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

impl Event {
    /// # Errors
    /// Says what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let name = self.name.trim();
        if name.is_empty() || name.chars().count() > MAX_NAME {
            return Err(format!("its name needs 1 to {MAX_NAME} characters"));
        }
        if !(60..=MAX_SECONDS).contains(&self.lasts_seconds) {
            return Err("it must last between a minute and 31 days".to_owned());
        }
        if let Some(factor) = self.expected_factor
            && !(0.01..=100.0).contains(&factor)
        {
            return Err(format!(
                "an expected factor of {factor} is not between 0.01 and 100; 1.5 is half as much again"
            ));
        }
        recurrence::rule(self).map(drop)
    }

    /// Its occurrences that overlap `from..to`, in order.
    pub fn windows(&self, from: Timestamp, to: Timestamp) -> Vec<Window> {
        recurrence::windows(self, from, to)
    }

    pub fn affects(&self, vm: &Vm, services: &[&ServiceName]) -> bool {
        self.affects.is_empty() || self.affects.iter().any(|target| target.holds(vm, services))
    }
}

/// An event as one series meets it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Affecting {
    pub event: EventId,
    pub name: String,
    pub expected_factor: Option<f64>,
    pub exclude: bool,
    /// Past and to come, in order.
    pub windows: Vec<Window>,
}

impl Affecting {
    /// The occurrences of `event` between these moments; `None` where there are none.
    pub fn of(event: &Event, from: Timestamp, to: Timestamp) -> Option<Self> {
        let windows = event.windows(from, to);
        (!windows.is_empty()).then(|| Self {
            event: event.id.clone(),
            name: event.name.clone(),
            expected_factor: event.expected_factor,
            exclude: event.exclude,
            windows,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm() -> Vm {
        Vm {
            id: "dc1/1".into(),
            name: "web-1".to_owned(),
            source: "dc1".into(),
            pool: "dc1/cl01".into(),
            host: "h".to_owned(),
            state: crate::inventory::PowerState::Running,
            generation: 1,
            vcpus: 2,
            vcpus_max: 2,
            memory_bytes: 1 << 32,
            memory_max_bytes: 1 << 32,
            instance_type: "2 vCPU, 4 GiB".to_owned(),
            disks: Vec::new(),
            net_limit_bytes_per_sec: None,
            has_agent: false,
            foreign_jobs: Vec::new(),
            labels: Vec::new(),
            owner: None,
        }
    }

    #[test]
    fn an_event_affects_whom_it_names_and_without_names_everybody() {
        let shop = ServiceName::from("shop");
        let mut event = Event::default();
        assert!(event.affects(&vm(), &[]));
        for (target, affected) in [
            ("vm:web-1", true),
            ("vm:dc1/1", true),
            ("vm:web-2", false),
            ("type:2 vCPU, 4 GiB", true),
            ("service:shop", true),
            ("service:search", false),
            ("pool:cl01", true),
            ("pool:dc1/cl01", true),
            ("pool:cl02", false),
        ] {
            event.affects = vec![Target::parse(target).unwrap()];
            assert_eq!(event.affects(&vm(), &[&shop]), affected, "{target}");
            assert_eq!(event.affects[0].to_string(), target);
        }
        for wrong in ["web-1", "host:a", "vm:", ""] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let good = Event {
            name: "Sale".to_owned(),
            lasts_seconds: 3600,
            zone: "Europe/Berlin".to_owned(),
            rule: Some("FREQ=WEEKLY;BYDAY=TU".to_owned()),
            expected_factor: Some(1.5),
            ..Event::default()
        };
        assert_eq!(good.check(), Ok(()));
        let broken: [fn(&mut Event); 6] = [
            |event| event.name = " ".to_owned(),
            |event| event.lasts_seconds = 0,
            |event| event.rule = Some("FREQ=SOMETIMES".to_owned()),
            |event| event.zone = "Mars/Olympus".to_owned(),
            |event| event.expected_factor = Some(f64::NAN),
            |event| event.rule = Some("FREQ=DAILY\nRRULE:FREQ=SECONDLY".to_owned()),
        ];
        for break_it in broken {
            let mut event = good.clone();
            break_it(&mut event);
            assert!(event.check().is_err(), "{event:?}");
        }
    }
}
