//! `accuracy [VM]`: what past forecasts were worth.

use clap::Args;

use super::{
    context::{Context, unexpected},
    json::{ForecastRecordJson, OneRecordJson},
    names,
    output::{self, Listing, Text, UNKNOWN},
    parse,
};
use crate::{
    engine::{
        command::{Answer, Command},
        snapshot::{ForecastRecord, Snapshot, VmRecord},
    },
    forecast::record::{Errors, Worth},
    metrics::Metric,
    problem::Problem,
};

/// A table longer than this is cut for people; `--json` has every VM.
const MOST_ROWS: usize = 40;

/// Show what past forecasts were worth, worst first, or one VM's record with its calibration
///
/// While it is idle, the engine puts the live model back to four moments of each of the last 14 days of each VM and
/// compares what it would have said with what came. MASE is the mean error over the usual one of "as it was yesterday";
/// "of naive" is the error over that of "as it was yesterday" at the very same moments.
#[derive(Args)]
pub struct Accuracy {
    /// VM by name or id; the whole fleet where none is named
    vm: Option<String>,
    /// cpu or memory
    #[arg(long, default_value = "cpu", value_parser = parse::metric)]
    metric: Metric,
    #[arg(long)]
    json: bool,
}

impl Accuracy {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        if !matches!(self.metric, Metric::Cpu | Metric::Memory) {
            return Err(Problem::usage(
                "No record was shown.",
                format!("no record is kept of {}", self.metric.name()),
                "Ask for --metric cpu or --metric memory.",
            ));
        }
        let (session, now) = context.settled()?;
        let view = self.vm.as_ref().map(|word| names::vm(&now, word));
        let view = view.transpose()?;
        let found = match session.handle.ask(Command::ForecastRecord {
            vm: view.map(|view| view.vm.id.clone()),
            metric: self.metric,
        })? {
            Answer::ForecastRecord { record } => record,
            other => return Err(unexpected(&other)),
        };
        let Some(view) = view else {
            return fleet(&found, &now, self.json);
        };
        let record = found.vms.first();
        if self.json {
            return output::json(&OneRecordJson::of(self.metric, record, &now));
        }
        output::line(&format!("{}, {}", view.vm.name, self.metric.name()))?;
        match record {
            Some(record) => one(record),
            None => output::line("nobody could look at its past forecasts yet"),
        }
    }
}

fn fleet(found: &ForecastRecord, now: &Snapshot, json: bool) -> Result<(), Problem> {
    let mut worst: Vec<&VmRecord> = found.vms.iter().collect();
    worst.sort_by(|left, right| {
        // Where nothing was judged stands last.
        let error = |record: &VmRecord| record.worth.day.of_naive().unwrap_or(-1.0);
        error(right).total_cmp(&error(left))
    });
    if json {
        return output::json(&ForecastRecordJson::of(found, &worst, now));
    }
    let mut listing = Listing::new(&[
        "vm",
        ">MASE 1 h",
        ">24 h",
        ">of naive 24 h",
        ">inside 1 h",
        ">24 h",
        ">false alarms a day",
        ">lead",
        ">judged",
        "",
    ]);
    for record in worst.iter().take(MOST_ROWS) {
        let name = now
            .vm(&record.vm)
            .map_or(record.vm.as_str(), |view| view.vm.name.as_str());
        listing.row(row(name, &record.worth));
    }
    if found.vms.is_empty() {
        output::note(
            "No forecast has been judged yet: the engine does so while it is idle. Leave one running (`shadowcast agent`), or name a VM.",
        );
        return Ok(());
    }
    listing.row(row("all together", &found.total));
    listing.show()?;
    if found.vms.len() > MOST_ROWS {
        output::note(format!(
            "{} more are better than these; --json has all.",
            found.vms.len() - MOST_ROWS
        ));
    }
    if found.waiting > 0 {
        output::note(format!(
            "{} VMs have not been looked at yet; the engine does so while it is idle.",
            found.waiting
        ));
    }
    Ok(())
}

fn row(name: &str, worth: &Worth) -> [Text; 10] {
    let mase = |errors: &Errors| output::or_dash(errors.mase().map(|mase| format!("{mase:.2}")));
    let inside = |errors: &Errors| output::or_dash(errors.coverage().map(output::percent));
    [
        name.into(),
        mase(&worth.hour).into(),
        mase(&worth.day).into(),
        output::or_dash(worth.day.of_naive().map(output::percent)).into(),
        inside(&worth.hour).into(),
        inside(&worth.day).into(),
        output::or_dash(
            worth
                .false_alarms_per_day()
                .map(|rate| format!("{rate:.2}")),
        )
        .into(),
        lead(worth).into(),
        worth.origins.into(),
        remark(worth),
    ]
}

fn lead(worth: &Worth) -> String {
    worth.median_lead_seconds().map_or_else(
        || UNKNOWN.to_owned(),
        |seconds| format!("{:.1} h", f64::from(seconds) / 3600.0),
    )
}

fn remark(worth: &Worth) -> Text {
    match worth.no_better_than_naive() {
        Some(true) => Text::warn("no better than naive"),
        Some(false) => "".into(),
        None if worth.origins == 0 && worth.refused > 0 => "no forecast was possible".into(),
        None if worth.origins == 0 => "nothing to judge by".into(),
        None => "not enough judged".into(),
    }
}

fn one(record: &VmRecord) -> Result<(), Problem> {
    let worth = &record.worth;
    output::line(&format!(
        "{} forecasts judged from {} to {}, {} more were refused",
        worth.origins,
        output::moment(record.from),
        output::moment(record.to),
        worth.refused
    ))?;
    if worth.origins == 0 {
        return output::line("nothing to judge by: too little was measured");
    }
    for (name, errors) in [("1 h", &worth.hour), ("24 h", &worth.day)] {
        if let (Some(mase), Some(coverage)) = (errors.mase(), errors.coverage()) {
            output::line(&format!(
                "{name} ahead: MASE {mase:.2}, {} of naive's error, {} of the values inside the 95 % interval",
                output::or_dash(errors.of_naive().map(output::percent)),
                output::percent(coverage)
            ))?;
        }
    }
    match worth.no_better_than_naive() {
        Some(true) => {
            output::line("no better than \"as it was yesterday\": do not act on it alone")?;
        }
        Some(false) => output::line("better than \"as it was yesterday\"")?,
        None => {
            output::line("too little was judged to say whether it beats \"as it was yesterday\"")?;
        }
    }
    if let Some(rate) = worth.false_alarms_per_day() {
        output::line(&format!(
            "alarms at 50 %: {}, of them {} false, {rate:.2} a day",
            worth.alarms, worth.false_alarms
        ))?;
        output::line(&format!(
            "{} crossings, {} told of, median lead {}",
            worth.crossings,
            worth.told(),
            lead(worth)
        ))?;
    }
    let mut listing = Listing::new(&[">said", ">happened", ">hours"]);
    for (said, happened, hours) in worth.calibration() {
        listing.row([
            output::percent(said).into(),
            output::percent(happened).into(),
            hours.into(),
        ]);
    }
    if listing.is_empty() {
        return Ok(());
    }
    listing.show()
}
