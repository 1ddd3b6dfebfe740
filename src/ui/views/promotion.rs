//! Putting a shadow in its primary's place: what the dialog asks beyond any other, and the window while it can be taken
//! back.

use eframe::egui::{CornerRadius, Rect, Stroke, StrokeKind, Ui, pos2, vec2};
use egui_material_icons::icons;

use super::approve::row;
use crate::{
    engine::{
        command::Command,
        snapshot::{PromotionView, ShadowState, ShadowView},
    },
    shadow::{CheckOutcome, PlanKind, Proposal, Step, promotion::PromotionStep},
    ui::{
        action::Action,
        format,
        pass::{Go, Pass},
        theme::{self, radius},
        widgets::{
            button::{Button, Look},
            field::text_field,
            text,
        },
    },
    units::printable,
};

/// What stops a primary, or loses what a promoted VM accepted, is typed and not nodded through.
pub const fn asks_for_the_name(kind: PlanKind) -> bool {
    matches!(
        kind,
        PlanKind::Promote | PlanKind::Commit | PlanKind::Rollback
    )
}

/// Why it cannot be approved yet; `None` once nothing stands against it and the name is there.
pub fn why_not(proposal: &Proposal, typed: &str) -> Option<&'static str> {
    if !asks_for_the_name(proposal.plan.kind) {
        None
    } else if blocks(proposal) {
        Some("Something stands against it; see the preflight.")
    } else if typed.trim() == proposal.plan.vm_name {
        None
    } else {
        Some("Type the VM's name first.")
    }
}

fn blocks(proposal: &Proposal) -> bool {
    (proposal.checks.iter()).any(|check| check.outcome == CheckOutcome::Blocks)
}

/// What is lost, and each check with its outcome.
pub fn preflight(ui: &mut Ui, proposal: &Proposal) {
    if !asks_for_the_name(proposal.plan.kind) {
        return;
    }
    losses(ui, proposal);
    if proposal.checks.is_empty() {
        return;
    }
    let tokens = theme::of(ui);
    let title = row(ui, 26.0);
    let y = title.center().y;
    text::left(
        ui,
        title.left(),
        y,
        "Preflight",
        theme::medium(12.5),
        tokens.text,
    );
    let passed = (proposal.checks.iter())
        .filter(|check| check.outcome == CheckOutcome::Passed)
        .count();
    let remark = format!("{passed} of {} passed", proposal.checks.len());
    text::right(
        ui,
        title.right(),
        y,
        &remark,
        theme::regular(12.5),
        tokens.dim,
    );
    for check in &proposal.checks {
        let line = row(ui, 28.0);
        let y = line.center().y;
        let (icon, ink) = match check.outcome {
            CheckOutcome::Passed => (icons::ICON_CHECK_CIRCLE, tokens.ok),
            CheckOutcome::Note => (icons::ICON_INFO, tokens.watch),
            CheckOutcome::Blocks => (icons::ICON_BLOCK, tokens.critical),
        };
        let at = pos2(line.left() + 8.0, y);
        text::icon(ui.painter(), at, icon.codepoint, 16.0, ink);
        text::fit(
            ui,
            line.left() + 24.0,
            y,
            line.width() - 24.0,
            &printable(&check.text),
            theme::regular(13.0),
            tokens.text,
        );
        text::hline(ui, line.left()..=line.right(), line.bottom(), tokens.line);
    }
    ui.add_space(12.0);
}

/// In a frame of its own: seconds of data, or what a rollback discards.
fn losses(ui: &mut Ui, proposal: &Proposal) {
    let tokens = theme::of(ui);
    let lost = (proposal.plan.steps.iter()).find_map(|step| match step {
        Step::Promotion(PromotionStep::AttestFenced { point_at, .. }) => {
            Some(proposal.plan.made_at.secs_since(*point_at).max(0))
        }
        _ => None,
    });
    let catches_up = (proposal.plan.steps.iter())
        .any(|step| matches!(step, Step::Promotion(PromotionStep::CatchUp { .. })));
    let nothing_lost = proposal.plan.kind == PlanKind::Promote && catches_up;
    let ink = if nothing_lost {
        tokens.ok
    } else {
        tokens.watch
    };
    let lines: Vec<String> = proposal
        .plan
        .cost
        .iter()
        .map(|line| printable(line))
        .collect();
    let area = row(ui, 22.0 * lines.len().max(1) as f32 + 18.0);
    ui.painter().rect(
        area,
        CornerRadius::same(radius::CONTROL),
        ink.gamma_multiply(0.10),
        Stroke::new(1.0, ink.gamma_multiply(0.5)),
        StrokeKind::Inside,
    );
    let mut left = area.left() + 14.0;
    let seconds = match (nothing_lost, lost) {
        (true, _) => Some("0 s".to_owned()),
        (false, Some(lost)) => Some(format::span(lost)),
        (false, None) => None,
    };
    if let Some(seconds) = seconds {
        let y = area.center().y;
        let shown = text::left(ui, left, y, &seconds, theme::semibold(20.0), ink);
        left = shown.rect.right() + 16.0;
    }
    for (index, line) in lines.iter().enumerate() {
        let y = area.top() + 9.0 + 22.0 * index as f32 + 11.0;
        let wide = area.right() - 12.0 - left;
        text::fit(ui, left, y, wide, line, theme::regular(12.5), tokens.text);
    }
    ui.add_space(12.0);
}

