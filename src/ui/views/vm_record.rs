//! What makes a VM's forecast, what past forecasts of it were worth, and how long it lasts.

use eframe::egui::{Sense, Ui, vec2};

use super::{capacity_record, chart_card};
use crate::{
    engine::snapshot::{RunwayOf, VmView},
    metrics::Metric,
    ui::{format, pass::Pass, reports::Report},
    units::printable,
};

const TALL: f32 = 84.0;

/// The model of the large chart and how it did on the last day.
pub fn model(ui: &mut Ui, view: &VmView, metric: Metric, pass: &mut Pass<'_>) {
    let (card, _) = ui.allocate_exact_size(vec2(ui.available_width(), TALL), Sense::hover());
    let detail = pass.detail(view, metric);
    let forecast = detail
        .as_ref()
        .and_then(|detail| detail.forecast.as_ref().ok());
    let accuracy = forecast.and_then(|forecast| forecast.accuracy);
    let dash = || "–".to_owned();
    let columns = [
        (
            "Model",
            forecast.map_or_else(dash, |forecast| printable(&forecast.model)),
            forecast.map_or_else(
                || match detail.as_ref().map(|detail| &detail.forecast) {
                    Some(Err(reason)) => chart_card::not_ready(reason),
                    _ => String::new(),
                },
                |forecast| format!("made {} ago", pass.clock.ago(forecast.made_at)),
            ),
        ),
        (
            "Better than the day before",
            accuracy.map_or_else(dash, |accuracy| format::percent(1.0 - accuracy.mase)),
            "mean error, on held-out history".to_owned(),
        ),
        (
            "Coverage",
            accuracy.map_or_else(dash, |accuracy| format::percent(accuracy.coverage)),
            "of 95 % promised".to_owned(),
        ),
        (
            "Chance to cross",
            forecast
                .and_then(|forecast| forecast.probability)
                .map_or_else(dash, format::percent),
            format!("in the next {} h", pass.now.horizon_seconds / 3600),
        ),
    ];
    capacity_record::strip(ui, card, &columns);
}

/// The rolling record of the live model on this VM, and the day on which its limit is reached for good.
pub fn record(ui: &mut Ui, view: &VmView, metric: Metric, pass: &mut Pass<'_>) {
    let (card, _) = ui.allocate_exact_size(vec2(ui.available_width(), TALL), Sense::hover());
    let detail = pass.detail(view, metric);
    let record = detail.as_ref().and_then(|detail| detail.record.as_ref());
    let dash = || "–".to_owned();
    let worth = record.map(|record| &record.worth);
    let judged = match record {
        Some(record) => format!(
            "{} judged since {}",
            record.worth.origins,
            pass.clock.day_of_year(record.from)
        ),
        None if matches!(metric, Metric::Cpu | Metric::Memory) => "not judged yet".to_owned(),
        None => "kept of CPU and memory".to_owned(),
    };
    let verdict = worth.map_or_else(String::new, |worth| match worth.no_better_than_naive() {
        Some(true) => "no better than naive".to_owned(),
        _ => capacity_record::of_naive(&worth.day),
    });
    let (runway, why) = runway(view, metric, pass);
    let columns = [
        (
            "Record, MASE 1 h · 24 h",
            worth.map_or_else(dash, |worth| {
                format!(
                    "{} · {}",
                    capacity_record::mase(&worth.hour),
                    capacity_record::mase(&worth.day)
                )
            }),
            verdict,
        ),
        (
            "In range 1 h · 24 h",
            worth.map_or_else(dash, |worth| {
                format!(
                    "{} · {}",
                    capacity_record::inside(&worth.hour),
                    capacity_record::inside(&worth.day)
                )
            }),
            judged,
        ),
        (
            "False alarms a day",
            worth.map_or_else(dash, capacity_record::false_alarms),
            worth.map_or_else(String::new, |worth| {
                format!(
                    "median lead {}, {} of {} told",
                    capacity_record::median_lead(worth),
                    worth.told(),
                    worth.crossings
                )
            }),
        ),
        ("Runway", runway, why),
    ];
    capacity_record::strip(ui, card, &columns);
}

fn runway(view: &VmView, metric: Metric, pass: &mut Pass<'_>) -> (String, String) {
    let of = RunwayOf::Vm(view.vm.id.clone());
    match pass.reports.runway(of, metric, pass.now.at) {
        Report::Waiting => ("–".to_owned(), "adding up …".to_owned()),
        Report::Failed(problem) => ("–".to_owned(), problem.why),
        Report::Known(report) => match &report.runway {
            Err(why) => ("–".to_owned(), why.to_string()),
            Ok(runway) => {
                let days = report
                    .likely_full()
                    .map(|at| at.secs_since(pass.now.at) / 86_400);
                let figure = match (report.limit, days) {
                    (None, _) => "no limit".to_owned(),
                    (_, None) => "over 1 y".to_owned(),
                    (_, Some(..=0)) => "reached".to_owned(),
                    (_, Some(days)) => format::plural(days as usize, "day", "days"),
                };
                let words = if runway.no_better_than_naive() {
                    "no better than \"as a week ago\"".to_owned()
                } else {
                    runway.words().unwrap_or_default()
                };
                (figure, words)
            }
        },
    }
}
