//! What stands around every screen: the top bar, the navigation, banners, the foot.

use eframe::egui::{
    Align2, Color32, CornerRadius, Popup, Rect, Role, Sense, Stroke, StrokeKind, Ui, Vec2,
    WidgetInfo, pos2, vec2,
};
use egui_material_icons::icons;

use super::{
    action::Action,
    format::{self, Clock},
    pass::{Range, Screen},
    theme::{self, Tokens, radius},
    widgets::{
        button,
        status::{self, Tone},
        text,
    },
};
use crate::{
    engine::snapshot::{Snapshot, SourceKind},
    units::printable,
};

pub const TOP: f32 = 48.0;
pub const NAV: f32 = 64.0;
pub const FOOT: f32 = 28.0;

/// What was pressed in the top bar.
#[derive(Default)]
pub struct TopPressed {
    pub find: bool,
    pub theme: bool,
    pub range: Option<Range>,
}

/// What the top bar says.
pub struct Top<'a> {
    pub now: &'a Snapshot,
    pub clock: &'a Clock,
    pub title: &'a str,
    /// `None` hides the range picker, as long as there is nothing to look at.
    pub range: Option<Range>,
    pub attached: bool,
}

impl Top<'_> {
    /// Draws the bar; the bell is drawn by the caller in the rectangle that comes back.
    pub fn ui(&self, ui: &mut Ui, rect: Rect) -> (TopPressed, Rect) {
        let tokens = theme::of(ui);
        let mut pressed = TopPressed::default();
        ui.painter().rect_filled(rect, 0, tokens.panel);
        text::hline(
            ui,
            rect.left()..=rect.right(),
            rect.bottom() - 1.0,
            tokens.line,
        );
        let y = rect.center().y;
        mark(ui, pos2(rect.left() + 32.0, y), tokens);
        let name = text::left(
            ui,
            rect.left() + 80.0,
            y,
            "Shadowcast",
            theme::semibold(15.0),
            tokens.hi,
        );
        let bar = name.rect.right() + 14.0;
        text::vline(ui, bar, y - 9.0..=y + 9.0, tokens.line2);
        let title = text::left(
            ui,
            bar + 14.0,
            y,
            self.title,
            theme::regular(14.5),
            tokens.text,
        );
        let left = (title.rect.right() + 22.0).max(rect.left() + 296.0);
        let narrow = rect.width() < 1380.0;
        let search = Rect::from_min_size(
            pos2(left, y - 16.0),
            vec2(if narrow { 250.0 } else { 340.0 }, 32.0),
        );
        pressed.find = search_field(ui, search, tokens);
        let mut right = rect.right() - 20.0;
        let toggle = Rect::from_center_size(pos2(right - 14.0, y), Vec2::splat(30.0));
        let dark = tokens.dark;
        let icon = if dark {
            icons::ICON_LIGHT_MODE
        } else {
            icons::ICON_DARK_MODE
        };
        pressed.theme = button::icon(ui, toggle, icon.codepoint, Action::Theme.text()).clicked();
        let bell = toggle.translate(vec2(-34.0, 0.0));
        right = bell.left() - 12.0;
        let moment = text::right(
            ui,
            right,
            y,
            &self.clock.hm(self.clock.now),
            theme::mono(13.0),
            tokens.hi,
        );
        right = moment.rect.left() - 18.0;
        moment.on_hover_text(self.clock.full(self.clock.now));
        let mut x = search.right() + 16.0;
        if let Some(range) = self.range {
            let picker = Rect::from_min_size(pos2(x, y - 16.0), vec2(232.0, 32.0));
            pressed.range = self.range_picker(ui, picker, range, tokens);
            x = picker.right() + 20.0;
        }
        self.sources(ui, x, right, y, tokens);
        (pressed, bell)
    }

    fn range_picker(
        &self,
        ui: &mut Ui,
        rect: Rect,
        range: Range,
        tokens: &Tokens,
    ) -> Option<Range> {
        let response = text::touch(ui, rect, Sense::click());
        response.widget_info(|| {
            WidgetInfo::labeled(Role::Button, true, format!("Time range: {}", range.text()))
        });
        field(ui, rect, response.hovered(), tokens);
        button::focus_ring(ui, &response, radius::CONTROL);
        let y = rect.center().y;
        let painter = ui.painter();
        text::icon(
            painter,
            pos2(rect.left() + 18.0, y),
            icons::ICON_SCHEDULE.codepoint,
            17.0,
            tokens.dim,
        );
        let past = text::paint(
            painter,
            pos2(rect.left() + 34.0, y),
            Align2::LEFT_CENTER,
            range.text(),
            theme::medium(13.0),
            tokens.hi,
        );
        text::icon(
            painter,
            pos2(past.right() + 15.0, y),
            icons::ICON_ARROW_FORWARD.codepoint,
            14.0,
            tokens.dim,
        );
        let ahead = i64::from(range.horizon_seconds(self.now)) / 3600;
        text::paint(
            painter,
            pos2(past.right() + 30.0, y),
            Align2::LEFT_CENTER,
            &format!("next {ahead} h"),
            theme::medium(13.0),
            tokens.cast,
        );
        text::icon(
            painter,
            pos2(rect.right() - 16.0, y),
            icons::ICON_EXPAND_MORE.codepoint,
            18.0,
            tokens.dim,
        );
        let mut chosen = None;
        Popup::menu(&response).width(rect.width()).show(|ui| {
            for range in Range::ALL {
                if ui.button(range.text()).clicked() {
                    chosen = Some(range);
                    ui.close();
                }
            }
        });
        chosen
    }

    /// How many connections of each kind answer.
    fn sources(&self, ui: &mut Ui, left: f32, right: f32, y: f32, tokens: &Tokens) {
        let mut x = left;
        if self.now.demo {
            let rect = text::chip(
                ui,
                x,
                y,
                "demo fleet",
                tokens.cast,
                tokens.tint(tokens.cast, 0.16),
            );
            x = rect.right() + 14.0;
        }
        if self.attached {
            let rect = text::chip(ui, x, y, "attached", tokens.accent, tokens.selected);
            x = rect.right() + 14.0;
        }
        if self.now.sources.is_empty() {
            status::paint(ui.painter(), pos2(x + 5.0, y), 10.0, Tone::None, tokens);
            text::left(
                ui,
                x + 17.0,
                y,
                "no source",
                theme::medium(13.0),
                tokens.text,
            );
            return;
        }
        for (kind, name) in [
            (SourceKind::Hypervisor, "hosts"),
            (SourceKind::Balancer, "balancers"),
        ] {
            let all = self.now.sources.iter().filter(|source| source.kind == kind);
            let (mut total, mut well) = (0, 0);
            for source in all {
                total += 1;
                well += usize::from(source.error.is_none() && source.last_ok.is_some());
            }
            if total == 0 {
                continue;
            }
            let tone = if well == total { Tone::Ok } else { Tone::Risk };
            let figure = format!("{well} of {total}");
            let need = 17.0
                + text::width(ui, name, theme::medium(13.0))
                + 6.0
                + text::width(ui, &figure, theme::regular(13.0));
            if x + need > right {
                return;
            }
            status::paint(ui.painter(), pos2(x + 5.0, y), 10.0, tone, tokens);
            let label = text::left(ui, x + 17.0, y, name, theme::medium(13.0), tokens.text);
            let figure = text::left(
                ui,
                label.rect.right() + 6.0,
                y,
                &figure,
                theme::regular(13.0),
                tokens.dim,
            );
            x = figure.rect.right() + 18.0;
        }
    }
}

