//! The store as its callers see it: what goes in comes out, whatever happens in between.
#![allow(clippy::float_cmp, reason = "what is kept comes back to the bit")]

use std::{fs, os::unix::fs::FileExt};

use proptest::prelude::*;
use rusqlite::Connection;

use super::{
    cell::{to_cell, to_value},
    *,
};
use crate::metrics::{Metric, Sample, Series};

/// A day boundary: 2026-11-22.
const DAY: i64 = 1_795_305_600;

fn sample(vm: &str, at_millis: i64, cpu: f32) -> Sample {
    let mut sample = Sample {
        vm: vm.into(),
        at: Timestamp(at_millis),
        ..Sample::default()
    };
    sample.values[Metric::Cpu.index()] = Some(cpu);
    sample
}

fn at(seconds: i64, cpu: f32) -> Sample {
    sample("a/1", seconds * 1000, cpu)
}

fn keeping(interval_seconds: u32) -> Keeping {
    Keeping {
        interval_seconds,
        ..Keeping::default()
    }
}

fn metrics() -> Metrics {
    Metrics::in_memory(keeping(10)).unwrap()
}

fn read(metrics: &mut Metrics, metric: Metric, from: i64, to: i64, step: u32) -> Vec<f32> {
    let span = (Timestamp::from_secs(from), Timestamp::from_secs(to));
    metrics
        .series(&VmId::new("a/1"), metric, span.0, span.1, step)
        .unwrap()
        .values
}

fn cpu(metrics: &mut Metrics, from: i64, to: i64, step: u32) -> Vec<f32> {
    read(metrics, Metric::Cpu, from, to, step)
}

/// Seals all that is over by `now`, and prunes.
fn settle(metrics: &mut Metrics, now: i64) {
    metrics.nothing_due_before = Timestamp(i64::MIN);
    while metrics.maintain(Timestamp::from_secs(now)).unwrap() {}
}

fn close(metrics: &mut Metrics) {
    metrics
        .writing(|this| {
            this.refresh()?;
            this.close_all()
        })
        .unwrap();
}

fn close_to(left: f32, right: f32) -> bool {
    (left - right).abs() < 1e-6
}

#[test]
fn samples_become_means_and_gaps_stay_gaps() {
    let mut metrics = metrics();
    metrics
        .append(&[at(0, 0.2), at(10, 0.4), at(610, 0.9), at(10, 0.4)])
        .unwrap();
    let values = cpu(&mut metrics, 0, 899, STEP_SECONDS);
    assert_eq!(values.len(), 3);
    assert!(close_to(values[0], 0.3), "a repeated sample counts once");
    assert!(values[1].is_nan());
    assert_eq!(cpu(&mut metrics, 0, 19, 10), [0.2, 0.4]);
}

#[test]
fn an_import_replaces_its_steps_and_can_be_repeated() {
    let mut metrics = metrics();
    let vm = VmId::new("a/1");
    let series = Series {
        start: Timestamp(0),
        step_seconds: 300,
        values: vec![1.0, f32::NAN, 3.0],
    };
    assert_eq!(metrics.import(&vm, Metric::Disk, &series).unwrap(), 2);
    assert_eq!(metrics.import(&vm, Metric::Disk, &series).unwrap(), 2);
    let back = read(&mut metrics, Metric::Disk, 0, 899, STEP_SECONDS);
    assert_eq!((back[0], back[2]), (1.0, 3.0));
    assert!(back[1].is_nan());
    assert_eq!(read(&mut metrics, Metric::Disk, 0, 3599, 3600), [2.0]);
    assert_eq!(
        metrics.oldest(&vm, Metric::Disk).unwrap(),
        Some(Timestamp(0))
    );
    assert_eq!(metrics.oldest(&vm, Metric::Net).unwrap(), None);
}

