use super::*;
use crate::{calendar::Window, inventory::PowerState, units::VmId};

const START: i64 = 1_700_006_400;
const STEP: i64 = 300;
const DAY: usize = 288;

/// A quiet day's curve that peaks at `peaks[day]` from noon on for two hours.
fn days(peaks: &[f32]) -> Series {
    let mut random = fastrand::Rng::with_seed(3);
    let values = peaks
        .iter()
        .flat_map(|peak| (0..DAY).map(move |step| (step, *peak)))
        .map(|(step, peak)| {
            let level = if (144..168).contains(&step) {
                peak
            } else {
                0.3
            };
            level + (random.f32() - 0.5) * 0.02
        })
        .collect();
    Series {
        start: Timestamp::from_secs(START),
        step_seconds: STEP as u32,
        values,
    }
}

fn vm() -> Vm {
    Vm {
        id: VmId::from("a/1"),
        name: "web-1".to_owned(),
        source: "a".into(),
        pool: "a/host".into(),
        host: "host".to_owned(),
        state: PowerState::Running,
        generation: 1,
        vcpus: 2,
        vcpus_max: 4,
        memory_bytes: 1 << 30,
        memory_max_bytes: 1 << 30,
        instance_type: String::new(),
        disks: Vec::new(),
        net_limit_bytes_per_sec: None,
        has_agent: false,
        foreign_jobs: Vec::new(),
        labels: Vec::new(),
        owner: None,
    }
}

fn at(day: usize, step: usize) -> Timestamp {
    Timestamp::from_secs(START).plus_secs((day * DAY + step) as i64 * STEP)
}

fn replayed(series: &Series, from: Timestamp, to: Timestamp) -> Replayed {
    replayed_with(&[], series, from, to)
}

fn replayed_with(
    events: &[Affecting],
    series: &Series,
    from: Timestamp,
    to: Timestamp,
) -> Replayed {
    let loads = [Load {
        metric: Metric::Cpu,
        series,
        limit: 0.85,
    }];
    let policy = ReplayPolicy {
        need: NeedPolicy {
            horizon_seconds: 4 * 3600,
            ..NeedPolicy::default()
        },
        hold: HoldPolicy::default(),
        sizing: SizingPolicy::default(),
        thresholds: Thresholds::default(),
    };
    let vm = vm();
    let input = ReplayInput {
        vm: &vm,
        service: None,
        events,
        loads: &loads,
        from,
        to,
        step_seconds: 1800,
    };
    replay(&input, &policy)
}

#[test]
fn a_peak_that_comes_daily_is_told_hours_before_it_crosses() {
    let series = days(&[0.95; 9]);
    let done = replayed(&series, at(7, 72), at(7, 200));
    let [raised] = &done.raised[..] else {
        panic!("{:?}", done.raised)
    };
    let Verdict::Crossed { lead_seconds } = raised.result else {
        panic!("{raised:?}")
    };
    assert!((3 * 3600..=4 * 3600).contains(&lead_seconds), "{raised:?}");
    assert!(raised.why.contains("CPU over 85 %"), "{}", raised.why);
    assert!(raised.withdrawn_at.is_some_and(|gone| gone > at(7, 160)));
    let [crossing] = &done.crossings[..] else {
        panic!("{:?}", done.crossings)
    };
    assert_eq!(crossing.at, at(7, 144));
    assert_eq!(crossing.lead_seconds, Some(lead_seconds));
    assert_eq!(done.unknown, 0);
}

#[test]
fn a_peak_that_stays_away_was_a_false_alarm_and_is_withdrawn() {
    let series = days(&[0.95, 0.95, 0.95, 0.95, 0.95, 0.95, 0.95, 0.4, 0.4]);
    let done = replayed(&series, at(7, 96), at(7, 240));
    assert_eq!(done.crossings, []);
    assert!(!done.raised.is_empty());
    for raised in &done.raised {
        assert_eq!(raised.result, Verdict::FalseAlarm, "{raised:?}");
        assert!(raised.withdrawn_at.is_some(), "{raised:?}");
    }
}

#[test]
fn nothing_is_known_of_what_comes_after_the_moment() {
    let quiet = replayed(&days(&[0.4; 9]), at(7, 72), at(7, 140));
    let surprise = replayed(
        &days(&[0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.95, 0.95]),
        at(7, 72),
        at(7, 140),
    );
    assert_eq!(quiet.raised, []);
    assert_eq!(surprise.raised, [], "the peak lies ahead of every moment");
}

#[test]
fn what_the_calendar_knows_is_told_before_it_crosses() {
    let series = days(&[0.4, 0.95, 0.4, 0.95, 0.4, 0.4, 0.95, 0.4, 0.95, 0.4]);
    let windows = [1, 3, 6, 8].map(|day| Window {
        from: at(day, 144),
        to: at(day, 168),
    });
    let sale = Affecting {
        event: "e-1".into(),
        name: "Sale".to_owned(),
        expected_factor: None,
        exclude: false,
        windows: windows.to_vec(),
    };
    let (from, to) = (at(8, 72), at(8, 200));
    let surprised = replayed(&series, from, to);
    assert_eq!(surprised.crossings[0].lead_seconds, None);
    let told = replayed_with(std::slice::from_ref(&sale), &series, from, to);
    let [crossing] = &told.crossings[..] else {
        panic!("{:?}", told.crossings)
    };
    assert!(crossing.lead_seconds >= Some(2 * 3600), "{told:?}");
    // What comes after the moment is not learned from: one occurrence is not enough to go by.
    let early = replayed_with(&[sale], &series, at(3, 72), at(3, 130));
    assert_eq!(early.raised, []);
}

#[test]
fn a_surprise_is_a_crossing_that_nobody_was_told_of_and_is_proposed_while_it_lasts() {
    let series = days(&[0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.98, 0.4]);
    let done = replayed(&series, at(7, 72), at(7, 168));
    assert_eq!(done.crossings.len(), 1);
    assert_eq!(done.crossings[0].lead_seconds, None);
    assert_eq!(done.raised[0].result, Verdict::Crossed { lead_seconds: 0 });
    assert_eq!(done.raised[0].urgency, Urgency::Now);
}

#[test]
fn gaps_are_not_decided_on_and_an_open_end_is_not_judged() {
    let mut series = days(&[0.95; 8]);
    series.values.truncate(7 * DAY + 120);
    let done = replayed(&series, at(7, 110), at(7, 140));
    assert!(done.unknown > 0, "{done:?}");
    assert_eq!(done.raised[0].result, Verdict::NotYetKnown);
}
