//! Beside the fleet: the selected VM in figures, and who crosses a limit next.

use std::sync::Arc;

use eframe::egui::{Rect, Role, ScrollArea, Sense, Ui, UiBuilder, WidgetInfo, pos2, vec2};

use crate::{
    engine::{command::Command, snapshot::VmView},
    metrics::Metric,
    shadow::ProposalState,
    ui::{
        action::Action,
        format,
        pass::{Go, Pass},
        theme::{self, Tokens},
        widgets::{
            bars,
            button::{Button, Look},
            chart::Chart,
            status::{self, Tone},
            text,
        },
        words,
    },
    units::{VmId, printable},
};

const ROW: f32 = 29.0;

/// Why no shadow can be proposed by hand.
pub fn why_not(view: &VmView, pass: &Pass<'_>) -> Option<String> {
    if let Some(blocked) = pass.blocked {
        return Some(blocked.to_owned());
    }
    if view.shadow.is_some() {
        return Some("It has a shadow already.".to_owned());
    }
    if view.vm.owner.is_some() {
        return Some("It is a shadow itself.".to_owned());
    }
    pass.now
        .proposals
        .iter()
        .any(|proposal| proposal.need.vm == view.vm.id && proposal.state == ProposalState::Open)
        .then(|| "A proposal for it is open under Now.".to_owned())
}

pub fn ui(ui: &mut Ui, rect: Rect, selected: &mut Option<VmId>, pass: &mut Pass<'_>) {
    let now = Arc::clone(pass.now);
    let view = selected
        .as_ref()
        .and_then(|id| now.vm(id))
        .or_else(|| {
            pass.facts
                .crossing
                .first()
                .map(|index| &now.vms[*index as usize])
        })
        .or_else(|| now.vms.first());
    let inside = Rect::from_min_max(
        rect.min + vec2(20.0, 0.0),
        pos2(rect.right() - 20.0, rect.bottom()),
    );
    let mut child = ui.new_child(UiBuilder::new().id_salt("selected").max_rect(inside));
    if let Some(view) = view {
        if selected.is_none() {
            *selected = Some(view.vm.id.clone());
        }
        particulars(&mut child, view, pass);
    }
    text::rule(&mut child, 14.0, 8.0);
    let hours = now.horizon_seconds / 3600;
    let count = pass.facts.crossing.len();
    text::heading(
        &mut child,
        "Next to cross",
        &format!("{} in {hours} h", format::count(count)),
    );
    let list = Rect::from_min_max(pos2(rect.left() + 1.0, child.cursor().top()), rect.max);
    let mut child = ui.new_child(UiBuilder::new().id_salt("next").max_rect(list));
    crossings(&mut child, selected, pass);
}

fn particulars(ui: &mut Ui, view: &VmView, pass: &mut Pass<'_>) {
    let tokens = theme::of(ui);
    ui.add_space(16.0);
    let (title, _) = ui.allocate_exact_size(vec2(ui.available_width(), 28.0), Sense::hover());
    status::paint(
        ui.painter(),
        pos2(title.left() + 6.0, title.center().y),
        13.0,
        Tone::of_health(view.health.state),
        tokens,
    );
    text::fit(
        ui,
        title.left() + 22.0,
        title.center().y,
        title.width() - 22.0,
        &printable(&view.vm.name),
        theme::semibold(16.0),
        tokens.hi,
    );
    let (place, _) = ui.allocate_exact_size(vec2(ui.available_width(), 22.0), Sense::hover());
    text::fit(
        ui,
        place.left(),
        place.center().y,
        place.width(),
        &format!(
            "{}  /  {}  /  {}",
            printable(view.vm.source.as_str()),
            words::pool(pass.now, &view.vm.pool),
            printable(&view.vm.host)
        ),
        theme::regular(12.5),
        tokens.dim,
    );
    ui.add_space(8.0);
    let (card, _) = ui.allocate_exact_size(vec2(ui.available_width(), 120.0), Sense::hover());
    text::card(ui, card);
    if let Some(detail) = pass.detail(view, Metric::Cpu) {
        let chart = Chart {
            detail: &detail,
            clock: pass.clock,
            from: pass.now.at.plus_secs(-i64::from(pass.range.seconds())),
            to: pass
                .now
                .at
                .plus_secs(i64::from(pass.range.horizon_seconds(pass.now))),
            if_approved: None,
            stale_since: super::chart_card::stale_since(view, pass),
            small: true,
        };
        chart.ui(
            ui,
            ui.scope_id().with(("small", view.vm.id.as_str())),
            card.shrink2(vec2(12.0, 8.0)),
            pass.lines,
        );
    }
    ui.add_space(8.0);
    figures(ui, view, pass, tokens);
    ui.add_space(10.0);
    let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 34.0), Sense::hover());
    buttons(ui, row, view, pass);
}

