//! Reads history and forecasts from it, on threads of their own: one for what a face asks, one for the whole fleet,
//! one that adds up months of it.

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
};

use tokio::sync::{mpsc::Sender, oneshot};

use super::{
    command::{Answer, Reply},
    core::{FleetOutlook, ForecastJob, Input, Kin},
    snapshot::{EventMark, EventReport, VmDetail, VmUplift},
};
use crate::{
    calendar::{
        Affecting,
        uplift::{self, Learned},
    },
    forecast::{self, Forecast, Model},
    hypervisor::{Hypervisor, simulated::Clock},
    metrics::{Metric, Series},
    problem::Problem,
    store::metrics::{Keeping, Metrics, STEP_SECONDS},
    telemetry::prometheus::{PrometheusError, client::Prometheus},
    units::{EventId, Timestamp, VmId},
};

mod capacity;
mod cold_start;
mod records;
#[cfg(test)]
mod tests;

pub use capacity::Survey;
use cold_start::Profiles;
use records::{Judging, Records};

/// What a forecast looks back on.
const HISTORY_SECONDS: i64 = 14 * 86_400;
/// What is learned of events looks back on.
const LEARN_SECONDS: i64 = 56 * 86_400;
/// Days around an occurrence that lies further back, in hours.
const AROUND_SECONDS: i64 = 8 * 86_400;
/// Outlooks that are sent at once.
const BATCH: usize = 250;
/// Points of a chart, at most.
const MAX_POINTS: i64 = 2000;
/// Points of an answer whose step was asked for, at most.
const MAX_ASKED_POINTS: i64 = 200_000;

/// Who keeps a VM's history, where it is not our own store.
#[derive(Clone)]
pub enum Keeper {
    Platform(Arc<dyn Hypervisor>),
    /// The address of a Prometheus server that our samples go to.
    Server(String),
}

pub type OwnHistory = Option<Keeper>;

/// A question from a face.
pub enum Question {
    Detail {
        vm: VmId,
        metric: Metric,
        limit: Option<f64>,
        past_seconds: u32,
        horizon_seconds: u32,
        version: u64,
        events: Vec<Affecting>,
        kin: Kin,
        own: OwnHistory,
        reply: oneshot::Sender<Reply>,
    },
    EventReport {
        event: EventId,
        vms: Vec<(VmId, String, Vec<Affecting>, OwnHistory)>,
        reply: oneshot::Sender<Reply>,
    },
    History {
        vm: VmId,
        metric: Metric,
        from: Timestamp,
        to: Timestamp,
        step_seconds: Option<u32>,
        own: OwnHistory,
        reply: oneshot::Sender<Reply>,
    },
    Record {
        metric: Metric,
        vms: Vec<VmId>,
        one: Option<(Option<f64>, Vec<Affecting>)>,
        own: OwnHistory,
        reply: oneshot::Sender<Reply>,
    },
}

/// A round of the fleet's forecaster.
pub struct Round {
    pub jobs: Vec<(ForecastJob, OwnHistory)>,
}

/// Where the threads are reached.
pub struct Librarian {
    pub questions: mpsc::Sender<Question>,
    pub rounds: mpsc::Sender<Round>,
    pub surveys: mpsc::Sender<Survey>,
}

impl Librarian {
    /// Starts the threads on the metrics in `folder`. What forecasts were worth is kept there too where
    /// `keeps_records`.
    ///
    /// # Errors
    /// When there is no thread left.
    pub fn start(
        folder: PathBuf,
        keeping: Keeping,
        clock: Arc<dyn Clock>,
        inputs: Sender<Input>,
        keeps_records: bool,
    ) -> std::io::Result<Self> {
        let (questions, asked) = mpsc::channel();
        let (rounds, wanted) = mpsc::channel();
        let (surveys, surveyed) = mpsc::channel();
        let records = Arc::new(Records::new(keeps_records));
        let desk = || Desk {
            folder: folder.clone(),
            keeping: keeping.clone(),
            metrics: None,
            server: None,
            profiles: Profiles::default(),
            records: records.clone(),
            clock: clock.clone(),
        };
        let start = |name: &str, work: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(work)
        };
        let (questioned, fleet, capacity) = (desk(), desk(), desk());
        start("history", Box::new(move || questioned.answer_all(&asked)))?;
        start(
            "forecast",
            Box::new(move || fleet.forecast_all(&wanted, &inputs)),
        )?;
        start("capacity", Box::new(move || capacity.survey_all(&surveyed)))?;
        Ok(Self {
            questions,
            rounds,
            surveys,
        })
    }
}

