//! The VMs and their pools.

use std::sync::Arc;

use super::{NOW, shadows::SHADOWS, source, spread, target, vm_id};
use shadowcast::{
    engine::snapshot::VmView,
    forecast::Outlook,
    health::{Contribution, HealthScore, HealthState},
    inventory::{Disk, DiskFormat, Pool, PowerState, Role, Storage, Vm},
    metrics::Metric,
    units::{PoolId, ShadowId, SourceName, Timestamp},
};

pub(super) const POOLS: [(&str, u32, f32); 12] = [
    ("batch-cl01", 760, 0.16),
    ("dc2-cl01", 846, 0.28),
    ("dc2-cl02", 840, 0.44),
    ("dc2-cl03", 832, 0.32),
    ("dc2-cl04", 828, 0.62),
    ("edge-cl01", 816, 0.22),
    ("prod-cl01", 912, 0.43),
    ("prod-cl02", 880, 0.53),
    ("prod-cl03", 864, 0.33),
    ("prod-cl04", 850, 0.42),
    ("vdi-cl01", 790, 0.47),
    ("vdi-cl02", 782, 0.43),
];

/// Names of VMs with a story: pool, name, peak ahead, minutes until it crosses, load now.
pub(super) const STORIES: [(&str, &str, f32, i64, f32); 14] = [
    ("prod-cl02", "checkout-api-07", 0.96, 11, 0.78),
    ("prod-cl02", "ledger-db-02", 0.94, 24, 0.74),
    ("prod-cl02", "search-idx-11", 0.93, 65, 0.66),
    ("prod-cl02", "media-enc-03", 0.91, 110, 0.61),
    ("dc2-cl04", "vdi-broker-04", 0.99, 293, 0.58),
    ("dc2-cl04", "pay-gw-01", 0.90, 153, 0.55),
    ("dc2-cl04", "geo-tile-18", 0.89, 248, 0.52),
    ("dc2-cl04", "vdi-broker-02", 0.96, 308, 0.57),
    ("dc2-cl04", "mail-relay-05", 0.88, 398, 0.50),
    ("dc2-cl04", "vdi-broker-07", 0.92, 418, 0.54),
    ("dc2-cl04", "hr-sap-02", 0.87, 463, 0.49),
    ("dc2-cl04", "backup-prx-01", 0.90, 628, 0.33),
    ("dc2-cl04", "etl-night-06", 0.89, 693, 0.21),
    ("dc2-cl04", "vdi-pool-b-01", 0.93, 440, 0.48),
];

pub(super) fn pools() -> Vec<Pool> {
    let mut pools: Vec<Pool> = POOLS
        .iter()
        .map(|(name, vms, load)| pool(&source(), name, *vms, *load, Role::Primary))
        .collect();
    pools.push(pool(&target(), "shadow-a", 7, 0.34, Role::Secondary));
    pools.push(pool(&target(), "shadow-b", 0, 0.88, Role::Secondary));
    pools
}

pub(super) fn pool(source: &SourceName, name: &str, vms: u32, load: f32, role: Role) -> Pool {
    let memory_bytes = 24u64 << 40;
    Pool {
        id: PoolId::of(source, name),
        name: name.to_owned(),
        source: source.clone(),
        role,
        hosts: vms.div_ceil(36).max(1),
        cpus: 2304,
        memory_bytes,
        memory_free_bytes: (memory_bytes as f64 * (1.0 - f64::from(load) * 1.05)) as u64,
        cpu_used: Some(f64::from(load)),
        contention: Some(0.01),
        storage: vec![Storage {
            name: format!("{name}-nvme"),
            capacity_bytes: 400_000_000_000_000,
            available_bytes: 156_000_000_000_000,
        }],
        service_address: "192.0.2.20".to_owned(),
    }
}

