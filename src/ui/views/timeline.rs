//! Timeline: the operations with their steps, and what happened, newest first.

use std::sync::Arc;

use eframe::egui::{
    CornerRadius, Rect, Role, ScrollArea, Sense, Stroke, StrokeKind, Ui, UiBuilder, WidgetInfo,
    pos2, vec2,
};
use egui_material_icons::icons;

use super::{empty, now_proposal::operation_buttons, now_queue::operation_tone};
use crate::{
    engine::{
        command::Command,
        snapshot::{OperationState, OperationView, TimelineEntry, TimelineKind},
    },
    ui::{
        action::Action,
        app::part,
        format,
        pass::{Go, Pass},
        theme::{self, Tokens, radius},
        widgets::{
            button::{self, Button, Look},
            status::{self, Tone},
            steps, text,
        },
        words,
    },
    units::{OperationId, printable},
};

const ROW: f32 = 58.0;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Which {
    #[default]
    All,
    Open,
    Ended,
}

#[derive(Default)]
pub struct TimelineView {
    which: Which,
    selected: Option<OperationId>,
}

impl TimelineView {
    pub fn select(&mut self, operation: OperationId) {
        self.which = Which::All;
        self.selected = Some(operation);
    }

    pub fn ui(&mut self, ui: &mut Ui, body: Rect, pass: &mut Pass<'_>) {
        let tokens = theme::of(ui);
        let side = Rect::from_min_max(
            pos2(
                body.right() - (body.width() * 0.32).clamp(340.0, 440.0),
                body.top(),
            ),
            body.max,
        );
        let main = Rect::from_min_max(body.min, pos2(side.left(), body.bottom()));
        let tools = Rect::from_min_size(main.min, vec2(main.width(), 56.0));
        self.tools(ui, tools, pass);
        text::hline(ui, main.left()..=main.right(), tools.bottom(), tokens.line);
        let list = Rect::from_min_max(
            tools.left_bottom() + vec2(24.0, 1.0),
            main.max - vec2(24.0, 0.0),
        );
        part(ui, "operations", list, |ui| self.operations(ui, list, pass));
        ui.painter().rect_filled(side, 0, tokens.panel);
        text::vline(ui, side.left(), side.top()..=side.bottom(), tokens.line);
        part(ui, "events", side, |ui| events(ui, side, pass));
    }

    fn tools(&mut self, ui: &mut Ui, rect: Rect, pass: &mut Pass<'_>) {
        let count = |which: Which| {
            pass.now
                .operations
                .iter()
                .filter(|operation| which.takes(operation))
                .count()
        };
        let names = [
            format!("All {}", count(Which::All)),
            format!("Open {}", count(Which::Open)),
            format!("Ended {}", count(Which::Ended)),
        ];
        button::segments(
            ui,
            pos2(rect.left() + 24.0, rect.center().y - 16.0),
            32.0,
            &[
                (Which::All, names[0].as_str()),
                (Which::Open, names[1].as_str()),
                (Which::Ended, names[2].as_str()),
            ],
            &mut self.which,
            true,
        );
        let frozen = pass.now.frozen;
        let mut freeze = Button::action(Action::Freeze, Look::Secondary);
        if frozen {
            freeze.text = "Let it go on";
        }
        let spot = Rect::from_min_size(
            pos2(rect.right() - 24.0 - 158.0, rect.center().y - 16.0),
            vec2(158.0, 32.0),
        );
        if freeze.put(ui, spot).clicked() {
            pass.out.push(Command::Freeze {
                frozen: !frozen,
                by: pass.by.to_owned(),
            });
        }
    }

    fn operations(&mut self, ui: &mut Ui, rect: Rect, pass: &mut Pass<'_>) {
        let now = Arc::clone(pass.now);
        let shown: Vec<&OperationView> = now
            .operations
            .iter()
            .filter(|operation| self.which.takes(operation))
            .collect();
        if shown.is_empty() {
            empty::message(
                ui,
                rect,
                Tone::None,
                "No operation yet.",
                "What you approve runs as an operation; its steps stay here.",
            );
            return;
        }
        self.keys(&shown, pass);
        let mut child = ui.new_child(UiBuilder::new().id_salt("list").max_rect(rect));
        ScrollArea::vertical()
            .auto_shrink([false, false])
            .show(&mut child, |ui| {
                let mut day = None;
                for operation in shown {
                    let today = pass.clock.day(operation.started_at);
                    if day.as_ref() != Some(&today) {
                        heading(ui, &today, operation, pass);
                        day = Some(today);
                    }
                    let open = self.selected.as_ref() == Some(&operation.id);
                    if card(ui, operation, open, pass) {
                        self.selected = (!open).then(|| operation.id.clone());
                    }
                    ui.add_space(8.0);
                }
                ui.add_space(20.0);
            });
    }

