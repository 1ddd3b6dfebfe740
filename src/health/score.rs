//! How many points each measured thing takes, and their exact sum.

use super::{Contribution, HealthScore, HealthState, StateBounds, Weights};
use crate::{forecast::Outlook, metrics::Metric, units::Timestamp};

/// From which value on each thing counts; limits of CPU, memory, disk and network come with the VM.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// The objective: what nobody should wait longer than.
    pub response_millis: f64,
    /// So many times its own normal is slow for a service, whatever the objective is.
    pub slow_factor: f64,
    /// Faster than this is never slow.
    pub slow_floor_millis: f64,
    /// 0..=1.
    pub error_ratio: f64,
    /// 0..=1.
    pub steal: f64,
    /// Older data than this says nothing about now.
    pub max_data_age_seconds: u64,
    pub weights: Weights,
    pub states: StateBounds,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            response_millis: 500.0,
            slow_factor: 3.0,
            slow_floor_millis: 100.0,
            error_ratio: 0.01,
            steal: 0.1,
            max_data_age_seconds: 120,
            weights: Weights::default(),
            states: StateBounds::default(),
        }
    }
}

/// A value and its limit, both in the metric's unit; either may be unknown, and then nothing is claimed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limited {
    pub value: Option<f64>,
    pub limit: Option<f64>,
}

impl Limited {
    /// How much of the limit is used.
    fn used(self) -> Option<(f64, f64, f64)> {
        let value = known(self.value)?;
        let limit = known(self.limit).filter(|limit| *limit > 0.0)?;
        Some((value / limit, value, limit))
    }
}

/// How far the newest complete point of a VM's shadow is behind, and how far it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShadowLag {
    pub lag_seconds: u64,
    pub rpo_seconds: u32,
}

/// What the forecast of the metric that is nearest to its limit says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForecastRisk {
    pub metric: Metric,
    /// Highest forecast mean over the limit: 1 is at the limit.
    pub peak_of_limit: f64,
    /// Until the first mean at the limit, or the first hour that is likelier over it than not; `None` without either.
    pub crosses_in_seconds: Option<u64>,
    /// 0..=1 that the limit is crossed within the horizon.
    pub probability: f64,
}

impl ForecastRisk {
    /// Of the outlooks of one VM, the one that crosses first, else the one that comes nearest to its limit.
    pub fn nearest(outlooks: &[Outlook], now: Timestamp) -> Option<Self> {
        let with_limit = outlooks.iter().filter_map(|outlook| {
            let limit = outlook.limit.filter(|limit| *limit > 0.0)?;
            Some((outlook, f64::from(outlook.peak) / f64::from(limit)))
        });
        let (outlook, peak_of_limit) =
            with_limit.min_by(|(left, left_peak), (right, right_peak)| {
                // No crossing sorts after every crossing.
                let when = |outlook: &Outlook| {
                    (outlook.first_sign()).map_or(i64::MAX, Timestamp::as_millis)
                };
                when(left)
                    .cmp(&when(right))
                    .then_with(|| right_peak.total_cmp(left_peak))
            })?;
        Some(Self {
            metric: outlook.metric,
            peak_of_limit,
            crosses_in_seconds: outlook
                .first_sign()
                .map(|at| u64::try_from(at.secs_since(now)).unwrap_or(0)),
            probability: outlook.probability.map_or(0.0, f64::from),
        })
    }
}

/// Everything that a score is made of. `None` is unknown and takes no points.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HealthInput {
    pub cpu: Limited,
    pub memory: Limited,
    pub disk: Limited,
    pub net: Limited,
    pub steal: Option<f64>,
    pub response_millis: Option<f64>,
    /// What is normal for this VM's service.
    pub normal_response_millis: Option<f64>,
    pub error_ratio: Option<f64>,
    pub forecast: Option<ForecastRisk>,
    /// Age of the newest sample; `None` where there is none.
    pub data_age_seconds: Option<u64>,
    /// 0..=1 of the last hours' steps that were measured.
    pub coverage: Option<f64>,
    /// `None` without a shadow, and while one is made.
    pub shadow: Option<ShadowLag>,
}

/// Points by the share of a limit that is used, as corners of a line; further out the last points stay.
type Curve = &'static [(f64, f64)];

/// A VM at its CPU or memory limit is under the default threshold of 50 by that alone.
const CAPACITY: Curve = &[
    (0.8, 0.0),
    (0.95, 22.0),
    (1.0, 52.0),
    (1.15, 75.0),
    (2.0, 100.0),
];
/// Disks and interfaces queue before they fail, and their limits are often an operator's guess.
const THROUGHPUT: Curve = &[(0.8, 0.0), (1.0, 35.0), (1.25, 60.0)];
const STEAL: Curve = &[(0.5, 0.0), (1.0, 15.0), (3.0, 45.0)];
const RESPONSE: Curve = &[(0.8, 0.0), (1.0, 20.0), (2.0, 45.0), (4.0, 70.0)];
/// Slow for itself and within the objective is a sign, not yet an illness.
const SLOW: Curve = &[(0.8, 0.0), (1.0, 10.0), (2.0, 25.0), (4.0, 40.0)];
const ERRORS: Curve = &[(0.5, 0.0), (1.0, 20.0), (5.0, 55.0), (20.0, 80.0)];

