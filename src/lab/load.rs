//! The load generator: open-loop requests through HAProxy, at the rate that makes the guests' usual day.
//!
//! Open-loop: a slow service does not slow the clients down. A service that falls far behind loses requests here
//! (`dropped`), as impatient clients would leave.

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    balancer::service_url,
    calibrate::WORK_PATH,
    http,
    layout::{Layout, write_whole},
    now,
    record::{GuestRecord, Record},
};
use crate::{problem::Problem, units::Timestamp};

pub const PROCESS: &str = "load";
/// The service that `surge` raises.
pub const SURGING: &str = "shop";
/// Requests that wait for an answer at the same time, at most: a guest's web server queues nine connections, and one
/// beyond them is lost and tried again for many seconds.
const MOST_IN_FLIGHT_PER_GUEST: usize = 8;
const PATIENCE: Duration = Duration::from_secs(20);

/// Load above the usual, until a moment or until it is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Surge {
    /// 1 is the usual; each whole number above adds one daily peak of load, at any hour.
    pub factor: f64,
    pub until: Option<Timestamp>,
}

impl Surge {
    pub fn holds_at(&self, at: Timestamp) -> bool {
        self.until.is_none_or(|until| at < until)
    }
}

/// What the generator does, written once a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadState {
    pub at: Timestamp,
    pub services: Vec<ServiceLoad>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceLoad {
    pub name: String,
    pub requests_per_second: f64,
    pub sent: u64,
    pub ok: u64,
    pub errors: u64,
    pub dropped: u64,
}

/// Requests a second that bring every member of `service` to its usual CPU at `at`.
pub fn usual_rate(record: &Record, service: &str, at: Timestamp) -> f64 {
    record
        .members(service)
        .filter_map(|guest| {
            let curve = record.curve(guest)?;
            rate_for(guest, curve.usual_cpu(at))
        })
        .sum()
}

/// `usual_rate` and what a surge adds: (factor - 1) daily peaks, so that it reaches the same height at night.
pub fn wanted_rate(record: &Record, service: &str, surge: Option<&Surge>, at: Timestamp) -> f64 {
    let usual = usual_rate(record, service, at);
    let Some(surge) = surge.filter(|surge| service == SURGING && surge.holds_at(at)) else {
        return usual;
    };
    let peak: f64 = record
        .members(service)
        .filter_map(|guest| rate_for(guest, record.curve(guest)?.peak_cpu))
        .sum();
    (usual + (surge.factor - 1.0) * peak).max(0.0)
}

fn rate_for(guest: &GuestRecord, cpu: f64) -> Option<f64> {
    let calibration = guest.calibration?;
    Some((cpu - calibration.idle_cpu).max(0.0) / calibration.cpu_seconds_per_request)
}

/// The surge that was asked for last; none where there is no such file.
pub fn surge(layout: &Layout) -> io::Result<Option<Surge>> {
    read_json(&layout.surge())
}

/// What the generator wrote last.
pub fn state(layout: &Layout) -> io::Result<Option<LoadState>> {
    read_json(&layout.load_state())
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[derive(Default)]
struct Counters {
    sent: AtomicU64,
    ok: AtomicU64,
    errors: AtomicU64,
    dropped: AtomicU64,
}

/// Sends load until the lab's record is gone or the process is ended.
///
/// # Errors
/// When there is no lab in the folder or its state cannot be written.
pub fn run(layout: &Layout) -> Result<(), Problem> {
    let failed = |why: String| {
        Problem::failed(
            "The lab's load generator stopped.",
            why,
            "Start it again with `shadowcast lab up`.",
        )
    };
    let record = Record::load(layout)?
        .ok_or_else(|| failed(format!("there is no lab in {}", layout.dir.display())))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(error.to_string()))?;
    runtime
        .block_on(send_until_gone(layout, Arc::new(record)))
        .map_err(|error| failed(error.to_string()))
}

async fn send_until_gone(layout: &Layout, record: Arc<Record>) -> io::Result<()> {
    let client = http::client().map_err(io::Error::other)?;
    let (surges, _) = tokio::sync::watch::channel(surge(layout)?);
    let mut services = Vec::new();
    let mut senders = JoinSet::new();
    for service in &record.services {
        let counters = Arc::new(Counters::default());
        services.push((service.name.clone(), Arc::clone(&counters)));
        let sender = Sender {
            record: Arc::clone(&record),
            service: service.name.clone(),
            url: format!("{}{WORK_PATH}", service_url(service)),
            client: client.clone(),
            counters,
            surges: surges.subscribe(),
        };
        senders.spawn(sender.run());
    }
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        second.tick().await;
        if !layout.record().exists() {
            return Ok(());
        }
        // A half-written or foreign file changes nothing.
        match surge(layout) {
            Ok(wanted) => {
                surges.send_if_modified(|known| {
                    let changed = *known != wanted;
                    *known = wanted;
                    changed
                });
            }
            Err(error) => tracing::warn!(%error, "the surge file cannot be read"),
        }
        write_state(layout, &record, *surges.borrow(), &services)?;
    }
}

