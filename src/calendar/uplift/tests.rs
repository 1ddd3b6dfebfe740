//! Planted events, found again.

use super::*;
use crate::forecast::Mix;

const DAY: usize = 288;
const START: Timestamp = Timestamp::from_secs(1_792_022_400);

/// Two weeks of a daily curve; `events` (day, first step, steps, factor) act on it.
fn series(days: usize, events: &[(usize, usize, usize, f32)]) -> Series {
    let mut random = fastrand::Rng::with_seed(3);
    let values = (0..days * DAY)
        .map(|step| {
            let angle = (step % DAY) as f32 / DAY as f32 * std::f32::consts::TAU;
            let usual = 0.3 - 0.15 * angle.cos() + (random.f32() - 0.5) * 0.02;
            let factor = events.iter().find(|(day, first, steps, _)| {
                (day * DAY + first..day * DAY + first + steps).contains(&step)
            });
            usual * factor.map_or(1.0, |event| event.3)
        })
        .collect();
    Series {
        start: START,
        step_seconds: 300,
        values,
    }
}

fn window(day: usize, first: usize, steps: usize) -> Window {
    let at = |step: usize| START.plus_secs((day * DAY + step) as i64 * 300);
    Window {
        from: at(first),
        to: at(first + steps),
    }
}

fn sale(windows: Vec<Window>, expected_factor: Option<f64>) -> Affecting {
    Affecting {
        event: "e-1".into(),
        name: "Sale".to_owned(),
        expected_factor,
        exclude: false,
        windows,
    }
}

fn error(points: &[ForecastPoint], truth: &[f32], steps: std::ops::Range<usize>) -> f32 {
    let sum: f32 = steps
        .clone()
        .map(|step| (points[step].mean - truth[step]).abs())
        .sum();
    sum / steps.len() as f32
}

#[test]
fn a_learned_event_at_least_halves_the_error_of_its_day() {
    // Every three days for two hours; the fifth is to be forecast.
    let planted = [
        (1, 200, 24, 1.6),
        (4, 200, 24, 1.5),
        (7, 200, 24, 1.7),
        (10, 200, 24, 1.6),
        (13, 200, 24, 1.6),
    ];
    let all = series(14, &planted);
    let mut known = all.clone();
    let truth = known.values.split_off(13 * DAY);
    let windows: Vec<Window> = planted
        .iter()
        .map(|event| window(event.0, event.1, event.2))
        .collect();
    let events = [sale(windows, None)];
    let without = Mix.predict(&known, DAY).unwrap();
    let (with, learned) = predict(&Mix, &known, None, DAY, &events).unwrap();
    assert_eq!(learned[0].occurrences, 4);
    assert!((learned[0].factor - 1.55).abs() < 0.1, "{learned:?}");
    assert!(
        learned[0].lower < 1.5 && learned[0].upper > 1.65,
        "{learned:?}"
    );
    let before = error(&without.points, &truth, 200..224);
    let after = error(&with.points, &truth, 200..224);
    assert!(after < before / 2.0, "{after} {before}");
    // Outside of it nothing changes for the worse.
    assert!(error(&with.points, &truth, 0..190) <= error(&without.points, &truth, 0..190) * 1.1);
    let inside = (200..224).filter(|step| {
        let point = with.points[*step];
        (point.lower..=point.upper).contains(&truth[*step])
    });
    assert!(inside.count() > 20);
    // The crossing that comes of it is likely, and was not without it.
    let limit = 0.5;
    let likely = |predicted: &Predicted| {
        let hours = predicted.exceedance.by_hour(&predicted.points, limit);
        hours.into_iter().fold(0.0, f64::max)
    };
    assert!(likely(&with) > 0.5, "{}", likely(&with));
    assert!(likely(&with) > likely(&without));
}

#[test]
fn the_first_time_the_planners_figure_counts_and_is_wide() {
    let known = series(14, &[]);
    let events = [sale(vec![window(14, 100, 12)], Some(2.0))];
    let (with, learned) = predict(&Mix, &known, None, DAY, &events).unwrap();
    let (plain, _) = predict(&Mix, &known, None, DAY, &[]).unwrap();
    assert_eq!((learned[0].occurrences, learned[0].factor), (0, 2.0));
    for step in 100..112 {
        let ratio = with.points[step].mean / plain.points[step].mean;
        assert!((ratio - 2.0).abs() < 1e-3, "{ratio}");
        let wide = with.points[step].upper - with.points[step].lower;
        assert!(wide > 2.0 * (plain.points[step].upper - plain.points[step].lower));
    }
    assert_eq!(with.points[99], plain.points[99]);
}

#[test]
fn what_is_excluded_never_trains_and_changes_nothing_ahead() {
    let planted = [(12, 0, DAY, 3.0)];
    let marred = series(14, &planted);
    let mut event = sale(vec![window(12, 0, DAY), window(14, 0, DAY)], Some(3.0));
    event.exclude = true;
    let (with, learned) = predict(&Mix, &marred, None, DAY, &[event]).unwrap();
    assert_eq!(learned, []);
    let (clean, _) = predict(&Mix, &series(14, &[]), None, DAY, &[]).unwrap();
    for step in 0..DAY {
        let apart = (with.points[step].mean - clean.points[step].mean).abs();
        assert!(apart < 0.05, "{step}: {apart}");
    }
}

