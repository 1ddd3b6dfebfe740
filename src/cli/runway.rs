//! `runway [VM|--pool P|--type T]`: how long a capacity lasts.

use clap::Args;

use super::{
    context::{Context, unexpected},
    json::RunwayJson,
    names,
    output::{self, Listing, Text, UNKNOWN},
    parse,
};
use crate::{
    engine::{
        command::{Answer, Command},
        handle::Handle,
        snapshot::{RunwayOf, RunwayReport, Snapshot},
    },
    metrics::Metric,
    problem::Problem,
    units::{Timestamp, printable},
};
use serde::Serialize;
use std::sync::Arc;

/// Show when a VM, a pool or all VMs of a size reach their limit; without any, each pool
///
/// Daily peaks of up to 180 days are carried on by their trend and their week. The limit of a pool is its capacity.
#[derive(Args)]
pub struct Runway {
    /// VM by name or id
    #[arg(conflicts_with_all = ["pool", "type"])]
    vm: Option<String>,
    /// All VMs of a pool together, by its name or id
    #[arg(long, value_name = "POOL", conflicts_with = "type")]
    pool: Option<String>,
    /// All VMs of a size together, as `shadowcast vms` calls it
    #[arg(long = "type", id = "type", value_name = "TYPE")]
    instance_type: Option<String>,
    /// cpu, memory, disk or net
    #[arg(long, default_value = "cpu", value_parser = parse::metric)]
    metric: Metric,
    /// How far ahead
    #[arg(long, default_value_t = 366, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=366))]
    days: u32,
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Runways<'a> {
    runways: Vec<RunwayJson<'a>>,
}

impl Runway {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, now) = context.settled()?;
        let of = match (&self.vm, &self.pool, &self.instance_type) {
            (Some(word), ..) => RunwayOf::Vm(names::vm(&now, word)?.vm.id.clone()),
            (_, Some(word), _) => RunwayOf::Pool(names::pool(&now, word)?),
            (.., Some(name)) => RunwayOf::Type(name.clone()),
            (None, None, None) => return self.pools(&session.handle, &now),
        };
        let report = self.ask(&session.handle, of)?;
        if self.json {
            output::json(&RunwayJson::from(&*report))
        } else {
            one(&report, &now)
        }
    }

    fn ask(&self, handle: &Handle, of: RunwayOf) -> Result<Arc<RunwayReport>, Problem> {
        match handle.ask(Command::Runway {
            of,
            metric: self.metric,
            horizon_days: self.days,
        })? {
            Answer::Runway { report } => Ok(report),
            other => Err(unexpected(&other)),
        }
    }

    fn pools(&self, handle: &Handle, now: &Snapshot) -> Result<(), Problem> {
        let waiting = output::spinner("adding up");
        let reports: Result<Vec<_>, Problem> = now
            .pools
            .iter()
            .map(|pool| self.ask(handle, RunwayOf::Pool(pool.id.clone())))
            .collect();
        waiting.finish_and_clear();
        let mut reports = reports?;
        // What is full first stands first; what is never stands last.
        reports.sort_by_key(|report| report.likely_full().map_or(i64::MAX, Timestamp::as_secs));
        if self.json {
            return output::json(&Runways {
                runways: reports.iter().map(|report| (&**report).into()).collect(),
            });
        }
        let mut listing =
            Listing::new(&["pool", ">vms", ">peak", ">capacity", ">a week", "runway"]);
        for report in &reports {
            let shown = |value: Option<f64>| {
                value.map_or_else(|| UNKNOWN.to_owned(), |value| report_value(report, value))
            };
            let trend = report.runway.as_ref().ok();
            listing.row([
                name(report, now).into(),
                report.vms.into(),
                shown(report.newest_peak().map(f64::from)).into(),
                shown(report.limit).into(),
                trend
                    .map_or_else(
                        || UNKNOWN.to_owned(),
                        |runway| signed(report, 7.0 * runway.trend_a_day),
                    )
                    .into(),
                words(report),
            ]);
        }
        listing.show_or("No pools. Connect a platform: `shadowcast source add URI`.")
    }
}

fn name(report: &RunwayReport, now: &Snapshot) -> String {
    match &report.of {
        RunwayOf::Vm(id) => now
            .vm(id)
            .map_or_else(|| id.to_string(), |view| view.vm.name.clone()),
        RunwayOf::Pool(id) => format!("{id}"),
        RunwayOf::Type(name) => format!("type {}", printable(name)),
    }
}

fn report_value(report: &RunwayReport, value: f64) -> String {
    match (report.unit(), report.metric) {
        ("vcpus", _) => format!("{value:.1} vCPU"),
        ("bytes", _) => output::bytes(value.max(0.0) as u64),
        (_, metric) => output::value(metric, value),
    }
}

fn signed(report: &RunwayReport, value: f64) -> String {
    let sign = if value < 0.0 { "−" } else { "+" };
    format!("{sign}{}", report_value(report, value.abs()))
}

fn words(report: &RunwayReport) -> Text {
    match &report.runway {
        Err(why) => format!("{why}").into(),
        Ok(runway) => {
            let mut words = runway
                .words()
                .unwrap_or_else(|| "no limit is known".to_owned());
            if runway.no_better_than_naive() {
                words.push_str("; no better than \"as a week ago\"");
                return Text::warn(words);
            }
            match runway.full.and_then(|full| full.likely) {
                Some(_) => Text::warn(words),
                None => words.into(),
            }
        }
    }
}

fn one(report: &RunwayReport, now: &Snapshot) -> Result<(), Problem> {
    let vms = match report.of {
        RunwayOf::Vm(_) => String::new(),
        _ => format!(": {} VMs", report.vms),
    };
    output::line(&format!(
        "{}, daily peaks of {}{vms}",
        name(report, now),
        report.metric.name()
    ))?;
    let runway = match &report.runway {
        Ok(runway) => runway,
        Err(why) => return output::line(&format!("no runway: {why}")),
    };
    output::line(&match (report.limit, runway.words()) {
        (Some(limit), Some(words)) => {
            format!("limit {}: {words}", report_value(report, limit))
        }
        _ => "limit: none known, so nothing is ever full".to_owned(),
    })?;
    output::line(&format!(
        "newest peak {}, {} a week",
        report.newest_peak().map_or_else(
            || UNKNOWN.to_owned(),
            |peak| report_value(report, f64::from(peak))
        ),
        signed(report, 7.0 * runway.trend_a_day)
    ))?;
    output::line(&match runway.accuracy {
        Some(accuracy) => format!(
            "judged over two weeks ahead: {:.2} of the error of \"as a week ago\", {} of the peaks inside the 95 % interval",
            accuracy.mase,
            output::percent(accuracy.coverage)
        ),
        None => "judged: not yet, that needs four weeks of peaks".to_owned(),
    })?;
    if runway.no_better_than_naive() {
        output::line("no better here than \"as a week ago\": do not plan on it alone")?;
    }
    let mut listing = Listing::new(&["in", ">mean", ">lower", ">upper"]);
    for days in [7_usize, 30, 90, 180, 366] {
        let Some(point) = runway.peaks.get(days - 1) else {
            continue;
        };
        let shown = |value: f32| report_value(report, f64::from(value));
        listing.row([
            format!("{days} days").into(),
            shown(point.mean).into(),
            shown(point.lower).into(),
            shown(point.upper).into(),
        ]);
    }
    listing.show_or("It looks no week ahead.")
}