    fn keys(&mut self, shown: &[&OperationView], pass: &mut Pass<'_>) {
        if self.selected.is_none() {
            // What needs an answer, or else what runs, stands open.
            let open = |states: &[OperationState]| {
                shown
                    .iter()
                    .find(|operation| states.contains(&operation.state))
                    .map(|operation| operation.id.clone())
            };
            if pass.pressed(Action::Next) {
                self.selected = open(&[OperationState::Parked])
                    .or_else(|| open(&[OperationState::Running]))
                    .or_else(|| shown.first().map(|operation| operation.id.clone()));
            }
            return;
        }
        let step =
            i64::from(pass.pressed(Action::Next)) - i64::from(pass.pressed(Action::Previous));
        let place = shown
            .iter()
            .position(|operation| self.selected.as_ref() == Some(&operation.id));
        if let Some(place) = place.filter(|_| step != 0) {
            let next = (place as i64 + step).clamp(0, shown.len() as i64 - 1) as usize;
            self.selected = Some(shown[next].id.clone());
        }
    }
}

impl Which {
    fn takes(self, operation: &OperationView) -> bool {
        let ended = matches!(
            operation.state,
            OperationState::Done | OperationState::Undone
        );
        match self {
            Self::All => true,
            Self::Open => !ended,
            Self::Ended => ended,
        }
    }
}

fn heading(ui: &mut Ui, day: &str, operation: &OperationView, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    let words = if pass.clock.day(pass.now.at) == day {
        "Today"
    } else {
        day
    };
    let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 40.0), Sense::hover());
    text::left(
        ui,
        row.left() + 4.0,
        row.center().y + 4.0,
        words,
        theme::medium(12.5),
        tokens.dim,
    )
    .on_hover_text(pass.clock.full(operation.started_at));
}

/// One operation; opened, its steps stand below. Returns whether its head was pressed.
fn card(ui: &mut Ui, operation: &OperationView, open: bool, pass: &mut Pass<'_>) -> bool {
    let tokens = theme::of(ui);
    let acts = !matches!(
        operation.state,
        OperationState::Done | OperationState::Undone
    );
    let mut height = ROW;
    if open {
        height += 30.0 * operation.steps.len() as f32 + 20.0;
        if operation.why.is_some() {
            height += 30.0;
        }
        if acts {
            height += 52.0;
        }
    }
    let (card, _) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    let head = Rect::from_min_size(card.min, vec2(card.width(), ROW));
    let id = ui.scope_id().with(("operation", operation.id.as_str()));
    let response = ui.interact(head, id, Sense::click());
    let name = printable(&operation.vm_name);
    let what = words::operation_kind(operation.kind);
    let state = words::operation_state(operation.state, operation.undoing);
    response.widget_info(|| {
        WidgetInfo::selected(
            Role::ListItem,
            true,
            open,
            format!("{what}, {name}, {state}"),
        )
    });
    ui.painter().rect(
        card,
        CornerRadius::same(radius::CARD),
        tokens.card,
        Stroke::new(
            if open { 1.5 } else { 1.0 },
            if open {
                tokens.accent
            } else if response.hovered() {
                tokens.line2
            } else {
                tokens.line
            },
        ),
        StrokeKind::Inside,
    );
    if open {
        ui.painter().rect_filled(
            head.shrink(1.5),
            CornerRadius::same(radius::CARD - 1),
            tokens.selected,
        );
    }
    button::focus_ring(ui, &response, radius::CARD);
    row(ui, head, operation, (&name, what, state), pass);
    if open {
        let inside = Rect::from_min_max(
            pos2(card.left() + 16.0, head.bottom() + 8.0),
            pos2(card.right() - 16.0, card.bottom() - 8.0),
        );
        let mut child = ui.new_child(
            UiBuilder::new()
                .id_salt(("steps", operation.id.as_str()))
                .max_rect(inside),
        );
        steps::carried_out(&mut child, operation, pass.clock);
        if let Some(why) = &operation.why {
            let (line, _) = child.allocate_exact_size(vec2(inside.width(), 30.0), Sense::hover());
            let tone = operation_tone(operation);
            status::paint(
                child.painter(),
                pos2(line.left() + 8.0, line.center().y),
                11.0,
                tone,
                tokens,
            );
            text::fit(
                &mut child,
                line.left() + 24.0,
                line.center().y,
                line.width() - 24.0,
                &printable(why),
                theme::regular(13.0),
                tokens.text,
            );
        }
        if acts {
            actions(&mut child, inside, operation, pass);
        }
    }
    response.clicked()
}