/// A predicted crossing alone keeps a VM between risk and watch: it is not ill yet.
const CROSSING_LATER_POINTS: f64 = 16.0;
const CROSSING_NOW_POINTS: f64 = 40.0;
/// A crossing this near counts as now, one this far off as later.
const NOW_SECONDS: f64 = 1800.0;
const LATER_SECONDS: f64 = 12.0 * 3600.0;
/// A forecast that comes near the limit without reaching it.
const NEAR_LIMIT: Curve = &[(0.9, 0.0), (1.0, 10.0)];
/// Measured so little that the rest of the score stands on thin ground.
const GAPS: Curve = &[(0.1, 0.0), (1.0, 10.0)];

/// By the lag over its objective. The VM itself is well: only what it falls back on is old.
const SHADOW: Curve = &[(2.0, 0.0), (4.0, 8.0), (20.0, 20.0)];

/// The score of a VM that runs. One that is off has no samples and comes out as unknown.
pub fn score(input: &HealthInput, thresholds: &Thresholds) -> HealthScore {
    let fresh = input
        .data_age_seconds
        .is_some_and(|age| age <= thresholds.max_data_age_seconds);
    let measured = [
        input.cpu.value,
        input.memory.value,
        input.disk.value,
        input.net.value,
    ]
    .into_iter()
    .any(|value| known(value).is_some());
    if !fresh || !measured {
        return HealthScore {
            score: None,
            state: HealthState::Unknown,
            contributions: Vec::new(),
        };
    }
    let contributions = apportion(taken(input, thresholds));
    let sum: u8 = contributions.iter().map(|one| one.points).sum();
    let score = 100 - sum;
    HealthScore {
        score: Some(score),
        state: thresholds.states.of(score),
        contributions,
    }
}

fn taken(input: &HealthInput, thresholds: &Thresholds) -> Vec<Taken> {
    let weights = &thresholds.weights;
    let steal = with(input.steal, thresholds.steal);
    let errors = with(input.error_ratio, thresholds.error_ratio);
    let all = [
        (
            weights.cpu,
            limited("cpu", "CPU", Metric::Cpu, input.cpu, CAPACITY),
        ),
        (
            weights.memory,
            limited("memory", "memory", Metric::Memory, input.memory, CAPACITY),
        ),
        (
            weights.disk,
            limited("disk", "disk", Metric::Disk, input.disk, THROUGHPUT),
        ),
        (
            weights.net,
            limited("net", "network", Metric::Net, input.net, THROUGHPUT),
        ),
        (
            weights.steal,
            limited("steal", "steal", Metric::Steal, steal, STEAL),
        ),
        (weights.response, response(input, thresholds)),
        (
            weights.errors,
            limited("errors", "failed requests", Metric::Errors, errors, ERRORS),
        ),
        (
            weights.forecast,
            input.forecast.as_ref().and_then(predicted),
        ),
        (weights.shadow, input.shadow.and_then(behind)),
        (weights.coverage, gaps(input.coverage)),
    ];
    all.into_iter()
        .filter_map(|(weight, taken)| taken?.weighted(weight))
        .collect()
}

/// Points before they are made whole.
struct Taken {
    name: &'static str,
    points: f64,
    why: String,
}

impl Taken {
    fn weighted(self, weight: f64) -> Option<Self> {
        let points = self.points * weight;
        (points > 0.0).then_some(Self { points, ..self })
    }
}

fn known(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite() && *value >= 0.0)
}

fn with(value: Option<f64>, limit: f64) -> Limited {
    Limited {
        value,
        limit: Some(limit),
    }
}

fn limited(
    name: &'static str,
    label: &str,
    metric: Metric,
    limited: Limited,
    curve: Curve,
) -> Option<Taken> {
    let (used, value, limit) = limited.used()?;
    let points = along(curve, used);
    (points > 0.0).then(|| Taken {
        name,
        points,
        why: format!(
            "{label} {} of a limit of {}",
            amount(metric, value),
            amount(metric, limit)
        ),
    })
}

/// Against the objective or against what is normal for this service, whichever is worse.
fn response(input: &HealthInput, thresholds: &Thresholds) -> Option<Taken> {
    let objective = with(input.response_millis, thresholds.response_millis);
    let over = limited(
        "response",
        "response time",
        Metric::Response,
        objective,
        RESPONSE,
    );
    match (over, slow(input, thresholds)) {
        (Some(over), Some(slow)) if slow.points > over.points => Some(slow),
        (over, slow) => over.or(slow),
    }
}

