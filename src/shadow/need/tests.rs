use super::*;
use crate::{
    health::{Contribution, HealthState},
    metrics::Metric,
};

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn outlook(peak: f32, crosses_in: Option<i64>) -> Outlook {
    Outlook {
        metric: Metric::Cpu,
        made_at: NOW.plus_secs(-60),
        peak,
        peak_upper: peak + 0.05,
        peak_at: NOW.plus_secs(3600),
        p95: peak - 0.02,
        limit: Some(0.85),
        crosses_at: crosses_in.map(|seconds| NOW.plus_secs(seconds)),
        probability: crosses_in.map(|_| 0.9),
        likely_at: None,
        no_better_than_naive: false,
    }
}

fn health(score: Option<u8>) -> HealthScore {
    HealthScore {
        score,
        state: HealthState::Ok,
        contributions: vec![
            Contribution {
                name: "steal".to_owned(),
                points: 5,
                why: "steal at 12 %".to_owned(),
            },
            Contribution {
                name: "cpu".to_owned(),
                points: 50,
                why: "CPU at 97 %".to_owned(),
            },
        ],
    }
}

struct Case {
    outlooks: Vec<Outlook>,
    health: HealthScore,
    coverage: f64,
    age: i64,
    helped: Option<Helped>,
}

impl Case {
    fn of(outlooks: Vec<Outlook>) -> Self {
        Self {
            outlooks,
            health: health(Some(95)),
            coverage: 1.0,
            age: 5,
            helped: None,
        }
    }

    fn with<T>(&self, ask: impl FnOnce(&NeedInput, &NeedPolicy) -> T) -> T {
        self.under(&NeedPolicy::default(), ask)
    }

    fn under<T>(&self, policy: &NeedPolicy, ask: impl FnOnce(&NeedInput, &NeedPolicy) -> T) -> T {
        let vm = VmId::from("a/1");
        let input = NeedInput {
            vm: &vm,
            now: NOW,
            outlooks: &self.outlooks,
            health: &self.health,
            coverage: self.coverage,
            sampled_at: Some(NOW.plus_secs(-self.age)),
            helped: self.helped,
        };
        ask(&input, policy)
    }

    fn need(&self) -> Option<Need> {
        self.with(need)
    }
}

#[test]
fn urgency_goes_by_the_time_that_is_left() {
    for (seconds, expected) in [
        (-60, Urgency::Now),
        (1800, Urgency::Now),
        (1801, Urgency::Soon),
        (4 * 3600, Urgency::Soon),
        (4 * 3600 + 1, Urgency::Later),
    ] {
        let need = Case::of(vec![outlook(0.96, Some(seconds))]).need().unwrap();
        assert_eq!(need.urgency, expected, "{seconds}");
        assert_eq!(need.crosses_at, Some(NOW.plus_secs(seconds)));
    }
}

#[test]
fn the_unlikely_the_far_and_the_stale_raise_nothing() {
    let crossing = outlook(0.96, Some(600));
    let unlikely = Outlook {
        probability: Some(0.49),
        ..crossing
    };
    let unknown = Outlook {
        probability: None,
        ..crossing
    };
    let far = outlook(0.96, Some(12 * 3600 + 1));
    let stale = Outlook {
        made_at: NOW.plus_secs(-3601),
        ..crossing
    };
    for none in [unlikely, unknown, far, stale] {
        assert_eq!(Case::of(vec![none]).need(), None, "{none:?}");
    }
}

#[test]
fn nothing_is_proposed_on_too_little_knowledge() {
    let mut case = Case::of(vec![outlook(0.96, Some(600))]);
    assert!(case.need().is_some());
    case.coverage = 0.79;
    assert_eq!(case.need(), None);
    case.coverage = 0.8;
    assert!(case.need().is_some());
    case.age = 121;
    assert_eq!(case.need(), None);
    case.age = 0;
    case.health = health(None);
    assert_eq!(case.need(), None);
}

#[test]
fn the_nearest_crossing_leads_and_poor_health_is_now() {
    let memory = Outlook {
        metric: Metric::Memory,
        ..outlook(0.99, Some(3 * 3600))
    };
    let mut case = Case::of(vec![memory, outlook(0.96, Some(2 * 3600))]);
    let need = case.need().unwrap();
    assert_eq!(need.urgency, Urgency::Soon);
    assert!(matches!(
        need.reasons[..],
        [
            Reason::ForecastCrosses {
                metric: Metric::Cpu,
                ..
            },
            Reason::ForecastCrosses {
                metric: Metric::Memory,
                ..
            }
        ]
    ));
    case.health = health(Some(49));
    let need = case.need().unwrap();
    assert_eq!(need.urgency, Urgency::Now);
    assert_eq!(
        need.reasons[2],
        Reason::HealthUnder {
            score: 49,
            threshold: 50,
            worst: "CPU at 97 %".to_owned()
        }
    );
    case.health = health(Some(50));
    assert_eq!(case.need().unwrap().urgency, Urgency::Soon);
}

fn helped(share: f64, quiet_for: Option<i64>) -> Helped {
    Helped {
        share,
        quiet_since: quiet_for.map(|seconds| NOW.plus_secs(-seconds)),
    }
}

#[test]
fn a_shadow_is_given_back_only_after_long_quiet_without_its_help() {
    let mut case = Case::of(vec![outlook(0.3, None)]);
    assert_eq!(case.need(), None, "no shadow, nothing to give back");
    case.helped = Some(helped(0.4, Some(7199)));
    assert_eq!(case.need(), None);
    case.helped = Some(helped(0.4, Some(7200)));
    let need = case.need().unwrap();
    assert_eq!(need.urgency, Urgency::GiveBack);
    let Reason::RiskPassed { peak, .. } = need.reasons[0] else {
        panic!("{need:?}")
    };
    assert!((peak - 0.5).abs() < 1e-6, "0.3 at 60 % is 0.5: {peak}");
    // Quiet only thanks to the shadow: 0.3 at 30 % would be 1.0 without it.
    case.helped = Some(helped(0.7, Some(7200)));
    assert_eq!(case.need(), None);
}

