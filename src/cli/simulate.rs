//! `simulate`: the whole engine in virtual time on a simulated fleet.

use clap::Args;
use serde::Serialize;

use super::output::{self, Listing};
use crate::{
    engine::simulate::trial::{self, Fault, Figures, TrialSpec},
    policy::Settings,
    problem::Problem,
    units::Timestamp,
};

/// Run the whole engine in virtual time on a simulated fleet, and look for what must never be
///
/// An operator who approves whatever is proposed and the faults that are named act on it. Then the faults stop and
/// the world must come to rest. The same seed gives the same run.
#[derive(Args)]
pub struct Simulate {
    /// VMs in the fleet
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(40..=20_000))]
    vms: u32,
    /// Hours of the fleet's time
    #[arg(long, default_value_t = 2, value_name = "H", value_parser = clap::value_parser!(u32).range(1..=720))]
    hours: u32,
    /// Decides everything that happens
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// What goes wrong: all, or some of engine_death, failed_call, half_call, lost_reply, slow_call, outage,
    /// lost_bitmaps, full_pool
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = faults)]
    faults: Vec<Vec<Fault>>,
    #[arg(long)]
    json: bool,
}

fn faults(word: &str) -> Result<Vec<Fault>, String> {
    if word == "all" {
        return Ok(Fault::ALL.to_vec());
    }
    let found = Fault::ALL
        .into_iter()
        .find(|fault| output::word(fault) == word);
    found.map(|fault| vec![fault]).ok_or_else(|| {
        let known: Vec<String> = Fault::ALL.iter().map(output::word).collect();
        format!("one of all, {}", known.join(", "))
    })
}

#[derive(Serialize)]
struct Report {
    seed: u64,
    vms: u32,
    hours: u32,
    #[serde(flatten)]
    figures: Figures,
    /// Of this process.
    cpu_seconds: Option<f64>,
    peak_rss_bytes: Option<u64>,
}

impl Simulate {
    pub fn run(self) -> Result<(), Problem> {
        let spec = TrialSpec {
            vms: self.vms,
            hours: self.hours,
            seed: self.seed,
            faults: self.faults.into_iter().flatten().collect(),
            // A fixed moment: what a seed does must not depend on the day.
            start: Timestamp::from_secs(1_795_356_000),
        };
        let figures = trial::run(&spec, Settings::default()).map_err(|error| {
            Problem::failed(
                "The simulation did not run.",
                error.to_string(),
                "Try again; it keeps its journal in memory.",
            )
        })?;
        let report = Report {
            seed: spec.seed,
            vms: spec.vms,
            hours: spec.hours,
            figures,
            cpu_seconds: cpu_seconds(),
            peak_rss_bytes: peak_rss_bytes(),
        };
        if self.json {
            output::json(&report)?;
        } else {
            report.show()?;
        }
        match report.figures.violations.len() {
            0 => Ok(()),
            count => Err(Problem::failed(
                format!("The simulation found {count} violations."),
                report.figures.violations.join("; "),
                format!(
                    "The same happens again with --vms {} --hours {} --seed {} and the same faults.",
                    spec.vms, spec.hours, spec.seed
                ),
            )),
        }
    }
}

impl Report {
    fn show(&self) -> Result<(), Problem> {
        let figures = &self.figures;
        let mut listing = Listing::new(&["figure", ">value"]);
        let ended = figures.operations;
        let faults: Vec<String> = figures
            .faults
            .iter()
            .map(|(fault, count)| format!("{count} {}", output::word(fault)))
            .collect();
        for (name, value) in [
            (
                "fleet",
                format!("{} VMs for {} h, seed {}", self.vms, self.hours, self.seed),
            ),
            ("samples read", figures.samples_in.to_string()),
            ("samples kept", figures.samples_out.to_string()),
            ("proposals", figures.proposals.to_string()),
            (
                "operations",
                format!(
                    "{} done, {} undone, {} parked",
                    ended.done, ended.undone, ended.parked
                ),
            ),
            (
                "faults",
                if faults.is_empty() {
                    "none".to_owned()
                } else {
                    faults.join(", ")
                },
            ),
            ("violations", figures.violations.len().to_string()),
            (
                "CPU",
                output::or_dash(self.cpu_seconds.map(|seconds| format!("{seconds:.1} s"))),
            ),
            (
                "memory at most",
                output::or_dash(self.peak_rss_bytes.map(output::bytes)),
            ),
        ] {
            listing.row([name.into(), output::Text::from(value)]);
        }
        listing.show()
    }
}

/// Of the main thread, on which a simulation runs; `None` where the kernel does not say.
fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    let nanos: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(nanos as f64 / 1e9)
}

fn peak_rss_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
