//! What takes long on the history: imports, back-fills, a look at every row, and its upkeep in idle time. A thread of
//! its own, so that charts need not wait for it.

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Duration,
};

use tokio::sync::{mpsc::Sender, oneshot};

use super::{
    command::{Answer, BackfillState, ImportedSeries, Reply},
    core::Input,
};
use crate::{
    hypervisor::simulated::Clock,
    problem::Problem,
    store::metrics::{Existing, Keeping, Metrics},
    telemetry::prometheus::{
        PrometheusError,
        backfill::{Progress, Wanted},
        client::Prometheus,
        queries::{Known, take},
    },
    units::{SourceName, VmId, printable},
};

/// Between two looks at whether the history has something due, and between two pieces of it.
const IDLE: Duration = Duration::from_secs(2);
const BETWEEN_PIECES: Duration = Duration::from_millis(20);
const AFTER_FAILURE: Duration = Duration::from_mins(1);
/// Names of series that belong to no VM, as they are told.
const TOLD_AT_ONCE: usize = 20;

/// What a face wants done to the history.
pub struct Errand {
    pub what: What,
    pub reply: oneshot::Sender<Reply>,
}

pub enum What {
    Import {
        known: Vec<(VmId, ImportedSeries)>,
        unknown: Vec<String>,
    },
    /// One slice of a back-fill.
    Backfill {
        source: SourceName,
        uri: String,
        wanted: Wanted,
        /// Empty: all.
        only: Vec<VmId>,
        vms: Vec<(VmId, String)>,
    },
    Stats,
    Verify,
}

/// Starts the thread on the metrics in `folder`.
///
/// # Errors
/// When there is no thread left.
pub fn start(
    folder: PathBuf,
    keeping: Keeping,
    clock: Arc<dyn Clock>,
    news: Sender<Input>,
) -> std::io::Result<mpsc::Sender<Errand>> {
    let (errands, asked) = mpsc::channel();
    let bringer = Bringer {
        folder,
        keeping,
        metrics: None,
        server: None,
        clock,
        news,
    };
    std::thread::Builder::new()
        .name("bring".to_owned())
        .spawn(move || bringer.run(&asked))?;
    Ok(errands)
}

struct Bringer {
    folder: PathBuf,
    keeping: Keeping,
    metrics: Option<Metrics>,
    /// The server that was asked last, and its address.
    server: Option<(String, Prometheus)>,
    clock: Arc<dyn Clock>,
    news: Sender<Input>,
}

