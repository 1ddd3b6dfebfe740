//! What an import takes of a file, and what it leaves out.

use serde::Serialize;

use super::super::{
    names,
    output::{self, Listing},
};
use crate::{
    engine::snapshot::Snapshot,
    problem::Problem,
    telemetry::csv::ReadCsv,
    units::{Timestamp, VmId},
};

/// Bad rows and unknown VMs that are listed.
const LISTED: usize = 20;

#[derive(Serialize)]
pub struct Report {
    series: Vec<SeriesReport>,
    /// VMs in the file that nobody knows, or that several are called.
    unmatched: Vec<String>,
    /// Rows that cannot be read, by line and column; the first of them.
    bad_rows: Vec<String>,
    bad_row_count: usize,
}

#[derive(Serialize)]
struct SeriesReport {
    /// As the file has it.
    named: String,
    /// Whose it is; `null` where that is unknown, and the series is left out.
    vm: Option<VmId>,
    metric: &'static str,
    from: Timestamp,
    to: Timestamp,
    /// The usual distance of its samples in the file.
    spacing_seconds: u32,
    samples: usize,
    /// 0..=1 of the 5-minute steps from its first to its last sample that hold a value.
    coverage: f64,
}

impl Report {
    pub fn of(read: &ReadCsv, now: &Snapshot) -> Self {
        let mut unmatched: Vec<String> = Vec::new();
        let mut known: Option<(String, Option<VmId>)> = None;
        let mut series = Vec::with_capacity(read.series.len());
        for (one, source) in read.series.iter().zip(&read.sources) {
            // Series come sorted by VM, so each is looked up once.
            let vm = match &known {
                Some((name, vm)) if *name == one.vm => vm.clone(),
                _ => {
                    let vm = names::vm(now, &one.vm).ok().map(|view| view.vm.id.clone());
                    if vm.is_none() {
                        unmatched.push(crate::units::printable(&one.vm));
                    }
                    known = Some((one.vm.clone(), vm.clone()));
                    vm
                }
            };
            series.push(SeriesReport {
                named: crate::units::printable(&one.vm),
                vm,
                metric: one.metric.name(),
                from: one.series.start,
                to: one.series.end(),
                spacing_seconds: source.spacing_seconds,
                samples: source.samples,
                coverage: one.series.coverage(),
            });
        }
        Self {
            series,
            unmatched,
            bad_rows: read.bad_rows.clone(),
            bad_row_count: read.bad_row_count,
        }
    }

    pub fn show(&self, json: bool, taken: &str) -> Result<(), Problem> {
        if json {
            return output::json(self);
        }
        let mut listing = Listing::new(&[
            "vm",
            "metric",
            "from",
            "to",
            ">spacing",
            ">samples",
            ">coverage",
            "",
        ]);
        for one in &self.series {
            let what = if one.vm.is_some() {
                taken
            } else {
                "no such VM"
            };
            listing.row([
                (&*one.named).into(),
                one.metric.into(),
                output::moment(one.from).into(),
                output::moment(one.to).into(),
                output::seconds(u64::from(one.spacing_seconds)).into(),
                one.samples.to_string().into(),
                output::percent(one.coverage).into(),
                what.into(),
            ]);
        }
        listing.show()?;
        for vm in self.unmatched.iter().take(LISTED) {
            output::note(format!("! No VM is called {vm}; its rows are left out."));
        }
        let more = self.unmatched.len().saturating_sub(LISTED);
        if more > 0 {
            output::note(format!("! … and {more} more that nobody is called."));
        }
        for row in self.bad_rows.iter().take(LISTED) {
            output::note(format!("! left out: {row}"));
        }
        let more = self
            .bad_row_count
            .saturating_sub(self.bad_rows.len().min(LISTED));
        if more > 0 {
            output::note(format!("! … and {more} more bad rows."));
        }
        Ok(())
    }

    /// What a preview ends with: a script may rely on its exit code.
    pub fn verdict(&self, skip_bad: bool) -> Result<(), Problem> {
        if self.series.iter().all(|one| one.vm.is_none()) {
            return Err(Problem::failed(
                "Nothing would be imported.",
                "None of the VMs in the file is known.",
                "Use names or ids as `shadowcast vms` lists them.",
            ));
        }
        if self.bad_row_count > 0 && !skip_bad {
            return Err(Problem::usage(
                "The file would not be imported as it is.",
                format!(
                    "{} rows cannot be read; they are listed above.",
                    self.bad_row_count
                ),
                "Correct them, or leave them out by --skip-bad.",
            ));
        }
        Ok(())
    }
}
