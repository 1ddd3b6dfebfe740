//! `history export`: what is stored, in the form that `history import` reads.

use clap::Args;

use super::{
    super::{
        context::{Context, unexpected},
        json::HistoryJson,
        names, output,
        parse::{self, Since},
    },
    Format,
};
use crate::{
    engine::command::{Answer, Command},
    metrics::Metric,
    problem::Problem,
};

/// Write stored history as CSV, in the form that import reads, or as a line of JSON for each series
#[derive(Args)]
pub struct Export {
    /// Only these VMs, by name or id; otherwise all
    #[arg(long)]
    vm: Vec<String>,
    /// Only these metrics; otherwise all
    #[arg(long, value_parser = parse::metric)]
    metric: Vec<Metric>,
    /// From when on: 24h, 90d, or a moment in RFC 3339
    #[arg(long, default_value = "90d", value_name = "TIME", value_parser = parse::since)]
    since: Since,
    /// Seconds from one value to the next: less than 300 from samples, from 3600 on from hours
    #[arg(long, default_value_t = 300, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    step: u32,
    #[arg(long, default_value = "csv")]
    format: Format,
}

impl Export {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, now) = context.settled()?;
        let views = if self.vm.is_empty() {
            now.vms.iter().collect()
        } else {
            (self.vm.iter())
                .map(|vm| names::vm(&now, vm))
                .collect::<Result<Vec<_>, Problem>>()?
        };
        let metrics = if self.metric.is_empty() {
            &Metric::ALL[..]
        } else {
            &self.metric
        };
        let mut header = self.format == Format::Csv;
        for view in views {
            for metric in metrics {
                let series = match session.handle.ask(Command::History {
                    vm: view.vm.id.clone(),
                    metric: *metric,
                    from: self.since.before(now.at),
                    to: now.at,
                    step_seconds: Some(self.step),
                })? {
                    Answer::History { series } => series,
                    other => return Err(unexpected(&other)),
                };
                if series.values.iter().all(|value| value.is_nan()) {
                    continue;
                }
                match self.format {
                    Format::Csv => {
                        output::write(&super::csv_of(&view.vm.id, *metric, &series, header)?)?;
                        header = false;
                    }
                    Format::Json => output::json(&HistoryJson::of(view, *metric, &series))?,
                }
            }
        }
        Ok(())
    }
}
