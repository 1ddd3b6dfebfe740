//! What forecasts were worth: the fleet's figures, how often what was said happened, and each VM, worst first.

use std::{cmp::Ordering, sync::Arc};

use eframe::egui::{
    Align2, CornerRadius, Rect, Role, ScrollArea, Sense, Ui, UiBuilder, WidgetInfo, pos2, vec2,
};
use egui_material_icons::icons;

use super::empty;
use crate::{
    engine::snapshot::{ForecastRecord, Snapshot, VmRecord},
    forecast::record::{Errors, Worth},
    metrics::Metric,
    ui::{
        action::Action,
        format,
        pass::{Go, Pass},
        reports::Report,
        theme,
        widgets::{
            button, calibration,
            status::{self, Tone},
            text,
        },
    },
    units::{VmId, printable},
};

const ROW: f32 = 30.0;
const HEAD: f32 = 34.0;
const FIGURES: f32 = 92.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Name,
    Hour,
    Day,
    OfNaive,
    Inside,
    FalseAlarms,
    Lead,
    Judged,
}

impl Column {
    /// With the heading, its part of the width, and whether figures stand on the right.
    const ALL: [(Self, &'static str, f32, bool); 8] = [
        (Self::Name, "VM", 0.23, false),
        (Self::Hour, "MASE 1 h", 0.115, true),
        (Self::Day, "MASE 24 h", 0.125, true),
        (Self::OfNaive, "Of naive", 0.11, true),
        (Self::Inside, "In range", 0.11, true),
        (Self::FalseAlarms, "False a day", 0.125, true),
        (Self::Lead, "Lead", 0.085, true),
        (Self::Judged, "Judged", 0.1, true),
    ];

    /// What is not known stands last, whichever way it is sorted.
    fn value(self, worth: &Worth) -> Option<f64> {
        match self {
            Self::Name => None,
            Self::Hour => worth.hour.mase(),
            Self::Day => worth.day.mase(),
            Self::OfNaive => worth.day.of_naive(),
            Self::Inside => worth.day.coverage(),
            Self::FalseAlarms => worth.false_alarms_per_day(),
            Self::Lead => worth.median_lead_seconds().map(f64::from),
            Self::Judged => Some(f64::from(worth.origins)),
        }
    }

    /// The side that an operator looks for first.
    const fn falls(self) -> bool {
        matches!(
            self,
            Self::Hour | Self::Day | Self::OfNaive | Self::FalseAlarms
        )
    }
}

struct Sorted {
    of: Arc<ForecastRecord>,
    by: Column,
    falling: bool,
    order: Arc<Vec<u32>>,
}

pub struct RecordTab {
    by: Column,
    falling: bool,
    sorted: Option<Sorted>,
    selected: Option<VmId>,
}

impl Default for RecordTab {
    fn default() -> Self {
        Self {
            by: Column::OfNaive,
            falling: true,
            sorted: None,
            selected: None,
        }
    }
}

impl RecordTab {
    pub fn ui(&mut self, ui: &mut Ui, rect: Rect, metric: Metric, pass: &mut Pass<'_>) {
        let record = match pass.reports.record(metric, pass.now.at) {
            Report::Known(record) => record,
            Report::Waiting => {
                empty::message(ui, rect, Tone::None, "Reading the record.", "");
                return;
            }
            Report::Failed(problem) => {
                empty::message(ui, rect, Tone::Risk, &problem.what, &problem.why);
                return;
            }
        };
        if record.total.origins == 0 {
            let why = "While it is idle, the engine puts the model back to past moments of each VM and compares what it would have said with what came. A VM needs three days of history for that.";
            let what = "No forecast has been judged yet.";
            empty::message(ui, rect, Tone::None, what, why);
            return;
        }
        let strip = Rect::from_min_size(rect.min, vec2(rect.width(), FIGURES));
        figures(ui, strip, &record, pass);
        let below = Rect::from_min_max(strip.left_bottom() + vec2(0.0, 16.0), rect.max);
        let side = Rect::from_min_size(
            below.min,
            vec2((below.width() * 0.3).clamp(300.0, 400.0), below.height()),
        );
        calibrated(ui, side, &record.total);
        let table = Rect::from_min_max(pos2(side.right() + 16.0, below.top()), below.max);
        self.table(ui, table, &record, pass);
    }