/// Two days of one VM at 10 s, with a hole, read at every stage of a value's life.
#[test]
fn every_stage_says_the_same() {
    let mut metrics = metrics();
    let value = |step: i64| ((step * 37) % 10_000) as f32 / 10_000.0;
    let is_gap = |step: i64| (5000..5100).contains(&step) || step % 997 == 3;
    let steps = 2 * 8640;
    for step in (0..steps).filter(|step| !is_gap(*step)) {
        metrics.append(&[at(DAY + step * 10, value(step))]).unwrap();
    }
    let check = |metrics: &mut Metrics, stage: &str| {
        let fine = cpu(metrics, DAY, DAY + steps * 10 - 1, 10);
        assert_eq!(fine.len() as i64, steps);
        for (step, found) in fine.iter().enumerate() {
            let step = step as i64;
            if is_gap(step) {
                assert!(found.is_nan(), "{stage}, step {step}");
            } else {
                assert_eq!(*found, value(step), "{stage}, step {step}");
            }
        }
        for (seconds, tolerance) in [(300, 6e-5), (3600, 2e-4)] {
            let per = i64::from(seconds) / 10;
            let rolled = metrics
                .roll_ups(
                    &VmId::new("a/1"),
                    Metric::Cpu,
                    Timestamp::from_secs(DAY),
                    Timestamp::from_secs(DAY + steps * 10 - 1),
                    seconds,
                )
                .unwrap();
            for (index, mean) in rolled.mean.iter().enumerate() {
                let under: Vec<f32> = (index as i64 * per..(index as i64 + 1) * per)
                    .filter(|step| !is_gap(*step))
                    .map(value)
                    .collect();
                assert_eq!(
                    rolled.count[index] as usize,
                    under.len(),
                    "{stage}, {seconds} s, {index}"
                );
                if under.is_empty() {
                    assert!(mean.is_nan());
                    continue;
                }
                let expected = under.iter().sum::<f32>() / under.len() as f32;
                assert!(
                    (mean - expected).abs() < tolerance,
                    "{stage}, {seconds} s: {mean} {expected}"
                );
                let most = under.iter().copied().fold(0.0, f32::max);
                let least = under.iter().copied().fold(1.0, f32::min);
                assert!((rolled.most[index] - most).abs() < tolerance, "{stage}");
                assert!((rolled.least[index] - least).abs() < tolerance, "{stage}");
            }
        }
        let oldest = metrics.oldest(&VmId::new("a/1"), Metric::Cpu).unwrap();
        assert_eq!(oldest, Some(Timestamp::from_secs(DAY)), "{stage}");
    };
    check(&mut metrics, "head and blocks");
    close(&mut metrics);
    check(&mut metrics, "blocks");
    settle(&mut metrics, DAY + 86_400 + 1000);
    assert_eq!(
        metrics.stats().unwrap().tiers[0].sealed_values as i64,
        (0..8640).filter(|step| !is_gap(*step)).count() as i64
    );
    check(&mut metrics, "one day sealed");
    settle(&mut metrics, DAY + 2 * 86_400 + 1000);
    assert_eq!(metrics.stats().unwrap().tiers[0].open_bytes, 0);
    check(&mut metrics, "both sealed");
}

#[test]
fn what_is_late_or_out_of_order_finds_its_step_and_the_first_value_stands() {
    let mut metrics = metrics();
    for step in [0, 1, 3, 100, 70_000] {
        metrics.append(&[at(DAY + step * 10, 0.5)]).unwrap();
    }
    // Into the open step's past, into a closed step, and into one that is sealed.
    metrics.append(&[at(DAY + 70_000 * 10 - 20, 0.1)]).unwrap();
    metrics
        .append(&[at(DAY + 20, 0.9), at(DAY + 30, 0.7)])
        .unwrap();
    close(&mut metrics);
    let first = |metrics: &mut Metrics| cpu(metrics, DAY, DAY + 39, 10);
    assert_eq!(first(&mut metrics), [0.5, 0.5, 0.9, 0.5]);
    settle(&mut metrics, DAY + 10 * 86_400 - 1);
    let keep_all = Keeping {
        history: HistorySettings {
            samples_days: 1000,
            ..HistorySettings::default()
        },
        ..keeping(10)
    };
    metrics.keeping = keep_all;
    assert_eq!(cpu(&mut metrics, DAY, DAY, 300), [0.6]);
    metrics.append(&[at(DAY + 40, 0.6)]).unwrap();
    close(&mut metrics);
    settle(&mut metrics, DAY + 10 * 86_400);
    let five = cpu(&mut metrics, DAY, DAY, 300);
    assert!(close_to(five[0], 0.6), "{five:?}");
    let rolled = metrics
        .roll_ups(
            &"a/1".into(),
            Metric::Cpu,
            Timestamp::from_secs(DAY),
            Timestamp::from_secs(DAY),
            300,
        )
        .unwrap();
    assert_eq!(rolled.count, [5]);
}

