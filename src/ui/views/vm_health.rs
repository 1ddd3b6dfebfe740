//! The health of a VM as a sum.

use eframe::egui::{CornerRadius, Rect, Sense, Stroke, Ui, pos2, vec2};

use crate::{
    engine::snapshot::VmView,
    ui::{
        theme,
        widgets::{
            status::{self, Tone},
            text,
        },
    },
    units::printable,
};

/// The score, and what takes it from 100 down to there: bars that begin where the one before ended.
pub(super) fn health(ui: &mut Ui, view: &VmView) {
    let tokens = theme::of(ui);
    let rows = view.health.contributions.len().max(1) + 1;
    let height = (30.0 + 21.0 * rows as f32).max(112.0);
    let (card, _) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    text::card(ui, card);
    let left = card.left() + 16.0;
    text::left(
        ui,
        left,
        card.top() + 24.0,
        "Health",
        theme::regular(12.5),
        tokens.dim,
    );
    let tone = Tone::of_health(view.health.state);
    let score = view
        .health
        .score
        .map_or_else(|| "–".to_owned(), |score| score.to_string());
    let figure = text::left(
        ui,
        left,
        card.top() + 57.0,
        &score,
        theme::semibold(36.0),
        tokens.hi,
    );
    text::left(
        ui,
        figure.rect.right() + 8.0,
        card.top() + 65.0,
        "of 100",
        theme::regular(13.0),
        tokens.dim,
    );
    status::paint(
        ui.painter(),
        pos2(left + 6.0, card.top() + 92.0),
        11.0,
        tone,
        tokens,
    );
    text::left(
        ui,
        left + 18.0,
        card.top() + 92.0,
        tone.word(),
        theme::medium(13.0),
        tone.colour(tokens),
    );
    let bar_left = card.left() + 312.0;
    text::vline(
        ui,
        card.left() + 170.0,
        card.top() + 14.0..=card.bottom() - 14.0,
        tokens.line,
    );
    let names = card.left() + 190.0;
    let bar_right = card.left() + 312.0 + (card.width() - 312.0) * 0.48;
    if view.health.contributions.is_empty() {
        let words = if view.health.score.is_some() {
            "Nothing takes away from it."
        } else {
            "Too little was measured to say."
        };
        text::left(
            ui,
            names,
            card.center().y,
            words,
            theme::regular(13.0),
            tokens.dim,
        );
        return;
    }
    let lost: u32 = view
        .health
        .contributions
        .iter()
        .map(|part| u32::from(part.points))
        .sum();
    let scale = (bar_right - bar_left) / lost.max(1) as f32;
    let mut x = bar_right;
    for (index, part) in view.health.contributions.iter().enumerate() {
        let y = card.top() + 25.0 + 21.0 * index as f32;
        text::fit(
            ui,
            names,
            y,
            bar_left - names - 10.0,
            &contribution(&part.name),
            theme::regular(13.0),
            tokens.text,
        );
        let rail = Rect::from_min_max(pos2(bar_left, y - 4.0), pos2(bar_right, y + 4.0));
        ui.painter()
            .rect_filled(rail, CornerRadius::same(2), tokens.line);
        let from = x - f32::from(part.points) * scale;
        let colour = match part.points {
            0..5 => tokens.watch,
            5..12 => tokens.risk,
            _ => tokens.critical,
        };
        ui.painter().rect_filled(
            Rect::from_min_max(pos2(from, y - 4.0), pos2(x, y + 4.0)),
            CornerRadius::same(2),
            colour,
        );
        ui.painter()
            .vline(from, y + 4.0..=y + 17.0, Stroke::new(1.0, tokens.line2));
        x = from;
        let points = text::right(
            ui,
            bar_right + 46.0,
            y,
            &format!("-{}", part.points),
            theme::mono_medium(12.5),
            tokens.hi,
        );
        text::fit(
            ui,
            points.rect.right() + 14.0,
            y,
            card.right() - points.rect.right() - 26.0,
            &printable(&part.why),
            theme::regular(12.5),
            tokens.dim,
        );
    }
    let y = card.top() + 25.0 + 21.0 * view.health.contributions.len() as f32 + 3.0;
    text::left(
        ui,
        names,
        y,
        "Taken off 100",
        theme::regular(13.0),
        tokens.dim,
    );
    let sum = text::right(
        ui,
        bar_right + 46.0,
        y,
        &format!("-{lost}"),
        theme::mono_medium(12.5),
        tokens.hi,
    );
    text::left(
        ui,
        sum.rect.right() + 14.0,
        y,
        &format!("leaves {score}"),
        theme::regular(12.5),
        tokens.dim,
    );
}

pub(super) fn contribution(name: &str) -> String {
    let mut words = printable(name);
    if words == "cpu" {
        return "CPU".to_owned();
    }
    if let Some(first) = words.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    words
}
