//! The page of one VM: its health as a sum, history and forecast of each metric, its shadow, what happened to it.

use std::sync::Arc;

use eframe::egui::{
    Align2, CornerRadius, Rect, ScrollArea, Sense, Stroke, Ui, UiBuilder, pos2, vec2,
};

use super::{empty, fleet_side, now_centre, timeline};
use crate::{
    engine::{
        command::Command,
        snapshot::{TimelineEntry, VmView},
    },
    metrics::Metric,
    shadow::ProposalState,
    ui::{
        action::Action,
        format,
        pass::{Go, Pass},
        theme,
        widgets::{
            bars,
            button::{self, Button, Look},
            chart::Chart,
            status::{self, Tone},
            text,
        },
        words,
    },
    units::{VmId, printable},
};

pub struct VmPage {
    vm: VmId,
    metric: Metric,
}

impl VmPage {
    pub const fn new(vm: VmId) -> Self {
        Self {
            vm,
            metric: Metric::Cpu,
        }
    }

    pub fn ui(&mut self, ui: &mut Ui, body: Rect, pass: &mut Pass<'_>) {
        let tokens = theme::of(ui);
        let now = Arc::clone(pass.now);
        let Some(view) = now.vm(&self.vm) else {
            empty::message(
                ui,
                body,
                Tone::None,
                "This VM is no longer there.",
                "Its source does not list it. Esc goes back.",
            );
            return;
        };
        let side = Rect::from_min_max(
            pos2(
                body.right() - if body.width() < 1300.0 { 300.0 } else { 316.0 },
                body.top(),
            ),
            body.max,
        );
        let main = Rect::from_min_max(
            body.min + vec2(24.0, 0.0),
            pos2(side.left() - 24.0, body.bottom()),
        );
        let mut child = ui.new_child(UiBuilder::new().id_salt("page").max_rect(main));
        ScrollArea::vertical()
            .auto_shrink([false, false])
            .show(&mut child, |ui| {
                let mut metric = self.metric;
                now_centre::head(
                    ui,
                    &view.vm.id,
                    &view.vm.name,
                    Some(view),
                    &mut metric,
                    pass,
                );
                self.metric = metric;
                health(ui, view);
                ui.add_space(14.0);
                let tall = (body.height() - 480.0).clamp(230.0, 330.0);
                let (card, _) =
                    ui.allocate_exact_size(vec2(ui.available_width(), tall), Sense::hover());
                now_centre::chart_card(ui, card, view, metric, None, pass);
                ui.add_space(14.0);
                self.others(ui, view, pass);
                ui.add_space(14.0);
                record(ui, view, metric, pass);
                ui.add_space(24.0);
            });
        ui.painter().rect_filled(side, 0, tokens.panel);
        text::vline(ui, side.left(), side.top()..=side.bottom(), tokens.line);
        side_ui(ui, side, view, pass);
        if pass.pressed(Action::Propose) && fleet_side::why_not(view, pass).is_none() {
            propose(view, pass);
        }
    }

