//! A made-up fleet for the console: 10,000 VMs in 12 pools with stories, and a stand-in for the engine that answers
//! what the window asks and writes down what it commands.
#![allow(dead_code, reason = "each test, bench and example uses its own part")]

use std::sync::Arc;

use shadowcast::{
    engine::{
        command::{Answer, Command, Reply},
        handle::{Handle, Request},
        snapshot::{
            Alarm, GateView, OperationState, OperationView, ServiceView, ShadowState, ShadowView,
            Snapshot, SourceKind, SourceView, StepState, StepView, TimelineEntry, TimelineKind,
            VmDetail, VmView,
        },
    },
    forecast::{Accuracy, Forecast, ForecastPoint, NotReady, Outlook},
    health::{Contribution, HealthScore, HealthState},
    hypervisor::{Examination, Finding},
    inventory::{
        Disk, DiskFormat, Owner, Pool, PowerState, Role, Service, ServiceKind, ServiceMember,
        Storage, Vm,
    },
    metrics::{Metric, Series},
    replication::{Consistency, DiskIncrement, IncrementSpec, Progress, RecoveryPoint},
    reservation::Hold,
    shadow::{
        Check, CheckOutcome, Need, Placement, Plan, PlanKind, Proposal, ProposalState, Reason,
        Rejected, ShadowNetwork, ShadowSpec, ShareSpec, Sizing, Step, Urgency,
    },
    traffic::ServerSpec,
    units::{
        Digest, EngineId, OperationId, PoolId, ProposalId, ServiceName, ShadowId, SourceName,
        Timestamp, VmId, Weight,
    },
};
use tokio::sync::{mpsc, watch};

/// Sunday 22 November 2026, 14:32:08 UTC.
pub const NOW: Timestamp = Timestamp::from_secs(1_795_357_928);
pub const HORIZON_SECONDS: u32 = 12 * 3600;

