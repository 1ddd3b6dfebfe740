use super::*;
use crate::forecast::{Exceedance, ForecastPoint};

const STEP: u32 = 300;
const DAY_STEPS: usize = 288;
/// The day that is judged; the series begin ten days before it.
const DAY: i64 = 20_000;
const BEGINS: i64 = DAY - 10;

fn series(value: impl Fn(usize) -> f32) -> Series {
    Series {
        start: start_of(BEGINS),
        step_seconds: STEP,
        values: (0..12 * DAY_STEPS).map(value).collect(),
    }
}

/// Each day lies 0.1 over the day before, so that "as yesterday" is off by just that.
fn rising(step: usize) -> f32 {
    (step / DAY_STEPS) as f32 * 0.1
}

/// Says `value` of each step after `known`, `width` either way.
fn said(known: &Series, steps: usize, width: f32, value: impl Fn(usize) -> f32) -> Predicted {
    let next = known.end().secs_since(start_of(BEGINS)) as usize / STEP as usize;
    let points = (0..steps).map(|step| {
        let mean = value(next + step);
        ForecastPoint {
            at: known.at(known.values.len() + step),
            mean,
            lower: mean - width,
            upper: mean + width,
        }
    });
    Predicted {
        model: "test".into(),
        accuracy: None,
        points: points.collect(),
        exceedance: Exceedance::of_interval(STEP),
    }
}

fn judged(series: &Series, limit: Option<f64>, off: f32, width: f32) -> Worth {
    judge_day(7, DAY, series, limit, |known, steps| {
        Ok(said(known, steps, width, |step| rising(step) + off))
    })
    .unwrap()
}

#[test]
fn a_series_with_known_answers_has_a_known_record() {
    let worth = judged(&series(rising), None, 0.05, 0.01);
    assert_eq!((worth.origins, worth.refused), (4, 0));
    for errors in [worth.hour, worth.day] {
        assert!(
            (errors.mase().unwrap() - 0.5).abs() < 1e-3,
            "{:?}",
            errors.mase()
        );
        assert_eq!(errors.coverage(), Some(0.0));
        assert!((errors.of_naive().unwrap() - 0.5).abs() < 1e-3);
    }
    assert_eq!(worth.hour.points, 4 * 12);
    assert_eq!(worth.day.points, 4 * 288);
    assert_eq!(worth.false_alarms_per_day(), None, "no limit, no alarm");
    let sure = judged(&series(rising), None, 0.05, 0.06);
    assert_eq!(sure.day.coverage(), Some(1.0));
}

#[test]
fn the_model_is_never_shown_what_came_after() {
    let plain = series(rising);
    let mut seen = Vec::new();
    judge_day(7, DAY, &plain, None, |known, steps| {
        seen.push(known.end());
        Ok(said(known, steps, 0.0, rising))
    })
    .unwrap();
    assert_eq!(seen.len(), ORIGINS_A_DAY);
    // One in each quarter, and none of them past the day.
    for (quarter, end) in seen.iter().enumerate() {
        let hour = end.secs_since(start_of(DAY)) / 3600;
        let from = 6 * quarter as i64;
        assert!((from..=from + 6).contains(&hour), "{quarter}: {hour}");
    }
    let other: Vec<usize> = (0..4).map(|day| step_in_quarter(7, day, 0, 72)).collect();
    assert!(other.iter().any(|step| *step != other[0]), "{other:?}");
}

#[test]
fn alarms_are_right_or_false_and_lead() {
    // Over the limit for the last hour of the day.
    let end = 11 * DAY_STEPS;
    let truth = |step: usize| {
        if (end - 12..end).contains(&step) {
            9.0
        } else {
            (step % 7) as f32 * 0.1
        }
    };
    let foreseen = judge_day(7, DAY, &series(truth), Some(5.0), |known, steps| {
        Ok(said(known, steps, 0.0, truth))
    })
    .unwrap();
    assert_eq!((foreseen.crossings, foreseen.told()), (4, 4));
    assert_eq!(foreseen.false_alarms, 0);
    assert!(foreseen.alarms >= 4);
    // Of one origin in each quarter of the day, that of the third: 11 h before, up to six hours less.
    let lead = foreseen.median_lead_seconds().unwrap() / 3600;
    assert!((5..=11).contains(&lead), "{lead}");
    let missed = judge_day(7, DAY, &series(truth), Some(5.0), |known, steps| {
        Ok(said(known, steps, 0.0, |_| 0.0))
    })
    .unwrap();
    assert_eq!((missed.crossings, missed.told()), (4, 0));
    assert_eq!(missed.median_lead_seconds(), None);
    let cried = judge_day(7, DAY, &series(|_| 0.0), Some(5.0), |known, steps| {
        Ok(said(known, steps, 0.0, |_| 9.0))
    })
    .unwrap();
    assert_eq!(cried.false_alarms_per_day(), Some(24.0));
    let bands: Vec<_> = cried.calibration().collect();
    assert!(matches!(bands[..], [(said, happened, 96)] if said > 0.99 && happened == 0.0));
}

