//! What one request costs a guest on this machine, so that a rate of requests makes the wanted use of its CPU.

use std::{
    thread,
    time::{Duration, Instant},
};

use virt::domain::Domain;

use super::{
    host::on_host,
    http::Client,
    layout::Layout,
    record::{Calibration, GuestRecord, PRIMARY, Record},
};
use crate::problem::Problem;

/// Long enough for several of the guest's two-second writes.
const WINDOW: Duration = Duration::from_secs(8);
/// QEMU translates what a guest runs for the first time, which costs more than what is measured here.
const WARM_UP: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(200);
pub const WORK_PATH: &str = "/cgi-bin/work";

/// What libvirt counts for a guest, at one moment.
struct Reading {
    at: Instant,
    cpu_nanos: u64,
    disk_bytes: i64,
    memory_used: Option<f64>,
}

impl Reading {
    fn seconds_since(&self, earlier: &Self) -> f64 {
        self.at.duration_since(earlier.at).as_secs_f64()
    }

    fn cpu_seconds_since(&self, earlier: &Self) -> f64 {
        self.cpu_nanos.saturating_sub(earlier.cpu_nanos) as f64 / 1e9
    }
}

/// Measures every guest that has no calibration yet, all at once: first under a steady load, then idle.
///
/// # Errors
/// When a guest does not answer.
pub fn run(layout: &Layout, record: &mut Record) -> Result<(), Problem> {
    let guests: Vec<GuestRecord> = record
        .guests
        .iter()
        .filter(|guest| guest.calibration.is_none())
        .cloned()
        .collect();
    if guests.is_empty() {
        return Ok(());
    }
    load_all(&guests, WARM_UP)?;
    let before = read_all(layout, &guests)?;
    let answered = load_all(&guests, WINDOW)?;
    let loaded = read_all(layout, &guests)?;
    thread::sleep(WINDOW);
    let rested = read_all(layout, &guests)?;
    let (idle, cost) = pooled(&before, &loaded, &rested, &answered);
    for (index, guest) in guests.iter().enumerate() {
        let (first, last) = (&before[index], &rested[index]);
        let calibration = Calibration {
            idle_cpu: idle,
            cpu_seconds_per_request: cost,
            memory_used: last.memory_used,
            disk_bytes_per_second: (last.disk_bytes - first.disk_bytes) as f64
                / last.seconds_since(first),
        };
        if let Some(known) = record
            .guests
            .iter_mut()
            .find(|known| known.name == guest.name)
        {
            known.calibration = Some(calibration);
        }
    }
    record.save(layout)
}

/// CPU without requests and CPU seconds a request, over all guests: they are alike, and their mean is steadier than
/// each alone on a busy machine.
fn pooled(
    before: &[Reading],
    loaded: &[Reading],
    rested: &[Reading],
    answered: &[u32],
) -> (f64, f64) {
    let spent = |from: &[Reading], to: &[Reading]| -> (f64, f64) {
        from.iter()
            .zip(to)
            .map(|(from, to)| (to.cpu_seconds_since(from), to.seconds_since(from)))
            .fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    };
    let (idle_cpu, idle_seconds) = spent(loaded, rested);
    let idle = idle_cpu / idle_seconds;
    let (cpu, seconds) = spent(before, loaded);
    let requests: u32 = answered.iter().sum();
    // A cost of nothing would ask for endless requests.
    let cost = ((cpu - idle * seconds) / f64::from(requests)).max(0.002);
    (idle, cost)
}

fn read_all(layout: &Layout, guests: &[GuestRecord]) -> Result<Vec<Reading>, Problem> {
    let names: Vec<String> = guests.iter().map(|guest| guest.name.clone()).collect();
    on_host(
        layout,
        PRIMARY,
        Duration::from_secs(30),
        move |connection| {
            names
                .iter()
                .map(|name| read(&connection.lookup_domain_by_name(name)?))
                .collect()
        },
    )
}

fn read(domain: &Domain) -> Result<Reading, virt::error::Error> {
    let disk = domain.block_stats("vda")?;
    let memory = domain.memory_stats(0)?;
    let stat = |tag: u32| {
        memory
            .iter()
            .find(|stat| stat.tag == tag)
            .map(|stat| stat.val as f64)
    };
    // As the console reads it: what the guest cannot give away, of what it was given.
    let used = stat(virt::sys::VIR_DOMAIN_MEMORY_STAT_AVAILABLE)
        .zip(stat(virt::sys::VIR_DOMAIN_MEMORY_STAT_USABLE))
        .map(|(available, usable)| available - usable);
    let memory_used = used
        .zip(stat(virt::sys::VIR_DOMAIN_MEMORY_STAT_ACTUAL_BALLOON))
        .filter(|(_, total)| *total > 0.0)
        .map(|(used, total)| used / total);
    Ok(Reading {
        at: Instant::now(),
        cpu_nanos: domain.info()?.cpu_time,
        disk_bytes: disk.rd_bytes + disk.wr_bytes,
        memory_used,
    })
}

/// How many requests each guest answered within `length`.
fn load_all(guests: &[GuestRecord], length: Duration) -> Result<Vec<u32>, Problem> {
    thread::scope(|scope| {
        let loads: Vec<_> = guests
            .iter()
            .map(|guest| scope.spawn(move || load(guest, length)))
            .collect();
        loads
            .into_iter()
            .map(|load| {
                load.join().unwrap_or_else(|_| {
                    Err(Problem::failed(
                        "The guests were not measured.",
                        "a measuring thread broke off",
                        "Try `shadowcast lab up` again.",
                    ))
                })
            })
            .collect()
    })
}

fn load(guest: &GuestRecord, length: Duration) -> Result<u32, Problem> {
    let client = Client::new()?;
    let url = format!("http://127.0.0.1:{}{WORK_PATH}", guest.port);
    let end = Instant::now() + length;
    let mut answered = 0;
    while Instant::now() < end {
        match client.get(&url, Duration::from_secs(20)) {
            Ok((200, _)) => answered += 1,
            other => {
                let why = match other {
                    Ok((status, _)) => format!("{url} answered {status}"),
                    Err(error) => format!("{url}: {error}"),
                };
                return Err(Problem::failed(
                    format!("The guest {} was not measured.", guest.name),
                    why,
                    "Run `shadowcast lab down`, then `shadowcast lab up`.",
                ));
            }
        }
        thread::sleep(PAUSE);
    }
    Ok(answered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_of_a_request_is_what_it_adds_to_the_idle_guest() {
        let start = Instant::now();
        let reading = |seconds: u64, cpu_millis: u64| Reading {
            at: start + Duration::from_secs(seconds),
            cpu_nanos: cpu_millis * 1_000_000,
            disk_bytes: 0,
            memory_used: None,
        };
        // 30 and 50 requests of 20 ms above 5 % of a vCPU; then these 5 % alone.
        let before = [reading(0, 1_000), reading(0, 2_000)];
        let loaded = [reading(10, 2_100), reading(10, 3_500)];
        let rested = [reading(20, 2_600), reading(20, 4_000)];
        let (idle, cost) = pooled(&before, &loaded, &rested, &[30, 50]);
        assert!((idle - 0.05).abs() < 1e-9, "{idle}");
        assert!((cost - 0.02).abs() < 1e-9, "{cost}");
    }
}