    /// The metrics that the large chart does not show, in small.
    fn others(&mut self, ui: &mut Ui, view: &VmView, pass: &mut Pass<'_>) {
        let tokens = theme::of(ui);
        let (area, _) = ui.allocate_exact_size(vec2(ui.available_width(), 124.0), Sense::hover());
        let others: Vec<Metric> = Metric::FORECAST
            .into_iter()
            .filter(|metric| *metric != self.metric)
            .collect();
        let wide = (area.width() - 14.0 * (others.len() - 1) as f32) / others.len() as f32;
        for (index, metric) in others.into_iter().enumerate() {
            let card = Rect::from_min_size(
                pos2(area.left() + (wide + 14.0) * index as f32, area.top()),
                vec2(wide, area.height()),
            );
            text::card(ui, card);
            let y = card.top() + 20.0;
            let response = text::touch(ui, card, Sense::click());
            response.widget_info(|| {
                eframe::egui::WidgetInfo::labeled(
                    eframe::egui::Role::Button,
                    true,
                    format!("Show {} large", format::metric(metric)),
                )
            });
            button::focus_ring(ui, &response, theme::radius::CARD);
            if response.clicked() {
                self.metric = metric;
            }
            text::left(
                ui,
                card.left() + 14.0,
                y,
                format::metric(metric),
                theme::medium(13.0),
                tokens.hi,
            );
            let value = view.values[metric.index()].map_or_else(
                || "no data".to_owned(),
                |value| format::value(metric, f64::from(value)),
            );
            let peak = view
                .outlook(metric)
                .map(|outlook| format!("peak {}", format::value(metric, f64::from(outlook.peak))));
            let mut right = card.right() - 14.0;
            if let Some(peak) = peak {
                right = text::right(ui, right, y, &peak, theme::medium(12.5), tokens.cast)
                    .rect
                    .left()
                    - 10.0;
            }
            text::right(ui, right, y, &value, theme::mono_medium(12.5), tokens.hi);
            if let Some(detail) = pass.detail(view, metric) {
                let chart = Chart {
                    detail: &detail,
                    clock: pass.clock,
                    from: pass.now.at.plus_secs(-i64::from(pass.range.seconds())),
                    to: pass
                        .now
                        .at
                        .plus_secs(i64::from(pass.range.horizon_seconds(pass.now))),
                    if_approved: None,
                    stale_since: now_centre::stale_since(view, pass),
                    small: true,
                };
                let place = Rect::from_min_max(
                    pos2(card.left() + 14.0, card.top() + 38.0),
                    pos2(card.right() - 14.0, card.bottom() - 6.0),
                );
                let id = ui.scope_id().with(("other", metric.name()));
                chart.ui(ui, id, place, pass.lines);
            }
        }
    }
}

/// The score, and what takes it from 100 down to there: bars that begin where the one before ended.
fn health(ui: &mut Ui, view: &VmView) {
    let tokens = theme::of(ui);
    let rows = view.health.contributions.len().max(1) + 1;
    let height = (30.0 + 21.0 * rows as f32).max(112.0);
    let (card, _) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    text::card(ui, card);
    let left = card.left() + 16.0;
    text::left(
        ui,
        left,
        card.top() + 24.0,
        "Health",
        theme::regular(12.5),
        tokens.dim,
    );
    let tone = Tone::of_health(view.health.state);
    let score = view
        .health
        .score
        .map_or_else(|| "–".to_owned(), |score| score.to_string());
    let figure = text::left(
        ui,
        left,
        card.top() + 57.0,
        &score,
        theme::semibold(36.0),
        tokens.hi,
    );
    text::left(
        ui,
        figure.rect.right() + 8.0,
        card.top() + 65.0,
        "of 100",
        theme::regular(13.0),
        tokens.dim,
    );
    status::paint(
        ui.painter(),
        pos2(left + 6.0, card.top() + 92.0),
        11.0,
        tone,
        tokens,
    );
    text::left(
        ui,
        left + 18.0,
        card.top() + 92.0,
        tone.word(),
        theme::medium(13.0),
        tone.colour(tokens),
    );
    let bar_left = card.left() + 312.0;
    text::vline(
        ui,
        card.left() + 170.0,
        card.top() + 14.0..=card.bottom() - 14.0,
        tokens.line,
    );
    let names = card.left() + 190.0;
    let bar_right = card.left() + 312.0 + (card.width() - 312.0) * 0.48;
    if view.health.contributions.is_empty() {
        let words = if view.health.score.is_some() {
            "Nothing takes away from it."
        } else {
            "Too little was measured to say."
        };
        text::left(
            ui,
            names,
            card.center().y,
            words,
            theme::regular(13.0),
            tokens.dim,
        );
        return;
    }
    let lost: u32 = view
        .health
        .contributions
        .iter()
        .map(|part| u32::from(part.points))
        .sum();
    let scale = (bar_right - bar_left) / lost.max(1) as f32;
    let mut x = bar_right;
    for (index, part) in view.health.contributions.iter().enumerate() {
        let y = card.top() + 25.0 + 21.0 * index as f32;
        text::fit(
            ui,
            names,
            y,
            bar_left - names - 10.0,
            &contribution(&part.name),
            theme::regular(13.0),
            tokens.text,
        );
        let rail = Rect::from_min_max(pos2(bar_left, y - 4.0), pos2(bar_right, y + 4.0));
        ui.painter()
            .rect_filled(rail, CornerRadius::same(2), tokens.line);
        let from = x - f32::from(part.points) * scale;
        let colour = match part.points {
            0..5 => tokens.watch,
            5..12 => tokens.risk,
            _ => tokens.critical,
        };
        ui.painter().rect_filled(
            Rect::from_min_max(pos2(from, y - 4.0), pos2(x, y + 4.0)),
            CornerRadius::same(2),
            colour,
        );
        ui.painter()
            .vline(from, y + 4.0..=y + 17.0, Stroke::new(1.0, tokens.line2));
        x = from;
        let points = text::right(
            ui,
            bar_right + 46.0,
            y,
            &format!("-{}", part.points),
            theme::mono_medium(12.5),
            tokens.hi,
        );
        text::fit(
            ui,
            points.rect.right() + 14.0,
            y,
            card.right() - points.rect.right() - 26.0,
            &printable(&part.why),
            theme::regular(12.5),
            tokens.dim,
        );
    }
    let y = card.top() + 25.0 + 21.0 * view.health.contributions.len() as f32 + 3.0;
    text::left(
        ui,
        names,
        y,
        "Taken off 100",
        theme::regular(13.0),
        tokens.dim,
    );
    let sum = text::right(
        ui,
        bar_right + 46.0,
        y,
        &format!("-{lost}"),
        theme::mono_medium(12.5),
        tokens.hi,
    );
    text::left(
        ui,
        sum.rect.right() + 14.0,
        y,
        &format!("leaves {score}"),
        theme::regular(12.5),
        tokens.dim,
    );
}

