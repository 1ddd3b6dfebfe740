//! Buttons, tabs and switches. One filled button a screen: the one that does what the screen is for.

use eframe::egui::{
    Align2, Color32, CornerRadius, Id, Pos2, Rect, Response, Role, Sense, Stroke, StrokeKind, Ui,
    WidgetInfo, pos2, vec2,
};

use super::text;
use crate::ui::{
    action::Action,
    theme::{self, radius},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Filled: at most one on a screen.
    Primary,
    Secondary,
    /// Takes something away for good.
    Danger,
}

/// What a button shows and says.
pub struct Button<'a> {
    pub text: &'a str,
    /// The accessible name where the text alone does not say it.
    pub name: Option<&'a str>,
    pub keys: Option<&'a str>,
    pub look: Look,
    /// Why it cannot be pressed now.
    pub off: Option<&'a str>,
    pub tooltip: Option<&'a str>,
}

impl<'a> Button<'a> {
    pub const fn new(text: &'a str, look: Look) -> Self {
        Self {
            text,
            name: None,
            keys: None,
            look,
            off: None,
            tooltip: None,
        }
    }

    /// A button for an action, with its text, keys and tooltip.
    pub const fn action(action: Action, look: Look) -> Self {
        Self {
            text: action.text(),
            name: None,
            keys: Some(action.keys()),
            look,
            off: None,
            tooltip: Some(action.tooltip()),
        }
    }

    #[must_use]
    pub const fn off(mut self, why: Option<&'a str>) -> Self {
        self.off = why;
        self
    }

    #[must_use]
    pub const fn named(mut self, name: &'a str) -> Self {
        self.name = Some(name);
        self
    }

    /// Draws it in `rect`.
    pub fn put(self, ui: &mut Ui, rect: Rect) -> Response {
        let tokens = theme::of(ui);
        let on = self.off.is_none();
        let sense = if on { Sense::click() } else { Sense::hover() };
        let response = text::touch(ui, rect, sense);
        response
            .widget_info(|| WidgetInfo::labeled(Role::Button, on, self.name.unwrap_or(self.text)));
        let (mut fill, edge, ink) = match self.look {
            Look::Primary => (tokens.button, Color32::TRANSPARENT, tokens.on_button),
            Look::Secondary => (tokens.raised, tokens.line2, tokens.text),
            Look::Danger => (tokens.raised, tokens.line2, tokens.critical),
        };
        let mut ink = ink;
        if !on {
            if self.look == Look::Primary {
                fill = tokens.raised;
            }
            ink = tokens.faint;
        } else if response.is_pointer_button_down_on() {
            fill = fill.lerp_to_gamma(tokens.bg, 0.25);
        } else if response.hovered() {
            fill = if self.look == Look::Primary {
                fill.lerp_to_gamma(Color32::WHITE, 0.12)
            } else {
                tokens.hover
            };
        }
        ui.painter().rect(
            rect,
            CornerRadius::same(radius::CONTROL),
            fill,
            Stroke::new(1.0, edge),
            StrokeKind::Inside,
        );
        focus_ring(ui, &response, radius::CONTROL);
        let font = if self.look == Look::Primary {
            theme::semibold(if rect.height() >= 38.0 { 14.0 } else { 13.0 })
        } else {
            theme::medium(13.0)
        };
        let centre = if let Some(keys) = self.keys {
            let cap = text::key_cap(
                ui,
                rect.right() - 8.0,
                rect.center().y,
                keys,
                self.look == Look::Primary && on,
            );
            // Centred where there is room for it, else between the left edge and the key.
            let wide = text::width(ui, self.text, font.clone()) / 2.0 + 8.0;
            let middle = rect.center().x;
            if middle + wide < cap {
                middle
            } else {
                f32::midpoint(rect.left(), cap)
            }
        } else {
            rect.center().x
        };
        text::paint(
            ui.painter(),
            pos2(centre, rect.center().y),
            Align2::CENTER_CENTER,
            self.text,
            font,
            ink,
        );
        match (self.off, self.tooltip) {
            (Some(why), _) => response.on_hover_text(why),
            (None, Some(tooltip)) => response.on_hover_text(tooltip),
            (None, None) => response,
        }
    }
}

pub fn focus_ring(ui: &Ui, response: &Response, corner: u8) {
    if response.has_focus() {
        ui.painter().rect_stroke(
            response.rect.expand(2.0),
            CornerRadius::same(corner + 2),
            Stroke::new(2.0, theme::of(ui).accent),
            StrokeKind::Inside,
        );
    }
}

