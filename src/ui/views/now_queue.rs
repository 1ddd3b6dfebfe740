//! The queue: what to decide by urgency, what waits, what runs, what is done.

use eframe::egui::{
    Align2, Color32, Rect, Role, ScrollArea, Sense, Ui, UiBuilder, WidgetInfo, pos2, vec2,
};

use super::now::{Item, NowView, Selected};
use crate::{
    engine::snapshot::{OperationState, OperationView, Snapshot},
    shadow::{Proposal, ProposalState, Urgency},
    ui::{
        action::Action,
        format::Clock,
        pass::Pass,
        theme,
        widgets::{
            button, spark,
            status::{self, Tone},
            steps, text,
        },
        words,
    },
    units::printable,
};

const ROW: f32 = 86.0;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tab {
    #[default]
    Decide,
    Waiting,
    Running,
    Done,
}

impl Tab {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Decide, "Decide"),
        (Self::Waiting, "Waiting"),
        (Self::Running, "Running"),
        (Self::Done, "Done"),
    ];

    fn takes(self, proposal: &Proposal) -> bool {
        match proposal.state {
            ProposalState::Open => self == Self::Decide,
            ProposalState::Snoozed { .. } => self == Self::Waiting,
            // What was approved shows as its operation.
            ProposalState::Approved { .. } => false,
            ProposalState::Rejected { .. }
            | ProposalState::Stale { .. }
            | ProposalState::Expired => self == Self::Done,
        }
    }

    fn takes_operation(self, operation: &OperationView) -> bool {
        let ended = matches!(
            operation.state,
            OperationState::Done | OperationState::Undone
        );
        match self {
            Self::Running => !ended,
            Self::Done => ended,
            Self::Decide | Self::Waiting => false,
        }
    }
}

/// What the tab lists, in its order.
fn items(now: &Snapshot, tab: Tab) -> impl Iterator<Item = Item<'_>> {
    let operations = now
        .operations
        .iter()
        .filter(move |operation| tab.takes_operation(operation))
        .map(Item::Operation);
    let proposals = now
        .proposals
        .iter()
        .filter(move |proposal| tab.takes(proposal))
        .map(Item::Proposal);
    operations.chain(proposals)
}

fn key(item: &Item<'_>) -> Selected {
    match item {
        Item::Proposal(proposal) => Selected::Proposal(proposal.id.clone()),
        Item::Operation(operation) => Selected::Operation(operation.id.clone()),
    }
}

/// The selected item; the first of the tab where what was selected has left it.
pub fn selected<'a>(view: &NowView, now: &'a Snapshot) -> Option<Item<'a>> {
    items(now, view.tab)
        .find(|item| key(item) == view.selected)
        .or_else(|| items(now, view.tab).next())
}

pub fn ui(ui: &mut Ui, rect: Rect, view: &mut NowView, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    tabs(ui, rect, view, pass);
    let list = Rect::from_min_max(pos2(rect.left(), rect.top() + 48.0), rect.max);
    let all: Vec<Item<'_>> = items(pass.now, view.tab).collect();
    let mut chosen = selected(view, pass.now).map(|item| key(&item));
    let (mut moved, mut pressed_any) = (false, false);
    if let Some(place) = chosen
        .as_ref()
        .and_then(|chosen| all.iter().position(|item| key(item) == *chosen))
    {
        let mut next = place;
        if pass.pressed(Action::Next) {
            next = (place + 1).min(all.len() - 1);
        }
        if pass.pressed(Action::Previous) {
            next = place.saturating_sub(1);
        }
        if next != place {
            chosen = Some(key(&all[next]));
            moved = true;
        }
    }
    let mut child = ui.new_child(UiBuilder::new().id_salt("list").max_rect(list));
    ScrollArea::vertical()
        .auto_shrink([false, false])
        .show(&mut child, |ui| {
            let mut group = None;
            for item in &all {
                if let Item::Proposal(proposal) = item
                    && view.tab == Tab::Decide
                    && group != Some(proposal.need.urgency)
                {
                    group = Some(proposal.need.urgency);
                    heading(ui, proposal.need.urgency);
                }
                let on = chosen.as_ref() == Some(&key(item));
                let (row, _) =
                    ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::hover());
                if on && moved {
                    ui.scroll_to_rect(row.expand2(vec2(0.0, 36.0)), None);
                }
                if !ui.is_rect_visible(row) {
                    continue;
                }
                let pressed = match item {
                    Item::Proposal(proposal) => proposal_row(ui, row, proposal, on, pass),
                    Item::Operation(operation) => operation_row(ui, row, operation, on, pass),
                };
                if pressed {
                    pressed_any = true;
                    chosen = Some(key(item));
                    view.metric = None;
                }
                text::hline(
                    ui,
                    row.left() + 20.0..=row.right() - 20.0,
                    row.bottom() - 1.0,
                    tokens.line,
                );
            }
            ui.add_space(24.0);
        });
    let Some(chosen) = chosen else { return };
    let by_hand = moved || pressed_any;
    // While forecasts still come in, more urgent ones may follow: the first stays whatever is first.
    let settled = pass.now.forecasts_pending == 0 || view.selected != Selected::First;
    if !settled && !by_hand {
        return;
    }
    if chosen == view.selected || by_hand || !view.awaited {
        if chosen != view.selected {
            view.metric = None;
        }
        view.awaited = false;
        view.selected = chosen;
    }
}

