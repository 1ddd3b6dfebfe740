//! Beside the page of a VM: its shadow, and what happened to it.

use eframe::egui::{Align2, Rect, ScrollArea, Sense, Ui, UiBuilder, pos2, vec2};

use super::{events, fleet_side};
use crate::{
    engine::{
        command::Command,
        snapshot::{TimelineEntry, VmView},
    },
    shadow::ProposalState,
    ui::{
        action::Action,
        format,
        pass::{Go, Pass},
        theme,
        widgets::{
            bars,
            button::{self, Button, Look},
            status, text,
        },
        words,
    },
    units::printable,
};

pub(super) fn propose(view: &VmView, pass: &mut Pass<'_>) {
    pass.out.push(Command::ShadowPropose {
        vm: view.vm.id.clone(),
        pool: None,
        rpo_seconds: None,
        share: None,
    });
}

pub(super) fn side_ui(ui: &mut Ui, side: Rect, view: &VmView, pass: &mut Pass<'_>) {
    let inside = Rect::from_min_max(
        side.min + vec2(20.0, 0.0),
        pos2(side.right() - 20.0, side.bottom() - 104.0),
    );
    let mut child = ui.new_child(UiBuilder::new().id_salt("side").max_rect(inside));
    shadow(&mut child, view, pass);
    text::rule(&mut child, 12.0, 8.0);
    let own: Vec<TimelineEntry> = pass
        .now
        .timeline
        .iter()
        .filter(|entry| entry.vm.as_ref() == Some(&view.vm.id))
        .take(50)
        .cloned()
        .collect();
    text::heading(
        &mut child,
        "What happened",
        &format::plural(own.len(), "entry", "entries"),
    );
    if own.is_empty() {
        text::wrapped(
            &mut child,
            "Nothing was done about this VM yet.",
            theme::regular(13.0),
            theme::of(ui).dim,
        );
    }
    ScrollArea::vertical()
        .auto_shrink([false, false])
        .show_rows(&mut child, 46.0, own.len(), |ui, range| {
            for entry in &own[range] {
                events::event(ui, entry, pass);
            }
        });
    let foot = Rect::from_min_max(
        pos2(inside.left(), inside.bottom()),
        pos2(inside.right(), side.bottom()),
    );
    buttons(ui, foot, view, pass);
}

pub(super) fn shadow(ui: &mut Ui, view: &VmView, pass: &mut Pass<'_>) {
    let tokens = theme::of(ui);
    ui.add_space(16.0);
    let Some(shadow) = pass.now.shadow_of(&view.vm.id).cloned() else {
        text::heading(ui, "Shadow", "none");
        text::wrapped(
            ui,
            "No copy of this VM is kept ready.",
            theme::regular(13.0),
            tokens.dim,
        );
        return;
    };
    let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 24.0), Sense::hover());
    text::left(
        ui,
        row.left(),
        row.center().y,
        "Shadow",
        theme::medium(13.0),
        tokens.text,
    );
    if button::link(
        ui,
        pos2(row.right(), row.center().y),
        Align2::RIGHT_CENTER,
        "Open the shadow",
    )
    .clicked()
    {
        pass.go.push(Go::Shadow(shadow.id.clone()));
    }
    let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 26.0), Sense::hover());
    status::paint(
        ui.painter(),
        pos2(row.left() + 6.0, row.center().y),
        11.0,
        super::shadows::tone(&shadow),
        tokens,
    );
    text::fit(
        ui,
        row.left() + 18.0,
        row.center().y,
        row.width() - 18.0,
        &printable(&shadow.name),
        theme::semibold(13.5),
        tokens.hi,
    );
    ui.add_space(4.0);
    let (bar, _) = ui.allocate_exact_size(vec2(ui.available_width(), 6.0), Sense::hover());
    bars::split(ui.painter(), bar, shadow.traffic_share as f32, tokens);
    ui.add_space(4.0);
    let lag = shadow
        .lag_seconds
        .map_or_else(|| "none yet".to_owned(), |lag| format::span(lag as i64));
    text::pair(ui, "State", words::shadow_state(shadow.state), tokens.hi);
    text::pair(
        ui,
        "Traffic",
        &format::percent(shadow.traffic_share),
        tokens.hi,
    );
    text::pair(
        ui,
        "Lag",
        &format!("{lag} of {}", format::span(i64::from(shadow.rpo_seconds))),
        tokens.hi,
    );
    text::pair(
        ui,
        "Recovery points",
        &shadow.points.len().to_string(),
        tokens.hi,
    );
}

pub(super) fn buttons(ui: &mut Ui, foot: Rect, view: &VmView, pass: &mut Pass<'_>) {
    let main = Rect::from_min_size(foot.min + vec2(0.0, 12.0), vec2(foot.width(), 40.0));
    let open = pass
        .now
        .proposals
        .iter()
        .find(|proposal| proposal.need.vm == view.vm.id && proposal.state == ProposalState::Open)
        .map(|proposal| proposal.id.clone());
    if let Some(proposal) = open {
        if Button::new("Show the proposal", Look::Primary)
            .put(ui, main)
            .clicked()
        {
            pass.go.push(Go::Proposal(proposal));
        }
    } else {
        let off = fleet_side::why_not(view, pass);
        if Button::action(Action::Propose, Look::Primary)
            .off(off.as_deref())
            .put(ui, main)
            .clicked()
        {
            propose(view, pass);
        }
    }
    let half = (foot.width() - 8.0) / 2.0;
    let row = main.bottom() + 8.0;
    let back = Rect::from_min_size(pos2(foot.left(), row), vec2(half, 32.0));
    let fleet = Rect::from_min_size(pos2(foot.left() + half + 8.0, row), vec2(half, 32.0));
    let mut button = Button::new("Back", Look::Secondary);
    button.keys = Some(Action::Close.keys());
    if button.put(ui, back).clicked() {
        pass.go.push(Go::Back);
    }
    if Button::new("In the fleet", Look::Secondary)
        .put(ui, fleet)
        .clicked()
    {
        pass.go.push(Go::SelectVm(view.vm.id.clone()));
    }
}
