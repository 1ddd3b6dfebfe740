//! What the history store costs: a tick, a query, a sealed value. The bars stand in `docs/history.md`.

use std::{fs, hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use shadowcast::{
    metrics::{Metric, Sample, Series},
    store::metrics::{Keeping, Metrics, STEP_SECONDS},
    units::{Timestamp, VmId},
};

/// With all 8 metrics as many values as 10,000 VMs with 10.
const VMS: usize = 12_500;
/// A day boundary.
const START: i64 = 1_795_305_600;
const DAY: i64 = 86_400;

fn id(vm: usize) -> VmId {
    VmId::new(format!("bench/{vm:08}"))
}

/// -0.5..0.5, the same for the same three.
fn noise(vm: usize, metric: usize, at: i64) -> f64 {
    let mut random =
        fastrand::Rng::with_seed(at as u64 ^ ((vm as u64) << 40) ^ ((metric as u64) << 36));
    (random.f64() + random.f64() + random.f64()) / 3.0 - 0.5
}

/// A day's curve with noise, as such values are.
fn value(metric: Metric, vm: usize, at: i64) -> f32 {
    let day = (at % DAY) as f64 / DAY as f64 * std::f64::consts::TAU;
    let noise = noise(vm, metric.index(), at);
    let level = 0.2 + 0.1 * (vm % 5) as f64;
    let ratio = (level + 0.15 * day.sin() + noise * 0.15).clamp(0.0, 1.0);
    (match metric {
        Metric::Cpu => ratio,
        Metric::Memory => level + 0.1 + noise * 0.01,
        Metric::Disk | Metric::Net => (ratio * 50e6).round(),
        Metric::Response => 20.0 + ratio * 100.0,
        Metric::Requests => (ratio * 500.0).round(),
        Metric::Steal | Metric::Errors => (noise * 0.05).max(0.0),
    }) as f32
}

fn tick(vms: usize, at: i64) -> Vec<Sample> {
    (0..vms)
        .map(|vm| Sample {
            vm: id(vm),
            at: Timestamp::from_secs(at),
            values: Metric::ALL.map(|metric| Some(value(metric, vm, at))),
        })
        .collect()
}

/// What this thread has used of a CPU; SQLite works on it too.
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanos = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanos.expect("a number"))
}

fn store(interval_seconds: u32) -> (tempfile::TempDir, Metrics) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut keeping = Keeping {
        interval_seconds,
        ..Keeping::default()
    };
    keeping.history.samples_days = 10_000;
    keeping.history.five_minutes_days = 10_000;
    let metrics = Metrics::open(folder.path(), keeping).expect("a store");
    (folder, metrics)
}

/// A day of 100,000 values a minute: what each tick costs, what a sealed value costs, and that all comes out as it
/// went in, to the documented rounding.
fn a_day(_: &mut Criterion) {
    let (_folder, mut metrics) = store(60);
    let (mut worst, mut total, mut upkeep) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let ticks = 1440;
    for minute in 0..ticks {
        let samples = tick(VMS, START + minute * 60);
        let began = cpu();
        metrics.append(&samples).expect("it is kept");
        let took = cpu().checked_sub(began).unwrap_or_default();
        worst = worst.max(took);
        total += took;
        // In the engine another thread does this.
        let began = cpu();
        while metrics.maintain(samples[0].at).expect("it is kept up") {}
        upkeep += cpu().checked_sub(began).unwrap_or_default();
    }
    println!(
        "store: a tick of {} values: {:.2} ms CPU in the mean, {:.2} ms at most; closing a step: {:.0} ms on the other thread",
        VMS * Metric::COUNT,
        total.as_secs_f64() * 1e3 / ticks as f64,
        worst.as_secs_f64() * 1e3,
        upkeep.as_secs_f64() * 1e3 / (ticks / 5) as f64
    );
    // One tick past the day closes its last steps.
    for late in [1440, 1450, 1460] {
        metrics
            .append(&tick(1, START + late * 60))
            .expect("it is kept");
    }
    let began = cpu();
    while metrics
        .maintain(Timestamp::from_secs(START + DAY + 1000))
        .expect("it is sealed")
    {}
    let took = cpu().checked_sub(began).unwrap_or_default();
    println!("store: sealing the day: {:.1} s CPU", took.as_secs_f64());
    for tier in metrics.stats().expect("it is read").tiers {
        if let Some(bytes) = tier.bytes_per_value() {
            println!(
                "store: {:?}: {bytes:.2} bytes a sealed value ({} values)",
                tier.tier, tier.sealed_values
            );
        }
    }
    let began = cpu();
    let mut compared = 0_u64;
    for vm in 0..VMS {
        for metric in Metric::ALL {
            let (from, to) = (
                Timestamp::from_secs(START),
                Timestamp::from_secs(START + DAY - 1),
            );
            let back = metrics
                .series(&id(vm), metric, from, to, 60)
                .expect("it is read");
            assert_eq!(back.values.len(), 1440);
            for (minute, found) in back.values.iter().enumerate() {
                let put = value(metric, vm, START + minute as i64 * 60);
                let bound = match metric {
                    Metric::Cpu | Metric::Memory | Metric::Steal => 5.1e-5,
                    Metric::Errors => 5.1e-7,
                    _ => put * 1.3e-4,
                };
                assert!(
                    (found - put).abs() <= bound,
                    "{metric:?} of {vm} at {minute}: {found}, was {put}"
                );
                compared += 1;
            }
        }
    }
    println!(
        "store: {compared} values came out as they went in, {:.0} s CPU with their comparison",
        cpu().checked_sub(began).unwrap_or_default().as_secs_f64()
    );
}

fn queries(criterion: &mut Criterion) {
    let (_folder, mut metrics) = store(300);
    // Ten days measured, with the last one still open, and a year imported.
    for step in 0..10 * 288 {
        metrics
            .append(&tick(64, START + step * 300))
            .expect("it is kept");
    }
    let now = Timestamp::from_secs(START + 10 * DAY);
    while metrics.maintain(now).expect("it is sealed") {}
    for vm in 0..16 {
        let start = START - 365 * DAY;
        let series = Series {
            start: Timestamp::from_secs(start),
            step_seconds: STEP_SECONDS,
            values: (0..365 * 288)
                .map(|step| value(Metric::Cpu, vm, start + step * 300))
                .collect(),
        };
        metrics
            .import(&id(vm), Metric::Cpu, &series)
            .expect("it is kept");
    }
    let mut group = criterion.benchmark_group("store");
    let mut vm = 0;
    let mut query = |metrics: &mut Metrics, days: i64, step: u32| {
        vm = (vm + 1) % 16;
        let series = metrics.series(&id(vm), Metric::Cpu, now.plus_secs(-days * DAY), now, step);
        let series = series.expect("it is read");
        assert!(series.coverage() > 0.9, "{}", series.coverage());
        black_box(series);
    };
    group.bench_function("7 days at 5 min", |bencher| {
        bencher.iter(|| query(&mut metrics, 7, 300));
    });
    group.bench_function("14 days at 5 min, as a forecast reads", |bencher| {
        bencher.iter(|| query(&mut metrics, 14, 300));
    });
    group.bench_function("1 year at 1 h", |bencher| {
        bencher.iter(|| query(&mut metrics, 365, 3600));
    });
    group.finish();
}

criterion_group!(benches, queries, a_day);
criterion_main!(benches);
