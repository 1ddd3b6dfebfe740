//! Asks before an operation is undone: what it is, and what that takes back.

use std::sync::Arc;

use eframe::egui::{Context, Key, Modifiers, Rect, Sense, pos2, vec2};

use super::{
    action::Action,
    keys, theme,
    widgets::{
        button::{Button, Look},
        text,
    },
    words,
};
use crate::{
    engine::{
        command::Command,
        snapshot::{OperationState, OperationView, Snapshot, StepState},
    },
    units::{OperationId, printable},
};

/// Whether an operation can still be undone.
pub const fn can(operation: &OperationView) -> bool {
    !operation.undoing
        && matches!(
            operation.state,
            OperationState::Running
                | OperationState::Waiting
                | OperationState::Parked
                | OperationState::Failed
        )
}

/// Shows the question while there is one.
pub fn dialog(
    ctx: &Context,
    asked: &mut Option<OperationId>,
    now: &Arc<Snapshot>,
    by: &str,
    out: &mut Vec<Command>,
) {
    let Some(id) = asked.clone() else { return };
    let Some(operation) = now.operations.iter().find(|it| it.id == id && can(it)) else {
        *asked = None;
        return;
    };
    let confirmed = ctx.input_mut(|input| {
        input.consume_shortcut(&Action::Confirm.shortcut())
            || input.consume_key(Modifiers::NONE, Key::Z)
    });
    let answer = keys::dialog(ctx, "undo").show(ctx, |ui| {
        let tokens = theme::of(ui);
        let wide = 480.0;
        ui.set_width(wide);
        ui.add_space(20.0);
        let line = |ui: &mut eframe::egui::Ui, height: f32| {
            let (rect, _) = ui.allocate_exact_size(vec2(wide, height), Sense::hover());
            rect.shrink2(vec2(28.0, 0.0))
        };
        let title = line(ui, 32.0);
        text::fit(
            ui,
            title.left(),
            title.center().y,
            title.width(),
            &format!(
                "Undo: {} for {}",
                words::operation_kind(operation.kind).to_lowercase(),
                printable(&operation.vm_name)
            ),
            theme::semibold(17.0),
            tokens.hi,
        );
        let started = operation
            .steps
            .iter()
            .filter(|step| !matches!(step.state, StepState::Pending | StepState::Undone))
            .count();
        let more = line(ui, 52.0);
        let mut child = ui.new_child(eframe::egui::UiBuilder::new().max_rect(more));
        text::wrapped(
            &mut child,
            &format!(
                "It stops where it is, and its {started} started {} undone, the last one first. Traffic goes back to \
                 the original.",
                if started == 1 { "step is" } else { "steps are" }
            ),
            theme::regular(13.0),
            tokens.text,
        );
        let foot = line(ui, 58.0);
        let main = Rect::from_min_size(pos2(foot.right() - 150.0, foot.top()), vec2(150.0, 36.0));
        let keep = Rect::from_min_size(pos2(main.left() - 148.0, foot.top()), vec2(138.0, 36.0));
        let mut pressed = None;
        let mut button = Button::new("Let it run", Look::Secondary);
        button.keys = Some(Action::Close.keys());
        if button.put(ui, keep).clicked() {
            pressed = Some(false);
        }
        let mut button = Button::new("Undo it", Look::Primary);
        button.keys = Some(Action::Undo.keys());
        if button.put(ui, main).clicked() {
            pressed = Some(true);
        }
        pressed
    });
    if confirmed || answer.inner == Some(true) {
        out.push(Command::OperationCancel {
            operation: id,
            by: by.to_owned(),
        });
        *asked = None;
    } else if answer.inner == Some(false) || answer.should_close() {
        *asked = None;
    }
}