fn tabs(ui: &mut Ui, rect: Rect, view: &mut NowView, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    let bar = Rect::from_min_size(rect.min, vec2(rect.width(), 48.0));
    text::hline(
        ui,
        bar.left()..=bar.right() - 1.0,
        bar.bottom() - 1.0,
        tokens.line,
    );
    let mut x = bar.left() + 20.0;
    let gap = if rect.width() < 330.0 { 14.0 } else { 20.0 };
    for (tab, name) in Tab::ALL {
        let count = items(pass.now, tab).count();
        let on = tab == view.tab;
        let width = text::width(ui, name, theme::medium(13.5));
        let figure = if count > 0 && tab != Tab::Done {
            count.to_string()
        } else {
            String::new()
        };
        let wide = width
            + if figure.is_empty() {
                0.0
            } else {
                5.0 + text::width(ui, &figure, theme::regular(13.0))
            };
        let spot = Rect::from_min_size(pos2(x, bar.top()), vec2(wide, 47.0));
        let response = text::touch(ui, spot.expand2(vec2(4.0, 0.0)), Sense::click());
        let full = if figure.is_empty() {
            name.to_owned()
        } else {
            format!("{name} {figure}")
        };
        response.widget_info(|| WidgetInfo::selected(Role::Tab, true, on, &full));
        let ink = if on {
            tokens.hi
        } else if response.hovered() {
            tokens.text
        } else {
            tokens.dim
        };
        let painter = ui.painter();
        text::paint(
            painter,
            pos2(x, bar.center().y),
            Align2::LEFT_CENTER,
            name,
            theme::medium(13.5),
            ink,
        );
        text::paint(
            painter,
            pos2(x + width + 5.0, bar.center().y),
            Align2::LEFT_CENTER,
            &figure,
            theme::regular(13.0),
            if on { tokens.accent } else { tokens.dim },
        );
        if on {
            painter.rect_filled(
                Rect::from_min_max(
                    pos2(spot.left(), bar.bottom() - 2.0),
                    pos2(spot.right(), bar.bottom()),
                ),
                0,
                tokens.accent,
            );
        }
        button::focus_ring(ui, &response, 4);
        if response.clicked() {
            view.tab = tab;
        }
        x += wide + gap;
    }
}

fn heading(ui: &mut Ui, urgency: Urgency) {
    let tokens = theme::of(ui);
    let (name, when) = words::urgency(urgency);
    let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 38.0), Sense::hover());
    let y = row.center().y + 2.0;
    text::left(
        ui,
        row.left() + 20.0,
        y,
        name,
        theme::regular(12.5),
        tokens.dim,
    );
    text::right(
        ui,
        row.right() - 20.0,
        y,
        when,
        theme::regular(12.5),
        tokens.dim,
    );
}

/// The row's ground, and whether it was pressed.
fn ground(ui: &mut Ui, row: Rect, salt: &str, name: &str, on: bool) -> bool {
    let tokens = theme::of(ui);
    let response = ui.interact(row, ui.scope_id().with(("row", salt)), Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::ListBoxOption, true, on, name));
    if on {
        ui.painter().rect_filled(row, 0, tokens.selected);
        ui.painter().rect_filled(
            Rect::from_min_size(row.min, vec2(3.0, row.height())),
            0,
            tokens.accent,
        );
    } else if response.hovered() {
        ui.painter().rect_filled(row, 0, tokens.hover);
    }
    if response.has_focus() {
        button::focus_ring(ui, &response.clone().with_new_rect(row.shrink(4.0)), 4);
    }
    response.clicked()
}