fn field(ui: &Ui, rect: Rect, hot: bool, tokens: &Tokens) {
    ui.painter().rect(
        rect,
        CornerRadius::same(radius::CONTROL),
        if tokens.dark { tokens.bg } else { tokens.card },
        Stroke::new(1.0, if hot { tokens.line2 } else { tokens.line }),
        StrokeKind::Inside,
    );
}

fn search_field(ui: &mut Ui, rect: Rect, tokens: &Tokens) -> bool {
    let response = text::touch(ui, rect, Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, Action::Find.text()));
    field(ui, rect, response.hovered(), tokens);
    button::focus_ring(ui, &response, radius::CONTROL);
    let y = rect.center().y;
    text::icon(
        ui.painter(),
        pos2(rect.left() + 17.0, y),
        icons::ICON_SEARCH.codepoint,
        17.0,
        tokens.dim,
    );
    text::paint(
        ui.painter(),
        pos2(rect.left() + 32.0, y),
        Align2::LEFT_CENTER,
        Action::Find.text(),
        theme::regular(13.0),
        tokens.dim,
    );
    text::key_cap(ui, rect.right() - 7.0, y, Action::Find.keys(), false);
    response.clicked()
}

/// A square and the shadow that it casts.
fn mark(ui: &Ui, centre: eframe::egui::Pos2, tokens: &Tokens) {
    let painter = ui.painter();
    let back = Rect::from_min_size(centre + vec2(-3.0, -2.0), Vec2::splat(12.0));
    painter.rect_stroke(
        back,
        CornerRadius::same(3),
        Stroke::new(1.8, tokens.cast),
        StrokeKind::Inside,
    );
    let front = Rect::from_min_size(centre + vec2(-9.0, -9.0), Vec2::splat(12.0));
    painter.rect_filled(front, CornerRadius::same(3), tokens.accent);
}