/// The name, typed by whoever approves.
pub fn name_field(ui: &mut Ui, proposal: &Proposal, typed: &mut String) {
    let tokens = theme::of(ui);
    let label = row(ui, 26.0);
    text::left(
        ui,
        label.left(),
        label.center().y,
        "Type the VM's name to go on",
        theme::medium(12.5),
        tokens.text,
    );
    let field = row(ui, 38.0);
    let response = text_field(
        ui,
        field,
        typed,
        "VM name",
        &printable(&proposal.plan.vm_name),
    );
    if !response.has_focus() && ui.memory(|memory| memory.focused().is_none()) {
        response.request_focus();
    }
    if typed.trim() == proposal.plan.vm_name {
        let at = pos2(field.right() - 18.0, field.center().y);
        text::icon(
            ui.painter(),
            at,
            icons::ICON_CHECK_CIRCLE.codepoint,
            16.0,
            tokens.ok,
        );
    }
    ui.add_space(14.0);
}

/// Beside the shadow: since when, until when, and what a rollback would lose.
pub fn window(ui: &mut Ui, view: &PromotionView, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    let left = view.until.secs_since(pass.now.at);
    let (remark, ink) = match view.committed_at {
        Some(at) => (format!("committed {}", pass.clock.near(at)), tokens.ok),
        None if left > 0 => (format!("{} left", format::span(left)), tokens.watch),
        None => ("over: waits for you".to_owned(), tokens.risk),
    };
    text::heading(ui, "Commit window", &remark);
    if view.committed_at.is_none() {
        let (bar, _) = ui.allocate_exact_size(
            vec2(ui.available_width(), 10.0),
            eframe::egui::Sense::hover(),
        );
        let whole = view.until.secs_since(view.at).max(1) as f32;
        let part = (left.max(0) as f32 / whole).clamp(0.0, 1.0);
        let track = Rect::from_center_size(bar.center(), vec2(bar.width(), 5.0));
        ui.painter()
            .rect_filled(track, CornerRadius::same(2), tokens.line2);
        let filled = Rect::from_min_size(track.min, vec2(track.width() * part, 5.0));
        ui.painter().rect_filled(filled, CornerRadius::same(2), ink);
        ui.add_space(4.0);
    }
    text::pair(ui, "Promoted", &pass.clock.near(view.at), tokens.hi);
    text::pair(ui, "From point", &view.point.to_string(), tokens.hi);
    let accepted = view
        .accepted_bytes
        .map_or_else(|| "not known".to_owned(), format::bytes);
    text::pair(ui, "A rollback would lose", &accepted, tokens.hi);
    if let Some(lost) = view.lost_seconds {
        text::pair(ui, "Lost at most", &format::span(lost as i64), tokens.risk);
    }
    if let Some(said) = &view.attestation {
        let words = format!("On the word: {}", printable(said));
        text::wrapped(ui, &words, theme::regular(12.5), tokens.dim);
    }
}

/// What can be done with a shadow in its primary's place.
pub fn buttons(ui: &mut Ui, foot: Rect, shadow: &ShadowView, pass: &mut Pass<'_>) {
    let half = (foot.width() - 8.0) / 2.0;
    let top = foot.top() + 12.0;
    let back = Rect::from_min_size(pos2(foot.left(), top), vec2(half, 36.0));
    let keep = Rect::from_min_size(pos2(foot.left() + half + 8.0, top), vec2(half, 36.0));
    let off = pass.blocked.or((shadow.state == ShadowState::Committed)
        .then_some("It was committed: there is no way back by a rollback."));
    let mut button = Button::new("Roll back", Look::Danger).off(off);
    button.tooltip =
        Some("Works out the plan that brings the primary back, with what that would lose");
    if button.put(ui, back).clicked() {
        pass.out.push(Command::ShadowRollback {
            shadow: shadow.id.clone(),
        });
    }
    let mut button = Button::new("Commit", Look::Primary).off(off);
    button.tooltip = Some("The promotion stays; after it there is no rollback");
    if button.put(ui, keep).clicked() {
        pass.out.push(Command::ShadowCommit {
            shadow: shadow.id.clone(),
        });
    }
    let open = Rect::from_min_size(
        pos2(foot.left(), keep.bottom() + 8.0),
        vec2(foot.width(), 32.0),
    );
    if Button::new("Open the VM", Look::Secondary)
        .put(ui, open)
        .clicked()
    {
        pass.go.push(Go::OpenVm(shadow.vm.clone()));
    }
}

/// The button that asks for a promotion's plan, by mouse or key.
pub fn promote_button(
    ui: &mut Ui,
    rect: Rect,
    shadow: &ShadowView,
    off: Option<&str>,
    pass: &mut Pass<'_>,
) {
    let pressed = pass.pressed(Action::Promote) && off.is_none();
    let clicked = Button::action(Action::Promote, Look::Primary)
        .off(off)
        .put(ui, rect)
        .clicked();
    if clicked || pressed {
        pass.out.push(Command::ShadowPromote {
            shadow: shadow.id.clone(),
            point: None,
            attest_fenced: None,
        });
    }
}