    fn order(&mut self, record: &Arc<ForecastRecord>, now: &Snapshot) -> Arc<Vec<u32>> {
        let (by, falling) = (self.by, self.falling);
        if let Some(sorted) = &self.sorted
            && Arc::ptr_eq(&sorted.of, record)
            && (sorted.by, sorted.falling) == (by, falling)
        {
            return Arc::clone(&sorted.order);
        }
        let name = |one: &VmRecord| now.vm(&one.vm).map(|view| view.vm.name.clone());
        let mut keyed: Vec<(u32, Option<f64>, Option<String>)> = (0..)
            .zip(&record.vms)
            .map(|(index, one)| (index, by.value(&one.worth), name(one)))
            .collect();
        keyed.sort_by(|(_, a, a_name), (_, b, b_name)| {
            let way = |order: Ordering| if falling { order.reverse() } else { order };
            let values = match (a, b) {
                (Some(a), Some(b)) => way(a.total_cmp(b)),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => Ordering::Equal,
            };
            let names = a_name.cmp(b_name);
            values.then(if by == Column::Name {
                way(names)
            } else {
                names
            })
        });
        let order = Arc::new(keyed.into_iter().map(|(index, ..)| index).collect());
        self.sorted = Some(Sorted {
            of: Arc::clone(record),
            by,
            falling,
            order: Arc::clone(&order),
        });
        order
    }

    fn table(
        &mut self,
        ui: &mut Ui,
        rect: Rect,
        record: &Arc<ForecastRecord>,
        pass: &mut Pass<'_>,
    ) {
        text::card(ui, rect);
        let head = Rect::from_min_size(rect.min, vec2(rect.width(), HEAD));
        self.heads(ui, head);
        let now = Arc::clone(pass.now);
        let order = self.order(record, &now);
        let body = Rect::from_min_max(
            head.left_bottom() + vec2(1.0, 1.0),
            rect.max - vec2(1.0, 2.0),
        );
        let mut child = ui.new_child(UiBuilder::new().id_salt("rows").max_rect(body));
        let mut area = ScrollArea::vertical().auto_shrink([false, false]);
        if let Some(place) = self.moved(record, &order, pass) {
            let wanted = (place as f32 * ROW - body.height() / 2.0).max(0.0);
            area = area.vertical_scroll_offset(wanted);
        }
        area.show_rows(&mut child, ROW, order.len(), |ui, range| {
            for index in &order[range] {
                let one = &record.vms[*index as usize];
                let (row, _) = ui.allocate_exact_size(vec2(body.width(), ROW), Sense::hover());
                let id = ui.scope_id().with(("row", one.vm.as_str()));
                let response = ui.interact(row, id, Sense::click());
                let name = now
                    .vm(&one.vm)
                    .map_or_else(|| one.vm.to_string(), |view| view.vm.name.clone());
                let name = printable(&name);
                let on = self.selected.as_ref() == Some(&one.vm);
                let label = match one.worth.no_better_than_naive() {
                    Some(true) => format!("{name}, no better than naive"),
                    _ => name.clone(),
                };
                response.widget_info(|| WidgetInfo::selected(Role::Row, true, on, &label));
                if on || response.hovered() {
                    let tokens = theme::of(ui);
                    let fill = if on { tokens.selected } else { tokens.hover };
                    ui.painter().rect_filled(row, CornerRadius::ZERO, fill);
                }
                button::focus_ring(ui, &response.clone().with_new_rect(row.shrink(2.0)), 2);
                cells(ui, row, &name, &one.worth);
                if response.clicked() {
                    pass.go.push(Go::OpenVm(one.vm.clone()));
                }
            }
        });
        if pass.pressed(Action::Open)
            && let Some(vm) = &self.selected
        {
            pass.go.push(Go::OpenVm(vm.clone()));
        }
    }

    /// Moves the selection by keys; where to, if it moved.
    fn moved(&mut self, record: &ForecastRecord, order: &[u32], pass: &Pass<'_>) -> Option<usize> {
        let step =
            i64::from(pass.pressed(Action::Next)) - i64::from(pass.pressed(Action::Previous));
        if step == 0 || order.is_empty() {
            return None;
        }
        let vm = |place: usize| &record.vms[order[place] as usize].vm;
        let place = self
            .selected
            .as_ref()
            .and_then(|id| (0..order.len()).find(|place| vm(*place) == id));
        let next = place.map_or(0, |place| {
            (place as i64 + step).clamp(0, order.len() as i64 - 1) as usize
        });
        self.selected = Some(vm(next).clone());
        Some(next)
    }