/// One thread's own connection to the metrics.
struct Desk {
    folder: PathBuf,
    keeping: Keeping,
    metrics: Option<Metrics>,
    /// The server that was asked last, and its address.
    server: Option<(String, Prometheus)>,
    profiles: Profiles,
    records: Arc<Records>,
    clock: Arc<dyn Clock>,
}

impl Desk {
    fn metrics(&mut self) -> Result<&mut Metrics, Problem> {
        if self.metrics.is_none() {
            let metrics = Metrics::open(&self.folder, self.keeping.clone());
            self.metrics = Some(metrics.map_err(|error| unreadable(&error))?);
        }
        self.metrics.as_mut().ok_or_else(|| unreadable(&"not open"))
    }

    fn answer_all(mut self, asked: &mpsc::Receiver<Question>) {
        while let Ok(question) = asked.recv() {
            let (reply, answer) = self.answer(question);
            // Whoever asked may have gone; then nobody misses the answer.
            let _ = reply.send(answer);
        }
    }

    fn answer(&mut self, question: Question) -> (oneshot::Sender<Reply>, Reply) {
        match question {
            Question::Detail {
                vm,
                metric,
                limit,
                past_seconds,
                horizon_seconds,
                version,
                events,
                kin,
                own,
                reply,
            } => {
                let detail = self
                    .detail(
                        vm,
                        metric,
                        limit,
                        past_seconds,
                        horizon_seconds,
                        version,
                        &events,
                        &kin,
                        &own,
                    )
                    .map(|detail| Answer::VmDetail {
                        detail: Arc::new(detail),
                    });
                (reply, detail)
            }
            Question::EventReport { event, vms, reply } => {
                let report = self.event_report(event, vms);
                (
                    reply,
                    report.map(|report| Answer::EventReport {
                        report: Arc::new(report),
                    }),
                )
            }
            Question::History {
                vm,
                metric,
                from,
                to,
                step_seconds,
                own,
                reply,
            } => {
                let step = answer_step(from, to, step_seconds);
                let series = self.series(&vm, metric, from, to, step, &own);
                (reply, series.map(|series| Answer::History { series }))
            }
            Question::Record {
                metric,
                vms,
                one,
                own,
                reply,
            } => {
                let record = self.fleet_record(&vms, metric, one.as_ref(), &own);
                let record = Arc::new(record);
                (reply, Ok(Answer::ForecastRecord { record }))
            }
        }
    }

    fn series(
        &mut self,
        vm: &VmId,
        metric: Metric,
        from: Timestamp,
        to: Timestamp,
        step_seconds: u32,
        own: &OwnHistory,
    ) -> Result<Series, Problem> {
        let unanswered = |error: &dyn std::fmt::Display| {
            Problem::unreachable(
                "The history was not read.",
                error.to_string(),
                "Try again when the source answers.",
            )
        };
        match own {
            Some(Keeper::Platform(platform)) => {
                let history = platform
                    .history(vm, metric, from, to, step_seconds)
                    .map_err(|error| unanswered(&error))?;
                if let Some(series) = history {
                    return Ok(series);
                }
            }
            Some(Keeper::Server(uri)) => {
                return self
                    .server(uri)
                    .and_then(|server| server.series(vm, metric, from, to, step_seconds))
                    .map_err(|error| unanswered(&error));
            }
            None => {}
        }
        let series = self.metrics()?.series(vm, metric, from, to, step_seconds);
        series.map_err(|error| {
            // A connection to a file that was moved aside is of no use.
            self.metrics = None;
            unreadable(&error)
        })
    }

    fn server(&mut self, uri: &str) -> Result<&Prometheus, PrometheusError> {
        let server = match self.server.take() {
            Some((known, server)) if known == uri => server,
            _ => Prometheus::at(uri)?,
        };
        Ok(&self.server.insert((uri.to_owned(), server)).1)
    }

    /// As much as is learned from at the forecast's step, from the first value on; the step that is not over counts
    /// as far as it is.
    fn training(
        &mut self,
        vm: &VmId,
        metric: Metric,
        now: Timestamp,
        seconds: i64,
        own: &OwnHistory,
    ) -> Result<Series, Problem> {
        let mut series =
            self.series(vm, metric, now.plus_secs(-seconds), now, STEP_SECONDS, own)?;
        let first = series.values.iter().position(|value| value.is_finite());
        let first = first.unwrap_or(series.values.len());
        series.start = series.at(first);
        series.values.drain(..first);
        // The present step may hold nothing yet: that is no gap, it has not happened.
        while series.values.last().is_some_and(|value| value.is_nan())
            && series.end().secs_since(now) > 0
        {
            series.values.pop();
        }
        Ok(series)
    }

