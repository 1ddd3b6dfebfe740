//! The simulated balancer: weights that move load between a primary and its shadow, and the prober beside it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    clones::CloneFlaw,
    fault::Verb,
    load::Curve,
    roster::Roster,
    scenario::FleetSpec,
    shadows::{Shadow, Sickness},
    world::{Shared, World, idle},
};
use crate::{
    hypervisor::PlatformError,
    metrics::Metric,
    traffic::{
        BackendInfo, DirectorError, ServerSpec, ServerStats, TrafficDirector, TrafficReading,
    },
    units::{Timestamp, VmId, Weight},
    validation::{Held, Page, Probe, Prober, Verdict},
};

/// The weight of every server that the operator has set up.
pub(super) const USUAL_WEIGHT: Weight = Weight(100);
/// A VM at full load answers so many requests a second with each of its vCPUs.
const REQUESTS_A_VCPU: f64 = 120.0;
const QUIET_RESPONSE_MILLIS: f64 = 35.0;
const USUAL_ERROR_RATIO: f64 = 0.0002;

pub(super) struct Balancer {
    pub backends: BTreeMap<String, Backend>,
    settled_at: Timestamp,
}

#[derive(Default)]
pub(super) struct Backend {
    pub servers: BTreeMap<String, Server>,
}

pub(super) struct Server {
    pub address: String,
    pub port: u16,
    pub weight: Weight,
    /// The VM behind a server that the operator has set up, by its place in the roster; none for servers that were added.
    pub vm: Option<usize>,
    /// 0..=1 of the backend's requests, as last settled.
    share: f64,
    up: bool,
    requests: f64,
    errors: f64,
}

impl Balancer {
    pub(super) fn new(spec: &FleetSpec, roster: &Roster) -> Self {
        let mut backends = BTreeMap::new();
        for service in &spec.services {
            let mut backend = Backend::default();
            for name in &service.members {
                let Some(vm) = roster.by_name(name) else {
                    continue;
                };
                let index = roster.find(&vm.id);
                let number = index.unwrap_or_default();
                let server = Server {
                    address: format!("10.20.{}.{}", number / 250 % 250, number % 250 + 1),
                    port: service.guest_port,
                    weight: USUAL_WEIGHT,
                    vm: index,
                    share: 0.0,
                    up: true,
                    requests: 0.0,
                    errors: 0.0,
                };
                backend.servers.insert(name.clone(), server);
            }
            if !backend.servers.is_empty() {
                backends.insert(service.backend.clone(), backend);
            }
        }
        let mut balancer = Self {
            backends,
            settled_at: roster.start,
        };
        for backend in balancer.backends.values_mut() {
            backend.divide();
        }
        balancer
    }
}

impl Backend {
    /// Divides the requests by the weights of the servers that are up.
    fn divide(&mut self) {
        let live = |server: &Server| u32::from(if server.up { server.weight.0 } else { 0 });
        let total: u32 = self.servers.values().map(live).sum();
        for server in self.servers.values_mut() {
            server.share = f64::from(live(server)) / f64::from(total.max(1));
        }
    }

    /// The part of the requests that each of the operator's servers has where nobody has touched a weight.
    fn usual_share(&self) -> f64 {
        let members = self.servers.values().filter(|server| server.vm.is_some());
        1.0 / members.count().max(1) as f64
    }

    /// The curves of those whose traffic this is, with their sizes.
    fn demand<'a>(&'a self, shared: &'a Shared) -> impl Iterator<Item = (Curve<'a>, f64)> {
        self.servers.values().filter_map(|server| {
            let vm = &shared.roster.vms[server.vm?];
            let curve = shared.curve(vm, Metric::Cpu)?;
            Some((curve, f64::from(vm.size.vcpus)))
        })
    }
}