/// Text that acts, its left edge (or right edge) at `x`.
pub fn link(ui: &mut Ui, at: Pos2, anchor: Align2, text: &str) -> Response {
    let tokens = theme::of(ui);
    let galley = ui
        .painter()
        .layout_no_wrap(text.to_owned(), theme::medium(12.5), tokens.accent);
    let rect = anchor.anchor_size(at, galley.size());
    let response = text::touch(ui, rect.expand2(vec2(2.0, 3.0)), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Link, true, text));
    ui.painter()
        .galley(text::snap(rect.min), galley, tokens.accent);
    if response.hovered() {
        text::hline(
            ui,
            rect.left()..=rect.right(),
            rect.bottom() - 1.0,
            tokens.accent,
        );
    }
    focus_ring(ui, &response, radius::CHIP);
    response
}

/// A square button with nothing but an icon.
pub fn icon(ui: &mut Ui, rect: Rect, icon: &str, name: &str) -> Response {
    let tokens = theme::of(ui);
    let response = text::touch(ui, rect, Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, name));
    if response.hovered() {
        ui.painter()
            .rect_filled(rect, CornerRadius::same(radius::CONTROL), tokens.hover);
    }
    focus_ring(ui, &response, radius::CONTROL);
    text::icon(ui.painter(), rect.center(), icon, 19.0, tokens.dim);
    response.on_hover_text(name)
}

/// Tabs in one frame, of which one is chosen; returns their right edge.
pub fn segments<T: Copy + PartialEq>(
    ui: &mut Ui,
    at: Pos2,
    height: f32,
    choices: &[(T, &str)],
    chosen: &mut T,
    framed: bool,
) -> f32 {
    let tokens = theme::of(ui);
    let font = theme::medium(13.0);
    let inset = if framed { 2.0 } else { 0.0 };
    let widths: Vec<f32> = choices
        .iter()
        .map(|(_, name)| text::width(ui, name, font.clone()) + 24.0)
        .collect();
    let whole = Rect::from_min_size(at, vec2(widths.iter().sum::<f32>() + inset * 2.0, height));
    if framed {
        ui.painter().rect(
            whole,
            CornerRadius::same(radius::CONTROL),
            tokens.panel,
            Stroke::new(1.0, tokens.line),
            StrokeKind::Inside,
        );
    }
    let mut x = whole.left() + inset;
    for ((choice, name), width) in choices.iter().zip(widths) {
        let rect = Rect::from_min_size(
            pos2(x, whole.top() + inset),
            vec2(width, height - inset * 2.0),
        );
        x += width;
        let on = choice == chosen;
        let response = text::touch(ui, rect, Sense::click());
        response.widget_info(|| WidgetInfo::selected(Role::Tab, true, on, name));
        if on {
            ui.painter().rect(
                rect,
                CornerRadius::same(radius::CONTROL),
                tokens.raised,
                Stroke::new(1.0, tokens.line2),
                StrokeKind::Inside,
            );
        }
        focus_ring(ui, &response, radius::CONTROL);
        let ink = if on {
            tokens.hi
        } else if response.hovered() {
            tokens.text
        } else {
            tokens.dim
        };
        text::paint(
            ui.painter(),
            rect.center(),
            Align2::CENTER_CENTER,
            name,
            font.clone(),
            ink,
        );
        if response.clicked() {
            *chosen = *choice;
        }
    }
    whole.right()
}

/// A switch with its name; true while on. Returns whether it was flipped.
pub fn switch(ui: &mut Ui, id: Id, right: f32, centre_y: f32, on: bool, name: &str) -> bool {
    let tokens = theme::of(ui);
    let rect = Align2::RIGHT_CENTER.anchor_size(pos2(right, centre_y), vec2(36.0, 20.0));
    let response = ui.interact(rect, id, Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::Switch, true, on, name));
    let fill = if on { tokens.button } else { tokens.line2 };
    ui.painter().rect_filled(rect, CornerRadius::same(10), fill);
    let knob = pos2(
        if on {
            rect.right() - 10.0
        } else {
            rect.left() + 10.0
        },
        rect.center().y,
    );
    ui.painter().circle_filled(knob, 7.5, Color32::WHITE);
    focus_ring(ui, &response, 10);
    response.clicked()
}
