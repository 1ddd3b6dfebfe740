//! The fleet as a table: the heatmap's twin for reading, sorting and assistive technology. Only rows in sight are laid
//! out, and sorting happens once for each new order or new set of VMs.

use std::{cmp::Ordering, sync::Arc};

use eframe::egui::{
    CornerRadius, Rect, Role, ScrollArea, Sense, Ui, UiBuilder, WidgetInfo, pos2, vec2,
};
use egui_material_icons::icons;

use crate::{
    engine::snapshot::{Snapshot, VmView},
    metrics::Metric,
    ui::{
        action::Action,
        format,
        pass::{Go, Pass},
        theme,
        widgets::{
            bars, button,
            status::{self, Tone},
            text,
        },
        words,
    },
    units::{VmId, printable},
};

const ROW: f32 = 30.0;
const HEAD: f32 = 34.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Name,
    Pool,
    Host,
    Cpu,
    Memory,
    Peak,
    Crosses,
    Health,
    Shadow,
}

impl Column {
    /// With the heading, its part of the width, and whether figures stand on the right.
    const ALL: [(Self, &'static str, f32, bool); 9] = [
        (Self::Name, "VM", 0.235, false),
        (Self::Pool, "Pool", 0.115, false),
        (Self::Host, "Host", 0.145, false),
        (Self::Cpu, "CPU", 0.07, true),
        (Self::Memory, "Memory", 0.085, true),
        (Self::Peak, "Peak ahead", 0.11, true),
        (Self::Crosses, "Crosses", 0.085, true),
        (Self::Health, "Health", 0.075, true),
        (Self::Shadow, "Shadow", 0.08, true),
    ];

    fn order(self, a: &VmView, b: &VmView, now: &Snapshot) -> Ordering {
        let float =
            |a: Option<f32>, b: Option<f32>| a.unwrap_or(-1.0).total_cmp(&b.unwrap_or(-1.0));
        let value = |view: &VmView, metric: Metric| view.values[metric.index()];
        let peak = |view: &VmView| view.outlook(Metric::Cpu).map(|outlook| outlook.peak);
        match self {
            Self::Name => a.vm.name.cmp(&b.vm.name),
            Self::Pool => words::pool(now, &a.vm.pool).cmp(&words::pool(now, &b.vm.pool)),
            Self::Host => a.vm.host.cmp(&b.vm.host),
            Self::Cpu => float(value(a, Metric::Cpu), value(b, Metric::Cpu)),
            Self::Memory => float(value(a, Metric::Memory), value(b, Metric::Memory)),
            Self::Peak => float(peak(a), peak(b)),
            Self::Crosses => {
                let at = |view: &VmView| {
                    view.first_crossing()
                        .and_then(|outlook| outlook.crosses_at)
                        .map_or(i64::MAX, crate::units::Timestamp::as_millis)
                };
                at(a).cmp(&at(b))
            }
            Self::Health => a.health.score.cmp(&b.health.score),
            Self::Shadow => a.shadow.is_some().cmp(&b.shadow.is_some()),
        }
    }

    /// The side that an operator looks for first.
    const fn falls(self) -> bool {
        matches!(self, Self::Cpu | Self::Memory | Self::Peak | Self::Shadow)
    }
}

struct Sorted {
    vms: Arc<Vec<VmView>>,
    shown: Arc<Vec<u32>>,
    by: Column,
    falling: bool,
    order: Arc<Vec<u32>>,
}

pub struct Table {
    by: Column,
    falling: bool,
    sorted: Option<Sorted>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            by: Column::Peak,
            falling: true,
            sorted: None,
        }
    }
}

impl Table {
    fn order(&mut self, now: &Snapshot, shown: &Arc<Vec<u32>>) -> Arc<Vec<u32>> {
        if let Some(sorted) = &self.sorted
            && Arc::ptr_eq(&sorted.vms, &now.vms)
            && Arc::ptr_eq(&sorted.shown, shown)
            && sorted.by == self.by
            && sorted.falling == self.falling
        {
            return Arc::clone(&sorted.order);
        }
        let mut order: Vec<u32> = shown.to_vec();
        let (by, falling) = (self.by, self.falling);
        order.sort_by(|a, b| {
            let (a, b) = (&now.vms[*a as usize], &now.vms[*b as usize]);
            let order = by.order(a, b, now);
            let order = if falling { order.reverse() } else { order };
            order.then_with(|| a.vm.name.cmp(&b.vm.name))
        });
        let order = Arc::new(order);
        self.sorted = Some(Sorted {
            vms: Arc::clone(&now.vms),
            shown: Arc::clone(shown),
            by,
            falling,
            order: Arc::clone(&order),
        });
        order
    }
}

