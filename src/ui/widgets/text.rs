//! Text at an exact place that is still a label for assistive technology, and the boxes around it.

use eframe::egui::{
    Align2, Color32, CornerRadius, FontId, Galley, Painter, Pos2, Rect, Response, Role, Sense,
    Stroke, StrokeKind, Ui, WidgetInfo,
    epaint::text::{LayoutJob, TextFormat, TextWrapping},
    pos2, vec2,
};
use std::sync::Arc;

use crate::ui::theme::{self, Tokens, radius};

/// Takes part in hovering and clicking at `rect`, with the next automatic id.
pub fn touch(ui: &mut Ui, rect: Rect, sense: Sense) -> Response {
    let id = ui.next_auto_id();
    ui.skip_ahead_auto_ids(1);
    ui.interact(rect, id, sense)
}

fn label(ui: &mut Ui, rect: Rect, text: &str) -> Response {
    let response = touch(ui, rect, Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, text));
    response
}

/// One line of text with its anchor at `at`.
pub fn at(
    ui: &mut Ui,
    at: Pos2,
    anchor: Align2,
    text: &str,
    font: FontId,
    colour: Color32,
) -> Response {
    let galley = ui.painter().layout_no_wrap(text.to_owned(), font, colour);
    let rect = anchor.anchor_size(at, galley.size());
    ui.painter().galley(snap(rect.min), galley, colour);
    label(ui, rect, text)
}

/// Left and vertically centred.
pub fn left(
    ui: &mut Ui,
    x: f32,
    centre_y: f32,
    text: &str,
    font: FontId,
    colour: Color32,
) -> Response {
    at(
        ui,
        pos2(x, centre_y),
        Align2::LEFT_CENTER,
        text,
        font,
        colour,
    )
}

/// Right and vertically centred.
pub fn right(
    ui: &mut Ui,
    x: f32,
    centre_y: f32,
    text: &str,
    font: FontId,
    colour: Color32,
) -> Response {
    at(
        ui,
        pos2(x, centre_y),
        Align2::RIGHT_CENTER,
        text,
        font,
        colour,
    )
}

fn cut(painter: &Painter, text: &str, font: FontId, colour: Color32, width: f32) -> Arc<Galley> {
    let mut job = LayoutJob::single_section(text.to_owned(), TextFormat::simple(font, colour));
    job.wrap = TextWrapping::truncate_at_width(width.max(1.0));
    painter.layout_job(job)
}

/// One line, left and vertically centred, cut with `…` at `width`; hovering then shows all of it.
pub fn fit(
    ui: &mut Ui,
    x: f32,
    centre_y: f32,
    width: f32,
    text: &str,
    font: FontId,
    colour: Color32,
) -> Response {
    let galley = cut(ui.painter(), text, font, colour, width);
    let elided = galley.elided;
    let rect = Align2::LEFT_CENTER.anchor_size(pos2(x, centre_y), galley.size());
    ui.painter().galley(snap(rect.min), galley, colour);
    let response = label(ui, rect, text);
    if elided {
        response.on_hover_text(text)
    } else {
        response
    }
}

/// Wrapped text in the flow of `ui`.
pub fn wrapped(ui: &mut Ui, text: &str, font: FontId, colour: Color32) -> Response {
    let width = ui.available_width();
    let galley = ui.painter().layout(text.to_owned(), font, colour, width);
    let (rect, _) = ui.allocate_exact_size(vec2(width, galley.size().y), Sense::hover());
    ui.painter().galley(snap(rect.min), galley, colour);
    label(ui, rect, text)
}

/// Text that only decorates: what it says is said elsewhere.
pub fn paint(
    painter: &Painter,
    at: Pos2,
    anchor: Align2,
    text: &str,
    font: FontId,
    colour: Color32,
) -> Rect {
    let galley = painter.layout_no_wrap(text.to_owned(), font, colour);
    let rect = anchor.anchor_size(at, galley.size());
    painter.galley(snap(rect.min), galley, colour);
    rect
}

pub fn width(ui: &Ui, text: &str, font: FontId) -> f32 {
    ui.painter()
        .layout_no_wrap(text.to_owned(), font, Color32::WHITE)
        .size()
        .x
}

/// An icon of the icon font, centred.
pub fn icon(painter: &Painter, centre: Pos2, icon: &str, size: f32, colour: Color32) {
    paint(
        painter,
        centre,
        Align2::CENTER_CENTER,
        icon,
        theme::icons(size),
        colour,
    );
}

