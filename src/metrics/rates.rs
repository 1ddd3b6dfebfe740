//! Counters to rates: two readings of one VM become one sample, and whatever cannot be known becomes a gap.

use std::collections::HashMap;

use super::{Metric, Reading, Sample};
use crate::units::VmId;

/// Readings further apart than this many intervals say nothing about the time between them.
const MAX_INTERVALS: i64 = 10;

/// A vCPU counter may run a little ahead of the clock, and on QEMU it includes the emulator's own threads, so a busy
/// VM is often over 1. Up to this it counts as fully busy; above it the reading itself is broken.
const MAX_BUSY_RATIO: f64 = 2.0;

/// Remembers the last reading of each VM.
#[derive(Clone, Debug)]
pub struct RateTracker {
    max_gap_millis: i64,
    previous: HashMap<VmId, Reading>,
}

impl RateTracker {
    /// `interval_seconds` is how often readings are meant to come.
    pub fn new(interval_seconds: u32) -> Self {
        Self {
            max_gap_millis: i64::from(interval_seconds.max(1)) * 1000 * MAX_INTERVALS,
            previous: HashMap::new(),
        }
    }

    /// The values between the last reading of this VM and this one.
    ///
    /// A first reading, a counter that went down (the VM was restarted), a clock that jumped, a number of vCPUs that
    /// changed and a field that the platform leaves out each make a gap, never zero.
    pub fn take(&mut self, reading: Reading) -> Sample {
        let mut sample = Sample {
            vm: reading.vm.clone(),
            at: reading.at,
            values: [None; Metric::COUNT],
        };
        sample.values[Metric::Memory.index()] = memory_ratio(&reading);
        if let Some(previous) = self.previous.get(&reading.vm) {
            self.fill_rates(previous, &reading, &mut sample);
        }
        self.previous.insert(reading.vm.clone(), reading);
        sample
    }

    /// The VM is gone or begins a new life: its next reading is a first one.
    pub fn forget(&mut self, vm: &VmId) {
        self.previous.remove(vm);
    }

    fn fill_rates(&self, before: &Reading, now: &Reading, sample: &mut Sample) {
        let elapsed_millis = now.at.as_millis().saturating_sub(before.at.as_millis());
        if elapsed_millis <= 0 || elapsed_millis > self.max_gap_millis {
            return;
        }
        let seconds = elapsed_millis as f64 / 1000.0;
        let grown = |before: Option<u64>, now: Option<u64>| {
            now?.checked_sub(before?).map(|grown| grown as f64)
        };
        let mut put = |metric: Metric, value: Option<f64>| {
            sample.values[metric.index()] = value.map(|value| value as f32);
        };
        put(
            Metric::Disk,
            grown(before.disk_bytes, now.disk_bytes).map(|bytes| bytes / seconds),
        );
        put(
            Metric::Net,
            grown(before.net_bytes, now.net_bytes).map(|bytes| bytes / seconds),
        );
        if now.vcpus == 0 || now.vcpus != before.vcpus {
            return;
        }
        let vcpu_nanos = seconds * 1e9 * f64::from(now.vcpus);
        let busy = |before, now| {
            grown(before, now)
                .map(|nanos| nanos / vcpu_nanos)
                .filter(|ratio| *ratio <= MAX_BUSY_RATIO)
                .map(|ratio| ratio.min(1.0))
        };
        put(Metric::Cpu, busy(before.cpu_nanos, now.cpu_nanos));
        put(Metric::Steal, busy(before.steal_nanos, now.steal_nanos));
    }
}

