//! What is kept for shadows in each pool: a table, and above it the selected pool with what it costs and who uses it.

use std::sync::Arc;

use eframe::egui::{
    CornerRadius, Rect, Role, ScrollArea, Sense, Ui, UiBuilder, WidgetInfo, pos2, vec2,
};

use super::empty;
use crate::{
    engine::{command::Command, snapshot::ReservationView},
    inventory::Pool,
    reservation::{NPlusOne, Room},
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
    units::{PoolId, printable},
};

const ROW: f32 = 32.0;
const HEAD: f32 = 36.0;
/// Between figures on the right of a column and what stands on the left of the next.
const GAP: f32 = 28.0;
/// What can be kept by one press, in percent; 0 gives it up.
const CHOICES: [(u8, &str); 6] = [
    (0, "None"),
    (5, "5 %"),
    (10, "10 %"),
    (15, "15 %"),
    (20, "20 %"),
    (30, "30 %"),
];
/// Users beyond these are counted.
const MOST_USERS: usize = 5;

/// With the part of the width, and whether figures stand on the right.
const COLUMNS: [(&str, f32, bool); 8] = [
    ("Pool", 0.20, false),
    ("Kept", 0.08, true),
    ("Memory", 0.12, true),
    ("Taken by shadows", 0.16, false),
    ("Idle", 0.11, true),
    ("Free in the pool", 0.13, true),
    ("One host lost", 0.10, false),
    ("Until", 0.10, true),
];

#[derive(Default)]
pub struct ReservedTab {
    selected: Option<PoolId>,
}

struct Line<'a> {
    pool: &'a Pool,
    view: Option<&'a ReservationView>,
}

impl Line<'_> {
    fn room(&self) -> Option<&Room> {
        self.view?.room.as_ref()
    }

    fn tone(&self) -> Tone {
        match self.room() {
            None => Tone::None,
            Some(room) if room.short_bytes > 0 || room.short_cpus > 0.0 => Tone::Risk,
            Some(room) if room.n_plus_one == NPlusOne::Broken => Tone::Watch,
            Some(_) => Tone::Ok,
        }
    }

    fn in_words(&self) -> String {
        match (self.view, self.room()) {
            (Some(view), Some(room)) => format!(
                "{} kept, {} idle",
                format::percent(view.reserved.share),
                format::binary_bytes(room.idle_bytes)
            ),
            _ => "nothing kept".to_owned(),
        }
    }
}

impl ReservedTab {
    pub fn ui(&mut self, ui: &mut Ui, rect: Rect, pass: &mut Pass<'_>) {
        let now = Arc::clone(pass.now);
        let view_of = |pool: &Pool| {
            let mut views = now.reservations.iter();
            views.find(|view| view.reserved.pool == pool.id)
        };
        let mut lines: Vec<Line<'_>> = (now.pools.iter())
            .filter(|pool| pool.role.takes_shadows())
            .map(|pool| Line {
                pool,
                view: view_of(pool),
            })
            .collect();
        if lines.is_empty() {
            let why = "Shadows go to pools of secondary sources. Add one in Sources.";
            empty::message(ui, rect, Tone::None, "No pool takes shadows.", why);
            return;
        }
        lines.sort_by_key(|line| (line.view.is_none(), line.pool.name.clone()));
        let selected = self.select(&lines, pass);
        let card = Rect::from_min_size(rect.min, vec2(rect.width(), 196.0));
        let table = Rect::from_min_max(pos2(rect.left(), card.bottom() + 16.0), rect.max);
        particulars(ui, card, &lines[selected], pass);
        self.table(ui, table, &lines, selected, pass);
    }

