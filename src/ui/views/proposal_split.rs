//! The split of a proposal: the slider, and what it does to the peaks.

use std::sync::Arc;

use eframe::egui::{Sense, Ui, vec2};

use super::now::{NowView, SplitDraft};
use crate::{
    engine::command::Command,
    inventory::ServiceKind,
    shadow::{PlanKind, Proposal},
    ui::{
        format,
        pass::Pass,
        theme,
        widgets::{
            bars,
            split::{self, Moved},
            text,
        },
        words,
    },
};

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

pub(super) fn traffic(
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
    let service = words::service(pass.now, &proposal.need.vm);
    let stateful = service.is_some_and(|service| service.kind == ServiceKind::Stateful);
    if (service.is_none() || stateful) && words::share_step(&proposal.plan).is_none() {
        text::right(
            ui,
            row.right(),
            row.center().y,
            if stateful {
                "stateful"
            } else {
                "no service mapped"
            },
            theme::regular(12.5),
            tokens.dim,
        );
        text::wrapped(
            ui,
            if stateful {
                "A clone of a stateful service may not serve: the shadow replicates and stays powered off."
            } else {
                "The shadow replicates and stays powered off. To move traffic, map its balancer with \
                 `shadowcast service map`."
            },
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
    // Only a plan that creates is made anew for another share.
    let on = undecided && pass.blocked.is_none() && proposal.plan.kind == PlanKind::Create;
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

pub(super) fn peaks(ui: &mut Ui, view: &NowView, proposal: &Proposal, pass: &Pass<'_>) {
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