impl World {
    /// Counts the requests since the last time, looks who is up, and gives every VM its part of the traffic.
    pub(super) fn settle_traffic(&mut self, shared: &Shared, now: Timestamp) {
        let from = std::mem::replace(&mut self.balancer.settled_at, now);
        let mut backends = std::mem::take(&mut self.balancer.backends);
        for backend in backends.values_mut() {
            let demand: f64 = backend
                .demand(shared)
                .map(|(curve, vcpus)| curve.integral(from, now) * vcpus * REQUESTS_A_VCPU)
                .sum();
            for server in backend.servers.values_mut() {
                let requests = demand * server.share;
                let condition = self.condition(shared, server, now);
                server.requests += requests;
                server.errors += requests * condition.error_ratio;
                server.up = match server.vm {
                    Some(index) => self.runs(&shared.roster.vms[index].id),
                    None => self
                        .shadow_at(&server.address, server.port)
                        .is_some_and(|shadow| shadow.answers(now)),
                };
            }
            backend.divide();
        }
        self.balancer.backends = backends;
        self.share_load(now);
    }

    /// Makes the load of every VM behind the balancer what its servers' weights say.
    fn share_load(&mut self, now: Timestamp) {
        let mut of_shadows: BTreeMap<VmId, f64> = BTreeMap::new();
        for backend in self.balancer.backends.values() {
            let usual = backend.usual_share();
            for server in backend.servers.values() {
                let factor = server.share / usual;
                if let Some(index) = server.vm {
                    let known = self.shares.contains_key(&index);
                    if known || (factor - 1.0).abs() > 1e-9 {
                        self.shares.entry(index).or_default().set(now, factor);
                    }
                } else if let Some((id, _)) = self.shadows.iter().find(|(_, shadow)| {
                    let network = &shadow.spec.network;
                    network.address == server.address && network.port == server.port
                }) {
                    of_shadows.insert(id.clone(), factor);
                }
            }
        }
        for (id, shadow) in &mut self.shadows {
            let factor = of_shadows.get(id).copied().unwrap_or_default();
            let factor = if shadow.runs() { factor } else { 0.0 };
            shadow.share.set(now, factor);
        }
    }

    /// How well the VM behind a server answers at its load.
    fn condition(&self, shared: &Shared, server: &Server, now: Timestamp) -> Sickness {
        let load = if let Some(index) = server.vm {
            let curve = shared.curve(&shared.roster.vms[index], Metric::Cpu);
            let factor = self.shares.get(&index).map_or(1.0, |log| log.at(now));
            let rest = idle(Metric::Cpu);
            curve.map_or(0.0, |curve| rest + (curve.value(now) - rest) * factor)
        } else {
            let shadow = self.shadow_at(&server.address, server.port);
            if let Some(sickness) = shadow.and_then(|shadow| shadow.sickness) {
                return sickness;
            }
            shadow
                .and_then(|shadow| shadow.mean(shared, Metric::Cpu, now, now.plus_secs(1)))
                .unwrap_or_default()
        };
        let load = load.clamp(0.0, 0.98);
        Sickness {
            error_ratio: USUAL_ERROR_RATIO + (load - 0.95).max(0.0) * 0.2,
            response_millis: QUIET_RESPONSE_MILLIS * (1.0 + load * load / (1.0 - load)),
        }
    }
}

/// The balancer as its director.
pub(super) struct Director {
    pub shared: Arc<Shared>,
}

impl Director {
    fn call<T>(
        &self,
        verb: Verb,
        effect: impl FnOnce(&mut World, Timestamp) -> Result<T, DirectorError>,
    ) -> Result<T, DirectorError> {
        let shared = &self.shared;
        let outcome = shared.call(&shared.spec.director, verb, || {
            let now = shared.now();
            let mut world = shared.world();
            world.settle_traffic(shared, now);
            let outcome = effect(&mut world, now);
            world.settle_traffic(shared, now);
            Ok(outcome)
        });
        outcome.map_err(director_error)?
    }
}

fn director_error(error: PlatformError) -> DirectorError {
    match error {
        PlatformError::Unreachable { why, .. } => DirectorError::Unreachable(why),
        PlatformError::Timeout { .. } => DirectorError::Unreachable(error.to_string()),
        PlatformError::NotFound { what } => DirectorError::NotFound(what),
        other => DirectorError::Refused(other.to_string()),
    }
}

