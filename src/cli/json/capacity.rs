//! What forecasts were worth, and how long capacities last.

use serde::Serialize;

use crate::{
    engine::snapshot::{ForecastRecord, RunwayOf, RunwayReport, Snapshot, VmRecord},
    forecast::{
        Accuracy, ForecastPoint,
        record::Worth,
        runway::{Full, Runway},
    },
    metrics::Metric,
    units::{PoolId, Timestamp, VmId},
};

#[derive(Serialize)]
pub struct WorthJson {
    origins: u32,
    refused: u32,
    mase_1h: Option<f64>,
    mase_24h: Option<f64>,
    /// The error over that of "as it was yesterday" at the same moments.
    of_naive_1h: Option<f64>,
    of_naive_24h: Option<f64>,
    coverage_1h: Option<f64>,
    coverage_24h: Option<f64>,
    alarms: u32,
    false_alarms: u32,
    false_alarms_per_vm_day: Option<f64>,
    crossings: u32,
    /// Of these, those whose hour had been called.
    told: u32,
    median_lead_seconds: Option<u32>,
    /// `null` while too little was judged to say so.
    no_better_than_naive: Option<bool>,
    calibration: Vec<BandJson>,
}

/// What was said of hours, and how often it happened.
#[derive(Serialize)]
struct BandJson {
    said: f64,
    happened: f64,
    hours: u32,
}

impl From<&Worth> for WorthJson {
    fn from(worth: &Worth) -> Self {
        Self {
            origins: worth.origins,
            refused: worth.refused,
            mase_1h: worth.hour.mase(),
            mase_24h: worth.day.mase(),
            of_naive_1h: worth.hour.of_naive(),
            of_naive_24h: worth.day.of_naive(),
            coverage_1h: worth.hour.coverage(),
            coverage_24h: worth.day.coverage(),
            alarms: worth.alarms,
            false_alarms: worth.false_alarms,
            false_alarms_per_vm_day: worth.false_alarms_per_day(),
            crossings: worth.crossings,
            told: worth.told(),
            median_lead_seconds: worth.median_lead_seconds(),
            no_better_than_naive: worth.no_better_than_naive(),
            calibration: worth
                .calibration()
                .map(|(said, happened, hours)| BandJson {
                    said,
                    happened,
                    hours,
                })
                .collect(),
        }
    }
}

#[derive(Serialize)]
pub struct VmRecordJson<'a> {
    vm: &'a VmId,
    vm_name: Option<&'a str>,
    from: Timestamp,
    to: Timestamp,
    #[serde(flatten)]
    worth: WorthJson,
}

impl<'a> VmRecordJson<'a> {
    fn of(record: &'a VmRecord, now: &'a Snapshot) -> Self {
        Self {
            vm: &record.vm,
            vm_name: now.vm(&record.vm).map(|view| view.vm.name.as_str()),
            from: record.from,
            to: record.to,
            worth: (&record.worth).into(),
        }
    }
}

/// `accuracy VM`; `record` is `null` where nothing could be judged yet.
#[derive(Serialize)]
pub struct OneRecordJson<'a> {
    metric: Metric,
    record: Option<VmRecordJson<'a>>,
}

impl<'a> OneRecordJson<'a> {
    pub fn of(metric: Metric, record: Option<&'a VmRecord>, now: &'a Snapshot) -> Self {
        Self {
            metric,
            record: record.map(|record| VmRecordJson::of(record, now)),
        }
    }
}

/// `accuracy`: in the order in which they are given, worst first.
#[derive(Serialize)]
pub struct ForecastRecordJson<'a> {
    metric: Metric,
    made_at: Timestamp,
    /// Of all of them together.
    total: WorthJson,
    /// VMs that nobody has looked at yet.
    waiting: u32,
    vms: Vec<VmRecordJson<'a>>,
}

impl<'a> ForecastRecordJson<'a> {
    pub fn of(found: &ForecastRecord, worst_first: &[&'a VmRecord], now: &'a Snapshot) -> Self {
        Self {
            metric: found.metric,
            made_at: found.at,
            total: (&found.total).into(),
            waiting: found.waiting,
            vms: worst_first
                .iter()
                .map(|record| VmRecordJson::of(record, now))
                .collect(),
        }
    }
}

#[derive(Serialize)]
pub struct RunwayJson<'a> {
    vm: Option<&'a VmId>,
    pool: Option<&'a PoolId>,
    #[serde(rename = "type")]
    instance_type: Option<&'a str>,
    metric: Metric,
    unit: &'static str,
    made_at: Timestamp,
    vms: u32,
    limit: Option<f64>,
    /// The newest daily peak.
    peak: Option<f32>,
    trend_a_day: Option<f64>,
    accuracy: Option<Accuracy>,
    no_better_than_naive: Option<bool>,
    full: Option<Full>,
    /// Why there is no runway.
    not_ready: Option<String>,
    peaks: &'a [ForecastPoint],
}

impl<'a> From<&'a RunwayReport> for RunwayJson<'a> {
    fn from(report: &'a RunwayReport) -> Self {
        let (mut vm, mut pool, mut instance_type) = (None, None, None);
        match &report.of {
            RunwayOf::Vm(id) => vm = Some(id),
            RunwayOf::Pool(id) => pool = Some(id),
            RunwayOf::Type(name) => instance_type = Some(name.as_str()),
        }
        let runway = report.runway.as_ref().ok();
        Self {
            vm,
            pool,
            instance_type,
            metric: report.metric,
            unit: report.unit(),
            made_at: report.at,
            vms: report.vms,
            limit: report.limit,
            peak: report.newest_peak(),
            trend_a_day: runway.map(|runway| runway.trend_a_day),
            accuracy: runway.and_then(|runway| runway.accuracy),
            no_better_than_naive: runway.map(Runway::no_better_than_naive),
            full: runway.and_then(|runway| runway.full),
            not_ready: report.runway.as_ref().err().map(ToString::to_string),
            peaks: runway.map_or(&[], |runway| &runway.peaks),
        }
    }
}
