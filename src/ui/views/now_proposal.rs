//! The right of Now: the split, what it does to the peaks, checks, cost, and the decision.

use std::sync::Arc;

use eframe::egui::{Rect, ScrollArea, Sense, Ui, UiBuilder, pos2, vec2};
use egui_material_icons::icons;

use super::now::NowView;
use super::proposal_split::traffic;
use crate::{
    shadow::{CheckOutcome, PlanKind, Proposal, ProposalState},
    ui::{
        action::Action,
        pass::Pass,
        theme,
        widgets::{
            button::{Button, Look},
            text,
        },
        words,
    },
    units::printable,
};

/// What was pressed.
#[derive(Default)]
pub struct Asked {
    pub approve: bool,
    pub snooze: bool,
    pub reject: bool,
}

/// Why the proposal cannot be approved as it stands.
pub fn why_not(view: &NowView, proposal: &Proposal, pass: &Pass<'_>) -> Option<String> {
    if let Some(blocked) = pass.blocked {
        return Some(blocked.to_owned());
    }
    if let ProposalState::Stale { why } = &proposal.state {
        return Some(format!("The plan is out of date: {}", printable(why)));
    }
    if view
        .split
        .as_ref()
        .is_some_and(|draft| draft.proposal == proposal.id)
    {
        return Some("The plan is being worked out for the new split.".to_owned());
    }
    if let Some(check) = proposal
        .checks
        .iter()
        .find(|check| check.outcome == CheckOutcome::Blocks)
    {
        return Some(printable(&check.text));
    }
    let Some(vm) = pass.now.vm(&proposal.need.vm) else {
        return Some("The VM is no longer there.".to_owned());
    };
    super::chart_card::stale_since(vm, pass).map(|at| {
        format!(
            "Its newest sample is {} old. Fresh data are needed to approve.",
            pass.clock.ago(at)
        )
    })
}

pub fn proposal(
    ui: &mut Ui,
    rect: Rect,
    view: &mut NowView,
    proposal: &Arc<Proposal>,
    pass: &mut Pass<'_>,
) -> Asked {
    let undecided = matches!(
        proposal.state,
        ProposalState::Open | ProposalState::Snoozed { .. }
    );
    let foot = if undecided { 128.0 } else { 70.0 };
    let above = Rect::from_min_max(
        rect.min + vec2(20.0, 0.0),
        pos2(rect.right() - 20.0, rect.bottom() - foot),
    );
    let mut child = ui.new_child(UiBuilder::new().id_salt("particulars").max_rect(above));
    ScrollArea::vertical()
        .auto_shrink([false, false])
        .show(&mut child, |ui| {
            title(ui, proposal);
            text::rule(ui, 12.0, 8.0);
            if matches!(proposal.plan.kind, PlanKind::Create | PlanKind::Traffic) {
                traffic(ui, view, proposal, undecided, pass);
                text::rule(ui, 10.0, 8.0);
            }
            checks(ui, proposal);
            text::rule(ui, 10.0, 8.0);
            placement(ui, proposal, pass);
            ui.add_space(10.0);
        });
    let below = Rect::from_min_max(
        pos2(above.left(), above.bottom()),
        pos2(above.right(), rect.bottom()),
    );
    text::hline(
        ui,
        rect.left() + 1.0..=rect.right(),
        below.top(),
        theme::of(ui).line,
    );
    if undecided {
        buttons(ui, below, view, proposal, pass)
    } else {
        decided(ui, below, proposal, pass);
        Asked::default()
    }
}

fn title(ui: &mut Ui, proposal: &Proposal) {
    let tokens = theme::of(ui);
    ui.add_space(12.0);
    let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 26.0), Sense::hover());
    text::left(
        ui,
        row.left(),
        row.center().y,
        "Proposal",
        theme::regular(12.5),
        tokens.dim,
    );
    text::right(
        ui,
        row.right(),
        row.center().y,
        proposal.id.as_str(),
        theme::mono(12.0),
        tokens.dim,
    );
    text::wrapped(
        ui,
        &words::title(proposal),
        theme::semibold(15.5),
        tokens.hi,
    );
}