pub(super) fn all_vms(wanted: usize) -> Vec<VmView> {
    let mut random = fastrand::Rng::with_seed(7);
    let kinds = [
        "api", "web", "db", "cache", "queue", "worker", "idx", "gw", "etl", "desk",
    ];
    let total: u32 = POOLS.iter().map(|pool| pool.1).sum();
    let mut views = Vec::with_capacity(wanted);
    for (pool, size, mean) in POOLS {
        let count = (wanted as f64 * f64::from(size) / f64::from(total)).round() as usize;
        let host_loads: Vec<f32> = (0..size.div_ceil(36))
            .map(|_| random.f32() * 0.24)
            .collect();
        let mut names: Vec<(String, Option<usize>)> = STORIES
            .iter()
            .enumerate()
            .filter(|(_, story)| story.0 == pool)
            .map(|(index, story)| (story.1.to_owned(), Some(index)))
            .collect();
        if pool == "prod-cl01" {
            names.extend(
                SHADOWS
                    .iter()
                    .filter(|shadow| !STORIES.iter().any(|story| story.1 == shadow.0))
                    .map(|shadow| (shadow.0.to_owned(), None)),
            );
        }
        while names.len() < count {
            let number = names.len();
            names.push((
                format!(
                    "{}-{}-{number:03}",
                    pool.replace("-cl", ""),
                    kinds[number % 10]
                ),
                None,
            ));
        }
        for (number, (name, story)) in names.into_iter().enumerate() {
            let host = number % host_loads.len();
            let own = (random.f32() + random.f32() + random.f32()) / 3.0;
            let load = (mean + host_loads[host] - 0.12 + (own - 0.5) * 0.9).clamp(0.01, 0.83);
            views.push(view(
                pool,
                &name,
                format!("{pool}-h{host:02}"),
                story.map(|index| STORIES[index]),
                load,
                &mut random,
            ));
        }
    }
    views.sort_by(|a, b| a.vm.id.cmp(&b.vm.id));
    views
}

pub(super) fn view(
    pool: &str,
    name: &str,
    host: String,
    story: Option<(&str, &str, f32, i64, f32)>,
    load: f32,
    random: &mut fastrand::Rng,
) -> VmView {
    let silent = story.is_none() && random.u32(0..1700) == 0;
    let hot = story.is_none() && pool == "dc2-cl04" && random.u32(0..40) == 0;
    let (peak, crosses, now) = match story {
        Some((_, _, peak, minutes, now)) => (peak, Some(NOW.plus_secs(minutes * 60 + 30)), now),
        None if hot => (
            0.9,
            Some(NOW.plus_secs(random.i64(15_000..42_000))),
            load.min(0.7),
        ),
        None => (load, None, load * (0.55 + random.f32() * 0.4)),
    };
    let vcpus = [2, 4, 8, 16][random.usize(0..4)];
    let vcpus = if name == "checkout-api-07" { 16 } else { vcpus };
    let memory_bytes = u64::from(vcpus) * (4 << 30);
    let mut values = [None; Metric::COUNT];
    let mut outlooks = Vec::new();
    if !silent {
        values[Metric::Cpu.index()] = Some(now);
        values[Metric::Memory.index()] = Some(0.35 + random.f32() * 0.4);
        values[Metric::Disk.index()] = Some(random.f32() * 9e6);
        values[Metric::Net.index()] = Some(random.f32() * 30e6);
        outlooks.push(Outlook {
            metric: Metric::Cpu,
            made_at: NOW.plus_secs(-80),
            peak,
            peak_upper: (peak * 1.12).min(1.1),
            peak_at: NOW.plus_secs(4 * 3600 + 1400),
            p95: peak * 0.97,
            limit: Some(0.85),
            crosses_at: crosses,
            probability: crosses.map(|_| 0.81),
            likely_at: None,
            no_better_than_naive: false,
        });
        outlooks.push(Outlook {
            metric: Metric::Memory,
            made_at: NOW.plus_secs(-80),
            peak: 0.72,
            peak_upper: 0.78,
            peak_at: NOW.plus_secs(5 * 3600),
            p95: 0.7,
            limit: Some(0.9),
            crosses_at: None,
            probability: Some(0.02),
            likely_at: None,
            no_better_than_naive: false,
        });
    }
    let health = health(silent, peak, crosses, now);
    let id = vm_id(name);
    VmView {
        withheld: None,
        vm: Arc::new(Vm {
            id: id.clone(),
            name: name.to_owned(),
            source: source(),
            pool: PoolId::of(&source(), pool),
            host,
            state: PowerState::Running,
            generation: 1,
            vcpus,
            vcpus_max: vcpus * 2,
            memory_bytes,
            memory_max_bytes: memory_bytes * 2,
            instance_type: format!("{vcpus} vCPU"),
            disks: vec![Disk {
                target: "vda".to_owned(),
                path: format!("/var/lib/libvirt/images/{name}.qcow2"),
                format: DiskFormat::Qcow2,
                compat: Some("1.1".to_owned()),
                capacity_bytes: 80_000_000_000,
                allocated_bytes: 38_000_000_000,
                read_only: false,
                limit_bytes_per_sec: None,
            }],
            net_limit_bytes_per_sec: None,
            has_agent: true,
            foreign_jobs: Vec::new(),
            labels: Vec::new(),
            owner: None,
        }),
        values,
        sampled_at: (!silent).then(|| NOW.plus_secs(-4)),
        health: Arc::new(health),
        outlooks: Arc::new(outlooks),
        spark: Arc::new(spark(name, now, peak, silent)),
        shadow: SHADOWS
            .iter()
            .any(|shadow| shadow.0 == name)
            .then(|| ShadowId(format!("s-{:08x}", spread(name) as u32)))
            .or_else(|| {
                (story.is_none() && random.u32(0..1400) == 0).then(|| ShadowId::from("s-00000000"))
            }),
        proposal: None,
        detail_version: 3,
    }
}

