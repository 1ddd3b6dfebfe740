//! `forecast VM`: what a metric will do next, how sure that is, and when it crosses its limit.

use clap::Args;

use super::{
    context::{Context, unexpected},
    json::ForecastJson,
    names,
    output::{self, Listing},
    parse,
    together::Asked,
};
use crate::{
    engine::{
        command::{Answer, Command},
        snapshot::{Snapshot, VmDetail, VmView},
    },
    forecast::ForecastPoint,
    metrics::Metric,
    problem::Problem,
    units::{Timestamp, printable},
};

/// A table longer than this is thinned for people; `--json` has every step.
const MOST_ROWS: usize = 24;

/// Show what a VM's metric will do next and when it crosses its limit; or what many VMs will do together
#[derive(Args)]
pub struct Forecast {
    /// VM by name or id
    #[arg(required_unless_present_any = ["pool", "type"], conflicts_with_all = ["pool", "type"])]
    vm: Option<String>,
    /// All VMs of a pool together, by its name or id
    #[arg(long, value_name = "POOL", conflicts_with = "type")]
    pool: Option<String>,
    /// All VMs of a type together, as `shadowcast types` calls it
    #[arg(long = "type", id = "type", value_name = "TYPE")]
    instance_type: Option<String>,
    /// cpu, memory, disk or net
    #[arg(long, default_value = "cpu", value_parser = parse::metric)]
    metric: Metric,
    /// How far ahead
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = parse::seconds)]
    horizon: u32,
    #[arg(long)]
    json: bool,
}

impl Forecast {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, now) = context.settled()?;
        let Some(word) = &self.vm else {
            return self.together(&now)?.run(&session.handle, &now, self.json);
        };
        let view = names::vm(&now, word)?;
        let detail = match session.handle.ask(Command::VmDetail {
            vm: view.vm.id.clone(),
            metric: self.metric,
            past_seconds: 0,
            horizon_seconds: self.horizon,
        })? {
            Answer::VmDetail { detail } => detail,
            other => return Err(unexpected(&other)),
        };
        let document = ForecastJson::of(view, &detail).map_err(|not_ready| {
            Problem::failed(
                format!(
                    "There is no forecast of {} for {}.",
                    self.metric.name(),
                    view.vm.name
                ),
                format!("{not_ready}."),
                "Let an engine go on sampling (`shadowcast agent`), or bring history with `shadowcast history import FILE`.",
            )
        })?;
        if self.json {
            output::json(&document)
        } else {
            show(view, &detail, now.at)
        }
    }
}

impl Forecast {
    fn together<'a>(&self, now: &'a Snapshot) -> Result<Asked<'a>, Problem> {
        let (name, views): (String, Vec<&VmView>) = match (&self.pool, &self.instance_type) {
            (Some(word), _) => {
                let pool = names::pool(now, word)?;
                let of = now.vms.iter().filter(|view| view.vm.pool == pool);
                (format!("pool {pool}"), of.collect())
            }
            (None, wanted) => {
                let wanted = wanted.as_deref().unwrap_or_default();
                let of = now
                    .vms
                    .iter()
                    .filter(|view| view.vm.instance_type == wanted);
                (format!("type {}", printable(wanted)), of.collect())
            }
        };
        if views.is_empty() {
            return Err(Problem::usage(
                "There is nothing to forecast.",
                format!("{name} has no VMs"),
                "`shadowcast types` lists the types, `shadowcast pools` the pools.",
            ));
        }
        Ok(Asked {
            name,
            views,
            metric: self.metric,
            horizon_seconds: self.horizon,
        })
    }
}

fn show(view: &VmView, detail: &VmDetail, now: Timestamp) -> Result<(), Problem> {
    // `ForecastJson::of` has seen that there is one.
    let Ok(forecast) = &detail.forecast else {
        return Ok(());
    };
    let metric = forecast.metric;
    output::line(&format!(
        "{}, {}: {}, made {}",
        view.vm.name,
        metric.name(),
        forecast.model,
        output::relative(forecast.made_at, now)
    ))?;
    output::line(&match forecast.accuracy {
        Some(accuracy) => format!(
            "accuracy on its own history: MASE {:.2}, {} of the values inside the 95 % interval",
            accuracy.mase,
            output::percent(accuracy.coverage)
        ),
        None => "accuracy: not known yet".to_owned(),
    })?;
    if detail.no_better_than_naive() {
        output::line("no better here than \"as it was yesterday\": do not act on it alone")?;
    }
    output::line(&crossing(detail, now))?;
    let mut listing = Listing::new(&["at", ">mean", ">lower", ">upper"]);
    for point in thinned(&forecast.points) {
        let shown = |value: f32| output::value(metric, f64::from(value));
        listing.row([
            output::moment(point.at).into(),
            shown(point.mean).into(),
            shown(point.lower).into(),
            shown(point.upper).into(),
        ]);
    }
    listing.show_or("The forecast has no points.")
}

fn crossing(detail: &VmDetail, now: Timestamp) -> String {
    let Ok(forecast) = &detail.forecast else {
        return String::new();
    };
    match (forecast.limit, forecast.crosses_at) {
        (None, _) => "limit: none known, so no crossing is claimed".to_owned(),
        (Some(limit), None) => format!(
            "limit {}: not crossed within the horizon",
            output::value(forecast.metric, limit)
        ),
        (Some(limit), Some(at)) => format!(
            "limit {}: crossed {} at {}{}",
            output::value(forecast.metric, limit),
            output::relative(at, now),
            output::moment(at),
            (forecast.probability).map_or_else(String::new, |probability| format!(
                ", probability {}",
                output::percent(probability)
            ))
        ),
    }
}

fn thinned(points: &[ForecastPoint]) -> impl Iterator<Item = &ForecastPoint> {
    points
        .iter()
        .step_by(points.len().div_ceil(MOST_ROWS).max(1))
}