#[test]
fn a_sealed_sample_is_not_overwritten_by_a_clock_set_back() {
    let mut metrics = metrics();
    metrics.keeping.history.samples_days = 1000;
    metrics.append(&[at(DAY, 0.5), at(DAY + 20, 0.5)]).unwrap();
    metrics.append(&[at(DAY + 3 * 86_400, 0.5)]).unwrap();
    close(&mut metrics);
    settle(&mut metrics, DAY + 5 * 86_400);
    metrics.append(&[at(DAY + 3 * 86_400 + 10, 0.5)]).unwrap();
    metrics.append(&[at(DAY, 0.1), at(DAY + 10, 0.1)]).unwrap();
    metrics
        .append(&[
            at(DAY + 3 * 86_400 + 600, 0.5),
            at(DAY + 3 * 86_400 + 1200, 0.5),
        ])
        .unwrap();
    settle(&mut metrics, DAY + 5 * 86_400);
    assert_eq!(cpu(&mut metrics, DAY, DAY + 29, 10), [0.5, 0.1, 0.5]);
    let rolled = metrics
        .roll_ups(
            &"a/1".into(),
            Metric::Cpu,
            Timestamp::from_secs(DAY),
            Timestamp::from_secs(DAY),
            300,
        )
        .unwrap();
    assert_eq!(rolled.count, [3], "what was left out counts nowhere");
}

#[test]
fn jitter_makes_neither_gaps_nor_doubles() {
    let mut metrics = metrics();
    for millis in [10_020, 20_010, 29_990, 40_020, 49_980, 60_010] {
        metrics.append(&[sample("a/1", millis, 0.5)]).unwrap();
    }
    assert_eq!(cpu(&mut metrics, 10, 69, 10), [0.5; 6]);
}

#[test]
fn what_is_not_a_value_is_a_gap() {
    let mut metrics = metrics();
    for (step, value) in [f32::NAN, f32::INFINITY, -0.1, 0.25]
        .into_iter()
        .enumerate()
    {
        metrics.append(&[at(step as i64 * 10, value)]).unwrap();
    }
    metrics
        .append(&[sample("a/1", i64::MAX, 0.5), sample("a/1", -1, 0.5)])
        .unwrap();
    let values = cpu(&mut metrics, 0, 39, 10);
    assert!(values[..3].iter().all(|value| value.is_nan()), "{values:?}");
    assert_eq!(values[3], 0.25);
}

#[test]
fn an_import_into_measured_time_replaces_or_keeps_and_hours_follow() {
    let mut metrics = metrics();
    for step in 0..60 {
        metrics.append(&[at(DAY + step * 10, 0.2)]).unwrap();
    }
    let series = Series {
        start: Timestamp::from_secs(DAY + 300),
        step_seconds: 300,
        values: vec![0.8, 0.8],
    };
    let vm = VmId::new("a/1");
    metrics
        .import_with(&vm, Metric::Cpu, &series, Existing::Keep)
        .unwrap();
    let five = cpu(&mut metrics, DAY, DAY + 899, 300);
    assert!(close_to(five[1], 0.2) && close_to(five[2], 0.8), "{five:?}");
    metrics.import(&vm, Metric::Cpu, &series).unwrap();
    let five = cpu(&mut metrics, DAY, DAY + 899, 300);
    assert!(
        close_to(five[0], 0.2) && close_to(five[1], 0.8) && close_to(five[2], 0.8),
        "{five:?}"
    );
    // 30 samples of 0.2 and two imported values.
    let hour = cpu(&mut metrics, DAY, DAY, 3600);
    assert!(
        (hour[0] - (30.0 * 0.2 + 2.0 * 0.8) / 32.0).abs() < 1e-4,
        "{hour:?}"
    );
    assert_eq!(
        cpu(&mut metrics, DAY + 300, DAY + 300, 10),
        [0.2],
        "samples stay"
    );
}

#[test]
fn two_connections_see_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Metrics::open(folder.path(), keeping(10)).unwrap();
    let mut reader = Metrics::open(folder.path(), keeping(10)).unwrap();
    for step in 0..200 {
        writer.append(&[at(DAY + step * 10, 0.5)]).unwrap();
        let seen = cpu(&mut reader, DAY + step * 10, DAY + step * 10, 10);
        assert_eq!(seen, [0.5], "step {step}");
    }
    let series = Series {
        start: Timestamp::from_secs(DAY + 1800),
        step_seconds: 300,
        values: vec![0.9],
    };
    reader.import(&"a/1".into(), Metric::Cpu, &series).unwrap();
    writer.append(&[at(DAY + 2100, 0.5)]).unwrap();
    assert_eq!(cpu(&mut writer, DAY + 1800, DAY + 2100, 300), [0.9, 0.5]);
    assert_eq!(cpu(&mut reader, DAY + 1980, DAY + 1999, 10), [0.5, 0.5]);
}

