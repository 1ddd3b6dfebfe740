//! Fleet: every VM as a cell of a heatmap or as a row of a table, and the selected one beside it.

use std::sync::Arc;

use eframe::egui::{Id, Rect, ScrollArea, Sense, Ui, UiBuilder, Vec2, pos2, vec2};
use egui_material_icons::icons;

use super::{
    empty, fleet_side,
    fleet_table::{self, Table},
};
use super::{
    fleet_filter::{Filtered, Wanted},
    fleet_marks,
};
use crate::ui::widgets::field::text_field;
use crate::{
    engine::{
        command::Command,
        snapshot::{Snapshot, VmView},
    },
    ui::{
        action::Action,
        app::part,
        pass::{Go, Pass},
        theme,
        widgets::{
            button,
            heatmap::{self, Colour, Field, Heatmap},
            status::Tone,
            text,
        },
        words,
    },
    units::{PoolId, VmId},
};

const TOOLS: f32 = 56.0;

const KEY: f32 = 76.0;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Shape {
    #[default]
    Heatmap,
    Table,
}

pub struct FleetView {
    pub selected: Option<VmId>,
    shape: Shape,
    colour: Colour,
    typed: String,
    filtered: Option<Filtered>,
    heatmap: Heatmap,
    table: Table,
}

impl Default for FleetView {
    fn default() -> Self {
        Self {
            selected: None,
            shape: Shape::Heatmap,
            colour: Colour::PeakAhead,
            typed: String::new(),
            filtered: None,
            heatmap: Heatmap::default(),
            table: Table::default(),
        }
    }
}

impl FleetView {
    pub fn select(&mut self, vm: VmId) {
        self.selected = Some(vm);
    }

    pub fn ui(&mut self, ui: &mut Ui, body: Rect, pass: &mut Pass<'_>) {
        let tokens = theme::of(ui);
        if pass.now.vms.is_empty() {
            empty::loading(ui, body, pass);
            return;
        }
        let side = Rect::from_min_max(
            pos2(
                body.right() - if body.width() < 1300.0 { 300.0 } else { 316.0 },
                body.top(),
            ),
            body.max,
        );
        let main = Rect::from_min_max(body.min, pos2(side.left(), body.bottom()));
        let tools = Rect::from_min_size(main.min, vec2(main.width(), TOOLS));
        part(ui, "tools", tools, |ui| self.tools(ui, tools, pass));
        text::hline(ui, main.left()..=main.right(), tools.bottom(), tokens.line);
        self.filter(pass.now, pass);
        let rest = Rect::from_min_max(tools.left_bottom() + vec2(0.0, 1.0), main.max);
        self.keys(pass);
        match self.shape {
            Shape::Heatmap => part(ui, "heatmap", rest, |ui| self.field(ui, rest, pass)),
            Shape::Table => {
                let shown = self.shown();
                part(ui, "table", rest, |ui| {
                    fleet_table::ui(
                        ui,
                        rest.shrink2(vec2(24.0, 16.0)),
                        &mut self.table,
                        &mut self.selected,
                        &shown,
                        pass,
                    );
                });
            }
        }
        ui.painter().rect_filled(side, 0, tokens.panel);
        text::vline(ui, side.left(), side.top()..=side.bottom(), tokens.line);
        part(ui, "side", side, |ui| {
            fleet_side::ui(ui, side, &mut self.selected, pass);
        });
    }

    fn shown(&self) -> Arc<Vec<u32>> {
        self.filtered
            .as_ref()
            .map(|filtered| Arc::clone(&filtered.shown))
            .unwrap_or_default()
    }

    fn tools(&mut self, ui: &mut Ui, rect: Rect, pass: &Pass<'_>) {
        let y = rect.center().y;
        let hours = pass.now.horizon_seconds / 3600;
        let peak = format!("Peak, next {hours} h");
        let x = button::segments(
            ui,
            pos2(rect.left() + 24.0, y - 16.0),
            32.0,
            &[
                (Colour::PeakAhead, peak.as_str()),
                (Colour::LoadNow, "Load now"),
                (Colour::Health, "Health"),
            ],
            &mut self.colour,
            true,
        );
        button::segments(
            ui,
            pos2(x + 16.0, y - 16.0),
            32.0,
            &[(Shape::Heatmap, "Heatmap"), (Shape::Table, "Table")],
            &mut self.shape,
            true,
        );
        let field = Rect::from_min_max(
            pos2((rect.right() - 24.0 - 290.0).max(x + 210.0), y - 16.0),
            pos2(rect.right() - 24.0, y + 16.0),
        );
        if pass.pressed(Action::Filter) {
            ui.memory_mut(|memory| memory.request_focus(Id::unique(("field", "Filter"))));
        }
        let response = text_field(
            ui,
            field,
            &mut self.typed,
            "Filter",
            "name  pool:…  health:…",
        );
        if !response.has_focus() && self.typed.is_empty() {
            text::key_cap(
                ui,
                field.right() - 8.0,
                field.center().y,
                Action::Filter.keys(),
                false,
            );
        } else if !self.typed.is_empty() {
            let clear = Rect::from_center_size(
                pos2(field.right() - 17.0, field.center().y),
                Vec2::splat(22.0),
            );
            if button::icon(ui, clear, icons::ICON_CLOSE.codepoint, "Clear the filter").clicked() {
                self.typed.clear();
            }
        }
    }