#[test]
fn the_whole_is_the_sum_of_its_parts_and_not_a_mean_of_ratios() {
    let mut short = series(rising);
    // Of the second series little was measured: it counts for little.
    for (step, value) in short.values.iter_mut().enumerate() {
        if step > 10 * DAY_STEPS && step % 4 != 0 {
            *value = f32::NAN;
        }
    }
    let good = judged(&series(rising), Some(9.0), 0.01, 0.02);
    let poor = judged(&short, Some(9.0), 0.5, 0.02);
    let mut whole = Worth::default();
    whole.merge(&good);
    whole.merge(&poor);
    assert_eq!(whole.origins, good.origins + poor.origins);
    let (good, poor) = (good.day, poor.day);
    let points = (good.points + poor.points) as f64;
    let expected = (good.scaled + poor.scaled) / points;
    assert!((whole.day.mase().unwrap() - expected).abs() < 1e-9);
    let of_ratios = f64::midpoint(good.mase().unwrap(), poor.mase().unwrap());
    assert!((whole.day.mase().unwrap() - of_ratios).abs() > 0.1);
}

#[test]
fn no_better_than_naive_is_said_once_enough_was_judged() {
    let (poor, good) = (
        judged(&series(rising), None, 0.2, 0.01),
        judged(&series(rising), None, 0.05, 0.01),
    );
    assert_eq!(poor.no_better_than_naive(), None, "four moments are few");
    let twice = |worth: &Worth| {
        let mut twice = worth.clone();
        twice.merge(worth);
        twice.no_better_than_naive()
    };
    assert_eq!((twice(&poor), twice(&good)), (Some(true), Some(false)));
}

#[test]
fn a_day_that_nobody_could_foretell_is_not_held_against_the_forecast() {
    // As far off as ten usual days, as the day before would have been.
    let jumped = |step: usize| if step < 10 * DAY_STEPS { 0.3 } else { 1.3 };
    let mut noisy = series(jumped);
    for (step, value) in noisy.values.iter_mut().enumerate() {
        *value += if (step / DAY_STEPS).is_multiple_of(2) {
            0.05
        } else {
            -0.05
        };
    }
    let judged = judge_day(7, DAY - 1, &noisy, None, |known, steps| {
        Ok(said(known, steps, 0.1, |_| 0.3))
    })
    .unwrap();
    assert!(judged.day.mase().unwrap() > 3.0, "{:?}", judged.day);
    let of_naive = judged.day.of_naive().unwrap();
    assert!((0.8..0.999).contains(&of_naive), "{of_naive}");
}

#[test]
fn what_is_not_there_is_not_judged() {
    let mut gone = series(rising);
    gone.values[10 * DAY_STEPS..].fill(f32::NAN);
    assert_eq!(judged(&gone, None, 0.0, 0.0), Worth::default());
    let mut young = series(rising);
    young.values[..11 * DAY_STEPS].fill(f32::NAN);
    let asked = |series: &Series| judge_day(7, DAY, series, None, |_, _| Err(NotReady::NoHistory));
    assert_eq!(asked(&young), None);
    let refused = asked(&series(rising)).unwrap();
    assert_eq!((refused.origins, refused.refused), (0, 4));
    assert_eq!(refused.day.mase(), None);
}

#[test]
fn days_are_judged_newest_first_then_back_and_then_there_is_nothing_to_do() {
    let now = |day: i64| start_of(day).plus_secs(3600);
    let worth = judged(&series(rising), None, 0.05, 0.01);
    let mut record = Record::default();
    let mut looked_at = Vec::new();
    while let Some(day) = record.due(now(DAY)) {
        looked_at.push(day);
        record.take(day, Some(&worth));
        assert!(looked_at.len() < 100);
    }
    let expected: Vec<i64> = (0..DAYS).map(|back| DAY - 2 - back).collect();
    assert_eq!(looked_at, expected);
    assert_eq!(record.worth().origins, 4 * DAYS as u32);
    // The same day twice counts once.
    record.take(DAY - 2, Some(&worth));
    assert_eq!(record.worth().origins, 4 * DAYS as u32);
    // A day later there is one more; weeks later the old ones are gone.
    assert_eq!(record.due(now(DAY + 1)), Some(DAY - 1));
    for later in 1..60 {
        let day = record.due(now(DAY + later)).unwrap();
        record.take(day, Some(&worth));
        assert_eq!(record.due(now(DAY + later)), None);
        assert!((DAYS..DAYS + 7).contains(&record.days()), "{record:?}");
        assert_eq!(i64::from(record.worth().origins), 4 * record.days());
    }
    // After a long pause it begins anew.
    let day = record.due(now(DAY + 200)).unwrap();
    assert!(record.is_stale(now(DAY + 200)) && !record.is_stale(now(DAY + 61)));
    record.take(day, Some(&worth));
    assert_eq!((record.days(), record.worth().origins), (1, 4));
}

#[test]
fn before_the_beginning_nothing_is_looked_for_unless_history_is_brought() {
    let worth = judged(&series(rising), None, 0.05, 0.01);
    let now = start_of(DAY);
    let mut record = Record::default();
    record.take(record.due(now).unwrap(), Some(&worth));
    record.take(record.due(now).unwrap(), None);
    assert_eq!(record.due(now), None);
    record.known_from(start_of(DAY - 3).plus_secs(3600));
    assert_eq!(record.due(now), None, "it begins where it began");
    record.known_from(start_of(DAY - 9));
    assert_eq!(record.due(now), Some(DAY - 4));
    // Of one without any history the newest day is looked at once more.
    let mut empty = Record::default();
    empty.take(DAY - 2, None);
    assert_eq!(empty.due(now), None);
    empty.known_from(start_of(DAY - 9));
    assert_eq!(empty.due(now), Some(DAY - 2));
}
