//! Counters of all VMs in bulk, and the quarantine of VMs that hang.
//!
//! One hung QEMU stalls the bulk call for the whole host. So at most one such call is outstanding, on a connection
//! of its own; while it hangs, a second connection asks with NOWAIT, which skips whoever the first one waits for.
//! NOWAIT alone would hang as well. The hung call returns once the VM answers or dies: that ends the quarantine.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use virt_sys as sys;

use super::{
    host::{DEADLINE, Host, now},
    raw::{DomainStats, all_domain_stats},
    worker::{Link, Pending, Worker},
};
use crate::{
    hypervisor::{PlatformError, Readings},
    metrics::Reading,
    units::{SourceName, Timestamp, VmId},
};

const GROUPS: u32 = sys::VIR_DOMAIN_STATS_STATE
    | sys::VIR_DOMAIN_STATS_CPU_TOTAL
    | sys::VIR_DOMAIN_STATS_BALLOON
    | sys::VIR_DOMAIN_STATS_VCPU
    | sys::VIR_DOMAIN_STATS_INTERFACE
    | sys::VIR_DOMAIN_STATS_BLOCK;
const ACTIVE: u32 = sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE;
const NOWAIT: u32 = sys::VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT;

/// The sizes of one disk as QEMU knows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskSizes {
    pub capacity_bytes: u64,
    pub allocated_bytes: u64,
}

/// What the latest sample said, for the inventory.
#[derive(Clone, Debug, Default)]
pub struct Latest {
    /// By VM uuid and disk target.
    pub disks: HashMap<(String, String), DiskSizes>,
    /// The uuids of VMs that did not answer.
    pub hung: HashSet<String>,
    /// 0..=1 of the time in which VMs waited for a CPU.
    pub contention: Option<f64>,
    steal: HashMap<VmId, Reading>,
}

pub struct Stats {
    lanes: Mutex<Lanes>,
    latest: Mutex<Latest>,
    deadline: Duration,
}

#[derive(Default)]
struct Lanes {
    bulk: Option<Worker>,
    nowait: Option<Worker>,
    /// The bulk call that passed its deadline.
    outstanding: Option<Pending<Vec<DomainStats>>>,
    /// The NOWAIT call that passed its deadline.
    also_outstanding: Option<Pending<Vec<DomainStats>>>,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            lanes: Mutex::default(),
            latest: Mutex::default(),
            deadline: DEADLINE,
        }
    }
}

impl Stats {
    /// Counters of all VMs that answer.
    ///
    /// # Errors
    /// When the host does not answer in time, or cannot be reached.
    pub fn sample(&self, host: &Host) -> Result<Readings, PlatformError> {
        // Held for the whole call: one at a time is the point.
        let mut lanes = lock(&self.lanes);
        if let Some(pending) = &lanes.outstanding
            && pending.poll().is_some()
        {
            lanes.outstanding = None;
        }
        if lanes.outstanding.is_none() {
            let worker = match lanes.bulk.take() {
                Some(worker) => worker,
                None => Worker::new(&host.source, &host.address)?,
            };
            let pending = worker.start(|link| bulk(link, 0));
            lanes.bulk = Some(worker);
            match pending.wait(self.deadline) {
                Ok(records) => return Ok(self.readings(&host.source, &records?, false)),
                Err(pending) => lanes.outstanding = Some(pending),
            }
        }
        let records = self.without_the_hung(host, &mut lanes)?;
        Ok(self.readings(&host.source, &records, true))
    }

    pub fn latest(&self) -> Latest {
        lock(&self.latest).clone()
    }

    fn without_the_hung(
        &self,
        host: &Host,
        lanes: &mut Lanes,
    ) -> Result<Vec<DomainStats>, PlatformError> {
        let hung = || host.timeout("read statistics", self.deadline);
        if let Some(pending) = &lanes.also_outstanding {
            if pending.poll().is_none() {
                return Err(hung());
            }
            lanes.also_outstanding = None;
        }
        let worker = match lanes.nowait.take() {
            Some(worker) => worker,
            None => Worker::new(&host.source, &host.address)?,
        };
        let pending = worker.start(|link| bulk(link, NOWAIT));
        lanes.nowait = Some(worker);
        pending.wait(self.deadline).unwrap_or_else(|pending| {
            lanes.also_outstanding = Some(pending);
            Err(hung())
        })
    }