pub fn ui(
    ui: &mut Ui,
    rect: Rect,
    table: &mut Table,
    selected: &mut Option<VmId>,
    shown: &Arc<Vec<u32>>,
    pass: &mut Pass<'_>,
) {
    text::card(ui, rect);
    let head = Rect::from_min_size(rect.min, vec2(rect.width(), HEAD));
    heads(ui, head, table);
    let now = Arc::clone(pass.now);
    let order = table.order(&now, shown);
    let body = Rect::from_min_max(
        head.left_bottom() + vec2(1.0, 1.0),
        rect.max - vec2(1.0, 2.0),
    );
    let mut child = ui.new_child(UiBuilder::new().id_salt("rows").max_rect(body));
    let step = i64::from(pass.pressed(Action::Next)) - i64::from(pass.pressed(Action::Previous));
    let mut scroll = None;
    if step != 0 && !order.is_empty() {
        let place = selected.as_ref().and_then(|id| {
            order
                .iter()
                .position(|index| now.vms[*index as usize].vm.id == *id)
        });
        let next = place.map_or(0, |place| {
            (place as i64 + step).clamp(0, order.len() as i64 - 1) as usize
        });
        *selected = Some(now.vms[order[next] as usize].vm.id.clone());
        scroll = Some(next);
    }
    let mut area = ScrollArea::vertical().auto_shrink([false, false]);
    if let Some(place) = scroll {
        let wanted = (place as f32 * ROW - body.height() / 2.0).max(0.0);
        area = area.vertical_scroll_offset(wanted);
    }
    area.show_rows(&mut child, ROW, order.len(), |ui, range| {
        for index in &order[range] {
            let view = &now.vms[*index as usize];
            let on = selected.as_ref() == Some(&view.vm.id);
            let (row, _) = ui.allocate_exact_size(vec2(rect.width() - 2.0, ROW), Sense::hover());
            let id = ui.scope_id().with(("row", view.vm.id.as_str()));
            let response = ui.interact(row, id, Sense::click());
            let name = printable(&view.vm.name);
            response.widget_info(|| WidgetInfo::selected(Role::Row, true, on, &name));
            if on || response.hovered() {
                let tokens = theme::of(ui);
                ui.painter().rect_filled(
                    row,
                    CornerRadius::ZERO,
                    if on { tokens.selected } else { tokens.hover },
                );
            }
            button::focus_ring(ui, &response.clone().with_new_rect(row.shrink(2.0)), 2);
            cells(ui, row, view, &name, &now, pass);
            if response.clicked() {
                *selected = Some(view.vm.id.clone());
            }
            if response.double_clicked() {
                pass.go.push(Go::OpenVm(view.vm.id.clone()));
            }
        }
    });
}

fn columns(row: Rect) -> impl Iterator<Item = (Column, &'static str, Rect, bool)> {
    let inside = row.shrink2(vec2(16.0, 0.0));
    let mut x = inside.left();
    Column::ALL
        .into_iter()
        .map(move |(column, name, share, right)| {
            let cell = Rect::from_min_size(
                pos2(x, row.top()),
                vec2(inside.width() * share, row.height()),
            );
            x = cell.right();
            (column, name, cell, right)
        })
}