/// A key cap; returns its left edge. `right` is its right edge.
pub fn key_cap(ui: &Ui, right: f32, centre_y: f32, keys: &str, on_button: bool) -> f32 {
    let tokens = theme::of(ui);
    let (ink, fill, edge) = if on_button {
        (
            tokens.on_button,
            Color32::from_white_alpha(36),
            Color32::TRANSPARENT,
        )
    } else {
        (tokens.dim, tokens.raised, tokens.line2)
    };
    cap(ui.painter(), pos2(right, centre_y), keys, (ink, fill, edge))
}

/// A key cap where there is only a painter.
pub fn key_cap_on(painter: &Painter, tokens: &Tokens, right: f32, centre_y: f32, keys: &str) {
    cap(
        painter,
        pos2(right, centre_y),
        keys,
        (tokens.dim, tokens.raised, tokens.line2),
    );
}

fn cap(
    painter: &Painter,
    right: Pos2,
    keys: &str,
    (ink, fill, edge): (Color32, Color32, Color32),
) -> f32 {
    let galley = painter.layout_no_wrap(keys.to_owned(), theme::mono(11.0), ink);
    let size = vec2((galley.size().x + 10.0).max(18.0), 18.0);
    let rect = Align2::RIGHT_CENTER.anchor_size(right, size);
    painter.rect(
        rect,
        CornerRadius::same(radius::CHIP),
        fill,
        Stroke::new(1.0, edge),
        StrokeKind::Inside,
    );
    painter.galley(snap(rect.center() - galley.size() / 2.0), galley, ink);
    rect.left()
}

/// A filled chip around text, its left edge at `x`; returns its rectangle.
pub fn chip(ui: &mut Ui, x: f32, centre_y: f32, text: &str, ink: Color32, fill: Color32) -> Rect {
    let galley = ui
        .painter()
        .layout_no_wrap(text.to_owned(), theme::medium(12.0), ink);
    let rect =
        Align2::LEFT_CENTER.anchor_size(pos2(x, centre_y), vec2(galley.size().x + 14.0, 22.0));
    ui.painter()
        .rect_filled(rect, CornerRadius::same(radius::CHIP), fill);
    ui.painter()
        .galley(snap(rect.center() - galley.size() / 2.0), galley, ink);
    label(ui, rect, text);
    rect
}

/// A card's background.
pub fn card(ui: &Ui, rect: Rect) {
    let tokens = theme::of(ui);
    ui.painter().rect(
        rect,
        CornerRadius::same(radius::CARD),
        tokens.card,
        Stroke::new(1.0, tokens.line),
        StrokeKind::Inside,
    );
}

pub fn hline(ui: &Ui, x: std::ops::RangeInclusive<f32>, y: f32, colour: Color32) {
    ui.painter()
        .hline(x.clone(), y.round() + 0.5, Stroke::new(1.0, colour));
}

pub fn vline(ui: &Ui, x: f32, y: std::ops::RangeInclusive<f32>, colour: Color32) {
    ui.painter()
        .vline(x.round() + 0.5, y.clone(), Stroke::new(1.0, colour));
}

/// A line across the flow, with room around it.
pub fn rule(ui: &mut Ui, above: f32, below: f32) {
    let colour = theme::of(ui).line;
    ui.add_space(above);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 1.0), Sense::hover());
    hline(ui, rect.left()..=rect.right(), rect.top(), colour);
    ui.add_space(below);
}

/// A row of the flow: what on the left, how much on the right.
pub fn pair(ui: &mut Ui, key: &str, value: &str, ink: Color32) -> Response {
    let tokens = theme::of(ui);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 23.0), Sense::hover());
    let y = rect.center().y;
    let value = right(ui, rect.right(), y, value, theme::mono(12.0), ink);
    fit(
        ui,
        rect.left(),
        y,
        value.rect.left() - rect.left() - 8.0,
        key,
        theme::regular(13.0),
        tokens.dim,
    );
    value
}

/// A heading of the flow with a remark on its right.
pub fn heading(ui: &mut Ui, text: &str, remark: &str) {
    let tokens = theme::of(ui);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 22.0), Sense::hover());
    let y = rect.center().y;
    left(ui, rect.left(), y, text, theme::medium(13.0), tokens.text);
    if !remark.is_empty() {
        right(
            ui,
            rect.right(),
            y,
            remark,
            theme::regular(12.0),
            tokens.dim,
        );
    }
}

/// Glyphs are sharp only on whole pixels.
pub fn snap(at: Pos2) -> Pos2 {
    pos2(at.x.round(), at.y.round())
}
