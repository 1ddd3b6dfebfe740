//! `history backfill`: history from a Prometheus server, slice by slice.

use std::collections::BTreeSet;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::super::{
    context::{Context, unexpected},
    output,
    parse::{self, Since},
};
use crate::{
    engine::command::{Answer, BackfillState, Command},
    metrics::Metric,
    problem::Problem,
    units::SourceName,
};

/// Bring history from a Prometheus server that was added as a source
///
/// What is measured here already stays. Interrupted, the same command goes on where it ended.
#[derive(Args)]
pub struct Backfill {
    /// The source, added by `source add prometheus+http://host:9090 --name prom`
    source: String,
    /// From when on: 14d, 12h, or a moment in RFC 3339
    #[arg(long, default_value = "14d", value_name = "TIME", value_parser = parse::since)]
    since: Since,
    /// Only these VMs, by name or id
    #[arg(long)]
    vm: Vec<String>,
    /// Only these metrics; otherwise cpu, memory, disk, net and steal
    #[arg(long, value_parser = parse::metric)]
    metric: Vec<Metric>,
    /// PromQL in place of the usual query of the one metric: a series for each VM, in the metric's unit
    #[arg(long, value_name = "PROMQL")]
    query: Option<String>,
    #[arg(long)]
    json: bool,
}

/// What all slices came to.
#[derive(Default, serde::Serialize)]
struct Total {
    resumed: bool,
    values: u64,
    doubles: usize,
    out_of_range: usize,
    unmatched: BTreeSet<String>,
}

impl Backfill {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, now) = context.settled()?;
        let since_seconds = now.at.secs_since(self.since.before(now.at));
        let since_seconds = u32::try_from(since_seconds).map_err(|_| {
            Problem::usage(
                "No history was brought.",
                "the start lies in the future",
                "Name a moment in the past: --since 14d.",
            )
        })?;
        let bar = progress_bar();
        let mut total = Total::default();
        loop {
            let answer = session.handle.ask(Command::HistoryBackfill {
                source: SourceName::from(&*self.source),
                since_seconds,
                vms: self.vm.clone(),
                metrics: self.metric.clone(),
                query: self.query.clone(),
            });
            let state = match answer {
                Ok(Answer::Backfilled { state }) => state,
                Ok(other) => return Err(unexpected(&other)),
                Err(problem) => {
                    bar.abandon();
                    return Err(problem);
                }
            };
            show(&bar, &state, &mut total);
            if state.finished {
                bar.finish_and_clear();
                return self.told(&state, &total);
            }
        }
    }

    fn told(&self, state: &BackfillState, total: &Total) -> Result<(), Problem> {
        if self.json {
            output::json(total)?;
        } else {
            output::line(&format!(
                "Brought {} values of {} to {} from {}.",
                total.values,
                output::moment(state.from),
                output::moment(state.to),
                self.source,
            ))?;
        }
        if !total.unmatched.is_empty() {
            let names: Vec<&str> = total
                .unmatched
                .iter()
                .take(10)
                .map(String::as_str)
                .collect();
            output::note(format!(
                "! {} series belong to no known VM, for example {}",
                total.unmatched.len(),
                names.join(", ")
            ));
        }
        if total.doubles > 0 {
            output::note(format!(
                "! {} second series of a VM were left out; sum them in a --query.",
                total.doubles
            ));
        }
        if total.out_of_range > 0 {
            output::note(format!(
                "! {} values were left out: negative, or a ratio far over 1 (percent?)",
                total.out_of_range
            ));
        }
        if total.values > 0 {
            return Ok(());
        }
        Err(Problem::failed(
            "No history was brought.",
            "The server holds nothing for these VMs, or all of it is known here already.",
            "Look at what it has, and give its metrics by --query or [prometheus.queries] in the settings.",
        ))
    }
}

fn show(bar: &ProgressBar, state: &BackfillState, total: &mut Total) {
    if state.resumed && total.values == 0 && !total.resumed && total.unmatched.is_empty() {
        total.resumed = true;
        bar.suspend(|| output::note("Going on where the last run ended."));
    }
    total.values = state.total_values;
    total.doubles += state.doubles;
    total.out_of_range += state.out_of_range;
    total
        .unmatched
        .extend(state.unmatched_names.iter().cloned());
    bar.set_position((state.share * 1000.0) as u64);
    let metric = state.metric.map_or("", Metric::name);
    bar.set_message(format!("{metric}, {} values", state.total_values));
}

/// On stderr; nothing is drawn where that is no terminal.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(1000);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}") {
        bar.set_style(style);
    }
    bar
}
