//! One simulated platform as a collector sees it.

use std::{ops::Range, sync::Arc};

use super::{
    fault::Verb,
    load::{Curve, empty_series},
    roster::{Record, host_name, hosts_of},
    world::{ShareLog, Shared, World, follows_traffic, idle},
};
use crate::{
    hypervisor::{Examination, Finding, Observe, Owned, PlatformError, Readings},
    inventory::{Inventory, Pool, Role, Storage},
    metrics::{Metric, Reading, Series},
    replication::prefix,
    units::{EngineId, PoolId, SourceName, Timestamp, VmId},
};

/// The storage that every simulated pool has.
pub(super) const STORAGE: &str = "images";

/// One source of the fleet.
pub(super) struct Platform {
    pub shared: Arc<Shared>,
    pub source: SourceName,
    pub role: Role,
}

impl Platform {
    pub(super) fn call<T>(
        &self,
        verb: Verb,
        effect: impl FnOnce() -> Result<T, PlatformError>,
    ) -> Result<T, PlatformError> {
        self.shared.call(&self.source, verb, effect)
    }

    pub(super) fn call_in_parts<T>(
        &self,
        verb: Verb,
        effect: impl FnOnce(Option<PlatformError>) -> Result<T, PlatformError>,
    ) -> Result<T, PlatformError> {
        self.shared.call_in_parts(&self.source, verb, effect)
    }

    fn records(&self) -> impl Iterator<Item = (usize, &Record)> {
        let spec = &self.shared.spec;
        self.shared
            .roster
            .vms
            .iter()
            .enumerate()
            .filter(|(_, vm)| spec.pools[vm.pool as usize].source == self.source)
    }

    /// The VM of this platform that has this id.
    pub(super) fn record(&self, id: &VmId) -> Result<&Record, PlatformError> {
        self.shared
            .roster
            .find(id)
            .map(|index| &self.shared.roster.vms[index])
            .filter(|vm| vm.source() == self.source)
            .ok_or_else(|| PlatformError::NotFound {
                what: format!("VM {id}"),
            })
    }

    fn pools(&self, world: &World, now: Timestamp) -> Vec<Pool> {
        let spec = &self.shared.spec;
        let mut busy = vec![0.0; spec.pools.len()];
        for (index, vm) in self.records() {
            if let Some(curve) = self.shared.curve(vm, Metric::Cpu) {
                let factor = world.shares.get(&index).map_or(1.0, |log| log.at(now));
                let rest = idle(Metric::Cpu);
                let used = rest + (curve.value(now) - rest) * factor;
                busy[vm.pool as usize] += used * f64::from(vm.size.vcpus);
            }
        }
        (0..spec.pools.len())
            .filter(|index| spec.pools[*index].source == self.source)
            .map(|index| self.pool(world, now, index, busy[index]))
            .collect()
    }

    fn pool(&self, world: &World, now: Timestamp, index: usize, mut busy_cpus: f64) -> Pool {
        let spec = &self.shared.spec.pools[index];
        let id = PoolId::of(&spec.source, &spec.name);
        let totals = self.shared.roster.pools[index];
        let mut memory_taken = totals.memory_bytes;
        for shadow in world.shadows.values() {
            if shadow.spec.pool == id && shadow.runs() {
                memory_taken += shadow.spec.memory_bytes;
                let used = shadow.mean(&self.shared, Metric::Cpu, now, now.plus_secs(1));
                busy_cpus += used.unwrap_or_default() * f64::from(shadow.spec.vcpus);
            }
        }
        let capacity = self.shared.roster.capacity(&self.shared.spec, index);
        Pool {
            name: spec.name.clone(),
            source: spec.source.clone(),
            role: self.role,
            hosts: hosts_of(totals),
            cpus: capacity.cpus,
            memory_bytes: capacity.memory_bytes,
            memory_free_bytes: capacity.memory_bytes.saturating_sub(memory_taken),
            cpu_used: Some((busy_cpus / f64::from(capacity.cpus)).min(1.0)),
            contention: Some(spec.contention),
            storage: vec![Storage {
                name: STORAGE.to_owned(),
                capacity_bytes: capacity.disk_bytes,
                available_bytes: capacity
                    .disk_bytes
                    .saturating_sub(totals.allocated_bytes + world.taken_bytes(&id)),
            }],
            service_address: spec.service_address.clone(),
            id,
        }
    }

