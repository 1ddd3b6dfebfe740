//! A simulated fleet: hypervisors, a balancer and a prober, all a function of a seed and a clock.
//!
//! ```text
//! FleetSpec + clock ─▶ Fleet ─┬─ hypervisor(source)  inventory, counters, history; replication and shadows
//!                             ├─ director()          weights move load from a primary to its shadow
//!                             └─ prober()            a started shadow answers after its boot
//! ```
//!
//! Invariants: load is a pure function (`load`), and counters, gauges and history are integrals and values of it; a
//! disk's content at any moment is a pure function too (`disks`), so that a replica is compared, not trusted;
//! every verb does what a platform would, under the fault rules (`fault`).

use std::sync::Arc;

use crate::{
    calendar::{Event, EventKind, Target},
    hypervisor::Hypervisor,
    inventory::{Role, Service, ServiceMember},
    traffic::TrafficDirector,
    units::{EventId, SourceName, Timestamp},
    validation::Prober,
};

mod act;
mod balancer;
mod clock;
mod clones;
mod disks;
mod fault;
mod fences;
mod handles;
mod layers;
mod load;
mod observe;
mod replicas;
mod roster;
mod scenario;
mod shadows;
#[cfg(test)]
mod tests;
mod world;

pub use clock::{Clock, RealClock, VirtualClock};
pub use clones::CloneFlaw;
pub use fault::{FaultKind, FaultRule, Verb};
pub use handles::Comparison;
pub use scenario::{
    ClassSpec, DayShape, FleetSpec, Latency, PoolSpec, PromotionSpec, ServiceSpec, SizeSpec,
    SourceSpec, StorySpec,
};
pub use shadows::Sickness;

/// A whole simulated fleet. Clones are the same fleet.
#[derive(Clone)]
pub struct Fleet {
    shared: Arc<world::Shared>,
}

impl Fleet {
    /// The fleet starts now, by `clock`: its stories count from here.
    pub fn new(spec: FleetSpec, clock: Arc<dyn Clock>) -> Self {
        Self {
            shared: Arc::new(world::Shared::new(spec, clock)),
        }
    }

    /// Its hypervisor sources.
    pub fn sources(&self) -> Vec<(SourceName, Role)> {
        self.shared
            .spec
            .sources
            .iter()
            .map(|source| (source.name.clone(), source.role))
            .collect()
    }

    fn platform(&self, source: &SourceName) -> Option<observe::Platform> {
        let spec = &self.shared.spec;
        let found = spec.sources.iter().find(|known| known.name == *source)?;
        Some(observe::Platform {
            shared: self.shared.clone(),
            source: found.name.clone(),
            role: found.role,
        })
    }

    /// One of its sources; `None` where there is none of this name.
    pub fn hypervisor(&self, source: &SourceName) -> Option<Arc<dyn Hypervisor>> {
        Some(Arc::new(self.platform(source)?))
    }

    /// The name of the balancer.
    pub fn director_name(&self) -> SourceName {
        self.shared.spec.director.clone()
    }

    pub fn director(&self) -> Arc<dyn TrafficDirector> {
        Arc::new(balancer::Director {
            shared: self.shared.clone(),
        })
    }

    pub fn prober(&self) -> Arc<dyn Prober> {
        Arc::new(balancer::FleetProber {
            shared: self.shared.clone(),
        })
    }

    /// The services behind the balancer, as an operator would have mapped them.
    pub fn services(&self) -> Vec<Service> {
        let spec = &self.shared.spec;
        let member = |name: &String| {
            let vm = self.shared.roster.by_name(name)?;
            Some(ServiceMember {
                vm: vm.id.clone(),
                server: name.clone(),
            })
        };
        spec.services
            .iter()
            .map(|service| Service {
                name: service.name.clone(),
                kind: service.kind,
                director: spec.director.clone(),
                backend: service.backend.clone(),
                members: service.members.iter().filter_map(member).collect(),
                guest_port: service.guest_port,
                guest_address: None,
                probe_path: service.probe_path.clone(),
                outbound_allowed: false,
                method_map: None,
            })
            .filter(|service| !service.members.is_empty())
            .collect()
    }

    /// What its planners know of, as they would have put it into the calendar.
    pub fn calendar(&self) -> Vec<Event> {
        let spec = &self.shared.spec;
        let event = |(number, promotion): (usize, &PromotionSpec)| {
            let pool = spec.pools.iter().find(|pool| pool.name == promotion.pool)?;
            let every = i64::from(promotion.every_days) * 86_400;
            Some(Event {
                id: EventId(format!("e-{number:08x}")),
                name: promotion.name.clone(),
                kind: EventKind::Campaign,
                // Long enough ago to have been seen.
                starts: promotion.starts(self.start()).plus_secs(-20 * every),
                lasts_seconds: promotion.lasts_minutes * 60,
                rule: Some(format!("FREQ=DAILY;INTERVAL={}", promotion.every_days)),
                zone: "UTC".to_owned(),
                affects: vec![Target::Pool(format!("{}/{}", pool.source, pool.name))],
                expected_factor: None,
                exclude: false,
            })
        };
        spec.promotions
            .iter()
            .enumerate()
            .filter_map(event)
            .collect()
    }

    /// When it started.
    pub fn start(&self) -> Timestamp {
        self.shared.roster.start
    }
}
