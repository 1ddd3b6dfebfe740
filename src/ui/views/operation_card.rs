//! One operation of the timeline, with its steps once it is opened.

use eframe::egui::{
    CornerRadius, Rect, Role, Sense, Stroke, StrokeKind, Ui, UiBuilder, WidgetInfo, pos2, vec2,
};

use super::{now_queue::operation_tone, operation_side::operation_buttons};
use crate::{
    engine::{
        command::Command,
        snapshot::{OperationState, OperationView},
    },
    ui::{
        format,
        pass::{Go, Pass},
        theme::{self, radius},
        widgets::{
            button::{self, Button, Look},
            status::{self, Tone},
            steps, text,
        },
        words,
    },
    units::printable,
};

pub(super) const ROW: f32 = 58.0;

/// One operation; opened, its steps stand below. Returns whether its head was pressed.
pub(super) fn card(
    ui: &mut Ui,
    operation: &OperationView,
    open: bool,
    pass: &mut Pass<'_>,
) -> bool {
    let tokens = theme::of(ui);
    let acts = !matches!(
        operation.state,
        OperationState::Done | OperationState::Undone
    );
    let mut height = ROW;
    if open {
        height += 30.0 * operation.steps.len() as f32 + 20.0;
        if operation.why.is_some() {
            height += 30.0;
        }
        if acts {
            height += 52.0;
        }
    }
    let (card, _) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    let head = Rect::from_min_size(card.min, vec2(card.width(), ROW));
    let id = ui.scope_id().with(("operation", operation.id.as_str()));
    let response = ui.interact(head, id, Sense::click());
    let name = printable(&operation.vm_name);
    let what = words::operation_kind(operation.kind);
    let state = words::operation_state(operation.state, operation.undoing);
    response.widget_info(|| {
        WidgetInfo::selected(
            Role::ListItem,
            true,
            open,
            format!("{what}, {name}, {state}"),
        )
    });
    ui.painter().rect(
        card,
        CornerRadius::same(radius::CARD),
        tokens.card,
        Stroke::new(
            if open { 1.5 } else { 1.0 },
            if open {
                tokens.accent
            } else if response.hovered() {
                tokens.line2
            } else {
                tokens.line
            },
        ),
        StrokeKind::Inside,
    );
    if open {
        ui.painter().rect_filled(
            head.shrink(1.5),
            CornerRadius::same(radius::CARD - 1),
            tokens.selected,
        );
    }
    button::focus_ring(ui, &response, radius::CARD);
    row(ui, head, operation, (&name, what, state), pass);
    if open {
        let inside = Rect::from_min_max(
            pos2(card.left() + 16.0, head.bottom() + 8.0),
            pos2(card.right() - 16.0, card.bottom() - 8.0),
        );
        let mut child = ui.new_child(
            UiBuilder::new()
                .id_salt(("steps", operation.id.as_str()))
                .max_rect(inside),
        );
        steps::carried_out(&mut child, operation, pass.clock);
        if let Some(why) = &operation.why {
            let (line, _) = child.allocate_exact_size(vec2(inside.width(), 30.0), Sense::hover());
            let tone = operation_tone(operation);
            status::paint(
                child.painter(),
                pos2(line.left() + 8.0, line.center().y),
                11.0,
                tone,
                tokens,
            );
            text::fit(
                &mut child,
                line.left() + 24.0,
                line.center().y,
                line.width() - 24.0,
                &printable(why),
                theme::regular(13.0),
                tokens.text,
            );
        }
        if acts {
            actions(&mut child, inside, operation, pass);
        }
    }
    response.clicked()
}

pub(super) fn actions(ui: &mut Ui, inside: Rect, operation: &OperationView, pass: &mut Pass<'_>) {
    let parked = matches!(
        operation.state,
        OperationState::Parked | OperationState::Failed
    );
    let top = inside.bottom() - 40.0;
    if parked {
        let resume = Rect::from_min_size(pos2(inside.left(), top), vec2(130.0, 34.0));
        if Button::new("Resume", Look::Primary)
            .off(pass.blocked)
            .put(ui, resume)
            .clicked()
        {
            pass.out.push(Command::OperationResume {
                operation: operation.id.clone(),
                by: pass.by.to_owned(),
            });
        }
        let undo = Rect::from_min_size(pos2(inside.left() + 138.0, top), vec2(130.0, 34.0));
        if Button::new("Undo", Look::Danger).put(ui, undo).clicked() {
            pass.go.push(Go::Undo(operation.id.clone()));
        }
    } else {
        let area = Rect::from_min_size(pos2(inside.left(), top), vec2(130.0, 34.0));
        operation_buttons(ui, area, operation, pass);
    }
}

pub(super) fn row(
    ui: &mut Ui,
    head: Rect,
    operation: &OperationView,
    (name, what, state): (&str, &str, &str),
    pass: &Pass<'_>,
) {
    let tokens = theme::of(ui);
    let (upper, lower) = (head.top() + 20.0, head.top() + 39.0);
    let left = head.left() + 16.0;
    text::left(
        ui,
        left,
        upper,
        &pass.clock.hm(operation.started_at),
        theme::mono_medium(12.5),
        tokens.text,
    )
    .on_hover_text(pass.clock.full(operation.started_at));
    let right = head.right() - 16.0;
    let state_left = head.left() + head.width() * 0.78;
    let strip_left = head.left() + head.width() * 0.52;
    text::fit(
        ui,
        left + 62.0,
        upper,
        strip_left - left - 78.0,
        &format!("{what}, {name}"),
        theme::medium(13.5),
        tokens.hi,
    );
    text::fit(
        ui,
        left + 62.0,
        lower,
        strip_left - left - 78.0,
        &format!("{}, by {}", operation.id, printable(&operation.by)),
        theme::regular(12.0),
        tokens.dim,
    );
    let strip = Rect::from_min_max(
        pos2(strip_left, upper - 4.0),
        pos2(state_left - 28.0, upper + 4.0),
    );
    steps::strip(ui, strip, operation, pass.clock);
    let until = operation.ended_at.unwrap_or(pass.now.at);
    text::fit(
        ui,
        strip_left,
        lower,
        strip.width(),
        &format!(
            "{} of {} steps, {}",
            operation.step,
            operation.steps.len(),
            format::span(until.secs_since(operation.started_at))
        ),
        theme::mono(11.5),
        tokens.dim,
    );
    let tone = operation_tone(operation);
    status::paint(
        ui.painter(),
        pos2(state_left - 11.0, upper),
        10.0,
        tone,
        tokens,
    );
    let ink = if tone == Tone::Ok {
        tokens.hi
    } else {
        tone.colour(tokens)
    };
    text::fit(
        ui,
        state_left,
        upper,
        right - state_left,
        state,
        theme::medium(13.0),
        ink,
    );
    let step = operation
        .steps
        .get(operation.step)
        .filter(|_| operation.ended_at.is_none());
    let more = match (&operation.why, step) {
        (Some(why), _) => printable(why),
        (None, Some(step)) => printable(&step.text),
        (None, None) => String::new(),
    };
    text::fit(
        ui,
        state_left,
        lower,
        right - state_left,
        &more,
        theme::regular(12.0),
        tokens.dim,
    );
}
