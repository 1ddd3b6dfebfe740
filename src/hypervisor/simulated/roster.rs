//! Who is in the fleet: every VM, pool and host, drawn from the seed once.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    load::{Curve, Promotion, Shape, Surge, mix, unit},
    scenario::{FleetSpec, SizeSpec, StorySpec},
};
use crate::{
    inventory::{Disk, DiskFormat, Label, PowerState, Vm, size_name},
    metrics::Metric,
    units::{PoolId, SourceName, Timestamp, VmId},
};

pub(super) const GIB: u64 = 1 << 30;
/// Rows of the heatmap are hosts.
const VMS_A_HOST: u32 = 50;
/// Even a pool of few VMs has room for some shadows, unless it is meant to be full.
const ROOM_BYTES: u64 = 256 * GIB;
const DISK_ROOM_BYTES: u64 = 8192 * GIB;
const CPUS_A_VCPU: f64 = 0.6;

/// One VM for as long as the fleet lives. Small: there are ten thousand of them.
pub(super) struct Record {
    pub id: VmId,
    pub name: String,
    pub pool: u16,
    pub host: u16,
    pub class: u16,
    pub story: Option<u16>,
    pub seed: u64,
    pub size: SizeSpec,
    pub oddity: Option<Oddity>,
    /// The usual CPU at the busiest of the day.
    pub cpu_peak: f32,
    pub memory: f32,
}

/// What stands in the way of replicating a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Oddity {
    RawDisk,
    OldQcow2,
    ForeignBackup,
}

pub(super) struct Roster {
    pub start: Timestamp,
    pub vms: Vec<Record>,
    /// How many VMs each pool has, and how many hosts.
    pub pools: Vec<PoolTotals>,
    shapes: [Shape; 5],
}

#[derive(Clone, Copy, Default)]
pub(super) struct PoolTotals {
    pub vms: u32,
    pub vcpus: u32,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
    pub allocated_bytes: u64,
}

pub(super) struct Capacity {
    pub cpus: u32,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
}

impl Roster {
    pub(super) fn new(spec: &FleetSpec, start: Timestamp) -> Self {
        let mut roster = Self {
            start,
            vms: Vec::with_capacity(spec.vms as usize),
            pools: vec![PoolTotals::default(); spec.pools.len()],
            shapes: Shape::all(),
        };
        let stories = &spec.stories[..spec.stories.len().min(spec.vms as usize)];
        for (index, story) in stories.iter().enumerate() {
            roster.add_story(spec, index as u16, story);
        }
        let taken: BTreeSet<&str> = stories.iter().map(|story| &*story.name).collect();
        let mut numbers = BTreeMap::new();
        let weights: u64 = spec.pools.iter().map(|pool| u64::from(pool.weight)).sum();
        for (index, pool) in spec.pools.iter().enumerate() {
            let share = u64::from(spec.vms) * u64::from(pool.weight) / weights.max(1);
            while u64::from(roster.pools[index].vms) < share && roster.has_room(spec) {
                roster.add_usual(spec, index as u16, &taken, &mut numbers);
            }
        }
        // What rounding left.
        for index in (0..spec.pools.len()).cycle() {
            if !roster.has_room(spec) {
                break;
            }
            roster.add_usual(spec, index as u16, &taken, &mut numbers);
        }
        roster
    }

    fn has_room(&self, spec: &FleetSpec) -> bool {
        !spec.pools.is_empty() && self.vms.len() < spec.vms as usize
    }

    fn add_story(&mut self, spec: &FleetSpec, index: u16, story: &StorySpec) {
        let pool = position(spec.pools.iter().map(|pool| &pool.name), &story.pool);
        let class = position(spec.classes.iter().map(|class| &class.name), &story.class);
        let (Some(pool), Some(class)) = (pool, class) else {
            return;
        };
        let size = SizeSpec {
            vcpus: story.vcpus,
            memory_gib: story.memory_gib,
            disk_gib: story.disk_gib,
            data_gib: 0,
        };
        self.push(spec, pool, class, story.name.clone(), size, Some(index));
    }

    fn add_usual(
        &mut self,
        spec: &FleetSpec,
        pool: u16,
        taken: &BTreeSet<&str>,
        numbers: &mut BTreeMap<String, u32>,
    ) {
        let draw = mix(spec.seed ^ 0xc1a5, self.vms.len() as i64);
        let class = draw_class(spec, pool, draw);
        let kind = &spec.classes[class as usize];
        let stem = pick(&kind.stems, draw >> 16);
        let size = *pick(&kind.sizes, draw >> 24);
        let number = numbers.entry(stem.clone()).or_insert(0);
        let name = loop {
            *number += 1;
            let name = format!("{stem}-{number:02}");
            if !taken.contains(&*name) {
                break name;
            }
        };
        self.push(spec, pool, class, name, size, None);
    }

