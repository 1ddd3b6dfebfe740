//! The steps of a plan or of an operation, one below the other, joined by a line.

use eframe::egui::{Align2, Color32, Pos2, Rect, Sense, Stroke, Ui, pos2, vec2};

use super::{bars, text};
use crate::{
    engine::snapshot::{OperationView, StepState, StepView},
    ui::{
        format::{self, Clock},
        theme,
    },
    units::printable,
};

const ROW: f32 = 34.0;

/// Numbered steps that have not run: what is done, and a remark.
pub fn planned(ui: &mut Ui, steps: &[(String, String)], note: impl Fn(usize) -> Option<String>) {
    let tokens = theme::of(ui);
    let last = steps.len();
    for (index, (what, remark)) in steps.iter().enumerate() {
        let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::hover());
        let centre = pos2(rect.left() + 10.0, rect.center().y);
        if index + 1 < last {
            text::vline(
                ui,
                centre.x - 0.5,
                centre.y + 10.0..=centre.y + ROW - 10.0,
                tokens.line2,
            );
        }
        bars::disc(ui.painter(), centre, 10.0, tokens.raised, tokens.line2);
        text::paint(
            ui.painter(),
            centre,
            Align2::CENTER_CENTER,
            &(index + 1).to_string(),
            theme::medium(11.0),
            tokens.text,
        );
        let right = note(index).map_or(rect.right(), |note| {
            text::right(
                ui,
                rect.right(),
                centre.y,
                &note,
                theme::mono(12.0),
                tokens.dim,
            )
            .rect
            .left()
                - 10.0
        });
        line(
            ui,
            rect.left() + 34.0,
            right,
            centre.y,
            what,
            remark,
            tokens.hi,
        );
    }
}

/// What and its remark on one line; the remark gives way first.
fn line(ui: &mut Ui, x: f32, right: f32, y: f32, what: &str, remark: &str, ink: Color32) {
    let tokens = theme::of(ui);
    let what = text::fit(ui, x, y, right - x, what, theme::medium(13.0), ink);
    let from = what.rect.right() + 12.0;
    if !remark.is_empty() && right - from > 96.0 {
        text::fit(
            ui,
            from,
            y,
            right - from,
            remark,
            theme::regular(12.0),
            tokens.dim,
        );
    }
}

/// The steps of an operation as far as they are.
pub fn carried_out(ui: &mut Ui, operation: &OperationView, clock: &Clock) {
    let tokens = theme::of(ui);
    let last = operation.steps.len();
    for (index, step) in operation.steps.iter().enumerate() {
        let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 30.0), Sense::hover());
        let y = rect.center().y;
        let wide = rect.width() > 430.0;
        let dot = if wide { 78.0 } else { 10.0 };
        if wide && let Some(at) = step.started_at {
            text::left(
                ui,
                rect.left(),
                y,
                &clock.hms(at),
                theme::mono(11.0),
                tokens.dim,
            )
            .on_hover_text(clock.full(at));
        }
        let centre = pos2(rect.left() + dot, y);
        if index + 1 < last {
            text::vline(ui, centre.x - 0.5, y + 8.0..=y + 22.0, tokens.line2);
        }
        mark(ui, centre, step.state);
        let right = progress(ui, rect, operation, step, clock);
        let ink = match step.state {
            StepState::Pending => tokens.dim,
            StepState::Failed => tokens.critical,
            StepState::Running | StepState::Done | StepState::Undone => tokens.hi,
        };
        line(
            ui,
            rect.left() + dot + 18.0,
            right,
            y,
            &printable(&step.text),
            &printable(&step.note),
            ink,
        );
    }
}