fn figures(ui: &mut Ui, view: &VmView, pass: &Pass<'_>, tokens: &Tokens) {
    let value = |metric: Metric| {
        view.values[metric.index()].map_or_else(
            || "no data".to_owned(),
            |value| format::value(metric, f64::from(value)),
        )
    };
    text::pair(ui, "CPU now", &value(Metric::Cpu), tokens.hi);
    let outlook = view.first_crossing().or_else(|| view.outlook(Metric::Cpu));
    if let Some(outlook) = outlook {
        let peak = |value: f32| format::value(outlook.metric, f64::from(value));
        let ink = if outlook.crosses_at.is_some() {
            tokens.critical
        } else {
            tokens.hi
        };
        text::pair(
            ui,
            "Forecast peak",
            &format!(
                "{} at {}",
                peak(outlook.peak),
                pass.clock.near(outlook.peak_at)
            ),
            ink,
        )
        .on_hover_text(pass.clock.full(outlook.peak_at));
        text::pair(ui, "Likely at most", &peak(outlook.peak_upper), tokens.hi);
        let limit = outlook.limit.map_or_else(|| "none known".to_owned(), peak);
        text::pair(ui, "Limit", &limit, tokens.hi);
    } else {
        text::pair(ui, "Forecast peak", "no forecast yet", tokens.dim);
    }
    let health = view
        .health
        .score
        .map_or_else(|| "not known".to_owned(), |score| format!("{score} of 100"));
    text::pair(ui, "Health", &health, tokens.hi);
    text::pair(
        ui,
        "Size",
        &words::capacity(view.vm.vcpus, view.vm.memory_bytes),
        tokens.hi,
    );
    let shadow = pass.now.shadow_of(&view.vm.id).map_or_else(
        || "none".to_owned(),
        |shadow| {
            if shadow.traffic_share > 0.0 {
                format!("serves {}", format::percent(shadow.traffic_share))
            } else {
                words::shadow_state(shadow.state).to_lowercase()
            }
        },
    );
    text::pair(ui, "Shadow", &shadow, tokens.hi);
}

fn buttons(ui: &mut Ui, row: Rect, view: &VmView, pass: &mut Pass<'_>) {
    let main = Rect::from_min_size(row.min, vec2(row.width() - 116.0, row.height()));
    let open = Rect::from_min_max(pos2(main.right() + 8.0, row.top()), row.max);
    if let Some(shadow) = pass.now.shadow_of(&view.vm.id) {
        if Button::new("Show its shadow", Look::Primary)
            .put(ui, main)
            .clicked()
        {
            pass.go.push(Go::Shadow(shadow.id.clone()));
        }
    } else if let Some(proposal) =
        pass.now.proposals.iter().find(|proposal| {
            proposal.need.vm == view.vm.id && proposal.state == ProposalState::Open
        })
    {
        if Button::new("Show the proposal", Look::Primary)
            .put(ui, main)
            .clicked()
        {
            pass.go.push(Go::Proposal(proposal.id.clone()));
        }
    } else {
        let off = why_not(view, pass);
        if Button::action(Action::Propose, Look::Primary)
            .off(off.as_deref())
            .put(ui, main)
            .clicked()
        {
            pass.out.push(Command::ShadowPropose {
                vm: view.vm.id.clone(),
                pool: None,
                rpo_seconds: None,
                share: None,
            });
        }
    }
    if Button::action(Action::Open, Look::Secondary)
        .put(ui, open)
        .clicked()
    {
        pass.go.push(Go::OpenVm(view.vm.id.clone()));
    }
}

