//! Keeps up the rolling records in idle time: one day of one VM at a time, those longest without a look first, and
//! nothing while all of them are fresh.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use super::{Desk, OwnHistory, Round, looks_back};
use crate::{
    calendar::{Affecting, uplift},
    engine::{
        core::ForecastJob,
        snapshot::{ForecastRecord, VmRecord},
    },
    forecast::{
        Model,
        record::{self, Record, Worth},
    },
    metrics::Metric,
    problem::Problem,
    store::metrics::STEP_SECONDS,
    units::{Timestamp, VmId},
};

/// What records are kept of: what a VM is sized by.
pub(super) const METRICS: [Metric; 2] = [Metric::Cpu, Metric::Memory];

/// For each moment of judging, so many of rest: two percent of one core while there is anything to do.
const REST: u32 = 50;
const LEAST_REST: Duration = Duration::from_millis(100);
const MOST_REST: Duration = Duration::from_secs(20);

/// Of a VM that is looked at before its turn, so many days are judged there and then.
const DAYS_AT_ONCE: usize = 2;

/// The records of all series, shared by the threads that read history.
pub struct Records {
    /// Whether they are kept across restarts. Those of a simulated fleet are not: the next one may be another.
    kept: bool,
    known: Mutex<HashMap<Metric, HashMap<VmId, Record>>>,
}

impl Records {
    pub(super) fn new(kept: bool) -> Self {
        Self {
            kept,
            known: Mutex::default(),
        }
    }

    /// A record is whole after each change: one who panicked has left nothing half done.
    fn known(&self) -> MutexGuard<'_, HashMap<Metric, HashMap<VmId, Record>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of<T>(&self, vm: &VmId, metric: Metric, ask: impl FnOnce(&Record) -> T) -> Option<T> {
        self.known().get(&metric)?.get(vm).map(ask)
    }

    /// Whether the record says that "as it was yesterday" did as well; `None` while it says nothing.
    pub(super) fn no_better_than_naive(&self, vm: &VmId, metric: Metric) -> Option<bool> {
        self.of(vm, metric, |record| record.worth().no_better_than_naive())?
    }

    pub(super) fn view(&self, vm: &VmId, metric: Metric) -> Option<VmRecord> {
        self.of(vm, metric, |record| view(vm, record))?
    }

    fn days(&self, vm: &VmId, metric: Metric) -> i64 {
        self.of(vm, metric, Record::days).unwrap_or(0)
    }

    /// History of a VM is known from `start` on.
    pub(super) fn known_from(&self, vm: &VmId, metric: Metric, start: Timestamp) {
        if let Some(record) = self
            .known()
            .get_mut(&metric)
            .and_then(|all| all.get_mut(vm))
        {
            record.known_from(start);
        }
    }

    fn due(&self, vm: &VmId, metric: Metric, now: Timestamp) -> Option<i64> {
        self.of(vm, metric, |record| record.due(now))
            .unwrap_or_else(|| Record::default().due(now))
    }

    fn take(&self, vm: &VmId, metric: Metric, day: i64, worth: Option<&Worth>) -> Record {
        let mut known = self.known();
        let of_metric = known.entry(metric).or_default();
        let record = of_metric.entry(vm.clone()).or_default();
        record.take(day, worth);
        record.clone()
    }

    /// Of these VMs.
    pub(super) fn all_of(&self, vms: &[VmId], metric: Metric, at: Timestamp) -> ForecastRecord {
        let known = self.known();
        let of_metric = known.get(&metric);
        let mut total = Worth::default();
        let found: Vec<VmRecord> = vms
            .iter()
            .filter_map(|vm| view(vm, of_metric?.get(vm)?))
            .inspect(|record| total.merge(&record.worth))
            .collect();
        ForecastRecord {
            metric,
            at,
            total,
            waiting: (vms.len() - found.len()) as u32,
            vms: found,
        }
    }
}

fn view(vm: &VmId, record: &Record) -> Option<VmRecord> {
    let (from, to) = record.span()?;
    Some(VmRecord {
        vm: vm.clone(),
        worth: record.worth(),
        from,
        to,
    })
}

/// The fleet as it was last forecast, and which of it is looked back at next.
#[derive(Default)]
pub(super) struct Judging {
    fleet: Vec<(ForecastJob, OwnHistory)>,
    queue: VecDeque<(usize, Metric)>,
    rest: Option<Duration>,
}

impl Judging {
    pub(super) fn fleet(&mut self, fleet: Vec<(ForecastJob, OwnHistory)>) {
        self.fleet = fleet;
        self.queue.clear();
        self.rest = Some(LEAST_REST);
    }

    #[cfg(test)]
    pub(super) fn into_jobs(self) -> Vec<(ForecastJob, OwnHistory)> {
        self.fleet
    }
}

impl Desk {
    /// Brings back what was kept.
    pub(super) fn load_records(&mut self) {
        if !self.records.kept {
            return;
        }
        let now = self.clock.now();
        let records = self.records.clone();
        let loaded = self.metrics().and_then(|metrics| {
            let kept = metrics
                .records::<Record>()
                .map_err(|error| super::unreadable(&error))?;
            for (vm, metric, record) in kept {
                if record.is_stale(now) {
                    metrics
                        .forget_record(&vm, metric)
                        .map_err(|error| super::unreadable(&error))?;
                } else {
                    let mut known = records.known();
                    known.entry(metric).or_default().insert(vm, record);
                }
            }
            Ok(())
        });
        if let Err(problem) = loaded {
            tracing::warn!(%problem, "what forecasts were worth is worked out anew");
        }
    }