fn actions(ui: &mut Ui, inside: Rect, operation: &OperationView, pass: &mut Pass<'_>) {
    let parked = matches!(
        operation.state,
        OperationState::Parked | OperationState::Failed
    );
    let top = inside.bottom() - 40.0;
    if parked {
        let resume = Rect::from_min_size(pos2(inside.left(), top), vec2(130.0, 34.0));
        if Button::new("Resume", Look::Primary)
            .off(pass.blocked)
            .put(ui, resume)
            .clicked()
        {
            pass.out.push(Command::OperationResume {
                operation: operation.id.clone(),
                by: pass.by.to_owned(),
            });
        }
        let undo = Rect::from_min_size(pos2(inside.left() + 138.0, top), vec2(130.0, 34.0));
        if Button::new("Undo", Look::Danger).put(ui, undo).clicked() {
            pass.go.push(Go::Undo(operation.id.clone()));
        }
    } else {
        let area = Rect::from_min_size(pos2(inside.left(), top), vec2(130.0, 34.0));
        operation_buttons(ui, area, operation, pass);
    }
}

fn row(
    ui: &mut Ui,
    head: Rect,
    operation: &OperationView,
    (name, what, state): (&str, &str, &str),
    pass: &Pass<'_>,
) {
    let tokens = theme::of(ui);
    let (upper, lower) = (head.top() + 20.0, head.top() + 39.0);
    let left = head.left() + 16.0;
    text::left(
        ui,
        left,
        upper,
        &pass.clock.hm(operation.started_at),
        theme::mono_medium(12.5),
        tokens.text,
    )
    .on_hover_text(pass.clock.full(operation.started_at));
    let right = head.right() - 16.0;
    let state_left = head.left() + head.width() * 0.78;
    let strip_left = head.left() + head.width() * 0.52;
    text::fit(
        ui,
        left + 62.0,
        upper,
        strip_left - left - 78.0,
        &format!("{what}, {name}"),
        theme::medium(13.5),
        tokens.hi,
    );
    text::fit(
        ui,
        left + 62.0,
        lower,
        strip_left - left - 78.0,
        &format!("{}, by {}", operation.id, printable(&operation.by)),
        theme::regular(12.0),
        tokens.dim,
    );
    let strip = Rect::from_min_max(
        pos2(strip_left, upper - 4.0),
        pos2(state_left - 28.0, upper + 4.0),
    );
    steps::strip(ui, strip, operation, pass.clock);
    let until = operation.ended_at.unwrap_or(pass.now.at);
    text::fit(
        ui,
        strip_left,
        lower,
        strip.width(),
        &format!(
            "{} of {} steps, {}",
            operation.step,
            operation.steps.len(),
            format::span(until.secs_since(operation.started_at))
        ),
        theme::mono(11.5),
        tokens.dim,
    );
    let tone = operation_tone(operation);
    status::paint(
        ui.painter(),
        pos2(state_left - 11.0, upper),
        10.0,
        tone,
        tokens,
    );
    let ink = if tone == Tone::Ok {
        tokens.hi
    } else {
        tone.colour(tokens)
    };
    text::fit(
        ui,
        state_left,
        upper,
        right - state_left,
        state,
        theme::medium(13.0),
        ink,
    );
    let more = operation.why.as_deref().map_or_else(
        || {
            operation
                .steps
                .get(operation.step)
                .map_or_else(String::new, |step| printable(&step.text))
        },
        printable,
    );
    text::fit(
        ui,
        state_left,
        lower,
        right - state_left,
        &more,
        theme::regular(12.0),
        tokens.dim,
    );
}

