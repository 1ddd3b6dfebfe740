//! What will run, and what runs, as a card of steps.

use eframe::egui::{Rect, Sense, Ui, UiBuilder, pos2, vec2};

use crate::{
    engine::snapshot::OperationView,
    shadow::Proposal,
    ui::{
        format,
        pass::Pass,
        theme,
        widgets::{status, steps, text},
        words,
    },
    units::printable,
};

pub(super) fn plan(ui: &mut Ui, proposal: &Proposal, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    ui.add_space(8.0);
    let steps: Vec<_> = proposal.plan.steps.iter().map(words::step).collect();
    let height = 46.0 + 34.0 * steps.len() as f32 + 14.0;
    let (card, _) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    text::card(ui, card);
    let y = card.top() + 22.0;
    let right = text::right(
        ui,
        card.right() - 16.0,
        y,
        &format!(
            "about {}",
            format::span(i64::from(proposal.plan.estimate_seconds))
        ),
        theme::medium(12.5),
        tokens.text,
    )
    .rect
    .left();
    let title = text::left(
        ui,
        card.left() + 16.0,
        y,
        "What will run",
        theme::medium(13.0),
        tokens.hi,
    );
    let passed = proposal
        .checks
        .iter()
        .all(|check| check.outcome != crate::shadow::CheckOutcome::Blocks);
    text::fit(
        ui,
        title.rect.right() + 12.0,
        y,
        right - title.rect.right() - 24.0,
        &format!(
            "planned {} ago, {}",
            pass.clock.ago(proposal.plan.made_at),
            if passed {
                "no check blocks it"
            } else {
                "a check blocks it"
            }
        ),
        theme::regular(12.5),
        tokens.dim,
    );
    text::hline(
        ui,
        card.left() + 1.0..=card.right() - 1.0,
        card.top() + 43.0,
        tokens.line,
    );
    let list = Rect::from_min_max(
        pos2(card.left() + 18.0, card.top() + 50.0),
        pos2(card.right() - 16.0, card.bottom()),
    );
    let mut child = ui.new_child(UiBuilder::new().id_salt("steps").max_rect(list));
    steps::planned(&mut child, &steps, |_| None);
}

/// An operation with its steps, in a card.
pub fn operation_card(ui: &mut Ui, operation: &OperationView, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    let why = operation.why.is_some();
    let height = 46.0 + 30.0 * operation.steps.len() as f32 + 16.0 + if why { 34.0 } else { 0.0 };
    let (card, _) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    text::card(ui, card);
    let y = card.top() + 22.0;
    let title = text::left(
        ui,
        card.left() + 16.0,
        y,
        words::operation_kind(operation.kind),
        theme::medium(13.0),
        tokens.hi,
    );
    let tone = super::now_queue::operation_tone(operation);
    let state = text::right(
        ui,
        card.right() - 16.0,
        y,
        words::operation_state(operation.state, operation.undoing),
        theme::medium(12.5),
        tone.colour(tokens),
    );
    status::paint(
        ui.painter(),
        pos2(state.rect.left() - 11.0, y),
        10.0,
        tone,
        tokens,
    );
    text::fit(
        ui,
        title.rect.right() + 12.0,
        y,
        state.rect.left() - title.rect.right() - 40.0,
        &format!(
            "{}, {} of {} steps, by {}",
            operation.id,
            operation.step,
            operation.steps.len(),
            printable(&operation.by)
        ),
        theme::regular(12.5),
        tokens.dim,
    );
    text::hline(
        ui,
        card.left() + 1.0..=card.right() - 1.0,
        card.top() + 43.0,
        tokens.line,
    );
    let list = Rect::from_min_max(
        pos2(card.left() + 16.0, card.top() + 50.0),
        pos2(card.right() - 16.0, card.bottom()),
    );
    let mut child = ui.new_child(UiBuilder::new().id_salt("steps").max_rect(list));
    steps::carried_out(&mut child, operation, pass.clock);
    if let Some(why) = &operation.why {
        let y = card.bottom() - 24.0;
        status::paint(
            ui.painter(),
            pos2(card.left() + 26.0, y),
            11.0,
            tone,
            tokens,
        );
        text::fit(
            ui,
            card.left() + 42.0,
            y,
            card.width() - 58.0,
            &printable(why),
            theme::regular(13.0),
            tokens.text,
        );
    }
}
