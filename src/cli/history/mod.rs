//! `history VM`: stored samples. `history import|backfill|export|stats|verify`: bringing, giving and keeping them.

use std::{fs::File, io, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};

mod backfill;
mod export;
mod keeping;
mod preview;

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

/// Show the stored samples of a VM; bring history, give it away, look after it
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
    Backfill(backfill::Backfill),
    Export(export::Export),
    Stats(keeping::Stats),
    Verify(keeping::Verify),
}

impl History {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        match &self.verb {
            Some(Verb::Import(verb)) => verb.run(context),
            Some(Verb::Backfill(verb)) => verb.run(context),
            Some(Verb::Export(verb)) => verb.run(context),
            Some(Verb::Stats(verb)) => verb.run(context),
            Some(Verb::Verify(verb)) => verb.run(context),
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
            step_seconds: None,
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
            Some(Format::Csv) => output::write(&csv_of(&view.vm.id, self.metric, &series, true)?),
            None => show(view, self.metric, &series),
        }
    }
}

/// Bring history from CSV: vm,metric,at,value, or vm,at and a column for each metric
///
/// Times are RFC 3339 or unix seconds, ratios 0 to 1, at any spacing of up to an hour. A file with a bad row is not
/// taken at all, unless --skip-bad leaves such rows out.
#[derive(Args)]
struct Import {
    /// The file, or - for stdin
    file: PathBuf,
    /// Say what would be taken, and take nothing
    #[arg(long)]
    preview: bool,
    /// Leave out rows that cannot be read, and list them
    #[arg(long)]
    skip_bad: bool,
    #[arg(long)]
    json: bool,
}

impl Import {
    /// The file is read before an engine starts: what is wrong with it is told at once.
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let name = if self.file.as_os_str() == "-" {
            "stdin".to_owned()
        } else {
            self.file.display().to_string()
        };
        // A preview tells of every bad row, not only of the first.
        let bad_rows = if self.preview || self.skip_bad {
            csv::BadRows::Skip
        } else {
            csv::BadRows::Refuse
        };
        let read = if self.file.as_os_str() == "-" {
            csv::read_with(io::stdin().lock(), &name, bad_rows)?
        } else {
            let file = File::open(&self.file).map_err(|error| {
                Problem::usage(
                    format!("The history in {name} was not imported; nothing was taken."),
                    error.to_string(),
                    "Name a file that exists and can be read, or - for stdin.",
                )
            })?;
            csv::read_with(file, &name, bad_rows)?
        };
        let (session, now) = context.settled()?;
        let report = preview::Report::of(&read, &now);
        if self.preview {
            report.show(self.json, "would be taken")?;
            return report.verdict(self.skip_bad);
        }
        let taken = import(&session.handle, read.series)?;
        report.show(self.json, "taken")?;
        if !self.json {
            output::line(&format!(
                "Imported {} samples in {} series.",
                taken.samples, taken.series
            ))?;
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
fn csv_of(vm: &VmId, metric: Metric, series: &Series, header: bool) -> Result<String, Problem> {
    let not_written =
        |why: String| Problem::failed("The history was not written.", why, "Ask for it as JSON.");
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    if header {
        writer
            .write_record(["vm", "metric", "at", "value"])
            .map_err(|error| not_written(error.to_string()))?;
    }
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
