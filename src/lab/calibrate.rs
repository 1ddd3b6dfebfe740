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
const PAUSE: Duration = Duration::from_millis(200);
pub const WORK_PATH: &str = "/cgi-bin/work";

/// What libvirt counts for a guest, at one moment.
struct Reading {
    at: Instant,
    cpu_nanos: u64,
    disk_bytes: i64,
    memory_used: Option<f64>,
}

/// Measures every guest that has no calibration yet, all at once: first idle, then under a steady load.
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
    let before = read_all(layout, &guests)?;
    thread::sleep(WINDOW);
    let idle = read_all(layout, &guests)?;
    let answered = load_all(&guests)?;
    let loaded = read_all(layout, &guests)?;
    for (index, guest) in guests.iter().enumerate() {
        let cpu = |from: &Reading, to: &Reading| {
            (to.cpu_nanos.saturating_sub(from.cpu_nanos)) as f64 / 1e9
        };
        let seconds = |from: &Reading, to: &Reading| to.at.duration_since(from.at).as_secs_f64();
        let (first, second, third) = (&before[index], &idle[index], &loaded[index]);
        let idle_cpu = cpu(first, second) / seconds(first, second);
        let spent = cpu(second, third) - idle_cpu * seconds(second, third);
        let calibration = Calibration {
            idle_cpu,
            // A cost of nothing would ask for endless requests.
            cpu_seconds_per_request: (spent / f64::from(answered[index])).max(0.002),
            memory_used: third.memory_used,
            disk_bytes_per_second: (third.disk_bytes - first.disk_bytes) as f64
                / seconds(first, third),
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

/// How many requests each guest answered within the window.
fn load_all(guests: &[GuestRecord]) -> Result<Vec<u32>, Problem> {
    thread::scope(|scope| {
        let loads: Vec<_> = guests
            .iter()
            .map(|guest| scope.spawn(|| load(guest)))
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

fn load(guest: &GuestRecord) -> Result<u32, Problem> {
    let client = Client::new()?;
    let url = format!("http://127.0.0.1:{}{WORK_PATH}", guest.port);
    let end = Instant::now() + WINDOW;
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
