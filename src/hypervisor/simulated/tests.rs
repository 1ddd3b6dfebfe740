//! Of the fleet as it is observed; what it does is tested by `tests/contract.rs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::*;
use crate::{
    forecast::{Forecaster, Select, assemble},
    inventory::Inventory,
    metrics::{Metric, Reading, Series},
    units::VmId,
};

/// 2026-11-22 14:32:00 UTC, a Sunday.
const START: Timestamp = Timestamp(1_795_357_920_000);

fn fleet(vms: u32, seed: u64) -> (Fleet, Arc<VirtualClock>) {
    let clock = Arc::new(VirtualClock::new(START));
    let fleet = Fleet::new(FleetSpec::demo(vms, seed), clock.clone());
    (fleet, clock)
}

fn inventories(fleet: &Fleet) -> Vec<Inventory> {
    fleet
        .sources()
        .iter()
        .map(|(name, _)| fleet.hypervisor(name).unwrap().inventory().unwrap())
        .collect()
}

fn named(fleet: &Fleet, name: &str) -> VmId {
    inventories(fleet)
        .into_iter()
        .flat_map(|inventory| inventory.vms)
        .find(|vm| vm.name == name)
        .unwrap()
        .id
}

fn history(fleet: &Fleet, vm: &VmId, metric: Metric, days: i64, step_seconds: u32) -> Series {
    let end = fleet.shared.now();
    fleet
        .hypervisor(&vm.source())
        .unwrap()
        .history(vm, metric, end.plus_secs(-86_400 * days), end, step_seconds)
        .unwrap()
        .unwrap()
}

fn reading(fleet: &Fleet, vm: &VmId) -> Reading {
    let sample = fleet.hypervisor(&vm.source()).unwrap().sample().unwrap();
    sample
        .readings
        .into_iter()
        .find(|reading| reading.vm == *vm)
        .unwrap()
}

#[test]
fn the_same_seed_and_start_make_the_same_fleet() {
    let (one, _) = fleet(2000, 7);
    let (two, _) = fleet(2000, 7);
    let (other, _) = fleet(2000, 8);
    assert_eq!(inventories(&one), inventories(&two));
    assert_ne!(inventories(&one), inventories(&other));
    let vm = named(&one, "checkout-api-07");
    assert_eq!(
        history(&one, &vm, Metric::Cpu, 3, 300),
        history(&two, &vm, Metric::Cpu, 3, 300)
    );
}

#[test]
fn a_fleet_has_as_many_vms_as_asked_for_under_names_and_ids_of_their_own() {
    for vms in [1, 12, 40, 10_000] {
        let (fleet, _) = fleet(vms, 1);
        let all: Vec<_> = inventories(&fleet)
            .into_iter()
            .flat_map(|inventory| inventory.vms)
            .collect();
        assert_eq!(all.len(), vms as usize);
        let ids: BTreeSet<_> = all.iter().map(|vm| &vm.id).collect();
        let names: BTreeSet<_> = all.iter().map(|vm| &vm.name).collect();
        assert_eq!((ids.len(), names.len()), (all.len(), all.len()));
    }
}

#[test]
fn the_rate_between_two_samples_is_what_history_says() {
    let (fleet, clock) = fleet(200, 3);
    for name in ["checkout-api-07", "ledger-db-02"] {
        let vm = named(&fleet, name);
        // From a whole step to the next, sampled in uneven bits on the way.
        let offset = clock.now().as_millis().rem_euclid(300_000);
        clock.advance((300_000 - offset) as u64);
        let before = reading(&fleet, &vm);
        for part in [7_000, 93_000, 200_000] {
            clock.advance(part);
            reading(&fleet, &vm);
        }
        let after = reading(&fleet, &vm);
        let seconds = after.at.secs_since(before.at) as f64;
        assert!((seconds - 300.0).abs() < f64::EPSILON);
        let last = |metric| {
            let series = history(&fleet, &vm, metric, 1, 300);
            f64::from(*series.values.last().unwrap())
        };
        let cpu = (after.cpu_nanos.unwrap() - before.cpu_nanos.unwrap()) as f64
            / (seconds * 1e9 * f64::from(after.vcpus));
        assert!((cpu - last(Metric::Cpu)).abs() < 1e-4, "{name}: {cpu}");
        let disk = (after.disk_bytes.unwrap() - before.disk_bytes.unwrap()) as f64 / seconds;
        let wanted = last(Metric::Disk);
        assert!((disk / wanted - 1.0).abs() < 1e-3, "{disk} {wanted}");
    }
}

#[test]
fn history_says_the_same_at_any_step() {
    let (fleet, _) = fleet(200, 3);
    let vm = named(&fleet, "ledger-db-02");
    let fine = history(&fleet, &vm, Metric::Cpu, 1, 60);
    let coarse = history(&fleet, &vm, Metric::Cpu, 1, 3600);
    for (step, value) in coarse.values.iter().enumerate() {
        let from = coarse.at(step).secs_since(fine.start) / 60;
        let Some(part) = usize::try_from(from)
            .ok()
            .and_then(|from| fine.values.get(from..from + 60))
        else {
            continue;
        };
        let mean = part.iter().sum::<f32>() / 60.0;
        assert!((mean - value).abs() < 1e-4, "{mean} {value}");
    }
}

