//! Runways of pools and VMs, and what forecasts were worth, by a few rules.

use serde_json::json;
use shadowcast::{
    engine::snapshot::{ForecastRecord, RunwayOf, RunwayReport, Snapshot, VmRecord, VmView},
    forecast::{
        NotReady,
        record::Worth,
        runway::{MAX_HORIZON_DAYS, runway},
    },
    metrics::{Metric, Series},
    problem::Problem,
};

use super::{NOW, spread};

const DAY_SECONDS: u32 = 86_400;
const PAST_DAYS: i64 = 180;
/// Of 10 VMs nobody has looked at one yet.
const LOOKED_AT: u64 = 9;

/// Daily peaks up to yesterday: quieter at weekends, rising to `used` by `growth` in all.
fn peaks(name: &str, used: f64, growth: f64, days: i64) -> Series {
    let mut random = fastrand::Rng::with_seed(spread(name));
    let today = NOW.floor_to(DAY_SECONDS);
    let value = |day: i64| {
        let rest = if day % 7 >= 5 { 0.93 } else { 1.0 };
        let grown = 1.0 - growth * (days - day) as f64 / PAST_DAYS as f64;
        used * grown * rest * (0.985 + 0.03 * random.f64())
    };
    Series {
        start: today.plus_secs(-days * i64::from(DAY_SECONDS)),
        step_seconds: DAY_SECONDS,
        values: (0..days).map(value).map(|value| value as f32).collect(),
    }
}

/// What the engine would answer to `Runway`.
pub fn runway_report(
    now: &Snapshot,
    of: &RunwayOf,
    metric: Metric,
) -> Result<RunwayReport, Problem> {
    let (vms, limit, peaks) = match of {
        RunwayOf::Vm(vm) => {
            let growth = (spread(vm.as_str()) % 30) as f64 / 100.0;
            (1, Some(0.85), peaks(vm.as_str(), 0.7, growth, PAST_DAYS))
        }
        RunwayOf::Pool(id) => {
            let pool = now.pools.iter().find(|pool| pool.id == *id);
            let pool = pool.ok_or_else(|| Problem::failed("No runway.", "No pool.", "None."))?;
            let limit = match metric {
                Metric::Cpu => f64::from(pool.cpus),
                _ => pool.memory_bytes as f64,
            };
            let vms = now.vms.iter().filter(|view| view.vm.pool == *id).count();
            let used = pool.cpu_used.unwrap_or(0.0) * 1.15 + 0.12;
            // A pool that was set up last week, and one that nobody has filled.
            let days = if pool.name == "vdi-cl02" {
                9
            } else {
                PAST_DAYS
            };
            let growth = (spread(&pool.name) % 5) as f64 * 0.14;
            let peaks = if vms == 0 {
                Series::default()
            } else {
                peaks(&pool.name, used * limit, growth, days)
            };
            (vms as u32, Some(limit), peaks)
        }
        RunwayOf::Type(name) => (3, None, peaks(name, 12.0, 0.0, PAST_DAYS)),
    };
    let runway = if peaks.values.is_empty() {
        Err(NotReady::NoHistory)
    } else {
        runway(&peaks, limit, MAX_HORIZON_DAYS)
    };
    Ok(RunwayReport {
        of: of.clone(),
        metric,
        at: NOW,
        vms,
        limit,
        peaks,
        runway,
    })
}

/// So many forecasts of one VM, at these errors against "as it was yesterday".
fn worth(origins: u32, mase: (f64, f64), bands: &[(u32, f64, u32)], leads: [u32; 24]) -> Worth {
    let (hour, day) = (origins * 12, origins * 288);
    let all_bands: Vec<_> = (0..10)
        .map(|band| {
            let (count, said, happened) = bands.get(band).copied().unwrap_or_default();
            json!({ "count": count, "said": said * f64::from(count), "happened": happened })
        })
        .collect();
    let said: u32 = bands.iter().skip(5).map(|band| band.0).sum();
    let happened: u32 = bands.iter().skip(5).map(|band| band.2).sum();
    serde_json::from_value(json!({
        "origins": origins,
        "refused": 0,
        "hour": { "points": hour, "inside": f64::from(hour) as u32 * 95 / 100, "scaled": mase.0 * f64::from(hour), "naive": f64::from(hour) },
        "day": { "points": day, "inside": f64::from(day) as u32 * 94 / 100, "scaled": mase.1 * f64::from(day), "naive": f64::from(day) * 0.98 },
        "bands": all_bands,
        "hours": origins * 24,
        "alarms": said,
        "false_alarms": said - happened,
        "crossings": leads.iter().sum::<u32>() + 2,
        "leads": leads,
    }))
    .expect("a record is what it was")
}

pub fn vm_record(view: &VmView, metric: Metric) -> Option<VmRecord> {
    let seed = spread(view.vm.id.as_str());
    let kept = matches!(metric, Metric::Cpu | Metric::Memory) && seed % 10 < LOOKED_AT;
    let part = |shift: u32| f64::from((seed >> shift) as u16) / f64::from(u16::MAX);
    let day = 0.55 + 0.5 * part(8).powi(2);
    let mut leads = [0; 24];
    leads[(seed % 7) as usize + 1] = (seed % 4) as u32;
    let bands = [
        (900, 0.02, 15),
        (60, 0.15, 9),
        (30, 0.25, 8),
        (24, 0.35, 8),
        (20, 0.45, 9),
        (16, 0.55, 9),
        (12, 0.65, 8),
        (10, 0.74, 7),
        (10, 0.85, 8),
        (8, 0.95, 8),
    ];
    kept.then(|| VmRecord {
        vm: view.vm.id.clone(),
        worth: worth(56, (0.3 + 0.3 * part(24), day), &bands, leads),
        from: NOW.floor_to(DAY_SECONDS).plus_secs(-15 * 86_400),
        to: NOW.floor_to(DAY_SECONDS).plus_secs(-86_400),
    })
}

/// What the engine would answer to `ForecastRecord`.
pub fn forecast_record(now: &Snapshot, metric: Metric) -> ForecastRecord {
    let vms: Vec<VmRecord> = now
        .vms
        .iter()
        .filter_map(|view| vm_record(view, metric))
        .collect();
    let mut total = Worth::default();
    for record in &vms {
        total.merge(&record.worth);
    }
    ForecastRecord {
        metric,
        at: NOW,
        total,
        waiting: (now.vms.len() - vms.len()) as u32,
        vms,
    }
}