fn crossings(ui: &mut Ui, selected: &mut Option<VmId>, pass: &mut Pass<'_>) {
    let tokens = theme::of(ui);
    let list = Arc::clone(&pass.facts.crossing);
    let now = Arc::clone(pass.now);
    if list.is_empty() {
        let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 34.0), Sense::hover());
        text::left(
            ui,
            row.left() + 20.0,
            row.center().y,
            "Nobody, as far as forecasts look.",
            theme::regular(13.0),
            tokens.dim,
        );
        return;
    }
    ScrollArea::vertical()
        .auto_shrink([false, false])
        .show_rows(ui, ROW, list.len(), |ui, range| {
            for index in &list[range] {
                let view = &now.vms[*index as usize];
                let on = selected.as_ref() == Some(&view.vm.id);
                let (row, _) =
                    ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::hover());
                let response = ui.interact(
                    row,
                    ui.scope_id().with(("next", view.vm.id.as_str())),
                    Sense::click(),
                );
                let name = printable(&view.vm.name);
                response.widget_info(|| WidgetInfo::selected(Role::ListBoxOption, true, on, &name));
                crossing(ui, row, view, &name, on, response.hovered(), pass);
                if response.clicked() {
                    *selected = Some(view.vm.id.clone());
                }
                if response.double_clicked() {
                    pass.go.push(Go::OpenVm(view.vm.id.clone()));
                }
            }
        });
}

fn crossing(
    ui: &mut Ui,
    row: Rect,
    view: &VmView,
    name: &str,
    on: bool,
    hovered: bool,
    pass: &Pass<'_>,
) {
    let tokens = theme::of(ui);
    let Some(outlook) = view.first_crossing() else {
        return;
    };
    if on || hovered {
        ui.painter()
            .rect_filled(row, 0, if on { tokens.selected } else { tokens.hover });
    }
    let y = row.center().y;
    status::paint(
        ui.painter(),
        pos2(row.left() + 25.0, y),
        11.0,
        Tone::of_health(view.health.state),
        tokens,
    );
    let at = outlook.crosses_at.unwrap_or(outlook.peak_at);
    let time = text::right(
        ui,
        row.right() - 20.0,
        y,
        &pass.clock.near(at),
        theme::mono(12.0),
        tokens.dim,
    )
    .on_hover_text(pass.clock.full(at));
    let ratio = outlook.metric.unit() == "ratio";
    let peak = text::right(
        ui,
        (row.right() - 64.0).min(time.rect.left() - 8.0),
        y,
        &if ratio {
            format::percent(f64::from(outlook.peak))
        } else {
            format::rate(f64::from(outlook.peak))
        },
        theme::mono_medium(12.0),
        tokens.hi,
    );
    let mut right = peak.rect.left() - 10.0;
    if ratio {
        let bar = Rect::from_min_max(pos2(right - 50.0, y - 2.0), pos2(right, y + 2.0));
        bars::share(
            ui.painter(),
            bar,
            outlook.peak,
            None,
            tokens.heat(outlook.peak),
            tokens,
        );
        right = bar.left() - 10.0;
    }
    text::fit(
        ui,
        row.left() + 38.0,
        y,
        right - row.left() - 38.0,
        name,
        theme::regular(13.0),
        tokens.text,
    );
}