fn proposal_row(ui: &mut Ui, row: Rect, proposal: &Proposal, on: bool, pass: &Pass<'_>) -> bool {
    let tokens = theme::of(ui);
    let name = printable(&proposal.plan.vm_name);
    let tone = match proposal.state {
        ProposalState::Open | ProposalState::Snoozed { .. } => {
            Tone::of_urgency(proposal.need.urgency)
        }
        _ => Tone::None,
    };
    let accessible = format!(
        "{name}, {}, {}",
        words::chip(proposal),
        words::evidence(proposal, pass.clock)
    );
    let pressed = ground(ui, row, proposal.id.as_str(), &accessible, on);
    let y = row.top() + 20.0;
    status::paint(ui.painter(), pos2(row.left() + 26.0, y), 13.0, tone, tokens);
    let (when, ink) = aside(proposal, tone.colour(tokens), tokens.dim, pass.clock);
    let right = text::right(
        ui,
        row.right() - 20.0,
        y,
        &when,
        theme::mono_medium(13.0),
        ink,
    )
    .rect
    .left();
    let left = row.left() + 42.0;
    text::fit(
        ui,
        left,
        y,
        right - left - 8.0,
        &name,
        theme::semibold(14.0),
        tokens.hi,
    );
    let line = Rect::from_min_max(
        pos2(row.right() - 84.0, row.top() + 36.0),
        pos2(row.right() - 20.0, row.top() + 64.0),
    );
    if let Some(view) = pass.now.vm(&proposal.need.vm) {
        let limit = view
            .outlook(crate::metrics::Metric::Cpu)
            .and_then(|outlook| outlook.limit)
            .unwrap_or(0.85);
        spark::paint(ui.painter(), line, &view.spark, limit, tokens, true);
    }
    text::fit(
        ui,
        left,
        row.top() + 42.0,
        line.left() - left - 8.0,
        &words::evidence(proposal, pass.clock),
        theme::regular(13.0),
        tokens.text,
    );
    let fill = if on {
        tokens.selected.lerp_to_gamma(tokens.accent, 0.22)
    } else {
        tokens.raised
    };
    text::chip(
        ui,
        left,
        row.top() + 66.0,
        &words::chip(proposal),
        if on { tokens.hi } else { tokens.text },
        fill,
    );
    pressed
}

/// What stands at the right of a proposal's name.
fn aside(proposal: &Proposal, urgent: Color32, dim: Color32, clock: &Clock) -> (String, Color32) {
    match &proposal.state {
        ProposalState::Open => (words::time_left(proposal, clock), urgent),
        ProposalState::Snoozed { until } => (format!("until {}", clock.hm(*until)), dim),
        ProposalState::Approved { .. } => ("approved".to_owned(), dim),
        ProposalState::Rejected { .. } => ("rejected".to_owned(), dim),
        ProposalState::Stale { .. } => ("out of date".to_owned(), dim),
        ProposalState::Expired => ("expired".to_owned(), dim),
    }
}

pub fn operation_tone(operation: &OperationView) -> Tone {
    match operation.state {
        OperationState::Running | OperationState::Waiting if operation.undoing => Tone::Watch,
        OperationState::Running | OperationState::Waiting | OperationState::Done => Tone::Ok,
        OperationState::Undone => Tone::Watch,
        OperationState::Parked => Tone::Risk,
        OperationState::Failed => Tone::Critical,
    }
}

fn operation_row(
    ui: &mut Ui,
    row: Rect,
    operation: &OperationView,
    on: bool,
    pass: &Pass<'_>,
) -> bool {
    let tokens = theme::of(ui);
    let tone = operation_tone(operation);
    let name = printable(&operation.vm_name);
    let what = words::operation_kind(operation.kind);
    let state = words::operation_state(operation.state, operation.undoing);
    let pressed = ground(
        ui,
        row,
        operation.id.as_str(),
        &format!("{name}, {what}, {state}"),
        on,
    );
    let y = row.top() + 20.0;
    status::paint(ui.painter(), pos2(row.left() + 26.0, y), 13.0, tone, tokens);
    let ended = operation.ended_at.unwrap_or(operation.started_at);
    let right = text::right(
        ui,
        row.right() - 20.0,
        y,
        &pass.clock.ago(ended),
        theme::mono(12.5),
        tokens.dim,
    )
    .on_hover_text(pass.clock.full(ended))
    .rect
    .left();
    let left = row.left() + 42.0;
    text::fit(
        ui,
        left,
        y,
        right - left - 8.0,
        &name,
        theme::semibold(14.0),
        tokens.hi,
    );
    let line = operation.why.as_deref().map_or_else(
        || {
            operation
                .steps
                .get(operation.step)
                .map_or_else(|| what.to_owned(), |step| printable(&step.text))
        },
        printable,
    );
    let ink = match operation.state {
        OperationState::Parked | OperationState::Failed => tone.colour(tokens),
        _ => tokens.text,
    };
    text::fit(
        ui,
        left,
        row.top() + 42.0,
        row.right() - left - 20.0,
        &line,
        theme::regular(13.0),
        ink,
    );
    let chip = text::chip(
        ui,
        left,
        row.top() + 66.0,
        &format!("{what}: {state}"),
        tokens.text,
        tokens.raised,
    );
    let strip = Rect::from_min_max(
        pos2(chip.right() + 14.0, row.top() + 63.0),
        pos2(row.right() - 20.0, row.top() + 69.0),
    );
    if strip.width() > 30.0 {
        steps::strip(ui, strip, operation, pass.clock);
    }
    pressed
}