fn slow(input: &HealthInput, thresholds: &Thresholds) -> Option<Taken> {
    let value = known(input.response_millis)?;
    let normal = known(input.normal_response_millis).filter(|normal| *normal > 0.0)?;
    let bound = (normal * thresholds.slow_factor).max(thresholds.slow_floor_millis);
    let points = along(SLOW, value / bound);
    (points > 0.0).then(|| Taken {
        name: "response",
        points,
        why: format!(
            "response time {} is {:.1} times its normal {}",
            amount(Metric::Response, value),
            value / normal,
            amount(Metric::Response, normal)
        ),
    })
}

fn behind(shadow: ShadowLag) -> Option<Taken> {
    let objective = shadow.rpo_seconds.max(1);
    let points = along(SHADOW, shadow.lag_seconds as f64 / f64::from(objective));
    (points > 0.0).then(|| Taken {
        name: "shadow",
        points,
        why: format!(
            "its shadow is {} s behind, objective {objective} s",
            shadow.lag_seconds
        ),
    })
}

fn predicted(risk: &ForecastRisk) -> Option<Taken> {
    let peak_of_limit = known(Some(risk.peak_of_limit))?;
    let probability = known(Some(risk.probability))?.min(1.0);
    let metric = risk.metric.name();
    let percent = |ratio: f64| (ratio * 100.0).round();
    let (points, why) = match risk.crosses_in_seconds {
        Some(seconds) => {
            let waited = (seconds as f64 - NOW_SECONDS) / (LATER_SECONDS - NOW_SECONDS);
            let nearness = 1.0 - waited.clamp(0.0, 1.0);
            let worst = CROSSING_NOW_POINTS - CROSSING_LATER_POINTS;
            (
                CROSSING_LATER_POINTS + worst * nearness * probability,
                format!(
                    "{metric} forecast to cross its limit in {}, peak {} % of it, probability {} %",
                    duration(seconds),
                    percent(peak_of_limit),
                    percent(probability)
                ),
            )
        }
        None => (
            along(NEAR_LIMIT, peak_of_limit),
            format!(
                "{metric} forecast to reach {} % of its limit",
                percent(peak_of_limit)
            ),
        ),
    };
    (points > 0.0).then_some(Taken {
        name: "forecast",
        points,
        why,
    })
}

fn gaps(coverage: Option<f64>) -> Option<Taken> {
    let coverage = known(coverage)?.min(1.0);
    let points = along(GAPS, 1.0 - coverage);
    (points > 0.0).then(|| Taken {
        name: "coverage",
        points,
        why: format!(
            "only {} % of the last hours was measured",
            (coverage * 100.0).round()
        ),
    })
}

fn along(curve: Curve, used: f64) -> f64 {
    let next = curve.partition_point(|(corner, _)| *corner <= used);
    if next == 0 {
        return 0.0;
    }
    let (from, low) = curve[next - 1];
    let Some((to, high)) = curve.get(next) else {
        return low;
    };
    low + (high - low) * (used - from) / (to - from)
}

/// Whole points that sum to the rounded sum, at most 100: the largest remainders are rounded up.
fn apportion(mut taken: Vec<Taken>) -> Vec<Contribution> {
    let sum: f64 = taken.iter().map(|one| one.points).sum();
    if sum <= 0.0 {
        return Vec::new();
    }
    let total = sum.min(100.0).round();
    for one in &mut taken {
        one.points *= total / sum;
    }
    let whole: f64 = taken.iter().map(|one| one.points.floor()).sum();
    let missing = (total - whole).round() as usize;
    let mut by_remainder: Vec<usize> = (0..taken.len()).collect();
    by_remainder.sort_by(|left, right| {
        taken[*right]
            .points
            .fract()
            .total_cmp(&taken[*left].points.fract())
    });
    let mut points: Vec<u8> = taken.iter().map(|one| one.points.floor() as u8).collect();
    for index in by_remainder.into_iter().take(missing) {
        points[index] += 1;
    }
    let mut contributions: Vec<Contribution> = taken
        .into_iter()
        .zip(points)
        .filter(|(_, points)| *points > 0)
        .map(|(one, points)| Contribution {
            name: one.name.to_owned(),
            points,
            why: one.why,
        })
        .collect();
    contributions.sort_by_key(|one| std::cmp::Reverse(one.points));
    contributions
}

/// A value with its unit as a person reads it.
fn amount(metric: Metric, value: f64) -> String {
    match metric.unit() {
        // Errors and steal are told apart below one percent.
        "ratio" if value < 0.095 => format!("{:.1} %", value * 100.0),
        "ratio" => format!("{:.0} %", value * 100.0),
        "milliseconds" => format!("{value:.0} ms"),
        "bytes_per_second" => bytes_per_second(value),
        _ => format!("{value:.0}/s"),
    }
}

fn bytes_per_second(value: f64) -> String {
    let (scale, unit) = match value {
        1e9.. => (1e9, "GB/s"),
        1e6.. => (1e6, "MB/s"),
        1e3.. => (1e3, "kB/s"),
        _ => return format!("{value:.0} B/s"),
    };
    format!("{:.1} {unit}", value / scale)
}

fn duration(seconds: u64) -> String {
    let minutes = seconds.div_ceil(60);
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests;
