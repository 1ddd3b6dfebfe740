//! The foot: the worker, the age of the samples, what is broken and what that affects, the keys.

use eframe::egui::{Align2, Color32, Rect, Role, Sense, Ui, WidgetInfo, pos2, vec2};

use super::{
    action::Action,
    format::{self, Clock},
    theme::{self, Tokens},
    widgets::{
        status::{self, Tone},
        text,
    },
};
use crate::{engine::snapshot::Snapshot, units::printable};

/// What the foot says besides the snapshot.
pub struct Foot<'a> {
    pub now: &'a Snapshot,
    pub clock: &'a Clock,
    pub alive: bool,
    pub reporting: u32,
    pub newest_sample: Option<i64>,
}

impl Foot<'_> {
    /// Draws the foot. Returns whether the list of keys was asked for.
    pub fn ui(&self, ui: &mut Ui, rect: Rect) -> bool {
        let tokens = theme::of(ui);
        ui.painter().rect_filled(rect, 0, tokens.panel);
        text::hline(ui, rect.left()..=rect.right(), rect.top(), tokens.line);
        let y = rect.center().y + 0.5;
        let (right, all) = self.hints(ui, rect, y, tokens);
        let mut x = rect.left() + 16.0;
        let bold = theme::medium(12.0);
        let plain = theme::regular(12.0);
        let put = |ui: &mut Ui, x: &mut f32, words: &str, strong: bool, ink: Color32| {
            if right - *x < 40.0 {
                return;
            }
            let font = if strong { bold.clone() } else { plain.clone() };
            let label = text::fit(ui, *x, y, right - *x - 8.0, words, font, ink);
            *x = label.rect.right() + 10.0;
        };
        let tone = if self.alive { Tone::Ok } else { Tone::Critical };
        status::paint(ui.painter(), pos2(x + 4.0, y), 9.0, tone, tokens);
        x += 15.0;
        if !self.alive {
            put(ui, &mut x, "Worker stopped", true, tokens.critical);
            return all;
        }
        put(ui, &mut x, "Worker running", true, tokens.text);
        put(ui, &mut x, &self.jobs(), false, tokens.dim);
        let bar = |ui: &Ui, x: &mut f32| {
            text::vline(ui, *x + 2.0, y - 7.0..=y + 7.0, tokens.line2);
            *x += 16.0;
        };
        if let Some(age) = self.newest_sample {
            bar(ui, &mut x);
            put(
                ui,
                &mut x,
                &format!("Samples {} old", format::span(age)),
                true,
                tokens.text,
            );
            put(
                ui,
                &mut x,
                &format!(
                    "{} of {} VMs reporting",
                    format::count(self.reporting as usize),
                    format::count(self.now.vms.len())
                ),
                false,
                tokens.dim,
            );
        }
        if let Some(alarm) = self.now.alarms.first() {
            bar(ui, &mut x);
            status::paint(ui.painter(), pos2(x + 5.0, y), 10.0, Tone::Risk, tokens);
            x += 16.0;
            put(ui, &mut x, &printable(&alarm.text), true, tokens.risk);
            put(ui, &mut x, &printable(&alarm.effect), false, tokens.dim);
            let more = self.now.alarms.len() - 1;
            if more > 0 {
                put(ui, &mut x, &format!("and {more} more"), false, tokens.dim);
            }
        }
        all
    }

    fn jobs(&self) -> String {
        use crate::engine::snapshot::OperationState as State;
        let count = |such: &[State]| {
            self.now
                .operations
                .iter()
                .filter(|operation| such.contains(&operation.state))
                .count()
        };
        let running = count(&[State::Running, State::Waiting]);
        let parked = count(&[State::Parked]);
        let mut words = match (running, self.now.forecasts_pending) {
            (0, 0) => "nothing to do".to_owned(),
            (0, pending) => format!("{} forecasts to make", format::count(pending as usize)),
            (running, _) => format::plural(running, "operation", "operations"),
        };
        if parked > 0 {
            words += &format!(", {parked} parked");
        }
        words
    }

    /// Key hints from the right; returns where they begin and whether the last one was pressed.
    fn hints(&self, ui: &mut Ui, rect: Rect, y: f32, tokens: &Tokens) -> (f32, bool) {
        let mut x = rect.right() - 16.0;
        let mut all = false;
        let hints: &[(&str, &str)] = if self.now.sources.is_empty() {
            &[("?", "all keys"), ("Ctrl K", "find")]
        } else {
            &[
                ("?", "all keys"),
                ("Z", "undo"),
                ("A", "approve"),
                ("J K", "move"),
            ]
        };
        for (keys, words) in hints {
            let font = theme::regular(12.0);
            let width = text::width(ui, words, font.clone());
            let label = Rect::from_center_size(pos2(x - width / 2.0, y), vec2(width, 18.0));
            text::paint(
                ui.painter(),
                label.center(),
                Align2::CENTER_CENTER,
                words,
                font,
                tokens.dim,
            );
            let left = text::key_cap(ui, label.left() - 7.0, y, keys, false);
            if *keys == "?" {
                let whole =
                    Rect::from_min_max(pos2(left, rect.top()), pos2(label.right(), rect.bottom()));
                let response = text::touch(ui, whole, Sense::click());
                response
                    .widget_info(|| WidgetInfo::labeled(Role::Button, true, Action::Keys.text()));
                all = response.clicked();
            }
            x = left - 14.0;
        }
        (x, all)
    }
}