    fn readings(&self, source: &SourceName, records: &[DomainStats], stuck: bool) -> Readings {
        let at = now();
        let mut found = Readings {
            at,
            ..Readings::default()
        };
        let mut latest = lock(&self.latest);
        latest.hung.clear();
        if !stuck {
            latest.disks.clear();
        }
        for record in records {
            let vm = VmId::of(source, &record.uuid);
            if stuck && !answered(record) {
                latest.hung.insert(record.uuid.clone());
                found.hung.push(vm);
                continue;
            }
            for (target, sizes) in disk_sizes(record) {
                latest.disks.insert((record.uuid.clone(), target), sizes);
            }
            found.readings.push(reading(vm, at, record));
        }
        if !stuck {
            latest.contention = contention(&latest.steal, &found.readings);
            latest.steal = found
                .readings
                .iter()
                .map(|reading| (reading.vm.clone(), reading.clone()))
                .collect();
        }
        found
    }
}

fn bulk(link: &Link, flags: u32) -> Result<Vec<DomainStats>, PlatformError> {
    all_domain_stats(&link.connect, GROUPS, ACTIVE | flags)
        .or_else(|error| {
            // Drivers without statistics (libvirt's test driver) still say who runs.
            if error.code().is(virt::error::ErrorNumber::NoSupport) {
                return all_domain_stats(
                    &link.connect,
                    sys::VIR_DOMAIN_STATS_STATE,
                    ACTIVE | flags,
                );
            }
            Err(error)
        })
        .map_err(link.during("read statistics"))
}

/// Whether QEMU itself was asked: NOWAIT leaves out what only its monitor knows.
fn answered(record: &DomainStats) -> bool {
    let disks = count(record, "block.count").unwrap_or(0);
    let asked = (0..disks).any(|i| count(record, &format!("block.{i}.rd.bytes")).is_some());
    asked || (disks == 0 && count(record, "balloon.rss").is_some())
}

fn reading(vm: VmId, at: Timestamp, record: &DomainStats) -> Reading {
    let total = count(record, "balloon.current").or_else(|| count(record, "balloon.maximum"));
    // `available` and `usable` need the balloon's statistics; without them what QEMU takes on the host bounds it.
    let used = match (
        count(record, "balloon.available"),
        count(record, "balloon.usable").or_else(|| count(record, "balloon.unused")),
    ) {
        (Some(available), Some(usable)) => available.checked_sub(usable),
        _ => count(record, "balloon.rss").map(|rss| total.map_or(rss, |total| rss.min(total))),
    };
    let kib = |value: u64| value.saturating_mul(1024);
    Reading {
        vm,
        at,
        vcpus: count(record, "vcpu.current").unwrap_or(0) as u32,
        cpu_nanos: count(record, "cpu.time"),
        steal_nanos: sum(record, "vcpu.", &["delay"]),
        disk_bytes: sum(record, "block.", &["rd.bytes", "wr.bytes"]),
        net_bytes: sum(record, "net.", &["rx.bytes", "tx.bytes"]),
        memory_used_bytes: used.map(kib),
        memory_total_bytes: total.map(kib),
    }
}

/// The sum of the `fields` of all numbered entries (`block.0.rd.bytes`); `None` where there is none.
fn sum(record: &DomainStats, prefix: &str, fields: &[&str]) -> Option<u64> {
    let mut sum = None;
    for (name, value) in &record.values {
        let Some((number, field)) = name
            .strip_prefix(prefix)
            .and_then(|rest| rest.split_once('.'))
        else {
            continue;
        };
        if number.bytes().all(|byte| byte.is_ascii_digit()) && fields.contains(&field) {
            sum = Some(value.count()?.saturating_add(sum.unwrap_or(0)));
        }
    }
    sum
}