fn heads(ui: &mut Ui, head: Rect, table: &mut Table) {
    let tokens = theme::of(ui);
    text::hline(
        ui,
        head.left() + 1.0..=head.right() - 1.0,
        head.bottom(),
        tokens.line,
    );
    for (column, name, cell, right) in columns(head) {
        let on = table.by == column;
        let response = ui.interact(cell, ui.scope_id().with(("head", name)), Sense::click());
        let order = match (on, table.falling) {
            (false, _) => "",
            (true, true) => ", falling",
            (true, false) => ", rising",
        };
        response.widget_info(|| {
            WidgetInfo::labeled(Role::ColumnHeader, true, format!("Sort by {name}{order}"))
        });
        let ink = if on || response.hovered() {
            tokens.hi
        } else {
            tokens.dim
        };
        let y = cell.center().y;
        let at = if right { cell.right() } else { cell.left() };
        let anchor = if right {
            eframe::egui::Align2::RIGHT_CENTER
        } else {
            eframe::egui::Align2::LEFT_CENTER
        };
        let words = text::paint(
            ui.painter(),
            pos2(at, y),
            anchor,
            name,
            theme::medium(12.5),
            ink,
        );
        if on {
            let icon = if table.falling {
                icons::ICON_ARROW_DROP_DOWN
            } else {
                icons::ICON_ARROW_DROP_UP
            };
            let x = if right {
                words.left() - 8.0
            } else {
                words.right() + 8.0
            };
            text::icon(
                ui.painter(),
                pos2(x, y),
                icon.codepoint,
                18.0,
                tokens.accent,
            );
        }
        button::focus_ring(ui, &response, 2);
        if response.clicked() {
            if on {
                table.falling = !table.falling;
            } else {
                table.by = column;
                table.falling = column.falls();
            }
        }
    }
}

fn cells(ui: &mut Ui, row: Rect, view: &VmView, name: &str, now: &Snapshot, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    let y = row.center().y;
    let percent = |value: Option<f32>| {
        value.map_or_else(|| "–".to_owned(), |value| format::percent(f64::from(value)))
    };
    for (column, _, cell, _) in columns(row) {
        let width = cell.width() - 12.0;
        let mono = |ui: &mut Ui, words: &str, ink| {
            text::right(ui, cell.right(), y, words, theme::mono(12.0), ink);
        };
        match column {
            Column::Name => {
                status::paint(
                    ui.painter(),
                    pos2(cell.left() + 6.0, y),
                    10.0,
                    Tone::of_health(view.health.state),
                    tokens,
                );
                text::fit(
                    ui,
                    cell.left() + 22.0,
                    y,
                    width - 22.0,
                    name,
                    theme::medium(13.0),
                    tokens.hi,
                );
            }
            Column::Pool => {
                let pool = words::pool(now, &view.vm.pool);
                text::fit(
                    ui,
                    cell.left(),
                    y,
                    width,
                    &pool,
                    theme::regular(12.5),
                    tokens.text,
                );
            }
            Column::Host => {
                let host = printable(&view.vm.host);
                text::fit(
                    ui,
                    cell.left(),
                    y,
                    width,
                    &host,
                    theme::regular(12.5),
                    tokens.dim,
                );
            }
            Column::Cpu => mono(ui, &percent(view.values[Metric::Cpu.index()]), tokens.text),
            Column::Memory => {
                mono(
                    ui,
                    &percent(view.values[Metric::Memory.index()]),
                    tokens.text,
                );
            }
            Column::Peak => {
                let peak = view.outlook(Metric::Cpu).map(|outlook| outlook.peak);
                mono(ui, &percent(peak), tokens.hi);
                if let Some(peak) = peak {
                    let bar = Rect::from_min_max(
                        pos2(cell.left() + 16.0, y - 2.0),
                        pos2(cell.right() - 46.0, y + 2.0),
                    );
                    if bar.width() > 10.0 {
                        bars::share(ui.painter(), bar, peak, None, tokens.heat(peak), tokens);
                    }
                }
            }
            Column::Crosses => {
                let at = view.first_crossing().and_then(|outlook| outlook.crosses_at);
                let words = at.map_or_else(String::new, |at| pass.clock.near(at));
                mono(ui, &words, tokens.critical);
            }
            Column::Health => {
                let score = view
                    .health
                    .score
                    .map_or_else(|| "–".to_owned(), |score| score.to_string());
                mono(ui, &score, tokens.text);
            }
            Column::Shadow => {
                let words = if view.shadow.is_some() { "yes" } else { "" };
                mono(ui, words, tokens.cast);
            }
        }
    }
}