    fn heads(&mut self, ui: &mut Ui, head: Rect) {
        let tokens = theme::of(ui);
        text::hline(
            ui,
            head.left() + 1.0..=head.right() - 1.0,
            head.bottom(),
            tokens.line,
        );
        for (column, name, cell, right) in columns(head) {
            let on = self.by == column;
            let response = ui.interact(cell, ui.scope_id().with(("head", name)), Sense::click());
            let order = match (on, self.falling) {
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
            let (at, anchor) = if right {
                (cell.right_center(), Align2::RIGHT_CENTER)
            } else {
                (cell.left_center(), Align2::LEFT_CENTER)
            };
            let words = text::paint(ui.painter(), at, anchor, name, theme::medium(12.5), ink);
            if on {
                let icon = if self.falling {
                    icons::ICON_ARROW_DROP_DOWN
                } else {
                    icons::ICON_ARROW_DROP_UP
                };
                let x = if right {
                    words.left() - 8.0
                } else {
                    words.right() + 8.0
                };
                let spot = pos2(x, cell.center().y);
                text::icon(ui.painter(), spot, icon.codepoint, 18.0, tokens.accent);
            }
            button::focus_ring(ui, &response, 2);
            if response.clicked() && on {
                self.falling = !self.falling;
            } else if response.clicked() {
                self.by = column;
                self.falling = column.falls();
            }
        }
    }
}

fn columns(row: Rect) -> impl Iterator<Item = (Column, &'static str, Rect, bool)> {
    let inside = row.shrink2(vec2(16.0, 0.0));
    let mut x = inside.left();
    Column::ALL
        .into_iter()
        .map(move |(column, name, share, right)| {
            let wide = inside.width() * share;
            let cell = Rect::from_min_size(pos2(x, row.top()), vec2(wide, row.height()));
            x = cell.right();
            (column, name, cell, right)
        })
}

fn cells(ui: &mut Ui, row: Rect, name: &str, worth: &Worth) {
    let tokens = theme::of(ui);
    let y = row.center().y;
    let weak = worth.no_better_than_naive() == Some(true);
    for (column, _, cell, _) in columns(row) {
        if column == Column::Name {
            let tone = match worth.no_better_than_naive() {
                Some(true) => Tone::Risk,
                Some(false) => Tone::Ok,
                None => Tone::None,
            };
            let spot = pos2(cell.left() + 6.0, y);
            status::paint(ui.painter(), spot, 10.0, tone, tokens);
            let wide = cell.width() - 34.0;
            let font = theme::medium(13.0);
            text::fit(ui, cell.left() + 22.0, y, wide, name, font, tokens.hi);
            continue;
        }
        let ink = if weak && column == Column::OfNaive {
            tokens.risk
        } else {
            tokens.text
        };
        let words = in_column(column, worth);
        text::right(ui, cell.right(), y, &words, theme::mono(12.0), ink);
    }
}

fn in_column(column: Column, worth: &Worth) -> String {
    let Some(value) = column.value(worth) else {
        return "–".to_owned();
    };
    match column {
        Column::Name => String::new(),
        Column::Hour | Column::Day | Column::FalseAlarms => format!("{value:.2}"),
        Column::Inside | Column::OfNaive => format::percent(value),
        Column::Lead => lead(value),
        Column::Judged => format!("{value:.0}"),
    }
}

fn lead(seconds: f64) -> String {
    format!("{:.1} h", seconds / 3600.0)
}

/// `0.38`, or a dash where nothing was judged.
pub(super) fn mase(errors: &Errors) -> String {
    errors
        .mase()
        .map_or_else(|| "–".to_owned(), |mase| format!("{mase:.2}"))
}

/// Against "as it was yesterday" at the same moments.
pub(super) fn of_naive(errors: &Errors) -> String {
    errors.of_naive().map_or_else(String::new, |ratio| {
        format!("24 h: {} of naive's error", format::percent(ratio))
    })
}

pub(super) fn inside(errors: &Errors) -> String {
    errors
        .coverage()
        .map_or_else(|| "–".to_owned(), format::percent)
}

pub(super) fn false_alarms(worth: &Worth) -> String {
    in_column(Column::FalseAlarms, worth)
}

pub(super) fn median_lead(worth: &Worth) -> String {
    in_column(Column::Lead, worth)
}

/// Figures side by side in a card: a name, the figure, a remark.
pub(super) fn strip(ui: &mut Ui, card: Rect, columns: &[(&str, String, String)]) {
    let tokens = theme::of(ui);
    text::card(ui, card);
    let wide = (card.width() - 32.0) / columns.len().max(1) as f32;
    for (index, (name, figure, remark)) in columns.iter().enumerate() {
        let x = card.left() + 16.0 + wide * index as f32;
        if index > 0 {
            let y = card.top() + 14.0..=card.bottom() - 14.0;
            text::vline(ui, x - 14.0, y, tokens.line);
        }
        let middle = card.center().y;
        for (y, words, font, ink) in [
            (middle - 21.0, *name, theme::regular(12.5), tokens.dim),
            (middle, figure.as_str(), theme::semibold(15.0), tokens.hi),
            (
                middle + 21.0,
                remark.as_str(),
                theme::regular(12.0),
                tokens.dim,
            ),
        ] {
            text::fit(ui, x, y, wide - 24.0, words, font, ink);
        }
    }
}

fn figures(ui: &mut Ui, card: Rect, record: &ForecastRecord, pass: &Pass<'_>) {
    let total = &record.total;
    let since = record.vms.iter().map(|one| one.from).min();
    let since = since.map_or_else(String::new, |at| {
        format!(", since {}", pass.clock.day_of_year(at))
    });
    let weak = |one: &&VmRecord| one.worth.no_better_than_naive() == Some(true);
    let weak = record.vms.iter().filter(weak).count();
    let waiting = match record.waiting {
        0 => "all VMs looked at".to_owned(),
        vms => format!("{} to come", format::plural(vms as usize, "VM", "VMs")),
    };
    let told = match total.crossings {
        0 => "no crossing came".to_owned(),
        crossings => format!(
            "{} of {} told",
            format::count(total.told() as usize),
            format::plural(crossings as usize, "crossing", "crossings")
        ),
    };
    strip(
        ui,
        card,
        &[
            (
                "Forecasts judged",
                format::count(total.origins as usize),
                format!("{waiting}{since}"),
            ),
            (
                "MASE 1 h · 24 h",
                format!("{} · {}", mase(&total.hour), mase(&total.day)),
                of_naive(&total.day),
            ),
            (
                "In range 1 h · 24 h",
                format!("{} · {}", inside(&total.hour), inside(&total.day)),
                "of 95 % promised".to_owned(),
            ),
            (
                "False alarms a VM-day",
                false_alarms(total),
                format!("{} alarms at 50 %", format::count(total.alarms as usize)),
            ),
            ("Median lead", median_lead(total), told),
            (
                "No better than naive",
                format::plural(weak, "VM", "VMs"),
                "nothing acts on these alone".to_owned(),
            ),
        ],
    );
}

fn calibrated(ui: &mut Ui, card: Rect, total: &Worth) {
    let tokens = theme::of(ui);
    text::card(ui, card);
    let left = card.left() + 16.0;
    let font = theme::semibold(15.0);
    text::left(
        ui,
        left,
        card.top() + 24.0,
        "Said and happened",
        font,
        tokens.hi,
    );
    let wide = card.width() - 32.0;
    text::fit(
        ui,
        left,
        card.top() + 46.0,
        wide,
        "hours that crossed, % of those said to",
        theme::regular(12.5),
        tokens.dim,
    );
    let place = Rect::from_min_max(card.min + vec2(12.0, 66.0), card.max - vec2(16.0, 12.0));
    if total.calibration().next().is_none() {
        let why = "Without a limit nothing is said to cross.";
        empty::message(ui, place, Tone::None, "Nothing was said.", why);
        return;
    }
    let id = ui.scope_id().with("calibration");
    calibration::ui(ui, id, place, total);
    let free = place.height() - place.width();
    if free > 60.0 {
        let words = "On the line it happened as often as it was said. The larger a dot, the more hours it stands for.";
        let note = Rect::from_min_max(
            pos2(left, card.bottom() - free + 8.0),
            card.max - vec2(16.0, 8.0),
        );
        let mut child = ui.new_child(UiBuilder::new().id_salt("note").max_rect(note));
        text::wrapped(&mut child, words, theme::regular(12.5), tokens.dim);
    }
}
