//! The middle of Now: the VM, its forecast, why something should be done, and what would run.

use std::sync::Arc;

use eframe::egui::{Rect, Role, ScrollArea, Sense, Ui, UiBuilder, WidgetInfo, pos2, vec2};

use super::now::{Item, NowView};
use crate::{
    engine::snapshot::{OperationView, VmDetail, VmView},
    forecast::NotReady,
    inventory::PowerState,
    metrics::Metric,
    shadow::{Proposal, ProposalState, Reason},
    ui::{
        format,
        pass::{Go, Pass},
        theme::{self, Tokens},
        widgets::{
            button,
            chart::{self, Chart, IfApproved},
            status::{self, Tone},
            steps, text,
        },
        words,
    },
    units::{Timestamp, VmId, printable},
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
                chart_card(ui, card, vm, metric, change, pass);
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
                    plan(ui, proposal, pass);
                }
                Item::Operation(operation) => {
                    ui.add_space(16.0);
                    operation_card(ui, operation, pass);
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

/// What the chart's figures are a part of.
fn basis(view: &VmView, metric: Metric) -> String {
    match metric {
        Metric::Cpu => format!("CPU use, % of {} vCPU", view.vm.vcpus),
        Metric::Memory => format!(
            "Memory in use, % of {}",
            format::binary_bytes(view.vm.memory_bytes)
        ),
        Metric::Disk => "Disk, reads and writes".to_owned(),
        Metric::Net => "Network, received and sent".to_owned(),
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
fn missing(ui: &mut Ui, place: Rect, reason: &NotReady, pass: &Pass<'_>, tokens: &Tokens) {
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
    let split = super::now_proposal::split(view, proposal);
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
        Err(reason) => return (not_ready(reason), "none yet".to_owned()),
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

fn plan(ui: &mut Ui, proposal: &Proposal, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    ui.add_space(8.0);
    let steps: Vec<_> = proposal
        .plan
        .steps
        .iter()
        .map(|step| words::step(pass.now, step))
        .collect();
    let height = 46.0 + 34.0 * steps.len() as f32 + 14.0;
    let (card, _) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    text::card(ui, card);
    let y = card.top() + 22.0;
    let right = text::right(
        ui,
        card.right() - 16.0,
        y,
        &format!(
            "about {}",
            format::span(i64::from(proposal.plan.estimate_seconds))
        ),
        theme::medium(12.5),
        tokens.text,
    )
    .rect
    .left();
    let title = text::left(
        ui,
        card.left() + 16.0,
        y,
        "What will run",
        theme::medium(13.0),
        tokens.hi,
    );
    let passed = proposal
        .checks
        .iter()
        .all(|check| check.outcome != crate::shadow::CheckOutcome::Blocks);
    text::fit(
        ui,
        title.rect.right() + 12.0,
        y,
        right - title.rect.right() - 24.0,
        &format!(
            "planned {} ago, {}",
            pass.clock.ago(proposal.plan.made_at),
            if passed {
                "no check blocks it"
            } else {
                "a check blocks it"
            }
        ),
        theme::regular(12.5),
        tokens.dim,
    );
    text::hline(
        ui,
        card.left() + 1.0..=card.right() - 1.0,
        card.top() + 43.0,
        tokens.line,
    );
    let list = Rect::from_min_max(
        pos2(card.left() + 18.0, card.top() + 50.0),
        pos2(card.right() - 16.0, card.bottom()),
    );
    let mut child = ui.new_child(UiBuilder::new().id_salt("steps").max_rect(list));
    steps::planned(&mut child, &steps, |_| None);
}

/// An operation with its steps, in a card.
pub fn operation_card(ui: &mut Ui, operation: &OperationView, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    let why = operation.why.is_some();
    let height = 46.0 + 30.0 * operation.steps.len() as f32 + 16.0 + if why { 34.0 } else { 0.0 };
    let (card, _) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    text::card(ui, card);
    let y = card.top() + 22.0;
    let title = text::left(
        ui,
        card.left() + 16.0,
        y,
        words::operation_kind(operation.kind),
        theme::medium(13.0),
        tokens.hi,
    );
    let tone = super::now_queue::operation_tone(operation);
    let state = text::right(
        ui,
        card.right() - 16.0,
        y,
        words::operation_state(operation.state, operation.undoing),
        theme::medium(12.5),
        tone.colour(tokens),
    );
    status::paint(
        ui.painter(),
        pos2(state.rect.left() - 11.0, y),
        10.0,
        tone,
        tokens,
    );
    text::fit(
        ui,
        title.rect.right() + 12.0,
        y,
        state.rect.left() - title.rect.right() - 40.0,
        &format!(
            "{}, {} of {} steps, by {}",
            operation.id,
            operation.step,
            operation.steps.len(),
            printable(&operation.by)
        ),
        theme::regular(12.5),
        tokens.dim,
    );
    text::hline(
        ui,
        card.left() + 1.0..=card.right() - 1.0,
        card.top() + 43.0,
        tokens.line,
    );
    let list = Rect::from_min_max(
        pos2(card.left() + 16.0, card.top() + 50.0),
        pos2(card.right() - 16.0, card.bottom()),
    );
    let mut child = ui.new_child(UiBuilder::new().id_salt("steps").max_rect(list));
    steps::carried_out(&mut child, operation, pass.clock);
    if let Some(why) = &operation.why {
        let y = card.bottom() - 24.0;
        status::paint(
            ui.painter(),
            pos2(card.left() + 26.0, y),
            11.0,
            tone,
            tokens,
        );
        text::fit(
            ui,
            card.left() + 42.0,
            y,
            card.width() - 58.0,
            &printable(why),
            theme::regular(13.0),
            tokens.text,
        );
    }
}