fn contribution(name: &str) -> String {
    let mut words = printable(name);
    if words == "cpu" {
        return "CPU".to_owned();
    }
    if let Some(first) = words.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    words
}

/// The model of the large chart and its record.
fn record(ui: &mut Ui, view: &VmView, metric: Metric, pass: &mut Pass<'_>) {
    let tokens = theme::of(ui);
    let (card, _) = ui.allocate_exact_size(vec2(ui.available_width(), 84.0), Sense::hover());
    text::card(ui, card);
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
                    Some(Err(reason)) => now_centre::not_ready(reason),
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
    let wide = (card.width() - 32.0) / columns.len() as f32;
    for (index, (name, figure, remark)) in columns.into_iter().enumerate() {
        let x = card.left() + 16.0 + wide * index as f32;
        if index > 0 {
            text::vline(
                ui,
                x - 14.0,
                card.top() + 14.0..=card.bottom() - 14.0,
                tokens.line,
            );
        }
        for (y, words, font, ink) in [
            (22.0, name, theme::regular(12.5), tokens.dim),
            (43.0, &*figure, theme::semibold(15.0), tokens.hi),
            (63.0, &*remark, theme::regular(12.0), tokens.dim),
        ] {
            text::fit(ui, x, card.top() + y, wide - 24.0, words, font, ink);
        }
    }
}

fn propose(view: &VmView, pass: &mut Pass<'_>) {
    pass.out.push(Command::ShadowPropose {
        vm: view.vm.id.clone(),
        pool: None,
        rpo_seconds: None,
        share: None,
    });
}

fn side_ui(ui: &mut Ui, side: Rect, view: &VmView, pass: &mut Pass<'_>) {
    let inside = Rect::from_min_max(
        side.min + vec2(20.0, 0.0),
        pos2(side.right() - 20.0, side.bottom() - 104.0),
    );
    let mut child = ui.new_child(UiBuilder::new().id_salt("side").max_rect(inside));
    shadow(&mut child, view, pass);
    text::rule(&mut child, 12.0, 8.0);
    let own: Vec<TimelineEntry> = pass
        .now
        .timeline
        .iter()
        .filter(|entry| entry.vm.as_ref() == Some(&view.vm.id))
        .take(50)
        .cloned()
        .collect();
    text::heading(
        &mut child,
        "What happened",
        &format::plural(own.len(), "entry", "entries"),
    );
    if own.is_empty() {
        text::wrapped(
            &mut child,
            "Nothing was done about this VM yet.",
            theme::regular(13.0),
            theme::of(ui).dim,
        );
    }
    ScrollArea::vertical()
        .auto_shrink([false, false])
        .show_rows(&mut child, 46.0, own.len(), |ui, range| {
            for entry in &own[range] {
                timeline::event(ui, entry, pass);
            }
        });
    let foot = Rect::from_min_max(
        pos2(inside.left(), inside.bottom()),
        pos2(inside.right(), side.bottom()),
    );
    buttons(ui, foot, view, pass);
}

