//! The page of one VM: its health as a sum, history and forecast of each metric, its shadow, what happened to it.

use std::sync::Arc;

use eframe::egui::{Rect, ScrollArea, Sense, Ui, UiBuilder, pos2, vec2};

use super::{chart_card, empty, fleet_side, now_centre, vm_health, vm_record, vm_side};
use crate::{
    engine::snapshot::VmView,
    metrics::Metric,
    ui::{
        action::Action,
        format,
        pass::Pass,
        theme,
        widgets::{button, chart::Chart, status::Tone, text},
    },
    units::VmId,
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
                vm_health::health(ui, view);
                ui.add_space(14.0);
                let tall = (body.height() - 572.0).clamp(230.0, 330.0);
                let (card, _) =
                    ui.allocate_exact_size(vec2(ui.available_width(), tall), Sense::hover());
                chart_card::chart_card(ui, card, view, metric, None, pass);
                ui.add_space(14.0);
                self.others(ui, view, pass);
                ui.add_space(14.0);
                vm_record::model(ui, view, metric, pass);
                ui.add_space(14.0);
                vm_record::record(ui, view, metric, pass);
                ui.add_space(24.0);
            });
        ui.painter().rect_filled(side, 0, tokens.panel);
        text::vline(ui, side.left(), side.top()..=side.bottom(), tokens.line);
        vm_side::side_ui(ui, side, view, pass);
        if pass.pressed(Action::Propose) && fleet_side::why_not(view, pass).is_none() {
            vm_side::propose(view, pass);
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
                    stale_since: chart_card::stale_since(view, pass),
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