#[test]
fn quiet_begins_once_goes_on_and_ends() {
    let mut case = Case::of(vec![outlook(0.3, None)]);
    case.helped = Some(helped(0.0, None));
    let earlier = NOW.plus_secs(-500);
    assert_eq!(case.with(|i, p| quiet_since(None, i, p)), Some(NOW));
    assert_eq!(
        case.with(|i, p| quiet_since(Some(earlier), i, p)),
        Some(earlier)
    );
    // Not known for a moment is not the end of quiet.
    case.age = 1000;
    assert_eq!(
        case.with(|i, p| quiet_since(Some(earlier), i, p)),
        Some(earlier)
    );
    case.age = 0;
    // 0.85 less a tenth is 0.765.
    case.outlooks = vec![outlook(0.77, None)];
    assert_eq!(case.with(|i, p| quiet_since(Some(earlier), i, p)), None);
    case.outlooks = Vec::new();
    assert_eq!(
        case.with(|i, p| quiet_since(Some(earlier), i, p)),
        None,
        "no forecast says nothing of quiet"
    );
}

#[test]
fn a_burst_that_is_likelier_than_not_counts_though_its_mean_stays_under() {
    let burst = Outlook {
        crosses_at: None,
        likely_at: Some(NOW.plus_secs(7200)),
        probability: Some(0.7),
        peak_upper: 0.97,
        ..outlook(0.6, None)
    };
    let need = Case::of(vec![burst]).need().unwrap();
    assert_eq!(need.crosses_at, Some(NOW.plus_secs(7200)));
    let Reason::ForecastCrosses { peak, .. } = need.reasons[0] else {
        panic!("{need:?}")
    };
    assert!((peak - 0.97).abs() < 1e-6, "{peak}");
    let unlikely = Outlook {
        probability: Some(0.4),
        ..burst
    };
    assert_eq!(Case::of(vec![unlikely]).need(), None);
    // Nor is a shadow given back while it is so.
    let mut case = Case::of(vec![burst]);
    case.helped = Some(helped(0.0, None));
    assert_eq!(case.with(|i, p| quiet_since(None, i, p)), None);
}

#[test]
fn within_a_likely_hour_the_mean_says_when() {
    let at = |mean: Option<i64>, hour: i64| {
        let both = Outlook {
            likely_at: Some(NOW.plus_secs(hour)),
            ..outlook(0.96, mean)
        };
        Case::of(vec![both]).need().unwrap().crosses_at
    };
    assert_eq!(at(Some(600), 0), Some(NOW.plus_secs(600)));
    assert_eq!(
        at(Some(9000), 0),
        Some(NOW),
        "bursts come before the mean does"
    );
    assert_eq!(at(Some(600), 3600), Some(NOW.plus_secs(600)));
}

#[test]
fn a_crossing_is_proposed_early_enough_and_not_before() {
    let policy = NeedPolicy {
        ready_seconds: 3000,
        decision_seconds: 600,
        ..NeedPolicy::default()
    };
    let at = |seconds| Case::of(vec![outlook(0.96, Some(seconds))]).under(&policy, need);
    assert_eq!(at(3601), None);
    assert_eq!(at(3600).unwrap().urgency, Urgency::Soon);
    assert_eq!(at(3000).unwrap().urgency, Urgency::Now, "the last moment");
    let late = |seconds| match at(seconds).unwrap().reasons[0] {
        Reason::ForecastCrosses {
            late_by_seconds, ..
        } => late_by_seconds,
        ref other => panic!("{other:?}"),
    };
    assert_eq!((late(3000), late(1000), late(-50)), (0, 2000, 3000));
}

#[test]
fn what_stands_is_easier_to_keep_than_to_raise() {
    let hovering = Outlook {
        probability: Some(0.45),
        ..outlook(0.82, None)
    };
    let case = Case::of(vec![hovering]);
    assert_eq!(case.need(), None);
    assert!(case.with(|i, p| need(i, &p.eased())).is_some());
    let gone = Outlook {
        probability: Some(0.39),
        ..hovering
    };
    assert_eq!(Case::of(vec![gone]).with(|i, p| need(i, &p.eased())), None);
    let mut unwell = Case::of(vec![]);
    unwell.health = health(Some(54));
    assert_eq!(unwell.need(), None);
    assert!(unwell.with(|i, p| need(i, &p.eased())).is_some());
}

#[test]
fn what_coverage_alone_withholds_is_told_apart() {
    let mut case = Case::of(vec![outlook(0.96, Some(600))]);
    assert_eq!(case.with(withheld), None, "enough was measured");
    case.coverage = 0.5;
    assert_eq!(case.with(withheld).unwrap().urgency, Urgency::Now);
    case.age = 1000;
    assert_eq!(case.with(withheld), None, "nor is it fresh");
    case.age = 0;
    case.outlooks = vec![outlook(0.3, None)];
    assert_eq!(case.with(withheld), None, "nothing is needed");
}

#[test]
fn a_forecast_no_better_than_naive_says_so() {
    let weak = Outlook {
        no_better_than_naive: true,
        ..outlook(0.96, Some(600))
    };
    let need = Case::of(vec![weak]).need().unwrap();
    assert!(matches!(
        need.reasons[..],
        [Reason::ForecastCrosses {
            no_better_than_naive: true,
            ..
        }]
    ));
}
