//! Fleet: every VM as a cell of a heatmap or as a row of a table, and the selected one beside it.

use std::sync::Arc;

use eframe::egui::{
    Id, LayerId, Order, Rect, ScrollArea, Sense, Stroke, StrokeKind, Ui, UiBuilder, Vec2, pos2,
    vec2,
};
use egui_material_icons::icons;

use super::{
    approve::text_field,
    empty, fleet_side,
    fleet_table::{self, Table},
};
use crate::{
    engine::{
        command::Command,
        snapshot::{Snapshot, VmView},
    },
    health::HealthState,
    metrics::Metric,
    ui::{
        action::Action,
        app::part,
        format,
        pass::{Go, Pass},
        theme::{self, Tokens, radius},
        widgets::{
            bars, button,
            heatmap::{self, Colour, Field, Heatmap},
            spark,
            status::{self, Tone},
            text,
        },
        words,
    },
    units::{PoolId, VmId, printable},
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

/// The VMs that pass the filter, worked out anew only for other words or VMs.
struct Filtered {
    of: Arc<Vec<VmView>>,
    typed: String,
    shown: Arc<Vec<u32>>,
    bins: [u32; 50],
    colour: Colour,
    shadows: usize,
    crossing: usize,
    silent: usize,
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
        legend(ui, key, filtered, tokens);
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
            hover_card(ui, rect, cell, &now.vms[index], pass, tokens);
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

/// A filter as it is typed: words of the name, `pool:…`, `health:…`.
struct Wanted {
    names: Vec<String>,
    pools: Vec<String>,
    health: Vec<String>,
}

impl Wanted {
    fn parse(typed: &str) -> Self {
        let mut wanted = Self {
            names: Vec::new(),
            pools: Vec::new(),
            health: Vec::new(),
        };
        for word in typed.to_lowercase().split_whitespace() {
            if let Some(pool) = word.strip_prefix("pool:") {
                wanted.pools.push(pool.to_owned());
            } else if let Some(health) = word.strip_prefix("health:") {
                wanted.health.push(health.to_owned());
            } else {
                wanted.names.push(word.to_owned());
            }
        }
        wanted
    }

    fn takes(&self, view: &VmView, now: &Snapshot) -> bool {
        let name = view.vm.name.to_lowercase();
        let health = match view.health.state {
            HealthState::Ok => "ok",
            HealthState::Watch => "watch",
            HealthState::Risk => "risk",
            HealthState::Critical => "critical",
            HealthState::Unknown => "unknown",
        };
        self.names.iter().all(|word| name.contains(word))
            && (self.health.is_empty()
                || self
                    .health
                    .iter()
                    .any(|word| health.starts_with(word.as_str())))
            && (self.pools.is_empty() || {
                let pool = words::pool(now, &view.vm.pool).to_lowercase();
                self.pools.iter().any(|word| pool.contains(word))
            })
    }
}

/// The histogram over its ramp, and what the marks of the cells mean.
fn legend(ui: &mut Ui, rect: Rect, filtered: &Filtered, tokens: &Tokens) {
    let wide = (rect.width() * 0.3).min(320.0);
    let bars_at = Rect::from_min_size(
        pos2(rect.left() + 24.0, rect.top() + 14.0),
        vec2(wide, 26.0),
    );
    let limit = 0.85;
    bars::columns(ui.painter(), bars_at, &filtered.bins, |bin| {
        if filtered.colour != Colour::Health && bin as f32 / 50.0 >= limit {
            tokens.critical
        } else {
            tokens.line2
        }
    });
    let ramp = Rect::from_min_size(bars_at.left_bottom() + vec2(0.0, 2.0), vec2(wide, 8.0));
    heatmap::ramp(ui, ramp);
    let figures = if filtered.colour == Colour::Health {
        ["100", "75", "50", "25", "0"]
    } else {
        ["0", "25", "50", "75", "100 %"]
    };
    for (index, words) in figures.into_iter().enumerate() {
        let x = ramp.left() + wide * index as f32 / 4.0;
        let anchor = match index {
            0 => eframe::egui::Align2::LEFT_CENTER,
            4 => eframe::egui::Align2::RIGHT_CENTER,
            _ => eframe::egui::Align2::CENTER_CENTER,
        };
        text::paint(
            ui.painter(),
            pos2(x, ramp.bottom() + 9.0),
            anchor,
            words,
            theme::regular(11.0),
            tokens.dim,
        );
    }
    if filtered.colour != Colour::Health {
        ui.painter().vline(
            ramp.left() + wide * limit,
            bars_at.top()..=ramp.bottom(),
            Stroke::new(2.0, tokens.critical),
        );
    }
    let y = ramp.center().y - 4.0;
    let mut x = ramp.right() + 36.0;
    let mut entry = |ui: &mut Ui, count: usize, words: &str, mark: &dyn Fn(Rect)| {
        let number = format::count(count);
        let need = 18.0
            + text::width(ui, &number, theme::mono(12.5))
            + 7.0
            + text::width(ui, words, theme::regular(12.5));
        if x + need > rect.right() - 24.0 {
            return;
        }
        mark(Rect::from_center_size(pos2(x + 5.0, y), Vec2::splat(9.0)));
        let number = text::left(ui, x + 18.0, y, &number, theme::mono(12.5), tokens.text);
        let label = text::left(
            ui,
            number.rect.right() + 7.0,
            y,
            words,
            theme::regular(12.5),
            tokens.dim,
        );
        x = label.rect.right() + 24.0;
    };
    let painter = ui.painter().clone();
    entry(ui, filtered.crossing, "cross a limit", &|cell| {
        painter.rect_filled(cell, 1, tokens.critical);
        painter.rect_filled(
            Rect::from_center_size(cell.center(), vec2(2.0, 5.0)),
            0,
            if tokens.dark { tokens.bg } else { tokens.card },
        );
    });
    entry(ui, filtered.shadows, "have a shadow", &|cell| {
        painter.rect_filled(cell.shrink(1.0), 0, tokens.heat(0.4));
        painter.rect_stroke(
            cell.expand(2.0),
            2,
            Stroke::new(1.5, tokens.cast),
            StrokeKind::Inside,
        );
    });
    entry(ui, filtered.silent, "no data", &|cell| {
        painter.rect_stroke(cell, 0, Stroke::new(1.0, tokens.faint), StrokeKind::Inside);
    });
    let words = "One row is one host, busiest VM first";
    if x + text::width(ui, words, theme::regular(12.5)) < rect.right() - 24.0 {
        text::right(
            ui,
            rect.right() - 24.0,
            y,
            words,
            theme::regular(12.5),
            tokens.dim,
        );
    }
}

/// A VM in a glance, beside its cell.
fn hover_card(ui: &Ui, bounds: Rect, cell: Rect, view: &VmView, pass: &Pass<'_>, tokens: &Tokens) {
    let size = vec2(252.0, 122.0);
    let left = if cell.right() + size.x + 16.0 < bounds.right() {
        cell.right() + 12.0
    } else {
        cell.left() - size.x - 12.0
    };
    let top = (cell.top() - 20.0).clamp(bounds.top() + 4.0, bounds.bottom() - size.y - 8.0);
    let rect = Rect::from_min_size(pos2(left, top), size);
    let painter = ui
        .ctx()
        .layer_painter(LayerId::new(Order::Tooltip, Id::unique("hover card")));
    painter.add(ui.visuals().popup_shadow.as_shape(rect, radius::CARD));
    painter.rect(
        rect,
        radius::CARD,
        tokens.raised,
        Stroke::new(1.0, tokens.line2),
        StrokeKind::Inside,
    );
    let y = rect.top() + 22.0;
    status::paint(
        &painter,
        pos2(rect.left() + 20.0, y),
        12.0,
        Tone::of_health(view.health.state),
        tokens,
    );
    let cut = |words: &str, most: usize| {
        let words = printable(words);
        if words.chars().count() > most {
            let kept: String = words.chars().take(most - 1).collect();
            format!("{kept}…")
        } else {
            words
        }
    };
    text::paint(
        &painter,
        pos2(rect.left() + 34.0, y),
        eframe::egui::Align2::LEFT_CENTER,
        &cut(&view.vm.name, 18),
        theme::semibold(13.5),
        tokens.hi,
    );
    text::paint(
        &painter,
        pos2(rect.right() - 14.0, y),
        eframe::egui::Align2::RIGHT_CENTER,
        &cut(&view.vm.host, 13),
        theme::regular(12.0),
        tokens.dim,
    );
    let outlook = view.outlook(Metric::Cpu);
    let limit = outlook.and_then(|outlook| outlook.limit).unwrap_or(0.85);
    let line = Rect::from_min_max(
        pos2(rect.left() + 14.0, rect.top() + 40.0),
        pos2(rect.right() - 14.0, rect.top() + 86.0),
    );
    spark::paint(&painter, line, &view.spark, limit, tokens, false);
    let y = rect.bottom() - 20.0;
    let now = view.values[Metric::Cpu.index()];
    let over = view.first_crossing().is_some();
    let mut x = rect.left() + 14.0;
    if let Some(outlook) = outlook {
        let ink = if over { tokens.critical } else { tokens.cast };
        x = text::paint(
            &painter,
            pos2(x, y),
            eframe::egui::Align2::LEFT_CENTER,
            &format::percent(f64::from(outlook.peak)),
            theme::mono_medium(13.0),
            ink,
        )
        .right()
            + 6.0;
        x = text::paint(
            &painter,
            pos2(x, y),
            eframe::egui::Align2::LEFT_CENTER,
            &format!("at {},", pass.clock.near(outlook.peak_at)),
            theme::regular(12.5),
            tokens.text,
        )
        .right()
            + 5.0;
    }
    let words = now.map_or_else(
        || "no data".to_owned(),
        |now| format!("now {}", format::percent(f64::from(now))),
    );
    text::paint(
        &painter,
        pos2(x, y),
        eframe::egui::Align2::LEFT_CENTER,
        &words,
        theme::regular(12.5),
        tokens.text,
    );
    text::key_cap_on(&painter, tokens, rect.right() - 12.0, y, "Enter");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_takes_names_pools_and_health() {
        let wanted = Wanted::parse("Api pool:Prod  health:risk");
        assert_eq!(wanted.names, ["api"]);
        assert_eq!(wanted.pools, ["prod"]);
        assert_eq!(wanted.health, ["risk"]);
    }
}