    /// The row that is selected, the first at first; moves it by keys.
    fn select(&mut self, lines: &[Line<'_>], pass: &Pass<'_>) -> usize {
        let place = |id: &PoolId| lines.iter().position(|line| line.pool.id == *id);
        let at = self.selected.as_ref().and_then(place).unwrap_or(0);
        let step =
            i64::from(pass.pressed(Action::Next)) - i64::from(pass.pressed(Action::Previous));
        let next = (at as i64 + step).clamp(0, lines.len() as i64 - 1) as usize;
        // A pool that gets a reservation moves in the table; the selection goes with it.
        self.selected = Some(lines[next].pool.id.clone());
        next
    }

    fn table(
        &mut self,
        ui: &mut Ui,
        rect: Rect,
        lines: &[Line<'_>],
        selected: usize,
        pass: &Pass<'_>,
    ) {
        let tokens = theme::of(ui);
        text::card(ui, rect);
        let head = Rect::from_min_size(rect.min, vec2(rect.width(), HEAD));
        for (index, ((name, _, right), cell)) in COLUMNS.iter().zip(cells(head)).enumerate() {
            let (y, font) = (cell.center().y, theme::medium(12.5));
            if *right {
                text::right(ui, cell.right(), y, name, font, tokens.dim);
            } else {
                let left = if index == 0 { cell } else { inset(cell) }.left();
                text::left(ui, left, y, name, font, tokens.dim);
            }
        }
        text::hline(
            ui,
            head.left() + 1.0..=head.right() - 1.0,
            head.bottom(),
            tokens.line,
        );
        let body = Rect::from_min_max(
            head.left_bottom() + vec2(1.0, 1.0),
            rect.max - vec2(1.0, 2.0),
        );
        let mut child = ui.new_child(UiBuilder::new().id_salt("kept").max_rect(body));
        ScrollArea::vertical()
            .auto_shrink([false, false])
            .show_rows(&mut child, ROW, lines.len(), |ui, range| {
                for index in range {
                    let line = &lines[index];
                    let (place, _) =
                        ui.allocate_exact_size(vec2(body.width(), ROW), Sense::hover());
                    let id = ui.scope_id().with(("kept", line.pool.id.as_str()));
                    let response = ui.interact(place, id, Sense::click());
                    let on = index == selected;
                    let name = words::pool(pass.now, &line.pool.id);
                    let label = format!("{name}, {}", line.in_words());
                    response.widget_info(|| WidgetInfo::selected(Role::Row, true, on, &label));
                    if on || response.hovered() {
                        let fill = if on { tokens.selected } else { tokens.hover };
                        ui.painter().rect_filled(place, CornerRadius::ZERO, fill);
                    }
                    button::focus_ring(ui, &response.clone().with_new_rect(place.shrink(2.0)), 2);
                    row(ui, place, &name, line, pass);
                    if response.clicked() {
                        self.selected = Some(line.pool.id.clone());
                    }
                }
            });
    }
}

fn row(ui: &mut Ui, place: Rect, name: &str, line: &Line<'_>, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    let y = place.center().y;
    let place: Vec<Rect> = cells(place).collect();
    let dot = pos2(place[0].left() + 6.0, y);
    status::paint(ui.painter(), dot, 10.0, line.tone(), tokens);
    text::fit(
        ui,
        place[0].left() + 22.0,
        y,
        place[0].width() - 34.0,
        name,
        theme::medium(13.0),
        tokens.hi,
    );
    let mono = |ui: &mut Ui, cell: usize, words: &str, ink| {
        text::right(ui, place[cell].right(), y, words, theme::mono(12.0), ink);
    };
    let free = format::binary_bytes(line.pool.memory_free_bytes);
    mono(ui, 5, &free, tokens.text);
    let (Some(view), Some(room)) = (line.view, line.room()) else {
        mono(ui, 1, "–", tokens.dim);
        return;
    };
    mono(ui, 1, &format::percent(view.reserved.share), tokens.text);
    mono(ui, 2, &format::binary_bytes(room.memory_bytes), tokens.text);
    let taken = room.taken_bytes as f32 / room.memory_bytes.max(1) as f32;
    let bar = Rect::from_min_max(
        pos2(inset(place[3]).left(), y - 3.0),
        pos2(place[3].right() - 70.0, y + 3.0),
    );
    bars::share(ui.painter(), bar, taken, None, tokens.cast, tokens);
    let words = format::percent(f64::from(taken));
    mono(ui, 3, &words, tokens.text);
    let idle = format::binary_bytes(room.idle_bytes);
    mono(ui, 4, &idle, tokens.text);
    let (words, ink) = match room.n_plus_one {
        NPlusOne::Kept => ("goes on", tokens.ok),
        NPlusOne::Broken => ("no room", tokens.risk),
        NPlusOne::OneHost => ("one host", tokens.dim),
    };
    let at = inset(place[6]);
    text::fit(
        ui,
        at.left(),
        y,
        at.width(),
        words,
        theme::regular(12.5),
        ink,
    );
    let until = view.reserved.until.map(|until| pass.clock.near(until));
    mono(ui, 7, until.as_deref().unwrap_or("released"), tokens.dim);
}

/// The selected pool: what is kept, what that costs, who uses it, and how much is to be kept.
fn particulars(ui: &mut Ui, card: Rect, line: &Line<'_>, pass: &mut Pass<'_>) {
    let tokens = theme::of(ui);
    text::card(ui, card);
    let inside = card.shrink2(vec2(16.0, 12.0));
    let y = card.top() + 24.0;
    let name = words::pool(pass.now, &line.pool.id);
    let name = text::left(
        ui,
        inside.left(),
        y,
        &name,
        theme::semibold(15.0),
        tokens.hi,
    );
    text::left(
        ui,
        name.rect.right() + 12.0,
        y,
        "memory and CPUs kept for shadows by this console",
        theme::regular(12.5),
        tokens.dim,
    );
    choose(ui, pos2(inside.left(), card.top() + 44.0), line, pass);
    let top = card.top() + 88.0;
    let gap = 32.0;
    let third = (inside.width() - 2.0 * gap) / 3.0;
    let column = |index: usize| {
        let left = inside.left() + (third + gap) * index as f32;
        Rect::from_min_max(pos2(left, top), pos2(left + third, inside.bottom()))
    };
    let mut figures = ui.new_child(UiBuilder::new().id_salt("figures").max_rect(column(0)));
    let mut cost = ui.new_child(UiBuilder::new().id_salt("cost").max_rect(column(1)));
    let mut users = ui.new_child(UiBuilder::new().id_salt("users").max_rect(column(2)));
    let Some((view, room)) = line.view.zip(line.room()) else {
        let words = "Nothing is kept here: a shadow gets what is free beside the headroom, if something is.";
        text::wrapped(&mut figures, words, theme::regular(12.5), tokens.dim);
        return;
    };
    kept(&mut figures, room);
    costs(&mut cost, line.pool, room);
    used_by(&mut users, view, pass);
}

fn choose(ui: &mut Ui, at: eframe::egui::Pos2, line: &Line<'_>, pass: &mut Pass<'_>) {
    let share = line.view.map_or(0.0, |view| view.reserved.share);
    let present = (share * 100.0).round() as u8;
    let mut chosen = present;
    let right = button::segments(ui, at, 32.0, &CHOICES, &mut chosen, true);
    // A share that is none of these was set by the command line.
    if chosen != present && pass.blocked.is_none() {
        let (pool, by) = (line.pool.id.clone(), pass.by.to_owned());
        pass.out.push(if chosen == 0 {
            Command::ReserveRelease { pool, by }
        } else {
            Command::Reserve {
                pool,
                share: f64::from(chosen) / 100.0,
                until: line.view.and_then(|view| view.reserved.until),
                by,
            }
        });
    }
    let tokens = theme::of(ui);
    let words = match (pass.blocked, line.view) {
        (Some(why), _) => why.to_owned(),
        (None, Some(view)) => {
            let end = match view.reserved.until {
                Some(until) => format!("until {}", pass.clock.near(until)),
                None => "until it is released".to_owned(),
            };
            let by = printable(&view.reserved.by);
            format!(
                "{} kept by {by}, {end}. Shadows get no more than that here.",
                format::percent(share)
            )
        }
        (None, None) => "Holds at once; what does not fit is refused.".to_owned(),
    };
    let left = right + 16.0;
    let width = ui.max_rect().right() - left;
    text::fit(
        ui,
        left,
        at.y + 16.0,
        width,
        &words,
        theme::regular(12.5),
        tokens.dim,
    );
}

fn kept(ui: &mut Ui, room: &Room) {
    let tokens = theme::of(ui);
    text::heading(ui, "Kept", "");
    let memory = format!(
        "{} of {}",
        format::binary_bytes(room.taken_bytes),
        format::binary_bytes(room.memory_bytes)
    );
    text::pair(ui, "Memory that shadows have", &memory, tokens.hi);
    let cpus = format!("{:.1} of {:.1}", room.cpus - room.idle_cpus, room.cpus);
    text::pair(ui, "CPUs that shadows have", &cpus, tokens.hi);
}

fn costs(ui: &mut Ui, pool: &Pool, room: &Room) {
    let tokens = theme::of(ui);
    let part = room.idle_bytes as f64 / pool.memory_bytes.max(1) as f64;
    let remark = format!("{} of the pool", format::percent(part));
    text::heading(ui, "Costs idle", &remark);
    let memory = format::binary_bytes(room.idle_bytes);
    text::pair(ui, "Memory", &memory, tokens.hi);
    text::pair(ui, "CPUs", &format!("{:.1}", room.idle_cpus), tokens.hi);
    if room.short_bytes > 0 {
        let words = format!(
            "{} of it is in use by other VMs",
            format::binary_bytes(room.short_bytes)
        );
        text::wrapped(ui, &words, theme::medium(12.5), tokens.risk);
    } else if room.short_cpus > 0.0 {
        let words = format!(
            "{:.1} of these CPUs are in use by other VMs",
            room.short_cpus
        );
        text::wrapped(ui, &words, theme::medium(12.5), tokens.risk);
    }
}

fn used_by(ui: &mut Ui, view: &ReservationView, pass: &mut Pass<'_>) {
    let tokens = theme::of(ui);
    let count = format::plural(view.users.len(), "shadow", "shadows");
    text::heading(ui, "Used by", &count);
    if view.users.is_empty() {
        let words = "Nobody: all of it waits.";
        text::wrapped(ui, words, theme::regular(12.5), tokens.dim);
        return;
    }
    let area = ScrollArea::vertical().auto_shrink([false, false]);
    area.show(ui, |ui| {
        for user in view.users.iter().take(MOST_USERS) {
            let (place, _) =
                ui.allocate_exact_size(vec2(ui.available_width(), 23.0), Sense::hover());
            let size = format!(
                "{} vCPU, {}",
                user.vcpus,
                format::binary_bytes(user.memory_bytes)
            );
            let name = printable(&user.vm_name);
            let at = place.left_center();
            if button::link(ui, at, eframe::egui::Align2::LEFT_CENTER, &name).clicked() {
                pass.go.push(Go::Shadow(user.shadow.clone()));
            }
            let y = place.center().y;
            text::right(ui, place.right(), y, &size, theme::mono(12.0), tokens.text);
        }
        if let Some(more) = view
            .users
            .len()
            .checked_sub(MOST_USERS)
            .filter(|more| *more > 0)
        {
            let words = format!("and {more} more");
            text::wrapped(ui, &words, theme::regular(12.5), tokens.dim);
        }
    });
}

/// A cell whose content stands on its left, after one whose figures stand on their right.
fn inset(cell: Rect) -> Rect {
    cell.with_min_x(cell.left() + GAP)
}

fn cells(row: Rect) -> impl Iterator<Item = Rect> {
    let inside = row.shrink2(vec2(16.0, 0.0));
    let mut x = inside.left();
    COLUMNS.into_iter().map(move |(_, share, _)| {
        let wide = inside.width() * share;
        let cell = Rect::from_min_size(pos2(x, row.top()), vec2(wide, row.height()));
        x = cell.right();
        cell
    })
}