#[test]
fn each_occurrence_is_set_against_what_was_known_before_it() {
    let planted = [(3, 100, 24, 2.0), (6, 100, 24, 2.0), (9, 100, 24, 2.0)];
    let known = series(14, &planted);
    let windows = planted
        .iter()
        .map(|event| window(event.0, event.1, event.2))
        .collect();
    let found = outcomes(&known, None, &[sale(windows, None)]);
    let outcomes = &found[0].1;
    assert_eq!(outcomes.len(), 3);
    assert!(
        (outcomes[0].expected_factor - 1.0).abs() < 1e-9,
        "nothing was known"
    );
    assert!((outcomes[0].error_with - outcomes[0].error_without).abs() < 1e-9);
    assert!(outcomes[2].expected_factor > 1.7, "{:?}", outcomes[2]);
    assert!(
        outcomes[2].error_with < outcomes[2].error_without / 3.0,
        "{:?}",
        outcomes[2]
    );
    assert!(
        outcomes
            .iter()
            .all(|one| (one.actual_factor - 2.0).abs() < 0.1)
    );
}

#[test]
fn an_occurrence_that_was_hardly_measured_teaches_nothing() {
    let mut known = series(14, &[(6, 100, 24, 2.0)]);
    known.values[6 * DAY + 100..6 * DAY + 120].fill(f32::NAN);
    let found = outcomes(&known, None, &[sale(vec![window(6, 100, 24)], None)]);
    assert_eq!(found[0].1, []);
}

/// Where the usual load differs most between occurrences: at the lowest and the highest of the day.
const LOW: usize = 276;
const HIGH: usize = 132;

/// Two weeks and a day in which a job of an hour acts at different hours; the last one is to come.
fn at_any_hour(act: impl Fn(f32) -> f32) -> (Series, Vec<f32>, Vec<Window>) {
    let hours = [(2, LOW), (5, HIGH), (8, LOW), (11, HIGH), (14, HIGH)];
    let mut all = series(15, &[]);
    for (day, first) in hours {
        for value in &mut all.values[day * DAY + first..][..12] {
            *value = act(*value);
        }
    }
    let truth = all.values.split_off(14 * DAY);
    let windows = hours.map(|(day, first)| window(day, first, 12));
    (all, truth, windows.to_vec())
}

#[test]
fn what_adds_to_any_load_is_learned_as_so_much_more_and_what_multiplies_as_a_factor() {
    let steps = HIGH..HIGH + 12;
    let (known, truth, windows) = at_any_hour(|usual| usual + 0.3);
    let without = Mix.predict(&known, DAY).unwrap();
    let (with, learned) = predict(&Mix, &known, None, DAY, &[sale(windows, None)]).unwrap();
    let added = learned[0].added.expect("it adds");
    assert!((added.mean - 0.28).abs() < 0.03, "{added:?}");
    assert!(added.lower < 0.28 && added.upper > 0.3, "{added:?}");
    let before = error(&without.points, &truth, steps.clone());
    let after = error(&with.points, &truth, steps.clone());
    assert!(after < before / 4.0, "{after} {before}");
    // As a factor it would be more than three times at night and so at noon.
    assert!(learned[0].factor > 1.9, "{learned:?}");
    let points = &with.points[steps.clone()];
    let inside = points.iter().zip(&truth[HIGH..]);
    let inside = inside.filter(|(point, truth)| (point.lower..=point.upper).contains(truth));
    assert!(inside.count() >= 11);
    let hours = with.exceedance.by_hour(&with.points, 0.6);
    assert!(hours[HIGH / 12] > 0.5 && hours[3] < 0.1, "{hours:?}");

    let (known, truth, windows) = at_any_hour(|usual| usual * 1.8);
    let (with, learned) = predict(&Mix, &known, None, DAY, &[sale(windows, None)]).unwrap();
    assert_eq!(learned[0].added, None);
    assert!((learned[0].factor - 1.75).abs() < 0.1, "{learned:?}");
    assert!(error(&with.points, &truth, steps) < 0.06);
}

#[test]
fn what_happened_long_ago_teaches_from_coarse_steps() {
    // Four weeks of hours, long before the fine ones; an hour and a half twice what is usual, on two days.
    let early = START.plus_secs(-200 * 86_400);
    let at = |step: usize| early.plus_secs(step as i64 * 300);
    let fine = series(28, &[(9, 120, 18, 2.0), (18, 120, 18, 2.0)]);
    let hourly = Series {
        start: early,
        ..fine
    }
    .downsample(3600);
    let mut windows: Vec<Window> = [9, 18]
        .map(|day| Window {
            from: at(day * DAY + 120),
            to: at(day * DAY + 138),
        })
        .to_vec();
    windows.push(window(14, 120, 18));
    let known = series(14, &[]);
    let of = |older: Option<&Series>| {
        let (_, learned) =
            predict(&Mix, &known, older, DAY, &[sale(windows.clone(), None)]).unwrap();
        (learned[0].occurrences, learned[0].factor)
    };
    assert_eq!(of(None), (0, 1.0));
    let (occurrences, factor) = of(Some(&hourly));
    assert_eq!(occurrences, 2);
    // The half hour that a coarse step mixes with what follows is left out, or it would be 1.7.
    assert!((factor - 1.9).abs() < 0.1, "{factor}");
    let told = outcomes(&known, Some(&hourly), &[sale(windows.clone(), None)]);
    assert_eq!(told[0].1.len(), 2);
}
