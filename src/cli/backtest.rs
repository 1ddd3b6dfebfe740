//! `backtest`: the live model put back to past moments of recorded load, in a file that a scorer reads.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::Args;

use super::output;
use crate::{
    forecast::{
        Model, NotReady, Predicted,
        backtest::{self, Case, Tally},
    },
    metrics::Series,
    problem::Problem,
    telemetry::traces::{self, Origin},
    units::printable,
};

/// What is up to an hour ahead is told apart from the rest.
const HOUR_STEPS: usize = (3600 / traces::STEP_SECONDS) as usize;
const DAY_STEPS: usize = 24 * HOUR_STEPS;

/// Forecast recorded load from past moments, with the model that forecasts the fleet
///
/// Each forecast is made from the samples up to its moment and no others. The file holds
/// series,origin,step,mean,lower,upper and the probability that the next 12 steps, and each hour, go over the two
/// thresholds of the origin. A row is written for every step even where the model refuses; then the last value goes
/// on, and the summary says why.
#[derive(Args)]
pub struct Backtest {
    /// Folder with vm_load.csv or vm_load.csv.gz: vm,k,METRIC,… with k counting steps of 5 minutes
    #[arg(long, value_name = "DIR")]
    input: PathBuf,
    /// CSV of moments: series,origin,h,thr_p95,thr_cap
    #[arg(long, value_name = "FILE")]
    origins: PathBuf,
    /// Where the forecasts are written
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// mix, select, analog, day-naive, ets or mstl
    #[arg(long, default_value = Model::LIVE.name(), value_parser = model)]
    model: Model,
}

fn model(name: &str) -> Result<Model, String> {
    Model::from_name(name).ok_or_else(|| {
        let known: Vec<&str> = Model::ALL.iter().map(|model| model.name()).collect();
        format!("known are {}", known.join(", "))
    })
}

impl Backtest {
    pub fn run(&self) -> Result<(), Problem> {
        let traces = traces::read(&self.input)?;
        let origins = traces::read_origins(&self.origins, &traces)?;
        let file = File::create(&self.output).map_err(|error| not_written(&self.output, error))?;
        let mut file = BufWriter::new(file);
        let mut summary = Summary::default();
        write_header(&mut file).map_err(|error| not_written(&self.output, error))?;
        for origin in &origins {
            let Some(trace) = traces.get(&origin.series) else {
                continue;
            };
            let known = backtest::known_at(trace, origin.index);
            let before = cpu_nanos();
            let answer = self
                .model
                .forecaster()
                .predict(&known, origin.horizon_steps);
            let cost_nanos = before.and_then(|before| Some(cpu_nanos()? - before));
            let predicted = summary.take(origin, trace, &known, answer, cost_nanos);
            write_rows(&mut file, origin, &predicted)
                .map_err(|error| not_written(&self.output, error))?;
        }
        file.flush()
            .map_err(|error| not_written(&self.output, error))?;
        summary.tell();
        output::line(&format!(
            "{} forecasts of {} series are in {}.",
            origins.len(),
            summary.series.len(),
            self.output.display()
        ))
    }
}

fn not_written(path: &Path, error: io::Error) -> Problem {
    Problem::failed(
        format!(
            "The forecasts were not written to {}.",
            printable(&path.display().to_string())
        ),
        error.to_string(),
        "Name a file in a folder that can be written to and has space.",
    )
}

/// CPU time of this thread; `None` where the kernel does not tell.
fn cpu_nanos() -> Option<u64> {
    let told = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    told.split_whitespace().next()?.parse().ok()
}

fn write_header(file: &mut impl Write) -> io::Result<()> {
    writeln!(
        file,
        "series,origin,step,mean,lower,upper,pmax_p95,pmax_cap,phour_p95,phour_cap"
    )
}

/// Probabilities stand in full at every step of their hour, and are empty without a threshold.
fn write_rows(file: &mut impl Write, origin: &Origin, predicted: &Predicted) -> io::Result<()> {
    let by_hour = origin
        .limits
        .map(|limit| limit.map(|limit| predicted.exceedance.by_hour(&predicted.points, limit)));
    let said = |limit: usize, hour: usize| -> String {
        let said = by_hour[limit].as_ref().and_then(|hours| hours.get(hour));
        said.map_or_else(String::new, |said| format!("{said:.7}"))
    };
    let next_hour = [said(0, 0), said(1, 0)];
    let mut in_hour = next_hour.clone();
    for (index, point) in predicted.points.iter().enumerate() {
        if index % HOUR_STEPS == 0 {
            in_hour = [said(0, index / HOUR_STEPS), said(1, index / HOUR_STEPS)];
        }
        writeln!(
            file,
            "{},{},{},{},{},{},{},{},{},{}",
            quoted(&origin.series),
            origin.index,
            index + 1,
            point.mean,
            point.lower,
            point.upper,
            next_hour[0],
            next_hour[1],
            in_hour[0],
            in_hour[1],
        )?;
    }
    Ok(())
}