fn disk_sizes(record: &DomainStats) -> Vec<(String, DiskSizes)> {
    let disks = count(record, "block.count").unwrap_or(0).min(1024);
    (0..disks)
        .filter_map(|i| {
            let target = record
                .values
                .iter()
                .find(|(name, _)| *name == format!("block.{i}.name"))?;
            let super::raw::Value::Text(target) = &target.1 else {
                return None;
            };
            let of = |field: &str| count(record, &format!("block.{i}.{field}"));
            let sizes = DiskSizes {
                capacity_bytes: of("capacity")?,
                allocated_bytes: of("allocation").or_else(|| of("physical"))?,
            };
            Some((target.clone(), sizes))
        })
        .collect()
}

fn count(record: &DomainStats, name: &str) -> Option<u64> {
    record
        .values
        .iter()
        .find(|(field, _)| field == name)
        .and_then(|(_, value)| value.count())
}

/// The share of vCPU time spent waiting for a CPU between two samples.
fn contention(before: &HashMap<VmId, Reading>, after: &[Reading]) -> Option<f64> {
    let (mut waited, mut possible) = (0.0, 0.0);
    for reading in after {
        let Some(earlier) = before.get(&reading.vm) else {
            continue;
        };
        let (Some(from), Some(to)) = (earlier.steal_nanos, reading.steal_nanos) else {
            continue;
        };
        let millis = reading.at.as_millis() - earlier.at.as_millis();
        // A counter that fell belongs to a new life of the VM.
        let Some(delay) = to.checked_sub(from) else {
            continue;
        };
        if millis > 0 {
            waited += delay as f64;
            possible += millis as f64 * 1e6 * f64::from(reading.vcpus.max(1));
        }
    }
    (possible > 0.0).then(|| (waited / possible).clamp(0.0, 1.0))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::{super::raw::Value, *};

    fn record(values: &[(&str, u64)]) -> DomainStats {
        DomainStats {
            uuid: "u".to_owned(),
            values: values
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Value::Unsigned(*value)))
                .collect(),
        }
    }

    #[test]
    fn counters_are_summed_over_devices_and_a_missing_one_stays_missing() {
        let record = record(&[
            ("cpu.time", 5),
            ("vcpu.current", 2),
            ("vcpu.0.delay", 10),
            ("vcpu.1.delay", 20),
            ("vcpu.0.time", 1000),
            ("block.count", 2),
            ("block.0.rd.bytes", 1),
            ("block.0.wr.bytes", 2),
            ("block.1.rd.bytes", 4),
            ("block.1.rd.reqs", 400),
            ("balloon.current", 100),
            ("balloon.available", 90),
            ("balloon.usable", 30),
        ]);
        let reading = reading(VmId::from("s/u"), Timestamp(0), &record);
        assert_eq!(reading.steal_nanos, Some(30));
        assert_eq!(reading.disk_bytes, Some(7));
        assert_eq!(reading.net_bytes, None);
        assert_eq!(reading.memory_used_bytes, Some(60 * 1024));
        assert_eq!(reading.memory_total_bytes, Some(100 * 1024));
        assert_eq!(reading.vcpus, 2);
    }

    #[test]
    fn contention_is_the_share_of_vcpu_time_and_a_reset_counts_for_nothing() {
        let at = |seconds, steal| Reading {
            vm: VmId::from("s/u"),
            at: Timestamp::from_secs(seconds),
            vcpus: 2,
            steal_nanos: Some(steal),
            ..Reading::default()
        };
        let before = HashMap::from([(VmId::from("s/u"), at(0, 0))]);
        let share = contention(&before, &[at(10, 5_000_000_000)]).unwrap();
        assert!((share - 0.25).abs() < 1e-9, "{share}");
        let reset = HashMap::from([(VmId::from("s/u"), at(0, 9))]);
        assert_eq!(contention(&reset, &[at(10, 1)]), None);
    }

    #[test]
    fn a_vm_whose_monitor_said_nothing_did_not_answer() {
        assert!(answered(&record(&[
            ("block.count", 1),
            ("block.0.rd.bytes", 1)
        ])));
        assert!(!answered(&record(&[
            ("block.count", 1),
            ("block.0.capacity", 1)
        ])));
        assert!(!answered(&record(&[("state.state", 1)])));
    }
}