fn memory_ratio(reading: &Reading) -> Option<f32> {
    let total = reading.memory_total_bytes.filter(|total| *total > 0)?;
    let used = reading.memory_used_bytes?;
    Some(((used as f64 / total as f64) as f32).min(1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::units::Timestamp;

    fn reading(at_seconds: i64, cpu_seconds: u64) -> Reading {
        Reading {
            vm: "primary/a".into(),
            at: Timestamp::from_secs(at_seconds),
            vcpus: 2,
            cpu_nanos: Some(cpu_seconds * 1_000_000_000),
            steal_nanos: Some(0),
            disk_bytes: Some(at_seconds as u64 * 1000),
            net_bytes: None,
            memory_used_bytes: Some(3),
            memory_total_bytes: Some(4),
        }
    }

    fn cpu(tracker: &mut RateTracker, reading: Reading) -> Option<f32> {
        tracker.take(reading).get(Metric::Cpu)
    }

    #[test]
    fn two_readings_make_rates() {
        let mut tracker = RateTracker::new(10);
        let first = tracker.take(reading(100, 50));
        assert_eq!(first.get(Metric::Cpu), None);
        assert_eq!(first.get(Metric::Memory), Some(0.75));
        let second = tracker.take(reading(110, 60));
        assert_eq!(second.get(Metric::Cpu), Some(0.5));
        assert_eq!(second.get(Metric::Steal), Some(0.0));
        assert_eq!(second.get(Metric::Disk), Some(1000.0));
        assert_eq!(second.get(Metric::Net), None);
    }

    #[test]
    fn a_restart_is_one_gap_and_then_goes_on() {
        let mut tracker = RateTracker::new(10);
        tracker.take(reading(100, 5000));
        assert_eq!(cpu(&mut tracker, reading(110, 3)), None);
        assert_eq!(cpu(&mut tracker, reading(120, 13)), Some(0.5));
    }

    #[test]
    fn a_clock_that_jumps_either_way_is_a_gap() {
        let mut tracker = RateTracker::new(10);
        tracker.take(reading(100, 50));
        assert_eq!(cpu(&mut tracker, reading(40, 60)), None);
        assert_eq!(cpu(&mut tracker, reading(50, 70)), Some(0.5));
        assert_eq!(cpu(&mut tracker, reading(50, 71)), None);
        assert_eq!(cpu(&mut tracker, reading(151, 80)), None);
    }

    #[test]
    fn more_than_every_vcpu_is_full_and_nonsense_is_a_gap() {
        let mut tracker = RateTracker::new(10);
        tracker.take(reading(100, 50));
        assert_eq!(cpu(&mut tracker, reading(110, 72)), Some(1.0));
        assert_eq!(cpu(&mut tracker, reading(120, 900)), None);
        let mut changed = reading(130, 910);
        changed.vcpus = 4;
        assert_eq!(cpu(&mut tracker, changed), None);
        let mut none = reading(140, 920);
        none.vcpus = 0;
        none.memory_total_bytes = Some(0);
        let sample = tracker.take(none);
        assert_eq!(sample.get(Metric::Cpu), None);
        assert_eq!(sample.get(Metric::Memory), None);
    }

    #[test]
    fn a_forgotten_vm_starts_anew() {
        let mut tracker = RateTracker::new(10);
        tracker.take(reading(100, 50));
        tracker.forget(&"primary/a".into());
        assert_eq!(cpu(&mut tracker, reading(110, 60)), None);
    }

    fn any_reading() -> impl Strategy<Value = Reading> {
        let counter = || proptest::option::of(any::<u64>());
        (
            any::<i64>(),
            any::<u32>(),
            counter(),
            counter(),
            counter(),
            counter(),
            counter(),
        )
            .prop_map(
                |(at, vcpus, cpu_nanos, steal_nanos, disk_bytes, used, total)| Reading {
                    vm: "primary/a".into(),
                    at: Timestamp(at),
                    vcpus,
                    cpu_nanos,
                    steal_nanos,
                    disk_bytes,
                    net_bytes: disk_bytes,
                    memory_used_bytes: used,
                    memory_total_bytes: total,
                },
            )
    }

    proptest! {
        #[test]
        fn whatever_comes_in_a_value_is_finite_and_in_range(
            readings in proptest::collection::vec(any_reading(), 1..20)
        ) {
            let mut tracker = RateTracker::new(10);
            for reading in readings {
                let sample = tracker.take(reading);
                for metric in Metric::ALL {
                    let Some(value) = sample.get(metric) else { continue };
                    prop_assert!(value.is_finite() && value >= 0.0);
                    if metric.unit() == "ratio" {
                        prop_assert!(value <= 1.0);
                    }
                }
            }
        }
    }
}