/// The navigation on the left. Returns the screen that was pressed.
pub fn nav(ui: &mut Ui, rect: Rect, chosen: Screen, decisions: usize) -> Option<Screen> {
    let tokens = theme::of(ui);
    ui.painter().rect_filled(rect, 0, tokens.panel);
    text::vline(
        ui,
        rect.right() - 1.0,
        rect.top()..=rect.bottom(),
        tokens.line,
    );
    let mut pressed = None;
    for (index, screen) in Screen::ALL.into_iter().enumerate() {
        let top = if screen == Screen::Sources {
            rect.bottom() - 64.0
        } else {
            rect.top() + 17.0 + 60.0 * index as f32
        };
        let tile = Rect::from_min_size(pos2(rect.left() + 6.0, top), vec2(52.0, 50.0));
        let on = screen == chosen;
        let response = text::touch(ui, tile, Sense::click());
        let action = screen.action();
        let name = if screen == Screen::Now && decisions > 0 {
            format!("{}, {decisions} to decide", action.text())
        } else {
            action.text().to_owned()
        };
        response.widget_info(|| WidgetInfo::selected(Role::Tab, true, on, &name));
        if on {
            ui.painter()
                .rect_filled(tile, CornerRadius::same(radius::CARD), tokens.selected);
            ui.painter().rect_filled(
                Rect::from_min_size(pos2(rect.left(), tile.center().y - 14.0), vec2(3.0, 28.0)),
                CornerRadius::same(1),
                tokens.accent,
            );
        } else if response.hovered() {
            ui.painter()
                .rect_filled(tile, CornerRadius::same(radius::CARD), tokens.hover);
        }
        button::focus_ring(ui, &response, radius::CARD);
        let icon = match screen {
            Screen::Now => icons::ICON_BOLT,
            Screen::Fleet => icons::ICON_GRID_VIEW,
            Screen::Shadows => icons::ICON_CONTENT_COPY,
            Screen::Timeline => icons::ICON_HISTORY,
            Screen::Sources => icons::ICON_LAN,
        };
        let ink = if on { tokens.accent } else { tokens.dim };
        text::icon(
            ui.painter(),
            pos2(tile.center().x, tile.top() + 18.0),
            icon.codepoint,
            21.0,
            ink,
        );
        text::paint(
            ui.painter(),
            pos2(tile.center().x, tile.bottom() - 10.0),
            Align2::CENTER_CENTER,
            action.text(),
            theme::medium(11.0),
            if on { tokens.hi } else { tokens.dim },
        );
        if screen == Screen::Now && decisions > 0 {
            let words = decisions.min(99).to_string();
            let wide = if decisions > 9 { 20.0 } else { 15.0 };
            let badge = Rect::from_center_size(
                pos2(tile.right() - 10.0, tile.top() + 8.0),
                vec2(wide, 15.0),
            );
            ui.painter()
                .rect_filled(badge, CornerRadius::same(8), tokens.critical);
            text::paint(
                ui.painter(),
                badge.center(),
                Align2::CENTER_CENTER,
                &words,
                theme::semibold(10.0),
                if tokens.dark {
                    tokens.bg
                } else {
                    Color32::WHITE
                },
            );
        }
        let response = response.on_hover_text(format!("{} ({})", action.tooltip(), action.keys()));
        if response.clicked() {
            pressed = Some(screen);
        }
    }
    pressed
}

/// A banner over the whole width: what holds, and what follows from it. Returns its height.
pub fn banner(ui: &mut Ui, rect: Rect, tone: Tone, what: &str, effect: &str) {
    let tokens = theme::of(ui);
    let colour = tone.colour(tokens);
    ui.painter().rect_filled(
        rect,
        0,
        tokens.tint(colour, if tokens.dark { 0.16 } else { 0.1 }),
    );
    text::hline(
        ui,
        rect.left()..=rect.right(),
        rect.bottom() - 1.0,
        tokens.tint(colour, 0.35),
    );
    let y = rect.center().y;
    status::paint(
        ui.painter(),
        pos2(rect.left() + 24.0, y),
        12.0,
        tone,
        tokens,
    );
    let what = text::left(
        ui,
        rect.left() + 40.0,
        y,
        what,
        theme::semibold(13.0),
        tokens.hi,
    );
    text::fit(
        ui,
        what.rect.right() + 12.0,
        y,
        rect.right() - what.rect.right() - 160.0,
        effect,
        theme::regular(13.0),
        tokens.text,
    );
}

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
