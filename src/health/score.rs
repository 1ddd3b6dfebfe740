//! How many points each measured thing takes, and their exact sum.

use super::{Contribution, HealthScore, HealthState};
use crate::{forecast::Outlook, metrics::Metric, units::Timestamp};

/// From which value on each thing counts; limits of CPU, memory, disk and network come with the VM.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    pub response_millis: f64,
    /// 0..=1.
    pub error_ratio: f64,
    /// 0..=1.
    pub steal: f64,
    /// Older data than this says nothing about now.
    pub max_data_age_seconds: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            response_millis: 500.0,
            error_ratio: 0.01,
            steal: 0.1,
            max_data_age_seconds: 120,
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

/// What the forecast of the metric that is nearest to its limit says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ForecastRisk {
    pub metric: Metric,
    /// Highest forecast mean over the limit: 1 is at the limit.
    pub peak_of_limit: f64,
    /// Until the first mean at the limit; `None` where none reaches it.
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
                let when =
                    |outlook: &Outlook| outlook.crosses_at.map_or(i64::MAX, Timestamp::as_millis);
                when(left)
                    .cmp(&when(right))
                    .then_with(|| right_peak.total_cmp(left_peak))
            })?;
        Some(Self {
            metric: outlook.metric,
            peak_of_limit,
            crosses_in_seconds: outlook
                .crosses_at
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
    pub error_ratio: Option<f64>,
    pub forecast: Option<ForecastRisk>,
    /// Age of the newest sample; `None` where there is none.
    pub data_age_seconds: Option<u64>,
    /// 0..=1 of the last hours' steps that were measured.
    pub coverage: Option<f64>,
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
    let taken: Vec<Taken> = [
        limited("cpu", "CPU", Metric::Cpu, input.cpu, CAPACITY),
        limited("memory", "memory", Metric::Memory, input.memory, CAPACITY),
        limited("disk", "disk", Metric::Disk, input.disk, THROUGHPUT),
        limited("net", "network", Metric::Net, input.net, THROUGHPUT),
        limited(
            "steal",
            "steal",
            Metric::Steal,
            with(input.steal, thresholds.steal),
            STEAL,
        ),
        limited(
            "response",
            "response time",
            Metric::Response,
            with(input.response_millis, thresholds.response_millis),
            RESPONSE,
        ),
        limited(
            "errors",
            "failed requests",
            Metric::Errors,
            with(input.error_ratio, thresholds.error_ratio),
            ERRORS,
        ),
        input.forecast.as_ref().and_then(predicted),
        gaps(input.coverage),
    ]
    .into_iter()
    .flatten()
    .collect();
    let contributions = apportion(taken);
    let sum: u8 = contributions.iter().map(|one| one.points).sum();
    let score = 100 - sum;
    HealthScore {
        score: Some(score),
        state: HealthState::of(score),
        contributions,
    }
}

/// Points before they are made whole.
struct Taken {
    name: &'static str,
    points: f64,
    why: String,
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn idle() -> HealthInput {
        HealthInput {
            cpu: with(Some(0.2), 0.85),
            memory: with(Some(0.3), 0.9),
            data_age_seconds: Some(5),
            coverage: Some(1.0),
            ..HealthInput::default()
        }
    }

    fn scored(input: HealthInput) -> (u8, HealthState, Vec<Contribution>) {
        let health = score(&input, &Thresholds::default());
        (health.score.unwrap(), health.state, health.contributions)
    }

    #[test]
    fn a_vm_with_room_has_a_hundred() {
        assert_eq!(scored(idle()), (100, HealthState::Ok, vec![]));
    }

    #[test]
    fn at_its_cpu_limit_alone_a_vm_is_critical_and_says_why() {
        let (points, state, contributions) = scored(HealthInput {
            cpu: with(Some(0.93), 0.85),
            ..idle()
        });
        assert!(points < 50 && state == HealthState::Critical, "{points}");
        assert_eq!(contributions.len(), 1);
        assert_eq!(contributions[0].why, "CPU 93 % of a limit of 85 %");
        let (at_limit, ..) = scored(HealthInput {
            cpu: with(Some(0.85), 0.85),
            ..idle()
        });
        assert!(at_limit < 50, "{at_limit}");
        let (near, state, _) = scored(HealthInput {
            cpu: with(Some(0.76), 0.85),
            ..idle()
        });
        assert!(
            state == HealthState::Ok || state == HealthState::Watch,
            "{near}"
        );
    }

    #[test]
    fn a_predicted_crossing_of_a_vm_that_is_fine_lands_between_risk_and_watch() {
        for (seconds, probability) in [(0, 1.0), (1800, 0.6), (40_000, 0.5), (90_000, 0.0)] {
            let (points, state, contributions) = scored(HealthInput {
                forecast: Some(ForecastRisk {
                    metric: Metric::Cpu,
                    peak_of_limit: 1.2,
                    crosses_in_seconds: Some(seconds),
                    probability,
                }),
                ..idle()
            });
            assert!((50..85).contains(&points), "{points} at {seconds} s");
            assert!(matches!(state, HealthState::Watch | HealthState::Risk));
            assert_eq!(contributions[0].name, "forecast");
        }
    }

    #[test]
    fn the_nearest_risk_is_the_first_crossing_else_the_highest_peak() {
        let outlook = |metric, peak, limit, crosses_at: Option<i64>| Outlook {
            metric,
            made_at: Timestamp::default(),
            peak,
            peak_upper: peak,
            peak_at: Timestamp::default(),
            p95: peak,
            limit,
            crosses_at: crosses_at.map(Timestamp::from_secs),
            probability: Some(0.5),
            likely_at: None,
            no_better_than_naive: false,
        };
        let quiet = [
            outlook(Metric::Cpu, 0.5, Some(1.0), None),
            outlook(Metric::Memory, 0.6, Some(1.0), None),
            outlook(Metric::Net, 1e9, None, None),
        ];
        let now = Timestamp::from_secs(100);
        let risk = ForecastRisk::nearest(&quiet, now).unwrap();
        assert_eq!(
            (risk.metric, risk.crosses_in_seconds),
            (Metric::Memory, None)
        );
        let crossing = [
            outlook(Metric::Cpu, 1.0, Some(0.5), Some(900)),
            outlook(Metric::Disk, 1.0, Some(0.9), Some(400)),
            quiet[1],
        ];
        let risk = ForecastRisk::nearest(&crossing, now).unwrap();
        assert_eq!(
            (risk.metric, risk.crosses_in_seconds),
            (Metric::Disk, Some(300))
        );
        assert_eq!(ForecastRisk::nearest(&quiet[2..], now), None);
    }

    #[test]
    fn nothing_measured_lately_is_unknown() {
        for input in [
            HealthInput {
                data_age_seconds: Some(121),
                ..idle()
            },
            HealthInput {
                data_age_seconds: None,
                ..idle()
            },
            HealthInput {
                data_age_seconds: Some(1),
                ..HealthInput::default()
            },
        ] {
            let health = score(&input, &Thresholds::default());
            assert_eq!(health.score, None);
            assert_eq!(health.state, HealthState::Unknown);
            assert!(health.contributions.is_empty());
        }
    }

    #[test]
    fn an_unknown_limit_claims_nothing() {
        let (points, ..) = scored(HealthInput {
            disk: Limited {
                value: Some(1e12),
                limit: None,
            },
            net: Limited {
                value: Some(1e12),
                limit: Some(0.0),
            },
            steal: Some(f64::NAN),
            ..idle()
        });
        assert_eq!(points, 100);
    }

    #[test]
    fn numbers_carry_their_units() {
        let (_, _, contributions) = scored(HealthInput {
            disk: with(Some(212e6), 200e6),
            response_millis: Some(740.0),
            error_ratio: Some(0.02),
            ..idle()
        });
        let whys: Vec<_> = contributions.iter().map(|one| &*one.why).collect();
        assert!(
            whys.contains(&"disk 212.0 MB/s of a limit of 200.0 MB/s"),
            "{whys:?}"
        );
        assert!(
            whys.contains(&"response time 740 ms of a limit of 500 ms"),
            "{whys:?}"
        );
        assert!(
            whys.contains(&"failed requests 2.0 % of a limit of 1.0 %"),
            "{whys:?}"
        );
    }

    fn anything() -> impl Strategy<Value = HealthInput> {
        let part = |most: f64| proptest::option::of(0.0..most);
        let limited = |most: f64| {
            (part(most), part(most)).prop_map(|(value, limit)| Limited { value, limit })
        };
        let risk = (0.0..3.0, proptest::option::of(0_u64..100_000), 0.0..1.0).prop_map(
            |(peak_of_limit, crosses_in_seconds, probability)| ForecastRisk {
                metric: Metric::Memory,
                peak_of_limit,
                crosses_in_seconds,
                probability,
            },
        );
        (
            (0.0..1.0, limited(1.0), limited(1e9), limited(1e9)),
            (
                part(1.0),
                part(5000.0),
                part(1.0),
                proptest::option::of(risk),
                part(1.0),
            ),
        )
            .prop_map(
                |(
                    (cpu, memory, disk, net),
                    (steal, response_millis, error_ratio, forecast, coverage),
                )| {
                    HealthInput {
                        cpu: with(Some(cpu), 0.85),
                        memory,
                        disk,
                        net,
                        steal,
                        response_millis,
                        error_ratio,
                        forecast,
                        data_age_seconds: Some(0),
                        coverage,
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn contributions_sum_to_what_is_missing(input in anything()) {
            let health = score(&input, &Thresholds::default());
            let sum: u32 = health.contributions.iter().map(|one| u32::from(one.points)).sum();
            prop_assert_eq!(sum, 100 - u32::from(health.score.unwrap()));
            prop_assert!(health.contributions.iter().all(|one| one.points > 0 && !one.why.is_empty()));
        }

        #[test]
        fn more_cpu_is_never_healthier(input in anything(), more in 0.0..1.0_f64) {
            let mut busier = input;
            busier.cpu.value = input.cpu.value.map(|cpu| cpu + more);
            let of = |input| score(&input, &Thresholds::default()).score.unwrap();
            prop_assert!(of(busier) <= of(input));
        }
    }
}
