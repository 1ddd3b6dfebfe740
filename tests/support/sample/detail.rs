//! History and forecast of one VM, by a curve.

use super::{NOW, capacity::vm_record, spread};
use shadowcast::{
    engine::snapshot::{VmDetail, VmView},
    forecast::{Accuracy, Forecast, ForecastPoint, NotReady},
    metrics::{Metric, Series},
    units::Timestamp,
};

/// A day's curve of one VM, at any moment, without a limit of how far.
pub(super) fn curve(name: &str, metric: Metric, at: Timestamp, now: f64, peak: f64) -> f64 {
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
                hourly: Vec::new(),
            }
        })
        .ok_or(NotReady::TooShort {
            needed_seconds: 7800,
        });
    VmDetail {
        record: vm_record(view, metric),
        events: Vec::new(),
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
