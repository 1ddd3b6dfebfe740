//! The top bar.

use eframe::egui::{
    Align2, CornerRadius, Popup, Rect, Role, Sense, Stroke, StrokeKind, Ui, Vec2, WidgetInfo, pos2,
    vec2,
};
use egui_material_icons::icons;

use super::{
    action::Action,
    format::Clock,
    pass::Range,
    theme::{self, Tokens, radius},
    widgets::{
        button,
        status::{self, Tone},
        text,
    },
};
use crate::engine::snapshot::{Snapshot, SourceKind};

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
            (SourceKind::History, "history"),
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

pub(super) fn field(ui: &Ui, rect: Rect, hot: bool, tokens: &Tokens) {
    ui.painter().rect(
        rect,
        CornerRadius::same(radius::CONTROL),
        if tokens.dark { tokens.bg } else { tokens.card },
        Stroke::new(1.0, if hot { tokens.line2 } else { tokens.line }),
        StrokeKind::Inside,
    );
}

pub(super) fn search_field(ui: &mut Ui, rect: Rect, tokens: &Tokens) -> bool {
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
pub(super) fn mark(ui: &Ui, centre: eframe::egui::Pos2, tokens: &Tokens) {
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
