//! What stands around every screen: the top bar, the navigation, banners, the foot.

use eframe::egui::{Align2, Color32, CornerRadius, Rect, Role, Sense, Ui, WidgetInfo, pos2, vec2};
use egui_material_icons::icons;

use super::{
    pass::Screen,
    theme::{self, radius},
    widgets::{
        button,
        status::{self, Tone},
        text,
    },
};

pub const TOP: f32 = 48.0;

pub const NAV: f32 = 64.0;

pub const FOOT: f32 = 28.0;

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
        let top = match screen {
            Screen::Sources => rect.bottom() - 124.0,
            Screen::Settings => rect.bottom() - 64.0,
            _ => rect.top() + 17.0 + 60.0 * index as f32,
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
            Screen::Capacity => icons::ICON_SHOW_CHART,
            Screen::Shadows => icons::ICON_CONTENT_COPY,
            Screen::Timeline => icons::ICON_HISTORY,
            Screen::Events => icons::ICON_EVENT,
            Screen::Sources => icons::ICON_LAN,
            Screen::Settings => icons::ICON_TUNE,
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