/// Time or progress on the right; returns where it begins.
fn progress(
    ui: &mut Ui,
    rect: Rect,
    operation: &OperationView,
    step: &StepView,
    clock: &Clock,
) -> f32 {
    let tokens = theme::of(ui);
    let y = rect.center().y;
    let words = match (step.state, step.started_at, step.ended_at) {
        (StepState::Running, _, _) => match operation.progress {
            Some(progress) if progress.total_bytes > 0 => {
                let part = progress.done_bytes as f32 / progress.total_bytes as f32;
                let bar = Rect::from_min_size(pos2(rect.right() - 180.0, y - 3.0), vec2(80.0, 6.0));
                bars::share(ui.painter(), bar, part, None, tokens.cast, tokens);
                format!("{:.0} %", part * 100.0)
            }
            Some(progress) => format::bytes(progress.done_bytes),
            None => step
                .started_at
                .map_or_else(|| "runs".to_owned(), |at| clock.ago(at)),
        },
        (StepState::Undone, _, _) => "undone".to_owned(),
        (StepState::Failed, _, _) => "failed".to_owned(),
        (_, Some(from), Some(to)) => format::span(to.secs_since(from)),
        _ => String::new(),
    };
    let ink = match step.state {
        StepState::Failed => tokens.critical,
        StepState::Undone => tokens.watch,
        _ => tokens.dim,
    };
    if words.is_empty() {
        return rect.right();
    }
    let left = text::right(ui, rect.right(), y, &words, theme::mono(12.0), ink)
        .rect
        .left();
    if step.state == StepState::Running
        && operation
            .progress
            .is_some_and(|progress| progress.total_bytes > 0)
    {
        rect.right() - 190.0
    } else {
        left - 10.0
    }
}

/// A check, a half ring, a cross, an arrow back or a ring: a shape for each state.
fn mark(ui: &Ui, centre: Pos2, state: StepState) {
    use egui_material_icons::icons;
    let tokens = theme::of(ui);
    let painter = ui.painter();
    match state {
        StepState::Pending => {
            painter.circle_stroke(centre, 5.5, Stroke::new(1.4, tokens.faint));
        }
        StepState::Running => {
            painter.circle_stroke(centre, 5.5, Stroke::new(1.4, tokens.line2));
            let arc = (0..=10u8)
                .map(|step| {
                    let angle =
                        f32::from(step) / 10.0 * std::f32::consts::PI - std::f32::consts::FRAC_PI_2;
                    centre + vec2(angle.cos(), angle.sin()) * 5.5
                })
                .collect();
            painter.line(arc, Stroke::new(2.0, tokens.cast));
        }
        StepState::Done => text::icon(
            painter,
            centre,
            icons::ICON_CHECK_CIRCLE.codepoint,
            16.0,
            tokens.ok,
        ),
        StepState::Failed => text::icon(
            painter,
            centre,
            icons::ICON_CANCEL.codepoint,
            16.0,
            tokens.critical,
        ),
        StepState::Undone => {
            text::icon(
                painter,
                centre,
                icons::ICON_UNDO.codepoint,
                16.0,
                tokens.watch,
            );
        }
    }
}

/// One segment a step on one line, as long as the step took; shape tells failure as well as colour.
pub fn strip(ui: &Ui, rect: Rect, operation: &OperationView, clock: &Clock) {
    let tokens = theme::of(ui);
    let painter = ui.painter();
    let weights: Vec<f32> = operation
        .steps
        .iter()
        .map(|step| match (step.started_at, step.ended_at) {
            (Some(from), Some(to)) => (to.secs_since(from).max(1) as f32).sqrt(),
            (Some(from), None) => (clock.now.secs_since(from).max(1) as f32).sqrt(),
            _ => 1.5,
        })
        .collect();
    let total: f32 = weights.iter().sum::<f32>().max(0.001);
    let hairs = 2.0 * weights.len().saturating_sub(1) as f32;
    let room = (rect.width() - hairs - 4.0 * weights.len() as f32).max(0.0);
    let mut x = rect.left();
    for (step, weight) in operation.steps.iter().zip(&weights) {
        let width = 4.0 + room * weight / total;
        let part = Rect::from_min_size(pos2(x, rect.top()), vec2(width, rect.height()));
        x += width + 2.0;
        let colour = match step.state {
            StepState::Pending => tokens.line,
            StepState::Running => tokens.cast,
            StepState::Done => tokens.ok,
            StepState::Failed => tokens.critical,
            StepState::Undone => tokens.watch,
        };
        painter.rect_filled(part, 2, colour);
        if step.state == StepState::Failed {
            // A notch: failure is not told by colour alone.
            let middle = part.center();
            let half = rect.height() / 2.0;
            painter.line_segment(
                [middle + vec2(-half, half), middle + vec2(half, -half)],
                Stroke::new(2.5, tokens.card),
            );
        }
    }
}