    /// Waits for the next round and judges past forecasts until it comes; `None` when there will be none.
    pub(super) fn next_round(
        &mut self,
        wanted: &mpsc::Receiver<Round>,
        judging: &mut Judging,
    ) -> Option<Round> {
        loop {
            let Some(rest) = judging.rest else {
                return wanted.recv().ok();
            };
            match wanted.recv_timeout(rest) {
                Ok(round) => return Some(round),
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let began = self.clock.now();
                    judging.rest = self.judge_next(judging).then(|| {
                        let took = self.clock.now().as_millis() - began.as_millis();
                        let took = Duration::from_millis(took.try_into().unwrap_or(0));
                        (took * REST).clamp(LEAST_REST, MOST_REST)
                    });
                }
            }
        }
    }

    /// Judges one day of one VM; false where everything is fresh.
    pub(super) fn judge_next(&mut self, judging: &mut Judging) -> bool {
        if judging.queue.is_empty() {
            judging.queue = self.in_order(&judging.fleet);
        }
        let Some((index, metric)) = judging.queue.pop_front() else {
            return false;
        };
        let Some((job, own)) = judging.fleet.get(index) else {
            return false;
        };
        let limit = limit_of(job, metric);
        if let Err(problem) = self.judge(&job.vm, metric, limit, &job.events, own) {
            // Tried again with the next round.
            tracing::debug!(vm = %job.vm, %problem, "past forecasts were not judged");
        }
        true
    }

    /// Whatever has a day to be judged: never looked at first, then by the age of the last look, then by what reaches
    /// back least.
    fn in_order(&self, fleet: &[(ForecastJob, OwnHistory)]) -> VecDeque<(usize, Metric)> {
        let now = self.clock.now();
        let mut due: Vec<_> = Vec::new();
        for (rank, metric) in METRICS.into_iter().enumerate() {
            for (index, (job, _)) in fleet.iter().enumerate() {
                if self.records.due(&job.vm, metric, now).is_none() {
                    continue;
                }
                let looked_at = self
                    .records
                    .of(&job.vm, metric, |record| (record.last_day(), record.days()));
                due.push((looked_at, rank, index, metric));
            }
        }
        due.sort_unstable_by_key(|(looked_at, rank, index, _)| (*looked_at, *rank, *index));
        due.into_iter()
            .map(|(_, _, index, metric)| (index, metric))
            .collect()
    }

    /// Puts the live model back to the next day of a VM that is due; false where none is.
    fn judge(
        &mut self,
        vm: &VmId,
        metric: Metric,
        limit: Option<f64>,
        events: &[Affecting],
        own: &OwnHistory,
    ) -> Result<bool, Problem> {
        let Some(day) = self.records.due(vm, metric, self.clock.now()) else {
            return Ok(false);
        };
        let from = record::start_of(day).plus_secs(-looks_back(events));
        let to = record::start_of(day + 2);
        let series = self.series(vm, metric, from, to, STEP_SECONDS, own)?;
        let model = Model::LIVE.forecaster();
        let worth = record::judge_day(seed(vm), day, &series, limit, |known, steps| {
            // As replay does, without what events did more than eight weeks before.
            uplift::predict(model, known, None, steps, events).map(|(predicted, _)| predicted)
        });
        let record = self.records.take(vm, metric, day, worth.as_ref());
        if self.records.kept {
            self.metrics()?
                .put_record(vm, metric, &record)
                .map_err(|error| super::unreadable(&error))?;
        }
        Ok(true)
    }

    /// The record of one VM. Where nobody has looked at it yet, its newest days are judged here and now.
    pub(super) fn record(
        &mut self,
        vm: &VmId,
        metric: Metric,
        limit: Option<f64>,
        events: &[Affecting],
        own: &OwnHistory,
    ) -> Option<VmRecord> {
        if METRICS.contains(&metric) {
            for _ in 0..DAYS_AT_ONCE {
                if self.records.days(vm, metric) >= DAYS_AT_ONCE as i64 {
                    break;
                }
                if let Err(problem) = self.judge(vm, metric, limit, events, own) {
                    // The forecast is worth showing without it.
                    tracing::warn!(%vm, %problem, "past forecasts were not judged");
                }
            }
        }
        self.records.view(vm, metric)
    }

    /// The records of these VMs; one that is asked for by itself is looked at where nobody has yet.
    pub(super) fn fleet_record(
        &mut self,
        vms: &[VmId],
        metric: Metric,
        one: Option<&(Option<f64>, Vec<Affecting>)>,
        own: &OwnHistory,
    ) -> ForecastRecord {
        if let (Some((limit, events)), [vm]) = (one, vms) {
            self.record(vm, metric, *limit, events, own);
        }
        self.records.all_of(vms, metric, self.clock.now())
    }
}

fn limit_of(job: &ForecastJob, metric: Metric) -> Option<f64> {
    match metric {
        Metric::Cpu => job.limits.cpu,
        Metric::Memory => job.limits.memory,
        Metric::Disk => job.limits.disk_bytes_per_sec,
        Metric::Net => job.limits.net_bytes_per_sec,
        _ => None,
    }
}

/// The same for a VM at each start.
fn seed(vm: &VmId) -> u64 {
    let bytes = vm.as_str().bytes();
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}