#[test]
fn what_was_acknowledged_is_there_after_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut metrics = Metrics::open(folder.path(), keeping(10)).unwrap();
    let tick = |step: i64| -> Vec<Sample> {
        (0..500)
            .map(|vm| {
                sample(
                    &format!("a/{vm}"),
                    (DAY + step * 10) * 1000,
                    (step % 100) as f32 / 100.0,
                )
            })
            .collect()
    };
    metrics.append(&tick(0)).unwrap();
    let pages: i64 = metrics
        .db
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    metrics
        .db
        .pragma_update(None, "max_page_count", pages + 20)
        .unwrap();
    let mut acknowledged = vec![0];
    let mut refused = 0;
    for step in 1..400 {
        match metrics.append(&tick(step)) {
            Ok(()) => acknowledged.push(step),
            Err(StoreError::Sqlite { source, .. }) => {
                assert_eq!(source.sqlite_error_code(), Some(ErrorCode::DiskFull));
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
        if refused == 5 {
            break;
        }
    }
    assert_eq!(refused, 5, "the disk never filled");
    metrics
        .db
        .pragma_update(None, "max_page_count", 1_000_000)
        .unwrap();
    metrics.append(&tick(500)).unwrap();
    acknowledged.push(500);
    drop(metrics);
    let mut metrics = Metrics::open(folder.path(), keeping(10)).unwrap();
    for step in acknowledged {
        let found = cpu(&mut metrics, DAY + step * 10, DAY + step * 10, 10);
        assert_eq!(found, [(step % 100) as f32 / 100.0], "step {step}");
    }
}

#[test]
fn a_damaged_row_is_a_gap_and_in_quarantine_never_a_value() {
    let mut metrics = metrics();
    metrics.keeping.history.samples_days = 1000;
    for step in 0..3 * 288 {
        metrics.append(&[at(DAY + step * 300, 0.5)]).unwrap();
    }
    close(&mut metrics);
    settle(&mut metrics, DAY + 2 * 86_400 + 1000);
    let flip = |metrics: &Metrics, table: &str| {
        let (key, mut data): (i64, Vec<u8>) = metrics
            .db
            .query_row(
                &format!("SELECT key, data FROM {table} ORDER BY key LIMIT 1"),
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .unwrap();
        let middle = data.len() / 2;
        data[middle] ^= 0x10;
        metrics
            .db
            .execute(
                &format!("UPDATE {table} SET data = ?1 WHERE key = ?2"),
                params![data, key],
            )
            .unwrap();
    };
    flip(&metrics, "five_minute_chunk");
    flip(&metrics, "five_minute_block");
    metrics.own_writes += 1;
    let days = cpu(&mut metrics, DAY, DAY + 3 * 86_400 - 1, 300);
    assert!(
        days[..288].iter().all(|value| value.is_nan()),
        "the damaged chunk"
    );
    assert!(days[288..576].iter().all(|value| *value == 0.5));
    assert!(days[576].is_nan() && days[577..].iter().all(|value| *value == 0.5));
    assert_eq!(metrics.stats().unwrap().quarantined, 2);
    flip(&metrics, "hour_block");
    flip(&metrics, "sample_chunk");
    let verified = metrics.verify().unwrap();
    assert_eq!((verified.damaged, verified.quarantined), (2, 4));
    assert!(verified.findings.is_empty(), "{:?}", verified.findings);
    assert_eq!(metrics.verify().unwrap().damaged, 0);
}

#[test]
fn a_damaged_file_is_moved_aside_and_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    {
        let mut metrics = Metrics::open(folder.path(), keeping(10)).unwrap();
        metrics.append(&[at(DAY, 0.5)]).unwrap();
    }
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_at(b"no database at all", 0).unwrap();
    let mut metrics = Metrics::open(folder.path(), keeping(10)).unwrap();
    let aside = metrics.set_aside().unwrap().to_owned();
    assert!(fs::read(&aside).unwrap().starts_with(b"no database at all"));
    metrics.append(&[at(DAY, 0.25)]).unwrap();
    assert_eq!(cpu(&mut metrics, DAY, DAY, 10), [0.25]);
    assert_eq!(metrics.stats().unwrap().set_aside, ["metrics.db.damaged-1"]);
}

#[test]
fn damage_while_it_runs_costs_no_further_tick() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let mut metrics = Metrics::open(folder.path(), keeping(10)).unwrap();
    metrics.append(&[at(DAY, 0.5)]).unwrap();
    metrics
        .db
        .pragma_update(None, "wal_checkpoint", "TRUNCATE")
        .unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_at(&vec![0xa5; (length - 100) as usize], 100)
        .unwrap();
    metrics.db.pragma_update(None, "cache_size", 0).unwrap();
    let mut other = Connection::open(&path).unwrap();
    // A commit by another connection makes this one read its pages anew; it may itself see the damage.
    drop(other.transaction());
    metrics.db.release_memory().unwrap();
    metrics.append(&[at(DAY + 10, 0.25)]).unwrap();
    assert!(metrics.set_aside().is_some());
    assert_eq!(cpu(&mut metrics, DAY + 10, DAY + 10, 10), [0.25]);
}