fn write_state(
    layout: &Layout,
    record: &Record,
    surge: Option<Surge>,
    services: &[(String, Arc<Counters>)],
) -> io::Result<()> {
    let at = now();
    let services = services
        .iter()
        .map(|(name, counters)| ServiceLoad {
            name: name.clone(),
            requests_per_second: wanted_rate(record, name, surge.as_ref(), at),
            sent: counters.sent.load(Relaxed),
            ok: counters.ok.load(Relaxed),
            errors: counters.errors.load(Relaxed),
            dropped: counters.dropped.load(Relaxed),
        })
        .collect();
    let json = serde_json::to_vec(&LoadState { at, services })?;
    write_whole(&layout.load_state(), &json)
}

/// Sends the requests of one service.
struct Sender {
    record: Arc<Record>,
    service: String,
    url: String,
    client: reqwest::Client,
    counters: Arc<Counters>,
    surges: tokio::sync::watch::Receiver<Option<Surge>>,
}

impl Sender {
    async fn run(mut self) {
        let guests = self.record.members(&self.service).count();
        let room = Arc::new(Semaphore::new(MOST_IN_FLIGHT_PER_GUEST * guests));
        let mut jitter = fastrand::Rng::with_seed(self.record.seed);
        let mut next = Instant::now();
        loop {
            let surge = *self.surges.borrow_and_update();
            let rate = wanted_rate(&self.record, &self.service, surge.as_ref(), now());
            // Half to one and a half of the mean gap: clients do not march in step.
            let gap = (0.5 + jitter.f64()) / rate.max(0.01);
            next = (next + Duration::from_secs_f64(gap)).max(Instant::now());
            tokio::select! {
                () = sleep_until(next) => self.send(&room),
                changed = self.surges.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    next = Instant::now();
                }
            }
        }
    }

    fn send(&self, room: &Arc<Semaphore>) {
        let Ok(place) = Arc::clone(room).try_acquire_owned() else {
            self.counters.dropped.fetch_add(1, Relaxed);
            return;
        };
        self.counters.sent.fetch_add(1, Relaxed);
        let request = self.client.get(&self.url).timeout(PATIENCE).send();
        let counters = Arc::clone(&self.counters);
        tokio::spawn(async move {
            let outcome = match request.await.and_then(reqwest::Response::error_for_status) {
                Ok(answer) => answer.bytes().await.map(drop),
                Err(error) => Err(error),
            };
            let counter = if outcome.is_ok() {
                &counters.ok
            } else {
                &counters.errors
            };
            counter.fetch_add(1, Relaxed);
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::catalogue;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn the_rate_makes_the_usual_cpu() {
        let record = catalogue::calibrated(3);
        let moment = at("2026-11-18T15:00:00Z");
        let shop = record.members("shop").next().unwrap();
        let calibration = shop.calibration.unwrap();
        let cpu = calibration.idle_cpu
            + usual_rate(&record, "shop", moment) * calibration.cpu_seconds_per_request;
        let wanted = record.curve(shop).unwrap().usual_cpu(moment);
        assert!((cpu - wanted).abs() < 1e-9, "{cpu} {wanted}");
    }

    #[test]
    fn a_surge_raises_the_shop_alone_and_ends() {
        let record = catalogue::calibrated(3);
        let moment = at("2026-11-18T03:00:00Z");
        let surge = Surge {
            factor: 4.0,
            until: Some(moment.plus_secs(60)),
        };
        let rate = |service: &str, at| wanted_rate(&record, service, Some(&surge), at);
        assert!(rate("shop", moment) > 3.0 * usual_rate(&record, "shop", moment));
        assert!((rate("ledger", moment) - usual_rate(&record, "ledger", moment)).abs() < 1e-9);
        let later = moment.plus_secs(60);
        assert!((rate("shop", later) - usual_rate(&record, "shop", later)).abs() < 1e-9);
    }

    #[test]
    fn more_guests_share_a_service_and_its_load_grows() {
        let (three, six) = (catalogue::calibrated(3), catalogue::calibrated(6));
        let moment = at("2026-11-18T15:00:00Z");
        assert_eq!(six.members("shop").count(), 2);
        assert!(usual_rate(&six, "shop", moment) > 1.5 * usual_rate(&three, "shop", moment));
    }
}