#[test]
fn each_story_crosses_its_limit_when_it_is_due_and_did_so_the_days_before() {
    let (fleet, clock) = fleet(10_000, 1);
    clock.advance(24 * 3_600_000);
    for story in &fleet.shared.spec.stories {
        let vm = named(&fleet, &story.name);
        let series = history(&fleet, &vm, story.metric, 8, 300);
        let limit = if story.metric == Metric::Memory {
            0.9
        } else {
            0.85
        };
        let due = START.plus_secs(i64::from(story.crosses_in_minutes) * 60);
        for day in 0..7 {
            let due = due.plus_secs(-86_400 * day);
            let index = (due.secs_since(series.start) / 300) as usize;
            let before = series.values[index - 8..index - 4].iter();
            assert!(
                before.clone().all(|v| *v < limit),
                "{} {before:?}",
                story.name
            );
            let after = &series.values[index + 20..index + 40];
            let mean = after.iter().sum::<f32>() / 20.0;
            assert!(mean > limit, "{} {day} days back: {mean}", story.name);
        }
    }
}

#[test]
fn nobody_else_comes_near_a_limit() {
    let (fleet, _) = fleet(1_500, 1);
    let told: BTreeSet<_> = fleet
        .shared
        .spec
        .stories
        .iter()
        .map(|story| &story.name)
        .collect();
    for vm in inventories(&fleet)
        .iter()
        .flat_map(|inventory| &inventory.vms)
    {
        if told.contains(&vm.name) {
            continue;
        }
        for (metric, limit) in [(Metric::Cpu, 0.82), (Metric::Memory, 0.88)] {
            let series = history(&fleet, &vm.id, metric, 2, 300);
            let highest = series.values.iter().fold(0.0_f32, |a, b| a.max(*b));
            assert!(highest < limit, "{} {metric:?} {highest}", vm.name);
        }
    }
}

#[test]
fn a_forecast_of_history_alone_finds_each_story_in_time_and_nobody_else() {
    let (fleet, _) = fleet(1_000, 1);
    let due: BTreeMap<&String, &StorySpec> = fleet
        .shared
        .spec
        .stories
        .iter()
        .map(|story| (&story.name, story))
        .collect();
    let now = fleet.shared.now();
    let mut found = 0;
    for vm in inventories(&fleet).iter().flat_map(|one| &one.vms) {
        for (metric, limit) in [(Metric::Cpu, 0.85), (Metric::Memory, 0.9)] {
            let series = history(&fleet, &vm.id, metric, 14, 300);
            let Ok(predicted) = Select.predict(&series, 144) else {
                continue;
            };
            let forecast = assemble(vm.id.clone(), metric, Some(limit), now, 300, predicted);
            let story = due.get(&vm.name).filter(|story| story.metric == metric);
            let Some(story) = story else {
                assert_eq!(forecast.crosses_at, None, "{} {metric:?}", vm.name);
                continue;
            };
            let crosses = forecast.crosses_at.expect("it is forecast to cross");
            let late = crosses.secs_since(now) / 60 - i64::from(story.crosses_in_minutes);
            assert!((-15..=25).contains(&late), "{}: {late} min late", vm.name);
            let probability = forecast.probability.unwrap_or_default();
            assert!(probability > 0.5, "{}: {probability}", vm.name);
            found += 1;
        }
    }
    assert_eq!(found, due.len());
}

#[test]
fn a_hung_guest_is_named_and_leaves_a_gap() {
    let (fleet, _) = fleet(10_000, 1);
    let mut hung = 0;
    for (name, _) in fleet.sources() {
        let source = fleet.hypervisor(&name).unwrap();
        let sample = source.sample().unwrap();
        for vm in &sample.hung {
            hung += 1;
            assert!(!sample.readings.iter().any(|reading| reading.vm == *vm));
            let series = history(&fleet, vm, Metric::Cpu, 1, 300);
            assert!(series.values.last().unwrap().is_nan());
            assert!(series.values[0].is_finite());
        }
    }
    assert!((1..=6).contains(&hung), "{hung}");
}

#[test]
fn what_planners_know_of_acts_on_the_pool_when_the_calendar_says_so() {
    use crate::{calendar::uplift, forecast::Mix};

    let clock = Arc::new(VirtualClock::new(START));
    let fleet = Fleet::new(FleetSpec::demo(400, 1), clock);
    let calendar = fleet.calendar();
    let sale = calendar.iter().find(|event| event.name == "Flash sale");
    let sale = sale.expect("the demo has it");
    let platform = fleet.hypervisor(&SourceName::from("dc1")).unwrap();
    let vms = platform.inventory().unwrap().vms;
    let affected: Vec<_> = vms.iter().filter(|vm| sale.affects(vm, &[])).collect();
    assert!(!affected.is_empty());
    let day = 86_400;
    // The newest occurrence before the start is forecast from what was known the evening before.
    let windows = sale.windows(START.plus_secs(-40 * day), START);
    let newest = *windows.last().expect("it came before");
    let origin = newest.from.plus_secs(-3600);
    let affecting = crate::calendar::Affecting::of(sale, START.plus_secs(-40 * day), START)
        .expect("it came before");
    let (mut without, mut with) = (0.0, 0.0);
    for vm in affected.into_iter().take(20) {
        let read = |from, to| {
            let found = platform.history(&vm.id, Metric::Cpu, from, to, 300);
            found.unwrap().expect("the fleet keeps its own history")
        };
        let known = read(origin.plus_secs(-40 * day), origin);
        let truth = read(newest.from, newest.to);
        let steps = 12 + truth.values.len();
        let error = |events: &[crate::calendar::Affecting]| {
            let (predicted, _) = uplift::predict(&Mix, &known, None, steps, events).unwrap();
            predicted.points[12..]
                .iter()
                .zip(&truth.values)
                .map(|(point, value)| f64::from((point.mean - value).abs()))
                .sum::<f64>()
        };
        without += error(&[]);
        with += error(std::slice::from_ref(&affecting));
    }
    println!("error over the event: {without:.3} without, {with:.3} with it");
    assert!(with < without / 2.0, "{with} {without}");
}