#[test]
fn the_first_schema_is_brought_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let old = Connection::open(&path).unwrap();
    old.pragma_update(None, "journal_mode", "WAL").unwrap();
    old.execute_batch(
        "CREATE TABLE series (id INTEGER PRIMARY KEY, vm TEXT NOT NULL, metric INTEGER NOT NULL, UNIQUE (vm, metric)) STRICT;
         CREATE TABLE sample (series INTEGER NOT NULL, at INTEGER NOT NULL, value REAL NOT NULL, PRIMARY KEY (series, at)) STRICT, WITHOUT ROWID;
         CREATE TABLE rollup (series INTEGER NOT NULL, step INTEGER NOT NULL, total REAL NOT NULL, count INTEGER NOT NULL,
             least REAL NOT NULL, most REAL NOT NULL, PRIMARY KEY (series, step)) STRICT, WITHOUT ROWID;
         INSERT INTO series VALUES (1, 'a/1', 0), (2, 'a/2', 99);
         INSERT INTO sample VALUES (1, 1795305600000, 0.25), (1, 1795305610000, 0.75);
         INSERT INTO rollup VALUES (1, 5984352, 1.0, 2, 0.25, 0.75), (1, 5984354, 0.5, 1, 0.5, 0.5);",
    )
    .unwrap();
    drop(old);
    let mut metrics = Metrics::open(folder.path(), keeping(10)).unwrap();
    assert_eq!(cpu(&mut metrics, DAY, DAY + 19, 10), [0.25, 0.75]);
    let rolled = metrics
        .roll_ups(
            &"a/1".into(),
            Metric::Cpu,
            Timestamp::from_secs(DAY),
            Timestamp::from_secs(DAY + 899),
            300,
        )
        .unwrap();
    assert_eq!(
        (rolled.mean[0], rolled.least[0], rolled.most[0]),
        (0.5, 0.25, 0.75)
    );
    assert_eq!(rolled.count, [2, 0, 1]);
    drop(metrics);
    let mut again = Metrics::open(folder.path(), keeping(10)).unwrap();
    assert_eq!(cpu(&mut again, DAY, DAY, 10), [0.25]);
}

#[test]
fn a_file_of_a_newer_program_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(Metrics::open(folder.path(), keeping(10)).unwrap());
    let db = Connection::open(folder.path().join(FILE)).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let refused = Metrics::open(folder.path(), keeping(10));
    assert!(matches!(
        refused,
        Err(StoreError::Newer { version: 99, .. })
    ));
    assert!(folder.path().join(FILE).exists());
}

