//! SIGKILL of whoever writes the history, at any moment, also while steps are closed and days are sealed: every tick
//! that was acknowledged is there.

mod support;

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use shadowcast::{
    metrics::{Metric, Sample},
    policy::HistorySettings,
    store::metrics::{Keeping, Metrics, STEP_SECONDS},
    units::{Timestamp, VmId},
};

const FOLDER: &str = "SHADOWCAST_CRASH_FOLDER";
const FROM: &str = "SHADOWCAST_CRASH_FROM";
const VMS: usize = 40;
const START: i64 = 1_795_305_600;
const ROUNDS: usize = 25;

/// Every tick ends a step, so that each append closes one; nothing is dropped.
fn open(folder: &Path) -> Metrics {
    let keeping = Keeping {
        interval_seconds: STEP_SECONDS,
        history: HistorySettings {
            samples_days: 10_000,
            five_minutes_days: 10_000,
            hours_days: 10_000,
            max_gigabytes: 100.0,
            ..HistorySettings::default()
        },
    };
    Metrics::open(folder, keeping).expect("the store opens")
}

fn id(vm: usize) -> VmId {
    VmId::new(format!("a/{vm}"))
}

fn at(tick: usize) -> Timestamp {
    Timestamp::from_secs(START + tick as i64 * i64::from(STEP_SECONDS))
}

fn value(vm: usize, tick: usize) -> f32 {
    ((vm * 31 + tick * 7) % 10_000) as f32 / 10_000.0
}

/// The process that is killed; does nothing as a test of its own.
#[test]
fn a_child_that_writes() {
    let (Ok(folder), Ok(from)) = (env::var(FOLDER), env::var(FROM)) else {
        return;
    };
    let mut metrics = open(Path::new(&folder));
    let mut out = std::io::stdout();
    for tick in from.parse::<usize>().expect("a number").. {
        let samples: Vec<Sample> = (0..VMS)
            .map(|vm| {
                let mut sample = Sample {
                    vm: id(vm),
                    at: at(tick),
                    ..Sample::default()
                };
                sample.values[Metric::Cpu.index()] = Some(value(vm, tick));
                sample.values[Metric::Disk.index()] = Some((vm + tick) as f32);
                sample
            })
            .collect();
        metrics.append(&samples).expect("it is kept");
        writeln!(out, "acknowledged {tick}").expect("the parent listens");
        out.flush().expect("the parent listens");
        metrics.maintain(at(tick)).expect("it is kept up");
    }
}

#[test]
fn no_acknowledged_tick_is_lost_by_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut next = 0;
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(env::current_exe().expect("a path"))
            .args(["--exact", "a_child_that_writes", "--nocapture"])
            .env(FOLDER, folder.path())
            .env(FROM, next.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the child starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut left = 3 + round * 13 % 60;
        let mut killed = false;
        // What was said before the kill comes out of the pipe after it.
        for line in lines.map_while(Result::ok) {
            let Some((_, tick)) = line.split_once("acknowledged ") else {
                continue;
            };
            acknowledged.push(tick.parse::<usize>().expect("a number"));
            left = left.saturating_sub(1);
            if left == 0 && !killed {
                child.kill().expect("it runs");
                killed = true;
            }
        }
        child.wait().expect("it ended");
        assert!(killed, "round {round}: the child ended by itself");
        next = acknowledged.last().expect("some came") + 1;
    }
    support::show(&format!(
        "{} ticks acknowledged over {ROUNDS} kills",
        acknowledged.len()
    ));
    assert!(
        acknowledged.len() > 288,
        "a day must be full, so that it was sealed"
    );
    let mut metrics = open(folder.path());
    for vm in 0..VMS {
        for (metric, step) in [
            (Metric::Cpu, STEP_SECONDS),
            (Metric::Cpu, 299),
            (Metric::Disk, STEP_SECONDS),
        ] {
            // Just under 5 minutes comes from the samples, 5 minutes from the roll-ups.
            for tick in &acknowledged {
                let expected = match metric {
                    Metric::Cpu => value(vm, *tick),
                    _ => (vm + tick) as f32,
                };
                let found = metrics
                    .series(&id(vm), metric, at(*tick), at(*tick).plus_secs(1), step)
                    .expect("it is read");
                assert!(
                    found
                        .values
                        .iter()
                        .any(|found| (found - expected).abs() < 1e-6),
                    "{metric:?} of VM {vm} at tick {tick}: {:?}, was {expected}",
                    found.values
                );
            }
        }
    }
    let verified = metrics.verify().expect("it is read");
    assert_eq!(verified.damaged, 0);
    assert!(verified.findings.is_empty(), "{:?}", verified.findings);
}