/// A name as a CSV field.
fn quoted(name: &str) -> String {
    if name.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", name.replace('"', "\"\""))
    } else {
        name.to_owned()
    }
}

/// What it came to, for people.
#[derive(Default)]
struct Summary {
    /// Next hour, and a day where that was asked for.
    series: BTreeMap<String, [Tally; 2]>,
    models: BTreeMap<String, usize>,
    refused: BTreeMap<String, usize>,
    /// Forecasts and their CPU time, up to an hour ahead and further.
    costs: [(u32, u64); 2],
}

impl Summary {
    fn take(
        &mut self,
        origin: &Origin,
        trace: &Series,
        known: &Series,
        answer: Result<Predicted, NotReady>,
        cost_nanos: Option<u64>,
    ) -> Predicted {
        let (predicted, refused) = match answer {
            Ok(predicted) => (predicted, false),
            Err(why) => {
                *self.refused.entry(why.kind().to_owned()).or_default() += 1;
                (backtest::going_on(known, origin.horizon_steps), true)
            }
        };
        *self.models.entry(predicted.model.clone()).or_default() += 1;
        if let (Some(nanos), false) = (cost_nanos, refused) {
            let cost = &mut self.costs[usize::from(origin.horizon_steps > HOUR_STEPS)];
            cost.0 += 1;
            cost.1 += nanos;
        }
        let tallies = self.series.entry(origin.series.clone()).or_default();
        let truth = |steps: usize| {
            let from = origin.index + 1;
            let to = (from + steps).min(trace.values.len());
            &trace.values[from.min(to)..to]
        };
        let limit = origin.limits[0];
        let judge = |tally: &mut Tally, steps: usize, limit: Option<f64>| {
            let truth = truth(steps);
            tally.add(
                &Case {
                    known,
                    truth,
                    limit,
                },
                &predicted,
            );
        };
        let whole_day = origin.horizon_steps >= DAY_STEPS;
        judge(&mut tallies[0], origin.horizon_steps.min(HOUR_STEPS), limit);
        if whole_day {
            judge(&mut tallies[1], DAY_STEPS, limit);
        }
        predicted
    }

    fn tell(&self) {
        let counts = |counts: &BTreeMap<String, usize>| {
            let each = counts.iter().map(|(name, count)| format!("{name} {count}"));
            each.collect::<Vec<_>>().join(", ")
        };
        output::note(format!("Models: {}.", counts(&self.models)));
        if self.refused.is_empty() {
            output::note("Refused: none.");
        } else {
            output::note(format!(
                "Refused, last value written instead: {}.",
                counts(&self.refused)
            ));
        }
        for (name, (count, nanos)) in ["an hour", "further"].iter().zip(self.costs) {
            if count > 0 {
                let millis = nanos as f64 / f64::from(count) / 1e6;
                output::note(format!("CPU for {name} ahead: {millis:.3} ms a series."));
            }
        }
        for (name, index) in [("Next hour", 0), ("Next day", 1)] {
            self.tell_horizon(name, index);
        }
    }

    fn tell_horizon(&self, name: &str, index: usize) {
        let mut whole = Tally::default();
        let mut errors: Vec<f64> = Vec::new();
        for tallies in self.series.values() {
            whole.merge(&tallies[index]);
            errors.extend(tallies[index].mase());
        }
        errors.sort_by(f64::total_cmp);
        let (Some(median), Some(coverage)) = (errors.get(errors.len() / 2), whole.coverage())
        else {
            return;
        };
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        output::note(format!(
            "{name}: MASE {mean:.3} mean and {median:.3} median of {} series, {:.1} % in the interval.",
            errors.len(),
            coverage * 100.0
        ));
        if let (0, Some(precision)) = (index, whole.onset_precision()) {
            let events = whole.onsets();
            output::note(format!(
                "Onsets over the first threshold: average precision {precision:.3} of {events}."
            ));
        }
        if let Some(false_alarms) = whole.false_alarms_per_day() {
            let told = whole.told_in_time().map_or_else(String::new, |(share, lead_seconds)| {
                let percent = share * 100.0;
                let minutes = lead_seconds / 60;
                format!(", {percent:.0} % of first crossings told, half of them {minutes} min before or more")
            });
            output::note(format!(
                "Alarms at 50 %: {false_alarms:.2} false a VM and day{told}."
            ));
        }
        let said = whole
            .calibration()
            .map(|(said, happened, _)| format!("{:.0}→{:.0}", said * 100.0, happened * 100.0));
        let said = said.collect::<Vec<_>>().join(" ");
        if !said.is_empty() {
            output::note(format!("Said→happened, percent of hours: {said}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_a_row() {
        assert_eq!(quoted("a:cpu"), "a:cpu");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(model("select"), Ok(Model::Select));
        assert!(model("crystal").unwrap_err().contains("mix"));
    }
}