/// What happened, newest first. Kinds have icons of their own, so that they are not taken for a status.
fn events(ui: &mut Ui, rect: Rect, pass: &mut Pass<'_>) {
    let tokens = theme::of(ui);
    let head = Rect::from_min_size(rect.min, vec2(rect.width(), 56.0));
    text::left(
        ui,
        rect.left() + 20.0,
        head.center().y,
        "What happened",
        theme::semibold(15.0),
        tokens.hi,
    );
    text::hline(
        ui,
        rect.left() + 1.0..=rect.right(),
        head.bottom(),
        tokens.line,
    );
    let entries = Arc::clone(&pass.now.timeline);
    let list = Rect::from_min_max(
        head.left_bottom() + vec2(20.0, 8.0),
        rect.max - vec2(16.0, 0.0),
    );
    let mut child = ui.new_child(UiBuilder::new().id_salt("list").max_rect(list));
    if entries.is_empty() {
        text::wrapped(&mut child, "Nothing yet.", theme::regular(13.0), tokens.dim);
    }
    ScrollArea::vertical()
        .auto_shrink([false, false])
        .show_rows(&mut child, 46.0, entries.len(), |ui, range| {
            for entry in &entries[range] {
                event(ui, entry, pass);
            }
        });
}

pub fn event(ui: &mut Ui, entry: &TimelineEntry, pass: &mut Pass<'_>) {
    let tokens = theme::of(ui);
    let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 46.0), Sense::hover());
    let leads = entry.operation.is_some() || entry.vm.is_some();
    let words = printable(&entry.text);
    let response = text::touch(
        ui,
        row,
        if leads {
            Sense::click()
        } else {
            Sense::hover()
        },
    );
    response.widget_info(|| {
        WidgetInfo::labeled(if leads { Role::Link } else { Role::Label }, true, &words)
    });
    if leads && response.hovered() {
        ui.painter().rect_filled(
            row.expand2(vec2(8.0, 0.0)),
            CornerRadius::same(radius::CONTROL),
            tokens.hover,
        );
    }
    let y = row.top() + 14.0;
    text::left(
        ui,
        row.left(),
        y,
        &pass.clock.near(entry.at),
        theme::mono(11.5),
        tokens.dim,
    )
    .on_hover_text(pass.clock.full(entry.at));
    let wide = if pass.now.at.secs_since(entry.at) < 20 * 3600 {
        44.0
    } else {
        78.0
    };
    let (icon, ink) = kind(entry, tokens);
    text::icon(
        ui.painter(),
        pos2(row.left() + wide + 10.0, y),
        icon,
        17.0,
        ink,
    );
    let left = row.left() + wide + 28.0;
    let mut job = eframe::egui::text::LayoutJob::simple(
        words.clone(),
        theme::regular(13.0),
        if entry.bad { tokens.risk } else { tokens.text },
        row.right() - left,
    );
    job.wrap.max_rows = 2;
    let galley = ui.painter().layout_job(job);
    let elided = galley.elided;
    ui.painter()
        .galley(text::snap(pos2(left, row.top() + 6.0)), galley, tokens.text);
    if response.clicked() {
        if let Some(operation) = &entry.operation {
            pass.go.push(Go::Operation(operation.clone()));
        } else if let Some(vm) = &entry.vm {
            pass.go.push(Go::OpenVm(vm.clone()));
        }
    }
    if elided {
        response.on_hover_text(words);
    }
}

fn kind(entry: &TimelineEntry, tokens: &Tokens) -> (&'static str, eframe::egui::Color32) {
    let (icon, ink) = match entry.kind {
        TimelineKind::Proposal => (icons::ICON_LIGHTBULB, tokens.accent),
        TimelineKind::Decision => (icons::ICON_GAVEL, tokens.text),
        TimelineKind::Operation => (icons::ICON_ACCOUNT_TREE, tokens.cast),
        TimelineKind::Replication => (icons::ICON_SYNC, tokens.cast),
        TimelineKind::Traffic => (icons::ICON_SWAP_HORIZ, tokens.accent),
        TimelineKind::Source => (icons::ICON_LAN, tokens.dim),
        TimelineKind::Engine => (icons::ICON_DNS, tokens.dim),
    };
    (icon.codepoint, if entry.bad { tokens.risk } else { ink })
}
