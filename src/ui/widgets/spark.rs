//! A line in the size of a word: a day behind, and what comes.

use eframe::egui::{Painter, Pos2, Rect, Shape, Stroke, pos2};

use crate::ui::theme::Tokens;

/// The value that stands for a gap.
const GAP: u8 = 255;

/// `values`: as many means as forecasts, in percent of the limit basis.
pub fn paint(
    painter: &Painter,
    rect: Rect,
    values: &[u8],
    limit: f32,
    tokens: &Tokens,
    calm: bool,
) {
    if values.len() < 4 {
        return;
    }
    let known = || {
        values
            .iter()
            .filter(|value| **value != GAP)
            .map(|value| f32::from(*value))
    };
    let top = known().fold(limit * 100.0, f32::max) * 1.06;
    let bottom = known().fold(100.0_f32, f32::min).min(60.0) * 0.8;
    let y = |value: f32| rect.bottom() - (value - bottom) / (top - bottom).max(1.0) * rect.height();
    let x = |index: usize| rect.left() + rect.width() * index as f32 / (values.len() - 1) as f32;
    painter.extend(Shape::dashed_line(
        &[
            pos2(rect.left(), y(limit * 100.0)),
            pos2(rect.right(), y(limit * 100.0)),
        ],
        Stroke::new(1.0, tokens.critical.gamma_multiply(0.75)),
        2.0,
        2.5,
    ));
    let half = values.len() / 2;
    let measured = if calm { tokens.dim } else { tokens.accent };
    lines(painter, 0..half, values, &x, &y, Stroke::new(1.5, measured));
    lines(
        painter,
        half - 1..values.len(),
        values,
        &x,
        &y,
        Stroke::new(1.5, tokens.cast),
    );
    let now = values[half - 1];
    if now != GAP {
        painter.circle_filled(pos2(x(half - 1), y(f32::from(now))), 2.5, tokens.hi);
    }
}

fn lines(
    painter: &Painter,
    range: std::ops::Range<usize>,
    values: &[u8],
    x: &impl Fn(usize) -> f32,
    y: &impl Fn(f32) -> f32,
    stroke: Stroke,
) {
    let mut run: Vec<Pos2> = Vec::with_capacity(range.len());
    for index in range {
        if values[index] == GAP {
            if run.len() > 1 {
                painter.line(std::mem::take(&mut run), stroke);
            }
            run.clear();
        } else {
            run.push(pos2(x(index), y(f32::from(values[index]))));
        }
    }
    if run.len() > 1 {
        painter.line(run, stroke);
    }
}
