//! What a forecast and a health score cost: one series of two weeks at 5 minutes, a fleet of 10,000 VMs.

use std::{f32::consts::TAU, hint::black_box};

use criterion::{Criterion, criterion_group, criterion_main};
use shadowcast::{
    forecast::{DayNaive, Forecaster, Mix, Mstl, Select},
    health::{ForecastRisk, HealthInput, Limited, Thresholds, score},
    metrics::{Metric, Series},
    units::Timestamp,
};

const DAY: usize = 288;
const FLEET: usize = 10_000;

/// A day's curve with a quieter weekend and seeded noise.
fn two_weeks(seed: u64) -> Series {
    let mut random = fastrand::Rng::with_seed(seed);
    let value = |step: usize, noise: f32| {
        let turn = step as f32 / DAY as f32 * TAU;
        let weekday = if step / DAY % 7 < 5 { 1.0 } else { 0.6 };
        (0.4 - 0.2 * turn.cos()) * weekday + noise * 0.1
    };
    Series {
        start: Timestamp::from_secs(1_700_006_400),
        step_seconds: 300,
        values: (0..14 * DAY)
            .map(|step| value(step, random.f32()))
            .collect(),
    }
}

fn models(criterion: &mut Criterion) {
    let series = two_weeks(1);
    let mut group = criterion.benchmark_group("one series, 14 days at 5 min");
    for (name, model, horizon_steps) in [
        ("mix, 1 h", &Mix as &dyn Forecaster, 12),
        ("mix, 24 h", &Mix, DAY),
        ("mix, 14 days", &Mix, 14 * DAY),
        ("select, 1 h", &Select, 12),
        ("select, 24 h", &Select, DAY),
        ("day naive, 24 h", &DayNaive, DAY),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| model.predict(black_box(&series), horizon_steps));
        });
    }
    group
        .sample_size(10)
        .bench_function("MSTL, 24 h", |bencher| {
            bencher.iter(|| Mstl.predict(black_box(&series), DAY));
        });
    group.finish();
}

fn fleet(criterion: &mut Criterion) {
    let mut random = fastrand::Rng::with_seed(1);
    let mut limited = |limit: f64| Limited {
        value: Some(random.f64() * limit * 1.1),
        limit: Some(limit),
    };
    let inputs: Vec<HealthInput> = (0..FLEET)
        .map(|vm| HealthInput {
            cpu: limited(0.85),
            memory: limited(0.9),
            disk: limited(2e8),
            net: limited(1e8),
            steal: Some(0.02),
            response_millis: Some(120.0),
            error_ratio: Some(0.001),
            forecast: (vm % 20 == 0).then_some(ForecastRisk {
                metric: Metric::Cpu,
                peak_of_limit: 1.1,
                crosses_in_seconds: Some(7200),
                probability: 0.7,
            }),
            data_age_seconds: Some(8),
            coverage: Some(1.0),
            ..HealthInput::default()
        })
        .collect();
    let thresholds = Thresholds::default();
    criterion.bench_function("health of 10,000 VMs", |bencher| {
        bencher.iter(|| {
            let scores = inputs
                .iter()
                .map(|input| score(black_box(input), &thresholds));
            scores
                .filter_map(|health| health.score)
                .map(u64::from)
                .sum::<u64>()
        });
    });
}

criterion_group!(benches, models, fleet);
criterion_main!(benches);
