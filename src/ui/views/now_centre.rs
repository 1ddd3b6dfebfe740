//! The middle of Now: the VM, its forecast, why something should be done, and what would run.

use std::sync::Arc;

use eframe::egui::{Rect, Role, ScrollArea, Sense, Ui, UiBuilder, WidgetInfo, pos2, vec2};

use super::now::{Item, NowView};
use super::{chart_card, plan_card};
use crate::{
    engine::snapshot::{VmDetail, VmView},
    inventory::PowerState,
    metrics::Metric,
    shadow::{Proposal, ProposalState, Reason},
    ui::{
        format,
        pass::{Go, Pass},
        theme,
        widgets::{button, chart::IfApproved, status::Tone, text},
        words,
    },
    units::{VmId, printable},
};

pub fn ui(ui: &mut Ui, rect: Rect, view: &mut NowView, item: &Item<'_>, pass: &mut Pass<'_>) {
    let inside = Rect::from_min_max(
        pos2(rect.left() + 24.0, rect.top()),
        pos2(rect.right() - 24.0, rect.bottom()),
    );
    let mut child = ui.new_child(UiBuilder::new().id_salt("scroll").max_rect(inside));
    ScrollArea::vertical()
        .auto_shrink([false, false])
        .show(&mut child, |ui| {
            let (id, name) = match item {
                Item::Proposal(proposal) => (&proposal.need.vm, &proposal.plan.vm_name),
                Item::Operation(operation) => (&operation.vm, &operation.vm_name),
            };
            let metric = view.metric.unwrap_or(match item {
                Item::Proposal(proposal) => words::metric(proposal),
                Item::Operation(_) => Metric::Cpu,
            });
            let vm = pass.now.vm(id).cloned();
            let mut chosen = metric;
            head(ui, id, name, vm.as_ref(), &mut chosen, pass);
            if chosen != metric {
                view.metric = Some(chosen);
            }
            // The chart gives way first when the window is low.
            let others = match item {
                Item::Proposal(proposal) => 248.0 + 34.0 * proposal.plan.steps.len() as f32,
                Item::Operation(operation) => 216.0 + 30.0 * operation.steps.len() as f32,
            };
            let tall = (rect.height() - others).clamp(230.0, 334.0);
            let (card, _) =
                ui.allocate_exact_size(vec2(ui.available_width(), tall), Sense::hover());
            if let Some(vm) = &vm {
                let change = match item {
                    Item::Proposal(proposal) => if_approved(view, proposal, metric, pass),
                    Item::Operation(_) => None,
                };
                chart_card::chart_card(ui, card, vm, metric, change, pass);
            } else {
                text::card(ui, card);
                super::empty::message(
                    ui,
                    card,
                    Tone::None,
                    "This VM is no longer there.",
                    "Its source does not list it.",
                );
            }
            match item {
                Item::Proposal(proposal) => {
                    reasons(ui, proposal, vm.as_ref(), metric, pass);
                    plan_card::plan(ui, proposal, pass);
                }
                Item::Operation(operation) => {
                    ui.add_space(16.0);
                    plan_card::operation_card(ui, operation, pass);
                }
            }
            ui.add_space(20.0);
        });
}

/// Breadcrumb, name, particulars, and the metrics to choose from.
pub fn head(
    ui: &mut Ui,
    id: &VmId,
    name: &str,
    vm: Option<&VmView>,
    metric: &mut Metric,
    pass: &mut Pass<'_>,
) {
    let tokens = theme::of(ui);
    let (area, _) = ui.allocate_exact_size(vec2(ui.available_width(), 82.0), Sense::hover());
    let crumbs = vm.map_or_else(
        || printable(id.source().as_str()),
        |view| {
            let pool = words::pool(pass.now, &view.vm.pool);
            let mut crumbs = vec![printable(view.vm.source.as_str())];
            for part in [pool, printable(&view.vm.host)] {
                if crumbs.last() != Some(&part) {
                    crumbs.push(part);
                }
            }
            crumbs.join("  /  ")
        },
    );
    text::fit(
        ui,
        area.left(),
        area.top() + 26.0,
        area.width(),
        &crumbs,
        theme::regular(12.5),
        tokens.dim,
    );
    let y = area.top() + 54.0;
    let choices = Metric::FORECAST.map(|metric| (metric, format::metric(metric)));
    let wide: f32 = choices
        .iter()
        .map(|(_, name)| text::width(ui, name, theme::medium(13.0)) + 24.0)
        .sum();
    let tabs = area.right() - wide;
    button::segments(ui, pos2(tabs, y - 14.0), 28.0, &choices, metric, false);
    let name = printable(name);
    let title = text::fit(
        ui,
        area.left(),
        y,
        tabs - area.left() - 16.0,
        &name,
        theme::semibold(21.0),
        tokens.hi,
    );
    let link = text::touch(ui, title.rect, Sense::click());
    link.widget_info(|| WidgetInfo::labeled(Role::Link, true, format!("Open the page of {name}")));
    if link.clicked() || link.double_clicked() {
        pass.go.push(Go::OpenVm(id.clone()));
    }
    if let Some(view) = vm {
        let state = match view.vm.state {
            PowerState::Running => "running",
            PowerState::Paused => "paused",
            PowerState::Off => "off",
            PowerState::Crashed => "crashed",
            PowerState::Unknown => "state not known",
        };
        let facts = format!(
            "{} vCPU    {}    {state}",
            view.vm.vcpus,
            format::binary_bytes(view.vm.memory_bytes)
        );
        let from = title.rect.right() + 16.0;
        if tabs - from > 130.0 {
            text::fit(
                ui,
                from,
                y + 2.0,
                tabs - from - 12.0,
                &facts,
                theme::regular(12.5),
                tokens.dim,
            );
        }
    }
}

