//! `history VM`: stored samples.

use clap::{Args, ValueEnum};

use super::{
    context::{Context, unexpected},
    json::HistoryJson,
    names,
    output::{self, Listing, UNKNOWN},
    parse::{self, Since},
};
use crate::{
    engine::{
        command::{Answer, Command},
        snapshot::VmView,
    },
    metrics::{Metric, Series},
    problem::Problem,
    units::VmId,
};

/// Show the stored samples of a VM
#[derive(Args)]
pub struct History {
    /// VM by name or id
    vm: String,
    /// cpu, memory, disk, net, steal, response, errors or requests
    #[arg(long, default_value = "cpu", value_parser = parse::metric)]
    metric: Metric,
    /// From when on: 24h, 7days, or a moment in RFC 3339
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = parse::since)]
    since: Since,
    /// How it is written, where it is not a table
    #[arg(long, conflicts_with = "json")]
    format: Option<Format>,
    /// The same as --format json
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Csv,
    Json,
}

impl History {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, now) = context.settled()?;
        let view = names::vm(&now, &self.vm)?;
        let series = match session.handle.ask(Command::History {
            vm: view.vm.id.clone(),
            metric: self.metric,
            from: self.since.before(now.at),
            to: now.at,
        })? {
            Answer::History { series } => series,
            other => return Err(unexpected(&other)),
        };
        match self.format {
            _ if self.json => output::json(&HistoryJson::of(view, self.metric, &series)),
            Some(Format::Json) => output::json(&HistoryJson::of(view, self.metric, &series)),
            Some(Format::Csv) => output::write(&csv_of(&view.vm.id, self.metric, &series)?),
            None => show(view, self.metric, &series),
        }
    }
}

fn show(view: &VmView, metric: Metric, series: &Series) -> Result<(), Problem> {
    let mut listing = Listing::new(&["at", ">value"]);
    for (index, value) in series.values.iter().enumerate() {
        let shown = if value.is_finite() {
            output::value(metric, f64::from(*value))
        } else {
            UNKNOWN.to_owned()
        };
        listing.row([output::moment(series.at(index)).into(), shown.into()]);
    }
    listing.show_or(&format!(
        "No {} of {} is stored for that time.",
        metric.name(),
        view.vm.name
    ))
}

/// The form that `history import` reads. A gap has no row.
fn csv_of(vm: &VmId, metric: Metric, series: &Series) -> Result<String, Problem> {
    let not_written =
        |why: String| Problem::failed("The history was not written.", why, "Ask for it as JSON.");
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer
        .write_record(["vm", "metric", "at", "value"])
        .map_err(|error| not_written(error.to_string()))?;
    for (index, value) in series.values.iter().enumerate() {
        if value.is_finite() {
            writer
                .write_record([
                    vm.as_str(),
                    metric.name(),
                    &series.at(index).to_string(),
                    &value.to_string(),
                ])
                .map_err(|error| not_written(error.to_string()))?;
        }
    }
    let bytes = writer
        .into_inner()
        .map_err(|error| not_written(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| not_written(error.to_string()))
}