impl Bringer {
    fn run(mut self, asked: &mpsc::Receiver<Errand>) {
        let mut pause = IDLE;
        loop {
            match asked.recv_timeout(pause) {
                Ok(errand) => {
                    let answer = self.run_errand(errand.what);
                    if answer.is_err() {
                        // A connection to a file that was moved aside is of no use.
                        self.metrics = None;
                    }
                    // Whoever asked may have gone; then nobody misses the answer.
                    let _ = errand.reply.send(answer);
                }
                Err(mpsc::RecvTimeoutError::Timeout) => pause = self.maintain(),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn metrics(&mut self) -> Result<&mut Metrics, Problem> {
        let metrics = match self.metrics.take() {
            Some(metrics) => metrics,
            None => Metrics::open(&self.folder, self.keeping.clone())
                .map_err(|error| unreadable(&error))?,
        };
        Ok(self.metrics.insert(metrics))
    }

    /// A piece of what is due while nobody asks. Returns the pause until the next.
    fn maintain(&mut self) -> Duration {
        let now = self.clock.now();
        let maintained = match self.metrics() {
            Ok(metrics) => metrics.maintain(now).map_err(|error| error.to_string()),
            Err(problem) => Err(problem.to_string()),
        };
        match maintained {
            Ok(true) => BETWEEN_PIECES,
            Ok(false) => IDLE,
            Err(error) => {
                tracing::warn!(error, "the history was not sealed or pruned");
                self.metrics = None;
                AFTER_FAILURE
            }
        }
    }

    fn run_errand(&mut self, what: What) -> Reply {
        match what {
            What::Import { known, unknown } => self.import(&known, unknown),
            What::Backfill {
                source,
                uri,
                wanted,
                only,
                vms,
            } => self.backfill(&source, &uri, wanted, &only, &vms),
            What::Stats => {
                let stats = self
                    .metrics()?
                    .stats()
                    .map_err(|error| unreadable(&error))?;
                Ok(Answer::HistoryStats {
                    stats: Box::new(stats),
                })
            }
            What::Verify => {
                let verified = self
                    .metrics()?
                    .verify()
                    .map_err(|error| unreadable(&error))?;
                Ok(Answer::HistoryVerified { verified })
            }
        }
    }

    fn import(&mut self, known: &[(VmId, ImportedSeries)], unknown: Vec<String>) -> Reply {
        let metrics = self.metrics()?;
        let mut samples = 0;
        for (vm, row) in known {
            samples += metrics.import(vm, row.metric, &row.series).map_err(|error| {
                Problem::failed(
                    format!("{samples} values were imported, the rest was not."),
                    error.to_string(),
                    "Check the free space, and import the file again: what is there is replaced.",
                )
            })?;
        }
        let mut vms: Vec<VmId> = known.iter().map(|(vm, _)| vm.clone()).collect();
        vms.sort();
        vms.dedup();
        self.tell(Input::HistoryChanged { vms });
        Ok(Answer::Imported {
            series: known.len(),
            samples,
            unknown_vms: unknown,
        })
    }

    /// One slice, from where the last one ended, also when that was in another process.
    fn backfill(
        &mut self,
        source: &SourceName,
        uri: &str,
        wanted: Wanted,
        only: &[VmId],
        vms: &[(VmId, String)],
    ) -> Reply {
        let now = self.clock.now();
        let fact = fact_of(source, only);
        let kept = self
            .metrics()?
            .fact(&fact)
            .map_err(|error| unreadable(&error))?
            .and_then(|text| serde_json::from_str::<Progress>(&text).ok())
            .filter(|progress| progress.wanted == wanted);
        let resumed = kept.is_some();
        let mut progress = kept.unwrap_or_else(|| Progress::begin(wanted, now, vms.len()));
        let mut state = BackfillState {
            resumed,
            from: progress.from,
            to: progress.to,
            ..BackfillState::default()
        };
        let stopped = |share: f64, error: &dyn std::fmt::Display| stopped_at(source, share, error);
        if let Some((slice, found)) = self.ask(uri, &mut progress, source)? {
            let taken = take(
                slice.metric,
                found,
                &Known::new(vms),
                slice.start,
                slice.end,
            );
            state.metric = Some(slice.metric);
            state.doubles = taken.doubles;
            state.out_of_range = taken.out_of_range;
            state.unmatched = taken.unmatched.len();
            state.unmatched_names = taken.unmatched.into_iter().take(TOLD_AT_ONCE).collect();
            let share = progress.share();
            let metrics = self.metrics()?;
            for (vm, series) in &taken.series {
                if !only.is_empty() && !only.contains(vm) {
                    continue;
                }
                state.series += 1;
                state.values += metrics
                    .import_with(vm, slice.metric, series, Existing::Keep)
                    .map_err(|error| stopped(share, &error))?;
            }
            progress.done(&slice, state.values);
            let kept = serde_json::to_string(&progress).map_err(|error| stopped(share, &error))?;
            metrics
                .put_fact(&fact, &kept)
                .map_err(|error| stopped(share, &error))?;
        }
        state.share = progress.share();
        state.total_values = progress.values;
        state.finished = progress.next().is_none();
        if state.finished {
            self.metrics()?
                .drop_fact(&fact)
                .map_err(|error| stopped(1.0, &error))?;
            let vms = if only.is_empty() {
                vms.iter().map(|(vm, _)| vm.clone()).collect()
            } else {
                only.to_vec()
            };
            self.tell(Input::Backfilled {
                source: source.clone(),
            });
            self.tell(Input::HistoryChanged { vms });
        }
        Ok(Answer::Backfilled { state })
    }

    /// Asks for the next slice, smaller ones where the answer is too large. `None`: all is done.
    fn ask(
        &mut self,
        uri: &str,
        progress: &mut Progress,
        source: &SourceName,
    ) -> Result<
        Option<(
            crate::telemetry::prometheus::backfill::Slice,
            Vec<crate::telemetry::prometheus::wire::Found>,
        )>,
        Problem,
    > {
        loop {
            let Some(slice) = progress.next() else {
                return Ok(None);
            };
            let asked = self.server(uri).and_then(|server| server.slice(&slice));
            match asked {
                Ok(found) => return Ok(Some((slice, found))),
                Err(PrometheusError::TooLarge(_)) if progress.halve() => {}
                Err(error) => return Err(refused(source, progress.share(), &slice.query, &error)),
            }
        }
    }

    fn server(&mut self, uri: &str) -> Result<&Prometheus, PrometheusError> {
        let server = match self.server.take() {
            Some((known, server)) if known == uri => server,
            _ => Prometheus::at(uri)?,
        };
        Ok(&self.server.insert((uri.to_owned(), server)).1)
    }

    fn tell(&self, input: Input) {
        if self.news.blocking_send(input).is_err() {
            tracing::debug!("the engine ended during an errand");
        }
    }
}

/// Where the position of a back-fill is kept: one for each source and choice of VMs.
fn fact_of(source: &SourceName, only: &[VmId]) -> String {
    let vms: Vec<&str> = only.iter().map(VmId::as_str).collect();
    format!("backfill {source} {}", vms.join(","))
}

fn stopped_at(source: &SourceName, share: f64, error: &dyn std::fmt::Display) -> Problem {
    Problem::failed(
        format!(
            "The back-fill from {source} stopped at {:.0} %; what came is kept.",
            share * 100.0
        ),
        error.to_string(),
        "Check the free space, and run it again: it goes on from there.",
    )
}

fn refused(source: &SourceName, share: f64, query: &str, error: &PrometheusError) -> Problem {
    let what = format!(
        "The back-fill from {source} stopped at {:.0} %; what came is kept.",
        share * 100.0
    );
    let query = printable(query);
    match error {
        PrometheusError::BadAddress(why) => Problem::usage(
            what,
            why.clone(),
            "Remove the source, and add it with an address like prometheus+http://host:9090.",
        ),
        PrometheusError::Unreachable(why) => Problem::unreachable(
            what,
            why.clone(),
            "Check that the server runs and its address is right, then run it again: it goes on from there.",
        ),
        PrometheusError::Refused(_) => Problem::failed(
            what,
            format!("{error}; asked: {query}"),
            "Correct the query (--query, or [prometheus.queries] in the settings) and run it again.",
        ),
        PrometheusError::TooLarge(_) | PrometheusError::Garbled(_) => Problem::failed(
            what,
            format!("{error}; asked: {query}"),
            "Ask for fewer series: sum in the query by the label that names the VM, or select by label.",
        ),
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> Problem {
    Problem::failed(
        "The history was not read.",
        error.to_string(),
        "Check that the data folder can be read and has space.",
    )
}