pub(super) fn health(silent: bool, peak: f32, crosses: Option<Timestamp>, now: f32) -> HealthScore {
    if silent {
        return HealthScore {
            score: None,
            state: HealthState::Unknown,
            contributions: Vec::new(),
        };
    }
    let mut contributions = Vec::new();
    let mut take = |name: &str, points: u8, why: String| {
        if points > 0 {
            contributions.push(Contribution {
                name: name.to_owned(),
                points,
                why,
            });
        }
    };
    if let Some(at) = crosses {
        let hours = at.secs_since(NOW) / 3600;
        let points = (34 - hours * 2).clamp(12, 34) as u8;
        take(
            "forecast",
            points,
            format!("CPU over 85 % in {hours} h, likely"),
        );
        take("response", 11, "p95 214 ms, usual 140 ms".to_owned());
    }
    if now > 0.5 {
        take(
            "cpu",
            ((now - 0.5) * 50.0) as u8,
            format!("CPU {:.0} %", now * 100.0),
        );
    }
    if peak > 0.75 {
        take("steal", 3, "CPU ready 4.1 %, limit 10 %".to_owned());
    }
    let lost: u8 = contributions.iter().map(|part| part.points).sum();
    let score = 100 - lost;
    HealthScore {
        score: Some(score),
        state: match (score, crosses) {
            (_, Some(at)) if at.secs_since(NOW) < 1800 => HealthState::Critical,
            (_, Some(at)) if at.secs_since(NOW) < 5 * 3600 => HealthState::Risk,
            (_, Some(_)) => HealthState::Watch,
            (..83, None) => HealthState::Watch,
            _ => HealthState::Ok,
        },
        contributions,
    }
}

pub(super) fn spark(name: &str, now: f32, peak: f32, silent: bool) -> Vec<u8> {
    if silent {
        return vec![255; 48];
    }
    let phase = (spread(name) % 100) as f32 / 16.0;
    (0..48)
        .map(|step| {
            let wave = ((step as f32 * 0.5 + phase).sin() + (step as f32 * 1.7).sin() * 0.4) * 3.0;
            let value = if step < 24 {
                let rise = step as f32 / 23.0;
                now * (0.55 + 0.45 * rise * rise) * 100.0 + wave
            } else {
                let ahead = (step - 23) as f32;
                let shape = (-(ahead - 11.0) * (ahead - 11.0) / 60.0).exp();
                now * 100.0 + (peak - now) * 100.0 * shape + wave * 0.3
            };
            value.clamp(0.0, 110.0) as u8
        })
        .collect()
}
