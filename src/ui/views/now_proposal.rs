//! The right of Now: the split, what it does to the peaks, checks, cost, and the decision.

use std::sync::Arc;

use eframe::egui::{Rect, ScrollArea, Sense, Ui, UiBuilder, pos2, vec2};
use egui_material_icons::icons;

use super::now::{NowView, SplitDraft};
use crate::{
    engine::{
        command::Command,
        snapshot::{OperationState, OperationView},
    },
    shadow::{CheckOutcome, PlanKind, Proposal, ProposalState},
    ui::{
        action::Action,
        format,
        pass::{Go, Pass},
        theme,
        widgets::{
            bars,
            button::{self, Button, Look},
            split::{self, Moved},
            status::{self, Tone},
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

/// The peaks at the share under the slider.
#[derive(Clone, Copy, Debug)]
pub struct Split {
    pub share: f64,
    pub no_action: f64,
    pub primary: f64,
    pub shadow: f64,
}

/// The engine has worked out the peaks for the planned share; for any other the line through that point and no action
/// is taken until it has worked out the plan anew.
pub fn split(view: &NowView, proposal: &Proposal) -> Split {
    let planned = proposal.sizing;
    let share = view
        .split
        .as_ref()
        .filter(|draft| draft.proposal == proposal.id)
        .map_or(planned.share, |draft| draft.share);
    let part = if planned.share > 0.0 {
        share / planned.share
    } else {
        0.0
    };
    let primary = if planned.share > 0.0 {
        planned.peak_no_action - (planned.peak_no_action - planned.peak_primary) * part
    } else {
        planned.peak_no_action * (1.0 - share)
    };
    let shadow = if planned.share > 0.0 {
        planned.peak_shadow * part
    } else {
        planned.peak_no_action * share
    };
    Split {
        share,
        no_action: planned.peak_no_action,
        primary: primary.max(0.0),
        shadow,
    }
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
    super::now_centre::stale_since(vm, pass).map(|at| {
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
            if proposal.plan.kind != PlanKind::Retire {
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

fn traffic(
    ui: &mut Ui,
    view: &mut NowView,
    proposal: &Arc<Proposal>,
    undecided: bool,
    pass: &mut Pass<'_>,
) {
    let tokens = theme::of(ui);
    let planned = proposal.sizing.share;
    let mut share = split(view, proposal).share;
    let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 24.0), Sense::hover());
    text::left(
        ui,
        row.left(),
        row.center().y,
        "Traffic split",
        theme::medium(13.0),
        tokens.text,
    );
    let serves = words::share_step(&proposal.plan).is_some();
    if !serves {
        text::right(
            ui,
            row.right(),
            row.center().y,
            "no service mapped",
            theme::regular(12.5),
            tokens.dim,
        );
        text::wrapped(
            ui,
            "The shadow replicates and stays powered off. To move traffic, map its balancer with `shadowcast service \
             map`.",
            theme::regular(12.5),
            tokens.dim,
        );
        return;
    }
    let drafted = view
        .split
        .as_ref()
        .is_some_and(|draft| draft.proposal == proposal.id);
    if drafted {
        text::right(
            ui,
            row.right(),
            row.center().y,
            &format!("planned {}", format::percent(planned)),
            theme::regular(12.5),
            tokens.dim,
        );
    }
    let id = eframe::egui::Id::unique(("split", proposal.id.as_str()));
    let on = undecided && pass.blocked.is_none();
    let (_, moved) = split::slider(ui, id, "Traffic split", &mut share, on);
    if moved != Moved::No {
        view.split = Some(SplitDraft {
            proposal: proposal.id.clone(),
            share,
            planned: None,
        });
    }
    if moved == Moved::Settled {
        if (share - planned).abs() < 0.005 {
            view.split = None;
        } else {
            pass.out.push(Command::ProposalAdjust {
                proposal: proposal.id.clone(),
                share,
            });
        }
    }
    ui.add_space(6.0);
    split_figures(ui, share);
    ui.add_space(8.0);
    peaks(ui, view, proposal, pass);
}

/// `60 % original` and `40 % shadow`.
pub fn split_figures(ui: &mut Ui, share: f64) {
    let tokens = theme::of(ui);
    let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 26.0), Sense::hover());
    let y = row.center().y;
    let left = text::left(
        ui,
        row.left(),
        y,
        &format::percent(1.0 - share),
        theme::semibold(17.0),
        tokens.hi,
    );
    text::left(
        ui,
        left.rect.right() + 8.0,
        y + 1.0,
        "original",
        theme::medium(13.0),
        tokens.accent,
    );
    let right = text::right(
        ui,
        row.right(),
        y + 1.0,
        "shadow",
        theme::medium(13.0),
        tokens.cast,
    );
    text::right(
        ui,
        right.rect.left() - 8.0,
        y,
        &format::percent(share),
        theme::semibold(17.0),
        tokens.hi,
    );
}

fn peaks(ui: &mut Ui, view: &NowView, proposal: &Proposal, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    let metric = words::metric(proposal);
    let split = split(view, proposal);
    let limit = pass
        .now
        .vm(&proposal.need.vm)
        .and_then(|vm| vm.outlook(metric))
        .and_then(|outlook| outlook.limit)
        .map(f64::from);
    let ratio = metric.unit() == "ratio";
    let top = if ratio {
        1.0
    } else {
        limit.unwrap_or(0.0).max(split.no_action).max(1.0)
    };
    let over = |value: f64| limit.is_some_and(|limit| value > limit);
    let mark = limit.map(|limit| (limit / top) as f32);
    let part = |value: f64| (value / top) as f32;
    for (name, value, calm) in [
        ("Peak, no action", split.no_action, tokens.accent),
        ("Peak, original", split.primary, tokens.accent),
        ("Peak, shadow", split.shadow, tokens.cast),
    ] {
        let colour = if over(value) { tokens.critical } else { calm };
        bars::row(
            ui,
            name,
            part(value),
            mark,
            colour,
            &if ratio {
                format::percent(value)
            } else {
                format::value(metric, value)
            },
        );
    }
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
        let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 24.0), Sense::hover());
        let y = row.center().y;
        let (icon, ink) = match check.outcome {
            CheckOutcome::Passed => (icons::ICON_CHECK_CIRCLE, tokens.ok),
            CheckOutcome::Note => (icons::ICON_INFO, tokens.watch),
            CheckOutcome::Blocks => (icons::ICON_BLOCK, tokens.critical),
        };
        text::icon(
            ui.painter(),
            pos2(row.left() + 8.0, y),
            icon.codepoint,
            16.0,
            ink,
        );
        text::fit(
            ui,
            row.left() + 24.0,
            y,
            row.width() - 24.0,
            &printable(&check.text),
            theme::regular(13.0),
            tokens.text,
        );
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