    /// Hours from before what is learned from in fine steps, where any of `events` was that long ago.
    fn older(
        &mut self,
        vm: &VmId,
        metric: Metric,
        now: Timestamp,
        events: &[Affecting],
        own: &OwnHistory,
    ) -> Result<Option<Series>, Problem> {
        let fine_from = now.plus_secs(-LEARN_SECONDS);
        let windows = events.iter().flat_map(|event| &event.windows);
        let Some(first) = windows.map(|window| window.from).min() else {
            return Ok(None);
        };
        if first >= fine_from {
            return Ok(None);
        }
        // The days around an occurrence tell what is usual.
        let (from, to) = (
            first.plus_secs(-AROUND_SECONDS),
            fine_from.plus_secs(AROUND_SECONDS),
        );
        self.series(vm, metric, from.floor_to(3600), to, 3600, own)
            .map(Some)
    }

    /// What an event did to the CPU of those whom it affects.
    fn event_report(
        &mut self,
        event: EventId,
        vms: Vec<(VmId, String, Vec<Affecting>, OwnHistory)>,
    ) -> Result<EventReport, Problem> {
        let now = self.clock.now();
        let mut found = Vec::with_capacity(vms.len());
        for (vm, vm_name, events, own) in vms {
            let series = self.training(&vm, Metric::Cpu, now, LEARN_SECONDS, &own)?;
            let older = self.older(&vm, Metric::Cpu, now, &events, &own)?;
            let of_event = |known: &EventId| *known == event;
            let outcomes = uplift::outcomes(&series, older.as_ref(), &events)
                .into_iter()
                .find(|(known, _)| of_event(known))
                .map(|(_, outcomes)| outcomes)
                .unwrap_or_default();
            let model = Model::LIVE.forecaster();
            let learned = uplift::predict(model, &series, older.as_ref(), 1, &events).ok();
            let learned = learned
                .into_iter()
                .flat_map(|(_, learned)| learned)
                .find(|learned| of_event(&learned.event));
            found.push(VmUplift {
                vm,
                vm_name,
                learned,
                outcomes,
            });
        }
        Ok(EventReport {
            event,
            metric: Metric::Cpu,
            vms: found,
        })
    }

    #[allow(clippy::too_many_arguments)] // what a chart is asked by
    fn detail(
        &mut self,
        vm: VmId,
        metric: Metric,
        limit: Option<f64>,
        past_seconds: u32,
        horizon_seconds: u32,
        version: u64,
        events: &[Affecting],
        kin: &Kin,
        own: &OwnHistory,
    ) -> Result<VmDetail, Problem> {
        let now = self.clock.now();
        let past = i64::from(past_seconds);
        let step = chart_step(past, own.is_some());
        let measured = self.series(&vm, metric, now.plus_secs(-past), now, step, own)?;
        let training = self.training(&vm, metric, now, looks_back(events), own)?;
        let steps = (horizon_seconds / STEP_SECONDS).max(1) as usize;
        let made =
            |predicted| forecast::assemble(vm.clone(), metric, limit, now, STEP_SECONDS, predicted);
        let predicted = self.predict(&vm, metric, now, steps, &training, events, kin, own);
        let (forecast, learned) = match predicted {
            Ok((predicted, learned)) => (Ok(made(predicted)), learned),
            Err(reason) => (Err(reason), Vec::new()),
        };
        let second = match &forecast {
            Ok(_) => forecast::second_opinion(&training, steps).ok().map(made),
            Err(_) => None,
        };
        let record = self.record(&vm, metric, limit, events, own);
        Ok(VmDetail {
            vm,
            metric,
            record,
            version,
            measured,
            forecast,
            second,
            limit,
            events: marks(events, &learned),
        })
    }

    fn forecast_all(mut self, wanted: &mpsc::Receiver<Round>, inputs: &Sender<Input>) {
        self.load_records();
        let mut judging = Judging::default();
        while let Some(round) = self.next_round(wanted, &mut judging) {
            let total = round.jobs.len();
            let mut batch = Vec::with_capacity(BATCH);
            for (index, (job, own)) in round.jobs.iter().enumerate() {
                batch.push(self.outlook(job, own));
                let last = index + 1 == total;
                if batch.len() == BATCH || last {
                    let pending = (total - index - 1) as u32;
                    let batch = std::mem::take(&mut batch);
                    if inputs
                        .blocking_send(Input::Outlooks { batch, pending })
                        .is_err()
                    {
                        return;
                    }
                }
            }
            judging.fleet(round.jobs);
        }
    }

