//! The list of all keys.

use eframe::egui::{Context, CornerRadius, Frame, Id, Margin, Modal, Sense, Stroke, vec2};

use super::{
    action::Action,
    theme::{self, radius},
    widgets::text,
};

/// A dialog's frame.
pub fn dialog(ctx: &Context, id: &str) -> Modal {
    let tokens = theme::tokens(ctx.theme());
    Modal::new(Id::unique(id))
        .backdrop_color(tokens.backdrop)
        .frame(
            Frame::new()
                .fill(tokens.card)
                .stroke(Stroke::new(1.0, tokens.line2))
                .corner_radius(CornerRadius::same(radius::DIALOG))
                .inner_margin(Margin::ZERO)
                .shadow(ctx.global_style().visuals.window_shadow),
        )
}

/// Shows the list while `open`.
pub fn overlay(ctx: &Context, open: &mut bool) {
    if !*open {
        return;
    }
    let answer = dialog(ctx, "keys").show(ctx, |ui| {
        let tokens = theme::of(ui);
        ui.set_width(640.0);
        ui.add_space(22.0);
        let left = ui.max_rect().left() + 28.0;
        let (title, _) = ui.allocate_exact_size(vec2(640.0, 26.0), Sense::hover());
        text::left(
            ui,
            left,
            title.center().y,
            "All keys",
            theme::semibold(18.0),
            tokens.hi,
        );
        text::key_cap(ui, title.right() - 28.0, title.center().y, "Esc", false);
        ui.add_space(10.0);
        for action in Action::ALL {
            let (row, _) = ui.allocate_exact_size(vec2(640.0, 26.0), Sense::hover());
            let y = row.center().y;
            text::key_cap(ui, left + 78.0, y, action.keys(), false);
            text::left(
                ui,
                left + 94.0,
                y,
                action.text(),
                theme::medium(13.0),
                tokens.hi,
            );
            text::fit(
                ui,
                left + 232.0,
                y,
                640.0 - 28.0 - 232.0 - 28.0,
                action.tooltip(),
                theme::regular(12.0),
                tokens.dim,
            );
        }
        ui.add_space(20.0);
    });
    if answer.should_close() {
        *open = false;
    }
}