    fn push(
        &mut self,
        spec: &FleetSpec,
        pool: u16,
        class: u16,
        name: String,
        size: SizeSpec,
        story: Option<u16>,
    ) {
        let index = self.vms.len();
        let seed = mix(spec.seed, index as i64);
        let place = &spec.pools[pool as usize];
        let kind = &spec.classes[class as usize];
        // Most VMs are a little under their pool's level, few are far above.
        let lean = unit(mix(seed, 1)) * unit(mix(seed, 2));
        let cpu_peak = place.level * kind.cpu * (0.62 + 1.5 * lean);
        let memory = kind.memory[0] + (kind.memory[1] - kind.memory[0]) * unit(mix(seed, 3));
        let oddity = match mix(seed, 4) % 200 {
            _ if story.is_some() => None,
            0 | 1 => Some(Oddity::RawDisk),
            2 | 3 => Some(Oddity::OldQcow2),
            4 => Some(Oddity::ForeignBackup),
            _ => None,
        };
        let totals = &mut self.pools[pool as usize];
        let host = (totals.vms / VMS_A_HOST) as u16;
        let record = Record {
            id: VmId::of(&place.source, &uuid(seed, index)),
            name,
            pool,
            host,
            class,
            story,
            seed,
            size,
            oddity,
            cpu_peak: cpu_peak.min(0.76),
            memory: memory.min(0.82),
        };
        totals.vms += 1;
        totals.vcpus += size.vcpus;
        totals.memory_bytes += record.memory_bytes();
        for disk in record.disk_sizes() {
            totals.disk_bytes += disk;
            totals.allocated_bytes += record.allocated(disk);
        }
        self.vms.push(record);
    }

    /// The place of a VM in the roster; the index is the last part of its uuid.
    pub(super) fn find(&self, id: &VmId) -> Option<usize> {
        let (_, tail) = id.as_str().rsplit_once('-')?;
        let index = usize::from_str_radix(tail, 16).ok()?;
        (self.vms.get(index)?.id == *id).then_some(index)
    }

    /// What a pool has of everything, its VMs included.
    pub(super) fn capacity(&self, spec: &FleetSpec, pool: usize) -> Capacity {
        let totals = self.pools[pool];
        let free = spec.pools[pool].memory_free.clamp(0.0, 0.95);
        let roomy = if free >= 0.2 { ROOM_BYTES } else { 0 };
        let memory = (totals.memory_bytes as f64 / (1.0 - free)) as u64;
        Capacity {
            cpus: ((f64::from(totals.vcpus) * CPUS_A_VCPU) as u32).max(64),
            memory_bytes: memory.max(totals.memory_bytes + roomy) / GIB * GIB,
            disk_bytes: totals.disk_bytes * 2 + DISK_ROOM_BYTES,
        }
    }

    pub(super) fn by_name(&self, name: &str) -> Option<&Record> {
        self.vms.iter().find(|vm| vm.name == name)
    }

    /// The curve of what a VM would need by itself, without any shadow; `None` for what no hypervisor measures.
    pub(super) fn curve(&self, spec: &FleetSpec, vm: &Record, metric: Metric) -> Option<Curve<'_>> {
        let class = &spec.classes[vm.class as usize];
        let story = vm
            .story
            .and_then(|index| spec.stories.get(index as usize))
            .filter(|story| story.metric == metric);
        let contention = spec.pools[vm.pool as usize].contention as f32;
        let peak = vm.cpu_peak;
        let (low, high, noise, flicker, bounds, scale) = match metric {
            Metric::Cpu => (peak * 0.3, peak, 0.035, 0.008, (0.015, 0.8), 1.0),
            Metric::Memory => (vm.memory - 0.05, vm.memory, 0.012, 0.0, (0.05, 0.84), 1.0),
            Metric::Disk => (0.1, 0.8, 0.09, 0.02, (0.03, 1.2), class.disk_bytes_per_sec),
            Metric::Net => (0.08, 0.85, 0.08, 0.02, (0.03, 1.2), class.net_bytes_per_sec),
            Metric::Steal => (
                contention * 0.3,
                contention,
                contention * 0.4,
                0.0,
                (0.0, 0.5),
                1.0,
            ),
            Metric::Response | Metric::Errors | Metric::Requests => return None,
        };
        Some(Curve {
            shape: &self.shapes[class.shape as usize],
            seed: mix(vm.seed, 16 + metric.index() as i64),
            // Up to an hour and a half to either side.
            phase: (mix(vm.seed, 5) % 37) as i64 - 18,
            low,
            high,
            noise,
            flicker,
            growth_a_year: 0.1 + 0.3 * unit(mix(vm.seed, 6)),
            origin_secs: self.start.as_secs(),
            bounds,
            surge: story.map(|story| surge(story, self.start)),
            promotion: promotion(spec, vm, metric, self.start),
            scale,
        })
    }
}

impl Record {
    pub(super) fn source(&self) -> SourceName {
        self.id.source()
    }