    fn outlook(&mut self, job: &ForecastJob, own: &OwnHistory) -> FleetOutlook {
        let now = self.clock.now();
        let steps = (job.horizon_seconds / STEP_SECONDS).max(1) as usize;
        let mut found = FleetOutlook {
            vm: job.vm.clone(),
            outlooks: Vec::new(),
            spark: Vec::new(),
            coverage: 0.0,
        };
        for metric in Metric::FORECAST {
            let limit = match metric {
                Metric::Cpu => job.limits.cpu,
                Metric::Memory => job.limits.memory,
                Metric::Disk => job.limits.disk_bytes_per_sec,
                Metric::Net => job.limits.net_bytes_per_sec,
                _ => None,
            };
            // Without a limit nothing can cross; its chart is forecast when it is looked at.
            let Some(limit) = limit else { continue };
            let back = looks_back(&job.events);
            let training = match self.training(&job.vm, metric, now, back, own) {
                Ok(training) => training,
                Err(problem) => {
                    tracing::warn!(vm = %job.vm, %problem, "no forecast");
                    continue;
                }
            };
            let predicted = self.predict(
                &job.vm,
                metric,
                now,
                steps,
                &training,
                &job.events,
                &job.kin,
                own,
            );
            let made: Option<Forecast> = predicted.ok().map(|(predicted, _)| {
                let vm = job.vm.clone();
                forecast::assemble(vm, metric, Some(limit), now, STEP_SECONDS, predicted)
            });
            if metric == Metric::Cpu {
                found.coverage = last_day_coverage(&training);
                found.spark = forecast::spark(&training, made.as_ref(), 1.0);
            }
            self.records.known_from(&job.vm, metric, training.start);
            found.outlooks.extend(made.as_ref().map(|made| {
                let mut outlook = forecast::outlook(made);
                // What two weeks of past forecasts were worth says more than the last day alone.
                if let Some(weak) = self.records.no_better_than_naive(&job.vm, metric) {
                    outlook.no_better_than_naive = weak;
                }
                outlook
            }));
        }
        found
    }
}

/// 0..=1 of the last day's steps that hold a value; a day that is not full counts as far as it goes.
fn last_day_coverage(series: &Series) -> f64 {
    let day = (86_400 / series.step_seconds.max(1)) as usize;
    let known = series
        .values
        .iter()
        .rev()
        .take(day)
        .filter(|value| value.is_finite())
        .count();
    known as f64 / day.max(1) as f64
}

/// The step that is asked for, but never more steps than one answer bears.
fn answer_step(from: Timestamp, to: Timestamp, asked: Option<u32>) -> u32 {
    let seconds = to.secs_since(from).max(1);
    let usual = (seconds / MAX_POINTS / i64::from(STEP_SECONDS) + 1) * i64::from(STEP_SECONDS);
    let finest = seconds / MAX_ASKED_POINTS + 1;
    asked.map_or(usual, |asked| i64::from(asked).max(finest)) as u32
}

/// Events are rarer than days: what they did is looked for further back.
fn looks_back(events: &[Affecting]) -> i64 {
    if events.is_empty() {
        HISTORY_SECONDS
    } else {
        LEARN_SECONDS
    }
}

fn marks(events: &[Affecting], learned: &[Learned]) -> Vec<EventMark> {
    events
        .iter()
        .map(|event| EventMark {
            name: event.name.clone(),
            windows: event.windows.clone(),
            learned: learned
                .iter()
                .find(|learned| learned.event == event.event)
                .cloned(),
        })
        .collect()
}

/// Fine where samples are kept, coarser the longer the range.
fn chart_step(past_seconds: i64, own: bool) -> u32 {
    if past_seconds <= 2 * 3600 && !own {
        return (past_seconds / 360).max(5) as u32;
    }
    if past_seconds <= 12 * 3600 {
        return 60.max(if own { 60 } else { STEP_SECONDS });
    }
    let steps = (past_seconds / MAX_POINTS / i64::from(STEP_SECONDS) + 1) * i64::from(STEP_SECONDS);
    steps as u32
}

fn unreadable(error: &dyn std::fmt::Display) -> Problem {
    Problem::failed(
        "The history was not read.",
        error.to_string(),
        "Check that the data folder can be read and has space.",
    )
}