fn shadow(ui: &mut Ui, view: &VmView, pass: &mut Pass<'_>) {
    let tokens = theme::of(ui);
    ui.add_space(16.0);
    let Some(shadow) = pass.now.shadow_of(&view.vm.id).cloned() else {
        text::heading(ui, "Shadow", "none");
        text::wrapped(
            ui,
            "No copy of this VM is kept ready.",
            theme::regular(13.0),
            tokens.dim,
        );
        return;
    };
    let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 24.0), Sense::hover());
    text::left(
        ui,
        row.left(),
        row.center().y,
        "Shadow",
        theme::medium(13.0),
        tokens.text,
    );
    if button::link(
        ui,
        pos2(row.right(), row.center().y),
        Align2::RIGHT_CENTER,
        "Open the shadow",
    )
    .clicked()
    {
        pass.go.push(Go::Shadow(shadow.id.clone()));
    }
    let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 26.0), Sense::hover());
    status::paint(
        ui.painter(),
        pos2(row.left() + 6.0, row.center().y),
        11.0,
        super::shadows::tone(&shadow),
        tokens,
    );
    text::fit(
        ui,
        row.left() + 18.0,
        row.center().y,
        row.width() - 18.0,
        &printable(&shadow.name),
        theme::semibold(13.5),
        tokens.hi,
    );
    ui.add_space(4.0);
    let (bar, _) = ui.allocate_exact_size(vec2(ui.available_width(), 6.0), Sense::hover());
    bars::split(ui.painter(), bar, shadow.traffic_share as f32, tokens);
    ui.add_space(4.0);
    let lag = shadow
        .lag_seconds
        .map_or_else(|| "none yet".to_owned(), |lag| format::span(lag as i64));
    text::pair(ui, "State", words::shadow_state(shadow.state), tokens.hi);
    text::pair(
        ui,
        "Traffic",
        &format::percent(shadow.traffic_share),
        tokens.hi,
    );
    text::pair(
        ui,
        "Lag",
        &format!("{lag} of {}", format::span(i64::from(shadow.rpo_seconds))),
        tokens.hi,
    );
    text::pair(
        ui,
        "Recovery points",
        &shadow.points.len().to_string(),
        tokens.hi,
    );
}

fn buttons(ui: &mut Ui, foot: Rect, view: &VmView, pass: &mut Pass<'_>) {
    let main = Rect::from_min_size(foot.min + vec2(0.0, 12.0), vec2(foot.width(), 40.0));
    let open = pass
        .now
        .proposals
        .iter()
        .find(|proposal| proposal.need.vm == view.vm.id && proposal.state == ProposalState::Open)
        .map(|proposal| proposal.id.clone());
    if let Some(proposal) = open {
        if Button::new("Show the proposal", Look::Primary)
            .put(ui, main)
            .clicked()
        {
            pass.go.push(Go::Proposal(proposal));
        }
    } else {
        let off = fleet_side::why_not(view, pass);
        if Button::action(Action::Propose, Look::Primary)
            .off(off.as_deref())
            .put(ui, main)
            .clicked()
        {
            propose(view, pass);
        }
    }
    let half = (foot.width() - 8.0) / 2.0;
    let row = main.bottom() + 8.0;
    let back = Rect::from_min_size(pos2(foot.left(), row), vec2(half, 32.0));
    let fleet = Rect::from_min_size(pos2(foot.left() + half + 8.0, row), vec2(half, 32.0));
    let mut button = Button::new("Back", Look::Secondary);
    button.keys = Some(Action::Close.keys());
    if button.put(ui, back).clicked() {
        pass.go.push(Go::Back);
    }
    if Button::new("In the fleet", Look::Secondary)
        .put(ui, fleet)
        .clicked()
    {
        pass.go.push(Go::SelectVm(view.vm.id.clone()));
    }
}