    fn filter(&mut self, now: &Arc<Snapshot>, pass: &Pass<'_>) {
        let fits = self.filtered.as_ref().is_some_and(|filtered| {
            Arc::ptr_eq(&filtered.of, &now.vms)
                && filtered.typed == self.typed
                && filtered.colour == self.colour
        });
        if fits {
            return;
        }
        let shown = if self.typed.trim().is_empty() {
            Arc::clone(&pass.facts.all)
        } else {
            let wanted = Wanted::parse(&self.typed);
            Arc::new(
                now.vms
                    .iter()
                    .enumerate()
                    .filter(|(_, view)| wanted.takes(view, now))
                    .map(|(index, _)| index as u32)
                    .collect(),
            )
        };
        let count = |such: &dyn Fn(&VmView) -> bool| {
            shown
                .iter()
                .filter(|index| such(&now.vms[**index as usize]))
                .count()
        };
        self.filtered = Some(Filtered {
            of: Arc::clone(&now.vms),
            typed: self.typed.clone(),
            bins: heatmap::histogram(&now.vms, &shown, self.colour),
            colour: self.colour,
            shadows: count(&|view| view.shadow.is_some()),
            crossing: count(&|view| view.first_crossing().is_some()),
            silent: count(&|view| self.colour.value(view).is_none()),
            shown,
        });
    }

    fn keys(&mut self, pass: &mut Pass<'_>) {
        let step =
            i64::from(pass.pressed(Action::Next)) - i64::from(pass.pressed(Action::Previous));
        if step != 0 && self.shape == Shape::Heatmap && !pass.facts.crossing.is_empty() {
            let list = &pass.facts.crossing;
            let place = self.selected.as_ref().and_then(|id| {
                list.iter()
                    .position(|index| pass.now.vms[*index as usize].vm.id == *id)
            });
            let next = place.map_or(0, |place| {
                (place as i64 + step).clamp(0, list.len() as i64 - 1) as usize
            });
            self.selected = Some(pass.now.vms[list[next] as usize].vm.id.clone());
        }
        let Some(id) = &self.selected else { return };
        if pass.pressed(Action::Open) {
            pass.go.push(Go::OpenVm(id.clone()));
        }
        if pass.pressed(Action::Propose)
            && let Some(view) = pass.now.vm(id)
            && fleet_side::why_not(view, pass).is_none()
        {
            pass.out.push(Command::ShadowPropose {
                vm: id.clone(),
                pool: None,
                rpo_seconds: None,
                share: None,
            });
        }
    }

    fn field(&mut self, ui: &mut Ui, rect: Rect, pass: &mut Pass<'_>) {
        let tokens = theme::of(ui);
        let Some(filtered) = &self.filtered else {
            return;
        };
        let key = Rect::from_min_size(rect.min, vec2(rect.width(), KEY));
        fleet_marks::legend(ui, key, filtered, tokens);
        let area = Rect::from_min_max(
            pos2(rect.left() + 24.0, key.bottom()),
            pos2(rect.right() - 24.0, rect.bottom()),
        );
        if filtered.shown.is_empty() {
            empty::message(
                ui,
                area,
                Tone::None,
                "No VM passes the filter.",
                "It takes a part of the name, pool:… and health:ok, watch, risk, critical or unknown.",
            );
            return;
        }
        let now = Arc::clone(pass.now);
        let pool_name = |id: &PoolId| words::pool(&now, id);
        let field = Field {
            vms: &now.vms,
            shown: &filtered.shown,
            colour: self.colour,
            selected: self.selected.as_ref(),
            pool_name: &pool_name,
        };
        let room = vec2(area.width().floor(), (area.height() - 24.0).floor());
        let height = self.heatmap.height(&field, room, tokens);
        let mut child = ui.new_child(UiBuilder::new().id_salt("cells").max_rect(area.expand(6.0)));
        child.set_clip_rect(area.expand2(vec2(8.0, 0.0)).intersect(ui.clip_rect()));
        let mut touched = heatmap::Touched::default();
        ScrollArea::vertical()
            .auto_shrink([false, false])
            .show(&mut child, |ui| {
                let (space, _) =
                    ui.allocate_exact_size(vec2(room.x + 12.0, height + 24.0), Sense::hover());
                let at = pos2(area.left(), (space.top() + 6.0).round());
                touched = self.heatmap.ui(ui, Id::unique("heatmap"), at, &field);
            });
        if let Some((index, cell)) = touched.hovered {
            fleet_marks::hover_card(ui, rect, cell, &now.vms[index], pass, tokens);
        }
        if let Some(index) = touched.selected {
            let id = now.vms[index].vm.id.clone();
            if touched.opened {
                pass.go.push(Go::OpenVm(id.clone()));
            }
            self.selected = Some(id);
        }
    }
}