    fn read_counters(&self, world: &mut World, index: usize, now: Timestamp) -> Reading {
        let vm = &self.shared.roster.vms[index];
        let mut counters = world.counters[index];
        let share = world.shares.get(&index);
        let used = |metric: Metric, from: Timestamp| {
            self.shared
                .curve(vm, metric)
                .map_or(0.0, |curve| integral(&curve, share, metric, from, now))
        };
        let from = counters.at;
        counters.cpu += used(Metric::Cpu, from);
        counters.steal += used(Metric::Steal, from);
        counters.disk += used(Metric::Disk, from);
        counters.net += used(Metric::Net, from);
        counters.at = now.max(from);
        world.counters[index] = counters;
        let memory = self
            .shared
            .curve(vm, Metric::Memory)
            .map_or(0.0, |curve| curve.value(now));
        let vcpus = f64::from(vm.size.vcpus);
        let before = vm.uptime_secs();
        let nanos = |seconds: f64| (seconds * vcpus * 1e9) as u64;
        Reading {
            vm: vm.id.clone(),
            at: now,
            vcpus: vm.size.vcpus,
            cpu_nanos: Some(nanos(counters.cpu) + before * 300_000_000),
            steal_nanos: Some(nanos(counters.steal) + before * 1_000_000),
            disk_bytes: Some(counters.disk as u64 + before * 1_000_000),
            net_bytes: Some(counters.net as u64 + before * 2_000_000),
            memory_used_bytes: Some((memory * vm.memory_bytes() as f64) as u64),
            memory_total_bytes: Some(vm.memory_bytes()),
        }
    }

    fn history_of_shadow(
        &self,
        world: &World,
        id: &VmId,
        metric: Metric,
        frame: &Series,
    ) -> Result<Option<Series>, PlatformError> {
        let shadow = world
            .shadows
            .get(id)
            .ok_or_else(|| PlatformError::NotFound {
                what: format!("VM {id}"),
            })?;
        let values = (0..frame.values.len())
            .map(|step| {
                let (from, to) = (frame.at(step), frame.at(step + 1));
                let mean = shadow.mean(&self.shared, metric, from, to);
                match mean {
                    Some(mean) if shadow.runs_since().is_some_and(|since| from >= since) => {
                        mean as f32
                    }
                    _ => f32::NAN,
                }
            })
            .collect();
        Ok(shadow
            .mean(&self.shared, metric, frame.start, frame.end())
            .map(|_| Series {
                values,
                ..frame.clone()
            }))
    }
}

/// The integral of one metric of one VM with its traffic as it was shared.
fn integral(
    curve: &Curve<'_>,
    share: Option<&ShareLog>,
    metric: Metric,
    from: Timestamp,
    to: Timestamp,
) -> f64 {
    match share {
        Some(log) if follows_traffic(metric) => log.integral(curve, idle(metric), 1.0, from, to),
        _ => curve.integral(from, to),
    }
}

/// The steps that hold any moment at or after `at`.
fn steps_ending_after(series: &Series, at: Timestamp) -> Range<usize> {
    let before = at.as_millis() - series.start.as_millis();
    let first = before
        .div_euclid(i64::from(series.step_seconds) * 1000)
        .max(0);
    let count = series.values.len();
    (first as usize).min(count)..count
}

impl Observe for Platform {
    fn examine(&self) -> Result<Examination, PlatformError> {
        self.call(Verb::Examine, || {
            let finding = |text: &str| Finding {
                works: true,
                needed: true,
                text: text.to_owned(),
            };
            Ok(Examination {
                platform: "simulated fleet".to_owned(),
                findings: vec![
                    finding("inventory and counters can be read"),
                    finding("checkpoints and backup jobs can be made"),
                    finding("volumes can be written"),
                ],
                millis: 0,
            })
        })
    }

    fn inventory(&self) -> Result<Inventory, PlatformError> {
        self.call(Verb::Inventory, || {
            let now = self.shared.now();
            let world = self.shared.world();
            let spec = &self.shared.spec;
            let mut vms: Vec<_> = self
                .records()
                .map(|(_, vm)| {
                    let mut described = vm.describe(spec, world.power_of(&vm.id));
                    described.generation += world.restarts_of(&vm.id);
                    described
                })
                .collect();
            for (id, shadow) in &world.shadows {
                if id.source() == self.source {
                    let pool = spec
                        .pools
                        .iter()
                        .position(|pool| PoolId::of(&pool.source, &pool.name) == shadow.spec.pool);
                    vms.push(shadow.describe(id, host_name(pool.unwrap_or_default() as u16, 0)));
                }
            }
            Ok(Inventory {
                at: now,
                pools: self.pools(&world, now),
                vms,
            })
        })
    }

