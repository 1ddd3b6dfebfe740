//! Turning a proposal down.

use eframe::egui::{Context, Rect, Sense, Ui, pos2, vec2};

use super::approve::Verdict;
use crate::ui::{keys, widgets::field::text_field};
use crate::{
    shadow::Proposal,
    ui::{
        action::Action,
        pass::Pass,
        theme,
        widgets::{
            button::{Button, Look},
            text,
        },
    },
    units::printable,
};

/// Turning a proposal down, with the reason for the record.
pub fn reject(ctx: &Context, proposal: &Proposal, why: &mut String, pass: &Pass<'_>) -> Verdict {
    let mut verdict = Verdict::Open;
    if pass.pressed(Action::Confirm) {
        verdict = Verdict::Approved;
    }
    if pass.pressed(Action::Close) {
        verdict = Verdict::Closed;
    }
    let answer = keys::dialog(ctx, "reject").show(ctx, |ui| {
        let tokens = theme::of(ui);
        let wide = 460.0;
        ui.set_width(wide);
        ui.add_space(20.0);
        let line = |ui: &mut Ui, height: f32| {
            let (rect, _) = ui.allocate_exact_size(vec2(wide, height), Sense::hover());
            rect.shrink2(vec2(28.0, 0.0))
        };
        let title = line(ui, 30.0);
        text::fit(
            ui,
            title.left(),
            title.center().y,
            title.width(),
            &format!("Reject for {}", printable(&proposal.plan.vm_name)),
            theme::semibold(17.0),
            tokens.hi,
        );
        let label = line(ui, 30.0);
        text::left(
            ui,
            label.left(),
            label.center().y,
            "Why? It is kept with the decision.",
            theme::regular(13.0),
            tokens.dim,
        );
        let field = line(ui, 38.0);
        let response = text_field(ui, field, why, "Reason", "for example: planned maintenance");
        if !response.has_focus() && ui.memory(|memory| memory.focused().is_none()) {
            response.request_focus();
        }
        ui.add_space(18.0);
        let foot = line(ui, 54.0);
        let main = Rect::from_min_size(pos2(foot.right() - 170.0, foot.top()), vec2(170.0, 36.0));
        let cancel = Rect::from_min_size(pos2(main.left() - 114.0, foot.top()), vec2(104.0, 36.0));
        let mut pressed = Verdict::Open;
        let mut close = Button::new("Cancel", Look::Secondary);
        close.keys = Some(Action::Close.keys());
        if close.put(ui, cancel).clicked() {
            pressed = Verdict::Closed;
        }
        let mut confirm = Button::new("Reject", Look::Primary).named("Reject the proposal");
        confirm.keys = Some(Action::Confirm.keys());
        if confirm.put(ui, main).clicked() {
            pressed = Verdict::Approved;
        }
        pressed
    });
    if verdict == Verdict::Open {
        verdict = answer.inner;
    }
    if verdict == Verdict::Open && answer.backdrop_response.clicked() {
        verdict = Verdict::Closed;
    }
    verdict
}
