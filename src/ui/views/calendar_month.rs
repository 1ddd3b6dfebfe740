//! Four weeks from this Monday on, each day with what happens on it.

use std::collections::BTreeMap;

use eframe::egui::{CornerRadius, Rect, Sense, Stroke, StrokeKind, Ui, pos2, vec2};
use jiff::{ToSpan as _, civil::Date};

use crate::{
    engine::snapshot::EventView,
    ui::{
        pass::Pass,
        theme::{self, radius},
        widgets::text,
    },
    units::{EventId, Timestamp, printable},
};

pub const WEEKS: i64 = 4;
const HEAD: f32 = 30.0;
/// Lines of a day; what does not fit is counted.
const LINE: f32 = 18.0;

/// What happens on each day that is shown; made anew only for another calendar or another day.
#[derive(Default)]
pub struct Month {
    of: Option<(usize, Date)>,
    days: BTreeMap<Date, Vec<(String, EventId, String)>>,
    monday: Date,
}

impl Month {
    fn update(&mut self, calendar: &std::sync::Arc<Vec<EventView>>, pass: &Pass<'_>) {
        let today = date(pass.now.at, pass);
        let key = (std::sync::Arc::as_ptr(calendar) as usize, today);
        if self.of == Some(key) {
            return;
        }
        let back = i64::from(today.weekday().to_monday_zero_offset());
        self.of = Some(key);
        self.monday = today.saturating_sub(back.days());
        self.days.clear();
        let begin = pass.now.at.plus_secs(-(back + 1) * 86_400);
        let end = pass.now.at.plus_secs((WEEKS * 7 + 1) * 86_400);
        for view in calendar.iter() {
            for window in view.event.windows(begin, end) {
                self.days.entry(date(window.from, pass)).or_default().push((
                    pass.clock.hm(window.from),
                    view.event.id.clone(),
                    printable(&view.event.name),
                ));
            }
        }
        for day in self.days.values_mut() {
            day.sort();
        }
    }

    /// Returns the event that was pressed.
    pub fn ui(
        &mut self,
        ui: &mut Ui,
        rect: Rect,
        selected: Option<&EventId>,
        pass: &Pass<'_>,
    ) -> Option<EventId> {
        let tokens = theme::of(ui);
        self.update(&pass.now.calendar, pass);
        let today = date(pass.now.at, pass);
        let wide = rect.width() / 7.0;
        for (index, name) in ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
            .iter()
            .enumerate()
        {
            let x = rect.left() + wide * index as f32 + 8.0;
            text::left(
                ui,
                x,
                rect.top() + HEAD / 2.0,
                name,
                theme::medium(12.0),
                tokens.dim,
            );
        }
        let tall = ((rect.height() - HEAD) / WEEKS as f32).floor();
        let mut pressed = None;
        for number in 0..WEEKS * 7 {
            let day = self.monday.saturating_add(number.days());
            let (week, weekday) = (number / 7, number % 7);
            let cell = Rect::from_min_size(
                pos2(
                    (rect.left() + wide * weekday as f32).round(),
                    rect.top() + HEAD + tall * week as f32,
                ),
                vec2(wide.floor(), tall),
            )
            .shrink(2.0);
            ui.painter().rect(
                cell,
                CornerRadius::same(radius::CONTROL),
                if day < today { tokens.bg } else { tokens.panel },
                Stroke::new(
                    1.0,
                    if day == today {
                        tokens.accent
                    } else {
                        tokens.line
                    },
                ),
                StrokeKind::Inside,
            );
            let words = if day.day() == 1 || number == 0 {
                day.strftime("%-d %b").to_string()
            } else {
                day.day().to_string()
            };
            let ink = if day < today {
                tokens.faint
            } else {
                tokens.text
            };
            text::paint(
                ui.painter(),
                cell.min + vec2(8.0, 6.0),
                eframe::egui::Align2::LEFT_TOP,
                &words,
                theme::medium(12.0),
                ink,
            );
            if let Some(events) = self.days.get(&day) {
                pressed = day_events(ui, cell, events, selected).or(pressed);
            }
        }
        pressed
    }
}

fn day_events(
    ui: &mut Ui,
    cell: Rect,
    events: &[(String, EventId, String)],
    selected: Option<&EventId>,
) -> Option<EventId> {
    let tokens = theme::of(ui);
    let room = (((cell.height() - 28.0) / LINE).floor() as usize).max(1);
    let shown = if events.len() > room { room - 1 } else { room };
    let mut pressed = None;
    for (place, (at, id, name)) in events.iter().take(shown).enumerate() {
        let line = Rect::from_min_size(
            pos2(cell.left() + 5.0, cell.top() + 25.0 + LINE * place as f32),
            vec2(cell.width() - 10.0, LINE - 2.0),
        );
        let on = selected == Some(id);
        let response = text::touch(ui, line, Sense::click());
        ui.painter().rect_filled(
            line,
            CornerRadius::same(3),
            tokens.tint(
                tokens.watch,
                match (on, response.hovered()) {
                    (true, _) => 0.32,
                    (false, true) => 0.24,
                    (false, false) => 0.12,
                },
            ),
        );
        text::fit(
            ui,
            line.left() + 5.0,
            line.center().y,
            line.width() - 8.0,
            &format!("{at} {name}"),
            theme::regular(11.5),
            tokens.text,
        );
        if response.clicked() {
            pressed = Some(id.clone());
        }
    }
    if events.len() > shown {
        text::left(
            ui,
            cell.left() + 10.0,
            cell.top() + 25.0 + LINE * shown as f32 + LINE / 2.0,
            &format!("{} more", events.len() - shown),
            theme::regular(11.5),
            tokens.dim,
        );
    }
    pressed
}

fn date(at: Timestamp, pass: &Pass<'_>) -> Date {
    jiff::Timestamp::from_millisecond(at.as_millis())
        .map(|at| at.to_zoned(pass.clock.zone.clone()).date())
        .unwrap_or_default()
}
