//! Events: what is known to come, what it did before, and what the next one is expected to do.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use eframe::egui::{Rect, Role, ScrollArea, Sense, Ui, UiBuilder, WidgetInfo, pos2, vec2};

use super::{calendar_form::Draft, calendar_month::Month, calendar_side, empty};
use crate::{
    calendar::{ics, table},
    engine::{
        command::{Answer, Command, Reply},
        snapshot::{EventReport, EventView, Snapshot},
    },
    ui::{
        action::Action,
        app::part,
        files::{self, Wanted},
        format,
        pass::Pass,
        theme,
        widgets::{
            button::{self, Button, Look},
            status::{self, Tone},
            text,
        },
    },
    units::{EventId, printable},
};

const ROW: f32 = 58.0;
const FILE: Wanted = Wanted {
    title: "Import events",
    kind: "Calendars and tables",
    endings: &["ics", "csv"],
};

pub struct CalendarView {
    pub selected: Option<EventId>,
    /// What is being typed for a new event.
    pub draft: Option<Draft>,
    /// What became of the newest import, where not all of it was taken.
    pub remark: Option<String>,
    /// What each event did, as far as it was asked for; `None` while the answer is on its way.
    pub reports: BTreeMap<EventId, Option<Result<Arc<EventReport>, String>>>,
    ask: files::Ask,
    dialog: Option<files::Asked>,
    month: Month,
}

impl CalendarView {
    pub fn new(ask: files::Ask) -> Self {
        Self {
            selected: None,
            draft: None,
            remark: None,
            reports: BTreeMap::new(),
            ask,
            dialog: None,
            month: Month::default(),
        }
    }

    pub fn answered(&mut self, command: &Command, reply: &Reply) {
        match (command, reply) {
            (Command::EventReport { event }, Ok(Answer::EventReport { report })) => {
                self.reports
                    .insert(event.clone(), Some(Ok(Arc::clone(report))));
            }
            (Command::EventReport { event }, other) => {
                let why = match other {
                    Err(problem) => format!("{} {}", problem.what, problem.why),
                    Ok(_) => "The engine answered something else.".to_owned(),
                };
                self.reports.insert(event.clone(), Some(Err(why)));
            }
            (Command::EventPut { .. }, Ok(Answer::Event { event })) => {
                self.draft = None;
                self.selected = Some(event.id.clone());
                self.reports.clear();
            }
            (Command::EventPut { .. }, Err(problem)) => {
                if let Some(draft) = &mut self.draft {
                    draft.wrong = Some(printable(&problem.why));
                }
            }
            (Command::EventsImport { .. } | Command::EventRemove { .. }, Ok(_)) => {
                self.reports.clear();
            }
            _ => {}
        }
    }

    pub fn ui(&mut self, ui: &mut Ui, body: Rect, pass: &mut Pass<'_>) {
        let tokens = theme::of(ui);
        self.take_file(pass);
        let side = Rect::from_min_max(
            pos2(
                body.right() - (body.width() * 0.36).clamp(380.0, 520.0),
                body.top(),
            ),
            body.max,
        );
        let main = Rect::from_min_max(body.min, pos2(side.left(), body.bottom()));
        let tools = Rect::from_min_size(main.min, vec2(main.width(), 56.0));
        self.tools(ui, tools, pass);
        text::hline(ui, main.left()..=main.right(), tools.bottom(), tokens.line);
        let now = Arc::clone(pass.now);
        let rest = Rect::from_min_max(tools.left_bottom() + vec2(0.0, 1.0), main.max);
        // The list has what it needs, up to two fifths; the weeks have the rest.
        let wanted = ROW * now.calendar.len() as f32 + 8.0;
        let cut = rest.top() + wanted.min(rest.height() * 0.4);
        let list = if now.calendar.is_empty() {
            rest
        } else {
            Rect::from_min_max(rest.min, pos2(rest.right(), cut))
        };
        part(ui, "calendar", list, |ui| self.list(ui, list, &now, pass));
        if !now.calendar.is_empty() {
            text::hline(ui, rest.left()..=rest.right(), cut, tokens.line);
            let month = Rect::from_min_max(pos2(rest.left() + 22.0, cut + 6.0), rest.max)
                .shrink2(vec2(0.0, 8.0))
                .with_max_x(rest.right() - 22.0);
            part(ui, "month", month, |ui| {
                if let Some(event) = self.month.ui(ui, month, self.selected.as_ref(), pass) {
                    self.selected = Some(event);
                    self.draft = None;
                }
            });
        }
        ui.painter().rect_filled(side, 0, tokens.panel);
        text::vline(ui, side.left(), side.top()..=side.bottom(), tokens.line);
        part(ui, "event", side, |ui| {
            let inside = side.shrink2(vec2(20.0, 0.0));
            let mut child = ui.new_child(UiBuilder::new().id_salt("side").max_rect(inside));
            ScrollArea::vertical()
                .auto_shrink([false, false])
                .show(&mut child, |ui| {
                    ui.add_space(22.0);
                    if let Some(draft) = &mut self.draft {
                        if draft.ui(ui, pass) {
                            self.draft = None;
                        }
                    } else {
                        calendar_side::ui(ui, self, &now, pass);
                    }
                    ui.add_space(24.0);
                });
        });
    }