const POOLS: [(&str, u32, f32); 12] = [
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
const STORIES: [(&str, &str, f32, i64, f32); 14] = [
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

/// Shadows: VM, state, share, rpo, lag.
const SHADOWS: [(&str, ShadowState, f64, u32, u64); 7] = [
    ("geo-tile-18", ShadowState::Stalled, 0.4, 60, 132),
    ("catalog-api-02", ShadowState::Serving, 0.1, 60, 41),
    ("cart-api-03", ShadowState::Serving, 0.25, 60, 24),
    ("pay-gw-01", ShadowState::Replicating, 0.0, 30, 12),
    ("img-proc-05", ShadowState::Creating, 0.0, 60, 0),
    ("auth-idp-02", ShadowState::Replicating, 0.0, 60, 38),
    ("orders-db-01", ShadowState::Replicating, 0.0, 120, 55),
];

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
    let vms = Arc::new(all_vms(vms));
    let mut snapshot = Snapshot {
        version: 1,
        at: NOW,
        engine: engine(),
        horizon_seconds: HORIZON_SECONDS,
        sources: sources(vms.len() as u32),
        pools: Arc::new(pools()),
        vms,
        services: services(),
        operations: operations(),
        shadows: shadows(),
        timeline: Arc::new(timeline()),
        alarms: vec![Alarm {
            text: "kvm-edge not answering for 6 min".to_owned(),
            effect: "forecasts for 412 VMs use older data".to_owned(),
            since: NOW.plus_secs(-360),
        }],
        ..Snapshot::default()
    };
    snapshot.proposals = proposals(&snapshot);
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
            last_ok: Some(NOW.plus_secs(-ago)),
            error: error.map(str::to_owned),
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

fn pools() -> Vec<Pool> {
    let mut pools: Vec<Pool> = POOLS
        .iter()
        .map(|(name, vms, load)| pool(&source(), name, *vms, *load, Role::Primary))
        .collect();
    pools.push(pool(&target(), "shadow-a", 7, 0.34, Role::Secondary));
    pools.push(pool(&target(), "shadow-b", 0, 0.88, Role::Secondary));
    pools
}

fn pool(source: &SourceName, name: &str, vms: u32, load: f32, role: Role) -> Pool {
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

fn all_vms(wanted: usize) -> Vec<VmView> {
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

fn view(
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
        });
    }
    let health = health(silent, peak, crosses, now);
    let id = vm_id(name);
    VmView {
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

fn health(silent: bool, peak: f32, crosses: Option<Timestamp>, now: f32) -> HealthScore {
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

fn spark(name: &str, now: f32, peak: f32, silent: bool) -> Vec<u8> {
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

/// A day's curve of one VM, at any moment, without a limit of how far.
fn curve(name: &str, metric: Metric, at: Timestamp, now: f64, peak: f64) -> f64 {
    let seed = (spread(name) % 628) as f64 / 100.0;
    let hours = at.secs_since(NOW) as f64 / 3600.0;
    let noise = ((hours * 47.0 + seed).sin() * 0.6
        + (hours * 131.0).sin() * 0.4
        + (hours * 311.0 + seed).cos() * 0.4)
        * 0.012;
    let evening = |centre: f64, width: f64| (-((hours - centre) / width).powi(2)).exp();
    let shape = if hours <= 0.0 {
        let walk = ((hours * 9.0 + seed).sin() + (hours * 23.0).sin() * 0.6) * 0.018;
        0.30 + (now - 0.30) * evening(0.6, 2.4) / (-(0.25f64).powi(2)).exp()
            + 0.24 * evening(-9.0, 2.4)
            + (noise + walk) * (-hours).min(1.0)
    } else {
        let rise = 1.0 - (1.0 - (hours / 4.4).min(1.0)).powi(2);
        let up = now + (peak - now) * rise;
        let tail = 0.34;
        if hours < 4.4 {
            up
        } else {
            tail + (peak - tail) * evening(4.4, 3.0)
        }
    };
    match metric {
        Metric::Memory => 0.55 + (shape - 0.4) * 0.25,
        Metric::Disk => shape.max(0.02) * 42e6,
        Metric::Net => shape.max(0.02) * 118e6,
        _ => shape.clamp(0.0, 1.1),
    }
}

/// What the engine would answer to `VmDetail`.
pub fn detail(view: &VmView, metric: Metric, past_seconds: u32, horizon_seconds: u32) -> VmDetail {
    let step_seconds = if past_seconds > 2 * 86_400 { 300 } else { 60 };
    let steps = past_seconds / step_seconds;
    let start = NOW.plus_secs(-i64::from(past_seconds));
    let now = f64::from(view.values[Metric::Cpu.index()].unwrap_or(0.3));
    let outlook = view.outlook(Metric::Cpu).copied();
    let peak = outlook.map_or(0.5, |outlook| f64::from(outlook.peak));
    let values = (0..=steps)
        .map(|step| {
            let at = start.plus_secs(i64::from(step * step_seconds));
            if view.sampled_at.is_none() {
                f32::NAN
            } else {
                curve(&view.vm.name, metric, at, now, peak) as f32
            }
        })
        .collect();
    let limit = match metric {
        Metric::Cpu => Some(0.85),
        Metric::Memory => Some(0.9),
        _ => None,
    };
    let forecast = outlook
        .map(|outlook| {
            let points = (0..=horizon_seconds / 300)
                .map(|step| {
                    let ahead = i64::from(step) * 300;
                    let at = NOW.plus_secs(ahead);
                    let mean = curve(&view.vm.name, metric, at, now, peak);
                    let hours = ahead as f64 / 3600.0;
                    let spread =
                        mean * 0.04 + (0.02 + 0.11 * (hours / 12.0).sqrt()) * mean.max(0.3);
                    ForecastPoint {
                        at,
                        mean: mean as f32,
                        lower: (mean - spread) as f32,
                        upper: (mean + spread) as f32,
                    }
                })
                .collect();
            Forecast {
                vm: view.vm.id.clone(),
                metric,
                made_at: NOW.plus_secs(-80),
                step_seconds: 300,
                model: "seasonal, day and week".to_owned(),
                accuracy: Some(Accuracy {
                    mase: 0.62,
                    coverage: 0.94,
                }),
                points,
                limit,
                crosses_at: outlook.crosses_at.filter(|_| metric == Metric::Cpu),
                probability: outlook.probability.map(f64::from),
            }
        })
        .ok_or(NotReady::TooShort {
            needed_seconds: 7800,
        });
    VmDetail {
        vm: view.vm.id.clone(),
        metric,
        version: view.detail_version,
        measured: Series {
            start,
            step_seconds,
            values,
        },
        forecast,
        second: None,
        limit,
    }
}

fn hold(operation: &str, vcpus: u32, memory_bytes: u64) -> Hold {
    Hold {
        operation: OperationId::from(operation),
        pool: PoolId::of(&target(), "shadow-a"),
        vcpus,
        memory_bytes,
        disk_bytes: 82_000_000_000,
    }
}

fn shadow_spec(name: &str, vcpus: u32, memory_bytes: u64) -> ShadowSpec {
    ShadowSpec {
        owner: owner("op-1a2b3c4d"),
        shadow: ShadowId(format!("s-{:08x}", spread(name) as u32)),
        of: vm_id(name),
        name: format!("{name}-s1"),
        uuid: "5f0c3f58-6e4e-4a75-9b54-4d6f0d9d6b11".to_owned(),
        pool: PoolId::of(&target(), "shadow-a"),
        storage: "shadow-a-nvme".to_owned(),
        vcpus,
        vcpus_max: vcpus,
        memory_bytes,
        overlays: Vec::new(),
        network: ShadowNetwork {
            mac: "52:54:00:9a:11:07".to_owned(),
            address: "192.0.2.20".to_owned(),
            port: 18_107,
            guest_port: 8080,
            guest_address: None,
            outbound_allowed: false,
        },
    }
}

fn share_step(name: &str, share: f64, previous_share: f64) -> Step {
    Step::SetShare(ShareSpec {
        shadow: ShadowId(format!("s-{:08x}", spread(name) as u32)),
        service: ServiceName::from("checkout"),
        director: SourceName::from("lb-01"),
        backend: "lb-checkout".to_owned(),
        primary_server: "api07".to_owned(),
        shadow_server: "sc1a2b3c4d".to_owned(),
        base_weight: Weight(100),
        share,
        previous_share,
    })
}

/// The plan that creates a shadow of `name` and moves `share`.
pub fn plan(name: &str, share: f64) -> Plan {
    let shadow = ShadowId(format!("s-{:08x}", spread(name) as u32));
    let mut steps = vec![
        Step::Reserve {
            hold: hold("op-1a2b3c4d", 8, 32 << 30),
        },
        Step::Replicate {
            increment: IncrementSpec {
                owner: owner("op-1a2b3c4d"),
                shadow: shadow.clone(),
                vm: vm_id(name),
                number: 0,
                checkpoint: "shc-s-1a2b3c4d-0".to_owned(),
                parent_checkpoint: None,
                freeze: false,
                target_pool: PoolId::of(&target(), "shadow-a"),
                target_storage: "shadow-a-nvme".to_owned(),
                disks: vec![DiskIncrement {
                    target: "vda".to_owned(),
                    capacity_bytes: 80_000_000_000,
                    spool_volume: "shc-spool-0".to_owned(),
                    layer_volume: "shc-layer-0".to_owned(),
                    backing_volume: None,
                }],
            },
            rpo_seconds: 60,
        },
        Step::DefineShadow {
            spec: shadow_spec(name, 8, 32 << 30),
            point: 0,
        },
    ];
    if share > 0.0 {
        steps.extend([
            Step::StartShadow {
                shadow: shadow.clone(),
                source: target(),
                uuid: "5f0c3f58-6e4e-4a75-9b54-4d6f0d9d6b11".to_owned(),
            },
            Step::AwaitAnswer {
                shadow: shadow.clone(),
                address: "192.0.2.20".to_owned(),
                port: 18_107,
                path: "/healthz".to_owned(),
                timeout_seconds: 120,
            },
            Step::AddServer {
                director: SourceName::from("lb-01"),
                server: ServerSpec {
                    backend: "lb-checkout".to_owned(),
                    server: "sc1a2b3c4d".to_owned(),
                    address: "192.0.2.20".to_owned(),
                    port: 18_107,
                    check_interval_millis: 1000,
                },
            },
            share_step(name, share, 0.0),
        ]);
    }
    Plan {
        kind: PlanKind::Create,
        vm: vm_id(name),
        vm_name: name.to_owned(),
        shadow,
        owner: owner("op-1a2b3c4d"),
        made_at: NOW.plus_secs(-40),
        preconditions: Vec::new(),
        steps,
        cost: vec![
            "8 vCPU and 32 GiB in shadow-a".to_owned(),
            "82 GB of disk, about 3 MB/s on the link".to_owned(),
        ],
        undo: "Undo with Z at any time: traffic returns to the original, then everything made is removed."
            .to_owned(),
        estimate_seconds: 540,
    }
}

/// A digest that follows the share, so that a changed plan is another plan.
pub fn digest(name: &str, share: f64) -> Digest {
    Digest(format!("{:064x}", spread(&format!("{name}{share:.3}"))))
}

pub fn proposal(
    name: &str,
    share: f64,
    urgency: Urgency,
    crosses: Option<(i64, f64)>,
    why: &str,
) -> Proposal {
    let crosses_at = crosses.map(|(minutes, _)| NOW.plus_secs(minutes * 60 + 30));
    let peak = crosses.map_or(0.4, |(_, peak)| peak);
    let reasons = match (crosses_at, crosses) {
        (Some(at), Some((_, peak))) => vec![Reason::ForecastCrosses {
            metric: Metric::Cpu,
            peak,
            limit: 0.85,
            at,
        }],
        _ => vec![Reason::RiskPassed {
            peak: 0.34,
            limit: 0.85,
            quiet_since: NOW.plus_secs(-3 * 3600),
        }],
    };
    let mut plan = plan(name, share);
    if urgency == Urgency::GiveBack {
        plan.kind = PlanKind::Retire;
        plan.steps = vec![
            share_step(name, 0.0, 0.25),
            Step::AwaitDrained {
                director: SourceName::from("lb-01"),
                backend: "lb-catalog".to_owned(),
                server: "sc1a2b3c4d".to_owned(),
                timeout_seconds: 60,
            },
            Step::RemoveServer {
                director: SourceName::from("lb-01"),
                backend: "lb-catalog".to_owned(),
                server: "sc1a2b3c4d".to_owned(),
            },
            Step::RemoveShadow {
                spec: shadow_spec(name, 8, 32 << 30),
            },
            Step::Release {
                hold: hold("op-1a2b3c4d", 8, 32 << 30),
            },
        ];
    }
    Proposal {
        id: ProposalId(format!("p-{:08x}", spread(name) as u32)),
        need: Need {
            vm: vm_id(name),
            urgency,
            crosses_at,
            probability: crosses.map(|_| 0.81),
            reasons,
        },
        why: why.to_owned(),
        sizing: Sizing {
            share,
            vcpus: 8,
            memory_bytes: 32 << 30,
            peak_no_action: peak,
            peak_primary: peak * (1.0 - share),
            peak_shadow: peak * share * 1.05,
        },
        placement: (urgency != Urgency::GiveBack).then(|| Placement {
            pool: PoolId::of(&target(), "shadow-a"),
            storage: "shadow-a-nvme".to_owned(),
            why: "most headroom after placement, no contention, nothing has to move".to_owned(),
            rejected: vec![Rejected {
                pool: PoolId::of(&target(), "shadow-b"),
                why: "under 10 % of its memory would stay free".to_owned(),
            }],
        }),
        digest: digest(name, share),
        plan,
        created_at: NOW.plus_secs(-360),
        expires_at: NOW.plus_secs(600),
        state: ProposalState::Open,
        checks: [
            (
                CheckOutcome::Passed,
                "shadow-a keeps 61 % of its memory free",
            ),
            (CheckOutcome::Passed, "Sources and balancer are armed"),
            (CheckOutcome::Passed, "Service checkout is stateless"),
            (
                CheckOutcome::Passed,
                "Disk is qcow2 1.1, no other job on it",
            ),
            (
                CheckOutcome::Note,
                "No guest agent: points are as after a power cut",
            ),
        ]
        .map(|(outcome, text)| Check {
            outcome,
            text: text.to_owned(),
        })
        .to_vec(),
    }
}

fn proposals(_now: &Snapshot) -> Vec<Arc<Proposal>> {
    vec![
        proposal(
            "checkout-api-07",
            0.4,
            Urgency::Now,
            Some((11, 0.96)),
            "Sunday evening peak, 12 % above last week",
        ),
        proposal(
            "ledger-db-02",
            0.0,
            Urgency::Now,
            Some((24, 0.94)),
            "Month-end run started early; stateful, so it only replicates",
        ),
        proposal(
            "search-idx-11",
            0.3,
            Urgency::Soon,
            Some((65, 0.93)),
            "Index rebuild meets the evening peak",
        ),
        proposal(
            "media-enc-03",
            0.25,
            Urgency::Soon,
            Some((110, 0.91)),
            "Encoding backlog of 340 items",
        ),
        proposal(
            "vdi-pool-b-01",
            0.2,
            Urgency::Later,
            Some((440, 0.93)),
            "Logon peak at 22:00",
        ),
        proposal(
            "catalog-api-02",
            0.0,
            Urgency::GiveBack,
            None,
            "Load back to 34 %, forecast flat",
        ),
    ]
    .into_iter()
    .map(Arc::new)
    .collect()
}

/// The same proposal with another split, as the engine would plan it.
pub fn adjusted(proposal: &Proposal, share: f64) -> Proposal {
    let mut new = proposal.clone();
    let name = &proposal.plan.vm_name;
    new.plan = plan(name, share);
    new.sizing.share = share;
    new.sizing.peak_primary = new.sizing.peak_no_action * (1.0 - share);
    new.sizing.peak_shadow = new.sizing.peak_no_action * share * 1.05;
    new.digest = digest(name, share);
    new
}

fn step(text: &str, state: StepState, from: i64, to: Option<i64>, note: &str) -> StepView {
    let started = !matches!(state, StepState::Pending);
    StepView {
        text: text.to_owned(),
        state,
        note: note.to_owned(),
        started_at: started.then(|| NOW.plus_secs(-from)),
        ended_at: to.map(|to| NOW.plus_secs(-to)),
    }
}

pub fn operations() -> Vec<OperationView> {
    let view =
        |id: &str, name: &str, kind, state, steps: Vec<StepView>, from: i64, to: Option<i64>| {
            OperationView {
                id: OperationId::from(id),
                kind,
                vm: vm_id(name),
                vm_name: name.to_owned(),
                shadow: ShadowId(format!("s-{:08x}", spread(name) as u32)),
                state,
                step: steps
                    .iter()
                    .filter(|step| step.state == StepState::Done)
                    .count(),
                steps,
                started_at: NOW.plus_secs(-from),
                ended_at: to.map(|to| NOW.plus_secs(-to)),
                progress: None,
                undoing: false,
                by: "mo".to_owned(),
                why: None,
            }
        };
    let mut seeding = view(
        "op-7c1e90ab",
        "img-proc-05",
        PlanKind::Create,
        OperationState::Running,
        vec![
            step(
                "Reserve 4 vCPU, 16 GiB in shadow-a",
                StepState::Done,
                312,
                Some(311),
                "",
            ),
            step(
                "Copy the disks once, then their changes",
                StepState::Running,
                311,
                None,
                "118 MB/s",
            ),
            step("Define img-proc-05-s1", StepState::Pending, 0, None, ""),
            step("Start the shadow", StepState::Pending, 0, None, ""),
            step("Move 20 % of the traffic", StepState::Pending, 0, None, ""),
        ],
        312,
        None,
    );
    seeding.progress = Some(Progress {
        done_bytes: 26_000_000_000,
        total_bytes: 61_000_000_000,
    });
    let mut parked = view(
        "op-5af00312",
        "geo-tile-18",
        PlanKind::Traffic,
        OperationState::Parked,
        vec![
            step(
                "Start the shadow",
                StepState::Done,
                5240,
                Some(5228),
                "booted in 11 s",
            ),
            step(
                "Wait until its service answers",
                StepState::Done,
                5228,
                Some(5226),
                "HTTP 200",
            ),
            step(
                "Move 60 % of the traffic",
                StepState::Failed,
                5226,
                Some(4880),
                "p95 311 ms over 250",
            ),
        ],
        5240,
        None,
    );
    parked.why = Some(
        "lb-01 refuses the weight: backend lb-geo is static and takes only 0 or 100 %".to_owned(),
    );
    vec![
        parked,
        seeding,
        view(
            "op-4be1077d",
            "cart-api-03",
            PlanKind::Create,
            OperationState::Done,
            vec![
                step(
                    "Reserve 4 vCPU, 16 GiB in shadow-a",
                    StepState::Done,
                    20_000,
                    Some(19_999),
                    "",
                ),
                step(
                    "Copy the disks once, then their changes",
                    StepState::Done,
                    19_999,
                    Some(19_700),
                    "41 GB",
                ),
                step(
                    "Define cart-api-03-s1",
                    StepState::Done,
                    19_700,
                    Some(19_698),
                    "",
                ),
                step(
                    "Start the shadow",
                    StepState::Done,
                    19_698,
                    Some(19_686),
                    "",
                ),
                step(
                    "Wait until its service answers",
                    StepState::Done,
                    19_686,
                    Some(19_684),
                    "HTTP 200 in 38 ms",
                ),
                step(
                    "Add it to lb-cart",
                    StepState::Done,
                    19_684,
                    Some(19_684),
                    "",
                ),
                step(
                    "Move 25 % of the traffic",
                    StepState::Done,
                    19_684,
                    Some(19_680),
                    "read back 25.1 %",
                ),
            ],
            20_000,
            Some(19_680),
        ),
        view(
            "op-33d1f0aa",
            "auth-idp-02",
            PlanKind::Create,
            OperationState::Undone,
            vec![
                step(
                    "Reserve 2 vCPU, 8 GiB in shadow-a",
                    StepState::Undone,
                    90_000,
                    Some(89_999),
                    "",
                ),
                step(
                    "Copy the disks once, then their changes",
                    StepState::Undone,
                    89_999,
                    Some(89_900),
                    "no space left on shadow-a-nvme",
                ),
            ],
            90_000,
            Some(89_880),
        ),
    ]
}

pub fn shadows() -> Vec<ShadowView> {
    SHADOWS
        .iter()
        .map(|(name, state, share, rpo, lag)| {
            let mut random = fastrand::Rng::with_seed(spread(name));
            let creating = *state == ShadowState::Creating;
            let mut recent: Vec<f32> = (0..60)
                .map(|_| *rpo as f32 * (0.55 + random.f32() * 0.35))
                .collect();
            if *state == ShadowState::Stalled {
                for (index, lag) in recent.iter_mut().rev().take(4).enumerate() {
                    *lag = 132.0 - index as f32 * 20.0;
                }
            }
            ShadowView {
                id: ShadowId(format!("s-{:08x}", spread(name) as u32)),
                vm: vm_id(name),
                vm_name: (*name).to_owned(),
                name: format!("{name}-s1"),
                pool: PoolId::of(&target(), "shadow-a"),
                state: *state,
                method: "increments".to_owned(),
                vcpus: 4,
                memory_bytes: 16 << 30,
                rpo_seconds: *rpo,
                lag_seconds: (!creating).then_some(*lag),
                lag_bytes: Some(if *state == ShadowState::Stalled {
                    1_900_000_000
                } else {
                    lag * 130_000
                }),
                points: if creating {
                    Vec::new()
                } else {
                    (0..8)
                        .map(|number: u64| RecoveryPoint {
                            number: 380 + number,
                            at: NOW
                                .plus_secs(-(*lag as i64) - (7 - number as i64) * i64::from(*rpo)),
                            complete_at: NOW.plus_secs(
                                2 - (*lag as i64) - (7 - number as i64) * i64::from(*rpo),
                            ),
                            consistent: if number.is_multiple_of(3) {
                                Consistency::FileSystem
                            } else {
                                Consistency::Crash
                            },
                            shipped_bytes: 2_000_000 + random.u64(0..6_000_000),
                            layers: vec![format!("shc-layer-{number}")],
                            depth: 3 + number as u32,
                        })
                        .collect()
                },
                serving_from: (*share > 0.0).then_some(382),
                last_cycle_millis: (!creating).then_some(1340),
                cycle_progress: creating.then_some(Progress {
                    done_bytes: 26_000_000_000,
                    total_bytes: 61_000_000_000,
                }),
                stalled: (*state == ShadowState::Stalled)
                    .then(|| "kvm-secondary does not answer; next try in 30 s".to_owned()),
                service: (*share > 0.0).then(|| ServiceName(format!("svc-{name}"))),
                traffic_share: *share,
                wanted_share: *share,
                gate: (*share > 0.0).then(|| GateView {
                    holds: *name != "catalog-api-02",
                    error_ratio: Some(0.0008),
                    error_limit: 0.02,
                    response_millis: Some(182.0),
                    response_limit_millis: 250.0,
                    last_breach: (*name == "catalog-api-02")
                        .then(|| "p95 311 ms over 250 at 13:05: share back to 0".to_owned()),
                }),
                recent_lags: if creating { Vec::new() } else { recent },
            }
        })
        .collect()
}

fn services() -> Vec<ServiceView> {
    SHADOWS
        .iter()
        .filter(|shadow| shadow.2 > 0.0)
        .map(|(name, _, share, ..)| ServiceView {
            service: Service {
                name: ServiceName(format!("svc-{name}")),
                kind: ServiceKind::Stateless,
                director: SourceName::from("lb-01"),
                backend: format!("lb-{}", name.split('-').next().unwrap_or("svc")),
                members: vec![ServiceMember {
                    vm: vm_id(name),
                    server: "p1".to_owned(),
                }],
                guest_port: 8080,
                guest_address: None,
                probe_path: "/".to_owned(),
                outbound_allowed: false,
            },
            servers: Vec::new(),
            shadow_share: *share,
            errors_per_second: Some(0.3),
            response_millis: Some(182.0),
            requests_per_second: Some(412.0),
            sticky: false,
            error: None,
        })
        .collect()
}

fn timeline() -> Vec<TimelineEntry> {
    use TimelineKind as Kind;
    let entry = |ago: i64, kind, text: &str, name: Option<&str>, operation: Option<&str>, bad| {
        TimelineEntry {
            at: NOW.plus_secs(-ago),
            kind,
            text: text.to_owned(),
            vm: name.map(vm_id),
            operation: operation.map(OperationId::from),
            bad,
        }
    };
    vec![
        entry(
            92,
            Kind::Replication,
            "geo-tile-18: two cycles missed, kvm-secondary does not answer",
            Some("geo-tile-18"),
            None,
            true,
        ),
        entry(
            312,
            Kind::Operation,
            "Create shadow for img-proc-05 started",
            Some("img-proc-05"),
            Some("op-7c1e90ab"),
            false,
        ),
        entry(
            320,
            Kind::Decision,
            "mo approved p-7c1e90ab for img-proc-05",
            Some("img-proc-05"),
            None,
            false,
        ),
        entry(
            360,
            Kind::Proposal,
            "Proposed: create a shadow for checkout-api-07 and move 40 % of traffic to it",
            Some("checkout-api-07"),
            None,
            false,
        ),
        entry(
            362,
            Kind::Source,
            "kvm-edge does not answer: connection timed out after 8 s",
            None,
            None,
            true,
        ),
        entry(
            1600,
            Kind::Traffic,
            "cart-api-03: 10 % to 25 %, read back 25.1 %",
            Some("cart-api-03"),
            None,
            false,
        ),
        entry(
            4880,
            Kind::Traffic,
            "geo-tile-18: gate broken, p95 311 ms over 250, share back to 0",
            Some("geo-tile-18"),
            Some("op-5af00312"),
            true,
        ),
        entry(
            19_680,
            Kind::Operation,
            "Create shadow for cart-api-03 done in 5 min",
            Some("cart-api-03"),
            Some("op-4be1077d"),
            false,
        ),
        entry(
            31_000,
            Kind::Engine,
            "Engine started, 2 operations resumed",
            None,
            None,
            false,
        ),
        entry(
            89_880,
            Kind::Operation,
            "Create shadow for auth-idp-02 undone: no space left on shadow-a-nvme",
            Some("auth-idp-02"),
            Some("op-33d1f0aa"),
            true,
        ),
    ]
}

/// Stands in for the engine: holds the snapshot, answers facts, writes down commands.
pub struct StandIn {
    snapshots: watch::Sender<Arc<Snapshot>>,
    requests: mpsc::Receiver<Request>,
    /// Everything that was asked, except histories.
    pub commands: Vec<Command>,
    /// Answers the next commands that are not facts, first in first out; `Done` else.
    pub replies: Vec<Reply>,
    /// How many histories were asked for.
    pub details_asked: usize,
}

pub fn stand_in(snapshot: Snapshot) -> (Handle, StandIn) {
    let (snapshots, receiver) = watch::channel(Arc::new(snapshot));
    let (sender, requests) = mpsc::channel(256);
    (
        Handle::new(receiver, sender),
        StandIn {
            snapshots,
            requests,
            commands: Vec::new(),
            replies: Vec::new(),
            details_asked: 0,
        },
    )
}

impl StandIn {
    /// Changes the snapshot and publishes it as a newer one.
    pub fn publish(&self, change: impl FnOnce(&mut Snapshot)) {
        let mut snapshot = Snapshot::clone(&self.snapshots.borrow());
        change(&mut snapshot);
        snapshot.version += 1;
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    /// Answers what has been asked so far.
    pub fn answer(&mut self) {
        while let Ok(request) = self.requests.try_recv() {
            self.handle(request);
        }
    }

    /// Answers until the window is gone.
    pub fn serve(mut self) {
        while let Some(request) = self.requests.blocking_recv() {
            self.handle(request);
        }
    }

    fn handle(&mut self, request: Request) {
        let reply = match &request.command {
            Command::VmDetail {
                vm,
                metric,
                past_seconds,
                horizon_seconds,
            } => {
                self.details_asked += 1;
                let now = self.snapshots.borrow().clone();
                now.vm(vm).map_or_else(
                    || {
                        Err(shadowcast::problem::Problem::failed(
                            "No history.",
                            "The VM is not there.",
                            "Choose another.",
                        ))
                    },
                    |view| {
                        Ok(Answer::VmDetail {
                            detail: Arc::new(detail(
                                view,
                                *metric,
                                *past_seconds,
                                *horizon_seconds,
                            )),
                        })
                    },
                )
            }
            command => {
                self.commands.push(command.clone());
                if self.replies.is_empty() {
                    self.carry_out(command)
                } else {
                    self.replies.remove(0)
                }
            }
        };
        // A window that has closed in the meantime needs no answer.
        drop(request.reply.send(reply));
    }

    fn carry_out(&self, command: &Command) -> Reply {
        match command {
            Command::ProposalAdjust { proposal, share } => {
                self.publish(|now| {
                    for open in &mut now.proposals {
                        if open.id == *proposal {
                            *open = Arc::new(adjusted(open, *share));
                        }
                    }
                });
                let now = self.snapshots.borrow().clone();
                now.proposals
                    .iter()
                    .find(|open| open.id == *proposal)
                    .map(|open| Answer::Proposal {
                        proposal: Arc::clone(open),
                    })
                    .ok_or_else(|| shadowcast::problem::Problem::failed("a", "b", "c"))
            }
            Command::SourceTest { .. } => Ok(Answer::Examined {
                examination: examination(),
            }),
            Command::SourceAdd { .. } => Ok(Answer::Examined {
                examination: examination(),
            }),
            _ => Ok(Answer::Done {
                text: "Done.".to_owned(),
            }),
        }
    }
}

pub fn examination() -> Examination {
    Examination {
        platform: "libvirt 9.0.0, QEMU 7.2.22".to_owned(),
        findings: [
            (true, true, "answers, 38 VMs seen"),
            (true, true, "statistics of all VMs in one call"),
            (true, true, "checkpoints and backup jobs"),
            (
                false,
                false,
                "no guest agent in 4 VMs: their points are as after a power cut",
            ),
        ]
        .map(|(works, needed, text)| Finding {
            works,
            needed,
            text: text.to_owned(),
        })
        .to_vec(),
        millis: 14,
    }
}