fn checks(ui: &mut Ui, proposal: &Proposal) {
    let tokens = theme::of(ui);
    let count = |outcome| {
        proposal
            .checks
            .iter()
            .filter(|check| check.outcome == outcome)
            .count()
    };
    let (passed, notes, blocks) = (
        count(CheckOutcome::Passed),
        count(CheckOutcome::Note),
        count(CheckOutcome::Blocks),
    );
    let mut remark = format!("{passed} passed");
    if notes > 0 {
        remark += &format!(", {notes} to note");
    }
    if blocks > 0 {
        remark += &format!(", {blocks} in the way");
    }
    text::heading(ui, "Checks", &remark);
    for check in &proposal.checks {
        let (icon, ink) = match check.outcome {
            CheckOutcome::Passed => (icons::ICON_CHECK_CIRCLE, tokens.ok),
            CheckOutcome::Note => (icons::ICON_INFO, tokens.watch),
            CheckOutcome::Blocks => (icons::ICON_BLOCK, tokens.critical),
        };
        ui.add_space(3.0);
        let top = ui.cursor().top();
        ui.horizontal(|ui| {
            ui.add_space(24.0);
            text::wrapped(
                ui,
                &printable(&check.text),
                theme::regular(13.0),
                tokens.text,
            );
        });
        text::icon(
            ui.painter(),
            pos2(ui.max_rect().left() + 8.0, top + 9.0),
            icon.codepoint,
            16.0,
            ink,
        );
        ui.add_space(3.0);
    }
}

/// Where it goes, what was not taken and why, what it costs, and what undoes it.
fn placement(ui: &mut Ui, proposal: &Proposal, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    if let Some(placement) = &proposal.placement {
        text::heading(ui, "Placed in", &words::pool(pass.now, &placement.pool));
        text::wrapped(
            ui,
            &printable(&placement.why),
            theme::regular(12.5),
            tokens.dim,
        );
        for rejected in placement.rejected.iter().take(3) {
            ui.add_space(3.0);
            text::wrapped(
                ui,
                &format!(
                    "Not {}: {}",
                    words::pool(pass.now, &rejected.pool),
                    printable(&rejected.why)
                ),
                theme::regular(12.5),
                tokens.dim,
            );
        }
        text::rule(ui, 10.0, 8.0);
    }
    if !proposal.plan.cost.is_empty() {
        text::heading(ui, "Takes while it stands", "");
        for cost in &proposal.plan.cost {
            text::wrapped(ui, &printable(cost), theme::regular(12.5), tokens.dim);
            ui.add_space(3.0);
        }
    }
}

fn buttons(ui: &mut Ui, area: Rect, view: &NowView, proposal: &Proposal, pass: &Pass<'_>) -> Asked {
    let tokens = theme::of(ui);
    let mut asked = Asked::default();
    let why_not = why_not(view, proposal, pass);
    let main = Rect::from_min_size(area.min + vec2(0.0, 12.0), vec2(area.width(), 40.0));
    asked.approve = Button::action(Action::Approve, Look::Primary)
        .off(why_not.as_deref())
        .put(ui, main)
        .clicked();
    let half = (area.width() - 8.0) / 2.0;
    let row = main.bottom() + 8.0;
    let snooze = Rect::from_min_size(pos2(area.left(), row), vec2(half, 32.0));
    let reject = Rect::from_min_size(pos2(area.left() + half + 8.0, row), vec2(half, 32.0));
    asked.snooze = Button::action(Action::Snooze, Look::Secondary)
        .put(ui, snooze)
        .clicked();
    asked.reject = Button::action(Action::Reject, Look::Secondary)
        .put(ui, reject)
        .clicked();
    let (words, ink) = why_not.as_deref().map_or_else(
        || ("Nothing runs before you approve.", tokens.dim),
        |why| (why, tokens.risk),
    );
    let width = text::width(ui, words, theme::regular(12.5)).min(area.width());
    text::fit(
        ui,
        area.center().x - width / 2.0,
        row + 32.0 + 17.0,
        area.width(),
        words,
        theme::regular(12.5),
        ink,
    );
    asked
}

fn decided(ui: &mut Ui, area: Rect, proposal: &Proposal, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    let words = match &proposal.state {
        ProposalState::Approved { by, at } => {
            format!("Approved by {} at {}.", printable(by), pass.clock.near(*at))
        }
        ProposalState::Rejected { by, at, why } => format!(
            "Rejected by {} at {}: {}",
            printable(by),
            pass.clock.near(*at),
            printable(why)
        ),
        ProposalState::Stale { why } => format!("Out of date: {}", printable(why)),
        ProposalState::Expired => "Expired before anybody decided.".to_owned(),
        ProposalState::Open | ProposalState::Snoozed { .. } => String::new(),
    };
    let inside = area.shrink2(vec2(0.0, 14.0));
    let mut child = ui.new_child(UiBuilder::new().id_salt("decided").max_rect(inside));
    text::wrapped(&mut child, &words, theme::regular(13.0), tokens.text);
}