    fn tools(&mut self, ui: &mut Ui, rect: Rect, pass: &Pass<'_>) {
        let tokens = theme::of(ui);
        let y = rect.center().y;
        let count = pass.now.calendar.len();
        let words = format::plural(count, "event", "events");
        text::left(
            ui,
            rect.left() + 24.0,
            y,
            &words,
            theme::medium(13.0),
            tokens.dim,
        );
        let add = Rect::from_min_size(
            pos2(rect.right() - 24.0 - 112.0, y - 16.0),
            vec2(112.0, 32.0),
        );
        let off = pass.blocked;
        if Button::new("Add an event", Look::Primary)
            .off(off)
            .put(ui, add)
            .clicked()
        {
            self.draft = Some(Draft::new(pass));
        }
        let import =
            Rect::from_min_size(pos2(add.left() - 10.0 - 104.0, y - 16.0), vec2(104.0, 32.0));
        let off = off.or(self.dialog.as_ref().map(|_| "A file is being chosen."));
        if Button::new("Import…", Look::Secondary)
            .off(off)
            .put(ui, import)
            .clicked()
        {
            match files::Asked::open(&self.ask, FILE, ui.ctx()) {
                Ok(dialog) => self.dialog = Some(dialog),
                Err(error) => self.remark = Some(format!("No file can be chosen: {error}")),
            }
        }
    }

    fn take_file(&mut self, pass: &mut Pass<'_>) {
        let Some(chosen) = self.dialog.as_ref().and_then(files::Asked::poll) else {
            return;
        };
        self.dialog = None;
        let Some(path) = chosen else { return };
        match read(&path, zone(pass)) {
            Ok(read) => {
                self.remark = (!read.refused.is_empty()).then(|| {
                    let lines: Vec<String> =
                        read.refused.iter().map(|line| printable(line)).collect();
                    format!("Left out: {}", lines.join("; "))
                });
                if !read.events.is_empty() {
                    pass.out.push(Command::EventsImport {
                        events: read.events,
                    });
                }
            }
            Err(why) => self.remark = Some(format!("No event was imported: {}", printable(&why))),
        }
    }

    fn list(&mut self, ui: &mut Ui, rect: Rect, now: &Arc<Snapshot>, pass: &Pass<'_>) {
        if now.calendar.is_empty() {
            empty::message(
                ui,
                rect,
                Tone::None,
                "Nothing is in the calendar.",
                "Add the sales, campaigns and maintenance that you know of, or import an .ics or .csv file. \
                 What they do to the load is learned and forecast.",
            );
            return;
        }
        self.keys(now, pass);
        let mut child = ui.new_child(UiBuilder::new().id_salt("list").max_rect(rect));
        ScrollArea::vertical()
            .auto_shrink([false, false])
            .show_rows(&mut child, ROW, now.calendar.len(), |ui, rows| {
                ui.spacing_mut().item_spacing.y = 0.0;
                for view in &now.calendar[rows] {
                    let on = self.selected.as_ref() == Some(&view.event.id);
                    if row(ui, view, on, pass) {
                        self.selected = Some(view.event.id.clone());
                        self.draft = None;
                    }
                }
            });
    }

    fn keys(&mut self, now: &Snapshot, pass: &Pass<'_>) {
        let place = now
            .calendar
            .iter()
            .position(|view| self.selected.as_ref() == Some(&view.event.id));
        let step =
            i64::from(pass.pressed(Action::Next)) - i64::from(pass.pressed(Action::Previous));
        let last = now.calendar.len() as i64 - 1;
        let next = match place {
            None => 0,
            Some(place) if step != 0 => (place as i64 + step).clamp(0, last),
            Some(_) => return,
        };
        self.selected = Some(now.calendar[next as usize].event.id.clone());
    }
}

