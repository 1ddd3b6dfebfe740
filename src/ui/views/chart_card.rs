//! The forecast chart in its card, and what stands there while there is none.

use eframe::egui::{Rect, Ui, UiBuilder, pos2, vec2};

use crate::{
    engine::snapshot::VmView,
    forecast::NotReady,
    metrics::Metric,
    ui::{
        format,
        pass::Pass,
        theme::{self, Tokens},
        widgets::{
            chart::{self, Chart, IfApproved},
            status::Tone,
            text,
        },
    },
    units::{Timestamp, printable},
};

/// What the chart's figures are a part of.
pub(super) fn basis(view: &VmView, metric: Metric) -> String {
    match metric {
        Metric::Cpu => format!("CPU, % of {} vCPU", view.vm.vcpus),
        Metric::Memory => format!(
            "Memory, % of {}",
            format::binary_bytes(view.vm.memory_bytes)
        ),
        Metric::Disk => "Disk, read and written".to_owned(),
        Metric::Net => "Network, both ways".to_owned(),
        other => format::metric(other).to_owned(),
    }
}

/// The chart in its card; also what stands there while there is none.
pub fn chart_card(
    ui: &mut Ui,
    card: Rect,
    view: &VmView,
    metric: Metric,
    change: Option<IfApproved>,
    pass: &mut Pass<'_>,
) {
    let tokens = theme::of(ui);
    text::card(ui, card);
    let head = card.top() + 22.0;
    let detail = pass.detail(view, metric);
    let forecast = detail
        .as_ref()
        .is_some_and(|detail| detail.forecast.is_ok());
    let left = chart::legend(
        ui,
        card.right() - 16.0,
        head,
        change.is_some() && forecast,
        forecast,
    );
    text::fit(
        ui,
        card.left() + 16.0,
        head,
        left - card.left() - 24.0,
        &basis(view, metric),
        theme::medium(13.0),
        tokens.text,
    );
    let place = Rect::from_min_max(
        pos2(card.left() + 12.0, card.top() + 42.0),
        pos2(card.right() - 14.0, card.bottom() - 6.0),
    );
    let Some(detail) = detail else {
        let (what, more) = pass.details.problem(&view.vm.id, metric).map_or_else(
            || ("History is being read.".to_owned(), String::new()),
            |problem| (printable(&problem.what), printable(&problem.why)),
        );
        super::empty::message(ui, place, Tone::None, &what, &more);
        return;
    };
    if detail
        .measured
        .values
        .iter()
        .all(|value| !value.is_finite())
        && !forecast
    {
        super::empty::message(
            ui,
            place,
            Tone::None,
            "Nothing was measured yet.",
            &match &detail.forecast {
                Err(reason) => not_ready(reason),
                Ok(_) => String::new(),
            },
        );
        return;
    }
    let horizon = pass.range.horizon_seconds(pass.now);
    let chart = Chart {
        detail: &detail,
        clock: pass.clock,
        from: pass.now.at.plus_secs(-i64::from(pass.range.seconds())),
        to: pass.now.at.plus_secs(i64::from(horizon)),
        if_approved: change.filter(|_| forecast),
        stale_since: stale_since(view, pass),
        small: false,
    };
    let id = ui
        .scope_id()
        .with(("chart", view.vm.id.as_str(), metric.name()));
    chart.ui(ui, id, place, pass.lines);
    if let Err(reason) = &detail.forecast {
        missing(ui, place, reason, pass, tokens);
    }
}

/// In the half where the forecast would be: why it is not there.
pub(super) fn missing(
    ui: &mut Ui,
    place: Rect,
    reason: &NotReady,
    pass: &Pass<'_>,
    tokens: &Tokens,
) {
    let behind = pass.range.seconds() as f32;
    let ahead = pass.range.horizon_seconds(pass.now) as f32;
    let from = place.left() + 38.0 + (place.width() - 38.0) * behind / (behind + ahead);
    let right = Rect::from_min_max(pos2(from + 8.0, place.top()), place.max);
    let mut child = ui.new_child(
        UiBuilder::new()
            .id_salt("missing")
            .max_rect(right.shrink2(vec2(12.0, 0.0)))
            .layout(eframe::egui::Layout::top_down(eframe::egui::Align::Min)),
    );
    child.add_space(right.height() * 0.36);
    text::wrapped(
        &mut child,
        "No forecast yet",
        theme::semibold(14.0),
        tokens.hi,
    );
    child.add_space(4.0);
    text::wrapped(
        &mut child,
        &not_ready(reason),
        theme::regular(13.0),
        tokens.dim,
    );
}

pub fn not_ready(reason: &NotReady) -> String {
    let mut words = reason.to_string();
    if let Some(first) = words.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    words + "."
}

/// Since when the VM is not measured any more, where that is long enough to matter.
pub fn stale_since(view: &VmView, pass: &Pass<'_>) -> Option<Timestamp> {
    view.sampled_at
        .filter(|at| pass.now.at.secs_since(*at) > 120)
}
