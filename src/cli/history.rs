//! `history VM`: stored samples. `history import FILE`: history from elsewhere.

use std::{fs::File, io, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};

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
        handle::Handle,
        snapshot::VmView,
    },
    metrics::{Metric, Series},
    problem::Problem,
    telemetry::{ImportedSeries, csv},
    units::VmId,
};

/// Show the stored samples of a VM, or bring history from a file
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct History {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Subcommand)]
enum Verb {
    Import(Import),
}

impl History {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        match &self.verb {
            Some(Verb::Import(verb)) => verb.run(context),
            None => self.shown.run(context),
        }
    }
}

#[derive(Args)]
struct Shown {
    /// VM by name or id
    #[arg(required = true)]
    vm: Option<String>,
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

impl Shown {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, now) = context.settled()?;
        let view = names::vm(&now, self.vm.as_deref().unwrap_or_default())?;
        let series = match session.handle.ask(Command::History {
            vm: view.vm.id.clone(),
            metric: self.metric,
            from: self.since.before(now.at),
            to: now.at,
        })? {
            Answer::History { series } => series,
            other => return Err(unexpected(&other)),
        };
        let format = if self.json {
            Some(Format::Json)
        } else {
            self.format
        };
        match format {
            Some(Format::Json) => output::json(&HistoryJson::of(view, self.metric, &series)),
            Some(Format::Csv) => output::write(&csv_of(&view.vm.id, self.metric, &series)?),
            None => show(view, self.metric, &series),
        }
    }
}

/// Bring history from CSV: vm,metric,at,value, or vm,at and a column for each metric
///
/// Times are RFC 3339 or unix seconds, ratios 0 to 1. A file with an error is not taken at all.
#[derive(Args)]
struct Import {
    /// The file, or - for stdin
    file: PathBuf,
}

impl Import {
    /// The file is read before an engine starts: what is wrong with it is told at once.
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let rows = if self.file.as_os_str() == "-" {
            csv::read(io::stdin().lock(), "stdin")?
        } else {
            let name = self.file.display().to_string();
            let file = File::open(&self.file).map_err(|error| {
                Problem::usage(
                    format!("The history in {name} was not imported; nothing was taken."),
                    error.to_string(),
                    "Name a file that exists and can be read, or - for stdin.",
                )
            })?;
            csv::read(file, &name)?
        };
        let (session, _) = context.settled()?;
        let taken = import(&session.handle, rows)?;
        output::line(&format!(
            "Imported {} samples in {} series.",
            taken.samples, taken.series
        ))?;
        for vm in &taken.unknown_vms {
            output::note(format!("! No VM is called {vm}; its rows were left out."));
        }
        if taken.series == 0 {
            return Err(Problem::failed(
                "No history was imported.",
                "None of the VMs in the file is known.",
                "Use names or ids as `shadowcast vms` lists them.",
            ));
        }
        Ok(())
    }
}

/// What an import came to.
pub struct Taken {
    pub series: usize,
    pub samples: usize,
    pub unknown_vms: Vec<String>,
}

pub fn import(handle: &Handle, rows: Vec<ImportedSeries>) -> Result<Taken, Problem> {
    match handle.ask(Command::HistoryImport { rows })? {
        Answer::Imported {
            series,
            samples,
            unknown_vms,
        } => Ok(Taken {
            series,
            samples,
            unknown_vms,
        }),
        other => Err(unexpected(&other)),
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
    let mut writer = ::csv::Writer::from_writer(Vec::new());
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