/// The zone of times that a file names none for.
pub(super) fn zone<'a>(pass: &'a Pass<'_>) -> &'a str {
    pass.clock.zone.iana_name().unwrap_or("UTC")
}

fn read(path: &Path, zone: &str) -> Result<ics::Read, String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > ics::MAX_BYTES as u64 {
        return Err(format!("it is larger than {} MiB", ics::MAX_BYTES >> 20));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    if text.trim_start().starts_with("BEGIN:VCALENDAR") {
        ics::read(&text, zone)
    } else {
        table::read(&text, zone)
    }
}

/// `+40 %`.
pub(super) fn change(factor: f64) -> String {
    format!("{:+.0} %", (factor - 1.0) * 100.0)
}

pub(super) fn repeats(rule: Option<&str>) -> String {
    match rule {
        None => "once".to_owned(),
        Some(rule) => match rule.strip_prefix("FREQ=").unwrap_or(rule) {
            "DAILY" => "every day".to_owned(),
            "WEEKLY" => "every week".to_owned(),
            "MONTHLY" => "every month".to_owned(),
            "YEARLY" => "every year".to_owned(),
            other => match other.split_once(";INTERVAL=") {
                Some(("DAILY", count)) if count.parse::<u16>().is_ok() => {
                    format!("every {count} days")
                }
                Some(("WEEKLY", count)) if count.parse::<u16>().is_ok() => {
                    format!("every {count} weeks")
                }
                _ => printable(rule),
            },
        },
    }
}

/// A shape and words for when it happens.
fn when(view: &EventView, pass: &Pass<'_>) -> (Tone, String) {
    match view.next {
        None => (Tone::None, "over".to_owned()),
        Some(next) if next.from <= pass.now.at => (
            Tone::Watch,
            format!(
                "now, {} left",
                format::span(next.to.secs_since(pass.now.at))
            ),
        ),
        Some(next) => (
            Tone::Ok,
            format!("in {}", format::span(next.from.secs_since(pass.now.at))),
        ),
    }
}

fn row(ui: &mut Ui, view: &EventView, on: bool, pass: &Pass<'_>) -> bool {
    let tokens = theme::of(ui);
    let event = &view.event;
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::hover());
    let response = text::touch(ui, rect, Sense::click());
    let (tone, words) = when(view, pass);
    let name = printable(&event.name);
    response.widget_info(|| {
        WidgetInfo::selected(Role::ListBoxOption, true, on, format!("{name}, {words}"))
    });
    if on {
        ui.painter().rect_filled(rect, 0, tokens.selected);
    } else if response.hovered() {
        ui.painter().rect_filled(rect, 0, tokens.hover);
    }
    button::focus_ring(ui, &response, 0);
    let (first, second) = (rect.top() + 20.0, rect.top() + 40.0);
    status::paint(
        ui.painter(),
        pos2(rect.left() + 30.0, first),
        10.0,
        tone,
        tokens,
    );
    let right = rect.right() - 24.0;
    let next = text::right(ui, right, first, &words, theme::medium(13.0), tokens.text);
    text::fit(
        ui,
        rect.left() + 46.0,
        first,
        next.rect.left() - rect.left() - 62.0,
        &name,
        theme::semibold(14.0),
        tokens.hi,
    );
    let expected = match (event.exclude, event.expected_factor) {
        (true, _) => "left out".to_owned(),
        (false, Some(factor)) => format!("{} expected", change(factor)),
        (false, None) => "learned".to_owned(),
    };
    let expected = text::right(
        ui,
        right,
        second,
        &expected,
        theme::regular(12.5),
        tokens.dim,
    );
    let whom = match view.vms {
        0 => "affects no VM".to_owned(),
        vms => format!("affects {}", format::plural(vms as usize, "VM", "VMs")),
    };
    let more = format!(
        "{}, {}, {whom}",
        event.kind.name(),
        repeats(event.rule.as_deref())
    );
    text::fit(
        ui,
        rect.left() + 46.0,
        second,
        expected.rect.left() - rect.left() - 62.0,
        &more,
        theme::regular(12.5),
        tokens.dim,
    );
    text::hline(
        ui,
        rect.left() + 20.0..=rect.right() - 20.0,
        rect.bottom() - 1.0,
        tokens.line,
    );
    response.clicked()
}