    fn sample(&self) -> Result<Readings, PlatformError> {
        self.call(Verb::Sample, || {
            let now = self.shared.now();
            let mut world = self.shared.world();
            world.settle_traffic(&self.shared, now);
            let mut readings = Readings {
                at: now,
                ..Readings::default()
            };
            for (index, vm) in self.records() {
                if world.is_off(&vm.id) {
                    continue;
                }
                if world.hung.contains_key(&vm.id) {
                    readings.hung.push(vm.id.clone());
                } else {
                    let reading = self.read_counters(&mut world, index, now);
                    readings.readings.push(reading);
                }
            }
            for (id, shadow) in &mut world.shadows {
                if id.source() == self.source && shadow.runs() {
                    readings.readings.push(shadow.read(&self.shared, id, now));
                }
            }
            Ok(readings)
        })
    }

    fn history(
        &self,
        vm: &VmId,
        metric: Metric,
        from: Timestamp,
        to: Timestamp,
        step_seconds: u32,
    ) -> Result<Option<Series>, PlatformError> {
        self.call(Verb::History, || {
            let step_seconds = step_seconds.max(1);
            // Nobody has measured the future.
            let to = to.min(self.shared.now().floor_to(step_seconds));
            let world = self.shared.world();
            let Some(index) = self.shared.roster.find(vm) else {
                let frame = empty_series(from, to, step_seconds);
                return self.history_of_shadow(&world, vm, metric, &frame);
            };
            let record = self.record(vm)?;
            let Some(curve) = self.shared.curve(record, metric) else {
                return Ok(None);
            };
            let mut series = curve.history(from, to, step_seconds);
            if let Some(log) = world.shares.get(&index)
                && let Some(first) = log.first_change()
            {
                for step in steps_ending_after(&series, first) {
                    let (from, to) = (series.at(step), series.at(step + 1));
                    let sum = integral(&curve, Some(log), metric, from, to);
                    series.values[step] = (sum / f64::from(step_seconds)) as f32;
                }
            }
            if let Some(since) = world.hung.get(vm) {
                for step in steps_ending_after(&series, *since) {
                    series.values[step] = f32::NAN;
                }
            }
            Ok(Some(series))
        })
    }

    fn owned(&self, engine: &EngineId) -> Result<Vec<Owned>, PlatformError> {
        self.call(Verb::Owned, || {
            let world = self.shared.world();
            Ok(owned_on(&world, &self.source, engine))
        })
    }
}

/// What `engine` has left on one source, sorted.
pub(super) fn owned_on(world: &World, source: &SourceName, engine: &EngineId) -> Vec<Owned> {
    let prefix = prefix(engine);
    let item = |kind: &str, name: &str| Owned {
        kind: kind.to_owned(),
        name: name.to_owned(),
    };
    let mut owned = Vec::new();
    for (id, shadow) in &world.shadows {
        if id.source() == *source && shadow.spec.owner.engine == *engine {
            owned.push(item("domain", &shadow.spec.name));
        }
    }
    for (id, clone) in &world.clones {
        if id.source() == *source && clone.spec.spec.owner.engine == *engine {
            owned.push(item("domain", &clone.spec.spec.name));
        }
    }
    for key in world.volumes.keys() {
        if key.pool.source() == *source && key.name.starts_with(&prefix) {
            owned.push(item("volume", &key.name));
        }
    }
    for (vm, checkpoints) in &world.checkpoints {
        if vm.source() != *source {
            continue;
        }
        for (name, checkpoint) in checkpoints {
            if name.starts_with(&prefix) {
                owned.push(item("checkpoint", name));
                if checkpoint.job {
                    owned.push(item("job", name));
                }
            }
        }
    }
    for (vm, fenced) in &world.fences {
        let marked = (fenced.mark.as_ref()).is_some_and(|mark| mark.owner.engine == *engine);
        if vm.source() == *source && marked {
            owned.push(item("mark", vm.as_str()));
        }
    }
    for ((kept_on, shadow), manifest) in &world.manifests {
        if kept_on == source && manifest.owner.engine == *engine {
            owned.push(item("manifest", shadow.as_str()));
        }
    }
    owned.sort();
    owned
}
