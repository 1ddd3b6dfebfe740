//! Small bars: a share, a split, a row of lags, a histogram.

use eframe::egui::{Color32, CornerRadius, Painter, Pos2, Rect, Stroke, Ui, pos2, vec2};

use super::text;
use crate::ui::theme::{self, Tokens};

/// A bar filled to `value` of its width, with a mark at `limit`.
pub fn share(
    painter: &Painter,
    rect: Rect,
    value: f32,
    limit: Option<f32>,
    colour: Color32,
    tokens: &Tokens,
) {
    let corner = CornerRadius::same(2);
    let back = if tokens.dark {
        tokens.raised
    } else {
        tokens.hover
    };
    painter.rect_filled(rect, corner, back);
    let filled = Rect::from_min_size(
        rect.min,
        vec2(rect.width() * value.clamp(0.0, 1.0), rect.height()),
    );
    if filled.width() > 0.5 {
        painter.rect_filled(filled, corner, colour);
    }
    if let Some(limit) = limit {
        let x = rect.left() + rect.width() * limit.clamp(0.0, 1.0);
        painter.vline(
            x,
            rect.top() - 4.0..=rect.bottom() + 4.0,
            Stroke::new(2.0, tokens.hi),
        );
    }
}

/// Original on the left, shadow on the right.
pub fn split(painter: &Painter, rect: Rect, shadow: f32, tokens: &Tokens) {
    let corner = CornerRadius::same(2);
    if shadow <= 0.0 {
        painter.rect_filled(rect, corner, tokens.line);
        return;
    }
    let at = rect.left() + rect.width() * (1.0 - shadow.clamp(0.0, 1.0));
    painter.rect_filled(
        Rect::from_min_max(rect.min, pos2((at - 1.0).max(rect.left()), rect.bottom())),
        corner,
        tokens.accent,
    );
    painter.rect_filled(
        Rect::from_min_max(pos2((at + 1.0).min(rect.right()), rect.top()), rect.max),
        corner,
        tokens.cast,
    );
}

/// One bar a cycle; those over the objective stand out in colour and in height.
pub fn lags(painter: &Painter, rect: Rect, lags: &[f32], objective: f32, tokens: &Tokens) {
    let slots = (rect.width() / 3.0).floor().max(1.0) as usize;
    let shown = &lags[lags.len().saturating_sub(slots)..];
    let y = rect.bottom() - rect.height() * 0.6;
    if shown.is_empty() {
        painter.extend(eframe::egui::Shape::dashed_line(
            &[
                pos2(rect.left(), rect.bottom() - 1.0),
                pos2(rect.right(), rect.bottom() - 1.0),
            ],
            Stroke::new(1.0, tokens.line2),
            3.0,
            3.0,
        ));
        return;
    }
    let first = rect.right() - shown.len() as f32 * 3.0;
    for (index, lag) in shown.iter().enumerate() {
        let part = (lag / objective.max(0.1) * 0.6).clamp(0.03, 1.0);
        let colour = if *lag > objective * 2.0 {
            tokens.critical
        } else if *lag > objective {
            tokens.watch
        } else {
            tokens
                .cast
                .gamma_multiply(if tokens.dark { 0.55 } else { 0.7 })
        };
        let left = first + index as f32 * 3.0;
        painter.rect_filled(
            Rect::from_min_max(
                pos2(left, rect.bottom() - rect.height() * part),
                pos2(left + 2.0, rect.bottom()),
            ),
            CornerRadius::ZERO,
            colour,
        );
    }
    painter.hline(
        rect.left()..=rect.right(),
        y,
        Stroke::new(1.0, tokens.faint.gamma_multiply(0.7)),
    );
}

/// Counts as columns of equal width.
pub fn columns(painter: &Painter, rect: Rect, counts: &[u32], colour: impl Fn(usize) -> Color32) {
    let most = counts.iter().copied().max().unwrap_or(0).max(1) as f32;
    let pitch = rect.width() / counts.len().max(1) as f32;
    for (index, count) in counts.iter().enumerate() {
        let height = if *count == 0 {
            1.0
        } else {
            (rect.height() * (*count as f32 / most)).max(2.0)
        };
        let left = rect.left() + pitch * index as f32;
        painter.rect_filled(
            Rect::from_min_max(
                pos2(left, rect.bottom() - height),
                pos2(left + (pitch - 2.0).max(1.0), rect.bottom()),
            ),
            CornerRadius::same(1),
            colour(index),
        );
    }
}

/// Parts of a whole side by side, with a hair between them. Parts too small to see still get two points.
pub fn stacked(painter: &Painter, rect: Rect, parts: &[(u32, Color32)]) {
    let total: u32 = parts.iter().map(|part| part.0).sum();
    if total == 0 {
        return;
    }
    let shown: Vec<_> = parts.iter().filter(|part| part.0 > 0).collect();
    let hairs = 2.0 * (shown.len() - 1) as f32;
    let least = 4.0;
    let small: f32 = shown
        .iter()
        .map(|part| {
            let own = rect.width() * part.0 as f32 / total as f32;
            if own < least { least - own } else { 0.0 }
        })
        .sum();
    let largest = shown.iter().map(|part| part.0).max().unwrap_or(0);
    let mut x = rect.left();
    for (count, colour) in shown {
        let mut width = (rect.width() * *count as f32 / total as f32).max(least);
        if *count == largest {
            width -= small + hairs;
        }
        painter.rect_filled(
            Rect::from_min_size(pos2(x, rect.top()), vec2(width, rect.height())),
            CornerRadius::same(2),
            *colour,
        );
        x += width + 2.0;
    }
}

/// A row of the flow: a name, a bar with the limit on it, and the figure.
pub fn row(ui: &mut Ui, name: &str, value: f32, limit: Option<f32>, colour: Color32, figure: &str) {
    let tokens = theme::of(ui);
    let (rect, _) = ui.allocate_exact_size(
        vec2(ui.available_width(), 23.0),
        eframe::egui::Sense::hover(),
    );
    let y = rect.center().y;
    text::fit(
        ui,
        rect.left(),
        y,
        102.0,
        name,
        theme::regular(13.0),
        tokens.text,
    );
    text::right(
        ui,
        rect.right(),
        y,
        figure,
        theme::mono_medium(12.5),
        tokens.hi,
    );
    let bar = Rect::from_min_max(
        pos2(rect.left() + 108.0, y - 4.0),
        pos2(rect.right() - 50.0, y + 4.0),
    );
    share(ui.painter(), bar, value, limit, colour, tokens);
}

/// A circle filled with a number or mark, for steps.
pub fn disc(painter: &Painter, centre: Pos2, radius: f32, fill: Color32, edge: Color32) {
    painter.circle(centre, radius, fill, Stroke::new(1.0, edge));
}
