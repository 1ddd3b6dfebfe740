//! Beside an operation: its particulars, and what can be done about it.

use eframe::egui::{Rect, Sense, Ui, UiBuilder, pos2, vec2};

use crate::{
    engine::{
        command::Command,
        snapshot::{OperationState, OperationView},
    },
    ui::{
        action::Action,
        format,
        pass::{Go, Pass},
        theme,
        widgets::{
            button::{self, Button, Look},
            status::{self, Tone},
            text,
        },
        words,
    },
    units::printable,
};

/// An operation's particulars, and what can be done about it.
pub fn operation(ui: &mut Ui, rect: Rect, operation: &OperationView, pass: &mut Pass<'_>) {
    let tokens = theme::of(ui);
    let inside = Rect::from_min_max(
        rect.min + vec2(20.0, 0.0),
        pos2(rect.right() - 20.0, rect.bottom() - 100.0),
    );
    let mut child = ui.new_child(UiBuilder::new().id_salt("operation").max_rect(inside));
    let ui = &mut child;
    ui.add_space(12.0);
    let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 26.0), Sense::hover());
    text::left(
        ui,
        row.left(),
        row.center().y,
        "Operation",
        theme::regular(12.5),
        tokens.dim,
    );
    text::right(
        ui,
        row.right(),
        row.center().y,
        operation.id.as_str(),
        theme::mono(12.0),
        tokens.dim,
    );
    text::wrapped(
        ui,
        &format!(
            "{} for {}",
            words::operation_kind(operation.kind),
            printable(&operation.vm_name)
        ),
        theme::semibold(15.5),
        tokens.hi,
    );
    text::rule(ui, 12.0, 8.0);
    let tone = super::now_queue::operation_tone(operation);
    text::pair(
        ui,
        "State",
        words::operation_state(operation.state, operation.undoing),
        tone.colour(tokens),
    );
    text::pair(
        ui,
        "Steps",
        &format!("{} of {}", operation.step, operation.steps.len()),
        tokens.hi,
    );
    text::pair(
        ui,
        "Started",
        &pass.clock.near(operation.started_at),
        tokens.hi,
    )
    .on_hover_text(pass.clock.full(operation.started_at));
    let until = operation.ended_at.unwrap_or(pass.now.at);
    text::pair(
        ui,
        "Took",
        &format::span(until.secs_since(operation.started_at)),
        tokens.hi,
    );
    text::pair(ui, "Approved by", &printable(&operation.by), tokens.hi);
    if let Some(why) = &operation.why {
        text::rule(ui, 12.0, 10.0);
        let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 22.0), Sense::hover());
        status::paint(
            ui.painter(),
            pos2(row.left() + 6.0, row.center().y),
            12.0,
            tone,
            tokens,
        );
        text::left(
            ui,
            row.left() + 20.0,
            row.center().y,
            if tone == Tone::Ok {
                "It waits"
            } else {
                "Why it stopped"
            },
            theme::medium(13.0),
            tokens.text,
        );
        text::wrapped(ui, &printable(why), theme::regular(13.0), tokens.text);
    }
    text::rule(ui, 12.0, 8.0);
    let at = ui.cursor().left_top() + vec2(0.0, 4.0);
    if pass
        .now
        .shadows
        .iter()
        .any(|shadow| shadow.id == operation.shadow)
        && button::link(ui, at, eframe::egui::Align2::LEFT_TOP, "Go to the shadow").clicked()
    {
        pass.go.push(Go::Shadow(operation.shadow.clone()));
    }
    let below = Rect::from_min_max(
        pos2(inside.left(), rect.bottom() - 100.0),
        pos2(inside.right(), rect.bottom()),
    );
    operation_buttons(ui, below, operation, pass);
}

/// Undo while it runs, Resume and Undo when it is parked. The first stands in `area`'s upper row.
pub fn operation_buttons(ui: &mut Ui, area: Rect, operation: &OperationView, pass: &mut Pass<'_>) {
    let parked = matches!(
        operation.state,
        OperationState::Parked | OperationState::Failed
    );
    let running = matches!(
        operation.state,
        OperationState::Running | OperationState::Waiting
    ) && !operation.undoing;
    let mut row = Rect::from_min_size(area.min, vec2(area.width(), 40.0));
    if parked {
        let resume = Button::new("Resume", Look::Primary).off(pass.blocked);
        if resume.put(ui, row).clicked() {
            pass.out.push(Command::OperationResume {
                operation: operation.id.clone(),
                by: pass.by.to_owned(),
            });
        }
        row = row.translate(vec2(0.0, 48.0));
    }
    if running || parked {
        let mut undo = Button::action(Action::Undo, Look::Danger);
        if parked {
            undo.keys = None;
        }
        row.set_height(32.0);
        if undo.put(ui, row).clicked() {
            pass.go.push(Go::Undo(operation.id.clone()));
        }
    }
}