#[test]
fn each_resolution_goes_after_its_time_and_the_cap_takes_the_finest_first() {
    let mut metrics = metrics();
    let day = |index: i64| DAY + index * 86_400;
    for index in 0..10 {
        for step in 0..288 {
            metrics.append(&[at(day(index) + step * 300, 0.5)]).unwrap();
        }
    }
    close(&mut metrics);
    settle(&mut metrics, day(10) + 1000);
    assert!(cpu(&mut metrics, day(7), day(7), 10)[0].is_nan());
    assert_eq!(cpu(&mut metrics, day(9), day(9), 10), [0.5]);
    assert_eq!(cpu(&mut metrics, day(0), day(0), 300), [0.5]);
    metrics.keeping.history.five_minutes_days = 5;
    settle(&mut metrics, day(10) + 1000);
    assert!(cpu(&mut metrics, day(1), day(1), 300)[0].is_nan());
    assert_eq!(cpu(&mut metrics, day(0), day(0), 3600), [0.5], "hours stay");
    metrics.keeping.history.max_gigabytes = 1e-9;
    assert!(metrics.prune(Timestamp::from_secs(day(10))).unwrap());
    assert!(
        cpu(&mut metrics, day(8), day(8), 10)[0].is_nan(),
        "the oldest samples go first"
    );
    assert_eq!(cpu(&mut metrics, day(9), day(9), 10), [0.5]);
    assert!(metrics.prune(Timestamp::from_secs(day(10))).unwrap());
    assert!(cpu(&mut metrics, day(9), day(9), 10)[0].is_nan());
    assert_eq!(cpu(&mut metrics, day(9), day(9), 300), [0.5]);
}

#[test]
fn an_interval_that_changes_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut metrics = Metrics::open(folder.path(), keeping(60)).unwrap();
    for minute in 0..20 {
        metrics.append(&[at(DAY + minute * 60, 0.5)]).unwrap();
    }
    drop(metrics);
    let mut metrics = Metrics::open(folder.path(), keeping(10)).unwrap();
    for step in 120..200 {
        metrics.append(&[at(DAY + step * 10, 0.5)]).unwrap();
    }
    close(&mut metrics);
    settle(&mut metrics, DAY + 86_400 + 1000);
    let minutes = cpu(&mut metrics, DAY, DAY + 1999, 60);
    assert!(minutes.iter().all(|value| *value == 0.5), "{minutes:?}");
}

#[derive(Clone, Debug)]
enum Act {
    Append(Vec<(u8, i64, f32)>),
    Close,
    Seal,
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    let one = (0..20_u8, 0..500_i64, 0..1000_u32)
        .prop_map(|(vm, step, value)| (vm, step, value as f32 / 1000.0));
    prop_oneof![
        8 => proptest::collection::vec(one, 1..6).prop_map(Act::Append),
        1 => Just(Act::Close),
        1 => Just(Act::Seal),
        1 => Just(Act::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Any order of ticks over three days, with steps closed, days sealed and the program started anew in between:
    /// the first value of each step stands, and roll-ups count what stands.
    #[test]
    fn the_first_value_of_a_step_stands_whatever_happens(acts in proptest::collection::vec(act(), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        let keeping = Keeping { interval_seconds: 300, ..Keeping::default() };
        let mut metrics = Metrics::open(folder.path(), keeping.clone()).unwrap();
        metrics.keeping.history.samples_days = 1000;
        let mut model: std::collections::BTreeMap<(u8, i64), f32> = std::collections::BTreeMap::new();
        for act in acts {
            match act {
                Act::Append(ones) => {
                    let samples: Vec<Sample> = ones
                        .iter()
                        .map(|(vm, step, value)| sample(&format!("a/{vm}"), (DAY + step * 300) * 1000, *value))
                        .collect();
                    metrics.append(&samples).unwrap();
                    for (vm, step, value) in ones {
                        model.entry((vm, step)).or_insert(value);
                    }
                }
                Act::Close => close(&mut metrics),
                Act::Seal => settle(&mut metrics, DAY + 2 * 86_400 + 1000),
                Act::Reopen => {
                    drop(metrics);
                    metrics = Metrics::open(folder.path(), keeping.clone()).unwrap();
                    metrics.keeping.history.samples_days = 1000;
                }
            }
        }
        for vm in 0..20_u8 {
            let id = VmId::new(format!("a/{vm}"));
            let span = (Timestamp::from_secs(DAY), Timestamp::from_secs(DAY + 499 * 300));
            let rolled = metrics.roll_ups(&id, Metric::Cpu, span.0, span.1, 300).unwrap();
            for step in 0..500_i64 {
                let expected = model.get(&(vm, step));
                let index = step as usize;
                prop_assert_eq!(rolled.count[index], u32::from(expected.is_some()), "vm {} step {}", vm, step);
                if let Some(expected) = expected {
                    let kept = to_value(Metric::Cpu, to_cell(Metric::Cpu, f64::from(*expected))) as f32;
                    prop_assert_eq!(rolled.mean[index], kept);
                }
            }
        }
        prop_assert_eq!(metrics.verify().unwrap().damaged, 0);
    }
}