/// What the servers that an engine adds may be called.
fn good_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn backend_of<'a>(world: &'a mut World, name: &str) -> Result<&'a mut Backend, DirectorError> {
    world
        .balancer
        .backends
        .get_mut(name)
        .ok_or_else(|| DirectorError::NotFound(name.to_owned()))
}

impl TrafficDirector for Director {
    fn examine(&self) -> Result<Vec<String>, DirectorError> {
        self.call(Verb::ReadBalancer, |world, _| {
            let count = world.balancer.backends.len();
            Ok(vec![format!("{count} backends, weights can be set")])
        })
    }

    fn read(&self) -> Result<TrafficReading, DirectorError> {
        self.call(Verb::ReadBalancer, |world, now| {
            let mut reading = TrafficReading {
                at: now,
                ..TrafficReading::default()
            };
            for (name, backend) in &world.balancer.backends {
                reading.backends.push(BackendInfo {
                    name: name.clone(),
                    algorithm: "roundrobin".to_owned(),
                    dynamic_weights: true,
                    sticky: false,
                });
                let rate: f64 = backend
                    .demand(&self.shared)
                    .map(|(curve, vcpus)| curve.value(now) * vcpus * REQUESTS_A_VCPU)
                    .sum();
                for (server_name, server) in &backend.servers {
                    let response = world.condition(&self.shared, server, now).response_millis;
                    reading.servers.push(ServerStats {
                        backend: name.clone(),
                        server: server_name.clone(),
                        address: format!("{}:{}", server.address, server.port),
                        weight: server.weight,
                        up: server.up,
                        status: match (server.up, server.weight.0) {
                            (false, _) => "DOWN",
                            (true, 0) => "DRAIN",
                            (true, _) => "UP",
                        }
                        .to_owned(),
                        sessions_now: (rate * server.share * response / 1000.0) as u64,
                        requests_total: server.requests as u64,
                        errors_total: server.errors as u64,
                        response_millis: (server.requests >= 1.0).then_some(response),
                    });
                }
            }
            Ok(reading)
        })
    }

    fn ensure_server(&self, spec: &ServerSpec) -> Result<(), DirectorError> {
        if !good_name(&spec.server) {
            return Err(DirectorError::BadName(spec.server.clone()));
        }
        self.call(Verb::EnsureServer, |world, _| {
            let backend = backend_of(world, &spec.backend)?;
            if let Some(server) = backend.servers.get(&spec.server) {
                if server.address == spec.address && server.port == spec.port {
                    return Ok(());
                }
                return Err(DirectorError::Refused(format!(
                    "{}/{} is there with another address",
                    spec.backend, spec.server
                )));
            }
            let server = Server {
                address: spec.address.clone(),
                port: spec.port,
                weight: Weight(0),
                vm: None,
                share: 0.0,
                up: false,
                requests: 0.0,
                errors: 0.0,
            };
            backend.servers.insert(spec.server.clone(), server);
            Ok(())
        })
    }

    fn ensure_weights(
        &self,
        backend: &str,
        weights: &[(String, Weight)],
    ) -> Result<(), DirectorError> {
        self.call(Verb::EnsureWeights, |world, _| {
            let found = backend_of(world, backend)?;
            let mut after: BTreeMap<&str, Weight> = found
                .servers
                .iter()
                .map(|(name, server)| (&**name, server.weight))
                .collect();
            for (name, weight) in weights {
                if *weight > Weight::MAX {
                    return Err(DirectorError::Refused(format!("weight {}", weight.0)));
                }
                let known = after
                    .get_mut(&**name)
                    .ok_or_else(|| DirectorError::NotFound(format!("{backend}/{name}")))?;
                *known = *weight;
            }
            if after.values().all(|weight| weight.0 == 0) {
                return Err(DirectorError::Refused(format!(
                    "{backend} would have no weight left"
                )));
            }
            for (name, weight) in weights {
                if let Some(server) = found.servers.get_mut(name) {
                    server.weight = *weight;
                }
            }
            Ok(())
        })
    }