/// How the forecast bends with the share under the slider. Only what follows the traffic bends.
fn if_approved(
    view: &NowView,
    proposal: &Arc<Proposal>,
    metric: Metric,
    pass: &Pass<'_>,
) -> Option<IfApproved> {
    let undecided = matches!(
        proposal.state,
        ProposalState::Open | ProposalState::Snoozed { .. }
    );
    let follows = matches!(metric, Metric::Cpu | Metric::Net);
    let split = super::proposal_split::split(view, proposal);
    if !undecided || !follows || split.share <= 0.0 || split.no_action <= 0.0 {
        return None;
    }
    let from = pass.now.at;
    Some(IfApproved {
        factor: (split.primary / split.no_action).clamp(0.0, 1.0),
        from,
        until: from.plus_secs(i64::from(proposal.plan.estimate_seconds.max(300))),
    })
}

/// Why, by which model, and how good it was.
fn reasons(
    ui: &mut Ui,
    proposal: &Proposal,
    vm: Option<&VmView>,
    metric: Metric,
    pass: &mut Pass<'_>,
) {
    let tokens = theme::of(ui);
    ui.add_space(14.0);
    let detail = vm.and_then(|view| pass.detail(view, metric));
    let (model, record) = records(detail.as_deref());
    let (area, _) = ui.allocate_exact_size(vec2(ui.available_width(), 62.0), Sense::hover());
    let third = area.width() / 3.0;
    let columns = [("Why", why(proposal)), ("Model", model), ("Record", record)];
    for (index, (name, words)) in columns.into_iter().enumerate() {
        let left = area.left() + third * index as f32 + if index > 0 { 14.0 } else { 0.0 };
        if index > 0 {
            text::vline(
                ui,
                left - 14.0,
                area.top() + 2.0..=area.bottom() - 12.0,
                tokens.line2,
            );
        }
        let column = Rect::from_min_max(
            pos2(left, area.top()),
            pos2(
                area.left() + third * (index + 1) as f32 - 12.0,
                area.bottom(),
            ),
        );
        let mut child = ui.new_child(UiBuilder::new().id_salt(name).max_rect(column));
        text::wrapped(&mut child, name, theme::regular(12.0), tokens.dim);
        child.add_space(2.0);
        clamped(&mut child, &words, 2);
    }
}

/// Wrapped text of at most `rows` rows; all of it on hovering.
fn clamped(ui: &mut Ui, words: &str, rows: usize) {
    let tokens = theme::of(ui);
    let mut job = eframe::egui::text::LayoutJob::simple(
        words.to_owned(),
        theme::regular(13.0),
        tokens.text,
        ui.available_width(),
    );
    job.wrap.max_rows = rows;
    let galley = ui.painter().layout_job(job);
    let elided = galley.elided;
    let (rect, response) = ui.allocate_exact_size(galley.size(), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, words));
    ui.painter()
        .galley(text::snap(rect.min), galley, tokens.text);
    if elided {
        response.on_hover_text(words);
    }
}

fn why(proposal: &Proposal) -> String {
    if proposal.why.is_empty() {
        proposal
            .need
            .reasons
            .iter()
            .map(|reason| match reason {
                Reason::ForecastCrosses { metric, .. } => {
                    format!("{} is forecast to cross its limit", format::metric(*metric))
                }
                Reason::HealthUnder { score, .. } => format!("health is {score}"),
                Reason::RiskPassed { .. } => "the risk has passed".to_owned(),
                Reason::ProofFailed { point, .. } => format!("point {point} did not pass"),
                Reason::ByHand => "asked for by hand".to_owned(),
            })
            .collect::<Vec<_>>()
            .join(", ")
    } else {
        printable(&proposal.why)
    }
}

/// The model in a sentence, and its record.
pub fn records(detail: Option<&VmDetail>) -> (String, String) {
    let Some(detail) = detail else {
        return ("…".to_owned(), "…".to_owned());
    };
    let forecast = match &detail.forecast {
        Ok(forecast) => forecast,
        Err(reason) => return (chart_card::not_ready(reason), "none yet".to_owned()),
    };
    let mut model = printable(&forecast.model);
    if let Some(second) = &detail.second {
        let peak = |points: &[crate::forecast::ForecastPoint]| {
            points
                .iter()
                .map(|point| point.mean)
                .fold(0.0_f32, f32::max)
        };
        model += &format!(
            "; {} says peak {}",
            printable(&second.model),
            format::value(detail.metric, f64::from(peak(&second.points)))
        );
    }
    let record = forecast.accuracy.map_or_else(
        || "not tested on this VM yet".to_owned(),
        |accuracy| {
            let skill = if accuracy.mase < 1.0 {
                format!(
                    "{} less error than the day before",
                    format::percent(1.0 - accuracy.mase)
                )
            } else {
                "no better than the day before".to_owned()
            };
            format!(
                "{skill}; {} of values fell inside the range",
                format::percent(accuracy.coverage)
            )
        },
    );
    (model, record)
}
