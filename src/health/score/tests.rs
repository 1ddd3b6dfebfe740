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

fn scored(input: &HealthInput) -> (u8, HealthState, Vec<Contribution>) {
    let health = score(input, &Thresholds::default());
    (health.score.unwrap(), health.state, health.contributions)
}

#[test]
fn a_vm_with_room_has_a_hundred() {
    assert_eq!(scored(&idle()), (100, HealthState::Ok, vec![]));
}

#[test]
fn at_its_cpu_limit_alone_a_vm_is_critical_and_says_why() {
    let (points, state, contributions) = scored(&HealthInput {
        cpu: with(Some(0.93), 0.85),
        ..idle()
    });
    assert!(points < 50 && state == HealthState::Critical, "{points}");
    assert_eq!(contributions.len(), 1);
    assert_eq!(contributions[0].why, "CPU 93 % of a limit of 85 %");
    let (at_limit, ..) = scored(&HealthInput {
        cpu: with(Some(0.85), 0.85),
        ..idle()
    });
    assert!(at_limit < 50, "{at_limit}");
    let (near, state, _) = scored(&HealthInput {
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
        let (points, state, contributions) = scored(&HealthInput {
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
fn slow_for_itself_counts_within_the_objective_and_the_worse_of_both_is_said() {
    let slow = |millis: f64, normal: Option<f64>| {
        scored(&HealthInput {
            response_millis: Some(millis),
            normal_response_millis: normal,
            ..idle()
        })
    };
    assert_eq!(slow(240.0, None).0, 100, "within the objective");
    let (points, _, contributions) = slow(240.0, Some(40.0));
    assert!((70..95).contains(&points), "{points}");
    assert_eq!(
        contributions[0].why,
        "response time 240 ms is 6.0 times its normal 40 ms"
    );
    assert_eq!(slow(60.0, Some(5.0)).0, 100, "too fast to be slow");
    let (_, _, contributions) = slow(2000.0, Some(400.0));
    assert_eq!(
        contributions[0].why,
        "response time 2000 ms of a limit of 500 ms"
    );
}

#[test]
fn a_shadow_that_falls_behind_takes_points_and_one_in_step_takes_none() {
    let with_lag = |lag_seconds| {
        scored(&HealthInput {
            shadow: Some(ShadowLag {
                lag_seconds,
                rpo_seconds: 60,
            }),
            ..idle()
        })
    };
    assert_eq!(with_lag(120).0, 100);
    let (points, _, contributions) = with_lag(600);
    assert!((80..95).contains(&points), "{points}");
    assert_eq!(
        contributions[0].why,
        "its shadow is 600 s behind, objective 60 s"
    );
}

#[test]
fn weights_scale_a_contribution_or_leave_it_out() {
    let input = HealthInput {
        cpu: with(Some(0.8), 0.85),
        ..idle()
    };
    let of = |cpu: f64| {
        let thresholds = Thresholds {
            weights: Weights {
                cpu,
                ..Weights::default()
            },
            ..Thresholds::default()
        };
        let health = score(&input, &thresholds);
        100 - health.score.unwrap()
    };
    assert!(of(1.0) > 10);
    assert_eq!(of(0.0), 0);
    assert!(of(2.0).abs_diff(2 * of(1.0)) <= 1);
}

#[test]
fn a_burst_that_is_likelier_than_not_is_a_risk_though_its_mean_stays_under() {
    let burst = Outlook {
        metric: Metric::Cpu,
        made_at: Timestamp::default(),
        peak: 0.6,
        peak_upper: 1.0,
        peak_at: Timestamp::default(),
        p95: 0.6,
        limit: Some(0.85),
        crosses_at: None,
        probability: Some(0.8),
        likely_at: Some(Timestamp::from_secs(7200)),
        no_better_than_naive: false,
    };
    let risk = ForecastRisk::nearest(&[burst], Timestamp::from_secs(0)).unwrap();
    assert_eq!(risk.crosses_in_seconds, Some(7200));
    assert!((risk.probability - 0.8).abs() < 1e-6);
}

#[test]
fn an_unknown_limit_claims_nothing() {
    let (points, ..) = scored(&HealthInput {
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
    let (_, _, contributions) = scored(&HealthInput {
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
    let limited =
        |most: f64| (part(most), part(most)).prop_map(|(value, limit)| Limited { value, limit });
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
                    ..HealthInput::default()
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