    fn check_methods(&self, _map: &str, _backend: &str) -> Result<(), DirectorError> {
        let why = "the simulated balancer does not route by method";
        Err(DirectorError::Refused(why.to_owned()))
    }

    fn ensure_methods(&self, map: &str, backend: &str) -> Result<(), DirectorError> {
        self.check_methods(map, backend)
    }

    fn ensure_server_absent(&self, backend: &str, server: &str) -> Result<(), DirectorError> {
        self.call(Verb::EnsureServerAbsent, |world, _| {
            let Some(found) = world.balancer.backends.get_mut(backend) else {
                return Ok(());
            };
            if found
                .servers
                .get(server)
                .is_some_and(|known| known.vm.is_some())
            {
                return Err(DirectorError::Refused(format!(
                    "{backend}/{server} was set up by the operator"
                )));
            }
            found.servers.remove(server);
            Ok(())
        })
    }
}

/// Probes whatever stands at an address of the fleet.
pub(super) struct FleetProber {
    pub shared: Arc<Shared>,
}

impl FleetProber {
    /// What somebody who knocks there finds: a page, or why there is none.
    fn look(&self, address: &str, port: u16) -> Result<Page, String> {
        let shared = &self.shared;
        let looked = shared.call(&shared.spec.director, Verb::Probe, || {
            let now = shared.now();
            let world = shared.world();
            let primary = world
                .balancer
                .backends
                .values()
                .flat_map(|backend| backend.servers.values())
                .any(|server| {
                    server.vm.is_some() && server.address == address && server.port == port
                });
            let page = |status: u16, body: &str| {
                Ok(Page {
                    status,
                    body: body.to_owned(),
                })
            };
            if let Some(clone) = world.clone_at(address, port) {
                let flaw = world.clone_flaw;
                return Ok(match flaw {
                    _ if !clone.answers(now, flaw) => Err("no answer in time".to_owned()),
                    Some(CloneFlaw::ClosedPorts) => Err("connection reset".to_owned()),
                    Some(CloneFlaw::BadStatus) => page(503, "not ready"),
                    Some(CloneFlaw::OtherPage) => page(200, "It works!"),
                    _ => page(200, "all is well"),
                });
            }
            let shadow = world.shadow_at(address, port);
            Ok(
                if primary || shadow.is_some_and(|shadow| well(shadow, now)) {
                    page(200, "all is well")
                } else if shadow.is_some_and(|shadow| shadow.answers(now)) {
                    page(500, "")
                } else {
                    Err("connection refused".to_owned())
                },
            )
        });
        looked.unwrap_or_else(|error| Err(error.to_string()))
    }
}

impl Prober for FleetProber {
    fn probe(&self, probe: &Probe, _timeout: Duration) -> Verdict {
        let (passed, seen) = match probe {
            Probe::Tcp { address, port } => match self.look(address, *port) {
                Ok(page) => (page.status == 200, "connected".to_owned()),
                Err(why) => (false, why),
            },
            Probe::Http { address, port, .. } => match self.look(address, *port) {
                Ok(page) => (page.status == 200, format!("HTTP {}", page.status)),
                Err(why) => (false, why),
            },
        };
        Verdict {
            passed,
            millis: 2,
            seen,
        }
    }

    fn page(&self, address: &str, port: u16, _: &str, _: Duration) -> Result<Page, String> {
        self.look(address, port)
    }

    /// As QEMU does, whether or not the guest takes it.
    fn hold(&self, address: &str, port: u16, _: Duration) -> Result<Box<dyn Held>, String> {
        match self.shared.world().clone_at(address, port) {
            Some(_) => Ok(Box::new(Kept)),
            None => Err("connection refused".to_owned()),
        }
    }
}

struct Kept;

impl Held for Kept {}

fn well(shadow: &Shadow, now: Timestamp) -> bool {
    shadow.answers(now)
        && shadow
            .sickness
            .is_none_or(|sickness| sickness.error_ratio < 0.5)
}