    /// What the platform says of it.
    pub(super) fn describe(&self, spec: &FleetSpec, state: PowerState) -> Vm {
        let pool = &spec.pools[self.pool as usize];
        Vm {
            id: self.id.clone(),
            name: self.name.clone(),
            source: pool.source.clone(),
            pool: PoolId::of(&pool.source, &pool.name),
            host: host_name(self.pool, self.host),
            state,
            generation: self.generation(),
            vcpus: self.size.vcpus,
            vcpus_max: self.size.vcpus * 2,
            memory_bytes: self.memory_bytes(),
            memory_max_bytes: self.memory_bytes(),
            instance_type: size_name(self.size.vcpus, self.memory_bytes()),
            disks: self.disks(),
            net_limit_bytes_per_sec: None,
            has_agent: !mix(self.seed, 7).is_multiple_of(4),
            foreign_jobs: match self.oddity {
                Some(Oddity::ForeignBackup) => vec!["backup job of another program".to_owned()],
                _ => Vec::new(),
            },
            labels: vec![Label {
                key: "class".to_owned(),
                value: spec.classes[self.class as usize].name.clone(),
            }],
            owner: None,
        }
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        u64::from(self.size.memory_gib) * GIB
    }

    fn generation(&self) -> u64 {
        1 + mix(self.seed, 8) % 9
    }

    /// What the counters stood at when the fleet started, in seconds of use.
    pub(super) fn uptime_secs(&self) -> u64 {
        86_400 + mix(self.seed, 9) % (60 * 86_400)
    }

    fn disk_sizes(&self) -> impl Iterator<Item = u64> {
        [self.size.disk_gib, self.size.data_gib]
            .into_iter()
            .filter(|gib| *gib > 0)
            .map(|gib| u64::from(gib) * GIB)
    }

    fn allocated(&self, capacity: u64) -> u64 {
        (capacity as f64 * self.allocated_ratio()) as u64 / GIB * GIB
    }

    /// 0..=1 of each disk that was ever written.
    pub(super) fn allocated_ratio(&self) -> f64 {
        0.35 + 0.5 * f64::from(unit(mix(self.seed, 10)))
    }

    pub(super) fn disks(&self) -> Vec<Disk> {
        self.disk_sizes()
            .zip(["vda", "vdb"])
            .map(|(capacity, target)| Disk {
                target: target.to_owned(),
                path: format!("/var/lib/libvirt/images/{}-{target}.qcow2", self.name),
                format: match self.oddity {
                    Some(Oddity::RawDisk) => DiskFormat::Raw,
                    _ => DiskFormat::Qcow2,
                },
                compat: match self.oddity {
                    Some(Oddity::RawDisk) => None,
                    Some(Oddity::OldQcow2) => Some("0.10".to_owned()),
                    _ => Some("1.1".to_owned()),
                },
                capacity_bytes: capacity,
                allocated_bytes: self.allocated(capacity),
                read_only: false,
                limit_bytes_per_sec: None,
            })
            .collect()
    }
}

pub(super) fn host_name(pool: u16, host: u16) -> String {
    format!("kvm-{}{:02}", pool + 1, host + 1)
}

pub(super) fn hosts_of(totals: PoolTotals) -> u32 {
    totals.vms.div_ceil(VMS_A_HOST).max(1)
}

fn promotion(spec: &FleetSpec, vm: &Record, metric: Metric, start: Timestamp) -> Option<Promotion> {
    let pool = &spec.pools[vm.pool as usize].name;
    let found = spec.promotions.iter().find(|found| found.pool == *pool)?;
    super::world::follows_traffic(metric).then(|| Promotion {
        first_secs: found.starts(start).as_secs(),
        lasts_secs: i64::from(found.lasts_minutes) * 60,
        every_secs: i64::from(found.every_days) * 86_400,
        factor: found.factor,
    })
}

fn surge(story: &StorySpec, start: Timestamp) -> Surge {
    let limit = match story.metric {
        Metric::Memory => 0.9,
        _ => 0.85,
    };
    let crosses = start.as_secs() + i64::from(story.crosses_in_minutes) * 60;
    Surge {
        crosses_at_secs: crosses,
        limit,
        peak: story.peak,
        growth_a_day: 0.006_f32.min((story.peak - limit) / 10.0),
    }
}

fn uuid(seed: u64, index: usize) -> String {
    let a = mix(seed, 11);
    let b = mix(seed, 12);
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{index:012x}",
        a >> 32,
        a & 0xffff,
        b & 0xfff,
        (b >> 16) & 0xfff
    )
}

fn draw_class(spec: &FleetSpec, pool: u16, draw: u64) -> u16 {
    let classes = &spec.pools[pool as usize].classes;
    let total: u32 = classes.values().sum();
    let mut left = (draw % u64::from(total.max(1))) as u32;
    let name = classes
        .iter()
        .find_map(|(name, weight)| {
            if left < *weight {
                return Some(name);
            }
            left -= weight;
            None
        })
        .or_else(|| classes.keys().next());
    name.and_then(|name| position(spec.classes.iter().map(|class| &class.name), name))
        .unwrap_or_default()
}

fn pick<T>(from: &[T], draw: u64) -> &T {
    &from[(draw % from.len() as u64) as usize]
}

fn position<'a>(mut names: impl Iterator<Item = &'a String>, name: &str) -> Option<u16> {
    names.position(|known| known == name).map(|at| at as u16)
}
