//! Text fields.

use eframe::egui::{
    CornerRadius, FontSelection, Frame, Id, Margin, Rect, Stroke, StrokeKind, TextEdit, Ui, vec2,
};

use crate::ui::theme::{self, radius};

/// A text field with the frame of a control.
pub fn text_field(
    ui: &mut Ui,
    rect: Rect,
    value: &mut String,
    name: &str,
    hint: &str,
) -> eframe::egui::Response {
    let tokens = theme::of(ui);
    let id = Id::unique(("field", name));
    let focused = ui.memory(|memory| memory.has_focus(id));
    ui.painter().rect(
        rect,
        CornerRadius::same(radius::CONTROL),
        if tokens.dark { tokens.bg } else { tokens.card },
        Stroke::new(
            if focused { 2.0 } else { 1.0 },
            if focused { tokens.accent } else { tokens.line2 },
        ),
        StrokeKind::Inside,
    );
    let edit = TextEdit::singleline(value)
        .id(id)
        .hint_text(hint.to_owned())
        .font(FontSelection::FontId(theme::mono(13.5)))
        .text_color(tokens.hi)
        .frame(Frame::NONE)
        .margin(Margin::ZERO)
        .align(eframe::egui::Align2::LEFT_CENTER)
        .desired_width(rect.width() - 24.0);
    let inside = Rect::from_center_size(rect.center(), vec2(rect.width() - 24.0, 20.0));
    ui.place(inside, edit).accessible_name(name)
}
